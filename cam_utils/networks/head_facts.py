"""What a head's weights [L, K] look like: how positive they are, what labels share, whom a kernel serves.

Without torch. Effective weights are meant: those of `class_weights()`, which multiply the pooled features.
"""

from math import comb

import numpy as np

SERVES = 0.1  # a kernel serves a label from this share of the label's largest weight on
TOP = 10  # strongest kernels of a label that are compared


def of_weights(weights: np.ndarray) -> dict[str, float]:
    """Return the statistics of a head's weights [L, K], an array or a detached tensor of the CPU, by name.

    "positive mass (%)": of the sum of |w|; a distribution that is symmetric around zero has 50. "negative (%)":
    of all weights, however near zero. "skewness": of all weights together. "mean |correlation|": of two labels'
    weights, mean over pairs of labels.

    A kernel serves a label if its weight is positive and at least SERVES of that label's largest. "labels per
    kernel": how many it serves, mean over kernels; "kernels for one label (%)" and "kernels for none (%)".
    "positive kernels per label": with any positive weight.

    "shared top-10 kernels": how many two labels have in common of their ten strongest, mean over pairs; "of these
    positive for both": those whose weight is positive for both labels. Beside them "shared by chance"
    (:func:`chance`) and "shared at least" (:func:`least_shared`).

    NaN where a statistic is undefined, such as the skewness of equal weights. Raises ValueError for weights that
    are not a table of at least two labels and ten kernels.

    >>> facts = of_weights(np.eye(2, 10) * 4 - np.eye(2, 10, k=1))
    >>> facts["positive mass (%)"], facts["labels per kernel"], facts["kernels for none (%)"]
    (80.0, 0.2, 80.0)
    """
    weights = np.asarray(weights, dtype=float)
    if weights.ndim != 2 or weights.shape[0] < 2 or weights.shape[1] < TOP:
        raise ValueError(f"expected weights [L >= 2, K >= {TOP}], got shape {list(weights.shape)}")
    labels, kernels = weights.shape
    served = labels_served(weights)
    strongest = np.zeros(weights.shape, bool)
    np.put_along_axis(strongest, weights.argsort(axis=1, kind="stable")[:, -TOP:], True, axis=1)
    centred = weights - weights.mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.corrcoef(weights)[np.triu_indices(labels, 1)]
        skewness = (centred**3).mean() / (centred**2).mean() ** 1.5
        positive = weights.clip(min=0).sum() / np.abs(weights).sum()
    found = {
        "positive mass (%)": 100 * positive,
        "negative (%)": 100 * (weights < 0).mean(),
        "skewness": skewness,
        "mean |correlation|": np.abs(correlation).mean(),
        "labels per kernel": served.mean(),
        "kernels for one label (%)": 100 * (served == 1).mean(),
        "kernels for none (%)": 100 * (served == 0).mean(),
        "positive kernels per label": (weights > 0).sum(axis=1).mean(),
        "shared top-10 kernels": shared(strongest),
        "of these positive for both": shared(strongest & (weights > 0)),
        "shared by chance": chance(kernels),
        "shared at least": least_shared(labels, kernels),
    }
    return {name: float(value) for name, value in found.items()}


def labels_served(weights: np.ndarray) -> np.ndarray:
    """Return how many labels every kernel serves, [K], for weights [L, K]: see :func:`of_weights`.

    >>> labels_served(np.array([[2.0, 0.1, -1.0], [1.0, -2.0, -1.0]])).tolist()
    [2, 0, 0]
    """
    weights = np.asarray(weights, dtype=float)
    return ((weights > 0) & (weights >= SERVES * weights.max(axis=1, keepdims=True))).sum(axis=0)


def shared(chosen: np.ndarray) -> float:
    """Return how many kernels two labels have in common, the mean over pairs of labels; chosen [L, K] of bool.

    A kernel in n of the lists is shared by n (n - 1) / 2 pairs.

    >>> shared(np.array([[True, True, False], [True, False, True], [True, False, False]]))
    1.0
    """
    lists = chosen.sum(axis=0)
    return float((lists * (lists - 1) / 2).sum() / comb(len(chosen), 2))


def chance(kernels: int, top: int = TOP) -> float:
    """Return how many kernels two random sets of `top` out of `kernels` share on average: top^2 / kernels.

    >>> chance(64)
    1.5625
    """
    return top**2 / kernels


def least_shared(labels: int, kernels: int, top: int = TOP) -> float:
    """Return the least that lists of `top` kernels, one for each label, can share: the mean over pairs of labels.

    The labels * top places fall on the kernels, and the sum of n (n - 1) / 2 is least if they are spread evenly.

    >>> least_shared(10, 64), least_shared(20, 1280)
    (0.8, 0.0)
    """
    each, over = divmod(labels * top, kernels)  # `over` kernels stand in one more list than the others
    pairs = over * comb(each + 1, 2) + (kernels - over) * comb(each, 2)
    return pairs / comb(labels, 2)
