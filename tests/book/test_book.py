"""The site builds without a warning from the committed chapters, which were all executed."""

import html.parser
import re

import nbformat
import pandas as pd
import pytest
import yaml

from cam_utils import claims
from tests import tiny_book
from workflow import ROOT
from workflow.site import build

VERDICTS = ("holds", "fails", "undecided")


class Resources(html.parser.HTMLParser):
    """Collects what a page loads, what it links to, its ids and its pictures."""

    def __init__(self, page):
        super().__init__()
        self.loaded, self.links, self.ids, self.images = [], [], [], []
        self.feed(page.read_text())

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids += [values["id"]] if "id" in values else []
        self.images += [values] if tag == "img" else []
        if tag in ("script", "img", "source", "iframe"):
            self.loaded.append(values.get("src"))
        elif tag == "link" and values.get("rel") in ("stylesheet", "preload", "icon"):
            self.loaded.append(values.get("href"))
        elif tag == "a":
            self.links.append(values.get("href"))


def test_every_chapter_is_committed_with_the_outputs_of_a_whole_run():
    for path in build.chapters():
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
        parser = Resources(page)
        assert parser.loaded
        assert not [url for url in parser.loaded if url and re.match(r"(https?:)?//", url)], page.name
        for link in parser.links:
            target = (link or "").split("#")[0].split("?")[0]
            if target and not re.match(r"[a-z]+:", target):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def built(site):
    """Return the pages of chapters, prose and runs of a built site."""
    found = [p for kind in ("book", "notebooks", "runs") for p in site.glob(f"{kind}/*.html")]
    assert len(found) > 8
    return sorted(found)


def test_every_link_into_a_page_has_its_target(site):
    ids = {}
    for page in built(site):
        for link in Resources(page).links:
            file, _, name = (link or "").partition("#")
            if not name or re.match(r"[a-z]+:", file):
                continue
            target = (page.parent / file).resolve() if file else page
            if target not in ids:
                ids[target] = set(Resources(target).ids)
            assert name in ids[target], f"{page.name} links to {link}"


def test_every_picture_has_a_text_in_its_place(site):
    pictures = 0
    for page in built(site):
        for image in Resources(page).images:
            pictures += "_images" in image.get("src", "")  # the explorer's script sets those of its form
            text = image.get("alt") or ""
            assert text.strip() and "_images" not in text, f"{page.name}: {image}"
            assert not re.fullmatch(r"\S*\.(jpe?g|png|svg|gif)", text), f"{page.name}: {image}"
    assert pictures >= 16


def test_tables_and_figures_are_numbered_apart_and_referred_to_as_what_they_are(site):
    wanted = {"tab": "Table", "fig": "Fig."}
    seen = {"Table": 0, "Fig.": 0}
    for page in built(site):
        text = page.read_text()
        numbers = {"Table": [], "Fig.": []}
        for name, body in re.findall(r'<figure[^>]* id="((?:tab|fig)-[^"]+)">(.*?)</figure>', text, re.S):
            shown = re.search(r'caption-number">(\S+) ([\d.]+)', body)
            assert shown[1] == wanted[name[:3]], f"{page.name}: {name}"
            is_table = "<table" in body and "<img" not in body
            assert is_table == (shown[1] == "Table"), f"the label of {name} on {page.name} does not tell what it is"
            numbers[shown[1]].append(int(shown[2].split(".")[-1]))
        for kind, found in numbers.items():
            # A chapter counts its own; all other pages are counted through.
            first = 1 if page.parent.name == "notebooks" or not found else found[0]
            assert found == list(range(first, first + len(found))), f"{kind} on {page.name}"
            seen[kind] += len(found)
        for name, shown in re.findall(r'#((?:tab|fig)-[^"]+)"><span class="std std-numref">(\S+)', text):
            assert shown == wanted[name[:3]], f"{page.name} refers to {name} as {shown}"
    assert seen["Table"] > 25 and seen["Fig."] >= 16


def test_every_chapter_shows_the_command_that_repeats_it(site):
    for path in build.chapters():
        page = (site / "notebooks" / f"{path.stem}.html").read_text()
        block = re.search(r"(?:What we found|In short).*Run this yourself.*?<pre>(.*?)</pre>", page, re.S)[1]
        shown = html.unescape(re.sub("<.*?>", "", block)).replace("\\\n", " ").split()
        assert shown[:3] == [".venv/bin/python", "-m", "workflow.run_notebook"]
        assert len(shown) == 5 and ROOT / shown[3] == path and shown[4].endswith(f"{path.stem}.ipynb")


def test_the_book_stays_small_and_has_no_button_without_a_repository(site):
    assert sum(f.stat().st_size for f in site.rglob("*") if f.is_file()) < 25e6
    assert not yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
    for page in built(site):
        assert not re.search("mybinder|colab.research|launch-button", page.read_text()), page.name


def test_the_glossary_is_linked_and_explains_the_terms_of_the_metrics(site):
    page = (site / "book" / "glossary.html").read_text()
    terms = re.findall(r'<dt id="term-([^"]+)"', page)
    assert len(terms) == page.count("<dt id=") >= page.count("<dd>") > 60
    for name in ("pair", "complement", "MinMax-CAM", "AD", "average-drop", "energy", "head"):
        assert name in terms
    for name in ("intro", "notation"):
        assert 'href="glossary.html"' in (site / "book" / f"{name}.html").read_text()


def test_equations_are_numbered_and_citations_resolved(site):
    metrics = (site / "book" / "metrics.html").read_text()
    assert metrics.count('class="eqno"') >= 8
    chapter = (site / "notebooks" / "minmax_cam.html").read_text()
    assert "David" in chapter and "[?]" not in chapter and "Fig. " in chapter
    assert (site / "_sources" / "notebooks" / "minmax_cam.ipynb").exists()


def test_a_warning_fails_the_build(tmp_path):
    project = tiny_book.write(tmp_path / "project", further="\nSee {numref}`fig-that-is-nowhere`.\n")
    with pytest.raises(RuntimeError, match="fig-that-is-nowhere") as failure:
        tiny_book.site(project, tmp_path / "out")
    assert str(failure.value).count("WARNING") == 1
    assert not (tmp_path / "out" / "html").exists()


def test_the_committed_ledger_is_that_of_the_stored_chapters():
    """The verdicts of data/results/claims.csv are those that the chapters' claims tables show."""
    ledger = pd.read_csv(build.CLAIMS)
    assert set(claims.CLAIMS) <= set(ledger["claim"].str.rstrip("'"))
    for path in (p for p in build.chapters() if p.stem in claims.SETTINGS):
        cells = nbformat.read(path, as_version=4).cells
        tables = [c for c in cells if "-claims" in c.metadata.get("mystnb", {}).get("figure", {}).get("name", "")]
        shown = sum(
            o["data"].get("text/html", "").count(f"<td>{v}</td>")
            for c in tables
            for o in c.outputs
            for v in VERDICTS
        )
        judged = ledger[(ledger["chapter"] == path.stem) & ledger["verdict"].isin(VERDICTS)]
        assert 10 < shown <= len(judged), path.name
        if path.stem != "minmax_cam":  # which sums up its claims about two heads
            assert shown == len(judged), path.name
