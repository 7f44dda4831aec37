"""The role that shows a claim's verdicts in a chapter: the badges of the page of claims, and a link to its line."""

import pandas as pd
import pytest
from bs4 import BeautifulSoup
from verdict_badges import badges

from tests import tiny_book
from workflow.site import build
from workflow.site.verdicts import mark_text


@pytest.fixture
def ledger():
    verdicts = {"digits": "holds", "msrc": "fails", "voc2012": "undecided", "imagenet": "holds"}
    rows = pd.DataFrame({"claim": "C5", "dataset": list(verdicts), "verdict": list(verdicts.values()), "runs": "a"})
    return pd.concat([rows, pd.DataFrame([{"claim": "C4", "dataset": "", "verdict": "not run", "runs": ""}])])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("C5 digits, VOC", [("digits", "holds"), ("VOC", "undecided")]),
        ("C5 voc2012,ImageNet", [("VOC", "undecided"), ("ImageNet", "holds")]),
        ("C5", [("", "mixed")]),
        ("C4", [("", "not run")]),
        ("C4 digits", [("digits", "not asked")]),
    ],
)
def test_the_verdicts_are_those_of_the_ledger_data_by_data(ledger, text, found):
    assert badges(ledger, text) == (text[:2], found)


@pytest.mark.parametrize(("text", "told"), [("C99 digits", "'C99'"), ("C5 vco", "vco"), ("C5'", "C5"), ("", "''")])
def test_what_the_book_does_not_know_is_an_error(ledger, text, told):
    with pytest.raises(ValueError, match=f"expected .*got .*{told}"):
        badges(ledger, text)


def test_an_unknown_claim_fails_the_build(tmp_path):
    project = tiny_book.write(tmp_path / "project", further="\nSee {verdict}`C77 digits`.\n")
    with pytest.raises(RuntimeError, match="id of a claim such as C5, got 'C77'") as failure:
        tiny_book.site(project, tmp_path / "out")
    assert str(failure.value).count("WARNING") == 1


def test_chapters_show_the_badges_of_the_page_of_claims_and_lead_to_its_lines(site):
    board = BeautifulSoup((site / "book" / "claims.html").read_text(), "html.parser")
    seen = []
    for chapter in build.chapters():
        page = BeautifulSoup((site / "notebooks" / f"{chapter.stem}.html").read_text(), "html.parser")
        for shown in page.select("article span.verdict"):
            address, _, name = shown.a["href"].partition("#")
            line = board.find(id=name).find_parent("tr")
            cells = {cell["data-label"]: cell.find(class_="diff") for cell in line.find_all("td")[1:]}
            assert address == "../book/claims.html" and shown.a["title"] in line.td.get_text()
            assert shown.a["aria-label"] == f"{shown.a.get_text()}: {shown.a['title']}"
            for told in shown.find_all(class_="of-kind"):
                badge = told.find(class_="diff")
                kind = told.get_text().removesuffix(badge.get_text()).strip()
                # A kind of data on which no claim of the paper was asked has no column.
                wanted = cells[kind].get_text() if kind in cells else mark_text("not asked")
                assert badge.get_text() == wanted, (chapter.stem, shown.get_text())
                assert kind not in cells or badge["class"] == cells[kind]["class"]
                seen.append(wanted)
    assert len(seen) > 20 and len({*seen}) > 1
