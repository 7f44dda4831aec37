"""Run a grid of chapters, resume it, and publish what finished: make runs GRID=workflow/grids/smoke.yaml.

    python -m workflow.batch GRID --dry-run          list the jobs, their estimated GPU hours, and missing data
    python -m workflow.batch GRID --data ~/datasets  run what is not finished yet, then gather and build the book
    python -m workflow.batch GRID --profile slurm    the same on a cluster (settings: workflow/profiles/slurm)

Everything lands in runs/. Kill it at any moment and start it again: finished runs stay, half runs go on.
"""

import argparse
import base64
import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from cam_utils import files, owned
from workflow import ROOT
from workflow.batch import estimate, spent
from workflow.batch.grid import Job, Plan, read
from workflow.batch.memory import KEEPING
from workflow.batch.records import prepare
from workflow.ending import SIGNALS, ending

PROFILES = ROOT / "workflow" / "profiles"
ENDED = 128  # and the number of the signal that ended a batch: its exit status
ROOM = 2**20  # bytes that must be free: less than a run leaves
# A file that each dataset has, in the folder of all datasets or in its own.
MARKS = {
    "voc2007": ("VOCdevkit/VOC2007/ImageSets",),
    "voc2012": ("VOCdevkit/VOC2012/ImageSets",),
    "coco2017": ("coco2017/annotations", "annotations"),
    "imagenet": ("imagenet/LOC_synset_mapping.txt", "LOC_synset_mapping.txt"),
    "stanford40": ("Stanford40/ImageSplits", "ImageSplits"),
    "planet": ("planet/train-jpg", "train-jpg"),
    "msrc": ("msrc/Images", "MSRC_ObjCategImageDatabase_v2/Images", "Images"),
}


def missing(job: Job) -> str | None:
    """Return what of a job's data is not there, in a sentence, or None."""
    name, root = job.parameters.get("dataset", "digits"), job.parameters.get("data_root")
    if name in MARKS:
        where = f"book/datasets.md says where to get {name} and how to lay it out"
        if root is None:
            return f"no folder of datasets is named for {name}: pass --data FOLDER (make: DATA=FOLDER); {where}"
        if not any(os.path.exists(ROOT / Path(root).expanduser() / mark) for mark in MARKS[name]):
            return f"{root} holds no {MARKS[name][0]}; {where}"
    weights = job.parameters.get("weights")
    if weights not in (None, "imagenet") and not os.path.isfile(ROOT / Path(weights).expanduser()):
        return f"there are no weights at {weights}: a state dict of torchvision, or imagenet to download them"
    return None


def describe(plan: Plan, lacking: dict[str, str], root: Path) -> str:
    """Return the list of a grid's jobs with their estimated GPU hours, and of the data that are missing."""
    lines = []
    for name, spec in plan.trainings.items():
        done = "done" if (root / ".trained" / f"{name}.json").exists() else ""
        lines.append(f"  train  {name:64} {estimate.training(spec):8.1f} h  {done}")
    for name, job in plan.jobs.items():
        done = "done" if job.finished(root, job.key()) else "no data" if name in lacking else ""
        lines.append(f"  run    {name:64} {estimate.run(job):8.1f} h  {done}")
    hours = sum(map(estimate.run, plan.jobs.values())) + sum(map(estimate.training, plan.trainings.values()))
    lines.append(
        f"{len(plan.trainings)} trainings and {len(plan.jobs)} runs, {hours:.0f} GPU hours in all by estimate "
        f"({estimate.EFFECTIVE / 1e12:.0f} TFLOP/s; a done one may still run again if its parameters changed)"
    )
    return "\n".join(lines + absent(lacking))


def absent(lacking: dict[str, str]) -> list[str]:
    """Return a line for every reason why runs lack their data, with the runs it stops."""
    reasons: dict[str, list[str]] = {}
    for name, why in lacking.items():
        reasons.setdefault(why, []).append(name)
    return [
        f"missing: {why} ({len(names)} runs: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for why, names in reasons.items()
    ]


def gpus() -> list[str]:
    """Return the numbers of this machine's NVIDIA GPUs that $CUDA_VISIBLE_DEVICES lets one see."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    return [str(i) for i, _ in enumerate(listed.stdout.splitlines())] if listed.returncode == 0 else []


def snakemake(grid: Path, root: Path, options: argparse.Namespace, skipped: list[str], lock: int) -> int:
    """Run the grid's jobs and return Snakemake's exit status; it shares the lock: it may outlive us."""
    names = gpus() if options.profile == "local" else []
    count = len(names) if options.profile == "local" else int(not options.cpu)
    config = {"grid": str(grid.resolve()), "gpus": count, "skipped": skipped, "data_root": options.data}
    snakefile = Path(__file__).with_name("Snakefile")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "--directory", str(root)]
    command += ["--profile", str(PROFILES / options.profile)]
    # Snakemake strips quotation marks and reads the rest as YAML: a path must look like nothing that YAML knows.
    command += ["--config", f"given={base64.b64encode(json.dumps(config).encode()).decode()}"]
    environment = KEEPING | os.environ | {"CAM_UTILS_GPUS": ",".join(names)}
    if options.profile == "local":
        command += ["--resources", f"gpu={count}"]
    if names:
        environment.pop("CUDA_VISIBLE_DEVICES", None)  # every job takes one of these
    # A group of its own, so that a signal reaches it and its jobs once, whether from the keyboard or for us alone.
    # And one in which SIGINT counts: it is ignored in all that a script starts in the background.
    group = {"process_group": 0, "preexec_fn": partial(signal.signal, signal.SIGINT, signal.SIG_DFL)}
    running = subprocess.Popen([*command, *options.snakemake], env=environment, pass_fds=[lock], **group)
    ended: list[int] = []

    def end(number: int, _: object) -> None:
        ended.append(number)
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGINT)  # it first ends its jobs, those on a cluster as well

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in (number for number, handler in before.items() if handler is not signal.SIG_IGN):
        signal.signal(number, end)
    running.wait()
    for number, handler in before.items():
        signal.signal(number, handler)
    return ENDED + ended[0] if ended else running.returncode


def summary(plan: Plan, root: Path, lacking: dict[str, str], keys: dict[str, str]) -> list[str]:
    """Return what came of the grid: counts, a line for every run that is not there and for missing data."""
    done = [name for name, job in plan.jobs.items() if job.finished(root, keys[name])]
    wanted = {
        *plan.jobs,
        *plan.trainings,
        *(f"{j.id}-part{i}" for j in plan.jobs.values() for i in range(j.shards)),
    }
    # A full disk may have cut a reason short.
    failed = [
        f.read_text(errors="replace") or f"{f.stem}: no reason was left, see {root / 'logs'}"
        for f in sorted((root / ".failed").glob("*.txt"))
        if f.stem in wanted and f.is_file()
    ]
    named = {line.split(":")[0].split("-part")[0] for line in failed}
    for name, job in plan.jobs.items():
        if name not in (*done, *lacking, *named):  # ended by a signal, a limit of time or memory, or never begun
            untrained = [each for each in job.trainings if not (root / ".trained" / f"{each}.json").exists()]
            why = f"its training {untrained[0]} is not there" if untrained else "it left no reason"
            failed.append(f"{name}: {why}, see {root / 'logs'}")
    lines = [f"{len(done)} of {len(plan.jobs)} runs are finished, in {root}"]
    return lines + [f"failed: {line}" for line in failed] + absent(lacking)


def full(root: Path) -> str | None:
    """Return a sentence if the disk takes no more of what runs write, or None."""
    probe = root / f".probe.{uuid.uuid4().hex[:12]}{files.PARTIAL}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(bytes(ROOM))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return f"the disk is full: {root} takes no {ROOM / 2**20:g} MiB more; make room, and start the batch again"
    finally:
        probe.unlink(missing_ok=True)
    return None


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """Return the options of the command line, and as `snakemake` what is meant for that."""
    parser = argparse.ArgumentParser(
        prog="python -m workflow.batch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("grid", type=Path)
    parser.add_argument("--profile", default="local", help="a folder of workflow/profiles")
    parser.add_argument("--data", help="the folder of all datasets, in place of the grid's data_root")
    parser.add_argument("--skip-missing", action="store_true", help="leave out runs whose data are missing")
    parser.add_argument("--dry-run", action="store_true", help="list the jobs, hours and missing data, run nothing")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="where runs are kept")
    parser.add_argument("--no-book", action="store_true", help="do not gather results and build the book")
    parser.add_argument("--store", action="store_true", help="write the default runs' outputs into notebooks/")
    parser.add_argument("--cpu", action="store_true", help="on a cluster: ask for no GPU")
    options, options.snakemake = parser.parse_known_args(arguments)
    options.grid, options.runs = options.grid.expanduser(), options.runs.resolve()
    if options.data:
        options.data = str(Path(options.data).expanduser().resolve())
    return options


@contextmanager
def alone(root: Path) -> Iterator[int]:
    """Hold the lock of a folder of runs and give its descriptor; exits with a sentence if another batch has it."""
    file = root / ".batch.lock"
    try:  # not filelock: Snakemake must inherit it
        held = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        sys.exit(f"batch: expected {file} as the file of the batch's lock: {error.strerror}")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield held
    except BlockingIOError:
        sys.exit(f"batch: another batch is at work in {root}")
    finally:
        os.close(held)


def run(plan: Plan, lacking: dict[str, str], options: argparse.Namespace) -> int:
    """Run what of the plan is not finished, print what came of it, build the book, and return the exit status.

    The lock is held to the end: no other batch changes runs that a book is being made of. Exits with a sentence
    where the disk is full, another batch is at work, or the book cannot be built.
    """
    root = options.runs
    if why := full(root):
        sys.exit(f"batch: {why}")
    with alone(root) as lock:
        keys = {name: job.key() for name, job in plan.jobs.items()}
        prepare(plan, root, lacking, keys)
        started = time.time()
        status = snakemake(options.grid, root, options, sorted(lacking), lock)
        told = [*summary(plan, root, lacking, keys), *spent.lines(plan, root, started)]
        print("\n".join([*told, *filter(None, [full(root)])]), flush=True)
        if status > ENDED:
            print(f"batch: ended by {signal.Signals(status - ENDED).name}", file=sys.stderr)
            return status
        if not options.no_book:
            from workflow.site import build  # imports torch, which a listing need not wait for

            try:
                print(f"The book: {build.book(root, store=options.store and not status)}")
            except (FileNotFoundError, RuntimeError, ValueError) as error:
                sys.exit(str(error))
    return 1 if status else 0


def main(arguments: list[str] | None = None) -> None:
    """Run what the command line says; exits with 1 if a run failed, with a sentence if nothing could be started."""
    with ending("batch"):
        options = parsed(arguments)
        try:
            plan = read(options.grid, data_root=options.data)
            if not (PROFILES / owned.named("profile", options.profile) / "config.yaml").is_file():
                raise ValueError(f"no profile {options.profile} in workflow/profiles")
        except (FileNotFoundError, ValueError) as error:
            sys.exit(f"batch: {error}")
        lacking = {name: why for name, job in plan.jobs.items() if (why := missing(job))}
        if options.dry_run:
            print(describe(plan, lacking, options.runs))
            return
        if lacking and not options.skip_missing:
            sys.exit("\n".join(["batch: data are missing; --skip-missing runs the rest", *absent(lacking)]))
        sys.exit(run(plan, lacking, options))


if __name__ == "__main__":
    main()
