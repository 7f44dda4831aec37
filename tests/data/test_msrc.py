"""MSRC-v2 in its official layout and as palette pictures: against its published colours and hand arithmetic."""

import shutil
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from cam_utils import data
from cam_utils.data import msrc

# fmt: off
OFFICIAL = {  # the colour table that comes with MSRC-v2
    "void": (0, 0, 0), "building": (128, 0, 0), "grass": (0, 128, 0), "tree": (128, 128, 0), "cow": (0, 0, 128),
    "horse": (128, 0, 128), "sheep": (0, 128, 128), "sky": (128, 128, 128), "mountain": (64, 0, 0),
    "aeroplane": (192, 0, 0), "water": (64, 128, 0), "face": (192, 128, 0), "car": (64, 0, 128),
    "bicycle": (192, 0, 128), "flower": (64, 128, 128), "sign": (192, 128, 128), "bird": (0, 64, 0),
    "book": (128, 64, 0), "chair": (0, 192, 0), "road": (128, 64, 128), "cat": (0, 192, 128),
    "dog": (128, 192, 128), "body": (64, 64, 0), "boat": (192, 64, 0),
}
# fmt: on
COLOURS = np.array([*OFFICIAL.values()], np.uint8)
DRAWN = np.zeros((8, 12), np.uint8)  # void, road in columns 3 to 6 of rows 2 to 5, dog in the last row
DRAWN[2:6, 3:7], DRAWN[7] = 19, 21


def write(root, official: bool) -> None:
    """Write 591 images of 12 x 8 pixels: image k of `msrc.IDS` shows class k % 23, but 10_8_s shows DRAWN."""
    (root / "Images").mkdir(parents=True)
    (root / "GroundTruth").mkdir()
    for k, name in enumerate(msrc.IDS):
        classes = DRAWN if name == "10_8_s" else np.full((8, 12), 1 + k % 23, np.uint8)
        Image.new("RGB", (12, 8), (k % 256, 9, 9)).save(root / "Images" / f"{name}.{'bmp' if official else 'jpg'}")
        truth(classes, official).save(root / "GroundTruth" / f"{name}_GT.{'bmp' if official else 'png'}")


def truth(classes: np.ndarray, official: bool, palette: np.ndarray = COLOURS) -> Image.Image:
    if official:
        return Image.fromarray(COLOURS[classes])
    picture = Image.fromarray(classes, mode="P")
    picture.putpalette(palette.tobytes())
    return picture


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """Both layouts: official (BMP, colours) and palette pictures."""
    folders = {official: tmp_path_factory.mktemp("msrc") for official in (True, False)}
    for official, folder in folders.items():
        write(folder / "msrc", official)
    return folders


@pytest.fixture
def copied(roots, tmp_path):
    """A writable tree of each layout, and the file of the first image's ground truth in it."""

    def copy(official):
        base = shutil.copytree(roots[official] / "msrc", tmp_path / "msrc")
        return base, base / "GroundTruth" / f"10_8_s_GT.{'bmp' if official else 'png'}"

    return copy


def test_colours_and_classes_are_the_official_ones():
    assert ("void", *msrc.CLASSES) == tuple(OFFICIAL)
    assert [tuple(each) for each in msrc.COLOURS.tolist()] == [*OFFICIAL.values()]


@pytest.mark.parametrize("official", [True, False])
def test_objects_boxes_and_masks_by_hand(roots, official):
    train = data.load("msrc", "train", root=roots[official], size=12)
    assert (train.name, train.ids[0], len(train.classes), train.has_masks) == ("msrc", "10_8_s", 23, True)
    sample = train[0]  # 12 x 8 with 2 black rows above
    assert [train.classes[k] for k in sample.objects.tolist()] == ["road", "dog"]
    assert sample.boxes.tolist() == [[3.0, 4.0, 7.0, 8.0], [0.0, 9.0, 12.0, 10.0]]
    expected = torch.zeros(3, 12, 12, dtype=torch.bool)
    expected[:, 2:10] = torch.from_numpy(np.stack([DRAWN == 19, DRAWN == 21, DRAWN == 0]))
    assert torch.equal(torch.cat([sample.masks, sample.ignore[None]]), expected)
    assert sample.flags.tolist() == [False, False]
    assert train.labels[0].nonzero().flatten().tolist() == sample.objects.tolist()


def test_labels_of_both_layouts_agree_with_what_was_drawn(roots):
    both = [data.load("msrc", "test", root=roots[official] / "msrc") for official in (True, False)]
    assert torch.equal(both[0].labels, both[1].labels) and both[0].ids == both[1].ids
    assert both[0].labels.argmax(1).tolist() == [msrc.IDS.index(each) % 23 for each in both[0].ids]


def test_splits_share_no_image_and_are_the_same_whatever_the_limit(roots):
    splits = {each: data.load("msrc", each, root=roots[True]).ids for each in msrc.EXPECTED}
    assert {each: len(ids) for each, ids in splits.items()} == {
        "train": 276, "val": 59, "test": 256, "trainval": 335,
    }  # fmt: skip
    assert splits["train"] + splits["val"] == splits["trainval"]
    assert sorted(splits["trainval"] + splits["test"]) == sorted(msrc.IDS) and len(set(msrc.IDS)) == 591
    # Digests as `printf 0/10_8_s | sha256sum` gives them: the smallest of all, and the 277th.
    assert splits["train"][0] == "10_8_s"
    assert data.load("msrc", "val", root=roots[True], limit=5).ids == splits["val"][:5]


def test_voc_palette_is_read_by_index(copied):
    base, file = copied(False)
    truth(DRAWN, False, msrc.VOC).save(file)
    train = data.load("msrc", "train", root=base)
    assert [train.classes[k] for k in train[0].objects.tolist()] == ["road", "dog"]


def test_an_image_without_any_class_has_no_label(copied):
    base, file = copied(True)
    truth(np.zeros((8, 12), np.uint8), True).save(file)
    train = data.load("msrc", "train", root=base, size=12)
    assert train.labels[0].sum() == 0 and train[0].masks.shape == (0, 12, 12) and train[0].ignore[2:10].all()


@pytest.mark.parametrize("official", [True, False])
def test_missing_pairs_and_too_many(copied, official):
    base, file = copied(official)
    file.rename(file.with_name(f"21_1_s_GT{file.suffix}"))
    with pytest.raises(
        FileNotFoundError, match=r"1 of 591 files missing in .*GroundTruth: 10_8_s_GT\..*591 images"
    ):
        data.load("msrc", "val", root=base)
    shutil.copy(file.with_name(f"21_1_s_GT{file.suffix}"), file)
    with pytest.raises(ValueError, match=r"GroundTruth holds 21_1_s_GT\.\w+, expected the 591 files of MSRC-v2"):
        data.load("msrc", "val", root=base)
    for image in (base / "Images").iterdir():
        image.unlink()
    with pytest.raises(FileNotFoundError, match=r"591 of 591 files missing in .*Images: 1_1_s\.bmp, 1_2_s"):
        data.load("msrc", "val", root=base)
    (base / "Images").rmdir()
    with pytest.raises(FileNotFoundError, match=r"missing folder .*Images: expected the 591 files of MSRC-v2"):
        data.load("msrc", "val", root=base)


def test_wrong_root_and_split(tmp_path):
    with pytest.raises(FileNotFoundError, match="msrc is read from disk: give root= the folder that holds msrc/"):
        data.load("msrc", "train")
    with pytest.raises(ValueError, match=r"unknown split of msrc 'testing'.*\(valid: train, val, test, trainval\)"):
        data.load("msrc", "testing", root=tmp_path)


def _painted(colour):
    pixels = COLOURS[DRAWN]
    pixels[3, 4] = colour
    return Image.fromarray(pixels)


# fmt: off
REFUSED = [
    (True, _painted((128, 0, 1)), r"holds the RGB colour \(128, 0, 1\) at row 3, column 4, expected the colours"),
    (True, _painted((0, 64, 128)), r"RGB colour \(0, 64, 128\) at row 3, column 4"),  # VOC's 20 is no MSRC class
    (True, _painted((255, 255, 255)), r"RGB colour \(255, 255, 255\)"),
    (True, Image.fromarray(DRAWN > 0), r"has shape \(8, 12\) and one bit per pixel, expected RGB pixels or"),
    (True, Image.fromarray(COLOURS[DRAWN]).convert("L"), r"index \d+, expected 0 \(no class\) to 23"),
    (False, truth(DRAWN + 3, False), r"holds the index 24, expected 0 \(no class\) to 23"),
    (False, truth(DRAWN, False, COLOURS[::-1]), r"palette index 0 with the colour \(192, 64, 0\) at row 0"),
    (False, Image.fromarray(DRAWN), r"palette index 19 with the colour \(19, 19, 19\) at row 2, column 3"),
    (False, Image.fromarray(COLOURS[DRAWN]).convert("RGBA"), r"has shape \(8, 12, 4\), expected RGB pixels or"),
    (False, Image.fromarray(DRAWN.astype(np.uint16)), r"png: its pixels have mode I;16, expected 8 bits"),
]
# fmt: on


@pytest.mark.parametrize(("official", "picture", "message"), REFUSED)
def test_ground_truth_of_another_form_is_refused_at_once(copied, official, picture, message):
    base, file = copied(official)
    picture.save(file)
    with pytest.raises(OSError, match=rf"10_8_s_GT.*{message}"):
        data.load("msrc", "train", root=base)


@pytest.mark.parametrize("official", [True, False])
def test_damaged_ground_truth_and_image(copied, official):
    base, file = copied(official)
    train = data.load("msrc", "train", root=base)
    image = base / "Images" / f"{train.ids[1]}.{'bmp' if official else 'jpg'}"
    image.write_bytes(image.read_bytes()[:-20])
    with pytest.raises(OSError, match=rf"damaged or truncated image .*{train.ids[1]}\."):
        train[1]
    truth(DRAWN.T, official).save(file)
    with pytest.raises(OSError, match=r"10_8_s_GT\.\w+ is 8 x 12 pixels, expected the 12 x 8 of .*10_8_s\."):
        data.load("msrc", "train", root=base)[0]
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(OSError, match=r"damaged or truncated image .*10_8_s_GT"):
        data.load("msrc", "train", root=base)


def test_fingerprint_tells_ground_truths_apart(copied):
    base, file = copied(True)
    before = data.load("msrc", "train", root=base).fingerprint()
    moved = DRAWN.copy()
    moved[0, 0] = 19  # no label changes
    truth(moved, True).save(file)
    assert data.load("msrc", "train", root=base).fingerprint() != before


def test_real_sample(shared):
    """Names tell what a group shows; indices agree with them, colours do not from road on."""
    splits = {each: data.load("msrc", each, root=shared / "data") for each in ("train", "val", "test")}
    labels = {id: row for each in splits.values() for id, row in zip(each.ids, each.labels.tolist(), strict=True)}
    counts = [sum(row[k] for row in labels.values()) for k in range(23)]
    assert dict(zip(msrc.CLASSES, map(int, counts), strict=True))["horse"] == 3
    assert sum(sum(row) >= 2 for row in labels.values()) == 483
    assert all((each.labels.sum(0) > 0).all() for each in splits.values())
    shows = {2: "tree", 4: "aeroplane", 7: "car", 12: "bird", 15: "cat", 16: "dog", 17: "road", 19: "body"}
    of = Counter(int(id.split("_")[0]) for id, row in labels.items() for k in range(23)
                 if row[k] and shows.get(int(id.split("_")[0])) == msrc.CLASSES[k])  # fmt: skip
    assert of == {group: msrc.GROUPS[group - 1] for group in shows}

    file = shared / "data" / "msrc" / "GroundTruth" / "16_1_s_GT.png"
    palette = np.array(Image.open(file).getpalette()).reshape(-1, 3)[:24]
    agree = (palette == COLOURS).all(1)
    assert agree[:19].all() and not agree[19:].any()
    assert palette[21].tolist() == [*OFFICIAL["road"]]  # dog as colour would be road
    sample = splits["train"][0]
    assert sample.image.shape == (3, 224, 224) and len(sample.masks) == len(sample.objects) > 0
