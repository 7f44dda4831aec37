"""Intervals: means over resampled images, what they say of a difference, and their one text; without torch.

Row 0 of all draws is the sample itself, so that value and interval come out of one matrix product.
"""

import numpy as np

FEWEST_IMAGES = 10  # a mean over fewer images decides nothing, whatever its interval
UNDEFINED = "undefined"


def draws(n: int, *, resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """Return how often each of n images stands in every resample [1 + resamples, n]; the first row is all ones.

    >>> draws(3, resamples=2).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 3.0]]
    """
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), resamples)
    return np.vstack([np.ones(n), drawn])


def means(values: np.ndarray, *, resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """Return the mean of one value per image, then the means of its resamples [1 + resamples].

    >>> means(np.array([1.0, 3.0]), resamples=3).tolist()
    [2.0, 3.0, 2.0, 1.0]
    """
    drawn = np.random.default_rng(seed).choice(values, (resamples, len(values))).mean(1)
    return np.concatenate([[values.mean()], drawn])


def class_sums(drawn: np.ndarray, image: np.ndarray, label: np.ndarray, values: np.ndarray, classes: int):
    """Return the sum of the values of every class in every resample [1 + resamples, classes].

    drawn: :func:`draws`. image, label: the column of `drawn` and the class, both counted from 0, of every value.

    >>> class_sums(draws(2, resamples=0), np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([1.0, 2.0, 5.0]), 2)
    array([[1., 7.]])
    """
    images = drawn.shape[1]
    return drawn @ np.bincount(image * classes + label, values, images * classes).reshape(images, classes)


def ratio(above: np.ndarray, below: np.ndarray, otherwise: float = np.nan) -> np.ndarray:
    """Return above / below, and `otherwise` where `below` is not positive.

    >>> ratio(np.array([1.0, 1.0]), np.array([2.0, 0.0])).tolist()
    [0.5, nan]
    """
    return np.divide(above, below, out=np.full(np.shape(above), otherwise), where=below > 0)


def mean_of_known(per_class: np.ndarray, weights: np.ndarray | float = 1.0) -> np.ndarray:
    """Return the weighted mean over the classes that have a value [draws, classes], for every draw.

    >>> mean_of_known(np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan]])).tolist()
    [2.0, nan]
    """
    known = ~np.isnan(per_class) * weights
    return ratio(np.nansum(per_class * known, 1), known.sum(1))


def interval(drawn: np.ndarray) -> dict[str, float]:
    """Return the sample's own value (the first draw) and the middle 95% of the others: value, low, high."""
    known = drawn[1:][np.isfinite(drawn[1:])]
    low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (np.nan, np.nan)
    return {"value": float(drawn[0]), "low": float(low), "high": float(high)}


def verdict(low: float, high: float, wanted: int) -> str:
    """Return holds, fails or undecided for a difference with interval [low, high] that should be `wanted` (+1, -1).

    >>> verdict(0.1, 0.4, +1), verdict(0.1, 0.4, -1), verdict(-0.1, 0.4, +1)
    ('holds', 'fails', 'undecided')
    """
    low, high = sorted((wanted * low, wanted * high))
    return "holds" if low > 0 else "fails" if high < 0 else "undecided"


def text(
    value: float,
    low: float = np.nan,
    high: float = np.nan,
    *,
    digits: int = 1,
    sign: bool = False,
    ends: int | None = None,
    unit: str = "",
) -> str:
    """Return a value with its interval as a reader's text, without one where an end is NaN.

    digits: behind the point, of the interval `ends` if given. sign: write a plus, too. unit: follows the value.

    >>> text(12.3, 10.0, 15.0), text(12.3, 10.0, 15.0, sign=True, ends=0), text(12.3), text(np.nan)
    ('12.3 [10.0, 15.0]', '+12.3 [+10, +15]', '12.3', 'undefined')
    """
    if np.isnan(value):
        return UNDEFINED
    plus = "+" if sign else ""
    shown = f"{value:{plus}.{digits}f}{unit}"
    if np.isnan(low) or np.isnan(high):
        return shown
    ends = digits if ends is None else ends
    return f"{shown} [{low:{plus}.{ends}f}, {high:{plus}.{ends}f}]"


def percent(row, **options) -> str:
    """Return a row's `value`, `low` and `high`, which are fractions, as a text in percent. Options: :func:`text`.

    >>> percent({"value": 0.123, "low": 0.1, "high": 0.15})
    '12.3 [10.0, 15.0]'
    """
    return text(*(100 * row[name] for name in ("value", "low", "high")), **options)
