"""The explorer as HTML: a form that assets/explorer.js brings to life, and the table that it reads numbers from."""

from collections.abc import Iterable, Sequence

import pandas as pd
from markupsafe import Markup

from cam_utils.evaluation import facts
from cam_utils.evaluation.bootstrap import UNDEFINED
from cam_utils.evaluation.display import method_name
from cam_utils.evaluation.facts import Metric
from workflow.site import escape, html_parts
from workflow.site.explorer import Explored, labels_of
from workflow.site.explorer_photographs import HEADINGS, HEADS, Photograph
from workflow.site.explorer_script import title
from workflow.site.landing_picture import OBJECTS, PHOTO

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
LABEL = next(iter(OBJECTS))  # that the page opens on, where the image has it
DEFAULTS = {"left": "cam", "right": "minmax-cam"}
VIEWS = {"overlay": "map over the image", "kept": "map kept", "cut": "map cut out"}


def explorer_part(found: Explored, folder: str = "../_static") -> str:
    """Return the generated part of the explorer's page, as MyST; its scripts and styles lie in `folder`."""
    off = Markup(
        '<div class="explorer-off" id="maps"><p>The explorer needs JavaScript. The table "All numbers" below holds '
        "everything that it shows but the pictures.</p>\n"
        '<noscript><img src="{}/explorer.jpg" alt="Scene {}: the maps of all its labels '
        'by every method, with the outlines of the objects"></noscript></div>'
    ).format(folder, escape.html(found.batch.ids[0]))
    scripts = Markup("\n").join(
        Markup('<script src="{}/{}.js"></script>').format(folder, name) for name in ("explorer-data", "explorer")
    )
    form = Markup(
        '<form class="explorer" hidden aria-label="Explorer" autocomplete="off" data-first="{}" data-label="{}">\n'
        '{}\n{}\n'
        '<div class="beside"><div>\n<div class="sides">\n{}\n{}\n</div>\n'
        '{}\n<p class="summary" aria-live="polite"></p>{}</div>\n{}</div>\n</form>'
    ).format(
        _first(found), LABEL, _scenes(found), _labels(found), *(_side(side, found) for side in DEFAULTS), _views(),
        _credits(found), _comparison(),
    )  # fmt: skip
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
    """Return one row per (image, label, head, method), every number as the reader sees it."""
    rows = found.table.assign(scene=found.table["image"])
    photographs = [each.table.assign(scene=title(each), head=HEADS[each.network]) for each in found.photographs]
    rows = pd.concat([rows.sort_values(["scene", "class"], kind="stable"), *photographs], ignore_index=True)
    shown = {name: rows[column] for name, column in {"image": "scene", "label": "class", "head": "head"}.items()}
    shown["method"] = rows["method"].map(method_name)
    for column, metric in (each for group in METRICS.values() for each in group.items()):
        name = metric.short if metric.wanted else f"p, {metric.title}"
        shown[name] = rows[column].map(lambda value, column=column: text(value, column))
    return pd.DataFrame(shown)


def text(value: float, column: str) -> str:
    """Return a value of the pairs table as the reader sees it: percent, yes or no, or undefined.

    >>> text(0.1234, "average_drop"), text(1.0, "increase_in_confidence"), text(float("nan"), "iou_0.3")
    ('12.3%', 'yes', 'undefined')
    """
    if pd.isna(value):
        return UNDEFINED
    return ("yes" if value else "no") if column == "increase_in_confidence" else f"{100 * value:.1f}%"


def _scenes(found: Explored) -> Markup:
    groups = {}
    for network, heading in HEADINGS.items():
        choices = Markup().join(_photograph(each) for each in found.photographs if each.network == network)
        groups |= {heading: ("strip photographs", choices)} if choices else {}
    for heading, scenes in found.groups.items():
        groups[heading] = ("strip", Markup().join(_scene(found, scene) for scene in scenes))
    parts = Markup("\n").join(
        Markup('<div><p>{}</p><div class="{}">{}</div></div>').format(escape.html(heading), classes, choices)
        for heading, (classes, choices) in groups.items()
    )
    return Markup('<fieldset class="scenes"><legend>Image</legend>\n{}\n</fieldset>').format(parts)


def _first(found: Explored) -> str:
    """Return the image that the page opens on: the first page's photograph, else a scene."""
    names = [each.name for each in found.photographs if each.number == int(PHOTO)]
    return escape.html(names[0] if names else found.batch.ids[0])


def _scene(found: Explored, scene: int) -> Markup:
    name = found.batch.ids[scene]
    labels = [found.classes[label] for label in labels_of(found, scene)]
    return _choice(name, f"Scene {name}", labels, (64, 64))


def _photograph(photograph: Photograph) -> Markup:
    return _choice(photograph.name, title(photograph).capitalize(), photograph.labels, (96, 72))


def _choice(value: str, words: str, labels: Iterable[str], size: tuple[int, int]) -> Markup:
    return Markup(
        '<label><input type="radio" name="image" value="{0}">'
        '<img class="dark-light" alt="{1}, labels {2}" width="{3}" height="{4}">'
        '<span aria-hidden="true">{2}</span></label>'
    ).format(escape.html(value), escape.html(words), escape.html(", ".join(labels)), *size)


def _labels(found: Explored) -> Markup:
    choice = Markup('<label hidden><input type="radio" name="label" value="{0}" disabled><span>{0}</span></label>')
    names = dict.fromkeys([*found.classes, *(label for each in found.photographs for label in each.labels)])
    choices = Markup().join(choice.format(escape.html(name)) for name in names)
    return Markup('<fieldset class="chips"><legend>Label to explain</legend>{}</fieldset>').format(choices)


def _credits(found: Explored) -> Markup:
    """Return who the photographs are of, a line for each, of which the script shows one."""
    line = Markup(
        '<p class="credit" data-image="{}" hidden>{}: {}, id {}, <a href="{}">{}</a>{}; reduced. Outlines: COCO '
        'Consortium, CC BY 4.0. <a href="photos.html">All credits</a></p>\n'
    )
    original = Markup(', <a href="{}">original</a>')
    return Markup().join(
        line.format(
            each.name, title(each).capitalize(), credit["source"], credit["coco_id"], credit["licence_url"],
            credit["licence"], original.format(credit["original"]) if credit["original"] else "",
        )
        for each in found.photographs
        for credit in [each.credit]
    )  # fmt: skip


def _side(side: str, found: Explored) -> Markup:
    """Return one side: its method, the head of its network, and its picture."""
    methods = dict.fromkeys([*found.methods, *(name for each in found.photographs for name in each.methods)])
    heads = dict.fromkeys([*found.masks, *(HEADS[each.network] for each in found.photographs)])
    return Markup(
        '<fieldset class="side"><legend>{title}</legend>\n'
        '<label><span>Method</span> <select name="{side}" data-first="{first}">{methods}</select></label>\n'
        '<label><span>Head</span> <select name="{side}-head">{heads}</select></label>\n'
        '<div class="picture"><canvas role="img" data-side="{side}" width="{size}" height="{size}"></canvas>'
        '<svg aria-hidden="true"><path/><path/></svg></div></fieldset>'
    ).format(
        title=side.title(),
        side=side,
        first=DEFAULTS[side],
        methods=Markup().join(_option(name, method_name(name)) for name in methods),
        heads=Markup().join(_option(head, head) for head in heads),
        size=found.batch.images.shape[-1],
    )


def _option(value: str, words: str) -> Markup:
    return Markup('<option value="{}">{}</option>').format(escape.html(value), escape.html(words))


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
        f"{_on_photographs(found.photographs)}"
    )


def _on_photographs(photographs: Sequence[Photograph]) -> str:
    """Return the paragraph on which photographs these are, and which of them SS-CAM explains."""
    if not photographs:
        return ""
    counts = [sum(each.network == network for each in photographs) for network in HEADINGS]
    smoothed = [str(each.number) for each in photographs if any("ss-cam" in name for name in each.methods)]
    return (
        f"\n\nOf the project's photographs, {counts[0]} show two things or more of which ImageNet has a label, and "
        f"{counts[1]} two or more whose label the VOC head has learnt. SS-CAM is there for "
        f"{_listed('photograph', smoothed)} with ImageNet's labels."
    )


def _listed(noun: str, names: Sequence[str]) -> str:
    """Return the names behind their noun.

    >>> _listed("photograph", ["1"]), _listed("photograph", ["1", "2"])
    ('photograph 1', 'photographs 1 and 2')
    """
    return f"{noun}{'s' * (len(names) > 1)} {' and '.join(names) if names else 'none'}"
