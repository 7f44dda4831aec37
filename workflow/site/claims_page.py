"""The ledger of the papers' claims, as HTML for its page: which runs judged each claim, and how."""

from collections.abc import Iterable

import pandas as pd

from cam_utils import claims
from cam_utils.runs import Run
from workflow.site import html_parts, run_pages
from workflow.site.results_page import link

# Verdict -> its mark and class: the word is always beside the symbol, colour comes third.
MARKS = {
    "holds": ("✓", "up2"),
    "fails": ("✗", "down2"),
    "undecided": ("≈", "d0"),
    "not run": ("○", "none"),
}


def claims_part(ledger: pd.DataFrame, runs: Iterable[Run]) -> str:
    """Return the generated part of the page of claims, as MyST; `ledger` is what `claims.judge` returns."""
    runs = {run.id: run for run in runs}
    chapters: dict[str, dict] = {}
    for name, claim in claims.CLAIMS.items():
        chapters.setdefault(claim.chapter, {})[name] = claim
    count = "No run has been read into this build: nothing is judged." if not runs else _count(ledger)
    text = f"{count} The same rows as a file: {{download}}`claims.csv`.\n"
    for chapter in chapters:
        title = run_pages.PAPERS.get(chapter, chapter)
        summary = _summary(ledger[ledger["chapter"] == chapter], runs, chapter)
        frame = html_parts.frame(summary, f"Verdicts on {title}, by run")
        text += f"\n### {title}: verdicts by run\n\n{html_parts.raw(frame)}"
    choices = {
        "verdict": [mark_text(verdict) for verdict in MARKS if verdict in set(ledger["verdict"])],
        "dataset": sorted({str(d) for d in ledger["dataset"].dropna()} - {""}),
        "chapter": [run_pages.PAPERS.get(chapter, chapter) for chapter in chapters],
    }
    text += f"\n## Claim by claim\n\n{html_parts.raw(html_parts.filters(choices))}"
    for chapter, own in chapters.items():
        title = run_pages.PAPERS.get(chapter, chapter)
        text += f"\n### The claims of {title}\n"
        for name, claim in own.items():
            rows = _shown(ledger[ledger["claim"].map(paper_id) == name], runs, claim.statement)
            frame = html_parts.frame(html_parts.table(rows), f"Verdicts on {name}", chapter=title)
            statement, evidence = (run_pages.markdown_safe(part) for part in (claim.statement, claim.evidence))
            text += f"\n#### {name}\n\n**Claim.** {statement}\n\n**The paper's own evidence.** {evidence}\n\n"
            text += html_parts.raw(frame)
    return text


def mark_text(verdict: str) -> str:
    """Return the verdict as it reads on the page: "✓ holds"."""
    return f"{MARKS[verdict][0]} {verdict}"


def mark(verdict: str, count: int | None = None) -> str:
    """Return the verdict as HTML: symbol, word, and how often."""
    times = "" if count is None or count == 1 else f" {count}x"
    return f'<span class="diff {MARKS[verdict][1]}">{mark_text(verdict)}{times}</span>'


def run_ids(cell: str) -> list[str]:
    """Return the ids in a cell of the ledger's column `runs`.

    >>> run_ids("minmax_cam, minmax_cam-digits-s1")
    ['minmax_cam', 'minmax_cam-digits-s1']
    """
    return [name for name in cell.split(", ") if name]


def paper_id(claim: str) -> str:
    """Return the paper's claim that a row is about: S1' is a control of ours beside S1.

    >>> paper_id("S1'")
    'S1'
    """
    return claim.rstrip("'")


def _count(ledger: pd.DataFrame) -> str:
    """Return one sentence: how many claims have been judged, and how many tests ended in each verdict."""
    ids = ledger["claim"].map(paper_id)
    tests = ledger["verdict"] != "not run"
    counts = ledger["verdict"].value_counts()
    parts = ", ".join(f"{verdict} {counts[verdict]}" for verdict in MARKS if verdict in counts)
    return (
        f"{ids[tests].nunique()} of {ids.nunique()} claims have been judged, in {tests.sum()} tests. "
        f"The ledger's rows: {parts}."
    )


def _summary(rows: pd.DataFrame, runs: dict[str, Run], chapter: str) -> str:
    """Return a table of claims by runs; a cell counts the verdicts of the claim's parts and settings on the run."""
    pairs = rows.assign(run=rows["runs"].map(run_ids)).explode("run")
    shown = []
    for name, own in rows.groupby("claim", sort=False):
        line = {
            "claim": f'<a href="#{paper_id(name).lower()}">{html_parts.escape(name)}</a>',
            "all runs": _cell(own["verdict"]),
        }
        for run in (run for run in runs.values() if run.chapter == chapter):
            found = pairs[(pairs["claim"] == name) & (pairs["run"] == run.id)]
            line[link(run, run_pages.short_name(run))] = _cell(found["verdict"])
        shown.append(line)
    return html_parts.table(pd.DataFrame(shown), "summary")


def _cell(verdicts: pd.Series) -> str:
    counts = verdicts.value_counts()
    return " ".join(mark(verdict, counts[verdict]) for verdict in MARKS if verdict in counts) or "-"


def _shown(rows: pd.DataFrame, runs: dict[str, Run], statement: str) -> pd.DataFrame:
    """Return the rows of one claim as text and HTML."""
    escape, shown = html_parts.escape, []
    for row in rows.to_dict("records"):
        part = "" if row["part"] == statement else row["part"]
        if row["claim"] != paper_id(row["claim"]):
            part = f"{row['claim']}, a control of ours: {part}"
        measured = pd.notna(row["value"])
        unit = "" if row["unit"] in ("%", "number") else f" {row['unit']}"
        shown.append(
            {
                "verdict": mark(row["verdict"]),
                "value [95%]": escape(claims.text(row) + unit) if measured else "",
                "images": _plain(row["n_images"]),
                "part": sentence(part),
                "reason": sentence(row["reason"]),
                **{name: _plain(row[name]) for name in ("dataset", "network", "head", "seed", "setting")},
                "wanted": f"{'above' if row['wanted'] > 0 else 'below'} {row['margin']:g}" if measured else "",
                "run": " ".join(
                    link(runs[each]) if each in runs else escape(each) for each in run_ids(row["runs"])
                ),
            }
        )
    shown = pd.DataFrame(shown)
    return shown[[name for name in shown if shown[name].any()]]  # a column that says nothing is left out


def sentence(text: str) -> str:
    """Return a text that may break over lines; other cells may not."""
    return f'<span class="text">{html_parts.escape(text)}</span>' if text else ""


def _plain(value: object) -> str:
    return "" if pd.isna(value) else html_parts.escape(str(value))
