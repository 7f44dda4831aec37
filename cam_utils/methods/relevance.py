"""Relevance-CAM (Lee et al. 2021): channels weighted by the relevance that reaches them from the logits."""

import copy
from functools import partial

import torch
from torch import Tensor, nn

from cam_utils.methods.other_libraries import required
from cam_utils.methods.query import Query
from cam_utils.methods.weighted_sums import weighted_sum
from cam_utils.networks.head_layers import head_of


def relevance_cam(query: Query) -> Tensor:
    """Return Relevance-CAM [P, H, W]: ReLU(sum_k w_k A^k), w_k the relevance of channel k (Lee et al. 2021).

    Contrastive: relevance starts as +1 at the pair's logit and -1/(L-1) at every other, as the paper has it (its
    code divides by L). As in that code the z+ rule (alpha 1, beta 0, no bias) passes it through linear and
    convolutional layers and the epsilon rule through pooling, both captum's; w_k is summed over the pixels.

    Raises ValueError for a model whose head is not known as layers, ImportError without captum.
    """
    head = head_of(query.model, query.captured)
    if head is None:
        raise ValueError(
            "relevance-cam needs a Classifier or a Pretrained network, whose head it knows layer by layer, got "
            f"{type(query.model).__name__}"
        )
    pairs = query.pairs
    start = contrast(pairs.label, query.logits.shape[1])
    relevance = propagate(head, query.activations[pairs.image], start)
    return weighted_sum(query.activations, relevance.sum((-2, -1)), pairs).relu()


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
    for layer in own.modules():
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
