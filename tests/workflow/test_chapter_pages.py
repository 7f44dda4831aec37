"""Commands and buttons of the chapters' pages."""

import re
import shlex

import nbformat
import pytest

from cam_utils.runs import Run
from tests import tiny_book
from workflow.site import chapter_pages

BUTTONS = {"binderhub_url": "https://mybinder.org", "colab_url": "https://colab.research.google.com"}


def page(*cells, tags=("parameters",)):
    made = [nbformat.v4.new_markdown_cell(text) for text in cells]
    return nbformat.v4.new_notebook(
        cells=[*made, nbformat.v4.new_code_cell("a = 1", metadata={"tags": list(tags)})]
    )


def test_the_shell_reads_the_command_as_it_was_given():
    text = chapter_pages.command("ss_cam", "mine", {"weights": "a b's", "steps": "[1, 5]"})
    assert shlex.split(text.replace("\\\n", ""))[3:] == [
        "notebooks/ss_cam.ipynb", "runs/mine.ipynb", "-p", "weights", "a b's", "-p", "steps", "[1, 5]",
    ]  # fmt: skip


def test_no_name_or_value_is_read_by_the_shell():
    odd = "$(x) `y` 'z' \\"
    text = chapter_pages.command("ss_cam", odd, {odd: odd})
    assert shlex.split(text.replace("\\\n", ""))[3:] == [
        "notebooks/ss_cam.ipynb",
        f"runs/{odd}.ipynb",
        "-p",
        odd,
        odd,
    ]


def test_the_command_ends_the_opening_and_names_parameters_only_where_there_are_some():
    with_some, without = page("# A", "## B"), page("# A", tags=())
    for each in (with_some, without):
        chapter_pages.add_command(each, "x")
        assert each.cells[0].source.startswith("# A\n\n:::{admonition} Run this yourself")
        assert "git clone" not in each.cells[0].source
    assert "-p NAME VALUE" in with_some.cells[0].source and with_some.cells[1].source == "## B"
    assert "-p NAME VALUE" not in without.cells[0].source
    whole = page("# A", "(sec-found)=\n```{admonition} What we found\n```", "What it teaches.", "(sec-b)=\n## B")
    chapter_pages.add_command(whole, "x")
    title, found, teaches, section, _ = (cell.source for cell in whole.cells)
    assert teaches.startswith("What it teaches.\n\n:::{admonition} Run this yourself"), "after the findings"
    assert title == "# A" and found.endswith("found\n```") and section == "(sec-b)=\n## B"
    with pytest.raises(ValueError, match="expected chapter x to begin with a title"):
        chapter_pages.add_command(page("text"), "x")


def test_colab_gets_the_lines_that_bring_the_repository():
    for address, shown in (("https://github.com/o/n", True), ("https://gitlab.com/o/n", False)):
        one = page("# A")
        chapter_pages.add_command(one, "x", address)
        assert (f"git clone --quiet {address} book" in one.cells[0].source) == shown


@pytest.mark.parametrize("empty", [{}, {"repository": None}, {"repository": {"url": "", "branch": "main"}}])
def test_without_an_address_there_is_nothing_to_launch(empty):
    assert chapter_pages.with_buttons({"title": "t", "launch_buttons": BUTTONS, **empty}) == {"title": "t"}


def test_colab_is_offered_for_github_only_and_other_addresses_are_refused():
    def launch(url):
        settings = {"launch_buttons": BUTTONS, "repository": {"url": url}}
        return set(chapter_pages.with_buttons(settings)["launch_buttons"])

    assert launch("https://github.com/o/n") == set(BUTTONS)
    assert launch("https://gitlab.com/o/n") == {"binderhub_url"}
    for wrong in (
        "github.com/o/n",
        "https://github.com/o",
        "https://github.com/o/n/",
        "https://example.org/o/n",
        'https://github.com/o/n"x',
        "https://github.com/o/n\n",
    ):
        with pytest.raises(ValueError, match="expected repository url"):
            launch(wrong)


def test_with_an_address_chapters_get_buttons_and_pages_of_runs_none(tmp_path):
    project = tiny_book.write(tmp_path / "project", address="https://github.com/owner/name")
    (tmp_path / "tiny-s1").mkdir()
    nbformat.write(tiny_book.chapter(), tmp_path / "tiny-s1" / "notebook.ipynb")
    run = Run(tmp_path / "tiny-s1", {"chapter": "tiny", "parameters": {"dataset": "digits", "seed": 1}})
    site = tiny_book.site(project, tmp_path / "out", [run])
    text = (site / "notebooks" / "tiny.html").read_text()
    assert re.findall(r'href="(https://(?:mybinder|colab)[^"]+)"', text) == [
        "https://mybinder.org/v2/gh/owner/name/main?urlpath=lab/tree/notebooks/tiny.ipynb",
        "https://colab.research.google.com/github/owner/name/blob/main/notebooks/tiny.ipynb",
    ]
    assert "!git clone --quiet https://github.com/owner/name book" in text
    assert all(re.findall(r'<img alt="([^"]*)" src="[^"]*logo_', text))
    page = (site / "runs" / "tiny-s1.html").read_text()
    assert "mybinder" not in page and "colab" not in page
    assert "No run has been read into this build" in (site / "book" / "results.html").read_text()
