r"""What Score-CAM's approximations cost: their maps and metrics beside the exact ones, against the forwards saved.

    python -m workflow.studies.fewer_forwards --data DATA

DATA holds the VOC 2012 sample (VOCdevkit/VOC2012). Explains the annotated labels of the first images of "val" that
have several, with EfficientNet-Lite0 and a head of the study `photographs`, by Score-CAM itself, by its strongest
channels alone, and by clusters of channels, at several numbers of each. Writes data/results/fewer_forwards.parquet
(a row per pair and form: the correlation of the map with the exact one, forwards, seconds, and the metrics) and its
record. It resumes image by image; one core takes about half an hour for 100 images.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cam_utils import data, files, runs
from cam_utils.evaluation import evaluate, store
from cam_utils.methods import registry
from cam_utils.methods.query import Query
from cam_utils.networks import models
from workflow.studies import photograph_cells as cells
from workflow.studies.comparison_photographs import DATASET, FIT, HEADS, NETWORK, PACKAGE, several
from workflow.studies.option_kinds import folder, whole

NAME = "fewer_forwards"
OPTIONS = ("channels", "clusters")
COUNTS = (16, 32, 64, 128, 256)
EXACT = "exact"
METRICS = ("average_drop", "average_retention", "energy_in_mask")
KEPT = ("image", "image_index", "label", "set_size", "p", "is_zero", *METRICS)


def forms() -> dict[str, dict[str, int]]:
    """Return the options of "score-cam" by the name of the form, the exact one first."""
    return {EXACT: {}} | {f"{option} {count}": {option: count} for option in OPTIONS for count in COUNTS}


class Counted:
    """Score-CAM in one form, which keeps its maps, how many forwards it took and how long."""

    def __init__(self, options: Mapping[str, int]) -> None:
        self.method = registry.method("score-cam", **options)
        self.maps: Tensor | None = None
        self.forwards, self.seconds = 0, 0.0

    def __call__(self, query: Query) -> Tensor:
        """Return the maps of the query's pairs."""

        def score(images: Tensor) -> Tensor:
            self.forwards += len(images)
            return query.score(images)

        started = time.perf_counter()
        self.maps = self.method(replace(query, score=score))
        self.seconds = time.perf_counter() - started
        return self.maps


def correlations(maps: Tensor, exact: Tensor) -> Tensor:
    """Return Pearson's correlation [P] of maps [P, h, w] with the exact ones, 0 where one of the two is constant.

    >>> one = torch.tensor([[[0.0, 1.0, 2.0]]])
    >>> correlations(torch.cat([3 * one + 1, -one, 0 * one]), one.expand(3, 1, 3)).round(decimals=4).tolist()
    [1.0, -1.0, 0.0]
    """
    a, b = (each.flatten(1).double() - each.flatten(1).double().mean(1, keepdim=True) for each in (maps, exact))
    size = a.norm(dim=1) * b.norm(dim=1)
    return torch.where(size > 0, (a * b).sum(1) / size.where(size > 0, 1), 0.0)


def measured(
    model: models.Classifier, images: Dataset, *, folder: Path | None, progress: bool = True
) -> pd.DataFrame:
    """Return a row per pair of annotated labels and form; `folder` keeps the images that are done."""

    def measure(batch: data.Batch) -> pd.DataFrame:
        counted = {name: Counted(options) for name, options in forms().items()}
        table = evaluate.evaluate_batch(
            model, batch, counted, images.classes, explained="annotated", upsample_first=True
        )
        more = {
            name: {
                "correlation": correlations(each.maps, counted[EXACT].maps).tolist(),
                "forwards": each.forwards, "seconds": each.seconds,
            }
            for name, each in counted.items()
        }  # fmt: skip
        parts = [rows.assign(**more[name]) for name, rows in table.groupby("method", sort=False)]
        found = pd.concat(parts, ignore_index=True)
        return found[[name for name in (*KEPT, "method", "correlation", "forwards", "seconds") if name in found]]

    plan = {"forms": forms(), "model": files.fingerprint(*model.state_dict().values())}
    what = {"batch_size": 1, "desc": "fewer forwards on", "progress": progress}
    return store.measured(images, measure, plan, folder=folder, **what)


def curves(table: pd.DataFrame) -> Iterator[tuple[str, str, int, float, pd.DataFrame]]:
    """Yield option, form, count, share of the exact form's forwards, and the form's rows beside the exact ones.

    Columns with the suffix _exact are those of the exact form on the same pair.
    """
    keys = ["image_index", "label"]
    exact = table[table["method"] == EXACT]
    for name, options in forms().items():
        if name != EXACT:
            both = table[table["method"] == name].merge(exact, on=keys, suffixes=("", "_exact"))
            once = both.drop_duplicates("image_index")
            ((option, count),) = options.items()
            yield option, name, count, once["forwards"].sum() / once["forwards_exact"].sum(), both


def main() -> None:
    """Measure, and write the table with its record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=folder, help="folder that holds VOCdevkit/")
    parser.add_argument("--images", type=whole(), default=100, help="of several labels")
    parser.add_argument("--out", type=Path, default=files.DATA / "results")
    options = parser.parse_args()
    started, origin = time.time(), runs.provenance()
    torch.set_num_threads(1)
    images = several(cells.loader(DATASET, options.data)("test"), options.images)
    made = cells.with_heads(NETWORK, "imagenet", images.classes, [FIT], files.DATA / "results" / HEADS)
    table = measured(made[FIT.name], images, folder=runs.evaluations())
    cells.save_table(options.out / f"{NAME}.parquet", cells.compact(table))
    record = {
        "command": f"python -m workflow.studies.{NAME} --data DATA --images {len(images)}", **origin, "threads": 1,
        "wall_s": round(time.time() - started), "dataset": images.fingerprint(), "images": len(images),
        "pairs": int(images.labels.sum()), "network": NETWORK, "head": FIT.name,
        "backbone": {PACKAGE: version(PACKAGE)},
    }  # fmt: skip
    files.write_text(options.out / f"{NAME}.json", json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
