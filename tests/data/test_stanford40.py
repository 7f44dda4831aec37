"""Stanford 40 Actions: its layout on a small tree, labels and boxes worked out by hand."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from cam_utils import data

# As in the real list, the order is not alphabetical. Action -> images in the list of the whole dataset.
ACTIONS = {"applauding": 284, "reading": 245, "phoning": 259, "watching_TV": 223}
# Image id -> (width, height), the person's box in the XML's pixels, 1-based and inclusive.
IMAGES = {
    "reading_001": ((200, 100), (101, 21, 140, 60)),
    "applauding_001": ((80, 80), (1, 1, 80, 80)),
    "watching_TV_002": ((90, 60), (1, 1, 10, 10)),
    "phoning_003": ((60, 60), (11, 11, 50, 50)),
}
SPLITS = {"train": ["reading_001", "applauding_001", "watching_TV_002"], "test": ["phoning_003"]}
XML = """<annotation><filename>{id}.jpg</filename><folder>Stanford40</folder>
<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>
<object><name>person</name><action>{action}</action><bndbox><xmax>{box[2]}</xmax><xmin>{box[0]}</xmin>
<ymax>{box[3]}</ymax><ymin>{box[1]}</ymin></bndbox></object></annotation>
"""


def write(root: Path) -> Path:
    """Write IMAGES as Stanford40/ into root; return that folder."""
    base = root / "Stanford40"
    for folder in ("JPEGImages", "XMLAnnotations", "ImageSplits"):
        (base / folder).mkdir(parents=True)
    for id_, (size, box) in IMAGES.items():
        Image.new("RGB", size, (10, 200, 30)).save(base / "JPEGImages" / f"{id_}.jpg")
        text = XML.format(id=id_, size=size, action=id_[:-4], box=box)
        (base / "XMLAnnotations" / f"{id_}.xml").write_text(text)
    lists = base / "ImageSplits"
    lines = "".join(f"{action}\t\t{count}\n" for action, count in ACTIONS.items())
    (lists / "actions.txt").write_text(f"action_name\tnumber_of_images\n{lines}")
    for split, ids in SPLITS.items():
        (lists / f"{split}.txt").write_text("".join(f"{each}.jpg\n" for each in ids))
        for action in ACTIONS:
            own = "".join(f"{each}.jpg\n" for each in ids if each[:-4] == action)
            (lists / f"{action}_{split}.txt").write_text(own)
    return base


@pytest.fixture
def tree(tmp_path):
    """The folder that holds Stanford40/, and that folder."""
    return tmp_path, write(tmp_path)


def test_labels_and_attributes(tree):
    train = data.load("stanford40", "train", root=tree[0], size=100)
    assert (train.name, train.split, train.size, train.has_masks) == ("stanford40", "train", 100, False)
    assert train.classes == ("applauding", "reading", "phoning", "watching_TV")
    assert train.ids == SPLITS["train"]
    assert train.labels.tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    assert data.load("stanford40", "test", root=tree[0]).ids == ["phoning_003"]
    assert data.load("stanford40", "train", root=tree[1], size=100).fingerprint() == train.fingerprint()
    assert data.load("stanford40", "train", root=tree[0], limit=2).ids == ["reading_001", "applauding_001"]


def test_boxes_by_hand(tree):
    train = data.load("stanford40", "train", root=tree[0], size=100)
    sample = train[0]  # 200 x 100 -> 100 x 50, 25 black rows above; corners 1-based and inclusive
    assert sample.boxes.tolist() == [[50, 35, 70, 55]] and sample.objects.tolist() == [1]
    assert sample.flags.tolist() == [False] and sample.masks is None and sample.ignore is None
    assert train[1].boxes.tolist() == [[0, 0, 100, 100]]
    assert sample.image.shape == (3, 100, 100) and sample.image[1, 50, 50] == pytest.approx(200 / 255, abs=0.02)


def test_crop_drops_the_person_and_keeps_the_label(tree):
    sample = data.load("stanford40", "train", root=tree[0], size=60, resize="crop")[2]  # columns 15 to 75 stay
    assert len(sample.boxes) == len(sample.objects) == 0 and sample.labels.tolist() == [0, 0, 0, 1]


def test_lists_of_the_actions(tree):
    root, base = tree
    (base / "ImageSplits" / "train.txt").unlink()
    assert data.load("stanford40", "train", root=root).ids == ["applauding_001", "reading_001", "watching_TV_002"]
    (base / "ImageSplits" / "phoning_train.txt").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"1 of 4 files missing in .*ImageSplits: phoning_train\.txt; .*or one"
    ):
        data.load("stanford40", "train", root=root)


@pytest.mark.parametrize("header", ["", "action_name\n", "\n"])
def test_list_of_actions_with_and_without_header(tree, header):
    root, base = tree
    (base / "ImageSplits" / "actions.txt").write_text(header + "\n".join(ACTIONS))
    assert data.load("stanford40", "train", root=root).classes == tuple(ACTIONS)


def test_unknown_split(tree):
    with pytest.raises(ValueError, match=r"unknown split of stanford40 'val' \(valid: train, test\)"):
        data.load("stanford40", "val", root=tree[0])


@pytest.mark.parametrize(("folder", "suffix"), [("JPEGImages", ".jpg"), ("XMLAnnotations", ".xml")])
def test_missing_file_and_folder(tree, folder, suffix):
    root, base = tree
    (base / folder / f"reading_001{suffix}").unlink()
    with pytest.raises(
        FileNotFoundError, match=rf"1 of 3 files missing in .*{folder}: reading_001\{suffix}; .*4,000"
    ):
        data.load("stanford40", "train", root=root)
    shutil.rmtree(base / folder)
    with pytest.raises(
        FileNotFoundError, match=rf"missing folder .*{folder}: expected one \{suffix} file per image"
    ):
        data.load("stanford40", "train", root=root)


def test_missing_lists(tree):
    root, base = tree
    (base / "ImageSplits" / "actions.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"missing in .*ImageSplits: actions\.txt; it names the 40 actions"):
        data.load("stanford40", "train", root=root)
    shutil.rmtree(base / "ImageSplits")
    with pytest.raises(
        FileNotFoundError, match=r"missing folder .*ImageSplits: expected actions\.txt and the lists"
    ):
        data.load("stanford40", "train", root=root)


def test_wrong_root(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"stanford40 is read from disk: give root= .* Stanford40/ with JPEG"
    ):
        data.load("stanford40", "train")
    with pytest.raises(FileNotFoundError, match=r"stanford40 not found under .*nowhere: expected a folder holding"):
        data.load("stanford40", "train", root=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("</annotation>", "", OSError, r"damaged annotation .*reading_001\.xml: no element found"),
        ("<xmin>101</xmin>", "", OSError, r"damaged annotation .*reading_001\.xml"),
        ("<ymax>60</ymax>", "<ymax>low</ymax>", OSError, r"damaged annotation .*reading_001\.xml: .*low"),
        (
            "object>",
            "person>",
            OSError,
            r"damaged annotation .*reading_001\.xml: expected <annotation> with one <object> or more, got 0 in",
        ),
        ("<action>reading<", "<action>readin<", ValueError, r"unknown class in .*'readin'; did you mean 'reading'"),
        ("<action>reading</action>", "", ValueError, r"unknown class in .*reading_001\.xml ''"),
    ],
)
def test_damaged_annotation(tree, old, new, error, message):
    root, base = tree
    file = base / "XMLAnnotations" / "reading_001.xml"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(error, match=message):
        data.load("stanford40", "train", root=root)


def test_truncated_image(tree):
    root, base = tree
    file = base / "JPEGImages" / "reading_001.jpg"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(OSError, match=r"damaged or truncated image .*reading_001\.jpg"):
        data.load("stanford40", "train", root=root)[0]
