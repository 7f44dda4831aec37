"""The batch: grids become jobs, and jobs survive kills, failures and changed parameters."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from cam_utils import runs
from tests.workflow.tiny import begin, children, executed, finished, start, training, write
from workflow import ROOT
from workflow.batch import __main__, execute, grid, records


@pytest.fixture
def tiny(tmp_path):
    """Return a function that writes a grid of the tiny chapter for values of x and other parameters."""
    return partial(write, tmp_path)


def failing(**kinds):
    """Return a grid's overrides: how the runs of these x fail."""
    return [{"match": {"x": int(name[1:])}, "set": {"fail": kind}} for name, kind in kinds.items()]


def named(lines):
    """Return {run: reason} of the lines about failed runs."""
    found = [line.removeprefix("failed: ").split(": ", 1) for line in lines if line.startswith("failed: ")]
    return dict(found)


def test_a_batch_names_what_fails_and_does_again_only_what_a_change_touches(tiny, tmp_path):
    """Three starts: failures of three kinds; a failure where yesterday was a result; all repaired."""
    folder = tmp_path / "runs"
    broken = failing(x2="assert", x3="disk", x4="data")
    status, lines, _ = start(tiny([1, 2, 3, 4], broken, wait=str(tmp_path)), folder)
    assert status == 1 and lines[0] == f"1 of 4 runs are finished, in {folder}"
    reasons = named(lines)
    for run, reason in (
        ("tiny-2", "AssertionError: told to fail"),
        ("tiny-3", "No space left on device"),
        ("tiny-4", "FileNotFoundError: .*stanford40"),
    ):
        assert "tiny.ipynb cell 4: " in reasons[run] and re.search(reason, reasons[run])
        assert (folder / "logs" / f"{run}.log").read_text().strip()
    assert reasons.keys() == {"tiny-2", "tiny-3", "tiny-4"}
    assert [run.id for run in runs.read_runs(folder)] == ["tiny-1"]  # a failed one is never a result

    status, lines, _ = start(tiny([1, 2, 3, 5], failing(x1="assert"), wait=str(tmp_path)), folder)
    assert status == 1 and lines[0] == f"3 of 4 runs are finished, in {folder}"
    assert named(lines).keys() == {"tiny-1"}
    assert [run.id for run in runs.read_runs(folder)] == ["tiny-2", "tiny-3", "tiny-5"]
    before = finished(folder)

    changed = [{"match": {"x": 5}, "set": {"seed": 1}}]
    status, lines, _ = start(tiny([1, 2, 3, 5], changed, wait=str(tmp_path)), folder)
    assert status == 0 and lines[0] == f"4 of 4 runs are finished, in {folder}"
    assert lines[1].startswith("critical path of ") and len(lines) == 3
    assert executed(tmp_path) == sorted("1234" + "1235" + "15")
    after = finished(folder)
    assert {file.parent.name for file in before if after[file] == before[file]} == {"tiny-2", "tiny-3"}


def test_a_full_disk_is_named_before_and_after(tiny, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "runs"

    def refuse(path, content):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    plan = grid.read(tiny([1]))
    (folder / ".failed").mkdir(parents=True)
    (folder / ".failed" / "tiny-1.txt").touch()
    assert __main__.full(folder) is None
    assert (
        __main__.summary(plan, folder, {}, {"tiny-1": "key"})[1]
        == f"failed: tiny-1: no reason was left, see {folder / 'logs'}"
    )
    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(SystemExit, match=r"batch: the disk is full: .* takes no 1 MiB more; make room, and start"):
        __main__.main([str(tmp_path / "grid.yaml"), "--runs", str(folder)])
    assert sorted(p.name for p in folder.iterdir()) == [".failed"]


def test_paths_may_have_any_name(tmp_path):
    folder = tmp_path / "a: 'b' \"c\" {x: 1} #\n[d] $HOME %s é"
    folder.mkdir()
    runs_folder = folder / "ru ns{y}: #2\n"
    status, _, errors = start(write(folder, [1]), runs_folder)
    assert status == 0 and executed(folder) == ["1"], errors
    assert [run.id for run in runs.read_runs(runs_folder)] == ["tiny-1"] and not (folder / "runs").exists()
    assert {path.name for path in tmp_path.iterdir()} == {folder.name}


def until(condition, seconds=120):
    deadline = time.time() + seconds
    while not condition() and time.time() < deadline:
        time.sleep(0.05)
    assert condition()


def test_a_killed_batch_goes_on_and_holds_its_folder_until_all_of_it_is_gone(tiny, tmp_path):
    folder, go = tmp_path / "runs", tmp_path / "go"
    file = tiny([1, 2, 3], wait=str(go))  # all but the first to start wait
    killed = begin(file, folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: finished(folder) and len(executed(tmp_path)) >= 2)
    below = children(killed.pid)
    killed.kill()  # alone: Snakemake lives on, and still holds the folder
    killed.wait()
    status, _, errors = start(file, folder)
    assert status == 1 and "another batch is at work" in errors
    for pid in below:
        os.kill(pid, signal.SIGKILL)  # the notebooks under way live on
    before, begun = finished(folder), executed(tmp_path)
    assert len(before) == 1
    go.touch()
    until(lambda: len(finished(folder)) == len(begun))  # what they finish later is taken
    before = finished(folder)
    status, lines, errors = start(file, folder)
    assert status == 0, errors
    assert lines[0] == f"3 of 3 runs are finished, in {folder}" and not named(lines)
    assert before.items() <= finished(folder).items() and executed(tmp_path) == ["1", "2", "3"]
    for run in runs.read_runs(folder):
        assert (run.folder / "notebook.ipynb").is_file() and (run.folder / "key").is_file()


def test_a_run_without_a_reason_or_a_training_has_a_line(tmp_path):
    plan = grid.read(ROOT / "workflow" / "grids" / "default.yaml")
    keys = dict.fromkeys(plan.jobs, "key")
    lines = __main__.summary(plan, tmp_path, {}, keys)
    assert len(lines) == 1 + len(plan.jobs)
    assert any(re.match(r"failed: ss_cam: its training \S+ is not there, see ", line) for line in lines)
    assert f"failed: your_model: it left no reason, see {tmp_path / 'logs'}" in lines


def test_marks_of_lost_checkpoints_and_of_other_runs_are_taken_away(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("CAM_UTILS_CACHE", str(tmp_path / "cache"))
    plan, folder = grid.read(ROOT / "workflow" / "grids" / "default.yaml"), tmp_path / "runs"
    for name in plan.trainings:
        (folder / ".trained").mkdir(parents=True, exist_ok=True)
        (folder / ".trained" / f"{name}.json").write_text(json.dumps({"checkpoint": "gone.pt"}))
    for name in ("ss_cam", "minmax_cam"):
        (folder / name).mkdir()
        (folder / name / "run.json").write_text("{}")
        (folder / name / "key").write_text(name)
        (folder / ".finished").mkdir(exist_ok=True)
        (folder / ".finished" / name).touch()
    records.prepare(plan, folder, {}, dict.fromkeys(plan.jobs, "minmax_cam"))
    assert not list((folder / ".trained").iterdir())
    assert [file.name for file in (folder / ".finished").iterdir()] == ["minmax_cam"]
    assert (folder / "minmax_cam" / "run.json").is_file() and not (folder / "ss_cam" / "run.json").exists()


def test_the_dry_run_names_jobs_hours_and_what_is_missing(tmp_path, capsys):
    __main__.main([str(ROOT / "workflow" / "grids" / "paper.yaml"), "--dry-run", "--data", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "run    minmax_cam-voc2007-resnet101-linear-s0" in printed and "no data" in printed
    assert f"missing: {tmp_path} holds no VOCdevkit/VOC2007/ImageSets" in printed
    assert not list(tmp_path.iterdir())
    with pytest.raises(SystemExit, match="data are missing"):
        __main__.main([str(ROOT / "workflow" / "grids" / "paper.yaml"), "--data", str(tmp_path)])


def test_a_job_holds_as_many_gpus_as_it_uses_and_no_other_job_has_them(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CAM_UTILS_GPUS", "5,7,9")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # restored at the end
    for count, expected in ((2, "5,7"), (1, "5")):
        del os.environ["CUDA_VISIBLE_DEVICES"]
        with execute.device(count):
            assert os.environ.pop("CUDA_VISIBLE_DEVICES") == expected
            with execute.device():
                assert os.environ["CUDA_VISIBLE_DEVICES"] == ("9" if count == 2 else "7")


def test_a_network_trained_by_two_processes_is_one_checkpoint(tmp_path):
    mark = tmp_path / "runs" / ".trained" / "two.json"
    environment = os.environ | {"CAM_UTILS_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-m", "workflow.batch.train", str(tmp_path / "runs"), "two"]
    arguments += [json.dumps(training(devices=2)), str(mark)]
    done = subprocess.run(arguments, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "GLOBAL_RANK: 1, MEMBER: 2/2" in done.stdout + done.stderr
    (checkpoint,) = (tmp_path / "cache" / "checkpoints").glob("*")
    assert json.loads(mark.read_text())["checkpoint"] == checkpoint.name
