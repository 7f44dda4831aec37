"""A small part of the fault suite, and the suite itself: it counts what it should, and faults that are planted."""

import json
import os
import subprocess
import sys

import pytest

from cam_utils import files
from tests.conftest import ROOT
from tests.faults.trials import FATAL, OUTCOMES, Ended, is_sentence, judged
from workflow import RunFailed


def suite(tmp_path, *arguments, plant=""):
    """Return the status and the record of the suite in a process of its own, with a fault planted in it."""
    out = tmp_path / "faults.json"
    code = f"{plant}\nfrom tests.faults.__main__ import main\nmain()"
    command = [sys.executable, "-c", code, "--small", "--jobs", "1", "--out", str(out), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    return done.returncode, json.loads(out.read_text()) if out.exists() else done.stderr


def counted(record, outcome):
    return sum(row[outcome] for row in record["rows"])


def test_a_small_part_of_the_suite_loses_mixes_and_executes_nothing(tmp_path):
    status, record = suite(tmp_path)
    assert status == 0, record
    assert [row["what"] for row in record["rows"] if any(row[name] for name in FATAL)] == []
    assert [row for row in record["rows"] if row["raw error"]] == []
    assert counted(record, "survived") > 30 and counted(record, "refused") > 10
    for row in record["rows"]:
        assert row["trials"] == sum(row[name] for name in OUTCOMES) > 0


PLAIN = """
from contextlib import contextmanager
from pathlib import Path
from cam_utils import files

@contextmanager
def plain(path):  # writes to the name itself, and tells the disk half way
    import os
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    yield path
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with path.open("rb") as file:
        os.fsync(file.fileno())
    path.write_bytes(content)

files.written = plain
"""
TRUSTING = """
import io
import pandas
from cam_utils.evaluation import store
store.unsealed = lambda content, of: pandas.read_parquet(io.BytesIO(content))
"""
PICKLES = """
import torch
load = torch.load
torch.load = lambda *a, **o: load(*a, **{**o, "weights_only": False})
"""


@pytest.mark.parametrize(
    ("plant", "task", "outcomes"),
    [
        (PLAIN, "one that saves, one that reads", ("mixed",)),
        (TRUSTING, "a part of an evaluation", ("mixed",)),
        (PICKLES, "commands in files", ("executed",)),
    ],
)
def test_a_planted_fault_is_found(tmp_path, plant, task, outcomes):
    status, record = suite(tmp_path, task, plant=plant)
    assert status == 1
    assert sum(counted(record, name) for name in outcomes) > 0, record["rows"]
    assert any(trial["outcome"] in outcomes and trial["where"] for trial in record["bad"])


def test_an_outcome_is_what_became_of_the_result():
    def right(result):
        return result == 3

    names = ["a.txt"]
    assert judged(Ended(0, 3), right, names) == "survived"
    assert judged(Ended(0, 4), right, names) == "mixed"
    assert judged(Ended(0, None), right, names) == "lost"
    for error, words, sentence in (
        (ValueError(), "expected a.txt as a number", True),
        (RunFailed(), "a.txt cell 3: no", True),
        (ValueError(), "expected a number", False),
        (ValueError(), "a.txt:\nexpected a number", False),
        (KeyError(), "a.txt", False),
        (FileNotFoundError(2, "No such file"), "[Errno 2] No such file: a.txt", False),
        (OSError(28, "No space"), "[Errno 28] a.txt cannot be written", True),
    ):
        ended = Ended(1, None, error, words)
        assert is_sentence(ended, names) == sentence, words
        assert judged(ended, right, names) == ("refused" if sentence else "raw error")


def test_the_stored_counts_are_those_of_the_long_suite():
    record = json.loads((files.DATA / "results" / "faults.json").read_text())
    assert record["command"] == "make test-faults" and record["git"] and record["versions"]["torch"]
    assert all(row["trials"] == sum(row[name] for name in OUTCOMES) for row in record["rows"])
    assert {"kills", "pairs", "damaged files", "full disks", "signals", "odd values", "commands"} <= {
        row["area"] for row in record["rows"]
    }
    assert counted(record, "trials") > 1000
    assert sum(counted(record, name) for name in FATAL) == 0
