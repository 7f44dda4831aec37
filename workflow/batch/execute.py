"""Execute one run of a batch: python -m workflow.batch.execute RUNS JOB MARK, where JOB is a grid's Job as JSON.

The run is made in RUNS/.work/<id> and moved to RUNS/<id> when all of it is there. A run that was killed goes on
from the evaluations that it had written; one that is finished, by its key, is left as it is. A failed one leaves a
line in RUNS/.failed/<id>.txt. MARK is the file that tells Snakemake that the run is finished.
"""

import errno
import getpass
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import filelock

from cam_utils.files import lock, written
from workflow import ROOT, RunFailed
from workflow.batch.grid import Job

# Of this machine and user: batches in other folders take GPUs as well.
GPU_LOCKS = Path(tempfile.gettempdir()) / f"cam_utils-gpus-{getpass.getuser()}"


def execute(root: Path, job: Job, key: str) -> Path:
    """Return the folder of the finished run; raises RunFailed and what `run_notebook.run` raises."""
    from workflow.run_notebook import run  # papermill, which the other jobs need not wait for

    target, work = root / job.id, root / ".work" / job.id
    # A killed batch leaves its notebooks running: wait for this one's.
    with lock(work.with_name(f"{job.id}.lock")):
        if job.finished(root, key):
            return target
        unchanged(job, key)
        begin(work, key)
        os.environ["CAM_UTILS_RUN"] = os.path.relpath(work)
        run(ROOT / job.notebook, work / "notebook.ipynb", job.parameters, logs=root / "logs", progress=False)
        if not (work / "run.json").is_file():
            raise RunFailed(f"{job.notebook} wrote no run.json into its run's folder")
        unchanged(job, key)
        shutil.rmtree(target, ignore_errors=True)
        work.rename(target)
    return target


def begin(work: Path, key: str) -> None:
    """Make the folder that a run is made in; what it holds of another state of code or parameters is taken away."""
    if key_of(work) != key:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        (work / "key").write_text(key)


def key_of(folder: Path) -> str | None:
    """Return the key of the run in a folder."""
    file = folder / "key"
    return file.read_text() if file.is_file() else None


def unchanged(job: Job, key: str) -> None:
    """Raise RunFailed if the notebook or the package is no longer what the batch was started with."""
    if job.key() != key:
        raise RunFailed(f"{job.notebook} or what it reads changed since the batch began: start it again")


@contextmanager
def device(folder: Path, count: int = 1) -> Iterator[None]:
    """Hold `count` of the GPUs that $CAM_UTILS_GPUS names ("0,1"), for this process and its children alone.

    Snakemake only counts GPUs. Where a scheduler gives them out, it sets CUDA_VISIBLE_DEVICES itself.
    """
    names = [name for name in os.environ.get("CAM_UTILS_GPUS", "").split(",") if name]
    if not names or "CUDA_VISIBLE_DEVICES" in os.environ:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    count = min(count, len(names))
    while True:
        with ExitStack() as locks:  # all at once or none: two jobs with half of theirs would wait for each other
            held: list[str] = []
            for name in names:
                with suppress(filelock.Timeout):
                    if len(held) < count:
                        locks.enter_context(filelock.FileLock(folder / f"gpu-{name}.lock", timeout=0))
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
    """Turn an exception into the line RUNS/.failed/<name>.txt and a failed process."""
    failed = root / ".failed" / f"{name}.txt"
    try:
        yield
    except Exception as error:
        line = f"{name}: {reason(error)}"
        with suppress(OSError):  # on a full disk the log has it
            failed.parent.mkdir(parents=True, exist_ok=True)
            failed.write_text(line)
        sys.exit(line)
    failed.unlink(missing_ok=True)


def main() -> None:
    """Execute the job of the command line."""
    root, (fields, key), mark = Path(sys.argv[1]).resolve(), json.loads(sys.argv[2]), Path(sys.argv[3]).resolve()
    os.chdir(ROOT)  # relative paths among the parameters count from the project's folder
    job = Job(*fields)
    with reported(root, job.id), device(GPU_LOCKS):
        folder = execute(root, job, key)
        with written(mark) as file:
            file.write_text(key)
        print(folder)


if __name__ == "__main__":
    main()
