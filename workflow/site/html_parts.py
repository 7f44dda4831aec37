"""Pieces of HTML that the pages of results share: a table, its frame, the form that filters rows.

All take values as they are and escape them; what is Markup stays, so that a cell may hold links and marks.
"""

from collections.abc import Iterable, Mapping, Sequence

from markupsafe import Markup

from workflow.site import escape


def table(rows: Sequence[Mapping[str, object]], classes: str = "") -> Markup:
    """Return rows of the same columns as a table; raises IndexError without any row.

    >>> print(table([{"a": "<", Markup("<b>b</b>"): Markup("<i>1</i>")}]))
    <table class="dataframe table ">
    <thead><tr><th scope="col">a</th><th scope="col"><b>b</b></th></tr></thead>
    <tbody>
    <tr><td>&lt;</td><td><i>1</i></td></tr>
    </tbody>
    </table>
    """
    head = Markup().join(Markup('<th scope="col">{}</th>').format(escape.html(name)) for name in rows[0])
    body = Markup().join(
        Markup("<tr>{}</tr>\n").format(
            Markup().join(Markup("<td>{}</td>").format(escape.html(cell)) for cell in row.values())
        )
        for row in rows
    )
    return Markup(
        '<table class="dataframe table {}">\n<thead><tr>{}</tr></thead>\n<tbody>\n{}</tbody>\n</table>'
    ).format(classes, head, body)


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
