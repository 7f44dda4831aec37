"""One sentence for a name that is not known and one for a number that cannot be; and libraries by their names."""

import difflib
import importlib
import warnings
from collections.abc import Iterable
from types import ModuleType

MOST_PIXELS = 16384  # of a square's side: a float image of 3 GB, and no network's input is larger
MANY = 60  # a sentence lists so many names at most: ImageNet has 1,000 classes


def check_known(what: str, name: object, names: Iterable[str]) -> str:
    """Return `name` if it is one of `names`; else raise ValueError with a sentence that offers the nearest.

    >>> check_known("method", "minmaxcam", ["cam", "minmax-cam"])
    Traceback (most recent call last):
        ...
    ValueError: unknown method 'minmaxcam'; did you mean 'minmax-cam' or 'cam'? (valid: cam, minmax-cam)
    """
    names = list(names)
    if name in names:
        return name
    spelt = {str(known).lower(): known for known in reversed(names)}
    near = [spelt[each] for each in difflib.get_close_matches(str(name).lower(), spelt, n=2, cutoff=0.45)]
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    shown = names if len(names) <= MANY else [*names[:5], f"... {len(names)} in all"]
    raise ValueError(f"unknown {what} {name!r}{hint} (valid: {', '.join(map(str, shown)) or 'none'})")


def check_count(what: str, value: object, unit: str = "", least: int = 1) -> int:
    """Return `value` if it is a whole number, `least` or more; else raise ValueError.

    >>> check_count("limit", 2.5, " of samples")
    Traceback (most recent call last):
        ...
    ValueError: expected limit as a whole number of samples, 1 or more, got 2.5
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"expected {what} as a whole number{unit}, {least} or more, got {value!r}")
    return value


def check_size(size: object) -> int:
    """Return `size`, a square's side in pixels, if it is a whole number up to MOST_PIXELS; else raise ValueError.

    >>> check_size(10**6)
    Traceback (most recent call last):
        ...
    ValueError: expected size as a whole number of pixels, 1 to 16384, got 1000000
    """
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= MOST_PIXELS:
        raise ValueError(f"expected size as a whole number of pixels, 1 to {MOST_PIXELS}, got {size!r}")
    return size


def check_share(what: str, value: object) -> float:
    """Return `value` if it is a number from 0 to 1; else raise ValueError.

    >>> check_share("threshold", 1.5)
    Traceback (most recent call last):
        ...
    ValueError: expected threshold as a number from 0 to 1, got 1.5
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise ValueError(f"expected {what} as a number from 0 to 1, got {value!r}")
    return value


def library(module: str) -> ModuleType:
    """Return a library's module without tqdm's advice to install widgets, which would stand in every notebook.

    >>> library("json").__name__
    'json'
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "IProgress not found")
        return importlib.import_module(module)
