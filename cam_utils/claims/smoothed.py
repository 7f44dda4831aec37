"""Claims of SS-CAM (S1 to S6): paired differences over all images, and over the images of the forms and sweeps."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from cam_utils.claims.evidence import Claim, Setting, row
from cam_utils.evaluation import bootstrap, results
from cam_utils.runs import Run

CHAPTER = "ss_cam"
OTHERS = {"grad-cam": "Grad-CAM", "grad-cam++": "Grad-CAM++", "score-cam": "Score-CAM"}
BOX = ("energy_in_box",)


def settings(runs: Sequence[Run]) -> list[Setting]:
    """Return the chapter's runs: their pairs, and the rows of their forms and sweeps."""
    found = []
    for run in runs:
        dataset = run.parameters.get("dataset")
        network = run.parameters.get("network") or dataset  # digits have one network of their own
        found.append(Setting(run, run.table(), dataset, network, variants))
    return found


def variants(setting: Setting) -> dict[str, pd.DataFrame]:
    """Return the values of every form and every step of a sweep, {variant: one row per image}."""
    table = setting.run.table("variants")
    rows = table.groupby("variant", sort=False) if len(table) else ()
    return {variant: values.set_index("image_index") for variant, values in rows}


def against(setting: Setting, other: str, metric: str) -> tuple[np.ndarray, int] | None:
    """Return SS-CAM's mean minus the other method's with its bootstrap, and the number of images, or None.

    AD and AI are of predicted pairs, energies of annotated ones, on the images where both have a value.
    """
    pairs, table = "annotated" if metric in BOX else "predicted", setting.table
    both = table[table["method"].isin(["ss-cam", other])] if len(table) else table
    if not len(both) or not both[f"in_{pairs}"].any():
        return None
    drawn = results.resample(results.paired(both, [metric]), pairs=pairs, average="micro", metrics=(metric,))
    ours, theirs = (drawn.get((method, metric)) for method in ("ss-cam", other))
    if not ours or not theirs or not np.isfinite([ours[0][0], theirs[0][0]]).all():
        return None
    return ours[0] - theirs[0], ours[1]["n_images"]


def versus(settings: Sequence[Setting], words: str, metric: str, wanted: int, others=tuple(OTHERS)) -> list[dict]:
    """Return SS-CAM minus every other method, paired image by image."""
    rows = []
    for s in settings:
        for other in others:
            if found := against(s, other, metric):
                part = words.format(OTHERS.get(other, other))
                rows.append(row(s.where, part, found[0], wanted, found[1]))
    return rows


def trend(
    settings: Sequence[Setting],
    part: str,
    column: str,
    variant: str,
    other: str,
    wanted: int,
    *,
    claim: str | None = None,
) -> list[dict]:
    """Return the mean over images of a variant's value minus another's, with a bootstrap over images."""
    rows = []
    for s in settings:
        if not {variant, other} <= set(s.found):
            continue
        # In the rows' unit before the difference, as the chapter computes it: the last digits stay the same.
        unit, scale = ("correlation", 1) if column.startswith("r_") else ("points", 100)
        apart = (scale * s.found[variant][column] - scale * s.found[other][column]).to_numpy(float)
        apart = apart[np.isfinite(apart)]
        if len(apart):
            more = {"claim": claim} if claim else {}
            rows.append(row(s.where, part, bootstrap.means(apart) / scale, wanted, len(apart), unit=unit, **more))
    return rows


def lowest_drop(settings: Sequence[Setting]) -> list[dict]:
    """S1, and S1': the same against Score-CAM with SS-CAM's softmax."""
    part = "lower AD than Score-CAM with a softmax"
    names = ("Algorithm 1: as printed", "Score-CAM: softmax of the increases")
    return [
        *versus(settings, "lower AD than {}", "average_drop", -1),
        *trend(settings, part, "AD", *names, -1, claim="S1'"),
    ]


def max_beats_mean(settings: Sequence[Setting]) -> list[dict]:
    """S4 between the paper's two forms, and S4' with nothing else changed, in three forms."""
    approach = ["ss-cam-mean"]
    rows = versus(settings, "lower AD than the averaging form (Approach 1)", "average_drop", -1, approach)
    rows += versus(settings, "more energy in the box than Approach 1", "energy_in_box", +1, approach)
    forms = {
        "Algorithm 1": "as in Algorithm 1",
        "one pass, no softmax": "without second pass and softmax",
        "moderate noise": "without these two, and sigma = 0.5",
    }
    wanted = {"AD": ("lower AD", -1), "energy": ("more energy", +1)}
    for form, words in forms.items():
        names = (f"{form}: as printed", f"{form}: mean instead of max")
        for column, (what, sign) in wanted.items():
            part = f"max has {what} than mean, all else {words}"
            rows += trend(settings, part, column, *names, sign, claim="S4'")
    names = ("Algorithm 1: as printed", "Approach 1 (mean): noise on the channel, then scaled")
    for column, (what, sign) in wanted.items():
        part = f"{what} than Approach 1 with its noise on the channel, before U and s"
        rows += trend(settings, part, column, *names, sign, claim="S4'")
    return rows


def noise_moves_the_map(settings: Sequence[Setting]) -> list[dict]:
    """S5 in two halves, scores and maps, and S5': what much noise leads to by our derivation."""
    rows = []
    for prefix, where in (("", "in Algorithm 1"), ("bare, ", "without second pass and softmax")):
        low, high = f"{prefix}sigma = 0.1", f"{prefix}sigma = 8"
        if not prefix:  # both forms share the scores of the noisy copies
            part = "little noise gives scores more like Score-CAM's than much noise (correlation over channels)"
            rows += trend(settings, part, "r_scores", low, high, +1)
        part = "much noise is nearer to {} than little (correlation of maps), {}"
        rows += trend(settings, part.format("Grad-CAM", where), "r_grad_cam", high, low, +1)
        rows += trend(settings, part.format("the plain mean", where), "r_plain", high, low, +1, claim="S5'")
    return rows


def more_draws_localise(settings: Sequence[Setting]) -> list[dict]:
    """S6: energy in the object with the largest N of a sweep against the smallest, in three forms."""
    rows = []
    forms = {
        "": "in Algorithm 1",
        "bare, ": "without second pass and softmax",
        "moderate noise, ": "without these two, and sigma = 0.5",
    }
    for s in settings:
        for prefix, where in forms.items():
            found = (re.fullmatch(rf"{prefix}N = (\d+)", name) for name in s.found)
            steps = sorted(int(each[1]) for each in found if each)
            if len(steps) > 1:
                few, many = f"{prefix}N = {steps[0]}", f"{prefix}N = {steps[-1]}"
                part = f"N = {steps[-1]} has more energy in the object than N = {steps[0]}, {where}"
                rows += trend([s], part, "energy", many, few, +1)
    return rows


NEEDS = "a run of ss_cam"
SWEEP = "a run of ss_cam with its sweeps stored"
_CLAIMS = (
    ("S1", "SS-CAM has the lowest average drop.", "Supported: 27.43, the next 29.34; no intervals.",
     lowest_drop, NEEDS),
    ("S2", "SS-CAM has the highest average increase.",
     "Not significant: a tie with Grad-CAM at 0.65, which is 13 of 2,000 images; the others have 8 and 12.",
     lambda settings: versus(settings, "higher AI than {}", "increase_in_confidence", +1), NEEDS),
    ("S3", "SS-CAM puts the most energy inside the object's box.",
     "Supported on both networks: 57.52 against 54.93, and 57.79 against 54.29; no intervals.",
     lambda settings: versus(settings, "more energy in the box than {}", "energy_in_box", +1),
     "a run of ss_cam on a dataset with boxes of the classes that the network knows"),
    ("S4", "Taking the maximum over the noisy copies is better than their average.",
     "One figure and no number.", max_beats_mean, NEEDS),
    ("S5", "Little noise gives scores like Score-CAM's, much noise maps like Grad-CAM's.",
     "Said in the discussion; no number.", noise_moves_the_map, SWEEP),
    ("S6", "More noisy copies give a more localised map.",
     "Said in the discussion; no number.", more_draws_localise,
     "a run of ss_cam with several steps, on annotated objects"),
)  # fmt: skip
CLAIMS = tuple(Claim(id_, CHAPTER, *rest) for id_, *rest in _CLAIMS)
