"""Do the maps of a class against several others find different parts of its object (Meng et al., Secs. 1 and 3.3)?

The paper averages the maps of a few comparisons because they complement each other. If they do, their masks differ,
and their union holds more of the object than one map whose mask is made as large. Shapes: P pairs (image, class),
N comparison classes, maps in [0, 1] after their ReLU.
"""

from itertools import combinations

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Maps = Float[Tensor, "pairs h w"]
Masks = Bool[Tensor, "pairs h w"]


def complementarity(
    maps: Float[Tensor, "pairs classes h w"], whole: Maps, truth: Masks, valid: Masks, threshold: float
) -> pd.DataFrame:
    """Return how the maps of a pair's comparisons differ, and what their union finds: one row per pair.

    whole: one other map of each pair, such as the baseline's, to compare the union with at equal area. Pixels that
    are not `valid` count nowhere.

    Columns: correlation, of the maps two by two over the pixels, mean of all twos; overlap, the IoU of their masks
    (map >= threshold), likewise; union, best: the share of the object inside the union of the masks, and inside the
    best single one (an oracle's choice); area: the union's share of the valid pixels; best_at_area,
    whole_at_area: the share of the object in as many pixels of the best single map, or of `whole`, taken from the
    highest down. NaN where nothing is defined, such as for one comparison. Raises ValueError for an object without
    a pixel.

    >>> maps = torch.tensor([[[[1.0, 0.1, 0.0, 0.0]], [[0.1, 1.0, 0.0, 0.0]]]])
    >>> truth = torch.tensor([[[True, True, False, False]]])
    >>> found = complementarity(maps, maps[:, 0], truth, torch.ones_like(truth), 0.5)
    >>> found[["overlap", "union", "best", "best_at_area"]].iloc[0].tolist()
    [0.0, 1.0, 0.5, 1.0]
    """
    truth = truth & valid
    if not truth.flatten(1).any(1).all():
        raise ValueError("expected objects with at least one valid pixel each")
    inside = (maps >= threshold) & valid[:, None]
    union = inside.any(1)
    pixels, found = valid.flatten(1).sum(1), union.flatten(1).sum(1)
    recall = torch.stack([_recall(mask, truth) for mask in inside.unbind(1)], 1)  # [P, N]
    same_area = torch.stack([recall_at(m, truth, valid, found) for m in maps.unbind(1)], 1)
    twos, flat = list(combinations(range(maps.shape[1]), 2)), maps.flatten(2)
    columns = {
        "correlation": _mean([correlation(flat[:, i], flat[:, j], valid.flatten(1)) for i, j in twos], pixels),
        "overlap": _mean([_overlap(inside[:, i], inside[:, j]) for i, j in twos], pixels),
        "union": _recall(union, truth),
        "best": recall.amax(1),
        "area": found / pixels,
        "best_at_area": same_area.amax(1),
        "whole_at_area": recall_at(whole, truth, valid, found),
    }
    return pd.DataFrame({name: values.cpu().numpy() for name, values in columns.items()})


def recall_at(maps: Maps, truth: Masks, valid: Masks, count: Int[Tensor, " pairs"]) -> Float[Tensor, " pairs"]:
    """Return the share of the object within the `count` highest valid pixels of each map.

    Of equal values that do not all fit in, each counts for the share that does.

    >>> recall_at(torch.tensor([[[0.9, 0.5, 0.5]]]), torch.tensor([[[False, True, False]]]),
    ...           torch.ones(1, 1, 3, dtype=torch.bool), torch.tensor([2])).tolist()
    [0.5]
    """
    values = maps.masked_fill(~valid, -torch.inf).flatten(1)
    lowest = values.sort(1, descending=True).values.gather(1, (count - 1).clamp(min=0)[:, None])
    truth, above, ties = truth.flatten(1), values > lowest, values == lowest
    left = (count - above.sum(1)) / ties.sum(1)  # of the equal ones
    hit = (truth & above).sum(1) + left.clamp(min=0) * (truth & ties).sum(1)
    return torch.where(count > 0, hit / truth.sum(1), 0.0)


def _recall(mask: Masks, truth: Masks) -> Tensor:
    return (mask & truth).flatten(1).sum(1) / truth.flatten(1).sum(1)


def _overlap(mask: Masks, other: Masks) -> Tensor:
    either = (mask | other).flatten(1).sum(1)
    return (mask & other).flatten(1).sum(1) / torch.where(either > 0, either, torch.nan)


def correlation(a: Tensor, b: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return Pearson's correlation over the last dimension, of `valid` entries alone; NaN where one is constant.

    >>> a, b = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([[2.0, 4.0, 6.0], [1.0, 0.0, -1.0]])
    >>> correlation(a, b).round(decimals=3).tolist()
    [1.0, -1.0]
    """
    kept = torch.ones_like(a) if valid is None else valid
    a, b = (
        kept * (each - (kept * each).sum(-1, keepdim=True) / kept.sum(-1, keepdim=True))
        for each in (a.double(), b.double())
    )
    norms = a.norm(dim=-1) * b.norm(dim=-1)
    return (a * b).sum(-1) / norms.where(norms > 0, torch.nan)


def _mean(values: list[Tensor], like: Tensor) -> Tensor:
    """Return the mean of the known values of every pair, NaN where there is none."""
    if not values:
        return torch.full_like(like, torch.nan, dtype=torch.float64)
    return torch.stack(values).nanmean(0)
