"""Score-CAM: channels weighted by the score of the image that they show, and the masked forwards that it takes.

The score is a callable `score(images [N, 3, h, w]) -> scores [N, L]` (probabilities in the papers). One masked
forward scores all labels at once, so the cost of an image does not depend on how many labels are explained. SS-CAM
is in :mod:`cam_utils.methods.sscam`.
"""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from cam_utils import maps
from cam_utils.methods.repeats import distinct
from cam_utils.methods.weighted_sums import weighted_sum
from cam_utils.pairs import Pairs

Score = Callable[[Tensor], Tensor]
# In a chunk if none is given: tensors above 32 MB, which early layers make of more images, are given back to the
# system and asked for again in every layer; a ResNet-50 at 224 px stays below 400 MB.
CPU_NUMBERS = 6 * 3 * 224 * 224
GPU_CHUNK = 64  # the first; doubled while memory lasts, but only while tensors have fewer than 2^31 elements
LARGEST_CHUNK = 1024


def batched_scores(
    score: Score,
    make: Callable[[Tensor], Tensor],
    count: int,
    *,
    like: Tensor,
    chunk: int | None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (indices, score(make(indices))) for 0..count-1, `chunk` at a time.

    `like` [*, ...] says where the made items lie and how large one is. chunk=None: on a CPU 6 images of 224 px, or
    as many numbers of other items; on a GPU it starts at 64 and doubles while twice of what one chunk took is free.
    Where memory does not suffice the chunk is halved and the same items are tried again, so `make` must give the
    same items each time. Indices are on the CPU (see :func:`moved`), so that nothing in the loop waits for a GPU.
    """
    if chunk is not None and chunk < 1:
        raise ValueError(f"expected chunk >= 1 (masked images per forward), got {chunk}")
    start = GPU_CHUNK if like.is_cuda else min(max(1, CPU_NUMBERS // like[0].numel()), LARGEST_CHUNK)
    size, grow, at = chunk or start, chunk is None and like.is_cuda, 0
    while at < count:
        index = torch.arange(at, min(at + size, count))
        try:
            out = score(make(index).to(like.dtype, memory_format=torch.channels_last))
        except torch.cuda.OutOfMemoryError:
            if size == 1:
                raise
            torch.cuda.empty_cache()
            size, grow = size // 2, False
            continue
        yield index, out
        at += len(index)
        if grow:
            grow = 2 * size <= LARGEST_CHUNK and _room(like.device)
            size = 2 * size if grow else size


def _room(device: torch.device) -> bool:
    """Return whether the GPU has room for twice the memory that its fullest moment took so far."""
    free, _ = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # free, but held by torch
    return 2 * torch.cuda.max_memory_allocated(device) < free + kept + torch.cuda.memory_allocated(device)


def moved(index: Tensor, like: Tensor) -> Tensor:
    """Return the indices on `like`'s device, copied without waiting for what the device still does."""
    return index.to(like.device, non_blocking=True)


def masked(images: Tensor, image: Tensor, masks: Tensor) -> Tensor:
    """Return images[image] * masks [N, 3, h, w], for images [B, 3, h, w] and masks [N, h, w] or [h, w]."""
    return repeated(images, image) * masks[..., None, :, :]


def repeated(images: Tensor, image: Tensor) -> Tensor:
    """Return images[image] [N, 3, h, w], on a CPU without a copy where all are of one image.

    To gather them takes more time than their product with a mask.
    """
    if not images.is_cuda and len(image) and bool((image == image[0]).all()):
        return images[image[0]].expand(len(image), *images.shape[1:])
    return images[image]


def channel_scores(
    images: Float[Tensor, "batch colours tall wide"],
    activations: Float[Tensor, "batch channels height width"],
    score: Score,
    *,
    chunk: int | None = None,
) -> Float[Tensor, "batch channels labels"]:
    """Return C_k = f(x * s(U(A^k))) of every channel and label (Wang et al. 2020, Eqs. 7-8 without baseline).

    Masks are upsampled and forwarded `chunk` at a time (:func:`batched_scores`) across the images of the batch, so
    the extra memory is that of one chunk, whatever the number of channels. A channel that is zero everywhere adds
    nothing to any map: it is not forwarded and scores 0. Channels that show the same mask, such as those that are
    alive at one and the same pixel alone, are scored by one forward (:func:`shown`).

    Raises ValueError if `chunk` is below 1.
    """
    image, channel, first, which = shown(activations)

    def made(index: Tensor) -> Tensor:
        index = first[moved(index, images)]
        i, k = image[index], channel[index]
        return masked(images, i, maps.normalise(maps.upsample(activations[i, k], images.shape[-2:])))

    parts = [out for _, out in batched_scores(score, made, len(first), like=images, chunk=chunk)]
    if not parts:  # every channel of every image is dead: no map has anything to weigh
        return torch.zeros_like(score(images))[:, None].repeat(1, activations.shape[1], 1)
    found = torch.cat(parts)
    scores = found.new_zeros(*activations.shape[:2], found.shape[1])
    scores[image, channel] = found[which]
    return scores


def shown(activations: Float[Tensor, "batch channels height width"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the image and channel of every live channel, which of these have masks of their own, and whose mask
    each of them has: `len(first)` forwards are what Score-CAM cannot do without.

    >>> A = torch.tensor([[[[0.0, 1.0]], [[0.0, 3.0]], [[0.0, 0.0]], [[2.0, 1.0]]]])  # the first two: one mask
    >>> [each.tolist() for each in shown(A)[1:]]
    [[0, 1, 3], [0, 2], [0, 0, 1]]
    """
    image, channel = activations.flatten(2).abs().amax(-1).nonzero(as_tuple=True)
    return image, channel, *distinct(image, maps.normalise(activations[image, channel]))


def score_cam(
    images: Float[Tensor, "batch colours tall wide"],
    activations: Float[Tensor, "batch channels height width"],
    pairs: Pairs,
    score: Score,
    *,
    chunk: int | None = None,
    relu: bool = True,
) -> Float[Tensor, "pairs tall wide"]:
    """Return Score-CAM maps ReLU(sum_k C_k U(A^k)) at input resolution.

    This is the form the MinMax-CAM authors ran: no softmax over channels and no baseline subtraction (deviation
    dev-score-cam-form). U is linear, so the weighted sum is taken at feature resolution and upsampled once.

    >>> A = torch.tensor([[[[0.0, 1.0]], [[1.0, 0.0]]]])  # two channels; the score likes the right pixel
    >>> score_cam(torch.ones(1, 3, 1, 2), A, Pairs.one(), lambda x: x[:, 0, 0, 1:]).tolist()
    [[[0.0, 1.0]]]
    """
    alpha = channel_scores(images, activations, score, chunk=chunk)[pairs.image, :, pairs.label]  # [P, K]
    return upsampled_sum(images, activations, alpha, pairs, relu)


def upsampled_sum(images: Tensor, activations: Tensor, alpha: Tensor, pairs: Pairs, relu: bool = True) -> Tensor:
    """Return ReLU(sum_k alpha_k U(A^k)) [P, h, w]: U is linear, so the sum is upsampled, and not every channel."""
    summed = maps.upsample(weighted_sum(activations, alpha.to(activations.dtype), pairs), images.shape[-2:])
    return summed.relu() if relu else summed
