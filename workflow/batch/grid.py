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
from typing import ClassVar, NamedTuple

import yaml

from cam_utils import owned
from cam_utils import parameters as declared
from cam_utils.files import files_digest, fingerprint
from cam_utils.names import check_known
from cam_utils.parameter_kinds import one_of, refused, text, whole
from cam_utils.parameter_rules import CARRIED
from workflow import ROOT
from workflow.parameter_texts import kinds_of

BLOCK = ("chapter", "notebook", "parameters", "over", "exclude", "overrides", "training", "shards")
# What a run's results depend on besides its notebook and its parameters. All of the package: figures and verdicts
# stand in the notebook. Evaluations are kept by themselves (`runs.evaluations`), and depend on less.
INPUTS = (
    *("cam_utils", "data/paper_tables", "data/checkpoints", "requirements.lock"),
    # What chapters read: measured tables, stored runs, the project's photographs.
    *(f"data/results/{name}.csv" for name in ("repcam_pair_networks", "repcam_single_label", "sanity_photographs")),
    "data/results/comparison_photographs.parquet",
    *("data/results/runs", "data/photos"),
)
TRAINER = {  # `training` of a block: what Lightning's trainer is given
    "devices": whole(1, 1024),
    "nodes": whole(1, 10_000),
    "workers": whole(0, 1024),
    "strategy": text("a name"),
    "precision": text("a name"),
    "accelerator": one_of("cpu", "gpu"),
}
OTHERS = ("logs",)  # in the folder of runs, beside those that begin with a dot
BOTH = ("linear", "kernel-usage")  # what minmax_cam calls the head "both"


class Texts(yaml.SafeLoader):
    """Reads YAML whose values are texts, lists and mappings, or None: what a text means, its parameter says."""

    yaml_implicit_resolvers: ClassVar[dict] = {
        first: [(tag, form) for tag, form in known if tag.endswith((":null", ":merge"))]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


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

    def folder(self, root: Path) -> Path:
        """Return the run's folder in `root`; raises ValueError if its id cannot be the name of one."""
        return root / owned.named("a run's name", self.id, taken=OTHERS)

    def finished(self, root: Path, key: str) -> bool:
        """Return whether `root` holds this run, made with this key."""
        folder = self.folder(root)
        file = folder / "key"
        return (folder / "run.json").is_file() and file.is_file() and file.read_bytes() == key.encode()


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
        grid = yaml.load(path.read_bytes(), Texts)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(grid, dict) or not isinstance(grid.get("runs"), list):
        raise ValueError(f"expected a list `runs` in {path}")
    for key in grid:
        check_known(f"key of {path.name}", key, ("runs", "data_root"))
    if (root := data_root or grid.get("data_root")) is not None:
        root = os.path.expanduser(text("the path of a folder").check(f"data_root of {path.name}", root))
    jobs: dict[str, Job] = {}
    trainings: dict[str, dict] = {}
    for number, block in enumerate(grid["runs"], start=1):
        try:
            found = list(_expand(block, root))
        except (FileNotFoundError, ValueError) as error:
            kind = ValueError if isinstance(error, ValueError) else FileNotFoundError
            raise kind(f"{path.name}, block {number} of its runs: {error}") from error
        for job, specs in found:
            if job.id in jobs:
                raise ValueError(f"{path.name} has two runs named {job.id}: name what tells them apart in `over`")
            jobs[job.id] = job
            trainings |= specs
    plan = _worthwhile(Plan(jobs, trainings))
    _check_files(plan, path.name)
    return plan


def _check_files(plan: Plan, grid: str) -> None:
    """Raise ValueError if two runs or trainings would write files of one name, in capitals or not."""
    users: dict[str, str] = {}
    for name, job in plan.jobs.items():
        parts = [f"{name}-part{i}" for i in range(job.shards)] if job.shards > 1 else []
        for file in (name, f"{name}.lock", *parts):
            _claim(users, file, name, grid)
    for name in plan.trainings:
        for file in (name, f"{name}.lock", f"train-{name}"):
            _claim(users, file, name, grid)


def _claim(users: dict[str, str], file: str, name: str, grid: str) -> None:
    if (other := users.setdefault(file.casefold(), name)) != name:
        raise ValueError(f"{grid} has {other} and {name}, which would both write files named {file}: rename one")


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
    """Yield the runs of a block, each with the trainings that it waits for; raises as :func:`read`."""
    block = _checked(block)
    chapter, known, over = block["chapter"], defaults(ROOT / block["notebook"]), block["over"]
    kinds = kinds_of(known)

    def values(given: dict) -> dict:
        return {name: _value(kinds[name], name, raw) for name, raw in given.items()}

    fixed, excluded = values(block["parameters"]), [values(rule) for rule in block["exclude"]]
    overrides = [(values(rule["match"]), values(rule["set"])) for rule in block["overrides"]]
    for raw in product(*over.values()):
        chosen = values(dict(zip(over, raw, strict=True)))
        parameters = fixed | chosen
        if any(all(parameters.get(k) == v for k, v in rule.items()) for rule in excluded):
            continue
        for match, change in overrides:
            if all(parameters.get(k, known.get(k)) == v for k, v in match.items()):
                parameters |= change
        if data_root and "data_root" in known and (known | parameters).get("dataset") not in CARRIED:
            parameters["data_root"] = parameters.get("data_root") or data_root
        # A list is spelt as it stands in the grid.
        spelt = {k: given if isinstance(chosen[k], list) else chosen[k] for k, given in zip(over, raw, strict=True)}
        name = "-".join([chapter, *(f"s{v}" if k == "seed" else str(v) for k, v in spelt.items())])
        name = owned.named("a run's name", re.sub(r"[^\w.+-]+", "_", name), taken=OTHERS)
        complete = known | parameters
        if kinds is declared.CHAPTERS.get(declared.chapter_of(known)):
            try:
                complete = declared.check(declared.chapter_of(known), complete, here=False)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        specs = {name_of(spec): spec for spec in _trainings(chapter, complete, block["training"])}
        yield Job(name, chapter, block["notebook"], parameters, tuple(specs), block["shards"]), specs


def _value(kind: declared.Parameter, name: str, raw: object) -> object:
    """Return what a value of a grid means; a text in quotation marks may be "null"."""
    return kind.check(name, None if raw is None else kind.kind.read(raw))


def _checked(block: object) -> dict:
    """Return a block with all of its keys, each of the form that it must have; raises as :func:`read`."""
    forms = dict.fromkeys(("parameters", "over", "training"), dict) | dict.fromkeys(("exclude", "overrides"), list)
    if not isinstance(block, dict):
        raise refused("a block", "a mapping with a chapter", block)
    for key in block:
        check_known("key of a block of runs", key, BLOCK)
    if not (chapter := block.get("chapter")):
        raise ValueError(f"a block of runs names no chapter: {block}")
    owned.named("chapter", chapter, taken=OTHERS)
    notebook = text("a path").check("notebook", block.get("notebook", f"notebooks/{chapter}.ipynb"))
    if not (ROOT / notebook).is_file():
        raise FileNotFoundError(f"no notebook {notebook} for chapter {chapter}")
    known = defaults(ROOT / notebook)
    full = {"chapter": chapter, "notebook": notebook, "shards": whole(1, 10_000).read(block.get("shards", 1))}
    for key, form in forms.items():
        full[key] = form() if block.get(key) is None else block[key]
        if not isinstance(full[key], form):
            raise refused(f"{key} of {chapter}", "a mapping" if form is dict else "a list", full[key])
    if full["parameters"] and not full["over"] and "notebook" not in block:
        raise ValueError(f"a run of {chapter} with parameters of its own needs a name: list one of them in `over`")
    for rule in full["overrides"]:
        if not isinstance(rule, dict) or not all(isinstance(rule.get(key), dict) for key in ("match", "set")):
            raise ValueError(f"expected an override of {chapter} as {{match: {{}}, set: {{}}}}, got {rule}")
    for rule in full["exclude"]:
        if not isinstance(rule, dict) or not rule:
            raise refused(f"an entry of exclude of {chapter}", "a mapping of parameters", rule)
    changes = [rule[key] for rule in full["overrides"] for key in ("match", "set")]
    for names in (full["over"], full["parameters"], *full["exclude"], *changes):
        for name in names:
            check_known(f"parameter of {chapter}", name, known)
            if name == "output" and "notebook" not in block:
                raise ValueError("a grid's runs have folders of their own: leave output out")
    for name, values in full["over"].items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"expected a list of values for {name} of {chapter}, got {values!r}")
    whole(1, 10_000).check(f"shards of {chapter}", full["shards"])
    if full["shards"] > 1 and chapter != "minmax_cam":
        raise ValueError(f"expected shards of {chapter} as 1, since only minmax_cam evaluates in parts")
    for key, raw in full["training"].items():
        kind = TRAINER[check_known(f"key of training of {chapter}", key, TRAINER)]
        full["training"][key] = kind.check(f"{key} of training", kind.read(raw))
    return full


def defaults(notebook: Path) -> dict:
    """Return the parameters of a notebook with their default values.

    As papermill.inspect_notebook, whose import takes two seconds: every job on a cluster reads the grid twice.
    Raises ValueError for a file that is no notebook, and for parameters that are no plain values.
    """
    cells = _cells(notebook)
    source = "\n".join("".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", []))
    try:
        lines = (line for line in ast.parse(source).body if isinstance(line, ast.Assign))
        return {line.targets[0].id: ast.literal_eval(line.value) for line in lines}
    except (SyntaxError, ValueError, AttributeError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(f"{notebook} has parameters that are not of the form name = value: {error}") from error


def _cells(notebook: Path) -> list[dict]:
    """Return a notebook's cells; raises ValueError for a file that is none."""
    try:
        cells = json.loads(notebook.read_bytes())["cells"]
        for cell in cells:
            "".join(cell["source"]), cell["metadata"].get("tags", []), cell["cell_type"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{notebook} is no notebook: {type(error).__name__}: {error}") from error
    return cells


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
    name = f"{spec['dataset']}-{spec['network']}-{spec['head']}-s{spec['seed']}-{fingerprint(spec)[:8]}"
    return owned.named("a training's name", name)


def cells_digest(notebook: Path) -> str:
    """Return a digest of the cells' types, texts and metadata: stored outputs do not count."""
    return fingerprint([(c["cell_type"], "".join(c["source"]), c["metadata"]) for c in _cells(notebook)])
