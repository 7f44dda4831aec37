"""What the page of deviations says of MinMax-CAM's measured choices: of data/results/minmax_ablations.csv alone."""

import re
from pathlib import Path

import pandas as pd

from cam_utils import files
from cam_utils.evaluation.bootstrap import percent
from cam_utils.evaluation.facts import METRICS
from cam_utils.evaluation.results import PAPER_METHODS, PAPER_NAMES
from workflow import ROOT

TABLE = files.DATA / "results" / "minmax_ablations.csv"
PAGE = ROOT / "book" / "deviations_minmax_cam.md"
OURS, BASELINE, LEAD = "ours", "cam", "average_drop_others"
ROW = re.compile(r"\{#(dev-[a-z0-9-]+)\}")
DATASETS = {"voc2012": "photographs", "digits": "digits"}
COUNTS = {2: "two", 3: "three", 5: "five"}


def write(page: Path = PAGE, table: Path = TABLE) -> None:
    """Bring the page up to date with the table."""
    text = filled(page.read_text(), pd.read_csv(table))
    with files.written(page) as partial:
        partial.write_text(text)


def filled(page: str, table: pd.DataFrame) -> str:
    """Return the page with the sentence of every row of the table as that row's last cell.

    Raises ValueError for a row of the table that the page does not have.
    """
    lines, left = page.split("\n"), set(table["id"])
    for number, line in enumerate(lines):
        found = ROW.search(line)
        if found and found[1] in left and line.startswith("| "):
            cells = line.rstrip(" |").rsplit(" | ", 1)
            lines[number] = f"{cells[0]} | {sentence(table, found[1])} |"
            left.remove(found[1])
    if left:
        raise ValueError(f"expected a row of deviations for each of {', '.join(sorted(left))}")
    return "\n".join(lines)


def sentence(table: pd.DataFrame, row: str) -> str:
    """Return what a row's last cell says: one sentence for every data set."""
    parts = dict(list(table[table["id"] == row].groupby("dataset", sort=False)))
    named = len(parts) > 1 or "digits" in parts
    return "; ".join(_of_dataset(rows, DATASETS[name] if named else "") for name, rows in parts.items())


def _of_dataset(rows: pd.DataFrame, where: str) -> str:
    method = rows["method"].str.split(" minus ").str[0].iloc[0]
    rows = rows[rows["method"] == f"{method} minus {BASELINE}"]
    names = list(dict.fromkeys(rows["alternative"]))
    shown = rows[rows["metric"] == LEAD].set_index(["alternative", "choice"])
    texts = [f"{percent(shown.loc[names[0], OURS], sign=True)} ours"]
    for name in names:
        own = rows[rows["alternative"] == name]
        texts.append(f"{percent(shown.loc[name, name], sign=True)} {name} ({_change(own, name)})")
    seeds = rows["seeds"].iloc[0]
    start = ", ".join(filter(None, (where, f"{COUNTS[seeds]} seeds" if seeds > 1 else "")))
    return f"{start}{': ' if start else ''}%ADO of {PAPER_METHODS[method]} minus CAM {', '.join(texts)}"


def _change(rows: pd.DataFrame, name: str) -> str:
    """Return which metrics the alternative changes by more than chance, and by how many points."""
    change = rows[rows["choice"] == f"{name} minus {OURS}"]
    if not change[["low", "high"]].any(axis=None):
        return "the same"
    beyond = change[(change["low"] > 0) | (change["high"] < 0)]
    names = [PAPER_NAMES.get(metric, METRICS[metric].short) for metric in beyond["metric"]]
    moved = ", ".join(f"{each} {100 * value:+.1f}" for each, value in zip(names, beyond["value"], strict=True))
    return f"changes: {moved}" if moved else "no change beyond the interval"
