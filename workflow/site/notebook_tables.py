"""The tables in a notebook's outputs as the site shows them: readers' names, and numbers below their headers."""

import html
import re

import nbformat

from cam_utils.evaluation import display
from workflow.site.html_parts import aligned

TABLE = re.compile(r'(<table [^>]*class="dataframe)("[^>]*>)(.*?</table>)', re.S)
ROW = re.compile(r"<tr[^>]*>(.*?)</tr>", re.S)
CELL = re.compile(r"(<(t[hd])[^>]*>)([^<]*)(?=</t[hd]>)")


def make_readable(page: nbformat.NotebookNode) -> None:
    """Change the tables of pandas in the notebook's outputs, in place."""
    for cell in page.cells:
        for output in cell.get("outputs", ()):
            if text := output.get("data", {}).get("text/html"):
                output["data"]["text/html"] = TABLE.sub(_table, text)


def _table(found: re.Match) -> str:
    """Return a table with the names that are shown, and classes that say which columns are numbers.

    >>> print(TABLE.sub(_table, '<table class="dataframe"><tr><th>cam</th><td>1</td></tr></table>'))
    <table class="dataframe aligned r2"><tr><th>CAM</th><td>1</td></tr></table>
    """
    body = CELL.sub(_named, found[3])
    rows = [[cell[2] for cell in CELL.findall(row)] for row in ROW.findall(body.rpartition("</thead>")[2])]
    regular = "rowspan" not in body and "colspan" not in body and len({len(row) for row in rows}) == 1
    classes = f" aligned {aligned(rows)}".rstrip() if regular else ""
    return f"{found[1]}{classes}{found[2]}{body}"


def _named(cell: re.Match) -> str:
    name = html.unescape(cell[3]).strip()
    shown = display.metric_name(display.method_name(name), arrow=cell[2] == "th")
    return cell[1] + (html.escape(shown, quote=False) if shown != name else cell[3])
