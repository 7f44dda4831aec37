"""The project's own photographs: against COCO's reader on another tree, torchvision's class names, the credits."""

import csv
import json
import re
import shutil
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from cam_utils import data, files, parameters
from tests.conftest import ROOT
from workflow.batch import grid

OWN = ROOT / "data" / "photos"
OPEN = {"CC BY 2.0": 4, "No known copyright restrictions": 7}  # licence -> its number in COCO's file


@pytest.fixture(scope="module")
def photos():
    return data.load("photos")


@pytest.fixture(scope="module")
def credits():
    with (OWN / "CREDITS.csv").open(newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def test_they_are_found_from_everywhere(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = [data.load("photos"), data.load("photos", "all"), data.load("photos", root=OWN)]
    assert {each.fingerprint() for each in [*found, data.load("photos", root=OWN.parent)]} == {photos.fingerprint()}
    assert (photos.name, photos.split, len(photos), photos.has_masks) == ("photos", "all", 19, True)
    assert photos.ids == sorted(photos.ids) and data.load("photos", limit=3).ids == photos.ids[:3]


def test_classes_are_the_80_of_coco(photos):
    names = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    assert list(photos.classes) == [name for name in names if name not in ("__background__", "N/A")]
    assert len(photos.classes) == 80 and (photos.labels.sum(1) >= 1).all()


def test_samples_are_those_of_coco2017_read_from_its_own_layout(photos, tmp_path):
    (tmp_path / "annotations").mkdir()
    shutil.copy(OWN / "instances.json", tmp_path / "annotations" / "instances_val2017.json")
    (tmp_path / "val2017").symlink_to(OWN / "images")
    coco = data.load("coco2017", "val", root=tmp_path)
    assert coco.ids == photos.ids and coco.classes == photos.classes and torch.equal(coco.labels, photos.labels)
    for ours, theirs in zip(photos, coco, strict=True):
        for field in ("image", "objects", "boxes", "masks", "flags"):
            assert torch.equal(getattr(ours, field), getattr(theirs, field))


def test_scaled_outlines_fit_their_scaled_boxes(photos):
    """COCO's boxes are tight around the outlines; a mask has whole pixels, and small parts can have none."""
    apart = []
    for sample in data.load("photos", size=480):
        for mask, box in zip(sample.masks.numpy(), sample.boxes.numpy(), strict=True):
            rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
            tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            apart.append(np.abs(tight - box).max())
    assert len(apart) == 148 and max(apart) < 3


def test_every_photograph_is_credited_under_a_licence_that_lets_it_be_passed_on(credits):
    listed = {each["file_name"]: each for each in json.loads((OWN / "instances.json").read_text())["images"]}
    present = {path.name for path in (OWN / "images").iterdir()}
    assert present == set(credits) == set(listed) and len(present) == 19
    for name, row in credits.items():
        assert OPEN[row["licence"]] == listed[name]["license"] and row["licence_url"].startswith("http://")
        assert int(row["coco_id"]) == listed[name]["id"] == int(name.removesuffix(".jpg"))
        assert row["source"] == f"COCO 2017, {listed[name]['coco_split']}"
        with Image.open(OWN / "images" / name) as image:
            assert image.size == (listed[name]["width"], listed[name]["height"]) and max(image.size) == 480
    text = (OWN / "README.md").read_text()
    counts = Counter(row["licence"] for row in credits.values())
    assert f"{counts['CC BY 2.0']} are CC BY 2.0, {counts['No known copyright restrictions']} have no known" in text


def test_the_page_shows_and_credits_every_photograph(photos, credits):
    cells = [line.strip("| ").split(" | ") for line in (ROOT / "book" / "photos.md").read_text().splitlines()]
    rows = {row[1][1:17]: row for row in cells if row[0].startswith("![")}
    assert list(rows) == list(credits)
    thumbnails = {path.name: path for path in (ROOT / "book" / "photos").iterdir()}
    assert set(thumbnails) == set(credits) and sum(path.stat().st_size for path in thumbnails.values()) < 150_000
    for name, (shown, file, licence, original, words) in rows.items():
        row, part = credits[name], credits[name]["source"].split(", ")[1]
        assert shown == f"![Photograph {row['coco_id']} of COCO](photos/{name})"
        assert file == f"[{name}](http://images.cocodataset.org/{part}/{name}), id {row['coco_id']} of {part}"
        assert licence == f"[{row['licence']}]({row['licence_url']})"
        assert original == (f"[on Flickr]({row['original']})" if row["original"] else "not known")
        sample = photos[photos.ids.index(name.removesuffix(".jpg"))]
        named = re.split(", | and ", words.removeprefix("Shows ").removesuffix("."))
        counts = Counter(photos.classes[k] for k in sample.objects.tolist())
        assert {each.split(" (")[0]: int((re.findall(r"[0-9]+", each) or [1])[0]) for each in named} == counts
        with Image.open(OWN / "images" / name) as image, Image.open(thumbnails[name]) as small:
            assert max(small.size) == 120
            wanted = np.asarray(image.resize(small.size, Image.Resampling.BOX), float)
            apart = np.abs(np.asarray(small, float) - wanted).mean()
            assert apart < 20, name  # of 255: at most 10 between a photograph and its own, 48 or more to others


def test_they_are_the_shared_ones(shared):
    for path in (shared / "photos" / "images").iterdir():
        assert (OWN / "images" / path.name).read_bytes() == path.read_bytes()
    theirs, ours = (json.loads((at / "instances.json").read_text()) for at in (shared / "photos", OWN))
    assert all(ours[key] == theirs[key] for key in ("images", "annotations", "licenses"))
    assert (OWN / "CREDITS.csv").read_bytes() == (shared / "photos" / "CREDITS.csv").read_bytes()


def test_what_is_missing_is_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"^unknown split of photos 'val'.*\(valid: all\)$"):
        data.load("photos", "val")
    monkeypatch.setattr(files, "DATA", tmp_path / "data")
    expected = r"a folder holding photos/ .*as in the project's data/ \(an installed package has none\)"
    with pytest.raises(FileNotFoundError, match=rf"^photos not found under .*data: expected {expected}$"):
        data.load("photos")
    (tmp_path / "photos").mkdir()
    with pytest.raises(FileNotFoundError, match=r"missing .*instances\.json: expected a file"):
        data.load("photos", root=tmp_path)
    shutil.copy(OWN / "instances.json", tmp_path / "photos")
    with pytest.raises(
        FileNotFoundError, match=r"missing folder .*photos.images: expected the images that instances"
    ):
        data.load("photos", root=tmp_path)
    (tmp_path / "photos" / "images").mkdir()
    with pytest.raises(
        FileNotFoundError, match=r"19 of 19 files missing in .*; .* \(the project has 19 photographs\)"
    ):
        data.load("photos", root=tmp_path)


@pytest.mark.parametrize("name", ["digits", "coco2017", "voc2007", "imagenet", "stanford40", "planet", "msrc"])
def test_others_need_a_split(name, tmp_path):
    with pytest.raises(ValueError, match=rf"^unknown split of {name} None.*\(valid: \w+"):
        data.load(name, root=tmp_path)


SMOOTHED = {"dataset": "photos", "network": "squeezenet1_0", "weights": "imagenet"}


def test_a_chapter_that_trains_refuses_them_and_one_that_does_not_needs_no_folder():
    known = {name: grid.defaults(ROOT / "notebooks" / f"{name}.ipynb") for name in ("ss_cam", "minmax_cam")}
    assert parameters.check("ss_cam", known["ss_cam"] | SMOOTHED)["data_root"] is None
    with pytest.raises(ValueError, match="data_root as the folder that the dataset msrc is in, got None"):
        parameters.check("ss_cam", known["ss_cam"] | SMOOTHED | {"dataset": "msrc"})
    with pytest.raises(
        ValueError, match=r"^unknown dataset 'photos'.*\(valid: digits, coco2017, .*, msrc, planet\)$"
    ):
        parameters.check("minmax_cam", known["minmax_cam"] | {"dataset": "photos"})


def test_a_grid_gives_the_folder_of_datasets_to_others_only(tmp_path):
    file = tmp_path / "grid.yaml"
    fixed = {name: value for name, value in SMOOTHED.items() if name != "dataset"}
    block = {"chapter": "ss_cam", "parameters": fixed, "over": {"dataset": ["photos", "msrc"]}}
    file.write_text(json.dumps({"data_root": "datasets", "runs": [block]}))
    jobs = grid.read(file).jobs.values()
    assert {job.parameters["dataset"]: job.parameters.get("data_root") for job in jobs} == {
        "photos": None, "msrc": "datasets",
    }  # fmt: skip
