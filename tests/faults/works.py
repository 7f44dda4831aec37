"""The pieces of work that are disturbed: small ones of each kind in the book, whose results can be compared."""

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import nbformat
import pandas as pd

from cam_utils import data, runs
from cam_utils.evaluation import evaluate
from cam_utils.files import fingerprint
from cam_utils.networks import models, schedules
from cam_utils.networks.schedules import Stage
from tests.faults.hooks import injected
from tests.faults.trials import Ended
from tests.workflow import tiny
from workflow import ROOT, run_notebook
from workflow.site import build

HOOKS = Path(injected.__file__).parent
SPEC = {"name": "python3", "display_name": "Python 3", "language": "python"}
CELLS = (
    "folder = '.'\nx = 1\nslow = 0.0",
    "import json, pathlib, time\ntime.sleep(slow)\nprint(x * 2)",
    "pathlib.Path(folder, f'seen-{x}').write_text(str(x))",
)


def evaluation(folder: Path, *, seed: int = 1, methods: Sequence[str] = ("cam",), images: int = 6) -> pd.DataFrame:
    """Return the pairs table of a small network on a few scenes, in parts of two images kept in `folder`."""
    model, scenes = models.build("digits", 10, seed=seed), data.load("digits", "val", n=images)
    return evaluate.evaluate(model, scenes, list(methods), folder=folder, batch_size=2, progress=False)


def same_table(table: object, other: pd.DataFrame) -> bool:
    """Return whether a table is the other one, value by value."""
    return isinstance(table, pd.DataFrame) and table.reset_index(drop=True).equals(other.reset_index(drop=True))


def training(folder: Path) -> str:
    """Return a digest of the weights of a network trained for two epochs, with `folder` as the cache."""
    os.environ["CAM_UTILS_CACHE"] = str(folder)
    stage = Stage(2, 0.01, optimizer="adamw", keep="last", batch_size=8, data={"size": 48, "objects": (1.0,)})
    schedules.SCHEDULES["faults"] = (stage,)

    def load(split: str, **options: object):
        return data.load("digits", split, **{"n": 16, **options})

    model, path = runs.trained(load, network="digits", head="linear", schedule="faults", progress=False)
    again = models.load_checkpoint(path, load("val").classes)
    return fingerprint(*model.state_dict().values(), *again.state_dict().values())


def write_notebook(folder: Path) -> Path:
    """Write a notebook of three cells that prints twice its parameter x."""
    cells = [nbformat.v4.new_code_cell(text, id=f"cell-{i}") for i, text in enumerate(CELLS)]
    cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": SPEC}), folder / "small.ipynb")
    return folder / "small.ipynb"


def notebook(folder: Path, *, x: int = 1) -> str | None:
    """Return a digest of the executed notebook OUT as the command line leaves it, None where there is none."""
    if not (source := folder / "small.ipynb").exists():
        write_notebook(folder)
    out, seen = folder / "out.ipynb", folder / "seen"
    seen.mkdir(exist_ok=True)
    given = ["-p", "x", str(x), "-p", "folder", str(seen), "--logs", str(folder / "logs")]
    run_notebook.main([str(source), str(out), *given])
    return digest(out, folder) if out.exists() else None


def batch(folder: Path, *, xs: Sequence[int] = (1, 2), at: int | None = None, how: str = "kill") -> Ended:
    """Return how a batch of a tiny grid ends, one job after the other, with {run: what it left} as its result.

    at, how: of the steps of all its processes, the one to fail at.
    """
    grid, out = folder / "grid.yaml", folder / "runs"
    if not grid.exists():
        tiny.write(folder, xs)
    environment = os.environ | {"PYTHONPATH": f"{HOOKS}{os.pathsep}{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    (steps := folder / "steps").unlink(missing_ok=True)
    environment |= {injected.FOLDER: str(out), injected.AT: str(-1 if at is None else at)}
    environment |= {injected.COUNT: str(steps), injected.HOW: how}
    command = tiny.command(grid, out, "--cores", "1")
    with subprocess.Popen(
        command, cwd=folder, env=environment, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            said, errors = process.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            said, errors = process.communicate()
    found = {}
    for file in sorted(out.glob("*/run.json")):
        record = json.loads(file.read_text())
        found[file.parent.name] = (record["parameters"], digest(file.with_name("notebook.ipynb"), folder))
    listed = steps.read_text().splitlines() if steps.exists() else []
    words = said if said.startswith("0 of") or "failed:" in said else errors
    return Ended(process.returncode, found, None, words, listed)


def digest(path: Path, folder: Path | None = None) -> str:
    """Return the SHA-256 of a file; the path of `folder` in it does not count."""
    content = path.read_bytes()
    return hashlib.sha256(content.replace(str(folder).encode(), b"") if folder else content).hexdigest()


def site(project: Path) -> dict[str, str]:
    """Return {file: digest} of the site of a small project as the batch builds it, in project/_build."""
    build.ROOT = project
    build.chapters, build._build = partial(build.chapters, project), partial(build._build, source=project)
    index = build.book(project / "runs")
    return contents(index.parent)


def contents(folder: Path) -> dict[str, str]:
    """Return {file: digest} of a folder."""
    return {str(f.relative_to(folder)): digest(f) for f in sorted(folder.rglob("*")) if f.is_file()}


def seen(folder: Path) -> str:
    """Return what a reader finds in the facts.json that another process saves."""
    return (folder / "facts.json").read_text()


def saves(folder: Path, *, writer: int, count: int = 20) -> str:
    """Return the last content of one facts.json that this process and others save again and again."""
    for i in range(count):
        runs.save(folder / "facts.json", {"writer": writer, "i": i, "rest": "x" * 5000})
        seen = json.loads((folder / "facts.json").read_text())
        if len(seen["rest"]) != 5000:
            raise AssertionError("read a half file")
        time.sleep(0)
    return (folder / "facts.json").read_text()
