"""What the staged book gets when it is built: explorer, pages of runs, results, claims, citation, commands."""

from collections.abc import Iterable
from pathlib import Path

import nbformat
import yaml

from cam_utils import claims
from cam_utils.runs import Run
from workflow.site import explorer
from workflow.site.chapter_pages import add_command, with_buttons
from workflow.site.citation_page import citation_part
from workflow.site.claims_page import claims_part
from workflow.site.explorer_page import explorer_part
from workflow.site.results_page import results_part
from workflow.site.run_pages import add_to_toc, page_of, run_page
from workflow.site.speed_page import speed_part

# The line of book/results.md and book/claims.md that the generated part replaces.
PLACEHOLDER = "*The numbers of the runs are filled in here when the book is built (`make book`).*"
# The line of book/citation.md that is replaced.
CITATION = "*The citation is filled in here from CITATION.cff when the book is built (`make book`).*"
SPEED = "*The measurements are filled in here when the book is built (`make book`).*"  # of book/speed.md
EXPLORER = "*The explorer is filled in here when the book is built (`make book`).*"  # of book/explorer.md


def stage(source: Path, runs: Iterable[Run]) -> None:
    """Write into the staged book `source` its explorer, and what the runs, the settings and the chapters add to it.

    Raises ValueError if a page lacks a line to be replaced, a chapter its title, or the contents a run's chapter,
    and for settings that :func:`with_buttons` refuses; FileNotFoundError for a run without its notebook.
    """
    runs = list(runs)
    config = source / "_config.yml"
    settings = with_buttons(yaml.safe_load(config.read_text()))
    config.write_text(yaml.safe_dump(settings, sort_keys=False))
    for path in sorted((source / "notebooks").glob("*.ipynb")):
        chapter = nbformat.read(path, 4)
        add_command(chapter, path.stem, settings.get("repository", {}).get("url", ""))
        nbformat.write(chapter, path)
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
    fill(source / "book" / "citation.md", citation_part(source / "CITATION.cff"), CITATION)
    fill(source / "book" / "speed.md", speed_part(source), SPEED)
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
