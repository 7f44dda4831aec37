"""How alike two maps are: rank correlation and structural similarity, one value for each pair of maps."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from cam_utils.evaluation import ranking

COMPARED = 48  # largest side in pixels at which masks are compared; the layers that they are made of have fewer
SIGMA = 1.5  # standard deviation of SSIM's window in pixels (Wang et al. 2004), which is then 11 pixels wide


def compared(masks: Float[Tensor, "pairs h w"]) -> Float[Tensor, "pairs rows columns"]:
    """Return the masks as they are compared: averaged over blocks of pixels, so that no side exceeds COMPARED.

    >>> compared(torch.ones(1, 96, 24)).shape
    torch.Size([1, 48, 24])
    """
    return F.adaptive_avg_pool2d(masks, [min(COMPARED, n) for n in masks.shape[-2:]])


def spearman(a: Float[Tensor, "pairs h w"], b: Float[Tensor, "pairs h w"]) -> Float[Tensor, " pairs"]:
    """Return Spearman's rank correlation of each pair's two masks, in [-1, 1]; NaN where one of them is constant.

    >>> spearman(torch.tensor([[[0.0, 0.1, 0.2]]]), torch.tensor([[[0.0, 0.5, 0.9]]])).item()
    1.0
    """
    found = ranking.spearman(*(masks.flatten(1).cpu().numpy() for masks in (a, b)))
    return torch.from_numpy(found).to(a.device)


def ssim(a: Float[Tensor, "pairs h w"], b: Float[Tensor, "pairs h w"]) -> Float[Tensor, " pairs"]:
    """Return the structural similarity (Wang et al. 2004) of each pair's two masks in [0, 1]: at most 1.

    A Gaussian window of 11 pixels, constants 0.01 and 0.03, as published; the border is mirrored. NaN where one of
    the masks is constant, as for :func:`spearman`, so that both speak about the same pairs.

    >>> a = torch.rand(1, 16, 16)
    >>> round(ssim(a, a).item(), 4)
    1.0
    """
    found = structural_similarity_index_measure(
        a[:, None], b[:, None], sigma=SIGMA, data_range=1.0, reduction="none"
    )
    constant = [m.amax((-2, -1)) == m.amin((-2, -1)) for m in (a, b)]
    return torch.where(constant[0] | constant[1], torch.nan, found.reshape(len(a)))


SIMILARITIES = {"spearman": spearman, "ssim": ssim}


def similarities(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """Return every measure of SIMILARITIES, {name: [P]}, of each pair's two masks, as :func:`compared`."""
    a, b = compared(a), compared(b)
    return {name: measure(a, b) for name, measure in SIMILARITIES.items()}
