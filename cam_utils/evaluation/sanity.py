"""Sanity checks of maps (Adebayo et al. 2018): a map of what a network knows changes when the network forgets.

Parts of a trained network get fresh random parameters, from the head downwards, and every map is compared with what
it was. Two maps that have nothing in common but their method still resemble each other, since both are smooth and
mostly dark: a similarity is read against that of *another* image's map after the same change (:func:`compared`).
:mod:`cam_utils.evaluation.sanity_rule` decides.
"""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import Dataset

from cam_utils import maps
from cam_utils.data import Permuted
from cam_utils.evaluation.similarity import with_others
from cam_utils.methods import ablation, relevance
from cam_utils.methods.other_libraries import OTHER_LIBRARIES
from cam_utils.methods.pixel_gradients import PIXEL_GRADIENTS
from cam_utils.methods.query import Query, ask, rectified
from cam_utils.methods.registry import METHODS, Method, resolved
from cam_utils.names import check_known
from cam_utils.pairs import Pairs

ORDERS = ("cascade", "independent")
TRAINED, OTHER = "trained", "other label"  # stages at which the network is as it was


def stages(model: nn.Module) -> list[str]:
    """Return the names of the parts to randomise, from the head down to the first layer of the features.

    A part is the head, or a child of `model.features` that has parameters: a layer, or a block of layers.

    >>> from cam_utils.networks import models
    >>> stages(models.build("digits", 10))
    ['head', 'features.3', 'features.2', 'features.1', 'features.0']
    """
    children = [name for name, child in model.features.named_children() if any(True for _ in child.parameters())]
    return ["head", *(f"features.{name}" for name in reversed(children))]


def steps_of(names: Sequence[str], order: str = "cascade") -> dict[str, tuple[str, ...]]:
    """Return {stage: parts that are random there}: all parts down to it ("cascade"), or it alone ("independent").

    Raises ValueError for another order.

    >>> steps_of(["head", "block"]), steps_of(["head", "block"], "independent")
    ({'head': ('head',), 'block': ('head', 'block')}, {'head': ('head',), 'block': ('block',)})
    """
    check_known("order of randomisation", order, ORDERS)
    return {name: tuple(names[: i + 1]) if order == "cascade" else (name,) for i, name in enumerate(names)}


def randomised(
    model: nn.Module,
    parts: Sequence[str],
    seed: int,
    *,
    statistics: Float[Tensor, "batch colours h w"] | None = None,
) -> nn.Module:
    """Return a copy of the model whose `parts` have fresh initial values, drawn by `seed`.

    Every layer draws its own (`reset_parameters`), batch normalisation also forgets its statistics. statistics:
    prepared images by which the random parts estimate new ones; without them the signal of a deep network with
    random weights all but vanishes (by eight orders of magnitude in EfficientNet-Lite0). Raises ValueError for a
    part that the model does not have, or a layer that cannot draw.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    >>> forgetful = randomised(net, ["1"], seed=0)
    >>> [torch.equal(net[i].weight, forgetful[i].weight) for i in (0, 1)]
    [True, False]
    """
    changed = copy.deepcopy(model)
    modules = dict(changed.named_modules())
    layers = [
        (part, layer)
        for part in parts
        for layer in modules[check_known("part of the network", part, modules)].modules()
    ]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part, layer in layers:
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
            elif any(True for _ in layer.parameters(recurse=False)):
                raise ValueError(f"{type(layer).__name__} in {part} has no reset_parameters to draw values")
    if statistics is not None:
        _estimate([layer for _, layer in layers if isinstance(layer, _BatchNorm)], changed, statistics)
    return changed


@torch.no_grad()
def _estimate(layers: Sequence[nn.Module], model: nn.Module, images: Tensor) -> None:
    """Let batch normalisations take their statistics from the images, one forward of all."""
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = None  # the mean over the batches: of this one
        layer.train()
    model(images)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()


def permuted(load: Callable[..., Dataset], seed: int) -> Callable[..., Dataset]:
    """Return a `load(split, **options)` whose images carry others' labels: :class:`cam_utils.data.Permuted`."""
    return lambda split, **options: Permuted(load(split, **options), seed)


def centred_gaussian(query: Query) -> Float[Tensor, "pairs h w"]:
    """Return one map for all pairs, a Gaussian at the centre, a quarter of the side wide: it knows no image.

    >>> net = nn.Sequential(nn.Conv2d(3, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> query = ask(net, torch.zeros(1, 3, 3, 3), Pairs.one(), layer=net[0])
    >>> centred_gaussian(query)[0].argmax().item()  # the middle of nine pixels
    4
    """
    images = query.images
    sides = [(torch.arange(n, device=images.device) - (n - 1) / 2) / (n / 4) for n in images.shape[-2:]]
    y, x = (torch.exp(-(side**2) / 2) for side in sides)
    return (y[:, None] * x).to(images.dtype).expand(len(query.pairs), -1, -1)


def sobel(query: Query) -> Float[Tensor, "pairs h w"]:
    """Return the size of the Sobel gradient of every pair's image, channels averaged: it knows no network.

    >>> step = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0]).expand(1, 3, 5, 6)
    >>> net = nn.Sequential(nn.Conv2d(3, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> sobel(ask(net, step, Pairs.one(), layer=net[0]))[0, 2].tolist()
    [0.0, 0.0, 4.0, 4.0, 0.0, 0.0]
    """
    images = query.images
    across = images.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    grey = F.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")  # the border is no edge
    both = F.conv2d(grey, torch.stack([across, across.T])[:, None])  # [B, 2, h, w]
    return both.norm(dim=1)[query.pairs.image]


# Maps that never ask the network: what every check must find out.
CONTROLS: dict[str, Method] = {"gaussian": centred_gaussian, "sobel": sobel}
# All that can be asked about any network; `representative-cam` stands for its fusion, with classes by the image.
EXAMINED: dict[str, Method] = {
    **METHODS,
    **OTHER_LIBRARIES,
    "ablation-cam": ablation.ablation_cam,
    "relevance-cam": relevance.relevance_cam,
    **PIXEL_GRADIENTS,
    **CONTROLS,
}


@torch.no_grad()
def masks_of(
    methods: Iterable[str | Method] | Mapping[str, str | Method],
    model: nn.Module,
    images: Float[Tensor, "batch colours h w"],
    pairs: Pairs,
    *,
    activation: str = "sigmoid",
    chunk: int | None = None,
) -> dict[str, Tensor]:
    """Return every method's masks in [0, 1], {name: [P, h, w]}, of the same pairs, whatever the network predicts.

    methods: names of EXAMINED, callables, or {name: either}. Raises ValueError for other names.
    """
    query = ask(model, images, pairs, activation=activation, chunk=chunk)
    return {
        name: maps.masks(rectified(method(query), name, pairs), images.shape[-2:])
        for name, method in resolved(methods, EXAMINED).items()
    }


def unrelated(image: Int[Tensor, " pairs"], partners: int = 4) -> Int[Tensor, "pairs partners"]:
    """Return, for every pair, the rows of pairs of `partners` other images: the next ones, counted in a circle.

    Of an image with several pairs the one in the same place is taken. With fewer other images, all of them. Raises
    ValueError for pairs of one image alone.

    >>> unrelated(torch.tensor([0, 0, 7]), 4).tolist()
    [[2], [2], [0]]
    """
    names, place = image.unique(return_inverse=True)
    if len(names) < 2:
        raise ValueError("expected pairs of two images or more, since a map is compared with that of another image")
    rows = [(place == i).nonzero()[:, 0] for i in range(len(names))]
    found = []
    for p, own in enumerate(place.tolist()):
        slot = int((rows[own] == p).nonzero())
        nexts = [rows[(own + s) % len(names)] for s in range(1, min(partners, len(names) - 1) + 1)]
        found.append([int(each[slot % len(each)]) for each in nexts])
    return torch.tensor(found, device=image.device)


def other_label(pairs: Pairs) -> Int[Tensor, " pairs"]:
    """Return, for every pair, the row of the next label of the same image, in a circle; its own row if it has none.

    >>> other_label(Pairs(torch.tensor([0, 0, 1]), torch.tensor([2, 5, 2]), torch.tensor([0, 0, 1]))).tolist()
    [1, 0, 2]
    """
    found = []
    for p, image in enumerate(pairs.image.tolist()):
        same = (pairs.image == image).nonzero()[:, 0]
        found.append(int(same[(int((same == p).nonzero()) + 1) % len(same)]))
    return torch.tensor(found, device=pairs.image.device)


def compared(
    before: Float[Tensor, "pairs h w"], after: Float[Tensor, "pairs h w"], image: Int[Tensor, " pairs"]
) -> dict[str, Tensor]:
    """Return how alike every pair's maps are before and after a change, and how alike if the image changes too.

    {measure: [P], "measure null": [P]}: the null of a pair is the mean similarity of its map before with the maps
    after of four other images (:func:`unrelated`). NaN where a map is constant. before, after: masks of one
    method in [0, 1]. image: the pairs' images. Raises ValueError for pairs of one image alone.

    >>> a, b = torch.rand(2, 1, 12, 12)
    >>> found = compared(torch.cat([a, b]), torch.cat([a, a]), torch.tensor([0, 1]))  # one map for all images
    >>> found["spearman"][0] == found["spearman null"][0]
    tensor(True)
    """
    partners = unrelated(image)
    own = torch.arange(len(image), device=image.device)[:, None]
    every = with_others(before, after, torch.cat([own, partners], 1))
    found = {name: values[:, 0] for name, values in every.items()}
    null = {f"{name} null": values[:, 1:].nanmean(1) for name, values in every.items()}
    return {name: values.double().cpu() for name, values in (found | null).items()}


def constant(masks: Float[Tensor, "pairs h w"]) -> Tensor:
    """Return which masks have one value everywhere, such as zero: they are like nothing, and are counted."""
    return (masks.amax((-2, -1)) == masks.amin((-2, -1))).cpu()


def table(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], facts: pd.DataFrame, image: Tensor, **where: object
) -> pd.DataFrame:
    """Return the rows of a stage, one for each pair and method of `after`, as :mod:`.sanity_rule` takes them.

    before, after: {method: masks [P, h, w]}. facts: what is known of the pairs, a row for each. image: of the
    pairs. where: further columns, such as stage and draw. Columns besides: those of :func:`compared`, and constant.
    """
    rows = []
    for name, masks in after.items():
        columns = {key: values.numpy() for key, values in compared(before[name], masks, image).items()}
        rows.append(facts.assign(method=name, **where, **columns, constant=constant(masks).numpy()))
    return pd.concat(rows, ignore_index=True)
