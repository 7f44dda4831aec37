"""Gradients of what was captured: of logits at one layer, or of combinations of logits at several layers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cam_utils.networks.capture import Capture
from cam_utils.pairs import Pairs, rank_within_image


def layer_weights(outputs: Tensor, activations: Sequence[Tensor], image: Tensor, direction: Tensor) -> list[Tensor]:
    """Return Grad-CAM's weights of every layer, [Q, K_l] each: the spatial mean of d(direction . outputs)/dA.

    outputs [B, L] and activations as :func:`cam_utils.networks.capture.capture_layers` returns them; query q asks
    about image `image[q]` and the combination `direction[q]` [L] of its outputs. One backward serves one query of
    every image.
    """
    alphas = [a.new_zeros(len(image), a.shape[1]) for a in activations]
    slot = rank_within_image(image)
    for s in range(int(slot.max()) + 1 if len(image) else 0):
        chosen = (slot == s).nonzero()[:, 0]
        with torch.enable_grad():
            picked = (outputs[image[chosen]] * direction[chosen]).sum()
        grads = _backward(picked, activations)
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
        try:
            (g,) = torch.autograd.grad(logits, activations, ask, retain_graph=True, is_grads_batched=True)
            return g[slot, pairs.image]
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # operators of the user's own need not know batches of gradients: one at a time then
            pass
    for s in range(count):
        chosen = (slot == s).nonzero()[:, 0]
        with torch.enable_grad():  # the caller may evaluate under no_grad
            picked = logits[pairs.image[chosen], pairs.label[chosen]].sum()
        (g,) = _backward(picked, [activations])
        grads[chosen] = g[pairs.image[chosen]]
    return grads


def _backward(value: Tensor, activations: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the gradients of a number at every layer's activations; the graph stays for the next."""
    try:
        return torch.autograd.grad(value, activations, retain_graph=True)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        detached = "not have been used in the graph" in str(error)
        reason = "what lies between detaches it" if detached else str(error).splitlines()[0]
        raise ValueError(f"no gradient leads from the logits back to the layer: {reason}") from error


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
