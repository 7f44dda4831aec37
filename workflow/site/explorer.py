"""What the explorer shows: scenes chosen by a rule, their maps and metrics, and the photographs of a study.

What scenes show is computed when the book is built, from the committed networks and the embedded scenes of the
first chapter, whether or not a run of it is at hand: pictures and numbers then come from the same forward.
"""

from collections.abc import Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from cam_utils import data, plots, runs
from cam_utils.data import Batch
from cam_utils.evaluation.display import method_name
from cam_utils.evaluation.evaluate import evaluate_batch
from cam_utils.evaluation.regions import pixel_metrics
from cam_utils.front.explain import Explanation, explain
from cam_utils.methods.registry import MASKED, resolved
from cam_utils.networks import models
from cam_utils.networks.models import Classifier
from cam_utils.pairs import Pairs
from workflow import ROOT
from workflow.batch.grid import defaults
from workflow.site import explorer_photographs
from workflow.site.explorer_photographs import Photograph

CHAPTER = "notebooks/minmax_cam.ipynb"
MOST, TYPICAL = 8, 4  # scenes where methods differ most, and scenes as they mostly are


class Explored(NamedTuple):
    """S scenes, P pairs (scene, annotated label), M methods, explained on the networks of every head."""

    batch: Batch
    classes: tuple[str, ...]
    groups: dict[str, list[int]]  # heading -> scenes, as positions in the batch
    spreads: Tensor  # [S], see `spread`
    candidates: Tensor  # the same of all scenes that could have been chosen
    searched: int  # scenes among which these were found
    methods: list[str]
    pairs: Pairs
    masks: dict[str, Tensor]  # head -> [P, M, h, w] in [0, 1]
    blanks: dict[str, Tensor]  # head -> [3], the colour in [0, 1] that a masked pixel has for the network
    table: pd.DataFrame  # the pairs table with a column `head`
    photographs: Sequence[Photograph] = ()


@cache
def explore() -> Explored:
    """Choose the scenes and explain and evaluate them, with the chapter's default parameters (seconds on a CPU)."""
    chosen = defaults(ROOT / CHAPTER)
    methods = chosen["methods"].split(",")
    heads = list(models.HEADS) if chosen["head"] == "both" else [chosen["head"]]
    load = partial(data.load, "digits")  # the embedded images: the page may show no others
    networks = {
        head: runs.trained(load, network="digits", head=head, seed=chosen["seed"], progress=False)[0]
        for head in heads
    }
    scenes = load("val", limit=chosen["limit"])
    batch = data.collate([scenes[i] for i in range(len(scenes))])
    quick = [method for method in methods if method not in MASKED]  # a forward per channel and scene
    found = _explained(networks[heads[0]], batch, quick)
    spreads = spread([each.maps for each in found.values()], found[quick[0]].pairs, batch)
    groups = choose(spreads, batch.labels)
    order = [i for group in groups.values() for i in group]
    place = {i: k for k, i in enumerate(order)}
    shown = data.collate([scenes[i] for i in order])
    masks, tables = {}, []
    for head, network in networks.items():
        found = _explained(network, shown, methods)
        masks[head] = torch.stack([found[method].maps for method in methods], 1)
        rows = evaluate_batch(network, shown, resolved(methods), scenes.classes, explained="annotated")
        tables.append(rows.assign(head=head))
    return Explored(
        batch=shown,
        classes=scenes.classes,
        groups={heading: [place[i] for i in group] for heading, group in groups.items()},
        spreads=spreads[order],
        candidates=spreads[batch.labels.sum(1) > 1],
        searched=len(scenes),
        methods=methods,
        pairs=found[methods[0]].pairs,
        masks=masks,
        blanks={head: network.mean.flatten() for head, network in networks.items()},
        table=pd.concat(tables, ignore_index=True),
        photographs=explorer_photographs.stored(),
    )


def _explained(network: Classifier, batch: Batch, methods: Iterable[str]) -> dict[str, Explanation]:
    """Return the explanations of every annotated label by every method; the set C_x is the annotated one."""
    network = network.eval()
    x = network.preprocess(batch.images)
    return {method: explain(network, x, batch.labels > 0, method=method) for method in methods}


def spread(masks: Iterable[Tensor], pairs: Pairs, batch: Batch) -> Tensor:
    """Return how far methods differ on each scene [B], in [0, 1]; `masks` are [P, h, w], one tensor per method.

    A label's spread is the largest minus the smallest share of a map's energy inside the label's own object; a
    map that vanished has none. A scene's spread is the mean over its labels.
    """
    energy = torch.stack([pixel_metrics(each, pairs, batch)["energy_in_mask"] for each in masks]).nan_to_num(0)
    own = energy.amax(0) - energy.amin(0)
    count = batch.labels.sum(1).clamp(min=1)
    return torch.zeros(len(count), dtype=own.dtype).index_add_(0, pairs.image, own) / count


def choose(spreads: Tensor, labels: Tensor, most: int = MOST, typical: int = TYPICAL) -> dict[str, list[int]]:
    """Return {heading: scenes}: those of the largest spread, then those nearest to the median spread.

    spreads [N]; labels [N, L]. Only scenes with two labels or more are candidates, and of those with the same
    labels only the first is taken, so that pictures vary.

    >>> labels = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 1, 1], [1, 0, 0], [1, 0, 1]])
    >>> list(choose(torch.tensor([0.3, 0.9, 0.4, 1.0, 0.2]), labels, 1, 1).values())
    [[1], [2]]
    """
    several = (labels.sum(1) > 1).nonzero()[:, 0]
    middle = spreads[several].median()
    ranks = {"Methods differ most": (most, -spreads), "Typical": (typical, (spreads - middle).abs())}
    taken: set[tuple] = set()
    groups: dict[str, list[int]] = {}
    for heading, (count, rank) in ranks.items():
        groups[heading] = []
        for i in sorted(several.tolist(), key=lambda i, rank=rank: float(rank[i])):
            present = tuple(labels[i].tolist())
            if len(groups[heading]) < count and present not in taken:
                taken.add(present)
                groups[heading].append(i)
    return groups


def labels_of(found: Explored, scene: int) -> list[int]:
    """Return the labels of a scene, in the order of its pairs."""
    return found.pairs.label[found.pairs.image == scene].tolist()


def picture(found: Explored, file: Path) -> None:
    """Write a still of the first scene, all labels by all methods on the first head, for pages without scripts."""
    plots.look()
    rows = (found.pairs.image == 0).nonzero()[:, 0]
    labels = labels_of(found, 0)
    masks = next(iter(found.masks.values()))[rows]
    figure = plots.map_grid(
        [found.batch.images[0]] * len(rows),
        [found.classes[label] for label in labels],
        {method_name(m): masks[:, k] for k, m in enumerate(found.methods)},
        outlines=[plots.outline(found.batch, 0, label) for label in labels],
    )
    figure.savefig(file, dpi=100, bbox_inches="tight", pil_kwargs={"quality": 88})
