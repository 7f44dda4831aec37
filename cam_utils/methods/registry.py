"""The methods by name, and what each needs: head weights, head gradients, or masked forwards."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from cam_utils.methods.closed_forms import PixelHead, linear_head, pixel_head
from cam_utils.methods import cams, scorecam, sscam
from cam_utils.names import check_known
from cam_utils.networks.capture import Capture, head_gradients
from cam_utils.pairs import Pairs

FROM_WEIGHTS = {
    "cam": cams.cam,
    "minmax-cam": cams.minmax_cam,
    "d-minmax-cam": cams.d_minmax_cam,
}
FROM_GRADIENTS = {
    "grad-cam": cams.grad_cam,
    "grad-cam++": cams.grad_cam_pp,
    "minmax-grad-cam": cams.minmax_grad_cam,
    "d-minmax-grad-cam": cams.d_minmax_grad_cam,
}
# The gradient forms where a channel's gradient summed over the pixels is known: on global average pooling and one
# linear layer it is the weight itself (SPEC P1.a).
FROM_SUMS = {
    "grad-cam": cams.cam,
    "minmax-grad-cam": cams.minmax_cam,
}
FROM_SCORES = {"score-cam": scorecam.score_cam}
SMOOTHED = {  # options of cam_utils.methods.sscam.ss_cam: Algorithm 1, and Approach 1 (the mean over noisy masks)
    "ss-cam": {},
    "ss-cam-mean": {"reduce": "mean", "noise": "mask", "rescore": False, "softmax": False},
}
SCORES = {"sigmoid": torch.sigmoid, "softmax": lambda logits: logits.softmax(-1)}  # from logits [B, L] to p
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}  # of forwards of masked images; maps stay float32
METHODS = (*FROM_WEIGHTS, *FROM_GRADIENTS, *FROM_SCORES, *SMOOTHED)
USES_SET = {name for name in METHODS if "minmax" in name}  # the map depends on the other labels explained


def check_methods(methods: Sequence[str]) -> None:
    """Raise ValueError for a name that is not in METHODS, or if there is none."""
    if not methods:
        raise ValueError(f"expected at least one method (valid: {', '.join(METHODS)})")
    for method in methods:
        check_known("method", method, METHODS)


def scoring(model: nn.Module, kind: str, precision: str = "float32") -> Callable[[Tensor], Tensor]:
    """Return the callable from images [N, 3, h, w] to p [N, L], the model's "sigmoid" or "softmax" of its logits.

    precision: "bfloat16" runs the network in autocast, an approximation (the book's page on speed measures it).
    Raises ValueError for an unknown kind or precision.
    """
    check_known("score function", kind, SCORES)
    check_known("precision", precision, PRECISIONS)
    reduced = PRECISIONS[precision]

    def score(images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, reduced, enabled=reduced is not None):
            logits = model(images)
        return SCORES[kind](logits.float() if reduced else logits)

    return score


def raw_maps(
    methods: Sequence[str],
    model: nn.Module,
    images: Tensor,
    captured: Capture,
    pairs: Pairs,
    score: Callable[[Tensor], Tensor],
    *,
    chunk: int | None = None,
    smoothing: Mapping[str, object] | None = None,
) -> dict[str, Tensor]:
    """Return every method's rectified maps of all pairs from one captured forward of the batch.

    Maps are [P, H, W] at feature resolution ([P, h, w] at input resolution for the Score family). `smoothing`:
    options of :func:`cam_utils.methods.sscam.smoothed_weights` for the SS-CAM methods, such as draws, sigma and seed.
    Raises ValueError for an unknown method and for a method whose head the model does not have.
    """
    check_methods(methods)
    activations = captured.activations.detach()
    weights = linear_head(model, captured)
    head = grads = None
    if weights is not None:
        own = weights[pairs.label]
        head = PixelHead(own, None, own.new_ones(len(own)))
    elif any(m in FROM_GRADIENTS or m == "ss-cam" for m in methods):
        head = pixel_head(model, captured, pairs)
        grads = head_gradients(captured, pairs) if head is None else head.summed[..., None, None]
    found = {}
    for method in methods:
        if method in FROM_WEIGHTS:
            if weights is None:
                raise ValueError(
                    f"{method} needs global average pooling and one linear layer behind the chosen layer, "
                    f"which {type(model).__name__} does not have; its gradient form works on any head "
                    f"({'grad-cam' if method == 'cam' else method.replace('-cam', '-grad-cam')})"
                )
            found[method] = FROM_WEIGHTS[method](activations, weights, pairs)
        elif head is not None and method in FROM_GRADIENTS:
            found[method] = _without_backward(method, activations, head, pairs)
        elif method in FROM_GRADIENTS:
            found[method] = FROM_GRADIENTS[method](activations, grads, pairs)
        elif method in FROM_SCORES:
            with torch.no_grad():
                found[method] = FROM_SCORES[method](images, activations, pairs, score, chunk=chunk)
        else:
            signs = None  # Approach 1 weighs no channel
            if method == "ss-cam":
                signs = signed_weights(model, weights, grads, pairs)
            with torch.no_grad():
                found[method] = sscam.ss_cam(
                    images,
                    activations,
                    pairs,
                    score,
                    **{"weights": signs, "chunk": chunk, **SMOOTHED[method], **(smoothing or {})},
                )
    return found


def _without_backward(method: str, activations: Tensor, head: PixelHead, pairs: Pairs) -> Tensor:
    """Return a gradient method's maps [P, H, W] on a head that :mod:`cam_utils.methods.closed_forms` knows."""
    every = torch.arange(len(pairs), device=activations.device)
    own = Pairs(pairs.image, every, pairs.group)  # row p of the weights is that of pair p
    if method in FROM_SUMS:
        return FROM_SUMS[method](activations, head.summed, own)
    if method == "grad-cam++":  # its weight is the same at every active pixel, and 0 at the others
        once = head.weights[..., None, None] / activations[0, 0].numel()
        return cams.grad_cam_pp(activations, once, pairs) * head.fraction[:, None, None]
    if head.active is None:  # D-MinMax-Grad-CAM of a gradient that is the same at every pixel
        return cams.d_minmax_cam(activations, head.weights, own)
    found = activations.new_empty(len(pairs), *activations.shape[2:])
    for group in pairs.group.unique():  # one set at a time: the gradients of all sets could be gigabytes
        chosen = (pairs.group == group).nonzero()[:, 0]
        part = Pairs(pairs.image[chosen], pairs.label[chosen], torch.zeros_like(chosen))
        found[chosen] = cams.d_minmax_grad_cam(activations, head.gradients(chosen), part)
    return found


def signed_weights(model: nn.Module, weights: Tensor | None, grads: Tensor, pairs: Pairs) -> Tensor:
    """Return w of SS-CAM's Eq. 15: the head's weights, else those the model names, else Grad-CAM's (SPEC P3.b)."""
    if weights is None and hasattr(model, "class_weights"):
        weights = model.class_weights()
    return weights[pairs.label] if weights is not None else grads.sum((-2, -1))
