"""The trainings of the study of pair networks: one network for each pair of classes, and one for all classes."""

import functools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import torch
from torch.utils.data import Dataset

from cam_utils import data, files
from cam_utils.data.views import View
from cam_utils.networks import models
from cam_utils.representative.pair_networks import PairSchedule, train_pairs, training_rows
from cam_utils.representative.trained_networks import Pair, TrainedNetworks
from workflow.studies.photograph_cells import STOPPING

RECIPE = PairSchedule()  # the paper's


@dataclass(frozen=True)
class Settings:
    """What a study trains: the classes, the network, the images, the paper's recipe, and when networks are kept."""

    classes: tuple[str, ...] = ("dog", "cat", "horse", "sheep", "cow", "person")
    network: str = "efficientnet_lite0"
    weights: str = "imagenet"
    size: int = 160
    most: int = 150  # images of each of a pair's two classes
    snapshots: tuple[int, ...] = (1, 3, 10)
    schedule: PairSchedule = RECIPE
    seed: int = 0
    limit: int | None = None  # images of each split, to try it out

    @property
    def everything(self) -> Pair:
        """All classes as one group, which the network that pairs are compared with tells apart."""
        return tuple(range(len(self.classes)))

    @property
    def pairs(self) -> list[Pair]:
        """All pairs of the classes."""
        return list(combinations(self.everything, 2))


class Held(View):
    """Images of the whole dataset that show any of some classes, labelled with these, decoded once and held."""

    def __init__(self, dataset: Dataset, rows: list[int], classes: tuple[str, ...]) -> None:
        labels = dataset.labels[:, [dataset.classes.index(name) for name in classes]]
        rows = [i for i in rows if labels[i].any()]
        super().__init__(dataset, rows, labels[rows], classes, {"rows": rows, "classes": classes}, annotated=False)
        self.images_uint8 = torch.stack([dataset.pixels(i) for i in rows])


def loader(root: str | Path, settings: Settings) -> Callable[[str], Dataset]:
    """Return `load(split)` of the VOC 2012 sample, cropped to a square as in the paper (Sec. 4.1).

    "train" and "val" hold the images of any of the classes, labelled with these; a tenth of the sample's "train" is
    "val", as in the study of photographs. "test" is the sample's "val" as it is, with all its classes and masks.
    """

    @functools.cache
    def load(split: str) -> Dataset:
        name = "val" if split == "test" else "train"
        whole = data.load("voc2012", name, root=root, size=settings.size, resize="crop", limit=settings.limit)
        if split == "test":
            return whole
        drawn = data.Drawn(whole, None, seed=0).rows
        cut = round(STOPPING * len(drawn))
        return Held(whole, sorted(drawn[:cut] if split == "val" else drawn[cut:]), settings.classes)

    return load


def trained(train: Dataset, settings: Settings, *, progress: bool = True) -> tuple[TrainedNetworks, dict]:
    """Return the networks of all pairs and of all classes together, and {name: CPU seconds} of their trainings.

    Those that a call before has trained are taken from the cache, where a table of the times lies beside them.
    """
    start = models.build(settings.network, len(settings.classes), weights=settings.weights, seed=settings.seed)
    for pair in (settings.everything, *settings.pairs):
        began = time.process_time()
        found = train_pairs(
            start, train, [pair], network=settings.network, schedule=settings.schedule, seed=settings.seed,
            several=True, most=settings.most, snapshots=settings.snapshots, channels_last=True, progress=False,
        )  # fmt: skip
        file = found.path(*pair).with_suffix(".json")
        if not file.exists():
            facts = {
                "seconds": round(time.process_time() - began, 1),
                "images": len(training_rows(train.labels, pair, settings.most, settings.seed)),
                "epochs": _epochs(found, pair, settings.snapshots),
            }
            with files.written(file) as partial:
                partial.write_text(json.dumps(facts))
            if progress:
                print(" and ".join(settings.classes[k] for k in pair), facts, flush=True)
    times = {
        " ".join(settings.classes[k] for k in pair): json.loads(found.path(*pair).with_suffix(".json").read_text())
        for pair in (settings.everything, *settings.pairs)
    }
    return found, times


def _epochs(found: TrainedNetworks, pair: Pair, snapshots: tuple[int, ...]) -> dict:
    """Return the epochs and the training accuracy of the snapshots and, under "stop", of the stopping rule."""
    facts = {}
    for epoch in (*snapshots, None):
        saved = models.read(found.at(epoch).path(*pair))["facts"]
        facts[epoch or "stop"] = {name: round(saved[name], 4) for name in ("epochs", "accuracy")}
    return facts
