"""What earlier starts left in a folder of runs: what is no longer true is taken away, what is damaged set aside."""

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from cam_utils import files, owned
from workflow.batch.grid import Job, Plan

FOLDERS = (".finished", ".trained", ".failed", ".work", ".parts", ".spent", ".snakemake", "logs")


def prepare(plan: Plan, root: Path, lacking: Mapping[str, str], keys: Mapping[str, str]) -> None:
    """Take away what is no longer true of the planned runs and trainings; the caller holds the batch's lock.

    Failures, marks of runs that are not there or were made with other parameters or code, whose records are set
    aside (a failure must not leave yesterday's result), and marks of checkpoints that are gone. A damaged record
    stops nothing: a printed line names it and where it was put, and it is made again.
    """
    for place in (root / name for name in FOLDERS):
        if os.path.lexists(place) and not place.is_dir():
            aside(place, "it is no folder")
    for place in (root, root / ".finished", root / ".trained", root / ".failed", root / ".spent"):
        owned.sweep(place)
    for failure in (root / ".failed").glob("*.txt"):
        if failure.is_file() or failure.is_symlink():
            failure.unlink(missing_ok=True)
    for name, job in plan.jobs.items():
        if name not in lacking:
            _run(root, job, keys[name])
    for name in plan.trainings:
        _training(root / ".trained" / f"{name}.json")


def _run(root: Path, job: Job, key: str) -> None:
    """Take away what says that a run is finished if it is not."""
    folder, mark = job.folder(root), root / ".finished" / job.id
    if os.path.lexists(mark) and not mark.is_file():
        aside(mark, "it is no file")
    if job.finished(root, key):
        return
    mark.unlink(missing_ok=True)
    held, record = folder / "key", folder / "run.json"
    if os.path.lexists(held) and not (held.is_file() and owned.KEY.fullmatch(held.read_bytes())):
        aside(held, "it holds no key of a run")
    if record.is_file():
        old = record.with_name("run.json.old")
        record.replace(old if old.is_file() or not os.path.lexists(old) else _free(old))


def _training(mark: Path) -> None:
    """Take away the mark of a checkpoint that is gone."""
    if not os.path.lexists(mark):
        return
    try:
        name = owned.named("checkpoint", json.loads(mark.read_bytes())["checkpoint"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        aside(mark, "it names no checkpoint")
        return
    if not any((place / "checkpoints" / name).is_file() for place in (files.cache(), files.DATA)):
        mark.unlink()


def aside(path: Path, why: str) -> Path:
    """Rename a damaged record, say so in a line, and return its new path."""
    new = path.rename(_free(path.with_name(f"{path.name}.damaged")))
    print(f"batch: {path} is damaged: {why}; it is set aside as {new.name}, and made again", flush=True)
    return new


def _free(path: Path) -> Path:
    return path.with_name(f"{path.name}-{uuid.uuid4().hex[:8]}") if os.path.lexists(path) else path
