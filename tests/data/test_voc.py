"""VOC's layout, on a small tree: against torchvision's reader, the XML and hand arithmetic."""

import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile
from torchvision.datasets import VOCDetection

from cam_utils import data


@pytest.fixture(scope="module")
def train(voc_root):
    return data.load("voc2007", "train", root=voc_root, size=100)


@pytest.fixture
def copied(voc_root, tmp_path):
    """A writable tree, and the folder of VOC2007 in it."""
    shutil.copytree(voc_root / "VOCdevkit", tmp_path / "VOCdevkit")
    return tmp_path, tmp_path / "VOCdevkit" / "VOC2007"


@pytest.mark.parametrize("name", ["voc2007", "voc2012"])
@pytest.mark.parametrize("split", ["train", "val", "trainval"])
def test_labels_and_flags_against_torchvision(voc_root, name, split):
    ours = data.load(name, split, root=voc_root)
    theirs = VOCDetection(voc_root, year=name[3:], image_set=split)
    assert len(ours) == len(theirs)
    for i, (_, target) in enumerate(theirs):
        objects = target["annotation"]["object"]
        sample = ours[i]
        assert [ours.classes[k] for k in sample.objects.tolist()] == [each["name"] for each in objects]
        assert sample.flags.tolist() == [each["difficult"] == "1" for each in objects]
        assert {ours.classes[k] for k in ours.labels[i].nonzero().flatten().tolist()} == {
            each["name"] for each in objects
        }


def test_labels_equal_the_union_of_the_xml(voc_root, train):
    for id_, row in zip(train.ids, train.labels, strict=True):
        text = (voc_root / "VOCdevkit" / "VOC2007" / "Annotations" / f"{id_}.xml").read_text()
        names = set(re.findall(r"<object><name>(\w+)</name>", text))
        assert {train.classes[k] for k in row.nonzero().flatten().tolist()} == names


def test_attributes(voc_root, train):
    assert (train.name, train.split, train.size, train.has_masks) == ("voc2007", "train", 100, True)
    assert len(train.classes) == 20 and list(train.classes) == sorted(train.classes)
    assert data.load("voc2007", "train", root=voc_root / "VOCdevkit", size=100).fingerprint() == train.fingerprint()
    assert data.load("voc2007", "test", root=voc_root).ids == ["000006"]
    assert not data.load("voc2007", "test", root=voc_root).has_masks


def test_boxes_and_masks_by_hand(train):
    sample = train[0]  # 200 x 100 -> 100 x 50, 25 black rows above; corners 1-based and inclusive
    assert sample.boxes.tolist() == [[5.0, 35.0, 20.0, 65.0], [45.0, 30.0, 65.0, 70.0]]
    assert sample.masks.sum((1, 2)).tolist() == [13 * 28, 18 * 38]  # the border of 2 pixels is ignored
    assert sample.ignore.sum() == 15 * 30 - 13 * 28 + 20 * 40 - 18 * 38
    assert not (sample.masks & sample.ignore).any()
    assert sample.masks[0, 36:64, 6:19].all()


def test_images_without_mask_file_have_none(train):
    sample = train[train.ids.index("000004")]
    assert sample.masks is None and sample.ignore is None and len(sample.boxes) == 2
    assert sample.flags.tolist() == [True, False]


def test_segmentation_only(voc_root, train):
    segmented = data.load("voc2007", "train", root=voc_root, size=100, segmentation_only=True)
    assert segmented.ids == ["000001", "000002"]
    assert all(sample.masks is not None for sample in segmented)
    assert segmented.fingerprint() != data.load("voc2007", "train", root=voc_root, size=100, limit=2).fingerprint()


def test_crop_drops_the_object_and_keeps_its_label(voc_root):
    cropped = data.load("voc2007", "train", root=voc_root, size=100, resize="crop")
    sample = cropped[0]  # columns 50 to 150 of 200 stay: the cat at 10 to 40 is gone
    assert sample.boxes.tolist() == [[40.0, 10.0, 80.0, 90.0]] and sample.masks.shape == (1, 100, 100)
    assert [cropped.classes[k] for k in sample.objects.tolist()] == ["person"]
    assert sample.labels[cropped.classes.index("cat")] == 1


def test_collate_keeps_missing_masks(train):
    batch = data.collate([train[i] for i in range(3)])
    assert [masks is None for masks in batch.masks] == [False, False, True]
    assert torch.equal(batch.labels, train.labels)


def test_split_of_2012_has_no_test(voc_root):
    with pytest.raises(ValueError, match=r"unknown split of voc2012 'test'.*valid: train, val, trainval"):
        data.load("voc2012", "test", root=voc_root)


@pytest.mark.parametrize(("folder", "suffix"), [("JPEGImages", ".jpg"), ("Annotations", ".xml")])
def test_missing_file(copied, folder, suffix):
    root, base = copied
    (base / folder / f"000002{suffix}").unlink()
    with pytest.raises(FileNotFoundError, match=rf"1 of 3 files missing in .*{folder}: 000002\{suffix}; .*2,501"):
        data.load("voc2007", "train", root=root)


def test_missing_mask_of_the_segmentation_list(copied):
    root, base = copied
    (base / "SegmentationObject" / "000002.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 2 files missing in .*SegmentationObject: 000002\.png"):
        data.load("voc2007", "train", root=root, segmentation_only=True)
    assert data.load("voc2007", "train", root=root)[1].masks is None


def test_missing_split_file_and_folders(copied):
    root, base = copied
    (base / "ImageSets" / "Main" / "val.txt").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"missing split file .*Main.val\.txt: voc2007 is read from VOCdevkit"
    ):
        data.load("voc2007", "val", root=root)
    shutil.rmtree(base / "JPEGImages")
    with pytest.raises(FileNotFoundError, match=r"missing folder .*JPEGImages: expected one \.jpg file per image"):
        data.load("voc2007", "train", root=root)


@pytest.mark.parametrize("lost", [2, 500, 5000])
def test_truncated_image(copied, lost):
    root, base = copied
    file = base / "JPEGImages" / "000001.jpg"
    file.write_bytes(file.read_bytes()[:-lost])
    with pytest.raises(OSError, match=r"damaged or truncated image .*000001\.jpg"):
        data.load("voc2007", "train", root=root)[0]


def test_truncated_image_is_never_padded(voc_root, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(
        RuntimeError, match=r"Pillow pads truncated images; set PIL\.ImageFile\.LOAD_TRUNCATED_IMAGES to False"
    ):
        data.load("voc2007", "train", root=voc_root)[0]


def test_damaged_mask(copied):
    root, base = copied
    file = base / "SegmentationObject" / "000001.png"
    file.write_bytes(file.read_bytes()[:-60])
    with pytest.raises(OSError, match=r"damaged or truncated image .*000001\.png"):
        data.load("voc2007", "train", root=root)[0]
    Image.fromarray(np.zeros((5, 6), np.uint8), mode="P").save(file)
    with pytest.raises(OSError, match=r"000001\.png has shape \(5, 6\), expected the image's \(100, 200\)"):
        data.load("voc2007", "train", root=root)[0]


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("</annotation>", "", OSError, r"damaged annotation .*000001\.xml: no element found"),
        ("<xmin>11</xmin>", "", OSError, r"damaged annotation .*000001\.xml"),
        ("<xmin>11</xmin>", "<xmin>left</xmin>", OSError, r"damaged annotation .*000001\.xml: .*left"),
        (
            "<name>cat</name>",
            "<name>catt</name>",
            ValueError,
            r"unknown class in .*000001\.xml 'catt'; did you mean 'cat'",
        ),
    ],
)
def test_damaged_annotation(copied, old, new, error, message):
    root, base = copied
    file = base / "Annotations" / "000001.xml"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(error, match=message):
        data.load("voc2007", "train", root=root)


def test_wrong_root(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"voc2007 is read from disk: give root= the folder that holds VOCdevkit"
    ):
        data.load("voc2007", "train")
    with pytest.raises(
        FileNotFoundError, match=r"voc2012 not found under .*: expected a folder holding VOCdevkit/VOC2012/"
    ):
        data.load("voc2012", "train", root=tmp_path)


def test_segmentation_only_is_a_flag(voc_root):
    with pytest.raises(ValueError, match="expected segmentation_only as True or False, got 'yes'"):
        data.load("voc2007", "train", root=voc_root, segmentation_only="yes")


def test_real_sample(shared):
    """Counts and boxes of the sample; its objects were drawn as connected parts of a class, so masks fill boxes."""
    splits = {each: data.load("voc2012", each, root=shared / "data") for each in ("train", "val")}
    assert {each: len(found) for each, found in splits.items()} == {"train": 2601, "val": 445}
    assert [int((found.labels.sum(1) > 1).sum()) for found in splits.values()] == [629, 123]
    val, animals = (
        splits["val"],
        [splits["val"].classes.index(each) for each in ("cat", "dog", "horse", "cow", "sheep")],
    )
    assert val.labels[:, animals].sum(0).tolist() == [119, 128, 79, 71, 57] and val.labels[:, animals].any(1).all()
    assert not set(val.ids) & set(splits["train"].ids)
    sample = val[0]
    assert sample.image.shape == (3, 224, 224) and len(sample.masks) == len(sample.objects) > 0
    for mask, (x1, y1, x2, y2) in zip(sample.masks, sample.boxes.tolist(), strict=True):
        rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
        assert abs(rows.min() - y1) < 2 and abs(rows.max() + 1 - y2) < 2
        assert abs(columns.min() - x1) < 2 and abs(columns.max() + 1 - x2) < 2
