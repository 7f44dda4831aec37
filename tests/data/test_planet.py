"""Planet: Understanding the Amazon from Space: its layout on a small tree, labels worked out by hand."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cam_utils import data
from cam_utils.data import planet
from tests.conftest import ROOT

# Image number -> tags, in the order of the list: neither that of the numbers nor that of the names.
TAGS = {
    10: "haze primary",
    2: "agriculture clear primary water",
    0: "cloudy",
    1: "partly_cloudy primary road",
    9: "blow_down clear primary",
    3: "artisinal_mine clear primary",
    4: "clear primary slash_burn",
    8: "clear habitation road",
    5: "clear conventional_mine",
    11: "water haze",
}
VAL = ["train_1", "train_4", "train_9"]  # the fixed 30% of these ten


def listed(tags: dict) -> str:
    return "image_name,tags\n" + "".join(f"train_{number},{each}\n" for number, each in tags.items())


def write(root: Path, name: str = planet.LISTS[0], size: int = 256) -> Path:
    """Write TAGS as planet/ into root; return the list."""
    folder = root / "planet" / "train-jpg"
    folder.mkdir(parents=True)
    (folder / "train_99.jpg").touch()  # not in the list: never read
    for number in TAGS:
        pixels = np.random.default_rng(number).integers(0, 256, (size, size, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"train_{number}.jpg")
    file = root / "planet" / name
    file.write_text(listed(TAGS))
    return file


@pytest.fixture(params=planet.LISTS)
def tree(request, tmp_path):
    """The folder that holds planet/, and the list in it under either of its names."""
    return tmp_path, write(tmp_path, request.param)


def test_classes_are_those_of_the_paper():
    table = pd.read_csv(ROOT / "data" / "paper_tables" / "extra_official_notebook_classification.csv")
    named = table[(table["dataset"] == "P:AfS") & (table["metric"] == "support")]["class"]
    assert list(planet.CLASSES) == sorted(set(named)) and len(planet.CLASSES) == 17


def test_labels_and_attributes(tree):
    val = data.load("planet", "val", root=tree[0])
    assert (val.name, val.split, val.size, val.has_masks) == ("planet", "val", 224, False)
    assert val.classes == planet.CLASSES and val.labels.dtype == torch.float32
    everything = {
        image: [name for name, on in zip(split.classes, row, strict=True) if on]
        for split in (data.load("planet", "train", root=tree[0]), val)
        for image, row in zip(split.ids, split.labels.tolist(), strict=True)
    }
    assert everything == {f"train_{number}": sorted(tags.split()) for number, tags in TAGS.items()}
    train = data.load("planet", "train", root=tree[0])
    places = train.labels[train.ids.index("train_2")].nonzero()[:, 0].tolist()
    assert places == [0, 5, 12, 16] and set(train.labels.unique().tolist()) == {0, 1}


def test_image_without_objects(tree):
    val = data.load("planet", "val", root=tree[0], size=256)
    sample = val[1]
    written = torch.from_numpy(np.array(Image.open(tree[1].parent / "train-jpg" / "train_4.jpg"))).permute(2, 0, 1)
    assert torch.equal((sample.image * 255).round(), written.float())  # 256: not resampled
    assert torch.equal(val.pixels(1), written)
    assert len(sample.objects) == len(sample.flags) == 0 and sample.boxes.shape == (0, 4)
    assert sample.masks is None and sample.ignore is None and sample.labels.sum() == 3
    batch = data.collate([val[0], sample])
    assert batch.images.shape == (2, 3, 256, 256) and batch.labels.shape == (2, 17) and batch.masks == [None, None]


def test_splits(tree):
    root, file = tree
    train, val = (data.load("planet", split, root=root) for split in ("train", "val"))
    assert len(train) == 7 and len(val) == 3
    numbers = [int(each.removeprefix("train_")) for each in train.ids]
    assert numbers == sorted(numbers)  # 2 before 10: by number, not by name
    assert set(train.ids).isdisjoint(val.ids) and {*train.ids, *val.ids} == {f"train_{number}" for number in TAGS}
    assert val.ids == VAL
    for split in (train, val):
        for limit in (1, 2, 99):
            assert data.load("planet", split.split, root=root, limit=limit).ids == split.ids[:limit]
    torch.manual_seed(3)  # neither the global generator nor the order of the list plays a part
    file.write_text(listed(dict(sorted(TAGS.items()))))
    again = data.load("planet", "val", root=root / "planet")
    assert again.ids == val.ids and again.fingerprint() == val.fingerprint() != train.fingerprint()


def test_full_split_is_the_same_everywhere():
    """Checkpoints are compared across machines and versions, so the division must never change."""
    parts = planet.divide(40_479)
    assert {split: len(rows) for split, rows in parts.items()} == planet.EXPECTED
    assert sorted(parts["train"] + parts["val"]) == list(range(40_479))
    assert hashlib.sha256(str(parts["val"]).encode()).hexdigest()[:16] == "67aa370777e37bc8"
    # A random 30%: each tenth of the images gives about its share (standard deviation 28).
    shares = np.histogram(parts["val"], 10, (0, 40_479))[0]
    assert abs(shares - 1214.3).max() < 100


def test_unknown_split(tree):
    with pytest.raises(ValueError, match=r"unknown split of planet 'test' \(valid: train, val\)"):
        data.load("planet", "test", root=tree[0])
    with pytest.raises(ValueError, match=r"unknown option of planet 'seed' \(valid: none\)"):
        data.load("planet", "val", root=tree[0], seed=1)


def test_wrong_root(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"planet is read from disk: give root= .* planet/ with train_"):
        data.load("planet", "val")
    with pytest.raises(FileNotFoundError, match=r"planet not found under .*nowhere: expected a folder holding"):
        data.load("planet", "val", root=tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"missing list .*train_v2\.csv: planet is read from planet/ with"):
        data.load("planet", "val", root=tmp_path)


def test_missing_list(tree):
    root, file = tree
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"missing list .*train_v2\.csv: .*\(or train_classes\.csv\)"):
        data.load("planet", "val", root=root)


@pytest.mark.parametrize("split", ["train", "val"])
def test_missing_image_and_folder(tree, split):
    root, file = tree
    (file.parent / "train-jpg" / "train_3.jpg").unlink()
    message = (
        rf"1 of 10 files missing in .*train-jpg: train_3\.jpg; {file.name} lists them \(the full list has 40,479"
    )
    with pytest.raises(FileNotFoundError, match=message):
        data.load("planet", split, root=root, limit=1)
    shutil.rmtree(file.parent / "train-jpg")
    with pytest.raises(FileNotFoundError, match=rf"missing folder .*train-jpg: expected .* that {file.name} lists"):
        data.load("planet", split, root=root)


def test_unknown_tag(tree):
    root, file = tree
    file.write_text(listed(TAGS | {0: "cloudy roads"}))
    message = rf"unknown tag in line 4 of .*{file.name} 'roads'; did you mean 'road'.*valid: agriculture, .*water\)"
    with pytest.raises(ValueError, match=message):
        data.load("planet", "val", root=root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_name\ntrain_0\n", r"damaged .*csv: expected the columns image_name,tags, got 'image_name'"),
        ("train_0,clear\ntrain_1,clear\n", r"expected the columns image_name,tags, got 'train_0,clear'"),
        ("", r"expected the columns image_name,tags, got ''"),
        ("image_name,tags\n", r"damaged .*csv: it lists 0 images, expected 4 or more to divide 70/30"),
        (listed({0: "clear", 1: "haze", 2: "water"}), r"it lists 3 images, expected 4 or more"),
        (listed(TAGS) + "train_12\n", r"damaged line 12 of .*csv: 'train_12', expected 'train_<n>,<tags>'"),
        (listed(TAGS | {0: ""}), r"damaged line 4 of .*csv: 'train_0,', expected"),
        (listed(TAGS | {0: "clear,primary"}), r"damaged line 4 of .*csv: 'train_0,clear,primary', expected"),
        (listed(TAGS) + "\ntrain_0,clear\n", r"damaged line 13 of .*csv: 'train_0,clear', .*each image once"),
        (listed(TAGS) + "test_0,clear\n", r"damaged line 12 of .*csv: 'test_0,clear', expected"),
        (listed(TAGS) + "train_012,clear\n", r"damaged line 12 of .*csv: 'train_012,clear', expected"),
    ],
)
def test_damaged_list(tree, text, message):
    tree[1].write_text(text)
    with pytest.raises(OSError, match=message):
        data.load("planet", "val", root=tree[0])


def test_list_that_is_no_text(tree):
    tree[1].write_bytes(b"PK\x03\x04\xff\xfe")  # still zipped
    with pytest.raises(OSError, match=r"damaged .*csv: .*(decode|columns)"):
        data.load("planet", "val", root=tree[0])


def test_list_as_some_editors_write_it(tree):
    root, file = tree
    before = data.load("planet", "val", root=root).fingerprint()
    file.write_bytes(b"\xef\xbb\xbf" + listed(TAGS).replace("\n", "\r\n").encode() + b"\r\n")
    assert data.load("planet", "val", root=root).fingerprint() == before


def test_first_list_wins(tree):
    root, file = tree
    for each in planet.LISTS:
        (file.parent / each).write_text(listed(TAGS | {1: "haze" if each == "train_v2.csv" else "water"}))
    val = data.load("planet", "val", root=root, limit=1)
    assert val.ids == ["train_1"] and val.labels[0].nonzero().tolist() == [[planet.CLASSES.index("haze")]]


def test_truncated_image(tree):
    root, file = tree
    image = file.parent / "train-jpg" / "train_1.jpg"
    image.write_bytes(image.read_bytes()[:-100])
    with pytest.raises(OSError, match=r"damaged or truncated image .*train_1\.jpg"):
        data.load("planet", "val", root=root)[0]
