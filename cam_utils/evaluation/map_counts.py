"""From pairs' maps to the table of pixel counts: every row of Meng et al.'s tables in one pass over the images."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from cam_utils import data
from cam_utils.evaluation import miou
from cam_utils.evaluation.regions import label_regions
from cam_utils.evaluation.store import Store
from cam_utils.pairs import Pairs, pairs_of
from cam_utils.representative.fusion import Recipe, explained_maps
from cam_utils.representative.sources import Source


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
    """Return the pairs table of counts: one row per (image, annotated class, recipe); see :mod:`cam_utils.evaluation.miou`.

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
    for name, maps, explained in explained_maps(source, x, pairs, recipes):
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
