"""How much memory each chapter's default run takes.

    python -m workflow.studies.chapter_memory [CHAPTER ...]

Executes the chapters one after the other, each in a process of its own, and writes data/results/chapter_memory.csv:
the largest resident memory of the notebook's kernel, in megabytes. Chapters that are not asked for keep their rows.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

from cam_utils.files import written
from cam_utils.parameters import CHAPTERS
from workflow import ROOT

FILE = ROOT / "data" / "results" / "chapter_memory.csv"


def peak(chapter: str) -> float:
    """Return the chapter's largest resident memory in MB; raises CalledProcessError if it fails.

    To be called in a process that has run no other chapter: the system keeps the largest of all.
    """
    with tempfile.TemporaryDirectory() as folder:
        parts = [ROOT / "notebooks" / f"{chapter}.ipynb", Path(folder) / "out.ipynb", "-p", "output", folder]
        program = [sys.executable, "-m", "workflow.run_notebook", *map(str, parts)]
        # An empty cache: what is stored already would not be computed, nor take its memory.
        subprocess.run(program, check=True, cwd=ROOT, env=os.environ | {"CAM_UTILS_CACHE": f"{folder}/cache"})
    unit = 1e6 if sys.platform == "darwin" else 1e3  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit


def main(chapters: list[str]) -> None:
    """Measure the chapters, or one in this process, and write the table."""
    known = pd.read_csv(FILE).set_index("chapter")["peak_mb"].to_dict() if FILE.is_file() else {}
    for chapter in chapters:
        program = [sys.executable, "-c", f"from {__spec__.name} import peak; print(peak({chapter!r}))"]
        done = subprocess.run(program, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        known[chapter] = round(float(done.stdout.split()[-1]))
        rows = [(name, known[name]) for name in CHAPTERS if name in known]
        with written(FILE) as file:
            pd.DataFrame(rows, columns=["chapter", "peak_mb"]).to_csv(file, index=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("chapters", nargs="*", default=list(CHAPTERS), metavar="CHAPTER")
    main(parser.parse_args().chapters)
