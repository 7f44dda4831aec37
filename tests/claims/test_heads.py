"""Claims about the kernel-usage head, on runs made by hand with both heads."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import fbeta_score

from cam_utils import claims
from cam_utils.claims import heads
from tests.claims.chapter_runs import BASE, minmax_run, pairs, verdicts

WEIGHTS = {
    "positive mass (%)": 45.0, "skewness": 0.0, "mean |correlation|": 0.4, "labels per kernel": 3.0,
    "kernels for one label (%)": 10.0, "kernels for none (%)": 5.0, "of these positive for both": 2.0,
    "shared by chance": 1.5625, "shared at least": 0.8,
}  # fmt: skip
POSITIVE = WEIGHTS | {
    "positive mass (%)": 80.0, "skewness": 2.0, "mean |correlation|": 0.1, "labels per kernel": 1.0,
    "kernels for one label (%)": 70.0, "of these positive for both": 2.5,
}  # fmt: skip
OLD = ("skewness", "mean |correlation|", "of these positive for both")  # what older runs have stored


def two_heads():
    """Return pairs, predictions and facts of both heads."""
    raised = {method: value + 0.1 for method, value in BASE.items()}
    tables = {"linear": pairs(), "kernel-usage": pairs(head="kernel-usage", values=raised)}
    every = pd.DataFrame({"image_index": range(40), "label": 0, "annotated": True, "scenes": "digits"})
    wrong = {"linear": every["image_index"] % 2 == 0, "kernel-usage": every["image_index"] < 0}
    predictions = {head: every.assign(predicted=~wrong[head], head=head) for head in tables}
    facts = {"linear": {"digits / linear": WEIGHTS}, "kernel-usage": {"digits / kernel-usage": POSITIVE}}
    return tables, predictions, facts


def test_heads_in_one_run_or_in_two_give_the_same_rows(tmp_path):
    tables, predictions, facts = two_heads()
    one = minmax_run(
        tmp_path / "both", pd.concat(tables.values()), {"weights": facts["linear"] | facts["kernel-usage"]}, "both",
        predictions=pd.concat(predictions.values()),
    )  # fmt: skip
    two = [
        minmax_run(tmp_path / head, tables[head], {"weights": facts[head]}, head, predictions=predictions[head])
        for head in tables
    ]
    together, apart = claims.judge([one]), claims.judge(two[::-1])
    compared = [name for name in claims.COLUMNS if name != "runs"]
    about = ["C11", "C12", "C18", "C19"]
    together, apart = (t[t["claim"].isin(about)].reset_index(drop=True) for t in (together, apart))
    pd.testing.assert_frame_equal(together[compared], apart[compared])
    assert set(together["runs"]) == {"both"} and set(apart["runs"]) == {"linear, kernel-usage"}
    assert len(verdicts(apart, "C11")) == 10 and set(verdicts(apart, "C11").values()) == {"holds"}
    assert list(verdicts(apart, "C12").values()) == ["fails"]  # all five rise
    assert list(verdicts(apart, "C18").values()) == ["holds"]
    weights = apart[apart["claim"] == "C19"]
    assert list(weights["verdict"]) == ["holds", "holds", "holds", "holds", "fails", "holds"]
    assert weights["value"].tolist() == pytest.approx([35, 2, -0.3, -2, 0.5, 80])
    assert weights["reason"].str.endswith(heads.ONE_TRAINING).all()
    assert "70% of its kernels serve one label and 5% none" in weights["reason"].iloc[3]
    assert "share 1.6 by chance and 0.8 at least" in weights["reason"].iloc[4]
    assert set(apart["head"]) == {"both"} and set(apart["setting"]) == {"digits"}


def test_statistics_that_an_older_run_has_not_stored_are_left_out(tmp_path):
    tables, _, facts = two_heads()
    older = {s: {name: known[name] for name in OLD} for each in facts.values() for s, known in each.items()}
    judged = claims.judge([minmax_run(tmp_path / "a", pd.concat(tables.values()), {"weights": older}, "both")])
    assert list(verdicts(judged, "C19").values()) == ["holds", "holds", "fails"]
    assert set(judged.loc[judged["claim"] == "C19", "reason"]) == {heads.ONE_TRAINING}


@pytest.mark.parametrize(
    ("shifts", "fallen", "verdict"),
    [((0.1, 0.1, -0.1, 0.1, 0.1), 1, "holds"), ((-0.1,) * 5, 5, "fails"), ((-0.1,) * 4 + (0.0,), 4, "undecided")],
)
def test_an_effect_is_mixed_where_some_methods_fall_and_some_rise(shifts, fallen, verdict, tmp_path):
    moved = {method: value + shift for (method, value), shift in zip(BASE.items(), shifts, strict=True)}
    table = pd.concat([pairs(), pairs(head="kernel-usage", values=moved)])
    judged = claims.judge([minmax_run(tmp_path / "a", table, head="both")])
    (found,) = judged[judged["claim"] == "C12"].to_dict("records")
    assert (found["value"], found["verdict"], found["wanted"]) == (fallen, verdict, 0)
    rises = sum(shift > 0 for shift in shifts)
    assert found["reason"] == f"of 5 methods, beyond interval and seeds: {fallen} fall, {rises} rise"


def test_heads_of_other_seeds_are_not_compared(tmp_path):
    tables, _, _ = two_heads()
    found = [minmax_run(tmp_path / h, table, head=h, seed=seed) for seed, (h, table) in enumerate(tables.items())]
    judged = claims.judge(found)
    assert set(judged.loc[judged["claim"] == "C11", "verdict"]) == {"not run"}
    assert set(judged.loc[judged["claim"] == "C5", "seed"]) == {0, 1}


def test_f_scores_are_those_of_scikit_learn():
    generator = np.random.default_rng(0)
    predicted, annotated = generator.random((2, 30, 4)) > 0.5
    i, c = (predicted | annotated).nonzero()
    either = {"image_index": i, "label": c, "predicted": predicted[i, c], "annotated": annotated[i, c]}
    for beta in (1, 2):
        found = heads.f_scores({"one": pd.DataFrame(either)}, beta=beta, resamples=3)["one"]
        assert found[0] == pytest.approx(fbeta_score(annotated, predicted, beta=beta, average="weighted"))
