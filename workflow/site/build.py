"""Build the book from finished runs: stage the sources, run jupyter-book with warnings fatal.

The runs are made by workflow/batch, which calls this at its end.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from cam_utils import claims, owned
from cam_utils.files import files_digest, lock, write_text, written
from cam_utils.runs import Run
from workflow import ROOT
from workflow.site import fit_runs, pages, run_pages, slim
from workflow.site.contents import pages_of

SOURCES = ("_config.yml", "_toc.yml", "CITATION.cff", "CHANGELOG.md", "book", "assets", "_ext", "data/results")
FURTHER = ("cam_utils", "data/checkpoints", "workflow", "requirements.lock")  # what the site is built by
MARK = "html.json"  # beside the site: of which inputs it was built, and a digest of each of its files
OLDER_MARK = "html.sha256"
CLAIMS = ROOT / "data" / "results" / "claims.csv"


def chapters(source: Path = ROOT) -> list[Path]:
    """Return the notebooks of the table of contents, in its order; raises FileNotFoundError if one is missing."""
    pages = pages_of(yaml.safe_load((source / "_toc.yml").read_text()))
    found = [source / f"{page}.ipynb" for page in pages if page.startswith("notebooks/")]
    missing = [path.name for path in found if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"_toc.yml lists notebooks that do not exist: {', '.join(missing)}")
    return found


@contextmanager
def alone(out: Path) -> Iterator[Path]:
    """Give a new folder in `out` to work in, to one build at a time; what killed ones left there is removed."""
    with lock(out / ".build.lock"):
        owned.sweep(out)
        for left in out.glob("work-*"):
            if owned.is_owned(left):
                owned.remove(left)
        work = owned.make(out / f"work-{uuid.uuid4().hex[:12]}")
        try:
            yield work
        finally:
            owned.remove(work)


def build(
    notebooks: Iterable[Path],
    out: Path,
    runs: Iterable[Run] = (),
    left_out: Sequence[str] = (),
    *,
    source: Path = ROOT,
) -> Path:
    """Stage the sources, the executed `notebooks` and what the finished `runs` add, build `out`/html strictly, and
    return its index.

    `left_out` as in :func:`pages.stage`. `out`/html is replaced only when the build has succeeded; of two builds
    for one `out` the second waits. Raises RuntimeError with what jupyter-book printed if it failed or warned;
    ValueError and FileNotFoundError as :func:`pages.stage`, and ValueError for an `out`/html that is not ours.
    """
    with alone(out) as work:
        return _build(work, notebooks, out, runs, left_out, source=source)


def _build(
    work: Path,
    notebooks: Iterable[Path],
    out: Path,
    runs: Iterable[Run],
    left_out: Sequence[str],
    *,
    source: Path = ROOT,
) -> Path:
    """Build the site in the folder `work`, which the caller has for itself alone, as :func:`build`."""
    html = out / "html"
    if (out / OLDER_MARK).is_file() and (html / ".buildinfo").is_file():
        owned.mark(html)  # a site of ours, made before folders were marked
    owned.check(html)
    staged = work / "src"
    (staged / "notebooks").mkdir(parents=True)
    for name in SOURCES:
        (staged / name).parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():  # without data/results/runs: pages.stage says what of a run is read
            shutil.copytree(source / name, staged / name, ignore=shutil.ignore_patterns("runs"))
        else:
            shutil.copy(source / name, staged / name)
    for notebook in notebooks:
        shutil.copy(notebook, staged / "notebooks")
    pages.stage(staged, runs, left_out)
    # --all with -W: an incremental build passes in silence over the warnings of pages that it does not read again.
    program = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(staged)]
    options = ["--path-output", str(work), "-W", "--all", "-n", "--keep-going"]
    done = subprocess.run([*program, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        named = sorted(set(re.findall(rf"\b{run_pages.FOLDER}/[^/\s:]+(?=\.(?:ipynb|md):)", done.stdout)))
        cause = f" on pages of runs ({', '.join(named)})" if named else ""
        raise RuntimeError(f"the build of the book failed{cause}:\n{done.stdout}")
    made = work / "_build" / "html"
    slim.slim(made)
    owned.mark(made)
    owned.replace(made, html)
    return html / "index.html"


def published(html: Path) -> dict[str, str]:
    """Return the files of a site, {name: digest}."""
    files = sorted(path for path in html.rglob("*") if path.is_file())
    return {file.relative_to(html).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in files}


def current(out: Path, inputs: str) -> bool:
    """Return whether `out`/html was built of these inputs, and every file that it then had is as it was."""
    try:
        record = json.loads((out / MARK).read_text())
        now = published(out / "html")
        return record["inputs"] == inputs and all(now.get(name) == each for name, each in record["files"].items())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # no mark, or a damaged one
        return False


def book(folder: Path, *, store: bool = False) -> Path:
    """Return the index of the site built from the finished runs in `folder` and the committed ones, if it changed.

    A chapter shows its default run where `folder` has it, else the outputs stored in notebooks/. A damaged run is
    left out and named, here and on the page of results. With `store` the default runs' outputs and their claims
    are written into the project, to be committed; then a damaged run is a ValueError.
    """
    with alone(out := ROOT / "_build") as work:
        return _book(work, out, folder, store)


def _book(work: Path, out: Path, folder: Path, store: bool) -> Path:
    """Build the book in the folder `work`, which the caller has for itself alone, as :func:`book`."""
    places, index = (ROOT / "data" / "results" / "runs", folder), out / "html" / "index.html"
    names = [path.stem for path in chapters()]
    read = fit_runs.read(*places, chapters=names) if store else None
    if read:
        _store(*read)
    # To look whether every run fits takes longer than all else: first, whether anything is new.
    now = files_digest([*SOURCES, *FURTHER, *chapters(), *held(places)], ROOT)
    if current(out, now):
        told(json.loads((out / MARK).read_text()).get("left_out", []))
        print("site: unchanged, not built again", flush=True)
        return index
    found, left_out = read or fit_runs.read(*places, chapters=names)
    told(left_out)
    print("site: building", flush=True)
    executed = work / "executed"
    executed.mkdir()
    copies = [
        shutil.copy(source, executed / path.name) for path, source in zip(chapters(), shown(found), strict=True)
    ]
    _build(work, copies, out, found, left_out)
    record = {"inputs": now, "left_out": left_out, "files": published(out / "html")}
    write_text(out / MARK, json.dumps(record, indent=1) + "\n")
    (out / OLDER_MARK).unlink(missing_ok=True)
    return index


def held(places: Iterable[Path]) -> list[Path]:
    """Return the files of all runs in these folders, damaged ones too."""
    runs = (record.parent for place in places for record in sorted(place.glob("*/run.json")))
    return [file for run in runs for file in sorted(run.glob("*")) if file.is_file()]


def shown(found: Iterable[Run]) -> list[Path]:
    """Return the notebook of each chapter: of its default run if that is among the runs, else the stored one."""
    own = {run.id: run.folder / "notebook.ipynb" for run in found if run.id == run.chapter}
    return [own.get(path.stem, path) for path in chapters()]


def told(left_out: Iterable[str]) -> None:
    """Print why runs are left out."""
    for why in left_out:
        print(f"site: {why}", flush=True)


def _store(found: Sequence[Run], left_out: Sequence[str]) -> None:
    """Write the default runs' outputs and their claims into the project; raises ValueError if a run is damaged."""
    if left_out:
        raise ValueError("\n".join(left_out))
    runs = [run for run in found if run.id == run.chapter]
    for path, executed in zip(chapters(), shown(runs), strict=True):
        if not path.samefile(executed):
            with written(path) as file:
                shutil.copy(executed, file)
    with written(CLAIMS) as file:
        claims.judge(runs).to_csv(file, index=False, float_format="%.6g")
    record = {"command": "make notebooks", "runs": {run.id: run.record for run in runs}}
    write_text(CLAIMS.with_suffix(".json"), json.dumps(record, indent=1) + "\n")
