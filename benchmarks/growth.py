"""How time and memory grow with the work, with the exponent fitted: make bench.

One quantity grows and all others stay: channels K, labels of an image, side of the image, images of a data set,
methods of an evaluation. The exponent is the slope of log time over log quantity between the largest values: 1
where the time is proportional to it, 0 where it does not depend on it. Writes data/results/bench/growth.json.

    python benchmarks/growth.py
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable

import torch
import workloads
from race import extra, race

from cam_utils import data, files, runs
from cam_utils.evaluation import evaluate
from cam_utils.front.explain import explain
from cam_utils.networks import models

Points = dict[int, Callable[[], object]]
# quantity -> what the exponent of time should not exceed, and why
EXPECTED = {
    "channels": (1.0, "one masked forward per channel"),
    "labels": (0.0, "all labels of an image share the masked forwards"),
    "side": (2.0, "a network's work is proportional to the pixels"),
    "images": (1.0, "one after another, and a table that is written in parts"),
    "methods": (1.0, "two masked forwards per pair and method"),
}
SLACK = 0.15  # of an exponent, for noise and for what a larger batch or tensor costs


def channels() -> Points:
    """Score-CAM of one image at 96 px by the number of channels."""
    made = {k: workloads.wide(k, 96) for k in (128, 256, 512, 1024)}
    return {k: _score_cam(b, [0]) for k, b in made.items()}


def labels() -> Points:
    """Score-CAM of one image at 96 px by the number of labels."""
    made = workloads.wide(256, 96)
    return {n: _score_cam(made, list(range(n))) for n in (1, 4, 16, 64)}


def side() -> Points:
    """Score-CAM of one image by its side in pixels."""
    return {s: _score_cam(workloads.wide(128, s), [0]) for s in (96, 128, 192, 256)}


def images() -> Points:
    """The evaluation of a data set of digits scenes by its number of images."""
    return {n: _evaluation(n, workloads.EVALUATED[:2]) for n in (32, 64, 128, 256)}


def methods() -> Points:
    """The evaluation of 64 scenes by the number of methods."""
    names = ("cam", "minmax-cam", "d-minmax-cam", "grad-cam", "grad-cam++", "minmax-grad-cam", "d-minmax-grad-cam")
    return {n: _evaluation(64, names[:n]) for n in (1, 2, 4, 7)}


def _score_cam(b: workloads.Bench, asked: list[int]) -> Callable:
    return lambda: explain(b.net, b.images, [asked], method="score-cam", layer=b.layer)


def _evaluation(count: int, names) -> Callable:
    scenes = data.load("digits", "val", n=count)
    model = models.build("digits", 10, seed=0, bias=0.0).eval()
    return lambda: evaluate.evaluate(model, scenes, list(names), explained="annotated", progress=False)


def exponent(values: dict[int, float]) -> float:
    """Return the least-squares slope of log value over log quantity, of the upper half of the quantities."""
    chosen = sorted(values)[-(len(values) // 2 + 1) :]
    x, y = [math.log(q) for q in chosen], [math.log(max(values[q], 1e-9)) for q in chosen]
    return statistics.linear_regression(x, y).slope


def study(name: str, repeats: int) -> dict:
    """Return a quantity's times in seconds, memory in MiB and the exponent of both."""
    points = globals()[name]()
    timed = race({str(q): call for q, call in points.items()}, repeats)
    spent = {q: statistics.median(timed[str(q)]) for q in points}
    held = {q: max(extra(call), 0) / 2**20 for q, call in points.items()}
    bound, why = EXPECTED[name]
    found = exponent(spent)
    return {
        "quantity": name,
        "what": globals()[name].__doc__,
        "seconds": spent,
        "MiB": held,
        "exponent": found,
        "expected": bound,
        "why": why,
        "kept": found <= bound + SLACK,
    }


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=list(EXPECTED), nargs="+", default=list(EXPECTED))
    parser.add_argument("--no-store", action="store_true", help="print only")
    options = parser.parse_args()
    started, found = time.time(), []
    for name in options.only:
        row = study(name, options.repeats)
        found.append(row)
        curve = ", ".join(f"{q}: {s:.2f} s {row['MiB'][q]:.0f} MiB" for q, s in row["seconds"].items())
        slope = f"exponent {row['exponent']:5.2f}, expected at most {row['expected']:.0f}"
        print(f"{name:9} {slope} ({curve})", flush=True)
    if not options.no_store:
        origin = runs.provenance() | {"threads": torch.get_num_threads()}
        record = {"command": "make bench", **origin, "wall_s": round(time.time() - started), "growth": found}
        target = files.DATA / "results" / "bench" / "growth.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(record, indent=1) + "\n")
        print(f"stored {target.relative_to(files.DATA.parent)}")


if __name__ == "__main__":
    main()
