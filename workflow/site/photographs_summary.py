"""All runs on photographs in one table, and where they and the scenes of digits say different things.

The page on photographs shows it whole; results_first has it in a few sentences for the page of results.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from cam_utils.claims.photographs import SEVERAL
from cam_utils.evaluation import facts
from cam_utils.runs import Run
from workflow.site import escape, html_parts, photograph_figures, photograph_reasons, photographs_page
from workflow.site import photograph_runs as numbers
from workflow.site import photograph_tables as tables
from workflow.site.results_page import link
from workflow.site.run_pages import short_name

LONGEST = 28  # letters in a line of the figure's titles
NOTHING = "No run on photographs has been read into this build: there are no numbers to show."
DIGITS = "minmax_digits.csv"  # of data/results
ALL_DIGITS = {"head": "linear", "schedule": "digits"}  # the study's setting that is nearest
WORDS = {1: "higher", -1: "lower", 0: "neither"}
CAM = tables.CONTRASTS[0]  # what both sides have measured
FORMS = {
    "better": "better in {}",
    "worse": "worse in {}",
    "undecided": "undecided in {}",
    "mixed": "not the same in all runs in {}",
}


def summary_part(source: Path, runs: Sequence[Run], folder: Path | None = None) -> str:
    """Return the generated part of the page on photographs, as MyST; reads the study of digits in `source`.

    Its figure is drawn into `folder`, where the page will lie, if given.
    """
    runs = [run for run in runs if numbers.is_one(run)]
    rows = pd.concat([differences(run) for run in runs]) if runs else pd.DataFrame()
    if rows.empty:
        return NOTHING + "\n"
    limits = dict.fromkeys(photographs_page.limits(run) for run in runs)
    names = {run.id: link(run, short_name(run)) for run in runs}
    settings = " or ".join(map(escape.prose, dict.fromkeys(rows["setting"])))
    lines = [line | {"run": names[line["run"]]} for line in summary(rows)]
    if len(names) == 1:  # one that says the same in every row
        lines = [{name: cell for name, cell in line.items() if name != "run"} for line in lines]
    body = html_parts.frame(html_parts.table(lines, "wraps"), "All runs on photographs")
    parts = [
        "## What was found",
        f"This build has read {len(names)} run{'s' * (len(names) > 1)} of the study: "
        f"{escape.prose('; '.join(short_name(run) for run in runs))}. On images of several labels, for the "
        f"{settings}:",
        "\n".join(f"- {sentence}" for sentence in findings(rows)),
        figure(rows, runs, "fig-photographs", folder),
        "The same as numbers, with 95% intervals over images and the range over the seeds in parentheses. "
        f"{tables.LEGEND}",
        html_parts.raw(html_parts.folded(f"All numbers: {len(lines)} rows", body)),
        *map(fine_tuned, runs, [runs] * len(runs)),
        *limits,
        "## Digits and photographs",
        *beside_digits(source, rows),
        *photograph_reasons.reasons_part(runs),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def fine_tuned(run: Run, runs: Sequence[Run]) -> str:
    """Return in a paragraph what a fine-tuned network changed against the frozen one at the same rates.

    Nothing for a run of frozen features, and where no such run is among `runs`.
    """
    frozen = [
        other
        for other in runs
        if not other.parameters.get("finetune")
        and all(other.parameters[name] == run.parameters[name] for name in ("dataset", "architecture"))
    ]
    if not run.parameters.get("finetune") or not frozen:
        return ""
    parts, known = [], _levels(frozen[0])
    for (head, rate), after in _levels(run).groupby(["head", "rate"], sort=False):
        before = known[(known["head"] == head) & (known["rate"] == rate)]
        if len(before):
            was, now = before.iloc[0], after.iloc[0]
            parts.append(
                f"under the {escape.prose(head)} head the weighted F1 goes from {was['f1']:.1f} to "
                f"{now['f1']:.1f}%, and what MinMax-CAM adds to CAM's %ADO "
                f"from {was['gain']:+.1f} to {now['gain']:+.1f} points"
            )
    if not parts:
        return ""
    seeds = len(run.parameters["seeds"])
    return (
        f"**What fine-tuning changes.** {escape.prose(short_name(run))}, beside the frozen network at the same "
        f"rate: {'; '.join(parts)} (%ADO on images of several labels). Both see the same images, and the "
        f"fine-tuned network has {seeds} seed{'s' * (seeds > 1)}: it is a second look at these images, not "
        "one more data set."
    )


def _levels(run: Run) -> pd.DataFrame:
    """Return a row for each head and rate: its weighted F1, and MinMax-CAM's gain in %ADO over CAM (percent)."""
    effects = numbers.effects(run)
    own = effects[(effects["images"] == SEVERAL) & (effects["metric"] == "average_drop_others")]
    own = own[(own["method"] == "minmax-cam") & (own["baseline"] == "cam")]
    scores = (100 * numbers.heads(run).groupby(["head", "rate"])["f1_weighted"].mean()).rename("f1").reset_index()
    # Rates are stored in single precision there, and read from names here.
    own, scores = (table.astype({"head": str}).assign(rate=table["rate"].round(6)) for table in (own, scores))
    return own.merge(scores, on=["head", "rate"]).rename(columns={"value": "gain"})


def figure(rows: pd.DataFrame, runs: Sequence[Run], name: str, folder: Path | None) -> str:
    """Return the figure of :func:`differences`, drawn into `folder` if given: a panel for each run."""
    names = {run.id: "\n".join(map(_short, short_name(run).split(", "))) for run in runs}
    caption = (
        "Differences in points, with 95% intervals over images; small marks are the lowest and the highest seed "
        "where a run has several. An arrow says which way a metric is better."
    )
    rows = rows.assign(level=rows["run"].map(names))
    levels, pairs = list(rows["level"].unique()), tables.CONTRASTS[:2]
    return photograph_figures.figure(rows, levels, name, caption, folder, pairs, width=2.4, columns=2)


def _short(part: str) -> str:
    """Return a part of a run's name that leaves room for the panel below it: a name may be of any length."""
    return part if len(part) <= LONGEST else f"{part[: LONGEST - 3]}..."


def differences(run: Run) -> pd.DataFrame:
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
        if found := by_kind(own, numbers.SHOWN):
            count = own["run"].nunique()
            where = f"In all {count} runs" if count > 1 else "In the one run"
            said.append(f"{where}, **{tables.contrast(method, other)}**: {listed(found)}.")
    return said


def by_kind(rows: pd.DataFrame, metrics: Iterable[str], *, points: bool = False) -> dict[str, list[str]]:
    """Return the metrics' names by what the rows of one contrast say of them, in the order of FORMS.

    A metric on which the rows differ is "mixed", and its name says how many rows say what; with `points` every name
    is followed by the difference, or its range over the rows.
    """
    kinds: dict[str, list[str]] = {kind: [] for kind in FORMS}
    for metric in metrics:
        own = rows[rows["metric"] == metric]
        each = [tables.judged(row) for row in own.to_dict("records")]
        if each:
            mixed = len(set(each)) > 1
            counts = ", ".join(f"{each.count(k)} {tables.KINDS[k][1]}" for k in tables.KINDS if k in each)
            more = [*[points_of(own["value"])] * points, *[counts] * mixed]
            kinds["mixed" if mixed else tables.KINDS[each[0]][1]].append(_name(metric, *more))
    return {kind: names for kind, names in kinds.items() if names}


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


def compared(scenes: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the directions of MinMax-CAM minus CAM on both sides: metric, each (of the runs), kind.

    `scenes` is what :func:`digits` returns. The kind is "agree" if all scenes and runs have one direction,
    "disagree" if a run has the other one, else "open".
    """
    own = rows[(rows["method"] == CAM[0]) & (rows["baseline"] == CAM[1])]
    found = []
    for metric in numbers.SHOWN:
        of_digits, photos = scenes[scenes["metric"] == metric], own[own["metric"] == metric]
        if of_digits.empty or photos.empty:
            continue
        sides = {side_of(row) for row in of_digits.to_dict("records")}
        sign = sides.pop() if len(sides) == 1 else 0
        each = [tables.direction(row) for row in photos.to_dict("records")]
        kind = "open" if not sign else "agree" if set(each) == {sign} else "disagree" if -sign in each else "open"
        found.append({"metric": metric, "each": each, "kind": kind})
    return pd.DataFrame(found, columns=["metric", "each", "kind"])


def agreement(both: pd.DataFrame) -> list[str]:
    """Return in sentences in which metrics the two sides of :func:`compared` agree, disagree, or leave it open."""
    words = {
        "agree": "Digits and all runs on photographs have MinMax-CAM minus CAM in the same direction in {}.",
        "disagree": "They **disagree** in {}: at least one run lies on the other side, by interval and seeds.",
        "open": "It stays open in {}: the seeds or scenes of digits differ, or a run on photographs is undecided.",
    }
    if both.empty:
        return ["No metric has been measured on both sides."]
    names = {kind: ", ".join(map(_name, rows["metric"])) for kind, rows in both.groupby("kind")}
    return [form.format(escape.prose(names[kind])) for kind, form in words.items() if kind in names]


def beside_digits(source: Path, rows: pd.DataFrame) -> list[str]:
    """Return the section that compares the directions of MinMax-CAM minus CAM, as MyST."""
    file = source / "data" / "results" / DIGITS
    if not file.is_file():
        return [missing()]
    scenes = digits(file)
    both, shown = compared(scenes, rows), []
    for row in both.to_dict("records"):
        line = {"metric": tables.title(row["metric"])}
        for own in scenes[scenes["metric"] == row["metric"]].sort_values("scenes").to_dict("records"):
            line[f"digits, {own['scenes']}"] = f"{own['mean']:+.1f} ({own['min']:+.1f} to {own['max']:+.1f})"
        counts = ", ".join(f"{row['each'].count(k)} {WORDS[k]}" for k in WORDS if k in row["each"])
        shown.append(line | {"runs on photographs": counts, "so they": row["kind"]})
    said = " ".join(agreement(both))
    if not shown:
        return [said]
    return [
        said,
        "MinMax-CAM minus CAM in points. Digits: the linear head at its slow rate over all scenes, mean over the "
        "seeds and their range ({doc}`results`); photographs: how many lie higher or lower, by interval and seeds. "
        "Where a label stands alone the two maps are one, so images of one label change the size of a difference "
        "and not its sign. Sizes must not be compared: data, networks and classes differ.",
        html_parts.raw(html_parts.frame(html_parts.table(shown, "wraps"), "Digits beside photographs")),
    ]


def missing() -> str:
    """Return in a sentence that there is no study of digits."""
    return f"There is no `data/results/{DIGITS}` (`make study`): nothing to compare with."


def side_of(row) -> int:
    """Return on which side of zero all seeds of digits lie, 0 if they differ."""
    return int(row["min"] > 0) - int(row["max"] < 0)


def points_of(values: pd.Series) -> str:
    """Return the range of differences as text.

    >>> points_of(pd.Series([1.0, -2.0])), points_of(pd.Series([0.52]))
    ('-2.0 to +1.0', '+0.5')
    """
    low, high = f"{values.min():+.1f}", f"{values.max():+.1f}"
    return low if low == high else f"{low} to {high}"


def listed(kinds: dict[str, list[str]]) -> str:
    """Return what :func:`by_kind` found as a part of a sentence.

    >>> listed({"better": ["IoU", "energy"], "undecided": ["pointing"]})
    'better in IoU, energy; undecided in pointing'
    """
    return "; ".join(FORMS[kind].format(escape.prose(", ".join(names))) for kind, names in kinds.items())


def _name(metric: str, *more: str) -> str:
    """Return a metric's name with its symbol, and more about it, in parentheses."""
    known = facts.METRICS[metric]
    inside = "; ".join(filter(None, [known.symbol, *more]))
    return f"{known.title} ({inside})" if inside else known.title
