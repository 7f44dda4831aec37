"""Which of the stored runs the book can show, and what is wrong with the others."""

import json
import textwrap
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pyarrow.parquet

from cam_utils import claims, seals
from cam_utils.names import check_known
from cam_utils.runs import Run
from workflow import ROOT
from workflow.site import escape, photograph_runs, photographs_page, study_runs
from workflow.site.chapter_pages import add_command
from workflow.site.results_page import results_part
from workflow.site.run_pages import run_page

# What the pages read of run.json; the first two must be there.
FIELDS = {"chapter": str, "parameters": dict, "versions": dict, "git": (str, type(None)), "wall_s": (int, float)}
LONGEST = 300  # characters of a reason


def read(*roots: Path, chapters: Collection[str]) -> tuple[list[Run], list[str]]:
    """Return the runs in these folders that fit into the book, by name, and a sentence on each of the others.

    Of two runs of one name the later folder's counts. A run is left out, instead of stopping the book, if a file
    that the pages read is missing, damaged, or not of the form in which the chapters write it.
    """
    found: dict[str, Run | str] = {}
    for folder in (file.parent for root in roots for file in sorted(Path(root).glob("*/run.json"))):
        try:
            found[folder.name] = checked(folder, chapters)
        except ValueError as error:
            reason = (
                str(error).replace(f"{folder.parent}/", "").replace(f"{ROOT}/", "")
            )  # a reader has other folders
            found[folder.name] = escape.plain(
                f"Run {folder.name} is left out ({reason}): make it again, or delete its folder."
            )
    each = [found[name] for name in sorted(found)]
    return [run for run in each if isinstance(run, Run)], [why for why in each if isinstance(why, str)]


def checked(folder: Path, chapters: Collection[str]) -> Run:
    """Return the run in this folder; raises ValueError naming the first file of which a page cannot be made."""
    with _reading("run.json"):
        run = Run(folder, json.loads((folder / "run.json").read_text()))
        check_record(run.record, [*chapters, photograph_runs.CHAPTER, *study_runs.STUDIES])
    seals.check_run(folder, run.record)
    if photograph_runs.is_one(run):
        photograph_runs.check(run, _reading)
        with _reading("pairs.parquet"):
            photographs_page.page(run).encode()
    elif study_runs.is_one(run):
        study_runs.check(run, _reading)
    else:
        with _reading("notebook.ipynb"):
            nbformat.writes(_chapter_page(run)).encode()
        with _reading("facts.json"):
            dict(run.facts())
    for file in sorted(folder.glob("*.parquet")):
        with _reading(file.name):
            pyarrow.parquet.read_metadata(file)
    with _reading("pairs.parquet" if photograph_runs.is_one(run) else "means.csv"):
        results_part([run])
    with _reading("the tables that the claims read"):
        claims.judge([run])
    return run


def _chapter_page(run: Run) -> nbformat.NotebookNode:
    if run.id != run.chapter:
        return run_page(run)
    page = nbformat.read(run.folder / "notebook.ipynb", 4)
    add_command(page, run.chapter)
    return page


def check_record(record: object, chapters: Collection[str]) -> None:
    """Raise ValueError if this is not what `runs.write_run` writes for one of the chapters.

    >>> check_record({"chapter": "ss_cam", "parameters": []}, ["ss_cam"])
    Traceback (most recent call last):
        ...
    ValueError: expected parameters to be of type dict, got []
    """
    if not isinstance(record, dict):
        raise ValueError(f"expected an object, got {record!r}")
    if missing := [name for name in ("chapter", "parameters") if name not in record]:
        raise ValueError(f"expected chapter and parameters, missing: {', '.join(missing)}")
    for name, kinds in FIELDS.items():
        kinds = kinds if isinstance(kinds, tuple) else (kinds,)
        if name in record and not isinstance(record[name], kinds):
            words = " or ".join(kind.__name__ for kind in kinds)
            raise ValueError(f"expected {name} to be of type {words}, got {record[name]!r}")
    check_known("chapter", record["chapter"], chapters)


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Turn whatever a damaged file leads to into a ValueError that names it: the other runs do not need it."""
    try:
        yield
    except Exception as error:
        own = isinstance(error, ValueError | FileNotFoundError)
        reason = escape.plain(error if own else f"{type(error).__name__}: {error}")
        raise ValueError(f"{what}: {textwrap.shorten(reason, LONGEST)}") from error
