"""Claims of MinMax-CAM about single printed cells (C7, C14): the paper's own tables decide, no run of ours can."""

from collections.abc import Sequence

import pandas as pd

from cam_utils.claims.evidence import Setting, row
from cam_utils.evaluation import results

ROUNDED = 0.005  # half of the last printed digit: a margin of 0.01 admits what rounds to it
HALVED = 0.6  # a cell is halved below this share of the harmonic mean of its columns; the others lie above 0.8
PLACES = {  # of a table, the cells that a claim is about: data set and network in the paper's names and in ours
    1: (("VOC07", "RN101"), {"dataset": "voc2007", "network": "resnet101", "head": "linear"}),
    3: (("P:AfS", "RN101"), {"dataset": "planet", "network": "resnet101", "head": "kernel-usage"}),
}


def f1_minus(table: int, *, mended: bool = False) -> pd.Series:
    """Return the printed F1- of every method in the table's place, in points; mended: halved cells doubled.

    >>> [float(f1_minus(1, mended=mended)["Score-CAM"]) for mended in (False, True)]
    [2.2, 4.4]
    """
    (dataset, network), _ = PLACES[table]
    cells = results.harmonic_ratios(results.paper_table(f"minmax_table{table}"))
    cells = cells[(cells["metric"] == "F1-") & (cells["dataset"] == dataset) & (cells["architecture"] == network)]
    cells = cells.set_index("method")
    doubled = (cells["ratio"] < HALVED) & mended
    return cells["printed"].where(~doubled, 2 * cells["printed"])


def _row(table: int, part: str, value: float, margin: float, unit: str = "points") -> dict:
    """Return the row of an exact number, which should lie below the margin; value and margin in the row's unit."""
    where = PLACES[table][1] | {"setting": f"the paper's Table {table}", "seed": None, "runs": ""}
    return row(where, part, value / 100 if unit == "points" else value, -1, None, unit=unit, margin=margin)


def nearly_score_cam(settings: Sequence[Setting]) -> list[dict]:
    """C7: F1- of the MinMax forms minus Score-CAM's, as printed and with the halved cell doubled; of no setting."""
    rows = []
    for mended, how in ((False, "as printed"), (True, "with the halved cell doubled")):
        try:
            cells = f1_minus(1, mended=mended)
        except FileNotFoundError:  # an installation without the repository's tables
            return []
        for form in ("MinMax", "D-MinMax"):
            part = f"{form} has F1- at most 0.01 points above Score-CAM's, {how}"
            rows.append(_row(1, part, cells[f"{form}-CAM"] - cells["Score-CAM"], 0.01 + ROUNDED))
        behind = cells["Score-CAM"] - cells.drop("Score-CAM").min()
        rows.append(_row(1, f"Score-CAM has the lowest F1-, {how}", behind, 0.0))
    return rows


def third_place(settings: Sequence[Setting]) -> list[dict]:
    """C14: D-MinMax-CAM's place by F1- on P:AfS and its distance from the first; of no setting."""
    try:
        cells = f1_minus(3)
    except FileNotFoundError:
        return []
    own = cells["D-MinMax-CAM"]
    return [
        _row(3, "D-MinMax is at least third by F1- (its place)", 1.0 + (cells < own).sum(), 3.5, "number"),
        _row(3, "D-MinMax has F1- at most 0.53 points above the lowest", own - cells.min(), 0.53 + ROUNDED),
    ]
