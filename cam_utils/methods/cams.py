"""CAM, Grad-CAM, Grad-CAM++, MinMax-CAM, D-MinMax-CAM: each a weighted sum of activation maps.

The methods differ only in the weight alpha of channel k for label c; David, Pedrini and Dias (VISAPP 2022) give
Eqs. 1-9. Shapes: activations A [B, K, H, W]; head weights W [L, K] (the paper prints the transpose); gradients of
the logits dS_c/dA [P, K, H, W]; maps [P, H, W] at feature resolution, rectified and not normalised.

P counts the explained pairs (image, label) of the whole batch. A pair also names the set of labels C_x it is
explained against (`group`), because MinMax-CAM subtracts what the *other* labels of that set need.
"""

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

    >>> A = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # one image, two channels, 1x2 pixels
    >>> from cam_utils.pairs import pairs_of
    >>> weighted_sum(A, torch.tensor([[1.0, -1.0]]), pairs_of(torch.tensor([[True]]))).tolist()
    [[[-2.0, -2.0]]]
    """
    if not len(pairs):
        return alpha.new_zeros(0, *activations.shape[2:])
    if len(activations) == 1:
        return (alpha @ activations[0].flatten(1)).unflatten(1, activations.shape[2:])
    # One product per image serves all its pairs: gathering activations per pair would copy K maps for each.
    slot = rank_within_image(pairs.image)
    padded = alpha.new_zeros(len(activations), int(slot.max()) + 1, alpha.shape[1])
    padded[pairs.image, slot] = alpha
    return torch.bmm(padded, activations.flatten(2))[pairs.image, slot].unflatten(1, activations.shape[2:])


def _set_totals(w: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Return, for every set, the sum of `w` over its labels [G, ...] and its size |C_x| [G]."""
    groups = int(pairs.group.max()) + 1 if len(pairs) else 0
    total = w.new_zeros(groups, *w.shape[1:]).index_add_(0, pairs.group, w)
    return total, torch.bincount(pairs.group, minlength=groups).to(w.dtype)


def _set_sums(w: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Return, for every pair, the sum of `w` over all labels of its set and the set's size |C_x|."""
    total, size = _set_totals(w, pairs)
    return total[pairs.group], size[pairs.group].view(-1, *[1] * (w.dim() - 1))


def minmax(w: Float[Tensor, "pairs ..."], pairs: Pairs) -> Float[Tensor, "pairs ..."]:
    """Return w_c minus the mean of the other labels' w_n (Eq. 7 of weights, Eq. 6 of gradients).

    A label alone in its set has nothing to subtract: w itself (SPEC h7).

    >>> from cam_utils.pairs import pairs_of
    >>> minmax(torch.tensor([[3.0], [1.0], [5.0]]), pairs_of(torch.tensor([[True, True, True]]))).tolist()
    [[0.0], [-3.0], [3.0]]
    """
    total, size = _set_sums(w, pairs)
    return w - (total - w) / (size - 1).clamp(min=1)


def d_minmax(w: Float[Tensor, "pairs ..."], pairs: Pairs) -> Float[Tensor, "pairs ..."]:
    """Return the positive part of w_c, less that of the others, plus what speaks against all (Eqs. 8 and 9).

    The rectifications come after the sum over labels, as Eq. 9 prints it (SPEC h12). For a label alone:
    max(0, w) + min(0, w) = w.

    >>> from cam_utils.pairs import pairs_of
    >>> d_minmax(torch.tensor([[3.0], [-1.0], [-5.0]]), pairs_of(torch.tensor([[True, True, True]]))).tolist()
    [[2.0], [-1.0], [-2.0]]
    """
    total, size = _set_sums(w, pairs)
    others = (total - w).clamp(min=0) / (size - 1).clamp(min=1)
    background = total.clamp(max=0) / size
    return w.clamp(min=0) - others + background


def cam(
    activations: Float[Tensor, "batch channels height width"],
    weights: Float[Tensor, "labels channels"],
    pairs: Pairs,
) -> Float[Tensor, "pairs height width"]:
    """Return the class activation maps ReLU(sum_k w^c_k A^k) (Eq. 1; Zhou et al. 2016).

    >>> from cam_utils.pairs import pairs_of
    >>> cam(torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[3.0]]), pairs_of(torch.tensor([[True]]))).tolist()
    [[[3.0, 6.0]]]
    """
    return weighted_sum(activations, weights[pairs.label], pairs).relu()


def minmax_cam(
    activations: Float[Tensor, "batch channels height width"],
    weights: Float[Tensor, "labels channels"],
    pairs: Pairs,
) -> Float[Tensor, "pairs height width"]:
    """Return MinMax-CAM: CAM with the weights of Eq. 7."""
    return weighted_sum(activations, minmax(weights[pairs.label], pairs), pairs).relu()


def d_minmax_cam(
    activations: Float[Tensor, "batch channels height width"],
    weights: Float[Tensor, "labels channels"],
    pairs: Pairs,
) -> Float[Tensor, "pairs height width"]:
    """Return D-MinMax-CAM: CAM with the weights of Eq. 9."""
    return weighted_sum(activations, d_minmax(weights[pairs.label], pairs), pairs).relu()


def grad_cam(
    activations: Float[Tensor, "batch channels height width"],
    grads: Float[Tensor, "pairs channels height width"],
    pairs: Pairs,
) -> Float[Tensor, "pairs height width"]:
    """Return Grad-CAM: the weights are gradients summed over pixels (Eq. 2; Selvaraju et al. 2017).

    The original pools with a mean; the factor 1/(HW) leaves the normalised map unchanged.
    """
    return weighted_sum(activations, grads.sum((-2, -1)), pairs).relu()


def minmax_grad_cam(
    activations: Float[Tensor, "batch channels height width"],
    grads: Float[Tensor, "pairs channels height width"],
    pairs: Pairs,
) -> Float[Tensor, "pairs height width"]:
    """Return MinMax-Grad-CAM: Grad-CAM of the focused score J_c (Eqs. 3-6)."""
    return weighted_sum(activations, minmax(grads.sum((-2, -1)), pairs), pairs).relu()


def d_minmax_grad_cam(
    activations: Float[Tensor, "batch channels height width"],
    grads: Float[Tensor, "pairs channels _rows _columns"],
    pairs: Pairs,
) -> Float[Tensor, "pairs height width"]:
    """Return D-MinMax-Grad-CAM (Eq. 8): the parts are rectified at every pixel, before the sum over pixels.

    Only these sums count: pixels of equal gradients may be given as one, their gradient times their number.
    """
    total, size = _set_totals(grads, pairs)
    # As d_minmax(grads).sum over pixels, part by part: what a whole set shares is summed once.
    others = (total[pairs.group] - grads).relu_().sum((-2, -1)) / (size[pairs.group] - 1).clamp(min=1)[:, None]
    background = total.clamp(max=0).sum((-2, -1)) / size.clamp(min=1)[:, None]
    return weighted_sum(activations, grads.relu().sum((-2, -1)) - others + background[pairs.group], pairs).relu()


def grad_cam_pp(
    activations: Float[Tensor, "batch channels height width"],
    grads: Float[Tensor, "pairs channels #height #width"],
    pairs: Pairs,
) -> Float[Tensor, "pairs height width"]:
    """Return Grad-CAM++ (Chattopadhay et al. 2018, Eqs. 10-19) of the score exp(S_c).

    With g = dS_c/dA the weights are sum_ij a relu(g), a = g^2 / (2 g^2 + (sum_ab A) g^3), zero where the
    denominator is zero. The factor exp(S_c) of every weight is dropped: it cancels when the map is normalised
    and would overflow for large logits. A gradient that is the same everywhere may be given once, [P, K, 1, 1].
    """
    mass = activations.sum((-2, -1), keepdim=True)[pairs.image]  # [P, K, 1, 1]
    # g^2 is cancelled from numerator and denominator: squares of small gradients underflow.
    denominator = torch.where(grads == 0, 0.0, 2 + mass * grads)
    a = torch.where(denominator == 0, 0.0, 1 / denominator.where(denominator != 0, torch.ones_like(grads)))
    repeated = activations[0, 0].numel() // max(grads[0, 0].numel(), 1) if len(pairs) else 1
    return weighted_sum(activations, repeated * (a * grads.relu()).sum((-2, -1)), pairs).relu()
