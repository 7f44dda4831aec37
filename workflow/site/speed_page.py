"""The stored benchmarks as text, tables and pictures for the page on speed."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cam_utils import plots
from cam_utils.evaluation import bootstrap
from cam_utils.runs import Run
from workflow.site import batches_part, escape, fewer_forwards_part, scale_part

LIBRARIES = ("pytorch-grad-cam", "torch-cam")
NOUNS = {
    "cams": "Grad-CAM",
    "score_cam": "Score-CAM",
    "ss_cam": "SS-CAM",
    "ablation_cam": "Ablation-CAM",
    "evaluation": "evaluation, 4 methods",
}
NO_GPU = """No GPU has measured yet. On a machine that has one, `.venv/bin/python benchmarks/gpu.py` takes less than
nine minutes and needs no data; its numbers then stand here."""
LABELS = "Time against labels per image, over that of the limit at one label. Libraries are called once per label."
BATCH = "Time of Grad-CAM of three labels against images per batch, over that of the limit at one image."
MEMORY = (
    "Memory that one call adds to a process of its own, against the number of channels. What forwards a chunk at a "
    "time does not depend on them."
)
PROMISED = (
    "Bounds over the limit are meant for every row; bounds on other libraries are judged on the rows with three "
    "labels, and with one label the lead is smaller. *Worst* is the worst of the rows' medians. A promise that is "
    "not kept is missed by the median of at least one row; {{numref}}`tab-speed-{name}` shows which, and how "
    "rounds scatter.\n\n"
    "Two reasons make the CAM family's misses. What surrounds its forward pass costs the same for every network "
    "and image, so that it weighs most where one image of a small network is explained. And in a vision "
    "transformer a whole block stands between the map and the logits: every label takes a way back through it, "
    "which no formula shortens."
)
RATIOS = (
    "Ours over the limit (the worst of the methods of the CAM family), and other libraries over ours (Grad-CAM in "
    "the CAM family): median, least and largest of the rounds."
)
GROWTH = (
    "How time grows, as the slope of log time over log quantity at its larger values, and the memory that a call "
    "adds. One quantity grows and the others stay."
)


def speed_part(source: Path, runs: Sequence[Run] = ()) -> str:
    """Return the page's generated part, and write its pictures into the staged `source`/assets.

    Reads source/data/results/bench/*.json and what is in source/data/results/gpu as benchmarks/ wrote it.
    """
    stored = source / "data" / "results"
    found = {
        escape.file_name(path.stem): json.loads(path.read_text())
        for path in sorted((stored / "bench").glob("*.json"))
    }
    further = ("growth", "precision", "frozen", "batches", "engine", "engine_slurm")
    growth, precision, frozen, batches, engine, slurm = (found.pop(name, None) for name in further)
    parts = [part for name, record in found.items() for part in _device(name, record, source / "assets")]
    parts += _growth(growth) if growth else []
    parts += _precision(precision) if precision else []
    parts += _frozen(frozen) if frozen else []
    parts += batches_part.batches_part(batches) if batches else []
    if approximate := fewer_forwards_part.stored(stored):
        parts.append(fewer_forwards_part.fewer_forwards_part(*approximate, source / "assets"))
    parts += _engine(engine, slurm) if engine else []
    parts += scale_part.scale_part(stored, runs, table)
    gpu = [json.loads(path.read_text()) for path in sorted((stored / "gpu").glob("*.json"))]
    gpu = [record for record in gpu if record.get("command") == "python benchmarks/gpu.py"]
    parts += ["## On a GPU", *([text for record in gpu for text in _gpu(record)] or [NO_GPU])]
    return "\n\n".join(parts) + "\n"


def _device(name: str, record: dict, assets: Path) -> list[str]:
    """Return what one device measured, with its pictures in `assets`."""
    rows = [{"what": what(row), **_ratios(row)} for row in record["times"]]
    return [
        f"## {escape.myst(record['device'])}",
        escape.myst(
            f"{record['threads']} threads, {'real' if record['samples'] else 'random'} images, "
            f"{_versions(record)}; {_revisions(record)}."
        ),
        "### What is promised",
        PROMISED.format(name=name),
        escape.code("\n".join(record["contract"]), "text"),
        "### All rows",
        table(rows, f"tab-speed-{name}", RATIOS),
        *_pictures(name, record["times"], pd.DataFrame(record["memory"]), assets),
    ]


def _pictures(name: str, rows: list[dict], held: pd.DataFrame, assets: Path) -> list[str]:
    """Draw the curves that a device has measured into `assets`, and return their figures."""
    wide = held[held["network"] == "wide"] if len(held) else held
    curves = wide.rename(columns={"who": "method", "channels": "at", "MiB": "value"})
    memory = {"Score-CAM, 96 px": curves.assign(low=curves["value"], high=curves["value"])} if len(wide) else {}
    labels = ("labels per image", "time / limit at 1 label")
    plots.look()
    figures = []
    for stem, panels, (x, y), caption in (
        ("cams", labels_panels(rows, ["cams"]), labels, f"{LABELS} Gradient methods: Grad-CAM."),
        ("scores", labels_panels(rows, ["score_cam", "ss_cam"]), labels, f"{LABELS} Methods of masked forwards."),
        ("batch", batch_panels(rows), ("images per batch", "time / limit at 1 image"), BATCH),
        ("memory", memory, ("channels K", "extra memory (MiB)"), MEMORY),
    ):
        if panels:
            file = f"speed-{stem}-{name}"
            drawn = plots.curve_panels(panels, xlabel=x, ylabel=y, log=stem != "memory")
            plots.save(drawn, assets / f"{file}.png")
            figures.append(
                f"```{{figure}} ../assets/{file}.png\n:name: fig-{file}\n:alt: {caption}\n\n{caption}\n```"
            )
    return figures


def labels_panels(rows: list[dict], groups: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return a table for `plots.curve_panels` per group and batch measured at several numbers of labels."""
    panels: dict[str, pd.DataFrame] = {}
    for group in groups:
        chosen = [row for row in rows if row["group"] == group and row["network"] == "squeezenet1_0"]
        alike = {(row["batch"], row["size"]) for row in chosen}
        for batch, size in sorted(alike):
            same = [row for row in chosen if (row["batch"], row["size"]) == (batch, size)]
            if len(same) > 1:
                images = f"{batch} image{'s' * (batch > 1)}"
                panels[f"{NOUNS[group]}, {images}"] = _curves(same, "labels")
    return panels


def batch_panels(rows: list[dict]) -> dict[str, pd.DataFrame]:
    """Return per network the times of Grad-CAM of three labels by images per batch."""
    panels = {}
    for network in dict.fromkeys(row["network"] for row in rows if row["group"] == "cams"):
        same = [r for r in rows if r["group"] == "cams" and r["network"] == network and r["labels"] == 3]
        if len(same) > 1:
            panels[network] = _curves(same, "batch")
    return panels


def _curves(rows: list[dict], by: str) -> pd.DataFrame:
    """Return method, at, value, low, high: seconds over the limit of the first row."""
    rows = sorted(rows, key=lambda row: row[by])
    unit = rows[0]["seconds"]["limit"]
    names = ("ours", *LIBRARIES, "limit")
    points = [
        {"method": name, "at": row[by], "value": row["seconds"][name] / unit}
        for name in names
        for row in rows
        if name in row["seconds"]
    ]
    found = pd.DataFrame(points)
    return found.assign(low=found["value"], high=found["value"])


def _revisions(record: dict) -> str:
    """Return at which states of the code the rows were measured: some groups may be newer than others."""
    groups: dict[str, list[str]] = {}
    for row in record["times"]:
        groups.setdefault(str(row.get("git", record["git"]))[:8], []).append(NOUNS[row["group"]])
    told = [
        f"revision {git}" + f" ({', '.join(dict.fromkeys(of))})" * (len(groups) > 1) for git, of in groups.items()
    ]
    return " and ".join(told)


def _ratios(row: dict) -> dict[str, str]:
    limit = [found for key, found in row["ratios"].items() if key.endswith("/ limit")]
    shown = {"ours / limit": bootstrap.text(*max(limit), digits=2)} if limit else {}
    for name in (*LIBRARIES, "scikit-learn"):
        if f"{name} / ours" in row["ratios"]:
            shown[f"{name} / ours"] = bootstrap.text(*row["ratios"][f"{name} / ours"], digits=2)
    return shown


def what(row: dict) -> str:
    """Return a row's work in words."""
    labels = "" if row["group"] == "evaluation" else f", {row['labels']} label{'s' * (row['labels'] > 1)}"
    images = f"{row['batch']} image{'s' * (row['batch'] > 1)} of {row['size']} px"
    return f"{NOUNS[row['group']]}, {row['network']}, {images}{labels}"


def table(rows: list[dict], name: str, caption: str) -> str:
    """Return rows of equal or missing keys as a captioned table in MyST Markdown."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([row.get(c, "") for c in columns] for row in rows)]
    head, *lines = [f"| {' | '.join(map(escape.myst, line))} |" for line in cells]
    body = "\n".join([head, "|" + " --- |" * len(columns), *lines])
    return escape.fenced(f"{{table}} {caption}", f":name: {name}\n\n{body}", ":")


def _growth(record: dict) -> list[str]:
    rows = [
        {
            "grows": row["quantity"],
            "what is timed": " ".join(row["what"].split()).rstrip("."),
            "exponent of time": f"{row['exponent']:.2f}",
            "expected": f"about {row['expected']:.0f} or less: {row['why']}",
            "memory, MiB": ", ".join(f"{q}: {held:.0f}" for q, held in row["MiB"].items()),
        }
        for row in record["growth"]
    ]
    return ["## How time and memory grow", table(rows, "tab-speed-growth", GROWTH)]


def _precision(record: dict) -> list[str]:
    keys = ("largest difference of maps", "mean difference of maps", "least correlation of maps")
    far, mean, alike = (record[key] for key in keys)
    keys = ("average drop, float32", "average drop, bfloat16", "largest difference of a drop")
    full, half, most = (100 * record[key] for key in keys)
    text = (
        f"{escape.myst(record['what'])}, {record['pairs']} pairs: maps in [0, 1] differ by {mean:.4f} on average "
        f"and by {far:.3f} at most, and correlate by at least {alike:.4f}. The average drop is {full:.2f}% with "
        f"float32 and {half:.2f}% with bfloat16; of a single pair it changes by {most:.2f} points at most."
    )
    return ["## What bfloat16 changes", text]


def _frozen(record: dict) -> list[str]:
    one, heads = record["ratio of one head"], record["heads"]
    text = (
        "A frozen stage trains its head on features that are computed once. On "
        f"{escape.myst(record['network'])}, {record['images']} images and {record['epochs']} epochs that is "
        f"{one:.0f} times as fast as training through the backbone, and {record['ratio of all heads']:.0f} times "
        f"for {heads} heads that share the features."
    )
    return ["## What cached features save", text]


def _engine(record: dict, slurm: dict | None) -> list[str]:
    each, one, again = (
        f"{record[key]:.1f} s"
        for key in ("seconds per run", "seconds of a batch of one", "seconds of a finished batch")
    )
    text = (
        f"{{doc}}`batch` executes notebooks. A run that does nothing takes {each} (Snakemake, papermill, starting "
        f"and ending a kernel; mean of {record['runs']} runs, one after another), a batch of a single one {one}, "
        f"and a batch in which nothing is left to do {again} ({escape.myst(record['device'])})."
    )
    if slurm:
        text += (
            f" On a pretended SLURM, all of it on one machine, {slurm['runs']:,} such runs took "
            f"{slurm['seconds per run']:.1f} s each, {slurm['runs at once']} at once."
        )
    return ["## What the batch adds to a run", text]


def _gpu(record: dict) -> list[str]:
    rows = [
        {"network": row["network"], "precision": row["precision"]}
        | {
            f"{name} / forwards": f"{100 * each:.0f}%"
            for name, each in row["fraction"].items()
            if name != "forwards"
        }
        for row in record["throughput"]
    ]
    hours = [
        f"{row['network']} at {row['size']} px in {row['precision']}: {row['hours_for_2510']:.2f} hours for 2,510 "
        f"images, from {row['images']} images (the paper: {row['paper_hours']} hours)"
        for key, row in record.items()
        if key.startswith("VOC 2007 val")
    ]
    caption = "Throughput as a fraction of forwards alone at the best batch size; at least 85% are meant."
    return [
        escape.myst(f"{record['device']}, {_versions(record)}; revision {str(record['git'])[:8]}."),
        table(rows, "tab-speed-gpu", caption),
        f"Score-CAM's evaluation: {escape.myst('; '.join(hours))}.",
    ]


def _versions(record: dict) -> str:
    names = ("torch", "grad-cam", "torchcam")
    return ", ".join(f"{name} {record['versions'][name]}" for name in names if name in record["versions"])
