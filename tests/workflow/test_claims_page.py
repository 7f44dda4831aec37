"""The scoreboard of claims puts failures first, and behind it every test stands with its seeds and its run."""

import html
import json
import re

import pandas as pd
import pytest

from cam_utils import claims
from cam_utils.runs import Run
from tests.conftest import ROOT
from workflow.site.claims_apart import apart, apart_part, apart_sentence
from workflow.site.claims_details import details_part
from workflow.site.claims_page import FIGURES, SECTIONS, claims_part, hardest
from workflow.site.verdicts import MARKS

ROW = {
    "claim": "C5", "chapter": "minmax_cam", "part": "MinMax has lower %ARO than CAM", "setting": "msrc, rate 0.1",
    "dataset": "msrc", "network": "squeezenet1_0", "head": "linear", "seed": pd.NA, "runs": "photographs-msrc",
    "value": -2.0, "low": -3.0, "high": -1.0, "n_seeds": 5, "seed_low": -4.0, "seed_high": 0.5, "unit": "points",
    "wanted": -1, "margin": 0.0, "n_images": 50, "verdict": "undecided",
    "reason": "1 of 5 seeds lies on the other side",
}  # fmt: skip


def text(markup):
    """Return what a reader sees of HTML, tags apart."""
    return " ".join(html.unescape(re.sub("<.*?>", " ", markup, flags=re.S)).split())


def rows_of(table):
    """Return the cells of a table's rows as HTML."""
    lines = re.findall(r"<tr[^>]*>(<td.*?)</tr>", table, re.S)
    return [re.findall(r"<td[^>]*>(.*?)</td>", line, re.S) for line in lines]


@pytest.fixture
def run(tmp_path):
    parameters = {"dataset": "msrc", "architecture": "squeezenet1_0", "head": "both"}
    record = {"chapter": "photographs", "parameters": parameters, "n_train": 9, "n_val": 2, "n_test": 3}
    return Run(tmp_path / "photographs-msrc", record)


def judged(*changes):
    """Return the ledger without runs, but for rows of C5 that differ from ROW as said."""
    none = claims.judge([])
    names = {change.get("claim", "C5").rstrip("'") for change in changes}
    rows = pd.DataFrame([ROW | change for change in changes])
    return pd.concat([none[~none["claim"].isin(names)], rows], ignore_index=True)


@pytest.fixture
def details(run):
    """The sections of MinMax-CAM's page by claim: C5 with both of its controls."""
    ledger = judged(*({"claim": f"C5{primes}"} for primes in ("", "'", "''")))
    parts = re.split(r"^## (.*)\n", details_part("minmax_cam", ledger, [run]), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_seeds_stand_below_the_interval_and_numbers_end_at_the_right(details):
    (table,) = re.findall(r"<table.*?</table>", details["C5"], re.S)
    heads = re.findall(r"<th [^>]*>(.*?)</th>", table)
    assert heads == ["test", "verdict", "value [95%]", "images", "run"]
    assert 'class="dataframe table tests r3 r4"' in table
    first = [text(cell) for cell in rows_of(table)[0]]
    assert first == [
        "MinMax has lower %ARO than CAM, claimed below 0 1 of 5 seeds lies on the other side", "≈ undecided",
        "-2.0 [-3.0, -1.0] points 5 seeds: -4.0 to +0.5", "50", "msrc, squeezenet1_0 msrc, rate 0.1, linear head",
    ]  # fmt: skip
    assert table.count('data-data="MSRC"') == 3
    heads = re.findall(r"<th [^>]*>(.*?)</th>", details["C4"])
    assert heads == ["test", "verdict"], "a column that says nothing is left out"


def test_primed_rows_say_what_they_are_and_belong_to_their_claim(details):
    shown = text(details["C5"])
    assert "C5', a control of ours: MinMax has" in shown
    assert "C5'', measured against pixel truth: MinMax has" in shown
    assert "MSRC ≈ undecided · C5', a control of ours: ≈ undecided · C5'', measured" in shown


def test_every_claim_has_a_section_on_its_papers_page_and_no_other():
    for chapter in claims.SETTINGS:
        part = details_part(chapter, claims.judge([]), [])
        wanted = [claim.id for claim in claims.CLAIMS.values() if claim.chapter == chapter]
        assert re.findall(r"^## (.*)$", part, re.M) == wanted
        assert re.findall(r"^\(claim-(.*)\)=$", part, re.M) == [name.lower() for name in wanted]


def test_a_value_without_a_wanted_side_has_none():
    rows = judged({"claim": "C12", "wanted": 0}, {"claim": "C12"})
    own = details_part("minmax_cam", rows, []).split("## C12\n")[1].split("\n## ")[0]
    assert own.count("claimed below 0") == 1 and "claimed above" not in own


NUMBER = "-2.0 [-3.0, -1.0] points"  # of every row


def scoreboard(ledger, runs=()):
    """Return the scoreboard of MinMax-CAM: {column: cells}, as a reader sees them."""
    (table,) = re.findall(
        r"<table[^>]* scores.*?</table>",
        claims_part(ledger, runs).split("## MinMax-CAM")[1].split("\n## ")[0],
        re.S,
    )
    heads = [text(cell) for cell in re.findall(r"<th [^>]*>(.*?)</th>", table, re.S)]
    return dict(zip(heads, zip(*[map(text, cells) for cells in rows_of(table)], strict=True), strict=True))


def test_failures_come_first_and_each_kind_of_data_has_a_badge():
    shown = scoreboard(
        judged(
            {"claim": "C1", "verdict": "holds"},
            {"claim": "C2", "verdict": "undecided"},
            {"claim": "C3", "verdict": "fails"},
            {"claim": "C4", "verdict": "holds"},
            {"claim": "C4", "verdict": "undecided", "dataset": "voc2012"},
            {"claim": "C5", "verdict": "holds"},
            {"claim": "C5", "verdict": "holds"},
            {"claim": "C5", "verdict": "fails"},
            {"claim": "C6", "verdict": "holds"},
            {"claim": "C6", "verdict": "fails"},
            {"claim": "C6'", "verdict": "fails"},
        )
    )
    assert list(shown) == ["claim", "VOC", "MSRC"], "data on which nothing was asked have no column"
    order = [cell.split()[0] for cell in shown["claim"]]
    assert [name for name in order if name in ("C1", "C2", "C3", "C4", "C5", "C6")] == [
        "C3",
        "C6",
        "C5",
        "C2",
        "C4",
        "C1",
    ]
    of = {name: i for i, name in enumerate(order)}
    number = f" {NUMBER}"  # of the hardest test
    assert shown["MSRC"][of["C5"]] == "◐ mixed 1 ✗ 2 ✓" + number
    assert shown["MSRC"][of["C6"]] == "◐ mixed 1 ✗ 1 ✓" + number, "a control has no say"
    assert shown["MSRC"][of["C4"]] == "✓ holds" + number and shown["VOC"][of["C4"]] == "≈ undecided" + number
    assert shown["VOC"][of["C3"]] == shown["MSRC"][of["C13"]] == "– not asked"


def test_the_number_of_a_claim_is_that_of_its_hardest_test(run):
    rows = pd.DataFrame(
        [
            ROW | {"verdict": "holds", "value": -9.0},
            ROW | {"verdict": "holds", "value": -2.0, "part": "the other"},
            ROW | {"verdict": "undecided", "value": -5.0, "part": "unsure"},
        ]
    )
    said = "{}: {} [-3.0, -1.0] points, claimed below 0 (msrc, linear)"
    names = {run.id: "msrc"}
    assert hardest(rows, names) == said.format("unsure", "-5.0")
    assert hardest(rows[rows["verdict"] == "holds"], names) == said.format("the other", "-2.0")
    worse = pd.concat([rows, rows.head(1).assign(verdict="fails", value=[3.0], part="failing")])
    assert hardest(worse, names) == said.format("failing", "+3.0")


def test_printed_cells_and_claims_without_a_run_say_so():
    shown = scoreboard(judged({"claim": "C1", "verdict": "holds"}))
    of = {cell.split()[0]: cell for cell in shown["claim"]}
    assert "◐ mixed" in of["C14"] and "(as printed, kernel-usage)" in of["C14"]
    assert "○ not run" in of["C2"] and "a run of" in of["C2"] and "mixed" not in of["C2"]


def test_below_a_badge_stands_the_hardest_test_of_that_kind_of_data():
    other = {"dataset": "voc2012", "verdict": "holds"}
    shown = scoreboard(
        judged(
            {"verdict": "holds", "value": -9.0, "low": -9.5, "high": -8.5},
            {"verdict": "holds", "value": -1.0, "low": -1.5, "high": -0.5},  # claimed below 0: the hardest on MSRC
            other | {"value": -5.0, "low": -6.0, "high": -4.0},
        )
    )
    count = scoreboard(judged({"verdict": "fails", "value": 4.0, "low": pd.NA, "high": pd.NA, "unit": "number"}))
    assert "✗ fails" in count["MSRC"], "a bare count would say nothing"
    (at,) = [i for i, cell in enumerate(shown["claim"]) if cell.split()[0] == "C5"]
    assert shown["MSRC"][at] == "✓ holds -1.0 [-1.5, -0.5] points"
    assert shown["VOC"][at] == "✓ holds -5.0 [-6.0, -4.0] points"


def test_the_counts_of_claims_are_those_of_the_badges(run):
    ledger = judged({"claim": "C1", "verdict": "holds"}, {"claim": "C2", "verdict": "fails"})
    tests = (ledger["verdict"] != "not run").sum()
    wanted = f"4 of 39 claims have been judged, in {tests} tests: 1 fails, 2 mixed, 1 holds."
    assert wanted not in claims_part(ledger, []), "without a run nothing but printed cells is judged"
    assert wanted in claims_part(ledger, [run])
    shown = scoreboard(ledger)["MSRC"]
    assert shown.count(f"✓ holds {NUMBER}") == shown.count(f"✗ fails {NUMBER}") == 1


def test_claims_lead_to_their_section_of_the_chapter():
    for claim in claims.CLAIMS.values():
        cells = json.loads((ROOT / "notebooks" / f"{claim.chapter}.ipynb").read_text())["cells"]
        prose = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        headings = [re.sub(r"\W+", "-", line.lower()) for line in re.findall(r"(?m)^#+ (.*)$", prose)]
        figures = [cell["metadata"].get("mystnb", {}).get("figure", {}).get("name") for cell in cells]
        anchors = {*re.findall(r"(?m)^\((.+)\)=$", prose), *headings, *figures}
        assert SECTIONS.get(claim.id, FIGURES[claim.chapter]) in anchors, claim.id


def test_every_badge_is_a_symbol_and_a_word_of_its_own():
    assert len({(mark.symbol, mark.word) for mark in MARKS.values()}) == len(MARKS)
    assert all(mark.symbol and mark.word for mark in MARKS.values())
    styles = (ROOT / "assets" / "runs.css").read_text()
    assert all(f".diff.{mark.colour} " in styles for mark in MARKS.values())


def ledger(*rows):
    """Return a ledger of rows (claim, head, dataset, verdict)."""
    found = [
        ROW | {"claim": claim, "part": f"what {claim} says", "head": head, "dataset": data, "verdict": verdict}
        for claim, head, data, verdict in rows
    ]
    return pd.DataFrame(found)


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
    _, other, one_side = apart_part(VERDICTS).split("<details>")
    rows = rows_of(other)
    assert [[text(cell) for cell in row] for row in rows] == [
        ["C1", "what C1 says (kernel-usage head)", "✓ holds", "✗ fails"],
        ["C2", "what C2 says (linear head)", "✗ fails ≈ undecided", "✗ fails ✓ holds"],
    ]
    assert 'href="claims_minmax_cam.html#claim-c1"' in rows[0][0]
    assert "what C3 says" in one_side and "what C3 says" not in other


def test_without_both_sides_nothing_is_said_to_differ():
    photographs = VERDICTS[VERDICTS["dataset"] != "digits"]
    nothing = "No test of a claim has been judged on both digits and photographs."
    assert apart_sentence(photographs) == nothing and apart_part(photographs) == f"{nothing}\n"
    same = apart_part(VERDICTS[:3])
    assert same == "Of 1 tests of the paper's claims that both judge, 1 came out the same.\n"


def test_a_row_without_a_run_names_the_papers_tables(details):
    shown = [text(row[-1]) for row in rows_of(details["C14"])]
    assert shown == ["the paper's tables the paper's Table 3, kernel-usage head"] * 2
    assert "the paper's tables" in text(details["C14"].split("<details>")[0])
    assert "the paper&#39;s tables" not in details["C13"]  # not run
