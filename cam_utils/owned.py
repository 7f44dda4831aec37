"""Names that may become files and folders, and folders that this program made: nothing else is ever removed.

Also folders for one user alone, and for one process alone, which a later one clears away if that was killed.
"""

import os
import re
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock
import platformdirs

from cam_utils.files import clear_abandoned, written

MARKER = ".made_by_cam_utils"  # lies in every folder that may be removed
LONGEST = 200  # bytes of a name, to which others add an ending
NAME = re.compile(r"\w[\w.+-]*")
WORDS = f"a name of up to {LONGEST} bytes: letters, digits and _ . + -, the first no . + or -"
KEY = re.compile(rb"[0-9a-f]{16}")  # what a run's file `key` holds: runs made before there were markers have one
SCRATCH = "cam_utils-"  # begins the names of temporary folders
LOCK = ".lock"
REST = ".removed"  # ends the names of folders that are being removed
LEFT = re.compile(rf"\..+\.[0-9a-f]{{12}}{re.escape(REST)}", re.DOTALL)


def named(what: str, name: object, *, taken: tuple[str, ...] = ()) -> str:
    """Return `name` if it may be the name of a file or folder, by itself or with an ending.

    taken: names that something else has, in capitals or not. Raises ValueError for what is no such name.

    >>> named("chapter", "ss_cam-voc2012-lr0.1")
    'ss_cam-voc2012-lr0.1'
    >>> named("chapter", "..")
    Traceback (most recent call last):
        ...
    ValueError: expected chapter as a name of up to 200 bytes: letters, digits and _ . + -, the first no . + or -, \
got '..'
    """
    if not isinstance(name, str) or not NAME.fullmatch(name) or len(name.encode()) > LONGEST:
        shown = repr(name)
        raise ValueError(f"expected {what} as {WORDS}, got {shown if len(shown) < 100 else shown[:100] + '...'}")
    if name.casefold() in taken:
        raise ValueError(f"expected {what} as a name that is not {' or '.join(taken)}, got {name!r}")
    return name


def make(folder: str | Path) -> Path:
    """Return the folder, made and marked as one that may be removed; one that is there and empty is taken.

    Raises ValueError if something else of this name is there that this program did not make.

    >>> folder = make(Path(tempfile.mkdtemp()) / "work")
    >>> remove(folder)
    >>> folder.exists()
    False
    """
    folder = Path(folder)
    check(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark(folder)
    return folder


def mark(folder: Path) -> None:
    """Mark a folder that this program made as one that it may remove."""
    with written(folder / MARKER) as file:
        file.write_text("cam_utils made this folder, and may remove it with all that it holds.\n")


def is_owned(folder: str | Path) -> bool:
    """Return whether this program made the folder: it has the marker, or the key of a run made before markers.

    >>> is_owned(tempfile.mkdtemp())
    False
    """
    folder = Path(folder)
    with suppress(OSError):
        if stat.S_ISDIR(folder.lstat().st_mode):
            old = _is_file(folder / "key") and KEY.fullmatch((folder / "key").read_bytes())
            return bool(old) or _is_file(folder / MARKER)
    return False


def check(folder: str | Path) -> None:
    """Raise ValueError if something of this name is there that this program did not make, but for an empty folder.

    >>> home = Path(tempfile.mkdtemp())
    >>> _ = (home / "thesis.txt").write_text("years of work")
    >>> check(home)
    Traceback (most recent call last):
        ...
    ValueError: expected ... as a folder that cam_utils made, or none, got one without .made_by_cam_utils in ...
    """
    folder = Path(folder)
    if not os.path.lexists(folder) or is_owned(folder):
        return
    kind = "a link" if folder.is_symlink() else f"one without {MARKER} in it" if folder.is_dir() else "a file"
    if kind in ("a link", "a file") or any(folder.iterdir()):
        raise ValueError(
            f"expected {folder} as a folder that cam_utils made, or none, got {kind}, which stays as it is: move "
            "it away, or delete it yourself if nothing of it is needed"
        )


def remove(folder: str | Path) -> None:
    """Remove a folder that this program made, or an empty one; none of the name is no error.

    Its name is free at once; a kill while it is emptied leaves a rest that :func:`cam_utils.owned.sweep` knows.
    Raises ValueError as :func:`cam_utils.owned.check`.
    """
    if rest := _aside(Path(folder)):
        _empty(rest)


def replace(new: str | Path, folder: str | Path) -> None:
    """Let the folder `new` take the place of `folder`, which is removed if it is there; both on one file system.

    The place is empty only between two renames. Raises ValueError as :func:`cam_utils.owned.check`; then nothing
    is changed.
    """
    rest = _aside(Path(folder))
    Path(new).rename(folder)
    if rest:
        _empty(rest)


def sweep(folder: str | Path, name: str | None = None) -> None:
    """Remove what killed processes left in a folder: rests of removed folders, and unfinished files.

    name: only what was to be of this name. It is for the holder of the folder's, or the name's, lock.
    """
    left = [each for each in Path(folder).glob(".*") if name is None or each.name.startswith(f".{name}.")]
    clear_abandoned((each for each in left if _is_file(each)), held=True)
    for rest in left:
        if LEFT.fullmatch(rest.name):
            with suppress(OSError):
                _empty(rest) if is_owned(rest) else rest.rmdir()


def _aside(folder: Path) -> Path | None:
    """Return what a folder was renamed to, to be removed; None if there is none. Raises as :func:`remove`."""
    check(folder)
    if not folder.exists():
        return None
    mark(folder)
    return folder.rename(folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}{REST}"))


def _empty(rest: Path) -> None:
    """Remove a folder that nobody needs: the marker goes last, so that a rest is known, and what resists stays."""
    with suppress(OSError):
        for each in list(rest.iterdir()):
            if each.name not in (MARKER, LOCK):
                shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()
        for last in (LOCK, MARKER):
            (rest / last).unlink(missing_ok=True)
        rest.rmdir()


def _is_file(path: Path) -> bool:
    """Return whether this is a file, and no link to one."""
    with suppress(OSError):
        return stat.S_ISREG(path.lstat().st_mode)
    return False


def private(name: str) -> Path:
    """Return the folder of this name in the user's cache, which this user alone can read or write to.

    Raises PermissionError if it cannot be made, or is in another user's hands.
    """
    place = platformdirs.user_cache_path("cam_utils")
    folder = place / named("a folder", name)
    with suppress(OSError):
        for each in (place, folder):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not _is_mine(each):
                break
            each.chmod(stat.S_IMODE(each.lstat().st_mode) & (0o755 if each == place else 0o700))
        else:
            return folder
    raise PermissionError(f"expected {folder} as a folder of this user alone; XDG_CACHE_HOME names another place")


def _is_mine(path: Path) -> bool:
    """Return whether this is a folder of this user, and no link."""
    facts = path.lstat()
    return stat.S_ISDIR(facts.st_mode) and (os.name != "posix" or facts.st_uid == os.getuid())


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder for all temporary files of this process and of those that it starts; it goes with the process.

    What killed processes left of theirs is removed first.
    """
    base = Path(tempfile.gettempdir())
    for left in base.glob(f"{SCRATCH}*"):
        with suppress(OSError, ValueError):
            if _is_mine(left) and _is_file(left / MARKER):
                with filelock.FileLock(left / LOCK, timeout=0):  # whoever made it is gone
                    _empty(left)
    folder = Path(tempfile.mkdtemp(prefix=SCRATCH))
    before = os.environ.get("TMPDIR")
    try:
        with filelock.FileLock(folder / LOCK):
            mark(folder)
            os.environ["TMPDIR"], tempfile.tempdir = str(folder), None
            yield folder
    finally:
        os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)
        tempfile.tempdir = None
        shutil.rmtree(folder, ignore_errors=True)
