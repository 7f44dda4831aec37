"""CBAM against hand-computed cases and torchvision's networks."""

import math

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from cam_utils.methods import registry
from cam_utils.methods.query import Query
from cam_utils.networks import capture, models
from cam_utils.networks.baselines import CBAM, with_cbam
from cam_utils.pairs import pairs_of

HALF = ((0.5,) * 3, (0.25,) * 3)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def opened(net: nn.Module) -> nn.Module:
    """Force every attention of the network to exactly 1: no weights, and biases that saturate the sigmoid."""
    for block in [m for m in net.modules() if isinstance(m, CBAM)]:
        for name, parameter in block.named_parameters():
            nn.init.constant_(parameter, 100.0 if name in ("mlp.2.bias", "conv.bias") else 0.0)
    return net


def resnet50_state(seed: int = 0) -> dict:
    """A resnet50 whose every branch matters: batch normalisations with statistics and scales of their own."""
    generator = torch.Generator().manual_seed(seed)
    state = torchvision.models.resnet50(weights=None).state_dict()
    for key, value in state.items():
        if key.endswith(("running_mean", "bias")):
            state[key] = 0.1 * torch.randn(value.shape, generator=generator)
        elif value.dim() == 1:
            state[key] = 0.5 + torch.rand(value.shape, generator=generator)
        elif value.dim() > 1:
            state[key] = torch.randn(value.shape, generator=generator) / math.sqrt(value[0].numel())
    return state


def test_attention_without_weights_is_one_half_twice():
    attention = CBAM(32)
    for parameter in attention.parameters():
        nn.init.zeros_(parameter)
    x = torch.randn(2, 32, 5, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(attention(x), x * 0.5 * 0.5)


def test_attention_of_one_pixel_by_hand():
    attention = CBAM(2)  # one hidden unit; the 7x7 kernel sees only its centre
    values = {
        "mlp.0.weight": [[1.0, 2.0]],
        "mlp.0.bias": [0.5],
        "mlp.2.weight": [[1.0], [-1.0]],
        "mlp.2.bias": [0.25, 0.0],
    }
    conv = torch.zeros(1, 2, 7, 7)
    conv[0, :, 3, 3] = torch.tensor([2.0, -1.0])  # average over channels, then maximum
    state = {k: torch.tensor(v) for k, v in values.items()} | {
        "conv.weight": conv,
        "conv.bias": torch.tensor([0.1]),
    }
    attention.load_state_dict(state)
    hidden = 1.0 * 3 + 2.0 * -1 + 0.5  # average and maximum of one pixel are the pixel: the MLP counts twice
    first, second = 3 * sigmoid(2 * (hidden + 0.25)), -1 * sigmoid(2 * -hidden)
    spatial = sigmoid(2.0 * (first + second) / 2 - max(first, second) + 0.1)
    found = attention(torch.tensor([3.0, -1.0]).view(1, 2, 1, 1)).flatten()
    torch.testing.assert_close(found, torch.tensor([spatial * first, spatial * second]))


def test_channel_attention_adds_what_the_mlp_makes_of_mean_and_maximum():
    attention = opened(CBAM(1))
    attention.mlp[0].weight.data.fill_(1.0)
    attention.mlp[2].weight.data.fill_(1.0)
    attention.mlp[2].bias.data.zero_()
    x = torch.tensor([[[[-2.0, 1.0], [1.0, 2.0]]]])  # mean 1/2, maximum 2; one ReLU each
    torch.testing.assert_close(attention(x), x * sigmoid(0.5 + 2.0))
    torch.testing.assert_close(attention(x - 1), (x - 1) * sigmoid(0.0 + 1.0))  # the ReLU hides the mean -1/2


def test_the_same_spatial_attention_holds_for_every_channel():
    attention = opened(CBAM(4))
    attention.conv.reset_parameters()
    x = random(1, 4, 6, 6) + 1
    ratio = attention(x) / x
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))
    pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
    expected = torch.sigmoid(F.conv2d(pooled, attention.conv.weight, attention.conv.bias, padding=3))
    torch.testing.assert_close(ratio[:, :1], expected)
    assert ratio.std() > 0.01


def test_few_channels_keep_one_hidden_unit_and_bad_sizes_are_refused():
    assert CBAM(8).mlp[0].out_features == 1 and CBAM(64).mlp[0].out_features == 4
    for arguments in ((0,), (8, 0), (8, 16, 4)):
        with pytest.raises(ValueError, match="expected channels >= 1, reduction >= 1 and an odd kernel, got"):
            CBAM(*arguments)
    with pytest.raises(ValueError, match="expected a torchvision ResNet made of bottlenecks, got ResNet"):
        with_cbam(torchvision.models.resnet18(weights=None))


def test_resnet50_with_open_attention_is_torchvisions(tmp_path):
    reference = torchvision.models.resnet50(weights=None)
    reference.load_state_dict(resnet50_state())
    torch.save(reference.state_dict(), tmp_path / "resnet50.pth")
    model = models.build("cbam_resnet50", 3, weights=tmp_path / "resnet50.pth").eval()
    images = random(2, 3, 64, 64)
    blocks = [m for m in model.modules() if isinstance(m, torchvision.models.resnet.Bottleneck)]
    assert sum(isinstance(m, CBAM) for m in model.modules()) == len(blocks) == 16
    plain = nn.Sequential(*list(reference.eval().children())[:-2])
    with torch.no_grad():
        expected = plain(images)
        assert (model.features(images) - expected).abs().max() > 0.01  # attention does something
        torch.testing.assert_close(opened(model).features(images), expected)
        for block in blocks:
            block.bn3[1] = nn.Identity()
        torch.testing.assert_close(model.features(images), expected)


def test_attention_acts_before_the_addition(tmp_path):
    reference = torchvision.models.resnet50(weights=None).layer1[1].eval()
    block = torchvision.models.resnet50(weights=None).layer1[1]
    block.load_state_dict(reference.state_dict())
    with_cbam(block).eval()
    x = random(1, 256, 6, 6)
    for parameter in block.bn3[1].parameters():
        nn.init.zeros_(parameter)
    r = reference
    branch = r.bn3(r.conv3(F.relu(r.bn2(r.conv2(F.relu(r.bn1(r.conv1(x))))))))
    torch.testing.assert_close(block(x), F.relu(0.25 * branch + x))


@pytest.mark.parametrize("change", ["missing", "unexpected"])
def test_a_state_that_is_not_all_of_resnet50_is_refused(tmp_path, change):
    state = torchvision.models.resnet50(weights=None).state_dict()
    if change == "missing":
        del state["layer3.2.bn3.weight"]
    else:
        state["layer3.2.cbam.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "state.pth")
    with pytest.raises(ValueError, match=r"does not fit torchvision\.models\.resnet50: it .*layer3\.2"):
        models.build("cbam_resnet50", 3, weights=tmp_path / "state.pth")


def test_digits_cbam_with_open_attention_is_the_digits_network():
    plain, model = models.build("digits", 4, seed=1).eval(), models.build("digits-cbam", 4).eval()
    missing, unexpected = model.load_state_dict(plain.state_dict(), strict=False)
    assert unexpected == [] and {key.split(".")[3] for key in missing} == {"5"}
    assert {key.split(".")[1] for key in missing} == {"1", "2", "3"}  # every residual block
    images = random(2, 3, 96, 96)
    with torch.no_grad():
        assert (model(images) - plain(images)).abs().max() > 1e-3
        torch.testing.assert_close(opened(model)(images), plain(images))


def test_maps_of_a_network_with_attention_are_found_as_for_any_classifier():
    model = models.build("digits-cbam", 4).eval()
    images, pairs = random(1, 3, 96, 96), pairs_of(torch.tensor([[True, False, True, False]]))
    captured = capture.capture(model, images, model.features, grads=True)
    found = {
        name: registry.METHODS[name](Query(model, images, captured, pairs, model.features, model))
        for name in ("cam", "grad-cam")
    }
    torch.testing.assert_close(found["cam"], found["grad-cam"])
