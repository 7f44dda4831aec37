"""Train one network of a batch, or find it trained: python -m workflow.batch.train RUNS NAME TRAINING MARK.

TRAINING is JSON as grid.py makes it; MARK is the file that tells which checkpoint came out. With several devices
Lightning starts this module once for each; on several nodes SLURM does.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cam_utils import owned
from cam_utils.files import files_digest, lock, written
from workflow import ROOT
from workflow.batch.execute import device, reported
from workflow.ending import ending


def loader(spec: dict) -> Callable:
    """Return `load(split, **options)` of the dataset that a training is about."""
    from cam_utils import data  # imports torch, which must see CUDA_VISIBLE_DEVICES

    where = {"root": spec["root"], "size": spec["size"], "resize": spec["resize"]}
    return partial(data.load, spec["dataset"], **where, **spec["options"])


def train(spec: dict) -> Path:
    """Return the checkpoint of a training; raises as :func:`cam_utils.runs.trained`."""
    from cam_utils import runs

    trainer = {"progress": False} | spec["trainer"]
    if trainer.get("nodes", 1) == 1:  # else Lightning, in a job, leaves it to SLURM to start a process per device
        os.environ["SLURM_JOB_NAME"] = "interactive"
    accelerator = trainer.pop("accelerator", None) or runs.pick_device("auto")
    given = {name: spec[name] for name in ("network", "head", "schedule", "weights", "seed")}
    return runs.trained(loader(spec), **given, device=accelerator, **trainer)[1]


def spread(devices: int, nodes: int) -> None:
    """Start this module once for each device of a SLURM job's nodes; raises RuntimeError if it fails there."""
    if "SLURM_JOB_ID" not in os.environ:
        raise ValueError(f"a training on {nodes} nodes needs a SLURM cluster: --profile slurm")
    # This process is one step of the job on its first node; of that only the job's number holds for all.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SRUN_"))}
    environment |= {"SLURM_JOB_ID": os.environ["SLURM_JOB_ID"], "CAM_UTILS_SPREAD": "1"}
    srun = ["srun", "--overlap", f"--nodes={nodes}", f"--ntasks-per-node={devices}", "--cpu-bind=none"]
    again = [sys.executable, "-m", "workflow.batch.train", *sys.argv[1:]]
    done = subprocess.run([*srun, "--kill-on-bad-exit", *again], env=environment, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"the training on {nodes} nodes failed; its log says why")


def main() -> None:
    """Train what the command line says, and write the mark."""
    root, name, spec, mark = Path(sys.argv[1]).resolve(), sys.argv[2], json.loads(sys.argv[3]), Path(sys.argv[4])
    mark = mark.resolve()
    os.chdir(ROOT)
    ranks = (os.environ.get(each, "0") for each in ("LOCAL_RANK", "NODE_RANK", "CAM_UTILS_SPREAD"))
    if any(map(int, ranks)):
        with ending(name):
            train(spec)  # the process that started this one holds the lock and reports
        return
    devices, nodes = (spec["trainer"].get(each, 1) for each in ("devices", "nodes"))
    held = lock(root / ".work" / f"{name}.lock")
    with ending(name), owned.scratch(), reported(root, name), device(devices), held:
        if nodes > 1:
            spread(devices, nodes)
        path = train(spec)
        found = {"checkpoint": path.name, "digest": files_digest([path], path.parent), **spec}
        with written(mark) as file:
            file.write_text(json.dumps(found, indent=1) + "\n")
        print(path.name)


if __name__ == "__main__":
    main()
