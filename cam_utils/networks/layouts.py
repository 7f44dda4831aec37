"""How a layer's output holds its map: channels first, channels last, or tokens, folded back into a grid.

Convolutional networks give [B, K, H, W]; Swin and ConvNeXt inside [B, H, W, K]; vision transformers [B, N, K] (or
[N, B, K]): one token per patch, behind a class token and perhaps registers. :class:`Layout` turns each into
[B, K, H, W] and back, so that every method sees one form.
"""

from dataclasses import dataclass
from math import sqrt
from weakref import WeakKeyDictionary

from torch import Tensor, cat, nn

TOKENS = ("tokens", "sequence")
MOST_PREFIX = 9  # tokens that are no patch: a class token, one of distillation, up to eight registers
_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,  # of batches and of instances
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.GroupNorm,
    nn.Upsample,
)
_LAST = (nn.LayerNorm, nn.Linear)  # these two alone: a subclass may permute


@dataclass(frozen=True)
class Layout:
    """Where the map lies in a layer's output.

    kind: "first" [B, K, H, W], "last" [B, H, W, K], "tokens" [B, N, K] or "sequence" [N, B, K]. grid: (H, W) of the
    map. prefix: tokens before those of the patches, which are no part of the map.

    >>> import torch
    >>> tokens = torch.arange(10.0).reshape(1, 5, 2)  # a class token and four patches, two channels
    >>> layout = Layout("tokens", (2, 2), prefix=1)
    >>> layout.fold(tokens)[0, 0].tolist()
    [[2.0, 4.0], [6.0, 8.0]]
    >>> torch.equal(layout.unfold(layout.fold(tokens), tokens), tokens)
    True
    """

    kind: str
    grid: tuple[int, int]
    prefix: int = 0

    def fold(self, output: Tensor) -> Tensor:
        """Return the map [B, K, H, W] of a layer's output."""
        if self.kind == "first":
            return output
        if self.kind == "last":
            return output.permute(0, 3, 1, 2)
        tokens = output.transpose(0, 1) if self.kind == "sequence" else output
        return tokens[:, self.prefix :].transpose(1, 2).unflatten(2, self.grid)

    def unfold(self, maps: Tensor, output: Tensor) -> Tensor:
        """Return the layer's output with the map replaced by `maps` [N, K, H, W]; tokens that are no patch stay."""
        if self.kind == "first":
            return maps
        if self.kind == "last":
            return maps.permute(0, 2, 3, 1).contiguous()
        patches = maps.flatten(2).transpose(1, 2)
        if self.kind == "sequence":
            return cat([output[: self.prefix], patches.transpose(0, 1)], 0)
        return cat([output[:, : self.prefix], patches], 1)


_KNOWN: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()  # of layers that do not tell: what a run has shown


def remember(layer: nn.Module, kind: str) -> None:
    """Keep where the channels of a layer are, such as a ReLU's, which follow those of what it is given.

    Of tokens only "sequence" is kept: with as many images as tokens their shape does not tell.
    """
    if kind != "tokens":
        _KNOWN[layer] = kind


def order_of(layer: nn.Module) -> str | None:
    """Return "first" or "last" after the last part of a layer that tells where its channels are, else None.

    "sequence" where a run has shown tokens before images.

    >>> order_of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())), order_of(nn.LayerNorm(4)), order_of(nn.ReLU())
    ('first', 'last', None)
    """
    if layer in _KNOWN:
        return _KNOWN[layer]
    for part in reversed(list(layer.modules())):
        if isinstance(part, _FIRST):
            return "first"
        if type(part) in _LAST:
            return "last"
    return None


def layout_of(output: object, images: Tensor, order: str | None = None) -> Layout | None:
    """Return how a layer's output for images [B, C, h, w] holds a map of more than one pixel, or None.

    A map has the proportions of the images; attention's [B, heads, N, d] has others. order: "first", "last" or
    "sequence" decides where two readings fit, and "first" where neither does: convolutions without padding, or with
    strides of two sizes, lose the proportions.

    >>> import torch
    >>> images = torch.zeros(1, 3, 48, 64)
    >>> [layout_of(torch.zeros(shape), images) for shape in ((1, 5, 3, 4), (1, 3, 4, 30), (1, 8, 150, 30))]
    [Layout(kind='first', grid=(3, 4), prefix=0), Layout(kind='last', grid=(3, 4), prefix=0), None]
    >>> layout_of(torch.zeros(1, 13, 30), images)
    Layout(kind='tokens', grid=(3, 4), prefix=1)
    """
    if not isinstance(output, Tensor) or not output.is_floating_point() or 0 in output.shape:
        return None
    batch = len(images)
    if output.dim() == 4 and len(output) == batch:
        return _of_grid(output, images, order)
    if output.dim() != 3 or batch not in output.shape[:2]:
        return None
    sequence = len(output) != batch or (order == "sequence" and output.shape[1] == batch)
    kind, count = ("sequence", len(output)) if sequence else ("tokens", output.shape[1])
    grids = {prefix: grid_of(count - prefix, images) for prefix in range(MOST_PREFIX + 1)}
    grids = {prefix: grid for prefix, grid in grids.items() if grid is not None}
    height, width = images.shape[-2:]
    # Five tokens and 4 x 6 patches are also one token and 4 x 7: patches are squares wherever that is possible.
    square = [prefix for prefix, (rows, columns) in grids.items() if height * columns == width * rows]
    prefix = min(square or grids, default=None)
    return None if prefix is None else Layout(kind, grids[prefix], prefix)


def _of_grid(output: Tensor, images: Tensor, order: str | None) -> Layout | None:
    grids = {"first": tuple(output.shape[2:]), "last": tuple(output.shape[1:3])}
    grids = {kind: grid for kind, grid in grids.items() if min(grid) > 0 and grid[0] * grid[1] > 1}
    fitting = [kind for kind, grid in grids.items() if _proportional(grid, images)]
    if len(fitting) != 1:
        # A convolution's map may have any proportions, but it is not larger than the image.
        strided = order == "first" and order in grids
        inside = strided and all(a <= b for a, b in zip(grids[order], images.shape[-2:], strict=True))
        fitting = [order] if order in fitting or inside else fitting
    return Layout(fitting[0], grids[fitting[0]]) if fitting else None


def _proportional(grid: tuple[int, int], images: Tensor) -> bool:
    (h, w), (height, width) = grid, images.shape[-2:]
    return abs(h * width - w * height) <= height + width  # each side may be rounded by one


def grid_of(count: int, images: Tensor) -> tuple[int, int] | None:
    """Return the grid of `count` patches with the images' proportions, None if there is none."""
    height, width = images.shape[-2:]
    rows = round(sqrt(max(count, 0) * height / width))
    if rows < 1 or count < 2 or count % rows:
        return None
    columns = count // rows
    # A patch's side that gives both numbers, whether the last patches are left out or filled up.
    whole = max(height / (rows + 1), width / (columns + 1)) < min(height / rows, width / columns)
    filled = max(height / rows, width / columns) < min(height / max(rows - 1, 0.5), width / max(columns - 1, 0.5))
    return (rows, columns) if whole or filled else None
