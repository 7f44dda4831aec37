"""Damages of lists, tables, XML and folders, in every layout: one sentence that names the file."""

import os
import re

import pytest
import torch

from cam_utils import data
from tests.data.damage import (
    ACTIONS,
    LIST,
    MASK,
    PERSON,
    PHOTO,
    SOLUTION,
    SPLIT,
    SYNSETS,
    TAGS,
    XML,
    put,
    read,
    refused,
)

BOMB = '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><annotation><object><name>&b;</name></object>'
NUMBERS = "expected numbers xmin ymin xmax ymax, the smaller first"


def test_the_tree_itself_is_read(layouts):
    assert [len(read(layouts, name)) for name in (XML, SYNSETS, TAGS, SPLIT)] == [3, 4, 3, 3]


@pytest.mark.parametrize("name", [XML, LIST, MASK, PHOTO, SYNSETS, SOLUTION, ACTIONS, SPLIT, PERSON, TAGS])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x9f" * 9, b"\x00" * 40, b"PK\x03\x04\xff\xff", b"caf\xe9"])
def test_other_bytes(layouts, name, content):
    put(layouts, name, content)
    refused(layouts, name, r"(damaged|empty) ")


@pytest.mark.parametrize("name", [XML, MASK, PHOTO, PERSON, "val/n01440764/ILSVRC2012_val_00000002.JPEG"])
def test_cut_anywhere(layouts, name):
    content = (layouts / name).read_bytes()
    for part in (0.03, 0.2, 0.5, 0.9):
        put(layouts, name, content[: int(len(content) * part)])
        refused(layouts, name, "damaged ")


@pytest.mark.parametrize("name", [LIST, SYNSETS, SOLUTION, ACTIONS, SPLIT, TAGS])
def test_lists_as_some_editors_write_them(layouts, name):
    before = read(layouts, name)
    text = (layouts / name).read_text().rstrip("\n")
    put(layouts, name, b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    after = read(layouts, name)
    assert [each.id for each in after] == [each.id for each in before]
    assert all(torch.equal(one.labels, other.labels) for one, other in zip(after, before, strict=True))


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (LIST, "000002\n", "000002 1\n", r"damaged .*train\.txt: line 2 is '000002 1', expected the name of one"),
        (LIST, "000002\n", "000001\n", r"damaged .*train\.txt: line 2 names '000001' again, expected each"),
        (LIST, "000002\n", "0000\x0002\n", r"damaged .*train\.txt: line 2 is '0000\\x0002', expected"),
        (SPLIT, "applauding_001.jpg", "reading_001.jpg", r"damaged .*line 2 names 'reading_001\.jpg' again"),
        (SPLIT, "applauding_001.jpg", "applauding_001.jpg 7", r"damaged .*line 2 is .*, expected the name of one"),
        (ACTIONS, "action_name", "action_nam", r"damaged .*line 1 is 'action_nam number_of_images', expected an"),
        (ACTIONS, "reading\t\t245", "reading", r"damaged .*line 3 is 'reading', expected an action and its number"),
        (ACTIONS, "reading\t", "phoning\t", r"damaged .*line 4 names 'phoning' again, expected each action once"),
        (ACTIONS, "reading\t", "r" * 999 + "\t", r"damaged .*line 3 is 'rrr.*', expected an action"),
        (SYNSETS, "n02012849", "n02012849x", r"damaged .*line 2 is 'n02012849x crane', expected 'wnid name"),
        (SYNSETS, "n02012849 crane", "n02012849", r"damaged .*line 2 is 'n02012849', expected"),
        (SYNSETS, "n02012849 crane", "n02012849" + " " * 10**5, r"damaged .*line 2 is .*, expected"),
        (SYNSETS, "n02012849", "n09999999", r"damaged .*line 3 has n02123045 after n09999999, expected rising"),
        (SOLUTION, "ImageId,Pred", "Id,Pred", r"damaged .*expected the columns ImageId,PredictionString, got 'Id"),
        (SOLUTION, "54 54", "54 nan", r"row 'ILSVRC2012_val_00000003 .*: expected boxes x1 y1 x2 y2 from 0"),
        (SOLUTION, "54 54", "54 1e999", r"row 'ILSVRC2012_val_00000003 .*: expected boxes x1 y1 x2 y2 from 0"),
        (SOLUTION, "54 54", "54 999", r"is 60 x 60 pixels, its box .*5 5 54 999 in LOC_val_solution"),
        (SOLUTION, "54 54", "54 5,4", r"damaged line 3 of .*, expected one row for each image"),
        (SOLUTION, "54 54", '54 "54', r"row .*could not convert string to float"),
        (SOLUTION, "ILSVRC2012_val_00000003,", 'ILSVRC2012_val_00000003,"', r"damaged line 5 of .*: unexpected"),
        (SOLUTION, "n02123045 5 5", "n1 5 5", r"row .*: synset 'n1' is not in LOC_synset_mapping\.txt"),
        (TAGS, "image_name,tags", "tags", r"damaged .*expected the columns image_name,tags, got 'tags'"),
        (TAGS, "train_0,cloudy", '"train_0,cloudy', r"damaged line 11 of .*unexpected end of data"),
        (TAGS, "train_0,cloudy", "train_" + "9" * 5000 + ",cloudy", r"damaged line 4 of .*'train_999"),
    ],
)  # fmt: skip
def test_damaged_lists(layouts, name, old, new, message):
    text = (layouts / name).read_text()
    assert old in text
    put(layouts, name, text.replace(old, new, 1))
    refused(layouts, name, message)


def test_a_list_of_nothing(layouts):
    put(layouts, SOLUTION, "ImageId,PredictionString\n")
    refused(layouts, SOLUTION, r"^empty .*LOC_val_solution\.csv: it lists no image")
    for name in (LIST, SPLIT):
        put(layouts, name, "\n\n")
        refused(layouts, name, r"^empty .*train\.txt: expected the name of one image in each line")
    put(layouts, ACTIONS, "action_name number_of_images\n")
    refused(layouts, ACTIONS, r"^empty .*actions\.txt: expected the actions")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<xmin>11</xmin>", "<xmin>41</xmin>", f"the box of object 1 is '41 21 40 80', {NUMBERS}"),
        ("<xmin>11</xmin>", "<xmin>nan</xmin>", f"the box of object 1 is 'nan 21 40 80', {NUMBERS}"),
        ("<xmin>11</xmin>", "<xmin>-1e999</xmin>", f"the box of object 1 is .*, {NUMBERS}"),
        ("<xmin>11</xmin>", "<xmin/>", f"the box of object 1 is ' 21 40 80', {NUMBERS}"),
        ("<xmin>11</xmin>", "", f"the box of object 1 is '- 21 40 80', {NUMBERS}"),
        ("bndbox>", "box>", f"the box of object 1 is '- - - -', {NUMBERS}"),
        ("<difficult>0<", "<difficult>2<", "object 1 has difficult '2', expected 0 or 1"),
        ("<difficult>0<", "<difficult>no<", "object 1 has difficult 'no', expected 0 or 1"),
        ("<width>200<", "<width>two<", "height and width are '100 two', expected whole numbers"),
        ("<width>200<", f"<width>{'9' * 5000}<", "height and width are '100 999.*', expected whole numbers"),
        ("annotation>", "notes>", "expected <annotation> with one <object> or more, got 2 in <notes>"),
        ("object>", "thing>", "expected <annotation> with one <object> or more, got 0 in <annotation>"),
        ("<annotation>", BOMB, "it declares a document type, expected plain elements"),
        ("<annotation>", '<?xml version="1.0" encoding="klingon"?><annotation>', "unknown encoding"),
        ("<annotation>", "<annotation>\x01", "not well-formed"),
        ("<name>cat", "<name>&cat;", "undefined entity"),
        ("</annotation>", "</annotation><annotation/>", "junk after document element"),
    ],
)
def test_damaged_xml(layouts, old, new, message):
    text = (layouts / XML).read_text()
    put(layouts, XML, text.replace(old, new))
    refused(layouts, XML, rf"^damaged annotation .*000001\.xml: .*{message}")
    if "difficult" not in old:  # which Stanford's files have not
        text = (layouts / PERSON).read_text().replace("101</xmin>", "11</xmin>").replace("60</ymax>", "80</ymax>")
        text = text.replace("140</xmax>", "40</xmax>").replace("<action>reading", "<name>cat</name><action>reading")
        put(layouts, PERSON, text.replace(old, new))
        refused(layouts, PERSON, r"^damaged annotation .*reading_001\.xml: ")


@pytest.mark.parametrize("name", [XML, PERSON])
@pytest.mark.parametrize("corner", ["xmax>999", "ymax>102", "xmin>-1"])
def test_boxes_outside_their_picture(layouts, name, corner):
    tag, value = corner.split(">")
    text = re.sub(rf"<{tag}>\d+", f"<{tag}>{value}", (layouts / name).read_text())
    put(layouts, name, text)
    refused(
        layouts,
        name,
        r"(000001|reading_001)\.jpg is 200 x 100 pixels, the box xmin ymin xmax ymax = .* is not inside",
    )


@pytest.mark.parametrize("name", [XML, PERSON])
def test_boxes_one_pixel_out_are_cut(layouts, name):
    text = re.sub(r"<xmax>\d+", "<xmax>201", (layouts / name).read_text())
    put(layouts, name, re.sub(r"<ymin>\d+", "<ymin>0", text))
    (layouts / MASK).unlink()
    sample = read(layouts, name)[0]  # 200 x 100 in a square of 32: 8 rows above
    assert sample.boxes[0, 1:3].tolist() == [8, 32]


def test_class_of_any_length(layouts):
    put(layouts, XML, (layouts / XML).read_text().replace("<name>cat<", f"<name>{'c' * 10**5}<"))
    refused(layouts, XML, r"unknown class in .*000001\.xml 'cccc", ValueError)


def test_picture_of_another_size_than_the_xml_states(layouts):
    put(layouts, XML, (layouts / XML).read_text().replace("<width>200<", "<width>400<"))
    refused(layouts, XML, r"000001\.jpg is 200 x 100 pixels, its annotation .*000001\.xml says 400 x 100")
    put(layouts, XML, (layouts / XML).read_text().replace("<width>400<", "<width>0<"))  # as some tools leave it
    assert read(layouts, XML)


@pytest.mark.parametrize("name", [XML, MASK, PHOTO, LIST, SYNSETS, SOLUTION, ACTIONS, SPLIT, PERSON, TAGS])
@pytest.mark.parametrize("kind", ["folder", "pipe", "broken link"])
def test_what_is_no_file(layouts, name, kind):
    (layouts / name).unlink()
    if kind == "folder":
        (layouts / name).mkdir()
    elif kind == "pipe":
        os.mkfifo(layouts / name)
    else:
        (layouts / name).symlink_to(layouts / "nowhere")
    if name == SOLUTION:  # is optional
        assert not any(len(sample.boxes) for sample in read(layouts, name))
    else:
        refused(layouts, name, r"missing|not found", FileNotFoundError)


def test_class_folders(layouts):
    val = layouts / "val"
    for hidden in (".DS_Store", "._x.JPEG", "n01440764/._x.JPEG", "n01440764/.hidden.jpg"):
        put(layouts, f"val/{hidden}", b"")
    (val / ".ipynb_checkpoints").mkdir()
    put(layouts, "val/n01440764/readme.txt", b"")
    assert len(read(layouts, SYNSETS)) == 4
    put(layouts, "val/n01440764/x.jpg", b"")
    with pytest.raises(
        OSError, match=r"x\.jpg would be left out: expected the images of .*n01440764 to end in \.JPEG"
    ):
        read(layouts, SYNSETS)
    (val / "n01440764" / "x.jpg").unlink()
    (layouts / SOLUTION).unlink()
    (val / "n02012849" / "ILSVRC2012_val_00000002.JPEG").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"n01440764/ILSVRC\S*2\.JPEG and \S*n02012849/ILSVRC\S*2\.JPEG share one name"
    ):
        read(layouts, SYNSETS)


@pytest.mark.parametrize("name", ["coco2017", "voc2012", "imagenet", "planet", "stanford40"])
@pytest.mark.parametrize("root", [5, b"x", ["a"]])
def test_root_of_another_type(name, root):
    with pytest.raises(ValueError, match="expected root as the path of the folder that holds"):
        data.load(name, "val" if name != "stanford40" else "test", root=root)
