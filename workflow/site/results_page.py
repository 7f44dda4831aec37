"""The runs' means beside the papers' tables, as HTML for the page of results."""

import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import PurePath

import numpy as np
import pandas as pd
from markupsafe import Markup

from cam_utils.evaluation import bootstrap, display, results
from cam_utils.networks.facts import NETWORKS
from cam_utils.runs import Run
from workflow.site import escape, html_parts, photograph_runs, run_pages

PREFIXES = {"minmax": "MinMax-CAM", "repcam": "Representative-class CAM", "sscam": "SS-CAM"}
# Our name -> the names that the papers' tables use for it (of networks: cam_utils.networks.facts).
DATASETS = {
    "voc2007": ["VOC07"],
    "voc2012": ["VOC12"],
    "coco2017": ["COCO"],
    "planet": ["P:AfS"],
    "imagenet": ["ILSVRC2012"],
}
STEPS = (5, 15)  # percentage points from which a difference is coloured as medium, and as large
ABOUT = ["dataset", "network", "split", "setting", "runs"]  # what the rows of one frame have in common
KEYS = ["table", "dataset", "network", "split", "setting", "method", "metric"]
LEGEND = Markup("""<ul class="legend">
<li><span class="diff d0">+1.2</span> our 95% interval reaches the paper's value or range</li>
<li><span class="diff up1">+3.0</span> <span class="diff up2">+9.0</span> <span class="diff up3">+30.0</span>
ours is higher, by less than 5, less than 15, and 15 points or more</li>
<li><span class="diff down1">-3.0</span> <span class="diff down2">-9.0</span> <span class="diff down3">-30.0</span>
ours is lower, in the same steps</li>
</ul>""")


def means(runs: Iterable[Run]) -> pd.DataFrame:
    """Return KEYS, value, low, high, n_images, seeds and runs (ids): one row per mean, seeds taken together.

    Over seeds a value is the mean, and the interval reaches from the lowest end to the highest.
    """
    parts, runs = [], list(runs)
    for run in runs:
        if (rows := _stored(run)) is not None:
            known = {"dataset": run.parameters["dataset"], "split": str(run.parameters.get("split", "val"))}
            # What else than the seed may differ keeps rows apart: heads have runs of their own.
            alike = {k: v for k, v in run.parameters.items() if k not in ("seed", *run_pages.MACHINE)}
            # A pretrained network and one from random weights are no two seeds, wherever the weights lie.
            weights = run.parameters.get("weights")
            known |= {"alike": json.dumps([alike, weights and PurePath(str(weights)).name], sort_keys=True)}
            known["seed"] = run.parameters.get("seed")
            if photograph_runs.is_one(run):  # several seeds in one run
                known |= {name: rows[name] for name in ("seed", "split")}
            rows = rows.assign(network=run_pages.network_of(run), **known)
            rows = rows[rows["table"] != run.chapter]  # a table of the chapter's own has no paper's beside it
            if rows[["table", "method", "metric"]].isna().any(axis=None):
                raise ValueError("expected a table, a method and a metric in every row")
            further = run_pages.extras(run)
            rows["setting"] = [", ".join(["-" if pd.isna(s) else str(s), *further]) for s in rows["setting"]]
            rows = rows.astype(dict.fromkeys(KEYS, str))  # a name of digits is a number for read_csv
            parts.append(rows.assign(run=run.id))
    columns = [*KEYS, "value", "low", "high", "n_images", "seeds", "runs"]
    if not parts:
        return pd.DataFrame(columns=columns)
    every = pd.concat(parts, ignore_index=True)
    grouped = every.groupby([*KEYS, "alike"], sort=False).agg(
        value=("value", "mean"),
        low=("low", "min"),
        high=("high", "max"),
        n_images=("n_images", "max"),
        seeds=("seed", lambda seeds: max(1, seeds.nunique())),
        runs=("run", lambda ids: tuple(dict.fromkeys(ids))),  # a run of several seeds has several rows
    )
    # The order of tables, datasets and networks is the alphabet's; below that, that of the chapter.
    return grouped.reset_index().sort_values(KEYS[:5], kind="stable", ignore_index=True)[columns]


def _stored(run: Run) -> pd.DataFrame | None:
    """Return the means of one run, None if it has none."""
    if photograph_runs.is_one(run):
        return photograph_runs.means_of(run)
    file = run.folder / "means.csv"
    return pd.read_csv(file) if file.is_file() else None


@cache
def published(
    table: str, dataset: str, network: str, split: str, method: str, metric: str
) -> tuple[float, float, str]:
    """Return the paper's lowest and highest percentage of this method and metric, and what they are measured on.

    Rows of the same dataset (then split, then network) count if there are any, else all. NaN where the paper has
    none.
    """
    paper = results.paper_table(table)
    value = "value" if "value" in paper else "miou"
    rows = paper[(paper["method"].map(_plain) == _plain(method)) & (paper["metric"] == metric)]
    if "avg" in set(rows.get("class", ())):
        rows = rows[rows["class"] == "avg"]
    papers = NETWORKS[network].papers if network in NETWORKS else ()
    same = {"dataset": DATASETS.get(dataset, ()), "split": (split,), "architecture": papers}
    for column, names in same.items():
        if (found := rows[column].isin(names)).any():
            rows = rows[found]
    if rows.empty:
        return np.nan, np.nan, ""
    percent = rows[value] * (100 if (rows["unit"] == "fraction").all() else 1)
    where = [", ".join(rows[column].astype(str).unique()) for column in ("dataset", "architecture")]
    return percent.min(), percent.max(), "; ".join(where)


def title_of(table: str) -> str:
    """Return a reader's name of a file in data/paper_tables.

    >>> title_of("repcam_table1_topk"), title_of("minmax_table2")
    ('Representative-class CAM, Table 1 (topk)', 'MinMax-CAM, Table 2')
    """
    found = re.fullmatch(r"([a-z]+)_table(\d+)(?:_(\w+))?", table)
    if not found:
        return table.replace("_", " ")
    return f"{PREFIXES.get(found[1], found[1])}, Table {found[2]}" + (f" ({found[3]})" if found[3] else "")


def results_part(runs: Iterable[Run], left_out: Iterable[str] = ()) -> str:
    """Return the generated part of the page of results, as MyST; one sentence if no run has means.

    `left_out` are sentences on runs that the book cannot show.
    """
    runs = list(runs)
    found = means(runs)
    missing = "".join(f"\n{escape.myst(why)}\n" for why in left_out)
    if found.empty:
        return f"No run has been read into this build: there are no means to show.\n{missing}"
    pages = {run.id: run for run in runs}
    names = {name: title_of(name) for name in found["table"].unique()}
    choices = {column: sorted(found[column].unique()) for column in ("dataset", "network")}
    text = html_parts.raw(html_parts.filters(choices | {"table": names.values()}) + "\n" + LEGEND) + missing
    for name, own in found.groupby("table", sort=False):
        text += f"\n### {escape.prose(names[name])}\n\n"
        for (dataset, network, _, setting, ids), rows in own.groupby(ABOUT, sort=False):
            parts = map(escape.html, dict.fromkeys((dataset, network, setting)))
            title = Markup(", ").join(map(Markup('<span class="value">{}</span>').format, parts))
            about, lines = _common(_shown(rows))
            facts = {"table": names[name], "dataset": dataset, "network": network}
            label = f"Ours beside {names[name]}: {setting}"
            frame = html_parts.frame(html_parts.table(lines, "wraps"), label, **facts)
            links = Markup(" ").join(link(pages[each]) for each in ids)
            line = Markup('<p class="about">{}run: {}</p>\n').format(about, links)
            count = f"{len(lines)} row{'s' * (len(lines) > 1)}"
            text += html_parts.raw(html_parts.folded(Markup("{}: {}").format(title, count), line + frame))
    return text


def _shown(rows: pd.DataFrame) -> list[dict[str, str]]:
    """Return the rows of one frame as text and HTML."""
    shown = []
    for row in rows.itertuples():
        low, high, where = published(row.table, row.dataset, row.network, row.split, row.method, row.metric)
        paper = "" if np.isnan(low) else f"{low:.2f}" + (f" to {high:.2f}" if high > low else "")
        shown.append(
            {
                "method": display.method_name(row.method),
                "metric": display.metric_name(row.metric, arrow=True),
                "ours [95%]": bootstrap.text(row.value, row.low, row.high),
                "paper": paper,
                "ours - paper": difference(row.value, row.low, row.high, low, high),
                "images": f"{row.n_images:.0f}" + (f" x {row.seeds} seeds" if row.seeds > 1 else ""),
                "paper's data": where,
            }
        )
    return shown


def _common(rows: list[dict[str, str]]) -> tuple[Markup, list[dict[str, str]]]:
    """Return what all rows say alike, as a line of text, and the rows without it; of one row all stays in place."""
    names = ("metric", "images", "paper's data") if len(rows) > 1 else ("images", "paper's data")
    alike = {name: rows[0][name] for name in names if len({row[name] for row in rows}) == 1}
    said = Markup().join(
        Markup("{}: {} · ").format(name, escape.html(value)) for name, value in alike.items() if value
    )
    return said, [{name: cell for name, cell in row.items() if name not in alike} for row in rows]


def difference(value: float, low: float, high: float, least: float, most: float) -> Markup:
    """Return our value minus the nearest of the paper's [least, most], as HTML coloured by sign and size.

    >>> print(difference(50.0, 48.0, 52.0, 40.0, 40.0))
    <span class="diff up2">+10.0</span>
    >>> print(difference(50.0, 48.0, 52.0, 40.0, 60.0))
    <span class="diff d0">in range</span>
    """
    if np.isnan(value) or np.isnan(least):
        return Markup()
    if least < most and least <= value <= most:
        return Markup('<span class="diff d0">in range</span>')
    gap = value - (least if value < least else min(value, most))
    size = 1 + sum(abs(gap) >= step for step in STEPS)
    covered = low <= most and high >= least
    kind = "d0" if covered or gap == 0 else f"{'up' if gap > 0 else 'down'}{size}"
    return Markup('<span class="diff {}">{:+.1f}</span>').format(kind, gap)


def link(run: Run, text: str | None = None) -> Markup:
    """Return an HTML link from a page of book/ to the run's page."""
    name = text or (f"seed {run.parameters['seed']}" if "seed" in run.parameters else run.id)
    address = escape.url(f"../{run_pages.page_of(run)}.html")
    return Markup('<a href="{}">{}</a>').format(address, escape.html(name))


def _plain(method: str) -> str:
    """Return a method's name as all tables can be compared by: "random +F" is "Random+F", "CAM [21]" is "CAM"."""
    return re.sub(r"\s+|\[\d+\]", "", method).casefold()
