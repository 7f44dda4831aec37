"""Which layer is read if none is named: known layers of known networks, and traps of beginners' networks."""

import pytest
import timm
import torch
import torchvision
from torch import nn

from cam_utils.networks.capture import capture
from cam_utils.networks.layers import default_layer, last_spatial_layer, mapped_layers, named_layer


class OnePool(nn.Module):
    """One pooling module behind both convolutions."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.pool = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5), nn.MaxPool2d(2)
        self.fc = nn.Linear(16 * 5 * 5, 10)

    def forward(self, x):
        x = self.pool(torch.relu(self.conv1(x)))
        return self.fc(self.pool(torch.relu(self.conv2(x))).flatten(1))


def test_a_module_that_runs_twice_is_not_chosen():
    net = OnePool().eval()
    assert default_layer(net, torch.rand(1, 3, 32, 32)) is net.conv2


@pytest.mark.parametrize("size", [(64, 64), (128, 431), (28, 84), (64, 512)])
@pytest.mark.parametrize("pool", [2, (1, 2)])
def test_the_last_map_is_found_without_padding_and_with_strides_of_two_sizes(size, pool):
    body = [nn.Conv2d(3, 8, 5), nn.ReLU(), nn.MaxPool2d(pool), nn.Conv2d(8, 16, 5), nn.ReLU(), nn.MaxPool2d(pool)]
    body += [nn.Conv2d(16, 32, 3), nn.ReLU()]
    features = nn.Sequential(*body)(torch.zeros(1, 3, *size))
    net = nn.Sequential(*body, nn.Flatten(), nn.Linear(features[0].numel(), 4)).eval()
    layer = default_layer(net, torch.rand(1, 3, *size))
    assert layer is net[7]
    torch.testing.assert_close(capture(net, torch.zeros(1, 3, *size), layer).activations, features)


def transformer(name, library):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if library == "timm":
            return timm.create_model(name, pretrained=False).eval()
        return torchvision.models.get_model(name, weights=None).eval()


@pytest.mark.parametrize(
    ("library", "name", "expected"),
    [
        # What pytorch-grad-cam's tutorials name for them: behind it the patches no longer reach the class token.
        ("timm", "vit_tiny_patch16_224", "blocks.11.norm1"),
        ("timm", "deit_tiny_distilled_patch16_224", "blocks.11.norm1"),
        ("torchvision", "vit_b_32", "encoder.layers.encoder_layer_11.ln_1"),  # its head starts as zeros
        ("timm", "swin_tiny_patch4_window7_224", "norm"),
        ("torchvision", "swin_t", "permute"),
        ("torchvision", "maxvit_t", "blocks.3"),
        ("timm", "davit_tiny", "norm_pre"),
        ("timm", "pit_ti_224", "transformers.2.blocks.3.norm1"),  # its last grid is not read any more
        ("timm", "mixer_s32_224", "norm"),
        ("torchvision", "convnext_tiny", "features"),
    ],
)
def test_layers_of_transformers(library, name, expected):
    net = transformer(name, library)
    assert last_spatial_layer(net, torch.rand(1, 3, 224, 224)) is net.get_submodule(expected) or (
        default_layer(net, torch.rand(1, 3, 224, 224)) is net.get_submodule(expected)
    )


def test_attention_weights_are_no_maps():
    """With N rows and N columns they have the proportions of a square image."""
    net = timm.create_model("vit_tiny_patch16_224", pretrained=False).eval()
    for block in net.blocks:
        block.attn.fused_attn = False  # then its dropout sees [B, heads, N, N]
    found = mapped_layers(net, torch.rand(1, 3, 224, 224))
    assert len(found) > 50
    assert not any(each.layer is block.attn.attn_drop for each in found for block in net.blocks)


def test_layers_by_name():
    net = torchvision.models.resnet18(weights=None)
    assert named_layer(net, "layer4.1.conv2") is net.layer4[1].conv2
    for wrong, message in (
        ("layer5", "unknown layer 'layer5'; did you mean"),
        (3, "a module or a name, got 3"),
        ("", "unknown layer"),
    ):
        with pytest.raises(ValueError, match=message):
            named_layer(net, wrong)


def test_small_images_are_read_at_an_earlier_layer():
    """Of 32 pixels ResNet's last layer leaves one, also where it was asked about larger images before."""
    net = torchvision.models.resnet18(weights=None).eval()
    sizes = {224: net.layer4, 32: net.layer3, 64: net.layer4}
    for size, layer in sizes.items():
        assert default_layer(net, torch.rand(1, 3, size, size)) is layer


def test_tokens_are_read_and_attentions_heads_are_not():
    class Heads(nn.Module):
        """Tokens [B, N, K] behind a convolution, with attention's heads [B, heads, N, d] on the way."""

        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.patches = nn.Conv2d(3, 8, 16, 16)
            self.keys = nn.ModuleList(nn.LayerNorm(2) for _ in range(3))
            self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
            self.head = nn.Linear(8, 5)

        def forward(self, x):
            x = self.patches(x).flatten(2).transpose(1, 2)
            for key, block in zip(self.keys, self.blocks, strict=True):
                x = block(key(x.unflatten(2, (4, 2)).transpose(1, 2)).transpose(1, 2).flatten(2))
            return self.head(x.mean(1))

    net, x = Heads().eval(), torch.rand(1, 3, 64, 64)
    assert default_layer(net, x) is net.blocks[2]
    maps = capture(net, x, net.blocks[2]).activations
    torch.testing.assert_close(net.head(maps.mean((2, 3))), net(x))  # folding loses nothing
    with pytest.raises(ValueError, match=r"got \(1, 4, 16, 2\) from keys.0 \(LayerNorm\)"):
        capture(net, x, net.keys[0])
