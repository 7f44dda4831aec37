"""SS-CAM (Naidu and Michael): Score-CAM whose scores are smoothed by noise, in every reading of the paper.

Its Eq. 15 and Algorithm 1 disagree on where the noise goes, on scoring twice and on the softmax, so each is a
parameter; the defaults are the algorithm's. All labels of an image share their masks, since a mask depends on a
channel's weight only through its sign.
"""

import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cam_utils import maps
from cam_utils.methods.scorecam import Score, forwards, moved, shown, upsampled_sum
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
    >>> sign_mask(A, torch.tensor([-1]), (1, 3)).tolist() == maps.minmax(-3 * A).tolist()
    True
    """
    raised = maps.upsample(activations, size)
    scaled = maps.minmax(raised)
    constant = activations.amax((-2, -1)) == activations.amin((-2, -1))
    sign = torch.where(constant, 0, sign)[:, None, None]
    return torch.where(sign > 0, scaled, torch.where(sign < 0, 1 - scaled, 0.0))


def _unscaled_mask(activations: Tensor, sign: Tensor, size: tuple[int, int]) -> Tensor:
    """Return U(A) times the sign of its weight, whatever its range: the mask of Eq. 11 as it is printed."""
    return maps.upsample(activations, size) * sign[:, None, None]


_MASKS = {True: sign_mask, False: _unscaled_mask}  # by whether they are scaled


def smoothed_weights(
    images: Float[Tensor, "batch 3 tall wide"],
    activations: Float[Tensor, "batch channels height width"],
    pairs: Pairs,
    score: Score,
    *,
    weights: Float[Tensor, "pairs channels"] | None = None,
    draws: int = 10,
    sigma: float = 4.0,
    unit: float | Tensor = 1.0,
    reduce: str = "max",
    noise: str = "input",
    scaled: bool = True,
    rescore: bool = True,
    softmax: bool = True,
    baseline: Tensor | None = None,
    seed: int | Sequence[int] = 0,
    first: Float[Tensor, "pairs channels"] | None = None,
    chunk: int | None = None,
    progress: bool = False,
) -> Float[Tensor, "pairs channels"]:
    """Return SS-CAM's channel weights alpha (Naidu and Michael, Algorithm 1 by default).

    Args:
        score: probabilities (default of the paper) or logits of the images, all labels at once.
        weights: w of Eq. 15, of which only the sign counts; None: all positive (Approach 1).
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
        first: the scores of the noisy copies, where they are known from :func:`smoothed_scores` already.
        chunk: masked images per forward; None: 8 at 224 px on a CPU, as many as fit on a GPU.

    The forwards of all labels of an image share their masks: at most 2 K draws, and K per pair with `rescore`.
    Raises ValueError for draws < 1, sigma < 0, an unknown reduce or noise, weights of another shape, or seeds that
    are not one per image.
    """
    _check(pairs, activations, weights, draws, sigma, reduce, noise)
    run = {"chunk": chunk, "progress": progress}
    found = first
    if found is None:
        how = {"draws": draws, "sigma": sigma, "unit": unit, "reduce": reduce, "noise": noise, "scaled": scaled}
        found = smoothed_scores(images, activations, pairs, score, weights=weights, seed=seed, **how, **run)
    if rescore:
        signs = _signs(activations, pairs, weights, scaled)
        found = _rescored(images, activations, pairs, score, signs, found, _MASKS[scaled], run)
    blank = torch.zeros_like(images[:1]) if baseline is None else baseline[None].to(images)
    increase = found - score(blank)[0, pairs.label][:, None]  # C of Eqs. 7-8
    return increase.softmax(1) if softmax else increase


def smoothed_scores(
    images: Tensor,
    activations: Tensor,
    pairs: Pairs,
    score: Score,
    *,
    weights: Tensor | None = None,
    draws: int = 10,
    sigma: float = 4.0,
    unit: float | Tensor = 1.0,
    reduce: str = "max",
    noise: str = "input",
    scaled: bool = True,
    seed: int | Sequence[int] = 0,
    chunk: int | None = None,
    progress: bool = False,
) -> Float[Tensor, "pairs channels"]:
    """Return the largest score (S_max of Algorithm 1), or the mean, over the noisy copies of every masked image.

    This is the first pass of :func:`smoothed_weights`, and nearly all of its work; arguments and errors are its.
    """
    _check(pairs, activations, weights, draws, sigma, reduce, noise)
    seeds = _seeds(seed, len(images))
    channels, signs = activations.shape[1], _signs(activations, pairs, weights, scaled)
    # A key per (image, channel, sign); what has no mask (sign 0) is one key per image.
    channel = torch.where(signs == 0, 0, torch.arange(channels, device=images.device))
    keys = (pairs.image[:, None] * channels + channel) * 3 + signs + 1
    unique, inverse = keys.unique(return_inverse=True)  # [M], [P, K]
    image, k, sign = unique // (3 * channels), unique // 3 % channels, unique % 3 - 1

    copies = draws if sigma > 0 else 1  # without noise all draws are one
    # What the noise of a mask is drawn by: its image's seed, and its channel and sign.
    named = [(seeds[i], key) for i, key in zip(image.tolist(), (unique % (3 * channels)).tolist(), strict=True)]

    def noisy(index: Tensor) -> Tensor:
        first, last = int(index[0]) // copies, int(index[-1]) // copies  # the copies of a mask stand side by side
        item = moved(index // copies, images)
        of, names = image[item], [(*named[i // copies], i % copies) for i in index.tolist()]
        if sigma and noise == "activation":
            spread = sigma * _noise(activations[:, :1], names)[:, 0]
            mask = _MASKS[scaled](activations[of, k[item]] + spread, sign[item], images.shape[-2:])
            return shown(images, of, mask)
        once = slice(first, last + 1)
        mask = _MASKS[scaled](activations[image[once], k[once]], sign[once], images.shape[-2:])[item - first]
        if not sigma:
            return shown(images, of, mask)
        spread = _noise(images, names)
        if noise == "input":
            step = torch.as_tensor(sigma * unit, dtype=images.dtype, device=images.device)
            return torch.addcmul(shown(images, of, mask), spread, step)
        spread = spread if noise == "mask" else spread[:, :1]
        return images[of] * torch.add(mask[:, None], spread, alpha=sigma)

    reduced = None
    count = len(unique) * copies
    for index, out in forwards(score, noisy, count, like=images, chunk=chunk, progress=progress):
        if reduced is None:
            reduced = out.new_full((len(unique), out.shape[1]), -torch.inf if reduce == "max" else 0.0)
        item = moved(index // copies, out)[:, None].expand_as(out)
        reduced.scatter_reduce_(0, item, out, "amax" if reduce == "max" else "sum")
    reduced = reduced / copies if reduce == "mean" else reduced
    return reduced[inverse, pairs.label[:, None]]


def _signs(activations: Tensor, pairs: Pairs, weights: Tensor | None, scaled: bool) -> Tensor:
    """Return the signs of the weights [P, K], 0 for channels without a mask: constant ones, or those of zeros."""
    flat = activations.flatten(2)
    low, high = flat.amin(-1), flat.amax(-1)
    constant = ((low == high) if scaled else (low == 0) & (high == 0))[pairs.image]
    signs = torch.ones_like(constant, dtype=torch.long) if weights is None else weights.sign().long()
    return torch.where(constant, 0, signs)


def _rescored(images, activations, pairs, score: Score, signs: Tensor, scale: Tensor, mask_of, run: dict) -> Tensor:
    """Return the scores [P, K] of scale * masked image: the second pass of Algorithm 1, each pair's own."""
    found = score(torch.zeros_like(images[:1]))[0, pairs.label][:, None].expand_as(scale).clone()
    live = signs.nonzero()  # a channel without a mask shows nothing

    def scaled(index: Tensor) -> Tensor:
        p, c = live[moved(index, images)].T
        mask = mask_of(activations[pairs.image[p], c], signs[p, c], images.shape[-2:])
        return shown(images, pairs.image[p], mask * scale[p, c][:, None, None].to(images.dtype))

    for index, out in forwards(score, scaled, len(live), like=images, **run):
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


def _check(pairs, activations, weights, draws, sigma, reduce, noise) -> None:
    check_known("reduce", reduce, REDUCE)
    check_known("noise", noise, NOISE)
    if not isinstance(draws, int) or draws < 1:
        raise ValueError(f"expected draws (N) as a whole number, 1 or more, got {draws!r}")
    if not sigma >= 0:
        raise ValueError(f"expected sigma >= 0, got {sigma}")
    wanted = (len(pairs), activations.shape[1])
    if weights is not None and tuple(weights.shape) != wanted:
        raise ValueError(f"expected weights [P, K] = {list(wanted)}, got {list(weights.shape)}")
    if activations.shape[-1] * activations.shape[-2] < 2:
        raise ValueError(f"expected activations with spatial extent, got {tuple(activations.shape)}")


def ss_cam(
    images: Float[Tensor, "batch 3 tall wide"],
    activations: Float[Tensor, "batch channels height width"],
    pairs: Pairs,
    score: Score,
    **options,
) -> Float[Tensor, "pairs tall wide"]:
    """Return SS-CAM maps ReLU(sum_k alpha_k U(A^k)) at input resolution (Eq. 13; Naidu and Michael).

    Options: those of :func:`smoothed_weights`, which gives alpha. A channel of negative weight is scored by its
    inverted mask, and enters the sum with +A all the same, as printed.

    >>> A = torch.tensor([[[[0.0, 1.0]], [[1.0, 0.0]]]])
    >>> pairs = Pairs(*torch.zeros(3, 1, dtype=torch.long))
    >>> score = lambda x: x[:, 0, 0, 1:]  # likes the right pixel
    >>> ss_cam(torch.ones(1, 3, 1, 2), A, pairs, score, sigma=0.0, rescore=False, softmax=False).tolist()
    [[[0.0, 1.0]]]
    """
    alpha = smoothed_weights(images, activations, pairs, score, **options)
    return upsampled_sum(images, activations, alpha, pairs)
