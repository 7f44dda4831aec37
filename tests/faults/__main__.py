"""Try faults and store the counts: python -m tests.faults [--small] [--seed N] [--jobs N] [--out FILE] [NAME ...].

NAME: tries what has one of these in its name, and stores nothing by default. Exits with 1 if a result was lost or
mixed with another, or a command was executed.
"""

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from cam_utils import files, runs
from tests.faults import damaged, disks, odd, pairs, steps
from tests.faults.trials import FATAL, OUTCOMES, Child, Trial, counts

FILE = files.DATA / "results" / "faults.json"
KEPT = 40  # trials that are stored with their words: those that ended worse than refused


class Task(NamedTuple):
    """Trials that are made one after the other: tried(folder) yields them."""

    name: str
    tried: Callable[[Path], Iterable[Trial]]


def all_tasks(small: bool, seed: int) -> list[Task]:
    """Return what is to be tried, the longest first."""
    found = [Task(work.name, partial(steps.tried, work)) for work in reversed(steps.all_works(small))]
    found += [Task(pair.name, partial(pairs.tried, pair)) for pair in reversed(pairs.all_pairs(small))]
    found += [Task(kind.name, partial(damaged.tried, kind, seed=seed)) for kind in damaged.all_kinds(small)]
    found.append(Task("commands in files", damaged.commands))
    if small:
        return found
    return [
        *found,
        Task("grids", partial(odd.grids, count=200, seed=seed)),
        Task("full disks", disks.tried),
        Task("scripts on pages", lambda folder: odd.pages()),
        Task("a second start of a batch", odd.second_starts),
        Task("commands in grids", odd.commands),
        Task("parameters", odd.parameters_of_all),
        Task("data sets", lambda folder: damaged.data_sets(30, seed + 1)),
        Task("pictures", lambda folder: damaged.pictures(150, seed, folder)),
    ]


def done(task: Task, folder: Path) -> list[Trial]:
    """Return the trials of a task."""
    os.environ["CAM_UTILS_CACHE"] = tempfile.mkdtemp(prefix="cache-", dir=folder)
    return list(task.tried(folder))


def tried(tasks: Iterable[Task], root: Path, jobs: int) -> Iterator[list[Trial]]:
    """Yield the trials of all tasks so far, in the tasks' order, whenever one of the `jobs` under way has ended."""
    waiting, running, found = list(enumerate(tasks)), {}, {}
    while waiting or running:
        while waiting and len(running) < jobs:
            number, task = waiting.pop(0)
            folder = Path(tempfile.mkdtemp(prefix="task-", dir=root))
            running[number] = task, Child(partial(done, task, folder), folder), time.monotonic()
        for number, (task, child, started) in list(running.items()):
            if child.wait(0.1):
                ended = child.ended()
                failed = [Trial("the suite", task.name, "", "raw error", ended.last())]
                found[number] = failed if ended.result is None else ended.result
                del running[number]
                print(
                    f"{time.monotonic() - started:5.0f} s  {task.name}", *_told(found[number]), sep="\n", flush=True
                )
                yield [trial for number in sorted(found) for trial in found[number]]


def _told(trials: Iterable[Trial]) -> list[str]:
    """Return a line for each piece of work, and for each trial that ended badly."""
    lines = []
    for row in counts(list(trials)):
        tally = ", ".join(f"{row[name]} {name}" for name in OUTCOMES if row[name])
        lines.append(f"         {row['area']}: {row['what']}: {tally}")
    bad = [trial for trial in trials if trial.outcome not in ("survived", "refused")]
    return lines + [f"           {trial.outcome}: {trial.where}: {trial.words[-300:]}" for trial in bad]


def record(trials: list[Trial], root: Path, **facts: object) -> dict[str, object]:
    """Return what is stored of the trials: the counts, and the words of those that ended badly."""
    bad = [trial for trial in trials if trial.outcome not in ("survived", "refused")]
    worst = sorted(bad, key=lambda trial: trial.outcome not in FATAL)[:KEPT]
    return {
        "command": "make test-faults", **facts,
        "rows": list(counts(trials)),
        "bad": [{**trial._asdict(), "words": trial.words.replace(str(root), "...")} for trial in worst],
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Try what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    tasks = [
        task
        for task in all_tasks(given.small, given.seed)
        if not given.names or any(name in task.name for name in given.names)
    ]
    if not tasks:
        parser.error(f"nothing has one of {', '.join(given.names)} in its name")
    started, origin = time.time(), runs.provenance()  # before the record itself is a change
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
        root = Path(folder).resolve()
        os.environ["TMPDIR"], tempfile.tempdir = str(root), None
        for trials in tried(tasks, root, given.jobs):
            now = datetime.now(UTC).isoformat(timespec="seconds")
            told = {"date": now, "seed": given.seed, "wall_s": round(time.time() - started)}
            stored = record(trials, root, **told, **origin)
            if given.out or not (given.names or given.small):  # as far as it has come
                runs.save(given.out or FILE, stored)
    total = {name: sum(row[name] for row in stored["rows"]) for name in ("trials", *OUTCOMES)}
    print(", ".join(f"{count} {name}" for name, count in total.items()))
    suite = any(trial.area == "the suite" for trial in trials)
    sys.exit(1 if suite or any(total[name] for name in FATAL) else 0)


if __name__ == "__main__":
    main()
