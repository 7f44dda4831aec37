"""Build the book: execute the chapters that changed, stage the sources, run jupyter-book with warnings fatal.

python workflow/build_book.py          executes into _build/executed, builds _build/html; notebooks/ stays as it is
python workflow/build_book.py --store  executes every chapter and stores its outputs in notebooks/, for committing
"""

import argparse
import base64
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import yaml
from run_notebook import NotebookFailed, run

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("_config.yml", "_toc.yml", "book", "assets", "_ext", "data/results")
# What a chapter's outputs depend on besides its own cells.
INPUTS = ("cam_utils", "data/paper_tables", "data/results", "data/checkpoints", "requirements.lock")


def chapters() -> list[Path]:
    """Return the notebooks of the table of contents, in its order; raises FileNotFoundError if one is missing."""
    found = []

    def walk(node: object) -> None:
        if isinstance(node, dict):
            page = f"{node.get('file', '')}.ipynb"
            if page.startswith("notebooks/"):
                found.append(ROOT / page)
            node = list(node.values())
        for child in node if isinstance(node, list) else ():
            walk(child)

    walk(yaml.safe_load((ROOT / "_toc.yml").read_text()))
    missing = [path.name for path in found if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"_toc.yml lists notebooks that do not exist: {', '.join(missing)}")
    return found


def digest(names: Iterable[str]) -> str:
    """Return a hash of the names and bytes of all files under `names` (files or folders of the repository)."""
    found = hashlib.sha256()
    for name in names:
        path = ROOT / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                found.update(f"{file.relative_to(ROOT)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()


def _cells_digest(notebook: Path) -> str:
    """Return a hash of the cells' types, texts and metadata: stored outputs do not count."""
    cells = json.loads(notebook.read_text())["cells"]
    facts = [(c["cell_type"], "".join(c["source"]), c["metadata"]) for c in cells]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def execute(notebook: Path, folder: Path) -> Path:
    """Return the executed copy of the notebook in `folder`; it runs only if its cells or INPUTS changed since."""
    out = folder / notebook.name
    mark, now = out.with_suffix(".sha256"), digest(INPUTS) + _cells_digest(notebook)
    if out.exists() and mark.exists() and mark.read_text() == now:
        print(f"{notebook.name}: unchanged, not executed again", flush=True)
        return out
    started = time.time()
    print(f"{notebook.name}: executing", flush=True)
    run(notebook, out)
    mark.write_text(now)
    print(f"{notebook.name}: executed in {time.time() - started:.0f} s", flush=True)
    return out


def cover() -> None:
    """Write the README's figure, assets/minmax_digits.jpg: the overlays that the stored chapter shows."""
    for cell in json.loads((ROOT / "notebooks" / "minmax_cam.ipynb").read_text())["cells"]:
        if cell["metadata"].get("mystnb", {}).get("figure", {}).get("name") == "fig-overlays":
            picture = next(o["data"]["image/jpeg"] for o in cell["outputs"] if "image/jpeg" in o.get("data", {}))
            (ROOT / "assets" / "minmax_digits.jpg").write_bytes(base64.b64decode(picture))


def build(notebooks: Iterable[Path], out: Path) -> Path:
    """Stage the sources and the executed `notebooks` in `out`/work, build `out`/html strictly, return its index.

    `out`/html is replaced only when the build has succeeded. Raises RuntimeError with what jupyter-book printed if
    it failed or warned.
    """
    work, html = out / "work", out / "html"
    shutil.rmtree(work, ignore_errors=True)
    (work / "src" / "notebooks").mkdir(parents=True)
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (work / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, work / "src" / name)
    for notebook in notebooks:
        shutil.copy(notebook, work / "src" / "notebooks")
    # --all with -W: an incremental build passes in silence over the warnings of pages that it does not read again.
    program = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(work / "src")]
    options = ["--path-output", str(work), "-W", "--all", "-n", "--keep-going"]
    done = subprocess.run([*program, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(f"the build of the book failed:\n{done.stdout}")
    shutil.rmtree(html, ignore_errors=True)
    shutil.move(work / "_build" / "html", html)
    return html / "index.html"


def book() -> Path:
    """Return the index of the built book, after executing and building only what changed."""
    out = ROOT / "_build"
    executed = [execute(notebook, out / "executed") for notebook in chapters()]
    index, mark = out / "html" / "index.html", out / "html.sha256"
    now = digest([*SOURCES, "_build/executed", "requirements.lock", "workflow/build_book.py"])
    if index.exists() and mark.exists() and mark.read_text() == now:
        print("site: unchanged, not built again", flush=True)
        return index
    started = time.time()
    print("site: building", flush=True)
    build(executed, out)
    mark.write_text(now)
    print(f"site: built in {time.time() - started:.0f} s", flush=True)
    return index


def main() -> None:
    """Build the book, or with --store refresh the outputs of notebooks/; exits with the reason of a failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", action="store_true", help="execute in place, in notebooks/")
    try:
        if parser.parse_args().store:
            for notebook in chapters():
                print(f"stored {run(notebook, notebook).relative_to(ROOT)}")
            cover()
        else:
            print(f"The book: {book()}")
    except (FileNotFoundError, NotebookFailed, RuntimeError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
