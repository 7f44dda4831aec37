"""What every page of a chapter gets when the book is built: the command that repeats it, and its buttons."""

import re
import shlex
from collections.abc import Mapping
from itertools import takewhile

import nbformat

from workflow.site import escape

HOSTS = ("https://github.com/", "https://gitlab.com/")
SECTION = re.compile(r"(?:\([^)\s]+\)=\s+)?## ")  # the start of a cell that opens a section, with its label
ADDRESS = re.compile(rf"(?:{'|'.join(map(re.escape, HOSTS))})[\w.-]+/[\w.-]+", re.ASCII)


def command(chapter: str, run: str, given: Mapping[str, str] | None = None) -> str:
    r"""Return the shell command that executes a chapter as runs/<run>.ipynb with the parameters `given`, as text.

    >>> print(command("ss_cam", "mine", {"seed": "1"}))
    .venv/bin/python -m workflow.run_notebook \
      notebooks/ss_cam.ipynb \
      runs/mine.ipynb \
      -p seed 1
    """
    parts = [shlex.quote(f"notebooks/{chapter}.ipynb"), shlex.quote(f"runs/{run}.ipynb")]
    parts += [f"-p {shlex.quote(name)} {shlex.quote(value)}" for name, value in (given or {}).items()]
    return " \\\n  ".join([".venv/bin/python -m workflow.run_notebook", *parts])


def add_command(page: nbformat.NotebookNode, chapter: str, repository: str = "") -> None:
    """Append to the page's opening, after what was found, how to run the chapter; changes the page in place.

    The opening is the text above the first code and the first section. Raises ValueError for a page whose first
    cell of text has no title.
    """
    first = next((number for number, cell in enumerate(page.cells) if cell.cell_type == "markdown"), None)
    if first is None or not page.cells[first].source.startswith("# "):
        raise ValueError(f"expected chapter {chapter} to begin with a title (# ...)")
    *_, last = takewhile(
        lambda cell: cell.cell_type == "markdown" and not SECTION.match(cell.source), page.cells[first:]
    )
    lines = [
        ":class: tip",
        "In a copy of the repository, after `make book`, this command repeats the page:",
        "",
        escape.code(command(chapter, chapter), "bash"),
    ]
    if any("parameters" in cell.metadata.get("tags", []) for cell in page.cells):
        lines.append("`-p NAME VALUE` at its end changes a parameter; the first cell of code lists all of them.")
    if on_colab(repository):
        lines += [
            "",
            "Binder brings the repository along. Colab opens the notebook alone: run this in a first cell there.",
            "",
            escape.fenced("", f"!git clone --quiet {repository} book\n%cd book\n%pip install --quiet -e ."),
        ]
    last.source += "\n\n" + escape.fenced("{admonition} Run this yourself", "\n".join(lines), ":")


def on_colab(repository: str) -> bool:
    """Return whether Colab can open notebooks of this repository: it reads GitHub's only."""
    return repository.startswith(HOSTS[0])


def with_buttons(settings: Mapping) -> dict:
    """Return the book's settings with the buttons that `repository: {url: ...}` allows.

    Without an address there are none: the theme's would open somebody else's repository. Raises ValueError for an
    address of which the theme can make no button.
    """
    settings = dict(settings)
    url = (settings.get("repository") or {}).get("url") or ""
    if not url:
        return {key: value for key, value in settings.items() if key not in ("repository", "launch_buttons")}
    if not ADDRESS.fullmatch(url):
        raise ValueError(
            f"expected repository url {HOSTS[0]}OWNER/NAME in _config.yml (or gitlab.com), got {url!r}"
        )
    if not on_colab(url):
        buttons = settings.get("launch_buttons", {})
        settings["launch_buttons"] = {key: value for key, value in buttons.items() if key != "colab_url"}
    return settings
