"""Evaluate part I of a run's images into its folder: python workflow/evaluate_part.py RUNS JOB I.

The parts of one run may be evaluated at the same time, on several GPUs or nodes; the notebook then finds all rows.
"""

import json
import os
import shutil
import sys
from pathlib import Path

from cam_utils.files import lock
from workflow.batch.execute import GPU_LOCKS, device, reported
from workflow.batch.grid import ROOT, Job, defaults
from workflow.batch.train import loader, train


def evaluate_part(work: Path, job: Job, specs: list[dict], part: int) -> int:
    """Return how many rows part `part` of the run has; raises ValueError for a chapter that cannot be split."""
    if job.chapter != "minmax_cam":
        raise ValueError(f"shards: only minmax_cam evaluates in parts, not {job.chapter}")
    from cam_utils import runs  # imports torch, which must see CUDA_VISIBLE_DEVICES
    from cam_utils.evaluation import evaluate
    from cam_utils.networks import models

    p = defaults(job.notebook) | job.parameters
    methods = p["methods"].split(",") if isinstance(p["methods"], str) else p["methods"]
    rows = 0
    for spec in specs:
        images = loader(spec)("val", limit=p["limit"])
        co_occurrence = spec["options"].get("co_occurrence")
        scenes = {None: spec["dataset"], 0.9: "co-occurring", 0.0: "independent"}[co_occurrence]
        table = evaluate.evaluate(
            models.load_checkpoint(train(spec), images.classes),
            images,
            [name.strip() for name in methods],
            folder=work / f"{scenes}-{spec['head']}",  # where the notebook looks for it
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
    work = root / ".work" / job.id
    with reported(root, f"{job.id}-part{part}"), device(GPU_LOCKS):
        if job.finished(root, key):
            return
        # The first part makes the folder, for this state of the code.
        with lock(work.with_name(f"{job.id}.parts.lock")):
            if work.exists() and (not (work / "key").is_file() or (work / "key").read_text() != key):
                shutil.rmtree(work)
            work.mkdir(parents=True, exist_ok=True)
            (work / "key").write_text(key)
        print(f"{evaluate_part(work, job, specs, part)} rows")


if __name__ == "__main__":
    main()
