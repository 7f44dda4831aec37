"""Sphinx extension: captions of outputs. Tables are "Table n", a picture's alt text is its caption.

myst-nb makes a figure of every captioned output. Its label tells what it is: `tab-...` a table, `fig-...` a figure.
"""

from docutils import nodes
from sphinx.transforms import SphinxTransform


class TableOutput(nodes.figure):
    """A figure node whose label begins with `tab-`: Sphinx numbers it with the tables and refers to it as one."""


class Captions(SphinxTransform):
    """Turn figures of tables into TableOutput, and give a figure's pictures its caption as alt text."""

    default_priority = 600  # after myst-nb has made the figures, before Sphinx takes down labels (850)

    def apply(self, **_: object) -> None:
        """Change the document in place; an alt text that the author gave stays."""
        for figure in list(self.document.findall(nodes.figure)):
            caption = next(iter(figure.findall(nodes.caption)), None)
            for image in figure.findall(nodes.image):
                if not image.get("alt") and caption is not None:
                    image["alt"] = " ".join(caption.astext().split())
            if any(name.startswith("tab-") for name in figure["names"]):
                table = TableOutput("", *figure.children, **figure.attributes)
                table.source, table.line = figure.source, figure.line
                figure.replace_self(table)
                self.document.ids.update(dict.fromkeys(table["ids"], table))


def caption_of(node: TableOutput) -> str:
    """Return the text that a reference by title shows."""
    return next(iter(node.findall(nodes.caption))).astext()


def visit(translator, node: TableOutput) -> None:
    """Write the node as a figure."""
    translator.visit_figure(node)


def depart(translator, node: TableOutput) -> None:
    """End the figure."""
    translator.depart_figure(node)


def setup(app) -> dict:
    """Register the node with the counter of tables, and the transform."""
    app.add_enumerable_node(TableOutput, "table", caption_of, html=(visit, depart))
    app.add_transform(Captions)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
