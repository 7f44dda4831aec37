"""What the page on rerunning a chapter takes from elsewhere: costs of the default runs, and all parameters."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
from markupsafe import Markup

from cam_utils.parameters import CHAPTERS
from workflow.batch import estimate
from workflow.batch.grid import defaults
from workflow.site import escape, html_parts
from workflow.site.run_pages import duration
from workflow.site.verdicts import sentence

PLANNED = ("squeezenet1_0", "efficientnet_lite0", "resnet50", "resnet101", "vgg16")
HEADS = 2  # a training with each
RECORD, MEMORY = "claims.json", "chapter_memory.csv"  # of data/results


def costs_part(results: Path) -> str:
    """Return a table of the default runs' time and memory, as MyST; `results` is the folder data/results.

    A sentence says so where nothing has been measured.
    """
    record, memory = results / RECORD, results / MEMORY
    runs = json.loads(record.read_text())["runs"] if record.is_file() else {}
    peaks = pd.read_csv(memory).set_index("chapter")["peak_mb"] if memory.is_file() else pd.Series(dtype=float)
    rows = [
        f"| {{doc}}`../notebooks/{chapter}` | {_time(runs.get(chapter))} | {_memory(peaks.get(chapter))} |"
        for chapter in CHAPTERS
        if chapter in runs or chapter in peaks
    ]
    if not rows:
        return "No default run has been measured in this build.\n"
    return "\n".join(["| chapter | time | memory |", "|---|---|---|", *rows]) + "\n"


def hours_part(networks: Sequence[str] = PLANNED, sizes: Sequence[int] = (224, 512)) -> str:
    """Return a table of the GPU hours of the first chapter on VOC 2007, as MyST.

    They are counted (:mod:`workflow.batch.estimate`), not timed.
    """
    rows = []
    for network in networks:
        hours = []
        for size in sizes:
            train = HEADS * estimate.training({"dataset": "voc2007", "network": network, "size": size})
            given = {"dataset": "voc2007", "architecture": network, "size": size, "limit": None}
            explain = estimate.run(SimpleNamespace(chapter="minmax_cam", parameters=given))
            hours += ["under 0.1" if each < 0.05 else f"{each:.1f}" for each in (train, explain)]
        rows.append(f"| {network} | {' | '.join(hours)} |")
    head = " | ".join(f"{what}, {size} px" for size in sizes for what in ("train", "explain"))
    return "\n".join([f"| network | {head} |", f"|---|{'--:|' * 2 * len(sizes)}", *rows]) + "\n"


def parameters_part(notebooks: Path) -> str:
    """Return a table of parameters for each chapter, as MyST: name, default, meaning and what it may be."""
    text = ""
    for chapter, declared in CHAPTERS.items():
        file = notebooks / f"{chapter}.ipynb"
        if not file.is_file():
            continue
        given = defaults(file)
        rows = [
            {
                "parameter": Markup("<code>{}</code>").format(escape.html(name)),
                "default": sentence(repr(given[name])),
                "meaning": sentence(each.meaning),
                "what it may be": sentence(each.words),
            }
            for name, each in declared.items()
        ]
        frame = html_parts.frame(html_parts.table(rows, "wraps"), f"Parameters of {chapter}")
        text += f"\n### Parameters of {{doc}}`../notebooks/{chapter}`\n\n{html_parts.raw(frame)}"
    return text


def _time(run: dict | None) -> str:
    return f"{duration(run['wall_s'])} ({escape.myst(run['device'])})" if run else "not measured"


def _memory(peak: float | None) -> str:
    return "not measured" if peak is None else f"{peak / 1000:.1f} GB"
