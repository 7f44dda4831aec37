"""The code names its departures from the papers by the ids of the pages that list them."""

import re
from collections import Counter

import pytest

from tests.conftest import ROOT

PAGES = sorted((ROOT / "book").glob("deviations*.md"))
FOLDERS = ("cam_utils", "workflow", "tests", "benchmarks", "notebooks", "book", "_ext")
ELSEWHERE = re.compile(r"\b[A-Z]{4} [A-Za-z]\d|\([rh]\d+\)")  # an id of a list that is not in the repository


def sources():
    """Return every file of code and prose."""
    files = [p for folder in FOLDERS for kind in ("*.py", "*.md", "*.ipynb") for p in (ROOT / folder).rglob(kind)]
    return [p for p in files if ".ipynb_checkpoints" not in p.parts]


def ids():
    return [name for page in PAGES for name in re.findall(r"\{#(dev-[a-z0-9-]+)\}", page.read_text())]


def test_every_row_has_an_id_of_its_own():
    lines = [line for page in PAGES for line in page.read_text().splitlines()]
    rows = [line for line in lines if line.startswith("| ") and not line.startswith("| what")]
    assert len(rows) > 80
    assert not [row for row in rows if not re.match(r"\| \[.+\]\{#dev-[a-z0-9-]+\} \|", row)]
    assert not [name for name, count in Counter(ids()).items() if count > 1]


def test_every_id_in_the_code_is_a_row_of_a_page():
    used = {
        (name, p.name) for p in sources() for name in re.findall(r"\bdev-[a-z0-9]+(?:-[a-z0-9]+)*", p.read_text())
    }
    assert len(used) > 20
    assert {(name, file) for name, file in used if name not in ids()} == set()


@pytest.mark.parametrize("text", ["(LIST P1.d)", "LIST h7", "(r16)"])
def test_a_reference_to_a_list_elsewhere_is_seen(text):
    assert ELSEWHERE.search(text)


def test_no_reference_leads_out_of_the_repository():
    found = {p.name: ELSEWHERE.findall(p.read_text()) for p in sources() if p.name != "test_deviations.py"}
    assert {name: hits for name, hits in found.items() if hits} == {}


def test_the_built_pages_keep_the_ids(site):
    built = "".join((site / "book" / f"{page.stem}.html").read_text() for page in PAGES)
    assert not [name for name in ids() if f'id="{name}"' not in built]


def test_every_link_to_a_row_leads_to_it(site):
    """Links within a page, to another page, and those of chapters; a row's address names the page that holds it."""
    links = {
        ((page.parent / link).resolve(), name)
        for page in site.rglob("*.html")
        for link, name in re.findall(r'href="([^"#:]+\.html)#(dev-[a-z0-9-]+)"', page.read_text())
    }
    assert len(links) >= 4
    assert [(page.stem, name) for page, name in links if f'id="{name}"' not in page.read_text()] == []
