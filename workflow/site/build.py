"""Build the book from finished runs: stage the sources, run jupyter-book with warnings fatal.

The runs are made by workflow/batch, which calls this at its end.
"""

import base64
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from cam_utils import claims
from cam_utils.files import files_digest
from cam_utils.runs import Run
from workflow import ROOT
from workflow.site import fit_runs, pages, run_pages, slim
from workflow.site.contents import pages_of

SOURCES = ("_config.yml", "_toc.yml", "CITATION.cff", "book", "assets", "_ext", "data/results")
CLAIMS = ROOT / "data" / "results" / "claims.csv"


def chapters(source: Path = ROOT) -> list[Path]:
    """Return the notebooks of the table of contents, in its order; raises FileNotFoundError if one is missing."""
    pages = pages_of(yaml.safe_load((source / "_toc.yml").read_text()))
    found = [source / f"{page}.ipynb" for page in pages if page.startswith("notebooks/")]
    missing = [path.name for path in found if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"_toc.yml lists notebooks that do not exist: {', '.join(missing)}")
    return found


def cover() -> None:
    """Write the README's figure, assets/minmax_digits.jpg: the overlays that the stored chapter shows."""
    for cell in json.loads((ROOT / "notebooks" / "minmax_cam.ipynb").read_text())["cells"]:
        if cell["metadata"].get("mystnb", {}).get("figure", {}).get("name") == "fig-overlays":
            picture = next(o["data"]["image/jpeg"] for o in cell["outputs"] if "image/jpeg" in o.get("data", {}))
            (ROOT / "assets" / "minmax_digits.jpg").write_bytes(base64.b64decode(picture))


def build(
    notebooks: Iterable[Path],
    out: Path,
    runs: Iterable[Run] = (),
    left_out: Sequence[str] = (),
    *,
    source: Path = ROOT,
) -> Path:
    """Stage the sources, the executed `notebooks` and what the finished `runs` add in `out`/work, build `out`/html
    strictly, return its index.

    `left_out` as in :func:`pages.stage`. `out`/html is replaced only when the build has succeeded. Raises
    RuntimeError with what jupyter-book printed if it failed or warned; ValueError and FileNotFoundError as
    :func:`pages.stage`.
    """
    work, html = out / "work", out / "html"
    staged = work / "src"
    shutil.rmtree(work, ignore_errors=True)
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
    slim.slim(work / "_build" / "html")
    shutil.rmtree(html, ignore_errors=True)
    shutil.move(work / "_build" / "html", html)
    return html / "index.html"


def book(folder: Path, *, store: bool = False) -> Path:
    """Return the index of the site built from the finished runs in `folder` and the committed ones, if it changed.

    A chapter shows its default run where `folder` has it, else the outputs stored in notebooks/. A damaged run is
    left out and named, here and on the page of results. With `store` the default runs' outputs, their claims and
    the README's figure are written into the project, to be committed; then a damaged run is a ValueError.
    """
    out = ROOT / "_build"
    names = [path.stem for path in chapters()]
    found, left_out = fit_runs.read(ROOT / "data" / "results" / "runs", folder, chapters=names)
    if left_out and store:
        raise ValueError("\n".join(left_out))
    for why in left_out:
        print(f"site: {why}", flush=True)
    own = {run.id: run.folder / "notebook.ipynb" for run in found if run.id == run.chapter}
    shown = [own.get(path.stem, path) for path in chapters()]
    if store:
        for path, executed in zip(chapters(), shown, strict=True):
            shutil.copy(executed, path)
        own_runs = [run for run in found if run.id == run.chapter]
        claims.judge(own_runs).to_csv(CLAIMS, index=False, float_format="%.6g")
        origin = {run.id: run.record for run in own_runs}
        CLAIMS.with_suffix(".json").write_text(
            json.dumps({"command": "make notebooks", "runs": origin}, indent=1) + "\n"
        )
        cover()
    index, mark = out / "html" / "index.html", out / "html.sha256"
    own = [f for run in found for f in sorted(run.folder.glob("*")) if f.is_file()]
    inputs = [*SOURCES, "cam_utils", "data/checkpoints", "workflow", "requirements.lock", *own, *shown]
    now = files_digest(inputs, ROOT) + "".join(f"\n{why}" for why in left_out)
    if index.exists() and mark.exists() and mark.read_text() == now:
        print("site: unchanged, not built again", flush=True)
        return index
    print("site: building", flush=True)
    executed = out / "executed"
    shutil.rmtree(executed, ignore_errors=True)
    executed.mkdir(parents=True)
    copies = [shutil.copy(source, executed / path.name) for path, source in zip(chapters(), shown, strict=True)]
    build(copies, out, found, left_out)
    mark.write_text(now)
    return index
