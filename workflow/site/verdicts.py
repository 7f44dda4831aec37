"""Verdicts as every page shows them: a badge of a symbol and a word, whose colour comes third."""

from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd
from markupsafe import Markup

from cam_utils import claims
from cam_utils.claims import verdicts
from workflow.site import escape


class Mark(NamedTuple):
    """How a verdict reads: the class of assets/runs.css gives its colour."""

    symbol: str
    word: str
    colour: str


# In the order of the pages: what fails comes first.
MARKS = {
    "fails": Mark("✗", "fails", "down2"),
    "fails, in part undecided": Mark("✗", "fails in part", "down1"),
    "mixed": Mark("◐", "mixed", "mixed"),
    "undecided": Mark("≈", "undecided", "d0"),
    "holds, in part undecided": Mark("✓", "holds in part", "up1"),
    "holds": Mark("✓", "holds", "up2"),
    "not run": Mark("○", "not run", "none"),
    "not asked": Mark("–", "not asked", "none"),
}
SINGLE = ("holds", "fails", "undecided")  # of one test
DATA = {
    "digits": "digits",
    "voc2012": "VOC",
    "voc2007": "VOC",
    "msrc": "MSRC",
    "imagenet": "ImageNet",
    "coco2017": "COCO",
    "planet": "Planet",
}


def mark_text(verdict: str) -> str:
    """Return the verdict as it reads on the page.

    >>> mark_text("holds"), mark_text("fails, in part undecided")
    ('✓ holds', '✗ fails in part')
    """
    return f"{MARKS[verdict].symbol} {MARKS[verdict].word}"


def mark(verdict: str, count: int | None = None) -> Markup:
    """Return the verdict, a key of MARKS, as a badge of HTML, and how often.

    >>> print(mark("fails", 3))
    <span class="diff down2">✗ fails 3x</span>
    """
    times = "" if count is None or count == 1 else f" {count}x"
    return Markup('<span class="diff {}">{}</span>').format(MARKS[verdict].colour, mark_text(verdict) + times)


def counted(found: Iterable[str]) -> Markup | str:
    """Return the badges of all verdicts with how often each came; "-" of none."""
    counts = pd.Series(list(found), dtype=object).value_counts()
    return Markup(" ").join(mark(verdict, counts[verdict]) for verdict in MARKS if verdict in counts) or "-"


def paper_id(claim: str) -> str:
    """Return the paper's claim that a row is about: S1' is a control of ours beside S1.

    >>> paper_id("S1'"), paper_id("C5''")
    ('S1', 'C5')
    """
    return claim.rstrip("'")


def claim_page(claim: str) -> str:
    """Return the page with all tests of a claim, without its suffix.

    >>> claim_page("C5''")
    'book/claims_minmax_cam'
    """
    return f"book/claims_{claims.CLAIMS[paper_id(claim)].chapter}"


def claim_row(claim: str) -> str:
    """Return the id of a claim's line on the page of claims.

    >>> claim_row("C5")
    'row-c5'
    """
    return f"row-{claim.lower()}"


def claim_link(claim: str) -> Markup:
    """Return a link from a page of book/ to the tests of a claim; its text is the id."""
    address = f"{claim_page(claim).removeprefix('book/')}.html#claim-{paper_id(claim).lower()}"
    return Markup('<a href="{}">{}</a>').format(address, claim)


def outcome(rows: pd.DataFrame, claim: str, data: str | None = None) -> str:
    """Return the verdict on a claim, a key of MARKS: of all of its tests together, or of those on one kind of data.

    rows: of the ledger, :func:`cam_utils.claims.judge`; our controls beside the claim have no say. data: a value of
    DATA, or a data set's own name.

    >>> rows = pd.DataFrame({"claim": ["C1", "C1", "C1'"], "dataset": ["msrc", "voc2012", "msrc"]})
    >>> rows = rows.assign(verdict=["holds", "undecided", "fails"], runs="a")
    >>> outcome(rows, "C1"), outcome(rows, "C1", "MSRC"), outcome(rows, "C1", "digits")
    ('holds, in part undecided', 'holds', 'not asked')
    """
    own = rows[rows["claim"] == claim]
    if data is not None:
        own = own[(own["dataset"].map(data_name) == data) & (own["runs"] != "")]  # a paper's cells are no run
    tests = own.loc[own["verdict"] != "not run", "verdict"]
    if tests.empty:
        return "not run" if data is None else "not asked"
    return verdicts.together(tests)


def data_name(dataset: str) -> str:
    """Return the name under which data sets of one kind stand together."""
    return DATA.get(dataset, dataset)


def sentence(text: str) -> Markup:
    """Return a text that may break over lines; other cells may not."""
    return Markup('<span class="text">{}</span>').format(escape.html(text)) if text else Markup()
