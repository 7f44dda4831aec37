"""What a sanity check says of a method: whether its maps keep what is theirs, beyond any other image's map.

Tables have a row per (image_index, label, method, stage, draw) with the columns of
:func:`cam_utils.evaluation.sanity.compared`: a similarity and its null for each measure. The *excess* of a map is
similarity minus null: 0 if the map after the change resembles the map before no more than another image's does.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from cam_utils.evaluation import bootstrap
from cam_utils.evaluation.paired_tests import holm, sign_flip
from cam_utils.evaluation.sanity import TRAINED
from cam_utils.evaluation.similarity import SIMILARITIES
from cam_utils.names import check_known

MARGIN = 0.1  # an excess up to this counts as nothing: a choice, on the scale of a correlation
ALPHA = 0.05
FEWEST = 20  # a verdict over fewer images is undecided
PASSES, FAILS, UNDECIDED, BLIND = "passes", "fails", "undecided", "blind"
KEYS = ["image_index", "label", "method"]


def excesses(table: pd.DataFrame, stage: str) -> pd.DataFrame:
    """Return every image's mean similarity s, null s0 and excess at a stage, by method and measure.

    Draws are averaged within a pair, and pairs within an image. Pairs that lack a value are left out. Raises
    ValueError for a stage that the table does not have.
    """
    check_known("stage", stage, table["stage"].unique())
    rows, found = table[table["stage"] == stage], []
    for measure in SIMILARITIES:
        both = rows[[*KEYS, measure, f"{measure} null"]].set_axis([*KEYS, "s", "s0"], axis=1).dropna()
        means = both.groupby(KEYS, sort=False)[["s", "s0"]].mean().reset_index()
        counts = means.groupby(["image_index", "method"], sort=False)["label"].size().rename("pairs")
        means = means.groupby(["image_index", "method"], sort=False)[["s", "s0"]].mean().join(counts).reset_index()
        found.append(means.assign(measure=measure, excess=means["s"] - means["s0"]))
    return pd.concat(found, ignore_index=True)


def judge(table: pd.DataFrame, stage: str, *, margin: float = MARGIN) -> pd.DataFrame:
    """Return one row per (method, measure): how much is kept at a stage, and what the rule says.

    Columns: method, measure, similarity, null, excess with its 95% interval low to high (bootstrap over images),
    own (what could be lost: the excess of the trained network's maps over those of other images), retained (excess
    / own), p and adjusted (:func:`sign_flip` of excess - margin, :func:`holm` over the rows), n_images, n_pairs,
    verdict. *Fails*: the excess is above the margin. *Passes*: it is below. *Undecided*: the adjusted p is ALPHA or
    more, or there are fewer than FEWEST images. *Blind*: `own` is not above the margin, so that the measure cannot
    tell the method's maps of two images apart, and nothing could be lost. Raises ValueError for a stage that the
    table does not have.
    """
    there, own = excesses(table, stage), excesses(table, TRAINED)
    rows = []
    for measure in SIMILARITIES:
        for method in table.loc[table["stage"] == stage, "method"].unique():
            part, whole = (e[(e["method"] == method) & (e["measure"] == measure)] for e in (there, own))
            values, lost = part["excess"].to_numpy(), whole["excess"].to_numpy()
            line = {
                "method": method,
                "measure": measure,
                "n_images": len(values),
                "n_pairs": int(part["pairs"].sum()),
            }
            if len(values):
                bounds = bootstrap.interval(bootstrap.means(values))
                line |= {"similarity": part["s"].mean(), "null": part["s0"].mean(), "excess": bounds["value"]}
                line |= {"low": bounds["low"], "high": bounds["high"], "own": lost.mean() if len(lost) else np.nan}
                line["retained"] = line["excess"] / line["own"] if line["own"] > margin else np.nan
            rows.append(line | {"p": sign_flip(values - margin), "blank": _nothing(lost, margin)})
    found = pd.DataFrame(rows)
    found["adjusted"] = holm(found["p"].to_numpy())
    found["verdict"] = [_verdict(row, margin) for row in found.to_dict("records")]
    return found.drop(columns="blank")


def _nothing(lost: np.ndarray, margin: float) -> bool:
    """Return whether a method's maps of the trained network are those of any other image, to the margin."""
    return bool(len(lost) and lost.mean() <= margin)


def _verdict(row: dict, margin: float) -> str:
    if row["n_images"] < FEWEST:
        return UNDECIDED
    if row["blank"]:
        return BLIND
    if row["adjusted"] >= ALPHA:
        return UNDECIDED
    return FAILS if row["excess"] > margin else PASSES


def overall(judged: pd.DataFrame) -> pd.DataFrame:
    """Return one row per method: its verdict over the measures, the largest excess and the measure that shows it.

    A map that any measure still recognises keeps something, see :func:`worst`.

    >>> rows = {"method": "a", "measure": ["x", "y"], "excess": [0.0, 0.4], "verdict": ["passes", "fails"]}
    >>> overall(pd.DataFrame(rows)).to_dict("records")
    [{'method': 'a', 'verdict': 'fails', 'excess': 0.4, 'measure': 'y'}]
    """
    found = []
    for method, rows in judged.groupby("method", sort=False):
        known = rows.dropna(subset="excess")
        most = known.loc[known["excess"].idxmax()] if len(known) else {"excess": np.nan, "measure": ""}
        line = {"method": method, "verdict": worst(rows["verdict"])}
        found.append(line | {"excess": most["excess"], "measure": most["measure"]})
    return pd.DataFrame(found)


def worst(verdicts: Iterable[str]) -> str:
    """Return fails if one of the verdicts does or all are blind, passes if all that see do, else undecided.

    A method that no measure can tell from one map for all images has nothing to say of any of them.

    >>> worst(["passes", "undecided"]), worst(["undecided", "fails"]), worst(["passes", "blind"]), worst(["blind"])
    ('undecided', 'fails', 'passes', 'fails')
    """
    kinds = set(verdicts)
    if FAILS in kinds or kinds == {BLIND}:
        return FAILS
    return PASSES if kinds <= {PASSES, BLIND} else UNDECIDED
