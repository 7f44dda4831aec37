"""Tests of paired differences, one value per image: Fisher's random signs, and Holm's correction for many tests."""

from functools import lru_cache

import numpy as np

FLIPS = 20_000


def sign_flip(values: np.ndarray, *, flips: int = FLIPS, seed: int = 0) -> float:
    """Return p, two-sided, that values which are as often positive as negative have a mean so far from zero.

    Fisher's test: every value gets a random sign, `flips` times, and the sample counts as one of the draws.
    Assumes that the values' distribution is symmetric about zero. With no value, or zeros alone, p = 1.

    >>> sign_flip(np.ones(4)) > 0.1, sign_flip(np.ones(20)) < 0.001, sign_flip(np.zeros(20))
    (True, True, 1.0)
    """
    if not len(values) or not values.any():
        return 1.0
    found = np.abs(_signs(len(values), flips, seed) @ values)
    return float((1 + (found >= abs(values.sum()) - 1e-12).sum()) / (1 + flips))


@lru_cache(maxsize=4)
def _signs(count: int, flips: int, seed: int) -> np.ndarray:
    """Return random signs [flips, count]: many methods are tested over the same images."""
    return np.random.default_rng(seed).choice([-1.0, 1.0], (flips, count))


def holm(p: np.ndarray) -> np.ndarray:
    """Return p adjusted for their number by Holm's step-down procedure (1979).

    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    found = np.empty_like(stepped)
    found[order] = np.minimum(1.0, stepped)
    return found
