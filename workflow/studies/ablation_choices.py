"""What MinMax-CAM's paper leaves open, each with the choices that this book did not make.

A choice gives the pairs tables of CAM and of one other method as the book has them and under the
alternative, on the same images of several annotated labels.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

import pandas as pd

from cam_utils import data
from cam_utils.networks import models, schedules
from cam_utils.networks.schedules import Stage
from workflow.studies.ablation_parts import (
    BATCH,
    DATASET,
    AbsoluteUsage,
    Digits,
    Nearest,
    Photographs,
    less_baseline,
    masked_with,
    named,
    normalised_as,
    rectified_before,
    score_cam_of,
    softmaxed,
    until_constant,
)

Tables = tuple[pd.DataFrame, pd.DataFrame]  # ours, and under the alternative
AS_GIVEN = replace(schedules.frozen(0.1), augment="none")
LINEAR, USAGE = "linear, rate 0.1", "kernel usage, rate 1"


@dataclass(frozen=True)
class Choice:
    """An alternative to what the book does.

    row: the deviation's id. name: the alternative in a few words. tables: of a bench and a seed the pairs tables of
    CAM and of `method`, whose difference is compared. head: whose training the seed is of.
    """

    row: str
    name: str
    tables: Callable[..., Tables]
    method: str = "minmax-cam"
    head: str = LINEAR
    digits: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it apart: row, name and data set."""
        return self.row, self.name, "digits" if self.digits else DATASET


def _retrained(change: Callable[[Photographs, int], dict]) -> Callable[[Photographs, int], Tables]:
    """Return the tables of a head trained otherwise; `change` gives what :meth:`Photographs.trained` is told."""
    return lambda bench, seed: (bench.stored(seed), bench.trained(seed, **change(bench, seed)))


def _staged(**changes: object) -> Callable[[Photographs, int], Tables]:
    """Return the tables of a head trained by another stage than the paper's first."""
    return _retrained(lambda bench, seed: {"stage": replace(schedules.frozen(0.1), **changes)})


@cache
def _as_given(bench: Photographs, seed: int) -> pd.DataFrame:
    """Return the pairs of a head trained on the images as given, not mirrored: half the features to compute."""
    return bench.trained(seed, AS_GIVEN)


def _on_other_images(change: Callable[[Photographs, int], dict]) -> Callable[[Photographs, int], Tables]:
    """Return the tables of heads trained and evaluated on our images and on others, both as given."""
    return lambda bench, seed: (_as_given(bench, seed), bench.trained(seed, AS_GIVEN, **change(bench, seed)))


def _remade(**options: object) -> Callable[[Photographs, int], Tables]:
    """Return the tables for images that are loaded otherwise."""
    return _on_other_images(lambda bench, _seed: {"load": _parts(bench, tuple(sorted(options.items())))})


@cache
def _parts(bench: Photographs, options: tuple) -> Callable:
    """Return the loader of images in another size or fit."""
    return bench.remade(lambda split: data.load(DATASET, split, root=bench.root, **dict(options)))


@cache
def _nearest(bench: Photographs) -> Callable:
    """Return the loader of images resized by nearest neighbour."""
    folder = next(bench.root.glob("**/VOC2012")) / "JPEGImages"
    return bench.remade(lambda split: Nearest(data.load(DATASET, split, root=bench.root), folder))


def _of_stored(head: str, rate: float, *, here: tuple[str, float] = ("linear", 0.1)) -> Callable[..., Tables]:
    """Return the tables of two stored heads."""
    first, second = ({"head": name, "rate": of} for name, of in (here, (head, rate)))
    return lambda bench, seed: (bench.stored(seed, **first), bench.stored(seed, **second))


def _dropout(bench: Photographs, seed: int) -> dict:
    return {"model": bench.fresh(seed, dropout=0.5)}


def _normalised(bench: Photographs, seed: int) -> dict:
    return {"model": normalised_as(bench.fresh(seed), models.IMAGENET)}


def _stopped_by_test(bench: Photographs, _seed: int) -> dict:
    return {"load": lambda split: bench.load("test" if split == "val" else split)}


def _absolute(bench: Photographs, seed: int) -> Tables:
    model = bench.fresh(seed, head="kernel-usage")
    head = AbsoluteUsage(model.head.in_features, model.head.out_features)
    head.load_state_dict(model.head.state_dict())
    model.head = head
    here = bench.stored(seed, head="kernel-usage", rate=1.0)
    return here, bench.trained(seed, schedules.frozen(1.0), model=model)


def _last_batch(bench: Photographs, seed: int) -> Tables:
    here = bench.stored(seed)
    whole = len(bench.load("test")) // BATCH * BATCH
    return here, here[here["image_index"] < whole]


def _masked(colour: tuple[float, ...]) -> Callable[[Photographs, int], Tables]:
    return lambda bench, seed: (bench.stored(seed), bench.evaluated(masked_with(bench.model(seed), colour)))


def _upsampled_first(bench: Photographs, seed: int) -> Tables:
    return bench.stored(seed), bench.evaluated(bench.model(seed), upsample_first=True)


def _rectified_before(bench: Photographs | Digits, seed: int) -> Tables:
    other = "d-minmax-cam"
    methods = {"cam": "cam", "before": rectified_before}
    if isinstance(bench, Digits):
        every = bench.evaluated(methods | {other: other})
        return every[every["method"] != "before"], named(every[every["method"] != other], "before", other)
    return bench.stored(seed, ("cam", other)), named(bench.evaluated(bench.model(seed), methods), "before", other)


def _score_cam(alpha: Callable) -> Callable[[Digits, int], Tables]:
    def tables(bench: Digits, _seed: int) -> Tables:
        every = bench.evaluated({"cam": "cam", "score-cam": "score-cam", "changed": score_cam_of(alpha)})
        here = every[every["method"] != "changed"]
        return here, named(every[every["method"] != "score-cam"], "changed", "score-cam")

    return tables


_digits = partial(Choice, digits=True, head="linear")
_score = partial(_digits, method="score-cam")
CHOICES = (
    Choice("dev-last-batch", "without the last 13 of 445 images", _last_batch),
    Choice("dev-learning-rates", "trained at 1.0", _of_stored("linear", 1.0)),
    Choice("dev-kernel-usage-rate", "trained at 0.1", _of_stored("kernel-usage", 0.1, here=("kernel-usage", 1.0)),
           head=USAGE),
    _digits("dev-d-minmax-rectify", "rectified before", _rectified_before, "d-minmax-cam"),
    _score("dev-score-cam-form", "with a baseline", _score_cam(less_baseline)),
    _score("dev-score-cam-form", "with a softmax", _score_cam(softmaxed)),
    _score("dev-score-cam-channels", "sorted and stopped", _score_cam(until_constant)),
    Choice("dev-d-minmax-rectify", "rectified before", _rectified_before, "d-minmax-cam"),
    Choice("dev-mask-order", "upsampled first", _upsampled_first),
    Choice("dev-masked-pixel", "black", _masked((0.0, 0.0, 0.0))),
    Choice("dev-masked-pixel", "ImageNet's mean colour", _masked(models.IMAGENET[0])),
    Choice("dev-dropout", "with dropout", _retrained(_dropout)),
    Choice("dev-learning-rates", "trained at 0.002 for 80 epochs",
           _retrained(lambda bench, seed: {"stage": Stage(80, 0.002, unfrozen=0.0, augment="flip")})),
    Choice("dev-plateau", "80 epochs without the rule", _staged(epochs=80, plateau=None, early_stop=None)),
    Choice("dev-stopping-images", "stopped by the evaluated images", _retrained(_stopped_by_test)),
    Choice("dev-kernel-usage-softmax", r"softmax of $\lvert W\rvert$", _absolute, head=USAGE),
    Choice("dev-frozen-views", "as given alone", lambda bench, seed: (bench.stored(seed), _as_given(bench, seed))),
    Choice("dev-fitting", "cropped", _remade(resize="crop")),
    Choice("dev-interpolation", "nearest neighbour", _on_other_images(lambda bench, _: {"load": _nearest(bench)})),
    Choice("dev-preprocessing", "by torchvision's numbers", _on_other_images(_normalised)),
    Choice("dev-input-size", "at 320 pixels", _remade(size=320)),
)  # fmt: skip
