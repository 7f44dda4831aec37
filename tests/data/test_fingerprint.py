"""The fingerprint of a folder tells whatever changes a sample, and nothing else; a part reads its own files."""

import json
import os
import pickle
import shutil
import time

import pytest
from PIL import Image

from cam_utils import data
from cam_utils.data.folder import Pictures
from tests.data import coco_tree
from tests.data.damage import MASK, PERSON, PHOTO, SOLUTION, SYNSETS, TAGS, XML, put

LOADED = {
    XML: ("voc2007", "train"),
    MASK: ("voc2007", "train"),
    PHOTO: ("voc2007", "train"),
    "VOCdevkit/VOC2007/JPEGImages/000004.jpg": ("voc2007", "train"),  # the last
    SOLUTION: ("imagenet", "val"),
    SYNSETS: ("imagenet", "val"),
    "val/n01440764/ILSVRC2012_val_00000002.JPEG": ("imagenet", "val"),
    TAGS: ("planet", "val"),
    "planet/train-jpg/train_1.jpg": ("planet", "val"),
    PERSON: ("stanford40", "train"),
    "Stanford40/JPEGImages/reading_001.jpg": ("stanford40", "train"),
}
EDITS = {
    XML: ("<xmin>11<", "<xmin>12<"),
    SOLUTION: ("5 5 54 54", "5 5 54 53"),
    SYNSETS: ("tench, ", "carp, "),
    TAGS: ("train_1,partly_cloudy", "train_1,cloudy"),
    PERSON: ("<ymin>21<", "<ymin>22<"),
}


def fingerprint(root, name, **options):
    dataset, split = LOADED[name]
    return data.load(dataset, split, root=root, **options).fingerprint()


@pytest.mark.parametrize("name", LOADED)
def test_every_file_of_a_sample_is_told(layouts, name):
    """A replaced picture keeps its size in bytes and its time: only the content differs."""
    before, file = fingerprint(layouts, name), layouts / name
    assert fingerprint(layouts, name) == before
    content, times = file.read_bytes(), (time.time_ns(), time.time_ns())
    if name in EDITS:
        assert EDITS[name][0] in content.decode()
        changed = content.decode().replace(*EDITS[name]).encode()
    else:
        changed = content[:-1] + bytes([content[-1] ^ 1])
    put(layouts, name, changed)
    os.utime(file, ns=times)
    assert fingerprint(layouts, name) != before
    put(layouts, name, content)
    assert fingerprint(layouts, name) == before


def test_a_picture_replaced_under_a_loaded_dataset(layouts):
    scenes = data.load("voc2007", "train", root=layouts)
    before = scenes.fingerprint()
    put(layouts, PHOTO, b"another")
    assert scenes.fingerprint() != before


def test_a_picture_overwritten_in_its_place_with_its_time_put_back(layouts):
    file = put(layouts, PHOTO, (layouts / PHOTO).read_bytes())  # no link: what it leads to is for all tests
    scenes = data.load("voc2007", "train", root=layouts)
    before = scenes.fingerprint()
    times, content = file.stat(), bytearray(file.read_bytes())
    content[-1] ^= 1
    with file.open("r+b") as opened:
        opened.write(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert scenes.fingerprint() != before


def test_it_is_the_same_wherever_and_whenever_the_files_lie(layouts, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(layouts, elsewhere)
    for path in elsewhere.rglob("*"):
        os.utime(path, (1, 1))
    for name in LOADED:
        assert fingerprint(elsewhere, name) == fingerprint(layouts, name)


def test_files_beside_the_samples_are_not_told(layouts):
    put(layouts, "val/n01440764/notes.txt", b"")
    before = fingerprint(layouts, PHOTO)
    put(layouts, "VOCdevkit/VOC2007/JPEGImages/000005.jpg", b"of another split")
    put(layouts, "VOCdevkit/VOC2007/JPEGImages/extra.jpg", b"of none")
    put(layouts, XML, (layouts / XML).read_text().replace("><", ">\n<"))  # another writing of the same
    assert fingerprint(layouts, PHOTO) == before


def test_annotations_and_names_of_coco_are_told(tmp_path):
    file = coco_tree.write(tmp_path)
    prints = {data.load("coco2017", "val", root=tmp_path).fingerprint()}
    for edit in (("25, 20, 5, 20", "25, 20, 5, 19"), ("200, 990", "201, 989"), ('"person"', '"human"')):
        assert edit[0] in json.dumps(coco_tree.content())
        file.write_text(json.dumps(coco_tree.content()).replace(*edit))
        prints.add(data.load("coco2017", "val", root=tmp_path).fingerprint())
    Image.new("RGB", (24, 24)).save(tmp_path / "coco2017" / "val2017" / "000000000003.jpg")
    prints.add(data.load("coco2017", "val", root=tmp_path).fingerprint())
    assert len(prints) == 5


def test_a_part_reads_its_own_files_only(layouts, monkeypatch):
    scenes = data.load("imagenet", "val", root=layouts)
    read = []
    content = Pictures._content
    monkeypatch.setattr(Pictures, "_content", lambda self, file: read.append(file.stem) or content(self, file))
    part = data.Drawn(scenes, 2, 5)
    of_two = part.fingerprint()
    assert sorted(read) == sorted(part.ids)
    read.clear()
    again = data.Drawn(part, 1, 0)
    assert again.fingerprint() not in (of_two, part.fingerprint()) and set(read[:1]) == {*again.ids}
    outside = next(path for path in scenes._paths if path.stem not in part.ids)
    put(layouts, outside.relative_to(layouts), b"another")
    assert part.fingerprint() == of_two != scenes.fingerprint()
    within = next(path for path in scenes._paths if path.stem in part.ids)
    put(layouts, within.relative_to(layouts), b"another")
    assert part.fingerprint() != of_two


def test_files_that_have_not_changed_are_not_read_again(layouts, monkeypatch):
    scenes = data.load("voc2007", "train", root=layouts)
    before = scenes.fingerprint()
    monkeypatch.setattr("cam_utils.data.folder.read_bytes", lambda file: pytest.fail(f"read {file} again"))
    assert scenes.fingerprint() == before == pickle.loads(pickle.dumps(scenes)).fingerprint()


def test_a_file_that_is_gone(layouts):
    scenes = data.load("voc2007", "train", root=layouts)
    (layouts / PHOTO).unlink()
    with pytest.raises(FileNotFoundError, match=r"000001\.jpg"):
        scenes.fingerprint()


def test_generated_scenes_keep_theirs():
    """Names of stored checkpoints and tables hold digests of it."""
    scenes = data.load("digits", "train", limit=8)
    assert scenes.fingerprint() == "dd874684cbb5dcef"
    assert data.Drawn(scenes, 4, 1).fingerprint() == "8ff85187ee2f8d49"
