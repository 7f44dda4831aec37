"""Evaluate part I of a run's images: python -m workflow.batch.evaluate_part RUNS JOB I.

The parts of one run may be evaluated at the same time, on several GPUs or nodes; the notebook, which keeps its
evaluations in the same place, then finds all rows.
"""

import json
import os
import sys
from pathlib import Path

from cam_utils import owned
from cam_utils.parameters import CHAPTERS
from workflow import ROOT
from workflow.batch.execute import device, reported, unchanged
from workflow.batch.grid import Job, defaults
from workflow.batch.train import loader, train
from workflow.ending import ending


def evaluate_part(job: Job, specs: list[dict], part: int) -> int:
    """Return how many rows part `part` of the run has; raises ValueError for a chapter that cannot be split."""
    if job.chapter != "minmax_cam":
        raise ValueError(f"shards: only minmax_cam evaluates in parts, not {job.chapter}")
    from cam_utils import runs  # imports torch, which must see CUDA_VISIBLE_DEVICES
    from cam_utils.evaluation import evaluate
    from cam_utils.networks import models

    p = defaults(ROOT / job.notebook) | job.parameters
    methods = CHAPTERS["minmax_cam"]["methods"].check("methods", p["methods"])
    rows = 0
    for spec in specs:
        images = loader(spec)("val", limit=p["limit"])
        table = evaluate.evaluate(
            models.load_checkpoint(train(spec), images.classes),
            images,
            methods,
            folder=runs.evaluations(),
            shard=(part, job.shards),
            device=runs.pick_device(p["device"]),
            progress=False,
        )
        rows += len(table)
    return rows


def main() -> None:
    """Evaluate what the command line says."""
    root, (fields, key, specs), part = Path(sys.argv[1]).resolve(), json.loads(sys.argv[2]), int(sys.argv[3])
    os.chdir(ROOT)
    job = Job(*fields)
    name = f"{job.id}-part{part}"
    with ending(name), owned.scratch(), reported(root, name), device():
        if not job.finished(root, key):
            unchanged(job, key)
            print(f"{evaluate_part(job, specs, part)} rows")


if __name__ == "__main__":
    main()
