"""Any classifier -> logits and activations of its layers, with the graph of what follows. The only file with hooks.

The network runs once without a graph up to the layer; only what follows it (the head) is recorded. Gradients
therefore never touch the backbone, and the caller's model keeps its mode, its `requires_grad` flags and its hooks.
Hooks act in the thread that set them only, and threads that explain one model take turns.
"""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn
from torch.utils import checkpoint

from cam_utils.networks.answers import Answers, NotLogits
from cam_utils.networks.layouts import layout_of, order_of


class Capture(NamedTuple):
    """One forward of a batch: logits [B, L] and the layer's activations [B, K, H, W] (a leaf of the graph).

    Activations with channels last, or in tokens, are folded: see :mod:`cam_utils.networks.layouts`.
    """

    logits: Tensor
    activations: Tensor


_LOCKS: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_LOCKS_LOCK = threading.Lock()
_STRICT: WeakSet[nn.Module] = WeakSet()  # models that need contiguous images


def _base(model: nn.Module) -> nn.Module:
    """Return the model itself: an Answers around it is a new one in every call."""
    return model.model if isinstance(model, Answers) else model


def in_order(model: nn.Module, images: Tensor) -> Tensor:
    """Return the images in an order of memory that the model takes: `view` flattens none but contiguous ones.

    Channels last run up to twice as fast; which models cannot take them is found out when they are captured.
    """
    return images.contiguous() if _base(model) in _STRICT else images


@contextmanager
def hooked(layers: Sequence[nn.Module], function: Callable) -> Iterator[None]:
    """Let `function(layer, inputs, output)` see, or replace, what the layers return in this thread."""
    own = threading.get_ident()

    def only_here(layer, inputs, output):
        return function(layer, inputs, output) if threading.get_ident() == own else None

    with ExitStack() as handles:
        for layer in layers:
            handles.callback(layer.register_forward_hook(only_here).remove)
        yield


def modules_of(model: nn.Module) -> list[nn.Module]:
    """Return what model.modules() yields, once each, in a tenth of its time: it names no paths."""
    found: dict[nn.Module, None] = {}
    todo = [model]
    while todo:
        module = todo.pop()
        if module not in found:
            found[module] = None
            if module._modules:  # most have none
                todo += [child for child in reversed(module._modules.values()) if child is not None]
    return list(found)


def last_of(model: nn.Module, kind: type[nn.Module]) -> nn.Module | None:
    """Return the last module of a kind in the order of model.modules(), without a walk through all before it.

    >>> last_of(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1), nn.ReLU()), nn.Linear)
    Linear(in_features=3, out_features=1, bias=True)
    """
    for child in reversed(model._modules.values()):
        if child is not None and (found := last_of(child, kind)) is not None:
            return found
    return model if isinstance(model, kind) else None


class _Kept(checkpoint.CheckpointFunction):
    """Stands in for checkpointing: activations are kept, since a graph made again knows nothing of the hooks."""

    @staticmethod
    def apply(function, _preserve, *inputs):
        return function(*inputs)


_shared, _shared_by = ExitStack(), 0  # what holds in all threads while any of them captures


@contextmanager
def _as_written() -> Iterator[None]:
    """Let models run as their code is written: nothing is computed twice to save memory, nothing is fused or
    compiled.

    A graph made again, or code compiled before, knows nothing of the hooks. This holds for other threads meanwhile,
    which changes none of their numbers.
    """
    global _shared, _shared_by
    with _LOCKS_LOCK:
        _shared_by += 1
        if _shared_by == 1:
            _shared.callback(setattr, checkpoint, "CheckpointFunction", checkpoint.CheckpointFunction)
            checkpoint.CheckpointFunction = _Kept
            # Transformers of torch.nn skip their own parts where no gradient is asked for.
            _shared.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
            torch.backends.mha.set_fastpath_enabled(False)
            if "torch._dynamo" in sys.modules:  # else nothing is compiled, and its import takes seconds
                _shared.enter_context(torch.compiler.set_stance("force_eager"))
    try:
        yield
    finally:
        with _LOCKS_LOCK:
            _shared_by -= 1
            if not _shared_by:
                _shared.close()


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put the model in evaluation mode and give every module its own mode back afterwards, even on error.

    One thread at a time: another that asks for the same model waits.
    """
    with _LOCKS_LOCK:
        alone = _LOCKS.setdefault(_base(model), threading.RLock())
    with alone, _as_written():
        # Flags, not model.eval(): exported programs refuse it, and some networks rebuild themselves in it.
        training = [module for module in modules_of(model) if module.training]
        for module in training:
            module.training = False
        try:
            yield
        finally:
            for module in training:
                module.training = True


def capture(model: nn.Module, images: Tensor, layer: nn.Module, *, grads: bool = False) -> Capture:
    """Run `images` [B, C, h, w] once and return logits and the activations of `layer`.

    With `grads`, the part behind the layer records a graph, for :mod:`cam_utils.networks.gradients`. Raises
    ValueError if the layer is not reached or runs twice, if its output has no map or the logits are not [B, L],
    and if no gradient leads from the logits back to the layer.
    """
    logits, (activations,) = capture_layers(model, images, [layer], grads=grads)
    return Capture(logits, activations)


def capture_layers(
    model: nn.Module, images: Tensor, layers: Sequence[nn.Module], *, grads: bool = True
) -> tuple[Tensor, list[Tensor]]:
    """Run `images` [B, C, h, w] once and return logits [B, L] and every layer's activations [B, K_l, h_l, w_l].

    With `grads`, what follows the first layer reached records a graph, see :mod:`cam_utils.networks.gradients`.
    Raises as :func:`capture`.
    """
    with torch.inference_mode(False), evaluation_mode(model):
        images = images.clone() if images.is_inference() else images
        logits, seen = _run(model, images, layers, grads, torch.no_grad)
        if grads and not logits.requires_grad:  # the model switches gradients off, and then back to what they were
            logits, seen = _run(model, images, layers, grads, torch.enable_grad)
    if grads and not logits.requires_grad:
        raise ValueError(
            f"no gradient leads from the logits of {type(model).__name__} back to {layer_name(model, layers[0])}: "
            "what lies between runs without gradients (no_grad, inference_mode or integers); name a later layer"
        )
    return logits, [seen[layer] for layer in layers]


def _run(
    model: nn.Module, images: Tensor, layers: Sequence[nn.Module], grads: bool, mode: Callable
) -> tuple[Tensor, dict[nn.Module, Tensor]]:
    seen: dict[nn.Module, Tensor] = {}

    def replace(layer, _inputs, output):
        tensor, rest = (output[0], output[1:]) if isinstance(output, tuple | list) and output else (output, None)
        layout = layout_of(tensor, images, order_of(layer))
        if layout is None:
            got = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ValueError(
                f"expected a layer with activations that hold a map, (B,K,H,W), (B,H,W,K) or tokens (B,N,K), got "
                f"{got} from {layer_name(model, layer)} for images {tuple(images.shape)}"
            )
        if layer in seen:
            raise ValueError(
                f"expected a layer that runs once per forward, but {layer_name(model, layer)} ran again"
            )
        torch.set_grad_enabled(grads or torch.is_grad_enabled())
        with torch.inference_mode(False):  # the model may run in it
            torch.set_grad_enabled(grads or torch.is_grad_enabled())
            tensor = tensor.clone() if tensor.is_inference() else tensor
            maps = layout.fold(tensor)
            follows = bool(seen) and maps.requires_grad  # it depends on a layer that was reached before
            seen[layer] = maps if follows else maps.detach().requires_grad_(grads)
            # A copy: an in-place ReLU behind the layer may not write into what is kept.
            replaced = layout.unfold(seen[layer].clone(), tensor)
        return replaced if rest is None else (replaced, *rest)

    with hooked(layers, replace), mode():
        logits = run_in_order(model, images, seen.clear)
    for layer in layers:
        if layer not in seen:
            raise ValueError(
                f"the forward pass of {type(model).__name__} never reached the layer {layer_name(model, layer)}"
            )
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(images):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise NotLogits(f"expected a classifier with logits (B,L), got {got}")
    return logits, seen


def run_in_order(model: nn.Module, images: Tensor, forget: Callable[[], object]) -> object:
    """Return what the model makes of the images, run again in contiguous memory if it cannot take another order.

    forget: called before the second run, for what hooks saw in the first.
    """
    images = in_order(model, images)
    try:
        return model(images)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        if images.is_contiguous():
            raise
    forget()
    result = model(images.contiguous())
    _STRICT.add(_base(model))
    return result


def layer_name(model: nn.Module, layer: nn.Module) -> str:
    """Return a layer's name in the model with its type: the whole of a large one would be pages."""
    name = next((name for name, module in model.named_modules() if module is layer and name), None)
    return type(layer).__name__ if name is None else f"{name} ({type(layer).__name__})"


@torch.no_grad()
def run_from(model: nn.Module, layer: nn.Module, images: Tensor, activations: Tensor) -> Tensor:
    """Return the logits [N, L] of `images` [N, C, h, w] with the layer's map replaced by `activations`."""

    def replace(_layer, _inputs, output):
        tensor, rest = (output[0], output[1:]) if isinstance(output, tuple | list) else (output, None)
        layout = layout_of(tensor, images, order_of(layer))
        replaced = layout.unfold(activations.clone(), tensor)  # what follows may write in place
        return replaced if rest is None else (replaced, *rest)

    with evaluation_mode(model), hooked([layer], replace):
        return model(in_order(model, images))
