"""Many methods compared over the same images: ranks, tests of every two, and metrics that agree.

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
from cam_utils.evaluation.paired_tests import holm
from cam_utils.evaluation.results import resample
from cam_utils.names import check_known

KEYS = ["image_index", "label"]
LARGEST = 4_000_000  # numbers at once in a resampled correlation
TINY = 1e-6


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


def mean_ranks(summary: pd.DataFrame) -> pd.Series:
    """Return the rank of every row's value among the rows of its metric, 1 the best; equal values share the better.

    summary: columns metric and value, as :func:`cam_utils.evaluation.results.aggregate` returns them.

    >>> mean_ranks(pd.DataFrame({"metric": ["iou_0.3"] * 3, "value": [0.2, 0.4, 0.2]})).tolist()
    [2, 1, 2]
    """
    good = summary["value"] * summary["metric"].map(WANTED)
    return good.groupby(summary["metric"]).rank(ascending=False, method="min").astype(int)


def friedman(values: pd.DataFrame) -> float:
    """Return p of the Friedman test: that all methods rank alike over the images (Friedman 1937; Demsar 2006)."""
    if values.shape[1] < 3 or len(values) < 2:
        raise ValueError(f"expected 3 or more methods on 2 or more images, got {values.shape[1]} on {len(values)}")
    return float(stats.friedmanchisquare(*values.to_numpy().round(6).T).pvalue)


def wilcoxon_holm(values: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Return for every two methods whether a signed-rank test tells them apart.

    Columns: first, second, sign (+1 if first has the higher values), p, adjusted, apart. Wilcoxon's test on the
    images' differences (normal approximation; zeros are split between the signs), with Holm's correction over all
    pairs, as Benavoli et al. (2016) advise in place of the test on mean ranks.
    """
    rows = []
    for first, second in combinations(values.columns, 2):
        gap = (values[first] - values[second]).to_numpy().round(6)
        p = stats.wilcoxon(gap, zero_method="zsplit", method="approx").pvalue if gap.any() else 1.0
        sign = int(np.sign(np.sign(gap) @ stats.rankdata(np.abs(gap))))
        rows.append({"first": first, "second": second, "sign": sign, "p": float(p)})
    found = pd.DataFrame(rows).sort_values("p", ignore_index=True)
    found["adjusted"] = holm(found["p"].to_numpy())
    return found.assign(apart=found["adjusted"] < alpha)


def better(tests: pd.DataFrame, wanted: int, order: Sequence[str]) -> pd.DataFrame:
    """Return whether the row's method is better (+1) or worse (-1) than the column's, 0 where no test tells.

    tests: :func:`wilcoxon_holm`. order: of rows and columns.

    >>> tests = wilcoxon_holm(pd.DataFrame({"a": [0.0] * 9, "b": [0.5] * 9}))
    >>> better(tests, +1, ["b", "a"]).to_numpy().tolist()
    [[0, 1], [-1, 0]]
    """
    found = pd.DataFrame(0, list(order), list(order))
    for row in tests[tests["apart"]].itertuples():
        found.loc[row.first, row.second], found.loc[row.second, row.first] = wanted * row.sign, -wanted * row.sign
    return found


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


def repeated_spearman(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation of a and b [N, n] where item i stands weights[r, i] times, [R, N].

    Exactly that of the repeated items; NaN where one is constant.

    >>> a, b = np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 3.0, 2.0]])
    >>> repeated_spearman(a, b, np.array([[1, 1, 1], [2, 0, 1]])).round(6).tolist()
    [[0.5], [1.0]]
    """
    w = weights.T.astype(np.float32)  # [n, R]
    rows = max(1, LARGEST // w.size)
    found = []
    for start in range(0, len(a), rows):
        first, second = (_centred_ranks(each[start : start + rows], w) for each in (a, b))
        covariance, size, other = (
            np.einsum("nr,anr,anr->ra", w, x, y) for x, y in ((first, second), (first, first), (second, second))
        )
        size = np.sqrt(size * other)
        found.append(np.divide(covariance, size, out=np.full(size.shape, np.nan), where=size > TINY))
    return np.concatenate(found, 1)


def _centred_ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return twice the ranks [N, n, R] of values [N, n] that stand weights [n, R] times, less their mean."""
    upto = np.zeros((len(values), values.shape[1] + 1, weights.shape[1]), np.float32)
    np.cumsum(weights[values.argsort(-1, kind="stable")], 1, out=upto[:, 1:])
    first, last = (stats.rankdata(values, how, axis=-1).astype(int) for how in ("min", "max"))
    row = np.arange(len(values))[:, None]
    ranks = upto[row, first - 1] + upto[row, last]  # equal items share the middle of their places
    return ranks - (np.einsum("nr,anr->ar", weights, ranks) / weights.sum(0))[:, None]


def agreement(
    table: pd.DataFrame,
    scores: Sequence[str],
    truths: Sequence[str],
    *,
    pairs: str = "annotated",
    average: str = "macro",
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return how score metrics agree with pixel metrics: Spearman's correlation, +1 if they prefer the same maps.

    Columns: level, over, score, truth, value, low, high (95%, bootstrap), n. Levels: "methods", over the methods'
    means (n methods); "maps of a method", over all pairs, the mean over methods (n pairs); "maps of a pair", over
    the methods' maps of one pair, the mean over the pairs where both metrics vary (n pairs). A metric of others is
    compared on pairs of images with several labels.
    over: what a resample draws anew, "images", "methods", or "both", each on its own. Methods that resemble each
    other are drawn as if they did not, so that even "both" is somewhat narrow.
    average: of a method's mean, "macro" over classes or "micro" over pairs, as in
    :func:`cam_utils.evaluation.results.resample`.
    """
    rows = []
    for score in scores:
        metrics = (score, *truths)
        values = known_values(table, metrics, pairs=pairs)
        means = resample(values, pairs=pairs, average=average, metrics=metrics, resamples=resamples, seed=seed)
        methods = list(dict.fromkeys(values["method"]))
        cube = values.pivot(index=KEYS, columns="method", values=list(metrics)).dropna()
        signed = {m: WANTED[m] * cube[m][methods].to_numpy().round(6) for m in metrics}  # [pairs, methods]
        images, image = np.unique(cube.index.get_level_values(0), return_inverse=True)
        # How often each pair and each method stand in a resample, [1 + resamples, pairs] and [.., methods].
        pair = bootstrap.draws(len(images), resamples=resamples, seed=seed)[:, image]
        method = bootstrap.draws(len(methods), resamples=resamples, seed=seed + 1)
        picked = np.stack([np.repeat(np.arange(len(methods)), times.astype(int)) for times in method])
        for truth in truths:
            own, real = (
                (WANTED[m] * np.stack([means[k, m][0] for k in methods], 1)).round(6) for m in (score, truth)
            )
            of_pair = repeated_spearman(signed[score], signed[truth], method)  # [1 + resamples, pairs]
            of_method = repeated_spearman(signed[score].T, signed[truth].T, pair)  # [1 + resamples, methods]
            once = np.ones((1, 1))
            levels = {
                "methods": {
                    "both": spearman(*(np.take_along_axis(each, picked, 1) for each in (own, real))),
                    "images": spearman(own, real),
                    "methods": spearman(own[0][picked], real[0][picked]),
                },
                "maps of a method": {
                    "both": _mean(of_method, method),
                    "images": _mean(of_method, once),
                    "methods": _mean(of_method[:1], method),
                },
                "maps of a pair": {
                    "both": _mean(of_pair, pair),
                    "images": _mean(of_pair[:1], pair),
                    "methods": _mean(of_pair, once),
                },
            }
            counts = len(methods), len(image), int((~np.isnan(of_pair[0])).sum())
            rows += [
                {"level": level, "over": over, "score": score, "truth": truth, **bootstrap.interval(drawn), "n": n}
                for (level, each), n in zip(levels.items(), counts, strict=True)
                for over, drawn in each.items()
            ]
    return pd.DataFrame(rows).sort_values("level", kind="stable", ignore_index=True)


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted mean over the known ones of values [R, N], weights [R, N]; either may have one row."""
    return bootstrap.ratio((weights * np.nan_to_num(values)).sum(1), (weights * ~np.isnan(values)).sum(1))
