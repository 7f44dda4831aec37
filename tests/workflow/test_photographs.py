"""The study of photographs on few images and a small network: its parts against the library's own ways."""

import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch

from cam_utils import data, seals
from cam_utils.evaluation.evaluate import evaluate
from cam_utils.methods import query
from cam_utils.networks import models
from workflow import ROOT
from workflow.studies import photograph_cells as cells
from workflow.studies import photograph_facts as facts
from workflow.studies import photographs

FITS = cells.fits([0.5], [0, 1])


COUNT = 3  # images of each part


@pytest.fixture(scope="module")
def weights(squeezenet_weights):
    return str(squeezenet_weights)


@pytest.fixture(scope="module")
def cell(shared, weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAM_UTILS_CACHE", str(folder / "cache"))
        place = (shared / "data", folder, FITS)
        made = photographs.cell("msrc", "squeezenet1_0", weights, *place, limit=COUNT, progress=False)
        photographs.score_cam(made, weights, shared / "data", FITS, progress=False)
    return made


def rows_of(folder, name="pairs"):
    table = pd.read_parquet(folder / f"{name}.parquet")
    return table.sort_values(["head", "seed", "method", "image_index", "label", "set_size"], ignore_index=True)


def test_voc_is_parted_so_that_no_evaluated_image_is_trained_on(shared):
    load = cells.loader("voc2012", shared / "data")
    ids = {split: set(load(split).ids) for split in ("train", "val", "test")}
    assert {split: len(each) for split, each in ids.items()} == {"train": 2341, "val": 260, "test": 445}
    assert not ids["train"] & ids["val"] and not (ids["train"] | ids["val"]) & ids["test"]
    assert ids["test"] == set(data.load("voc2012", "val", root=shared / "data").ids)
    assert cells.loader("voc2012", shared / "data")("val").ids == load("val").ids, "drawn once, for all time"


def test_a_run_holds_what_its_pages_read_and_no_picture(cell):
    assert {file.name for file in cell.iterdir()} == {
        "run.json", "pairs.parquet", "objects.parquet", "heads.pt", "heads.csv", "history.csv", "classes.csv",
        "facts.json", "score_cam.parquet", "score_cam.json",
    }  # fmt: skip
    record, table = json.loads((cell / "run.json").read_text()), rows_of(cell)
    seals.check_run(cell, record)
    assert {"pairs.parquet", "heads.pt", "score_cam.parquet"} < record["files"].keys()
    assert record["chapter"] == "photographs" and (record["n_train"], record["n_test"]) == (COUNT, COUNT)
    assert set(table["method"]) == {"cam", "grad-cam++", "minmax-cam", "d-minmax-cam", "area-matched-cam"}
    assert table.groupby(["head", "seed"], observed=True).ngroups == 4
    several = rows_of(cell, "score_cam")
    assert set(several["seed"]) == {0} and set(several["method"]) == {"score-cam"}


def test_stored_rows_are_the_librarys_own(cell, shared, weights):
    test = cells.loader("msrc", shared / "data", COUNT)("test")
    fit = cells.Fit("kernel-usage", 0.5, 1)
    model = cells.with_heads("squeezenet1_0", weights, test.classes, [fit], cell / "heads.pt")[fit.name]
    ours = rows_of(cell)
    ours = ours[(ours["head"] == fit.head) & (ours["seed"] == fit.seed)].reset_index(drop=True)
    theirs = evaluate(model, test, cells.METHODS, progress=False)
    theirs = theirs.sort_values(["method", "image_index", "label", "set_size"], ignore_index=True)
    same(ours, theirs)


def test_score_cam_with_features_of_all_heads_at_once_is_score_cam(cell, shared, weights):
    test = cells.loader("msrc", shared / "data", COUNT)("test")
    several = (test.labels.sum(1) > 1).nonzero().flatten().tolist()
    ours = rows_of(cell, "score_cam")
    assert sorted(ours["image_index"].unique()) == several
    first = several[0]
    one = cells.View(test, [first], test.labels[[first]], test.classes, {})
    for fit in (fit for fit in FITS if fit.seed == 0):
        model = cells.with_heads("squeezenet1_0", weights, test.classes, [fit], cell / "heads.pt")[fit.name]
        theirs = evaluate(model, one, "score-cam", progress=False).sort_values(["label", "set_size"])
        mine = ours[(ours["head"] == fit.head) & (ours["image_index"] == first)]
        same(mine.reset_index(drop=True), theirs.reset_index(drop=True))


COMPARED = ("p", "p_masked", "p_complement", "average_drop_others", "energy_in_mask", "iou_0.3", "mask_area")


def same(ours, theirs):
    assert len(ours) == len(theirs) > 0
    for name in COMPARED:
        assert ours[name].to_numpy() == pytest.approx(theirs[name].to_numpy(), abs=1e-4, nan_ok=True), name


def test_a_killed_study_goes_on_and_ends_with_the_same_tables(cell, shared, weights, tmp_path):
    given = {
        "data": shared / "data", "squeezenet": weights, "datasets": "msrc", "networks": "squeezenet1_0",
        "rates": 0.5, "seeds": 2, "limit": COUNT, "out": tmp_path / "out", "threads": 1,
    }  # fmt: skip
    command = [sys.executable, "-m", "workflow.studies.photographs", "--no-score-cam"]
    command += [text for name, value in given.items() for text in (f"--{name}", str(value))]
    environment = os.environ | {"CAM_UTILS_CACHE": str(tmp_path / "cache"), "TQDM_DISABLE": "1"}
    heads = tmp_path / "cache" / "photographs"
    started = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    while started.poll() is None and len(list(heads.glob("*/*.pt"))) < 2:  # in the middle of the trainings
        time.sleep(0.05)
    started.send_signal(signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL
    kept = {file: file.stat().st_mtime_ns for file in heads.glob("*/*.pt")}
    assert kept and not (tmp_path / "out").exists()
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    assert all(file.stat().st_mtime_ns == then for file, then in kept.items()), "trained again"
    again = tmp_path / "out" / cell.name
    pd.testing.assert_frame_equal(rows_of(again), rows_of(cell), check_exact=False, atol=1e-4)
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    assert "done before" in done.stdout


def test_how_objects_lie_in_a_drawn_image():
    left, right = torch.zeros(2, 8, 40, dtype=torch.bool)
    left[:, :10], right[:, 10:30] = True, True
    sample = data.Sample(
        image=torch.zeros(3, 8, 40), labels=torch.tensor([1.0, 1.0, 0.0]), objects=torch.tensor([0, 1]),
        boxes=torch.zeros(2, 4), masks=torch.stack([left, right]), ignore=None, flags=torch.zeros(2), id="a",
    )  # fmt: skip
    train = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    rows = facts.of_objects([sample], train).set_index("label")
    assert rows["area"].tolist() == [0.25, 0.5] and rows["others_area"].tolist() == [0.5, 0.25]
    assert rows["co_occurrence"].tolist() == [0.25, 1.0]  # a quarter of label 0's images hold label 1
    assert rows["touching"].tolist() == [1.0, 0.5]  # left has one neighbour, right has another side
    assert rows["labels"].tolist() == [2, 2]


def test_statistics_of_known_heads():
    model = models.build("digits", 3)
    model.head.weight.data.zero_()
    model.head.weight.data[:, :20] = 1.0
    model.head.bias.data.zero_()
    features = torch.zeros(4, 64)
    features[:2, 0] = torch.tensor([4.0, -4.0])
    labels = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    log = pd.DataFrame({"fit": "a", "val_loss": [0.5, 0.25], "lr": [0.1, 0.05]})
    row = facts.of_heads({"a": model}, {"a": features}, labels, log).iloc[0]
    assert (row["epochs"], row["val_loss"], row["last_rate"]) == (2, 0.25, 0.05)
    assert row["weight_norm"] == pytest.approx(20**0.5)
    assert row["shared_top_10"] == row["shared_positive"] == 10 and row["correlation"] == pytest.approx(1.0)
    assert (row["positive_mass"], row["labels_per_kernel"]) == (1, pytest.approx(3 * 20 / 64))
    assert (row["kernels_for_one"], row["kernels_for_none"]) == (0, 44 / 64)
    assert row["f1_weighted"] == pytest.approx(2 / 3)  # one of two found, none wrong


def test_identities_are_measured_on_the_first_images_of_two_labels(monkeypatch):
    """With gradients twice as large as they are, a Grad-CAM deviates by the CAM itself: by its peak's share."""
    model, images = models.build("digits", 10, seed=1).eval(), data.load("digits", "val", limit=30)
    two = (images.labels.sum(1) == 2).nonzero()[:, 0].tolist()
    raws = []
    for sample in (images[index] for index in two[:2]):
        a = model.features(model.preprocess(sample.image[None]))[0].detach()
        raws.append(torch.einsum("lk,khw->lhw", model.head.class_weights()[sample.labels > 0].detach(), a))
    expected = max(float(raw.max() / raw.abs().max()) for raw in raws)
    assert expected > 0 and len(two) > 2
    found = facts.identities(model, images, count=2)
    assert (found["images"], found["two_label_images"]) == (2, 2)
    assert max(found["overlap"], *found["deviation"].values()) < 1e-5
    right = query.head_gradients
    monkeypatch.setattr(query, "head_gradients", lambda *given: 2 * right(*given))
    assert facts.identities(model, images, count=2)["deviation"]["Grad-CAM"] == pytest.approx(expected)
    none = facts.identities(model, data.load("digits", "val", limit=two[0]))
    assert (none["two_label_images"], none["overlap"], none["deviation"]) == (0, 0.0, {})
