"""What the page of results says first: what photographs say, what digits say, where they differ and why."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cam_utils.claims.strata import STRATA
from cam_utils.evaluation import facts
from cam_utils.runs import Run
from workflow.site import claims_apart, escape, photograph_reasons, photographs_page
from workflow.site import photograph_runs as numbers
from workflow.site import photograph_tables as tables
from workflow.site import photographs_summary as summary
from workflow.site.run_pages import short_name

SIZE = tables.CONTRASTS[1]
OTHERS = ("average_drop_others", "average_retention_others", "energy_in_others")
QUESTIONS = {  # of MinMax-CAM beside CAM
    "Does its map leave the other objects alone?": OTHERS,
    "Does more of it lie on its own object?": ("energy_in_mask", "iou_0.3", "pointing_mask"),
    "Does it keep what the network sees in the label?": ("average_drop", "average_retention"),
}
SHRUNK = "Is that more than shrinking CAM's map as much would do?"  # beside area-matched CAM


def first_part(source: Path, runs: Sequence[Run], ledger: pd.DataFrame, folder: Path | None = None) -> str:
    """Return what the page of results says first, as MyST: of photographs, of digits, where they differ and why.

    `ledger` is what `claims.judge` returns of all runs of the book. The figure is drawn into `folder`, where the
    page will lie, if given.
    """
    runs = [run for run in runs if numbers.is_one(run)]
    found = [(run, rows) for run in runs if len(rows := summary.differences(run))]
    rows = pd.concat([rows for _, rows in found]) if found else pd.DataFrame()
    file = source / "data" / "results" / summary.DIGITS
    scenes = summary.digits(file) if file.is_file() else pd.DataFrame()
    both = summary.compared(scenes, rows) if len(scenes) and len(rows) else pd.DataFrame()
    parts = [
        "## What photographs say",
        *(_photographs([run for run, _ in found], rows, folder) if found else [summary.NOTHING]),
        "## What digits say",
        *(_digits(scenes) if len(scenes) else [summary.missing()]),
        "## Where the two differ, and why",
        " ".join([*summary.agreement(both), claims_apart.apart_sentence(ledger)]),
        *_why(scenes, [run for run, _ in found]),
    ]
    return "\n\n".join(parts) + "\n"


def _photographs(runs: Sequence[Run], rows: pd.DataFrame, folder: Path | None) -> list[str]:
    named = escape.prose("; ".join(short_name(run) for run in runs))
    settings = " or ".join(map(escape.prose, dict.fromkeys(rows["setting"])))
    alone = rows[(rows["method"] == summary.CAM[0]) & (rows["baseline"] == summary.CAM[1])]
    matched = rows[(rows["method"] == SIZE[0]) & (rows["baseline"] == SIZE[1])]
    first, *rest = _answers(alone)
    size = answer(SHRUNK, summary.by_kind(matched, OTHERS, points=True))
    return [
        f"MinMax-CAM beside CAM on images of several labels, in {len(runs)} run{'s' * (len(runs) > 1)} ({named}; "
        f"{settings}), in points:",
        "\n".join(f"- {line}" for line in [first, f"{size} (Beside area-matched CAM.)", *rest]),
        summary.figure(rows, runs, "fig-results", folder),
        *filter(None, dict.fromkeys(photographs_page.limits(run) for run in runs)),
    ]


def _digits(scenes: pd.DataFrame) -> list[str]:
    rows = scenes[scenes["scenes"] == "co-occurring"]
    verdict = [_verdict(row) for row in rows.to_dict("records")]
    return [
        f"The same questions on scenes of digits that go together, {rows['count'].max()} seeds of the linear head "
        "at its slow rate; better or worse is what every seed says:",
        "\n".join(f"- {line}" for line in _answers(rows.assign(value=rows["mean"], verdict=verdict))),
    ]


def _answers(rows: pd.DataFrame) -> list[str]:
    return [answer(each, summary.by_kind(rows, metrics, points=True)) for each, metrics in QUESTIONS.items()]


def answer(question: str, kinds: dict[str, list[str]]) -> str:
    """Return the question with its answer from what :func:`photographs_summary.by_kind` found.

    >>> answer("Is it?", {"better": ["IoU"], "undecided": ["energy"]})
    '**Is it?** In part: better in IoU; undecided in energy.'
    """
    words = {("better",): "Yes", ("worse",): "No", ("worse", "undecided"): "No", ("undecided",): "Not settled"}
    if not kinds:
        return f"**{question}** Not measured."
    return f"**{question}** {words.get(tuple(kinds), 'In part')}: {summary.listed(kinds)}."


def _why(scenes: pd.DataFrame, runs: Sequence[Run]) -> list[str]:
    """Return in a list what has been measured to make the difference larger or smaller, on either side."""
    said = []
    for metric in photograph_reasons.METRICS if len(scenes) else ():
        own = scenes[scenes["metric"] == metric].set_index("scenes")
        if {"co-occurring", "independent"} <= set(own.index):
            there, apart = own.loc["co-occurring"], own.loc["independent"]
            if there["min"] > apart["max"] or there["max"] < apart["min"]:
                said.append(
                    f"{tables.title(metric)}, digits: {there['mean']:+.1f} points where labels go together, "
                    f"{apart['mean']:+.1f} where they do not."
                )
    halves = [rows for run in runs if len(rows := photograph_reasons.of_run(run))]
    said += of_objects(photograph_reasons.told_apart(pd.concat(halves)), len(halves)) if halves else []
    if not said:
        return ["What makes the difference larger or smaller cannot be told yet, on either side."]
    return [
        "What makes MinMax-CAM minus CAM larger or smaller has been measured within each side. That the same makes "
        "digits and photographs differ is our reading: no run changes it alone.",
        "\n".join(f"- {sentence}" for sentence in said),
    ]


def of_objects(halves: pd.DataFrame, count: int) -> list[str]:
    """Return what `photograph_reasons.told_apart` found in `count` runs, in a sentence for each way it goes."""
    said = []
    for (metric, stratum, _), own in halves.groupby(["metric", "stratum", "sign"], sort=False):
        what, lower, upper = STRATA[stratum]
        first, second = (summary.points_of(own[half]) for half in ("lower", "upper"))
        said.append(
            f"{tables.title(metric)}, {len(own)} of {count} run{'s' * (count > 1)} on photographs: {first} points "
            f"where the {what} is {lower}, {second} where it is {upper}."
        )
    return said


def _verdict(row) -> str:
    return {1: "holds", -1: "fails", 0: "undecided"}[summary.side_of(row) * facts.WANTED[row["metric"]]]
