"""One sentence for a name that is not known, used wherever the user passes one."""

import difflib
from collections.abc import Iterable


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
    near = difflib.get_close_matches(str(name).lower(), names, n=2, cutoff=0.45)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise ValueError(f"unknown {what} {name!r}{hint} (valid: {', '.join(names) or 'none'})")
