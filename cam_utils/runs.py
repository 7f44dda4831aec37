"""What a notebook needs around its experiment: checked parameters, a device, a trained model, a run record.

Torch is imported where it is used, and Lightning only where a network is trained: who reads runs needs neither.
"""

import io
import json
import os
import platform
import subprocess
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from cam_utils import files, seals
from cam_utils.files import code_fingerprint, fingerprint, lock
from cam_utils.names import check_known
from cam_utils.parameters import CHAPTERS, check

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from cam_utils.networks.models import Classifier

PACKAGES = ("torch", "torchvision", "lightning", "numpy", "pandas", "scikit-learn")
SAVED = (".parquet", ".csv", ".json")  # kinds of files that a run leaves
KEPT = (*SAVED, ".pt", ".png", ".jpg")  # of which run.json holds the digests
LITERALS = (str, int, float, bool, list, tuple, dict, type(None))
DIGITS_BIAS = -2.2  # logit of 0.1: a scene holds few of the ten digits


def check_parameters(chapter: str, variables: Mapping[str, object]) -> dict[str, object]:
    """Return a chapter's parameters {name: value} out of a notebook's variables, checked before anything is done.

    Call it right after the parameters, with `globals()`. Text with commas becomes a list where a list is expected.
    Raises ValueError as :func:`cam_utils.parameters.check`, and for a variable that is no parameter: papermill only
    warns about an unknown `-p name value` and runs on with the defaults, but leaves the variable in the notebook.

    >>> check_parameters("ss_cam", {"limit": 3, "swep": 5})
    Traceback (most recent call last):
        ...
    ValueError: unknown parameter 'swep'; did you mean 'sweep' or 'steps'? (valid: dataset, data_root, network, \
weights, draws, sigma, limit, sweep, steps, seed, device, output)
    """
    declared = CHAPTERS[check_known("chapter", chapter, CHAPTERS)]
    for name, value in variables.items():
        if not name.startswith("_") and isinstance(value, LITERALS) and name not in ("In", "Out"):
            check_known("parameter", name, declared)
    return check(chapter, {name: variables[name] for name in declared if name in variables})


def pick_device(device: str) -> str:
    """Return the torch device for "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1", "mps".

    Raises ValueError for a device that this machine does not have.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {device!r} is not available here: {str(error).splitlines()[0]}") from error
    return device


def checkpoint_path(key: Mapping[str, object]) -> Path:
    """Return where the checkpoint of these settings lies: committed in data/checkpoints, or in the cache.

    The name ends in a digest of everything that determines the weights, so other settings never share a file.
    """
    readable = "-".join(str(key[k]) for k in ("dataset", "network", "head", "seed"))
    name = f"{readable}-{fingerprint(dict(key))}.pt"
    committed = files.DATA / "checkpoints" / name
    return committed if committed.exists() else files.cache() / "checkpoints" / name


def schedule_for(dataset: str, head: str) -> str:
    """Return the default schedule's name: the digits' own or the paper's, with the head's rate that fits it."""
    base = "digits" if dataset == "digits" else "paper"
    return base + ("-kernel-usage" if head == "kernel-usage" else "")


def trained(
    load: "Callable[..., Dataset]",
    *,
    network: str,
    head: str,
    schedule: str | None = None,
    weights: str | None = None,
    seed: int = 0,
    retrain: bool = False,
    device: str = "cpu",
    folder: Path | None = None,
    **trainer: object,
) -> "tuple[Classifier, Path]":
    """Return the model trained on `load("train")` by the named (or default) schedule, and its checkpoint's path.

    A checkpoint of exactly these settings is reused unless `retrain`; a new one is written to `folder` (the cache
    by default). `trainer` goes to :func:`cam_utils.networks.training.train`. A training that was killed goes on
    from its last whole epoch; its state lies in the cache until the checkpoint is written. Raises ValueError for a
    checkpoint that is damaged, or of other settings than its name says, and OSError where it cannot be written.
    """
    from cam_utils.networks import models, schedules
    from cam_utils.networks.checkpoints import read_state

    sample = load("val", limit=1)
    schedule = check_known("schedule", schedule or schedule_for(sample.name, head), schedules.SCHEDULES)
    stages = schedules.SCHEDULES[schedule]
    origin = fingerprint(*read_state(weights).values()) if weights not in (None, "imagenet") else weights
    key = {
        "dataset": sample.name,
        # Digits are generated: a few scenes tell all settings apart. Folders may differ in any image.
        "data": load("train", **({"limit": 8} if sample.name == "digits" else {})).fingerprint(),
        "network": network,
        "head": head,
        "weights": origin,
        "schedule": schedules.describe(stages),
        "seed": seed,
    }
    path = checkpoint_path(key) if folder is None else folder / checkpoint_path(key).name
    alone = trainer.get("devices", 1) == trainer.get("nodes", 1) == 1  # several train together, and would wait
    with lock(files.cache() / "locks" / f"{path.name}.lock") if alone else nullcontext():
        if path.exists() and not retrain:  # perhaps by another run that was waited for
            try:
                return models.load_checkpoint(path, sample.classes, key=key), path
            except ValueError as error:
                raise ValueError(f"{error}; delete {path}, and the network is trained again") from error
        bias = DIGITS_BIAS if sample.name == "digits" else 0.0
        model = models.build(network, len(sample.classes), head=head, weights=weights, bias=bias, seed=seed)
        state = files.cache() / "training" / path.stem
        last, first_process = _train(model, load, stages, seed, device, {**trainer, "folder": state})
        if first_process:  # of several that train together one writes
            facts = {"history": last, "key": key, "trainer": trainer}
            try:
                models.save_checkpoint(path, model, name=network, head=head, classes=sample.classes, **facts)
            except OSError as error:
                told = (
                    f"{error}; the trained network is kept in {state}: make room and start again, nothing is lost"
                )
                raise OSError(error.errno, told) from error
            from cam_utils.networks import resuming  # which brings Lightning

            resuming.clear(state)
    return model, path


def _train(
    model: "Classifier", load: Callable, stages, seed: int, device: str, trainer: Mapping
) -> tuple[dict, bool]:
    """Train the model; return the last line of its history, and whether this is the first of several processes."""
    from lightning.pytorch.utilities import rank_zero_only

    from cam_utils.networks import training

    accelerator = {"cpu": "cpu", "cuda": "gpu"}.get(device.split(":")[0], "auto")
    history = training.train(model, load, stages, seed=seed, accelerator=accelerator, **trainer)
    return {name: float(value) for name, value in history.iloc[-1].items()}, rank_zero_only.rank == 0


def provenance() -> dict:
    """Return where numbers come from: git revision, package versions, device and platform."""
    import torch

    root = Path(__file__).resolve().parents[1]

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    def installed(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    return {
        "git": git("rev-parse", "HEAD"),
        "dirty": bool(git("status", "--porcelain")),
        "versions": {"python": platform.python_version(), **{name: installed(name) for name in PACKAGES}},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {os.cpu_count()} cores",
    }


def folder(chapter: str, parameters: Mapping[str, object]) -> Path:
    """Return the folder of a chapter's run: its `output` parameter, else the batch's ($CAM_UTILS_RUN), else one in
    the cache that is keyed by the parameters and the code.
    """
    named = parameters.get("output") or os.environ.get("CAM_UTILS_RUN")
    key = fingerprint(dict(parameters), code_fingerprint())
    name = "-".join(str(part) for part in (chapter, parameters.get("dataset"), key) if part)
    return Path(str(named)) if named else files.cache() / "runs" / name


def evaluations() -> Path:
    """Return the folder of evaluations, for `evaluate(folder=...)`: each is kept by all that determines its rows.

    So a chapter whose figures or words changed runs again and finds its rows.
    """
    return files.cache() / "evaluations"


class Run(NamedTuple):
    """A finished run: run.json as `record`; its tables and facts are read when asked for."""

    folder: Path
    record: dict

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def chapter(self) -> str:
        """The notebook's name, such as minmax_cam."""
        return self.record["chapter"]

    @property
    def parameters(self) -> dict:
        """The notebook's parameters."""
        return self.record["parameters"]

    def table(self, name: str = "pairs") -> pd.DataFrame:
        """Return a table of the run, an empty one without it; raises ValueError if it is not what it stored."""
        content = seals.stored(self.folder / f"{name}.parquet", self.record)
        return pd.DataFrame() if content is None else pd.read_parquet(io.BytesIO(content))

    def facts(self) -> dict:
        """Return what the run measured beside its tables (facts.json); raises as :meth:`table`."""
        content = seals.stored(self.folder / "facts.json", self.record)
        return {} if content is None else json.loads(content)


def read_runs(*roots: str | Path) -> list[Run]:
    """Return the finished runs in these folders, sorted by name; a folder without run.json is no run yet.

    One whose run.json is damaged is named in a warning, and left out. Raises ValueError if two share a name.
    """
    found: dict[str, Run] = {}
    for file in (f for root in roots for f in sorted(Path(root).glob("*/run.json"))):
        try:
            record = json.loads(file.read_text())
            if not isinstance(record, dict) or not {"chapter", "parameters"} <= record.keys():
                raise ValueError("expected an object with chapter and parameters")
            seals.check_record(file)
        except (ValueError, RecursionError) as error:  # text that is no UTF-8, or no JSON
            warnings.warn(f"left out {file}: {error}; make the run again, or delete its folder", stacklevel=2)
            continue
        run = Run(file.parent, record)
        if run.id in found:
            raise ValueError(f"two runs are named {run.id}: {found[run.id].folder} and {run.folder}")
        found[run.id] = run
    return [found[name] for name in sorted(found)]


def save(file: str | Path, content: pd.DataFrame | Mapping, *, float_format: str | None = "%.5g") -> Path:
    """Write what a run measured into its folder, whole or not at all: a table (.parquet, .csv) or facts (.json).

    Raises ValueError for another kind of file.
    """
    kind = check_known("kind of file", Path(file).suffix, SAVED)
    with files.written(file) as partial:
        if kind == ".parquet":
            content.to_parquet(partial)
        elif kind == ".csv":
            content.to_csv(partial, index=False, float_format=float_format)
        else:
            partial.write_text(json.dumps(content, indent=1, default=float))
    return Path(file)


def write_run(folder: str | Path, parameters: Mapping[str, object], started: float, **facts: object) -> Path:
    """Write run.json (parameters, provenance, wall time in seconds, facts) into the run's folder, whole or not.

    Call it last: run.json marks a run as finished, and seals its tables and facts. `started` is `time.time()` at
    the run's start; one of the facts is `chapter`, the notebook's name.
    """
    record = {"parameters": dict(parameters), **provenance(), "wall_s": round(time.time() - started, 1), **facts}
    return seal(Path(folder), record)


def seal(folder: Path, record: Mapping[str, object]) -> Path:
    """Write run.json with this record and the digests of the run's files as they are now; return its path."""
    with files.written(folder / seals.RECORD) as partial:
        partial.write_bytes(seals.of_run(folder, record, KEPT))
    return folder / seals.RECORD
