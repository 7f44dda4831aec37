"""CAM, Grad-CAM, Grad-CAM++, MinMax-CAM, D-MinMax-CAM: each a weighted sum of activation maps.

The methods differ only in the weight alpha of channel k for label c; David, Pedrini and Dias (VISAPP 2022) give
Eqs. 1-9. Shapes: activations A [B, K, H, W]; head weights W [L, K] (the paper prints the transpose); gradients of
the logits dS_c/dA [P, K, H, W]; maps [P, H, W] at feature resolution, rectified and not normalised. With
relu=False the last ReLU is left out: a signed map, negative where the pixels speak against the label.

P counts the explained pairs (image, label) of the whole batch. A pair also names the set of labels C_x it is
explained against (`group`), because MinMax-CAM subtracts what the *other* labels of that set need.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from cam_utils.methods.weighted_sums import class_map
from cam_utils.pairs import Pairs


def _set_sums(w: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Return, for every pair, the sum of `w` over all labels of its set C_x, and the set's size |C_x|."""
    groups = int(pairs.group.max()) + 1 if len(pairs) else 0
    total = w.new_zeros(groups, *w.shape[1:]).index_add_(0, pairs.group, w)
    size = torch.bincount(pairs.group, minlength=groups).to(w.dtype)
    return total[pairs.group], size[pairs.group].view(-1, *[1] * (w.dim() - 1))


def minmax(w: Float[Tensor, "pairs ..."], pairs: Pairs) -> Float[Tensor, "pairs ..."]:
    """Return w_c minus the mean of the other labels' w_n (Eq. 7 of weights, Eq. 6 of gradients).

    A label alone in its set has nothing to subtract: w itself (deviation dev-single-label).

    >>> from cam_utils.pairs import pairs_of
    >>> minmax(torch.tensor([[3.0], [1.0], [5.0]]), pairs_of(torch.tensor([[True, True, True]]))).tolist()
    [[0.0], [-3.0], [3.0]]
    """
    total, size = _set_sums(w, pairs)
    return w - (total - w) / (size - 1).clamp(min=1)


def d_minmax(w: Float[Tensor, "pairs ..."], pairs: Pairs) -> Float[Tensor, "pairs ..."]:
    """Return the positive part of w_c, less that of the others, plus what speaks against all (Eqs. 8 and 9).

    The rectifications come after the sum over labels, as Eq. 9 prints it (deviation dev-d-minmax-rectify). For a
    label alone: max(0, w) + min(0, w) = w.

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
    *,
    relu: bool = True,
) -> Float[Tensor, "pairs height width"]:
    """Return the class activation maps ReLU(sum_k w^c_k A^k) (Eq. 1; Zhou et al. 2016).

    >>> from cam_utils.pairs import pairs_of
    >>> cam(torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[3.0]]), pairs_of(torch.tensor([[True]]))).tolist()
    [[[3.0, 6.0]]]
    """
    return class_map(activations, weights[pairs.label], pairs, relu)


def minmax_cam(
    activations: Float[Tensor, "batch channels height width"],
    weights: Float[Tensor, "labels channels"],
    pairs: Pairs,
    *,
    relu: bool = True,
) -> Float[Tensor, "pairs height width"]:
    """Return MinMax-CAM: CAM with the weights of Eq. 7."""
    return class_map(activations, minmax(weights[pairs.label], pairs), pairs, relu)


def d_minmax_cam(
    activations: Float[Tensor, "batch channels height width"],
    weights: Float[Tensor, "labels channels"],
    pairs: Pairs,
    *,
    relu: bool = True,
) -> Float[Tensor, "pairs height width"]:
    """Return D-MinMax-CAM: CAM with the weights of Eq. 9."""
    return class_map(activations, d_minmax(weights[pairs.label], pairs), pairs, relu)


def grad_cam(
    activations: Float[Tensor, "batch channels height width"],
    grads: Float[Tensor, "pairs channels height width"],
    pairs: Pairs,
    *,
    relu: bool = True,
) -> Float[Tensor, "pairs height width"]:
    """Return Grad-CAM: the weights are gradients summed over pixels (Eq. 2; Selvaraju et al. 2017).

    The original pools with a mean; the factor 1/(HW) leaves the normalised map unchanged.
    """
    return class_map(activations, grads.sum((-2, -1)), pairs, relu)


def minmax_grad_cam(
    activations: Float[Tensor, "batch channels height width"],
    grads: Float[Tensor, "pairs channels height width"],
    pairs: Pairs,
    *,
    relu: bool = True,
) -> Float[Tensor, "pairs height width"]:
    """Return MinMax-Grad-CAM: Grad-CAM of the focused score J_c (Eqs. 3-6)."""
    return class_map(activations, minmax(grads.sum((-2, -1)), pairs), pairs, relu)


def d_minmax_grad_cam(
    activations: Float[Tensor, "batch channels height width"],
    grads: Float[Tensor, "pairs channels height width"],
    pairs: Pairs,
    *,
    relu: bool = True,
) -> Float[Tensor, "pairs height width"]:
    """Return D-MinMax-Grad-CAM (Eq. 8): the parts are rectified at every pixel, before the sum over pixels."""
    return class_map(activations, d_minmax(grads, pairs).sum((-2, -1)), pairs, relu)


def grad_cam_pp(
    activations: Float[Tensor, "batch channels height width"],
    grads: Float[Tensor, "pairs channels height width"],
    pairs: Pairs,
    *,
    relu: bool = True,
) -> Float[Tensor, "pairs height width"]:
    """Return Grad-CAM++ (Chattopadhay et al. 2018, Eqs. 10-19) of the score exp(S_c).

    With g = dS_c/dA the weights are sum_ij a relu(g), a = g^2 / (2 g^2 + (sum_ab A) g^3), zero where the
    denominator is zero. The factor exp(S_c) of every weight is dropped: it cancels when the map is normalised
    and would overflow for large logits.
    """
    mass = activations.sum((-2, -1), keepdim=True)[pairs.image]  # [P, K, 1, 1]
    # g^2 is cancelled from numerator and denominator: squares of small gradients underflow.
    denominator = torch.where(grads == 0, 0.0, 2 + mass * grads)
    a = torch.where(denominator == 0, 0.0, 1 / denominator.where(denominator != 0, torch.ones_like(grads)))
    return class_map(activations, (a * grads.relu()).sum((-2, -1)), pairs, relu)
