"""Seals: a file holds the SHA-256 of all its other bytes, and what it is, so that a reader knows it is as written.

Tables and parts of evaluations have one in their metadata, and a run's run.json, which in turn holds the digests of
the run's files. Files of tensors have a digest of their own (`cam_utils.networks.weight_files`). What others bring
may have none; what lies in the cache or among the project's results was written by this program, and must have one.
"""

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from cam_utils import files

RECORD = "run.json"  # a run's record, and what its seal says it is
_BLANK = "0" * 64
_SEALED = re.compile(rb'"(files|seal)"\s*:')  # keys of a record that has, or had, a seal
_SEAL = re.compile(rb"sealed as ([^\"\\]*): ([0-9a-f]{64})")


def blank(what: str) -> str:
    """Return the text that becomes a seal by :func:`filled`, to stand in a file that is `what`."""
    return f"sealed as {what}: {_BLANK}"


def filled(content: bytes) -> bytes:
    """Return the content with its last blank seal filled in: the SHA-256 of the content as it is now.

    >>> content = filled(f"a = 1 # {blank('a note')}".encode())
    >>> check(content, "a note")
    >>> check(content.replace(b"1", b"2", 1), "a note")
    Traceback (most recent call last):
        ...
    ValueError: is damaged, or was changed: it does not fit its seal
    """
    *_, last = _SEAL.finditer(content)
    start, end = last.span(2)
    return content[:start] + hashlib.sha256(content).hexdigest().encode() + content[end:]


def has_one(content: bytes) -> bool:
    """Return whether the content has a seal, fitting or not."""
    return bool(_SEAL.search(content))


def check(content: bytes, what: str, *, needed: bool = True) -> None:
    """Raise ValueError, a sentence's end, if the content does not fit its seal, or is not `what` it should be.

    needed: also if it has none.
    """
    found = list(_SEAL.finditer(content))
    if not found:
        if needed:
            raise ValueError("is damaged, was changed, or is from an earlier version: it has no seal")
        return
    start, end = found[-1].span(2)
    if hashlib.sha256(content[:start] + _BLANK.encode() + content[end:]).hexdigest().encode() != found[-1][2]:
        raise ValueError("is damaged, or was changed: it does not fit its seal")
    if (own := found[-1][1].decode(errors="replace")) != what:
        raise ValueError(f"is not what its name says: it is {own}, expected {what}")


def ours(path: str | Path) -> bool:
    """Return whether a file lies where only this program writes, and seals what it writes.

    >>> ours(files.cache() / "checkpoints" / "a.pt"), ours("a.pt")
    (True, False)
    """
    places = (files.cache(), files.DATA / "checkpoints", files.DATA / "results")
    return any(Path(path).resolve().is_relative_to(place.resolve()) for place in places)


def of_run(folder: Path, record: Mapping[str, object], suffixes: Collection[str]) -> bytes:
    """Return the content of run.json: the record, the SHA-256 of the run's files of these kinds, and a seal."""
    kept = [f for f in sorted(folder.glob("[!.]*")) if f.suffix in suffixes and f.name != RECORD]
    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in kept}
    told = {name: value for name, value in record.items() if name not in ("files", "seal")}
    told |= {"files": digests, "seal": blank(RECORD)}  # the seal comes last
    return filled(json.dumps(told, indent=1, default=float).encode())


def check_record(file: Path) -> None:
    """Raise ValueError if a run.json does not fit its seal.

    One that somebody brings may have none, if it has no digests either: the two are written together.
    """
    content = file.read_bytes()
    try:
        check(content, RECORD, needed=ours(file) or bool(_SEALED.search(content)))
    except ValueError as error:
        raise ValueError(f"{RECORD} {error}") from error


def stored(file: Path, record: Mapping[str, object]) -> bytes | None:
    """Return the bytes of a file of a run with this record, None if there is none and should be none.

    Raises ValueError if it is not what it was when the run ended.
    """
    digest = record.get("files", {}).get(file.name)
    content = file.read_bytes() if file.is_file() else None
    if digest and (content is None or hashlib.sha256(content).hexdigest() != digest):
        raise ValueError(
            f"{file.name} is damaged, was changed, or is gone: it is not what {RECORD} says it was; make the run "
            f"in {file.parent} again"
        )
    return content


def check_run(folder: Path, record: Mapping[str, object]) -> None:
    """Raise ValueError, naming the file, if a run's record or one of its files is not as it was written."""
    check_record(folder / RECORD)
    for name in record.get("files", {}):
        stored(folder / name, record)
