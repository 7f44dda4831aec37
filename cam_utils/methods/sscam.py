"""SS-CAM (Naidu and Michael): Score-CAM whose scores are smoothed by noise, in every reading of the paper.

Its Eq. 15 and Algorithm 1 disagree on where the noise goes, on scoring twice and on the softmax, so each is a
parameter; the defaults are the algorithm's. All labels of an image share their masks, since a mask depends on a
channel's weight only through its sign.
"""

import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cam_utils import maps
from cam_utils.methods.scorecam import Score, batched_scores, masked, moved, upsampled_sum
from cam_utils.names import check_known
from cam_utils.pairs import Pairs

REDUCE = ("max", "mean")
NOISE = ("input", "mask", "mask-grey", "activation")


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


@dataclass(frozen=True)
class Smoothing:
    """Which reading of SS-CAM is run; the defaults are those of Algorithm 1 (deviations page, section SS-CAM).

    Attributes:
        draws: N, noisy copies per mask. sigma: their standard deviation, in steps of `unit` of the images' own
            values: 1 for normalised images, 1 / (255 std) [3, 1, 1] for a sigma on the 0-255 scale.
        reduce: "max" (Eq. 14) or "mean" (Eq. 9) over the draws.
        noise: on the masked "input" (Algorithm 1), or on the "mask" (Eq. 15), where sigma is in units of the mask;
            the noise of a "mask-grey" is the same for the three colours; "activation": on the channel before it is
            upsampled (a reading of Eqs. 9-11), in units of the channel.
        scaled: masks are s(U(w A)) (Eq. 15), or the upsampled activations as they are (Eq. 11), with w's sign.
        rescore: score S_max * masked image once more (Algorithm 1), or take the reduced score itself (Eq. 14).
        softmax: over the channels (Algorithm 1). baseline: image X_b [3, h, w], zero by default.
        seed: of the noise, for all images or one for each (see :func:`image_seeds`). Every (channel, sign, draw) of
            a seed has noise of its own, whatever the chunk and the rest of the batch.

    Raises ValueError for draws < 1, sigma < 0, an unknown reduce or noise.
    """

    draws: int | float = 10  # of which whole numbers pass the check below
    sigma: int | float = 4.0
    unit: int | float | Tensor = 1.0
    reduce: str = "max"
    noise: str = "input"
    scaled: bool = True
    rescore: bool = True
    softmax: bool = True
    baseline: Tensor | None = None
    seed: int | Sequence[int] = 0

    def __post_init__(self) -> None:
        check_known("reduce", self.reduce, REDUCE)
        check_known("noise", self.noise, NOISE)
        if not isinstance(self.draws, int) or self.draws < 1:
            raise ValueError(f"expected draws (N) as a whole number, 1 or more, got {self.draws!r}")
        if not self.sigma >= 0:
            raise ValueError(f"expected sigma >= 0, got {self.sigma}")

    def masks(self, activations: Tensor, sign: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the masks of channels [N, H, W] by the signs of the weights: s(U(w A)), or U(A) times the sign."""
        if self.scaled:
            return sign_mask(activations, sign, size)
        return maps.upsample(activations, size) * sign[:, None, None]


ALGORITHM_1 = Smoothing()
APPROACH_1 = {"reduce": "mean", "noise": "mask", "rescore": False, "softmax": False}  # the mean over noisy masks


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
    [P, K], of which only the sign counts; None: all positive (Approach 1). first: the scores of the noisy copies,
    where they are known from :func:`smoothed_scores` already. chunk: masked images per forward.

    The forwards of all labels of an image share their masks: at most 2 K draws, and K per pair with a second pass.
    Raises ValueError for weights of another shape, or seeds that are not one per image.
    """
    signs = _signs(activations, pairs, weights, how.scaled)
    found = first
    if found is None:
        found = smoothed_scores(images, activations, pairs, score, how, weights=weights, chunk=chunk)
    if how.rescore:
        found = _rescored(images, activations, pairs, score, how, signs, found, chunk)
    blank = torch.zeros_like(images[:1]) if how.baseline is None else how.baseline[None].to(images)
    increase = found - score(blank)[0, pairs.label][:, None]  # C of Eqs. 7-8
    return increase.softmax(1) if how.softmax else increase


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
    seeds = _seeds(how.seed, len(images))
    signs = _signs(activations, pairs, weights, how.scaled)
    # What has no mask (sign 0) is one item per image, whatever its channel.
    channel = torch.where(signs == 0, 0, torch.arange(activations.shape[1], device=images.device))
    items = torch.stack([pairs.image[:, None].expand_as(signs), channel, signs], -1).flatten(0, 1)
    unique, inverse = items.unique(dim=0, return_inverse=True)  # [M, 3], [P K]
    image, k, sign = unique.T
    copies = how.draws if how.sigma > 0 else 1  # without noise all draws are one
    keys = noise_key(k, sign).tolist()
    named = [(seeds[i], key) for i, key in zip(image.tolist(), keys, strict=True)]
    make = partial(_noisy, images, activations, how, copies, image, k, sign, named)
    reduced = None
    for index, out in batched_scores(score, make, len(unique) * copies, like=images, chunk=chunk):
        if reduced is None:
            reduced = out.new_full((len(unique), out.shape[1]), -torch.inf if how.reduce == "max" else 0.0)
        item = moved(index // copies, out)[:, None].expand_as(out)
        reduced.scatter_reduce_(0, item, out, "amax" if how.reduce == "max" else "sum")
    reduced = reduced / copies if how.reduce == "mean" else reduced
    return reduced[inverse.view_as(signs), pairs.label[:, None]]


def _noisy(images, activations, how: Smoothing, copies: int, image, k, sign, named: list, index: Tensor) -> Tensor:
    """Return the noisy copies `index` of the masked images; the copies of an item stand side by side."""
    item = moved(index // copies, images)
    of, names = image[item], [(*named[i // copies], i % copies) for i in index.tolist()]
    size = images.shape[-2:]
    if how.sigma and how.noise == "activation":
        spread = how.sigma * _noise(activations[:, :1], names)[:, 0]
        return masked(images, of, how.masks(activations[of, k[item]] + spread, sign[item], size))
    first, last = int(index[0]) // copies, int(index[-1]) // copies
    once = slice(first, last + 1)  # a mask is made once for all of its copies
    mask = how.masks(activations[image[once], k[once]], sign[once], size)[item - first]
    if not how.sigma:
        return masked(images, of, mask)
    spread = _noise(images, names)
    if how.noise == "input":
        step = torch.as_tensor(how.sigma * how.unit, dtype=images.dtype, device=images.device)
        return torch.addcmul(masked(images, of, mask), spread, step)
    spread = spread if how.noise == "mask" else spread[:, :1]
    return images[of] * torch.add(mask[:, None], spread, alpha=how.sigma)


def _signs(activations: Tensor, pairs: Pairs, weights: Tensor | None, scaled: bool) -> Tensor:
    """Return the signs of the weights [P, K], 0 for channels without a mask: constant ones, or those of zeros."""
    wanted = (len(pairs), activations.shape[1])
    if weights is not None and tuple(weights.shape) != wanted:
        raise ValueError(f"expected weights [P, K] = {list(wanted)}, got {list(weights.shape)}")
    if activations.shape[-1] * activations.shape[-2] < 2:
        raise ValueError(f"expected activations with spatial extent, got {tuple(activations.shape)}")
    flat = activations.flatten(2)
    low, high = flat.amin(-1), flat.amax(-1)
    constant = ((low == high) if scaled else (low == 0) & (high == 0))[pairs.image]
    signs = torch.ones_like(constant, dtype=torch.long) if weights is None else weights.sign().long()
    return torch.where(constant, 0, signs)


def _rescored(images, activations, pairs, score: Score, how: Smoothing, signs, scale, chunk) -> Tensor:
    """Return the scores [P, K] of scale * masked image: the second pass of Algorithm 1, each pair's own."""
    found = score(torch.zeros_like(images[:1]))[0, pairs.label][:, None].expand_as(scale).clone()
    live = signs.nonzero()  # a channel without a mask shows nothing

    def scaled(index: Tensor) -> Tensor:
        p, c = live[moved(index, images)].T
        mask = how.masks(activations[pairs.image[p], c], signs[p, c], images.shape[-2:])
        return masked(images, pairs.image[p], mask * scale[p, c][:, None, None].to(images.dtype))

    for index, out in batched_scores(score, scaled, len(live), like=images, chunk=chunk):
        p, c = live[moved(index, images)].T
        found[p, c] = out.gather(1, pairs.label[p][:, None])[:, 0]
    return found


def image_seeds(seed: int, ids: Sequence[str]) -> list[int]:
    """Return a seed for each image, from the run's seed and the image's id: the same in every batch.

    With noise of its own for each image a bootstrap over images covers the noise as well.

    >>> image_seeds(0, ["b", "a"]) == image_seeds(0, ["a", "b"])[::-1]
    True
    """
    return [zlib.crc32(f"{seed} {name}".encode()) for name in ids]


def noise_key(channel, sign):
    """Return the number that the noise of a channel's mask is drawn by: a mask and its inverse have one each.

    channel, sign: integers or tensors of them, sign -1, 0 or 1.

    >>> noise_key(0, -1), noise_key(0, 1), noise_key(5, 1)
    (0, 2, 17)
    """
    return 3 * channel + sign + 1


def draw_noise(images: Tensor, seed: int, key: int, draw: int, *, out: Tensor | None = None) -> Tensor:
    """Return standard normal noise [3, h, w] of a seed, a mask and a draw; each device has its own."""
    generator = torch.Generator(images.device).manual_seed((seed * 1_000_003 + key) * 1_009 + draw)
    where = {"device": images.device, "dtype": images.dtype}
    return torch.randn(images.shape[1:], generator=generator, out=out, **where)


def _noise(images: Tensor, names: list[tuple[int, int, int]]) -> Tensor:
    """Return the noise of several (seed, key, draw) [N, 3, h, w]."""
    found = images.new_empty(len(names), *images.shape[1:])
    # On a CPU a generator has one thread, and would leave the other cores idle meanwhile.
    threads = 1 if images.is_cuda else min(torch.get_num_threads(), len(names))

    def draw(first: int) -> None:
        for i in range(first, len(names), threads):
            draw_noise(images, *names[i], out=found[i])

    if threads == 1:
        draw(0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(draw, range(threads)))  # a list, so that an error is raised here
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

    Alpha is that of :func:`smoothed_weights`, which says what the options are. A channel of negative weight is
    scored by its inverted mask, and enters the sum with +A all the same, as printed.

    >>> A = torch.tensor([[[[0.0, 1.0]], [[1.0, 0.0]]]])
    >>> score = lambda x: x[:, 0, 0, 1:]  # likes the right pixel
    >>> how = Smoothing(sigma=0.0, rescore=False, softmax=False)
    >>> ss_cam(torch.ones(1, 3, 1, 2), A, Pairs.one(), score, how).tolist()
    [[[0.0, 1.0]]]
    """
    alpha = smoothed_weights(images, activations, pairs, score, how, weights=weights, chunk=chunk)
    return upsampled_sum(images, activations, alpha, pairs, relu)
