"""A book of a few small pages, with the settings, styles and extensions of the real one, to build in seconds."""

from collections.abc import Mapping
from pathlib import Path

import nbformat
import yaml

from cam_utils import claims
from workflow import ROOT
from workflow.site import build

FILLED = "*The numbers of the runs are filled in here when the book is built (`make book`).*\n"
# Of the real pages those that every run is listed on, and those that show values from elsewhere.
PAGES = {
    "intro": f"# A book\n\n{FILLED}\n{FILLED}\nText.\n",
    "results": f"# Results\n\n{FILLED}\n## Runs\n\n{FILLED}",
    "claims": f"# Claims\n\n## Runs\n\n{FILLED}",
    **{f"claims_{chapter}": f"# Tests\n\n{FILLED}" for chapter in claims.SETTINGS},
    "citation": f"# Citation\n\n{FILLED}",
}


def write(
    folder: Path,
    *,
    address: str = "",
    further: str = "",
    name: str = "tiny",
    pages: Mapping[str, str] | None = None,
) -> Path:
    """Write the project folder of the book: its address on the web, a further line for its first page, the name of
    its chapter, and further pages {name: text}.
    """
    pages = PAGES | (pages or {})
    for shared in ("CITATION.cff", "CHANGELOG.md", "assets", "_ext"):
        folder.mkdir(exist_ok=True)
        (folder / shared).symlink_to(ROOT / shared)
    settings = yaml.safe_load((ROOT / "_config.yml").read_text())
    settings["repository"]["url"] = address
    chapters = [{"file": f"book/{page}"} for page in pages if page != "intro"] + [{"file": f"notebooks/{name}"}]
    contents = {"format": "jb-book", "root": "book/intro", "parts": [{"caption": "All", "chapters": chapters}]}
    for file, content in (("_config.yml", settings), ("_toc.yml", contents)):
        (folder / file).write_text(yaml.safe_dump(content, sort_keys=False))
    for below in ("book", "notebooks", "data/results"):
        (folder / below).mkdir(parents=True)
    (folder / "book" / "references.bib").write_text("")
    for page, text in pages.items():
        (folder / "book" / f"{page}.md").write_text(text + (further if page == "intro" else ""))
    nbformat.write(chapter(), folder / "notebooks" / f"{name}.ipynb")
    return folder


def chapter() -> nbformat.NotebookNode:
    """Return the book's only chapter."""
    parameters = nbformat.v4.new_code_cell("seed = 0", id="b", metadata={"tags": ["parameters"]})
    cells = [nbformat.v4.new_markdown_cell("# Tiny\n\nA formula: $x$.", id="a"), parameters]
    language = {"name": "python", "pygments_lexer": "ipython3"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"language_info": language})


def site(project: Path, out: Path, runs=(), left_out=()) -> Path:
    """Return the folder of the built site."""
    return build.build(build.chapters(project), out, runs, left_out, source=project).parent
