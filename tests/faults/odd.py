"""Odd values: of parameters, in grids, in the names and records of runs; and what they would run if they could."""

import os
import random
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import yaml

from cam_utils import runs
from tests import poisoned
from tests.data import fuzz
from tests.faults import works
from tests.faults.trials import Child, Trial, alone, judged
from tests.parameter_values import CASES, every
from tests.workflow import tiny
from workflow import ROOT
from workflow.batch import grid

INTERNAL = ("logs",)  # of a folder of runs
CHAPTERS = (
    "..",
    ".",
    "/",
    "",
    "logs",
    ".finished",
    ".failed",
    ".trained",
    "a/../..",
    "/tmp",
    "~",
    "a\nb",
    "a\0b",
    "é/é",
)
SHELL = ("$(touch MARK)", "; touch MARK #", "`touch MARK`", "'\"; touch MARK; '\"", "{touch MARK}", "a\ntouch MARK")


def shown(value: object) -> str:
    """Return a value in at most 80 characters; a whole number of thousands of digits has no text."""
    return (
        f"a number of {value.bit_length()} bits" if isinstance(value, int) and value > 2**999 else repr(value)[:80]
    )


def parameters(chapter: str, kind: str) -> Iterator[Trial]:
    """Yield the trials of a pool of values for every parameter of a chapter, in a folder that must not change."""
    base, what = grid.defaults(ROOT / "notebooks" / f"{chapter}.ipynb"), f"parameters of {chapter}, {kind}"
    runs.pick_device = str  # as on a machine that has every device
    for name, value, right, own, given in every(chapter, kind, base):
        try:
            found = runs.check_parameters(chapter, given)[name]
            outcome = "survived" if right and found == own and type(found) is type(own) else "mixed"
            words = shown(found)
        except ValueError as error:
            words = str(error)
            named = name in words and "\n" not in words
            outcome = "lost" if right else "refused" if named else "raw error"
        except BaseException as error:
            outcome, words = "raw error", repr(error)
        yield Trial("odd values", what, f"{name} = {shown(value)}", outcome, words)


def parameters_of_all(root: Path) -> Iterator[Trial]:
    """Yield the trials of :func:`parameters` for all chapters."""
    for chapter, kind in CASES:
        place = Path(tempfile.mkdtemp(dir=root))
        (place / "here.pth").touch()

        def work(chapter: str = chapter, kind: str = kind, place: Path = place) -> list[Trial]:
            os.chdir(place)
            return list(parameters(chapter, kind))

        ended = alone(work, root)
        yield from ended.result or [Trial("odd values", chapter, kind, "raw error", ended.last())]
        if (left := os.listdir(place)) != ["here.pth"]:
            yield Trial("odd values", f"parameters of {chapter}, {kind}", "folder", "mixed", f"left {left}")


def read_grid(file: Path, folder: Path) -> list[str] | None:
    """Return the names of a grid's runs; None if one of them would take another's place, or leave the folder."""
    names = list(grid.read(file).jobs)
    for name in names:
        if (folder / name).resolve().parent != folder or name.startswith(".") or name.casefold() in INTERNAL:
            return None
    return names


def grids(root: Path, count: int, seed: int) -> Iterator[Trial]:
    """Yield the trials of grids: changed at random, with chapters of odd names, with commands."""
    file, folder = root / "grid.yaml", root / "runs"
    original = (ROOT / "workflow" / "grids" / "digits.yaml").read_bytes()
    texts = {f"changed {k}": fuzz.of_text(original, random.Random(f"{seed} grid {k}")) for k in range(count)}
    marker = root / "ran"
    for name in CHAPTERS:
        block = {"chapter": name, "notebook": "notebooks/ss_cam.ipynb", "over": {"seed": [0]}}
        texts[f"chapter {name!r}"] = yaml.safe_dump({"runs": [block | {"over": {}}]}).encode()
        texts[f"chapter {name!r}, named further"] = yaml.safe_dump({"runs": [block]}).encode()
    texts["a command"] = f"runs: !!python/object/apply:os.system ['touch {marker}']".encode()
    for where, text in texts.items():
        file.write_bytes(text)
        ended = alone(lambda: read_grid(file, folder), root)
        outcome = judged(ended, lambda found: isinstance(found, list), ["grid.yaml"])
        outcome = "executed" if marker.exists() else outcome
        yield Trial("odd values", "grids", where, outcome, ended.last())


def commands(root: Path) -> Iterator[Trial]:
    """Yield the trials of values that a shell would run, given to the runs of a batch."""
    marker, folder = root / "ran", root / "batch"
    folder.mkdir()
    values = [value.replace("MARK", str(marker)) for value in SHELL]
    rules = [{"match": {"x": k}, "set": {"fail": value}} for k, value in enumerate(values)]
    tiny.write(folder, range(len(values)), rules)
    ended = works.batch(folder)
    for k, value in enumerate(values):
        done = "survived" if f"tiny-{k}" in ended.result else "lost"
        outcome = "executed" if marker.exists() else done
        yield Trial("commands", "a command in a value of a grid", value, outcome, ended.last())


def pages() -> Iterator[Trial]:
    """Yield the tests of pages of runs whose every text is an attack, in a browser."""
    report = Path(tempfile.mkstemp(suffix=".xml")[1])
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n0",
        "-p",
        "no:cacheprovider",
        "tests/browser/test_poisoned.py",
    ]
    done = subprocess.run([*command, f"--junitxml={report}"], cwd=ROOT, capture_output=True, text=True)
    what = f"scripts in a run's record and files: {len(poisoned.VALUES)} texts in every place, on the pages"
    cases = list(ET.parse(report).getroot().iter("testcase"))
    if not cases:
        yield Trial("commands", what, "", "raw error", done.stdout[-900:])
    for case in cases:
        bad = [case.find(kind) for kind in ("failure", "error", "skipped")]
        wrong = next((each for each in bad if each is not None), None)
        # An attack ran if it became part of a page, or raised an error there, which a test's last step looks for.
        message = "" if wrong is None else wrong.get("message", "")
        ran = "teardown" in message or "nothing_of_an_attack" in case.get("name")
        outcome = "survived" if wrong is None else "executed" if ran and wrong.tag != "skipped" else "raw error"
        yield Trial("commands", what, case.get("name"), outcome, message)


def second_starts(root: Path) -> Iterator[Trial]:
    """Yield the trials of a batch that is started while another is at work in its folder."""
    folder = root / "second"
    folder.mkdir()
    tiny.write(folder, [1, 2], wait=str(folder / "go"), free=0)
    first = Child(lambda: works.batch(folder).result, folder)
    until = 200
    while not (folder / "log").exists() and not first.wait(0.2) and (until := until - 1):
        pass
    for k in range(3):
        other = alone(lambda: tiny.start(folder / "grid.yaml", folder / "runs"), folder)
        status, _, errors = other.result
        words = errors.strip().splitlines()[-1] if errors.strip() else ""
        refused = status and words.startswith("batch: another batch is at work")
        yield Trial("pairs", "a second start of a batch", str(k), "refused" if refused else "mixed", words)
    (folder / "go").touch()
    ended = first.ended()
    done = ended.result is not None and len(ended.result) == 2
    yield Trial("pairs", "a second start of a batch", "the first", "survived" if done else "lost", ended.last())
