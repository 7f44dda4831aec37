"""How to cite the book, in words and as BibTeX, from CITATION.cff."""

from pathlib import Path

import yaml

from workflow.site import escape

KEY = "cam_book"


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
    year, address = str(facts.get("date-released", ""))[:4], facts.get("repository-code", "")
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
    return f"{escape.myst(facts.get('message', ''))}\n\n> {cited}.\n\n{shown}\n"
