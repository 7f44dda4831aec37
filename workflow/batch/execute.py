"""Execute one run of a batch: python workflow/execute.py RUNS JOB MARK, where JOB is a grid's Job as JSON.

The run is made in RUNS/.work/<id> and moved to RUNS/<id> when all of it is there. A run that was killed goes on
from the rows that it had written; one that is finished, by its key, is left as it is. A failed one leaves a line in
RUNS/.failed/<id>.txt. MARK is the file that tells Snakemake that the run is finished.
"""

import errno
import fcntl
import getpass
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cam_utils.files import lock
from workflow.batch.grid import ROOT, Job
from workflow.run_notebook import NotebookFailed, run

# Of this machine and user: batches in other folders take GPUs as well.
GPU_LOCKS = Path(tempfile.gettempdir()) / f"cam_utils-gpus-{getpass.getuser()}"


def execute(root: Path, job: Job, key: str) -> Path:
    """Return the folder of the finished run; raises what `run_notebook.run` raises."""
    target, work = root / job.id, root / ".work" / job.id
    work.parent.mkdir(parents=True, exist_ok=True)
    # A killed batch leaves its notebooks running: wait for this one's.
    with lock(work.with_name(f"{job.id}.lock")):
        if job.finished(root, key):
            return target
        unchanged(job, key)
        if work.exists() and _key(work) != key:
            shutil.rmtree(work)
        work.mkdir(exist_ok=True)
        (work / "key").write_text(key)
        os.environ["CAM_UTILS_RUN"] = os.path.relpath(work)
        run(job.notebook, work / "notebook.ipynb", job.parameters, logs=root / "logs", progress=False)
        if not (work / "run.json").is_file():
            raise NotebookFailed(f"{job.notebook} wrote no run.json into its run's folder")
        unchanged(job, key)
        shutil.rmtree(target, ignore_errors=True)
        work.rename(target)
    return target


def unchanged(job: Job, key: str) -> None:
    """Raise NotebookFailed if the notebook or the package is no longer what the batch was started with."""
    if job.key() != key:
        raise NotebookFailed(f"{job.notebook} or what it reads changed since the batch began: start it again")


def _key(folder: Path) -> str | None:
    file = folder / "key"
    return file.read_text() if file.is_file() else None


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
    held: list[str] = []
    with ExitStack() as files:
        while True:
            for name in (n for n in names if n not in held):
                file = (folder / f"gpu-{name}.lock").open("w")
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    file.close()
                    continue
                files.enter_context(file)
                held.append(name)
                if len(held) == min(count, len(names)):
                    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(held)
                    yield
                    return
            time.sleep(1)


def reason(error: Exception) -> str:
    """Return an error as one line."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full: {error.filename or 'no space left'}; make room, and start the batch again"
    text = " ".join(str(error).split())
    return text if isinstance(error, NotebookFailed) else f"{type(error).__name__}: {text}"


@contextmanager
def reported(root: Path, name: str) -> Iterator[None]:
    """Turn an exception into the line RUNS/.failed/<name>.txt and a failed process."""
    failed = root / ".failed" / f"{name}.txt"
    try:
        yield
    except Exception as error:
        line = f"{name}: {reason(error)}"
        try:
            failed.parent.mkdir(parents=True, exist_ok=True)
            failed.write_text(line)
        except OSError:
            pass  # on a full disk the log has it
        sys.exit(line)
    failed.unlink(missing_ok=True)


def main() -> None:
    """Execute the job of the command line."""
    root, (fields, key) = Path(sys.argv[1]).resolve(), json.loads(sys.argv[2])
    mark = Path(sys.argv[3]).resolve()
    os.chdir(ROOT)  # relative paths among the parameters count from the project's folder
    job = Job(*fields)
    with reported(root, job.id), device(GPU_LOCKS):
        folder = execute(root, job, key)
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text(key)
        print(folder)


if __name__ == "__main__":
    main()
