"""Claims of representative-class CAM (R1 to R11): paired differences of mIoU (M1) between rules of one network, and
between networks."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from cam_utils.claims.evidence import Claim, Setting, alike, row, together
from cam_utils.evaluation import miou
from cam_utils.networks.facts import NETWORKS
from cam_utils.runs import Run

CHAPTER = "representative_cam"
PHOTOGRAPHS = "representative_photographs"  # the study of photographs, whose runs answer the same claims
RANKS, CLUSTERS = ("Rank-a", "Rank-b"), ("S-1", "S-2", "S-3", "S-4")
RULES = ("Random", *RANKS, *CLUSTERS)
FREE = {"architecture", "weights", "baselines", "stack", "device", "output"}  # may differ between compared networks


def settings(runs: Sequence[Run]) -> list[Setting]:
    """Return the chapter's runs that compared anything with annotated pixels."""
    found = []
    for run in runs:
        given, table = run.parameters, run.table()
        if len(table) and (table["class"] != miou.BACKGROUND).any():
            scenes = f"{given.get('dataset')} {given.get('split', 'val')}, {given.get('finetune', 'heads')}"
            found.append(Setting(run, table, scenes, given.get("architecture"), means))
    return found


def means(setting: Setting) -> dict[str, tuple[np.ndarray, np.ndarray, int]]:
    """Return {method: (IoU of every class [1 + R, n], their mean [1 + R], its number of images)}."""
    real = setting.table[setting.table["class"] != miou.BACKGROUND]
    images = real.groupby("method")["image_index"].nunique()
    drawn = miou.miou(setting.table, threshold=threshold(setting))
    return {method: (*draws, int(images[method])) for method, draws in drawn.items()}


def threshold(setting: Setting) -> float:
    """Return the run's threshold."""
    return setting.run.parameters.get("threshold", miou.PAPER_THRESHOLD)


def compared(setting: Setting) -> list[str]:
    """Return the classes that others are compared with, one by one."""
    return [name.removeprefix("vs ") for name in setting.found if name.startswith("vs ")]


def gain(setting: Setting, part: str, method: str, other: str, prime: str = "", claim: str = "") -> list[dict]:
    """Return the row "the method's mIoU exceeds the other's", none if the run lacks one of them.

    `prime` marks a control of ours beside the paper's `claim`. Raises ValueError if they explain different classes.
    """
    if method not in setting.found or other not in setting.found:
        return []
    (iou, mean, images), (other_iou, other_mean, _) = setting.found[method], setting.found[other]
    if (np.isnan(iou[0]) != np.isnan(other_iou[0])).any():
        raise ValueError(f"{method} and {other} explain different classes: their means are not comparable")
    more = {"claim": claim + prime} if prime else {}
    return [row(setting.where, part, mean - other_mean, +1, images, **more)]


def depends_on_class(settings: Sequence[Setting]) -> list[dict]:
    """R1: choose each class's best and worst comparison on images of even index, compare the two on the others."""
    rows = []
    for s in settings:
        classes, even = compared(s), s.table["image_index"] % 2 == 0
        odd = s.table[~even & s.table["class"].isin(classes)]
        if not len(odd) or not (even & (s.table["class"] != miou.BACKGROUND)).any():
            continue
        known = miou.matrix(s.table[even], classes, threshold=threshold(s)).dropna(axis=1, how="all")
        known = known[[c for c in known if c in set(odd["class"])]]
        named = []
        for name, chosen in (("best", known.idxmax()), ("worst", known.idxmin())):
            named.append(odd[odd["method"] == "vs " + odd["class"].map(chosen)].assign(method=name))
        halves = pd.concat(named)
        if len(halves):
            drawn = miou.miou(halves, threshold=threshold(s))
            part = "the map depends on the comparison class: best against worst"
            images = int(halves["image_index"].nunique())
            rows.append(row(s.where, part, drawn["best"][1] - drawn["worst"][1], +1, images))
    return rows


def fewer_are_better(settings: Sequence[Setting]) -> list[dict]:
    """R2: the oracle's best comparisons against all, and all against the network of all classes."""
    rows = []
    for s in settings:
        rows += gain(s, "Top3 is better than All", "Top3" if "Top3" in s.found else "Top1", "All+F")
        rows += gain(s, "All is better than Grad-CAM", "All+F", "Baseline")
    return rows


def single_pairs_win(settings: Sequence[Setting]) -> list[dict]:
    """R3: the share of the (class, comparison) pairs whose IoU exceeds the baseline's of that class."""
    rows = []
    for s in settings:
        singles = [s.found[f"vs {name}"][0] for name in compared(s)]
        if singles and "Baseline" in s.found:
            baseline, _, images = s.found["Baseline"]
            iou = np.stack(singles, 1)  # [1 + R, comparisons, classes]
            known = ~np.isnan(iou) & ~np.isnan(baseline[:, None])
            share = ((iou > baseline[:, None]) & known).sum((1, 2)) / known.sum((1, 2))
            part = f"most of the {known[0].sum()} single pairs beat Grad-CAM"
            rows.append(row(s.where, part, share, +1, images, unit="%", margin=50.0))
    return rows


def layers_help(settings: Sequence[Setting]) -> list[dict]:
    """R4: every rule with the multi-layer step A against the same rule without, and our controls."""
    rows = []
    for s in settings:
        for rule in RULES:
            rows += gain(s, f"A helps {rule}+F", f"{rule}+A+F", f"{rule}+F")
        for prime, part, method, other in (
            ("'", "A helps the baseline as well", "Baseline+A", "Baseline"),
            ("''", "A helps the baseline more than squaring its map", "Baseline+A", "Baseline, map squared"),
            ("''", "A helps S-1+F more than squaring its maps", "S-1+A+F", "S-1+F, maps squared"),
        ):
            rows += gain(s, part, method, other, prime, "R4")
    return rows


def fusion_helps(settings: Sequence[Setting]) -> list[dict]:
    """R5: the mean over representatives, without A, against the baseline."""
    return [
        found
        for s in settings
        for rule in ("Random", "S-1")
        for found in gain(s, f"{rule}+F beats the baseline", f"{rule}+F", "Baseline")
    ]


def best_rule(settings: Sequence[Setting]) -> list[dict]:
    """R6: S-1+A+F against the best of the other rules with A."""
    rows = []
    for s in settings:
        others = [f"{rule}+A+F" for rule in RULES if rule != "S-1" and f"{rule}+A+F" in s.found]
        if others:
            next_best = max(others, key=lambda name: s.found[name][1][0])
            rows += gain(s, f"S-1+A+F is the best rule (next: {next_best})", "S-1+A+F", next_best)
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
    """R9: S-1+A+F against the baseline and the methods of Table 5, and our controls."""
    rows = []
    for s in settings:
        rows += gain(s, "S-1+A+F beats the baseline", "S-1+A+F", "Baseline")
        rows += gain(s, "S-1+A+F beats the baseline with A", "S-1+A+F", "Baseline+A", "'", "R9")
        part = "pairs trained apart beat differences of softmax rows"
        rows += gain(s, part, "S-1+F", "softmax S-1+F", "'", "R9")
        for name in ("CAM", "ACoL", "CBAM"):
            rows += gain(s, f"S-1+A+F beats {name}", "S-1+A+F", name)
        for name in ("ACoL", "CBAM"):
            rows += gain(s, f"CAM beats {name}", "CAM", name)
    return rows


def fusion_on_coco(settings: Sequence[Setting]) -> list[dict]:
    """R10: R4 for S-1 on COCO 2017."""
    coco = [s for s in settings if s.run.parameters.get("dataset") == "coco2017"]
    return [found for s in coco for found in gain(s, "on COCO A helps S-1+F", "S-1+A+F", "S-1+F")]


def by_size(settings: Sequence[Setting]) -> list[list[Setting]]:
    """Return groups of runs that differ in the network only, smallest network first; two networks at least."""
    groups = alike([s for s in settings if s.network in NETWORKS], FREE)
    groups = [sorted(group, key=lambda s: NETWORKS[s.network].millions) for group in groups]
    return [group for group in groups if len({s.network for s in group}) > 1]


def of_both(small: Setting, large: Setting, methods: Sequence[str]) -> tuple[dict, dict, int]:
    """Return both networks' mean IoU over the same bootstrap images, the row's columns, and the number of images.

    The means are named "small:METHOD" and "large:METHOD".
    """
    both = {"small": small, "large": large}
    tables = {size: s.table[s.table["method"].isin(methods)] for size, s in both.items()}
    drawn = miou.miou(together(tables), threshold=threshold(small))
    where = small.where | {
        "network": f"{small.network}, {large.network}",
        "runs": f"{small.run.id}, {large.run.id}",
    }
    images = min(s.found[methods[0]][2] for s in both.values())
    return {name: mean for name, (_, mean) in drawn.items()}, where, images


def sorting_suits_small(settings: Sequence[Setting]) -> list[dict]:
    """R8: the lead of the best sorting rule over the best cluster rule, on the smallest and the largest network."""
    rows = []
    for group in by_size(settings):
        small, large = group[0], group[-1]
        sorting, clusters = ([f"{rule}+A+F" for rule in rules] for rules in (RANKS, CLUSTERS))
        methods = [*sorting, *clusters]
        if not all(name in s.found for name in methods for s in (small, large)):
            continue
        drawn, where, images = of_both(small, large, methods)
        ahead = {
            side: np.maximum.reduce([drawn[f"{side}:{name}"] for name in sorting])
            - np.maximum.reduce([drawn[f"{side}:{name}"] for name in clusters])
            for side in ("small", "large")
        }
        part = f"with A sorting beats clusters on {small.network}"
        rows.append(row(where, part, ahead["small"], +1, images))
        part = f"sorting is further ahead of clusters on {small.network} than on {large.network}"
        rows.append(row(where, part, ahead["small"] - ahead["large"], +1, images))
    return rows


def larger_is_better(settings: Sequence[Setting]) -> list[dict]:
    """R11: the baseline of every network against that of the next smaller one."""
    rows = []
    for group in by_size(settings):
        one_each = list({s.network: s for s in group}.values())
        for small, large in pairwise(one_each):
            if all("Baseline" in s.found for s in (small, large)):
                drawn, where, images = of_both(small, large, ["Baseline"])
                part = f"the baseline of {large.network} beats that of {small.network}"
                draws = drawn["large:Baseline"] - drawn["small:Baseline"]
                rows.append(row(where, part, draws, +1, images))
    return rows


ONE, TWO = "a run of representative_cam", "runs of representative_cam that differ in the network"
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
