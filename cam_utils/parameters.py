"""The parameters of all chapters: type, range, valid names and meaning of each, declared once, checked in one call.

Beside the floors, as `runs.py`; nothing here imports torch. A chapter's parameters cell holds the defaults.
"""

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from cam_utils.names import check_known
from cam_utils.networks.facts import NETWORKS
from cam_utils.networks.schedules import SCHEDULES
from cam_utils.parameter_kinds import (
    Kind,
    either,
    flag,
    mapping,
    one_of,
    path,
    real,
    registered,
    several,
    text,
    whole,
)  # fmt: skip
from cam_utils.parameter_rules import disagreement, lacking


class Parameter(NamedTuple):
    """A parameter: what it may be, what it is, and what None stands for ("": None is refused)."""

    kind: Kind
    meaning: str
    none: str = ""

    @property
    def words(self) -> str:
        """What is expected, in words."""
        return self.kind.words + (f", or None ({self.none})" if self.none else "")

    def check(self, name: str, value: object) -> object:
        """Return the value in its own form: a list for a text with commas. Raises ValueError with a sentence."""
        if value is None and self.none:
            return None
        try:
            return self.kind.check(name, value)
        except ValueError as error:
            said, got, rest = str(error).partition(", got ")
            none = f", or None ({self.none})" if self.none and not said.startswith("expected entry") else ""
            raise ValueError(said + none + got + rest) from None

    def read(self, raw: str) -> object:
        """Return what a text on a command line means; null and None are None where that is allowed.

        >>> limit, output = CHAPTERS["ss_cam"]["limit"], CHAPTERS["ss_cam"]["output"]
        >>> limit.read("20"), limit.read("null"), output.read("2024-05-01"), output.read("./null")
        (20, None, '2024-05-01', './null')
        """
        return None if self.none and raw.strip() in ("null", "None") else self.kind.read(raw)


def _share(words: str = "a number from 0 to 1") -> Kind:
    return real(words, lambda v: 0 <= v <= 1)


def _is_file(name: str) -> bool:
    return name.endswith((".txt", ".json")) or os.path.isfile(name)


_BETWEEN = real("a number above 0 and below 1", lambda v: 0 < v < 1)
_NORMAL = several(_share(), 1, 256)
_METHODS = several(one_of(source="methods/registry.py:METHODS"), distinct=True)
_EXAMINED = one_of(
    "ablation-cam",
    "relevance-cam",
    *registered("methods/other_libraries.py:OTHER_LIBRARIES"),
    *registered("methods/pixel_gradients.py:PIXEL_GRADIENTS"),
    source="methods/registry.py:METHODS",
)
_SIZE = Parameter(whole(32, 4096, " of pixels"), "side of the square input", "96 for digits, 224 otherwise")
_LABEL = either(whole(0), text("a label's name"))
_BASELINE = one_of(source="evaluation/perturbation.py:BASELINES")
_SHOWS = "data sets with several labels per image"

# What a name means wherever it is a parameter; a chapter's own meaning of it stands in CHAPTERS.
COMMON = {
    "dataset": Parameter(one_of("digits", "coco2017", "voc2007", "voc2012", "msrc", "planet"), _SHOWS),
    "data_root": Parameter(
        path("the path of a folder"), "folder of the data set", "for digits and photos, which need none"
    ),
    "architecture": Parameter(one_of(*(n for n in NETWORKS if n != "vgg16" and "acol" not in n)), "the network"),
    "head": Parameter(one_of(source="networks/models.py:HEADS"), "the network's last layer"),
    "weights": Parameter(path('"imagenet" or the path of a state dict'), "start of the backbone", "random weights"),
    "size": _SIZE,
    "resize": Parameter(one_of(source="data/sizing.py:RESIZES"), "how an image becomes a square"),
    "methods": Parameter(_METHODS, "methods to compare"),
    "schedule": Parameter(one_of(*SCHEDULES), "training schedule", "the one that fits data set and head"),
    "seed": Parameter(whole(0, 2**31 - 1), "seed of all that is drawn at random"),
    "retrain": Parameter(flag(), "whether the networks are trained here, though they lie at hand"),
    "limit": Parameter(whole(1, unit=" of images"), "the first so many images", "all"),
    "draws": Parameter(whole(1, 10_000), "N of SS-CAM: noisy copies per mask"),
    "device": Parameter(
        text(
            '"auto", "cpu", "mps", "cuda" or one of "cuda:0", "cuda:1", ...',
            fits=re.compile(r"auto|cpu|mps|cuda(:[0-9]{1,3})?").fullmatch,
        ),
        "where networks run; auto: a GPU where there is one",
    ),
    "output": Parameter(path("the path of a folder"), "folder of the run", "one in data/cache/runs"),
}


def _chapter(names: str, **own: Parameter) -> dict[str, Parameter]:
    return {name: own.get(name) or COMMON[name] for name in names.split()}


CHAPTERS: dict[str, dict[str, Parameter]] = {
    "minmax_cam": _chapter(
        "dataset data_root architecture head weights size resize methods schedule seed retrain limit device output",
        head=Parameter(one_of("both", source="networks/models.py:HEADS"), "the network's last layer, or both"),
        limit=Parameter(whole(6, unit=" of images"), "the first so many validation images", "all"),
    ),
    "representative_cam": _chapter(
        "dataset data_root architecture weights finetune pair_accuracy pair_score representatives smallest "
        "similarity threshold baselines size seed stack split limit device output",
        dataset=Parameter(one_of("digits", "voc2012", "coco2017"), _SHOWS),
        finetune=Parameter(
            one_of("heads", "full"), "one frozen backbone with a head per pair, or a network per pair"
        ),
        pair_accuracy=Parameter(
            real("a number above 0, at most 1", lambda v: 0 < v <= 1),
            "full: stop a pair's network above this training accuracy; 1.0: never",
        ),
        pair_score=Parameter(
            one_of(source="representative/sources.py:DIRECTIONS"), "full: what a pair's map explains"
        ),
        representatives=Parameter(whole(1, 1000), "N, comparison classes per explained class"),
        smallest=Parameter(whole(1, 1000), "fewest classes per cluster", "4, or as many as the classes allow"),
        similarity=Parameter(
            one_of("train", "held-out", "k-fold"),
            "images behind the similarity matrix",
            "held-out where possible",
        ),
        threshold=Parameter(_BETWEEN, "T of the tables"),
        baselines=Parameter(several(one_of("acol", "cbam"), 0, distinct=True), "further baselines to train"),
        stack=Parameter(whole(1, 100_000), "pairs trained at once on a GPU", "as many as its memory allows"),
        split=Parameter(one_of("train", "val"), "the images that maps are made for"),
        limit=Parameter(whole(4, unit=" of images"), "the first so many images of the split", "all"),
    ),
    "ss_cam": _chapter(
        "dataset data_root network weights draws sigma limit sweep steps seed device output",
        dataset=Parameter(one_of(source="data/__init__.py:LOADERS"), "the images"),
        network=Parameter(
            one_of(source="networks/models.py:PRETRAINED"),
            "a pretrained network",
            "for digits, which have their own",
        ),
        weights=Parameter(
            path('"imagenet" or the path of a state dict'), "of the pretrained network", "for digits' own network"
        ),
        sigma=Parameter(
            real("a number above 0, at most 1000", lambda v: 0 < v <= 1000),
            "standard deviation of the noise, on the normalised input",
        ),
        sweep=Parameter(whole(1, unit=" of images"), "images of the sweeps and of the table of forms"),
        steps=Parameter(several(whole(1, 10_000), distinct=True), "values of N in its sweep"),
    ),
    "comparison": _chapter(
        "dataset data_root architecture head weights size resize schedule seed draws samples singles limit device "
        "output",
        dataset=Parameter(one_of("digits", "voc2007", "voc2012", "coco2017", "msrc"), f"{_SHOWS}, and masks"),
        samples=Parameter(whole(1, 10_000), "steps of integrated gradients, and noisy images of SmoothGrad"),
        singles=Parameter(whole(1, unit=" of images"), "training images to look for single-label ones in", "all"),
    ),
    "sanity_checks": _chapter(
        "dataset data_root architecture head weights size resize methods order networks permuted draws samples "
        "steps insertion deletion limit seed device output",
        methods=Parameter(several(_EXAMINED, distinct=True), "methods to examine"),
        order=Parameter(
            one_of(source="evaluation/sanity.py:ORDERS"), "randomise from the head down, or one part at a time"
        ),
        networks=Parameter(whole(1, 1000), "random networks for each stage"),
        permuted=Parameter(flag(), "also a network that knows permuted labels by heart"),
        samples=Parameter(whole(1, 10_000), "steps of integrated gradients, and noisy images of SmoothGrad"),
        steps=Parameter(whole(1, 1000), "points of the insertion and deletion curves, less one"),
        insertion=Parameter(_BASELINE, "what insertion starts from"),
        deletion=Parameter(_BASELINE, "what deletion ends at"),
    ),
    "your_model": _chapter(
        "images network weights classes labels top threshold activation layer methods size mean std limit shown "
        "device output",
        images=Parameter(path(), "a folder of pictures", "a few digits scenes, written by the notebook"),
        network=Parameter(
            path("a name, a file.py:name or a checkpoint"), "resnet18, timm/..., model.py:build, or a .pt"
        ),
        weights=Parameter(
            path('"imagenet" or the path of a state dict'), "of the network", "for digits, checkpoints and files"
        ),
        classes=Parameter(
            either(whole(1, 1_000_000), path("a file of names", fits=_is_file), several(text("a name"))),
            "names in the order of the logits: a list, a file (.txt, .json), or their number",
            "the network's own",
        ),
        labels=Parameter(
            either(mapping(several(_LABEL)), several(_LABEL)),
            "what to explain: names or indices, or {file: [names]}",
            "what is predicted",
        ),
        top=Parameter(whole(1, 1000), "labels per picture where `labels` is None, with softmax"),
        threshold=Parameter(_share(), "with sigmoid: all labels above it, or the most probable one"),
        activation=Parameter(
            one_of(source="networks/predictions.py:ACTIVATIONS"),
            "of the logits",
            "sigmoid for this book's networks",
        ),
        layer=Parameter(
            several(text("a name of model.named_modules()"), lone=True), "whose maps are made", "the last one"
        ),
        methods=Parameter(_METHODS, "methods", "all that the head allows, but for SS-CAM"),
        size=Parameter(_SIZE.kind, _SIZE.meaning, "the network's own"),
        mean=Parameter(_NORMAL, "of the input's normalisation, a number per colour", "the network's own"),
        std=Parameter(
            several(real("a number above 0, at most 1", lambda v: 0 < v <= 1), 1, 256),
            "of the input's normalisation, a number per colour",
            "the network's own",
        ),
        shown=Parameter(whole(1, 1000), "pictures on the page; files are written for all"),
    ),
}


def chapter_of(names: set[str] | Mapping) -> str | None:
    """Return the chapter that has exactly these parameters, or None: so a copy of a chapter is known by them.

    >>> chapter_of(set(CHAPTERS["ss_cam"]))
    'ss_cam'
    """
    return next((chapter for chapter, declared in CHAPTERS.items() if declared.keys() == set(names)), None)


def check(chapter: str, values: Mapping[str, object], *, here: bool = True) -> dict[str, object]:
    """Return a chapter's parameters in their own form: text with commas becomes a list, where a list is expected.

    values: all of them. here: also whether the files and folders that they name are on this machine.
    Raises ValueError with a sentence that names the parameter, what is expected and the value: for a name that is
    none, a type, a range, a name in a value, and for values that do not go together.

    >>> CHAPTERS["minmax_cam"]["methods"].check("methods", "cam, minmax-cam")
    ['cam', 'minmax-cam']
    >>> check("ss_cam", {"draws": 2})
    Traceback (most recent call last):
        ...
    ValueError: the parameters of ss_cam lack dataset
    """
    declared = CHAPTERS[check_known("chapter", chapter, CHAPTERS)]
    for name in values:
        check_known("parameter", name, declared)
    for name in declared:
        if name not in values:
            raise ValueError(f"the parameters of {chapter} lack {name}")
    found = {name: parameter.check(name, values[name]) for name, parameter in declared.items()}
    sentence = disagreement(chapter, found) or (here and lacking(chapter, found))
    if sentence:
        raise ValueError(sentence)
    return found


def alike(chapter: str, name: str, first: object, second: object) -> bool:
    """Return whether two values of a chapter's parameter mean the same, as a list and a text with commas may.

    >>> alike("minmax_cam", "methods", "cam,minmax-cam", ["cam", "minmax-cam"])
    True
    """

    def own(value: object) -> object:
        try:
            return CHAPTERS[chapter][name].check(name, value)
        except (KeyError, ValueError):  # of a chapter or a value that is not declared
            return value

    return own(first) == own(second)
