"""Score-CAM: channels weighted by the score of the image seen through them; no gradient is needed.

The score is a callable `score(images [N, 3, h, w]) -> scores [N, L]` (probabilities in the papers). One masked
forward scores all labels at once, so the cost of an image does not depend on how many labels are explained.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from cam_utils import maps
from cam_utils.cams import Pairs, weighted_sum

Score = Callable[[Tensor], Tensor]


def channel_scores(
    images: Float[Tensor, "batch 3 tall wide"],
    activations: Float[Tensor, "batch channels height width"],
    score: Score,
    *,
    chunk: int = 32,
) -> Float[Tensor, "batch channels labels"]:
    """Return C_k = f(x * s(U(A^k))) of every channel and label (Wang et al. 2020, Eqs. 7-8 without baseline).

    Masks are upsampled and forwarded `chunk` at a time across the images of the batch, so the extra memory is
    that of one chunk, whatever the number of channels. A channel that is zero everywhere adds nothing to any
    map: it is not forwarded and scores 0.

    Raises ValueError if `chunk` is below 1.
    """
    if chunk < 1:
        raise ValueError(f"expected chunk >= 1 (masked images per forward), got {chunk}")
    image, channel = activations.flatten(2).abs().amax(-1).nonzero(as_tuple=True)  # the live channels
    scores = None
    for i, k in zip(image.split(chunk), channel.split(chunk), strict=True):
        mask = maps.minmax(maps.upsample(activations[i, k], images.shape[-2:]))  # [n, h, w]
        masked = (images[i] * mask[:, None]).contiguous(memory_format=torch.channels_last)
        out = score(masked)  # [n, L]
        if scores is None:
            scores = out.new_zeros(*activations.shape[:2], out.shape[1])
        scores[i, k] = out
    if scores is None:  # every channel of every image is dead: no map has anything to weigh
        scores = torch.zeros_like(score(images))[:, None].repeat(1, activations.shape[1], 1)
    return scores


def score_cam(
    images: Float[Tensor, "batch 3 tall wide"],
    activations: Float[Tensor, "batch channels height width"],
    pairs: Pairs,
    score: Score,
    *,
    chunk: int = 32,
) -> Float[Tensor, "pairs tall wide"]:
    """Return Score-CAM maps ReLU(sum_k C_k U(A^k)) at input resolution.

    This is the form the MinMax-CAM authors ran: no softmax over channels and no baseline subtraction (SPEC h11).
    U is linear, so the weighted sum is taken at feature resolution and upsampled once.

    >>> A = torch.tensor([[[[0.0, 1.0]], [[1.0, 0.0]]]])  # two channels; the score likes the right pixel
    >>> pairs = Pairs(*torch.zeros(3, 1, dtype=torch.long))
    >>> score_cam(torch.ones(1, 3, 1, 2), A, pairs, lambda x: x[:, 0, 0, 1:]).tolist()
    [[[0.0, 1.0]]]
    """
    alpha = channel_scores(images, activations, score, chunk=chunk)[pairs.image, :, pairs.label]  # [P, K]
    return maps.upsample(weighted_sum(activations, alpha.to(activations.dtype), pairs), images.shape[-2:]).relu()
