"""Claims of MinMax-CAM about one network's maps (C1 to C10, C13 to C17) and the identities E1 to E3."""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np

from cam_utils.claims import printed
from cam_utils.claims.evidence import Claim, Setting, row
from cam_utils.claims.truth import TRUTH, of_pixels
from cam_utils.evaluation import facts, results
from cam_utils.runs import Run

CHAPTER = "minmax_cam"
NAMES = facts.PAPER_NAMES
AREA = "area-matched-cam"
SHORT = {**results.PAPER_METHODS, "minmax-cam": "MinMax", "d-minmax-cam": "D-MinMax", AREA: "area-matched CAM"}
SLOW, SLOWER = "score-cam", 32.0  # 16 hours and half an hour
LITERATURE = ("cam", "grad-cam++", SLOW)
DIFFUSE, FOCUSED = ("grad-cam++", SLOW), ("minmax-cam", "d-minmax-cam")
COMPARED = ("cam", AREA)  # with the MinMax forms, by annotated pixels
PAIR = ("image_index", "label", "set_size")
EQUAL = 1e-4  # E1: float error of two forwards of the same image, as fractions
ROUNDED = 1.1e-4  # what the difference of two numbers can be that a study stores with four decimals
DISJOINT = 1e-5  # E2: share of the largest raw CAM below which a pixel counts as empty
IDENTICAL = 1e-3  # E3: float error of a map made by a gradient, as a share of the largest value
SIMILAR = 2.0  # points; ours, where the paper says "similar" and names no number
Names = str | Sequence[str]  # one method or several


class Network(Setting):
    """The rows of one kind of scenes and one head."""

    @cached_property
    def truth(self) -> dict:
        """The MinMax forms minus CAM and area-matched CAM against pixel truth."""
        return of_pixels(self.table, FOCUSED, COMPARED, keys=PAIR, resamples=self.resamples)


def settings(runs: Sequence[Run]) -> list[Setting]:
    """Return one setting per network: a run's rows of one kind of scenes and one head, in the table's order."""
    return [
        Network(run, rows, scenes, run.parameters.get("architecture"), means, head)
        for run in runs
        if len(table := run.table())
        for (scenes, head), rows in table.groupby(["scenes", "head"], sort=False)
    ]


def means(setting: Setting) -> dict:
    """Return the means under the official protocol with their bootstrap, {(method, metric): (draws, counts)}."""
    table = setting.table
    return results.resample(table, resamples=setting.resamples) if table["in_predicted"].any() else {}


class Lead(NamedTuple):
    """One difference that a claim is about: the best mean of `methods` minus the best of `others`."""

    metric: str
    methods: tuple[str, ...]
    others: tuple[str, ...]
    wanted: int
    words: str
    margin: float = 0.0  # points that the difference should exceed (wanted = +1) or stay below (-1)
    size: bool = False  # the size of the difference is tested, whatever its sign
    claim: str = ""  # the primed id of a control of ours


def higher(
    metric: str, methods: Names, others: Names, words: str = "", *, wanted: int = +1, margin: float = 0.0, claim=""
) -> Lead:
    """Return the difference "the best of `methods` is higher than the best of `others`", said in `words`.

    >>> higher("average_drop_others", "minmax-cam", "cam").words
    'MinMax has higher %ADO than CAM'
    """
    methods, others = ((names,) if isinstance(names, str) else tuple(names) for names in (methods, others))
    direction = "higher" if wanted > 0 else "lower"
    words = words or f"{SHORT[methods[0]]} has {direction} {_name(metric)} than {SHORT[others[0]]}"
    return Lead(metric, methods, others, wanted, words, margin, claim=claim)


lower = partial(higher, wanted=-1)


def _name(metric: str) -> str:
    return NAMES.get(metric) or facts.METRICS[metric].title


def similar(metric: str, method: str, other: str) -> Lead:
    """Return the difference "the two methods are less than SIMILAR points apart"."""
    words = f"{SHORT[method]} and {SHORT[other]} differ by less than {SIMILAR:g} points in {NAMES[metric]}"
    return Lead(metric, (method,), (other,), -1, words, SIMILAR, size=True)


def best(drawn: dict, methods: Sequence[str], metric: str, wanted: int) -> np.ndarray:
    """Return the best of the methods' means in every draw: the highest if `wanted` is +1, else the lowest."""
    return (np.maximum if wanted > 0 else np.minimum).reduce([drawn[method, metric][0] for method in methods])


def difference(setting: Setting, lead: Lead) -> tuple[np.ndarray, dict] | None:
    """Return the difference with its bootstrap and the counts behind it, None if the setting lacks a method.

    The size of a difference counts only images with several predicted labels: with one, the MinMax forms are CAM,
    and any two forms of a map would pass for similar.
    """
    metric, methods, others = lead.metric, lead.methods, lead.others
    if metric in facts.PIXEL_METRICS:
        return setting.truth.get((*methods, *others, metric))
    if any((method, metric) not in setting.found for method in (*methods, *others)):
        return None
    draws = best(setting.found, methods, metric, lead.wanted) - best(setting.found, others, metric, lead.wanted)
    if not lead.size:
        return draws, setting.found[methods[0], metric][1]
    rows = setting.table[setting.table["in_predicted"] & (setting.table["set_size"] > 1)]
    return abs(draws), {"n_images": int(rows["image_index"].nunique())}


def tested(setting: Setting, lead: Lead) -> list[dict]:
    """Return the row of one difference, paired image by image; none if the setting cannot answer."""
    if setting.only not in ("", *lead.methods, *lead.others) or not (found := difference(setting, lead)):
        return []
    draws, images = found[0], found[1]["n_images"]
    seeds = [each[0][0] if (each := difference(part, lead)) else np.nan for part in setting.parts]
    more = {"claim": lead.claim} if lead.claim else {}
    return [row(setting.where, lead.words, draws, lead.wanted, images, margin=lead.margin, seeds=seeds, **more)]


def compare(*leads: Lead, head: str | None = None) -> Callable[[Sequence[Setting]], list[dict]]:
    """Return the test of a claim that is a list of differences, on the settings with this head (default: any)."""
    return lambda settings: [
        found
        for lead in leads
        for setting in settings
        if head in (None, setting.head)
        for found in tested(setting, lead)
    ]


def alone(settings: Sequence[Setting]) -> list[dict]:
    """E1: the largest difference between CAM and a MinMax form over pairs whose label stands alone.

    Taken over probabilities and relative drops; the increase in confidence is a step that float error can flip.
    """
    compared = ["p_masked", "p_complement", "average_drop", "average_retention"]
    rows = []
    for setting in (setting for setting in settings if not setting.only):
        keys = ["image_index", "label", "in_predicted", *(["seed"] if setting.seeds else [])]
        singles = setting.table[setting.table["set_size"] == 1]
        by = {method: part.set_index(keys)[compared] for method, part in singles.groupby("method")}
        for form in FOCUSED:
            if "cam" in by and form in by:
                apart = (by[form] - by["cam"].reindex(by[form].index)).abs().max(axis=1)
                seeds = apart.groupby(level="seed").max() if setting.seeds else ()
                images = int(singles["image_index"].nunique())
                part = f"{SHORT[form]} equals CAM where a label stands alone (largest difference)"
                margin = EQUAL if setting.rate is None else EQUAL + ROUNDED
                rows.append(largest(setting, part, apart.max(), images, margin, seeds))
    return rows


def largest(setting: Setting, part: str, value: float, images: int, margin: float, seeds: Sequence[float]) -> dict:
    """Return the row of a largest difference, which should lie below the margin."""
    return row(setting.where, part, float(value), -1, images, unit="number", margin=margin, seeds=seeds)


def disjoint(settings: Sequence[Setting]) -> list[dict]:
    """E2: the largest value that both maps of a two-label image have at one pixel."""
    part = "the MinMax maps of two labels share no pixel (largest shared value, of the largest CAM)"
    rows = []
    for setting in settings:
        measured = [each for each in setting.identities() if each.get("two_label_images")]
        if measured:
            seeds = [each["overlap"] for each in measured]
            rows.append(largest(setting, part, max(seeds), measured[0]["two_label_images"], DISJOINT, seeds))
    return rows


def forms_agree(settings: Sequence[Setting]) -> list[dict]:
    """E3: the largest difference between a map made by a gradient and the same by the head's weights."""
    rows = []
    for setting in settings:
        measured = setting.identities()
        for name in measured[0].get("deviation", {}) if measured else ():
            part = f"{name} equals its CAM form (largest difference, of the largest value)"
            seeds = [each["deviation"][name] for each in measured]
            images = measured[0].get("images", measured[0].get("two_label_images"))
            rows.append(largest(setting, part, max(seeds), images, IDENTICAL, seeds))
    return rows


def run_time(settings: Sequence[Setting]) -> list[dict]:
    """C10: Score-CAM's seconds per image over those of the slowest other method, both timed in one call."""
    part = f"Score-CAM takes more than {SLOWER:g} times as long as the slowest other method (ratio)"
    rows = []
    for setting in {s.run.id: s for s in settings}.values():
        seconds = setting.run.facts().get("seconds_per_image", {})
        if set(results.PAPER_METHODS) <= set(seconds):
            others = max(seconds[method] for method in results.PAPER_METHODS if method != SLOW)
            where = setting.where | {"setting": setting.where["dataset"], "head": "", "seed": None}
            rows.append(row(where, part, seconds[SLOW] / others, +1, None, unit="number", margin=SLOWER))
    return rows


KUR = "kernel-usage"
IC, AD, ADO = "increase_in_confidence", "average_drop", "average_drop_others"
AR, ARO = "average_retention", "average_retention_others"
F_MINUS, F_PLUS = facts.HARMONIC
MAPS = "a run of minmax_cam with at least one predicted pair, and the methods compared"
TABLES = "the paper's tables in the repository's folder data/paper_tables"
REGULARISED = "a run of minmax_cam with head=kernel-usage or both, and all five methods"
_OTHERS = (*LITERATURE, "minmax-cam")
_HIGHEST_IC = higher(IC, DIFFUSE, ("cam", *FOCUSED), "Grad-CAM++ or Score-CAM has the highest %IC")
_THAN_ALL = "D-MinMax has {} than CAM, Grad-CAM++ and Score-CAM"
_TRUE = [
    higher(metric, form, other, wanted=facts.WANTED[metric], claim="C5''")
    for metric in TRUTH for other in ("cam", AREA) for form in FOCUSED
]  # fmt: skip
_CLAIMS = (
    ("C1", "Grad-CAM++ or Score-CAM has the highest %IC in two of three networks.",
     "Supported in Table 1; in the third, EfficientNet-B6, CAM has it (39.67).", compare(_HIGHEST_IC), MAPS),
    ("C2", "MinMax-CAM and D-MinMax-CAM have slightly lower %IC than CAM.",
     "Supported on ResNet-101 and VGG-16.", compare(*(lower(IC, form, "cam") for form in FOCUSED)), MAPS),
    ("C3", "Grad-CAM++ and Score-CAM have a much lower %AD than the others.",
     "Supported on ResNet-101 and VGG-16; not on EfficientNet-B6, where Grad-CAM++ is the worst (36.87).",
     compare(*(lower(AD, method, "cam") for method in DIFFUSE)), MAPS),
    ("C4", "CAM has marginally higher %AR than MinMax-CAM.",
     "Partly: 1.2 to 2.3 points on EfficientNet-B6 and ResNet-101, 6.6 on VGG-16.",
     compare(lower(AR, "minmax-cam", "cam"), lower(AR, "minmax-cam", AREA, claim="C4'")), MAPS),
    ("C5", "MinMax-CAM and D-MinMax-CAM hide the other labels better (%ADO) and hurt them less (%ARO).",
     "Supported in every cell of Tables 1 to 3.",
     compare(*(higher(ADO, form, "cam") for form in FOCUSED),
             *(lower(ARO, form, "cam") for form in FOCUSED),
             higher(ADO, "minmax-cam", AREA, claim="C5'"), lower(ARO, "minmax-cam", AREA, claim="C5'"),
             *_TRUE), MAPS),
    ("C6", "F1- of MinMax-CAM and D-MinMax-CAM is much better than that of CAM and Grad-CAM++.",
     "Supported in Tables 1 and 2; in Table 3 not for P:AfS (D-MinMax 27.15, CAM 27.02).",
     compare(*(lower(F_MINUS, form, other) for other in ("cam", "grad-cam++") for form in FOCUSED)), MAPS),
    ("C7", "On ResNet-101 the MinMax forms are within 0.01 points of Score-CAM, which wins F1-.",
     "Only D-MinMax is (2.21 and 2.20), and 2.20 is one of the halved cells. About printed cells: checked on them.",
     printed.nearly_score_cam, TABLES),
    ("C8", "D-MinMax-CAM beats CAM, Grad-CAM++ and Score-CAM by a large margin in %ADO, %ARO and F1-.",
     "Supported in Table 2, but for F1- on VOC 2007 as printed.",
     compare(higher(ADO, "d-minmax-cam", LITERATURE, _THAN_ALL.format("higher %ADO")),
             lower(ARO, "d-minmax-cam", LITERATURE, _THAN_ALL.format("lower %ARO")),
             lower(F_MINUS, "d-minmax-cam", LITERATURE, _THAN_ALL.format("lower F1-"))), MAPS),
    ("C9", "CAM and MinMax-CAM are similar in F1+, and both ahead of Grad-CAM++ and Score-CAM.",
     "Supported in Tables 1 and 2.",
     compare(*(lower(F_PLUS, method, other) for other in ("cam", "minmax-cam") for method in reversed(DIFFUSE)),
             similar(F_PLUS, "minmax-cam", "cam")), MAPS),
    ("C10", "All methods but Score-CAM evaluate a dataset in half an hour; Score-CAM takes 16 to 59 hours.",
     "Supported by the text and by one log of the official notebooks (1745.5 minutes); no table.",
     run_time, "a run of photographs; the benchmarks (make bench) time one method at a time"),
    ("C13", "With the kernel-usage head D-MinMax-CAM has the best F1- on all datasets but one.",
     "Supported in Table 3; on COCO MinMax-CAM ties (7.33).",
     compare(lower(F_MINUS, "d-minmax-cam", _OTHERS, "D-MinMax has the lowest F1-"), head=KUR), REGULARISED),
    ("C14", "Where D-MinMax-CAM does not win F1- it comes third, 0.53 points behind.",
     "Supported in the distance, not in the place: on P:AfS it is fourth (27.15; Score-CAM 26.62, MinMax 26.86, "
     "CAM 27.02). About printed cells: checked on them.", printed.third_place, TABLES),
    ("C15", "With the kernel-usage head MinMax-CAM or D-MinMax-CAM has the best F1+ on three of four datasets.",
     "Supported in Table 3; on VOC 2007 CAM has it.",
     compare(higher(F_PLUS, FOCUSED, LITERATURE, "MinMax or D-MinMax has the highest F1+"), head=KUR), REGULARISED),
    ("C16", "With the kernel-usage head MinMax-CAM and D-MinMax-CAM give very similar results.",
     "Supported in Table 3, weakly on VOC 2007 (%AD 29.80 and 34.19).",
     compare(*(similar(metric, "d-minmax-cam", "minmax-cam") for metric in (IC, AD, ADO, AR, ARO)), head=KUR),
     REGULARISED),
    ("C17", "With the kernel-usage head, too, Grad-CAM++ and Score-CAM have high %IC.",
     "Not supported on P:AfS, where CAM is highest (15.60); supported on the other three datasets.",
     compare(_HIGHEST_IC, head=KUR), REGULARISED),
    ("E1", "Where an image has one label, CAM, MinMax-CAM and D-MinMax-CAM are one map.",
     "Derived in the chapter; no table.", alone, "a run of minmax_cam with an image of one label"),
    ("E2", "With two labels the MinMax maps share no pixel at the resolution of the features.",
     "Derived in the chapter; no table.", disjoint, "a run of minmax_cam with an image of two labels"),
    ("E3", "After pooling and a linear layer, Grad-CAM's forms and CAM's are the same maps.",
     "Derived in the chapter; no table.", forms_agree, "a run of minmax_cam"),
)  # fmt: skip
CLAIMS = tuple(Claim(id_, CHAPTER, *rest) for id_, *rest in _CLAIMS)
