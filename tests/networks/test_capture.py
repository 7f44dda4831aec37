"""Capture and head gradients against a full backward, captum and pytorch-grad-cam; nothing of the model changes."""

import pytest
import torch
import torchvision
from torch import nn

from cam_utils import maps
from cam_utils.methods import cams
from cam_utils.methods.closed_forms import linear_head
from cam_utils.networks.capture import capture
from cam_utils.networks.gradients import head_gradients
from cam_utils.networks.layers import last_spatial_layer
from cam_utils.pairs import pairs_of

PRESENT = torch.zeros(2, 10, dtype=torch.bool)
PRESENT[0, [1, 4, 7]] = True
PRESENT[1, [2]] = True


def network(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torchvision.models.get_model(name, weights=None, num_classes=10).eval()


def pictures(size=64, seed=0):
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(seed))


def _reference_gradients(net, layer, images, pairs):
    """The whole graph, one ordinary backward per pair."""
    kept = []
    handle = layer.register_forward_hook(lambda m, i, o: kept.append(o) or o.clone())
    logits = net(images)
    handle.remove()
    grads = []
    for b, c in zip(pairs.image.tolist(), pairs.label.tolist(), strict=True):
        grads.append(torch.autograd.grad(logits[b, c], kept[0], retain_graph=True)[0][b])
    return torch.stack(grads), kept[0].detach(), logits.detach()


@pytest.mark.parametrize(
    ("name", "size"), [("resnet18", 64), ("vgg11", 64), ("squeezenet1_0", 64), ("densenet121", 64), ("alexnet", 96)]
)
def test_head_gradients_equal_a_full_backward(name, size):
    net, images, pairs = network(name), pictures(size), pairs_of(PRESENT)
    layer = getattr(net, "features", None) or net.layer4
    grads, activations, logits = _reference_gradients(net, layer, images, pairs)
    captured = capture(net, images, layer, grads=True)
    torch.testing.assert_close(captured.logits.detach(), logits)
    torch.testing.assert_close(captured.activations.detach(), activations)
    torch.testing.assert_close(head_gradients(captured, pairs), grads)


def test_the_backbone_records_no_graph_and_the_model_is_left_as_it_was():
    net, images = network("resnet18"), pictures()
    net.train()
    net.layer1.eval()
    modes = [m.training for m in net.modules()]
    state = {k: v.clone() for k, v in net.state_dict().items()}
    captured = capture(net, images, net.layer4, grads=True)
    head_gradients(captured, pairs_of(PRESENT))
    assert captured.activations.is_leaf
    assert [m.training for m in net.modules()] == modes
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert not any(m._forward_hooks for m in net.modules())
    assert torch.is_grad_enabled()


def test_hooks_and_modes_are_restored_after_an_error():
    net = network("resnet18").train()
    with pytest.raises(RuntimeError):
        capture(net, torch.randn(1, 5, 64, 64), net.layer4, grads=True)  # five input channels
    assert net.training and torch.is_grad_enabled()
    assert not any(m._forward_hooks for m in net.modules())


def test_grad_cam_agrees_with_captum():
    from captum.attr import LayerGradCam

    net, images, pairs = network("resnet18"), pictures(96), pairs_of(PRESENT)
    captured = capture(net, images, net.layer4, grads=True)
    ours = maps.normalise(cams.grad_cam(captured.activations.detach(), head_gradients(captured, pairs), pairs))
    peer = LayerGradCam(net, net.layer4)
    theirs = [
        peer.attribute(images[b : b + 1], target=c, relu_attributions=True)[0, 0].detach()
        for b, c in zip(pairs.image.tolist(), pairs.label.tolist(), strict=True)
    ]
    torch.testing.assert_close(ours, maps.normalise(torch.stack(theirs)), rtol=1e-4, atol=1e-5)


def test_grad_cam_pp_agrees_with_pytorch_grad_cam_where_its_epsilon_is_negligible():
    """Its denominator adds 1e-6 to products of gradients: scaling the head up makes that negligible."""
    from pytorch_grad_cam import GradCAMPlusPlus
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    net, images = network("vgg11"), pictures(64)
    with torch.no_grad():
        net.classifier[-1].weight *= 1e4
    pairs = pairs_of(PRESENT)
    captured = capture(net, images, net.features, grads=True)
    ours = cams.grad_cam_pp(captured.activations.detach(), head_gradients(captured, pairs), pairs)
    ours = maps.normalise(maps.upsample(maps.normalise(ours), (64, 64)))  # the peer normalises again after resizing
    with GradCAMPlusPlus(net, [net.features]) as peer:
        theirs = [
            torch.from_numpy(peer(images[b : b + 1], [ClassifierOutputTarget(c)])[0])
            for b, c in zip(pairs.image.tolist(), pairs.label.tolist(), strict=True)
        ]
    torch.testing.assert_close(ours, torch.stack(theirs).to(ours.dtype), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "efficientnet_b0"])
def test_gap_and_linear_heads_are_recognised_by_their_numbers(name):
    net, images = network(name), pictures()
    layer = getattr(net, "features", None) or net.layer4
    captured = capture(net, images, layer, grads=True)
    pairs = pairs_of(PRESENT)
    weights = linear_head(net, captured)
    h, w = captured.activations.shape[-2:]
    expected = weights[pairs.label][..., None, None].expand(-1, -1, h, w) / (h * w)
    torch.testing.assert_close(head_gradients(captured, pairs), expected)


def test_other_heads_are_not_taken_for_linear():
    for name, layer in (("vgg11", "features"), ("squeezenet1_0", "features"), ("resnet18", "layer3")):
        net = network(name)
        assert linear_head(net, capture(net, pictures(), getattr(net, layer))) is None


def test_tiny_weights_behind_another_pooling_are_not_taken_for_linear():
    class MaxPooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 10)
            nn.init.uniform_(self.head.weight, -1e-5, 1e-5)

        def forward(self, x):
            return self.head(self.features(x).amax((-2, -1)))

    net = MaxPooled()
    assert linear_head(net, capture(net, pictures(), net.features)) is None


class Patched(nn.Module):
    """A GAP + linear head of 1,000 labels, one of which is something else."""

    def __init__(self, other):
        super().__init__()
        self.features, self.head, self.other = nn.Conv2d(3, 4, 3), nn.Linear(4, 1000), other

    def forward(self, x):
        maps = self.features(x)
        logits = self.head(maps.mean((-2, -1)))
        logits[:, self.other] = maps.amax((-3, -2, -1))
        return logits


@pytest.mark.parametrize("other", [0, 1, 17, 999])
def test_a_large_head_must_be_linear_for_the_labels_that_are_explained(other):
    torch.manual_seed(0)
    net = Patched(other)
    captured = capture(net, pictures(), net.features)
    assert linear_head(net, captured) is None and linear_head(net, captured, torch.tensor([other])) is None
    elsewhere = linear_head(net, captured, torch.tensor([other ^ 3, 500]))
    # Label 0 is among those that are always looked at.
    assert elsewhere is None if other == 0 else elsewhere.equal(net.head.weight)


def test_the_last_spatial_layer_is_found():
    net = network("resnet18")
    assert last_spatial_layer(net, pictures()) is net.layer4
    with pytest.raises(ValueError, match="no layer of Sequential has activations"):
        last_spatial_layer(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 2)), pictures())


def test_wrong_layers_are_named():
    net, images = network("resnet18"), pictures()
    with pytest.raises(ValueError, match=r"that hold a map, .* got \(2, 10\) from fc \(Linear\)"):
        capture(net, images, net.fc)
    with pytest.raises(ValueError, match="never reached the layer"):
        capture(net, images, nn.ReLU())
    with pytest.raises(ValueError, match="runs once per forward"):
        capture(net, images, net.layer1[0].relu)
    with pytest.raises(ValueError, match=r"expected a classifier with logits \(B,L\)"):
        capture(nn.Sequential(net.conv1, net.bn1), images, net.conv1)
