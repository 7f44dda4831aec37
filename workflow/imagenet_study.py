"""Average drop and increase of four methods on real ImageNet images with a pretrained network: chapter 3's Table 1.

    python workflow/imagenet_study.py --root DATA --weights squeezenet1_0.pth --images 20

Explains the most probable class of `--images` images drawn at random; SS-CAM as in its Algorithm 1 (N = 10,
sigma = 4 on the normalised input). Writes data/results/sscam_imagenet.csv and its record. It resumes: what a killed
run has evaluated is not done again. On a CPU nearly all the time goes into SS-CAM's 5,632 forwards per image.
"""

import argparse
import json
import time

import pandas as pd

from cam_utils import data, evaluate, models, results, runs
from cam_utils.store import code_fingerprint, fingerprint

METHODS = ("grad-cam", "grad-cam++", "score-cam", "ss-cam")
METRICS = ("average_drop", "increase_in_confidence")


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
    folder = (
        data.CACHE / "study" / f"sscam-{fingerprint(images.fingerprint(), options.network, code_fingerprint())}"
    )
    table = evaluate.evaluate(
        model, images, METHODS, scores="softmax", explained="predicted", batch_size=1, device=device, folder=folder
    )
    means = results.aggregate(table, average="micro", metrics=METRICS)
    against = results.differences(table, "score-cam", average="micro", metrics=METRICS)
    rows = [means.assign(minus=""), against.assign(minus="score-cam")]
    found = pd.concat(rows, ignore_index=True).drop(columns=["n_classes", "n_pairs"])
    target = data.DATA / "results" / "sscam_imagenet.csv"
    found.assign(network=options.network).to_csv(target, index=False, float_format="%.5g")
    right = float(table[table["method"] == METHODS[0]]["is_annotated"].mean())
    record = {
        "command": "python workflow/imagenet_study.py --root DATA --weights FILE "
        f"--network {options.network} --images {len(images)}",
        "dataset": images.fingerprint(), "top1": right, **origin, "wall_s": round(time.time() - started),
    }  # fmt: skip
    target.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    print(found.to_string())


if __name__ == "__main__":
    main()
