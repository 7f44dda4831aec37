"""What bfloat16 changes in Score-CAM's maps and in the metrics of its masks: make bench.

Real COCO photographs and SqueezeNet with its real weights where the samples are there, else digits scenes and the
book's network. Every image is explained for its three most probable labels. Writes
data/results/bench/precision.json.

    python benchmarks/precision.py --samples ../shared
"""

import argparse
import json
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from cam_utils import data, files, runs
from cam_utils.evaluation import metrics
from cam_utils.front.explain import explain
from cam_utils.networks import models
from cam_utils.networks.predictions import PRECISIONS, scoring


def subjects(samples: str | None, count: int) -> tuple[nn.Module, nn.Module, Tensor, str, str]:
    """Return a network, its layer, images [B, 3, h, w], the kind of its scores and what they are, in words."""
    if samples:
        model = models.pretrained("squeezenet1_0", f"{samples}/weights/squeezenet1_0_imagenet.pth")
        scenes = data.load("coco2017", "val", root=f"{samples}/data", size=128)
        kind, what = "softmax", "COCO photographs at 128 px, SqueezeNet"
    else:
        scenes = data.load("digits", "val", n=count)
        model, _ = runs.trained(
            partial(data.load, "digits", co_occurrence=0.9), network="digits", head="linear", schedule="digits",
            seed=0, device="cpu",
        )  # fmt: skip
        kind, what = "sigmoid", "digits scenes, the book's network"
    images = torch.stack([scenes[i].image for i in range(count)])
    return model.eval(), model.features, model.preprocess(images), kind, what


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", default="../shared", help="folder of real images and weights, if it is there")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--no-store", action="store_true", help="print only")
    options = parser.parse_args()
    samples = options.samples if (Path(options.samples) / "weights").is_dir() else None
    model, layer, x, kind, what = subjects(samples, options.images)
    score = scoring(model, kind)
    with torch.no_grad():
        p = score(x)
    labels = p.topk(3).indices.tolist()
    full, half = (
        explain(model, x, labels, method="score-cam", layer=layer, activation=kind, precision=name)
        for name in PRECISIONS
    )
    pairs = full.pairs
    with torch.no_grad():
        drops = [
            metrics.average_drop(p[pairs.image], score(x[pairs.image] * each.maps[:, None]), pairs.label)
            for each in (full, half)
        ]
    first, second = full.maps.flatten(1), half.maps.flatten(1)
    correlation = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(first, second, strict=True)])
    found = {
        "what": what,
        "pairs": len(pairs),
        "largest difference of maps": float((first - second).abs().max()),
        "mean difference of maps": float((first - second).abs().mean()),
        "least correlation of maps": float(correlation.min()),
        "average drop, float32": float(drops[0].mean()),
        "average drop, bfloat16": float(drops[1].mean()),
        "largest difference of a drop": float((drops[0] - drops[1]).abs().max()),
    }
    print(json.dumps(found, indent=1))
    if not options.no_store:
        target = files.DATA / "results" / "bench" / "precision.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps({"command": "make bench", **runs.provenance(), **found}, indent=1) + "\n")
        print(f"stored {target.relative_to(files.DATA.parent)}")


if __name__ == "__main__":
    main()
