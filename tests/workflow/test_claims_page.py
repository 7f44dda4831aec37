"""The page of claims shows seeds beside intervals, primed rows for what they are, and every run that answers."""

import re

import pandas as pd
import pytest

from cam_utils import claims
from cam_utils.runs import Run
from workflow.site.claims_page import claims_part

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
