"""A finished run as a page of the book: its own title, how to repeat it, and no label that another page has."""

import json
import posixpath
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path, PurePath

import nbformat

from cam_utils.parameters import alike
from cam_utils.runs import Run
from workflow.batch.grid import defaults
from workflow.site import escape, study_runs
from workflow.site.chapter_pages import command
from workflow.site.contents import extended
from workflow.site.notebook_tables import make_readable
from workflow.site.photograph_runs import CHAPTER as PHOTOGRAPHS
from workflow.site.photograph_runs import PAGE

PAPERS = {"minmax_cam": "MinMax-CAM", "representative_cam": "Representative-class CAM", "ss_cam": "SS-CAM"}
# Of the chapters' runs.
TITLES = PAPERS | {
    "comparison": "Every method under every metric",
    "sanity_checks": "Sanity checks",
    "your_model": "Your own model",
}
FOLDER = "runs"  # of the staged book; chapters lie in notebooks/
# What a machine decides, not an experiment: it tells no two runs apart.
MACHINE = ("data_root", "weights", "output", "device", "retrain", "stack")
# What describes other numbers than a run's own: sections of this title, and cells with this tag.
FINDINGS, OF_DEFAULT = "What the default run shows", "default-run"

ROLES = re.compile(r"(\{(?:numref|ref|eq)\}`(?:[^`<]*<)?)([^`<>]+)(>?`)")
PATHS = re.compile(r"(\{(?:doc|download)\}`(?:[^`<]*<)?)([^`<>]+)(>?`)")
LINKS = re.compile(r"(\]\()([^)\s]+)(\))")
FILES = re.compile(r"(\]\()([^)\s#:]*[./][^)\s:]*)(\))")  # links but for addresses, anchors and bare labels
TARGETS = (
    re.compile(r"(^\()([^)\s]+)(\)=[ \t]*$)", re.M),
    re.compile(r"(\$\$[ \t]*\()([^)\s]+)(\)[ \t]*$)", re.M),
    re.compile(r"(^[ \t]*:(?:label|name):[ \t]*)(\S+)()", re.M),
)
HEADING = re.compile(r"^(#+) +(.*?)[ \t]*$", re.M)


def page_of(run: Run) -> str:
    """Return the run's page, without its suffix: the chapter itself for its default run, and for its study's."""
    if study_runs.is_one(run):
        return study_runs.page(run)
    own = run.id == run.chapter != PHOTOGRAPHS
    return f"notebooks/{run.chapter}" if own else f"{FOLDER}/{escape.file_name(run.id)}"


def network_of(run: Run) -> str:
    """Return the name of the run's network; a chapter may leave the digits' own unsaid."""
    named = run.parameters.get("architecture") or run.parameters.get("network")
    if named:
        return _text(str(named))
    return "digits" if run.parameters["dataset"] == "digits" else "the default network"


def short_name(run: Run) -> str:
    """Return what tells the run from others of its chapter: "coco2017, squeezenet1_0, both heads, seed 0"."""
    known = run.parameters
    if run.chapter in (PHOTOGRAPHS, *study_runs.STUDIES):  # every run has all its heads
        return ", ".join([str(known["dataset"]), network_of(run), *extras(run)])
    head = {"both": "both heads", None: None}.get(known.get("head"), f"{known.get('head')} head")
    dataset = known.get("dataset")  # a chapter may take any pictures
    network = network_of(run) if network_of(run) != dataset else None  # the digits' network is digits
    parts = [dataset, network, head, f"seed {known['seed']}" if "seed" in known else None]
    return ", ".join(str(part) for part in (*parts, *extras(run)) if part is not None)


def extras(run: Run) -> list[str]:
    """Return the other parameters that differ from the chapter's defaults, as "limit 500"."""
    if run.chapter == PHOTOGRAPHS:
        tuned = ["fine-tuned"] if run.parameters.get("finetune") else []
        return tuned + [f"limit {_text(limit)}" for limit in [run.parameters.get("limit")] if limit]
    if study_runs.is_one(run):
        return study_runs.extras(run)
    named = ("dataset", "architecture", "network", "head", "seed", *MACHINE)
    return [f"{k} {_text(v)}" for k, v in _changed(run).items() if k not in named]


def run_page(run: Run) -> nbformat.NotebookNode:
    """Return the run's executed notebook as a page. Raises FileNotFoundError if the run has no notebook."""
    page = nbformat.read(_notebook(run), 4)
    page.cells = [cell for cell in page.cells if OF_DEFAULT not in cell.metadata.get("tags", [])]
    _drop_section(page, FINDINGS)
    _hide_paths(page, run)
    make_readable(page)
    _make_unique(page, escape.file_name(run.id))
    for cell in page.cells:
        if cell.cell_type == "markdown":
            for pattern in (PATHS, FILES):
                cell.source = pattern.sub(lambda m: m[1] + _moved(m[2]) + m[3], cell.source)
    # Last, so that nothing in a value is taken for a label or a link of the chapter.
    title = f"{TITLES.get(run.chapter, run.chapter)}: {escape.myst(short_name(run))}"
    _retitle(page, title, _about(run))
    return page


def add_to_toc(contents: dict, runs: Iterable[Run]) -> dict:
    """Return the table of contents with the runs' pages below their chapters; raises as :func:`extended`."""
    pages: dict[str, list[dict]] = {}
    for run in runs:
        own = {PHOTOGRAPHS: PAGE} | ({run.chapter: study_runs.page(run)} if study_runs.is_one(run) else {})
        above = own.get(run.chapter, f"notebooks/{run.chapter}")
        if page_of(run) != above:
            entry = {"file": page_of(run), "title": escape.plain(short_name(run))}
            pages.setdefault(above, []).append(entry)
    return extended(contents, pages)


def _notebook(run: Run) -> Path:
    path = run.folder / "notebook.ipynb"
    if not path.is_file():
        raise FileNotFoundError(f"run {run.id} has no executed notebook: expected {path}")
    return path


_defaults = cache(defaults)  # of the notebook, whose cell of parameters stays beside that of the run


def _changed(run: Run) -> dict:
    """Return the run's parameters that differ from its chapter's defaults; none for the default run itself."""
    if run.id == run.chapter:
        return {}
    known = _defaults(_notebook(run))
    return {k: v for k, v in run.parameters.items() if k not in known or not alike(run.chapter, k, known[k], v)}


def _text(value: object) -> str:
    """Return the value as it is given on the command line; an absolute path keeps its last part only."""
    if isinstance(value, str):
        return f"path/to/{PurePath(value).name}" if PurePath(value).is_absolute() else value
    return json.dumps(value)


def _about(run: Run) -> str:
    """Return the paragraph below the title: whose text this is, device, versions, and the command."""
    record = run.record
    versions = record.get("versions", {})
    facts = [
        f"Device: {record.get('device', 'not recorded')}",
        f"{duration(record['wall_s'])} of wall time" if "wall_s" in record else None,
        ", ".join(f"{name} {versions[name]}" for name in ("python", "torch", "torchvision") if versions.get(name)),
        f"code {record['git'][:10]}" + (" with changes" if record.get("dirty") else "")
        if record.get("git")
        else "",
    ]
    given = {name: _text(value) for name, value in _changed(run).items() if name not in ("output", "device")}
    chapter = f"{{doc}}`../notebooks/{run.chapter}`"
    judged = """ {doc}`../book/claims` judges the paper's claims on it, and {doc}`../book/results`
puts its means beside the paper's."""
    text = f"""\
The text is that of chapter {chapter}, which shows the default run and says what it shows; the numbers and figures
on this page are this run's.{judged if run.chapter in PAPERS else ""}

{escape.myst("; ".join(fact for fact in facts if fact))}.

{escape.code(command(run.chapter, run.id, given), "bash")}"""
    return escape.fenced("{admonition} A run of the chapter", text, ":")


def duration(seconds: float) -> str:
    """Return the time in the unit that fits.

    >>> [duration(each) for each in (48, 1560, 11520, 300_000)]
    ['48 s', '26 min', '3.2 h', '3.5 days']
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def _retitle(page: nbformat.NotebookNode, title: str, below: str) -> None:
    """Replace the page's title, both given as MyST."""
    for cell in page.cells:
        if cell.cell_type == "markdown" and (found := HEADING.search(cell.source)):
            before, after = cell.source[: found.start()], cell.source[found.end() :]
            cell.source = f"{before}# {title}\n\n{below}\n{after}"
            return
    page.cells.insert(0, nbformat.v4.new_markdown_cell(f"# {title}\n\n{below}", id="run-title"))


def _drop_section(page: nbformat.NotebookNode, title: str) -> None:
    """Drop the section of this title, with its label, up to the next heading of its level or above."""
    level, kept = None, []
    for cell in page.cells:
        if cell.cell_type == "markdown":
            lines, fenced = [], False
            for line in cell.source.splitlines():
                fenced ^= line.startswith(("```", ":::"))
                heading = None if fenced else HEADING.match(line)
                if heading and level is not None and len(heading[1]) <= level:
                    level = None
                if heading and level is None and heading[2] == title:
                    level = len(heading[1])
                    while lines and (not lines[-1].strip() or TARGETS[0].match(lines[-1])):
                        lines.pop()
                if level is None:
                    lines.append(line)
            cell.source = "\n".join(lines)
        if level is None or (cell.cell_type == "markdown" and cell.source):
            kept.append(cell)
    page.cells = kept


def _hide_paths(page: nbformat.NotebookNode, run: Run) -> None:
    """Shorten absolute paths in the cell that papermill wrote: they say nothing outside one machine."""
    for cell in page.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            for value in run.parameters.values():
                if isinstance(value, str) and PurePath(value).is_absolute():
                    cell.source = cell.source.replace(value, _text(value))


def _drop_empty_figures(page: nbformat.NotebookNode) -> None:
    """Take back the names of figures and tables that this run did not make (of a head that it has not, say)."""
    empty = set()
    for cell in page.cells:
        if cell.cell_type == "code" and not cell.outputs and "figure" in cell.metadata.get("mystnb", {}):
            empty.add(cell.metadata.mystnb.pop("figure").get("name"))
    for cell in page.cells if empty else ():
        if cell.cell_type == "markdown":
            cell.source = ROLES.sub(lambda m: "(not in this run)" if m[2] in empty else m[0], cell.source)


def _make_unique(page: nbformat.NotebookNode, suffix: str) -> None:
    """Append the run's name to the labels that the page defines, and to the uses of these."""
    _drop_empty_figures(page)
    texts = [cell.source for cell in page.cells if cell.cell_type == "markdown"]
    own = {m[2] for pattern in TARGETS for text in texts for m in pattern.finditer(text)}
    figures = [cell.metadata.get("mystnb", {}).get("figure", {}) for cell in page.cells]
    own |= {figure["name"] for figure in figures if "name" in figure}

    def renamed(found: re.Match) -> str:
        sign, name = ("#", found[2][1:]) if found[2].startswith("#") else ("", found[2])
        return found[1] + sign + (f"{name}--{suffix}" if name in own else name) + found[3]

    for cell in page.cells:
        if cell.cell_type == "markdown":
            for pattern in (*TARGETS, ROLES, LINKS):
                cell.source = pattern.sub(renamed, cell.source)
    for figure in figures:
        if "name" in figure:
            figure["name"] += f"--{suffix}"


def _moved(target: str) -> str:
    """Return a path as it must read in FOLDER to lead where it led from notebooks/."""
    if target.startswith("/"):
        return target
    return posixpath.relpath(posixpath.normpath(posixpath.join("notebooks", target)), FOLDER)
