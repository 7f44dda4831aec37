"""Claims of representative-class CAM about small and large networks (R8, R11): differences between runs."""

from collections.abc import Sequence
from itertools import pairwise

import pandas as pd

from cam_utils.claims.evidence import Setting, alike, row, together
from cam_utils.claims.representative import CLUSTERS, RANKS, halves, real, threshold_of
from cam_utils.evaluation import miou
from cam_utils.networks.facts import NETWORKS

FREE = {"architecture", "weights", "baselines", "stack", "device", "output"}  # may differ between compared networks


def by_size(settings: Sequence[Setting]) -> list[list[Setting]]:
    """Return groups of runs that differ in the network only, smallest network first; two networks at least."""
    groups = alike([s for s in settings if s.network in NETWORKS], FREE)
    groups = [sorted(group, key=lambda s: NETWORKS[s.network].millions) for group in groups]
    return [group for group in groups if len({s.network for s in group}) > 1]


def of_both(
    small: Setting, large: Setting, tables: Sequence[pd.DataFrame], methods: Sequence[Sequence[str]]
) -> tuple[dict, dict, int]:
    """Return the mean IoU of each network's methods over the same bootstrap images, the row's columns, the images.

    tables, methods: those of the small network, then those of the large one. The means are named "small:METHOD"
    and "large:METHOD".
    """
    kept = [table[table["method"].isin(names)] for table, names in zip(tables, methods, strict=True)]
    drawn = miou.miou(together(dict(zip(("small", "large"), kept, strict=True))), threshold=threshold_of(small))
    where = small.where | {
        "network": f"{small.network}, {large.network}",
        "runs": f"{small.run.id}, {large.run.id}",
    }
    images = min(table["image_index"].nunique() for table in kept)
    return {name: mean for name, (_, mean) in drawn.items()}, where, images


def sorting_suits_small(settings: Sequence[Setting]) -> list[dict]:
    """R8: the lead of the best sorting rule over the best cluster rule, on the smallest and the largest network.

    What is the best is chosen for each network on images of even index; the others judge.
    """
    rows = []
    for group in by_size(settings):
        small, large = both = group[0], group[-1]
        kinds = [[f"{rule}+A+F" for rule in rules] for rules in (RANKS, CLUSTERS)]
        if not all(name in s.found for kind in kinds for name in kind for s in both):
            continue
        chosen, judged = [], []
        for s in both:
            even, odd = halves(s)
            if len(even) and len(odd):
                drawn = miou.miou(even, threshold=threshold_of(s), resamples=0)
                chosen.append([max(kind, key=lambda name: drawn[name][1][0]) for kind in kinds])
                judged.append(odd)
        if len(judged) < len(both):
            continue
        drawn, where, images = of_both(small, large, judged, chosen)
        ahead = {
            side: drawn[f"{side}:{sorting}"] - drawn[f"{side}:{cluster}"]
            for side, (sorting, cluster) in zip(("small", "large"), chosen, strict=True)
        }
        reason = f"chosen on the other half: {', '.join(chosen[0])} and {', '.join(chosen[1])}"
        part = f"with A sorting beats clusters on {small.network}"
        rows.append(row(where, part, ahead["small"], +1, images, reason=reason))
        part = f"sorting is further ahead of clusters on {small.network} than on {large.network}"
        rows.append(row(where, part, ahead["small"] - ahead["large"], +1, images, reason=reason))
    return rows


def larger_is_better(settings: Sequence[Setting]) -> list[dict]:
    """R11: the baseline of every network against that of the next smaller one."""
    rows = []
    for group in by_size(settings):
        one_each = list({s.network: s for s in group}.values())
        for small, large in pairwise(one_each):
            if all("Baseline" in s.found for s in (small, large)):
                tables = real(small), real(large)
                drawn, where, images = of_both(small, large, tables, [["Baseline"]] * 2)
                part = f"the baseline of {large.network} beats that of {small.network}"
                draws = drawn["large:Baseline"] - drawn["small:Baseline"]
                rows.append(row(where, part, draws, +1, images))
    return rows
