"""Whether a layer's tokens are what a map takes them for: patches row by row, which the logits still depend on.

Shapes alone do not tell. Hiera keeps its tokens in the order of its windows, so that folding them row by row would
show every patch at a wrong place; and behind the last attention of a ViT only the class token is read, so that the
gradients of all patches are zero. Both are found out by running the model, once per layer.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cam_utils.networks.capture import capture_layers, run_from
from cam_utils.networks.layouts import grid_of

SPREAD = 0.1  # how much places must differ at all, of a number in [-1, 1], before their order can be judged
AGREEMENT = 0.5  # 1: all places lie where the image changed, 0: as by chance; layers of real networks give > 0.7


def read_layers(model: nn.Module, images: Tensor, layers: Sequence[nn.Module]) -> list[bool]:
    """Return of every layer whether the logits of the first of images [B, C, h, w] depend on its map."""
    if not layers:
        return []
    images = images[:1]
    logits, maps = capture_layers(model, images, layers)
    with torch.enable_grad():
        value = logits.float().square().sum()
    grads = torch.autograd.grad(value, maps, allow_unused=True)
    read = [grad is not None and bool(grad.any()) for grad in grads]
    if any(read):
        return read

    # The weights of an untrained head may all be zero, but what it is given reaches the logits: 0 * NaN is NaN.
    def reaches(layer: nn.Module, each: Tensor) -> bool:
        return bool(run_from(model, layer, images, torch.full_like(each, torch.nan)).isnan().any())

    return [reaches(layer, each) for layer, each in zip(layers, maps, strict=True)]


def row_by_row(model: nn.Module, images: Tensor, layer: nn.Module) -> bool:
    """Return whether the pixels of a layer's map lie where those of images [B, C, h, w] do.

    Half of an image of noise is exchanged, left or upper, and then the other half too: every pixel of the map must
    change more with the half that it lies in. Where all pixels change alike, as behind attention that looks
    everywhere, nothing is known, and True returned; unless the channels turn out to be the places.
    """
    noise = torch.randn(2, *images.shape[1:], generator=torch.Generator().manual_seed(0)).to(images)
    height, width = images.shape[-2:]
    left, upper = noise[:1].clone(), noise[:1].clone()
    left[..., : width // 2] = noise[1:, ..., : width // 2]
    upper[..., : height // 2, :] = noise[1:, ..., : height // 2, :]
    seen = [
        capture_layers(model, image, [layer], grads=False)[1][0][0].float()  # [K, H, W]
        for image in (noise[:1], left, upper, noise[1:])
    ]
    places = _agreement(*seen)
    if places is not None:
        return places >= AGREEMENT
    grid = grid_of(len(seen[0]), images)
    if grid is None:
        return True
    channels = _agreement(*(each.flatten(1).T.unflatten(1, grid) for each in seen))
    return channels is None or channels < AGREEMENT


def _agreement(one: Tensor, left: Tensor, upper: Tensor, other: Tensor) -> float | None:
    """Return by how much places [K, H, W] change with their half rather than with the other, the worse of the axes.

    In [-1, 1]; None where they change alike along both axes.
    """
    rows, columns = (torch.arange(n, device=one.device) for n in one.shape[1:])
    sides = (columns.flip(0) - columns)[None], (rows.flip(0) - rows)[:, None]  # positive: left, upper
    found = []
    for half, side in zip((left, upper), sides, strict=True):
        first, second = (half - one).norm(dim=0), (other - half).norm(dim=0)
        more = (first - second) / (first + second).clamp(min=torch.finfo(first.dtype).tiny)  # [H, W] in [-1, 1]
        more = more - more.mean()
        if side.numel() > 1 and more.abs().mean() >= SPREAD:
            more = more * side.sign()
            found.append(float(more.sum() / more.abs().sum()))
    return min(found, default=None)
