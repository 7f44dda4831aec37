"""How long the jobs of a batch took, and the chain of jobs that decided how long the batch took."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from cam_utils import owned
from cam_utils.files import written
from workflow.batch.grid import Plan

FOLDER = ".spent"


class Span(NamedTuple):
    """When a job began and ended, in seconds since 1970 on the clock of the machine that it ran on."""

    begin: float
    end: float

    @property
    def text(self) -> str:
        """How long it took, in minutes and seconds.

        >>> Span(10.0, 195.4).text
        '3:05'
        """
        return clock(self.end - self.begin)


def clock(seconds: float) -> str:
    """Return seconds as minutes and seconds.

    >>> clock(59.6), clock(3725)
    ('1:00', '62:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"


@contextmanager
def noted(root: Path, name: str) -> Iterator[None]:
    """Note in root/.spent when a job began and ended, unless it fails; a disk that is full stops nothing."""
    begin = time.time()
    yield
    with suppress(OSError), written(root / FOLDER / f"{owned.named('a name', name)}.json") as file:
        file.write_text(json.dumps(Span(begin, time.time())))


def read(plan: Plan, root: Path, since: float) -> dict[str, Span]:
    """Return the planned jobs, {name: span}, that began at `since` or later; a damaged note counts as none."""
    parts = {f"{job.id}-part{i}" for job in plan.jobs.values() for i in range(job.shards)}
    found = {}
    for name in sorted({*plan.jobs, *plan.trainings, *parts}):
        with suppress(OSError, ValueError, TypeError):
            span = Span(*map(float, json.loads((root / FOLDER / f"{name}.json").read_text())))
            if since <= span.begin <= span.end:
                found[name] = span
    return found


def chain(spans: Mapping[str, Span]) -> list[str]:
    """Return the critical path: the job that ended last, before it the last to end before that began, and so on.

    A job begins when what it needs is there and a place is free, so that it is the last that ended before which it
    waited for, whether for its result or for its place.

    >>> chain({"a": Span(0, 5), "b": Span(0, 9), "c": Span(9.2, 12), "d": Span(5.1, 6)})
    ['b', 'c']
    """
    left, path = dict(spans), []
    while left:
        path.append(max(left, key=lambda name: left[name].end))
        begin = left.pop(path[-1]).begin
        left = {name: span for name, span in left.items() if span.end <= begin}
    return path[::-1]


def lines(plan: Plan, root: Path, since: float) -> list[str]:
    """Return the critical path of what a batch has done since then, and what waited for the longest job on it."""
    spans = read(plan, root, since)
    path = chain(spans)
    if not path:
        return []
    whole = clock(spans[path[-1]].end - since)
    longest = max(path, key=lambda name: spans[name].end - spans[name].begin)
    after = path[path.index(longest) + 1 :]
    waited = f"; {', '.join(after)} waited for it" if after else ""
    return [
        f"critical path of {whole}: {', then '.join(f'{name} {spans[name].text}' for name in path)}",
        f"longest: {longest}, {spans[longest].text}{waited}",
    ]
