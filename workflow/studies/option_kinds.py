"""What the studies' command lines take: a wrong value is one sentence, before anything is read or measured."""

import math
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path


def whole(least: int = 1) -> Callable[[str], int]:
    """Return the type of an option that is a whole number, `least` or more.

    >>> whole(0)("12")
    12
    """

    def number(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and int(text) >= least):
            raise ArgumentTypeError(f"expected a whole number, {least} or more, got {text!r}")
        return int(text)

    return number


def positive(text: str) -> float:
    """Return an option that is a number above 0.

    >>> positive("0.1")
    0.1
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def folder(text: str) -> Path:
    """Return an option that is a folder which is there.

    >>> folder(".")
    PosixPath('.')
    """
    if not Path(text).is_dir():
        raise ArgumentTypeError(f"expected a folder that is there, got {text!r}")
    return Path(text)
