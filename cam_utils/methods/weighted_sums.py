"""The product that class maps end in, as fast as it can be made: sum_k alpha_k A^k for all pairs of a batch."""

import torch
from jaxtyping import Float
from torch import Tensor

from cam_utils.pairs import Pairs, rank_within_image


def weighted_sum(
    activations: Float[Tensor, "batch channels height width"],
    alpha: Float[Tensor, "pairs channels"],
    pairs: Pairs,
) -> Float[Tensor, "pairs height width"]:
    """Return sum_k alpha_k A^k of every pair's image: the map before its ReLU.

    It is einsum("pk,pkhw->phw", alpha, activations[pairs.image]), with one product per image for all its pairs:
    gathering activations per pair would copy K maps for each.

    >>> from cam_utils.pairs import pairs_of
    >>> A = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # one image, two channels, 1x2 pixels
    >>> weighted_sum(A, torch.tensor([[1.0, -1.0]]), pairs_of(torch.tensor([[True]]))).tolist()
    [[[-2.0, -2.0]]]
    """
    if not len(pairs):
        return alpha.new_zeros(0, *activations.shape[2:])
    if len(activations) == 1:
        return (alpha @ activations[0].flatten(1)).unflatten(1, activations.shape[2:])
    rank = rank_within_image(pairs.image)
    padded = alpha.new_zeros(len(activations), int(rank.max()) + 1, alpha.shape[1])
    padded[pairs.image, rank] = alpha
    return torch.bmm(padded, activations.flatten(2))[pairs.image, rank].unflatten(1, activations.shape[2:])


def class_map(
    activations: Float[Tensor, "batch channels height width"],
    alpha: Float[Tensor, "pairs channels"],
    pairs: Pairs,
    relu: bool = True,
) -> Float[Tensor, "pairs height width"]:
    """Return ReLU(sum_k alpha_k A^k), the form that all methods share, or the sum itself.

    >>> A = torch.tensor([[[[1.0, -2.0]]]])
    >>> [class_map(A, torch.tensor([[3.0]]), Pairs.one(), relu).tolist() for relu in (True, False)]
    [[[[3.0, 0.0]]], [[[3.0, -6.0]]]]
    """
    summed = weighted_sum(activations, alpha, pairs)
    return summed.relu() if relu else summed
