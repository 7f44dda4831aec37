"""What training on cached features saves: the paper's first stage both ways, in one run: make bench.

Times an epoch through the frozen backbone and one on the features of two views, and the pass that makes these; from
them the ratio for the plan of the study of photographs, whose heads share one pass. Images are the embedded scenes
at 224 px. Writes data/results/bench/frozen.json.

    python benchmarks/frozen.py
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from functools import partial
from unittest.mock import patch

import torch

from cam_utils import data, files, runs
from cam_utils.networks import frozen, models, schedules, training

HEADS = 30  # two kinds, three rates, five seeds
QUIET = {"progress": False, "accelerator": "cpu"}


def measured(network: str, images: int, rounds: int) -> dict[str, float]:
    """Return seconds per image of both ways, and their ratio for one head and for HEADS heads of a whole stage."""
    load = partial(data.load, "digits", size=224, n=images)
    stage = schedules.frozen(0.1)
    one = replace(stage, epochs=1)
    through, cached, passes = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            model = models.build(network, 10, seed=number)  # other weights: nothing is found in the cache
            with patch.object(frozen, "fits", lambda *_: False):
                through.append(timed(lambda m=model: training.train(m, load, (one,), **QUIET)))
            parts = []
            passes.append(timed(lambda m=model, p=parts: p.append(frozen.views_of(
                m, load, one, folder=folder, progress=False
            ))))  # fmt: skip
            cached.append(timed(lambda m=model, p=parts: frozen.train_head(m, p[0], one, **QUIET)))
    best = {name: min(each) for name, each in (("epoch", through), ("cached", cached), ("pass", passes))}

    def ratio(heads: int) -> float:
        slow = heads * stage.epochs * best["epoch"]
        return slow / (best["pass"] + heads * stage.epochs * best["cached"])

    per_image = {name: seconds / images for name, seconds in best.items()}
    return {
        "network": network,
        "images": images,
        "epochs": stage.epochs,
        **{f"seconds per image, {name}": value for name, value in per_image.items()},
        "ratio of one head": ratio(1),
        "heads": HEADS,
        "ratio of all heads": ratio(HEADS),
    }


def timed(work) -> float:
    """Return the seconds that a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="efficientnet_lite0", choices=models.NAMES)
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--no-store", action="store_true", help="print only")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    found = measured(options.network, options.images, options.rounds)
    print(json.dumps(found, indent=1))
    if not options.no_store:
        record = {"command": "python benchmarks/frozen.py", **runs.provenance(), **found}
        (files.DATA / "results" / "bench" / "frozen.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
