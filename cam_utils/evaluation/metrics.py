"""One function per metric, one value per explained pair; :mod:`cam_utils.evaluation.results` averages them.

Score metrics compare probabilities p [P, L] of the image with those of the masked image (map kept) and of the
complement (map removed); pixel metrics compare masks M [P, h, w] in [0, 1] with annotated regions. Fractions in
[0, 1]; NaN where a metric is undefined for a pair. Equations: David, Pedrini and Dias (VISAPP 2022).
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cam_utils import maps

Scores = Float[Tensor, "pairs labels"]
Labels = Int[Tensor, " pairs"]
Values = Float[Tensor, " pairs"]
Regions = Bool[Tensor, "pairs height width"]
Masks = Float[Tensor, "pairs height width"]


def _own(scores: Scores, label: Labels) -> Values:
    return scores.gather(1, label[:, None])[:, 0]


def _relative_drop(before: Tensor, after: Tensor) -> Tensor:
    """Return max(0, before - after) / before; undefined (NaN) where nothing was there to drop."""
    drop = (before - after).clamp(min=0) / before.where(before > 0, torch.ones_like(before))
    return torch.where(before > 0, drop, torch.nan)


def increase_in_confidence(p: Scores, p_masked: Scores, label: Labels) -> Values:
    """Return 1 where the masked image scores higher for the label than the whole image, else 0 (Eq. 10).

    >>> increase_in_confidence(torch.tensor([[0.5]]), torch.tensor([[0.6]]), torch.tensor([0])).item()
    1.0
    """
    return (_own(p, label) < _own(p_masked, label)).to(p.dtype)


def average_drop(p: Scores, p_masked: Scores, label: Labels) -> Values:
    """Return the label's relative drop under its own mask (Eq. 11; low is better).

    >>> average_drop(torch.tensor([[0.5]]), torch.tensor([[0.375]]), torch.tensor([0])).item()
    0.25
    """
    return _relative_drop(_own(p, label), _own(p_masked, label))


def average_drop_others(p: Scores, p_masked: Scores, label: Labels, others: Bool[Tensor, "pairs labels"]) -> Values:
    """Return the mean relative drop of the set's other labels under the mask (Eq. 12; high is better).

    `others` marks N_x = C_x without the explained label. NaN where there is none; the official code counts such
    pairs as 0, which `results.aggregate` does by default and can undo (deviation dev-one-label-others).

    >>> p, o = torch.tensor([[0.8, 0.5]]), torch.tensor([[0.8, 0.0]])
    >>> average_drop_others(p, o, torch.tensor([0]), torch.tensor([[False, True]])).item()
    1.0
    """
    others = others.scatter(1, label[:, None], False)
    drop = torch.where(others, _relative_drop(p, p_masked), 0.0)
    count = others.sum(1)
    return torch.where(count > 0, drop.sum(1) / count.clamp(min=1), torch.nan)


def average_retention(p: Scores, p_complement: Scores, label: Labels) -> Values:
    """Return the label's relative drop when its map is cut out (Eq. 13; a drop despite its name, high is better).

    >>> average_retention(torch.tensor([[0.8]]), torch.tensor([[0.0]]), torch.tensor([0])).item()
    1.0
    """
    return average_drop(p, p_complement, label)


def average_retention_others(
    p: Scores, p_complement: Scores, label: Labels, others: Bool[Tensor, "pairs labels"]
) -> Values:
    """Return the other labels' mean relative drop when this label's map is cut out (Eq. 14; low is better)."""
    return average_drop_others(p, p_complement, label, others)


def energy_inside(masks: Masks, regions: Regions) -> Values:
    """Return the share of the map's sum that lies inside the region (energy-based pointing game; high is better).

    NaN for a zero map or an empty region.

    >>> energy_inside(torch.tensor([[[3.0, 1.0]]]), torch.tensor([[[True, False]]])).item()
    0.75
    """
    total = masks.sum((-2, -1))
    inside = (masks * regions).sum((-2, -1))
    defined = (total > 0) & regions.any(-1).any(-1)
    return torch.where(defined, inside / total.where(total > 0, torch.ones_like(total)), torch.nan)


def pointing_game(masks: Masks, regions: Regions) -> Values:
    """Return 1 where the map's highest pixel lies inside the region, else 0 (Zhang et al. 2018, no tolerance).

    Ties count by their share, so a flat map gains nothing from the scan order. NaN as for `energy_inside`.

    >>> pointing_game(torch.tensor([[[3.0, 1.0]]]), torch.tensor([[[False, True]]])).item()
    0.0
    """
    peaks = masks == masks.amax((-2, -1), keepdim=True)
    share = (peaks & regions).sum((-2, -1)) / peaks.sum((-2, -1))
    defined = (masks.sum((-2, -1)) > 0) & regions.any(-1).any(-1)
    return torch.where(defined, share.to(masks.dtype), torch.nan)


def iou(masks: Masks, regions: Regions, threshold: float, valid: Regions | None = None) -> Values:
    """Return intersection over union of {map >= threshold} and the region, over `valid` pixels (all by default).

    NaN for an empty region; a zero map has IoU 0.

    >>> iou(torch.tensor([[[0.9, 0.4]]]), torch.tensor([[[True, True]]]), 0.5).item()
    0.5
    """
    found = maps.threshold(masks, threshold)
    if valid is not None:
        found, regions = found & valid, regions & valid
    union = (found | regions).sum((-2, -1))
    value = (found & regions).sum((-2, -1)) / union.clamp(min=1)
    return torch.where(regions.any(-1).any(-1), value.to(masks.dtype), torch.nan)
