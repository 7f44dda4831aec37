"""Insertion and deletion (Petsiuk et al. 2018, RISE): what the score does while pixels are shown or removed.

One curve is both: pixels of `start` give way to those of `end`, the map's highest first. Deletion goes from the
image to a blank one, where a good map makes the score fall early; insertion goes from a blurred image to the image,
where it makes the score rise early.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from cam_utils.methods.scorecam import Score, batched_scores
from cam_utils.names import check_known
from cam_utils.pairs import Pairs

BASELINES = ("mean", "blur")


def baseline(
    kind: str, images: Float[Tensor, "batch colours h w"], *, kernel: int = 11, sigma: float = 5.0
) -> Float[Tensor, "batch colours h w"]:
    """Return what stands for pixels that are not shown: the mean colour (0 in normalised images), or a blur.

    The blur is RISE's by default: a Gaussian of standard deviation `sigma` cut to `kernel` pixels. Raises
    ValueError for another kind.

    >>> baseline("mean", torch.ones(1, 3, 12, 12)).max().item()
    0.0
    """
    check_known("baseline", kind, BASELINES)
    return torch.zeros_like(images) if kind == "mean" else gaussian_blur(images, [kernel, kernel], [sigma, sigma])


def pixel_order(masks: Float[Tensor, "pairs h w"], seed: int = 0) -> Int[Tensor, "pairs h w"]:
    """Return when each pixel's turn comes, from 0 for the highest of its map; equal pixels in an order of `seed`.

    Rectified maps are zero on large areas. Taken in scan order such an area would be removed line by line from the
    top, so its pixels are taken in a random order instead, the same one for all maps.

    >>> pixel_order(torch.tensor([[[0.1, 0.9], [0.5, 0.3]]])).tolist()
    [[[3, 0], [1, 2]]]
    """
    flat = masks.flatten(1)
    shuffle = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(seed)).to(flat.device)
    sequence = shuffle[flat[:, shuffle].argsort(dim=1, descending=True, stable=True)]  # [P, HW], pixels by turn
    return sequence.argsort(1).view_as(masks)


def pixel_counts(pixels: int, steps: int) -> Int[Tensor, " points"]:
    """Return how many of `pixels` have changed at each of the `steps` + 1 points of a curve.

    Raises ValueError unless 1 <= steps <= pixels.

    >>> pixel_counts(10, 4).tolist()
    [0, 2, 5, 8, 10]
    """
    if not 1 <= steps <= pixels:
        raise ValueError(f"expected 1 to {pixels} steps (pixels of an image), got {steps}")
    return torch.round(torch.arange(steps + 1, dtype=torch.float64) * pixels / steps).long()


def curves(
    score: Score,
    start: Float[Tensor, "batch colours h w"],
    end: Float[Tensor, "batch colours h w"],
    masks: Float[Tensor, "pairs height width"],
    pairs: Pairs,
    *,
    steps: int = 16,
    seed: int = 0,
    chunk: int | None = None,
) -> Float[Tensor, "pairs points"]:
    """Return the score of every pair's label at 0, 1/steps, ..., 1 of the pixels changed from `start` to `end`.

    The map's highest pixels change first, ties in an order of `seed` (:func:`pixel_order`). All points of all
    pairs share batched forwards, `chunk` images at a time, see :mod:`cam_utils.methods.scorecam`. Raises
    ValueError for masks that are not of the images' size, and for a number of steps that is none.

    >>> image = torch.tensor([1.0, 2.0]).expand(1, 3, 1, 2)
    >>> one = Pairs.one()
    >>> total = lambda x: x[:, 0].sum((1, 2))[:, None]  # deletion by a map that puts the second pixel first
    >>> curves(total, image, torch.zeros_like(image), torch.tensor([[[0.0, 1.0]]]), one, steps=2).tolist()
    [[3.0, 1.0, 0.0]]
    """
    if masks.shape[-2:] != start.shape[-2:]:
        raise ValueError(f"expected masks of the images' size {tuple(start.shape[-2:])}, got {tuple(masks.shape)}")
    turn = pixel_order(masks, seed)
    counts = pixel_counts(start[0, 0].numel(), steps).to(turn.device)
    found = start.new_zeros(len(pairs) * len(counts))

    def changed(index: Tensor) -> Tensor:
        p, point = (each.to(turn.device) for each in (index // len(counts), index % len(counts)))
        moved = turn[p] < counts[point][:, None, None]
        return torch.where(moved[:, None], end[pairs.image[p]], start[pairs.image[p]])

    with torch.no_grad():
        for index, out in batched_scores(score, changed, len(found), like=start, chunk=chunk):
            label = pairs.label[(index // len(counts)).to(pairs.label.device)]
            found[index.to(found.device)] = out.gather(1, label[:, None])[:, 0].to(found.dtype)
    return found.view(len(pairs), len(counts))


def area(curve: Float[Tensor, "pairs points"]) -> Float[Tensor, " pairs"]:
    """Return the area under each curve over the fraction of pixels in [0, 1], by the trapezoidal rule as in RISE.

    The points count as equally spaced, which they are to half a pixel.

    >>> area(torch.tensor([[1.0, 0.5, 0.0]])).item()
    0.5
    """
    return torch.trapezoid(curve, dx=1 / (curve.shape[1] - 1))
