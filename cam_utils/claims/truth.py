"""What annotated pixels say of two methods: their differences in metrics of pixels, paired label by label."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd

from cam_utils.claims.evidence import together
from cam_utils.evaluation import results

TRUTH = ("energy_in_mask", "energy_in_others", "iou_0.3", "pointing_mask")


def of_pixels(
    table: pd.DataFrame, forms: Sequence[str], others: Sequence[str], *, keys: Sequence[str], resamples: int
) -> dict:
    """Return {(form, other, metric): (draws, counts)} of every form minus every other method, on annotated pairs.

    table: a pairs table; `keys` tell its pairs apart. Every difference is of the pairs where both methods have a
    value; one that the table cannot tell is left out.

    >>> rows = {"image_index": 0, "label": 0, "set_size": 1, "in_predicted": True, "in_annotated": True}
    >>> rows |= {"is_annotated": True, "method": ["cam", "minmax-cam"], "energy_in_mask": [0.5, 0.75]}
    >>> table = pd.DataFrame(rows).assign(**dict.fromkeys(TRUTH[1:], np.nan))
    >>> found = of_pixels(table, ["minmax-cam"], ["cam"], keys=["image_index", "label"], resamples=0)
    >>> {key: float(draws[0]) for key, (draws, _) in found.items()}
    {('minmax-cam', 'cam', 'energy_in_mask'): 0.25}
    """
    if not len(table) or not set(TRUTH) <= set(table):
        return {}
    table = table[table["in_annotated"]]
    methods = set(table["method"])
    compared = [pair for pair in product(forms, others) if set(pair) <= methods]
    of_two = {pair: table[table["method"].isin(pair)] for pair in compared}
    if not of_two:
        return {}
    rows = together({" ".join(pair): results.paired(both, TRUTH, keys=keys) for pair, both in of_two.items()})
    drawn = results.resample(rows, metrics=TRUTH, pairs="annotated", resamples=resamples)
    found = {}
    for (form, other), metric in product(compared, TRUTH):
        names = [(f"{form} {other}:{method}", metric) for method in (form, other)]
        if all(name in drawn and np.isfinite(drawn[name][0][0]) for name in names):
            (ours, counts), (theirs, _) = (drawn[name] for name in names)
            found[form, other, metric] = ours - theirs, counts
    return found
