"""What lies behind the explained layer, as layers: Ablation-CAM runs them, Relevance-CAM goes back through them."""

import copy

import torch
from torch import nn

from cam_utils.networks.capture import Capture
from cam_utils.networks.models import Classifier, Pretrained


def head_of(model: nn.Module, captured: Capture) -> nn.Sequential | None:
    """Return copies of the layers from `model.features` to the logits, or None where they do not give the logits.

    Not the architecture decides but the numbers: the copies must turn the captured activations into the captured
    logits.

    >>> from cam_utils.networks import models
    >>> from cam_utils.networks.capture import capture
    >>> net = models.build("digits", 10).eval()
    >>> [type(each).__name__ for each in head_of(net, capture(net, torch.zeros(1, 3, 96, 96), net.features))]
    ['AdaptiveAvgPool2d', 'Flatten', 'Linear']
    """
    if isinstance(model, Classifier):
        layers: list[nn.Module] = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), _plain(model.head)]
    elif isinstance(model, Pretrained):
        children = list(model.net.children())
        behind = children[1 + next(i for i, child in enumerate(children) if child is model.features) :]
        leaves = [leaf for child in behind for leaf in (child if isinstance(child, nn.Sequential) else [child])]
        layers = [copy.deepcopy(leaf) for leaf in leaves]
        first = next((i for i, layer in enumerate(layers) if isinstance(layer, nn.Linear)), len(layers))
        layers.insert(first, nn.Flatten())
    else:
        return None
    for layer in layers:
        if hasattr(layer, "inplace"):
            layer.inplace = False  # relevance reads what a layer was given
    head = nn.Sequential(*layers).eval().requires_grad_(False)
    logits, activations = (t.detach() for t in captured)
    with torch.no_grad():
        found = head(activations)
    if found.shape != logits.shape:
        return None
    return head if torch.allclose(found, logits, rtol=1e-3, atol=1e-3 * float(logits.abs().max())) else None


def _plain(head: nn.Linear) -> nn.Linear:
    """Return a linear layer with the head's effective weights, which kernel usage regularisation shrinks."""
    weights = head.class_weights().detach()
    size = {"in_features": head.in_features, "out_features": head.out_features}
    layer = nn.utils.skip_init(nn.Linear, **size, device=weights.device, dtype=weights.dtype)  # draws no weights
    layer.weight.data, layer.bias.data = weights.clone(), head.bias.detach().clone()
    return layer
