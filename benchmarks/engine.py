"""What the batch's engine adds to a run: grids of runs that do next to nothing, on one core: make bench.

The time of a grid of many such runs less that of a grid of one, per run, is what a run costs besides its own work:
Snakemake, papermill, starting and ending a kernel. Writes data/results/bench/engine.json.

    python benchmarks/engine.py
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from cam_utils import files, runs

sys.path.insert(0, str(files.DATA.parent))
from tests.workflow import tiny


def seconds(folder: Path, count: int) -> tuple[float, float]:
    """Return the wall times of a batch of `count` runs that do nothing, and of the same batch once more."""
    folder.mkdir()
    grid = tiny.write(folder, range(count), wait="")
    spent = []
    for _ in range(2):
        started = time.perf_counter()
        status, lines, errors = tiny.start(grid, folder / "runs", "--cores=1")
        if status:
            raise RuntimeError(f"the batch failed: {lines} {errors[-500:]}")
        spent.append(time.perf_counter() - started)
    return spent[0], spent[1]


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--no-store", action="store_true", help="print only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        one, _ = seconds(Path(folder) / "one", 1)
        many, again = seconds(Path(folder) / "many", options.runs)
    found = {
        "runs": options.runs,
        "seconds per run": (many - one) / (options.runs - 1),
        "seconds of a batch of one": one,
        "seconds of a finished batch": again,
    }
    print(json.dumps(found, indent=1))
    if not options.no_store:
        record = {"command": "python benchmarks/engine.py", **runs.provenance(), **found}
        (files.DATA / "results" / "bench" / "engine.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
