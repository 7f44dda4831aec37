"""What the claims of representative-class CAM look at: runs of its chapter and of its study of photographs, the
mean IoU (M1) of their methods, and differences of it.

Who picks the best of several methods picks it on the images of even index and is judged on the others.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cam_utils.claims.evidence import Setting, row
from cam_utils.claims.photographs import LEAST_IMAGES
from cam_utils.evaluation import bootstrap, miou
from cam_utils.runs import Run

CHAPTER = "representative_cam"
PHOTOGRAPHS = "representative_photographs"  # the study of photographs, whose runs answer the same claims
RANKS, CLUSTERS = ("Rank-a", "Rank-b"), ("S-1", "S-2", "S-3", "S-4")
RULES = ("Random", *RANKS, *CLUSTERS)
SINGLE = "vs "  # before the name of the class that a map of one pair is compared with
# Method and normalisation (of cam_utils.maps.NORMALISATIONS) -> its names in tables.
NORMALISED = {
    ("CAM", "min-max"): ("CAM, min-max",),
    ("CAM", "relu-max"): ("CAM, relu-max", "CAM"),
    ("ACoL", "min-max"): ("ACoL, min-max", "ACoL"),
    ("ACoL", "relu-max"): ("ACoL, relu-max",),
}


def settings(runs: Sequence[Run]) -> list[Setting]:
    """Return the chapter's runs that compared anything with annotated pixels."""
    found = []
    for run in runs:
        given, table = run.parameters, run.table()
        if len(table) and (table["class"] != miou.BACKGROUND).any():
            scenes = f"{given.get('dataset')} {given.get('split', 'val')}, {given.get('finetune', 'heads')}"
            found.append(Setting(run, table, scenes, given.get("architecture"), means))
    return found


def photograph_settings(runs: Sequence[Run]) -> list[Setting]:
    """Return one setting for each run of the study of photographs: its rules and single pairs in one table.

    Of single pairs fewer thresholds are stored: where there is none, the count is NaN. Classes of few images are
    left out (:func:`comparable`); a run of too few images has no setting.
    """
    found = []
    for run in runs:
        table = pd.concat([run.table(), run.table("single")], ignore_index=True)
        if len(table) and len(table := comparable(table)):
            given = run.parameters
            scenes = f"{given['dataset']} {given['split']}, {given['finetune']} on photographs"
            found.append(Setting(run, table, scenes, given["architecture"], means))
    return found


def comparable(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the classes that a mean over classes is of, the same for all methods.

    These classes are judged in at least LEAST_IMAGES images, and explained by every method but the single pairs,
    some of which have no head. Categories become words.

    >>> rows = pd.DataFrame({"image_index": [*range(10), 0], "class": ["cow"] * 10 + ["cat"], "method": "Baseline"})
    >>> comparable(rows)["class"].unique().tolist()
    ['cow']
    """
    table = _words(table)
    whole = table[~table["method"].str.startswith(SINGLE)]
    images, methods = (whole.groupby("class")[name].nunique() for name in ("image_index", "method"))
    enough = (images >= LEAST_IMAGES) & (methods == whole["method"].nunique())
    return table[table["class"].isin(enough.index[enough])]


def _words(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with words in place of categories."""
    return table.astype(dict.fromkeys(table.select_dtypes("category").columns, str))


def means(setting: Setting) -> dict[str, tuple[np.ndarray, np.ndarray, int]]:
    """Return {method: (IoU of every class [1 + R, n], their mean [1 + R], its number of images)}."""
    return measured(setting, real(setting))


def measured(setting: Setting, table: pd.DataFrame, threshold: float | None = None) -> dict:
    """Return :func:`means` of some rows of the setting, by default at the run's threshold."""
    images = table.groupby("method")["image_index"].nunique()
    drawn = miou.miou(table, threshold=threshold or threshold_of(setting))
    return {method: (*draws, int(images[method])) for method, draws in drawn.items()}


def real(setting: Setting) -> pd.DataFrame:
    """Return the setting's rows without the background's."""
    return setting.table[setting.table["class"] != miou.BACKGROUND]


def halves(setting: Setting) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of the images of even index, to choose on, and of the others, to judge on."""
    table = real(setting)
    even = table["image_index"] % 2 == 0
    return table[even], table[~even]


def threshold_of(setting: Setting) -> float:
    """Return the run's threshold."""
    return setting.run.parameters.get("threshold", miou.PAPER_THRESHOLD)


def thresholds(table: pd.DataFrame) -> list[float]:
    """Return the thresholds at which all rows have counts, in order."""
    names = [name for name in table if name.startswith("area_") and table[name].notna().all()]
    return sorted(float(name.removeprefix("area_")) for name in names)


def compared(setting: Setting) -> list[str]:
    """Return the classes that others are compared with, one by one."""
    return [name.removeprefix(SINGLE) for name in setting.found if name.startswith(SINGLE)]


def distinct(setting: Setting, rules: Sequence[str] = RULES) -> dict[str, list[str]]:
    """Return the rules that choose other classes than the rules before them -> those that choose the same.

    Clusters of three leave nothing to choose but the third class: there S-3 and S-4 are one experiment. What a run
    has not stored counts as another choice.
    """
    stored, known, found = setting.run.facts().get("selections", {}), {}, {}
    for rule in rules:
        chosen = tuple(tuple(sorted(each)) for each in stored[rule]) if rule in stored else rule
        first = known.setdefault(chosen, rule)
        found.setdefault(first, [])
        if first != rule:
            found[first].append(rule)
    return found


def known_as(setting: Setting, method: str, normalisation: str) -> str:
    """Return the name under which the run has CAM or ACoL with this normalisation, empty if it has not."""
    return next((name for name in NORMALISED[method, normalisation] if name in setting.found), "")


def gain(
    setting: Setting, part: str, method: str, other: str, prime: str = "", claim: str = "", **more: object
) -> list[dict]:
    """Return the row "the method's mIoU exceeds the other's", none if the run lacks one of them.

    `prime` marks a control of ours beside the paper's `claim`. Raises ValueError if they explain different classes.
    """
    return difference(setting, setting.found, part, method, other, prime, claim, **more)


def difference(
    setting: Setting, found: dict, part: str, method: str, other: str, prime: str = "", claim: str = "",
    **more: object,
) -> list[dict]:  # fmt: skip
    """Return the row of :func:`gain` from the means that :func:`measured` has `found`."""
    if method not in found or other not in found:
        return []
    (iou, mean, images), (other_iou, other_mean, _) = found[method], found[other]
    if (np.isnan(iou[0]) != np.isnan(other_iou[0])).any():
        raise ValueError(f"{method} and {other} explain different classes: their means are not comparable")
    primed = {"claim": claim + prime} if prime else {}
    return [row(setting.where, part, mean - other_mean, +1, images, **primed, **more)]


def found_beyond(setting: Setting, other: str) -> dict[str, tuple[np.ndarray, int]]:
    """Return {rule: (draws [1 + R], images)}: what the union of a rule's masks finds of the object beyond `other`.

    That is the share of the object in the union minus the share in as many pixels of the other map, as the mean
    over classes of the means over their images. `other` is "whole_at_area" (the map of one head of all classes) or
    "best_at_area" (the best single map, an oracle's choice) of the run's complements.parquet; without this file
    nothing is found. All rules share the bootstrap's images.
    """
    table = _words(setting.run.table("complements"))
    if not len(table):
        return {}
    table = table[table["class"].isin(real(setting)["class"])]
    images, classes = (np.sort(table[name].unique()) for name in ("image_index", "label"))
    drawn, found = bootstrap.draws(len(images), resamples=setting.resamples), {}
    for rule, part in table.groupby("rule"):
        values = part["union"].to_numpy(float) - part[other].to_numpy(float)
        at = np.searchsorted(images, part["image_index"]), np.searchsorted(classes, part["label"])
        sums = (bootstrap.class_sums(drawn, *at, each, len(classes)) for each in (values, np.ones(len(part))))
        found[rule] = bootstrap.mean_of_known(bootstrap.ratio(*sums)), part["image_index"].nunique()
    return found
