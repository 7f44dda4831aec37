"""The book as one page and on paper."""

import re
import shutil

import pytest

from tests.book.test_book import Resources
from workflow.site import export


def test_every_page_is_there_once_and_in_order(single):
    names, page = single
    text = page.read_text()
    places = [text.index(f'<div class="single-page" id="{export.anchor(name)}">') for name in names]
    assert places == sorted(places) and text.count('class="single-page"') == len(names)
    assert text.count("<h1>") == len(names)


def test_no_id_is_twice_and_every_link_and_picture_resolves(single):
    _, page = single
    parser = Resources(page)
    assert len(set(parser.ids)) == len(parser.ids)
    inside = [link[1:] for link in parser.links if link.startswith("#")]
    assert len(inside) > 300 and set(inside) <= set(parser.ids)
    for link in [*parser.links, *parser.loaded]:
        file = (link or "").split("#")[0].split("?")[0]
        assert not file or re.match(r"[a-z]+:", file) or (page.parent / file).is_file(), link


def test_two_pages_with_the_same_ids_keep_their_own_links(tmp_path):
    (tmp_path / "book").mkdir()
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / "book" / f"{name}.html").write_text(
            f'<head></head>\n<article class="bd-article"><h1>{name}<a class="headerlink" href="#x">#</a></h1>'
            f'<p id="x"><a href="#x">own</a><a href="{other}.html#x">other</a></p><script>one()</script></article>'
        )
    text = export.single_page(tmp_path, ["book/a", "book/b"]).read_text()
    assert text.count('<a href="#book-a--x">own</a><a href="#book-b--x">other</a>') == 1
    assert text.count('<a href="#book-b--x">own</a><a href="#book-a--x">other</a>') == 1
    assert "one()" not in text


def test_a_title_in_the_list_of_contents_stays_text(tmp_path):
    title = "&lt;b&gt; <code>&amp;lt;</code>"
    link = '<a class="headerlink" href="#x">#</a>'
    (tmp_path / "a.html").write_text(
        f'<html><head></head><article class="bd-article"><h1>{title}{link}</h1></article>'
    )
    assert f'<li><a href="#a">{title}</a></li>' in export.single_page(tmp_path, ["a"]).read_text()


def test_a_page_that_is_not_built_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected the built page .*book/none\.html"):
        export.single_page(tmp_path, ["book/none"])


def test_without_a_browser_the_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(export.shutil, "which", lambda name: None)
    with pytest.raises(FileNotFoundError, match="printing needs Chromium"):
        export.print_pdf(tmp_path / "x.html", tmp_path / "x.pdf")


def test_the_print_has_pages_bookmarks_and_no_path_of_this_machine(single, tmp_path):
    if not any(map(shutil.which, export.BROWSERS)):
        pytest.skip("Chromium is not installed")
    _, page = single
    data = export.print_pdf(page, tmp_path / "book.pdf").read_bytes()
    assert data.startswith(b"%PDF") and len(re.findall(rb"/Type\s*/Page\b", data)) > 60
    assert b"/Outlines" in data and b"/StructTreeRoot" in data
    assert b"file:///" not in data


def test_a_missing_picture_fails_the_print(tmp_path):
    if not any(map(shutil.which, export.BROWSERS)):
        pytest.skip("Chromium is not installed")
    page = tmp_path / "x.html"
    ready = "<script>window.MathJax = {startup: {promise: Promise.resolve()}}</script>"
    page.write_text(f'{ready}<img src="none.png"><span class="math">x</span>')
    with pytest.raises(RuntimeError, match="1 pictures and 1 formulas"):
        export.print_pdf(page, tmp_path / "x.pdf")
    assert not (tmp_path / "x.pdf").exists()
