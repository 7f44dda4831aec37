"""Mean or sum? Meng et al. print the fusion F as a sum (Sec. 3.3) and call it an average (caption of Table 1).

Divided by its own maximum, a sum is the mean. Without that, the sum of N maps at the threshold T is their mean at
T / N: a mask that grows with N.
"""

from collections.abc import Sequence

import pandas as pd

from cam_utils.evaluation import miou
from cam_utils.representative import selection
from cam_utils.representative.fusion import STAGES, Recipe

COUNTS, DRAWS = (1, 2, 4, 8), 3  # how many representatives, and random choices of so many
NORMALISED = {  # where a map is divided by its maximum -> stages of a recipe
    "pairs and fusion": STAGES,
    "pairs": ("layer", "product"),
    "fusion": ("fusion",),
    "nowhere": (),
}


def drawn(others: Sequence[Sequence[int]], count: int, *, seed: int = 0) -> selection.Selection:
    """Return `count` random classes for every class out of its `others`; none for a class with fewer.

    >>> [len(chosen) for chosen in drawn([[1, 2], [0]], 2)]
    [2, 0]
    """
    found = []
    for c, mine in enumerate(others):
        kept = sorted([c, *mine])
        enough = len(mine) >= count
        chosen = selection.by_chance(len(kept), count, seed=seed + c)[kept.index(c)] if enough else []
        found.append([kept[j] for j in chosen])
    return found


def recipes(others: Sequence[Sequence[int]], *, least: int = 4, seed: int = 0) -> list[Recipe]:
    """Return the means of N random comparisons, or of all, under each normalisation.

    others: the classes that each class can be compared with; one with fewer than `least` is left out everywhere, so
    that all rows are about the same classes.

    >>> found = recipes([[1, 2], [0, 2], [0, 1]], least=1)
    >>> found[0].name, len(found)
    ('N = 1, pairs and fusion, draw 0', 28)
    """
    enough = [list(mine) if len(mine) >= least else [] for mine in others]
    counts = [n for n in COUNTS if n <= min((len(mine) for mine in enough if mine), default=0)]
    found = []
    for where, stages in NORMALISED.items():
        for count in counts:
            for draw in range(DRAWS):
                chosen = drawn(enough, count, seed=10_000 * seed + 100 * draw)
                found.append(Recipe(f"N = {count}, {where}, draw {draw}", chosen, normalise=stages))
        found.append(Recipe(f"N = all, {where}, draw 0", enough, normalise=stages))
    return found


def thresholds(others: int, threshold: float = miou.PAPER_THRESHOLD) -> tuple[float, ...]:
    """Return T and, for the sum of N maps, T / N, of every N and of all `others`; ascending.

    >>> thresholds(3, 0.12)
    (0.015, 0.03, 0.04, 0.06, 0.12)
    """
    return tuple(sorted({threshold / count for count in (*COUNTS, others)}))


def of_sums(table: pd.DataFrame, others: int, threshold: float = miou.PAPER_THRESHOLD) -> pd.DataFrame:
    """Return the table of the recipes' counts with those at T alone, and the sum's as area_sum and hit_sum."""
    counts = table["method"].str.extract(r"^N = (\w+),")[0].replace("all", str(others)).astype(int)
    found = table[[name for name in table if not name.startswith(("area_", "hit_", "seg_"))]].copy()
    for kind in ("area", "hit"):
        found[f"{kind}_{threshold:g}"] = table[f"{kind}_{threshold:g}"]
        for count in counts.unique():
            rows = counts == count
            found.loc[rows, f"{kind}_sum"] = table.loc[rows, f"{kind}_{threshold / count:g}"]
    return found.astype({"area_sum": int, "hit_sum": int})


def curves(table: pd.DataFrame, threshold: float = miou.PAPER_THRESHOLD) -> pd.DataFrame:
    """Return mIoU (M1, a fraction) of the mean and of the sum, for every N and normalisation: means of the draws.

    Where the fusion is divided by its maximum, the sum is the mean and has no row of its own. table: of
    :func:`of_sums`. Columns: normalised, count ("1" to "all"), form ("mean" or "sum"), value, low, high
    (the lowest and the highest draw).
    """
    at = {"mean": table, "sum": table.assign(**{
        f"{kind}_{threshold:g}": table[f"{kind}_sum"] for kind in ("area", "hit")
    })}  # fmt: skip
    found = []
    for form, counts in at.items():
        means = miou.summary(counts, threshold=threshold, resamples=1).set_index("method")["value"]
        parts = means.index.to_series().str.extract(r"^N = (?P<count>\w+), (?P<normalised>.*), draw")
        for (where, count), rows in means.groupby([parts["normalised"], parts["count"]], sort=False):
            if form == "sum" and "fusion" in NORMALISED[where]:
                continue
            ends = {"value": rows.mean(), "low": rows.min(), "high": rows.max()}
            found.append({"normalised": where, "count": count, "form": form, **ends})
    return pd.DataFrame(found)
