"""The GPU's studies on a made-up tree: what the pack changes of its images, and all parts on a CPU, in small."""

import json
import shutil
import subprocess
from argparse import Namespace

import gpu_pack
import gpu_studies
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cam_utils import data
from cam_utils.networks import schedules
from tests.conftest import ROOT, _palette, _xml
from workflow.studies import photograph_cells as cells
from workflow.studies import smoothed_photographs as smoothed

# Names of train and val, (width, height), objects (class, xmin, ymin, xmax, ymax, difficult): 1-based, inclusive.
OBJECTS = [("cat", 11, 21, 150, 140, 0), ("dog", 161, 31, 300, 200, 1)]
TRAIN, VAL, SIZE = 8, 3, (320, 240)


def picture(seed):
    """Return a smooth random picture."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(SIZE, Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """VOC 2012 with one and two objects by turns, and eight images of ImageNet in eight of a thousand classes."""
    root = tmp_path_factory.mktemp("tree")
    voc = root / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "Annotations", "SegmentationObject", "ImageSets/Main"):
        (voc / folder).mkdir(parents=True)
    names = {"train": [f"t{i}" for i in range(TRAIN)], "val": [f"v{i}" for i in range(VAL)]}
    for split, ids in names.items():
        (voc / "ImageSets/Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in ids))
        for i, name in enumerate(ids):
            objects = OBJECTS[: 1 + i % 2]
            picture(i).save(voc / "JPEGImages" / f"{name}.jpg", quality=95)
            (voc / "Annotations" / f"{name}.xml").write_text(_xml(name, *SIZE, objects))
            _palette(*SIZE, objects, range(1, 9)).save(voc / "SegmentationObject" / f"{name}.png")
    synsets = [f"n{i:08}" for i in range(1000)]
    (root / "imagenet").mkdir()
    (root / "imagenet" / gpu_pack.SYNSETS).write_text("".join(f"{each} thing {each}\n" for each in synsets))
    for i in range(8):
        folder = root / "imagenet" / "val" / synsets[100 * i]
        folder.mkdir(parents=True)
        picture(50 + i).save(folder / f"i{i}.JPEG", quality=95)
    return root


@pytest.fixture(scope="module")
def packed(tree, tmp_path_factory):
    file = tmp_path_factory.mktemp("pack") / "pack.zip"
    return file, gpu_pack.write(tree, file)


def test_a_pack_is_the_data_but_for_jpeg(tree, packed):
    file, told = packed
    root, read = gpu_pack.unpacked(file)
    assert read == told and told["images"] == {"voc2012 train": TRAIN, "voc2012 val": VAL, "imagenet": 8}
    assert 0 < told["mean difference"] < 0.02
    parts = (("voc2012", "train", {}), ("voc2012", "val", {}), ("imagenet", "val", {"resize": "crop"}))
    for name, split, how in parts:
        ours, theirs = (data.load(name, split, root=place, size=cells.SIZE, **how) for place in (root, tree))
        assert ours.ids == theirs.ids and torch.equal(ours.labels, theirs.labels)
        for own, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(own.boxes, other.boxes, atol=0.02, rtol=0)
            assert torch.equal(own.objects, other.objects) and torch.equal(own.flags, other.flags)
            assert float((own.image - other.image).abs().mean()) < 0.02
            if split == "val" and name == "voc2012":
                assert torch.equal(own.masks, other.masks) and torch.equal(own.ignore, other.ignore)
            else:
                assert own.masks is None


def test_equal_data_are_an_equal_pack_and_a_large_one_is_refused(tree, packed, tmp_path, monkeypatch):
    file, _ = packed
    gpu_pack.write(tree, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == file.read_bytes()
    monkeypatch.setattr(gpu_pack, "MOST", 1000)
    with pytest.raises(ValueError, match=r"MB, expected 0 at most: lower its --quality"):
        gpu_pack.write(tree, tmp_path / "large.zip")
    assert not (tmp_path / "large.zip").exists()


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_no_pack_can_be_committed_by_chance():
    done = subprocess.run(["git", "check-ignore", "data/cache/gpu-pack.zip"], cwd=ROOT, capture_output=True)
    assert done.returncode in (0, 128)  # 128: not a checkout


def test_blocks_end_with_the_time():
    assert list(gpu_studies.until(range(5), float("inf"), 2)) == [[0, 1], [2, 3], [4]]
    assert list(gpu_studies.until(range(5), float("-inf"))) == []


def test_a_training_is_ended_when_its_time_is_up(monkeypatch, tmp_path):
    asked = []
    endless = ["python", "-c", "import time; time.sleep(600)"]
    own = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda _: asked.append(own(endless)) or asked[-1])
    gpu_studies.begun(Namespace(pack=tmp_path, device="cpu"), deadline=0.0)
    assert asked[0].returncode < 0


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The command with small images, one epoch, one draw, and one block of images in each part."""
    monkeypatch.setenv("CAM_UTILS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cells, "SIZE", 64)
    monkeypatch.setattr(smoothed, "DRAWS", 1)
    stage = schedules.Stage(1, 0.01, unfrozen=0.1)
    monkeypatch.setattr(schedules, "FINE_TUNING", stage)
    monkeypatch.setattr(gpu_studies, "BLOCK", 1)
    monkeypatch.setattr(gpu_studies, "until", lambda images, _, block=1: [list(images[:block])])
    monkeypatch.setattr(
        gpu_studies, "begun", lambda options, _: gpu_studies.main(options.pack, "--device", "cpu", "--tune")
    )


def test_all_parts_leave_their_tables_with_where_they_come_from(small, packed, tmp_path):
    gpu_studies.main(packed[0], "--device", "cpu", "--out", tmp_path / "out")
    tables = {file.stem: pd.read_parquet(file) for file in (tmp_path / "out").glob("*.parquet")}
    assert tables.keys() == {"tuned", "score_cam", "ss_cam", "mosaics"}
    assert set(tables["tuned"]["head"]) == set(cells.HEADS) and tables["tuned"]["image_index"].nunique() == VAL
    assert len(pd.read_csv(tmp_path / "out" / "history.csv")) == 2
    assert set(tables["score_cam"]["image_index"]) == set(tables["ss_cam"]["image_index"]) == {1}  # of two labels
    assert tables["score_cam"]["fit"].nunique() == 4
    readings = {"printed", "authors-2020-06", "authors-2020-06-mean", "authors-2020-08"}
    assert set(tables["ss_cam"]["method"]) == readings
    assert set(tables["mosaics"]["method"]) == readings | {*smoothed.CHEAP, "score-cam"}
    means = pd.read_csv(tmp_path / "out" / "means.csv")
    assert set(means["table"]) == tables.keys() and means["value"].between(0, 1).all()
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["pack"] == packed[1]
    assert record["images"] == {"tuned": VAL, "score_cam": 1, "ss_cam": 1, "mosaics": 1}
