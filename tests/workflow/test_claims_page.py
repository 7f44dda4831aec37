"""The page of claims shows seeds beside intervals, primed rows for what they are, and every run that answers."""

import re

import pandas as pd
import pytest

from cam_utils import claims
from cam_utils.runs import Run
from workflow.site.claims_page import apart, apart_part, apart_sentence, claims_part

ROW = {
    "claim": "C5", "chapter": "minmax_cam", "part": "MinMax has lower %ARO than CAM", "setting": "msrc, rate 0.1",
    "dataset": "msrc", "network": "squeezenet1_0", "head": "linear", "seed": pd.NA, "runs": "photographs-msrc",
    "value": -2.0, "low": -3.0, "high": -1.0, "n_seeds": 5, "seed_low": -4.0, "seed_high": 0.5, "unit": "points",
    "wanted": -1, "margin": 0.0, "n_images": 50, "verdict": "undecided",
    "reason": "1 of 5 seeds lies on the other side",
}  # fmt: skip


@pytest.fixture
def page(tmp_path):
    rows = [ROW | {"claim": f"C5{primes}"} for primes in ("", "'", "''")]
    judged = claims.judge([])
    ledger = pd.concat([judged[judged["claim"] != "C5"], pd.DataFrame(rows)], ignore_index=True)
    parameters = {"dataset": "msrc", "architecture": "squeezenet1_0", "head": "both"}
    record = {"chapter": "photographs", "parameters": parameters, "n_train": 9, "n_val": 2, "n_test": 3}
    run = Run(tmp_path / "photographs-msrc", record)
    return claims_part(ledger, [run])


def test_seeds_stand_beside_the_interval(page):
    (table,) = re.findall(r"<table.*?</table>", page.split("#### C5\n")[1].split("#### ")[0], re.S)
    heads = re.findall(r"<th[^>]*>(.*?)</th>", table)
    assert heads[1:3] == ["value [95%]", "seeds"]
    first = re.findall(r"<tr>(<td.*?)</tr>", table, re.S)[0]
    assert "<td>-2.0 [-3.0, -1.0] points</td><td>5: -4.0 to +0.5</td>" in first
    assert "1 of 5 seeds lies on the other side" in first
    assert "<th" in page.split("#### C4\n")[1] and ">seeds<" not in page.split("#### C4\n")[1].split("#### ")[0]


def test_primed_rows_say_what_they_are_and_belong_to_their_claim(page):
    own = page.split("#### C5\n")[1].split("#### ")[0]
    assert "C5&#39;, a control of ours: MinMax has" in own
    assert "C5&#39;&#39;, measured against pixel truth: MinMax has" in own


def test_a_run_of_photographs_is_a_column_of_the_chapter_that_it_answers(page):
    summary = page.split("### MinMax-CAM: verdicts by run")[1].split("### ")[0]
    columns, line = (re.findall(rf"<{cell}[^>]*>(.*?)</{cell}>", summary, re.S) for cell in ("th", "td"))
    assert len(columns) == 3 and "photographs-msrc" in columns[2]
    assert "photographs-msrc" not in page.split("### SS-CAM: verdicts by run")[1].split("### ")[0]
    assert sum("≈ undecided" in cell for cell in line) == 6  # C5, C5' and C5'', over all runs and on this one


def test_a_value_without_a_wanted_side_has_none():
    none = claims.judge([])
    rows = pd.DataFrame([ROW | {"claim": "C12", "wanted": 0}, ROW | {"claim": "C12"}])
    part = claims_part(pd.concat([none[none["claim"] != "C12"], rows], ignore_index=True), [])
    own = part.split("#### C12\n")[1].split("#### ")[0]
    assert own.count("below 0<") == 1 and "above 0" not in own


def ledger(*rows):
    """Return a ledger of rows (claim, head, dataset, verdict)."""
    judged = [
        ROW | {"claim": claim, "part": f"what {claim} says", "head": head, "dataset": data, "verdict": verdict}
        for claim, head, data, verdict in rows
    ]
    return pd.DataFrame(judged)


def test_a_cell_of_a_paper_is_no_run_on_photographs():
    printed = ledger(("C1", "linear", "digits", "holds"), ("C1", "linear", "voc2007", "fails"))
    assert apart(printed)["kind"].tolist() == ["opposite"]
    printed.loc[1, "runs"] = ""
    assert apart(printed).empty


VERDICTS = ledger(
    ("C1", "linear", "digits", "holds"),
    ("C1", "linear", "msrc", "undecided"),
    ("C1", "linear", "voc2012", "holds"),  # the same: what is undecided has no say beside it
    ("C1", "kernel-usage", "digits", "holds"),
    ("C1", "kernel-usage", "msrc", "fails"),  # of one head only
    ("C2", "linear", "digits", "fails"),
    ("C2", "linear", "digits", "undecided"),
    ("C2", "linear", "msrc", "holds"),
    ("C2", "linear", "voc2012", "fails"),  # runs on photographs disagree
    ("C3", "linear", "digits", "undecided"),
    ("C3", "linear", "msrc", "holds"),
    ("C4", "linear", "msrc", "holds"),  # of photographs only: nothing to compare
    ("C5", "linear", "digits", "holds"),
    ("C5", "linear", "msrc", "not run"),
)


def test_verdicts_on_photographs_are_told_from_those_on_digits_head_by_head():
    found = apart(VERDICTS).set_index(["claim", "head"])["kind"].to_dict()
    assert found == {
        ("C1", "linear"): "same",
        ("C1", "kernel-usage"): "opposite",
        ("C2", "linear"): "partly",
        ("C3", "linear"): "one side",
    }
    assert apart_sentence(VERDICTS) == (
        "Of 4 tests of the paper's claims that both judge, 1 came out the same; 1 the other way round, 1 mixed "
        "within a side, 1 decided on one side only ({ref}`the list <sec-apart>`)."
    )


def test_tests_that_came_out_otherwise_are_listed_with_the_verdicts_of_both_sides():
    shown, folded = apart_part(VERDICTS).split("<details>")
    rows = re.findall(r"<tr>(<td.*?)</tr>", shown, re.S)
    cells = [[re.sub("<.*?>", "", cell) for cell in re.findall("<td>(.*?)</td>", row, re.S)] for row in rows]
    assert cells == [
        ["C1", "what C1 says", "kernel-usage", "✓ holds", "✗ fails"],
        ["C2", "what C2 says", "linear", "✗ fails ≈ undecided", "✓ holds ✗ fails"],
    ]
    assert 'href="#c1"' in rows[0] and "what C3 says" in folded and "what C3 says" not in shown


def test_without_both_sides_nothing_is_said_to_differ():
    photographs = VERDICTS[VERDICTS["dataset"] != "digits"]
    nothing = "No test of a claim has been judged on both digits and photographs."
    assert apart_sentence(photographs) == nothing and apart_part(photographs) == f"{nothing}\n"
    same = apart_part(VERDICTS[:3])
    assert same == "Of 1 tests of the paper's claims that both judge, 1 came out the same.\n"


def test_the_list_stands_on_the_page_above_the_claims(page):
    assert page.index("(sec-apart)=\n## Photographs against digits") < page.index("## Claim by claim")


def test_a_row_without_a_run_names_the_papers_tables(page):
    own = page.split("#### C14\n")[1].split("#### ")[0]
    assert own.count("<td>the paper&#39;s tables</td>") == own.count("<td>the paper&#39;s Table 3</td>") == 2
    assert "the paper&#39;s tables" not in page.split("#### C13\n")[1].split("#### ")[0]  # not run
