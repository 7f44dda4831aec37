"""What every parameter of a chapter must take of a pool of values, said independently of the package.

By rules of one line, and by hand where a list or a name is meant.
"""

import math


def split(text):
    return text.split()


NAMES = split(
    "digits coco2017 coco DIGITS voc2007 voc2012 imagenet stanford40 planet msrc photos linear both kernel-usage "
    "resnet18 vgg16 vgg19 acol-vgg19 squeezenet1_0 digits-cbam paper digits-softmax letterbox crop heads full "
    "logit difference train val test trainval held-out k-fold acol cascade independent mean blur auto cpu cuda "
    "cuda:0 cuda:x cuda:-1 cuda: meta mps cam minmax-cam sigmoid softmax none.pth here.pth model.pt "
    "model.py:build names.txt"
)
POOL = [
    math.nan, math.inf, -math.inf, -1, 0, 1, 2, 3, 4, 5, 6, 9, 10, 11, 31, 32, 63, 64, 427, 428, 1001, 4097, 10_001,
    10**12, 10**5000, 2**31 - 1, 2**31, 1.5, 0.5, 0.95, 1.0, 0.0, -0.1, 4.0, 1000.0, 1000.5, 5e-324, True, False,
    None, "", " ", "abc", "true", "yes", "1", "0.5", "nan", "null", "None", "2024-05-01", "[no, yes]", "a\0b",
    "\udcff", "~", "x" * 300, "a\nb", "Rome: day 1", "../x #2", "C:\\x", "digits ", b"abc", object(), set(), {1},
    [], {}, (), ",", [1], [1, 5], (1, 5), [1, 1], "1,5", "[1, 5]", [0], [0.5], [0.5, 0.5, 0.5], [2.0, 0.5],
    [math.nan], [True], [None], "cam,cam", "cam, minmax-cam", "[cam, grad-cam]", ["cam"], ("cam", "grad-cam"),
    ["cam", 3], ["cam", "kam"], [["cam"]], "acol,cbam", ["cbam"], {"a.jpg": ["cat", 3]}, {"a.jpg": "cat"},
    {3: ["cat"]}, {"a.jpg": []}, [207, "tabby"], "207, tabby", *NAMES,
]  # fmt: skip


def whole(low, high=10**9):
    return lambda v: type(v) is int and low <= v <= high


def number(fits):
    return lambda v: type(v) in (int, float) and fits(v)


def names(text):
    return lambda v: isinstance(v, str) and v in text.split()


def truth(v):
    return isinstance(v, bool)


def words(v):
    return isinstance(v, str) and bool(v.strip()) and "\0" not in v and "\udcff" not in v


def folder(v):  # that can be made where the tests run
    return words(v) and len(v) < 256 and v != "here.pth"


def alone(v):
    return False


METHODS = {
    "'cam'": ["cam"], "'cam, minmax-cam'": ["cam", "minmax-cam"], "['cam']": ["cam"],
    "'[cam, grad-cam]'": ["cam", "grad-cam"], "('cam', 'grad-cam')": ["cam", "grad-cam"],
}  # fmt: skip
STEPS = {"[1]": [1], "[1, 5]": [1, 5], "(1, 5)": [1, 5], "'1,5'": [1, 5], "'[1, 5]'": [1, 5], "'1'": [1]}
STEPS |= {repr(v): [v] for v in POOL if whole(1, 10_000)(v)}
BASELINES = {
    **{each: [] for each in ("''", "' '", "','", "[]", "()")},
    "'acol'": ["acol"], "'acol,cbam'": ["acol", "cbam"], "['cbam']": ["cbam"],
}  # fmt: skip
SHARES = {
    "'1'": [1.0], "'0.5'": [0.5], "[1]": [1.0], "[1, 1]": [1.0, 1.0], "[0.5]": [0.5],
    "[0.5, 0.5, 0.5]": [0.5, 0.5, 0.5], "1": [1.0], "0.5": [0.5], "0.95": [0.95], "1.0": [1.0],
}  # fmt: skip
ABOVE_0 = {**SHARES, "5e-324": [5e-324]}
MEANS = {**ABOVE_0, "0": [0.0], "0.0": [0.0], "[0]": [0.0]}
ALIKE = {"'[no, yes]'": ["no", "yes"], "'cam,cam'": ["cam", "cam"], "'cam, minmax-cam'": ["cam", "minmax-cam"]}
ALIKE |= {"'[cam, grad-cam]'": ["cam", "grad-cam"], "['cam']": ["cam"], "('cam', 'grad-cam')": ["cam", "grad-cam"]}
ALIKE |= {"['cam', 'kam']": ["cam", "kam"], "'acol,cbam'": ["acol", "cbam"], "['cbam']": ["cbam"]}
LISTS_OF_TEXT = {**ALIKE, "'1,5'": ["1", "5"], "'[1, 5]'": ["1", "5"], "'207, tabby'": ["207", "tabby"]}
SINGLE = [v for v in POOL if words(v) and repr(v) not in LISTS_OF_TEXT and v != ","]
LABELS = {
    **ALIKE,
    "'1,5'": [1, 5],
    "'[1, 5]'": [1, 5],
    "'207, tabby'": [207, "tabby"],
    "[207, 'tabby']": [207, "tabby"],
}
LABELS |= {repr(v): [v.strip()] for v in SINGLE if v != "1"} | {
    "'1'": [1],
    "['cam', 3]": ["cam", 3],
    "[1, 1]": [1, 1],
}
LABELS |= {repr(v): [v] for v in POOL if whole(0)(v)} | {"[1]": [1], "[0]": [0], "[1, 5]": [1, 5], "(1, 5)": [1, 5]}
LABELS |= {"{'a.jpg': ['cat', 3]}": {"a.jpg": ["cat", 3]}, "{'a.jpg': 'cat'}": {"a.jpg": ["cat"]}}
LAYERS = {**LISTS_OF_TEXT, "['cam']": "cam", "['cbam']": "cbam"} | {repr(v): v.strip() for v in SINGLE}
CLASSES = (
    {**LISTS_OF_TEXT}
    | {repr(v): [v.strip()] for v in SINGLE}
    | {"'here.pth'": "here.pth", "'names.txt'": "names.txt"}
)
CLASSES |= {repr(v): v for v in POOL if whole(1, 10**6)(v)}

SEED, DEVICE = whole(0, 2**31 - 1), names("auto cpu cuda cuda:0 mps")
NETWORKS = names("digits digits-cbam squeezenet1_0 resnet18 vgg19")
DIGITS = {  # with the chapter's defaults
    "dataset": names("digits"), "data_root": words, "architecture": NETWORKS, "head": names("linear kernel-usage"),
    "weights": names("here.pth"), "size": whole(64, 427), "resize": names("letterbox crop"), "methods": METHODS,
    "schedule": names("paper digits digits-softmax"), "seed": SEED, "retrain": truth, "limit": whole(1),
    "draws": whole(1, 10_000), "device": DEVICE, "output": folder,
}  # fmt: skip
OWN = {
    "minmax_cam": {"head": names("linear kernel-usage both"), "limit": whole(6)},
    "representative_cam": {
        "finetune": names("heads full"), "pair_accuracy": number(lambda v: 0 < v <= 1),
        "pair_score": names("logit difference"), "representatives": whole(1, 9), "smallest": whole(1, 2),
        "similarity": names("train held-out k-fold"), "threshold": number(lambda v: 0 < v < 1),
        "baselines": BASELINES, "stack": whole(1, 100_000), "split": names("train val"), "limit": whole(4),
    },
    "ss_cam": {
        "network": alone, "weights": alone, "sigma": number(lambda v: 0 < v <= 1000), "sweep": whole(1),
        "steps": STEPS,
    },
    "comparison": {"samples": whole(1, 10_000), "singles": whole(1)},
    "sanity_checks": {
        "methods": {**METHODS, "'minmax-cam'": ["minmax-cam"]}, "order": names("cascade independent"),
        "networks": whole(1, 1000), "permuted": truth, "samples": whole(1, 10_000), "steps": whole(1, 1000),
        "insertion": names("mean blur"), "deletion": names("mean blur"),
    },
    "your_model": {
        "images": names("here.pth ~"), "network": names("digits model.pt model.py:build"), "weights": alone,
        "classes": alone, "labels": LABELS, "top": whole(1, 1000), "threshold": number(lambda v: 0 <= v <= 1),
        "activation": names("sigmoid softmax"), "layer": LAYERS,
        "methods": {**METHODS, "'minmax-cam'": ["minmax-cam"]},
        "size": whole(32, 4096), "mean": MEANS, "std": ABOVE_0, "shown": whole(1, 1000),
    },
}  # fmt: skip
# Photographs: a data set on disk, a network and its weights.
PHOTOS = {
    "minmax_cam": ({"dataset": "voc2007", "data_root": ".", "architecture": "resnet18"}, {
        "dataset": names("digits coco2017 voc2007 voc2012 msrc planet"), "data_root": alone,
        "schedule": names("paper"), "weights": names("imagenet here.pth"), "size": whole(32, 4096)}),
    "ss_cam": ({"dataset": "imagenet", "data_root": ".", "network": "resnet18", "weights": "here.pth"}, {
        "dataset": names("coco2017 voc2007 voc2012 imagenet stanford40 planet msrc photos"), "data_root": alone,
        "network": names("resnet18 squeezenet1_0 vgg16"), "weights": names("imagenet here.pth")}),
    "your_model": ({"network": "resnet18", "weights": "here.pth", "mean": [0.5] * 3}, {
        "network": lambda v: words(v) and v not in ("digits", "model.pt"), "weights": names("imagenet here.pth"),
        "classes": CLASSES, "std": {"[0.5, 0.5, 0.5]": [0.5] * 3},
        "mean": MEANS}),
}  # fmt: skip
NEEDED = {"data_root": "minmax_cam ss_cam", "network": "ss_cam", "weights": "ss_cam your_model"}  # of photographs
NULLABLE = split(
    "data_root weights size schedule limit output smallest similarity stack network singles images classes labels "
    "activation layer mean std"
)
CASES = [
    (chapter, kind)
    for chapter in OWN
    for kind in ("defaults", "photographs")
    if kind == "defaults" or chapter in PHOTOS
]


def nullable(chapter, name, photographs):
    if name == "network":
        return chapter == "ss_cam" and not photographs
    if name == "methods":
        return chapter == "your_model"
    return name in NULLABLE and not (photographs and chapter in NEEDED.get(name, ""))


def real(rule):
    return getattr(rule, "__qualname__", "").startswith("number.")


def every(chapter, kind, base):
    """Yield (name, value, whether it must be taken, as what, the parameters with it) of a chapter's defaults."""
    rules = {name: OWN[chapter].get(name) or DIGITS[name] for name in base}
    if kind == "photographs":
        base, rules = base | PHOTOS[chapter][0], rules | PHOTOS[chapter][1]
    for name in base:
        for value in POOL:
            rule, spelt = rules[name], "10**5000" if value == 10**5000 else repr(value)
            right = spelt in rule if isinstance(rule, dict) else rule(value)
            if value is None:
                right = nullable(chapter, name, kind == "photographs")
            given = base | {name: value}
            if chapter == "your_model" and name == "mean":
                given["std"] = None
            own = rule[spelt] if right and isinstance(rule, dict) and value is not None else value
            yield name, value, right, float(own) if right and type(own) is int and real(rule) else own, given
