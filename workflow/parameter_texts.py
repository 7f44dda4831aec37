"""What texts mean as values of a notebook's parameters: by the declaration of a chapter, else by the defaults."""

import json
import math
from collections.abc import Mapping

from cam_utils.parameter_kinds import MANY, Kind, either, flag, items, mapping, real, several, text, whole
from cam_utils.parameters import CHAPTERS, Parameter, chapter_of


def kinds_of(defaults: Mapping[str, object]) -> dict[str, Parameter]:
    """Return what a notebook's parameters may be: a chapter, also a copy of one, is known by their names.

    >>> kinds_of({"x": 1})["x"].read("2"), kinds_of(dict.fromkeys(CHAPTERS["ss_cam"]))["limit"].read("null")
    (2, None)
    """
    if chapter := chapter_of(defaults):
        return CHAPTERS[chapter]
    return {
        name: Parameter(like(value), "", "as it is by default" if value is None else "")
        for name, value in defaults.items()
    }


def anything() -> Kind:
    """Return the kind of all values; a text that JSON reads is what JSON reads, a list in brackets one of such."""

    def read(raw: object) -> object:
        if isinstance(raw, list):
            return [read(each) for each in raw]
        if not isinstance(raw, str):
            return {name: read(each) for name, each in raw.items()} if isinstance(raw, dict) else raw
        try:
            return json.loads(raw, parse_constant=str)
        except ValueError:
            listed = raw.strip().startswith("[") and raw.strip().endswith("]")
            return [each if quoted else read(each) for each, quoted in items(raw)] if listed else raw

    return Kind("any value", lambda _, value: value, read)


def like(default: object) -> Kind:
    """Return the kind of a parameter of which only the default is known: a text, a number, a list, ...

    >>> [like(default).read("[no, 4.10]") for default in ("a", ["a"], [0.5], None)]
    ['[no, 4.10]', ['no', '4.10'], ['no', 4.1], ['no', 4.1]]
    >>> [like(default).read("1e3") for default in ("a", 2, 0.5, None)]
    ['1e3', 1000.0, 1000.0, 1000.0]
    """
    if isinstance(default, bool):
        return flag()
    if isinstance(default, int | float):
        return either(whole(-MANY), real("a number", math.isfinite))
    if isinstance(default, str):
        return text(fits=lambda _: True)
    if isinstance(default, list | tuple):
        return several(like(default[0]) if default else anything(), 0)
    return mapping(anything()) if isinstance(default, dict) else anything()
