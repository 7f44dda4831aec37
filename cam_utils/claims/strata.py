"""Where two methods differ: among the pairs whose object is small or large, apart from others or beside them.

What a pair's object is like comes from a table with the columns of :data:`STRATA`, one row per annotated label of
an image; the study of photographs stores one for each data set.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from cam_utils.evaluation import bootstrap

# column -> what it is, and its lower and upper half
STRATA = {
    "area": ("object", "smaller", "larger"),
    "touching": ("share of its rim that touches other labels", "smaller", "larger"),
    "co_occurrence": ("share of its training images with another label of the image", "smaller", "larger"),
}
FITS = ["head", "rate", "seed"]


def by_stratum(
    table: pd.DataFrame, objects: pd.DataFrame, metric: str, method: str, other: str, *, resamples: int = 1000
) -> pd.DataFrame:
    """Return the mean of `method` minus `other` in both halves of every stratum, and the halves' difference.

    table: the pairs table; its annotated pairs of images with several labels count, seeds averaged, where both
    methods have a value. Halves are cut at the median over these pairs; what lies on it belongs to the lower.
    Columns: stratum, half ("lower", "upper", or "upper - lower"), cut, value, low, high (95% bootstrap over images;
    fractions), n_pairs, n_images. Means are over pairs (micro).

    >>> pairs = pd.DataFrame({"image_index": [0, 0, 1, 1], "label": 0, "method": ["a", "b"] * 2, "m": [1, 0, 3, 1]})
    >>> pairs = pairs.assign(in_annotated=True, set_size=2, head="linear", rate=0.1, seed=0)
    >>> sizes = pd.DataFrame({"image_index": [0, 1], "label": 0, "area": [0.1, 0.5]})
    >>> by_stratum(pairs, sizes, "m", "a", "b")[["stratum", "half", "value"]].values.tolist()
    [['area', 'lower', 1.0], ['area', 'upper', 2.0], ['area', 'upper - lower', 1.0]]
    """
    chosen = table[table["in_annotated"] & (table["set_size"] > 1) & table["method"].isin([method, other])]
    keys = [*FITS, "image_index", "label"]
    wide = chosen.pivot_table(metric, keys, "method", observed=True).dropna()
    apart = (wide[method] - wide[other]).rename("apart").reset_index()
    apart = apart.groupby(["image_index", "label"], as_index=False)["apart"].mean()
    merged = apart.merge(objects, on=["image_index", "label"])
    return pd.DataFrame([row for name in STRATA if name in merged for row in _halves(merged, name, resamples)])


def _halves(merged: pd.DataFrame, name: str, resamples: int) -> Iterator[dict[str, object]]:
    known = merged.dropna(subset=[name])
    cut = known[name].median()
    images = np.sort(known["image_index"].unique())
    image = np.searchsorted(images, known["image_index"])
    upper = (known[name] > cut).to_numpy().astype(int)
    drawn = bootstrap.draws(len(images), resamples=resamples)
    total, count = (
        bootstrap.class_sums(drawn, image, upper, values, 2)
        for values in (known["apart"].to_numpy(float), np.ones(len(known)))
    )
    means = bootstrap.ratio(total, count)
    every = np.ones(len(known), dtype=bool)
    halves = (
        ("lower", means[:, 0], upper == 0),
        ("upper", means[:, 1], upper == 1),
        ("upper - lower", means[:, 1] - means[:, 0], every),
    )
    for half, draws, rows in halves:
        counts = {"n_pairs": int(rows.sum()), "n_images": len(np.unique(image[rows]))}
        yield {"stratum": name, "half": half, "cut": cut, **bootstrap.interval(draws), **counts}
