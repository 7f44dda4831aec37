"""A network's tensors in a checkpoint, however they are wrapped in it, or one sentence on what does not fit."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from cam_utils.networks import published
from cam_utils.networks.weight_files import objects, read_with_strangers

# Averages over the training; the words that name them stand alone or between underscores
_AVERAGED = re.compile(r"(^|_)(ema|swa|averaged)(_|$)")
_USUAL = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "weights",
    "params",
    "module",
    "state",
    "_orig_mod",
)
_COUNTERS = (
    "num_batches_tracked",
    "total_ops",
    "total_params",
)  # counts of batches and operations: no map reads them
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.")  # as torchvision's downloads spell it


def tensors_in(saved: object, depth: int = 8) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    """Yield ((key, inner key, ...), tensor) of all tensors and numeric arrays in nested mappings and lists.

    >>> [(keys, x.shape) for keys, x in tensors_in({"epoch": 3, "net": {"fc.bias": torch.ones(2)}})]
    [(('net', 'fc.bias'), torch.Size([2]))]
    """
    if isinstance(saved, Tensor):
        yield (), saved.detach()
    elif isinstance(saved, np.ndarray | np.generic) and saved.dtype.kind in "fiub":
        yield (), torch.as_tensor(np.array(saved, dtype=saved.dtype.newbyteorder("=")))
    elif isinstance(saved, Mapping | list | tuple) and depth:
        for key, value in saved.items() if isinstance(saved, Mapping) else enumerate(saved):
            yield from (((str(key), *keys), tensor) for keys, tensor in tensors_in(value, depth - 1))


def _rank(prefix: str) -> int:
    """Return 0 for averaged weights, 1 for what has a usual name or none, 2 for the rest."""
    words = prefix.rstrip(".").split(".")
    return 0 if any(map(_AVERAGED.search, words)) else 1 if words[0] in ("", *_USUAL) else 2


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors by name in a file: of several mappings in it averaged weights, else the largest.

    Raises as :func:`cam_utils.networks.weight_files.read`; ValueError, too, if there is none.
    """
    saved, strangers = read_with_strangers(Path(path))
    found: dict[tuple[str, ...], dict[str, Tensor]] = {}  # by the mapping that they lie in
    for keys, tensor in tensors_in(saved):
        if keys:
            found.setdefault(keys[:-1], {})[keys[-1]] = tensor
    if not found:
        raise ValueError(_nothing(Path(path), saved, strangers))
    return found[min(found, key=lambda keys: (_rank(".".join(keys)), -len(found[keys])))]


def _nothing(path: Path, saved: object, strangers: list[str]) -> str:
    if strangers:
        return objects(path, strangers)
    kind = f"a dict of {', '.join(map(str, list(saved)[:5])) or 'nothing'}" if isinstance(saved, Mapping) else None
    return f"{path.name} holds no state dict: expected tensors by name, got {kind or type(saved).__name__}"


def fill(net: nn.Module, source: str | Path | Mapping, called: str, hint: str = "") -> None:
    """Load a network's tensors from a file, or from what one holds, however they are wrapped in it.

    They may lie at any depth ({"epoch": 3, "model_state_dict": ...}) and under any common prefix ("module.",
    "_orig_mod.", "model.backbone."); what else is there is left aside. If they are there several times, an average
    over the training is taken ("state_dict_ema", "model_ema", ...), which is what authors evaluate, else what has a
    usual name ("state_dict", "model", "net", ...). Half precision and arrays are converted; counters of batch
    normalisation may be missing.
    called: how the network is called in a sentence; hint: how it goes on where shapes alone differ.

    Raises as :func:`cam_utils.networks.weight_files.read`, and ValueError, with keys and shapes, for tensors that
    do not fit, or fit in several places.

    >>> net = nn.Linear(1, 1)
    >>> fill(net, {"epoch": 3, "net": {"module.weight": torch.ones(1, 1), "module.bias": torch.zeros(1)}}, "line")
    >>> net(torch.tensor([5.0])).item()
    5.0
    """
    given = isinstance(source, Mapping)
    path = Path("the state dict") if given else Path(source)
    saved, strangers = (source, []) if given else read_with_strangers(path)
    found = {".".join(keys): (keys[:-1], tensor) for keys, tensor in tensors_in(saved) if keys}
    if not found:
        raise ValueError(_nothing(path, saved, strangers))
    own = {key: value for key, value in net.state_dict().items() if isinstance(value, Tensor)}
    if not own:
        raise ValueError(f"{called} has no parameters that {path.name} could fill")
    if any(map(_OLD_DENSENET.search, found)) and not any(map(_OLD_DENSENET.search, own)):
        found = {_OLD_DENSENET.sub(r"\1\2.", key): value for key, value in found.items()}
    counts = Counter(key.removesuffix(name) for key in found for name in _endings(key) if name in own)  # by prefix
    needed = sum(not key.endswith(_COUNTERS) for key in own)
    fitting = [prefix for prefix, count in counts.items() if count >= needed and not _faults(own, found, prefix)]
    if not fitting:
        if strangers and not counts:
            raise ValueError(objects(path, strangers))
        best = max(counts, key=lambda prefix: (counts[prefix], -_rank(prefix)), default="")
        raise ValueError(_misfit(path.name, called, own, found, best, hint))
    least = min(map(_rank, fitting))
    first, *others = [prefix for prefix in fitting if _rank(prefix) == least]
    state = {key: found[first + key][1] for key in own if first + key in found}
    if any(not torch.equal(value, found[other + key][1]) for other in others for key, value in state.items()):
        places = ", ".join(repr(prefix.rstrip(".") or "its top") for prefix in (first, *others))
        raise ValueError(f"{path.name} fits {called} in several places ({places}): pass the tensors of one of them")
    try:
        net.load_state_dict({key: _converted(value, own[key]) for key, value in state.items()}, strict=False)
    except RuntimeError as error:
        raise ValueError(f"{path.name} does not fit {called}: {' '.join(str(error).split())}") from error


def _endings(key: str) -> Iterator[str]:
    parts = key.split(".")
    return (".".join(parts[i:]) for i in range(len(parts)))


def _converted(value: Tensor, own: Tensor) -> Tensor:
    """Return a value in the own one's type; a counter that half precision could not hold starts anew."""
    value = value.to_dense() if value.layout != torch.strided else value
    fits = is_lazy(own) or own.is_floating_point() or not value.is_floating_point() or value.isfinite().all()
    return value if fits else torch.zeros_like(own)


def _faults(own: Mapping[str, Tensor], found: Mapping, prefix: str) -> list[str]:
    """Return what keeps the tensors under a prefix from being the own ones."""
    there = {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}
    beside = {there[key][0] for key in own if key in there}  # other mappings, an optimiser's, are none of ours
    both = [key for key in own if key in there]
    lacks = [key for key in own if key not in there and not key.endswith(_COUNTERS)]
    more = [key for key in there if key not in own and there[key][0] in beside and not key.endswith(_COUNTERS)]
    shapes = [key for key in both if not is_lazy(own[key]) and own[key].shape != there[key][1].shape]
    types = [key for key in both if key not in shapes and not _convertible(there[key][1], own[key])]
    return [
        *[f"{what} {len(keys)} of the parameters ({keys[0]}, ...)" for what, keys in (("lacks", lacks),) if keys],
        *[f"has {len(keys)} others besides ({keys[0]}, ...)" for keys in (more,) if keys],
        *[
            f"has {key} of shape {tuple(there[key][1].shape)}, expected {tuple(own[key].shape)}"
            for key in shapes[:1]
        ],
        *[f"has {key} as {_kind(there[key][1])}, expected {own[key].dtype}" for key in types[:1]],
    ]


def _kind(value: Tensor) -> str:
    return f"{value.dtype}{' without numbers' if value.is_meta else ''}"


def _convertible(value: Tensor, own: Tensor) -> bool:
    """Return whether a value can be taken as the own one without a change of what it says."""
    if value.is_meta or value.is_complex() != own.is_complex():
        return False
    if own.is_floating_point() or own.is_complex():
        return value.is_floating_point() or value.is_complex()
    return not value.is_floating_point() or bool((value.float().frac().nan_to_num() == 0).all())


def _misfit(name: str, called: str, own: Mapping, found: Mapping, prefix: str, hint: str) -> str:
    faults = _faults(own, found, prefix)
    where = f" under {prefix.rstrip('.')!r}" if prefix else ""
    keys = ", ".join(list(found)[:2]) + (", ..." if len(found) > 2 else "")
    other = hint if len(faults) == 1 and "of shape" in faults[0] else ""
    told = ", and it ".join(faults)
    return f"{name} does not fit {called}: it{where} {told}{other}; its keys are {keys} ({len(found)} in all)"


def filled(builder: str, weights: str | Path | None) -> nn.Module:
    """Return a torchvision network with the weights named, random ones for None.

    "imagenet": torchvision's IMAGENET1K_V1, downloaded once; the file is checked by its hash, and nothing in it is
    executed. Raises ConnectionError if it cannot be downloaded, ValueError if it is not the one published, and as
    :func:`fill`.
    """
    net = torchvision.models.get_model(builder, weights=None)
    if weights == "imagenet":
        fill(net, published.of_torchvision(builder), f"torchvision.models.{builder}")
    elif weights is not None:
        fill(net, weights, f"torchvision.models.{builder}")
    return net
