"""Sphinx extension: values and titles are shown as the text that they are.

A span of the class `value` (workflow/site/escape.py writes them) keeps the quotes, dashes and backslashes that were
typed, which Sphinx would make typographic. The theme writes the titles of the page and of the book into every page
as they are, and the search page those of its index: a title that names a tag would become one, so they are escaped.
"""

import html
from pathlib import Path

from docutils import nodes
from sphinx.search import js_index
from sphinx.transforms import SphinxTransform


class Values(SphinxTransform):
    """Keep typography away from values."""

    default_priority = 740  # before Sphinx makes quotes typographic (750)

    def apply(self, **_: object) -> None:
        """Mark the spans in the document."""
        for node in self.document.findall(nodes.inline):
            if "value" in node["classes"]:
                node["support_smartquotes"] = False


def escape_titles(app, pagename, templatename, context, doctree) -> None:
    """Escape the two titles that the theme does not."""
    for name in {"pagetitle", "root_title"} & set(context):
        context[name] = html.escape(context[name])


def escape_index(app, exception) -> None:
    """Make the titles in searchindex.js, of pages and of all their sections, text that is escaped once."""
    file = Path(app.outdir) / "searchindex.js"
    if exception or not file.is_file():
        return
    index = js_index.loads(file.read_text(encoding="utf-8"))
    titles = [app.env.titles[page].astext() for page in index["docnames"]]
    index["titles"] = [html.escape(title, quote=False) for title in titles]
    index["alltitles"] = {html.escape(title, quote=False): places for title, places in index["alltitles"].items()}
    file.write_text(js_index.dumps(index), encoding="utf-8")


def setup(app) -> dict:
    """Register the transform and both steps, the first after the theme's own (501)."""
    app.add_transform(Values)
    app.connect("html-page-context", escape_titles, priority=900)
    app.connect("build-finished", escape_index)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
