"""The book's figures: overlays, grids of maps, heatmaps, curves; :mod:`cam_utils.charts` has those of evidence."""

import textwrap
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from torch import Tensor

from cam_utils.data import Batch
from cam_utils.files import written
from cam_utils.front.file_names import printable

MAP_COLOURS = "magma"  # perceptually even, and readable in grey and by colour-blind readers
SIGNED_COLOURS = "RdBu_r"  # red for, blue against
MARKERS = "osD^vPX<>*"  # a second sign beside the colour of a group, for print in grey
LETTERS = 12  # of a title, in an inch
COLUMN = 7.1  # inches of the page's column: a wider figure is shrunk to it, and its letters with it


def style() -> None:
    """Set the look of a notebook's figures; JPEG keeps grids of photographs small inside it."""
    from matplotlib_inline.backend_inline import set_matplotlib_formats  # every kernel brings it along

    set_matplotlib_formats("jpeg", pil_kwargs={"quality": 76})
    look()


def look() -> None:
    """Set the look of every figure of the book.

    130 dots per inch: on screen a figure fills the column of text, on paper its letters stay sharp.
    """
    sns.set_theme(context="paper", style="ticks", palette="colorblind")
    plt.rcParams.update({"figure.dpi": 130, "figure.constrained_layout.use": True, "axes.titlesize": 8})


def map_colours() -> list[str]:
    """Return the 256 colours of maps from 0 to 1 as "#rrggbb".

    >>> map_colours()[0], map_colours()[-1]
    ('#000004', '#fcfdbf')
    """
    return [to_hex(colour) for colour in plt.colormaps[MAP_COLOURS](range(256))]


def coloured(mask: Tensor, *, signed: bool = False) -> np.ndarray:
    """Return the colours of a map [h, w] in [0, 1], signed: in [-1, 1], as RGB in [0, 1], [h, w, 3]."""
    if signed:
        return plt.get_cmap(SIGNED_COLOURS)((mask.numpy() + 1) / 2)[..., :3]
    return plt.get_cmap(MAP_COLOURS)(mask.numpy())[..., :3]


def overlay(axes: plt.Axes, image: Tensor, mask: Tensor | None = None) -> None:
    """Draw an image [3, h, w] in [0, 1] under a map [h, w] in [0, 1]."""
    axes.imshow(image.permute(1, 2, 0).clamp(0, 1).numpy())
    if mask is not None:
        axes.imshow(mask.numpy(), cmap=MAP_COLOURS, vmin=0, vmax=1, alpha=0.6)
    axes.set(xticks=[], yticks=[])


def map_grid(
    images: Sequence[Tensor],
    names: Sequence[str],
    columns: dict[str, Sequence[Tensor]],
    *,
    masked: Tensor | None = None,
    outlines: Sequence[Tensor | None] | None = None,
    side: float = 1.15,
) -> Figure:
    """Draw one row per pair: the image, then each method's map as an overlay, or the image `masked` by it.

    `columns` is {method: maps [h, w] of every row}; `masked` [3, 1, 1] is the colour that a masked pixel has for
    the network; `outlines` [h, w] (bool) draws the annotated object's edge; `side` is that of a picture in inches.
    Names that are longer than a picture's side go on in a second line.
    """
    rows, width = len(images), 1 + len(columns)
    tall = side * max((image.shape[1] / image.shape[2] for image in images), default=1)
    figure, grid = plt.subplots(rows, width, figsize=(side * width, (tall + 0.07) * rows), squeeze=False)
    for r, (image, name) in enumerate(zip(images, names, strict=True)):
        overlay(grid[r, 0], image)
        grid[r, 0].set_ylabel(wrapped(name, int(LETTERS * tall)), fontsize=8, parse_math=False)
        for c, (method, maps) in enumerate(columns.items(), start=1):
            if masked is None:
                overlay(grid[r, c], image, maps[r])
            else:
                overlay(grid[r, c], masked + (image - masked) * maps[r])
            if r == 0:
                grid[0, c].set_title(wrapped(method, int(LETTERS * side)), parse_math=False)
        for axes in grid[r] if outlines is not None and outlines[r] is not None else ():
            for colour, line in (("black", 1.4), ("cyan", 0.6)):  # the dark rim shows cyan on white, also in grey
                axes.contour(outlines[r].numpy().astype(float), levels=[0.5], colors=colour, linewidths=line)
    grid[0, 0].set_title("image")
    return figure


def table_heatmap(table: pd.DataFrame, *, title: str, rule: int | None = None) -> Figure:
    """Draw a table of percentages with its numbers; `rule` draws a line above that row."""
    rows, columns = table.shape
    figure, axes = plt.subplots(figsize=(min(1.6 + 0.42 * columns, COLUMN), 1.1 + 0.27 * rows))
    sns.heatmap(
        table, ax=axes, cmap="viridis", annot=True, fmt=".0f" if columns > 14 else ".1f", annot_kws={"size": 8},
        cbar_kws={"label": "IoU (%)"},
    )  # fmt: skip
    if rule is not None:
        axes.axhline(rule, color="white", lw=2.5)
    axes.set(title=title, xlabel="explained class", ylabel="compared with")
    axes.tick_params(axis="y", rotation=0)
    if max(map(len, table.columns)) > 2:  # words; side by side they would run into one another
        plt.setp(axes.get_xticklabels(), rotation=40, ha="right", rotation_mode="anchor")
    return figure


def similarity_panel(similarity: Tensor, classes: Sequence[str], *, title: str) -> Figure:
    """Draw a similarity matrix [n, n] without its diagonal, which would drown the rest."""
    values = similarity.double().numpy().copy()
    np.fill_diagonal(values, np.nan)
    side = 1.4 + 0.26 * len(classes)
    figure, axes = plt.subplots(figsize=(side + 0.8, side))
    sns.heatmap(pd.DataFrame(values, classes, classes), ax=axes, cmap="rocket_r", square=True, vmin=0)
    axes.set(title=title, xlabel="probability of", ylabel="images of")
    axes.tick_params(axis="y", rotation=0)
    return figure


def threshold_curves(sweep: pd.DataFrame, marks: dict[float, str], styles: dict[str, str]) -> Figure:
    """Draw mIoU over the threshold, one line per method and its format ("C0--"); `marks` names thresholds."""
    figure, axes = plt.subplots(figsize=(6.2, 3.4))
    for (method, line), marker in zip(styles.items(), cycle(MARKERS), strict=False):
        rows = sweep[sweep["method"] == method]
        axes.plot(rows["threshold"], 100 * rows["value"], line, marker=marker, ms=4, label=method)
    for at, name in marks.items():
        axes.axvline(at, color="0.6", lw=0.8)
        axes.text(at, axes.get_ylim()[0], f" {name}", fontsize=8, va="bottom")
    axes.set(xlabel="threshold T (fraction of the map's maximum)", ylabel="mIoU (%)")
    figure.legend(fontsize=8, loc="outside lower center", ncols=3)
    return figure


def signed_row(maps: Sequence[Tensor], titles: Sequence[str], *, side: float = COLUMN / 4) -> Figure:
    """Draw signed maps [h, w] side by side on one scale: red for, blue against."""
    top = max(float(each.abs().max()) for each in maps)
    figure, axes = plt.subplots(1, len(maps), figsize=(side * len(maps), side + 0.3), squeeze=False)
    for one, values, title in zip(axes[0], maps, titles, strict=True):
        one.imshow(values.numpy(), cmap=SIGNED_COLOURS, vmin=-top, vmax=top)
        one.set_title(shown(title), parse_math=False)
        one.set(xticks=[], yticks=[])
    return figure


def picture_row(images: Sequence[Tensor], titles: Sequence[str]) -> Figure:
    """Draw images [3, h, w] side by side under their titles."""
    side = min(1.3, COLUMN / len(images))
    figure, axes = plt.subplots(1, len(images), figsize=(side * len(images), side + 0.25), squeeze=False)
    for one, image, title in zip(axes[0], images, titles, strict=True):
        overlay(one, image)
        one.set_title(wrapped(title, 18), parse_math=False)
    return figure


def shown(text: str) -> str:
    """Return names of files and classes as they can be drawn, line by line."""
    return "\n".join(map(printable, text.split("\n")))


def wrapped(text: str, width: int) -> str:
    """Return a text as it can be drawn, in lines of about `width` letters: they end at a space or a hyphen.

    >>> wrapped("D-MinMax-Grad-CAM", 15).splitlines()
    ['D-MinMax-Grad-', 'CAM']
    """
    lines = (textwrap.wrap(line, width, break_long_words=False) or [""] for line in shown(text).split("\n"))
    return "\n".join(part for line in lines for part in line)


def outline(batch: Batch, image: int, label: int) -> Tensor | None:
    """Return the annotated region [h, w] of a label in one image of a batch, None without masks."""
    masks = batch.masks[image]
    if masks is None or not (batch.objects[image] == label).any():
        return None
    return masks[batch.objects[image] == label].any(0)


def kernels_served(served: dict[str, Sequence[int]]) -> Figure:
    """Draw, for every head, how many kernels serve no label, one, two, ...; `served`: the labels of each, [K]."""
    figure, grid = plt.subplots(1, len(served), figsize=(3.6 * len(served), 2.4), squeeze=False)
    most = max(max(counts) for counts in served.values())
    for axes, (name, each) in zip(grid[0], served.items(), strict=True):
        counts = np.bincount(each, minlength=most + 1)
        axes.bar_label(axes.bar(range(most + 1), counts, color="C0"), fontsize=8)
        axes.set(title=f"{name} head", xlabel="labels that a kernel serves", ylabel="kernels")
        axes.set_ylim(0, 1.15 * counts.max())
    return figure


def weight_correlations(weights: dict[str, Tensor], classes: Sequence[str]) -> Figure:
    """Draw, for every head, how the labels' weights [L, K] correlate."""
    figure, grid = plt.subplots(1, len(weights), figsize=(3.5 * len(weights), 3.2), squeeze=False)
    for axes, (name, values) in zip(grid[0], weights.items(), strict=True):
        found = np.corrcoef(values.numpy()).round(1) + 0.0
        texts = np.char.replace(found.astype(str), "0.", ".") if len(classes) <= 12 else None
        sns.heatmap(
            pd.DataFrame(found, classes, classes), ax=axes, vmin=-1, vmax=1, center=0, cmap="vlag", square=True,
            annot=texts, fmt="", annot_kws={"size": 8}, cbar=False,
        )  # fmt: skip
        axes.set_title(f"{name} head")
        axes.tick_params(axis="y", rotation=0)
    figure.colorbar(axes.collections[0], ax=list(grid[0]), shrink=0.7)
    return figure


def curve_panels(
    panels: dict[str, pd.DataFrame],
    *,
    xlabel: str,
    ylabel: str,
    dashed: Sequence[str] = (),
    log: bool = False,
    columns: int | None = None,
    side: float = 3.4,
    grey: Sequence[str] = (),
) -> Figure:
    """Draw one panel per table: every method's value over `at` (numbers or names), its 95% interval as a band.

    Columns: method, at, value, low, high. The methods in `dashed` are drawn as broken lines: controls; those in
    `grey` without a colour: what others are read against. With `log` both axes are logarithmic. columns: panels in
    a line (None: all). side: inches of a panel.
    """
    across = columns or len(panels)
    lines = -(-len(panels) // across)
    figure, grid = plt.subplots(
        lines, across, figsize=(side * across, side * lines), sharey=True, sharex=lines > 1, squeeze=False
    )
    for spare in grid.flat[len(panels) :]:
        spare.remove()
    every = list(dict.fromkeys(method for table in panels.values() for method in table["method"]))
    known = {}
    for axes, (title, table) in zip(grid.flat, panels.items(), strict=False):
        for method, rows in table.groupby("method", sort=False):
            i, line = every.index(method), "--" if method in dashed else "-"  # one sign in all panels
            colour, alpha = ("0.45", 0.35) if method in grey else (f"C{i}", 0.12)
            (known[method],) = axes.plot(
                rows["at"], rows["value"], line, marker=MARKERS[i % len(MARKERS)], ms=3, color=colour
            )
            axes.fill_between(rows["at"], rows["low"], rows["high"], color=colour, alpha=alpha, lw=0)
        axes.set_title(shown(title), parse_math=False)
        if log:
            at = sorted(table["at"].unique())
            axes.set(xscale="log", yscale="log")
            axes.set_xticks(at, at)
            axes.minorticks_off()
        if not pd.api.types.is_numeric_dtype(table["at"]):
            axes.tick_params(axis="x", rotation=30)
    for axes in grid[-1]:
        axes.set_xlabel(xlabel)
    for axes in grid[:, 0]:
        axes.set_ylabel(ylabel)
    handles = [known[method] for method in every]
    figure.legend(handles, every, loc="outside lower center", ncols=min(len(every), 6), fontsize=8)
    return figure


def save(figure: Figure, file: Path) -> None:
    """Write the figure into a file, whole or not at all; its name says the format. Close the figure."""
    with written(file) as partial:
        figure.savefig(partial, format=Path(file).suffix.removeprefix("."))
    plt.close(figure)
