"""Claims of MinMax-CAM about kernel usage regularisation, on two networks that differ in the head (C11 to C19)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd

from cam_utils.claims import minmax
from cam_utils.claims.evidence import SCALES, Claim, Setting, alike, row, together
from cam_utils.claims.minmax import CHAPTER, SHORT
from cam_utils.evaluation import bootstrap, facts, results

# Parameters that may differ between the two runs that hold one head each.
FREE = {"head", "schedule", "methods", "retrain", "device", "output"}
PLAIN, REGULARISED = "linear", "kernel-usage"
RATES = {PLAIN: 0.1, REGULARISED: 1.0}  # the paper's text for every head, and its notebooks of VOC 2012 and COCO
BETA = {"planet": 2}  # Table 4 has F2 for the satellite images, F1 for the others


Heads = dict[str, Setting]  # the same images under the linear and the kernel-usage head


def pairs_of_heads(settings: Sequence[Setting]) -> list[Heads]:
    """Return the networks that differ in the head only: of one run where it has both, else of two runs.

    Where a run has several rates, the heads that RATES gave are compared, too: no one source trains both so.
    """
    found = []
    for group in alike(settings, FREE):
        by_run: dict[str, Heads] = {}
        for setting in group:
            by_run.setdefault(setting.run.id, {})[setting.head] = setting
        found += [heads for heads in by_run.values() if len(heads) == 2]
        lone = [setting for heads in by_run.values() if len(heads) == 1 for setting in heads.values()]
        by_head = [[s for s in lone if s.head == head] for head in (PLAIN, REGULARISED)]
        found += [{PLAIN: plain, REGULARISED: regularised} for plain, regularised in product(*by_head)]
    return found + [
        {PLAIN: plain, REGULARISED: regularised}
        for plain, regularised in product(settings, repeat=2)
        if (plain.run.id, plain.only) == (regularised.run.id, regularised.only)
        and all((s.head, s.rate) == wanted for s, wanted in zip((plain, regularised), RATES.items(), strict=True))
    ]


def where(heads: Heads) -> dict:
    """Return the columns that say which setting a row about both heads is about."""
    plain, regularised = heads[PLAIN], heads[REGULARISED]
    ids = dict.fromkeys((plain.run.id, regularised.run.id))
    scenes = plain.scenes
    if plain.rate != regularised.rate:
        rates = " and ".join(f"{s.rate:g} ({s.head})" for s in (plain, regularised))
        scenes = scenes.replace(f"rate {plain.rate:g}", f"rates {rates}")
    return plain.where | {"setting": scenes, "head": "both", "runs": ", ".join(ids)}


class Change(NamedTuple):
    """A method's metric under the kernel-usage head minus that under the linear head: bootstrap, images, seeds."""

    metric: str
    method: str
    draws: np.ndarray
    n_images: int
    seeds: list[float]


def changes(settings: Sequence[Setting], metrics: Sequence[str]) -> Iterator[tuple[Heads, list[Change]]]:
    """Yield every pair of heads with the changes of all metrics and methods that both have."""
    for heads in pairs_of_heads(settings):
        heads = on_common_classes(heads) if heads[PLAIN].rate is not None else heads
        if not all(setting.table["in_predicted"].any() for setting in heads.values()):
            continue
        drawn = of_both(heads)
        by_seed = [of_both(dict(zip(heads, parts, strict=True))) for parts in seed_by_seed(heads)]
        methods = [method for method in results.PAPER_METHODS if heads[PLAIN].only in ("", method)]
        found = []
        for metric, method in product(metrics, methods):
            if own := change(drawn, method, metric):
                seeds = [each[0][0] if (each := change(one, method, metric)) else np.nan for one in by_seed]
                found.append(Change(metric, method, *own, seeds))
        yield heads, found


def raised(settings: Sequence[Setting], metrics: Sequence[str]) -> list[dict]:
    """Return for every method the metric under the kernel-usage head minus that under the linear head."""
    return [
        row(
            where(heads),
            f"the kernel-usage head raises {facts.PAPER_NAMES[each.metric]} of {SHORT[each.method]}",
            each.draws, +1, each.n_images, seeds=each.seeds,
        )
        for heads, found in changes(settings, metrics)
        for each in found
    ]  # fmt: skip


def mixed(settings: Sequence[Setting], metric: str) -> list[dict]:
    """C12: how many methods' metric falls under the kernel-usage head, for every pair of heads.

    The effect is mixed ("holds") if some fall and some rise beyond their intervals and in every seed; the claim
    fails if all of them fall so, or all rise. Such a row has no side (`wanted` = 0). Score-CAM alone on its images,
    as in the study of photographs, is passed over: one method cannot be mixed.
    """
    rows = []
    for heads, found in changes(settings, [metric]):
        if len(found) < 2:
            continue
        verdicts = [row({}, "", each.draws, -1, each.n_images, seeds=each.seeds)["verdict"] for each in found]
        n, falls, rises = len(found), verdicts.count("holds"), verdicts.count("fails")
        verdict = "holds" if falls and rises else "fails" if n in (falls, rises) else "undecided"
        name = facts.PAPER_NAMES[metric]
        part = f"the kernel-usage head lowers {name} of some methods and raises it of others (how many fall)"
        fallen = (np.array([each.seeds for each in found]) < 0).sum(axis=0)  # methods of every seed
        told = f"of {n} methods, beyond interval and seeds: {falls} fall, {rises} rise"
        all_seeds = float(sum(each.draws[0] < 0 for each in found))
        images = min(each.n_images for each in found)
        tested = row(where(heads), part, all_seeds, 0, images, unit="number", seeds=fallen)
        rows.append(tested | {"verdict": verdict, "reason": told})
    return rows


def on_common_classes(heads: Heads) -> Heads:
    """Return the settings with the predicted pairs of the classes that count under both heads alone.

    A class of few images counts for neither (:func:`cam_utils.evaluation.results.with_enough`): means over other
    classes would not tell what the head does.
    """
    own = [set(setting.table.loc[setting.table["in_predicted"], "label"]) for setting in heads.values()]
    tables = {
        head: s.table.assign(in_predicted=s.table["in_predicted"] & s.table["label"].isin(set.intersection(*own)))
        for head, s in heads.items()
    }
    return {head: replace(setting, table=tables[head]) for head, setting in heads.items()}


def of_both(heads: Heads) -> dict:
    """Return both heads' means over the same bootstrap images, with methods as "head:method"; empty if none."""
    table = together({head: setting.table for head, setting in heads.items()})
    return minmax.means(replace(heads[PLAIN], table=table))


def change(drawn: dict, method: str, metric: str) -> tuple[np.ndarray, int] | None:
    """Return a mean under the kernel-usage head minus that under the linear head, and its images, or None."""
    keys = [(f"{head}:{method}", metric) for head in (PLAIN, REGULARISED)]
    if not all(key in drawn for key in keys):
        return None
    (plain, counted), (regularised, others) = (drawn[key] for key in keys)
    return regularised - plain, min(counted["n_images"], others["n_images"])


def seed_by_seed(heads: Heads) -> list[tuple[Setting, Setting]]:
    """Return both heads' settings of every seed that both have."""
    by_seed = [dict(zip(setting.seeds, setting.parts, strict=True)) for setting in heads.values()]
    return [tuple(parts[seed] for parts in by_seed) for seed in by_seed[0] if seed in by_seed[1]]


def f_scores(
    predictions: Mapping[object, pd.DataFrame], *, beta: float = 1.0, resamples: int = 1000, seed: int = 0
) -> dict[object, np.ndarray]:
    """Return every network's F_beta [1 + resamples], the mean over classes weighted by their images.

    predictions: name -> rows (image_index, label, predicted, annotated) of all pairs that are either. All networks
    share the bootstrap's images; draw 0 is the sample, and scikit-learn's fbeta_score(average="weighted").

    >>> one = pd.DataFrame({"image_index": [0, 1], "label": 0, "predicted": True, "annotated": [True, False]})
    >>> f_scores({"one": one}, resamples=0)["one"].round(3).tolist()
    [0.667]
    """
    every = pd.concat(predictions.values())
    images, classes = (np.sort(every[name].unique()) for name in ("image_index", "label"))
    drawn = bootstrap.draws(len(images), resamples=resamples, seed=seed)
    found = {}
    for name, rows in predictions.items():
        image, label = np.searchsorted(images, rows["image_index"]), np.searchsorted(classes, rows["label"])
        predicted, annotated = rows["predicted"].to_numpy(float), rows["annotated"].to_numpy(float)
        hit, guessed, true = (
            bootstrap.class_sums(drawn, image, label, values, len(classes))
            for values in (predicted * annotated, predicted, annotated)
        )
        f = bootstrap.ratio((1 + beta**2) * hit, guessed + beta**2 * true, 0.0)
        found[name] = bootstrap.ratio((f * true).sum(1), true.sum(1))
    return found


def classifies_better(settings: Sequence[Setting]) -> list[dict]:
    """C18: the F-score of the network with the kernel-usage head minus that with the linear head.

    Of several seeds: the mean of their F-scores, over the same bootstrap images.
    """
    rows = []
    for heads in pairs_of_heads(settings):
        stored = {head: setting.predictions() for head, setting in heads.items()}
        predictions = {(head, i): table for head, tables in stored.items() for i, table in enumerate(tables)}
        if all(stored.values()):
            beta = BETA.get(heads[PLAIN].run.parameters.get("dataset"), 1)
            f = f_scores(predictions, beta=beta)
            images = pd.concat(predictions.values())["image_index"].nunique()
            part = f"the kernel-usage head raises the weighted F{beta} over all validation images"
            apart = [f[REGULARISED, i] - f[PLAIN, i] for i in range(len(stored[PLAIN]))]
            seeds = [draws[0] for draws in apart]
            rows.append(row(where(heads), part, np.mean(apart, axis=0), +1, int(images), seeds=seeds))
    return rows


SERVED, SHARED = "labels per kernel", "of these positive for both"
# Statistics of weights that are compared: name, unit, wanted sign of the difference between the heads, in words.
COMPARED = (
    ("positive mass (%)", "points", +1, "more of the kernel-usage head's sum of |w| is positive"),
    ("skewness", "number", +1, "the kernel-usage head's weights are more right-skewed"),
    ("mean |correlation|", "number", -1, "its labels' weights correlate less"),
    (SERVED, "number", -1, "each of its kernels serves fewer labels"),
    (SHARED, "number", -1, "its labels share fewer of their ten strongest kernels, where positive for both"),
)
ONE_TRAINING = "one training of each head: no spread over seeds"


def weights_change(settings: Sequence[Setting]) -> list[dict]:
    """C19: statistics of the two heads' effective weights (:mod:`cam_utils.networks.head_facts`).

    Exact numbers of two networks, so without intervals; of several seeds the mean of their numbers, with the range
    of the seeds. A statistic that a run has not stored is left out.
    """
    rows = []
    for heads in pairs_of_heads(settings):
        plain, regularised = (heads[name].weights() for name in (PLAIN, REGULARISED))
        pairs = list(zip(regularised, plain, strict=True)) if plain and regularised else []
        for name, unit, wanted, part in COMPARED:
            if pairs and all(name in one for pair in pairs for one in pair):
                seeds = [(ours[name] - theirs[name]) / SCALES[unit] for ours, theirs in pairs]
                note = NOTES.get(name, lambda *_: "")(regularised, plain)
                rows.append(_exact(heads, part, wanted, seeds, note, unit=unit))
        if pairs and all("positive mass (%)" in one for one in regularised):
            part = "most of its sum of |w| is positive (50% if symmetric around zero)"
            seeds = [one["positive mass (%)"] / 100 for one in regularised]
            rows.append(_exact(heads, part, +1, seeds, unit="%", margin=50.0))
    return rows


def _exact(heads: Heads, part: str, wanted: int, seeds: Sequence[float], note: str = "", **options) -> dict:
    """Return the row of an exact number, the mean over seeds; its reason says also what else is to be known."""
    found = row(where(heads), part, np.mean(seeds), wanted, None, seeds=seeds, **options)
    said = [found.get("reason", ""), note, "" if len(seeds) > 1 else ONE_TRAINING]
    return found | {"reason": "; ".join(each for each in said if each)}


def _served(regularised: Sequence[Mapping], plain: Sequence[Mapping]) -> str:
    """Return how many kernels serve one label and none under both heads, mean over seeds, in words."""
    one, none = (f"kernels for {count} (%)" for count in ("one label", "none"))
    shares = [np.mean([[each[one], each[none]] for each in head], axis=0) for head in (regularised, plain)]
    (new_one, new_none), (old_one, old_none) = shares
    told = f"{new_one:.0f}% of its kernels serve one label and {new_none:.0f}% none"
    return f"{told}; under the linear head {old_one:.0f}% and {old_none:.0f}%"


def _beside(regularised: Sequence[Mapping], plain: Sequence[Mapping]) -> str:
    """Return what any lists of kernels share, in words; empty where it is not stored."""
    if "shared by chance" not in plain[0]:
        return ""
    by_chance, least = plain[0]["shared by chance"], plain[0]["shared at least"]
    return f"lists of any signs share {by_chance:.2g} by chance and {least:.2g} at least"


NOTES = {SERVED: _served, SHARED: _beside}
BOTH = "runs of minmax_cam or photographs with both heads on the same dataset, network and seed"
CLAIMS = (
    Claim("C11", CHAPTER, "Kernel usage regularisation raises %IC and F1+ for most methods and datasets.",
          "Supported: 15 of 20 cells of each rise from Table 2 to Table 3.",
          lambda settings: raised(settings, ("increase_in_confidence", "f1_plus")), BOTH),
    Claim("C12", CHAPTER, "Its effect on F1- is mixed: it falls in 9 of 18 tests.",
          "Supported; counted from Table 2 to Table 3, it falls in 7 of 20 cells.",
          lambda settings: mixed(settings, "f1_minus"), BOTH),
    Claim("C18", CHAPTER, "The regularised network classifies better on all datasets but COCO.",
          "Supported in Table 4.", classifies_better, BOTH),
    Claim("C19", CHAPTER, "Regularised weights are positive and right-skewed, labels' weights correlate less, "
          "each kernel serves fewer labels, and labels share fewer of their ten strongest kernels.",
          "Said in the text and shown in three figures of the official repository; no table.",
          weights_change, BOTH),
)  # fmt: skip
