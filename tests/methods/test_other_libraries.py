"""Methods of other libraries behind our adapter: closed forms, independent implementations, an untouched model."""

import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from cam_utils.methods import cams
from cam_utils.methods.other_libraries import OTHER_LIBRARIES
from cam_utils.methods.query import ask
from cam_utils.networks import models
from cam_utils.pairs import Pairs, pairs_of

OPTIONS = {"integrated-gradients": {"steps": 8}, "smoothgrad": {"samples": 4}}


def run(name, model, images, pairs, **options):
    return OTHER_LIBRARIES[name](ask(model, images, pairs), **OPTIONS.get(name, {}) | options)


def classifier(*features):
    model = models.Classifier(nn.Sequential(*features), models.LinearHead(6, 4), normalisation=models.HALF)
    return model.double().eval()


@pytest.fixture
def small():
    torch.manual_seed(0)
    model = classifier(
        nn.Conv2d(3, 5, 3, 1, 1), nn.BatchNorm2d(5), nn.ReLU(inplace=True), nn.Conv2d(5, 6, 3, 2, 1), nn.ReLU()
    )
    images = torch.randn(3, 3, 12, 16, dtype=torch.float64)
    return model, images, pairs_of(torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 1]], dtype=torch.bool))


@pytest.fixture
def linear():
    """A model without any rectifier: its logits are linear in the pixels."""
    torch.manual_seed(1)
    model = classifier(nn.Conv2d(3, 6, 3, 1, 1))
    return model, torch.randn(2, 3, 5, 7, dtype=torch.float64), pairs_of(torch.ones(2, 4, dtype=torch.bool))


def gradients(model, images, pairs):
    """The gradient of every pair's logit with respect to its image, one backward each."""
    found = []
    for i, c in zip(pairs.image.tolist(), pairs.label.tolist(), strict=True):
        x = images[i : i + 1].clone().requires_grad_()
        found.append(torch.autograd.grad(model(x)[0, c], x)[0][0])
    return torch.stack(found)


@pytest.mark.parametrize("name", ["hirescam", "xgrad-cam"])
def test_on_a_linear_head_it_is_cam(small, name):
    model, images, pairs = small
    a = model.features(images).detach()
    expected = cams.cam(a, model.head.weight.detach(), pairs) / a[0, 0].numel()
    torch.testing.assert_close(run(name, model, images, pairs), expected, rtol=1e-5, atol=1e-7)


def test_layer_cam_on_a_linear_head_keeps_positive_weights(small):
    model, images, pairs = small
    a = model.features(images).detach()
    expected = cams.cam(a, model.head.weight.detach().clamp(min=0), pairs) / a[0, 0].numel()
    torch.testing.assert_close(run("layer-cam", model, images, pairs), expected)


@pytest.mark.parametrize("sign", [1, -1])
def test_eigen_cam_of_one_pattern_is_that_pattern_whatever_its_sign(sign):
    pattern = torch.tensor([[0.0, 1.0], [1.0, 6.0]], dtype=torch.float64)  # mean 2: the largest deviation is +4
    model = classifier(nn.Conv2d(3, 6, 1, bias=False))
    with torch.no_grad():
        model.features[0].weight[:, 0, 0, 0] = sign * torch.arange(1.0, 7.0, dtype=torch.float64)
    pairs = pairs_of(torch.tensor([[True, True, False, False]]))
    found = run("eigen-cam", model, pattern.expand(1, 3, 2, 2) * torch.tensor([1.0, 0, 0])[:, None, None], pairs)
    expected = (pattern - pattern.mean()).relu()
    torch.testing.assert_close(found / found.max(), (expected / expected.max()).expand(2, 2, 2), rtol=0, atol=1e-5)


def test_integrated_gradients_of_a_linear_model_are_pixel_times_gradient_and_complete(linear):
    model, images, pairs = linear
    shares = images[pairs.image] * gradients(model, images, pairs)
    torch.testing.assert_close(run("integrated-gradients", model, images, pairs), shares.abs().sum(1))
    with torch.no_grad():
        gain = (model(images) - model(torch.zeros_like(images)))[pairs.image, pairs.label]
    torch.testing.assert_close(shares.sum((1, 2, 3)), gain)


def test_smoothgrad_of_a_linear_model_is_its_gradient_whatever_the_noise(linear):
    model, images, pairs = linear
    expected = gradients(model, images, pairs).abs().sum(1)
    torch.testing.assert_close(run("smoothgrad", model, images, pairs), expected)


def test_smoothgrad_without_noise_is_the_gradient_and_its_noise_is_the_seeds(small):
    model, images, pairs = small
    expected = gradients(model, images, pairs).abs().sum(1)
    torch.testing.assert_close(run("smoothgrad", model, images, pairs, level=0.0), expected)
    noisy = [run("smoothgrad", model, images, pairs, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(noisy[0], noisy[1]) and not torch.equal(noisy[0], noisy[2])


class Guided(TorchFunctionMode):
    """Every rectifier of a forward passes back positive gradients at positive inputs only."""

    class Rectify(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.clamp(min=0)

        @staticmethod
        def backward(ctx, grad):
            return grad.clamp(min=0) * (ctx.saved_tensors[0] > 0)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return self.Rectify.apply(args[0]) if func in (F.relu, torch.relu) else func(*args, **(kwargs or {}))


def test_guided_backprop_is_guided_at_every_rectifier(small):
    model, images, pairs = small
    model = models.build("digits", 4, seed=2).double().eval()  # with residual blocks
    images = torch.randn(3, 3, 48, 48, dtype=torch.float64)
    with Guided():
        expected = gradients(model, images, pairs).abs().sum(1)
    plain = gradients(model, images, pairs).abs().sum(1)
    found = run("guided-backprop", model, images, pairs)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, plain, rtol=0.1)


@pytest.mark.parametrize("rectifier", [nn.ReLU, nn.ReLU6])
def test_guided_backprop_of_two_layers_by_hand(rectifier):
    """Four equal pixels, units u = (1 + x0, x1, 9 + x1), then v = (u0 - u1 + 2 u2, u0); S = 3 v0 - v1 + ..."""
    model = classifier(nn.Conv2d(3, 3, 1), rectifier(), nn.Conv2d(3, 6, 1), rectifier())
    with torch.no_grad():
        for layer, weights, bias in (
            (model.features[0], [[1, 0, 0], [0, 1, 0], [0, 1, 0]], [1, 0, 9]),
            (model.features[2], [[1, -1, 0.1], [1, 0, 0], *[[0, 0, 0]] * 4], [0] * 6),
        ):
            layer.weight.copy_(torch.tensor(weights, dtype=torch.float64)[..., None, None])
            layer.bias.copy_(torch.tensor(bias))
        model.head.weight.zero_()
        model.head.weight[0, :2] = torch.tensor([3.0, -1.0])
    image = torch.tensor([0.5, 0.25, 0.0], dtype=torch.float64).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    pairs = Pairs(torch.tensor([0]), torch.tensor([0]), torch.tensor([0]))
    # At v1 the gradient is -1 and is stopped, so u0 gets 3 alone, u1 gets -3 and is stopped, u2 gets 0.3 and lies
    # above 6 where there is a cap: S rises by 3 with x0 and by 0.3 or 0 with x1. (The gradient: 2 and -2.7 or -3.)
    expected = 3.0 + (0.3 if rectifier is nn.ReLU else 0.0)
    assert run("guided-backprop", model, image, pairs).sum().item() == pytest.approx(expected)


def test_integrated_gradients_add_up_to_what_the_logit_gains():
    """Positive weights and pixels: no share is negative, so that absolute values change nothing."""
    torch.manual_seed(3)
    model = classifier(nn.Conv2d(3, 5, 3, 1, 1), nn.Softplus(), nn.Conv2d(5, 6, 3, 2, 1), nn.Softplus())
    for parameter in model.parameters():
        parameter.data.abs_()
    images = torch.rand(2, 3, 6, 8, dtype=torch.float64) + 0.1
    pairs = pairs_of(torch.ones(2, 4, dtype=torch.bool))
    with torch.no_grad():
        gained = model(images) - model(torch.zeros_like(images))
    found = run("integrated-gradients", model, images, pairs, steps=64).sum((1, 2))
    torch.testing.assert_close(found, gained[pairs.image, pairs.label], rtol=1e-6, atol=1e-8)


def test_guided_backprop_refuses_a_model_without_rectifiers(linear):
    with pytest.raises(ValueError, match=r"needs rectifiers that are nn\.ReLU or nn\.ReLU6; Classifier has none"):
        run("guided-backprop", *linear)


def test_fullgrad_adds_rescaled_shares_of_pixels_and_biases():
    torch.manual_seed(4)
    model = classifier(nn.Conv2d(3, 6, 3, 1, 1), nn.ReLU())
    images = torch.randn(1, 3, 6, 8, dtype=torch.float64)

    def scaled(maps):
        low = maps.amin((-2, -1), keepdim=True)
        return (maps - low) / (1e-7 + maps.amax((-2, -1), keepdim=True) - low)

    x = images.clone().requires_grad_()
    before = model.features[0](x)
    logit = model.head(model.features[1](before).mean((-2, -1)))[0, 2]
    of_pixels, of_biases = torch.autograd.grad(logit, [x, before])
    shares = [
        (x * of_pixels)[0].abs().detach(),
        (model.features[0].bias[:, None, None] * of_biases)[0].abs().detach(),
    ]
    expected = scaled(sum(scaled(each).sum(0) for each in shares))
    zero = torch.tensor([0])
    found = run("fullgrad", model, images, Pairs(zero, torch.tensor([2]), zero))[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "package"), [("layer-cam", "grad-cam"), ("integrated-gradients", "captum")])
def test_a_missing_library_is_named(small, name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, {"grad-cam": "pytorch_grad_cam", "captum": "captum.attr"}[package], None)
    with pytest.raises(
        ImportError, match=f"the library {package}'s, which is not installed: pip install {package}"
    ):
        run(name, *small)
