"""What the staged book gets when it is built: explorer, pages of runs, results, claims, citation, commands."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat
import pandas as pd
import yaml

from cam_utils import claims
from cam_utils.runs import Run
from workflow.site import explorer, landing, photograph_runs, photographs_page, study_runs
from workflow.site.chapter_pages import add_command, with_buttons
from workflow.site.citation_page import addressed, citation_part
from workflow.site.claims_details import details_part
from workflow.site.claims_page import claims_part
from workflow.site.contents import pages_of
from workflow.site.explorer_page import explorer_part
from workflow.site.explorer_script import scripts
from workflow.site.faults_page import faults_part
from workflow.site.networks_page import networks_part
from workflow.site.notebook_tables import make_readable
from workflow.site.photographs_summary import summary_part
from workflow.site.rerun_page import costs_part, hours_part, parameters_part
from workflow.site.results_first import first_part
from workflow.site.results_page import results_part
from workflow.site.run_pages import add_to_toc, page_of, run_page
from workflow.site.speed_page import speed_part

# A line of a page that a generated part replaces.
PLACEHOLDER = re.compile(r"^\*The .* filled in here .*when the book is built \(`make book`\)\.\*\n", re.M)


@dataclass(frozen=True)
class Staged:
    """What pages are filled from: the staged book, its runs, and sentences on runs that are not among them."""

    source: Path
    runs: Sequence[Run]
    left_out: Sequence[str]

    @cached_property
    def ledger(self) -> pd.DataFrame:
        """What `claims.judge` says of the runs, once for all pages."""
        return claims.judge(self.runs)


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
        make_readable(chapter)
        nbformat.write(chapter, path)
    contents = add_to_toc(_read(source / "_toc.yml"), runs)
    _write(source / "_toc.yml", contents)
    for run in runs:
        page = source / page_of(run)
        page.parent.mkdir(exist_ok=True)
        if photograph_runs.is_one(run):
            page.with_name(f"{page.name}.md").write_text(photographs_page.page(run, page.parent))
        elif run.id != run.chapter and not study_runs.is_one(run):
            nbformat.write(run_page(run), page.with_name(f"{page.name}.ipynb"))
    staged = Staged(source, runs, left_out)
    for name in sorted({*GENERATED} & {*pages_of(contents)}):  # what is not listed is not built
        fill(source / f"{name}.md", *(part(staged) for part in GENERATED[name]))


def fill(page: Path, *texts: str) -> None:
    """Replace the lines of the page that its generated parts replace; raises ValueError if it has more or fewer."""
    given, line = page.read_text(), "*The ... filled in here when the book is built ...*"
    if (count := len(PLACEHOLDER.findall(given))) != len(texts):
        raise ValueError(f"expected {page} to have the line {line} {len(texts)} time(s), got {count}")
    parts = iter(texts)
    page.write_text(PLACEHOLDER.sub(lambda _: next(parts), given))


def _read(file: Path) -> dict:
    return yaml.safe_load(file.read_text())


def _write(file: Path, content: dict) -> None:
    file.write_text(yaml.safe_dump(content, sort_keys=False))


def _claims(book: Staged) -> str:
    book.ledger.to_csv(book.source / "book" / "claims.csv", index=False)
    return claims_part(book.ledger, book.runs)


def _citation(book: Staged) -> str:
    file, settings = book.source / "CITATION.cff", _read(book.source / "_config.yml")
    file.write_text(addressed(file.read_text(), (settings.get("repository") or {}).get("url", "")))
    return citation_part(file)


def _tests_of(chapter: str) -> Callable[[Staged], str]:
    return lambda book: details_part(chapter, book.ledger, book.runs)


def _explorer(book: Staged) -> str:
    shown = explorer.explore()
    for name, text in scripts(shown).items():
        (book.source / "assets" / name).write_text(text)
    explorer.picture(shown, book.source / "assets" / "explorer.jpg")
    return explorer_part(shown)


# page -> its generated parts, in the order of their lines; they may leave files in the staged book
GENERATED: dict[str, Sequence[Callable[[Staged], str]]] = {
    "book/intro": landing.PARTS,
    "book/rerun": (
        lambda book: costs_part(book.source / "data" / "results"),
        lambda book: hours_part(),
        lambda book: parameters_part(book.source / "notebooks"),
    ),
    "book/results": (
        lambda book: first_part(book.source, book.runs, book.ledger, book.source / "book"),
        lambda book: results_part(book.runs, book.left_out),
    ),
    "book/claims": (_claims,),
    **{f"book/claims_{chapter}": (_tests_of(chapter),) for chapter in claims.SETTINGS},
    "book/citation": (_citation,),
    "book/speed": (lambda book: speed_part(book.source, book.runs),),
    "book/faults": (lambda book: faults_part(book.source),),
    "book/networks": (lambda book: networks_part(book.source),),
    photograph_runs.PAGE: (lambda book: summary_part(book.source, book.runs, book.source / "book"),),
    "book/explorer": (_explorer,),
}
