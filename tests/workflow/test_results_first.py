"""What the page of results says first follows from the runs and the study of digits, whatever they say."""

import re

import pandas as pd
import pytest

from cam_utils import claims
from cam_utils.runs import read_runs
from tests.conftest import ROOT
from tests.workflow import photographs
from workflow.site import photograph_reasons, photographs_summary, results_first

NO_CLAIM = "No test of a claim has been judged on both digits and photographs."
OTHERS = "**Does its map leave the other objects alone?**"


def digits(root, **apart):
    """Write a study of digits: {metric: MinMax-CAM minus CAM of each seed, points}, a tenth where independent."""
    rows = [
        {"head": "linear", "schedule": "digits", "co_occurrence": share, "metric": metric, "seed": seed,
         "method": method, "value": 0.5 + (method == "minmax-cam") * points / 100 * (1 if share else 0.1)}
        for metric, values in apart.items()
        for seed, points in enumerate(values)
        for share in (0.0, 0.9)
        for method in ("minmax-cam", "cam")
    ]  # fmt: skip
    (root / "data" / "results").mkdir(parents=True)
    pd.DataFrame(rows).to_csv(root / "data" / "results" / "minmax_digits.csv", index=False)


def change(folder, **values):
    """Give MinMax-CAM these values in the run's pairs, {metric: value}."""
    table = pd.read_parquet(folder / "pairs.parquet")
    for metric, value in values.items():
        table.loc[table["method"] == "minmax-cam", metric] = value
    table.to_parquet(folder / "pairs.parquet")


def said(root):
    """Return the three sections as a reader has them."""
    text = results_first.first_part(root, read_runs(root), claims.judge([])).replace("\\", "")
    return re.split(r"^## .*\n+", text, flags=re.M)[1:]


def test_photographs_come_first_with_their_differences(tmp_path):
    photographs.write(tmp_path)
    digits(tmp_path, average_drop=[1.0, 3.0], average_drop_others=[-2.0, -4.0], energy_in_mask=[5.0, -1.0])
    photos, drawn, apart = said(tmp_path)
    # MinMax-CAM has 30 (seed 0) and 32 points more than CAM in every metric, 10 more than area-matched CAM.
    assert "in 1 run (msrc, squeezenet1_0; linear head at rate 0.1)" in photos
    assert (
        f"- {OTHERS} In part: better in average drop of others (%ADO; +31.0); worse in average retention of others "
        "(%ARO; +31.0), energy in others (+31.0).\n"
    ) in photos
    assert "as much would do?** In part: better in average drop of others (%ADO; +10.0); worse" in photos
    assert "own object?** Yes: better in energy in mask (+31.0), IoU at 0.3 (+31.0), pointing" in photos
    assert "horse is in three images" in photos, "limits stand where the numbers stand"
    assert "2 seeds of the linear head" in drawn
    assert f"- {OTHERS} No: worse in average drop of others (%ADO; -3.0).\n" in drawn
    assert "own object?** Not settled: undecided in energy in mask (+2.0).\n" in drawn
    assert "label?** No: worse in average drop (%AD; +2.0)." in drawn
    assert "in the same direction in average drop (%AD)." in apart
    assert "They **disagree** in average drop of others (%ADO)" in apart
    assert "It stays open in energy in mask:" in apart and NO_CLAIM in apart


def test_runs_that_disagree_are_said_to(tmp_path):
    photographs.write(tmp_path, "photographs-a")
    change(photographs.write(tmp_path, "photographs-b", dataset="voc2012"), average_drop_others=0.1)
    photos, *_ = said(tmp_path)
    assert "in 2 runs (msrc, squeezenet1_0; voc2012, squeezenet1_0;" in photos
    # Seed 0 of the second run: 0.1 - 0.2; seed 1 has no 0.02 more of MinMax-CAM.
    assert "not the same in all runs in average drop of others (%ADO; -10.0 to +31.0; 1 better, 1 worse)." in photos
    assert "sample of 162 images centred" in photos and "horse is in three images" in photos


@pytest.mark.parametrize(
    ("kinds", "answer"),
    [
        (("better",), "Yes"),
        (("worse",), "No"),
        (("undecided",), "Not settled"),
        (("worse", "undecided"), "No"),
        (("better", "worse"), "In part"),
        (("better", "undecided"), "In part"),
        (("mixed",), "In part"),
        (("worse", "mixed"), "In part"),
    ],
)
def test_an_answer_says_yes_only_if_every_metric_does(kinds, answer):
    found = results_first.answer("Is it?", {kind: ["IoU"] for kind in kinds})
    assert found.startswith(f"**Is it?** {answer}: ") and found.count("IoU") == len(kinds)


def test_reasons_are_named_where_they_can_be_told(tmp_path):
    photographs.write(tmp_path)
    digits(tmp_path, energy_in_mask=[4.0, 6.0], energy_in_others=[1.0, -1.0])
    *_, apart = said(tmp_path)
    assert "- energy in mask ↑, digits: +5.0 points where labels go together, +0.5 where they do not." in apart
    assert "energy in others ↓, digits" not in apart, "the seeds of the two kinds of scenes overlap"
    assert "on photographs:" not in apart, "no object of these runs makes a difference"


def halves(run, lower, upper, low, high, name="msrc"):
    """Return the rows of one run: both halves, and their difference with its interval."""
    value = {"half": ["lower", "upper", "upper - lower"], "value": [lower, upper, upper - lower]}
    where = {"metric": "energy_in_mask", "stratum": "touching", "run": run, "name": name}
    return pd.DataFrame(value | {"low": low, "high": high} | where)


def test_reasons_of_several_runs_are_one_sentence_for_each_way_they_go():
    rows = [
        halves("a", 0.1, 0.3, 0.1, 0.9),
        halves("b", 0.1, 0.5, 0.2, 0.9),  # another run of the same name
        halves("c", 0.1, 0.2, -0.1, 0.9),  # cannot be told
        halves("d", 0.1, -0.2, -0.9, -0.1),
    ]
    found = results_first.of_objects(photograph_reasons.told_apart(pd.concat(rows)), len(rows))
    rim = "points where the share of its rim that touches other labels is smaller"
    assert found == [
        f"energy in mask ↑, 2 of 4 runs on photographs: +10.0 {rim}, +30.0 to +50.0 where it is larger.",
        f"energy in mask ↑, 1 of 4 runs on photographs: +10.0 {rim}, -20.0 where it is larger.",
    ]


def test_without_runs_or_digits_each_section_says_so(tmp_path):
    photos, drawn, apart = said(tmp_path)
    assert photos.strip() == photographs_summary.NOTHING
    assert drawn.startswith("There is no `data/results/minmax_digits.csv`")
    assert apart.startswith(f"No metric has been measured on both sides. {NO_CLAIM}")


def test_the_stored_study_of_digits_fills_its_section_and_all_is_brief(tmp_path):
    photographs.write(tmp_path)
    text = results_first.first_part(ROOT, read_runs(tmp_path), claims.judge([]))
    assert text.count("\n## ") == 2 and text.startswith("## What photographs say")
    assert text.count(OTHERS) == 2 and "digits: " in text and "{doc}" not in text
    assert len(text.split()) < 500
