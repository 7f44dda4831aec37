"""Any classifier -> logits, activations of one layer, and the head's gradients. The only file with hooks.

The network runs once without a graph up to the layer; only what follows it (the head) is recorded. Gradients
therefore never touch the backbone, and the caller's model keeps its mode, its `requires_grad` flags and its hooks.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from cam_utils.pairs import Pairs, rank_within_image


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


def modules_of(model: nn.Module) -> list[nn.Module]:
    """Return what model.modules() yields, once each, in a tenth of its time: it names no paths."""
    found: dict[nn.Module, None] = {}
    todo = [model]
    while todo:
        module = todo.pop()
        if module not in found:
            found[module] = None
            todo += [child for child in reversed(module._modules.values()) if child is not None]
    return list(found)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put the model in evaluation mode and give every module its own mode back afterwards, even on error."""
    training = [module for module in modules_of(model) if module.training]
    if training:  # to set a mode takes longer than to look at it, and most models come in theirs
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
    slot = rank_within_image(image)
    for s in range(int(slot.max()) + 1 if len(image) else 0):
        chosen = (slot == s).nonzero()[:, 0]
        with torch.enable_grad():
            picked = (outputs[image[chosen]] * direction[chosen]).sum()
        grads = torch.autograd.grad(picked, activations, retain_graph=True)
        for alpha, grad in zip(alphas, grads, strict=True):
            alpha[chosen] = grad.mean((-2, -1))[image[chosen]]
    return alphas


def head_gradients(captured: Capture, pairs: Pairs) -> Tensor:
    """Return dS_c/dA of every pair, [P, K, H, W].

    One backward through the head serves one label of every image of the batch at once, so the number of backwards
    is that of the largest number of labels in an image. A head without convolutions (fully connected layers) runs
    them all as one batch, which reads its large weights once.
    """
    logits, activations = captured
    grads = activations.new_zeros(len(pairs), *activations.shape[1:])
    if not len(pairs):
        return grads
    slot = rank_within_image(pairs.image)
    count = int(slot.max()) + 1
    if count > 1 and not _convolves(logits):
        ask = logits.new_zeros(count, *logits.shape)
        ask[slot, pairs.image, pairs.label] = 1
        (g,) = torch.autograd.grad(logits, activations, ask, retain_graph=True, is_grads_batched=True)
        return g[slot, pairs.image]
    for s in range(count):
        chosen = (slot == s).nonzero()[:, 0]
        with torch.enable_grad():  # the caller may evaluate under no_grad
            picked = logits[pairs.image[chosen], pairs.label[chosen]].sum()
        (g,) = torch.autograd.grad(picked, activations, retain_graph=True)
        grads[chosen] = g[pairs.image[chosen]]
    return grads


def _convolves(output: Tensor) -> bool:
    """Return whether the graph behind `output` holds a convolution: batched over labels these run no faster."""
    todo, seen = [output.grad_fn], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        if "Convolution" in node.name():
            return True
        seen.add(node)
        todo += [parent for parent, _ in node.next_functions]
    return False


def has_map(output: Tensor, images: Tensor) -> bool:
    """Return whether a layer's output is [B, K, H, W] with H*W > 1 and the proportions of images [B, 3, h, w].

    Attention's heads [B, heads, N, d] and channels-last maps [B, H, W, K] have other proportions.

    >>> images = torch.zeros(1, 3, 48, 64)
    >>> has_map(torch.zeros(1, 5, 3, 4), images), has_map(torch.zeros(1, 3, 4, 30), images)
    (True, False)
    """
    if output.dim() != 4 or output.shape[-2] * output.shape[-1] < 2:
        return False
    (h, w), (height, width) = output.shape[-2:], images.shape[-2:]
    return abs(h * width - w * height) <= height + width  # each side may be rounded by one


def last_spatial_layer(model: nn.Module, images: Tensor) -> nn.Module:
    """Return the last module whose output is [B, K, H, W] with H*W > 1: the layer that class maps usually read.

    See :func:`has_map`. Raises ValueError if no module of the model has such an output, and for a model that works
    on tokens [B, N, K] behind its last one, as transformers do.
    """
    found: list[nn.Module] = []
    tokens = {"all": 0, "behind": 0}  # outputs [B, N, K]

    def note(module, _inputs, output):
        if not isinstance(output, Tensor) or output.shape[:1] != (1,):
            return
        if has_map(output, images):
            found.append(module)
            tokens["behind"] = 0
        elif output.dim() == 3 and output.shape[1] > 1:
            tokens["all"], tokens["behind"] = tokens["all"] + 1, tokens["behind"] + 1

    handles = [module.register_forward_hook(note) for module in model.modules() if module is not model]
    try:
        with evaluation_mode(model), torch.no_grad():
            model(images[:1])
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise ValueError(f"no layer of {type(model).__name__} has activations (B,K,H,W) with more than one pixel")
    if tokens["behind"] and tokens["all"] > len(found):
        raise ValueError(
            f"{type(model).__name__} has no map (B,K,H,W) near its head: behind the last one, of "
            f"{type(found[-1]).__name__}, it works on tokens (B,N,K), as transformers do; a layer can be named all "
            "the same"
        )
    return found[-1]


_LAYERS: WeakKeyDictionary[nn.Module, nn.Module] = WeakKeyDictionary()  # found once per model: it takes a forward


def default_layer(model: nn.Module, images: Tensor) -> nn.Module:
    """Return the layer that maps are read from: `model.features` if it gives one, else :func:`last_spatial_layer`.

    images: [B, 3, h, w] as the model expects them; of these the first is run, once per model. Raises as
    :func:`last_spatial_layer`.
    """
    known = _LAYERS.get(model)
    if known is None or all(known is not module for module in modules_of(model)):
        _LAYERS[model] = known = _found_layer(model, images[:1])
    return known


def _found_layer(model: nn.Module, images: Tensor) -> nn.Module:
    features = getattr(model, "features", None)
    if isinstance(features, nn.Module):
        try:
            if has_map(capture(model, images, features).activations, images):
                return features
        except ValueError:  # it gives no map at all, or runs twice
            pass
    return last_spatial_layer(model, images)
