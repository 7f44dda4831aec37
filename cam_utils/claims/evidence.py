"""What a claim is, and one row of evidence for or against it."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cam_utils.evaluation import results

FEWEST_IMAGES = 10  # a mean over fewer images decides nothing, whatever its interval
SCALES = {"points": 100, "%": 100, "correlation": 1, "number": 1}  # from stored fractions to a row's unit


class Claim(NamedTuple):
    """A sentence of a paper, what the paper's own tables say of it, and its test on the runs of its chapter.

    `test` takes the chapter's settings (see :mod:`cam_utils.claims`) and returns rows made by :func:`row`, none if
    no setting can answer; `needs` says what is missing then.
    """

    id: str
    chapter: str
    statement: str
    evidence: str
    test: Callable[[Sequence], list[dict]]
    needs: str


def row(
    where: Mapping[str, object],
    part: str,
    draws: np.ndarray | float,
    wanted: int,
    n_images: int | None,
    *,
    unit: str = "points",
    margin: float = 0.0,
    **more: object,
) -> dict:
    """Return one tested difference as a row of the claims table.

    where: columns that say which runs and setting. part: the difference in words. draws [1 + resamples]: the
    sample's own value, then its bootstrap (fractions for "points" and "%"); a single number is exact, such as a
    largest deviation or a fact about weights, and has no interval. The value should lie above (`wanted` = +1) or
    below (-1) `margin`, which is in the row's unit. n_images: images behind the value, None where there are none.

    >>> row({}, "a exceeds b", np.array([0.2, 0.1, 0.3]), +1, 50)["verdict"]
    'holds'
    >>> row({}, "a exceeds b", np.array([0.2, 0.1, 0.3]), +1, 5)["verdict"]
    'undecided'
    """
    scale = SCALES[unit]
    if exact := np.ndim(draws) == 0:
        found = {"value": scale * float(draws), "low": np.nan, "high": np.nan}
    else:
        found = {name: scale * value for name, value in results.interval(draws).items()}
    low, high = (found["value"],) * 2 if exact else (found["low"], found["high"])
    enough = exact or n_images >= FEWEST_IMAGES
    verdict = results.verdict(low - margin, high - margin, wanted) if enough else "undecided"
    tested = {"unit": unit, "wanted": wanted, "margin": margin, "n_images": n_images, "verdict": verdict}
    return {**where, "part": part, **found, **tested, **more}


def text(row: Mapping[str, object]) -> str:
    """Return a row's value and interval as a reader's text, in the row's unit.

    An end that would round to zero without being zero gets more digits, so that its sign stays visible.

    >>> text({"value": 3.42, "low": 1.8, "high": 5.31, "unit": "points"})
    '+3.4 [+1.8, +5.3]'
    >>> text({"value": 1.49, "low": -0.024, "high": 3.56, "unit": "points"})
    '+1.490 [-0.024, +3.560]'
    """
    numbers = [row["value"]] + [row[end] for end in ("low", "high") if np.isfinite(row[end])]
    if row["unit"] == "number":
        return f"{row['value']:.2g}"
    if row["unit"] == "%":
        shown = [f"{number:.0f}" for number in numbers]
        return f"{shown[0]}%" + (f" [{', '.join(shown[1:])}]" if shown[1:] else "")
    hidden = any(number != 0 and abs(number) < 0.05 for number in numbers)
    digits = 3 if row["unit"] == "correlation" or hidden else 1
    shown = [f"{number:+.{digits}f}" for number in numbers]
    return shown[0] + (f" [{', '.join(shown[1:])}]" if shown[1:] else "")
