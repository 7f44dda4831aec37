"""The ledger of the papers' claims, as HTML for its page: which runs judged each claim, and how."""

from collections.abc import Container, Iterable

import pandas as pd
from markupsafe import Markup

from cam_utils import claims
from cam_utils.runs import Run
from workflow.site import escape, html_parts, photograph_runs, photographs_page, run_pages
from workflow.site.results_page import link

# Verdict -> its mark and class: the word is always beside the symbol, colour comes third.
MARKS = {
    "holds": ("✓", "up2"),
    "fails": ("✗", "down2"),
    "undecided": ("≈", "d0"),
    "not run": ("○", "none"),
}
DIGITS = "digits"  # of the data sets, the one that is drawn; all others are photographs
DECIDED = ("holds", "fails")
APART = {  # how the verdicts on digits and on photographs go together where they are not the same
    "opposite": "the other way round",
    "partly": "mixed within a side",
    "one side": "decided on one side only",
}
PRIMED = {1: "a control of ours", 2: "measured against pixel truth"}  # primes of a claim's id -> what the row is


def claims_part(ledger: pd.DataFrame, runs: Iterable[Run]) -> str:
    """Return the generated part of the page of claims, as MyST; `ledger` is what `claims.judge` returns."""
    runs = {run.id: run for run in runs}
    chapters: dict[str, dict] = {}
    for name, claim in claims.CLAIMS.items():
        chapters.setdefault(claim.chapter, {})[name] = claim
    count = (
        "No run has been read into this build: nothing is judged but printed cells." if not runs else _count(ledger)
    )
    text = f"{count} The same rows as a file: {{download}}`claims.csv`.\n"
    limits = dict.fromkeys(map(photographs_page.limits, filter(photograph_runs.is_one, runs.values())))
    text += "".join(f"\n{limit}\n" for limit in limits if limit)
    for chapter in chapters:
        title = run_pages.PAPERS.get(chapter, chapter)
        summary = _summary(ledger[ledger["chapter"] == chapter], runs, chapter)
        frame = html_parts.frame(summary, f"Verdicts on {title}, by run")
        text += f"\n### {title}: verdicts by run\n\n{html_parts.raw(frame)}"
    text += f"\n(sec-apart)=\n## Photographs against digits\n\n{apart_part(ledger)}"
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
            statement, evidence = (escape.prose(part) for part in (claim.statement, claim.evidence))
            text += f"\n#### {name}\n\n**Claim.** {statement}\n\n**The paper's own evidence.** {evidence}\n\n"
            text += html_parts.raw(frame)
    return text


def apart(ledger: pd.DataFrame) -> pd.DataFrame:
    """Return the tests that runs on digits and runs on photographs both judge: one row per claim, part and head.

    Columns: claim, part, head, digits and photographs (the verdicts of that side's rows, a tuple), kind: "same" or
    a key of APART. Undecided rows have no say where another row of their side decides.

    >>> rows = pd.DataFrame({"claim": "C1", "part": "a", "head": "", "dataset": ["digits", "msrc"]})
    >>> apart(rows.assign(verdict=["holds", "fails"], runs="a"))["kind"].item()
    'opposite'
    """
    judged = ledger[(ledger["verdict"] != "not run") & (ledger["runs"] != "")]  # a paper's cells are no run
    rows = []
    for (claim, part, head), own in judged.groupby(["claim", "part", "head"], sort=False):
        drawn = own["dataset"] == DIGITS
        if drawn.any() and not drawn.all():
            sides = {
                "digits": tuple(own.loc[drawn, "verdict"]),
                "photographs": tuple(own.loc[~drawn, "verdict"]),
            }
            rows.append({"claim": claim, "part": part, "head": head, **sides, "kind": _kind(*sides.values())})
    return pd.DataFrame(rows, columns=["claim", "part", "head", "digits", "photographs", "kind"])


def _kind(digits: tuple[str, ...], photographs: tuple[str, ...]) -> str:
    ours, theirs = ({*side} & {*DECIDED} for side in (digits, photographs))
    if len(ours) > 1 or len(theirs) > 1:
        return "partly"
    if ours == theirs:
        return "same"
    return "opposite" if ours and theirs else "one side"


def apart_sentence(ledger: pd.DataFrame) -> str:
    """Return in a sentence how many tests came out otherwise on photographs, with a link to the list of them."""
    found = apart(ledger)
    if found.empty:
        return "No test of a claim has been judged on both digits and photographs."
    counts = found["kind"].value_counts()
    parts = [f"{counts[kind]} {words}" for kind, words in APART.items() if kind in counts]
    otherwise = f"; {', '.join(parts)} ({{ref}}`the list <sec-apart>`)" if parts else ""
    return (
        f"Of {len(found)} tests of the paper's claims that both judge, "
        f"{counts.get('same', 0)} came out the same{otherwise}."
    )


def apart_part(ledger: pd.DataFrame) -> str:
    """Return the list of tests that came out otherwise on photographs than on digits, as MyST."""
    found = apart(ledger)
    text = f"{apart_sentence(ledger)}\n"
    if (found["kind"] == "same").all():
        return text
    text += (
        "\nA test is a part of a claim under one head; a cell counts its verdicts over runs, rates and scenes. The "
        "chapter on digits trains its linear head slowly and its kernel-usage head fast, photographs have both "
        "heads at both rates: where heads are compared, the rate may be what turns a verdict round.\n"
    )
    for kinds, label in ((("opposite", "partly"), "Other verdicts"), (("one side",), "Decided on one side only")):
        own = found[found["kind"].isin(kinds)]
        if own.empty:
            continue
        rows = [
            {
                "claim": _claim_link(row.claim),
                "what it says": sentence(row.part),
                "head": row.head,
                "digits": _cell(pd.Series(row.digits)),
                "photographs": _cell(pd.Series(row.photographs)),
            }
            for row in own.sort_values("kind", kind="stable").itertuples()
        ]
        frame = html_parts.frame(html_parts.table(rows, "summary"), label)
        text += f"\n{html_parts.raw(html_parts.folded(label, frame) if 'one side' in kinds else frame)}"
    return text


def _claim_link(name: str) -> Markup:
    return Markup('<a href="#{}">{}</a>').format(paper_id(name).lower(), name)


def mark_text(verdict: str) -> str:
    """Return the verdict as it reads on the page: "✓ holds"."""
    return f"{MARKS[verdict][0]} {verdict}"


def mark(verdict: str, count: int | None = None) -> Markup:
    """Return the verdict as HTML: symbol, word, and how often."""
    times = "" if count is None or count == 1 else f" {count}x"
    return Markup('<span class="diff {}">{}</span>').format(MARKS[verdict][1], mark_text(verdict) + times)


def run_ids(cell: str, known: Container[str] = ()) -> list[str]:
    """Return the ids in a cell of the ledger's column `runs`; one of the `known` may hold a comma itself.

    >>> run_ids("minmax_cam, minmax_cam-digits-s1"), run_ids("a, b", {"a, b"})
    (['minmax_cam', 'minmax_cam-digits-s1'], ['a, b'])
    """
    return [cell] if cell in known else [name for name in cell.split(", ") if name]


def paper_id(claim: str) -> str:
    """Return the paper's claim that a row is about: S1' is a control of ours beside S1.

    >>> paper_id("S1'"), paper_id("C5''")
    ('S1', 'C5')
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


def _summary(rows: pd.DataFrame, runs: dict[str, Run], chapter: str) -> Markup:
    """Return a table of claims by runs; a cell counts the verdicts of the claim's parts and settings on the run."""
    pairs = rows.assign(run=rows["runs"].map(lambda cell: run_ids(cell, runs))).explode("run")
    shown = []
    for name, own in rows.groupby("claim", sort=False):
        line = {
            "claim": _claim_link(name),
            "all runs": _cell(own["verdict"]),
        }
        for run in (run for run in runs.values() if run.chapter in claims.SETTINGS[chapter]):
            found = pairs[(pairs["claim"] == name) & (pairs["run"] == run.id)]
            line[link(run, run_pages.short_name(run))] = _cell(found["verdict"])
        shown.append(line)
    return html_parts.table(shown, "summary")


def _cell(verdicts: pd.Series) -> Markup | str:
    counts = verdicts.value_counts()
    return Markup(" ").join(mark(verdict, counts[verdict]) for verdict in MARKS if verdict in counts) or "-"


def _shown(rows: pd.DataFrame, runs: dict[str, Run], statement: str) -> list[dict[str, str]]:
    """Return the rows of one claim as text and HTML."""
    shown = []
    for row in rows.to_dict("records"):
        part = "" if row["part"] == statement else row["part"]
        if primes := row["claim"].count("'"):
            part = f"{row['claim']}, {PRIMED[primes]}: {part}"
        measured = pd.notna(row["value"])
        unit = "" if row["unit"] in ("%", "number") else f" {row['unit']}"
        shown.append(
            {
                "verdict": mark(row["verdict"]),
                "value [95%]": claims.text(row) + unit if measured else "",
                "seeds": claims.seeds_text(row),
                "images": _plain(row["n_images"]),
                "part": sentence(part),
                "reason": sentence(row["reason"]),
                **{name: _plain(row[name]) for name in ("dataset", "network", "head", "seed", "setting")},
                "wanted": _wanted(row) if measured else "",
                "run": Markup(" ").join(
                    link(runs[each]) if each in runs else each for each in run_ids(row["runs"], runs)
                )
                or ("the paper's tables" if measured else ""),
            }
        )
    said = [name for name in shown[0] if any(row[name] for row in shown)]  # a column that says nothing is left out
    return [{name: row[name] for name in said} for row in shown]


def _wanted(row: dict) -> str:
    """Return on which side of the margin the value should lie; nothing of a count that has no side."""
    word = {1: "above", -1: "below"}.get(row["wanted"])
    return f"{word} {row['margin']:g}" if word else ""


def sentence(text: str) -> Markup:
    """Return a text that may break over lines; other cells may not."""
    return Markup('<span class="text">{}</span>').format(escape.html(text)) if text else Markup()


def _plain(value: object) -> str:
    return "" if pd.isna(value) else str(value)
