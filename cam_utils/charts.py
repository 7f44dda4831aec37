"""The book's figures of evidence: differences with their intervals, verdicts, ranks, tests of every two."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from cam_utils.plots import COLUMN, MARKERS, shown

VERDICTS = {  # how a verdict is drawn: sign, colour, filled, and what it means
    "holds": ("o", "C2", "full", "holds"),
    "fails": ("X", "C3", "full", "fails"),
    "mixed": ("D", "C1", "left", "holds in part, fails in part"),
    "holds, in part undecided": ("o", "C2", "left", "holds, in part undecided"),
    "fails, in part undecided": ("X", "C3", "none", "fails, in part undecided"),
    "undecided": ("o", "0.5", "none", "undecided"),
}

# In grey, too, each is lighter than the one before; a failure has a bold number, an open case a question mark.
VERDICT_COLOURS = {"fails": "#e07f5c", "passes": "#a9dcc3", "undecided": "0.93"}


def forest(
    found: pd.DataFrame,
    levels: Sequence[str],
    *,
    xlabel: str = "rank correlation",
    limits: tuple[float, float] | None = (-1, 1),
    width: float = 2.6,
    columns: int | None = None,
    height: float | None = None,
) -> Figure:
    """Draw numbers with their intervals: a panel per level, a row per score, a colour and a sign per truth.

    Columns of `found`: level, score, truth, value, low, high; see :func:`cam_utils.evaluation.ranking.agreement`.
    A number without an interval is hollow: somebody else's. Where there are seed_low and seed_high, ticks mark
    them: the lowest and the highest seed. width: inches of a panel. columns: panels in a line (None: all).
    height: inches of the figure (None: what its rows need).
    """
    scores, truths = list(found["score"].unique()), list(found["truth"].unique())
    across = columns or len(levels)
    lines = -(-len(levels) // across)
    step = min(0.22, 0.8 / len(truths))  # the truths of a score stay apart from the next score's
    height = height or lines * max(2.6, 0.9 + max(0.3, 0.09 * len(truths)) * len(scores))
    figure, grid = plt.subplots(lines, across, figsize=(width * across, height), sharey=True, squeeze=False)
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
    figure, axes = plt.subplots(figsize=(COLUMN, 0.68))
    box = {"boxstyle": "round,pad=0.5", "fc": "0.95", "ec": "0.4"}
    arrow = {"arrowstyle": "-|>", "color": "0.3"}
    for at, (name, gives) in enumerate(steps.items()):
        axes.text(at, 0, f"{name}\n{gives}", ha="center", va="center", fontsize=8, bbox=box, linespacing=1.3)
        if at:
            axes.annotate("", (at - 0.4, 0), (at - 0.6, 0), arrowprops=arrow)
    axes.set(xlim=(-0.55, len(steps) - 0.45), ylim=(-1, 1))
    axes.axis("off")
    return figure


def verdict_dots(table: pd.DataFrame) -> Figure:
    """Draw a table of verdicts, keys of VERDICTS (or "" for none): claims by runs, or runs by claims."""
    rows, columns = table.shape
    width = 1.4 + 0.36 * columns
    small = 8 * max(1, width / COLUMN)  # points: what the page takes off
    figure, axes = plt.subplots(figsize=(width, 1.9 + 0.2 * rows))
    for name, (marker, colour, fill, label) in VERDICTS.items():
        y, x = np.nonzero((table == name).to_numpy())
        sign = {"marker": marker, "color": colour, "fillstyle": fill, "ms": 7, "ls": "", "label": label}
        axes.plot(x, y, markerfacecoloralt="white", **sign)
    axes.set_yticks(range(rows), table.index)
    axes.set_xticks(range(columns), table.columns, rotation=50, ha="left")
    axes.xaxis.tick_top()
    axes.set(xlim=(-0.6, columns - 0.4), ylim=(rows - 0.4, -0.6))
    axes.grid(color="0.9", lw=0.6)
    axes.tick_params(length=0, labelsize=max(small, 8.8))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=small)
    return figure


def verdict_cells(verdicts: pd.DataFrame, numbers: pd.DataFrame, *, label: str) -> Figure:
    """Draw a table of verdicts, keys of VERDICT_COLOURS ("" for none), as coloured cells with their numbers.

    Rows are methods; the columns (group, check) have two levels, with a gap between groups. label: the numbers.
    """
    rows, columns = verdicts.shape
    groups = list(dict.fromkeys(verdicts.columns.get_level_values(0)))
    at = [i + 0.25 * groups.index(group) for i, (group, _) in enumerate(verdicts.columns)]
    figure, axes = plt.subplots(figsize=(2.6 + 0.66 * columns, 1.3 + 0.24 * rows))
    for x, column in zip(at, verdicts, strict=True):
        for y, (verdict, number) in enumerate(zip(verdicts[column], numbers[column], strict=True)):
            if verdict:
                axes.add_patch(plt.Rectangle((x, y), 0.96, 0.94, color=VERDICT_COLOURS[verdict], lw=0))
            if verdict and not np.isnan(number):
                text = f"{round(number, 2) + 0.0:.2f}{'?' * (verdict == 'undecided')}"
                weight = "bold" if verdict == "fails" else "normal"
                axes.text(x + 0.48, y + 0.49, text, ha="center", va="center", fontsize=8, weight=weight)
    for group in groups:
        inside = [x for x, (each, _) in zip(at, verdicts.columns, strict=True) if each == group]
        axes.text((inside[0] + inside[-1] + 1) / 2, -1.9, group, ha="center", fontsize=8.5, weight="bold")
    axes.set(xlim=(0, at[-1] + 1), ylim=(rows, 0))
    axes.set_yticks(np.arange(rows) + 0.5, verdicts.index, fontsize=8)
    axes.set_xticks(np.array(at) + 0.48, [check.replace(" ", "\n", 1) for _, check in verdicts.columns], fontsize=8)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    sns.despine(ax=axes, left=True, bottom=True)
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in VERDICT_COLOURS.values()]
    place = {"loc": "outside lower center", "ncols": 3, "fontsize": 8}
    figure.legend(handles, VERDICT_COLOURS, **place, title=label, title_fontsize=8)
    return figure


def rank_heatmap(
    values: pd.DataFrame, ranks: pd.DataFrame, *, rules: Sequence[int] = (), label: str = ""
) -> Figure:
    """Draw a table of percentages, methods in rows and metrics in columns, each cell in the colour of its rank.

    rules: the columns left of which a line parts metrics that ask different things. label: of the ranks' colours.
    """
    rows, columns = values.shape
    figure, axes = plt.subplots(figsize=(1.9 + 0.44 * columns, 1.1 + 0.21 * rows))
    sns.heatmap(
        ranks.astype(float), ax=axes, cmap="YlGnBu_r", annot=values, fmt=".0f", annot_kws={"size": 8.5},
        linewidths=0.4, cbar_kws={"label": label, "shrink": 0.6, "ticks": [1, rows]},
    )  # fmt: skip
    axes.collections[0].colorbar.ax.invert_yaxis()  # the best on top, as it reads
    for at in rules:
        axes.axvline(at, color="black", lw=1.2)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=8.5)
    axes.tick_params(axis="x", rotation=40)
    plt.setp(axes.get_xticklabels(), ha="left", rotation_mode="anchor")
    axes.set(xlabel="", ylabel="")
    return figure


def pairwise(panels: dict[str, pd.DataFrame], *, columns: int = 2) -> Figure:
    """Draw whether a test finds the row's method better or worse than the column's, a panel per title.

    `panels` is {title: table of +1, -1 and 0}, rows and columns the same methods in the same order; columns have
    the rows' numbers. See :func:`cam_utils.evaluation.ranking.better`.
    """
    lines, count = -(-len(panels) // columns), max(len(table) for table in panels.values())
    size = (3.6 * columns, lines * (0.5 + 0.12 * count) + 0.3)
    figure, grid = plt.subplots(lines, columns, figsize=size, squeeze=False)
    for spare in grid.flat[len(panels) :]:
        spare.remove()
    kinds = {"worse": "#e6a04b", "not told apart": "0.93", "better": "#1f4e79"}
    for axes, (title, table) in zip(grid.flat, panels.items(), strict=False):
        own = table.mask(np.eye(len(table), dtype=bool))  # nothing is compared with itself
        sns.heatmap(
            own.astype(float), ax=axes, cmap=ListedColormap(list(kinds.values())), vmin=-1, vmax=1, cbar=False,
            linewidths=0.3,
        )  # fmt: skip
        numbers = range(1, len(table) + 1)
        places = np.arange(len(table)) + 0.5
        axes.set_yticks(places, [f"{name} {i}" for i, name in zip(numbers, table.index, strict=True)], rotation=0)
        some = slice(None, None, max(2, len(table) // 6))  # a number is wider than a cell
        axes.set_xticks(places[some], list(numbers)[some], rotation=0)
        axes.tick_params(length=0, labelsize=8)
        axes.set_title(shown(title), parse_math=False)
    marks = [plt.Rectangle((0, 0), 1, 1, fc=colour, ec="0.6") for colour in kinds.values()]
    figure.legend(marks, [f"row is {name}" if name != "not told apart" else name for name in kinds], ncols=3,
                  loc="outside lower center", fontsize=8.5)  # fmt: skip
    return figure
