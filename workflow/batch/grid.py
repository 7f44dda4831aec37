"""A grid file becomes runs of chapters, and the trainings that they share.

A grid is YAML: a list `runs` of blocks, each with a `chapter`, `parameters` for all of its runs, lists of values to
run `over` (their product), combinations to `exclude`, and `overrides` for some of them; `training` and `shards` say
how networks are trained and evaluated. See the grids in workflow/grids/.
"""

import ast
import json
import os
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import yaml

from cam_utils.files import files_digest, fingerprint
from cam_utils.names import check_known
from workflow import ROOT

BLOCK = ("chapter", "notebook", "parameters", "over", "exclude", "overrides", "training", "shards")
# What a run's results depend on besides its notebook and its parameters. All of the package: figures and verdicts
# stand in the notebook. Evaluations are kept by themselves (`runs.evaluations`), and depend on less.
INPUTS = (
    *("cam_utils", "data/paper_tables", "data/checkpoints", "requirements.lock"),
    # The measured tables that chapters read.
    *("data/results/sscam_imagenet.csv", "data/results/sscam_imagenet.json", "data/results/repcam_digits.csv"),
)
BOTH = ("linear", "kernel-usage")  # what minmax_cam calls the head "both"


class Job(NamedTuple):
    """One execution of a chapter: its folder's name, notebook, parameters, and the trainings it waits for."""

    id: str
    chapter: str
    notebook: str
    parameters: dict
    trainings: tuple[str, ...]
    shards: int

    def key(self) -> str:
        """Return a digest of everything that determines the run's results, but for where its data lie."""
        given = {name: value for name, value in self.parameters.items() if name != "data_root"}
        return fingerprint(given, cells_digest(ROOT / self.notebook), files_digest(INPUTS, ROOT))

    def finished(self, root: Path, key: str) -> bool:
        """Return whether `root` holds this run, made with this key."""
        file = root / self.id / "key"
        return (root / self.id / "run.json").is_file() and file.is_file() and file.read_text() == key


class Plan(NamedTuple):
    """All jobs of a grid, {id: Job}, and the trainings they share, {id: arguments of workflow.batch.train}."""

    jobs: dict[str, Job]
    trainings: dict[str, dict]


def read(path: str | Path, *, data_root: str | None = None) -> Plan:
    """Return the plan of a grid file; `data_root` replaces the grid's own folder of datasets.

    Raises FileNotFoundError without the file or a notebook, ValueError for a key, parameter or value that is none,
    and for two runs of one name.
    """
    path = Path(path)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in (ROOT / "workflow" / "grids").glob("*.yaml")))
        raise FileNotFoundError(f"no grid at {path} (there are: {known})")
    try:
        grid = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(grid, dict) or not isinstance(grid.get("runs"), list):
        raise ValueError(f"expected a list `runs` in {path}")
    for key in grid:
        check_known(f"key of {path.name}", key, ("runs", "data_root"))
    jobs: dict[str, Job] = {}
    trainings: dict[str, dict] = {}
    for block in grid["runs"]:
        for job, specs in _expand(block, data_root or grid.get("data_root")):
            if job.id in jobs:
                raise ValueError(f"{path.name} has two runs named {job.id}: name what tells them apart in `over`")
            jobs[job.id] = job
            trainings |= specs
    return _worthwhile(Plan(jobs, trainings))


def _worthwhile(plan: Plan) -> Plan:
    """Leave to the notebook the small digits networks that one run alone needs: a job of their own costs more."""
    users = [name for job in plan.jobs.values() for name in job.trainings]
    split = {name for job in plan.jobs.values() if job.shards > 1 for name in job.trainings}
    kept = {
        name: spec
        for name, spec in plan.trainings.items()
        if spec["dataset"] != "digits" or spec["trainer"] or users.count(name) > 1 or name in split
    }
    jobs = {
        job.id: job._replace(trainings=tuple(name for name in job.trainings if name in kept))
        for job in plan.jobs.values()
    }
    return Plan(jobs, kept)


def _expand(block: dict, data_root: str | None) -> Iterator[tuple[Job, dict]]:
    """Yield the runs of a block, each with the trainings that it waits for."""
    chapter, notebook, known = _checked(block)
    over = block.get("over") or {}
    for values in product(*over.values()):
        chosen = dict(zip(over, values, strict=True))
        parameters = (block.get("parameters") or {}) | chosen
        if any(all(parameters.get(k) == v for k, v in rule.items()) for rule in block.get("exclude") or []):
            continue
        for rule in block.get("overrides") or []:
            if all(parameters.get(k, known.get(k)) == v for k, v in rule["match"].items()):
                parameters |= rule["set"]
        if str(parameters.get("weights") or "").startswith("~"):
            parameters["weights"] = os.path.expanduser(parameters["weights"])
        if data_root and "data_root" in known and (known | parameters).get("dataset") != "digits":
            parameters["data_root"] = os.path.expanduser(parameters.get("data_root") or data_root)
        needed = _trainings(chapter, known | parameters, block.get("training") or {})
        specs = {name_of(spec): spec for spec in needed}
        name = "-".join([chapter, *(f"s{v}" if k == "seed" else str(v) for k, v in chosen.items())])
        name = re.sub(r"[^\w.+-]+", "_", name)  # it is a folder's name, and part of a command
        yield Job(name, chapter, notebook, parameters, tuple(specs), int(block.get("shards", 1))), specs


def _checked(block: dict) -> tuple[str, str, dict]:
    """Return a block's chapter, its notebook and that one's default parameters; raises as :func:`read`."""
    for key in block:
        check_known("key of a block of runs", key, BLOCK)
    if not (chapter := block.get("chapter")):
        raise ValueError(f"a block of runs names no chapter: {block}")
    notebook = block.get("notebook", f"notebooks/{chapter}.ipynb")
    if not (ROOT / notebook).is_file():
        raise FileNotFoundError(f"no notebook {notebook} for chapter {chapter}")
    known = defaults(ROOT / notebook)
    over, fixed = block.get("over") or {}, block.get("parameters") or {}
    overrides, excluded = block.get("overrides") or [], block.get("exclude") or []
    if fixed and not over and "notebook" not in block:
        raise ValueError(f"a run of {chapter} with parameters of its own needs a name: list one of them in `over`")
    for rule in overrides:
        if not all(isinstance(rule.get(key), dict) for key in ("match", "set")):
            raise ValueError(f"expected an override of {chapter} as {{match: {{}}, set: {{}}}}, got {rule}")
    for names in (over, fixed, *excluded, *(o["match"] for o in overrides), *(o["set"] for o in overrides)):
        for name in names:
            check_known(f"parameter of {chapter}", name, known)
    for name, values in over.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"expected a list of values for {name} of {chapter}, got {values!r}")
    return chapter, notebook, known


def defaults(notebook: Path) -> dict:
    """Return the parameters of a notebook with their default values.

    As papermill.inspect_notebook, whose import takes two seconds: every job on a cluster reads the grid twice.
    """
    cells = json.loads(notebook.read_text())["cells"]
    source = "\n".join("".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", []))
    lines = (line for line in ast.parse(source).body if isinstance(line, ast.Assign))
    return {line.targets[0].id: ast.literal_eval(line.value) for line in lines}


def _trainings(chapter: str, p: dict, trainer: dict) -> Iterator[dict]:
    """Yield what the chapter would train with these parameters: done once, before, for all runs that need it."""
    common = {"dataset": p["dataset"], "root": p.get("data_root"), "seed": p["seed"]} if "dataset" in p else {}
    others = chapter in ("comparison", "sanity_checks")  # the network on permuted labels is the notebook's affair
    if others or (chapter == "minmax_cam" and not p["retrain"]):
        scenes = (0.9,) if others else (0.9, 0.0)  # how often labels co-occur
        common |= {"size": p["size"], "resize": p["resize"], "network": p["architecture"], "weights": p["weights"]}
        heads = BOTH if p["head"] == "both" else (p["head"],)
        choices = [{"co_occurrence": c} for c in scenes] if p["dataset"] == "digits" else [{}]
        for options, head in product(choices, heads):
            yield common | {"head": head, "schedule": p.get("schedule"), "options": options, "trainer": trainer}
    elif chapter in ("representative_cam", "ss_cam") and p["dataset"] == "digits":
        options = {"objects": [1.0]}
        common |= {"size": None, "resize": "crop", "network": "digits", "weights": None, "head": "linear"}
        yield common | {"schedule": "digits-softmax", "options": options, "trainer": trainer}


def name_of(spec: dict) -> str:
    """Return the name of a training: what a reader tells it by, and a digest of all of it."""
    return f"{spec['dataset']}-{spec['network']}-{spec['head']}-s{spec['seed']}-{fingerprint(spec)[:8]}"


def cells_digest(notebook: Path) -> str:
    """Return a digest of the cells' types, texts and metadata: stored outputs do not count."""
    cells = json.loads(notebook.read_text())["cells"]
    return fingerprint([(c["cell_type"], "".join(c["source"]), c["metadata"]) for c in cells])
