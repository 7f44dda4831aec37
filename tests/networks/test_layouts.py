"""Where a layer's output holds its map: shapes of real networks, and folding there and back."""

import pytest
import torch
from torch import nn

from cam_utils.networks.layouts import Layout, layout_of, order_of

SQUARE, WIDE = torch.zeros(2, 3, 224, 224), torch.zeros(2, 3, 128, 431)


@pytest.mark.parametrize(
    ("shape", "images", "order", "expected"),
    [
        ((2, 512, 7, 7), SQUARE, None, Layout("first", (7, 7))),
        ((2, 7, 7, 768), SQUARE, None, Layout("last", (7, 7))),  # Swin
        ((2, 197, 192), SQUARE, None, Layout("tokens", (14, 14), 1)),  # ViT: a class token
        ((2, 198, 192), SQUARE, None, Layout("tokens", (14, 14), 2)),  # DeiT: one of distillation besides
        ((2, 201, 384), SQUARE, None, Layout("tokens", (14, 14), 5)),  # four registers
        ((2, 196, 192), SQUARE, None, Layout("tokens", (14, 14), 0)),  # no class token
        ((50, 2, 768), SQUARE, None, Layout("sequence", (7, 7), 1)),  # CLIP: tokens before images
        ((2, 16, 27, 102), WIDE, "first", Layout("first", (27, 102))),  # convolutions without padding
        ((2, 1 + 8 * 26, 192), WIDE, None, Layout("tokens", (8, 26), 1)),
        ((2, 5, 27, 9), WIDE, "first", Layout("first", (27, 9))),  # strides of two sizes, behind a convolution
        ((2, 5, 27, 9), WIDE, None, None),
        ((2, 56, 56, 56), SQUARE, "last", Layout("last", (56, 56))),  # as many channels as rows
        ((2, 56, 56, 56), SQUARE, None, Layout("first", (56, 56))),
        ((2, 12, 197, 64), SQUARE, "last", None),  # attention's heads
        ((2, 12, 1, 197), SQUARE, "last", None),
        ((2, 512, 1, 1), SQUARE, "first", None),  # pooled
        ((2, 1000), SQUARE, None, None),
        ((8, 49, 96), SQUARE, None, None),  # windows
        ((2, 77, 512), SQUARE, None, None),  # words
    ],
)
def test_layouts_of_real_networks(shape, images, order, expected):
    assert layout_of(torch.zeros(shape), images, order) == expected


def test_outputs_that_are_no_numbers_have_no_map():
    for output in (None, "text", torch.zeros(2, 3, 7, 7, dtype=torch.int64), torch.zeros(0, 3, 7, 7)):
        assert layout_of(output, SQUARE) is None


@pytest.mark.parametrize(
    ("layout", "shape"),
    [
        (Layout("first", (3, 4)), (2, 5, 3, 4)),
        (Layout("last", (3, 4)), (2, 3, 4, 5)),
        (Layout("tokens", (3, 4), 2), (2, 14, 5)),
        (Layout("sequence", (3, 4), 1), (13, 2, 5)),
    ],
)
def test_folding_there_and_back_moves_every_number_to_its_pixel(layout, shape):
    output = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    maps = layout.fold(output)
    assert maps.shape == (2, 5, 3, 4)
    pixel = {
        "first": lambda b, y, x: output[b, :, y, x],
        "last": lambda b, y, x: output[b, y, x],
        "tokens": lambda b, y, x: output[b, 2 + 4 * y + x],
        "sequence": lambda b, y, x: output[1 + 4 * y + x, b],
    }[layout.kind]
    for b, y, x in ((0, 0, 0), (1, 0, 3), (1, 2, 1)):
        assert torch.equal(maps[b, :, y, x], pixel(b, y, x))
    assert torch.equal(layout.unfold(maps, output), output)
    changed = layout.unfold(maps + 1, output)
    assert torch.equal(layout.fold(changed), maps + 1)
    if layout.kind == "tokens":
        assert torch.equal(changed[:, :2], output[:, :2])  # the class token stays


def test_the_last_part_that_tells_says_where_channels_are():
    assert order_of(nn.Sequential(nn.Linear(3, 4), nn.Conv2d(3, 4, 1), nn.GELU())) == "first"
    assert order_of(nn.Sequential(nn.Conv2d(3, 4, 1), nn.LayerNorm(4), nn.Dropout())) == "last"

    class Permuting(nn.LayerNorm):  # torchvision's LayerNorm2d takes channels first
        pass

    assert order_of(Permuting(4)) is None
