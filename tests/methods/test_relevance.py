"""Ablation-CAM and Relevance-CAM against closed forms, a case by hand, and the z+ rule written as loops."""

import pytest
import torch
from torch import nn

from cam_utils.methods import ablation, relevance
from cam_utils.methods.query import ask
from cam_utils.networks import models
from cam_utils.networks.capture import capture
from cam_utils.pairs import Pairs, pairs_of


@pytest.fixture
def small():
    """A classifier in double precision, images, and pairs with several labels per image."""
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU())
    model = models.Classifier(features, models.LinearHead(6, 4), normalisation=models.HALF).double().eval()
    images = torch.randn(3, 3, 12, 16, dtype=torch.float64)
    present = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 1]], dtype=torch.bool)
    return model, images, pairs_of(present)


class Unknown(nn.Module):
    """The same classifier under a class whose head is not known."""

    def __init__(self, model):
        super().__init__()
        self.inner, self.features = model, model.features

    def forward(self, images):
        return self.inner(images)


def test_ablation_on_a_linear_head_is_its_closed_form(small):
    model, images, pairs = small
    a = model.features(images).detach()
    w, b = model.head.weight.detach(), model.head.bias.detach()
    g = a.mean((-2, -1))[pairs.image]
    alpha = w[pairs.label] * g / ((w[pairs.label] * g).sum(1) + b[pairs.label])[:, None]
    expected = torch.einsum("pk,pkhw->phw", alpha, a[pairs.image]).relu()
    torch.testing.assert_close(ablation.ablation_cam(ask(model, images, pairs)), expected)


def test_ablation_of_an_unknown_head_runs_the_model_and_agrees(small):
    model, images, pairs = small
    found = ablation.ablation_cam(ask(Unknown(model).eval(), images, pairs))
    torch.testing.assert_close(found, ablation.ablation_cam(ask(model, images, pairs)))


def test_relevance_of_a_two_by_two_image_by_hand():
    head = models.LinearHead(2, 2)
    head.weight.data = torch.tensor([[1.0, 1.0], [3.0, -1.0]])
    model = models.Classifier(nn.Conv2d(3, 2, 1), head, normalisation=models.HALF).eval()
    model.features.weight.data.zero_()
    model.features.weight.data[0, 0, 0, 0] = model.features.weight.data[1, 1, 0, 0] = 1.0
    model.features.bias.data.zero_()
    first, second = torch.ones(2, 2), torch.tensor([[0.0, 4.0], [0.0, 4.0]])
    images = torch.stack([first, second, torch.zeros(2, 2)])[None]
    pairs = Pairs(torch.zeros(2, dtype=torch.long), torch.tensor([0, 1]), torch.zeros(2, dtype=torch.long))
    # Pooled: 1 and 2. Label 0 gives 1/3 and 2/3 to the channels, label 1 all to the first: its other weight is < 0.
    # Contrast: (1/3 - 1, 2/3 - 0) = (-2/3, 2/3) for label 0, its negative for label 1.
    expected = torch.tensor([[[0.0, 2.0], [0.0, 2.0]], [[2 / 3, 0.0], [2 / 3, 0.0]]])
    torch.testing.assert_close(relevance.relevance_cam(ask(model, images, pairs)), expected)


def _reference_z_plus(weight, x, relevance):
    """The z+ rule of one linear layer, input by input and output by output."""
    found = torch.zeros_like(x)
    for row in range(len(x)):
        for j in range(weight.shape[0]):
            parts = weight[j].clamp(min=0) * x[row]
            if parts.sum() > 0:
                found[row] += parts / parts.sum() * relevance[row, j]
    return found


def test_relevance_through_several_layers_is_the_rule_layer_by_layer_and_conserved():
    torch.manual_seed(3)
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Dropout(), nn.Linear(5, 4)
    )
    head = head.double().eval()
    a, start = torch.rand(2, 3, 4, 4, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    pooled = head[:2](a)
    hidden = head[2:5](pooled).detach()
    expected = _reference_z_plus(head[2].weight, pooled, _reference_z_plus(head[5].weight, hidden, start))
    expected = expected.detach().unflatten(1, (3, 2, 2)).sum((-2, -1))
    found = relevance.propagate(head, a, start)
    torch.testing.assert_close(found.sum((-2, -1)), expected)
    torch.testing.assert_close(found.sum((1, 2, 3)), start.sum(1))


@pytest.mark.parametrize("kind", models.HEADS)
def test_the_copied_head_gives_the_logits(small, kind):
    model, images, _ = small
    model.head = models.HEADS[kind](6, 4).double()
    nn.init.normal_(model.head.weight)
    captured = capture(model, images, model.features)
    torch.testing.assert_close(relevance.head_of(model, captured)(captured.activations), captured.logits)


def test_a_pretrained_network_with_a_convolutional_head():
    net = models.pretrained("squeezenet1_0", weights=None)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    captured = capture(net, images, net.features)
    head = relevance.head_of(net, captured)
    torch.testing.assert_close(head(captured.activations), captured.logits)
    start = relevance.contrast(captured.logits.argmax(1), 1000)
    total = relevance.propagate(head, captured.activations, start.abs()).sum((1, 2, 3))
    assert (total > 0.9).all() and (
        total < start.abs().sum(1) + 1e-3
    ).all()  # unused logits lose theirs to the ReLU


def test_relevance_refuses_a_head_that_it_does_not_know(small):
    model, images, pairs = small
    with pytest.raises(ValueError, match=r"needs a Classifier or a Pretrained network.*got Unknown"):
        relevance.relevance_cam(ask(Unknown(model).eval(), images, pairs))


def test_relevance_goes_through_layers_inside_layers():
    """timm's pooling is a module of two, the second of which flattens."""
    torch.manual_seed(0)
    activations = torch.rand(2, 6, 3, 4, dtype=torch.float64)
    start, last = relevance.contrast(torch.tensor([1, 3]), 4).double(), nn.Linear(6, 4)
    flat = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)
    nested = nn.Sequential(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), last)
    found = [relevance.propagate(head, activations, start) for head in (flat, nested)]
    torch.testing.assert_close(*found)
    assert found[0].abs().sum() > 0
