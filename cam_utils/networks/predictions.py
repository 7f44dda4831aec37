"""From images to probabilities, and to the labels that a network predicts: the book's only rule for both."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from cam_utils.data.pixels import PixelsAndLabels
from cam_utils.names import check_known
from cam_utils.networks.capture import in_order

ACTIVATIONS = {"sigmoid": torch.sigmoid, "softmax": lambda logits: logits.softmax(-1)}  # from logits [B, L] to p
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}  # of forwards of masked images; maps stay float32
RAW = "none"  # of targets that are no logits: the numbers themselves


def activated(kind: str, logits: Tensor) -> Tensor:
    """Return probabilities [B, L] of logits by "sigmoid" or "softmax", or by "none" the numbers as they are."""
    return logits if kind == RAW else ACTIVATIONS[check_known("activation", kind, ACTIVATIONS)](logits)


def scoring(model: nn.Module, activation: str, precision: str = "float32") -> Callable[[Tensor], Tensor]:
    """Return the callable from images [N, C, h, w] to p [N, L]: "sigmoid", "softmax" or "none" of its logits.

    precision: "bfloat16" runs the network in autocast, an approximation (the book's page on speed measures it).
    Raises ValueError for an unknown activation or precision.
    """
    check_known("activation", activation, (*ACTIVATIONS, RAW))
    check_known("precision", precision, PRECISIONS)
    reduced = PRECISIONS[precision]

    def score(images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, reduced, enabled=reduced is not None):
            logits = model(in_order(model, images))
        return activated(activation, logits.float() if logits.dtype.itemsize < 4 else logits)

    return score


def predicted(
    p: Tensor, activation: str, *, threshold: float = 0.5, top: int = 1, at_least_one: bool = False
) -> Tensor:
    """Return which labels [B, L] (bool) are predicted by probabilities p [B, L].

    "sigmoid": all with p > `threshold` (the official protocol of David et al. 2022), and with `at_least_one` the
    most probable where no label is above it. "softmax": the `top` most probable.

    >>> p = torch.tensor([[0.6, 0.1, 0.7], [0.3, 0.1, 0.2]])
    >>> predicted(p, "sigmoid").int().tolist(), predicted(p, "sigmoid", at_least_one=True).int().tolist()
    ([[1, 0, 1], [0, 0, 0]], [[1, 0, 1], [1, 0, 0]])
    >>> predicted(p, "softmax").int().tolist()
    [[0, 0, 1], [1, 0, 0]]
    """
    check_known("activation", activation, ACTIVATIONS)
    order = p.argsort(dim=1, descending=True, stable=True)
    if activation == "softmax":
        return torch.zeros_like(p, dtype=torch.bool).scatter_(1, order[:, :top], True)
    above = p > threshold
    if at_least_one:
        none = ~above.any(1)
        above[none, order[none, 0]] = True
    return above


@torch.no_grad()
def predict(model: nn.Module, dataset: Dataset, *, batch_size: int = 64, device: str = "cpu") -> Tensor:
    """Return the probabilities p [N, L] (sigmoid) of every image of the dataset, on the CPU."""
    model = model.to(device).eval()
    pixels = PixelsAndLabels(dataset, budget=0)
    p = [model(model.preprocess(x.to(device).float() / 255)).sigmoid() for x, _ in DataLoader(pixels, batch_size)]
    return torch.cat(p).cpu()
