"""Heads whose gradients need no backward. Not the architecture decides but the numbers: what the candidate head
computes must be the captured logits.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cam_utils.methods import cams
from cam_utils.methods.weighted_sums import weighted_sum
from cam_utils.networks.capture import Capture, last_of
from cam_utils.pairs import Pairs

TOLERANCE = 1e-3  # of the largest logit: float32 sums in another order differ by less, other heads by more
PROVEN = 64  # labels besides the explained ones that must agree for a head to pass for linear


class PixelHead(NamedTuple):
    """A head that scores every pixel and averages, S_c = mean_ij relu(v_c . A_ij + b_c), for the pairs explained.

    So dS_c/dA_ij is v_c / HW where the pixel's score is positive, and 0 elsewhere. weights: v of every pair [P, K];
    active: the pixels with a positive score [P, H, W], None for all (no ReLU); fraction of active pixels [P].
    """

    weights: Tensor
    active: Tensor | None
    fraction: Tensor

    @property
    def summed(self) -> Tensor:
        """Every channel's gradient summed over the pixels, [P, K]."""
        return self.weights * self.fraction[:, None]

    @classmethod
    def linear(cls, weights: Tensor) -> "PixelHead":
        """Return the head of global average pooling and one linear layer: no ReLU, weights [P, K] of the pairs."""
        return cls(weights, None, weights.new_ones(len(weights)))


def linear_head(model: nn.Module, captured: Capture, labels: Tensor | None = None) -> Tensor | None:
    """Return the weights [L, K] of a GAP + linear head behind the captured layer, or None for any other head.

    The logits must be the pooled activations times the weights of the model's last linear layer: all of them, or
    given `labels` [N] those, and PROVEN more at equal distances. A head of a thousand labels is megabytes, whose
    reading once more would take longer than all else that a map needs.
    """
    logits, activations = (t.detach() for t in captured)
    head = last_of(model, nn.Linear)
    if head is None or head.in_features != activations.shape[1]:
        return None
    weights = (head.class_weights() if hasattr(head, "class_weights") else head.weight).detach()
    if logits.shape[1] != len(weights):
        return None
    bias, rows = None if head.bias is None else head.bias.detach(), weights
    if labels is not None and len(labels) + PROVEN < len(weights):
        spread = torch.arange(0, len(weights), -(-len(weights) // PROVEN), device=labels.device)
        chosen = torch.cat([labels, spread])
        logits, rows, bias = logits[:, chosen], weights[chosen], None if bias is None else bias[chosen]
    expected = nn.functional.linear(activations.mean((-2, -1)), rows)
    return weights if _same(expected, logits if bias is None else logits - bias) else None


def pixel_head(model: nn.Module, captured: Capture, pairs: Pairs) -> PixelHead | None:
    """Return the head of the model's last 1x1 convolution, a ReLU and GAP (as SqueezeNet has), or None for others.

    Only the scores of the explained pairs are computed: they prove the head and are its gradients' mask.
    """
    logits, activations = (t.detach() for t in captured)
    head = last_of(model, nn.Conv2d)
    if head is None or head.weight.shape != (logits.shape[1], activations.shape[1], 1, 1) or not len(pairs):
        return None
    if head.stride != (1, 1) or head.padding not in ((0, 0), "valid"):
        return None
    weights = head.weight.detach().flatten(1)[pairs.label]
    score = weighted_sum(activations, weights, pairs)
    if head.bias is not None:
        score = score + head.bias.detach()[pairs.label][:, None, None]
    signal = logits[pairs.image, pairs.label]
    # Logits that are all zero would prove any rectified head.
    if not signal.any() or not _same(score.relu().mean((-2, -1)), signal):
        return None
    active = score > 0
    return PixelHead(weights, active, active.flatten(1).mean(1, dtype=weights.dtype))


def _same(expected: Tensor, signal: Tensor) -> bool:
    tolerance = max(TOLERANCE, 4 * torch.finfo(signal.dtype).eps)  # half precision has three digits, bfloat16 two
    return _largest(expected - signal) <= tolerance * _largest(signal)


def _largest(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values, math.inf))


def without_backward(
    form: Callable, activations: Tensor, head: PixelHead, pairs: Pairs, *, relu: bool = True
) -> Tensor:
    """Return the maps [P, H, W] that `form`, a gradient method of `cams`, makes of the head's gradients.

    A pair's gradient is one vector v / HW at its active pixels and zero elsewhere, so that sums over pixels are
    products with the number of active pixels.
    """
    summed = FORMS[form](activations, head, pairs)
    return summed.relu() if relu else summed


def _grad_cam(activations: Tensor, head: PixelHead, pairs: Pairs) -> Tensor:
    return weighted_sum(activations, head.summed, pairs)


def _minmax_grad_cam(activations: Tensor, head: PixelHead, pairs: Pairs) -> Tensor:
    return weighted_sum(activations, cams.minmax(head.summed, pairs), pairs)


def _grad_cam_pp(activations: Tensor, head: PixelHead, pairs: Pairs) -> Tensor:
    """Grad-CAM++: its weight is a relu(g) at every active pixel, with a = 1 / (2 + (sum A) g)."""
    pixels = activations[0, 0].numel()
    g = head.weights / pixels
    denominator = 2 + activations.sum((-2, -1))[pairs.image] * g
    a = torch.where(denominator == 0, 0.0, 1 / denominator.where(denominator != 0, torch.ones_like(g)))
    return weighted_sum(activations, pixels * (a * g.relu()), pairs) * head.fraction[:, None, None]


def _d_minmax_grad_cam(activations: Tensor, head: PixelHead, pairs: Pairs) -> Tensor:
    """D-MinMax-Grad-CAM: pixels at which the same labels of a set are active have the same parts, summed once."""
    if head.active is None:
        return weighted_sum(activations, cams.d_minmax(head.weights, pairs), pairs)
    alpha = torch.empty_like(head.weights)
    for group in pairs.group.unique():  # one set at a time: the gradients of all sets could be gigabytes
        rows = (pairs.group == group).nonzero()[:, 0]
        active = head.active[rows].flatten(1)  # [P', HW]
        patterns, counts = active.unique(dim=1, return_counts=True)  # [P', U], [U]
        g = head.weights[rows, :, None] / active.shape[1] * patterns[:, None]  # [P', K, U]
        own = Pairs(pairs.image[rows], pairs.label[rows], torch.zeros_like(rows))
        alpha[rows] = cams.d_minmax(g, own) @ counts.to(g.dtype)
    return weighted_sum(activations, alpha, pairs)


FORMS = {
    cams.grad_cam: _grad_cam,
    cams.grad_cam_pp: _grad_cam_pp,
    cams.minmax_grad_cam: _minmax_grad_cam,
    cams.d_minmax_grad_cam: _d_minmax_grad_cam,
}
