"""Which layer maps are read from: the last one whose output holds a map, unless the reader names another."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn

from cam_utils.names import check_known
from cam_utils.networks.capture import evaluation_mode, hooked, layer_name, modules_of, run_in_order
from cam_utils.networks.layouts import TOKENS, Layout, layout_of, order_of, remember
from cam_utils.networks.tokens import read_layers, row_by_row

MOST_CANDIDATES = 12  # from the end: a class token reads the patches in the last block, or in the last two


class Mapped(NamedTuple):
    """A module that ran once and gave a map."""

    layer: nn.Module
    layout: Layout


def mapped_layers(model: nn.Module, images: Tensor) -> list[Mapped]:
    """Return the modules that run once and give a map for the first of images [B, C, h, w], in the order they run.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    >>> [type(each.layer).__name__ for each in mapped_layers(net, torch.zeros(1, 3, 8, 8))]
    ['Conv2d', 'ReLU']
    """
    images, found, runs = images[:1], [], Counter()
    order = None  # what the last part that tells says of the channels
    tokens = 0  # of the last output [1, N, K]

    def note(module, _inputs, output):
        nonlocal order, tokens
        runs[module] += 1
        first = output[0] if isinstance(output, tuple | list) and output else output
        own = order_of(module)
        own = None if own == "sequence" else own
        order = own or order
        layout = layout_of(first, images, order)
        if layout is None:
            return
        if layout.kind in TOKENS:
            tokens = first.shape[1] if layout.kind == "tokens" else len(first)
        # Attention's weights [B, heads, N, N] and its parts [B, heads, N, d] are no maps, whatever their shape.
        elif tokens and layout.kind == "first" and layout.grid[0] == tokens:
            return
        if own is None or layout.kind == "sequence":
            remember(module, layout.kind)
        found.append(Mapped(module, layout))

    def forget():
        found.clear()
        runs.clear()

    modules = [module for module in modules_of(model) if module is not model]
    with torch.inference_mode(False), evaluation_mode(model), hooked(modules, note), torch.no_grad():
        run_in_order(model, images.clone() if images.is_inference() else images, forget)
    return [each for each in found if runs[each.layer] == 1]


def last_spatial_layer(model: nn.Module, images: Tensor) -> nn.Module:
    """Return the last module that runs once and holds a map: the layer that class maps usually read.

    In vision transformers it is the last block or normalisation of tokens whose patches the logits still depend on
    (behind the last attention often only the class token is read) and that keeps them row by row. Raises ValueError
    if no module of the model has such a map.
    """
    found = mapped_layers(model, images)
    if not found:
        raise ValueError(
            f"no layer of {type(model).__name__} has activations (B,K,H,W) with more than one pixel, or tokens of "
            "such a grid"
        )
    grids = [each for each in found if each.layout.kind in ("first", "last")]
    if len(grids) == len(found):
        return grids[-1].layer
    # A few tokens behind convolutions are attention that pools.
    last = grids[-1:] if found[-1] in grids or 2 * len(grids) >= len(found) else []
    for candidates in (last, _norms_and_blocks(found), found):
        candidates = candidates[-MOST_CANDIDATES:]
        read = read_layers(model, images, [each.layer for each in candidates])
        for each, counts in reversed([*zip(candidates, read, strict=True)]):
            if counts and (each.layout.kind not in TOKENS or row_by_row(model, images[:1], each.layer)):
                return each.layer
    raise ValueError(
        f"no logit of {type(model).__name__} depends on the map of any of its last layers, or their tokens are not "
        "in the order of the image's patches"
    )


def _norms_and_blocks(found: Sequence[Mapped]) -> list[Mapped]:
    """Return normalisations that stand alone, and what contains them: what is computed inside says less."""
    norms = {
        each.layer
        for each in found
        if "norm" in type(each.layer).__name__.lower()
        and not [*each.layer.children()]
        and each.layout.kind != "first"
    }
    return [each for each in found if not norms.isdisjoint(modules_of(each.layer)) and each.layout.kind != "first"]


# Found once per model and size of its images, since it takes a forward: what has pixels at 224 has one at 32.
_LAYERS: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], nn.Module]] = WeakKeyDictionary()


def default_layer(model: nn.Module, images: Tensor) -> nn.Module:
    """Return the layer that maps are read from: `model.features` if it gives one, else :func:`last_spatial_layer`.

    images: [B, C, h, w] as the model expects them; of these the first is run, once per model and size. Raises as
    :func:`last_spatial_layer`.
    """
    size, found = tuple(images.shape[-2:]), _LAYERS.setdefault(model, {})
    if all(found.get(size) is not module for module in modules_of(model)):  # none yet, or replaced since
        found[size] = _found_layer(model, images)
    return found[size]


def _found_layer(model: nn.Module, images: Tensor) -> nn.Module:
    features = getattr(model, "features", None)
    if isinstance(features, nn.Module):
        for each in mapped_layers(model, images):
            if each.layer is features and each.layout.kind == "first":
                return features
    return last_spatial_layer(model, images)


def named_layer(model: nn.Module, layer: str | nn.Module) -> nn.Module:
    """Return a layer given as a module of the model or by its name in `model.named_modules()`.

    Raises ValueError for an unknown name, with the nearest, and for what is neither.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    >>> named_layer(net, "1") is net[1]
    True
    """
    if isinstance(layer, str):
        return dict(model.named_modules())[check_known("layer", layer, [n for n, _ in model.named_modules() if n])]
    if not isinstance(layer, nn.Module):
        raise ValueError(f"expected a layer as a module or a name, got {layer!r} ({type(layer).__name__})")
    return layer


_CHECKED: WeakSet[nn.Module] = WeakSet()  # found right once


def check_layers(model: nn.Module, images: Tensor, layers: Sequence[nn.Module]) -> None:
    """Refuse named layers whose tokens give no map of images [B, C, h, w]; runs the model once per layer and model.

    Raises ValueError if the tokens are not in the order of the image's patches, or if no logit depends on the
    patches. It also learns where the channels of layers are that do not tell, such as a ReLU. What has no map at
    all is left to :func:`cam_utils.networks.capture.capture_layers`.
    """
    new = [layer for layer in layers if layer not in _CHECKED and order_of(layer) != "first"]
    layouts = dict(mapped_layers(model, images)) if new else {}
    for layer in new:
        if layer in layouts and layouts[layer].kind in TOKENS:
            name = layer_name(model, layer)
            if not row_by_row(model, images[:1], layer):
                raise ValueError(
                    f"the tokens of {name} are not in the order of the image's patches, so that no map can be "
                    "folded from them: name another layer"
                )
            if read_layers(model, images, [layer]) == [False]:
                raise ValueError(
                    f"no logit depends on the patches of {name}: what follows reads only other tokens, such as the "
                    "class token; name a layer before the last attention"
                )
        _CHECKED.add(layer)
