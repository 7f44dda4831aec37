"""From pairs' maps to the table of pixel counts: every row of Meng et al.'s tables in one pass over the images."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from cam_utils import data, miou
from cam_utils.cams import Pairs, pairs_of
from cam_utils.comparisons import Source
from cam_utils.regions import label_regions
from cam_utils.repcam import STAGES, Selection, check_stages, fuse, layered
from cam_utils.store import Store


@dataclass(frozen=True)
class Recipe:
    """One row of a table: which comparison classes, and how their maps become one.

    selection: the comparison classes of every class (none: the class is left out), or None where the source has
    only one map per pair.
    multilayer: step A. multiply: times the last layer's map, or the layers' sum alone.
    square: the last layer's map times itself, a control for step A (Sum times last of equal layers).
    joint: the ReLU follows the mean over the comparison classes, not each map (last layer only).
    """

    name: str
    selection: Selection | None = None
    multilayer: bool = False
    multiply: bool = True
    square: bool = False
    joint: bool = False
    normalise: tuple[str, ...] = STAGES

    def __post_init__(self) -> None:
        check_stages(self.normalise)
        if self.multilayer + self.square + self.joint > 1:
            raise ValueError(f"recipe {self.name}: multilayer, square and joint exclude each other")
        for label, chosen in enumerate(self.selection or []):
            if label in chosen:
                raise ValueError(f"recipe {self.name}: class {label} is compared with itself")


def evaluate_maps(
    source: Source,
    dataset: Dataset,
    recipes: Sequence[Recipe],
    *,
    preprocess,
    classes: Sequence[str] | None = None,
    thresholds: Sequence[float] = miou.THRESHOLDS,
    folder: str | Path | None = None,
    batch_size: int = 16,
    device: str = "cpu",
    workers: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Return the pairs table of counts: one row per (image, annotated class, recipe); see :mod:`cam_utils.miou`.

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
    batches = [range(i, min(i + batch_size, len(dataset))) for i in range(0, len(dataset), batch_size)]
    plan = {
        "dataset": dataset.fingerprint(),
        "source": source.identity,
        "recipes": [asdict(recipe) | {"normalise": list(recipe.normalise)} for recipe in recipes],
        "classes": list(chosen),
        "thresholds": list(thresholds),
        "batch_size": batch_size,
    }
    store = Store(folder, plan, len(batches))
    todo = store.missing()
    loader = iter(DataLoader(Subset(dataset, [i for b in todo for i in batches[b]]), None, num_workers=workers))
    for number in tqdm(todo, desc=f"maps of {dataset.name}", **({} if progress else {"disable": True})):
        batch = data.collate([next(loader) for _ in batches[number]])
        x = preprocess(batch.images.to(device))
        rows = _evaluate_batch(source, x, batch, recipes, dataset.classes, chosen, thresholds)
        if len(rows):
            rows["image_index"] += batches[number].start
        store.write(number, rows)
    table = store.finish()
    if not len(table):
        raise ValueError(f"no annotated pixel of {len(chosen)} classes in {len(dataset)} images of {dataset.name}")
    return table


def truths(batch, dataset_classes: Sequence[str], classes: Sequence[str]) -> tuple[Pairs, Tensor, Tensor]:
    """Return the pairs of annotated `classes` with pixels, their masks [P, h, w], and valid pixels [B, h, w]."""
    columns = [dataset_classes.index(name) for name in classes]
    regions, valid = [], []
    for objects, shapes, ignore, image in zip(batch.objects, batch.masks, batch.ignore, batch.images, strict=True):
        size = image.shape[-2:]
        valid.append(torch.ones(size, dtype=torch.bool) if ignore is None else ~ignore)
        empty = torch.zeros(0, *size, dtype=torch.bool)
        shapes = empty if shapes is None else torch.as_tensor(shapes)
        regions.append(label_regions(objects[: len(shapes)], shapes, len(dataset_classes))[columns])
    regions, valid = torch.stack(regions), torch.stack(valid)
    pairs = pairs_of((regions & valid[:, None]).flatten(2).any(2))
    return pairs, regions[pairs.image, pairs.label], valid


def fused_maps(source: Source, x: Tensor, pairs: Pairs, recipes: Sequence[Recipe]) -> dict[str, Tensor]:
    """Return every recipe's fused maps [P, h, w] of the pairs, at input size; of classes left out they are zero."""
    return {name: maps for name, maps, _ in _fused(source, x, pairs, recipes)}


def _fused(source: Source, x: Tensor, pairs: Pairs, recipes: Sequence[Recipe]):
    """Yield (name, maps, which pairs it explains) by recipe: only single comparisons' maps are held throughout."""
    labels = pairs.label.unique().tolist()
    count = 1 + max(labels)
    wanted = [[] for _ in range(count)]
    for label in labels:
        asked = {s for r in recipes if r.selection is not None for s in r.selection[label]}
        wanted[label] = sorted(asked - {label})
    raw = source.layer_maps(x, pairs, wanted, any(recipe.multilayer for recipe in recipes))
    size = x.shape[-2:]
    single: dict[tuple, Tensor] = {}  # (label, form) -> one map per comparison class
    for recipe in recipes:
        maps, explained = x.new_zeros(len(pairs), *size), torch.ones_like(pairs.label, dtype=torch.bool)
        form = (recipe.multilayer, recipe.square, recipe.multiply, recipe.normalise)
        for label in labels:
            rows = (pairs.label == label).nonzero()[:, 0]
            if recipe.selection is not None and not recipe.selection[label]:
                explained[rows] = False
                continue
            columns = wanted[label] if recipe.selection is not None else [0]
            picked = [columns.index(s) for s in recipe.selection[label]] if recipe.selection is not None else [0]
            if recipe.joint:
                joint = raw[-1][rows][:, columns][:, picked].mean(1, keepdim=True).relu()
                maps[rows] = fuse(layered([joint], size, normalise=recipe.normalise), normalise=recipe.normalise)
                continue
            if (label, form) not in single:
                used = raw if recipe.multilayer else raw[-1:] * (2 if recipe.square else 1)
                layers = [m[rows][:, columns].relu() for m in used]
                single[label, form] = layered(layers, size, multiply=recipe.multiply, normalise=recipe.normalise)
            maps[rows] = fuse(single[label, form][:, picked], normalise=recipe.normalise)
        yield recipe.name, maps, explained


def _evaluate_batch(source, x, batch, recipes, dataset_classes, classes, thresholds) -> pd.DataFrame:
    pairs, truth, valid = truths(batch, dataset_classes, classes)
    if not len(pairs):
        return pd.DataFrame()
    shown, image = pairs.image.unique(return_inverse=True)
    background = valid[shown].clone()
    for row, b in enumerate(image.tolist()):
        background[b] &= ~truth[row]
    pairs = Pairs(*(field.to(x.device) for field in pairs))
    truth, valid, background, image, shown = (t.to(x.device) for t in (truth, valid, background, image, shown))
    facts = {
        "image_index": [*pairs.image.tolist(), *shown.tolist()],
        "label": [*pairs.label.tolist(), *[-1] * len(shown)],
        "class": [*(classes[c] for c in pairs.label.tolist()), *[miou.BACKGROUND] * len(shown)],
        "truth": torch.cat([(truth & valid[pairs.image]), background]).flatten(1).sum(1).tolist(),
    }
    facts["image"] = [batch.ids[i] for i in facts["image_index"]]
    tables = []
    for name, maps, explained in _fused(source, x, pairs, recipes):
        area, hit = miou.counts(maps, truth, valid[pairs.image], thresholds)
        won, highest = miou.winners(maps, image)
        seg_area, seg_hit = miou.counts(won, truth, valid[pairs.image], thresholds)
        above, above_hit = miou.counts(highest, background, valid[shown], thresholds)
        below = valid[shown].flatten(1).sum(1, keepdim=True) - above
        below_hit = background.flatten(1).sum(1, keepdim=True) - above_hit
        none = torch.zeros_like(below)
        cells = torch.cat(
            [torch.cat([area, hit, seg_area, seg_hit], 1), torch.cat([none, none, below, below_hit], 1)]
        )
        numbers = pd.DataFrame(cells.cpu().numpy(), columns=miou.columns(thresholds))
        rows = pd.concat([pd.DataFrame({**facts, "method": name}), numbers], axis=1)
        tables.append(rows[[*explained.tolist(), *[True] * len(shown)]])
    return pd.concat(tables, ignore_index=True)
