"""A book of a few small pages, with the settings, styles and extensions of the real one, to build in seconds."""

from pathlib import Path

import nbformat
import yaml

from workflow import ROOT
from workflow.site import build

FILLED = "*The numbers of the runs are filled in here when the book is built (`make book`).*\n"
# Of the real pages those that every run is listed on.
PAGES = {
    "intro": "# A book\n\nText.\n",
    "results": f"# Results\n\n## Runs\n\n{FILLED}",
    "claims": f"# Claims\n\n## Runs\n\n{FILLED}",
}


def write(folder: Path, *, address: str = "", further: str = "") -> Path:
    """Write the project folder of the book: its address on the web, and a further line for its first page."""
    for name in ("CITATION.cff", "assets", "_ext"):
        folder.mkdir(exist_ok=True)
        (folder / name).symlink_to(ROOT / name)
    settings = yaml.safe_load((ROOT / "_config.yml").read_text())
    settings["repository"]["url"] = address
    chapters = [{"file": f"book/{name}"} for name in PAGES if name != "intro"] + [{"file": "notebooks/tiny"}]
    contents = {"format": "jb-book", "root": "book/intro", "parts": [{"caption": "All", "chapters": chapters}]}
    for name, content in (("_config.yml", settings), ("_toc.yml", contents)):
        (folder / name).write_text(yaml.safe_dump(content, sort_keys=False))
    for name in ("book", "notebooks", "data/results"):
        (folder / name).mkdir(parents=True)
    (folder / "book" / "references.bib").write_text("")
    for name, text in PAGES.items():
        (folder / "book" / f"{name}.md").write_text(text + (further if name == "intro" else ""))
    nbformat.write(chapter(), folder / "notebooks" / "tiny.ipynb")
    return folder


def chapter() -> nbformat.NotebookNode:
    """Return the book's only chapter."""
    parameters = nbformat.v4.new_code_cell("seed = 0", id="b", metadata={"tags": ["parameters"]})
    cells = [nbformat.v4.new_markdown_cell("# Tiny", id="a"), parameters]
    language = {"name": "python", "pygments_lexer": "ipython3"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"language_info": language})


def site(project: Path, out: Path, runs=()) -> Path:
    """Return the folder of the built site."""
    return build.build(build.chapters(project), out, runs, source=project).parent
