"""Claims of representative-class CAM (R1 to R11): paired differences of mIoU (M1) between rules of one network.

Those between networks are in network_sizes.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cam_utils.claims.evidence import Claim, Setting, row
from cam_utils.claims.network_sizes import larger_is_better, sorting_suits_small
from cam_utils.claims.representative import (
    CHAPTER,
    NORMALISED,
    RULES,
    SINGLE,
    compared,
    difference,
    distinct,
    found_beyond,
    gain,
    halves,
    known_as,
    measured,
    real,
    threshold_of,
    thresholds,
)
from cam_utils.evaluation import miou

CHOSEN = "chosen on the other half of the images"
HOW = {"min-max": "min-max, as its authors' code", "relu-max": "ReLU and maximum"}  # a map is normalised


def singled_out(setting: Setting) -> dict:
    """Return :func:`measured` of each class's "best" and "worst" comparison and of "All+F"; empty if it cannot be.

    The comparisons are chosen on images of even index, and all are judged on the others.
    """
    classes, (even, odd) = compared(setting), halves(setting)
    odd = odd[odd["class"].isin(classes)]
    if not len(odd) or not len(even):
        return {}
    known = miou.matrix(even, classes, threshold=threshold_of(setting)).dropna(axis=1, how="all")
    known = known[[c for c in known if c in set(odd["class"])]]
    picked = {"best": known.idxmax(), "worst": known.idxmin()}
    parts = [odd[odd["method"] == SINGLE + odd["class"].map(c)].assign(method=name) for name, c in picked.items()]
    parts.append(odd[(odd["method"] == "All+F") & odd["class"].isin(known)])
    table = pd.concat(parts)
    return measured(setting, table) if len(table) else {}


def depends_on_class(settings: Sequence[Setting]) -> list[dict]:
    """R1: each class's best and worst comparison."""
    part = "the map depends on the comparison class: best against worst"
    return [
        found for s in settings for found in difference(s, singled_out(s), part, "best", "worst", reason=CHOSEN)
    ]


def fewer_are_better(settings: Sequence[Setting]) -> list[dict]:
    """R2: the best comparison against all, and all against the network of all classes."""
    rows = []
    for s in settings:
        part = "the best comparison alone is better than All"
        rows += difference(s, singled_out(s), part, "best", "All+F", reason=CHOSEN)
        rows += gain(s, "All is better than Grad-CAM", "All+F", "Baseline")
    return rows


def single_pairs_win(settings: Sequence[Setting]) -> list[dict]:
    """R3: the share of the (class, comparison) pairs whose IoU exceeds the baseline's of that class."""
    rows = []
    for s in settings:
        singles = [s.found[SINGLE + name][0] for name in compared(s)]
        if singles and "Baseline" in s.found:
            baseline, _, images = s.found["Baseline"]
            iou = np.stack(singles, 1)  # [1 + R, comparisons, classes]
            known = ~np.isnan(iou) & ~np.isnan(baseline[:, None])
            share = ((iou > baseline[:, None]) & known).sum((1, 2)) / known.sum((1, 2))
            part, reason = "most single pairs beat Grad-CAM", f"of {known[0].sum()} pairs"
            rows.append(row(s.where, part, share, +1, images, unit="%", margin=50.0, reason=reason))
    return rows


def layers_help(settings: Sequence[Setting]) -> list[dict]:
    """R4: every rule with the multi-layer step A against the same rule without, and our controls."""
    rows = []
    for s in settings:
        for rule, others in distinct(s).items():
            more = {"reason": f"{', '.join(others)}: the same choice"} if others else {}
            rows += gain(s, f"A helps {rule}+F", f"{rule}+A+F", f"{rule}+F", **more)
        for part, method, other in (
            ("A helps the baseline as well", "Baseline+A", "Baseline"),
            ("A helps the baseline more than squaring its map", "Baseline+A", "Baseline, map squared"),
            ("A helps S-1+F more than squaring its maps", "S-1+A+F", "S-1+F, maps squared"),
        ):
            rows += gain(s, part, method, other, "'", "R4")
    return rows


def fusion_helps(settings: Sequence[Setting]) -> list[dict]:
    """R5: the mean over representatives, without A, against the baseline; what the pairs' maps find together."""
    rows = []
    for s in settings:
        for rule in ("Random", "S-1"):
            rows += gain(s, f"{rule}+F beats the baseline", f"{rule}+F", "Baseline")
        for other, what in (
            ("whole_at_area", "the baseline's map of the same area"),
            ("best_at_area", "the best one of their maps at the same area, an oracle's choice"),
        ):
            found = found_beyond(s, other)
            if "S-1" in found:
                draws, images = found["S-1"]
                part = f"the union of the representatives' masks finds more of the object than {what}"
                rows.append(row(s.where, part, draws, +1, images, claim="R5'"))
        found = found_beyond(s, "whole_at_area")
        random = [draws for rule, (draws, _) in found.items() if rule.startswith("Random")]
        if random and "S-1" in found:
            draws, images = found["S-1"]
            part = "the union of S-1's masks adds more to the baseline's map of its area than a random choice's"
            rows.append(row(s.where, part, draws - np.mean(random, 0), +1, images, claim="R5'"))
    return rows


def best_rule(settings: Sequence[Setting]) -> list[dict]:
    """R6: S-1+A+F against the best of the other rules with A, which is chosen on images of even index."""
    rows = []
    for s in settings:
        same = distinct(s, ["S-1", *RULES])
        others = [f"{rule}+A+F" for rule in same if rule != "S-1" and f"{rule}+A+F" in s.found]
        even, odd = halves(s)
        if others and "S-1+A+F" in s.found and len(even) and len(odd):
            known = miou.miou(even[even["method"].isin(others)], threshold=threshold_of(s), resamples=0)
            best = max(others, key=lambda name: known[name][1][0])
            judged = measured(s, odd[odd["method"].isin(["S-1+A+F", best])])
            reason = f"the best other rule on the other half: {best}"
            rows += difference(s, judged, "S-1+A+F is the best rule", "S-1+A+F", best, reason=reason)
    return rows


def better_than_chance(settings: Sequence[Setting]) -> list[dict]:
    """R7: S-1+A+F against the mean of the random draws of representatives."""
    rows = []
    for s in settings:
        drawn = [name for name in s.found if name.startswith("Random ") and name.endswith("+A+F")]
        drawn = drawn or [name for name in ("Random+A+F",) if name in s.found]
        if drawn and "S-1+A+F" in s.found:
            draws = s.found["S-1+A+F"][1] - np.mean([s.found[name][1] for name in drawn], axis=0)
            part = "S-1+A+F beats Random+A+F (mean of the draws)"
            rows.append(row(s.where, part, draws, +1, s.found["S-1+A+F"][2]))
    return rows


def beats_others(settings: Sequence[Setting]) -> list[dict]:
    """R9: S-1+A+F against the baseline and the methods of Table 5, under either normalisation, and our controls."""
    rows = []
    for s in settings:
        rows += gain(s, "S-1+A+F beats the baseline", "S-1+A+F", "Baseline")
        rows += gain(s, "S-1+A+F beats the baseline with A", "S-1+A+F", "Baseline+A", "'", "R9")
        part = "pairs trained apart beat differences of softmax rows"
        rows += gain(s, part, "S-1+F", "softmax S-1+F", "'", "R9")
        rows += at_own_thresholds(s)
        for method, how in NORMALISED:
            part = f"S-1+A+F beats {method} ({HOW[how]})"
            rows += gain(s, part, "S-1+A+F", known_as(s, method, how))
        rows += gain(s, "S-1+A+F beats CBAM", "S-1+A+F", "CBAM")
        for how, words in HOW.items():
            cam, acol = (known_as(s, method, how) for method in ("CAM", "ACoL"))
            rows += gain(s, f"CAM beats ACoL (both: {words})", cam, acol)
        cam = known_as(s, "CAM", "relu-max")  # CBAM's map is a Grad-CAM: it has its ReLU
        rows += gain(s, f"CAM beats CBAM (both: {HOW['relu-max']})", cam, "CBAM")
    return rows


def at_own_thresholds(setting: Setting) -> list[dict]:
    """R9': S-1+F against the baseline, each at the threshold that it chooses on the other half of the images."""
    table, methods = real(setting), ("S-1+F", "Baseline")
    table = table[table["method"].isin(methods)]
    if not all(name in setting.found for name in methods) or len(known := thresholds(table)) < 2:
        return []
    if table["image_index"].mod(2).nunique() < 2:
        return []
    at, _ = miou.at_chosen_threshold(table, thresholds=known)
    part = "the selected pairs beat the baseline, each at a threshold chosen on the other half"
    return difference(setting, measured(setting, at, miou.CHOSEN), part, *methods, "'", "R9")


def fusion_on_coco(settings: Sequence[Setting]) -> list[dict]:
    """R10: R4 for S-1 on COCO 2017."""
    coco = [s for s in settings if s.run.parameters.get("dataset") == "coco2017"]
    return [found for s in coco for found in gain(s, "on COCO A helps S-1+F", "S-1+A+F", "S-1+F")]


ONE = "a run of representative_cam or of its study of photographs"
TWO = "runs of representative_cam, or of its study of photographs, that differ in the network"
_CLAIMS = (
    ("R1", "The map depends on the class that the explained class is compared with.",
     "Supported: every column of Table 1 spreads, such as bottle from 0.19 to 0.40.", depends_on_class, ONE),
    ("R2", "A few well chosen comparisons are better than all, and all better than one network of all classes.",
     "Supported in Table 1 (0.40, 0.35 and 0.27); the choice is an oracle's.", fewer_are_better, ONE),
    ("R3", "A single pair's map is mostly better than Grad-CAM of all classes.",
     "Supported: 296 of 380 pairs of Table 1; 1 of 19 for person, 7 of 19 for pottedplant.", single_pairs_win, ONE),
    ("R4", "The multi-layer step A helps whatever the selection.",
     "Supported for five networks (0.2 to 8.2 points); not on MobileNet, where it costs 2.4 to 3.0.",
     layers_help, ONE),
    ("R5", "The mean over representatives beats the baseline without A.",
     "Supported on ResNet-50; not on ResNet-101 and ResNet-152, where every cell is below it.", fusion_helps, ONE),
    ("R6", "S-1 with A and F is the best rule on the larger networks.",
     "Supported on ResNet-101 and ResNet-152; on ResNet-50 it is S-4.", best_rule, ONE),
    ("R7", "Selection by clusters beats a random choice of classes.",
     "Partly: 34.66 against 33.56 on ResNet-152; on ResNet-50 28.40 against 28.77.", better_than_chance, ONE),
    ("R8", "On small networks selection by sorting is best.",
     "Supported in Table 4 for Rank-a, by 0.1 to 1.3 points (VGG-19's cells are suspect).",
     sorting_suits_small, TWO),
    ("R9", "The method beats CAM, Grad-CAM, ACoL and CBAM; ACoL and CBAM are below CAM.",
     "Supported in Table 5.", beats_others, ONE),
    ("R10", "On COCO, too, the multi-layer step makes the fused map better.",
     "Supported: 15.41 against 12.85 in Table 5.", fusion_on_coco, "a run of representative_cam on coco2017"),
    ("R11", "A larger network has the better baseline.",
     "Not supported: ResNet-101 is above ResNet-152 in Tables 2 and 3.", larger_is_better, TWO),
)  # fmt: skip
CLAIMS = tuple(Claim(id_, CHAPTER, *rest) for id_, *rest in _CLAIMS)
