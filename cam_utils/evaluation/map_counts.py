"""From pairs' maps to the table of pixel counts: every row of Meng et al.'s tables in one pass over the images."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from cam_utils.data import Batch
from cam_utils.evaluation import miou
from cam_utils.evaluation.regions import label_regions
from cam_utils.evaluation.store import measured
from cam_utils.pairs import Pairs, pairs_of
from cam_utils.representative.fusion import Recipe, explained_maps
from cam_utils.representative.sources import Source

Masks = Bool[Tensor, "pairs h w"]


def evaluate_maps(
    source: Source,
    dataset: Dataset,
    recipes: Sequence[Recipe],
    *,
    preprocess: Callable[[Tensor], Tensor],
    classes: Sequence[str] | None = None,
    thresholds: Sequence[float] = miou.THRESHOLDS,
    folder: str | Path | None = None,
    batch_size: int = 16,
    device: str = "cpu",
    progress: bool = True,
) -> pd.DataFrame:
    """Return the table of pixel counts: one row per (image, annotated class, recipe), which :mod:`~.miou` averages.

    Every image is explained for its annotated labels among `classes` (default: all) that have pixels in it: one
    whose object the crop has cut away has no IoU. Other labels' objects count as background. `preprocess` maps
    images in [0, 1] to the networks' input. With `folder` the table is written in parts and a later call resumes.

    Columns: image_index, image, label, class, method, truth, and per threshold T area_T, hit_T, seg_area_T,
    seg_hit_T (pixels). Raises ValueError for recipes that share a name or none at all, and if no image has a pixel
    of any of the classes.
    """
    names = [recipe.name for recipe in recipes]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"expected recipes with different names, got {names}")
    chosen = tuple(classes or dataset.classes)
    plan = {
        "source": source.identity,
        "recipes": [asdict(recipe) | {"normalise": list(recipe.normalise)} for recipe in recipes],
        "classes": list(chosen),
        "thresholds": list(thresholds),
    }

    def measure(batch: Batch) -> pd.DataFrame:
        truth = truths(batch, dataset.classes, chosen).to(device)
        x = preprocess(batch.images.to(device)).contiguous(
            memory_format=torch.channels_last
        )  # faster, as in evaluate
        return _rows(source, x, truth, recipes, batch.ids, chosen, thresholds)

    table = measured(
        dataset, measure, plan, folder=folder, batch_size=batch_size, desc="maps of", progress=progress
    )
    if not len(table):
        raise ValueError(f"no annotated pixel of {len(chosen)} classes in {len(dataset)} images of {dataset.name}")
    return table


class Truth(NamedTuple):
    """What the maps of a batch are judged by: the pairs with pixels, their masks, and of every image the rest."""

    pairs: Pairs
    masks: Masks
    background: Bool[Tensor, "images h w"]  # valid pixels of none of the classes
    valid: Bool[Tensor, "images h w"]

    def to(self, device: torch.device | str) -> "Truth":
        """Return the truth on another device."""
        return Truth(*(each.to(device) for each in self))


def truths(batch: Batch, dataset_classes: Sequence[str], classes: Sequence[str]) -> Truth:
    """Return the truth about `classes`, whose positions are the labels of the pairs."""
    columns = [dataset_classes.index(name) for name in classes]
    regions, valid = [], []
    for objects, shapes, ignore, image in zip(batch.objects, batch.masks, batch.ignore, batch.images, strict=True):
        size = image.shape[-2:]
        valid.append(torch.ones(size, dtype=torch.bool) if ignore is None else ~ignore)
        shapes = torch.zeros(0, *size, dtype=torch.bool) if shapes is None else torch.as_tensor(shapes)
        regions.append(label_regions(objects[: len(shapes)], shapes, len(dataset_classes))[columns])
    regions, valid = torch.stack(regions), torch.stack(valid)
    pairs = pairs_of((regions & valid[:, None]).flatten(2).any(2))
    return Truth(pairs, regions[pairs.image, pairs.label], valid & ~regions.any(1), valid)


def _rows(source, x, truth: Truth, recipes, ids, classes, thresholds) -> pd.DataFrame:
    """Return a batch's rows: by recipe, one per pair that it explains and one for each image's background."""
    pairs, shown = truth.pairs, truth.pairs.image.unique()
    if not len(pairs):
        return pd.DataFrame()
    index = [*pairs.image.tolist(), *shown.tolist()]
    true = torch.cat([truth.masks & truth.valid[pairs.image], truth.background[shown]])
    facts = {
        "image_index": index,
        "label": [*pairs.label.tolist(), *[-1] * len(shown)],
        "class": [*(classes[c] for c in pairs.label.tolist()), *[miou.BACKGROUND] * len(shown)],
        "truth": true.flatten(1).sum(1).tolist(),
        "image": [ids[i] for i in index],
    }
    tables = []
    for name, maps, explained in explained_maps(source, x, pairs, recipes):
        cells = _counted(maps, truth, thresholds)
        numbers = pd.DataFrame(cells.cpu().numpy(), columns=miou.columns(thresholds))
        rows = pd.concat([pd.DataFrame({**facts, "method": name}), numbers], axis=1)
        tables.append(rows[[*explained.tolist(), *[True] * len(shown)]])
    return pd.concat(tables, ignore_index=True)


def _counted(maps: Tensor, truth: Truth, thresholds: Sequence[float]) -> Int[Tensor, "rows counts"]:
    """Return the counts of one recipe's maps: of every pair, then of each explained image's background.

    To the background go the pixels where all maps of the image are below T; it has no map of its own.
    """
    shown, valid = truth.pairs.image.unique(), truth.valid[truth.pairs.image]
    won, highest = winners(maps, truth.pairs.image)
    own = [each for m in (maps, won) for each in counts(m, truth.masks, valid, thresholds)]
    valid, background = truth.valid[shown], truth.background[shown]
    area, hit = counts(highest, background, valid, thresholds)
    below, below_hit = (m.flatten(1).sum(1, keepdim=True) - n for m, n in ((valid, area), (background, hit)))
    none = torch.zeros_like(below)
    return torch.cat([torch.cat(own, 1), torch.cat([none, none, below, below_hit], 1)])


def counts(
    maps: Float[Tensor, "pairs h w"], truth: Masks, valid: Masks, thresholds: Sequence[float] = miou.THRESHOLDS
) -> tuple[Int[Tensor, "pairs thresholds"], Int[Tensor, "pairs thresholds"]]:
    """Return pixels at or above every threshold, and those of them inside the truth: (area, hit).

    maps: in [0, 1]; pixels that are not valid count nowhere. Raises ValueError for thresholds that do not rise.

    >>> area, hit = counts(torch.tensor([[[0.1, 0.5, 0.9]]]), torch.tensor([[[True, False, True]]]),
    ...                    torch.ones(1, 1, 3, dtype=torch.bool), (0.1, 0.5))
    >>> area.tolist(), hit.tolist()
    ([[3, 2]], [[2, 1]])
    """
    edges = torch.tensor(thresholds, dtype=maps.dtype, device=maps.device)
    if len(edges) == 0 or (edges[1:] <= edges[:-1]).any():
        raise ValueError(f"expected ascending thresholds, got {list(thresholds)}")
    bins = torch.bucketize(maps.flatten(1), edges, right=True)  # number of thresholds at or below each pixel
    bins = bins + (len(edges) + 1) * torch.arange(len(maps), device=maps.device)[:, None]

    def above(kept: Tensor) -> Tensor:
        numbers = torch.bincount(bins[kept.flatten(1)], minlength=len(maps) * (len(edges) + 1))
        return numbers.view(len(maps), -1)[:, 1:].flip(1).cumsum(1).flip(1)

    return above(valid), above(valid & truth)


def winners(
    maps: Float[Tensor, "pairs h w"], image: Int[Tensor, " pairs"]
) -> tuple[Float[Tensor, "pairs h w"], Float[Tensor, "images h w"]]:
    """Return the maps, zero where another class of the same image is higher, and each image's highest.

    image: the image of every map. Of equal maps the first class wins.

    >>> kept, highest = winners(torch.tensor([[[0.2, 0.9]], [[0.5, 0.1]]]), torch.tensor([4, 4]))
    >>> kept.ceil().int().tolist(), highest.shape
    ([[[0, 1]], [[1, 0]]], torch.Size([1, 1, 2]))
    """
    kept = torch.zeros_like(maps)
    highest = []
    for b in image.unique().tolist():
        rows = (image == b).nonzero()[:, 0]
        value, first = maps[rows].max(0)
        kept[rows] = torch.where(torch.arange(len(rows), device=maps.device)[:, None, None] == first, value, 0)
        highest.append(value)
    return kept, torch.stack(highest)
