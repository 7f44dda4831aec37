"""Differences on photographs as a figure: a panel for each head or run, a sign for each contrast."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from PIL import Image

from cam_utils import charts, plots
from workflow.site import photograph_runs as numbers
from workflow.site import photograph_tables as tables

COLOURS = 64


def figure(
    rows: pd.DataFrame,
    levels: Sequence[str],
    name: str,
    caption: str,
    folder: Path | None,
    contrasts: Sequence[tuple[str, str]] = tables.CONTRASTS,
    **options: object,
) -> str:
    """Return the figure as MyST, drawn into `folder` if given.

    rows: of :func:`photograph_runs.effects`, with a column `level` that names each row's panel. options: of
    :func:`cam_utils.charts.forest`.
    """
    drawn = rows.assign(
        score=pd.Categorical(rows["metric"].map(tables.title), [tables.title(metric) for metric in numbers.SHOWN]),
        truth=[tables.contrast(*pair) for pair in zip(rows["method"], rows["baseline"], strict=True)],
    ).sort_values("score", kind="stable")
    wanted = [tables.contrast(*pair) for pair in contrasts]
    drawn = pd.concat([drawn[drawn["truth"] == each] for each in wanted])
    if folder:
        plots.look()
        chart = charts.forest(drawn, levels, xlabel="points", limits=None, **options)
        plots.save(chart, folder / f"{name}.png")
        _reduce(folder / f"{name}.png")
    alt = f"Intervals of {' and '.join(wanted)} for {len(set(rows['metric']))} metrics, in {len(levels)} panel(s)"
    return f"```{{figure}} {name}.png\n:name: {name}\n:alt: {alt}\n\n{caption}\n```"


def _reduce(file: Path) -> None:
    """Write the drawing again in as few colours as it has, a third of its bytes."""
    with Image.open(file) as drawing:
        small = drawing.convert("RGB").quantize(COLOURS)
    small.save(file, optimize=True)
