"""What happens to a raw map before anyone looks at it: the book's only definitions of "normalised".

Shapes: maps are [P, H, W], one per explained pair (image, label).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def normalise(maps: Float[Tensor, "*pairs height width"]) -> Float[Tensor, "*pairs height width"]:
    """Return every map rescaled to [0, 1] over its own pixels: s(m) = (m - min m) / (max m - min m).

    A constant map (a zero map among them) has no contrast to rescale: it becomes zero, never NaN.

    >>> normalise(torch.tensor([[[0.0, 1.0], [2.0, 4.0]]])).tolist()
    [[[0.0, 0.25], [0.5, 1.0]]]
    """
    low = maps.amin((-2, -1), keepdim=True)
    span = maps.amax((-2, -1), keepdim=True) - low
    return torch.where(span > 0, (maps - low) / span.where(span > 0, torch.ones_like(span)), 0.0)


def peak(maps: Float[Tensor, "*pairs height width"]) -> Float[Tensor, "*pairs height width"]:
    """Return every rectified map divided by its maximum: in [0, 1], and zero stays zero.

    Unlike :func:`normalise` it keeps the zero of the map where it was, which sums and products of maps rely on
    (Meng et al.; deviation dev-rep-normalisation). A map without positive pixels becomes zero, never NaN.

    >>> peak(torch.tensor([[[1.0, 2.0], [2.0, 4.0]]])).tolist()
    [[[0.25, 0.5], [0.5, 1.0]]]
    """
    top = maps.amax((-2, -1), keepdim=True)
    return torch.where(top > 0, maps / top.where(top > 0, torch.ones_like(top)), 0.0)


NORMALISATIONS = {  # of signed maps of a class; the ReLU of a recipe changes neither kind
    "min-max": normalise,  # the published code of CAM and of ACoL: the lowest pixel becomes 0, whatever its sign
    "relu-max": lambda maps: peak(maps.relu()),  # Grad-CAM's ReLU: evidence against the class becomes 0
}


def balanced(maps: Float[Tensor, "*pairs height width"]) -> Float[Tensor, "*pairs height width"]:
    """Return every signed map divided by its largest absolute value: in [-1, 1], and zero stays zero.

    >>> balanced(torch.tensor([[[-4.0, 0.0], [1.0, 2.0]]])).tolist()
    [[[-1.0, 0.0], [0.25, 0.5]]]
    """
    top = maps.abs().amax((-2, -1), keepdim=True)
    return torch.where(top > 0, maps / top.where(top > 0, torch.ones_like(top)), 0.0)


def upsample(maps: Float[Tensor, "pairs height width"], size: tuple[int, int]) -> Float[Tensor, "pairs tall wide"]:
    """Return the maps resized to `size` (height, width): bilinear, half-pixel centres, no antialias.

    The operator is linear and its weights sum to one, so it commutes with weighted sums of maps.

    >>> upsample(torch.ones(1, 2, 2), (4, 4)).unique().tolist()
    [1.0]
    """
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def masks(
    raw: Float[Tensor, "pairs height width"], size: tuple[int, int], *, upsample_first: bool = False
) -> Float[Tensor, "pairs tall wide"]:
    """Return the masks in [0, 1] at input size: normalise at the map's own resolution, then upsample.

    This order is that of MinMax-CAM's official code (deviation dev-mask-order): after bilinear upsampling a mask
    may peak below 1, except for methods whose map already has the input's size. With `upsample_first` all are
    s(U(L)) (SS-CAM's evaluation, deviation dev-sscam-mask-order).

    >>> masks(torch.tensor([[[0.0, 2.0]]]), (1, 4)).tolist()
    [[[0.0, 0.25, 0.75, 1.0]]]
    >>> small = torch.tensor([[[0.0, 1.0, 0.0]]])
    >>> [masks(small, (1, 6), upsample_first=first).max().item() for first in (False, True)]
    [0.75, 1.0]
    """
    raw = upsample(raw, size) if upsample_first else raw
    normalised = normalise(raw)
    return normalised if raw.shape[-2:] == tuple(size) else upsample(normalised, size)


def threshold(maps: Float[Tensor, "pairs height width"], value: float) -> Bool[Tensor, "pairs height width"]:
    """Return the binary masks of pixels at or above `value` (a fraction of the normalised range).

    >>> threshold(torch.tensor([[[0.1, 0.15, 0.9]]]), 0.15).tolist()
    [[[False, True, True]]]
    """
    return maps >= value
