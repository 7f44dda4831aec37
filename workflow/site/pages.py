"""What the staged book gets when it is built: explorer, pages of runs, results, claims, citation, commands."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import nbformat
import yaml

from cam_utils import claims
from cam_utils.runs import Run
from workflow.site import explorer, photograph_runs, photographs_page
from workflow.site.chapter_pages import add_command, with_buttons
from workflow.site.citation_page import citation_part
from workflow.site.claims_page import claims_part
from workflow.site.contents import pages_of
from workflow.site.explorer_page import explorer_part
from workflow.site.networks_page import networks_part
from workflow.site.photographs_summary import summary_part
from workflow.site.results_page import results_part
from workflow.site.run_pages import add_to_toc, page_of, run_page
from workflow.site.speed_page import speed_part

# The line of a page that its generated part replaces.
PLACEHOLDER = re.compile(r"^\*The .* filled in here .*when the book is built \(`make book`\)\.\*\n", re.M)


def stage(source: Path, runs: Iterable[Run], left_out: Sequence[str] = ()) -> None:
    """Write into the staged book `source` its explorer, and what the runs, the settings and the chapters add to it.

    `left_out` are sentences on runs that are not among `runs`, for the page of results.

    Raises ValueError if a page lacks the line to be replaced, a chapter its title, or the contents a run's chapter,
    and for settings that :func:`with_buttons` refuses; FileNotFoundError for a run without its notebook.
    """
    runs = list(runs)
    settings = with_buttons(_read(source / "_config.yml"))
    _write(source / "_config.yml", settings)
    for path in sorted((source / "notebooks").glob("*.ipynb")):
        chapter = nbformat.read(path, 4)
        add_command(chapter, path.stem, settings.get("repository", {}).get("url", ""))
        nbformat.write(chapter, path)
    contents = add_to_toc(_read(source / "_toc.yml"), runs)
    _write(source / "_toc.yml", contents)
    for run in runs:
        page = source / page_of(run)
        page.parent.mkdir(exist_ok=True)
        if photograph_runs.is_one(run):
            page.with_name(f"{page.name}.md").write_text(photographs_page.page(run, page.parent))
        elif run.id != run.chapter:
            nbformat.write(run_page(run), page.with_name(f"{page.name}.ipynb"))
    for name in sorted({*GENERATED} & {*pages_of(contents)}):  # what is not listed is not built
        fill(source / f"{name}.md", GENERATED[name](source, runs, left_out))


def fill(page: Path, text: str) -> None:
    """Replace the line of the page that its generated part replaces; raises ValueError if it has none."""
    filled, count = PLACEHOLDER.subn(lambda _: text, page.read_text(), count=1)
    if not count:
        raise ValueError(f"{page} has no line that reads: *The ... filled in here when the book is built ...*")
    page.write_text(filled)


def _read(file: Path) -> dict:
    return yaml.safe_load(file.read_text())


def _write(file: Path, content: dict) -> None:
    file.write_text(yaml.safe_dump(content, sort_keys=False))


def _claims(source: Path, runs: Sequence[Run], left_out: Sequence[str]) -> str:
    ledger = claims.judge(runs)
    ledger.to_csv(source / "book" / "claims.csv", index=False)
    return claims_part(ledger, runs)


def _explorer(source: Path, runs: Sequence[Run], left_out: Sequence[str]) -> str:
    shown = explorer.explore()
    (source / "assets" / "explorer-data.js").write_text(explorer.script(shown))
    explorer.picture(shown, source / "assets" / "explorer.jpg")
    return explorer_part(shown)


# page -> its generated part, which may leave files in the staged book
GENERATED: dict[str, Callable[[Path, Sequence[Run], Sequence[str]], str]] = {
    "book/results": lambda source, runs, left_out: results_part(runs, left_out),
    "book/claims": _claims,
    "book/citation": lambda source, runs, left_out: citation_part(source / "CITATION.cff"),
    "book/speed": lambda source, runs, left_out: speed_part(source),
    "book/networks": lambda source, runs, left_out: networks_part(source),
    photograph_runs.PAGE: lambda source, runs, left_out: summary_part(source, runs),
    "book/explorer": _explorer,
}
