"""Which labels of which pictures are asked for, in every form: names, indices, rows of zeros and ones."""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real

import numpy as np
from torch import Tensor

from cam_utils.front.labels import class_names, label_indices
from cam_utils.names import check_known


def asked_labels(
    labels: object,
    pictures: int | Sequence[str],
    outputs: int,
    classes: Sequence[str] | None,
    *,
    every: bool = False,
) -> list[list[int] | None]:
    """Return the indices of the labels asked for in every picture, in the order given; None: what is predicted.

    labels: None; a name or an index, for every picture; a list of these; a list with a name, an index or a list for
    each picture; rows of zeros and ones [B, L] (boolean or floating-point, or whole numbers) that mark the labels;
    or {picture: labels} by the pictures' names. pictures: their names, or how many there are. outputs: L, the
    number of logits. classes: their names, if known. every: a flat list holds for each picture, as with one
    picture, and not an item for each.

    Raises ValueError for a label that is none, an empty set, rows of another length, a number of rows that is not
    that of the pictures, and for what could be read in two ways.

    >>> asked_labels([[3, 5], 1], 2, 10, None), asked_labels(["dog", 0], 1, 2, ("cat", "dog"))
    ([[3, 5], [1]], [[1, 0]])
    >>> asked_labels([[False, True, True]], 1, 3, None), asked_labels([0, 1, 0], 1, 3, None)
    ([[1, 2]], [[1]])
    """
    names = [str(i) for i in range(pictures)] if isinstance(pictures, int) else list(pictures)
    count = len(names)
    if labels is None:
        return [None] * count
    if isinstance(labels, Mapping):
        for name in labels:
            check_known("picture in labels", name, names)
        return [_row(labels[name], name, outputs, classes) if name in labels else None for name in names]
    labels = _plain(labels)
    if _single(labels):
        return [_row([labels], "every picture", outputs, classes)] * count
    if not isinstance(labels, list):
        raise ValueError(f"expected labels as names, indices or rows of zeros and ones, got {labels!r}")
    flat = all(map(_single, labels))
    if flat and (every or count == 1):
        return [_row(labels, "every picture" if every else "image 0", outputs, classes)] * count
    if len(labels) != count:
        raise ValueError(f"expected one list of labels for each of the {count} images, got {len(labels)}")
    if flat and not all(isinstance(label, str | Integral) and not isinstance(label, bool) for label in labels):
        raise ValueError(f"expected per image an index or a list of indices of labels, got {labels!r}")
    return [_row(row, f"image {i}", outputs, classes) for i, row in enumerate(labels)]


class _Marked(list):
    """Whole numbers that came in an array: rows of zeros and ones are usual there."""


def _plain(labels: object) -> object:
    """Return tensors, arrays and other iterables as lists of plain values, at every depth."""
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu()
        labels = labels.float().numpy() if labels.is_floating_point() else labels.numpy()
    if isinstance(labels, np.ndarray | np.generic):
        whole = np.issubdtype(labels.dtype, np.integer) and labels.ndim == 2
        return [_Marked(row) for row in labels.tolist()] if whole else labels.tolist()
    if isinstance(labels, str | bytes | Mapping | _Marked) or not isinstance(labels, Iterable):
        return labels
    return [_plain(label) for label in labels]


def _single(label: object) -> bool:
    return isinstance(label, str | Real)


def _row(row: object, where: str, outputs: int, classes: Sequence[str] | None) -> list[int]:
    """Return the indices of one picture's labels."""
    row = _plain(row)
    row = [row] if _single(row) else row
    if not isinstance(row, list) or not all(map(_single, row)):
        raise ValueError(f"expected per image an index or a list of indices of labels, got {row!r} for {where}")
    if row and all(isinstance(label, bool | Real) for label in row):
        marked = _marked(row, where, outputs)
        row = row if marked is None else marked
    if not row:
        raise ValueError(f"{where} has an empty set of labels: nothing to explain")
    named = [label for label in row if isinstance(label, str)]
    if named and classes is None:
        raise ValueError(f"the names of the model's labels are not known: give indices for {named}, or classes=")
    if classes is None:
        wrong = [label for label in row if not 0 <= label < outputs]
        if wrong:
            raise ValueError(f"expected labels in 0..{outputs - 1} for {where}, got {row}")
        return list(dict.fromkeys(map(int, row)))
    return label_indices(row, classes)


def _marked(row: list, where: str, outputs: int) -> list[int] | None:
    """Return which labels a row of zeros and ones marks; None if it is a list of indices."""
    booleans = [isinstance(label, bool) for label in row]
    whole = all(isinstance(label, Integral) for label in row)
    ones = all(label in (0, 1) for label in row)
    if any(booleans) or not whole:
        if len(row) != outputs or not ones or any(booleans) != all(booleans):
            raise ValueError(
                f"expected labels as whole numbers, names or a row of {outputs} zeros and ones for {where}, "
                f"got {row if len(row) < 20 else f'{len(row)} values'}"
            )
    elif not ones or len(row) != outputs or outputs == 1:
        return None
    elif outputs == 2 and sorted(row) == [0, 1]:
        if isinstance(row, _Marked):
            raise ValueError(
                f"labels {list(row)} for {where} may be two indices or a row that marks one of two: give a list of "
                "indices, or booleans"
            )
        return None
    return [index for index, label in enumerate(row) if label]


def names_of(outputs: int, classes: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the labels, "class 0" and so on where they are not known.

    Raises ValueError if there are more or fewer names than logits.
    """
    names = class_names(outputs) if classes is None else tuple(classes)
    if len(names) != outputs:
        raise ValueError(f"the model gives {outputs} logits, but {len(names)} classes are named")
    return names
