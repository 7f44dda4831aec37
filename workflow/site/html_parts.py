"""Pieces of HTML that the pages of results share: a table, its frame, the form that filters rows.

All take values as they are and escape them; what is Markup stays, so that a cell may hold links and marks.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from markupsafe import Markup

from workflow.site import escape

# A cell that is a number, with its interval, its range over seeds, its unit or none of these.
NUMBER = re.compile(r"(?:[-\d\s.,%+()\[\]:×x/±e–]|\b(?:to|in range|points|seeds|undefined|m?s)\b)*")

FACT = "data-"  # begins what is a row's attribute and no column of it


def table(rows: Sequence[Mapping[str, object]], classes: str = "", *, cards: bool = False) -> Markup:
    """Return rows of the same columns as a table; raises IndexError without any row.

    Columns of numbers are named in the table's classes, see :func:`aligned`. With `cards` every cell says its
    column, so that assets/runs.css can set the cells of a row below each other where a screen is narrow. What
    begins with FACT is no column: assets/filter.js reads it.

    >>> print(table([{"a": "<", Markup("<b>b</b>"): Markup("<i>1</i>")}]))
    <table class="dataframe table r2">
    <thead><tr><th scope="col">a</th><th scope="col"><b>b</b></th></tr></thead>
    <tbody>
    <tr><td>&lt;</td><td><i>1</i></td></tr>
    </tbody>
    </table>
    """
    shown = [{name: cell for name, cell in row.items() if not name.startswith(FACT)} for row in rows]
    classes = " ".join(filter(None, [classes, aligned([list(row.values()) for row in shown])]))
    head = Markup().join(Markup('<th scope="col">{}</th>').format(escape.html(name)) for name in shown[0])
    body = Markup().join(
        Markup("<tr{}>{}</tr>\n").format(
            Markup().join(
                Markup(' {}="{}"').format(name, escape.html(fact))
                for name, fact in row.items()
                if name.startswith(FACT)
            ),
            Markup().join(_cell(name, cell, cards) for name, cell in line.items()),
        )
        for row, line in zip(rows, shown, strict=True)
    )
    return Markup(
        '<table class="dataframe table {}">\n<thead><tr>{}</tr></thead>\n<tbody>\n{}</tbody>\n</table>'
    ).format(classes, head, body)


def _cell(name: object, cell: object, labelled: bool) -> Markup:
    label = Markup(' data-label="{}"').format(escape.html(name)) if labelled else ""
    return Markup("<td{}>{}</td>").format(label, cell if isinstance(cell, Markup) else unbroken(cell))


def unbroken(text: object) -> Markup:
    """Return a text as HTML in which a line may end before an interval and not within.

    >>> print(unbroken("+1.2 [+0.3, +2.1] points"))
    +1.2 <span class="n">[+0.3, +2.1]</span> points
    """
    interval = r"(\[[-+\d.,% ]+\])"
    return Markup(re.sub(interval, r'<span class="n">\1</span>', str(escape.html(text))))


def aligned(rows: Sequence[Sequence[object]]) -> str:
    """Return the classes that align columns of numbers to the right, with their headers: r2 for the second.

    >>> aligned([["CAM", "+3.2 [+2.9, +3.5]", "12"], ["D-MinMax", Markup("<b>1.0</b>"), "one"]])
    'r2'
    """
    columns = [[re.sub("<[^>]*>", " ", str(cell)) for cell in column] for column in zip(*rows, strict=True)]
    return " ".join(
        f"r{place}"
        for place, cells in enumerate(columns, 1)
        if all(map(NUMBER.fullmatch, cells)) and any(map(str.isdigit, "".join(cells)))
    )


def frame(inner: Markup, label: str, **facts: str) -> Markup:
    """Return `inner` in a frame that scrolls sideways, by keyboard too; `facts` hold for all of its rows."""
    data = Markup().join(Markup(' data-{}="{}"').format(name, escape.html(value)) for name, value in facts.items())
    return Markup('<div class="rows" tabindex="0" role="region" aria-label="{}"{}>\n{}\n</div>').format(
        escape.html(label), data, inner
    )


def folded(label: str, inner: Markup) -> Markup:
    """Return `inner` behind a line that opens it.

    >>> print(folded("a < b", Markup("<p>c</p>")))
    <details><summary>a &lt; b</summary>
    <p>c</p>
    </details>
    """
    return Markup("<details><summary>{}</summary>\n{}\n</details>").format(escape.html(label), inner)


def filters(choices: Mapping[str, Iterable[str]]) -> Markup:
    """Return the form {column: its values}; it is hidden until assets/filter.js makes it work."""
    fields = Markup()
    for name, values in choices.items():
        options = Markup().join(Markup("<option>{}</option>").format(escape.html(value)) for value in values)
        fields += Markup(
            '<label>{0} <select name="{0}"><option value="">all</option>{1}</select></label>\n'
        ).format(escape.html(name), options)
    return Markup(
        '<form class="row-filter" hidden aria-label="Filter the rows">\n{}'
        '<button type="reset">Show all</button>\n<output aria-live="polite"></output>\n</form>'
    ).format(fields)


def raw(text: Markup) -> str:
    """Return HTML as a block of MyST."""
    return escape.fenced("{raw} html", text) + "\n"
