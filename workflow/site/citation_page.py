"""How to cite the book, in words and as BibTeX, from CITATION.cff."""

from pathlib import Path

import yaml

from workflow.site import escape

KEY = "cam_book"
ADDRESS = "repository-code"  # the field of CITATION.cff
NOTE = (
    "The address of this book is not set yet. One setting says it, `repository` in `_config.yml` (see "
    '"Other forms of the book"): then the citation, its BibTeX and the file below have it. Until then add where '
    "you found the book."
)


def addressed(text: str, repository: str) -> str:
    """Return the text of a CITATION.cff with the repository's address, if there is one and the text has none.

    >>> addressed("title: A\\n", "https://github.com/o/n")
    'title: A\\nrepository-code: https://github.com/o/n\\n'
    """
    known = not repository or yaml.safe_load(text).get(ADDRESS)
    return text if known else f"{text}{ADDRESS}: {repository}\n"


def citation_part(path: Path) -> str:
    """Return the part of the citation page that `path`, a CITATION.cff, decides, as MyST.

    Raises ValueError if the file lacks a title, authors or a version.
    """
    facts = yaml.safe_load(path.read_text())
    if missing := [name for name in ("title", "authors", "version") if not facts.get(name)]:
        raise ValueError(f"expected title, authors and version in {path}, missing: {', '.join(missing)}")
    authors = [
        author.get("name") or f"{author['family-names']}, {author['given-names']}" for author in facts["authors"]
    ]
    year, address = str(facts.get("date-released", ""))[:4], facts.get(ADDRESS, "")
    words = [
        f"{escape.myst('; '.join(authors))}{f' ({escape.myst(year)})' if year else ''}",
        f"*{escape.myst(facts['title'])}*",
        f"Version {escape.myst(facts['version'])}",
    ]
    fields = {
        # A second pair of braces keeps BibTeX from taking a group's name for a person's.
        "author": " and ".join(f"{{{a}}}" if "," not in a else a for a in authors),
        "title": facts["title"],
        "year": year,
        "version": facts["version"],
        "url": address,
    }
    entry = "".join(f"  {name:<7} = {{{value}}},\n" for name, value in fields.items() if value)
    cited = ". ".join([*words, *([escape.myst_address(address)] if address else [])])
    shown = escape.code(f"@software{{{KEY},\n{entry}}}", "bibtex")
    parts = [escape.myst(facts.get("message", "")), f"> {cited}.", shown]
    return "\n\n".join([*parts, *([] if address else [escape.fenced("{note}", NOTE, ":")])]) + "\n"
