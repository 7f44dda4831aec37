"""How alike two maps are, by ranks, structure and edges, as Adebayo et al. compare them: a value for each pair."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from scipy import stats
from torch import Tensor

COMPARED = 48  # largest side in pixels at which masks are compared; the layers that they are made of have fewer
ORIENTATIONS, CELL, BLOCK, CLIP = 9, 4, 3, 0.2  # HOG: bins of 180 degrees, pixels, cells, largest share in a block
SIGMA, RADIUS = 1.5, 5  # SSIM's window: standard deviation and reach in pixels (Wang et al. 2004)
LUMINANCE, CONTRAST = 0.01**2, 0.03**2  # its two constants, of masks in [0, 1]


def compared(masks: Float[Tensor, "pairs h w"]) -> Float[Tensor, "pairs rows columns"]:
    """Return the masks as they are compared: averaged over blocks of pixels, so that no side exceeds COMPARED.

    >>> compared(torch.ones(1, 96, 24)).shape
    torch.Size([1, 48, 24])
    """
    return F.adaptive_avg_pool2d(masks, [min(COMPARED, n) for n in masks.shape[-2:]])


def ranks(masks: Float[Tensor, "pairs h w"]) -> Float[Tensor, "pairs pixels"]:
    """Return the ranks of each mask's pixels as a centred unit vector; NaN for a constant mask.

    >>> ranks(torch.tensor([[[0.0, 0.9]]])).round(decimals=2).tolist()
    [[-0.71, 0.71]]
    """
    return _centred(torch.from_numpy(stats.rankdata(masks.flatten(1).cpu().numpy(), axis=1)).to(masks.device))


def _centred(vectors: Tensor) -> Tensor:
    vectors = vectors - vectors.mean(1, keepdim=True)
    size = vectors.norm(dim=1, keepdim=True)
    return torch.where(size > 1e-9, vectors / size.clamp(min=1e-9), torch.nan)


def spearman(a: Float[Tensor, "pairs h w"], b: Float[Tensor, "pairs h w"]) -> Float[Tensor, " pairs"]:
    """Return Spearman's rank correlation of each pair's two masks, in [-1, 1]; NaN where one of them is constant.

    >>> spearman(torch.tensor([[[0.0, 0.1, 0.2]]]), torch.tensor([[[0.0, 0.5, 0.9]]])).round(decimals=6).item()
    1.0
    """
    return (ranks(a) * ranks(b)).sum(1)


def ssim(a: Float[Tensor, "pairs h w"], b: Float[Tensor, "pairs h w"]) -> Float[Tensor, " pairs"]:
    """Return the structural similarity (Wang et al. 2004) of each pair's two masks in [0, 1]: at most 1.

    A Gaussian window of 11 pixels, constants 0.01 and 0.03, as published; the border is mirrored. NaN where one of
    the masks is constant, as for :func:`spearman`, so that both speak about the same pairs.

    >>> a = torch.rand(1, 16, 16)
    >>> round(ssim(a, a).item(), 4)
    1.0
    """
    return _ssims(a, b, torch.arange(len(a), device=a.device)[:, None])[:, 0]


def _ssims(a: Tensor, b: Tensor, others: Tensor) -> Tensor:
    """Return SSIM [P, n] of a[p] with each b[others[p]]: what only one mask decides is computed once."""
    mean, other = _blurred(a), _blurred(b)
    variance, others_variance = _blurred(a * a) - mean**2, _blurred(b * b) - other**2
    flat = [m.amax((-2, -1)) == m.amin((-2, -1)) for m in (a, b)]
    found = []
    for row in others.T:
        shared = mean * other[row]
        joint = _blurred(a * b[row]) - shared
        above = (2 * shared + LUMINANCE) * (2 * joint + CONTRAST)
        below = (mean**2 + other[row] ** 2 + LUMINANCE) * (variance + others_variance[row] + CONTRAST)
        values = (above / below).mean((-2, -1))
        found.append(torch.where(flat[0] | flat[1][row], torch.nan, values))
    return torch.stack(found, 1)


def _blurred(masks: Float[Tensor, "pairs h w"]) -> Float[Tensor, "pairs h w"]:
    """Return the means under SSIM's window: a Gaussian is a product, so rows and columns go one by one."""
    reach = torch.arange(-RADIUS, RADIUS + 1).to(masks)
    taps = torch.exp(-(reach**2) / (2 * SIGMA**2))
    taps = taps / taps.sum()
    wide = F.pad(masks[:, None], (RADIUS,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(wide, taps.view(1, 1, 1, -1)), taps.view(1, 1, -1, 1))[:, 0]


def histograms(masks: Float[Tensor, "pairs h w"]) -> Float[Tensor, "pairs features"]:
    """Return the histograms of oriented gradients of the masks (Dalal and Triggs 2005), as scikit-image has them.

    Central differences, 9 unsigned orientations, cells of 4 x 4 pixels, blocks of 3 x 3 cells, L2-Hys. (Adebayo et
    al. take cells of 16 pixels on masks of 224; here masks have 48.) Raises ValueError for masks below 12 pixels.

    >>> step = torch.zeros(1, 12, 12).index_fill(2, torch.arange(6, 12), 1.0)  # its gradient points to the right
    >>> histograms(step)[0].view(-1, 9).sum(0).nonzero().flatten().tolist()
    [0]
    """
    if min(masks.shape[-2:]) < CELL * BLOCK:
        raise ValueError(
            f"expected masks of {CELL * BLOCK} x {CELL * BLOCK} pixels or more, got {tuple(masks.shape)}"
        )
    m = masks.double()
    down, across = torch.zeros_like(m), torch.zeros_like(m)
    down[:, 1:-1] = m[:, 2:] - m[:, :-2]
    across[:, :, 1:-1] = m[:, :, 2:] - m[:, :, :-2]
    angle = torch.rad2deg(torch.atan2(down, across)) % 180
    place = (angle / (180 / ORIENTATIONS)).long().clamp(max=ORIENTATIONS - 1)
    by_bin = F.one_hot(place, ORIENTATIONS).movedim(-1, 1) * torch.hypot(down, across)[:, None]
    cells = F.avg_pool2d(by_bin, CELL)  # [P, bins, rows, columns]; an incomplete cell at the end is left out
    blocks = cells.unfold(2, BLOCK, 1).unfold(3, BLOCK, 1)  # [P, bins, rows, columns, 3, 3]
    vectors = blocks.permute(0, 2, 3, 4, 5, 1).flatten(3)
    clipped = _unit(vectors).clamp(max=CLIP)
    return _unit(clipped).flatten(1)


def _unit(vectors: Tensor) -> Tensor:
    return vectors / (vectors.square().sum(-1, keepdim=True) + 1e-5**2).sqrt()


def hog(a: Float[Tensor, "pairs h w"], b: Float[Tensor, "pairs h w"]) -> Float[Tensor, " pairs"]:
    """Return Pearson's correlation of the :func:`histograms` of each pair's two masks; NaN where one is constant.

    >>> a = torch.rand(1, 16, 16)
    >>> round(hog(a, 0.5 * a).item(), 3)  # contrast does not count
    1.0
    """
    return (edges(a) * edges(b)).sum(1)


def edges(masks: Float[Tensor, "pairs h w"]) -> Float[Tensor, "pairs features"]:
    """Return the :func:`histograms` as centred unit vectors; NaN for a constant mask."""
    return _centred(histograms(masks))


SIMILARITIES = {"spearman": spearman, "ssim": ssim, "hog": hog}
AS_VECTORS = {"spearman": ranks, "hog": edges}  # measures that are a product of two vectors, one of each mask


def similarities(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """Return every measure of SIMILARITIES, {name: [P]}, of each pair's two masks, as :func:`compared`."""
    one = torch.arange(len(a), device=a.device)[:, None]
    return {name: values[:, 0] for name, values in with_others(a, b, one).items()}


def with_others(
    a: Float[Tensor, "pairs h w"], b: Float[Tensor, "pairs h w"], others: Int[Tensor, "pairs n"]
) -> dict[str, Float[Tensor, "pairs n"]]:
    """Return every measure of SIMILARITIES of mask a[p] with each mask b[others[p]], as :func:`compared`.

    >>> a = torch.rand(2, 16, 16)
    >>> with_others(a, a.flip(0), torch.tensor([[1], [0]]))["hog"].round(decimals=3).tolist()
    [[1.0], [1.0]]
    """
    a, b = compared(a), compared(b)
    found = {name: (vectors(a)[:, None] * vectors(b)[others]).sum(-1) for name, vectors in AS_VECTORS.items()}
    found["ssim"] = _ssims(a, b, others)
    return {name: found[name] for name in SIMILARITIES}
