"""A study goes on from its stored run: what is measured stays, what would be another measurement does not count."""

import json

import numpy as np
import pandas as pd
import pytest

from workflow.studies import taken_up

SAME = {"dataset": "d1", "weights": "w1", "seed": 0}


def rows(image, methods=("cam", "ss-cam"), drop=0.25):
    """Rows of an image under methods, as a study stores them."""
    return pd.DataFrame({"image_index": image, "method": list(methods), "label": 7, "average_drop": drop})


@pytest.fixture
def run(tmp_path):
    """A stored run of two images: the second lacks a method."""
    table = pd.concat([rows(0), rows(1, ["cam"])], ignore_index=True)
    table.assign(method=table["method"].astype("category")).to_parquet(tmp_path / "images.parquet")
    told = {
        "parameters": {"seed": 0, "dataset": "imagenet"},
        "dataset": "d1",
        "git": "abc",
        "dirty": False,
        "wall_s": 9.0,
    }
    (tmp_path / "run.json").write_text(json.dumps(told))
    (tmp_path / "facts.json").write_text(json.dumps({"weights": "w1"}))
    return tmp_path


def test_images_that_have_all_methods_are_known(run):
    assert taken_up.known(run, "images", SAME, ["cam", "ss-cam"])["image_index"].tolist() == [0, 0]
    assert taken_up.known(run, "images", SAME, ["cam"])["image_index"].tolist() == [0, 1]
    assert len(taken_up.known(run, "images", SAME)) == 3
    assert not len(taken_up.known(run, "curves", SAME))


@pytest.mark.parametrize("other", [{"dataset": "d2"}, {"weights": "w2"}, {"seed": 1}, {"draws": 10}])
def test_a_run_of_other_images_network_or_settings_is_not_gone_on_from(run, other):
    assert taken_up.record(run, SAME)["git"] == "abc" and taken_up.record(run, SAME | other) is None
    assert not len(taken_up.known(run, "images", SAME | other, ["cam"]))
    assert taken_up.history(run, SAME | other) == []


def test_history_names_the_runs_before(run):
    first = {"git": "abc", "dirty": False, "parameters": {"seed": 0, "dataset": "imagenet"}, "wall_s": 9.0}
    assert taken_up.history(run, SAME) == [first]
    told = json.loads((run / "run.json").read_text()) | {"git": "def", "earlier": [first]}
    (run / "run.json").write_text(json.dumps(told))
    assert [each["git"] for each in taken_up.history(run, SAME)] == ["abc", "def"]


def test_only_what_is_missing_is_measured_and_one_image_again():
    asked = []

    def measure(i):
        asked.append(i)
        return rows(i, drop=0.2505)

    known = pd.concat([rows(0), rows(2)])
    found = taken_up.grown(known, 4, measure, desc="try")
    assert asked == [0, 1, 3]
    assert found.groupby("image_index")["average_drop"].mean().round(4).to_dict() == {
        0: 0.25, 1: 0.2505, 2: 0.25, 3: 0.2505
    }  # fmt: skip
    asked.clear()
    assert len(taken_up.grown(known, 1, measure, desc="try")) == 4 and asked == [], (
        "nothing is dropped, or measured"
    )


@pytest.mark.parametrize(
    "again",
    [rows(0, drop=0.26), rows(0, drop=np.nan), rows(0, ["cam"]), rows(0).drop(columns="average_drop")],
    ids=["value", "missing value", "missing row", "missing column"],
)
def test_a_stored_image_that_is_measured_otherwise_today_ends_the_run(again):
    with pytest.raises(ValueError, match="stored rows are not"):
        taken_up.grown(rows(0), 2, lambda i: again.assign(image_index=i), desc="try")


def test_what_is_missing_in_both_agrees():
    taken_up.check(rows(0, drop=np.nan), rows(0, drop=np.nan))
