"""How the maps of a class against others become one: generation over layers (A) and fusion over classes (F).

Meng et al., Secs. 3.2 and 3.3. Layer maps are one [P, S, h, w] per layer, S the comparison classes of a pair.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from cam_utils.maps import peak, upsample
from cam_utils.pairs import Pairs
from cam_utils.representative.selection import Selection
from cam_utils.representative.sources import Source

STAGES = ("layer", "product", "fusion")  # where maps are divided by their maximum (deviation dev-rep-normalisation)


@dataclass(frozen=True)
class Recipe:
    """One row of a table: which comparison classes, and how their maps become one.

    selection: the comparison classes of every class (none: the class is left out), or None where the source has
    only one map per pair.
    multilayer: step A. multiply: times the last layer's map, or the layers' sum alone.
    square: the last layer's map times itself, a control for step A (Sum times last of equal layers).
    joint: the ReLU follows the mean over the comparison classes, not each map (last layer only).
    """

    name: str
    selection: Selection | None = None
    multilayer: bool = False
    multiply: bool = True
    square: bool = False
    joint: bool = False
    normalise: tuple[str, ...] = STAGES

    def __post_init__(self) -> None:
        check_stages(self.normalise)
        if self.multilayer + self.square + self.joint > 1:
            raise ValueError(f"recipe {self.name}: multilayer, square and joint exclude each other")
        for label, chosen in enumerate(self.selection or []):
            if label in chosen:
                raise ValueError(f"recipe {self.name}: class {label} is compared with itself")


def layered(
    layers: Sequence[Float[Tensor, "pairs classes _ _"]],
    size: tuple[int, int],
    *,
    multiply: bool = True,
    normalise: Sequence[str] = STAGES,
) -> Float[Tensor, "pairs classes h w"]:
    """Return the multi-layer maps: (sum of the layers' maps) times the last layer's (Sec. 4.3).

    layers: rectified maps [P, S, h_l, w_l], the last layer last; `multiply=False` returns the sum alone ("Adding"
    in the paper's figures). One layer gives its own map. `normalise` names the stages after which maps are divided
    by their maximum: every layer's upsampled map, and the result ("product").
    """
    check_stages(normalise)
    raised = [upsample(maps.flatten(0, 1), size).unflatten(0, maps.shape[:2]) for maps in layers]
    if "layer" in normalise:
        raised = [peak(maps) for maps in raised]
    total = torch.stack(raised).sum(0) if len(raised) > 1 else raised[0]
    result = total * raised[-1] if multiply and len(raised) > 1 else total
    return peak(result) if "product" in normalise else result


def fuse(
    maps: Float[Tensor, "pairs classes h w"], *, normalise: Sequence[str] = STAGES
) -> Float[Tensor, "pairs h w"]:
    """Return F: the mean of the representatives' maps (Sec. 3.3), divided by its maximum.

    >>> fuse(torch.tensor([[[[0.0, 1.0]], [[0.0, 0.5]]]])).tolist()
    [[[0.0, 1.0]]]
    """
    check_stages(normalise)
    mean = maps.mean(1)
    return peak(mean) if "fusion" in normalise else mean


def check_stages(normalise: Sequence[str]) -> None:
    """Raise ValueError for a stage of normalisation that does not exist."""
    unknown = [stage for stage in normalise if stage not in STAGES]
    if unknown:
        raise ValueError(f"unknown stage of normalisation {unknown[0]!r} (valid: {', '.join(STAGES)})")


def fused_maps(source: Source, x: Tensor, pairs: Pairs, recipes: Sequence[Recipe]) -> dict[str, Tensor]:
    """Return every recipe's fused maps [P, h, w] of the pairs, at input size; of classes left out they are zero."""
    return {name: maps for name, maps, _ in explained_maps(source, x, pairs, recipes)}


def explained_maps(
    source: Source, x: Tensor, pairs: Pairs, recipes: Sequence[Recipe]
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield (name, maps [P, h, w], which pairs it explains [P]) by recipe, so that one recipe's maps are held.

    Maps of single comparisons are shared between recipes: they are made once per class and way of making them.
    """
    rows = {label: (pairs.label == label).nonzero()[:, 0] for label in pairs.label.unique().tolist()}
    wanted: Selection = [[] for _ in range(1 + max(rows))]
    for label in rows:
        wanted[label] = sorted({s for r in recipes if r.selection is not None for s in r.selection[label]})
    raw = source.layer_maps(x, pairs, wanted, any(recipe.multilayer for recipe in recipes))
    size = x.shape[-2:]

    @cache
    def single(label: int, multilayer: bool, square: bool, multiply: bool, normalise: tuple[str, ...]) -> Tensor:
        used = raw if multilayer else raw[-1:] * (2 if square else 1)
        layers = [maps[rows[label]][:, wanted[label] or [0]].relu() for maps in used]
        return layered(layers, size, multiply=multiply, normalise=normalise)

    def compared(recipe: Recipe, label: int, chosen: list[int]) -> Tensor:
        """Return the maps [p, S, h, w] of the label's pairs, one per comparison class or the joint one."""
        if recipe.joint:
            mean = raw[-1][rows[label]][:, chosen].mean(1, keepdim=True)
            return layered([mean.relu()], size, normalise=recipe.normalise)
        maps = single(label, recipe.multilayer, recipe.square, recipe.multiply, recipe.normalise)
        return maps[:, [(wanted[label] or [0]).index(s) for s in chosen]]

    for recipe in recipes:
        maps, explained = x.new_zeros(len(pairs), *size), torch.ones_like(pairs.label, dtype=torch.bool)
        for label, own in rows.items():
            chosen = [0] if recipe.selection is None else recipe.selection[label]
            if chosen:
                maps[own] = fuse(compared(recipe, label, chosen), normalise=recipe.normalise)
            else:
                explained[own] = False
        yield recipe.name, maps, explained
