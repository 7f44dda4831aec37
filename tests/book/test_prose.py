"""How the book speaks: no sentence of the kinds that readers stumbled over, and what every chapter offers."""

import re

import nbformat
import pytest

from workflow import ROOT
from workflow.site import build

# Each with what to write instead.
AVOIDED = {
    r"reader in a hurry": "Short on time?",
    r"wins nothing": "brought no gain",
    r"is what the metric gives away": "Whatever ... score, the metric gives away for free",
    r"\bmore of a say\b": "weighs more",
    r"as good as it gets": "the best possible",
    r"\b(?:simply|obviously)\b": "nothing",
    r"chapters? \d": "the chapter's name as a link: numbers change",
}
PAGES = [*sorted((ROOT / "book").glob("*.md")), ROOT / "README.md"]


def markdown(path):
    """Return the text of a chapter's cells of text, in order."""
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]


@pytest.mark.parametrize("path", [*PAGES, *build.chapters()], ids=lambda path: path.stem)
def test_no_sentence_is_of_a_kind_that_readers_stumbled_over(path):
    text = path.read_text() if path.suffix == ".md" else "\n".join(markdown(path))
    assert {avoided: better for avoided, better in AVOIDED.items() if re.search(avoided, text)} == {}


@pytest.mark.parametrize("path", build.chapters(), ids=lambda path: path.stem)
def test_a_chapter_begins_with_what_it_found_and_teaches_and_ends_with_three_exercises_solved(path):
    texts = markdown(path)
    assert texts[0].startswith("# ") and re.search(r"\{admonition\} (?:What we found|In short)", texts[1])
    assert "After this chapter you can" in texts[2]
    (exercises,) = [text for text in texts if text.startswith("## Exercises")]
    assert re.findall(r"^(\d)\. \*\*.+?\.?\*\*", exercises, re.M) == ["1", "2", "3"]
    cells = nbformat.read(path, as_version=4).cells
    place = next(i for i, cell in enumerate(cells) if cell.source == exercises)
    solutions = [cell for cell in cells[place + 1 :] if cell.cell_type == "code"]
    assert len(solutions) >= 2 and all("hide-cell" in cell.metadata.tags and cell.outputs for cell in solutions)


@pytest.mark.parametrize("path", build.chapters(), ids=lambda path: path.stem)
def test_what_a_page_folds_jupyterlab_folds_too(path):
    for cell in nbformat.read(path, as_version=4).cells:
        tags = set(cell.metadata.get("tags", ()))
        if cell.cell_type == "code" and "parameters" not in tags:
            folded = cell.metadata.get("jupyter", {})
            assert folded.get("source_hidden", False) == bool(tags & {"hide-input", "hide-cell"}), cell.source[:60]
            assert folded.get("outputs_hidden", False) == ("hide-cell" in tags), cell.source[:60]
