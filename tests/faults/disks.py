"""Disks that are really full: files that may not grow beyond a size, and as root a small disk of its own."""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.faults import works
from tests.faults.steps import forked
from tests.faults.trials import Ended, Trial, alone, is_sentence, judged

SIZES = (0, 100, 3000, 10_000, 100_000)  # bytes of a file
DISKS = (8, 32, 256)  # KiB of a disk


def limited(do: Callable[[Path], object], folder: Path, size: int) -> object:
    """Return do(folder), where no file may grow beyond so many bytes."""
    given = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, given[1]))
    try:
        return do(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, given)


def tried(root: Path) -> Iterator[Trial]:
    """Yield the trials of an evaluation, a training and a notebook on full disks."""
    kinds = (
        ("an evaluation", works.evaluation, works.same_table),
        ("a training", works.training, lambda found, other: found == other),
        ("a notebook", works.notebook, lambda found, other: found == other),
    )
    for name, do, same in kinds:
        expected = forked(do, Path(tempfile.mkdtemp(dir=root))).result
        for size in SIZES:
            folder = Path(tempfile.mkdtemp(dir=root))
            if do is works.notebook:
                works.write_notebook(folder)
            ended = alone(partial(limited, do, folder, size), folder)
            outcome, words = told(ended, forked(do, folder), partial(same, expected), folder)
            yield Trial("full disks", f"{name}, files of limited size", f"{size} bytes", outcome, words)
        for size in DISKS if can_mount() else ():
            folder = Path(tempfile.mkdtemp(dir=root))
            mount(folder, f"{size}k")
            try:
                ended = forked(do, folder)
                mount(folder, "64m", again=True)
                outcome, words = told(ended, forked(do, folder), partial(same, expected), folder)
            finally:
                subprocess.run(["umount", "--lazy", str(folder)], check=True)
            yield Trial("full disks", f"{name}, a small disk", f"{size} KiB", outcome, words)


def told(ended: Ended, again: Ended, same: Callable[[object], bool], folder: Path) -> tuple[str, str]:
    """Return the outcome of a work on a full disk, and of the next start with room, and the words of the first."""
    if ended.status == 0:
        return judged(ended, same, []), ended.last()
    if (outcome := judged(again, same, [str(folder)])) != "survived":
        return outcome, f"started again: {again.last()}"
    return "refused" if is_sentence(ended, [str(folder), tempfile.gettempdir()]) else "raw error", ended.last()


def can_mount() -> bool:
    """Return whether a small disk can be made here."""
    if not sys.platform.startswith("linux") or os.geteuid():
        return False
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True)
        if done.returncode == 0:
            subprocess.run(["umount", folder], check=True)
    return done.returncode == 0


def mount(folder: Path, size: str, *, again: bool = False) -> None:
    """Make the folder a disk of this size, or change its size."""
    options = f"size={size}" + (",remount" if again else "")
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
