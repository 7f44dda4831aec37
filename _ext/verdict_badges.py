"""Sphinx extension: the role `verdict`, the badges of a claim where a chapter speaks of it.

{verdict}`C5 digits, VOC` reads "C5 digits ✓ holds VOC ✓ holds": the verdicts of the page of claims, and a link to
the claim's line there. {verdict}`C5` alone is the verdict on all data.
"""

from pathlib import Path

import pandas as pd
from docutils import nodes
from markupsafe import Markup
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

from cam_utils import claims
from workflow.site.verdicts import DATA, MARKS, claim_row, data_name, mark_text, outcome

PAGE = "book/claims"
LEDGER = f"{PAGE}.csv"  # in the staged book, written with the page of claims


def badges(ledger: pd.DataFrame, text: str) -> tuple[str, list[tuple[str, str]]]:
    """Return the claim that `text` names, and the verdict on each kind of data that it names.

    ledger: as :func:`cam_utils.claims.judge` returns it. text: an id, and after it names of data, commas between
    them, or none: then the verdict is that on all data. Raises ValueError for a claim or data that the book does
    not know.

    >>> rows = pd.DataFrame({"claim": ["C5", "C5"], "dataset": ["digits", "msrc"], "runs": "a"})
    >>> badges(rows.assign(verdict=["holds", "fails"]), "C5 MSRC, digits")
    ('C5', [('MSRC', 'fails'), ('digits', 'holds')])
    """
    claim, _, named = text.strip().partition(" ")
    if claim not in claims.CLAIMS:
        raise ValueError(f"expected the id of a claim such as C5, got {claim!r}")
    kinds = [data_name(name.strip()) for name in named.split(",")] if named else [None]
    if unknown := sorted({*kinds} - {*DATA.values(), None}):
        raise ValueError(f"expected kinds of data ({', '.join(dict.fromkeys(DATA.values()))}), got {unknown}")
    return claim, [(kind or "", outcome(ledger, claim, kind)) for kind in kinds]


class VerdictRole(SphinxRole):
    """The role; what it does not know is a warning, which is fatal where the book is built."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return a link to the claim and its badges."""
        try:
            claim, found = badges(ledger(Path(self.env.srcdir) / LEDGER), self.text)
        except (ValueError, FileNotFoundError) as fault:
            logging.getLogger(__name__).warning("verdict: %s", fault, location=self.get_location())
            return [nodes.literal("", self.text)], []
        address = f"{self.env.app.builder.get_relative_uri(self.env.docname, PAGE)}#{claim_row(claim)}"
        shown = nodes.inline("", "", classes=["verdict"])
        shown += nodes.raw("", link(claim, address), format="html")
        for kind, verdict in found:
            badge = nodes.inline("", mark_text(verdict), classes=["diff", MARKS[verdict].colour])
            shown += [nodes.Text(" "), nodes.inline("", f"{kind} ".lstrip(), badge, classes=["of-kind"])]
        return [shown], []


def link(claim: str, address: str) -> Markup:
    """Return a link of HTML whose text is the claim's id.

    The pointer and a screen reader have its words at the link. A finger follows the link to them.
    """
    words = claims.CLAIMS[claim].statement
    return Markup('<a class="reference internal" href="{}" title="{}" aria-label="{}: {}">{}</a>').format(
        address, words, claim, words, claim
    )


def ledger(file: Path) -> pd.DataFrame:
    """Return the staged book's ledger; its empty cells stay empty."""
    return pd.read_csv(file, dtype=str, keep_default_na=False)


def setup(app) -> dict:
    """Register the role."""
    app.add_role("verdict", VerdictRole())
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
