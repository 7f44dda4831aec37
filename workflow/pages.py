"""What finished runs add to the staged book: their pages, the contents, the pages of results and of claims."""

from collections.abc import Iterable
from pathlib import Path

import nbformat
import yaml
from claims_page import claims_part
from results_page import results_part
from run_pages import add_to_toc, page_of, run_page

from cam_utils import claims
from cam_utils.runs import Run

# The line of book/results.md and book/claims.md that the generated part replaces.
PLACEHOLDER = "*The numbers of the runs are filled in here when the book is built (`make book`).*"


def stage(source: Path, runs: Iterable[Run]) -> None:
    """Write into the staged book `source` what the runs add to it.

    Raises ValueError if a page has no line PLACEHOLDER or a run's chapter is not in the contents,
    FileNotFoundError for a run without its notebook.
    """
    runs = list(runs)
    contents = source / "_toc.yml"
    contents.write_text(yaml.safe_dump(add_to_toc(yaml.safe_load(contents.read_text()), runs), sort_keys=False))
    for run in runs:
        if run.id != run.chapter:
            page = source / f"{page_of(run)}.ipynb"
            page.parent.mkdir(exist_ok=True)
            nbformat.write(run_page(run), page)
    ledger = claims.judge(runs)
    fill(source / "book" / "results.md", results_part(runs))
    fill(source / "book" / "claims.md", claims_part(ledger, runs))
    ledger.to_csv(source / "book" / "claims.csv", index=False)


def fill(page: Path, text: str) -> None:
    """Replace the line PLACEHOLDER of the page by `text`."""
    before, line, after = page.read_text().partition(f"{PLACEHOLDER}\n")
    if not line:
        raise ValueError(f"{page} has no line that reads: {PLACEHOLDER}")
    page.write_text(f"{before}{text}{after}")
