"""The explorer as HTML: a form that assets/explorer.js brings to life, and the table that it reads numbers from."""

import pandas as pd
from markupsafe import Markup

from cam_utils.evaluation import facts
from cam_utils.evaluation.bootstrap import UNDEFINED
from cam_utils.evaluation.facts import Metric
from cam_utils.evaluation.results import PAPER_METHODS
from workflow.site import escape, html_parts
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
    off = Markup(
        '<div class="explorer-off"><p>The explorer needs JavaScript. The table "All numbers" below holds '
        "everything that it shows but the pictures.</p>\n"
        '<noscript><img src="{}/explorer.jpg" alt="Scene {}: the maps of all its labels '
        'by every method, with the outlines of the objects"></noscript></div>'
    ).format(folder, escape.html(found.batch.ids[0]))
    scripts = Markup("\n").join(
        Markup('<script src="{}/{}.js"></script>').format(folder, name) for name in ("explorer-data", "explorer")
    )
    form = Markup(
        '<form class="explorer" hidden aria-label="Explorer" autocomplete="off">\n{}\n{}\n'
        '<div class="beside"><div>\n<div class="sides">\n{}\n{}\n</div>\n'
        '{}\n<p class="summary" aria-live="polite"></p></div>\n{}</div>\n</form>'
    ).format(_scenes(found), _labels(found), _side("left", found), _side("right", found), _views(), _comparison())
    style = Markup('<link rel="stylesheet" href="{}/explorer.css">').format(folder)
    numbers = html_parts.table(table(found).to_dict("records"), "numbers")
    details = Markup('<details class="explorer-numbers"><summary>All numbers</summary>\n{}\n</details>')
    parts = [
        Markup("\n").join([style, off, form]),
        details.format(html_parts.frame(numbers, "All numbers of the explorer")),
        scripts,
    ]
    return "\n".join([*map(html_parts.raw, parts), _facts(found)]) + "\n"


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


def _scenes(found: Explored) -> Markup:
    groups = Markup("\n").join(
        Markup('<div><p>{}</p><div class="strip">{}</div></div>').format(
            escape.html(heading), Markup().join(_scene(found, scene) for scene in scenes)
        )
        for heading, scenes in found.groups.items()
    )
    return Markup('<fieldset class="scenes"><legend>Image</legend>\n{}\n</fieldset>').format(groups)


def _scene(found: Explored, scene: int) -> Markup:
    labels = escape.html(", ".join(found.classes[label] for label in labels_of(found, scene)))
    return Markup(
        '<label><input type="radio" name="image" value="{0}">'
        '<img class="dark-light" alt="Scene {0}, labels {1}" width="64" height="64">'
        '<span aria-hidden="true">{1}</span></label>'
    ).format(escape.html(found.batch.ids[scene]), labels)


def _labels(found: Explored) -> Markup:
    choice = Markup('<label hidden><input type="radio" name="label" value="{0}" disabled><span>{0}</span></label>')
    choices = Markup().join(choice.format(escape.html(name)) for name in found.classes)
    return Markup('<fieldset class="chips"><legend>Label to explain</legend>{}</fieldset>').format(choices)


def _side(side: str, found: Explored) -> Markup:
    """Return one side: its method, the head of its network, and its picture."""
    methods = Markup().join(
        _option(m, PAPER_METHODS.get(m, m), " selected" if m == DEFAULTS[side] else "") for m in found.methods
    )
    return Markup(
        '<fieldset class="side"><legend>{title}</legend>\n'
        '<label><span>Method</span> <select name="{side}">{methods}</select></label>\n'
        '<label><span>Head</span> <select name="{side}-head">{heads}</select></label>\n'
        '<div class="picture"><canvas role="img" data-side="{side}" width="{size}" height="{size}"></canvas>'
        '<svg viewBox="0 0 {size} {size}" aria-hidden="true"><path/><path/></svg></div></fieldset>'
    ).format(
        title=side.title(),
        side=side,
        methods=methods,
        heads=Markup().join(_option(head, head) for head in found.masks),
        size=found.batch.images.shape[-1],
    )


def _option(value: str, words: str, selected: str = "") -> Markup:
    return Markup('<option value="{}"{}>{}</option>').format(escape.html(value), selected, escape.html(words))


def _views() -> Markup:
    views = Markup().join(
        Markup('<label><input type="radio" name="view" value="{}"{}><span>{}</span></label>').format(
            name, " checked" if name == "overlay" else "", words
        )
        for name, words in VIEWS.items()
    )
    return Markup("""<div class="controls">
<button type="button" class="swap">Swap left and right</button>
<fieldset class="chips"><legend>Show</legend>{}</fieldset>
<label class="slider"><span>Opacity of the map</span>
<input type="range" name="opacity" min="0" max="100" step="5" value="60"> <output></output></label>
<label class="tick"><input type="checkbox" name="outline" checked>
<span>Outline of the annotated object</span></label>
<p class="scale"><span>map: 0</span> <span class="bar" role="img" aria-label="from dark to bright"></span>
<span>1</span></p>
</div>""").format(views)


def _comparison() -> Markup:
    """Return the empty comparison; data-column is the place of a row's numbers in `table`."""
    column, bodies = 3, Markup()
    for heading, group in METRICS.items():
        bodies += Markup('<tbody><tr><th colspan="3" scope="rowgroup">{}</th></tr>\n').format(heading)
        for metric in group.values():
            column += 1
            wanted, mark = WANTED[metric.wanted]
            name = Markup('<a href="metrics.html#{}">{}</a>').format(metric.heading, metric.short)
            if mark:
                name += Markup(
                    '&nbsp;<span aria-hidden="true">{}</span><span class="visually-hidden">, {} is better</span>'
                ).format(mark, wanted)
            if metric.short != metric.title:
                name += Markup(' <span class="words">{}</span>').format(metric.title)
            bodies += Markup(
                '<tr data-column="{}" data-wanted="{}" data-name="{}">'
                '<th scope="row">{}</th><td></td><td></td></tr>\n'
            ).format(column, wanted, metric.short, name)
        bodies += Markup("</tbody>\n")
    return Markup(
        '<table class="comparison"><caption>↑ high is better, ↓ low is better, ✓ the better side</caption>\n'
        '<thead><tr><th scope="col">metric</th><th scope="col">left</th><th scope="col">right</th></tr></thead>\n'
        "{}</table>"
    ).format(bodies)


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
