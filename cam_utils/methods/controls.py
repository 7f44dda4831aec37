"""Controls: maps that tell what a method gains by being smaller from what it gains by looking elsewhere, and maps
that know nothing of the label, which tell what a metric gives away.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from cam_utils import maps
from cam_utils.methods import cams
from cam_utils.methods.query import Query

HALVINGS = 60  # of the interval that holds the power's logarithm
LARGEST = 40.0  # of that logarithm: 2 ** 40 leaves nothing of a pixel below the peak


@torch.no_grad()
def area_matched_cam(query: Query) -> Tensor:
    """Return CAM sharpened to the area of MinMax-CAM: of every pair's map the power whose mask has the same mean.

    The pixels keep CAM's order, so all that differs from CAM is the size; what MinMax-CAM has more than this map,
    it has by looking elsewhere. Where the label stands alone MinMax-CAM is CAM, and the power is 1. Raises
    ValueError without global average pooling and one linear layer behind the explained layer.
    """
    given = query.activations, query.weights, query.pairs
    return area_matched(cams.cam(*given), cams.minmax_cam(*given), query.images.shape[-2:])


def area_matched(
    of: Float[Tensor, "pairs height width"], to: Float[Tensor, "pairs height width"], size: tuple[int, int]
) -> Float[Tensor, "pairs height width"]:
    """Return s(of)^gamma in [0, 1], gamma > 0 such that its mask of `size` has the mean of the mask of `to`.

    Masks are those of :func:`cam_utils.maps.masks`. Where no power reaches that mean the nearest is taken: all of
    the support, or the peak alone; a target without any area gives a zero map.

    >>> ramp = torch.tensor([[[0.0, 0.5, 1.0]]])
    >>> [round(value, 6) for value in area_matched(ramp, ramp**2, (1, 3)).flatten().tolist()]
    [0.0, 0.25, 1.0]
    """
    share = _shares(of.shape[-2:], size).to(of)
    base, wanted = maps.normalise(of).double(), (maps.normalise(to) * share).sum((-2, -1)).double()
    low, high = (torch.full_like(wanted, sign * LARGEST) for sign in (-1, +1))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        larger = (_power(base, middle) * share).sum((-2, -1)) > wanted  # a higher power leaves less
        low, high = torch.where(larger, middle, low), torch.where(larger, high, middle)
    found = _power(base, (low + high) / 2)
    return torch.where((wanted > 0)[:, None, None], found, 0.0).to(of.dtype)


def _power(base: Tensor, exponent: Tensor) -> Tensor:
    """Return base ** (2 ** exponent) of maps in [0, 1], zero where a map is zero."""
    return torch.where(base > 0, base ** (2**exponent)[:, None, None], 0.0)


def _shares(height_width: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Return what every pixel of a map [H, W] adds to the mean of its mask of `size`: upsampling is linear."""
    count = height_width[0] * height_width[1]
    units = torch.eye(count, dtype=torch.float64).view(count, *height_width)
    whole = units if tuple(height_width) == tuple(size) else maps.upsample(units, size)
    return whole.mean((-2, -1)).view(height_width)


def centre(query: Query) -> Tensor:
    """Return a Gaussian at the centre of the image [P, h, w], its standard deviation a quarter of each side."""
    height, width = query.images.shape[-2:]
    y, x = (torch.linspace(-1, 1, side, device=query.images.device) for side in (height, width))
    return torch.exp(-2 * (y[:, None] ** 2 + x**2)).expand(len(query.pairs), -1, -1)


def everywhere(query: Query) -> Tensor:
    """Return ones [P, h, w] but for one corner pixel: a constant map has no contrast, and counts as zero."""
    found = query.images.new_ones(len(query.pairs), *query.images.shape[-2:])
    found[:, 0, 0] = 0
    return found


def dot(query: Query) -> Tensor:
    """Return a map [P, h, w] that is 1 at the pixel in the centre and 0 elsewhere."""
    height, width = query.images.shape[-2:]
    found = query.images.new_zeros(len(query.pairs), height, width)
    found[:, height // 2, width // 2] = 1
    return found


def mean_activation(query: Query) -> Tensor:
    """Return the rectified plain mean of the activations [P, H, W]: it knows the image and no label."""
    return query.activations.mean(1).relu()[query.pairs.image]


# Four maps that are the same for every label of an image; three of them for every image, too.
LABEL_BLIND = {"centre": centre, "everywhere": everywhere, "dot": dot, "mean activation": mean_activation}
