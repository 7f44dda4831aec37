"""The numbers of a run on photographs as rows of tables, and the words for them that its pages share."""

import pandas as pd
from markupsafe import Markup

from cam_utils.evaluation import bootstrap, facts
from cam_utils.evaluation.display import method_name, metric_name

CONTRASTS = (("minmax-cam", "cam"), ("minmax-cam", "area-matched-cam"), ("d-minmax-cam", "cam"))
KINDS = {1: ("up2", "better"), 0: ("d0", "undecided"), -1: ("down2", "worse")}  # a difference's class and word
LEGEND = (
    "Blue: better, by the whole interval and, where there are several, by every seed; orange: worse; grey: "
    "undecided. Arrows say which way a metric is better."
)
HEADS = {
    "epochs": ("epochs", "{:.0f}"),
    "frozen": ("epochs, network frozen", "{:.0f}"),
    "tuned": ("epochs, fine-tuned", "{:.0f}"),
    "weight_norm": ("norm of the weights", "{:.3g}"),
    "logit_std": ("spread of the logits", "{:.3g}"),
    "f1_weighted": ("weighted F1 (%)", "{:.1f}"),
    "f1_macro": ("macro F1 (%)", "{:.1f}"),
}


def judged(row) -> int:
    """Return +1 if the method is better than its baseline, -1 if worse, 0 if the run cannot tell.

    >>> judged({"verdict": "fails"})
    -1
    """
    return {"holds": 1, "fails": -1}.get(row["verdict"], 0)


def direction(row) -> int:
    """Return +1 if the method's metric is the higher one, -1 if it is the lower one, 0 if the run cannot tell.

    >>> direction({"verdict": "holds", "metric": "average_drop"})
    -1
    """
    return judged(row) * facts.WANTED[row["metric"]]


def number(row) -> str:
    """Return a difference with its interval as text: "+3.2 [+2.9, +3.5]"."""
    return bootstrap.text(row["value"], row["low"], row["high"], sign=True)


def seeds(row) -> str:
    """Return the range of a difference over the seeds as text, "(+3.0 to +3.4)"; nothing of one seed."""
    return f"({row['seed_low']:+.1f} to {row['seed_high']:+.1f})" if seed_count(row["n_seeds"]) > 1 else ""


def seed_count(told: object) -> int:
    """Return how many seeds `n_seeds` of a difference tells, which says nothing where there is one alone.

    >>> seed_count(5), seed_count(pd.NA)
    (5, 1)
    """
    return 1 if pd.isna(told) else int(told)


def title(metric: str) -> str:
    """Return a metric's name with the way in which it is better: "%AD ↓"."""
    return metric_name(metric, arrow=True)


def contrast(method: str, other: str) -> str:
    """Return "MinMax-CAM - CAM"."""
    return f"{method_name(method)} - {method_name(other)}"


def differences(effects: pd.DataFrame) -> list[dict[str, object]]:
    """Return one row for each part of the images, head, rate and metric; a column for each contrast."""
    keys = ["images", "head", "rate", "metric"]
    shown = []
    for (images, head, rate, metric), rows in effects.groupby(keys, sort=False, observed=True):
        line = {"images": images, "head": head, "rate": f"{rate:g}", "metric": title(metric)}
        for method, other in CONTRASTS:
            own = rows[(rows["method"] == method) & (rows["baseline"] == other)]
            line[contrast(method, other)] = mark(own.iloc[0]) if len(own) else ""
        counts = rows.iloc[0]
        shown.append(line | {"n images": f"{counts['n_images']}", "n classes": f"{counts['n_classes']}"})
    return shown


def mark(row) -> Markup:
    """Return a difference as HTML: blue if better, orange if worse, grey if undecided."""
    shown = Markup('<span class="diff {}">{}</span>').format(KINDS[judged(row)][0], number(row))
    return shown + (Markup("<br>{}").format(seeds(row)) if seeds(row) else "")


def means(averages: pd.DataFrame) -> list[dict[str, object]]:
    """Return one row for each part of the images, head, rate and method; a column for each metric."""
    shown, keys = [], ["images", "head", "rate", "method"]
    metrics = [name for name in facts.METRICS if name in set(averages["metric"])]
    for (images, head, rate, method), rows in averages.groupby(keys, sort=False, observed=True):
        value = rows.set_index("metric")["value"]
        line = {"images": images, "head": head, "rate": f"{rate:g}", "method": method_name(method)}
        line |= {title(name): bootstrap.text(value.get(name, float("nan"))) for name in metrics}
        line["empty maps"] = bootstrap.text(value.get("is_zero", float("nan")))
        shown.append(line | {"seeds": f"{rows['n_seeds'].max()}"})
    return shown


def heads(table: pd.DataFrame) -> list[dict[str, object]]:
    """Return one row for each head and rate: the mean over its seeds, least and most."""
    shown = []
    for (head, rate), rows in table.groupby(["head", "rate"], sort=False, observed=True):
        line: dict[str, object] = {"head": head, "rate": f"{rate:g}", "seeds": f"{len(rows)}"}
        for column, (name, form) in HEADS.items():
            if column not in rows:
                continue
            values = rows[column] * (100 if "%" in name else 1)
            ends = "" if len(rows) == 1 else f" ({form.format(values.min())} to {form.format(values.max())})"
            line[name] = form.format(values.mean()) + ends
        shown.append(line)
    return shown
