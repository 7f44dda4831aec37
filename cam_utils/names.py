"""One sentence for a name that is not known, used wherever the user passes one."""

import difflib
from collections.abc import Iterable


def check_known(what: str, name: object, names: Iterable[str]) -> None:
    """Raise ValueError unless `name` is one of `names`; the sentence offers the nearest.

    >>> check_known("method", "minmaxcam", ["cam", "minmax-cam"])
    Traceback (most recent call last):
        ...
    ValueError: unknown method 'minmaxcam'; did you mean 'minmax-cam' or 'cam'? (known: cam, minmax-cam)
    """
    names = list(names)
    if name in names:
        return
    near = difflib.get_close_matches(str(name), names, n=2, cutoff=0.4)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise ValueError(f"unknown {what} {name!r}{hint} (known: {', '.join(names)})")
