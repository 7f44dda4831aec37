"""Signals end a batch, a training and a notebook at once, with one line and a status that says so."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.workflow.tiny import begin, children, executed, training, write
from workflow import ROOT
from workflow.ending import ending


def heeding():
    """Let a process end by Ctrl-C although who started these tests, as a script in the background, ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def until(condition, process, seconds=120):
    deadline = time.time() + seconds
    while not condition():
        assert time.time() < deadline and process.poll() is None
        time.sleep(0.05)


def living(group):
    """Return the processes of a group."""
    found = subprocess.run(["pgrep", "-g", str(group)], capture_output=True, text=True)
    return found.stdout.split()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_batch_alone_ends_its_jobs_too(number, tmp_path):
    file = write(tmp_path, [1], wait=str(tmp_path / "never"), free=0)
    batch = begin(
        file, tmp_path / "runs", preexec_fn=heeding, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until(lambda: executed(tmp_path), batch)
    (snakemake,) = children(batch.pid)
    batch.send_signal(number)
    out, errors = batch.communicate(timeout=300)
    assert batch.returncode == 128 + number, errors
    assert "0 of 1 runs are finished" in out and f"batch: ended by {number.name}" in errors
    assert "Traceback" not in out + errors and not living(snakemake)
    assert not (tmp_path / "runs" / "tiny-1").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_notebook_in_one_line(number, tmp_path):
    write(tmp_path, [1])
    (tmp_path / "temporary").mkdir()
    out, waits = tmp_path / "out.ipynb", ["-p", "wait", str(tmp_path / "never"), "-p", "free", "0"]
    command = [sys.executable, "-m", "workflow.run_notebook", str(tmp_path / "tiny.ipynb"), str(out), *waits]
    command += ["-p", "log", str(tmp_path / "log"), "--logs", str(tmp_path / "logs")]
    environment = os.environ | {"TMPDIR": str(tmp_path / "temporary"), "PYTHONPATH": str(ROOT)}
    run = subprocess.Popen(
        command, preexec_fn=heeding, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until(lambda: executed(tmp_path), run)
    second = subprocess.run(command, env=environment, capture_output=True, text=True)
    refused = f"run_notebook: another run is making {out}: wait until it has ended, or name another OUT"
    assert second.returncode == 1 and second.stderr.splitlines()[-1] == refused
    run.send_signal(number)
    _, errors = run.communicate(timeout=300)
    assert run.returncode == 128 + number
    assert errors.splitlines()[-1] == f"run_notebook: ended by {number.name}" and "Traceback" not in errors
    assert not out.exists() and not list((tmp_path / "temporary").iterdir()) and executed(tmp_path) == ["1"]


def test_a_training_that_is_ended_fails(tmp_path):
    spec, mark = training(), tmp_path / "runs" / ".trained" / "one.json"
    spec |= {"trainer": {"accelerator": "cpu"}}
    environment = os.environ | {"CAM_UTILS_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "workflow.batch.train",
        str(tmp_path / "runs"),
        "one",
        json.dumps(spec),
        str(mark),
    ]
    run = subprocess.Popen(
        command, preexec_fn=heeding, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )
    until(lambda: list((tmp_path / "cache").glob("training/*/*")), run)  # an epoch was stored
    run.send_signal(signal.SIGTERM)
    _, errors = run.communicate(timeout=300)
    assert run.returncode == 128 + signal.SIGTERM and "one: ended by SIGTERM" in errors, errors
    assert not mark.exists() and not list((tmp_path / "cache").glob("checkpoints/*"))


def test_other_ways_to_end_stay_as_they_are(capsys):
    for error in (SystemExit(3), KeyboardInterrupt(), ValueError("x")):
        with pytest.raises(type(error)) as stopped, ending("program"):
            raise error
        assert stopped.value is error
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ending("program"):
            os.kill(os.getpid(), signal.SIGHUP)  # as under nohup
    finally:
        signal.signal(signal.SIGHUP, before)
    with pytest.raises(SystemExit) as stopped, ending("program"):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            sys.exit(1)  # as Lightning does
    assert stopped.value.code == 128 + signal.SIGTERM
    assert re.fullmatch(r"program: ended by SIGTERM\n", capsys.readouterr().err)


def test_a_library_that_makes_an_error_of_a_signal_does_not_hide_it(capsys):
    with pytest.raises(SystemExit) as stopped, ending("program"):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            raise RuntimeError("kernel died") from None  # as nbclient does
    assert stopped.value.code == 128 + signal.SIGTERM
    assert capsys.readouterr().err == "program: ended by SIGTERM\n"
