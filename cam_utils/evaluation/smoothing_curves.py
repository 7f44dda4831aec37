"""How SS-CAM's map moves with sigma and with the number N of noisy copies: one pass per sigma, all N in it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from cam_utils.methods import scorecam, sscam
from cam_utils.methods.query import Query
from cam_utils.methods.smoothing import reading
from cam_utils.methods.weighted_sums import weighted_sum

FORMS = ("printed", "authors-2020-06")  # readings whose noise is on the masked input
SIGMA = 4.0  # where N changes: the paper's


class Step(NamedTuple):
    """A form with its sigma and its N."""

    form: str
    sigma: float
    draws: int


def correlations(
    first: Float[Tensor, "maps height width"], second: Float[Tensor, "maps height width"]
) -> Float[Tensor, " maps"]:
    """Return Pearson's correlation of every two maps, NaN where one is constant.

    >>> correlations(torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[3.0, 1.0]]])).round(decimals=3).tolist()
    [-1.0]
    """
    a, b = (m.flatten(1).double() - m.flatten(1).double().mean(1, keepdim=True) for m in (first, second))
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))


def rectified_sum(query: Query, alpha: Float[Tensor, "pairs channels"]) -> Float[Tensor, "pairs height width"]:
    """Return ReLU(sum_k alpha_k A^k) at the layer's resolution."""
    return weighted_sum(query.activations, alpha.to(query.activations.dtype), query.pairs).relu()


@torch.no_grad()
def references(query: Query) -> dict[str, Tensor]:
    """Return the maps that SS-CAM's is compared with, by column: Grad-CAM's, Score-CAM's and the plain mean."""
    scores = scorecam.channel_scores(query.images, query.activations, query.score, chunk=query.chunk)
    scores = scores[query.pairs.image, :, query.pairs.label]
    weights = {"r_grad_cam": query.signs, "r_score_cam": scores, "r_plain": torch.ones_like(scores)}
    return {name: rectified_sum(query, alpha) for name, alpha in weights.items()}


@torch.no_grad()
def curves(
    query: Query, seeds: Sequence[int], *, sigmas: Sequence[float], draws: Sequence[int], usual: int
) -> dict[Step, tuple[Tensor, Tensor]]:
    """Return the channel scores [P, K] (of the maximum) and the maps [P, H, W] of every form, sigma and N.

    seeds: of the noise, one per image. sigmas: at N = `usual`. draws: the values of N at SIGMA, all of them out of
    one pass with the largest.
    """
    place = (query.images, query.activations, query.pairs, query.score)
    found = {}
    for form in FORMS:
        for sigma in dict.fromkeys([*sigmas, SIGMA]):
            steps = sorted({*draws, usual}) if sigma == SIGMA else [usual]
            how = reading(form, sigma=sigma, draws=max(steps), seed=seeds)
            each = sscam.drawn_scores(*place, how, weights=query.signs, chunk=query.chunk)
            for count in steps:
                first = each[..., :count].amax(-1)
                alpha = sscam.smoothed_weights(*place, how, weights=query.signs, first=first, chunk=query.chunk)
                found[Step(form, sigma, count)] = first, rectified_sum(query, alpha)
    return found


def table(
    found: Mapping[Step, tuple[Tensor, Tensor]],
    others: Mapping[str, Tensor],
    judged: Mapping[Step, Mapping[str, Tensor]] | None = None,
) -> pd.DataFrame:
    """Return a row for each step and image: its correlations with the other maps, and whether its map is zero.

    others: :func:`references`. judged: further columns [P] of a step.
    """
    rows = []
    for step, (_, maps) in found.items():
        columns = {name: correlations(maps, other) for name, other in others.items()}
        columns |= {"zero": maps.amax((-2, -1)) <= 0, **(judged or {}).get(step, {})}
        values = {name: value.cpu().numpy() for name, value in columns.items()}
        rows.append(pd.DataFrame({**step._asdict(), "image_index": range(len(maps)), **values}))
    return pd.concat(rows, ignore_index=True)
