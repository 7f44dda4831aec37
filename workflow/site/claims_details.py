"""All tests of one paper's claims, the generated part of its page: each with its run, number and reason."""

from collections.abc import Container, Sequence

import pandas as pd
from markupsafe import Markup

from cam_utils import claims
from cam_utils.runs import Run
from workflow.site import escape, html_parts, run_pages
from workflow.site.claims_page import KINDS, value_text, wanted_text
from workflow.site.results_page import link
from workflow.site.verdicts import SINGLE, counted, data_name, mark, mark_text, outcome, paper_id, sentence

PRIMED = {1: "a control of ours", 2: "measured against pixel truth"}  # primes of a claim's id -> what the row is


def details_part(chapter: str, ledger: pd.DataFrame, runs: Sequence[Run]) -> str:
    """Return a section for every claim of the chapter, as MyST; `ledger` is what `claims.judge` returns."""
    known = {run.id: run for run in runs}
    ledger = ledger[ledger["chapter"] == chapter]
    ids = ledger["claim"].map(paper_id)
    choices = {
        "verdict": [mark_text(verdict) for verdict in (*SINGLE, "not run") if verdict in set(ledger["verdict"])],
        "data": sorted({data_name(name) for name in ledger["dataset"]} - {""}),
    }
    text = html_parts.raw(html_parts.filters(choices))
    for claim in (each for each in claims.CLAIMS.values() if each.chapter == chapter):
        rows = ledger[ids == claim.id]
        tests = (rows["verdict"] != "not run").sum()
        frame = html_parts.frame(
            html_parts.table(_shown(rows, known, claim.statement), "tests"), f"Tests of {claim.id}"
        )
        label = f"{tests} test{'s' * int(tests > 1)}" if tests else "Not run"
        text += (
            f"\n(claim-{claim.id.lower()})=\n## {claim.id}\n\n**{escape.prose(claim.statement)}** "
            f"In the paper: {escape.prose(claim.evidence)}\n\n"
            + html_parts.raw(_outcomes(rows, claim.id) + html_parts.folded(label, frame))
        )
    return text


def _outcomes(rows: pd.DataFrame, claim: str) -> Markup:
    """Return in a line how the claim came out on every kind of data, and how our controls did."""
    found = {kind: outcome(rows, claim, kind) for kind in dict.fromkeys((*KINDS, *map(data_name, rows["dataset"])))}
    shown = [
        Markup("{} {}").format(kind, mark(verdict)) for kind, verdict in found.items() if verdict != "not asked"
    ]
    if (printed := rows[(rows["runs"] == "") & (rows["verdict"] != "not run")]["verdict"]).any():
        shown.append(Markup("the paper's tables {}").format(counted(printed)))
    for primes, words in PRIMED.items():
        own = rows.loc[rows["claim"] == claim + "'" * primes, "verdict"]
        if len(own):
            shown.append(Markup("{}, {}: {}").format(claim + "'" * primes, words, counted(own)))
    shown = shown or [mark("not run")]
    return Markup('<p class="outcomes">{}</p>\n').format(Markup(" · ").join(shown))


def run_ids(cell: str, known: Container[str] = ()) -> list[str]:
    """Return the ids in a cell of the ledger's column `runs`; one of the `known` may hold a comma itself.

    >>> run_ids("minmax_cam, minmax_cam-digits-s1"), run_ids("a, b", {"a, b"})
    (['minmax_cam', 'minmax_cam-digits-s1'], ['a, b'])
    """
    return [cell] if cell in known else [name for name in cell.split(", ") if name]


def _shown(rows: pd.DataFrame, runs: dict[str, Run], statement: str) -> list[dict[str, object]]:
    """Return the rows of one claim as text and HTML; a column that says nothing is left out."""
    shown = []
    for row in rows.to_dict("records"):
        shown.append(
            {
                "test": _test(row, statement),
                "verdict": mark(row["verdict"]),
                "value [95%]": _value(row),
                "images": "" if pd.isna(row["n_images"]) else str(row["n_images"]),
                "run": _run(row, runs),
                "data-data": data_name(row["dataset"]),
            }
        )
    said = [name for name in shown[0] if name.startswith(html_parts.FACT) or any(row[name] for row in shown)]
    return [{name: row[name] for name in said} for row in shown]


def _test(row: dict, statement: str) -> Markup:
    """Return what was compared, on which side it should lie, and the reason of the verdict."""
    part = "" if row["part"] == statement else row["part"]
    if primes := row["claim"].count("'"):
        part = f"{row['claim']}, {PRIMED[primes]}: {part}"
    measured = pd.notna(row["value"])
    said = sentence(f"{part}{wanted_text(row) if measured else ''}")
    return said + (Markup("<small>{}</small>").format(row["reason"]) if row["reason"] else "")


def _run(row: dict, runs: dict[str, Run]) -> Markup:
    """Return a link to each run behind a row, with the head and the setting."""
    names = [
        link(runs[each], run_pages.short_name(runs[each])) if each in runs else escape.html(each)
        for each in run_ids(row["runs"], runs)
    ]
    if not names and pd.notna(row["value"]):
        names = [escape.html("the paper's tables")]
    head = "" if not row["head"] or row["head"] in row["setting"] else f"{row['head']} head"
    more = ", ".join(filter(None, [row["setting"], head]))
    linked = Markup('<span class="text">{}</span>').format(Markup("; ").join(names)) if names else Markup()
    return linked + (Markup("<small>{}</small>").format(more) if more else "")


def _value(row: dict) -> Markup | str:
    """Return the number with its interval, and the range over seeds below it."""
    shown = html_parts.unbroken(value_text(row))
    seeds = claims.seeds_text(row)
    if not seeds:
        return shown
    count, _, ends = seeds.partition(": ")
    return Markup("{}<small>{} seeds: {}</small>").format(shown, count, ends)
