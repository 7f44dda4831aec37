"""Where files lie, and how they are written, locked and told apart; without torch."""

import errno
import hashlib
import json
import os
import platform
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import platformdirs

PACKAGE = Path(__file__).resolve().parent
# The project's data: published tables, measured tables, committed checkpoints. An installation has none of them.
DATA = Path(os.environ.get("CAM_UTILS_DATA") or PACKAGE.parent / "data")
# What the rows of an evaluation and the features of a network depend on: all floors up to the evaluation, but for
# what only averages, compares or draws stored rows. Editing these redoes nothing that is stored.
NUMBERS = ("pairs.py", "maps.py", "data", "networks", "representative", "methods", "evaluation")
# Of the evaluation: they read what it stores.
READERS = ("bootstrap.py", "facts.py", "paired_tests.py", "ranking.py", "results.py", "sanity_rule.py")
PARTIAL = ".partial"  # ends the names of files that are being written
DAY = 24 * 3600  # seconds: no file is written for so long
_UNFINISHED = re.compile(rf"\..+?(?:\.([0-9a-f]{{6}})-(\d+))?\.[0-9a-f]{{12}}{re.escape(PARTIAL)}", re.DOTALL)
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}  # why a disk takes no more


def cache() -> Path:
    """Return the folder of what can be made again: $CAM_UTILS_CACHE, data/cache in a checkout, else the user's own.

    It is read at each use, so that it can be redirected after the import.
    """
    if named := os.environ.get("CAM_UTILS_CACHE"):
        return Path(named)
    return DATA / "cache" if DATA.is_dir() else platformdirs.user_cache_path("cam_utils")


def data_file(*parts: str) -> Path:
    """Return the path of one of the project's data files.

    Raises FileNotFoundError where the package was installed without them.
    """
    if not DATA.is_dir():
        raise FileNotFoundError(
            f"no folder {DATA}: the project's tables come with its repository and not with the package; set "
            "CAM_UTILS_DATA to the repository's folder data/"
        )
    return DATA.joinpath(*parts)


@contextmanager
def written(path: str | Path) -> Iterator[Path]:
    """Give a name of this writer alone to write to; it becomes `path`, whole, when the block ends without an error.

    What stood there stays until then, and also survives a crash of the machine. Raises OSError naming `path`, and
    how much room there is, where the disk takes no more.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a" / "b.txt"
    >>> with written(file) as partial:
    ...     _ = partial.write_text("all of it")
    >>> file.read_text(), [each.name for each in file.parent.iterdir()]
    ('all of it', ['b.txt'])
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    short = path.name.encode()[:180].decode(errors="ignore")  # a file system takes names of 255 bytes
    partial = path.with_name(f".{short}.{_writer()}.{uuid.uuid4().hex[:12]}{PARTIAL}")
    try:
        yield partial
        _synced(partial)  # a crash of the machine must not leave the name without the content
        partial.replace(path)
        if os.name == "posix":
            _synced(path.parent)  # nor a folder without the name
    except (OSError, RuntimeError) as error:
        reason = error if isinstance(error, OSError) else error.__context__  # torch.save hides what happened
        if not isinstance(reason, OSError) or reason.errno not in FULL:
            raise
        free = shutil.disk_usage(path.parent).free >> 20
        told = f"{path} cannot be written, there are {free} MiB left on the disk: {os.strerror(reason.errno)}"
        raise OSError(reason.errno, told) from error
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text (UTF-8) into a file, as :func:`written`."""
    with written(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _synced(path: Path) -> None:
    number = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _writer() -> str:
    """Return a name of this process on this machine."""
    return f"{hashlib.sha256(platform.node().encode()).hexdigest()[:6]}-{os.getpid()}"


def clear_abandoned(found: Iterable[Path], *, held: bool = False) -> None:
    """Delete those of the files that killed processes were writing; what is being written stays, and all else.

    On this machine a writer is gone if its process is, and everywhere after a day. held: whoever calls holds the
    lock that all writers of these files hold, so that none of them is there.
    """
    machine = _writer().split("-")[0]
    for file in found:
        if not (known := _UNFINISHED.fullmatch(file.name)) or file.is_symlink():
            continue
        try:
            gone = held or time.time() - file.stat().st_mtime > DAY
            if gone or (known[1] == machine and not _runs(int(known[2]))):
                file.unlink()
        except OSError:  # whole by now, or another user's
            continue


def _runs(process: int) -> bool:
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


@contextmanager
def lock(path: str | Path) -> Iterator[None]:
    """Hold the file's lock, for work that several processes could start and one should do.

    It is free again when this process ends, however it ends.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path):
        yield


def fingerprint(*things: object) -> str:
    """Return a short digest of tensors (their bytes) and JSON values: equal things, equal digest.

    >>> fingerprint({"a": 1}) == fingerprint({"a": 1}), fingerprint(1) == fingerprint(2)
    (True, False)
    """
    digest = hashlib.sha256()
    for thing in things:
        if hasattr(thing, "detach"):  # a tensor; whoever has none need not wait for torch
            digest.update(str((thing.dtype, tuple(thing.shape))).encode())
            digest.update(thing.detach().cpu().contiguous().numpy().tobytes())
        else:
            digest.update(json.dumps(thing, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def files_digest(paths: Iterable[str | Path], root: str | Path) -> str:
    """Return a digest of the names (seen from `root`) and bytes of all files at or under `paths`."""
    found = hashlib.sha256()
    for path in (Path(root) / each for each in paths):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                name = f"{os.path.relpath(file, root)}\0"
                found.update(name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()


def code_fingerprint(package: Path = PACKAGE) -> str:
    """Return a digest of the modules that determine numbers: rows of other code are never taken for ours.

    Where they were edited since this process started, the numbers of this process are those of neither text: then
    it is a digest of both.
    """
    now = _code(package)
    return now if package != PACKAGE or now == _CODE else fingerprint("edited", _CODE, now)


def _code(package: Path) -> str:
    found = []
    for path in (package / name for name in NUMBERS):
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    kept = [path for path in found if not (path.parent.name == "evaluation" and path.name in READERS)]
    return files_digest(kept, package)[:16]


_CODE = _code(PACKAGE)  # when this process started
