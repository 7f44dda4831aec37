"""Faults at the steps of a piece of work: kills, signals, a disk that is full; then the work is started again."""

import signal
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests import tiny_book
from tests.faults import works
from tests.faults.trials import Ended, Trial, alone, is_sentence, judged, spread

ENDS = {"kill": -signal.SIGKILL, "kill all": -signal.SIGKILL}
WRITES = ("fsync", "replace", "rename", "truncate")  # the steps at which a disk may be full
AREAS = {"kill": "kills", "kill all": "kills", "full disk": "full disks", "SIGTERM": "signals", "SIGINT": "signals"}


class Work(NamedTuple):
    """A piece of work: run(folder, at, how) is how it ends; prepare(folder) what lies there before."""

    name: str
    run: Callable[[Path, int | None, str], Ended]
    faults: dict[str, int | None]  # how it fails -> at how many of its steps, None: at all of them
    prepare: Callable[[Path], object] = lambda folder: None
    again: Callable[[Path], object] = lambda folder: None  # before it is started again
    same: Callable[[object, object], bool] = lambda result, other: result == other


def forked(do: Callable[[Path], object], folder: Path, at: int | None = None, how: str = "kill") -> Ended:
    """Return how do(folder) ends in a process of its own."""
    return alone(lambda: do(folder), folder, at=at, how=how)


def of_batch(folder: Path, at: int | None = None, how: str = "kill") -> Ended:
    """Return how a batch ends."""
    return works.batch(folder, at=at, how=how)


def write_site(folder: Path) -> None:
    """Build the site of a small project, then change the project."""
    tiny_book.write(folder / "project")
    if (ended := forked(works.site, folder / "project")).status:
        raise RuntimeError(f"the small book cannot be built: {ended.words}")
    change_site(folder)


def change_site(folder: Path) -> None:
    """Change a page of the project, or change it back."""
    page = folder / "project" / "book" / "intro.md"
    text = page.read_text()
    page.write_text(text.removesuffix("Changed.\n") if text.endswith("Changed.\n") else f"{text}\nChanged.\n")


def of_site(folder: Path, at: int | None = None, how: str = "kill") -> Ended:
    """Return how the build of the small project ends."""
    return forked(works.site, folder / "project", at, how)


def all_works(small: bool) -> list[Work]:
    """Return the pieces of work, with fewer faults or none where only a small part is wanted."""
    own = {"SIGTERM": 2, "SIGINT": 2}
    evaluation = Work(
        "an evaluation",
        partial(forked, works.evaluation),
        {"kill": None, "full disk": 8, **own},
        same=lambda result, other: works.same_table(result, other),
    )
    if small:
        return [evaluation._replace(faults={"kill": 6, "full disk": 2, "SIGTERM": 1})]
    return [
        evaluation,
        Work("a training", partial(forked, works.training), {"kill": 8, "full disk": 4, **own}),
        Work("a notebook", partial(forked, works.notebook), {"kill": None, "full disk": 3, **own}),
        Work("a batch", of_batch, {"kill": 4, "kill all": 4, "full disk": 2, "SIGINT": 1, "SIGTERM": 1}),
        Work("a site", of_site, {"kill": 3, "full disk": 2, "SIGTERM": 1}, write_site),
        Work("a site whose change is taken back", of_site, {"kill": 3}, write_site, change_site),
    ]


def tried(work: Work, root: Path) -> Iterator[Trial]:
    """Yield the trials of a piece of work: undisturbed first, then with every fault at some of its steps."""

    def place(name: str) -> Path:
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=root))
        work.prepare(folder)
        return folder

    folder = place("alone")
    first = work.run(folder, None, "kill")
    steps, expected = first.steps, first
    if work.again is not Work._field_defaults["again"]:
        work.again(folder)
        expected = work.run(folder, None, "kill")
    for ended in (first, expected):
        if ended.status or nothing(ended.result):
            raise RuntimeError(f"{work.name} fails undisturbed: {ended.words}")
    for how, most in work.faults.items():
        possible = [k for k, step in enumerate(steps) if how != "full disk" or step.split()[0] in WRITES]
        for at in (possible[k] for k in spread(len(possible), most)):
            folder = place("tried")
            ended = work.run(folder, at, how)
            work.again(folder)
            again = work.run(folder, None, how)
            outcome, words = after(work, how, ended, again, first.result, expected.result, folder)
            yield Trial(AREAS[how], f"{work.name}, {how}", f"step {at}: {steps[at]}", outcome, words)


def nothing(result: object) -> bool:
    """Return whether there is no result."""
    return result is None or (isinstance(result, dict) and not result)


def after(
    work: Work, how: str, ended: Ended, again: Ended, result: object, expected: object, folder: Path
) -> tuple[str, str]:
    """Return the outcome of a disturbed work and of the next start, and the words it is told by."""
    if ended.status == 0 and (nothing(ended.result) or not work.same(ended.result, result)):
        return "lost" if nothing(ended.result) else "mixed", "ends as if all were done"
    if (outcome := judged(again, lambda found: work.same(found, expected), [str(folder)])) != "survived":
        return outcome, f"started again: {again.last()}"
    if how == "full disk" and ended.status:
        told = "failed:" in ended.words or is_sentence(ended, [str(folder)])
        return "refused" if told else "raw error", ended.last()
    return "survived", ended.last()
