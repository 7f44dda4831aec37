"""Pieces of HTML that the pages of results share: a table, its frame, the form that filters rows."""

import html
import re
from collections.abc import Iterable, Mapping

import pandas as pd

escape = html.escape


def table(rows: pd.DataFrame, classes: str = "") -> str:
    """Return the table; its cells are HTML already, so that a cell may hold links and marks."""
    with pd.option_context("display.max_colwidth", None):
        text = rows.to_html(
            index=False, escape=False, border=0, classes=f"table {classes}", na_rep="", justify="unset"
        )
    text = re.sub(r"\n\s*", "", text).replace(' style="text-align: unset;"', "").replace("<th>", '<th scope="col">')
    return text.replace("</tr>", "</tr>\n")


def frame(inner: str, label: str, **facts: str) -> str:
    """Return `inner` in a frame that scrolls sideways, by keyboard too; `facts` hold for all of its rows."""
    data = "".join(f' data-{name}="{escape(value)}"' for name, value in facts.items())
    return f'<div class="rows" tabindex="0" role="region" aria-label="{escape(label)}"{data}>\n{inner}\n</div>'


def filters(choices: Mapping[str, Iterable[str]]) -> str:
    """Return the form {column: its values}; it is hidden until assets/filter.js makes it work."""
    fields = ""
    for name, values in choices.items():
        options = "".join(f"<option>{escape(value)}</option>" for value in values)
        fields += f'<label>{escape(name)} <select name="{escape(name)}"><option value="">all</option>{options}'
        fields += "</select></label>\n"
    return (
        f'<form class="row-filter" hidden aria-label="Filter the rows">\n{fields}'
        '<button type="reset">Show all</button>\n<output aria-live="polite"></output>\n</form>'
    )


def raw(text: str) -> str:
    """Return HTML as a block of MyST."""
    return f"````{{raw}} html\n{text}\n````\n"
