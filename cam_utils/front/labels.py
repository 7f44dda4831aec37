"""The names of a model's labels, and which of them are explained."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cam_utils.names import check_known


def class_names(classes: str | Path | Sequence[str] | int) -> tuple[str, ...]:
    """Return the names of a model's labels in the order of its logits.

    classes: the names; how many there are; or a file: text with one name per line, or JSON with a list of names,
    {"index": name}, {name: index}, or ImageNet's {"index": [id, name]}.

    Raises ValueError for indices that are not 0 to L-1 and for an empty list, FileNotFoundError.

    >>> class_names({"dog": 1, "cat": 0}), class_names(2)
    (('cat', 'dog'), ('class 0', 'class 1'))
    """
    if isinstance(classes, int) and not isinstance(classes, bool) and classes > 0:
        return tuple(f"class {i}" for i in range(classes))
    found = classes
    if isinstance(classes, str | Path):
        path = Path(classes).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"no file of class names at {classes}")
        try:
            found = json.loads(path.read_text()) if path.suffix == ".json" else path.read_text().split("\n")
        except ValueError as error:
            raise ValueError(f"{path.name} is no JSON: {error}") from error
        found = [line.strip() for line in found if line.strip()] if path.suffix != ".json" else found
    if isinstance(found, Mapping):
        by_name = all(isinstance(value, int) for value in found.values())
        pairs = [(int(v), k) if by_name else (int(k), v) for k, v in found.items()]
        if sorted(index for index, _ in pairs) != list(range(len(pairs))):
            raise ValueError(f"expected the indices 0 to {len(pairs) - 1} of {len(pairs)} classes, each once")
        found = [value if isinstance(value, str) else value[-1] for _, value in sorted(pairs)]
    if not isinstance(found, list | tuple) or not found or not all(isinstance(name, str) for name in found):
        raise ValueError(f"expected a list of class names, a file of them or how many there are, got {classes!r}")
    return tuple(found)


def label_indices(labels: Iterable[str | int], classes: Sequence[str]) -> list[int]:
    """Return the indices of labels given by name or index, without repetition, in the order given.

    Raises ValueError for an unknown name (with the nearest), for an index that is none, and for a name that two
    classes share.

    >>> label_indices(["dog", 0], ("cat", "dog"))
    [1, 0]
    """
    found = []
    for label in labels:
        if isinstance(label, int) and not isinstance(label, bool):
            if not 0 <= label < len(classes):
                raise ValueError(f"expected labels in 0..{len(classes) - 1}, got {label}")
            found.append(label)
            continue
        check_known("label", label, classes)
        places = [i for i, name in enumerate(classes) if name == label]
        if len(places) > 1:
            raise ValueError(f"label {label!r} names several classes: give the index, one of {places}")
        found += places
    return list(dict.fromkeys(found))
