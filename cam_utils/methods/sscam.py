"""SS-CAM (Naidu and Michael): Score-CAM whose scores are smoothed by noise, in every reading of the paper.

The readings are in :mod:`cam_utils.methods.smoothing`; the default is the paper's Algorithm 1. All labels of an
image share their masks, since a mask depends on a channel's weight only through its sign.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cam_utils import maps
from cam_utils.methods.scorecam import Score, batched_scores, masked, moved, repeated, upsampled_sum
from cam_utils.methods.smoothing import Smoothing, drawn, noise_key
from cam_utils.pairs import Pairs

ALGORITHM_1 = Smoothing()


def sign_mask(
    activations: Float[Tensor, "items height width"], sign: Int[Tensor, " items"], size: tuple[int, int]
) -> Float[Tensor, "items tall wide"]:
    """Return s(U(w A)) for channels A and the signs of their weights w: s(U(A)), 1 - s(U(A)), or 0.

    Min-max forgets the size of w and keeps its sign: for w < 0 the minimum and the maximum change places. A weight
    of zero, and a constant channel, leave nothing to rescale: 0.

    >>> A = torch.tensor([[[0.0, 1.0, 4.0]]])
    >>> sign_mask(A, torch.tensor([-1]), (1, 3)).tolist() == maps.normalise(-3 * A).tolist()
    True
    """
    raised = maps.upsample(activations, size)
    scaled = maps.normalise(raised)
    constant = activations.amax((-2, -1)) == activations.amin((-2, -1))
    sign = torch.where(constant, 0, sign)[:, None, None]
    return torch.where(sign > 0, scaled, torch.where(sign < 0, 1 - scaled, 0.0))


def smoothed_weights(
    images: Float[Tensor, "batch colours tall wide"],
    activations: Float[Tensor, "batch channels height width"],
    pairs: Pairs,
    score: Score,
    how: Smoothing = ALGORITHM_1,
    *,
    weights: Tensor | None = None,
    first: Float[Tensor, "pairs channels"] | None = None,
    chunk: int | None = None,
) -> Float[Tensor, "pairs channels"]:
    """Return SS-CAM's channel weights alpha (Naidu and Michael, Algorithm 1 by default).

    score: probabilities (default of the paper) or logits of the images, all labels at once. weights: w of Eq. 15
    [P, K], of which masks keep only the sign; None: all positive. first: the scores of the noisy copies, where they
    are known from :func:`smoothed_scores` already. chunk: masked images per forward.

    The forwards of all labels of an image share their masks: at most 2 K draws, and K per pair with a second pass.
    Raises ValueError for weights of another shape or none where the reading sums w A, or seeds that are not one per
    image.
    """
    signs = _signs(activations, pairs, weights, how)
    found = first
    if found is None:
        found = smoothed_scores(images, activations, pairs, score, how, weights=weights, chunk=chunk)
    if how.rescore:
        found = _rescored(images, activations, pairs, score, how, signs, found, chunk)
    if how.subtract:
        blank = torch.zeros_like(images[:1]) if how.baseline is None else how.baseline[None].to(images)
        found = found - score(blank)[0, pairs.label][:, None]  # C of Eqs. 7-8
    found = found.softmax(1) if how.softmax else found
    if how.relative:  # a channel without a range has no noise: the authors' code leaves it out
        found = torch.where(signs == 0, 0.0, found)
    return found * weights.to(found.dtype) if how.weighted else found


def smoothed_scores(
    images: Float[Tensor, "batch colours tall wide"],
    activations: Float[Tensor, "batch channels height width"],
    pairs: Pairs,
    score: Score,
    how: Smoothing = ALGORITHM_1,
    *,
    weights: Tensor | None = None,
    chunk: int | None = None,
) -> Float[Tensor, "pairs channels"]:
    """Return the largest score (S_max of Algorithm 1), or the mean, over the noisy copies of every masked image.

    This is the first pass of :func:`smoothed_weights`, and nearly all of its work; arguments and errors are its.
    """
    signs = _signs(activations, pairs, weights, how)
    unique, inverse = _distinct(signs, pairs)
    copies = how.draws if how.sigma > 0 else 1  # without noise all draws are one
    reduced = None
    for index, out in _scored(images, activations, score, how, unique, copies, chunk):
        if reduced is None:
            reduced = out.new_full((len(unique), out.shape[1]), -torch.inf if how.reduce == "max" else 0.0)
        item = moved(index // copies, out)[:, None].expand_as(out)
        reduced.scatter_reduce_(0, item, out, "amax" if how.reduce == "max" else "sum")
    reduced = reduced / copies if how.reduce == "mean" else reduced
    return reduced[inverse.view_as(signs), pairs.label[:, None]]


def drawn_scores(
    images: Float[Tensor, "batch colours tall wide"],
    activations: Float[Tensor, "batch channels height width"],
    pairs: Pairs,
    score: Score,
    how: Smoothing = ALGORITHM_1,
    *,
    weights: Tensor | None = None,
    chunk: int | None = None,
) -> Float[Tensor, "pairs channels draws"]:
    """Return the score of every noisy copy: one pass for the maximum, the mean and every smaller N.

    The first n of the draws are those of a Smoothing with draws=n; arguments and errors are those of
    :func:`smoothed_weights`, whose `first` is a maximum or a mean over the last dimension.
    """
    signs = _signs(activations, pairs, weights, how)
    unique, inverse = _distinct(signs, pairs)
    labels, own = pairs.label.unique(return_inverse=True)
    kept = None
    for index, out in _scored(images, activations, score, how, unique, how.draws, chunk):
        if kept is None:
            kept = out.new_empty(len(unique) * how.draws, len(labels))
        kept[moved(index, out)] = out[:, labels]
    kept = kept.view(len(unique), how.draws, len(labels))
    return kept[inverse.view_as(signs), :, own[:, None]]


def _distinct(signs: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Return the distinct (image, channel, sign) [M, 3] of the pairs' channels, and which each of them is [P K]."""
    # What has no mask (sign 0) is one item per image, whatever its channel.
    channel = torch.where(signs == 0, 0, torch.arange(signs.shape[1], device=signs.device))
    items = torch.stack([pairs.image[:, None].expand_as(signs), channel, signs], -1).flatten(0, 1)
    return items.unique(dim=0, return_inverse=True)


def _scored(images, activations, score: Score, how: Smoothing, unique: Tensor, copies: int, chunk: int | None):
    """Yield the indices and scores of the noisy copies of every distinct item; an item's copies stand together."""
    seeds = _seeds(how.seed, len(images))
    image, k, sign = unique.T
    keys = noise_key(k, sign).tolist()
    named = [(seeds[i], key) for i, key in zip(image.tolist(), keys, strict=True)]
    make: Callable[[Tensor], Tensor] = partial(_noisy, images, activations, how, copies, image, k, sign, named)
    yield from batched_scores(score, make, len(unique) * copies, like=images, chunk=chunk)


def _noisy(images, activations, how: Smoothing, copies: int, image, k, sign, named: list, index: Tensor) -> Tensor:
    """Return the noisy copies `index` of the masked images."""
    size = images.shape[-2:]
    first, last = int(index[0]) // copies, int(index[-1]) // copies
    once = slice(first, last + 1)  # what the copies of an item share is made once
    item = moved(index // copies - first, images)
    of = image[once]
    if not how.sigma:
        return masked(images, of, _masks(activations[of, k[once]], sign[once], size, how))[item]
    names = [(*named[i // copies], i % copies) for i in index.tolist()]
    if how.noise == "activation":
        channels = activations[of, k[once]]
        noise = drawn(activations[:, :1], names)[:, 0].mul_(_of(how, how.deviation(channels), item))
        return masked(images, of[item], _masks(channels[item] + noise, sign[once][item], size, how))
    mask = _masks(activations[of, k[once]], sign[once], size, how)
    noise = drawn(images, names)
    if how.noise == "input":
        shown = masked(images, of, mask)
        step = torch.as_tensor(how.deviation(shown), dtype=images.dtype, device=images.device)
        return noise.mul_(_of(how, step, item)).add_(shown[item])
    noise = noise if how.noise == "mask" else noise[:, :1]
    step = torch.as_tensor(how.deviation(mask[:, None]), dtype=images.dtype, device=images.device)
    return repeated(images, of[item]) * torch.addcmul(mask[item][:, None], noise, _of(how, step, item))


def _of(how: Smoothing, step: float | Tensor, item: Tensor) -> float | Tensor:
    """Return the deviation of each copy: its item's own where it is relative to the item, else that of all."""
    return step[item] if how.relative else step


def _masks(activations: Tensor, sign: Tensor, size: tuple[int, int], how: Smoothing) -> Tensor:
    """Return the masks of channels [N, H, W] by the signs of the weights: s(U(w A)), or U(A) times the sign."""
    if how.scaled:
        return sign_mask(activations, sign, size)
    return maps.upsample(activations, size) * sign[:, None, None]


def _signs(activations: Tensor, pairs: Pairs, weights: Tensor | None, how: Smoothing) -> Tensor:
    """Return the signs of the weights [P, K], 0 for channels without a mask: constant ones, or those of zeros."""
    wanted = (len(pairs), activations.shape[1])
    if weights is not None and tuple(weights.shape) != wanted:
        raise ValueError(f"expected weights [P, K] = {list(wanted)}, got {list(weights.shape)}")
    if weights is None and how.weighted:
        raise ValueError("expected weights [P, K]: this reading of SS-CAM sums w A, and got none")
    if activations.shape[-1] * activations.shape[-2] < 2:
        raise ValueError(f"expected activations with spatial extent, got {tuple(activations.shape)}")
    flat = activations.flatten(2)
    low, high = flat.amin(-1), flat.amax(-1)
    constant = ((low == high) if how.scaled or how.relative else (low == 0) & (high == 0))[pairs.image]
    plain = weights is None or not how.signed
    signs = torch.ones_like(constant, dtype=torch.long) if plain else weights.sign().long()
    return torch.where(constant, 0, signs)


def _rescored(images, activations, pairs, score: Score, how: Smoothing, signs, scale, chunk) -> Tensor:
    """Return the scores [P, K] of scale * masked image: the second pass of Algorithm 1, each pair's own."""
    found = score(torch.zeros_like(images[:1]))[0, pairs.label][:, None].expand_as(scale).clone()
    live = signs.nonzero()  # a channel without a mask shows nothing

    def scaled(index: Tensor) -> Tensor:
        p, c = live[moved(index, images)].T
        mask = _masks(activations[pairs.image[p], c], signs[p, c], images.shape[-2:], how)
        return masked(images, pairs.image[p], mask * scale[p, c][:, None, None].to(images.dtype))

    for index, out in batched_scores(score, scaled, len(live), like=images, chunk=chunk):
        p, c = live[moved(index, images)].T
        found[p, c] = out.gather(1, pairs.label[p][:, None])[:, 0]
    return found


def _seeds(seed: int | Sequence[int], count: int) -> list[int]:
    """Return a seed for each of the images."""
    seeds = [seed] * count if isinstance(seed, int) else list(seed)
    if len(seeds) != count:
        raise ValueError(f"expected one seed, or one for each of the {count} images, got {len(seeds)}")
    return seeds


def ss_cam(
    images: Float[Tensor, "batch colours tall wide"],
    activations: Float[Tensor, "batch channels height width"],
    pairs: Pairs,
    score: Score,
    how: Smoothing = ALGORITHM_1,
    *,
    weights: Tensor | None = None,
    chunk: int | None = None,
    relu: bool = True,
) -> Float[Tensor, "pairs tall wide"]:
    """Return SS-CAM maps ReLU(sum_k alpha_k U(A^k)) at input resolution (Eq. 13; Naidu and Michael).

    Alpha is that of :func:`smoothed_weights`, which says what the options are. As printed, a channel of negative
    weight is scored by its inverted mask, and enters the sum with +A all the same; readings that are `weighted` sum
    alpha_k w_k A^k.

    >>> A = torch.tensor([[[[0.0, 1.0]], [[1.0, 0.0]]]])
    >>> score = lambda x: x[:, 0, 0, 1:]  # likes the right pixel
    >>> how = Smoothing(sigma=0.0, rescore=False, softmax=False)
    >>> ss_cam(torch.ones(1, 3, 1, 2), A, Pairs.one(), score, how).tolist()
    [[[0.0, 1.0]]]
    """
    alpha = smoothed_weights(images, activations, pairs, score, how, weights=weights, chunk=chunk)
    return upsampled_sum(images, activations, alpha, pairs, relu)
