"""The study of SS-CAM on photographs, with digits in their place: what it stores, and that it resumes."""

import json
import sys

import pandas as pd
import pytest

from cam_utils import data
from cam_utils.networks import models
from workflow.studies import smoothed_curves
from workflow.studies import smoothed_photographs as study


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The study with digits in ImageNet's place, few steps, and a command to run it."""
    monkeypatch.setenv("CAM_UTILS_CACHE", str(tmp_path / "cache"))
    single = data.load("digits", "val", n=40, objects=(1.0,))
    monkeypatch.setattr(study.data, "load", lambda *_, **__: single)
    monkeypatch.setattr(study.models, "pretrained", lambda *_: models.build("digits", 10, seed=3).eval())
    monkeypatch.setattr(study, "DRAWS", 1)
    monkeypatch.setattr(smoothed_curves, "SIGMAS", (0.5,))
    monkeypatch.setattr(smoothed_curves, "DRAWS", (1, 2))
    monkeypatch.setattr(smoothed_curves, "USUAL", 1)

    def run(**counts):
        given = {"mosaics": 1, "images": 1, "score-cam": 1, "curves": 1, "limit": 8} | counts
        words = [f"--{name}={value}" for name, value in given.items()]
        place = ["--root", str(tmp_path), "--out", str(tmp_path / "runs"), "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", ["study", *place, *words])
        study.main()
        return tmp_path / "runs" / "smoothed-imagenet-squeezenet1_0"

    return run


def test_a_run_stores_its_tables_and_a_larger_one_takes_up_what_is_there(small, monkeypatch):
    folder = small()
    images, mosaics = (pd.read_parquet(folder / f"{name}.parquet") for name in ("images", "mosaics"))
    slow = {"printed", "authors-2020-06", "authors-2020-06-mean", "authors-2020-08"}
    cheap = {"grad-cam", "grad-cam++", "plain mean"}
    assert set(images["method"]) == set(mosaics["method"]) == slow | cheap | {"score-cam"}
    counts = images.groupby("method", observed=True)["image_index"].nunique()
    assert (counts[list(cheap)] == 8).all() and (counts[list(slow)] == 1).all()
    expected = dict.fromkeys(cheap | {"score-cam"}, 8) | dict.fromkeys(slow, 4)
    assert mosaics.groupby("method", observed=True).size().to_dict() == expected
    blind = mosaics[mosaics["method"] == "plain mean"].groupby("image_index")["energy_in_mask"].mean()
    assert blind.to_numpy() == pytest.approx(0.25, abs=1e-4)
    steps = pd.read_parquet(folder / "curves.parquet")
    assert set(zip(steps["sigma"], steps["draws"], strict=True)) == {(0.5, 1), (4.0, 1), (4.0, 2)}
    record = json.loads((folder / "run.json").read_text())
    assert record["chapter"] == "smoothed_photographs" and record["parameters"]["mosaics"] == 1

    made = []
    whole = study.evaluate.evaluate_batch

    def counted(model, batch, methods, *rest, **how):
        made.append((batch.ids[0], tuple(methods)))
        return whole(model, batch, methods, *rest, **how)

    monkeypatch.setattr(study.evaluate, "evaluate_batch", counted)
    again = pd.read_parquet(small(images=2) / "images.parquet")
    assert len(made) == 1 and set(made[0][1]) == slow, "one more image under the readings, and nothing else"
    first, known = (t[t["image_index"] == 0].reset_index(drop=True).astype(object) for t in (again, images))
    pd.testing.assert_frame_equal(first, known)


def test_without_the_cache_a_larger_run_goes_on_from_the_stored_one(small, monkeypatch, tmp_path):
    folder = small()
    first = pd.read_parquet(folder / "images.parquet")
    monkeypatch.setenv("CAM_UTILS_CACHE", str(tmp_path / "another machine's"))
    made = []
    whole = study.evaluate.evaluate_batch

    def counted(model, batch, methods, *rest, **how):
        made.append(batch.ids[0]) if "printed" in methods and len(batch.ids) == 1 else None
        return whole(model, batch, methods, *rest, **how)

    monkeypatch.setattr(study.evaluate, "evaluate_batch", counted)
    again = pd.read_parquet(small(images=3, mosaics=0, curves=0) / "images.parquet")
    assert len(made) == 3, "two more images, and the first again, to compare"
    record = json.loads((folder / "run.json").read_text())
    counts = {name: record["parameters"][name] for name in ("images", "mosaics", "curves", "score_cam")}
    assert counts == {"images": 3, "mosaics": 1, "curves": 1, "score_cam": 1}
    assert [each["parameters"]["images"] for each in record["earlier"]] == [1]
    old = first[first["method"] == "printed"]
    new = again[(again["method"] == "printed") & (again["image_index"] == 0)]
    pd.testing.assert_frame_equal(*(t.reset_index(drop=True).astype(object) for t in (old, new)))
