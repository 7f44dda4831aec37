"""What is computed for the staged book: the explorer, and of finished runs their pages, results and claims."""

from collections.abc import Iterable
from pathlib import Path

import explorer
import nbformat
import yaml
from claims_page import claims_part
from explorer_page import explorer_part
from results_page import results_part
from run_pages import add_to_toc, page_of, run_page

from cam_utils import claims
from cam_utils.runs import Run

# The line of book/results.md and book/claims.md that the generated part replaces.
PLACEHOLDER = "*The numbers of the runs are filled in here when the book is built (`make book`).*"

EXPLORER = "*The explorer is filled in here when the book is built (`make book`).*"  # of book/explorer.md


def stage(source: Path, runs: Iterable[Run]) -> None:
    """Write into the staged book `source` its explorer and what the runs add.

    Raises ValueError if a page has no line to be replaced or a run's chapter is not in the contents,
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
    shown = explorer.explore()
    fill(source / "book" / "explorer.md", explorer_part(shown), EXPLORER)
    (source / "assets" / "explorer-data.js").write_text(explorer.script(shown))
    explorer.picture(shown, source / "assets" / "explorer.jpg")


def fill(page: Path, text: str, placeholder: str = PLACEHOLDER) -> None:
    """Replace the line `placeholder` of the page by `text`; raises ValueError if it has none."""
    before, line, after = page.read_text().partition(f"{placeholder}\n")
    if not line:
        raise ValueError(f"{page} has no line that reads: {placeholder}")
    page.write_text(f"{before}{text}{after}")
