"""What the batch's engine adds to a run: grids of runs that do next to nothing: make bench.

The time of a grid of many such runs less that of a grid of one, per run, is what a run costs besides its own work:
Snakemake, papermill, starting and ending a kernel. Writes data/results/bench/engine.json.

    python benchmarks/engine.py                    # on one core, one run after another
    python benchmarks/engine.py --runs 1000        # the same of as many as a study has
    bash tests/cluster/slurm.sh .venv/bin/python benchmarks/engine.py --runs 1000 --slurm

The last is on the pretended SLURM, whose nodes, scheduler and jobs all share this machine: a job costs more there
than on a cluster. It goes to data/results/bench/engine_slurm.json.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from cam_utils import files, runs

sys.path.insert(0, str(files.DATA.parent))
from tests.workflow import tiny
from workflow.batch.spent import FOLDER, Span

# How a batch is started, and how many runs it has at once.
LOCAL = (("--cores=1",), 1)
SLURM = (("--profile=slurm", "--slurm-status-command=squeue", "--slurm-init-seconds-before-status-checks=3"), 4)


def seconds(folder: Path, count: int, flags: tuple[str, ...]) -> tuple[float, float, float]:
    """Return the wall times of a batch of `count` runs that do nothing, and of the same batch once more.

    And of one of its jobs, from its first line to its last: the median.
    """
    folder.mkdir()
    grid = tiny.write(folder, range(count), wait="")
    spent = []
    for _ in range(2):
        started = time.perf_counter()
        status, lines, errors = tiny.start(grid, folder / "runs", *flags, timeout=None)
        if status:
            raise RuntimeError(f"the batch failed: {lines} {errors[-500:]}")
        spent.append(time.perf_counter() - started)
    spans = [Span(*json.loads(file.read_text())) for file in (folder / "runs" / FOLDER).glob("*.json")]
    return *spent, statistics.median(span.end - span.begin for span in spans)


def measured(count: int, flags: tuple[str, ...], places: int) -> dict[str, float]:
    """Return what a run of a batch of `count` costs."""
    with tempfile.TemporaryDirectory() as folder:
        one, *_ = seconds(Path(folder) / "one", 1, flags)
        many, again, inside = seconds(Path(folder) / "many", count, flags)
    return {
        "runs": count,
        "runs at once": places,
        "seconds per run": (many - one) / (count - 1),
        "seconds inside a run": inside,
        "seconds of a batch of one": one,
        "seconds of a finished batch": again,
    }


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--slurm", action="store_true", help="as jobs of the SLURM of this machine")
    parser.add_argument("--no-store", action="store_true", help="print only")
    options = parser.parse_args()
    found = measured(options.runs, *(SLURM if options.slurm else LOCAL))
    print(json.dumps(found, indent=1))
    if not options.no_store:
        name = "engine_slurm" if options.slurm else "engine"
        command = f"python benchmarks/engine.py --runs {options.runs}{' --slurm' * options.slurm}"
        record = {"command": command, **runs.provenance(), **found}
        (files.DATA / "results" / "bench" / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
