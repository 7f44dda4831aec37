"""The chapters as the default batch executed them are the stored ones, cell by cell.

A chapter is executed once, by `make book` or `make test`, and its cells tagged `nbval-check-output` are compared by
nbval with the outputs stored in notebooks/.
"""

from itertools import zip_longest
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbval.plugin import IPyNbFile, nocolors

from tests.conftest import ROOT
from tests.notebooks.tolerance import equal
from workflow.batch import grid
from workflow.site.build import chapters

RUNS = ROOT / "runs"
CHECK = "nbval-check-output"


def executed(chapter: Path) -> Path:
    """Return the notebook of a chapter's default run; the test fails if there is none of the present code."""
    jobs = grid.read(ROOT / "workflow" / "grids" / "default.yaml").jobs
    if (job := jobs.get(chapter.stem)) is None:
        pytest.fail(
            f"{chapter.name} of _toc.yml is not in workflow/grids/default.yaml: list it there", pytrace=False
        )
    if not job.finished(RUNS, job.key()):
        why = f"runs/{job.id} was not made by the present code and cells: `make book` executes the chapter"
        pytest.fail(why, pytrace=False)
    return RUNS / job.id / "notebook.ipynb"


def named(index: int, cell: NotebookNode) -> str:
    lines = cell.source.splitlines() or [""]
    return f"cell {index} ({cell.cell_type}: {lines[0][:60]})"


def differences(new: Path, stored: Path, session: pytest.Session) -> list[str]:
    """Return a sentence for every cell in which an executed chapter is not the stored one."""
    notebooks = [nbformat.read(path, as_version=4).cells for path in (new, stored)]
    found = []
    for index, (one, other) in enumerate(zip_longest(*notebooks)):
        if one is None or other is None:
            where = "stored, but not executed" if one is None else "executed, but not stored"
            found.append(f"{named(index, one or other)} is {where}")
        elif (one.cell_type, one.source) != (other.cell_type, other.source):
            found.append(f"{named(index, other)} was executed as {named(index, one)}")
        elif one.cell_type == "code":
            found += [
                f"{named(index, one)} raised {output.ename}: {output.evalue}"
                for output in one.outputs
                if output.output_type == "error"
            ]
            if one.source.strip() and one.execution_count is None:
                found.append(f"{named(index, one)} is stored, but was not executed")
    if found:
        return found
    # nbval's own cells, of the code alone: what they compare with is what is stored.
    codes = [(i, cell) for i, cell in enumerate(notebooks[0]) if cell.cell_type == "code"]
    for (index, cell), reference in zip(codes, IPyNbFile.from_parent(session, path=stored).collect(), strict=True):
        reference.colors = nocolors
        if CHECK in reference.cell.metadata.get("tags", ()) and not equal(reference, cell.outputs):
            found.append("\n".join([f"{named(index, cell)} printed otherwise:", *reference.comparison_traceback]))
    return found


@pytest.mark.parametrize("chapter", chapters(), ids=lambda path: path.stem)
def test_a_chapter_still_prints_what_is_stored(chapter, request):
    found = differences(executed(chapter), chapter, request.session)
    if found:
        advice = "if what it prints now is right, `make notebooks` stores it"
        pytest.fail("\n\n".join([f"{chapter.name} is not as stored; {advice}:", *found]), pytrace=False)


@pytest.mark.parametrize("chapter", chapters(), ids=lambda path: path.stem)
def test_a_tampered_chapter_differs(chapter, request, tmp_path):
    """Of a real chapter, in the last cell that is compared: a digit, a word, then the cell itself."""
    book = nbformat.read(chapter, as_version=4)
    nbformat.write(book, tmp_path / "same.ipynb")
    assert differences(tmp_path / "same.ipynb", chapter, request.session) == []
    tagged = [cell for cell in book.cells if CHECK in cell.metadata.get("tags", ())]
    assert tagged, f"no cell of {chapter.name} is tagged {CHECK}: nothing of it would be compared"
    tagged[-1].outputs[-1] = nbformat.v4.new_output("stream", text="something else\n")
    nbformat.write(book, tmp_path / "word.ipynb")
    (sentence,) = differences(tmp_path / "word.ipynb", chapter, request.session)
    assert f"cell {book.cells.index(tagged[-1])} (code: " in sentence and "printed otherwise" in sentence
    book.cells.remove(tagged[-1])
    nbformat.write(book, tmp_path / "fewer.ipynb")
    found = differences(tmp_path / "fewer.ipynb", chapter, request.session)
    assert found[-1].endswith("is stored, but not executed")
    assert differences(chapter, tmp_path / "fewer.ipynb", request.session)[-1].endswith("executed, but not stored")


def print_of(text: str, **metadata: object) -> NotebookNode:
    output = nbformat.v4.new_output("stream", name="stdout", text=text)
    cell = nbformat.v4.new_code_cell("print(value)", outputs=[output], execution_count=1)
    cell.metadata.update({"tags": [CHECK]} | metadata)
    return cell


def table_of(html: str) -> NotebookNode:
    cell = print_of("")
    cell.outputs = [nbformat.v4.new_output("display_data", data={"text/html": html, "text/plain": "a table"})]
    return cell


@pytest.mark.parametrize(
    ("new", "stored", "word"),
    [
        (print_of("1.24 holds"), print_of("1.25 holds"), None),
        (print_of("1.23 holds"), print_of("1.25 holds"), "printed otherwise"),
        (print_of("1.25 fails"), print_of("1.25 holds"), "printed otherwise"),
        (print_of("8 images"), print_of("9 images"), "printed otherwise"),
        (print_of("8 images"), print_of("9 images", nbval_tolerance=1.0), None),
        (print_of("8 images"), print_of("9 images", tags=[]), None),
        (table_of("<td>2.4</td>"), table_of("<td>2.5</td>"), None),
        (table_of("<td>2.3</td>"), table_of("<td>2.5</td>"), "2.3"),
        (nbformat.v4.new_code_cell("print(value)", execution_count=1), print_of("1.25"), "Missing output"),
        (print_of("1.25"), nbformat.v4.new_code_cell("print(value)", metadata={"tags": [CHECK]}), "Unexpected"),
        (nbformat.v4.new_code_cell("print(value)"), print_of("1.25"), "not executed"),
        (nbformat.v4.new_code_cell("print(2)", execution_count=1), print_of("1.25"), "was executed as"),
    ],
)
def test_last_digits_may_differ_and_nothing_else(new, stored, word, request, tmp_path):
    for name, cell in (("new", new), ("stored", stored)):
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / f"{name}.ipynb")
    found = differences(tmp_path / "new.ipynb", tmp_path / "stored.ipynb", request.session)
    assert [word in sentence for sentence in found] == ([True] if word else []), found


def test_an_error_in_an_executed_chapter_is_named(request, tmp_path):
    stored = nbformat.v4.new_notebook(cells=[print_of("1")])
    nbformat.write(stored, tmp_path / "stored.ipynb")
    stored.cells[0].outputs = [nbformat.v4.new_output("error", ename="ValueError", evalue="expected 2")]
    nbformat.write(stored, tmp_path / "new.ipynb")
    (found,) = differences(tmp_path / "new.ipynb", tmp_path / "stored.ipynb", request.session)
    assert found == "cell 0 (code: print(value)) raised ValueError: expected 2"


def test_without_a_finished_run_one_is_told_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr("tests.notebooks.test_chapters.RUNS", tmp_path)
    with pytest.raises(pytest.fail.Exception, match="`make book` executes"):
        executed(chapters()[0])
    with pytest.raises(pytest.fail.Exception, match="list it there"):
        executed(Path("other.ipynb"))
    folder = tmp_path / chapters()[0].stem
    folder.mkdir()
    for name, text in (("run.json", "{}"), ("key", "of yesterday's code")):
        (folder / name).write_text(text)
    with pytest.raises(pytest.fail.Exception, match="was not made by the present code"):
        executed(chapters()[0])
