"""Readings of SS-CAM that differ only in what they take of the draws, maximum or mean, from the same forwards."""

from dataclasses import replace

import torch
from torch import Tensor

from cam_utils.methods import sscam
from cam_utils.methods.query import Query
from cam_utils.methods.scorecam import upsampled_sum
from cam_utils.methods.smoothing import Smoothing, image_seeds


class SharedDraws:
    """A method whose `reduce` is an option: `partial(shared, reduce="max")` and `partial(shared, reduce="mean")`.

    Each equals `registry.method("ss-cam", ...)` with the same choices. What the draws of a query's images scored is
    kept until another query asks, so that methods which follow each other on a batch pay once. Queries are told
    apart by the names of their images (`ids`); one without names is never taken for another.
    """

    def __init__(self, how: Smoothing) -> None:
        self.how = how
        self._of: tuple[object, Tensor] | None = None

    @torch.no_grad()
    def __call__(self, query: Query, *, reduce: str) -> Tensor:
        """Return the maps [P, h, w] of the query's pairs."""
        how = replace(self.how, reduce=reduce)
        if query.ids is not None and isinstance(how.seed, int):
            how = replace(how, seed=image_seeds(how.seed, query.ids))
        place = (query.images, query.activations, query.pairs, query.score)
        key = _key(query)
        if self._of is None or self._of[0] != key:
            self._of = key, sscam.drawn_scores(*place, how, weights=query.signs, chunk=query.chunk)
        each = self._of[1]
        first = each.amax(-1) if reduce == "max" else each.mean(-1)
        alpha = sscam.smoothed_weights(*place, how, weights=query.signs, first=first, chunk=query.chunk)
        return upsampled_sum(query.images, query.activations, alpha, query.pairs, query.relu)


def _key(query: Query) -> tuple:
    """Return what the scores depend on besides the network: the images by name, and the pairs."""
    names = query if query.ids is None else tuple(query.ids)  # kept, so that no later one can be taken for it
    return names, tuple(query.pairs.image.tolist()), tuple(query.pairs.label.tolist())
