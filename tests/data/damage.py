"""All layouts but COCO's in one small tree, to be damaged: the names of its files, and what must become of them."""

from pathlib import Path

import pytest

from cam_utils import data
from tests.conftest import write_voc
from tests.data import test_imagenet, test_planet, test_stanford40

XML, LIST = "VOCdevkit/VOC2007/Annotations/000001.xml", "VOCdevkit/VOC2007/ImageSets/Main/train.txt"
MASK, PHOTO = "VOCdevkit/VOC2007/SegmentationObject/000001.png", "VOCdevkit/VOC2007/JPEGImages/000001.jpg"
SYNSETS, SOLUTION = "LOC_synset_mapping.txt", "LOC_val_solution.csv"
ACTIONS, SPLIT = "Stanford40/ImageSplits/actions.txt", "Stanford40/ImageSplits/train.txt"
PERSON, TAGS = "Stanford40/XMLAnnotations/reading_001.xml", "planet/train_v2.csv"


def write(root: Path) -> None:
    """Write the layouts into root."""
    write_voc(root / "VOCdevkit" / "VOC2007")
    test_imagenet.write(root, "val", classes=True, solution=True)
    test_planet.write(root, size=16)
    test_stanford40.write(root)


def put(root, name, content):
    file = root / name
    file.unlink(missing_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def read(root, name):
    """Return the samples of the part of a dataset that holds the file `name`."""
    if name.startswith("VOC"):
        scenes = data.load("voc2007", "train", root=root, size=32)
    elif name.startswith("planet"):
        scenes = data.load("planet", "val", root=root, size=32)
    elif name.startswith("Stanford40"):
        scenes = data.load("stanford40", "train", root=root, size=32)
    else:
        scenes = data.load("imagenet", "val", root=root, size=32)
    return [scenes[i] for i in range(len(scenes))]


def refused(root, name, message, error=OSError):
    with pytest.raises(error, match=message) as found:
        read(root, name)
    text = str(found.value)
    assert name.split("/")[-1] in text and "\n" not in text and len(text) < 900 and type(found.value) is error
