"""Where MinMax-CAM and CAM differ on photographs: by an object's size, by what it touches and stands beside."""

from collections.abc import Sequence

import pandas as pd

from cam_utils.claims.strata import STRATA, by_stratum
from cam_utils.evaluation import bootstrap, facts
from cam_utils.runs import Run
from workflow.site import escape, html_parts
from workflow.site import photograph_runs as numbers
from workflow.site import photograph_tables as tables
from workflow.site.results_page import link
from workflow.site.run_pages import short_name

# stratum -> what is asked of it, and its lower and upper half
QUESTIONS = {
    "area": ("Is the object small or large?", "for small objects", "for large ones"),
    "touching": ("Does it touch other labels?", "where little of its rim does", "where much of it does"),
    "co_occurrence": (
        "Was it seen alone in training?",
        "where few of the training images of its label show another label of the image",
        "where many do",
    ),
}
METRICS = ("energy_in_mask", "energy_in_others")
METHOD, OTHER = tables.CONTRASTS[0]
APART = "second - first"  # the column of how the two halves differ


def reasons_part(runs: Sequence[Run]) -> list[str]:
    """Return the section that asks what kind of object makes the difference, as MyST; nothing without runs."""
    found = [(run, rows) for run in runs if len(rows := of_run(run))]
    if not found:
        return []
    every = pd.concat([rows for _, rows in found])
    lines = [line for run, rows in found for line in _shown(run, rows)]
    if len(found) == 1:  # one that says the same in every row
        lines = [{name: cell for name, cell in line.items() if name != "run"} for line in lines]
    body = html_parts.table(lines, "wraps")
    return [
        "## Where they differ",
        "Is there a kind of object with which MinMax-CAM does better? We cut the labels of images with several "
        "labels in halves, at the median of what the object is like, and compare "
        f"{tables.contrast(METHOD, OTHER)} in both.",
        "\n".join(f"- {sentence}" for sentence in findings(every)),
        f"The column *{APART}* is what that property makes of the difference; means over labels, with 95% "
        "intervals over images.",
        html_parts.raw(html_parts.frame(body, "Differences by what the object is like")),
    ]


def of_run(run: Run) -> pd.DataFrame:
    """Return the differences in the halves of every stratum under the head and rate that are shown first."""
    table, objects = run.table(), run.table("objects")
    if table.empty or objects.empty:
        return pd.DataFrame()
    head, rate = numbers.reference(table)
    table = table[(table["head"] == head) & (table["rate"] == rate)]
    parts = [by_stratum(table, objects, name, METHOD, OTHER).assign(metric=name) for name in METRICS]
    return pd.concat(parts, ignore_index=True).assign(run=run.id, name=short_name(run))


def told_apart(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the halves that differ by more than chance: name, metric, stratum, lower, upper (points), sign."""
    said = []
    for (_, metric, stratum), own in rows.groupby(["run", "metric", "stratum"], sort=False):
        value, low, high = (own.set_index("half")[name] for name in ("value", "low", "high"))
        apart = "upper - lower"
        if not low[apart] <= 0 <= high[apart]:
            sign = 1 if value[apart] > 0 else -1
            said.append((own["name"].iloc[0], metric, stratum, 100 * value["lower"], 100 * value["upper"], sign))
    return pd.DataFrame(said, columns=["name", "metric", "stratum", "lower", "upper", "sign"])


def findings(rows: pd.DataFrame) -> list[str]:
    """Return which halves differ by more than chance and by how much, an answer for each question that has one."""
    apart, said = told_apart(rows), []
    for stratum, own in apart.groupby("stratum", sort=False):
        ask, lower, upper = QUESTIONS[stratum]
        parts = []
        for metric, of_metric in own.groupby("metric", sort=False):
            both = zip(of_metric["lower"], of_metric["upper"], of_metric["name"], strict=True)
            each = [f"{first:+.1f} and {second:+.1f} ({escape.prose(name)})" for first, second, name in both]
            parts.append(f"{facts.METRICS[metric].title.capitalize()}: {', '.join(each)}.")
        said.append(f"**{ask}** Points {lower} and {upper}. {' '.join(parts)}")
    return [*said, f"No {'other' if said else 'two'} halves can be told apart."]


def _shown(run: Run, rows: pd.DataFrame) -> list[dict[str, object]]:
    shown = []
    for (metric, stratum), own in rows.groupby(["metric", "stratum"], sort=False):
        what, lower, upper = STRATA[stratum]
        halves = own.set_index("half")
        line: dict[str, object] = {
            "run": link(run, short_name(run)),
            "metric": tables.title(metric),
            "what": f"{what}: {lower} or {upper} (cut at {100 * own['cut'].iloc[0]:.1f}%)",
        }
        for half, name in (("lower", "first half"), ("upper", "second half"), ("upper - lower", APART)):
            values = (100 * halves.loc[half, column] for column in ("value", "low", "high"))
            line[name] = bootstrap.text(*values, sign=True)
        shown.append(line | {"labels": f"{own['n_pairs'].max()}", "images": f"{own['n_images'].max()}"})
    return shown
