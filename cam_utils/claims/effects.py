"""Claims about paired differences, decided by tests: one value per image, a least effect, and Holm over the family.

A percentile bootstrap over a dozen images can turn on one of them, and among thirty differences one or two would
lie beside zero by chance. So a claim of this kind *holds* or *fails* only where Fisher's random signs, corrected by
Holm over all differences of the run, say that the mean is not zero, where it is as large as somebody would care
about, and where there are 20 images or more; everything else is *undecided*, with the reason.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cam_utils.claims.evidence import SCALES, row
from cam_utils.evaluation import bootstrap
from cam_utils.evaluation.paired_tests import holm, sign_flip

FEWEST = 20  # images behind a verdict
ALPHA = 0.05
# The smallest effects of interest, in a row's unit: what a reader would not call the same. Choices, stated as such.
LEAST = {"AD": 2.0, "AI": 2.0, "energy": 1.0, "correlation": 0.05}


class Effect(NamedTuple):
    """One paired difference: `values` [n], one per image (fractions where the unit is points), should be `wanted`.

    of: the key of LEAST. zeros: how many of the compared maps were zero everywhere, and counted as the worst.
    """

    claim: str
    part: str
    values: np.ndarray
    wanted: int
    of: str
    zeros: int = 0

    @property
    def unit(self) -> str:
        return "correlation" if self.of == "correlation" else "points"


def judged(where: Mapping[str, object], effects: Sequence[Effect]) -> list[dict]:
    """Return the rows of a family of effects, in their order, for the claims table; `reason` says why undecided.

    >>> few = Effect("S2", "b", np.full(9, 0.1), 1, "AI")
    >>> rows = judged({}, [Effect("S1", "a", np.full(30, -0.1), -1, "AD"), few])
    >>> [(row["verdict"], row["reason"]) for row in rows]
    [('holds', 'p < 0.001'), ('undecided', '9 images, fewer than 20')]
    """
    adjusted = holm(np.array([sign_flip(each.values) for each in effects]))
    return [_row(where, each, p) for each, p in zip(effects, adjusted, strict=True)]


def _row(where: Mapping[str, object], effect: Effect, p: float) -> dict:
    drawn = bootstrap.means(effect.values) if len(effect.values) else np.full(2, np.nan)
    found = row(where, effect.part, drawn, effect.wanted, len(effect.values), unit=effect.unit, claim=effect.claim)
    size, least = abs(effect.values.mean()) * SCALES[effect.unit] if len(effect.values) else 0.0, LEAST[effect.of]
    said = "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
    if len(effect.values) < FEWEST:
        verdict, said = "undecided", f"{len(effect.values)} images, fewer than {FEWEST}"
    elif p >= ALPHA:
        verdict = "undecided"
    elif size < least:
        verdict, said = "undecided", f"{said}, but less than {least:g}, the least of interest"
    else:
        verdict = "holds" if effect.wanted * effect.values.mean() > 0 else "fails"
    if effect.zeros:
        said += f"; {effect.zeros} zero maps count as the worst"
    return found | {"verdict": verdict, "reason": said}
