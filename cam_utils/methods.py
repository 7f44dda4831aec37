"""The methods by name, and what each needs: head weights, head gradients, or masked forwards."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from cam_utils import cams, scorecam, sscam
from cam_utils.cams import Pairs
from cam_utils.capture import Capture, head_gradients
from cam_utils.names import check_known

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
# What the gradient forms are on global average pooling and one linear layer: the gradient of a channel is w / HW at
# every pixel, so its sum is w and no backward is needed (SPEC P1.a; Grad-CAM++ takes the constant gradient itself).
ON_LINEAR_HEAD = {
    "grad-cam": cams.cam,
    "minmax-grad-cam": cams.minmax_cam,
    "d-minmax-grad-cam": cams.d_minmax_cam,
}
FROM_SCORES = {"score-cam": scorecam.score_cam}
SMOOTHED = {  # options of cam_utils.sscam.ss_cam: Algorithm 1, and Approach 1 (the mean over noisy masks)
    "ss-cam": {},
    "ss-cam-mean": {"reduce": "mean", "noise": "mask", "rescore": False, "softmax": False},
}
SCORES = {"sigmoid": torch.sigmoid, "softmax": lambda logits: logits.softmax(-1)}  # from logits [B, L] to p
METHODS = (*FROM_WEIGHTS, *FROM_GRADIENTS, *FROM_SCORES, *SMOOTHED)
USES_SET = {name for name in METHODS if "minmax" in name}  # the map depends on the other labels explained


def check_methods(methods: Sequence[str]) -> None:
    """Raise ValueError for a name that is not in METHODS, or if there is none."""
    if not methods:
        raise ValueError(f"expected at least one method (valid: {', '.join(METHODS)})")
    for method in methods:
        check_known("method", method, METHODS)


def linear_head(model: nn.Module, captured: Capture) -> Tensor | None:
    """Return the weights [L, K] of a GAP + linear head behind the captured layer, or None for any other head.

    Not the architecture decides but the numbers: the logits must be the pooled activations times the weights of
    the model's last linear layer.
    """
    logits, activations = (t.detach() for t in captured)
    heads = [m for m in model.modules() if isinstance(m, nn.Linear)]
    if not heads or heads[-1].in_features != activations.shape[1]:
        return None
    head = heads[-1]
    weights = (head.class_weights() if hasattr(head, "class_weights") else head.weight).detach()
    expected = nn.functional.linear(activations.mean((-2, -1)), weights)
    if expected.shape != logits.shape:
        return None
    signal = logits if head.bias is None else logits - head.bias.detach()
    same = torch.allclose(expected, signal, rtol=1e-3, atol=1e-3 * float(signal.abs().max()))
    return weights if same else None


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
    options of :func:`cam_utils.sscam.smoothed_weights` for the SS-CAM methods, such as draws, sigma and seed.
    Raises ValueError for an unknown method and for a method whose head the model does not have.
    """
    check_methods(methods)
    activations = captured.activations.detach()
    weights = linear_head(model, captured)
    grads = None
    if weights is None and any(m in FROM_GRADIENTS or m == "ss-cam" for m in methods):
        grads = head_gradients(captured, pairs)
    elif "grad-cam++" in methods:
        grads = weights[pairs.label][..., None, None] / activations[0, 0].numel()
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
        elif weights is not None and method in ON_LINEAR_HEAD:
            found[method] = ON_LINEAR_HEAD[method](activations, weights, pairs)
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


def signed_weights(model: nn.Module, weights: Tensor | None, grads: Tensor, pairs: Pairs) -> Tensor:
    """Return w of SS-CAM's Eq. 15: the head's weights, else those the model names, else Grad-CAM's (SPEC P3.b)."""
    if weights is None and hasattr(model, "class_weights"):
        weights = model.class_weights()
    return weights[pairs.label] if weights is not None else grads.sum((-2, -1))
