"""Average drop and increase of four methods on real ImageNet images with a pretrained network: chapter 3's Table 1.

    python -m workflow.studies.imagenet --root DATA --weights squeezenet1_0.pth --images 20

Explains the most probable class of `--images` images drawn at random; SS-CAM as in its Algorithm 1 (N = 10,
sigma = 4 on the normalised input), and beside the paper's four methods the plain mean of the activations. Where the
folder has boxes, the share of the annotated class's map inside them as well. Writes the network's rows and record
into data/results/sscam_imagenet.csv and .json, and keeps those of other networks. It resumes: what a killed run has
evaluated is not done again. On a CPU nearly all the time goes into SS-CAM's 5,632 forwards per image.
"""

import argparse
import json
import time
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from cam_utils import data, files, runs
from cam_utils.evaluation import evaluate, results
from cam_utils.methods.query import Query
from cam_utils.networks import models

METHODS = ("grad-cam", "grad-cam++", "score-cam", "ss-cam")
PLAIN = "plain mean"  # what SS-CAM's map is by our derivation
KINDS = {"predicted": ("average_drop", "increase_in_confidence"), "annotated": ("energy_in_box",)}


@torch.no_grad()
def plain_mean(query: Query) -> Tensor:
    """Return ReLU(sum_k A^k) [P, H, W]: it knows the image and no class."""
    return query.activations.sum(1).relu()[query.pairs.image]


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return every method's means, and their differences from Score-CAM's (column `minus`), paired by image."""
    rows = []
    for kind, metrics in KINDS.items():
        if kind == "predicted" or table["energy_in_box"].notna().any():
            how = {"pairs": kind, "average": "micro", "metrics": metrics}
            rows.append(results.aggregate(table, **how).assign(minus=""))
            for method in (name for name in table["method"].unique() if name != "score-cam"):
                both = results.paired(table[table["method"].isin([method, "score-cam"])], metrics)
                rows.append(results.differences(both, "score-cam", **how).assign(minus="score-cam"))
    return pd.concat(rows, ignore_index=True).drop(columns=["n_classes", "n_pairs"])


def store(target: Path, network: str, found: pd.DataFrame, record: dict) -> None:
    """Write a network's rows and its record, in place of earlier ones of the same network."""
    rows, log = [found.assign(network=network)], target.with_suffix(".json")
    if target.exists():
        known = pd.read_csv(target, keep_default_na=False)
        rows = [known[known["network"] != network], *rows]
    pd.concat(rows).to_csv(target, index=False, float_format="%.5g")
    records = json.loads(log.read_text()) if log.exists() else {}
    log.write_text(json.dumps(records | {network: record}, indent=1) + "\n")


def main() -> None:
    """Evaluate, and write the table with its record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder that holds imagenet/")
    parser.add_argument("--network", default="squeezenet1_0", choices=tuple(models.PRETRAINED))
    parser.add_argument("--weights", default="imagenet", help="state dict, or imagenet to download")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    started, origin = time.time(), runs.provenance()
    device = runs.pick_device(options.device)
    model = models.pretrained(options.network, options.weights)
    images = data.Drawn(data.load("imagenet", "val", root=options.root, size=224, resize="crop"), options.images)
    boxes = any(len(images[i].boxes) for i in range(len(images)))
    methods = {name: name for name in METHODS} | {PLAIN: plain_mean}
    table = evaluate.evaluate(
        model, images, methods, activation="softmax", explained="both" if boxes else "predicted",
        upsample_first=True, batch_size=1, device=device, folder=runs.evaluations(),
    )  # fmt: skip
    found = summary(table)
    right = float(table[table["in_predicted"] & (table["method"] == METHODS[0])]["is_annotated"].mean())
    record = {
        "command": "python -m workflow.studies.imagenet --root DATA --weights FILE "
        f"--network {options.network} --images {len(images)}",
        "dataset": images.fingerprint(), "top1": right, **origin, "wall_s": round(time.time() - started),
    }  # fmt: skip
    store(files.DATA / "results" / "sscam_imagenet.csv", options.network, found, record)
    print(found.to_string())


if __name__ == "__main__":
    main()
