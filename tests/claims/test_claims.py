"""The claims' verdicts on runs made by hand, whose answers are known without the tests' code."""

import numpy as np
import pandas as pd
import pytest

from cam_utils import claims
from cam_utils.claims.evidence import row
from cam_utils.evaluation import facts, results
from tests.claims.chapter_runs import minmax_run, pairs, verdicts, write

PRINTED = ["C7", "C14"]  # claims about single cells, for which no run is asked


def test_every_claim_of_the_specification_is_there_once():
    expected = [f"{letter}{i}" for letter, n in (("C", 19), ("R", 11), ("S", 6), ("E", 3)) for i in range(1, n + 1)]
    assert list(claims.CLAIMS) == expected
    for name, claim in claims.CLAIMS.items():
        assert claim.id == name and claim.chapter in claims.SETTINGS
        for words in (claim.statement, claim.evidence, claim.needs):
            assert len(words) > 10, name
        assert claim.statement.endswith(".") and claim.evidence.endswith("."), name


def test_without_runs_of_the_chapters_nothing_is_judged(tmp_path):
    pd.testing.assert_frame_equal(judged := claims.judge([]), claims.judge([write(tmp_path, "elsewhere", {})]))
    assert list(judged) == list(claims.COLUMNS)
    assert list(judged["claim"].unique()) == list(claims.CLAIMS)
    judged = judged[~judged["claim"].isin(PRINTED)].reset_index(drop=True)
    assert set(judged["verdict"]) == {"not run"}
    assert judged["reason"].str.len().gt(10).all() and judged["value"].isna().all()
    assert list(judged["part"]) == [claim.statement for claim in claims.CLAIMS.values() if claim.id not in PRINTED]


def test_claims_about_printed_cells_are_checked_on_the_papers_tables(tmp_path):
    """By hand from Table 1 (MinMax 2.38, D-MinMax 2.21, Score-CAM 2.20) and Table 3 (27.15 after three others)."""
    judged = claims.judge([])
    assert not judged.loc[judged["claim"].isin(PRINTED), "runs"].any()
    about = ["MinMax has F1- at most 0.01 points above Score-CAM's", "D-MinMax has F1- at most 0.01 points above "
             "Score-CAM's", "Score-CAM has the lowest F1-"]  # fmt: skip
    for how, values, expected in (
        ("as printed", [0.18, 0.01, -0.01], ["fails", "holds", "holds"]),
        ("with the halved cell doubled", [-2.02, -2.19, 2.19], ["holds", "holds", "fails"]),
    ):
        own = judged[(judged["claim"] == "C7") & judged["part"].str.endswith(how)]
        assert list(own["part"]) == [f"{each}, {how}" for each in about] and list(own["verdict"]) == expected
        assert own["value"].tolist() == pytest.approx(values) and set(own["setting"]) == {"the paper's Table 1"}
    third = judged[judged["claim"] == "C14"]
    assert third["value"].tolist() == pytest.approx([4, 0.53]) and list(third["verdict"]) == ["fails", "holds"]
    assert set(third["setting"]) == {"the paper's Table 3"} and set(third["dataset"]) == {"planet"}
    again = claims.judge([minmax_run(tmp_path / "a", pairs())])
    pd.testing.assert_frame_equal(*(t[t["claim"].isin(PRINTED)].reset_index(drop=True) for t in (judged, again)))


def test_verdicts_known_by_hand(tmp_path):
    judged = claims.judge([minmax_run(tmp_path / "a", pairs())])
    assert verdicts(judged, "C4") == {"MinMax has lower %AR than CAM": "fails"}  # 0.7 is above 0.5
    assert verdicts(judged, "C5")["MinMax has higher %ADO than CAM"] == "holds"
    assert verdicts(judged, "C5")["MinMax has lower %ARO than CAM"] == "fails"
    assert set(verdicts(judged, "C13")) == {claims.CLAIMS["C13"].statement}  # no kernel-usage head here
    found = judged[judged["claim"] == "C4"].iloc[0]
    assert found["value"] == pytest.approx(20) and found["unit"] == "points" and found["wanted"] == -1
    assert found["low"] == pytest.approx(20) and found["n_images"] == 12
    assert list(found[["setting", "network", "head", "runs"]]) == ["digits / linear", "digits", "linear", "a"]


def test_an_interval_around_zero_is_undecided(tmp_path):
    table = pairs()
    noise = np.where(table["image_index"] % 2, 0.1, -0.1) * (table["method"] == "minmax-cam")
    table["average_retention"] = 0.5 + noise
    judged = claims.judge([minmax_run(tmp_path / "a", table)])
    assert verdicts(judged, "C4") == {"MinMax has lower %AR than CAM": "undecided"}


def test_few_images_decide_nothing(tmp_path):
    few, enough = (claims.judge([minmax_run(tmp_path / str(n), pairs(n=n))]) for n in (9, 10))
    assert set(few.loc[few["claim"] == "C5", "verdict"]) == {"undecided"}
    assert set(enough.loc[enough["claim"] == "C5", "verdict"]) == {"holds", "fails"}
    assert few.loc[few["claim"] == "C5", "n_images"].eq(9).all()


def test_the_difference_is_that_of_the_results_module(tmp_path):
    generator = np.random.default_rng(0)
    table = pairs(n=20)
    for metric in facts.SCORE_METRICS:
        table[metric] = generator.random(len(table))
    judged = claims.judge([minmax_run(tmp_path / "a", table)])
    expected = results.differences(table, "cam").set_index(["method", "metric"])
    for claim, part, method, metric in (
        ("C2", "MinMax has lower %IC than CAM", "minmax-cam", "increase_in_confidence"),
        ("C6", "D-MinMax has lower F1- than CAM", "d-minmax-cam", "f1_minus"),
    ):
        found = judged[(judged["claim"] == claim) & (judged["part"] == part)].iloc[0]
        ends = ["value", "low", "high"]
        np.testing.assert_allclose(
            found[ends].astype(float), 100 * expected.loc[(method, metric), ends].astype(float)
        )


def test_a_margin_is_what_the_interval_must_leave():
    draws = np.array([0.004, 0.003, 0.005])  # 0.4 points
    assert row({}, "", draws, -1, 50, margin=0.53)["verdict"] == "holds"
    assert row({}, "", draws, -1, 50, margin=0.45)["verdict"] == "undecided"
    assert row({}, "", draws, -1, 50)["verdict"] == "fails"


def test_claims_about_the_best_of_several_methods(tmp_path):
    table = pairs(head="kernel-usage")
    table.loc[table["method"] == "cam", "increase_in_confidence"] += 0.5  # CAM is now the highest
    judged = claims.judge([minmax_run(tmp_path / "a", table)])
    assert set(verdicts(judged, "C1").values()) == set(verdicts(judged, "C17").values()) == {"fails"}
    assert verdicts(judged, "C13") == {"D-MinMax has the lowest F1-": "fails"}  # F1- of 0.71 and 0.3
    assert verdicts(judged, "C15") == {"MinMax or D-MinMax has the highest F1+": "holds"}
    assert set(verdicts(judged, "C16").values()) == {"holds"} and len(verdicts(judged, "C16")) == 5  # 1 of 2 points
    alone = claims.judge([minmax_run(tmp_path / "alone", table.assign(set_size=1))])
    assert set(verdicts(alone, "C16").values()) == {"undecided"}  # one label: the forms cannot differ


def test_identities_are_read_from_the_table_and_the_facts(tmp_path):
    measured = {"setting": "digits / linear", "images": 32, "two_label_images": 12, "overlap": 1e-9}
    measured["deviation"] = {"Grad-CAM": 1e-6, "MinMax-Grad-CAM": 0.1}
    table = pairs(set_size=1)
    table.loc[table["method"] == "d-minmax-cam", "p_masked"] += 0.01
    table[["average_drop", "average_retention"]] = 0.5
    judged = claims.judge([minmax_run(tmp_path / "a", table, {"identities": measured})])
    assert list(verdicts(judged, "E1").values()) == ["holds", "fails"]
    assert list(verdicts(judged, "E2").values()) == ["holds"]
    assert list(verdicts(judged, "E3").values()) == ["holds", "fails"]
    without = claims.judge([minmax_run(tmp_path / "b", pairs())])  # no label alone, no facts
    assert set(without.loc[without["claim"].isin(["E1", "E2", "E3"]), "verdict"]) == {"not run"}


def test_a_run_without_predicted_pairs_answers_nothing(tmp_path):
    judged = claims.judge([minmax_run(tmp_path / "a", pairs(in_predicted=False))])
    assert set(judged.loc[judged["claim"] == "C5", "verdict"]) == {"not run"}


def test_texts_show_value_interval_and_sign():
    assert claims.text(row({}, "", np.array([0.5, 0.4, 0.6]), +1, 50, unit="%")) == "50% [40, 60]"
    near_zero = row({}, "", np.array([-0.0002, -0.0004, 0.0004]), +1, 50)
    assert claims.text(near_zero).startswith("-0.020 [-0.0")
    assert claims.text(row({}, "", 0.00012, -1, 50, unit="number")) == "0.00012"
