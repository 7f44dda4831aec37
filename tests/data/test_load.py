"""The front door: names, options, folders of the project."""

import re

import pytest
import torch

from cam_utils import data, files
from cam_utils.data.pixels import PixelsAndLabels
from cam_utils.data.single import SingleLabel
from cam_utils.evaluation import regions
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("name", "split", "options", "message"),
    [
        ("coco", "val", {}, "unknown dataset 'coco'; did you mean 'coco2017'"),
        ("COCO2017", "val", {}, "unknown dataset 'COCO2017'; did you mean 'coco2017'"),
        (
            "mnist",
            "val",
            {},
            r"unknown dataset 'mnist' \(valid: digits, coco2017, voc2007, voc2012, imagenet, .*, msrc, photos\)",
        ),
        ("digits", "validation", {}, r"unknown split of digits 'validation'.*valid: train, val\)"),
        ("coco2017", "trian", {}, "unknown split of coco2017 'trian'; did you mean 'train'"),
        ("voc2007", "trainvall", {}, "unknown split of voc2007 'trainvall'; did you mean 'trainval'"),
        (
            "digits",
            "val",
            {"cooccurrence": 0},
            "unknown option of digits 'cooccurrence'; did you mean 'co_occurrence'",
        ),
        ("coco2017", "val", {"seed": 0}, r"unknown option of coco2017 'seed' \(valid: none\)"),
        (
            "voc2007",
            "val",
            {"segmentation": 1},
            "unknown option of voc2007 'segmentation'; did you mean 'segmentation_only'",
        ),
        ("digits", "val", {"limit": 0}, "expected limit as a whole number of samples, 1 or more, got 0"),
        ("digits", "val", {"limit": 2.5}, "expected limit as a whole number of samples, 1 or more, got 2.5"),
    ],
)
def test_unknown_names(name, split, options, message):
    with pytest.raises(ValueError, match=message):
        data.load(name, split, **options)


@pytest.mark.parametrize(
    ("options", "message"), [({"resize": "croop"}, "did you mean 'crop'"), ({"size": 0}, "got 0")]
)
def test_sizing_of_files(voc_root, options, message):
    with pytest.raises(ValueError, match=message):
        data.load("voc2007", "val", root=voc_root, **options)


def test_folders(monkeypatch, tmp_path):
    assert files.DATA.name == "data" and (files.DATA.parent / "pyproject.toml").is_file()
    monkeypatch.setenv("CAM_UTILS_CACHE", str(tmp_path))
    assert tmp_path == files.cache()
    monkeypatch.delenv("CAM_UTILS_CACHE")
    assert files.cache() == files.DATA / "cache"
    with pytest.raises(AttributeError, match="has no attribute 'CASH'"):
        data.CASH  # noqa: B018


def test_every_dataset_has_a_card():
    pages = "".join(page.read_text() for page in (ROOT / "book").glob("datasets*.md"))
    assert sorted(data.LOADERS) == sorted(re.findall(r"^## (\w+)$", pages, re.MULTILINE))


def test_a_random_part_is_fixed_by_its_seed():
    scenes = data.load("digits", "val", n=12)
    part, again, other = (data.Drawn(scenes, 5, seed) for seed in (1, 1, 2))
    assert part.ids == again.ids != other.ids
    assert part.fingerprint() == again.fingerprint() != other.fingerprint()
    assert [part[i].id for i in range(5)] == part.ids
    assert part.labels.tolist() == [scenes.labels[scenes.ids.index(name)].tolist() for name in part.ids]
    assert sorted(data.Drawn(scenes, None).ids) == scenes.ids


@pytest.mark.parametrize("name", ["voc2007", "digits"])
def test_every_view_serves_the_pixels_of_its_rows(name, voc_root):
    scenes = data.load(name, "train", root=voc_root, size=96, limit=3)
    views = [data.Drawn(scenes, 2, 5), data.Unlabelled(scenes, "ab"), data.Permuted(scenes, 1)]
    for view in [*views, SingleLabel(scenes, strict=False)]:
        read = PixelsAndLabels(view)
        for i, each in enumerate(view.ids):
            pixels, labels = read[i]
            assert torch.equal(pixels, PixelsAndLabels(scenes)[scenes.ids.index(each)][0])
            assert torch.equal(labels, view[i].labels) and view[i].id == each


def test_images_for_a_network_of_other_classes_carry_no_label_but_keep_their_objects():
    scenes = data.load("digits", "val", n=6)
    seen = data.Unlabelled(scenes, [f"class {i}" for i in range(1000)])
    own, other = scenes[2], seen[2]
    assert torch.equal(own.image, other.image) and torch.equal(own.boxes, other.boxes)
    assert other.labels.shape == (1000,) and not seen.labels.any()
    assert len(other.objects) == len(own.objects) and (other.objects < 0).all()
    assert seen.fingerprint() != scenes.fingerprint()
    # No object belongs to a class of the network: neither to the last one, which is what index -1 would pick.
    assert not regions.label_regions(other.objects, other.masks, 1000).any()
