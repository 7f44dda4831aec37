"""A chapter in three cells, and grids of it, to try the batch on without waiting for a real one."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import yaml

from workflow import ROOT

# Told to fail or (but for the first `free` executions) to wait for a file, it does.
CELLS = [
    "x = 1\nfail = ''\nwait = ''\nfree = 1\nlog = ''\ndataset = 'digits'\nseed = 0",
    "import json, os, time\nfrom pathlib import Path\n"
    "with open(log, 'a') as file:\n    file.write(f'{x} ')\n"
    "while wait and len(Path(log).read_text().split()) > free and not Path(wait).exists():\n    time.sleep(0.02)",
    "if fail == 'disk':\n    open('/dev/full', 'w').write('x' * 100_000)\n"
    "assert fail != 'assert', 'told to fail'\n"
    "if fail == 'data':\n    from cam_utils import data\n    data.load('stanford40', 'test', root=wait)",
    "record = {'chapter': 'tiny', 'parameters': {'x': x}}\n"
    "record |= {name: os.environ.get(name) for name in ('SLURM_JOB_ID', 'CUDA_VISIBLE_DEVICES')}\n"
    "(Path(os.environ['CAM_UTILS_RUN']) / 'run.json').write_text(json.dumps(record))",
]


def write(folder, xs, overrides=(), **parameters):
    """Write the chapter and a grid of it for values of x and other parameters; returns the grid's file."""
    cells = [nbformat.v4.new_code_cell(text, id=f"cell-{i}") for i, text in enumerate(CELLS)]
    cells[0].metadata["tags"] = ["parameters"]
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": spec}), folder / "tiny.ipynb")
    block = {"chapter": "tiny", "notebook": str(folder / "tiny.ipynb"), "over": {"x": list(xs)}}
    block |= {"parameters": {"log": str(folder / "log"), **parameters}, "overrides": list(overrides)}
    (folder / "grid.yaml").write_text(yaml.safe_dump({"runs": [block]}))
    return folder / "grid.yaml"


def training(**trainer):
    """Return a training of seconds for workflow.batch.train, in several processes without a GPU."""
    return {
        "dataset": "digits", "root": None, "size": None, "resize": "crop", "network": "digits", "weights": None,
        "head": "linear", "schedule": "digits-acol", "seed": 0, "options": {"n": 64, "objects": [1.0]},
        "trainer": {"strategy": "ddp", "accelerator": "cpu", **trainer},
    }  # fmt: skip


def command(file, folder, *flags):
    """Return the command that runs a grid, with its runs in `folder`."""
    return [sys.executable, "-m", "workflow.batch", str(file), "--no-book", "--runs", str(folder), *flags]


def begin(file, folder, *flags, **options):
    """Return the process of a batch, begun in a folder that is not the project's."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}  # as an installation has it
    return subprocess.Popen(command(file, folder, *flags), cwd=file.parent, env=environment, **options)


def start(file, folder, *flags, timeout=240):
    """Run a batch to its end and return its exit status, the lines of its summary, and what it logged."""
    with begin(file, folder, *flags, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as batch:
        out, errors = batch.communicate(timeout=timeout)
    return batch.returncode, out.splitlines(), errors


def executed(folder):
    """Return the values of x that notebooks started with, sorted."""
    log = folder / "log"
    return sorted(log.read_text().split()) if log.exists() else []


def finished(folder):
    """Return when each finished run in `folder` was finished: {file: time}."""
    return {file: file.stat().st_mtime_ns for file in folder.glob("*/run.json")}


def children(pid):
    """Return the numbers of a process's children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
