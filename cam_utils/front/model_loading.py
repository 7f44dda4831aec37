"""A reader's own classifier: loaded by name or from a file, its layer, and the methods that its head allows.

:mod:`cam_utils.front.labels` names its classes, :mod:`cam_utils.front.pictures` reads pictures,
:func:`cam_utils.front.explain.explain` makes the maps, :mod:`cam_utils.front.overlays` writes them.
"""

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torchvision
from torch import Tensor, nn
from torchvision.transforms.v2.functional import normalize

from cam_utils.front.pictures import letterboxed
from cam_utils.methods.query import ask
from cam_utils.methods.registry import COSTLY, MASKED, METHODS, resolved
from cam_utils.names import check_known
from cam_utils.networks import models
from cam_utils.networks.baselines import Normalised
from cam_utils.networks.capture import capture, default_layer, has_map
from cam_utils.pairs import Pairs

TAKES_LONG = "takes many forwards per channel and label: it runs only if it is named in `methods`"


class Loaded(NamedTuple):
    """A classifier in evaluation mode, and what is known of its input and of its labels."""

    model: nn.Module
    size: int  # side of the square input in pixels
    mean: tuple[float, ...]  # of RGB in [0, 1]
    std: tuple[float, ...]
    classes: tuple[str, ...] | None  # None: the file or library that it comes from does not name them

    def preprocess(self, pixels: Tensor) -> Tensor:
        """Return pixels [B, 3, S, S] in [0, 1] as the model expects them."""
        return normalize(pixels, list(self.mean), list(self.std))

    def read(self, images) -> Tensor:
        """Return pictures (paths or PIL images, one or a list) letterboxed and preprocessed, [B, 3, S, S]."""
        every = images if isinstance(images, list | tuple) else [images]
        return self.preprocess(torch.stack([letterboxed(image, self.size) for image in every]))


def load_model(spec: str | Path, weights: str | Path | None = None, *, outputs: int | None = None) -> Loaded:
    """Return a classifier by name or from a file.

    spec: a torchvision architecture ("resnet18"), one of timm where that is installed ("timm/convnext_atto"), a
    checkpoint of this book (a path ending in .pt), or "FILE.py:NAME", where NAME in your file is an nn.Module or a
    function without arguments that returns one. The file is executed, as by `import`.
    weights: "imagenet" (downloaded by torchvision or timm) or the path of a state dict; None: an architecture's
    random weights, or what your file has set.
    outputs: number of logits of an architecture, if it is not the library's 1,000.

    Raises ValueError for an unknown architecture or name, for weights that do not fit and for a module that is
    none, FileNotFoundError, ImportError without timm, ConnectionError if weights cannot be downloaded.

    >>> loaded = load_model("squeezenet1_0")  # random weights
    >>> loaded.size, loaded.classes[281]
    (224, 'tabby')
    """
    spec = str(spec)
    if spec.endswith(".pt"):
        if weights is not None:
            raise ValueError(f"{Path(spec).name} has its weights in it: pass weights=None, got {str(weights)!r}")
        net = models.load_checkpoint(Path(spec).expanduser())
        classes = tuple(models.read(Path(spec).expanduser())["classes"])
    elif ".py:" in spec:
        if weights == "imagenet":
            raise ValueError(
                "weights='imagenet' is for architectures by name: your file sets its own, or pass a path"
            )
        net, classes = _from_file(spec), None
    elif spec.startswith("timm/"):
        net, classes = _from_timm(spec.removeprefix("timm/"), weights, outputs)
    else:
        net, classes = _from_torchvision(spec, weights, outputs)
    if weights not in (None, "imagenet"):
        _fill(net, Path(weights).expanduser(), spec)
    return Loaded(net.eval(), *_input_of(net, spec), classes)


def _from_torchvision(name: str, weights, outputs: int | None) -> tuple[nn.Module, tuple[str, ...] | None]:
    known = torchvision.models.list_models(module=torchvision.models)
    check_known("architecture", name, known)
    if weights == "imagenet":
        if "IMAGENET1K_V1" not in torchvision.models.get_model_weights(name).__members__:
            raise ValueError(f"torchvision has no IMAGENET1K_V1 weights of {name}: pass the path of a state dict")
        net = models.filled(name, "imagenet")
        if hasattr(net, "transform_input"):
            net.transform_input = True  # GoogLeNet and Inception turn ImageNet's mean and std into their own
    else:
        net = torchvision.models.get_model(name, weights=None, **({"num_classes": outputs} if outputs else {}))
    return net, models.imagenet_classes() if outputs in (None, 1000) else None


def _from_timm(name: str, weights, outputs: int | None) -> tuple[nn.Module, tuple[str, ...] | None]:
    try:
        timm = importlib.import_module("timm")
    except ImportError as error:
        raise ImportError(
            f"timm/{name} needs the package timm, which is not installed: pip install timm"
        ) from error
    check_known("architecture of timm", name, timm.list_models())
    options = {"num_classes": outputs} if outputs and weights != "imagenet" else {}
    try:
        net = timm.create_model(name, pretrained=weights == "imagenet", **options)
    except (OSError, RuntimeError) as error:
        if weights != "imagenet":
            raise
        reason = str(error).splitlines()[0]
        raise ConnectionError(f"the weights of timm/{name} could not be downloaded ({reason})") from error
    return net, models.imagenet_classes() if getattr(net, "num_classes", None) == 1000 else None


def _from_file(spec: str) -> nn.Module:
    file, name = spec.rsplit(":", 1)
    path = Path(file).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no file {file} to read the model {name} from")
    described = importlib.util.spec_from_file_location(f"own_{path.stem}", path)
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    own = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    check_known(f"name in {path.name}", name, own)
    found = getattr(module, name)
    if not isinstance(found, nn.Module):
        try:
            found = found()
        except TypeError as error:
            raise ValueError(
                f"{name}() of {path.name} failed without arguments ({error}): give a function of none"
            ) from error
    if not isinstance(found, nn.Module):
        raise ValueError(f"expected {name} of {path.name} to give an nn.Module, got {type(found).__name__}")
    return found


def _fill(net: nn.Module, path: Path, spec: str) -> None:
    """Load a state dict, also from the usual wrappings of one; a misfit is told in one sentence."""
    state = models.read_state(path)
    for key in ("state_dict", "model"):
        state = state[key] if isinstance(state, dict) and isinstance(state.get(key), dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path.name} holds no state dict: expected tensors by name, got {type(state).__name__}")
    if state and all(key.startswith("module.") for key in state):  # saved from DataParallel
        state = {key.removeprefix("module."): value for key, value in state.items()}
    own = net.state_dict()
    shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
    faults = [
        *_some("lacks", [key for key in own if key not in state]),
        *_some("has besides", [key for key in state if key not in own]),
        *[f"has {key} of shape {tuple(state[key].shape)}, expected {tuple(own[key].shape)}" for key in shapes[:1]],
    ]
    if faults:
        only = len(faults) == 1 and bool(shapes)
        hint = "; if it knows other classes, name them in `classes`" if only else ""
        raise ValueError(f"{path.name} does not fit {spec}: it {', and it '.join(faults)}{hint}")
    net.load_state_dict(state)


def _some(what: str, keys: Sequence[str]) -> list[str]:
    return [f"{what} {len(keys)} of the parameters ({keys[0]}, ...)"] if keys else []


def _input_of(net: nn.Module, spec: str) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
    """Return size, mean and std of the input, as far as the model's source says; else 224 px and ImageNet's."""
    if isinstance(net, Normalised):
        mean, std = (tuple(values.flatten().tolist()) for values in (net.mean, net.std))
        return 96 if mean == models.HALF[0] else 224, mean, std
    described = getattr(net, "pretrained_cfg", None)  # timm's
    if isinstance(described, Mapping) and described.get("input_size"):
        return described["input_size"][-1], tuple(described["mean"]), tuple(described["std"])
    if spec in torchvision.models.list_models(module=torchvision.models):
        every = torchvision.models.get_model_weights(spec).__members__
        shown = every.get("IMAGENET1K_V1", next(iter(every.values()))).transforms()
        return shown.crop_size[0], tuple(shown.mean), tuple(shown.std)
    return 224, *models.IMAGENET


def find_layer(model: nn.Module, images: Tensor, name: str | None = None) -> tuple[str, nn.Module]:
    """Return the layer that maps are read from, with its name in `model.named_modules()`.

    name: of the layer; None takes `model.features` if that gives a map, else the last module that does. images:
    [B, 3, h, w] as the model expects them. Raises ValueError for an unknown name, for a layer without a map and
    as :func:`cam_utils.networks.capture.last_spatial_layer`.
    """
    modules = {key: module for key, module in model.named_modules() if key}
    if name is None:
        layer = default_layer(model, images)
    else:
        layer = modules[check_known("layer", name, modules)]
        shape = capture(model, images[:1], layer).activations
        if not has_map(shape, images):
            raise ValueError(f"expected a layer with a map (B,K,H,W), got {tuple(shape.shape)} from {name}")
    return next(key for key, module in modules.items() if module is layer), layer


def allowed(
    model: nn.Module, images: Tensor, layer: nn.Module, methods: Sequence[str] | None = None
) -> tuple[list[str], dict[str, str]]:
    """Return the methods that the model's head allows, and {method: reason} for the others.

    methods: names; None takes all, but leaves SS-CAM aside for what it costs. images as in :func:`find_layer`.
    Raises ValueError for an unknown name and if no method is left.
    """
    names = list(METHODS) if methods is None else list(resolved(methods))
    reasons = {name: TAKES_LONG for name in COSTLY if methods is None}
    query = ask(model, images[:1], Pairs.one(device=images.device), layer=layer)
    for name in names:
        if name not in MASKED:
            try:
                METHODS[name](query)
            except ValueError as error:
                reasons[name] = str(error)
    left = [name for name in names if name not in reasons]
    if not left:
        raise ValueError(f"none of the methods can be used: {'; '.join(dict.fromkeys(reasons.values()))}")
    return left, {name: reasons[name] for name in names if name in reasons}
