"""Two processes at the same work: one is stopped at each of its steps, the other does all of its own meanwhile."""

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests import tiny_book
from tests.faults import works
from tests.faults.trials import OUTCOMES, Child, Ended, Trial, alone, judged, spread

SAYS = "\nThis page says "
PATIENCE = 8  # seconds after which the second is said to wait for the first


class Pair(NamedTuple):
    """Two pieces of work in one folder; right: what the end of either may be, given what both return alone."""

    name: str
    first: Callable[[Path], object]
    second: Callable[[Path], object]
    most: int | None  # steps to stop at; None: all
    prepare: Callable[[Path], object] = lambda folder: None
    same: Callable[[object, object], bool] = lambda result, other: result == other
    one_place: bool = False  # both write one file: either result is right, if it is whole


def site(folder: Path, page: str) -> dict[str, str]:
    """Return the built site of a project, whose first page has these words."""
    file = folder / "project" / "book" / "intro.md"
    partial_file = file.with_name(f"{page}.new")
    partial_file.write_text(f"{file.read_text().split(SAYS)[0]}{SAYS}{page}.\n")
    partial_file.rename(file)
    return works.site(folder / "project")


def write_project(folder: Path) -> None:
    """Write the small project and build its site once."""
    tiny_book.write(folder / "project")
    alone(lambda: works.site(folder / "project"), folder)


def save_once(folder: Path) -> None:
    """Save what the reader may find."""
    works.saves(folder, writer=0, count=1)


def whole(result: object, other: object) -> bool:
    """Return whether what was read of a file that others write is one of their texts."""
    return isinstance(result, str) and result.count("x") == 5000 and result.rstrip().endswith("}")


def all_pairs(small: bool) -> list[Pair]:
    """Return the pairs, fewer where only a small part is wanted."""
    mine, other = works.evaluation, partial(works.evaluation, seed=2)
    saves = [partial(works.saves, writer=k) for k in (1, 2)]
    found = [
        Pair("two evaluations, the same", mine, mine, 2 if small else None, same=works.same_table),
        Pair("two evaluations of two networks", mine, other, 2 if small else None, same=works.same_table),
        Pair("two that save one file", *saves, 2 if small else 20, same=whole),
    ]
    reads = Pair("one that saves, one that reads", saves[0], works.seen, 3 if small else 20, save_once, whole)
    found.append(reads)
    if small:
        return found
    notebooks = [partial(works.notebook, x=k) for k in (1, 2)]
    sites = [partial(site, page=name) for name in ("one", "two")]
    return [
        *found,
        Pair("two trainings, the same", works.training, works.training, 4),
        Pair("two notebooks, the same OUT", *notebooks, 4, works.write_notebook, one_place=True),
        Pair("two builds of the site", *sites, 3, write_project, one_place=True),
    ]


def tried(pair: Pair, root: Path) -> Iterator[Trial]:
    """Yield the trials of a pair; a first process that holds a lock goes on when the second has waited for it."""

    def place() -> Path:
        folder = Path(tempfile.mkdtemp(prefix="pair-", dir=root))
        pair.prepare(folder)
        return folder

    results = []
    for do in (pair.first, pair.second):
        folder = place()
        results.append(alone(partial(do, folder), folder))
    for ended in results:
        if ended.status or ended.result is None:
            raise RuntimeError(f"{pair.name}: one fails alone: {ended.words}")
    steps = results[0].steps
    for at in spread(len(steps), pair.most):
        folder = place()
        first = Child(partial(pair.first, folder), folder, at=at, how="pause")
        first.wait(stopped=True)
        second = Child(partial(pair.second, folder), folder)
        second.wait(PATIENCE)
        if first.status is None:
            first.goes_on()
        outcomes = []
        for k, child in enumerate((first, second)):
            ended = child.ended()
            outcomes.append((outcome(pair, ended, [each.result for each in results], k, folder), ended))
        found, ended = max(outcomes, key=lambda each: OUTCOMES.index(each[0]))
        if found == "refused" and all(each[0] == "refused" for each in outcomes):
            found = "lost"  # neither has done the work
        yield Trial("pairs", pair.name, f"stopped at step {at}: {steps[at]}", found, ended.last())


def outcome(pair: Pair, ended: Ended, results: list[object], k: int, folder: Path) -> str:
    """Return what has become of the result of the pair's first or second process."""
    right = results if pair.one_place else [results[k]]
    return judged(ended, lambda found: any(pair.same(found, each) for each in right), [folder.name])
