"""The scoreboard of the papers' claims: a line for each, with its verdict on every kind of data; failures first."""

from collections.abc import Sequence

import pandas as pd
from markupsafe import Markup

from cam_utils import claims
from cam_utils.claims.evidence import SCALES, Claim
from cam_utils.runs import Run
from workflow.site import escape, html_parts, photograph_runs, photographs_page, run_pages
from workflow.site.claims_apart import apart_part
from workflow.site.verdicts import DATA, MARKS, SINGLE, claim_link, claim_row, data_name, mark, outcome

KINDS = tuple(dict.fromkeys(DATA.values()))  # of data, in the order of the columns
# Claim -> the section of its chapter that shows most of it; of others the chapter's figure of claims.
SECTIONS = {
    **dict.fromkeys(("C7", "C14"), "sec-halved"),
    **dict.fromkeys(("C11", "C12", "C13", "C15", "C16", "C17", "C18", "C19"), "sec-kernel-usage"),
    **dict.fromkeys(("E1", "E2", "E3"), "the-derivation"),
    **dict.fromkeys(("R2", "R3", "R5", "R6", "R7"), "sec-rep-photographs"),
    **dict.fromkeys(("S1", "S2", "S3"), "sec-ss-photographs"),
}
FIGURES = {"minmax_cam": "fig-claims", "representative_cam": "fig-rep-claims", "ss_cam": "fig-ss-claims"}


def claims_part(ledger: pd.DataFrame, runs: Sequence[Run]) -> str:
    """Return the generated part of the page of claims, as MyST; `ledger` is what `claims.judge` returns."""
    names = {run.id: run_pages.short_name(run) for run in runs}
    said = "No run has been read into this build: nothing is judged but printed cells."
    text = f"{count(ledger) if names else said} The same rows as a file: {{download}}`claims.csv`.\n"
    for chapter in dict.fromkeys(claim.chapter for claim in claims.CLAIMS.values()):
        title = run_pages.PAPERS.get(chapter, chapter)
        frame = html_parts.frame(scoreboard(chapter, ledger, names), f"The claims of {title}")
        text += f"\n## {title}\n\n{_of_paper(chapter, ledger)}\n\n{html_parts.raw(frame)}"
    limits = dict.fromkeys(map(photographs_page.limits, filter(photograph_runs.is_one, runs)))
    text += "".join(f"\n{limit}\n" for limit in limits if limit)
    return f"{text}\n(sec-apart)=\n## Photographs against digits\n\n{apart_part(ledger)}"


def count(ledger: pd.DataFrame) -> str:
    """Return in a sentence how many claims have been judged, and how many came out in each way."""
    found = pd.Series({name: outcome(ledger, name) for name in claims.CLAIMS})
    judged = ledger["verdict"] != "not run"
    counts = found[found != "not run"].value_counts()
    parts = ", ".join(f"{counts[verdict]} {MARKS[verdict].word}" for verdict in MARKS if verdict in counts)
    return f"{counts.sum()} of {len(found)} claims have been judged, in {judged.sum():,} tests: {parts}."


def _of_paper(chapter: str, ledger: pd.DataFrame) -> str:
    """Return the sentence above a paper's table."""
    tests = ((ledger["chapter"] == chapter) & (ledger["verdict"] != "not run")).sum()
    return (
        f"{{doc}}`All {tests:,} tests, run by run <claims_{chapter}>`. "
        f'Why we tested what: <a href="../notebooks/{chapter}.html">the chapter</a>.'
    )


def scoreboard(chapter: str, ledger: pd.DataFrame, names: dict[str, str]) -> Markup:
    """Return the table of a paper's claims; a kind of data on which none of them was asked has no column.

    names: how the runs are called, by their ids.
    """
    own = [claim for claim in claims.CLAIMS.values() if claim.chapter == chapter]
    results = {claim.id: outcome(ledger, claim.id) for claim in own}
    known = {data_name(name) for name in ledger.loc[ledger["chapter"] == chapter, "dataset"]} - {""}
    kinds = [*KINDS, *sorted(known - {*KINDS})]
    cells = {
        kind: {claim.id: _cell(ledger, claim.id, kind) for claim in own}
        for kind in kinds
        if any(outcome(ledger, claim.id, kind) != "not asked" for claim in own)
    }
    rows = [
        {
            "claim": _claim(claim, results[claim.id], ledger[ledger["claim"] == claim.id], names),
            **{kind: of_kind[claim.id] for kind, of_kind in cells.items()},
        }
        for claim in sorted(own, key=lambda claim: _rank(results[claim.id], ledger[ledger["claim"] == claim.id]))
    ]
    return html_parts.table(rows, "scores", cards=True)


def _rank(verdict: str, rows: pd.DataFrame) -> tuple[int, float]:
    """Return where a claim stands: what fails comes first, and among alike verdicts what fails in more tests."""
    counts = rows["verdict"].value_counts()
    failed, held = (counts.get(word, 0) for word in ("fails", "holds"))
    return list(MARKS).index(verdict), -failed / max(failed + held, 1)


def _cell(ledger: pd.DataFrame, claim: str, kind: str) -> Markup:
    """Return the verdict on one kind of data, its hardest test, and where tests differ how many said what."""
    verdict = outcome(ledger, claim, kind)
    tests = ledger[(ledger["claim"] == claim) & (ledger["dataset"].map(data_name) == kind) & (ledger["runs"] != "")]
    tests = tests[tests["verdict"] != "not run"]
    if tests.empty:
        return mark(verdict)
    row = hardest_row(tests)
    # A bare count says nothing without its words, which the claim's own cell has.
    number = (
        ""
        if row["unit"] == "number"
        else Markup('<small title="{}">{}</small>').format(
            escape.html(row["part"]), html_parts.unbroken(value_text(row))
        )
    )
    if verdict in SINGLE:
        return mark(verdict) + number
    counts = tests["verdict"].value_counts()
    told = " ".join(f"{counts[each]} {MARKS[each].symbol}" for each in MARKS if each in counts and each in SINGLE)
    return mark(verdict) + Markup("<small>{}</small>").format(told) + number


def _claim(claim: Claim, verdict: str, rows: pd.DataFrame, names: dict[str, str]) -> Markup:
    """Return the claim's own cell: its sentence, its hardest test, and where the chapter shows it."""
    section = SECTIONS.get(claim.id, FIGURES[claim.chapter])
    tests = rows[rows["verdict"] != "not run"]
    said = Markup(" {}").format(mark(verdict)) if tests.empty or (tests["runs"] == "").all() else Markup()
    below = claim.needs if tests.empty else hardest(tests, names)
    return Markup(
        '<span id="{}">{}</span> {}{}<small>{} · <a href="../notebooks/{}.html#{}">in the chapter</a></small>'
    ).format(claim_row(claim.id), claim_link(claim.id), claim.statement, said, below, claim.chapter, section)


def hardest(tests: pd.DataFrame, names: dict[str, str]) -> str:
    """Return in words the test that speaks most against the claim."""
    row = hardest_row(tests)
    where = ", ".join(filter(None, [names.get(row["runs"], row["runs"]) or "as printed", row["head"]]))
    return f"{row['part']}: {value_text(row)}{wanted_text(row)} ({where})"


def hardest_row(tests: pd.DataFrame) -> dict:
    """Return the test that speaks most against the claim: it fails by most, or holds by least."""
    order = list(MARKS)
    scale = tests["unit"].map(SCALES).astype(float)
    favour = (tests["value"] - tests["margin"]) * tests["wanted"].astype(float) / scale
    ranked = tests.assign(order=tests["verdict"].map(order.index), favour=favour)
    return ranked.sort_values(["order", "favour"], kind="stable").iloc[0].to_dict()


def value_text(row: dict) -> str:
    """Return a test's value with its interval and unit, "" of none."""
    if pd.isna(row["value"]):
        return ""
    unit = "" if row["unit"] in ("%", "number") else f" {row['unit']}"
    return claims.text(row) + unit


def wanted_text(row: dict) -> str:
    """Return on which side of the margin the value should lie; nothing of a count that has no side.

    >>> wanted_text({"wanted": -1, "margin": 2.0})
    ', claimed below 2'
    """
    word = {1: "above", -1: "below"}.get(row["wanted"])
    return f", claimed {word} {row['margin']:g}" if word else ""
