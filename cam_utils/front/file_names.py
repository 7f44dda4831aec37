"""Names for files that every system takes, made of names of every kind; and names that can be shown."""

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count as count_from
from pathlib import Path

# A file system takes names of 255 bytes, and a file that is being written has 22 more than its name.
STEM, LABEL, METHOD = 110, 70, 40
RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{i}" for port in ("COM", "LPT") for i in "123456789¹²³")}
JOINERS = "\u200c\u200d"  # parts of words and of emoji, invisible


def printable(name: str | bytes | os.PathLike) -> str:
    r"""Return a name as it can be shown and stored anywhere: what cannot be seen, as its escape.

    That is line ends, marks that turn the direction of writing, and bytes that are no UTF-8.

    >>> print(printable("a\nb\udcff $5"))
    a\nb\xff $5
    """
    name = os.fspath(name)
    if isinstance(name, str):
        try:
            name = name.encode("utf-8", "surrogateescape")  # bytes of a file's name that are no UTF-8
        except UnicodeEncodeError:
            name = name.encode("utf-8", "backslashreplace")
    shown = name.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() or _is(c, "Zs") or c in JOINERS else repr(c)[1:-1] for c in shown)


def stems(paths: Sequence[str | os.PathLike]) -> list[str]:
    """Return a name of its own for each picture, for the files made from it: its file's name without suffix.

    Where two would share one, also on a system that takes "A" for "a", the suffix, the folder's name and a digest
    are added until they differ. What a system may refuse becomes a dash, and a name has 110 bytes at most.

    >>> stems([Path("a.jpg"), Path("b.jpg"), Path("b.png")])
    ['a', 'b-jpg', 'b-png']
    >>> stems(["cat/1.jpg", "dog/1.jpg"])
    ['cat-1-jpg', 'dog-1-jpg']
    """
    paths = [Path(path) for path in paths]
    folders = len({path.parent for path in paths}) > 1
    forms = []
    for path in paths:
        name = path.name.replace(".", "-")
        folder = [f"{path.parent.name}-{name}"] if folders and path.parent.name else []
        forms.append([path.stem, name, *folder, f"{name}-{_digest(path.name)}", f"{name}-{_digest(str(path))}"])
    return distinct(forms)


def distinct(forms: Sequence[Sequence[str]], limit: int = STEM) -> list[str]:
    """Return for each thing the first of its forms, made safe, that nobody else has; a number where all are taken.

    >>> distinct([["a", "a-1"], ["A", "A-2"], ["b", "b-3"]]), distinct([["x"], ["x"]])
    (['a-1', 'A-2', 'b'], ['x', 'x-2'])
    """
    safe = [[file_part(form, limit) for form in each] for each in forms]
    level = [0] * len(forms)
    while True:
        names = [each[i] for each, i in zip(safe, level, strict=True)]
        count = Counter(map(_key, names))
        shared = [i for i, name in enumerate(names) if count[_key(name)] > 1 and level[i] + 1 < len(safe[i])]
        if not shared:
            break
        for i in shared:
            level[i] += 1
    taken: set[str] = set()
    for i, name in enumerate(names):
        numbers = count_from(2)
        while _key(names[i]) in taken or (names[i] != name and _key(names[i]) in count):
            names[i] = f"{cut(name, limit - 8)}-{next(numbers)}"
        taken.add(_key(names[i]))
    return names


def file_part(name: str, limit: int = STEM) -> str:
    """Return a name as the start of a file's name, `limit` bytes at most: what a system may refuse becomes a dash.

    >>> file_part("a/b: c?.."), file_part("-rf"), file_part("con.x"), file_part("///")
    ('a-b- c', 'rf', '_con.x', 'picture')
    """
    name = _kept(name, " .-_()[]+,=@") or "picture"
    return cut(f"_{name}" if name.split(".")[0].strip().upper() in RESERVED else name, limit)


def cut(name: str, limit: int) -> str:
    """Return a name of at most `limit` bytes (UTF-8); a longer one ends in a digest of the whole.

    >>> cut("short", 20), cut("x" * 30, 20)
    ('short', 'xxxxxxxxxxx-666a596d')
    """
    if len(name.encode()) <= limit:
        return name
    start = name.encode()[: limit - 9].decode(errors="ignore")
    # A letter stays with its accents, an emoji with its parts.
    while start and (_joined(name[len(start)]) or start[-1] in JOINERS):
        start = start[:-1]
    return f"{start.rstrip(' .-')}-{_digest(name)}"


def label_name(index: int, classes: Sequence[str] | Mapping[int, str] | None = None) -> str:
    """Return a label as a part of a file's name: its index, and its class in letters that every system takes.

    Raises ValueError if a sequence of classes ends before the index; a mapping need not have them all.

    >>> label_name(281, {281: "tabby, tabby cat"}), label_name(3, "0123"), label_name(3)
    ('281-tabby-tabby-cat', '3', '3')
    """
    if classes is None or (isinstance(classes, Mapping) and index not in classes):
        return str(index)
    if not isinstance(classes, Mapping) and index >= len(classes):
        raise ValueError(f"expected a class for label {index}, got {len(classes)} classes")
    name = cut(_kept(str(classes[index]), "_"), LABEL)
    return str(index) if name in ("", str(index)) else f"{index}-{name}"


def method_name(method: str) -> str:
    """Return a method's name as a part of a file's name.

    >>> method_name("ss-cam(draws=4)"), method_name("<lambda>")
    ('ss-cam(draws=4)', 'lambda')
    """
    return cut(_kept(method, " .-_()+,=") or "method", METHOD)


def _kept(name: str, kept: str) -> str:
    """Return the letters, numbers, accents, signs like emoji, and `kept` of a name; the rest becomes dashes."""
    name = unicodedata.normalize("NFC", name)
    name = "".join(c if c in kept or c in JOINERS or (_is(c, "L", "N", "M", "So", "Sk") and c not in "`^") else "-"
                   for c in name)  # fmt: skip
    return re.sub("--+", "-", name).strip(" .-" + JOINERS)


def _is(character: str, *categories: str) -> bool:
    return unicodedata.category(character).startswith(categories)


def _joined(character: str) -> bool:
    """Return whether the character belongs to the one before: an accent, a skin colour, a joiner."""
    return character in JOINERS or _is(character, "M") or 0x1F3FB <= ord(character) <= 0x1F3FF


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _key(name: str) -> str:
    """Return what a file system may take for the same name: no case, one way to write an accent."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
