"""Kinds of values that a notebook's parameter may have: in words, how a value is checked, and what a text means.

A text comes from a command line or from a grid's YAML. What it means depends on the kind alone: where text is
expected, `2024-05-01`, `1e5`, `no` and `~` stay what they are.
"""

import json
import os
import re
from ast import AnnAssign, Assign, Name, literal_eval, parse
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from cam_utils.names import check_known

MANY = 1_000_000_000
SHOWN = 120  # characters of a refused value in a sentence
WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
ITEM = re.compile(r"""\s*(?:("(?:[^"\\]|\\.)*")\s*|'([^']*)'\s*|([^,]*))(?:,|\Z)""", re.DOTALL)


class Kind(NamedTuple):
    """What values a parameter may have."""

    words: str  # what is expected, for sentences
    check: Callable[[str, object], object]  # (name, value) -> the value in its own form; ValueError with a sentence
    read: Callable[[object], object] = lambda raw: raw  # what a text, or a list of texts, means; checks nothing


def refused(name: str, words: str, value: object) -> ValueError:
    """Return the error of a value that is none of those expected.

    >>> raise refused("limit", "a whole number", float("nan"))
    Traceback (most recent call last):
        ...
    ValueError: expected limit as a whole number, got nan
    """
    try:
        shown = repr(value)
    except ValueError:  # Python spells no whole number of more than 4,300 digits
        shown = f"a {type(value).__name__} too long to be shown"
    return ValueError(f"expected {name} as {words}, got {shown if len(shown) <= SHOWN else shown[:SHOWN] + '...'}")


def text(words: str = "text", *, fits: Callable[[str], bool] = str.strip) -> Kind:
    """Return the kind of texts for which `fits` holds, by default of those that are not blank.

    Whatever they look like, they stay as they are.

    >>> kind = text()
    >>> kind.check("name", kind.read("4.10"))
    '4.10'
    """

    def check(name: str, value: object) -> str:
        if not isinstance(value, str) or "\0" in value or not fits(value):
            raise refused(name, words, value)
        try:
            value.encode()
        except UnicodeEncodeError:  # half a character, from a name in another encoding: no notebook holds it
            raise refused(name, f"{words} in UTF-8", value) from None
        return value

    return Kind(words, check)


def path(words: str = "a path", *, fits: Callable[[str], bool] = str.strip) -> Kind:
    """Return the kind of paths: texts, and "~/" at the beginning is the home folder."""

    def read(raw: object) -> object:
        return os.path.expanduser(raw) if isinstance(raw, str) and raw.startswith("~/") else raw

    return text(words, fits=fits)._replace(read=read)


def whole(least: int = 1, most: int = MANY, unit: str = "") -> Kind:
    """Return the kind of whole numbers from `least` to `most`.

    >>> kind = whole(1, 100, " of images")
    >>> kind.check("limit", kind.read("12"))
    12
    >>> kind.check("limit", True)
    Traceback (most recent call last):
        ...
    ValueError: expected limit as a whole number of images from 1 to 100, got True
    """
    words = f"a whole number{unit} from {least} to {most:,}"

    def check(name: str, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise refused(name, words, value)
        return value

    def read(raw: object) -> object:
        fits = isinstance(raw, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", raw)
        return int(raw) if fits else raw

    return Kind(words, check, read)


def real(words: str, fits: Callable[[float], bool]) -> Kind:
    """Return the kind of numbers for which `fits` holds; say so in `words`. It must refuse what is not finite.

    >>> kind = real("a number above 0 and below 1", lambda v: 0 < v < 1)
    >>> kind.check("share", kind.read("1e-1"))
    0.1
    """

    def check(name: str, value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not fits(value):
            raise refused(name, words, value)
        return float(value)

    def read(raw: object) -> object:
        number = r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*"
        return float(raw) if isinstance(raw, str) and re.fullmatch(number, raw) else raw

    return Kind(words, check, read)


def flag() -> Kind:
    """Return the kind of truth values; a text may say true, yes, on, false, no or off.

    >>> [flag().read(raw) for raw in ("True", "no", "1")]
    [True, False, '1']
    """
    words = "true or false"

    def check(name: str, value: object) -> bool:
        if not isinstance(value, bool):
            raise refused(name, words, value)
        return value

    return Kind(words, check, lambda raw: WORDS.get(raw.strip().lower(), raw) if isinstance(raw, str) else raw)


def one_of(*names: str, source: str = "") -> Kind:
    """Return the kind of a few names: those of a dict or tuple of the package (:func:`registered`), and these.

    >>> one_of("both", source="networks/models.py:HEADS").check("head", "lineer")
    Traceback (most recent call last):
        ...
    ValueError: unknown head 'lineer'; did you mean 'linear'? (valid: linear, kernel-usage, both)
    """
    valid = (*(registered(source) if source else ()), *names)
    words = f"one of {', '.join(valid)}"

    def check(name: str, value: object) -> str:
        if not isinstance(value, str) or len(value) > SHOWN:
            raise refused(name, words, value)
        return check_known(name, value, valid)

    return Kind(words, check)


def several(kind: Kind, least: int = 1, most: int = MANY, *, distinct: bool = False, lone: bool = False) -> Kind:
    """Return the kind of lists of `least` to `most` values; a text holds them with commas between.

    distinct: no value comes twice. A single value stands for a list of one; with `lone` it stays by itself.

    >>> kind = several(whole(1, 100))
    >>> kind.check("steps", "1, 5"), kind.check("steps", kind.read("[5, 10]")), kind.check("steps", 3)
    ([1, 5], [5, 10], [3])
    """
    count = f"{least} to {most} values" if most < MANY else "one value or more" if least == 1 else "any number"
    words = f"a list, or a text with commas, of {count}, each {kind.words}"

    def read(raw: object) -> object:
        if isinstance(raw, str):
            return [text if quoted else kind.read(text) for text, quoted in items(raw)]
        return [kind.read(each) for each in raw] if isinstance(raw, list | tuple) else raw

    def check(name: str, value: object) -> object:
        found = read(value) if isinstance(value, str) else value
        if isinstance(found, int | float):
            found = [found]
        if not isinstance(found, list | tuple) or not least <= len(found) <= most:
            raise refused(name, words, value)
        checked = [kind.check(f"entry {i} of {name}", each) for i, each in enumerate(found, 1)]
        if distinct and (twice := [each for i, each in enumerate(checked) if each in checked[:i]]):
            raise ValueError(f"expected every entry of {name} once, got {twice[0]!r} twice")
        return checked[0] if lone and len(checked) == 1 else checked

    return Kind(words, check, read)


def items(raw: str) -> list[tuple[str, bool]]:
    """Return the items of a text with commas, in brackets or not, and whether each stood in quotation marks.

    >>> items("cam, minmax-cam") == items("[cam, minmax-cam]") == [("cam", False), ("minmax-cam", False)]
    True
    >>> items("'bow, arrow', [old] cats")
    [('bow, arrow', True), ('[old] cats', False)]
    """
    inner = raw.strip()
    if re.fullmatch(r"\[([^\[\]]*|[^\]]*\[.*)\]", inner, re.DOTALL):  # "[old] cats, new [cats]" is in no brackets
        inner = inner[1:-1]
    found, at = [], 0
    while at < len(inner) and (match := ITEM.match(inner, at)):
        at = match.end()
        double, single, bare = match.groups()
        if double is not None:
            try:
                found.append((json.loads(double, strict=False), True))
            except ValueError:  # a backslash that JSON does not know
                found.append((double[1:-1], True))
        elif single is not None:
            found.append((single, True))
        elif bare.strip():
            found.append((bare.strip(), False))
    return found


def mapping(kind: Kind) -> Kind:
    """Return the kind of {text: value}; a text holds one as YAML, in braces.

    >>> kind = mapping(several(text()))
    >>> kind.check("labels", kind.read("{a.jpg: [cat, no]}"))
    {'a.jpg': ['cat', 'no']}
    """
    words = f"{{text: value}} with, as each value, {kind.words}"

    def read(raw: object) -> object:
        if isinstance(raw, str) and raw.strip().startswith("{"):
            import yaml  # only texts of command lines and grids need it

            try:
                raw = yaml.load(raw, yaml.BaseLoader)
            except yaml.YAMLError:
                return raw
        return {key: kind.read(value) for key, value in raw.items()} if isinstance(raw, dict) else raw

    def check(name: str, value: object) -> dict:
        if not isinstance(value, Mapping) or not value or not all(isinstance(key, str) for key in value):
            raise refused(name, words, value)
        return {key: kind.check(f"{name} of {key}", each) for key, each in value.items()}

    return Kind(words, check, read)


def either(*kinds: Kind) -> Kind:
    """Return the kind of what is of one of these kinds; the first that fits is taken.

    >>> kind = either(whole(0), text("a name"))
    >>> kind.check("label", kind.read("207")), kind.check("label", kind.read("tabby"))
    (207, 'tabby')
    """
    words = ", or ".join(kind.words for kind in kinds)

    def check(name: str, value: object) -> object:
        for kind in kinds:
            try:
                return kind.check(name, value)
            except ValueError:
                continue
        raise refused(name, words, value)

    def read(raw: object) -> object:
        for kind in kinds:
            try:
                return kind.check("it", kind.read(raw))
            except ValueError:
                continue
        return raw

    return Kind(words, check, read)


@cache
def registered(source: str) -> tuple:
    """Return the names of a dict (its keys) or a tuple of the package, read from its source "FILE:NAME".

    To import it would import torch, for which a listing of parameters need not wait.

    >>> registered("networks/models.py:HEADS")
    ('linear', 'kernel-usage')
    """
    file, name = source.split(":")
    for line in parse((Path(__file__).parent / file).read_text()).body:
        targets = line.targets if isinstance(line, Assign) else [line.target] if isinstance(line, AnnAssign) else []
        if any(isinstance(target, Name) and target.id == name for target in targets):
            return tuple(literal_eval(each) for each in getattr(line.value, "keys", None) or line.value.elts)
    raise LookupError(f"no {name} in {file}")
