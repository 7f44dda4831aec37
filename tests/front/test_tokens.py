"""Whether a layer's tokens are what a map takes them for: read by the logits, row by row, images before tokens."""

import pytest
import torch
import torchvision
from timm.models.hiera import Hiera
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from cam_utils.front.explain import explain
from cam_utils.networks import tokens
from cam_utils.networks.capture import capture, run_from

LABELS = [[1, 4, 7], [2, 0]]
FIRST = "blocks.2.norm1"  # of the last block: what its attention is given


@pytest.fixture
def vit():
    """A small network with a class token, and two images that are not square."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = VisionTransformer((64, 96), 16, num_classes=10, embed_dim=32, depth=3, num_heads=2).eval()
        nn.init.normal_(net.head.weight)
    return net, torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("layer", ["blocks.2.norm2", "blocks.2", "blocks", "norm", "blocks.2.attn"])
def test_a_layer_behind_the_last_attention_is_refused(layer, vit):
    net, images = vit
    for _ in range(2):  # the second time as the first
        with pytest.raises(ValueError, match=rf"no logit depends on the patches of {layer} \("):
            explain(net, images, LABELS, layer=layer)
    with pytest.raises(ValueError, match=rf"no logit depends on the patches of {layer} \("):
        explain(net, images, LABELS, layer=[FIRST, layer])


def test_a_head_of_zeros_does_not_hide_the_patches(vit):
    net, images = vit
    nn.init.zeros_(net.head.weight)
    assert not explain(net, images, LABELS, layer=FIRST).maps.any()
    with pytest.raises(ValueError, match="no logit depends on the patches"):
        explain(net, images, LABELS, layer="norm")


def _hiera():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        how = {"num_heads": 1, "stages": (1, 1, 2), "q_pool": 2, "mask_unit_size": (4, 4), "num_classes": 10}
        net = Hiera((64, 64), embed_dim=16, **how).eval()
        nn.init.normal_(net.head.fc.weight)
    return net, torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("layer", ["blocks.0", "blocks.0.norm1", "blocks.0.mlp.fc2", "blocks.1"])
def test_tokens_in_the_order_of_windows_are_refused(layer):
    net, images = _hiera()
    for _ in range(2):
        with pytest.raises(
            ValueError, match=rf"tokens of {layer} \(\w+\) are not in the order of the image's patches"
        ):
            explain(net, images, [[1, 2]], layer=layer)
    assert explain(net, images, [[1, 2]], layer="patch_embed").maps.any()


def test_tokens_that_are_in_order_again_are_read():
    net, images = _hiera()
    assert explain(net, images, [[1, 2]]).layer is net.blocks[-1]


class Reordered(nn.Module):
    """Patches in an order of their own, a normalisation, and a head that reads all of them."""

    def __init__(self, order, grid=(8, 8), channels=32, last=False):
        super().__init__()
        self.order, self.last = order(torch.arange(grid[0] * grid[1]).view(grid)).flatten(), last
        self.patches, self.norm = nn.Conv2d(3, channels, 8, 8), nn.Identity()
        self.mixed = nn.Linear(channels, channels)
        self.head = nn.Linear(channels, 5)

    def forward(self, images):
        found = self.patches(images).flatten(2)[..., self.order]  # [B, K, N]
        found = self.norm(found if self.last else self.mixed(found.transpose(1, 2)))
        return self.head(torch.tanh(found).mean(2 if self.last else 1))


@pytest.mark.parametrize(
    ("order", "right"),
    [
        (lambda at: at, True),
        (lambda at: at.T, False),
        (lambda at: at.flip(0), False),
        (lambda at: at.flip(1), False),
        (lambda at: at.flip(0, 1), False),
        (lambda at: at.reshape(4, 2, 4, 2).transpose(1, 2), False),  # windows of 2 x 2
        (lambda at: at.reshape(2, 4, 2, 4).transpose(1, 2), False),  # windows of 4 x 4
        (lambda at: at.reshape(4, 2, 4, 2).permute(1, 3, 0, 2), False),  # every second row and column
        (lambda at: at.flatten()[torch.randperm(64, generator=torch.Generator().manual_seed(0))], False),
        (lambda at: at.roll((4, 4), (0, 1)), False),  # shifted by half the image
    ],
)
def test_the_order_of_tokens_is_told_by_the_images_halves(order, right):
    torch.manual_seed(0)
    net, images = Reordered(order).eval(), torch.randn(1, 3, 64, 64)
    assert tokens.row_by_row(net, images, net.norm) == right
    if not right:
        with pytest.raises(ValueError, match="not in the order of the image's patches"):
            explain(net, images, [[0, 1]], layer="norm")
        assert explain(net, images, [[0, 1]]).layer is net.patches


def test_channels_that_could_be_places_are_told_from_places():
    """[B, K, N] with K = 64 channels folds as well as [B, N, K] does."""
    torch.manual_seed(0)
    net, images = Reordered(lambda at: at, channels=64, last=True).eval(), torch.randn(2, 3, 64, 64)
    with pytest.raises(ValueError, match=r"tokens of norm \(Identity\) are not in the order"):
        explain(net, images, [[0, 1], [2]], layer="norm")


class Clip(nn.Module):
    """Tokens before images, as open_clip has them."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 16, 16)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, norm_first=True)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 10)

    def forward(self, images):
        sequence = self.patches(images).flatten(2).permute(2, 0, 1)  # [N, B, K]
        return self.head(torch.tanh(self.norm(self.block(sequence))).mean(0))


@pytest.mark.parametrize("layer", [None, "norm"])
def test_as_many_images_as_tokens_before_images(layer):
    torch.manual_seed(0)
    net = Clip().eval()
    images = torch.randn(16, 3, 64, 64)  # 16 tokens each
    labels = [[i % 10, (i + 3) % 10] for i in range(16)]
    together = explain(net, images, labels, layer=layer)
    assert together.layer is net.norm
    alone = [explain(net, images[i : i + 1], [labels[i]], layer=layer).maps for i in range(16)]
    torch.testing.assert_close(together.maps, torch.cat(alone), rtol=1e-4, atol=1e-4)
    kept = capture(net, images, net.norm).activations
    torch.testing.assert_close(run_from(net, net.norm, images, kept), net(images).detach())


def _runs(net, images, layer):
    runs = []
    handle = net.register_forward_hook(lambda m, i, out: runs.append(len(i[0])))
    explain(net, images, LABELS, layer=layer)
    handle.remove()
    return runs


def test_a_layer_is_looked_at_once(vit):
    net, images = vit
    assert len(_runs(net, images, FIRST)) > 1
    assert _runs(net, images, FIRST) == [2]
    plain = torchvision.models.resnet18(weights=None, num_classes=10).eval()
    assert _runs(plain, images, "layer3") == [2]  # of what convolutions give nothing need be asked
