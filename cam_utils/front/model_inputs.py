"""A classifier with what is known of it: size, channels and normalisation of its input, names of its labels."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torchvision.transforms.v2.functional import normalize

from cam_utils.front.pictures import letterboxed
from cam_utils.networks import models
from cam_utils.networks.baselines import Normalised
from cam_utils.networks.capture import modules_of

SIZE = 224  # pixels, of most classifiers
COLOURS = 3


@dataclass(frozen=True)
class Loaded:
    """A classifier, and what is known of its input and of its labels; `dataclasses.replace` changes a copy."""

    model: nn.Module
    size: int  # side of the square that pictures are letterboxed to, in pixels
    mean: tuple[float, ...]  # one per channel, of inputs in [0, 1]
    std: tuple[float, ...]
    classes: tuple[str, ...] | None  # None: the file or library that it comes from does not name them
    channels: int

    def preprocess(self, pixels: Tensor) -> Tensor:
        """Return pixels [B, C, h, w] in [0, 1] as the model expects them.

        Raises ValueError for another number of channels, and for pixels that are no floats.
        """
        if pixels.dim() < 3 or pixels.shape[-3] != self.channels or not pixels.is_floating_point():
            raise ValueError(
                f"expected float pixels (B,{self.channels},h,w), got {pixels.dtype} {tuple(pixels.shape)}"
            )
        return normalize(pixels, list(self.mean), list(self.std))

    def read(self, images) -> Tensor:
        """Return pictures (paths or PIL images, one or a list) letterboxed and preprocessed, [B, C, S, S]."""
        every = images if isinstance(images, list | tuple) else [images]
        return self.preprocess(torch.stack([letterboxed(image, self.size, self.channels) for image in every]))


def channels_of(model: nn.Module) -> int:
    """Return the number of channels of the input: of the first layer that reads pixels.

    That is the first convolution, or a linear layer before any, on patches or on whole images, of 3 channels if its
    inputs are 3 squares of pixels. Convolutions may be written in another order than they run: the one of 3
    channels is then the first. 3 where nothing says it.

    >>> channels_of(nn.Sequential(nn.Conv2d(13, 8, 3), nn.Conv2d(8, 8, 3))), channels_of(nn.Linear(28 * 28, 10))
    (13, 1)
    """
    first = next((each for each in model.modules() if isinstance(each, nn.Conv2d | nn.Linear)), None)
    if isinstance(first, nn.Conv2d) and 0 < first.in_channels <= 4:
        return first.in_channels  # as nearly all have it: no walk through the rest
    layers = [each for each in modules_of(model) if isinstance(each, nn.Conv2d | nn.Linear)]
    counts = [each.in_channels for each in layers if isinstance(each, nn.Conv2d)]
    if layers and isinstance(layers[0], nn.Linear):
        values = layers[0].in_features
        if values % COLOURS == 0 and math.isqrt(values // COLOURS) ** 2 == values // COLOURS:
            return COLOURS
        if math.isqrt(values) ** 2 == values and not counts:
            return 1
    if not counts or (counts[0] > 4 and COLOURS in counts):
        return COLOURS
    return counts[0] or COLOURS  # 0: a layer that waits for its first image


def input_of(model: nn.Module) -> dict[str, object]:
    """Return channels, size, mean and std of a model's input, from what it carries; else 224 px and ImageNet's.

    mean, std: one number per channel, of inputs in [0, 1]; for other channels than 3 the mean of the three.
    """
    channels = channels_of(model)
    size = getattr(model, "image_size", None)  # torchvision's vision transformers
    size = size if isinstance(size, int) and size > 0 else SIZE
    mean, std = models.IMAGENET
    described = getattr(model, "pretrained_cfg", None)  # timm's
    if isinstance(model, Normalised):
        mean, std = (tuple(values.flatten().tolist()) for values in (model.mean, model.std))
        size = 96 if mean == models.HALF[0] else size
    elif isinstance(described, Mapping) and described.get("input_size"):
        size, mean, std = described["input_size"][-1], tuple(described["mean"]), tuple(described["std"])
    return {"channels": channels, "size": size, "mean": spread(mean, channels), "std": spread(std, channels)}


def spread(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Return one value per channel: those given, or as often as needed their mean.

    >>> spread((1.0, 2.0, 6.0), 1), spread((0.5,), 2)
    ((3.0,), (0.5, 0.5))
    """
    return values if len(values) == channels else (sum(values) / len(values),) * channels


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside torch.compile's, DataParallel's and an averaged model's wrapping: hooks need it."""
    around = nn.DataParallel | nn.parallel.DistributedDataParallel | torch.optim.swa_utils.AveragedModel
    while True:
        if isinstance(getattr(model, "_orig_mod", None), nn.Module):
            model = model._orig_mod
        elif isinstance(model, around):
            model = model.module
        else:
            return model


def described(net: nn.Module, classes: tuple[str, ...] | None = None, **known) -> Loaded:
    """Return a model with its classes and what its source knows of its input; the rest it tells itself."""
    return Loaded(net, classes=classes, **(input_of(net) | known))


def changed(loaded: Loaded, names=None, size=None, mean=None, std=None, channels=None) -> Loaded:
    """Return what was loaded with what the reader knows better."""
    count = channels or loaded.channels
    found = {"mean": spread(loaded.mean, count), "std": spread(loaded.std, count)}
    for what, given in (("mean", mean), ("std", std)):
        if given is not None:
            given = given.tolist() if hasattr(given, "tolist") else given
            values = list(given) if isinstance(given, list | tuple) else [given]
            fine = all(_is_number(value) and (what == "mean" or value > 0) for value in values)
            if not fine or len(values) not in (1, count):
                kind = "numbers" if what == "mean" else "positive numbers"
                raise ValueError(f"expected {what} as {count} {kind}, one per channel, or as one, got {given!r}")
            found[what] = spread(tuple(float(value) for value in values), count)
    return replace(loaded, classes=names or loaded.classes, size=size or loaded.size, channels=count, **found)


def _is_number(value: object) -> bool:
    try:
        return not isinstance(value, bool | str) and math.isfinite(float(value))
    except (TypeError, ValueError):
        return False
