"""What SS-CAM's noise is: its readings by name, its size, and where its random numbers come from.

The paper's equations, its algorithm and its authors' own code are not one method, so each open choice is a field of
:class:`Smoothing`, and :data:`READINGS` names the combinations that somebody published.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

from cam_utils.names import check_known

REDUCE = ("max", "mean")
NOISE = ("input", "mask", "mask-grey", "activation")


@dataclass(frozen=True)
class Smoothing:
    """Which reading of SS-CAM is run; the defaults are those of Algorithm 1 (book page "Deviations from SS-CAM").

    Attributes:
        draws: N, noisy copies per mask. sigma: their standard deviation, in steps of `unit` of the images' own
            values: 1 for normalised images, 1 / (255 std) [3, 1, 1] for a sigma on the 0-255 scale.
        relative: the standard deviation is (sigma / (max - min))^2 of what the noise is added to, by channel, as in
            the authors' code; `unit` is then 1.
        reduce: "max" (Eq. 14) or "mean" (Eq. 9) over the draws.
        noise: on the masked "input" (Algorithm 1), or on the "mask" (Eq. 15), where sigma is in units of the mask;
            the noise of a "mask-grey" is the same for the three colours; "activation": on the channel before it is
            upsampled (a reading of Eqs. 9-11), in units of the channel.
        scaled: masks are s(U(w A)) (Eq. 15), or the upsampled activations as they are (Eq. 11), with w's sign.
        signed: whether w takes part in the masks; else all channels count as of positive weight (Approach 1).
        rescore: score S_max * masked image once more (Algorithm 1), or take the reduced score itself (Eq. 14).
        subtract: take the score of the baseline off (Eqs. 7-8). baseline: image X_b [3, h, w], zero by default.
        softmax: over the channels (Algorithm 1).
        weighted: the map sums alpha_k w_k A^k (the authors' notebooks), not alpha_k A^k (Eq. 13).
        seed: of the noise, for all images or one for each (see :func:`image_seeds`). Every (channel, sign, draw) of
            a seed has noise of its own, whatever the chunk and the rest of the batch.

    Raises ValueError for draws < 1, sigma < 0, an unknown reduce or noise, a unit beside `relative`.
    """

    draws: int | float = 10  # of which whole numbers pass the check below
    sigma: int | float = 4.0
    unit: int | float | Tensor = 1.0
    relative: bool = False
    reduce: str = "max"
    noise: str = "input"
    scaled: bool = True
    signed: bool = True
    rescore: bool = True
    subtract: bool = True
    baseline: Tensor | None = None
    softmax: bool = True
    weighted: bool = False
    seed: int | Sequence[int] = 0

    def __post_init__(self) -> None:
        check_known("reduce", self.reduce, REDUCE)
        check_known("noise", self.noise, NOISE)
        if not isinstance(self.draws, int) or self.draws < 1:
            raise ValueError(f"expected draws (N) as a whole number, 1 or more, got {self.draws!r}")
        if not self.sigma >= 0:
            raise ValueError(f"expected sigma >= 0, got {self.sigma}")
        if self.relative and not (isinstance(self.unit, int | float) and self.unit == 1):
            raise ValueError("expected unit = 1 where sigma is relative to the range of what the noise is added to")

    def deviation(self, of: Float[Tensor, "items ..."]) -> float | Tensor:
        """Return the standard deviation of the noise on each of these items, shaped to multiply them.

        Relative to the range of each, an item without one gets no noise.

        >>> Smoothing(sigma=4.0, relative=True).deviation(torch.tensor([[0.0, 2.0], [3.0, 3.0]])).tolist()
        [[4.0], [0.0]]
        """
        if not self.relative:
            on_input = self.noise == "input"
            return self.sigma * self.unit if on_input else self.sigma
        flat = of.flatten(1)
        span = flat.amax(1) - flat.amin(1)
        found = torch.where(span > 0, (self.sigma / span.where(span > 0, torch.ones_like(span))) ** 2, 0.0)
        return found.view(-1, *[1] * (of.dim() - 1))


_APPROACH_1 = {"reduce": "mean", "noise": "mask", "signed": False, "rescore": False, "softmax": False}
_JUNE = {"relative": True, "rescore": False, "subtract": False, "softmax": False, "weighted": True}
_AUGUST = {
    "draws": 35, "sigma": 2.0, "relative": True, "reduce": "mean", "noise": "mask-grey", "scaled": False,
    "signed": False, "rescore": False, "subtract": False, "softmax": False,
}  # fmt: skip
# What was published, each as a Smoothing: the paper's Algorithm 1 and Approach 1 (Eqs. 9-11); the notebooks of the
# authors' repository, of the day of this version, one of which takes the mean of the draws; and its library file of
# August 2020 (deviation dev-sscam-readings).
READINGS: Mapping[str, Smoothing] = MappingProxyType(
    {
        "printed": Smoothing(),
        "approach-1": Smoothing(**_APPROACH_1),
        "authors-2020-06": Smoothing(**_JUNE),
        "authors-2020-06-mean": Smoothing(**_JUNE, reduce="mean"),
        "authors-2020-08": Smoothing(**_AUGUST),
    }
)
OPTIONS = tuple(field.name for field in fields(Smoothing))


def reading(name: str = "printed", **options: object) -> Smoothing:
    """Return a reading of SS-CAM by its name in READINGS, with options of your own in place of its.

    Raises ValueError for an unknown name or option, and as :class:`Smoothing`.

    >>> reading("authors-2020-08").draws, reading("authors-2020-08", draws=4).draws
    (35, 4)
    """
    for option in options:
        check_known("option of ss-cam", option, OPTIONS)
    return replace(READINGS[check_known("reading of SS-CAM", name, READINGS)], **options)


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


def drawn(images: Tensor, names: Sequence[tuple[int, int, int]]) -> Tensor:
    """Return the noise of several (seed, key, draw) [N, 3, h, w]."""
    found = images.new_empty(len(names), *images.shape[1:])
    for out, name in zip(found, names, strict=True):  # in threads it takes longer: those of the forward still spin
        draw_noise(images, *name, out=out)
    return found
