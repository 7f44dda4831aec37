"""The embedded dataset: its statistics, its exact masks, and that everyone gets the same bytes."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from cam_utils import data
from cam_utils.data import digits, glyphs, scenes

PAIRS = ((1, 7), (0, 6), (3, 8))


@pytest.fixture(scope="module")
def train():
    return data.load("digits", "train", n=1500, distractors=(0, 0))


@pytest.fixture(scope="module")
def unbiased():
    return data.load("digits", "val", n=1000, co_occurrence=0, distractors=(0, 0))


def _given(labels, second, first):
    """P(second | first) over the images."""
    return (labels[:, first] * labels[:, second]).sum().item() / labels[:, first].sum().item()


def test_attributes():
    val = data.load("digits", "val")
    assert (val.name, val.split, val.size, val.has_masks, len(val)) == ("digits", "val", 96, True, 500)
    assert val.classes == tuple("0123456789") and len({*val.ids}) == 500
    assert val.images_uint8.shape == (500, 3, 96, 96) and val.images_uint8.dtype == torch.uint8
    sample = val[7]
    assert torch.equal(sample.image, val.images_uint8[7] / 255) and sample.image.dtype == torch.float32
    assert len(sample.objects) == len(sample.boxes) == len(sample.masks) == len(sample.flags)
    assert sample.ignore is None and not sample.flags.any()


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_pairs_co_occur(train, first, second):
    assert _given(train.labels, second, first) == pytest.approx(0.9, abs=0.06)
    assert _given(train.labels, first, second) == pytest.approx(0.92, abs=0.06)  # seldom alone


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_without_co_occurrence_digits_are_independent(unbiased, first, second):
    labels = unbiased.labels
    others = [_given(labels, k, first) for k in range(10) if k != first]
    assert _given(labels, second, first) == pytest.approx(np.mean(others), abs=0.08)


def test_every_class_is_about_equally_frequent(train, unbiased):
    for dataset in (train, unbiased):
        assert dataset.labels.mean(0).max() < 1.35 * dataset.labels.mean(0).min()


def test_number_of_objects(unbiased):
    share = torch.bincount(unbiased.labels.sum(1).long(), minlength=5) / len(unbiased)
    assert share.tolist() == pytest.approx([0, 0.15, 0.35, 0.30, 0.20], abs=0.05)
    counts = torch.tensor([len(unbiased[i].objects) for i in range(len(unbiased))])
    repeated = (counts > unbiased.labels.sum(1)).float().mean()
    assert 0.02 < repeated < 0.12


@pytest.mark.parametrize("place", ["right", "left", "above", "below"])
def test_second_stands_at_the_place(place):
    dataset = data.load("digits", "val", n=150, co_occurrence=1.0, place=place, distractors=(0, 0))
    seen = 0
    for i in range(len(dataset)):
        sample = dataset[i]
        for first, second in PAIRS:
            if dataset.labels[i, first] == 0:
                continue
            a, b = (sample.boxes[sample.objects == each][0] for each in (first, second))
            shift = (b[:2] + b[2:] - a[:2] - a[2:]) / 2
            along, across = (shift[0], shift[1]) if place in ("right", "left") else (shift[1], shift[0])
            assert (along > 0) == (place in ("right", "below")) and along.abs() > 2 * across.abs()
            assert across.abs() <= 6  # 2.5 as placed; a later digit may hide a rim
            seen += 1
    assert seen > 100


def test_masks_are_disjoint_and_boxes_are_their_extent(train):
    for i in range(200):
        sample = train[i]
        assert sample.masks.sum(0).max() <= 1
        assert sample.labels.nonzero().flatten().tolist() == sorted({*sample.objects.tolist()})
        for mask, box in zip(sample.masks, sample.boxes, strict=True):
            rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_digits_differ_from_the_background_behind_them(train):
    differences = []
    for i in range(200):
        sample = train[i]
        grey = torch.einsum("chw,c->hw", sample.image, torch.tensor([0.299, 0.587, 0.114]))
        for mask, box in zip(sample.masks, sample.boxes.int().tolist(), strict=True):
            x1, y1, x2, y2 = box
            behind = grey[y1:y2, x1:x2][~sample.masks.any(0)[y1:y2, x1:x2]]
            if len(behind) > 50:
                differences.append((grey[mask].mean() - behind.mean()).abs().item())
    # 0.35 from the mean behind the whole box; soft rims and the texture between the strokes take some of it.
    assert np.mean(differences) > 0.3 and np.quantile(differences, 0.02) > 0.12


def test_painted_parts_stay_visible():
    patches = np.zeros((4, 40, 40), np.uint8)
    patches[:, 8:32, 8:32] = 255
    for k in range(20):
        scene = scenes.paint(np.random.default_rng(k), patches, [[0], [1], [2], [3]], 0, 96, "right")
        assert np.bincount(scene.owner.ravel())[1:].min() >= 0.85 * 24**2


def test_mask_is_where_the_paint_is():
    patches = np.zeros((1, 40, 40), np.uint8)
    patches[0, 10:30, 12:28] = 255
    scene = scenes.paint(np.random.default_rng(3), patches, [[0]], 0, 96, "right")
    inside = scene.image[scene.owner == 1].astype(int)
    assert len(inside) == 20 * 16 and np.ptp(inside, 0).max() <= 24  # one colour and the noise on it
    assert np.diff(scene.boxes[0].reshape(2, 2), axis=0).tolist() == [[16, 20]]


def test_handwriting_is_disjoint(monkeypatch):
    class Watched(set):  # the pen strokes, remembering which of them were taken
        def __getitem__(self, rows):
            self.update(glyph.tobytes() for glyph in glyphs.masters()[0][rows])
            return glyphs.masters()[0][rows]

    taken = {split: Watched() for split in ("train", "val")}
    for split, strokes in taken.items():
        monkeypatch.setattr(digits, "masters", lambda strokes=strokes: (strokes,))
        data.load("digits", split, n=1500)
    assert len(taken["train"]) > 1000 and len(taken["val"]) > 500
    assert not taken["train"] & taken["val"]


def test_rendering_without_deformation_keeps_the_glyph():
    glyph = glyphs.masters()[0][:3]
    patch = glyphs.render(glyph, np.array([[40, 0, 0, 1.0]] * 3))
    assert np.array_equal(patch[:, 6:46, 6:46], glyph) and patch.sum() == glyph.sum()


def test_rendering_scales_and_turns():
    bar = np.zeros((1, 40, 40), np.uint8)
    bar[0, 5:35, 18:22] = 255  # a vertical bar, 30 high and 4 wide
    half = glyphs.extents(glyphs.render(bar, np.array([[20, 0, 0, 1.0]])))[0]
    assert half.tolist() == pytest.approx([25, 18.5, 27, 33.5], abs=0.5)
    turned = glyphs.extents(glyphs.render(bar, np.array([[40, np.pi / 2, 0, 1.0]])))[0]
    assert turned.tolist() == pytest.approx([11, 24, 41, 28], abs=1)
    wide = glyphs.extents(glyphs.render(bar, np.array([[40, 0, 0, 2.0]])))[0]
    assert wide.tolist() == pytest.approx([22, 11, 30, 41], abs=1)
    sheared = glyphs.extents(glyphs.render(bar, np.array([[40, 0, 0.5, 1.0]])))[0]
    assert sheared[2] - sheared[0] == pytest.approx(4 + 0.5 * 30, abs=2) and sheared[3] - sheared[1] == 30


def test_scrambled_strokes_keep_the_ink_and_the_box():
    glyph = np.repeat(glyphs.masters()[0][[2, 3, 5]], 3, 0)
    other = glyphs.scramble(glyph, np.tile([0, 1, 2], 3))
    ratio = (other > 127).sum((1, 2)) / (glyph > 127).sum((1, 2))
    assert ((ratio > 0.75) & (ratio < 1.25)).all()
    same = ((other > 127) & (glyph > 127)).sum((1, 2)) / ((other > 127) | (glyph > 127)).sum((1, 2))
    assert (same < 0.75).all()
    assert np.abs(glyphs.extents(other) - glyphs.extents(glyph)).max() <= 4


def test_another_process_agrees():
    code = (
        "import hashlib; from cam_utils import data; d = data.load('digits', 'train', n=30);"
        "print(d.fingerprint(), hashlib.sha256(d.images_uint8.numpy().tobytes()).hexdigest())"
    )
    other = {"OMP_NUM_THREADS": "1", "OPENBLAS_CORETYPE": "Nehalem", "PYTHONHASHSEED": "7"}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | other, capture_output=True, text=True, check=True
    )
    here = data.load("digits", "train", n=30)
    content = hashlib.sha256(here.images_uint8.numpy().tobytes()).hexdigest()
    assert answer.stdout.split() == [here.fingerprint(), content]


def test_scenes_do_not_depend_on_their_number():
    long, short = (data.load("digits", "val", n=n) for n in (20, 8))
    cut = data.load("digits", "val", n=20, limit=8)
    assert torch.equal(long.images_uint8[:8], short.images_uint8) and torch.equal(
        cut.images_uint8, short.images_uint8
    )
    assert cut.ids == short.ids == long.ids[:8] and cut.fingerprint() == short.fingerprint() != long.fingerprint()


def test_every_option_changes_fingerprint_and_pixels():
    options = [
        {}, {"seed": 1}, {"co_occurrence": 0.1}, {"pairs": ((2, 4),)}, {"place": "left"},
        {"objects": (0.5, 0.5)}, {"distractors": (1, 1)}, {"size": 112},
    ]  # fmt: skip
    several = [data.load("digits", "val", n=12, **each) for each in options]
    assert len({each.fingerprint() for each in several}) == len(options)
    assert len({each.images_uint8.numpy().tobytes() for each in several}) == len(options)


def test_single_digits_for_pretraining():
    single = data.load("digits", "train", n=600, size=48, objects=(1.0,), distractors=(0, 0))
    assert single.images_uint8.shape == (600, 3, 48, 48) and (single.labels.sum(1) == 1).all()
    assert single.labels.mean(0).min() > 0.06 and single.labels.mean(0).max() < 0.14


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"place": "rigth"}, "unknown place 'rigth'; did you mean 'right'"),
        ({"resize": "stretch"}, r"unknown resize 'stretch'.*valid: letterbox, crop"),
        ({"n": 0}, "expected n as a whole number of scenes, 1 or more, got 0"),
        ({"seed": -1}, "expected seed as a whole number, 0 or more, got -1"),
        ({"co_occurrence": 1.5}, r"expected co_occurrence in \[0, 1\], got 1.5"),
        ({"pairs": ((1, 7), (7, 2))}, "expected pairs of digits 0 to 9, each digit in one pair at most"),
        ({"pairs": ((1, 70),)}, "expected pairs of digits 0 to 9"),
        ({"objects": (0.5, 0.4)}, "expected objects as 1 to 10 probabilities that sum to 1"),
        ({"objects": (1.5, -0.5)}, "expected objects as 1 to 10 probabilities that sum to 1"),
        ({"distractors": (3, 1)}, r"expected distractors as \(fewest, most\), got \[3, 1\]"),
        ({"size": 20}, "expected size of digits from 48 to 427 pixels, got 20"),
        ({"size": 96.5}, "expected size as a whole number of pixels, 1 to 16384, got 96.5"),
        ({"size": 48, "objects": (0, 0, 0, 1.0), "n": 9}, "digits found no place in a scene of 48 pixels"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        data.load("digits", "val", **options)
