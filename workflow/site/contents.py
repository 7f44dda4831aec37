"""The table of contents, _toc.yml: its pages in reading order, and further ones below them."""

from collections.abc import Iterator, Mapping
from copy import deepcopy


def entries(node: object) -> Iterator[dict]:
    """Yield the entries that name a page, in reading order: all of the contents but their root."""
    if isinstance(node, dict):
        if "file" in node:
            yield node
        node = list(node.values())
    for child in node if isinstance(node, list) else ():
        yield from entries(child)


def pages_of(contents: dict) -> list[str]:
    """Return the pages in reading order, without suffixes.

    >>> pages_of({"root": "book/intro", "parts": [{"chapters": [{"file": "book/a", "sections": [{"file": "b"}]}]}]})
    ['book/intro', 'book/a', 'b']
    """
    return [contents["root"], *(entry["file"] for entry in entries(contents))]


def extended(contents: dict, below: Mapping[str, list[dict]]) -> dict:
    """Return the contents with further entries below pages: {page: entries}.

    Raises ValueError for pages that the contents do not list.
    """
    contents = deepcopy(contents)
    listed = {entry["file"]: entry for entry in entries(contents)}
    if missing := sorted(set(below) - set(listed)):
        raise ValueError(f"there are runs of chapters that _toc.yml does not list: {', '.join(missing)}")
    for page, further in below.items():
        listed[page].setdefault("sections", []).extend(further)
    return contents
