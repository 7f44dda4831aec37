"""The site builds without a warning from the committed chapters, which were all executed."""

import html.parser
import re

import build_book
import nbformat
import pandas as pd
import pytest
import yaml

from cam_utils import claims
from tests.conftest import ROOT

VERDICTS = ("holds", "fails", "undecided")


class Resources(html.parser.HTMLParser):
    """Collects what a page loads, and what it links to."""

    def __init__(self):
        super().__init__()
        self.loaded, self.links = [], []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag in ("script", "img", "source", "iframe"):
            self.loaded.append(values.get("src"))
        elif tag == "link" and values.get("rel") in ("stylesheet", "preload", "icon"):
            self.loaded.append(values.get("href"))
        elif tag == "a":
            self.links.append(values.get("href"))


def test_every_chapter_is_committed_with_the_outputs_of_a_whole_run():
    for path in build_book.chapters():
        cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1)), path.name
        assert not any(o.output_type == "error" or o.get("name") == "stderr" for c in cells for o in c.outputs)
        checked = [c for c in cells if "nbval-check-output" in c.metadata.get("tags", [])]
        assert len(checked) >= 5 and all(c.outputs for c in checked), path.name


def test_every_page_of_the_contents_is_built(site):
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    files = [toc["root"], *(c["file"] for part in toc["parts"] for c in part["chapters"])]
    for name in files:
        assert (site / f"{name}.html").stat().st_size > 5000, name


def test_no_page_loads_anything_from_elsewhere_and_local_links_exist(site):
    for page in [*site.glob("book/*.html"), *site.glob("notebooks/*.html")]:
        parser = Resources()
        parser.feed(page.read_text())
        assert parser.loaded
        assert not [url for url in parser.loaded if url and re.match(r"(https?:)?//", url)], page.name
        for link in parser.links:
            target = (link or "").split("#")[0].split("?")[0]
            if target and not re.match(r"[a-z]+:", target):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_equations_are_numbered_and_citations_resolved(site):
    metrics = (site / "book" / "metrics.html").read_text()
    assert metrics.count('class="eqno"') >= 8
    chapter = (site / "notebooks" / "minmax_cam.html").read_text()
    assert "David" in chapter and "[?]" not in chapter and "Fig. " in chapter
    assert (site / "_sources" / "notebooks" / "minmax_cam.ipynb").exists()


def test_a_warning_fails_the_build(tmp_path, monkeypatch):
    broken = tmp_path / "repository"
    broken.mkdir()
    for name in build_book.SOURCES:
        (broken / name).parent.mkdir(exist_ok=True)
        (broken / name).symlink_to(ROOT / name)
    (broken / "book").unlink()
    (broken / "book").mkdir()
    for page in (ROOT / "book").iterdir():
        (broken / "book" / page.name).write_bytes(page.read_bytes())
    with (broken / "book" / "results.md").open("a") as page:
        page.write("\nSee {numref}`fig-that-is-nowhere`.\n")
    monkeypatch.setattr(build_book, "ROOT", broken)
    notebooks = [ROOT / "notebooks" / "minmax_cam.ipynb"]
    with pytest.raises(RuntimeError, match="fig-that-is-nowhere"):
        build_book.build(notebooks, tmp_path / "out")


def test_the_committed_ledger_is_that_of_the_stored_chapters():
    """The verdicts of data/results/claims.csv are those that the chapters' claims tables show."""
    ledger = pd.read_csv(build_book.CLAIMS)
    assert set(claims.CLAIMS) <= set(ledger["claim"].str.rstrip("'"))
    for path in (chapter for chapter in build_book.chapters() if chapter.stem in claims.SETTINGS):
        cells = nbformat.read(path, as_version=4).cells
        tables = [c for c in cells if "-claims" in c.metadata.get("mystnb", {}).get("figure", {}).get("name", "")]
        shown = sum(
            o["data"]["text/html"].count(f"<td>{v}</td>") for c in tables for o in c.outputs for v in VERDICTS
        )
        judged = ledger[(ledger["chapter"] == path.stem) & ledger["verdict"].isin(VERDICTS)]
        assert 10 < shown <= len(judged), path.name
        if path.stem != "minmax_cam":  # which sums up its claims about two heads
            assert shown == len(judged), path.name
