"""The list of references: every work has a link, and stands where its author and year say."""

import re

from author_year import AuthorYear
from bs4 import BeautifulSoup
from pybtex.database import parse_file, parse_string

from workflow import ROOT

BOOK = ROOT / "book" / "references.bib"
TWO = "@misc{%s, author = {%s}, title = {%s}, year = {2016}}"


def labels(bibliography):
    return [entry.label for entry in AuthorYear().format_bibliography(bibliography)]


def test_every_work_has_a_link_of_a_known_kind():
    kinds = {
        "doi": r"10\.\d{4,}/\S+",
        "eprint": r"\d{4}\.\d{4,5}",  # arXiv's
        "url": r"https?://\S+",
    }
    entries = parse_file(BOOK).entries
    assert len(entries) > 40
    for key, entry in entries.items():
        found = {kind for kind, form in kinds.items() if re.fullmatch(form, entry.fields.get(kind, ""))}
        assert found and found == set(kinds) & set(entry.fields), key


def test_labels_are_those_of_citations_and_works_of_one_year_are_told_apart():
    one, two, three = "He, Kaiming", "van den Berg, Rianne and {\\'E}toile, Ada", "He, K. and Li, F. and Sun, J."
    text = "\n".join(
        TWO % each for each in (("a", three, "B"), ("b", three, "A"), ("c", two, "T"), ("d", one, "T"))
    )
    assert labels(parse_string(text, "bibtex")) == [
        *("He et al., 2016a", "He et al., 2016b", "He, 2016"),
        "van den Berg and Étoile, 2016",
    ]


def test_the_page_lists_all_works_by_author_with_their_links(site):
    page = BeautifulSoup((site / "book" / "references.html").read_text(), "html.parser")
    entries = page.select("div.citation")
    assert len(entries) == len(parse_file(BOOK).entries)
    assert all(entry.find("a", href=re.compile("^https?://")) for entry in entries)
    names = [entry.find("span", "label").get_text(strip=True).strip("[]").casefold() for entry in entries]
    assert names == sorted(names) and any(name.startswith("david et al., 2022") for name in names)
