"""The explorer as HTML: a form that assets/explorer.js brings to life, and the table that it reads numbers from."""

import pandas as pd

from cam_utils.evaluation import facts
from cam_utils.evaluation.bootstrap import UNDEFINED
from cam_utils.evaluation.facts import Metric
from cam_utils.evaluation.results import PAPER_METHODS
from workflow.site import html_parts
from workflow.site.explorer import Explored, labels_of

# heading -> columns of the pairs table; a probability is neither good nor bad
METRICS: dict[str, dict[str, Metric]] = {
    "Probability of the label": {
        "p": Metric("whole image", "scores-under-a-mask", 0),
        "p_masked": Metric("map kept", "scores-under-a-mask", 0),
        "p_complement": Metric("map cut out", "scores-under-a-mask", 0),
    },
    "Scores under the mask": {name: facts.METRICS[name] for name in facts.SCORE_METRICS},
    "Pixel truth": {name: facts.METRICS[name] for name in facts.PIXEL_METRICS if "box" not in name},
}
WANTED = {1: ("high", "↑"), -1: ("low", "↓"), 0: ("", "")}
DEFAULTS = {"left": "cam", "right": "minmax-cam"}
VIEWS = {"overlay": "map over the image", "kept": "map kept", "cut": "map cut out"}


def explorer_part(found: Explored, folder: str = "../_static") -> str:
    """Return the generated part of the explorer's page, as MyST; its scripts and styles lie in `folder`."""
    off = (
        '<div class="explorer-off"><p>The explorer needs JavaScript. The table "All numbers" below holds '
        "everything that it shows but the pictures.</p>\n"
        f'<noscript><img src="{folder}/explorer.jpg" alt="Scene {found.batch.ids[0]}: the maps of all its labels '
        'by every method, with the outlines of the objects"></noscript></div>'
    )
    scripts = "\n".join(f'<script src="{folder}/{name}.js"></script>' for name in ("explorer-data", "explorer"))
    form = "\n".join(
        [
            '<form class="explorer" hidden aria-label="Explorer" autocomplete="off">',
            _scenes(found),
            _labels(found),
            '<div class="beside"><div>',
            f'<div class="sides">\n{_side("left", found)}\n{_side("right", found)}\n</div>',
            f'{_views()}\n<p class="summary" aria-live="polite"></p></div>',
            f"{_comparison()}</div>",
            "</form>",
        ]
    )
    numbers = html_parts.frame(html_parts.table(table(found), "numbers"), "All numbers of the explorer")
    return (
        html_parts.raw(f'<link rel="stylesheet" href="{folder}/explorer.css">\n{off}\n{form}')
        + "\n"
        + html_parts.raw(f'<details class="explorer-numbers"><summary>All numbers</summary>\n{numbers}\n</details>')
        + "\n"
        + html_parts.raw(scripts)
        + f"\n{_facts(found)}\n"
    )


def table(found: Explored) -> pd.DataFrame:
    """Return one row per (scene, label, head, method), every number as the reader sees it."""
    rows = found.table
    shown = {
        "scene": rows["image"],
        "label": rows["class"],
        "head": rows["head"],
        "method": rows["method"].map(lambda method: PAPER_METHODS.get(method, method)),
    }
    for column, metric in (each for group in METRICS.values() for each in group.items()):
        name = metric.short if metric.wanted else f"p, {metric.title}"
        shown[name] = rows[column].map(lambda value, column=column: text(value, column))
    return pd.DataFrame(shown).sort_values(["scene", "label"], kind="stable")


def text(value: float, column: str) -> str:
    """Return a value of the pairs table as the reader sees it: percent, yes or no, or undefined.

    >>> text(0.1234, "average_drop"), text(1.0, "increase_in_confidence"), text(float("nan"), "iou_0.3")
    ('12.3%', 'yes', 'undefined')
    """
    if pd.isna(value):
        return UNDEFINED
    return ("yes" if value else "no") if column == "increase_in_confidence" else f"{100 * value:.1f}%"


def _scenes(found: Explored) -> str:
    groups = []
    for heading, scenes in found.groups.items():
        choices = []
        for scene in scenes:
            name = found.batch.ids[scene]
            labels = ", ".join(found.classes[label] for label in labels_of(found, scene))
            choices.append(
                f'<label><input type="radio" name="image" value="{name}">'
                f'<img class="dark-light" alt="Scene {name}, labels {labels}" width="64" height="64">'
                f'<span aria-hidden="true">{labels}</span></label>'
            )
        groups.append(f'<div><p>{heading}</p><div class="strip">{"".join(choices)}</div></div>')
    return f'<fieldset class="scenes"><legend>Image</legend>\n{chr(10).join(groups)}\n</fieldset>'


def _labels(found: Explored) -> str:
    choices = "".join(
        f'<label hidden><input type="radio" name="label" value="{name}" disabled><span>{name}</span></label>'
        for name in found.classes
    )
    return f'<fieldset class="chips"><legend>Label to explain</legend>{choices}</fieldset>'


def _side(side: str, found: Explored) -> str:
    """Return one side: its method, the head of its network, and its picture."""
    methods = "".join(_option(m, PAPER_METHODS.get(m, m), m == DEFAULTS[side]) for m in found.methods)
    heads = "".join(_option(head, head, False) for head in found.masks)
    size = found.batch.images.shape[-1]
    canvas = f'<canvas role="img" data-side="{side}" width="{size}" height="{size}"></canvas>'
    outline = f'<svg viewBox="0 0 {size} {size}" aria-hidden="true"><path/><path/></svg>'
    return (
        f'<fieldset class="side"><legend>{side.title()}</legend>\n'
        f'<label><span>Method</span> <select name="{side}">{methods}</select></label>\n'
        f'<label><span>Head</span> <select name="{side}-head">{heads}</select></label>\n'
        f'<div class="picture">{canvas}{outline}</div></fieldset>'
    )


def _option(value: str, words: str, selected: bool) -> str:
    return f'<option value="{value}"{" selected" if selected else ""}>{words}</option>'


def _views() -> str:
    views = "".join(
        f'<label><input type="radio" name="view" value="{name}"{" checked" if name == "overlay" else ""}>'
        f"<span>{words}</span></label>"
        for name, words in VIEWS.items()
    )
    return f"""<div class="controls">
<button type="button" class="swap">Swap left and right</button>
<fieldset class="chips"><legend>Show</legend>{views}</fieldset>
<label class="slider"><span>Opacity of the map</span>
<input type="range" name="opacity" min="0" max="100" step="5" value="60"> <output></output></label>
<label class="tick"><input type="checkbox" name="outline" checked>
<span>Outline of the annotated object</span></label>
<p class="scale"><span>map: 0</span> <span class="bar" role="img" aria-label="from dark to bright"></span>
<span>1</span></p>
</div>"""


def _comparison() -> str:
    """Return the empty comparison; data-column is the place of a row's numbers in `table`."""
    column, bodies = 3, ""
    for heading, group in METRICS.items():
        bodies += f'<tbody><tr><th colspan="3" scope="rowgroup">{heading}</th></tr>\n'
        for metric in group.values():
            column += 1
            wanted, mark = WANTED[metric.wanted]
            name = f'<a href="metrics.html#{metric.heading}">{metric.short}</a>'
            if mark:
                name += f'&nbsp;<span aria-hidden="true">{mark}</span>'
                name += f'<span class="visually-hidden">, {wanted} is better</span>'
            if metric.short != metric.title:
                name += f' <span class="words">{metric.title}</span>'
            bodies += (
                f'<tr data-column="{column}" data-wanted="{wanted}" data-name="{metric.short}">'
                f'<th scope="row">{name}</th><td></td><td></td></tr>\n'
            )
        bodies += "</tbody>\n"
    return (
        '<table class="comparison"><caption>↑ high is better, ↓ low is better, ✓ the better side</caption>\n'
        '<thead><tr><th scope="col">metric</th><th scope="col">left</th><th scope="col">right</th></tr></thead>\n'
        f"{bodies}</table>"
    )


def _facts(found: Explored) -> str:
    """Return the paragraph on which scenes these are, with the numbers of this build."""
    most, typical = found.groups.values()
    low, high = (100 * float(value) for value in (found.spreads[most].min(), found.spreads[most].max()))
    return (
        f"Of the chapter's {found.searched} validation scenes, {len(found.candidates)} hold two labels or more. "
        f'"Methods differ most" are {len(most)} of them with a spread of {low:.1f} to {high:.1f} points; '
        f'"Typical" are the {len(typical)} nearest to the median spread of '
        f"{100 * float(found.candidates.median()):.1f} points. What a spread is, and why these, is said below."
    )
