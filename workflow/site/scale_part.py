"""What whole data sets cost, by arithmetic from stored rates, for the page on speed."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from cam_utils.runs import Run
from workflow.site import escape
from workflow.site.run_pages import duration

# Images of the official splits that papers evaluate on.
SPLITS = {"VOC 2007 val": 2_510, "COCO 2017 val": 5_000, "COCO 2014 val": 40_504, "ImageNet val": 50_000}
CORES, GPUS = 2, 64
DRAWS = 10
CHEAP = "minmax-cam"  # all that need no masked forward of their own take as long
CAPTION = (
    f"An evaluation on {CORES} cores, with one process on each: maps and masked scores of every label of an image. "
    f"SS-CAM: {DRAWS} times Score-CAM, for its {DRAWS} draws of each mask."
)
ON_GPUS = f"The same on one GPU, and on {GPUS} of a SLURM cluster that take a part of the images each."
MOST = "The most jobs, of two cores each, that make an evaluation shorter, and how long it then takes."
RATES = (
    "The rates are those of the study of photographs on VOC 2012 ({doc}`photographs`) at 224 px, multiplied by the "
    "number of images. They hold for images with as many labels as there: the time of the cheap methods grows with "
    "the number of labels."
)
NO_GPU = (
    f"One GPU, and a cluster of {GPUS}: not measured. `.venv/bin/python benchmarks/gpu_studies.py` measures "
    "the rates of a GPU."
)
NO_SLURM = (
    "Where a cluster stops scaling is not measured yet: `bash tests/cluster/slurm.sh .venv/bin/python "
    "benchmarks/engine.py --runs 1000 --slurm` measures what a job costs on a pretended one."
)


def of_jobs(work: float, jobs: int, inside: float, each: float) -> float:
    """Return the seconds that `work` seconds take in so many jobs at once.

    inside: what a job takes that does nothing; each: by how much one more job lengthens a batch.

    >>> of_jobs(100.0, 10, 3.0, 0.5)
    18.0
    """
    return work / jobs + inside + each * jobs


def most_jobs(work: float, each: float) -> int:
    """Return the number of jobs beyond which one more takes longer to start than it saves.

    >>> most_jobs(100.0, 0.25)
    20
    """
    return max(1, math.floor(math.sqrt(work / each)))


def rates(runs: Sequence[Run]) -> Iterator[tuple[str, str, float]]:
    """Yield network, method, and seconds per image of one core, out of the study of photographs on VOC 2012."""
    for run in runs:
        asked = run.parameters
        if run.chapter != "photographs" or asked.get("dataset") != "voc2012" or asked.get("finetune"):
            continue
        spent, network = run.facts().get("seconds_per_image", {}), asked["architecture"]
        if {CHEAP, "score-cam"} <= spent.keys():
            yield network, "CAM and its like", spent[CHEAP]
            yield network, "Score-CAM", spent["score-cam"]
            yield network, "SS-CAM", DRAWS * spent["score-cam"]


def gpu_rates(folder: Path) -> dict[tuple[str, str], float]:
    """Return {(network, method): seconds per image} of the first GPU that has run the studies, {} without one."""
    for file in sorted(folder.glob("studies-*/run.json")):
        record = json.loads(file.read_text())
        spent, images = record["seconds"], record["images"]
        named = (("Score-CAM", "score-cam", "score_cam"), ("SS-CAM", "ss-cam", "ss_cam"))
        return {
            ("efficientnet_lite0", method): spent[part] / images[table]
            for method, part, table in named
            if images.get(table)
        }
    return {}


def scale_part(stored: Path, runs: Sequence[Run], table: Callable) -> list[str]:
    """Return the section, [] where `runs` lack the study; `stored`: data/results, `table`: makes a table."""
    found = list(rates(runs))
    if not found:
        return []
    gpu = gpu_rates(stored / "gpu")
    file = stored / "bench" / "engine_slurm.json"
    slurm = json.loads(file.read_text()) if file.is_file() else None
    parts = ["## What whole data sets cost", RATES, _table(table, "scale", CAPTION, found, _on_cores)]
    if not gpu:
        parts.append(NO_GPU)
    elif slurm:
        on_gpu = [(*names, rate) for names, rate in gpu.items()]
        parts.append(_table(table, "scale-gpus", ON_GPUS, on_gpu, partial(_on_gpus, slurm)))
    if not slurm:
        return [*parts, NO_SLURM]
    told = (
        f"A job that does nothing takes {slurm['seconds inside a run']:.1f} s, and one more lengthens a batch by "
        f"{slurm['seconds per run']:.2f} s ({slurm['runs']:,} empty jobs on a pretended SLURM, whose scheduler and "
        f"jobs share {escape.myst(slurm['device'])}: on a real cluster it is less). More jobs help until the next "
        "one takes as long to start as it saves."
    )
    return [*parts, told, _table(table, "scale-jobs", MOST, found, partial(_at_most, slurm))]


def _table(
    table: Callable, name: str, caption: str, found: Sequence[tuple[str, str, float]], cell: Callable[[float], str]
) -> str:  # fmt: skip
    rows = [
        {"network": network, "method": method}
        | {f"{split}, {images:,}": cell(images * rate) for split, images in SPLITS.items()}
        for network, method, rate in found
    ]
    return table(rows, f"tab-speed-{name}", caption)


def _on_cores(work: float) -> str:
    return duration(work / CORES)


def _on_gpus(slurm: dict, work: float) -> str:
    spread = of_jobs(work, GPUS, slurm["seconds inside a run"], slurm["seconds per run"])
    return f"{duration(work)}, {duration(spread)}"


def _at_most(slurm: dict, work: float) -> str:
    each = slurm["seconds per run"]
    jobs = most_jobs(work / CORES, each)
    return f"{jobs:,}: {duration(of_jobs(work / CORES, jobs, slurm['seconds inside a run'], each))}"
