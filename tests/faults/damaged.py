"""Damaged files: bits flipped, cut, empty, rows doubled or lost, other JSON; and files that would run a command."""

import contextlib
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import nbformat
import pandas as pd
import torch

from cam_utils import data, files, runs
from cam_utils.files import fingerprint
from cam_utils.networks import checkpoints, features, models
from tests import fake_runs
from tests.data import fuzz
from tests.faults import works
from tests.faults.trials import Trial, alone, judged
from tests.front import test_picture_fuzz
from workflow import ROOT
from workflow.batch import __main__ as batch
from workflow.batch import grid
from workflow.site import fit_runs

MARK = "runs/.trained/*.json"
PLACES = {"part": "*/parts/*.parquet", "table": "*/pairs.parquet", "plan": "*/plan.json", "state": "**/state.pt"}


class Kind(NamedTuple):
    """A kind of file: make(folder) lets one lie at `pattern` in a folder, read(folder) is what depends on it."""

    name: str
    pattern: str
    make: Callable[[Path], object]
    read: Callable[[Path], object]
    mutate: Callable[[bytes, random.Random], bytes] = fuzz.of_bytes
    same: Callable[[object, object], bool] = lambda result, other: result == other
    count: int = 3


def half(do: Callable[[Path], object], word: str, folder: Path) -> None:
    """Do a piece of work that is killed at its last step about a file with this word in its name."""
    with tempfile.TemporaryDirectory() as other:
        steps = alone(lambda: do(Path(other)), Path(other)).steps
    at = max(k for k, step in enumerate(steps) if word in step and step.startswith("replace"))
    alone(lambda: do(folder), folder, at=at)


def whole(do: Callable[[Path], object], folder: Path) -> None:
    """Do a piece of work in a process of its own."""
    if (ended := alone(lambda: do(folder), folder)).status:
        raise RuntimeError(f"fails undisturbed: {ended.words}")


def pooled(folder: Path) -> str:
    """Return a digest of the features of a few scenes, which are kept in `folder`."""
    scenes = data.load("digits", "val", n=4)
    network = models.build("digits", 10, seed=1)
    return fingerprint(features.pooled_features(network, scenes, folder=folder, progress=False))


def make_run(folder: Path) -> None:
    """Write a finished run."""
    run = fake_runs.write(folder / "runs", "ss_cam-digits-s1", seed=1)
    runs.save(run / "facts.json", {"loss": 0.5, "classes": ["a", "b"]})
    given = json.loads((run / "run.json").read_text())["parameters"]
    runs.write_run(run, given, time.time(), chapter="ss_cam")


def read_run(folder: Path) -> tuple:
    """Return what the pages read of the run; raises ValueError with the sentence that the page of results shows."""
    found, left_out = fit_runs.read(folder / "runs", chapters=["ss_cam"])
    if left_out:
        raise ValueError(left_out[0])
    (run,) = found
    means = (run.folder / "means.csv").read_text()
    shown = {name: run.record.get(name) for name in fit_runs.FIELDS}
    return shown, run.facts(), means, run.table().to_csv(), nbformat.read(run.folder / "notebook.ipynb", 4).nbformat


def make_key(folder: Path) -> None:
    """Write a finished run of a batch, with its key."""
    (folder / "tiny").mkdir()
    (folder / "tiny" / "run.json").write_text("{}")
    (folder / "tiny" / "key").write_text("0123456789abcdef")


def read_key(folder: Path) -> str:
    """Return "right" if a run is taken for finished just where its key is whole."""
    whole_key = (folder / "tiny" / "key").read_bytes() == b"0123456789abcdef"
    job = grid.Job("tiny", "tiny", "", {}, (), 1)
    return "right" if job.finished(folder, "0123456789abcdef") == whole_key else "wrong"


def make_mark(folder: Path) -> None:
    """Write the mark of a training, and its checkpoint."""
    plan = grid.read(ROOT / "workflow" / "grids" / "default.yaml")
    for name in ("checkpoints", "runs/.trained"):
        (folder / name).mkdir(parents=True)
    (folder / "checkpoints" / "a.pt").write_bytes(b"weights")
    name, spec = next(iter(plan.trainings.items()))
    digest = files.files_digest([folder / "checkpoints" / "a.pt"], folder / "checkpoints")
    mark = {"checkpoint": "a.pt", "digest": digest, **spec}
    (folder / "runs" / ".trained" / f"{name}.json").write_text(json.dumps(mark))


def read_mark(folder: Path) -> str:
    """Return "right" if the next start of the batch keeps only a mark that names its checkpoint."""
    os.environ["CAM_UTILS_CACHE"] = str(folder)
    plan = grid.read(ROOT / "workflow" / "grids" / "default.yaml")
    batch.prepare(plan, folder / "runs", {}, dict.fromkeys(plan.jobs, "none"))
    marks = list((folder / "runs" / ".trained").glob("*.json"))
    return "right" if all(json.loads(mark.read_text())["checkpoint"] == "a.pt" for mark in marks) else "wrong"


def all_kinds(small: bool) -> list[Kind]:
    """Return the kinds of files, fewer where only a small part is wanted."""
    evaluate, train = works.evaluation, works.training
    unfinished = partial(half, evaluate, "000002")
    tables = [
        Kind("a part of an evaluation", PLACES["part"], unfinished, evaluate),
        Kind("a finished table", PLACES["table"], lambda f: whole(evaluate, f), evaluate),
        Kind(
            "an evaluation's plan.json", PLACES["plan"], unfinished, evaluate, fuzz.of_json,
        ),
    ]  # fmt: skip
    tables = [kind._replace(same=works.same_table, count=3 if small else 30) for kind in tables]
    stored = [
        Kind(f"a run's {name}", f"runs/*/{name}", make_run, read_run, mutate, count=1 if small else 20)
        for name, mutate in (
            ("run.json", fuzz.of_json), ("facts.json", fuzz.of_json), ("means.csv", fuzz.of_text),
            ("pairs.parquet", fuzz.of_bytes), ("notebook.ipynb", fuzz.of_json),
        )
    ]  # fmt: skip
    marks = [
        Kind("a run's key", "tiny/key", make_key, read_key, count=1 if small else 20),
        Kind("the mark of a training", MARK, make_mark, read_mark, fuzz.of_json, count=1 if small else 20)
    ]  # fmt: skip
    found = [*tables, *stored, *marks, Kind("stored features", "*.pt", lambda f: whole(pooled, f), pooled)]
    if small:
        return [*tables[:2], stored[0], stored[3], marks[0]]
    return [
        *(kind._replace(count=20) if kind.name == "stored features" else kind for kind in found),
        Kind("a checkpoint", "checkpoints/*.pt", lambda f: whole(train, f), train, count=12),
        Kind("the state of a training", PLACES["state"], lambda f: half(train, "state.pt", f), train, count=12),
    ]


def rewritten(file: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield ways to damage a file that are no accident of single bytes."""
    content = file.read_bytes()
    yield "empty", lambda: file.write_bytes(b"")
    yield "half", lambda: file.write_bytes(content[: len(content) // 2])
    yield "zeros", lambda: file.write_bytes(bytes(len(content)))
    if file.suffix == ".json":
        for text in ("[]", "{}", "null", "3", '"x"', '{"a": NaN}', "[[[["):
            yield text, lambda text=text: file.write_text(text)
    if file.suffix == ".parquet":
        table = pd.read_parquet(file)
        changes = {
            "rows doubled": pd.concat([table, table]), "rows lost": table.iloc[1:], "no rows": table.iloc[:0],
            "rows in another order": table.iloc[::-1], "a column lost": table.iloc[:, 1:],
            "another value": table.assign(label=table["label"] + 1),
        }  # fmt: skip
        for name, changed in changes.items():
            yield name, lambda changed=changed: changed.to_parquet(file)
    if file.suffix == ".pt":
        yield "other weights", lambda: torch.save(changed_tensors(torch.load(file, weights_only=True)), file)


def changed_tensors(saved: object) -> object:
    """Return the content of a file of tensors with other numbers in the floating ones."""
    if isinstance(saved, torch.Tensor):
        return saved + 1 if saved.is_floating_point() else saved
    if isinstance(saved, dict):
        return type(saved)((key, changed_tensors(value)) for key, value in saved.items())
    return [changed_tensors(value) for value in saved] if isinstance(saved, list) else saved


def tried(kind: Kind, root: Path, seed: int) -> Iterator[Trial]:
    """Yield the trials of a kind of file."""
    folder = Path(tempfile.mkdtemp(prefix="damaged-", dir=root))
    kind.make(folder)
    original = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    file = sorted(folder.glob(kind.pattern))[0]
    first = alone(lambda: kind.read(folder), folder)
    if first.status or first.result is None:
        raise RuntimeError(f"{kind.name} cannot be read undamaged: {first.words}")
    names = [file.name, *(part for part in file.relative_to(folder).parts if "-" in part)]

    def restore() -> None:
        for path in [path for path in folder.rglob("*") if path.is_file() and path not in original]:
            path.unlink()
        for path, content in original.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    restore()
    ways = dict(rewritten(file))
    for k in range(kind.count):
        mutant = kind.mutate(original[file], random.Random(f"{seed} {k} {kind.name}"))
        ways[f"bytes {k}"] = lambda mutant=mutant: file.write_bytes(mutant)
    for way, damage in ways.items():
        restore()
        damage()
        ended = alone(lambda: kind.read(folder), folder)
        outcome = judged(ended, lambda found: kind.same(found, first.result), names)
        yield Trial("damaged files", kind.name, way, outcome, ended.last())


def data_sets(count: int, seed: int) -> Iterator[Trial]:
    """Yield the trials of the files of all data sets: read as they say, or refused in a sentence."""
    command = [sys.executable, "-m", "tests.data.fuzz", str(count), str(seed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        yield Trial("damaged files", "a data set's file", "", "raw error", f"ends with {done.returncode}")
        return
    for name, tally in json.loads(done.stdout).items():
        ends = [("survived", "")] * tally["accepted"] + [("refused", "")] * tally["refused"]
        for outcome, words in ends + [("raw error", wrong) for wrong in tally["wrong"]]:
            yield Trial("damaged files", "a data set's list, annotation or mask", name, outcome, words)


def pictures(count: int, seed: int, root: Path) -> Iterator[Trial]:
    """Yield the trials of pictures: read, or refused in a sentence."""
    for suffix in test_picture_fuzz.FORMATS:
        rng, file = random.Random(f"{seed} {suffix}"), root / f"a.{suffix}"
        for k in range(count):
            file.write_bytes(test_picture_fuzz.damaged(rng, suffix))
            try:
                with contextlib.redirect_stderr(io.StringIO()):
                    outcome, words = test_picture_fuzz.outcome(file), ""
            except BaseException as error:
                outcome, words = "raw error", repr(error)
            found = "survived" if outcome == "read" else outcome
            yield Trial("damaged files", "a picture", f"{suffix} {k}", found, words)


class Command:
    """What a pickle of it runs when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch '{self.marker}'",)


def commands(root: Path) -> Iterator[Trial]:
    """Yield the trials of files of weights that would run a command."""
    published = root / "hub" / "checkpoints" / "squeezenet1_0-b66bff10.pth"
    os.environ["TORCH_HOME"] = str(root)

    def read_pooled(file: Path) -> object:
        return pooled(file.parent)

    ways = {
        "the state dict of a network": (root / "w.pt", lambda f: checkpoints.read_state(f)),
        "a checkpoint of ours": (root / "c.pt", lambda f: models.load_checkpoint(f, list("0123456789"))),
        "the download of torchvision's weights": (
            published, lambda f: checkpoints.filled("squeezenet1_0", "imagenet")
        ),
        "stored features": (next(_made(root / "features")), read_pooled),
    }  # fmt: skip
    for name, (file, read) in ways.items():
        for way in ("alone", "among weights"):
            marker = root / f"ran-{name.split()[-1]}"
            file.parent.mkdir(parents=True, exist_ok=True)
            content = Command(marker) if way == "alone" else {"features": Command(marker), "w": torch.ones(2)}
            torch.save(content, file)
            ended = alone(lambda file=file, read=read: read(file), root)
            outcome = "executed" if marker.exists() else judged(ended, lambda found: True, [file.name])
            yield Trial("commands", f"a command in {name}", way, outcome, ended.last())


def _made(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    whole(pooled, folder)
    yield from folder.glob("*.pt")
