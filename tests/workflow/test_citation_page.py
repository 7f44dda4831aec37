"""The page on citing says what CITATION.cff says, and that file and the references agree."""

import re

import pytest
import yaml

from tests import tiny_book
from tests.conftest import ROOT
from workflow.site import escape
from workflow.site.citation_page import NOTE, addressed, citation_part


def write(folder, **changed):
    facts = {
        "message": "Please\n  cite.",
        "title": "A book",
        "version": "2.0",
        "authors": [{"family-names": "Doe", "given-names": "Jo"}, {"name": "The group"}],
    }
    path = folder / "CITATION.cff"
    path.write_text(yaml.safe_dump(facts | changed))
    return path


def test_a_known_file_gives_a_known_text(tmp_path):
    changed = {"date-released": "2026-03-01", "repository-code": "https://example.org/book"}
    text = citation_part(write(tmp_path, **changed))
    assert re.sub(r"\[(.*?)\]\{\.value\}", r"\1", text).startswith(
        "Please cite.\n\n> Doe, Jo; The group (2026). *A book*. Version 2.0. "
        "[`https://example.org/book`](<https://example.org/book>)."
    )
    assert "author  = {Doe, Jo and {The group}},\n  title   = {A book},\n  year    = {2026}," in text
    assert "url     = {https://example.org/book},\n}" in text and NOTE not in text


def test_what_the_file_does_not_say_is_left_out_and_what_it_must_say_is_asked_for(tmp_path):
    text = citation_part(write(tmp_path))
    assert "year" not in text and "url" not in text and "()" not in text
    assert "*[A book]{.value}*. Version [2.0]{.value}.\n" in text and NOTE in text, "whole without an address"
    with pytest.raises(ValueError, match="missing: version"):
        citation_part(write(tmp_path, version=None))


def test_the_setting_of_the_repository_completes_the_file_and_the_citation(tmp_path):
    address = "https://github.com/owner/name"
    project = tiny_book.write(tmp_path / "project", address=address)
    (project / "book" / "citation.md").write_text(tiny_book.PAGES["citation"] + "\n{download}`../CITATION.cff`\n")
    site = tiny_book.site(project, tmp_path / "out")
    shown = re.sub("<.*?>", "", (site / "book" / "citation.html").read_text())
    assert f"Version {yaml.safe_load((ROOT / 'CITATION.cff').read_text())['version']}. {address}." in shown
    assert f"url     = {{{address}}}," in shown and "is not set yet" not in shown
    (file,) = site.glob("_downloads/*/CITATION.cff")
    assert yaml.safe_load(file.read_text())["repository-code"] == address
    assert "repository-code" not in (ROOT / "CITATION.cff").read_text(), "the project's own file stays"


def test_an_address_in_the_file_goes_before_the_setting():
    assert addressed("repository-code: a\n", "b") == "repository-code: a\n"


def test_an_entry_that_is_no_bibtex_has_no_colours():
    """Sphinx warns of a block that is not of its language, and warnings stop the build."""
    assert escape.code('@software{a,\n title = {"})|\\*"},\n}', "bibtex").startswith("```text\n")
    assert escape.code("@software{a,\n title = {b},\n}", "bibtex").startswith("```bibtex\n")


def test_the_file_and_the_references_name_the_same_three_papers():
    bib = (ROOT / "book" / "references.bib").read_text()
    titles = {re.sub("[{}]", "", title) for title in re.findall(r"title\s+= \{(.*)\},", bib)}
    papers = yaml.safe_load((ROOT / "CITATION.cff").read_text())["references"]
    assert len(papers) == 3 and {paper["title"] for paper in papers} <= titles


def test_the_page_shows_the_entries_of_the_three_papers_and_of_the_book(site):
    page = (site / "book" / "citation.html").read_text()
    shown = re.sub("<.*?>", "", page)
    for key in ("@software{cam_book", "david2022minmax", "meng2019representative", "naidu2020sscam"):
        assert key in shown, key
    assert "zhou2016cam" not in shown and shown.count("@inproceedings{") == 1
    assert "CITATION.cff" in page and list(site.glob("_downloads/*/CITATION.cff"))
