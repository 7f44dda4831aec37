"""All runs on photographs in one table, and where they and the scenes of digits say different things."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cam_utils.claims.photographs import SEVERAL
from cam_utils.evaluation import facts
from cam_utils.runs import Run
from workflow.site import escape, html_parts, photographs_page
from workflow.site import photograph_runs as numbers
from workflow.site import photograph_tables as tables
from workflow.site.photograph_reasons import reasons_part
from workflow.site.results_page import link
from workflow.site.run_pages import short_name

NOTHING = "No run on photographs has been read into this build: there are no numbers to show."
DIGITS = "minmax_digits.csv"  # of data/results
ALL_DIGITS = {"head": "linear", "schedule": "digits"}  # the study's setting that is nearest
WORDS = {1: "higher", -1: "lower", 0: "neither"}
CAM = tables.CONTRASTS[0]  # what both sides have measured


def summary_part(source: Path, runs: Sequence[Run]) -> str:
    """Return the generated part of the page on photographs, as MyST; reads the study of digits in `source`."""
    runs = [run for run in runs if numbers.is_one(run)]
    rows = pd.concat([_of(run) for run in runs]) if runs else pd.DataFrame()
    if rows.empty:
        return NOTHING + "\n"
    limits = dict.fromkeys(photographs_page.limits(run) for run in runs)
    names = {run.id: link(run, short_name(run)) for run in runs}
    settings = " or ".join(map(escape.prose, dict.fromkeys(rows["setting"])))
    lines = [line | {"run": names[line["run"]]} for line in summary(rows)]
    if len(names) == 1:  # one that says the same in every row
        lines = [{name: cell for name, cell in line.items() if name != "run"} for line in lines]
    body = html_parts.table(lines)
    parts = [
        "## What was found",
        f"This build has read {len(names)} run{'s' * (len(names) > 1)} of the study: "
        f"{escape.prose('; '.join(short_name(run) for run in runs))}. On images of several labels, for the "
        f"{settings}:",
        "\n".join(f"- {sentence}" for sentence in findings(rows)),
        "The same in points, with 95% intervals over images and the range over the seeds in parentheses. "
        f"{tables.LEGEND}",
        html_parts.raw(html_parts.frame(body, "All runs on photographs")),
        *limits,
        "## Digits and photographs",
        *beside_digits(source, rows),
        *reasons_part(runs),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _of(run: Run) -> pd.DataFrame:
    """Return the run's differences on images of several labels, of the head and the rate that are shown first."""
    effects = numbers.effects(run)
    rows = effects[(effects["images"] == SEVERAL) & effects["metric"].isin(numbers.SHOWN)]
    if rows.empty:
        return rows
    head, rate = numbers.reference(rows)
    chosen = rows[(rows["head"] == head) & (rows["rate"] == rate)]
    return chosen.assign(run=run.id, setting=f"{head} head at rate {rate:g}")


def summary(rows: pd.DataFrame) -> list[dict[str, object]]:
    """Return one row for each metric and run; a column for each contrast."""
    shown = []
    for metric in numbers.SHOWN:
        for (run, setting), own in rows[rows["metric"] == metric].groupby(["run", "setting"], sort=False):
            line: dict[str, object] = {"metric": tables.title(metric), "run": run}
            line |= {"head": setting} if rows["setting"].nunique() > 1 else {}
            for method, other in tables.CONTRASTS:
                found = own[(own["method"] == method) & (own["baseline"] == other)]
                line[tables.contrast(method, other)] = tables.mark(found.iloc[0]) if len(found) else ""
            shown.append(line)
    return shown


def findings(rows: pd.DataFrame) -> list[str]:
    """Return in sentences in which metrics each contrast is better, worse or undecided, over all runs."""
    said = []
    for method, other in tables.CONTRASTS:
        own = rows[(rows["method"] == method) & (rows["baseline"] == other)]
        kinds: dict[str, list[str]] = {}
        for metric in numbers.SHOWN:
            each = [tables.judged(row) for row in own[own["metric"] == metric].to_dict("records")]
            if each:
                kind = tables.KINDS[each[0]][1] if len(set(each)) == 1 else "mixed"
                counts = ", ".join(f"{each.count(k)} {tables.KINDS[k][1]}" for k in tables.KINDS if k in each)
                name = _name(metric)
                kinds.setdefault(kind, []).append(f"{name} ({counts})" if kind == "mixed" else name)
        words = {"better": "better in {}", "worse": "worse in {}", "undecided": "undecided in {}",
                 "mixed": "not the same in all runs in {}"}  # fmt: skip
        parts = [form.format(escape.prose(", ".join(kinds[kind]))) for kind, form in words.items() if kind in kinds]
        if parts:
            count = own["run"].nunique()
            where = f"In all {count} runs" if count > 1 else "In the one run"
            said.append(f"{where}, **{tables.contrast(method, other)}**: {'; '.join(parts)}.")
    return said


def digits(file: Path) -> pd.DataFrame:
    """Return MinMax-CAM minus CAM on digits in points: scenes, metric, mean, min and max over the seeds."""
    table = pd.read_csv(file)
    for name, value in ALL_DIGITS.items():
        table = table[table[name] == value]
    keys = ["co_occurrence", "metric", "seed"]
    method, other = (table[table["method"] == name].set_index(keys)["value"] for name in CAM)
    apart = (100 * (method - other)).dropna().rename("value").reset_index()
    found = apart.groupby(["co_occurrence", "metric"])["value"].agg(["mean", "min", "max", "count"]).reset_index()
    scenes = found["co_occurrence"].map(lambda share: "co-occurring" if share else "independent")
    return found.assign(scenes=scenes)


def beside_digits(source: Path, rows: pd.DataFrame) -> list[str]:
    """Return the section that compares the directions of MinMax-CAM minus CAM, as MyST."""
    file = source / "data" / "results" / DIGITS
    if not file.is_file():
        return [f"There is no `data/results/{DIGITS}` (`make study`): nothing to compare with."]
    scenes = digits(file)
    own = rows[(rows["method"] == CAM[0]) & (rows["baseline"] == CAM[1])]
    shown, kinds = [], {"agree": [], "disagree": [], "open": []}
    for metric in numbers.SHOWN:
        of_digits, photos = scenes[scenes["metric"] == metric], own[own["metric"] == metric]
        if of_digits.empty or photos.empty:
            continue
        signs = {int(row["min"] > 0) - int(row["max"] < 0) for row in of_digits.to_dict("records")}
        sign = signs.pop() if len(signs) == 1 else 0
        each = [tables.direction(row) for row in photos.to_dict("records")]
        kind = "open" if not sign else "agree" if set(each) == {sign} else "disagree" if -sign in each else "open"
        kinds[kind].append(_name(metric))
        line = {"metric": tables.title(metric)}
        for row in of_digits.sort_values("scenes").to_dict("records"):
            line[f"digits, {row['scenes']}"] = f"{row['mean']:+.1f} ({row['min']:+.1f} to {row['max']:+.1f})"
        counts = ", ".join(f"{each.count(k)} {WORDS[k]}" for k in WORDS if k in each)
        shown.append(line | {"runs on photographs": counts, "so they": kind})
    if not shown:
        return ["No metric has been measured on both sides."]
    words = {
        "agree": "Digits and all runs on photographs have MinMax-CAM minus CAM in the same direction in {}.",
        "disagree": "They **disagree** in {}: at least one run lies on the other side, by interval and seeds.",
        "open": "It stays open in {}: the seeds or scenes of digits differ, or a run on photographs is undecided.",
    }
    said = [form.format(escape.prose(", ".join(kinds[kind]))) for kind, form in words.items() if kinds[kind]]
    return [
        " ".join(said),
        "MinMax-CAM minus CAM in points. Digits: the linear head at its slow rate over all scenes, mean over the "
        "seeds and their range ({doc}`results`); photographs: how many lie higher or lower, by interval and seeds. "
        "Where a label stands alone the two maps are one, so images of one label change the size of a difference "
        "and not its sign. Sizes must not be compared: data, networks and classes differ.",
        html_parts.raw(html_parts.frame(html_parts.table(shown), "Digits beside photographs")),
    ]


def _name(metric: str) -> str:
    known = facts.METRICS[metric]
    return f"{known.title} ({known.symbol})" if known.symbol else known.title
