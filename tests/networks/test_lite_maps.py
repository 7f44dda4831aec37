"""EfficientNet-Lite with ImageNet's weights: maps equal to plain autograd's, and what the input must be."""

# ruff: noqa: F811, which takes fixtures of another file for redefined
import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F

from cam_utils import data, explain
from cam_utils.methods import registry
from cam_utils.networks import lite, models
from tests.networks.test_lite import LABELS, PHOTO, loaded, plain, random_net  # noqa: F401


def shown(raw, relu, size):
    """Return maps [P, H, W] as they are explained: over their own range, or signed over their largest value."""
    rectified = raw.relu()
    low, high = rectified.amin((1, 2), keepdim=True), rectified.amax((1, 2), keepdim=True)
    span = (high - low).where(high > low, torch.ones_like(high))
    made = (rectified - low) / span if relu else raw / raw.abs().amax((1, 2), keepdim=True)
    return F.interpolate(made[None], size, mode="bilinear")[0]


def test_the_mean_of_cam_and_the_bias_are_the_logit(loaded):
    cases = [(loaded.model, loaded.read(PHOTO))]
    images = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    cases += [(random_net(name), images) for name in lite.LITE[1:]]
    for net, x in cases:
        head = net.classifier
        with torch.no_grad():
            maps = torch.einsum("lk,bkhw->blhw", head.weight[LABELS], net.forward_features(x))
            torch.testing.assert_close(
                maps.mean((-2, -1)) + head.bias[LABELS], net(x)[:, LABELS], rtol=0, atol=1e-5
            )
        for relu in (True, False):  # and the library's maps are these
            found = explain(net, x, [LABELS], method="cam", relu=relu)
            expected = shown(maps[0], relu, x.shape[-2:])
            torch.testing.assert_close(found.maps, expected, rtol=0, atol=1e-5)


def formulas(net, images):
    """Return {method: maps [2, H, W]} of the two labels: the equations in words, over a graph of timm's network."""
    features = net.forward_features(images).detach().requires_grad_()
    a = features[0].detach()
    scores = net.forward_head(features)[0, LABELS]

    def gradient(score):
        return torch.autograd.grad(score, features, retain_graph=True)[0][0]

    g = [gradient(score) for score in scores]
    focused = [gradient(scores[i] - scores[1 - i]) for i in (0, 1)]  # J_c, with one other label
    both, w = gradient(scores.sum()), net.classifier.weight.detach()[LABELS]

    def weighed(alpha):
        return torch.stack([(each[:, None, None] * a).sum(0) for each in alpha])

    def plus(i):
        mass = a.sum((1, 2), keepdim=True)
        ratio = g[i] ** 2 / (2 * g[i] ** 2 + mass * g[i] ** 3)
        return (ratio.nan_to_num() * g[i].relu()).sum((1, 2))

    def parts(own, other, total):
        return own.relu() - other.relu() - (-total).relu() / 2

    pairs = ((0, 1), (1, 0))
    return {
        "cam": weighed(w),
        "grad-cam": weighed([each.mean((1, 2)) for each in g]),
        "grad-cam++": weighed([plus(i) for i in (0, 1)]),
        "minmax-cam": weighed([w[i] - w[j] for i, j in pairs]),
        "d-minmax-cam": weighed([parts(w[i], w[j], w[0] + w[1]) for i, j in pairs]),
        "minmax-grad-cam": weighed([each.sum((1, 2)) for each in focused]),
        "d-minmax-grad-cam": weighed([parts(g[i], g[j], both).sum((1, 2)) for i, j in pairs]),
    }


def test_maps_of_two_labels_are_those_of_plain_autograd(loaded, plain):
    double = dataclasses.replace(loaded, model=models.pretrained("efficientnet_lite0").net.double())
    images = loaded.read(PHOTO).double()
    every = formulas(copy.deepcopy(plain).double(), images)
    for method, raw in every.items():
        assert (raw.abs().amax((1, 2)) > 0).all()
        for relu in (True, False):
            found = explain(double, images, [LABELS], method=method, relu=relu)
            assert found.layer is double.model.bn2
            torch.testing.assert_close(
                found.maps,
                shown(raw, relu, (224, 224)),
                rtol=0,
                atol=1e-8,
                msg=lambda text, m=method: f"{m}: {text}",
            )


@pytest.mark.parametrize("method", registry.METHODS)
def test_no_method_needs_a_backward(method, loaded, monkeypatch):
    def refuse(*_arguments, **_options):
        raise AssertionError("a backward ran")

    monkeypatch.setattr(torch.autograd, "grad", refuse)
    monkeypatch.setattr(torch.autograd, "backward", refuse)
    few = registry.method(method, draws=1) if method in registry.COSTLY else method
    images = F.interpolate(loaded.read(PHOTO), (64, 64), mode="area")
    found = explain(loaded, images, [LABELS], method=few, relu=method not in registry.SIGNED)
    assert found.maps.shape == (2, 64, 64) and (found.maps.abs().amax((1, 2)) > 0.5).all()
    assert not torch.equal(found.maps[0], found.maps[1])


def test_imagenets_photographs_are_recognised_if_they_come_as_the_weights_expect(loaded, shared):
    photographs = data.load("imagenet", "val", root=shared / "data", size=224, resize="crop")
    every = [photographs[i] for i in range(0, 500, 5)]  # 100 classes
    pixels, labels = torch.stack([each.image for each in every]), torch.stack([each.labels for each in every])
    usual = dataclasses.replace(loaded, mean=models.IMAGENET[0], std=models.IMAGENET[1])
    with torch.no_grad():
        right, less = ((each.model(each.preprocess(pixels)).argmax(1) == labels.argmax(1)).float().mean()
                       for each in (loaded, usual))  # fmt: skip
    assert right >= 0.8 and less < right - 0.03
