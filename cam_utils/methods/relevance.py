"""Ablation-CAM and Relevance-CAM: two methods that need only what lies behind the explained layer.

Both are callables (model, prepared images [B, 3, h, w], pairs) -> rectified maps [P, H, W], as `extra` of
:func:`cam_utils.evaluation.evaluate.evaluate` takes them. They read `model.features`, work on copies of the layers behind it
where the model's class tells which these are, and leave the caller's model as it was.
"""

import copy
from functools import partial

import torch
from torch import Tensor, nn

from cam_utils.methods.cams import weighted_sum
from cam_utils.methods.other_libraries import required
from cam_utils.methods import scorecam
from cam_utils.networks.capture import Capture, capture, run_from
from cam_utils.networks.models import Classifier, Pretrained
from cam_utils.pairs import Pairs


def head_of(model: nn.Module, captured: Capture) -> nn.Sequential | None:
    """Return copies of the layers from `model.features` to the logits, or None where they do not give the logits.

    Not the architecture decides but the numbers: the copies must turn the captured activations into the captured
    logits.

    >>> from cam_utils.networks import models
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
    layer = nn.Linear(head.in_features, head.out_features, device=weights.device, dtype=weights.dtype)
    layer.weight.data, layer.bias.data = weights.clone(), head.bias.detach().clone()
    return layer


@torch.no_grad()
def ablation_cam(model: nn.Module, images: Tensor, pairs: Pairs, *, chunk: int | None = None) -> Tensor:
    """Return Ablation-CAM [P, H, W] of the logit (Desai and Ramaswamy 2020; see :func:`scorecam.ablation_cam`).

    The paper divides by the logit itself: where it is negative, the map is that of everything else.
    Only the head runs, once per channel and image; of a model whose head is not known as layers, all of it does.
    """
    captured = capture(model, images, model.features)
    head = head_of(model, captured)
    if head is not None:
        return scorecam.ablation_cam(captured.activations, pairs, head, chunk=chunk)
    maps = captured.activations.new_zeros(len(pairs), *captured.activations.shape[-2:])
    for i in pairs.image.unique().tolist():  # the forward needs the channels' own image: paths may avoid the layer
        rows = (pairs.image == i).nonzero()[:, 0]
        own = Pairs(torch.zeros_like(rows), pairs.label[rows], torch.zeros_like(rows))

        def rest(activations: Tensor, image: Tensor = images[i : i + 1]) -> Tensor:
            return run_from(model, model.features, image.expand(len(activations), -1, -1, -1), activations)

        maps[rows] = scorecam.ablation_cam(captured.activations[i : i + 1], own, rest, chunk=chunk)
    return maps


def relevance_cam(model: nn.Module, images: Tensor, pairs: Pairs) -> Tensor:
    """Return Relevance-CAM [P, H, W]: ReLU(sum_k w_k A^k), w_k the relevance of channel k (Lee et al. 2021).

    Contrastive: relevance starts as +1 at the pair's logit and -1/(L-1) at every other, as the paper has it (its
    code divides by L). As in that code the z+ rule (alpha 1, beta 0, no bias) passes it through linear and
    convolutional layers and the epsilon rule through pooling, both captum's; w_k is summed over the pixels.

    Raises ValueError for a model whose head is not known as layers, ImportError without captum.
    """
    captured = capture(model, images, model.features)
    head = head_of(model, captured)
    if head is None:
        raise ValueError(
            "relevance-cam needs a Classifier or a Pretrained network, whose head it knows layer by layer, got "
            f"{type(model).__name__}"
        )
    activations = captured.activations.detach()
    relevance = propagate(head, activations[pairs.image], contrast(pairs.label, captured.logits.shape[1]))
    return weighted_sum(activations, relevance.sum((-2, -1)), pairs).relu()


def contrast(label: Tensor, labels: int) -> Tensor:
    """Return where relevance starts, [P, L]: 1 at the label, -1/(L-1) at the others.

    >>> contrast(torch.tensor([1]), 3).tolist()
    [[-0.5, 1.0, -0.5]]
    """
    start = torch.full((len(label), labels), -1 / max(labels - 1, 1), device=label.device)
    return start.scatter(1, label[:, None], 1.0)


def propagate(head: nn.Sequential, activations: Tensor, start: Tensor) -> Tensor:
    """Return the relevance [P, K, H, W] of the activations, given that of the logits [P, L], in double precision.

    No relevance is lost on its way through layers whose products with positive weights do not all vanish.
    """
    rules = required("captum.attr._utils.lrp_rules")
    own = copy.deepcopy(head).double()
    for layer in own:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layer.rule = rules.Alpha1_Beta0_Rule(set_bias_to_zero=True)
        elif isinstance(layer, nn.Flatten):  # captum has no rule for it, and the epsilon rule only reshapes here
            layer.rule = rules.EpsilonRule()

    class FromLogits(required("captum.attr").LRP):
        """Captum's LRP, but for its start: any relevance of all logits, in place of one logit's own value."""

        def _compute_output_and_change_weights(self, *arguments) -> Tensor:
            return torch.ones_like(super()._compute_output_and_change_weights(*arguments)[:, 0])

    def gradient(start: Tensor, forward, inputs: tuple[Tensor], *_) -> tuple[Tensor]:
        return torch.autograd.grad(forward(*inputs), inputs, start)

    lrp = FromLogits(own)
    lrp.gradient_func = partial(gradient, start.double())
    with torch.enable_grad():  # the caller may evaluate under no_grad
        return lrp.attribute(activations.double().requires_grad_()).detach().to(activations)
