"""The names under which a reader meets methods and metrics: one for each, in tables, in pictures and on the site.

What is typed, `minmax-cam` and `energy_in_mask`, is the name in code and in stored tables; what is shown is here.
"""

import re

from cam_utils.evaluation import facts

METHODS = {
    "cam": "CAM",
    "minmax-cam": "MinMax-CAM",
    "d-minmax-cam": "D-MinMax-CAM",
    "grad-cam": "Grad-CAM",
    "grad-cam++": "Grad-CAM++",
    "minmax-grad-cam": "MinMax-Grad-CAM",
    "d-minmax-grad-cam": "D-MinMax-Grad-CAM",
    "score-cam": "Score-CAM",
    "ss-cam": "SS-CAM",
    "ss-cam-mean": "SS-CAM, Approach 1",
    "representative-cam": "Representative-class CAM",
    "area-matched-cam": "area-matched CAM",
    "layer-cam": "LayerCAM",
    "xgrad-cam": "XGrad-CAM",
    "hirescam": "HiResCAM",
    "eigen-cam": "Eigen-CAM",
    "ablation-cam": "Ablation-CAM",
    "relevance-cam": "Relevance-CAM",
    "fullgrad": "FullGrad",
    "full-gradients": "full gradients",
    "smoothgrad": "SmoothGrad",
    "gradient-times-input": "gradient times input",
    "squared-gradient": "squared gradient",
    "integrated-gradients": "integrated gradients",
    "guided-backprop": "guided backpropagation",
    "gaussian": "Gaussian",
    "sobel": "edge detector (Sobel)",
    "layers x minmax": "layers x MinMax",
    "score x minmax": "scores x MinMax",
    "representatives x minmax": "representatives x MinMax",
}
_LONGEST_FIRST = "|".join(map(re.escape, sorted(METHODS, key=len, reverse=True)))
_FIRST = re.compile(rf"({_LONGEST_FIRST})(?=$|[ ,:(/])")
_KNOWN = {
    word: metric
    for name, metric in facts.METRICS.items()
    for word in (name, metric.title, metric.symbol, metric.short)
    if word
}


def method_name(name: str) -> str:
    """Return a method's name as it is shown; what stands behind a known one stays, and so does an unknown name.

    >>> method_name("minmax-cam"), method_name("ss-cam (authors)"), method_name("my method")
    ('MinMax-CAM', 'SS-CAM (authors)', 'my method')
    """
    return _FIRST.sub(lambda found: METHODS[found[1]], name, count=1) if _FIRST.match(name) else name


def metric_name(name: str, *, arrow: bool = False) -> str:
    """Return a metric's name as it is shown, with `arrow` also which way is better; an unknown name stays.

    name: in code ("average_drop"), or the title, symbol or short name of a
    :class:`cam_utils.evaluation.facts.Metric`, in small letters or capitals.

    >>> metric_name("energy_in_mask"), metric_name("average_drop", arrow=True), metric_name("AD", arrow=True)
    ('energy in mask', '%AD ↓', 'AD ↓')
    """
    metric = _KNOWN.get(name) or _KNOWN.get(name.lower())
    if metric is None:
        return name
    shown = (metric.symbol or metric.title) if facts.METRICS.get(name) is metric else name
    return f"{shown} {'↑' if metric.wanted > 0 else '↓'}" if arrow else shown
