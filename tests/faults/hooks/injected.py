"""Let a process fail at one of the steps by which files come and go: renames, syncs, removals.

Without anything of the project, so that it works in kernels and in the jobs of a batch.
"""

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

STEPS = ("replace", "rename", "fsync", "unlink", "remove", "rmdir", "truncate")
COUNT, AT, FOLDER, HOW = (f"FAULTS_{name}" for name in ("COUNT", "AT", "FOLDER", "HOW"))


def kill(step: str, path: str) -> None:
    """End this process at once."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_all(step: str, path: str) -> None:
    """End all processes of this one's group at once."""
    os.killpg(os.getpgrp(), signal.SIGKILL)


def no_space(step: str, path: str) -> None:
    """Raise what the system raises where a disk is full: it names the path, but not that of an open file."""
    raise OSError(errno.ENOSPC, "No space left on device", *([] if step == "fsync" else [path]))


def terminate(step: str, path: str) -> None:
    """Ask this process to end, as a scheduler does."""
    os.kill(os.getpid(), signal.SIGTERM)


def interrupt(step: str, path: str) -> None:
    """Ask this process to end, as Ctrl-C does."""
    os.kill(os.getpid(), signal.SIGINT)


def pause(step: str, path: str) -> None:
    """Stop this process until somebody lets it go on."""
    os.kill(os.getpid(), signal.SIGSTOP)


FAULTS = {
    "kill": kill,
    "kill all": kill_all,
    "full disk": no_space,
    "SIGTERM": terminate,
    "SIGINT": interrupt,
    "pause": pause,
}


def place(name: object, options: dict) -> str:
    """Return the path that a step is about: of an open file, or of a name in an open folder, too."""
    if isinstance(name, int):
        return os.readlink(f"/proc/self/fd/{name}")
    folder = options.get("dir_fd") or options.get("src_dir_fd")
    path = os.fspath(name)
    path = path.decode(errors="replace") if isinstance(path, bytes) else path
    return os.path.join(os.readlink(f"/proc/self/fd/{folder}") if folder else os.getcwd(), path)


def install(folder: str, before: Callable[[str, str], None]) -> None:
    """Call before("fsync", path), say, before every step about a path in `folder`, unless it is Snakemake's."""

    def patched(step: str, given: Callable) -> Callable:
        def called(name, *arguments, **options):
            path = place(name, options)
            if Path(path).is_relative_to(folder) and ".snakemake" not in path:
                before(step, path)
            return given(name, *arguments, **options)

        return called

    for step in STEPS:
        given = getattr(os, step)
        setattr(os, step, patched(step, given))
        for able in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
            if given in able:  # shutil asks
                able.add(getattr(os, step))


def count(step: str, path: str) -> None:
    """Count a step of one of several processes in a file that they share; fail if it is the one meant."""
    file = os.open(os.environ[COUNT], os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, f"{step} {path}\n".encode())
    number = os.pread(file, os.lseek(file, 0, os.SEEK_CUR), 0).count(b"\n") - 1
    os.close(file)
    if number == int(os.environ[AT]):
        FAULTS[os.environ[HOW]](step, path)


def from_environment() -> None:
    """Install what the environment asks for, in this process and in all that it starts."""
    if AT in os.environ:
        install(os.environ[FOLDER], count)
