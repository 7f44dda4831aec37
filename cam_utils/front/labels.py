"""The names of a model's labels, and which of them are explained."""

import ast
import json
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from os import PathLike
from pathlib import Path

import numpy as np
from torch import Tensor

from cam_utils.names import check_known

TEXT = (".txt", ".names", ".lst", ".labels", "")  # one name per line
WRAPPED = (
    "names",
    "classes",
    "labels",
    "categories",
    "id2label",
    "class_to_idx",
    "label2id",
)  # keys of a JSON file


def class_names(classes: str | PathLike | Sequence[str] | Mapping | int) -> tuple[str, ...]:
    """Return the names of a model's labels in the order of its logits.

    classes: the names, in a list or an array; {index: name} or {name: index}; how many there are; or a file: text
    with one name per line (synset ids before all of them are left out), or JSON or a printed Python dictionary with
    any of these, with ImageNet's {"index": [id, name]}, COCO's [{"id", "name"}], or {"names": ...}.

    Raises ValueError for indices that are not 0 to L-1, for an empty name or list and for another kind of file;
    FileNotFoundError.

    >>> class_names({"dog": 1, "cat": 0}), class_names(2)
    (('cat', 'dog'), ('class 0', 'class 1'))
    """
    count = _index(classes)
    if count is not None and count > 0:
        return _numbered(count)
    file = isinstance(classes, str | PathLike)
    found, where = (_from_file(Path(classes).expanduser()), Path(classes).name) if file else (classes, "`classes`")
    if isinstance(found, Mapping):
        inner = [found[key] for key in WRAPPED if isinstance(found.get(key), Mapping | list | tuple)]
        found = _in_order(inner[0] if inner else found, where)
    elif hasattr(found, "tolist"):  # an array, or a column of a table
        found = found.tolist()
    if (
        isinstance(found, list | tuple)
        and found
        and all(isinstance(each, Mapping) and "name" in each for each in found)
    ):
        found = [each["name"] for each in found]
    if not isinstance(found, list | tuple) or not found or not all(isinstance(name, str) for name in found):
        got = repr(classes) if len(repr(classes)) < 80 else type(found).__name__
        raise ValueError(f"expected a list of class names, a file of them or how many there are, got {got}")
    empty = [i for i, name in enumerate(found) if not name.strip()]
    if empty:
        raise ValueError(f"expected a name for every class, but that of class {empty[0]} in {where} is empty")
    return tuple(map(str, found))


def _from_file(path: Path) -> object:
    """Return what a file of class names holds."""
    if not path.is_file():
        raise FileNotFoundError(f"no file of class names at {path}" + (": it is a folder" if path.is_dir() else ""))
    if path.suffix.lower() not in (*TEXT, ".json"):
        raise ValueError(f"expected class names in a file ending in .txt or .json, got {path.name}")
    try:
        text = path.read_text("utf-8-sig")
        if path.suffix.lower() == ".json":
            return json.loads(text)
        if text.lstrip().startswith(("{", "[")):
            return ast.literal_eval(text.strip())
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is no text in UTF-8: {error}") from error
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        kind = "JSON" if path.suffix.lower() == ".json" else "list or dictionary of Python"
        raise ValueError(f"{path.name} is no {kind}: {error}") from error
    lines = [line.strip() for line in text.strip("\n\r\t ").split("\n")] if text.strip() else []
    ids = [re.fullmatch(r"n\d{8}\s+(.+)", line) for line in lines]
    return [line[1] for line in ids] if all(ids) else lines


def _in_order(found: Mapping | list | tuple, where: str) -> object:
    """Return the names of {index: name} or {name: index} in the order of the indices, a list as it is."""
    if not isinstance(found, Mapping):
        return found
    by_name = all(_index(value) is not None for value in found.values())
    try:
        pairs = [(_index(v), k) if by_name else (int(k), v) for k, v in found.items()]
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected {{index: name}} or {{name: index}} in {where}: {error}") from error
    if sorted(index for index, _ in pairs) != list(range(len(pairs))):
        raise ValueError(
            f"expected the indices 0 to {len(pairs) - 1} of {len(pairs)} classes in {where}, each once"
        )
    ordered = [name for _, name in sorted(pairs, key=lambda pair: pair[0])]
    return [name[-1] if isinstance(name, list | tuple) and name else name for name in ordered]


@lru_cache(maxsize=16)
def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"class {i}" for i in range(count))


def _index(value: object) -> int | None:
    """Return a whole number of any kind as int, also of NumPy and torch; None for anything else, booleans too.

    >>> _index(np.int64(3)), _index(True), _index(3.0), _index("3")
    (3, None, None, None)
    """
    if isinstance(value, bool | np.bool_) or "bool" in str(getattr(value, "dtype", "")):
        return None
    if getattr(value, "ndim", 0):  # of arrays and tensors, whose single elements would pass
        return None
    try:
        return operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def label_indices(labels: Iterable[str | int] | str | int, classes: Sequence[str]) -> list[int]:
    """Return the indices of labels given by name or index, without repetition, in the order given.

    A name is taken as it is if a class has it; else it may be one of the synonyms that a class names, separated by
    commas ("tabby" for "tabby, tabby cat"); else both again, but for capitals, underscores and blanks. At the first
    of these that finds any it must be one: "maillot" is the first of "maillot" and "maillot, tank suit",
    but "crane" is refused where two are called so. A number is whole and never text, unless a class has that name.

    Raises ValueError for an unknown name (with the nearest), for an index that is none or no whole number, and for
    a name that several classes share.

    >>> label_indices(["dog", 0], ("cat", "dog")), label_indices("Tabby Cat", ("tench", "tabby, tabby cat"))
    ([1, 0], [1])
    """
    single = isinstance(labels, str) or _index(labels) is not None
    return list(dict.fromkeys(_place(label, classes) for label in ([labels] if single else labels)))


def _place(label: object, classes: Sequence[str]) -> int:
    index = _index(label)
    if index is not None:
        if not 0 <= index < len(classes):
            raise ValueError(f"expected labels in 0..{len(classes) - 1}, got {index}")
        return index
    if not isinstance(label, str):
        shown = label.tolist() if isinstance(label, Tensor | np.ndarray | np.generic) else label
        raise ValueError(f"expected labels as names or whole numbers, got {shown!r}")
    for alike in (str, _plain):
        for parts in (lambda name: [name], _synonyms):
            places = [i for i, name in enumerate(classes) if alike(label) in map(alike, parts(name))]
            if len(places) > 1:
                shown = ", ".join(f"{i} ({classes[i]})" for i in places[:5])
                raise ValueError(f"label {label!r} names several classes: give the index, one of {shown}")
            if places:
                return places[0]
    if re.fullmatch(r"\s*[+-]?\d+\s*", label):
        raise ValueError(f"unknown label {label!r}: an index is a number, {int(label)}, and no text")
    return classes.index(check_known("label", label, classes))


def _synonyms(name: str) -> list[str]:
    return [part.strip() for part in name.split(",")]


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").split())
