"""The book's figures of evidence: differences with their intervals, verdicts, ranks."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cam_utils.plots import MARKERS, shown

VERDICTS = {  # how a verdict is drawn: sign, colour, filled, and what it means
    "holds": ("o", "C2", "full", "holds"),
    "fails": ("X", "C3", "full", "fails"),
    "mixed": ("D", "C1", "left", "holds in part, fails in part"),
    "holds, in part undecided": ("o", "C2", "left", "holds, in part undecided"),
    "fails, in part undecided": ("X", "C3", "none", "fails, in part undecided"),
    "undecided": ("o", "0.5", "none", "undecided"),
}


def forest(
    found: pd.DataFrame,
    levels: Sequence[str],
    *,
    xlabel: str = "rank correlation",
    limits: tuple[float, float] | None = (-1, 1),
    width: float = 2.6,
    columns: int | None = None,
) -> Figure:
    """Draw numbers with their intervals: a panel per level, a row per score, a colour and a sign per truth.

    Columns of `found`: level, score, truth, value, low, high; see :func:`cam_utils.evaluation.ranking.agreement`.
    A number without an interval is hollow: somebody else's. Where there are seed_low and seed_high, ticks mark
    them: the lowest and the highest seed. width: inches of a panel. columns: panels in a line (None: all).
    """
    scores, truths = list(found["score"].unique()), list(found["truth"].unique())
    across = columns or len(levels)
    lines = -(-len(levels) // across)
    step = min(0.22, 0.8 / len(truths))  # the truths of a score stay apart from the next score's
    size = (width * across, lines * max(2.6, 0.9 + max(0.3, 0.09 * len(truths)) * len(scores)))
    figure, grid = plt.subplots(lines, across, figsize=size, sharey=True, squeeze=False)
    for spare in grid.flat[len(levels) :]:
        spare.remove()
    for axes, level in zip(grid.flat, levels, strict=False):
        axes.axvline(0, color="0.6", lw=0.8)
        for i, truth in enumerate(truths):
            rows = found[(found["level"] == level) & (found["truth"] == truth)]
            y = np.array([scores.index(score) for score in rows["score"]]) + step * (i - (len(truths) - 1) / 2)
            ours = rows["low"].notna().to_numpy()
            spread = np.abs(rows[["low", "high"]].to_numpy(float).T - rows["value"].to_numpy(float))
            sign = {"marker": MARKERS[i % len(MARKERS)], "color": f"C{i}", "ms": 4, "ls": ""}
            axes.errorbar(rows["value"][ours], y[ours], xerr=spread[:, ours], label=truth, **sign)
            axes.plot(rows["value"][~ours], y[~ours], mfc="none", mew=0.8, **sign)
            for end in {"seed_low", "seed_high"} & set(rows):
                axes.plot(rows[end], y, "|", color=f"C{i}", ms=7, mew=0.8)
        axes.set_title(shown(level), parse_math=False)
        axes.set(xlabel=xlabel, xlim=limits)
    grid[0, 0].set_yticks(range(len(scores)), [score.replace("_", " ") for score in scores])
    grid[0, 0].invert_yaxis()  # shared
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    return figure


def flow(steps: dict[str, str]) -> Figure:
    """Draw the steps of a method, {name: what it gives}, as boxes from left to right with arrows between them."""
    figure, axes = plt.subplots(figsize=(1.35 * len(steps), 1.1))
    box = {"boxstyle": "round,pad=0.5", "fc": "0.95", "ec": "0.4"}
    arrow = {"arrowstyle": "-|>", "color": "0.3"}
    for at, (name, gives) in enumerate(steps.items()):
        axes.text(at, 0, f"{name}\n{gives}", ha="center", va="center", fontsize=7.5, bbox=box, linespacing=1.3)
        if at:
            axes.annotate("", (at - 0.4, 0), (at - 0.6, 0), arrowprops=arrow)
    axes.set(xlim=(-0.55, len(steps) - 0.45), ylim=(-1, 1))
    axes.axis("off")
    return figure


def verdict_dots(table: pd.DataFrame) -> Figure:
    """Draw a table of verdicts, keys of VERDICTS (or "" for none): a row per claim, a column per run."""
    rows, columns = table.shape
    figure, axes = plt.subplots(figsize=(1.4 + 0.36 * columns, 1.9 + 0.2 * rows))
    for name, (marker, colour, fill, label) in VERDICTS.items():
        y, x = np.nonzero((table == name).to_numpy())
        sign = {"marker": marker, "color": colour, "fillstyle": fill, "ms": 7, "ls": "", "label": label}
        axes.plot(x, y, markerfacecoloralt="white", **sign)
    axes.set_yticks(range(rows), table.index)
    axes.set_xticks(range(columns), table.columns, rotation=50, ha="left")
    axes.xaxis.tick_top()
    axes.set(xlim=(-0.6, columns - 0.4), ylim=(rows - 0.4, -0.6))
    axes.grid(color="0.9", lw=0.6)
    axes.tick_params(length=0)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    return figure


def rank_panels(panels: dict[str, tuple[pd.Series, Sequence[Sequence[str]]]]) -> Figure:
    """Draw, for every metric, the methods' average ranks (1 the best, on top); bars join what no test tells apart.

    `panels` is {title: (average rank of every method, groups of methods)}; see :mod:`cam_utils.evaluation.ranking`.
    """
    count = max(len(ranks) for ranks, _ in panels.values())
    lines = -(-len(panels) // 2)
    figure, grid = plt.subplots(lines, 2, figsize=(8.4, lines * (0.6 + 0.16 * count)), squeeze=False)
    for spare in grid.flat[len(panels) :]:
        spare.remove()
    for axes, (title, (ranks, groups)) in zip(grid.flat, panels.items(), strict=False):
        ranks = ranks.sort_values(kind="stable")
        axes.plot(ranks, range(len(ranks)), "o", ms=4, color="C0")
        top = float(ranks.iloc[-1])
        for i, group in enumerate(groups):
            first = list(ranks.index).index(group[0])
            at = top + 0.09 * top * (1 + i % 4)  # bars that overlap stand beside each other
            axes.plot([at, at], [first - 0.25, first + len(group) - 0.75], color="0.25", lw=2, clip_on=False)
        axes.set_yticks(range(len(ranks)), ranks.index, fontsize=8)
        axes.set(title=title, xlabel="average rank")
        axes.invert_yaxis()
    return figure
