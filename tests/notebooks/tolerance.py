"""When the output of a notebook's cell counts as the stored one: another processor may round otherwise.

Sums in another order change the seventh digit of a float, and now and then the last printed one. So before nbval
compares texts, words must be the same, whole numbers too, and numbers with decimals may differ by one unit of their
last printed digit. A cell of counts, where one image more moves a mean by a point, says in its metadata how far its
numbers may be apart: `"nbval_tolerance": 1.0`.
"""

import copy
import re

from nbval.plugin import IPyNbCell

NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?![\w.]*[a-zA-Z])")


def settled(new: str, stored: str, tolerance: float = 0.0) -> str:
    """Return `stored` where the new text differs from it by no more than the numbers may, else the new text.

    >>> stored = "<td>9.9 [9.0, 10.4]</td><td>holds</td> 3 images"
    >>> settled("<td>10.0 [9.0, 10.5]</td><td>holds</td> 3 images", stored) == stored
    True
    >>> [settled(new, "12.3") for new in ("12.5", "-12.3", "12", "nan")]
    ['12.5', '-12.3', '12', 'nan']
    >>> settled("4 of 10", "3 of 10"), settled("4 of 10", "3 of 10", tolerance=1.0)
    ('4 of 10', '3 of 10')
    """
    words = [" ".join(NUMBER.sub(" 0 ", text).split()) for text in (new, stored)]
    numbers = [NUMBER.findall(text) for text in (new, stored)]
    if words[0] == words[1] and all(_near(*pair, tolerance) for pair in zip(*numbers, strict=True)):
        return stored
    return new


def _near(new: str, stored: str, tolerance: float) -> bool:
    decimals = [len(text.partition(".")[2]) for text in (new, stored)]
    unit = 10.0 ** -decimals[1] if decimals[1] else 0.0
    allowed = max(unit, tolerance)
    return decimals[0] == decimals[1] and abs(float(new) - float(stored)) <= allowed + 1e-9


def equal(cell: IPyNbCell, outputs: list[dict]) -> bool:
    """Return whether `outputs` are the cell's stored ones to nbval, but for what :func:`settled` lets pass."""
    outputs, tolerance = copy.deepcopy(outputs), float(cell.cell.metadata.get("nbval_tolerance", 0))
    for new, stored in zip(outputs, cell.cell.outputs, strict=False):
        for one, other in ((new, stored), (new.get("data", {}), stored.get("data", {}))):
            for kind in one.keys() & other.keys():
                if isinstance(one[kind], str) and isinstance(other[kind], str):
                    one[kind] = settled(one[kind], other[kind], tolerance)
    return cell.compare_outputs(outputs, cell.cell.outputs)
