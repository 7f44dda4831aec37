"""Sanity checks of maps (Adebayo et al. 2018): a map that explains a network must change when the network forgets.

Parts of a trained network get fresh random parameters, from the head downwards, and every map is compared with what
it was. Two maps that have nothing in common but their method still resemble each other, since both are smooth and
mostly dark: all similarities are read against that of unrelated images (:func:`unrelated`).
"""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.data import Dataset

from cam_utils import maps
from cam_utils.data import Permuted
from cam_utils.evaluation import results
from cam_utils.evaluation.bootstrap import FEWEST_IMAGES, interval
from cam_utils.evaluation.similarity import SIMILARITIES, similarities
from cam_utils.methods.query import Query, ask, rectified
from cam_utils.methods.registry import METHODS, Method, resolved
from cam_utils.names import check_known
from cam_utils.pairs import Pairs

ORDERS = ("cascade", "independent")
UNRELATED, OTHER = "unrelated image", "other label"  # what a trained network's map is compared with
FORGOTTEN = 1e-6  # similarities are float sums: what lies nearer to zero is zero


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


def randomised(model: nn.Module, parts: Sequence[str], seed: int) -> nn.Module:
    """Return a copy of the model whose `parts` have fresh initial values, drawn by `seed`.

    Every layer draws its own (`reset_parameters`), batch normalisation also forgets its statistics. Raises
    ValueError for a part that the model does not have, or a layer that cannot draw.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    >>> forgetful = randomised(net, ["1"], seed=0)
    >>> [torch.equal(net[i].weight, forgetful[i].weight) for i in (0, 1)]
    [True, False]
    """
    changed = copy.deepcopy(model)
    modules = dict(changed.named_modules())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part in parts:
            for layer in modules[check_known("part of the network", part, modules)].modules():
                if hasattr(layer, "reset_parameters"):
                    layer.reset_parameters()
                elif any(True for _ in layer.parameters(recurse=False)):
                    raise ValueError(f"{type(layer).__name__} in {part} has no reset_parameters to draw values")
    return changed


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

    methods: names of METHODS or CONTROLS, callables, or {name: either}. Raises ValueError for other names.
    """
    query = ask(model, images, pairs, activation=activation, chunk=chunk)
    return {
        name: maps.masks(rectified(method(query), name, pairs), images.shape[-2:])
        for name, method in resolved(methods, {**METHODS, **CONTROLS}).items()
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


def references(masks: Float[Tensor, "pairs h w"], pairs: Pairs) -> dict[str, dict[str, Tensor]]:
    """Return what a trained network's masks [P, h, w] of one method have in common: {reference: similarities}.

    "unrelated image": the mean over pairs of other images (the null); "other label": with the next label of the
    same image, NaN for a label that stands alone.
    """
    partners, other = unrelated(pairs.image), other_label(pairs)
    each = [similarities(masks, masks[partner]) for partner in partners.T]
    null = {name: torch.stack([found[name] for found in each]).nanmean(0) for name in SIMILARITIES}
    alone = other == torch.arange(len(other), device=other.device)
    labels = {name: v.where(~alone, torch.nan) for name, v in similarities(masks, masks[other]).items()}
    return {UNRELATED: null, OTHER: labels}


def retained(similarity: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Return the share of a map's own similarity that is left, (s - s0) / (1 - s0): 1 if all, 0 if none.

    s: similarity with the map after a change; s0: with the maps of unrelated images. NaN where s0 is 1: all maps
    of such a method are one map, and nothing of it is its own.

    >>> retained(np.array([0.75, 1.0]), np.array([0.5, 1.0]))
    array([0.5, nan])
    """
    own = 1 - null
    return np.divide(similarity - null, own, out=np.full_like(own, np.nan), where=own > FORGOTTEN)


def outcome(low: float, high: float) -> str:
    """Return passes, fails or undecided for the 95% interval of s - (1 + s0) / 2, which must lie below zero.

    Passes: after the change the map is nearer to the map of an unrelated image (s0) than to what it was (1). A map
    that is the same for all images has s = s0 = 1: it lies at zero, and fails.

    >>> outcome(-0.3, -0.1), outcome(-0.1, 0.2), outcome(0.0, 0.0)
    ('passes', 'undecided', 'fails')
    """
    return "passes" if high < -FORGOTTEN else "fails" if low >= -FORGOTTEN else "undecided"


def judge(table: pd.DataFrame, stage: str) -> pd.DataFrame:
    """Return one row per (method, measure): how much of the maps is left at a stage, and what the rule says.

    table: one row per (image_index, label, method, stage, draw) with a column for each of SIMILARITIES, and the
    rows of UNRELATED among its stages. Columns of the result: method, measure, similarity, null, retained with its
    95% interval low to high (bootstrap over images, draws averaged before), n_images, n_pairs, verdict; undecided
    for fewer than FEWEST_IMAGES images. Pairs whose similarity is undefined are left out. Raises ValueError for a
    stage that the table does not have.
    """
    check_known("stage", stage, table["stage"].unique())
    keys = ["image_index", "label", "method"]
    rows, null = (table[table["stage"] == name] for name in (stage, UNRELATED))
    found = []
    for measure in SIMILARITIES:
        s = rows.groupby(keys, sort=False)[measure].mean().rename("s")
        both = (
            pd.concat([s, null.set_index(keys)[measure].rename("s0")], axis=1, join="inner").dropna().reset_index()
        )
        both = both.assign(
            excess=both["s"] - (1 + both["s0"]) / 2, in_annotated=True, is_annotated=True, set_size=1
        )
        options = {"pairs": "annotated", "average": "micro", "metrics": ("s", "s0", "excess")}
        drawn = results.resample(both, **options) if len(both) else {}
        for method in rows["method"].unique():
            line = {"method": method, "measure": measure, "n_images": 0, "n_pairs": 0, "verdict": "undecided"}
            if (method, "s") in drawn:
                (s, counts), (s0, _), (excess, _) = (drawn[method, name] for name in options["metrics"])
                bounds = interval(excess)
                line |= {"similarity": s[0], "null": s0[0], "retained": retained(s, s0)[0]}
                line |= {k: v for k, v in interval(retained(s, s0)).items() if k != "value"}
                line |= {"n_images": counts["n_images"], "n_pairs": counts["n_pairs"]}
                if counts["n_images"] >= FEWEST_IMAGES:
                    line["verdict"] = outcome(bounds["low"], bounds["high"])
            found.append(line)
    return pd.DataFrame(found)
