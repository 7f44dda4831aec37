"""A trial: a piece of work in a process of its own, a fault at one of its steps, what becomes of the result."""

import errno
import os
import pickle
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.faults.hooks import injected
from workflow import RunFailed

OUTCOMES = ("survived", "refused", "lost", "mixed", "executed", "raw error")
FATAL = ("lost", "mixed", "executed")
LONGEST = 900  # characters of a sentence
SECONDS = 600  # after which a process is said to hang
PLAIN = (ValueError, RunFailed, OSError, ImportError, SystemExit)


class Trial(NamedTuple):
    """What was tried ("kills": "an evaluation"), where, how it ended (one of OUTCOMES), and the last words."""

    area: str
    what: str
    where: str
    outcome: str
    words: str = ""


class Ended(NamedTuple):
    """How a process ended: status (negative: by this signal), what its work returned or raised, and its steps."""

    status: int
    result: object = None
    error: BaseException | None = None
    words: str = ""
    steps: Sequence[str] = ()

    def last(self) -> str:
        """Return the words of its error as one line."""
        return " ".join(self.words.split())[-LONGEST:] or f"status {self.status}"


class Child:
    """A process forked from this one, which does `work` and fails at step number `at` of those in `folder`."""

    def __init__(
        self, work: Callable[[], object], folder: Path, *, at: int | None = None, how: str = "kill"
    ) -> None:
        self.answer = Path(tempfile.mkstemp(prefix="faults-")[1])
        self.started, self.status = time.monotonic(), None
        self.pid = os.fork()
        if not self.pid:
            self._work(work, folder, at, how)

    def _work(self, work: Callable[[], object], folder: Path, at: int | None, how: str) -> None:
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(quiet, stream)
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        steps: list[str] = []

        def before(step: str, path: str) -> None:
            steps.append(f"{step} {os.path.relpath(path, folder)}")
            if len(steps) - 1 == at:
                injected.FAULTS[how](step, path)

        injected.install(str(folder), before)
        status, result, error, words = 0, None, None, ""
        try:
            result = work()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
            error, words = (ended, str(ended.code)) if status else (None, "")
        except BaseException as raised:
            status, error, words = 1, raised, str(raised) or type(raised).__name__
        for kept in ((status, result, error, words, steps), (status, None, Exception(repr(error)), words, steps)):
            try:
                self.answer.write_bytes(pickle.dumps(kept))
                break
            except Exception:  # an error that cannot be handed on
                traceback.print_exc(file=sys.stderr)
        os._exit(status)

    def wait(self, seconds: float = SECONDS, *, stopped: bool = False) -> bool:
        """Return whether the process has ended (or, with `stopped`, has paused) within so many seconds."""
        until = time.monotonic() + seconds
        while self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
            if pid and os.WIFSTOPPED(status):
                return stopped
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > until:
                return False
            else:
                time.sleep(0.005)
        return True

    def goes_on(self) -> None:
        """Let a paused process go on."""
        os.kill(self.pid, signal.SIGCONT)

    def ended(self) -> Ended:
        """Wait for the end and return it; one that hangs is ended."""
        if not self.wait():
            os.killpg(self.pid, signal.SIGKILL)
            self.wait()
            found = Ended(1, words=f"hangs for more than {SECONDS} s")
        elif self.status < 0 or not self.answer.stat().st_size:
            found = Ended(self.status)
        else:
            found = Ended(*pickle.loads(self.answer.read_bytes()))
        self.answer.unlink()
        return found


def alone(work: Callable[[], object], folder: Path, **options: object) -> Ended:
    """Return how a piece of work ends in a process of its own; `at` and `how` as in :class:`Child`."""
    return Child(work, folder, **options).ended()


def is_sentence(ended: Ended, names: Collection[str]) -> bool:
    """Return whether a process ended in one sentence that has one of the names of what is wrong."""
    text = ended.words.strip()
    numbered = isinstance(ended.error, OSError) and ended.error.errno not in (None, errno.ENOSPC, errno.EFBIG)
    return (
        isinstance(ended.error, PLAIN)
        and not numbered
        and "\n" not in text
        and len(text) < LONGEST
        and any(name in text for name in names)
    )


def judged(ended: Ended, same: Callable[[object], bool], names: Collection[str]) -> str:
    """Return what has become of a result that a process returned or refused; same: whether it is the right one."""
    if ended.status == 0:
        return "lost" if ended.result is None else "survived" if same(ended.result) else "mixed"
    return "refused" if is_sentence(ended, names) else "raw error"


def spread(count: int, most: int | None) -> list[int]:
    """Return at most `most` numbers below `count`, evenly spread, the first and the last among them.

    >>> spread(5, None), spread(9, 3), spread(2, 3), spread(9, 1)
    ([0, 1, 2, 3, 4], [0, 4, 8], [0, 1], [4])
    """
    if most is None or count <= most:
        return list(range(count))
    if most == 1:
        return [count // 2]
    return [round(k * (count - 1) / (most - 1)) for k in range(most)]


def counts(trials: Sequence[Trial]) -> Iterator[dict[str, object]]:
    """Yield a row for every piece of work and fault: how many of its trials ended in which outcome."""
    for area, what in dict.fromkeys((trial.area, trial.what) for trial in trials):
        found = Counter(trial.outcome for trial in trials if (trial.area, trial.what) == (area, what))
        yield {"area": area, "what": what, "trials": found.total(), **{name: found[name] for name in OUTCOMES}}
