"""Many methods compared over the same images: ranks, tests, groups that no test separates, and agreeing metrics.

Everything starts from the pairs table (:mod:`cam_utils.evaluation.evaluate`). A method has one value per image, the
mean over the image's pairs. A metric that is undefined for a zero map counts as the worst value: a map without
a pixel found nothing.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from cam_utils.evaluation import bootstrap
from cam_utils.evaluation.facts import OF_OTHERS, WANTED
from cam_utils.evaluation.results import resample
from cam_utils.names import check_known

KEYS = ["image_index", "label"]


def known_values(table: pd.DataFrame, metrics: Sequence[str], *, pairs: str = "annotated") -> pd.DataFrame:
    """Return the table's pairs with the undefined values of zero maps replaced by the worst, 0 or 1.

    Rows without a value are left out, and in metrics of others those of labels that stand alone, which have none.
    Raises ValueError for an unknown metric and if nothing is left.
    """
    for metric in metrics:
        check_known("metric", metric, [name for name in WANTED if name in table])
    rows = table[table[f"in_{pairs}"]].copy()
    for metric in metrics:
        worst = 0.0 if WANTED[metric] > 0 else 1.0
        rows[metric] = rows[metric].where(~(rows["is_zero"] & rows[metric].isna()), worst)
    if set(OF_OTHERS) & set(metrics):
        rows = rows[rows["set_size"] > 1]
    rows = rows.dropna(subset=list(metrics))
    if not len(rows):
        raise ValueError(f"no {pairs} pair has a value of {', '.join(metrics)}")
    return rows


def per_image(table: pd.DataFrame, metric: str, *, pairs: str = "annotated") -> pd.DataFrame:
    """Return the mean of a metric over each image's pairs: rows are images, columns methods as in the table."""
    rows = known_values(table, [metric], pairs=pairs)
    means = rows.groupby(["image_index", "method"])[metric].mean().unstack()
    return means[list(dict.fromkeys(rows["method"]))].dropna()


def average_ranks(values: pd.DataFrame, wanted: int) -> pd.Series:
    """Return every method's mean rank over the images, 1 the best; equal values share their ranks.

    >>> average_ranks(pd.DataFrame({"a": [0.9, 0.5], "b": [0.1, 0.5]}), +1).tolist()
    [1.25, 1.75]
    """
    ranks = stats.rankdata(-wanted * values.to_numpy().round(6), axis=1)
    return pd.Series(ranks.mean(0), values.columns)


def friedman(values: pd.DataFrame) -> float:
    """Return p of the Friedman test: that all methods rank alike over the images (Friedman 1937; Demsar 2006)."""
    if values.shape[1] < 3 or len(values) < 2:
        raise ValueError(f"expected 3 or more methods on 2 or more images, got {values.shape[1]} on {len(values)}")
    return float(stats.friedmanchisquare(*values.to_numpy().round(6).T).pvalue)


def wilcoxon_holm(values: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Return for every two methods whether a signed-rank test tells them apart: first, second, p, adjusted, apart.

    Wilcoxon's test on the images' differences (normal approximation; zeros are split between the signs), with
    Holm's correction over all pairs, as Benavoli et al. (2016) advise in place of the test on mean ranks.
    """
    rows = []
    for first, second in combinations(values.columns, 2):
        gap = (values[first] - values[second]).to_numpy().round(6)
        same = not gap.any()
        p = 1.0 if same else stats.wilcoxon(gap, zero_method="zsplit", method="approx").pvalue
        rows.append({"first": first, "second": second, "p": float(p)})
    found = pd.DataFrame(rows).sort_values("p", ignore_index=True)
    factors = np.arange(len(found), 0, -1)
    found["adjusted"] = np.minimum(1, np.maximum.accumulate(factors * found["p"].to_numpy()))
    return found.assign(apart=found["adjusted"] < alpha)


def groups(ranks: pd.Series, tests: pd.DataFrame) -> list[list[str]]:
    """Return the longest runs of methods in rank order of which no test tells any two apart: a diagram's bars.

    >>> tests = pd.DataFrame({"first": ["a", "a", "b"], "second": ["b", "c", "c"], "apart": [False, True, False]})
    >>> groups(pd.Series({"a": 1.0, "b": 2.0, "c": 3.0}), tests)
    [['a', 'b'], ['b', 'c']]
    """
    order = list(ranks.sort_values(kind="stable").index)
    apart = {frozenset(pair) for pair in tests[tests["apart"]][["first", "second"]].to_numpy()}
    found: list[tuple[int, int]] = []
    for start in range(len(order)):
        stop = start + 1
        while stop < len(order) and not any(frozenset((order[stop], o)) in apart for o in order[start:stop]):
            stop += 1
        if stop - start > 1 and not (found and found[-1][1] >= stop):
            found.append((start, stop))
    return [order[start:stop] for start, stop in found]


def alike(table: pd.DataFrame, metrics: Sequence[str], tolerance: float = 1e-3) -> list[list[str]]:
    """Return groups of methods that differ from the group's first by at most `tolerance` in every metric and pair.

    Two maps may be one in exact arithmetic and still differ by rounding, which an IoU shows as a pixel: a method
    joins a group if 99 of 100 values are within the tolerance.
    """
    keys = [*KEYS, "in_predicted"]
    wide = {m: part.set_index(keys)[list(metrics)].sort_index() for m, part in table.groupby("method", sort=False)}
    found: list[list[str]] = []
    for method, values in wide.items():
        for group in found:
            gap = (values - wide[group[0]]).abs().to_numpy()
            undefined = values.isna().to_numpy() != wide[group[0]].isna().to_numpy()
            if not undefined.any() and np.mean(np.nan_to_num(gap) > tolerance) <= 0.01:
                group.append(method)
                break
        else:
            found.append([method])
    return found


def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation of a and b along their last axis, NaN where one is constant.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([[1.0, 4.0, 9.0], [3.0, 2.0, 1.0]])).round(6).tolist()
    [1.0, -1.0]
    """
    first, second = (stats.rankdata(each, axis=-1) for each in np.broadcast_arrays(a, b))
    first, second = (each - each.mean(-1, keepdims=True) for each in (first, second))
    size = np.sqrt((first**2).sum(-1) * (second**2).sum(-1))
    return np.divide((first * second).sum(-1), size, out=np.full(size.shape, np.nan), where=size > 1e-9)


def agreement(
    table: pd.DataFrame,
    scores: Sequence[str],
    truths: Sequence[str],
    *,
    pairs: str = "annotated",
    resamples: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """Return how score metrics agree with pixel metrics: Spearman's correlation, +1 if they prefer the same maps.

    Columns: level, score, truth, value, low, high (95%, bootstrap over images), n. Levels: "methods", over the
    methods' means (n methods); "maps of a method", over all pairs, the mean over methods (n pairs); "maps of a
    pair", over the methods' maps of one pair, the mean over the pairs where both metrics vary (n pairs). A
    metric of others is compared on pairs of images with several labels.
    """
    rows = []
    for score in scores:
        metrics = (score, *truths)
        values = known_values(table, metrics, pairs=pairs)
        means = resample(values, pairs=pairs, metrics=metrics, resamples=resamples, seed=seed)
        methods = list(dict.fromkeys(values["method"]))
        cube = values.pivot(index=KEYS, columns="method", values=list(metrics)).dropna()
        signed = {m: WANTED[m] * cube[m][methods].to_numpy().round(6) for m in metrics}  # [pairs, methods]
        images, image = np.unique(cube.index.get_level_values(0), return_inverse=True)
        # How often each pair stands in a resample [1 + resamples, pairs].
        weights = bootstrap.draws(len(images), resamples=resamples, seed=seed)[:, image]
        for truth in truths:
            own, real = (WANTED[m] * np.stack([means[k, m][0] for k in methods], 1) for m in (score, truth))
            of_pair = spearman(signed[score], signed[truth])
            levels = {
                "methods": (spearman(own.round(6), real.round(6)), len(methods)),
                "maps of a method": (_within_methods(signed[score], signed[truth], weights), len(image)),
                "maps of a pair": (_mean_over_pairs(of_pair, weights), int((~np.isnan(of_pair)).sum())),
            }
            rows += [
                {"level": level, "score": score, "truth": truth, **bootstrap.interval(drawn), "n": n}
                for level, (drawn, n) in levels.items()
            ]
    return pd.DataFrame(rows).sort_values("level", kind="stable", ignore_index=True)


def _within_methods(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the correlation over the resampled pairs of each method's maps [pairs, methods], the methods' mean."""
    picked = [np.repeat(np.arange(len(first)), times.astype(int)) for times in weights]
    return np.nanmean([spearman(first[p].T, second[p].T) for p in picked], 1)


def _mean_over_pairs(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean of the pairs' values in every resample, over the pairs that have one."""
    known = ~np.isnan(values)
    return (weights * known) @ np.nan_to_num(values) / np.maximum(weights @ known, 1)
