"""From a classifier and pictures to maps in one call: :func:`explain`, the front door."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from cam_utils import maps
from cam_utils.front.pictures import letterboxed
from cam_utils.methods.query import Query, rectified
from cam_utils.methods.registry import Method, resolved
from cam_utils.networks.baselines import Normalised
from cam_utils.networks.capture import capture, default_layer, evaluation_mode
from cam_utils.networks.models import IMAGENET, Classifier
from cam_utils.networks.predictions import ACTIVATIONS, predicted, scoring
from cam_utils.pairs import Pairs, pairs_of


class Explanation(NamedTuple):
    """What :func:`explain` returns: masks in [0, 1] [P, h, w], their pairs, p [B, L], and the layer read."""

    maps: Tensor
    pairs: Pairs
    probabilities: Tensor
    layer: nn.Module


def explain(
    model: nn.Module,
    images,
    labels=None,
    *,
    method: str | Method = "minmax-grad-cam",
    layer: nn.Module | None = None,
    activation: str | None = None,
    threshold: float = 0.5,
    size: int = 224,
    chunk: int | None = None,
    precision: str = "float32",
) -> Explanation:
    """Explain several labels of several images in one call.

    images: a tensor [B, 3, h, w] as the model expects it, or a PIL image, a path, or a list of these (letterboxed
    to `size` and normalised as torchvision's networks, or as the model's own `preprocess`, expect).
    labels: per image an index or a list of indices, or a boolean tensor [B, L]; None explains what the model
    predicts: with "sigmoid" all with p > `threshold`, or the most probable; with "softmax" the most probable.
    method: a name of :data:`cam_utils.methods.registry.METHODS`, one with options (`registry.method("ss-cam",
    draws=4)`), or a callable of your own.
    activation: "sigmoid" (default for the book's classifiers) or "softmax" (default for others).
    layer: the module whose activations are read; None: :func:`cam_utils.networks.capture.default_layer`.
    chunk, precision: masked images per forward of Score-CAM and SS-CAM (None: what suits the device), and whether
    these run in "float32" or, approximately, in "bfloat16".

    Raises ValueError for an unknown method, wrong shapes, NaN images, labels out of range or none to explain,
    and for a head that the method cannot use.

    >>> from cam_utils.networks import models
    >>> found = explain(models.build("digits", 10), torch.rand(2, 3, 96, 96), [[3, 5], 1])
    >>> found.maps.shape, found.pairs.label.tolist()
    (torch.Size([3, 96, 96]), [3, 5, 1])
    """
    if not isinstance(method, str) and not callable(method):
        raise ValueError(f"expected one method, a name or a callable, got {method!r}")
    ((name, function),) = resolved(method).items()
    images = _as_tensor(model, images, size)
    kind = activation or default_activation(model)
    score = scoring(model, kind, precision)
    # Convolutions of a whole network run up to twice as fast in this order of memory.
    images = images.to(next(model.parameters()).device, memory_format=torch.channels_last)
    layer = default_layer(model, images) if layer is None else layer
    captured = capture(model, images, layer, grads=True)
    height, width = captured.activations.shape[-2:]
    if height > images.shape[-2] or width > images.shape[-1] or min(height, width) < 2:
        raise ValueError(
            f"expected activations (B,K,H,W) with channels first, got {tuple(captured.activations.shape)} from "
            f"{type(layer).__name__} for images {tuple(images.shape)}: pass layer= one with a spatial map"
        )
    p = ACTIVATIONS[kind](captured.logits.detach())
    pairs = pairs_of(_present(labels, p, kind, threshold))
    with evaluation_mode(model):
        raw = rectified(function(Query(model, images, captured, pairs, layer, score, chunk)), name, pairs)
    return Explanation(maps.masks(raw, images.shape[-2:]), pairs, p, layer)


def default_activation(model: nn.Module) -> str:
    """Return how a model's logits become probabilities unless it is said: sigmoid for the book's, else softmax."""
    return "sigmoid" if isinstance(model, Classifier) else "softmax"


def _as_tensor(model: nn.Module, images, size: int) -> Tensor:
    if not isinstance(images, Tensor):
        pixels = torch.stack(
            [letterboxed(one, size) for one in (images if isinstance(images, list | tuple) else [images])]
        )
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in IMAGENET)
        images = model.preprocess(pixels) if isinstance(model, Normalised) else (pixels - mean) / std
    if images.dim() != 4 or not images.is_floating_point():
        raise ValueError(f"expected float images (B,3,h,w), got {images.dtype} {tuple(images.shape)}")
    # The sum of finite images may overflow in half precision: only the look at every number decides.
    broken = [] if images.sum().isfinite() else (~images.isfinite()).flatten(1).any(1).nonzero()[:, 0].tolist()
    if broken:
        raise ValueError(f"images must be finite numbers, but image {broken[0]} of the batch has NaN or infinity")
    return images


def _present(labels, p: Tensor, kind: str, threshold: float) -> Tensor:
    """Return the sets of labels to explain as a boolean tensor [B, L]."""
    count = p.shape[1]
    if labels is None:
        return predicted(p, kind, threshold=threshold, at_least_one=True)
    if isinstance(labels, Tensor) and labels.dtype == torch.bool:
        if labels.shape != p.shape:
            raise ValueError(f"expected labels (B,L) = {tuple(p.shape)}, got {tuple(labels.shape)}")
        rows = [row.nonzero()[:, 0].tolist() for row in labels]
    else:
        try:
            rows = [[int(row)] if not hasattr(row, "__len__") else [int(c) for c in row] for row in labels]
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"expected per image an index or a list of indices of labels, got {labels!r}"
            ) from error
    if len(rows) != len(p):
        raise ValueError(f"expected one list of labels for each of the {len(p)} images, got {len(rows)}")
    present = torch.zeros_like(p, dtype=torch.bool)
    for i, row in enumerate(rows):
        if not row:
            raise ValueError(f"image {i} has an empty set of labels: nothing to explain")
        if not all(0 <= c < count for c in row):
            raise ValueError(f"expected labels in 0..{count - 1} for image {i}, got {row}")
        present[i, row] = True
    return present
