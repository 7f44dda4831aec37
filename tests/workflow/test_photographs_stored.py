"""The stored study of photographs against what the code gives today: one head trained anew, ten images."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from cam_utils import files
from cam_utils.data.views import View
from cam_utils.evaluation.evaluate import evaluate
from cam_utils.networks import frozen, models, schedules
from workflow.studies import photograph_cells as cells

RUNS = files.DATA / "results" / "runs"
RUN = RUNS / "photographs-voc2012-efficientnet_lite0"
FIT = cells.Fit("linear", 0.1, 0)
KEYS = ["image_index", "label", "method", "set_size"]


@pytest.fixture(scope="module")
def load(shared):
    return cells.loader("voc2012", shared / "data")


def test_one_head_trained_anew_is_the_stored_one(load, tmp_path_factory):
    test = load("test")
    stored = cells.with_heads("efficientnet_lite0", "imagenet", test.classes, [FIT], RUN / "heads.pt")[FIT.name]
    model = models.build("efficientnet_lite0", 20, weights="imagenet", seed=FIT.seed)
    stage = schedules.frozen(FIT.rate)
    views = frozen.views_of(model, load, stage, folder=tmp_path_factory.mktemp("features"), progress=False)
    frozen.train_head(model, views, stage, seed=FIT.seed, accelerator="cpu", progress=False)
    # Thirty epochs of float32 in another order: weights agree to a small part of their size, and so do all scores.
    ours, theirs = model.head.weight.detach(), stored.head.weight.detach()
    assert torch.norm(ours - theirs) < 0.02 * torch.norm(theirs)
    assert float(torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1]) > 0.999


def test_ten_images_have_the_stored_rows(load):
    test, record = load("test"), json.loads((RUN / "run.json").read_text())
    assert record["data"]["test"] == test.fingerprint()
    rows = (test.labels.sum(1) > 1).nonzero().flatten().tolist()[:5]
    rows += (test.labels.sum(1) == 1).nonzero().flatten().tolist()[:5]
    images = View(test, rows, test.labels[rows], test.classes, {"rows": rows})
    model = cells.with_heads("efficientnet_lite0", "imagenet", test.classes, [FIT], RUN / "heads.pt")[FIT.name]
    found = evaluate(model, images, cells.METHODS, progress=False)
    found["image_index"] = [rows[i] for i in found["image_index"]]
    stored = pd.read_parquet(RUN / "pairs.parquet")
    chosen = (stored["head"] == FIT.head) & (stored["seed"] == FIT.seed) & np.isclose(stored["rate"], FIT.rate)
    stored = stored[chosen & stored["image_index"].isin(rows)].astype({"method": str, "class": str, "image": str})
    found, stored = (each.sort_values(KEYS, ignore_index=True) for each in (found, stored))
    assert found[[*KEYS, "class", "image"]].astype(str).equals(stored[[*KEYS, "class", "image"]].astype(str))
    for name in ("p", "p_masked", "p_complement", "average_drop_others", "energy_in_mask", "iou_0.3"):
        assert found[name].to_numpy() == pytest.approx(stored[name].to_numpy(), abs=1e-3, nan_ok=True), name


def test_the_stored_runs_are_small_and_hold_no_picture():
    kept = [file for file in RUNS.rglob("*") if file.is_file()]
    assert {file.suffix for file in kept} <= {".json", ".parquet", ".csv", ".pt"}
    for study, most in {"photographs-": 20e6, "representative-": 10e6, "smoothed-": 5e6}.items():
        sizes = [file.stat().st_size for file in kept if file.parent.name.startswith(study)]
        assert 0 < sum(sizes) < most, study
