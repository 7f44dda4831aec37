"""What the study of SS-CAM on photographs compares: the plain mean, and two readings that share their forwards."""

import torch
from torch import Tensor

from cam_utils.methods import sscam
from cam_utils.methods.query import Query
from cam_utils.methods.scorecam import upsampled_sum
from cam_utils.methods.smoothing import image_seeds, reading

PLAIN = "plain mean"  # what SS-CAM's printed map is by the chapter's derivation


@torch.no_grad()
def plain_mean(query: Query) -> Tensor:
    """Return ReLU(sum_k A^k) [P, H, W]: it knows the image and no class."""
    return query.activations.sum(1).relu()[query.pairs.image]


class June:
    """The authors' notebooks of June 2020 with the maximum and with the mean of the draws, from the same forwards.

    Equal to `registry.method("ss-cam", reading="authors-2020-06")` and its mean; what a query's draws scored is
    kept until the next query asks.
    """

    def __init__(self, draws: int, seed: int) -> None:
        self.draws, self.seed = draws, seed
        self._of: tuple[object, Tensor] | None = None

    def __call__(self, query: Query, *, reduce: str) -> Tensor:
        seeds = self.seed if query.ids is None else image_seeds(self.seed, query.ids)
        how = reading("authors-2020-06", draws=self.draws, seed=seeds, reduce=reduce)
        with torch.no_grad():
            place = (query.images, query.activations, query.pairs, query.score)
            key = self._key(query)
            if self._of is None or self._of[0] != key:
                self._of = key, sscam.drawn_scores(*place, how, weights=query.signs, chunk=query.chunk)
            each = self._of[1]
            first = each.amax(-1) if reduce == "max" else each.mean(-1)
            alpha = sscam.smoothed_weights(*place, how, weights=query.signs, first=first)
            return upsampled_sum(query.images, query.activations, alpha, query.pairs, query.relu)

    @staticmethod
    def _key(query: Query) -> tuple:
        """Return what the scores depend on: the images by name, and the pairs."""
        return (tuple(query.ids or ()), tuple(query.pairs.image.tolist()), tuple(query.pairs.label.tolist()))
