"""Execute one run of a batch: python -m workflow.batch.execute RUNS JOB MARK, where JOB is a grid's Job as JSON.

The run is made in RUNS/.work/<id> and moved to RUNS/<id> when all of it is there. A run that was killed goes on
from the evaluations that it had written; one that is finished, by its key, is left as it is. A failed one leaves a
line in RUNS/.failed/<id>.txt. MARK is the file that tells Snakemake that the run is finished.
"""

import errno
import json
import os
import platform
import random
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import filelock

from cam_utils import owned
from cam_utils.files import clear_abandoned, fingerprint, lock, written
from workflow import ROOT, RunFailed
from workflow.batch import spent
from workflow.batch.grid import Job
from workflow.ending import ending


def execute(root: Path, job: Job, key: str) -> Path:
    """Return the folder of the finished run; raises RunFailed and what `run_notebook.run` raises."""
    from workflow.run_notebook import run  # papermill, which the other jobs need not wait for

    target, work = job.folder(root), job.folder(root / ".work")
    # A killed batch leaves its notebooks running: wait for this one's.
    with lock(work.with_name(f"{job.id}.lock")):
        for place in (root, work.parent):
            owned.sweep(place, job.id)
        if job.finished(root, key):
            return target
        owned.check(target)
        unchanged(job, key)
        begin(work, key)
        os.environ["CAM_UTILS_RUN"] = os.path.relpath(work)
        run(ROOT / job.notebook, work / "notebook.ipynb", job.parameters, logs=root / "logs", progress=False)
        if not (work / "run.json").is_file():
            raise RunFailed(f"{job.notebook} wrote no run.json into its run's folder")
        unchanged(job, key)
        owned.replace(work, target)
    return target


def begin(work: Path, key: str) -> None:
    """Make the folder that a run is made in; what it holds of another state of code or parameters is taken away."""
    if not (work / "key").is_file() or (work / "key").read_bytes() != key.encode():
        owned.remove(work)
        owned.make(work)
        with written(work / "key") as file:
            file.write_text(key)
    owned.mark(work)  # one begun before there were markers
    clear_abandoned(work.rglob(".*"))


def unchanged(job: Job, key: str) -> None:
    """Raise RunFailed if the notebook or the package is no longer what the batch was started with."""
    if job.key() != key:
        raise RunFailed(f"{job.notebook} or what it reads changed since the batch began: start it again")


@contextmanager
def device(count: int = 1) -> Iterator[None]:
    """Hold `count` of the GPUs that $CAM_UTILS_GPUS names ("0,1"), for this process and its children alone.

    Snakemake only counts GPUs. Where a scheduler gives them out, it sets CUDA_VISIBLE_DEVICES itself.
    """
    names = [name for name in os.environ.get("CAM_UTILS_GPUS", "").split(",") if name]
    if not names or "CUDA_VISIBLE_DEVICES" in os.environ:
        yield
        return
    folder = owned.private("locks")  # of this user: batches in other folders take GPUs as well
    count = min(count, len(names))
    while True:
        with ExitStack() as locks:  # all at once or none: two jobs with half of theirs would wait for each other
            held: list[str] = []
            for name in names:
                file = folder / f"gpu-{fingerprint(platform.node(), name)}.lock"  # machines may share the folder
                with suppress(filelock.Timeout):
                    if len(held) < count:
                        locks.enter_context(filelock.FileLock(file, timeout=0))
                        held.append(name)
            if len(held) == count:
                os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(held)
                yield
                return
        time.sleep(random.uniform(0.5, 1.5))


def reason(error: Exception) -> str:
    """Return an error as one line."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full: {error.filename or 'no space left'}; make room, and start the batch again"
    text = " ".join(str(error).split())
    return text if isinstance(error, RunFailed) else f"{type(error).__name__}: {text}"


@contextmanager
def reported(root: Path, name: str) -> Iterator[None]:
    """Turn an exception into the line RUNS/.failed/<name>.txt and a failed process; note how long a job took."""
    failed = root / ".failed" / f"{owned.named('a name', name)}.txt"
    try:
        with spent.noted(root, name):
            yield
    except Exception as error:
        line = f"{name}: {reason(error)}"
        with suppress(OSError), written(failed) as file:  # on a full disk the log has it
            file.write_text(line)
        sys.exit(line)
    failed.unlink(missing_ok=True)


def main() -> None:
    """Execute the job of the command line."""
    root, (fields, key), mark = Path(sys.argv[1]).resolve(), json.loads(sys.argv[2]), Path(sys.argv[3]).resolve()
    os.chdir(ROOT)  # relative paths among the parameters count from the project's folder
    job = Job(*fields)
    with ending(job.id), owned.scratch(), reported(root, job.id), device():
        folder = execute(root, job, key)
        with written(mark) as file:
            file.write_text(key)
        print(folder)


if __name__ == "__main__":
    main()
