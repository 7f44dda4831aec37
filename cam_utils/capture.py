"""Any classifier -> logits, activations of one layer, and the head's gradients. The only file with hooks.

The network runs once without a graph up to the layer; only what follows it (the head) is recorded. Gradients
therefore never touch the backbone, and the caller's model keeps its mode, its `requires_grad` flags and its hooks.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cam_utils.cams import Pairs


class Capture(NamedTuple):
    """One forward of a batch: logits [B, L] and the layer's activations [B, K, H, W] (a leaf of the graph)."""

    logits: Tensor
    activations: Tensor


@contextmanager
def _hook(layer: nn.Module, function) -> Iterator[None]:
    handle = layer.register_forward_hook(function)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put the model in evaluation mode and give every module its own mode back afterwards, even on error."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def capture(model: nn.Module, images: Tensor, layer: nn.Module, *, grads: bool = False) -> Capture:
    """Run `images` [B, 3, h, w] once and return logits and the activations of `layer`.

    With `grads`, the part behind the layer records a graph for :func:`head_gradients`. Raises ValueError if the
    layer is not reached, or if its output has no spatial extent or the logits are not [B, L].
    """
    logits, (activations,) = capture_layers(model, images, [layer], grads=grads)
    return Capture(logits, activations)


def capture_layers(
    model: nn.Module, images: Tensor, layers: Sequence[nn.Module], *, grads: bool = True
) -> tuple[Tensor, list[Tensor]]:
    """Run `images` [B, 3, h, w] once and return logits [B, L] and every layer's activations [B, K_l, h_l, w_l].

    With `grads`, what follows the first layer reached records a graph, for :func:`layer_weights`. Raises as
    :func:`capture`.
    """
    seen: dict[nn.Module, Tensor] = {}

    def replace(layer, _inputs, output):
        if not isinstance(output, Tensor) or output.dim() != 4:
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(f"expected a layer with activations (B,K,H,W), got {got} from {layer}")
        if layer in seen:
            raise ValueError(f"expected a layer that runs once per forward, but it ran again: {layer}")
        seen[layer] = output if output.requires_grad else output.detach().requires_grad_(grads)
        if not grads:
            return seen[layer]
        torch.set_grad_enabled(True)
        return seen[layer].clone()  # an in-place ReLU behind the layer may not write into what is kept

    with evaluation_mode(model), ExitStack() as hooks, torch.no_grad():
        for layer in layers:
            hooks.enter_context(_hook(layer, replace))
        logits = model(images)
    for layer in layers:
        if layer not in seen:
            raise ValueError(f"the forward pass never reached the layer {layer}")
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"expected a classifier with logits (B,L), got {got}")
    return logits, [seen[layer] for layer in layers]


@torch.no_grad()
def run_from(model: nn.Module, layer: nn.Module, images: Tensor, activations: Tensor) -> Tensor:
    """Return the logits [N, L] of `images` [N, 3, h, w] with the layer's output replaced by `activations`."""
    with evaluation_mode(model), _hook(layer, lambda *_: activations.clone()):  # what follows may write in place
        return model(images)


def layer_weights(outputs: Tensor, activations: Sequence[Tensor], image: Tensor, direction: Tensor) -> list[Tensor]:
    """Return Grad-CAM's weights of every layer, [Q, K_l] each: the spatial mean of d(direction . outputs)/dA.

    outputs [B, L] and activations as :func:`capture_layers` returns them; query q asks about image `image[q]` and
    the combination `direction[q]` [L] of its outputs. One backward serves one query of every image.
    """
    alphas = [a.new_zeros(len(image), a.shape[1]) for a in activations]
    slot = _slots(image)
    for s in range(int(slot.max()) + 1 if len(image) else 0):
        chosen = (slot == s).nonzero()[:, 0]
        with torch.enable_grad():
            picked = (outputs[image[chosen]] * direction[chosen]).sum()
        grads = torch.autograd.grad(picked, activations, retain_graph=True)
        for alpha, grad in zip(alphas, grads, strict=True):
            alpha[chosen] = grad.mean((-2, -1))[image[chosen]]
    return alphas


def _slots(image: Tensor) -> Tensor:
    """Return the rank of every query among those of the same image."""
    order = torch.argsort(image, stable=True)
    counts = torch.bincount(image)
    starts = counts.cumsum(0) - counts
    slot = torch.empty_like(order)
    slot[order] = torch.arange(len(image), device=order.device) - starts[image[order]]
    return slot


def head_gradients(captured: Capture, pairs: Pairs) -> Tensor:
    """Return dS_c/dA of every pair, [P, K, H, W].

    One backward through the head serves one label of every image of the batch at once, so the number of
    backwards is that of the largest number of labels in an image.
    """
    logits, activations = captured
    grads = activations.new_zeros(len(pairs), *activations.shape[1:])
    if not len(pairs):
        return grads
    slot = _slots(pairs.image)
    for s in range(int(slot.max()) + 1):
        chosen = (slot == s).nonzero()[:, 0]
        with torch.enable_grad():  # the caller may evaluate under no_grad
            picked = logits[pairs.image[chosen], pairs.label[chosen]].sum()
        (g,) = torch.autograd.grad(picked, activations, retain_graph=True)
        grads[chosen] = g[pairs.image[chosen]]
    return grads


def last_spatial_layer(model: nn.Module, images: Tensor) -> nn.Module:
    """Return the last module whose output is [B, K, H, W] with H*W > 1: the layer that class maps usually read.

    Raises ValueError if no module of the model has such an output.
    """
    found: list[nn.Module] = []

    def note(module, _inputs, output):
        if isinstance(output, Tensor) and output.dim() == 4 and output.shape[-2] * output.shape[-1] > 1:
            found.append(module)

    handles = [module.register_forward_hook(note) for module in model.modules() if module is not model]
    try:
        with evaluation_mode(model), torch.no_grad():
            model(images[:1])
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise ValueError(f"no layer of {type(model).__name__} has activations (B,K,H,W) with more than one pixel")
    return found[-1]
