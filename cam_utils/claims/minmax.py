"""Claims of MinMax-CAM about one network's maps (C1 to C10, C13 to C17) and the identities E1 to E3."""

from collections.abc import Sequence
from functools import cached_property, partial

import numpy as np
import pandas as pd

from cam_utils.claims.evidence import Claim, row
from cam_utils.evaluation import results
from cam_utils.runs import Run

CHAPTER = "minmax_cam"
SHORT = {**results.PAPER_METHODS, "minmax-cam": "MinMax", "d-minmax-cam": "D-MinMax"}
LITERATURE = ("cam", "grad-cam++", "score-cam")
DIFFUSE, FOCUSED = ("grad-cam++", "score-cam"), ("minmax-cam", "d-minmax-cam")
EQUAL = 1e-4  # E1: float error of two forwards of the same image, as fractions
DISJOINT = 1e-5  # E2: share of the largest raw CAM below which a pixel counts as empty
IDENTICAL = 1e-3  # E3: float error of a map made by a gradient, as a share of the largest value
SIMILAR = 2.0  # points; ours, where the paper says "similar" and names no number


class Setting:
    """One network's pairs: a run's rows of one kind of scenes and one head."""

    def __init__(self, run: Run, scenes: str, head: str, table: pd.DataFrame) -> None:
        given = run.parameters
        self.run, self.scenes, self.head, self.table = run, scenes, head, table
        self.name = f"{scenes} / {head}"
        self.where = {
            "setting": self.name,
            "dataset": given.get("dataset"),
            "network": given.get("architecture"),
            "head": head,
            "seed": given.get("seed"),
            "runs": run.id,
        }

    @cached_property
    def draws(self) -> dict:
        """Means under the official protocol with their bootstrap, {(method, metric): (draws, counts)}."""
        return results.resample(self.table) if self.table["in_predicted"].any() else {}

    @cached_property
    def several(self) -> int:
        """Number of images with several predicted labels: on the others the MinMax forms are CAM."""
        rows = self.table[self.table["in_predicted"] & (self.table["set_size"] > 1)]
        return int(rows["image_index"].nunique())

    @cached_property
    def facts(self) -> dict:
        """What the run measured beside its tables."""
        return self.run.facts()


def settings(runs: Sequence[Run]) -> list[Setting]:
    """Return the settings of the chapter's runs, in the order of their tables."""
    return [
        Setting(run, *key, rows)
        for run in runs
        if len(table := run.table())
        for key, rows in table.groupby(["scenes", "head"], sort=False)
    ]


def best(drawn: dict, methods: Sequence[str], metric: str, wanted: int) -> np.ndarray:
    """Return the best of the methods' means in every draw: the highest if `wanted` is +1, else the lowest."""
    return (np.maximum if wanted > 0 else np.minimum).reduce([drawn[method, metric][0] for method in methods])


def lead(
    settings: Sequence[Setting],
    metric: str,
    methods: Sequence[str],
    others: Sequence[str],
    wanted: int,
    part: str = "",
    *,
    head: str | None = None,
    margin: float = 0.0,
    distance: bool = False,
) -> list[dict]:
    """Return one row per setting: the best of `methods` minus the best of `others`, paired image by image.

    `head`: only settings with this head. `distance`: test the size of the difference, whatever its sign; only
    images with several labels count then: without them any two forms of a map would pass for similar.
    """
    part = part or f"{SHORT[methods[0]]} has {'higher' if wanted > 0 else 'lower'} {{}} than {SHORT[others[0]]}"
    rows = []
    for setting in settings:
        drawn = setting.draws
        if head not in (None, setting.head) or any((m, metric) not in drawn for m in (*methods, *others)):
            continue
        draws = best(drawn, methods, metric, wanted) - best(drawn, others, metric, wanted)
        counted = setting.several if distance else drawn[methods[0], metric][1]["n_images"]
        words = part.format(results.PAPER_NAMES[metric])
        rows.append(row(setting.where, words, abs(draws) if distance else draws, wanted, counted, margin=margin))
    return rows


def several(settings: Sequence[Setting], tests: Sequence[partial]) -> list[dict]:
    """Return the rows of several tests of one claim."""
    return [found for test in tests for found in test(settings)]


def of(*parts: tuple, **options: object):
    """Return the test of a claim with several parts: arguments of :func:`lead` after the settings, for each."""
    return partial(several, tests=[_part(*part, **options) for part in parts])


def _part(metric, methods, others, wanted, part="", **options):
    methods, others = ((m,) if isinstance(m, str) else m for m in (methods, others))
    return lambda found: lead(found, metric, methods, others, wanted, part, **options)


def closeness(metrics: Sequence[str], method: str, other: str, **options: object):
    """Return the test that two methods differ by less than SIMILAR points in each metric."""
    part = f"{SHORT[method]} and {SHORT[other]} differ by less than {SIMILAR:g} points in {{}}"
    return of(*((m, method, other, -1, part) for m in metrics), margin=SIMILAR, distance=True, **options)


def alone(settings: Sequence[Setting]) -> list[dict]:
    """E1: the largest difference between CAM and a MinMax form over pairs whose label stands alone.

    Taken over probabilities and relative drops; the increase in confidence is a step that float error can flip.
    """
    compared = ["p_masked", "p_complement", "average_drop", "average_retention"]
    keys = ["image_index", "label", "in_predicted"]
    rows = []
    for setting in settings:
        singles = setting.table[setting.table["set_size"] == 1]
        by = {method: part.set_index(keys)[compared] for method, part in singles.groupby("method")}
        for form in FOCUSED:
            if "cam" in by and form in by:
                apart = float((by[form] - by["cam"].reindex(by[form].index)).abs().max().max())
                images = int(singles["image_index"].nunique())
                part = f"{SHORT[form]} equals CAM where a label stands alone (largest difference)"
                rows.append(row(setting.where, part, apart, -1, images, unit="number", margin=EQUAL))
    return rows


def identities(settings: Sequence[Setting]) -> list[tuple[Setting, dict]]:
    """Return what the chapter's derivation measured, with the setting that it used."""
    found = [(setting, setting.facts.get("identities", {})) for setting in settings]
    return [(setting, facts) for setting, facts in found if facts.get("setting") == setting.name]


def disjoint(settings: Sequence[Setting]) -> list[dict]:
    """E2: the largest value that both maps of a two-label image have at one pixel."""
    part = "the MinMax maps of two labels share no pixel (largest shared value, of the largest CAM)"
    return [
        row(s.where, part, facts["overlap"], -1, facts["two_label_images"], unit="number", margin=DISJOINT)
        for s, facts in identities(settings)
        if facts.get("two_label_images")
    ]


def forms_agree(settings: Sequence[Setting]) -> list[dict]:
    """E3: the largest difference between a map made by a gradient and the same by the head's weights."""
    return [
        row(s.where, f"{name} equals its CAM form (largest difference, of the largest value)", value, -1,
            facts["images"], unit="number", margin=IDENTICAL)
        for s, facts in identities(settings)
        for name, value in facts.get("deviation", {}).items()
    ]  # fmt: skip


KUR = {"head": "kernel-usage"}
IC, AD, ADO, AR, ARO = results.SCORE_METRICS
F_MINUS, F_PLUS = results.HARMONIC
MAPS = "a run of minmax_cam with at least one predicted pair, and the methods compared"
REGULARISED = "a run of minmax_cam with head=kernel-usage or both, and all five methods"
_OTHERS = (*LITERATURE, "minmax-cam")
_HIGHEST_IC = (IC, DIFFUSE, ("cam", *FOCUSED), +1, "Grad-CAM++ or Score-CAM has the highest {}")
_CLAIMS = (
    ("C1", "Grad-CAM++ and Score-CAM raise the confidence of most images: one of them has the highest %IC.",
     "Supported in two of three networks; on EfficientNet-B6 CAM is highest (39.67).", of(_HIGHEST_IC), MAPS),
    ("C2", "MinMax-CAM and D-MinMax-CAM have slightly lower %IC than CAM.",
     "Supported on ResNet-101 and VGG-16.",
     of((IC, "minmax-cam", "cam", -1), (IC, "d-minmax-cam", "cam", -1)), MAPS),
    ("C3", "Grad-CAM++ and Score-CAM have a much lower %AD than the others.",
     "Supported on ResNet-101 and VGG-16; not on EfficientNet-B6, where Grad-CAM++ is the worst (36.87).",
     of((AD, "grad-cam++", "cam", -1), (AD, "score-cam", "cam", -1)), MAPS),
    ("C4", "CAM has marginally higher %AR than MinMax-CAM.",
     "Partly: 1.2 to 2.3 points on EfficientNet-B6 and ResNet-101, 6.6 on VGG-16.",
     of((AR, "minmax-cam", "cam", -1)), MAPS),
    ("C5", "MinMax-CAM and D-MinMax-CAM hide the other labels better (%ADO) and hurt them less (%ARO).",
     "Supported in every cell of Tables 1 to 3.",
     of(*((metric, form, "cam", wanted) for metric, wanted in ((ADO, +1), (ARO, -1)) for form in FOCUSED)), MAPS),
    ("C6", "F1- of MinMax-CAM and D-MinMax-CAM is much better than that of CAM and Grad-CAM++.",
     "Supported in Tables 1 and 2; in Table 3 not for P:AfS (D-MinMax 27.15, CAM 27.02).",
     of(*((F_MINUS, form, other, -1) for other in ("cam", "grad-cam++") for form in FOCUSED)), MAPS),
    ("C7", "On ResNet-101 the MinMax forms are within 0.01 points of Score-CAM, which wins F1-.",
     "Only D-MinMax is (2.21 and 2.20), and 2.20 is one of the halved cells.",
     of(*((F_MINUS, form, "score-cam", -1, f"{SHORT[form]} has {{}} at most 0.01 points above Score-CAM's")
          for form in FOCUSED), margin=0.01), MAPS),
    ("C8", "D-MinMax-CAM beats CAM, Grad-CAM++ and Score-CAM by a large margin in %ADO, %ARO and F1-.",
     "Supported in Table 2, but for F1- on VOC 2007 as printed.",
     of(*((metric, "d-minmax-cam", LITERATURE, wanted,
           f"D-MinMax has {'higher' if wanted > 0 else 'lower'} {{}} than CAM, Grad-CAM++ and Score-CAM")
          for metric, wanted in ((ADO, +1), (ARO, -1), (F_MINUS, -1)))), MAPS),
    ("C9", "CAM and MinMax-CAM are similar in F1+, and both ahead of Grad-CAM++ and Score-CAM.",
     "Supported in Tables 1 and 2.",
     partial(several, tests=[
         of(*((F_PLUS, m, other, -1) for other in ("cam", "minmax-cam") for m in reversed(DIFFUSE))),
         closeness((F_PLUS,), "minmax-cam", "cam")]), MAPS),
    ("C10", "All methods but Score-CAM evaluate a dataset in half an hour; Score-CAM takes 16 to 59 hours.",
     "Supported by the text and by one log of the official notebooks (1745.5 minutes); no table.",
     lambda settings: [], "run time is the business of the benchmarks (make bench), not of a chapter's run"),
    ("C13", "With the kernel-usage head D-MinMax-CAM has the best F1- on all datasets but one.",
     "Supported in Table 3; on COCO MinMax-CAM ties (7.33).",
     of((F_MINUS, "d-minmax-cam", _OTHERS, -1, "D-MinMax has the lowest {}"), **KUR), REGULARISED),
    ("C14", "Where D-MinMax-CAM does not win F1- it comes third, 0.53 points behind.",
     "Not supported: on P:AfS it is fourth (27.15; Score-CAM 26.62, MinMax 26.86, CAM 27.02).",
     of((F_MINUS, "d-minmax-cam", _OTHERS, -1, "D-MinMax has {} at most 0.53 points above the lowest"),
        margin=0.53, **KUR), REGULARISED),
    ("C15", "With the kernel-usage head MinMax-CAM or D-MinMax-CAM has the best F1+ on three of four datasets.",
     "Supported in Table 3; on VOC 2007 CAM has it.",
     of((F_PLUS, FOCUSED, LITERATURE, +1, "MinMax or D-MinMax has the highest {}"), **KUR), REGULARISED),
    ("C16", "With the kernel-usage head MinMax-CAM and D-MinMax-CAM give very similar results.",
     "Supported in Table 3, weakly on VOC 2007 (%AD 29.80 and 34.19).",
     closeness(results.SCORE_METRICS, "d-minmax-cam", "minmax-cam", **KUR), REGULARISED),
    ("C17", "With the kernel-usage head, too, Grad-CAM++ and Score-CAM have high %IC.",
     "Not supported on P:AfS, where CAM is highest (15.60); supported on the other three datasets.",
     of(_HIGHEST_IC, **KUR), REGULARISED),
    ("E1", "Where an image has one label, CAM, MinMax-CAM and D-MinMax-CAM are one map.",
     "Derived in the chapter; no table.", alone, "a run of minmax_cam with an image of one label"),
    ("E2", "With two labels the MinMax maps share no pixel at the resolution of the features.",
     "Derived in the chapter; no table.", disjoint, "a run of minmax_cam with an image of two labels"),
    ("E3", "After pooling and a linear layer, Grad-CAM's forms and CAM's are the same maps.",
     "Derived in the chapter; no table.", forms_agree, "a run of minmax_cam"),
)  # fmt: skip
CLAIMS = tuple(Claim(id_, CHAPTER, *rest) for id_, *rest in _CLAIMS)
