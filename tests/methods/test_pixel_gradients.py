"""Gradients at the pixels against one backward each; FullGrad's shares against the logits that they add up to."""

import pytest
import torch
from torch import nn

from cam_utils.maps import upsample
from cam_utils.methods.pixel_gradients import PIXEL_GRADIENTS, full_gradients
from cam_utils.methods.query import ask
from cam_utils.networks import models
from cam_utils.pairs import Pairs, pairs_of


def classifier(*features, channels=6):
    model = models.Classifier(nn.Sequential(*features), models.LinearHead(channels, 4), normalisation=models.HALF)
    return model.double().eval()


@pytest.fixture
def small():
    torch.manual_seed(0)
    model = classifier(
        nn.Conv2d(3, 5, 3, 1, 1), nn.BatchNorm2d(5), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(5, 6, 3, 1, 1, bias=False), nn.ReLU6(),
    )  # fmt: skip
    with torch.no_grad():
        model.features[1].running_mean.normal_()
        model.features[1].running_var.uniform_(0.5, 2)
        model.features[1].bias.normal_()
        model.features[4].weight.mul_(20)  # so that the cap of the last rectifier is reached
    images = torch.randn(3, 3, 12, 16, dtype=torch.float64)
    return model, images, pairs_of(torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 1]], dtype=torch.bool))


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("gradient", lambda x, g: g.abs()),
        ("squared-gradient", lambda x, g: g * g),
        ("gradient-times-input", lambda x, g: (g * x).abs()),
    ],
)
def test_gradients_are_those_of_one_backward_for_each_pair(small, name, share):
    model, images, pairs = small
    found = PIXEL_GRADIENTS[name](ask(model, images, pairs))
    for row, i, c in zip(found, pairs.image.tolist(), pairs.label.tolist(), strict=True):
        x = images[i : i + 1].clone().requires_grad_()
        g = torch.autograd.grad(model(x)[0, c], x)[0]
        torch.testing.assert_close(row, share(x.detach(), g)[0].sum(0))


def test_the_shares_of_full_gradients_add_up_to_the_logits(small):
    model, images, pairs = small
    assert (model.features(images) == 6).any(), "the cap's own bias counts"
    before = {name: value.clone() for name, value in model.state_dict().items()}
    shares = full_gradients(model, images[pairs.image], pairs.label)
    expected = model(images)[pairs.image, pairs.label]
    torch.testing.assert_close(sum(share.flatten(1).sum(1) for share in shares), expected)
    # input, convolution, normalisation, cap, head
    assert [share.shape[1] for share in shares] == [3, 5, 5, 6, 4]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_they_add_up_on_networks_whose_normalisation_and_rectifier_are_one_layer():
    timm = pytest.importorskip("timm")
    del timm
    model = models.pretrained("efficientnet_lite0", None).double()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.bias.data.normal_(0.5)
    x, label = torch.randn(2, 3, 64, 64, dtype=torch.float64), torch.tensor([3, 700])
    found = sum(share.flatten(1).sum(1) for share in full_gradients(model, x, label))
    torch.testing.assert_close(found, model(x).gather(1, label[:, None])[:, 0].detach())


def test_full_gradients_of_two_layers_by_hand():
    model = classifier(nn.Conv2d(3, 1, 1), nn.ReLU(), channels=1)
    with torch.no_grad():
        model.features[0].weight.copy_(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1))
        model.features[0].bias.fill_(1.0)
        model.head.weight.copy_(torch.tensor([[2.0], [0.0], [0.0], [0.0]]))
        model.head.bias.fill_(5.0)
    x = torch.zeros(1, 3, 1, 2, dtype=torch.float64)
    x[0, 0] = torch.tensor([3.0, -4.0])  # the second pixel is off: 1 - 4 < 0
    pixels, bias, last = full_gradients(model, x, torch.tensor([0]))
    assert pixels[0, 0].tolist() == [[3.0, 0.0]]  # x 2 / 2 pixels
    assert bias.tolist() == [[[[1.0, 0.0]]]] and last.tolist() == [[5.0, 0.0, 0.0, 0.0]]
    found = PIXEL_GRADIENTS["full-gradients"](ask(model, x, Pairs.one()))
    assert found.tolist() == [[[2.0, 0.0]]]  # both layers rescaled to [0, 1] and added


def test_full_grad_rescales_layers_and_not_channels(small):
    model, images, pairs = small
    found = PIXEL_GRADIENTS["full-gradients"](ask(model, images, pairs))
    total = torch.zeros_like(found)
    for share in full_gradients(model, images[pairs.image], pairs.label)[:-1]:
        size = share.abs()
        low, high = (f(size.flatten(1), 1)[0].view(-1, 1, 1, 1) for f in (torch.min, torch.max))
        scaled = ((size - low) / (high - low)).sum(1)
        total += scaled if scaled.shape[-2:] == (12, 16) else upsample(scaled, (12, 16))
    torch.testing.assert_close(found, total)
