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
import yaml

from cam_utils import runs
from tests.workflow.tiny import children, command, executed, finished, start, training, write
from workflow.batch import __main__, execute, grid

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def tiny(tmp_path):
    """Return a function that writes a grid of the tiny chapter for values of x and other parameters."""
    return partial(write, tmp_path)


def test_a_batch_runs_each_job_once_and_reruns_only_what_a_parameter_touches(tiny, tmp_path):
    folder = tmp_path / "runs"
    status, lines, _ = start(tiny([1, 2]), folder)
    assert status == 0 and lines == [f"2 of 2 runs are finished, in {folder}"]
    assert [run.id for run in runs.read_runs(folder)] == ["tiny-1", "tiny-2"]
    before = {p: p.stat().st_mtime_ns for p in folder.glob("*/run.json")}
    start(tiny([1, 2]), folder)
    assert {p: p.stat().st_mtime_ns for p in folder.glob("*/run.json")} == before
    start(tiny([1, 2, 3]), folder)  # one more value
    assert executed(tmp_path) == ["1", "2", "3"]
    grid_file = tiny([1, 2, 3])
    changed = yaml.safe_load(grid_file.read_text())
    changed["runs"][0]["overrides"] = [{"match": {"x": 3}, "set": {"seed": 1}}]
    grid_file.write_text(yaml.safe_dump(changed))
    start(grid_file, folder)
    assert executed(tmp_path) == ["1", "2", "3", "3"]


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        ("assert", r"AssertionError: told to fail"),
        ("disk", r"No space left on device"),
        ("data", r"FileNotFoundError: .*stanford40"),
    ],
)
def test_a_failing_notebook_stops_nothing_else_and_is_named_in_a_line(tiny, tmp_path, fail, message):
    folder = tmp_path / "runs"
    status, lines, _ = start(tiny([1, 2, 3], fail=fail, wait=str(tmp_path)), folder)
    assert status == 1
    assert lines[0] == f"2 of 3 runs are finished, in {folder}"
    (failed,) = [line for line in lines if line.startswith("failed: ")]
    assert failed.startswith("failed: tiny-2: ") and "tiny.ipynb cell 4: " in failed
    assert re.search(message, failed)
    assert [run.id for run in runs.read_runs(folder)] == ["tiny-1", "tiny-3"]  # never a result
    assert (folder / "logs" / "tiny-2.log").read_text().strip()
    if fail == "assert":
        status, lines, _ = start(tiny([1, 2, 3]), folder)
        assert status == 0 and lines == [f"3 of 3 runs are finished, in {folder}"]


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


def test_a_killed_batch_goes_on_where_it_was(tiny, tmp_path):
    folder, go = tmp_path / "runs", tmp_path / "go"
    file = tiny([1, 2, 3], wait=str(go))
    killed = subprocess.Popen(command(file, folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.time() + 120
    while time.time() < deadline and not (finished(folder) and len(executed(tmp_path)) >= 2):
        time.sleep(0.05)
    for pid in (killed.pid, *children(killed.pid)):  # the batch and Snakemake; the notebook under way lives on
        os.kill(pid, signal.SIGKILL)
    killed.wait()
    before = finished(folder)
    assert len(before) == 1
    go.touch()
    status, lines, errors = start(file, folder)
    assert status == 0, errors
    assert lines == [f"3 of 3 runs are finished, in {folder}"]
    assert {file: file.stat().st_mtime_ns for file in before} == before
    # The half run may be done again, or its left-over process may still finish it; no other is done twice.
    assert sorted(set(executed(tmp_path))) == ["1", "2", "3"] and len(executed(tmp_path)) <= 4
    for run in runs.read_runs(folder):
        assert (run.folder / "notebook.ipynb").is_file() and (run.folder / "key").is_file()


def test_what_a_killed_batchs_notebook_finished_later_is_taken(tiny, tmp_path):
    folder, go = tmp_path / "runs", tmp_path / "go"
    file = tiny([1], wait=str(go), free=0)
    killed = subprocess.Popen(command(file, folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.time() + 120
    while time.time() < deadline and not executed(tmp_path):
        time.sleep(0.05)
    for pid in (killed.pid, *children(killed.pid)):
        os.kill(pid, signal.SIGKILL)
    killed.wait()
    go.touch()
    while time.time() < deadline and not finished(folder):
        time.sleep(0.05)
    before = finished(folder)
    status, lines, errors = start(file, folder)
    assert status == 0 and lines == [f"1 of 1 runs are finished, in {folder}"], errors
    assert finished(folder) == before and executed(tmp_path) == ["1"]


def test_yesterdays_result_does_not_stand_in_for_a_failure(tiny, tmp_path):
    folder = tmp_path / "runs"
    file = tiny([1, 2])
    assert start(file, folder)[0] == 0
    grid_file = yaml.safe_load(file.read_text())
    grid_file["runs"][0]["overrides"] = [{"match": {"x": 2}, "set": {"fail": "assert"}}]
    file.write_text(yaml.safe_dump(grid_file))
    status, lines, _ = start(file, folder)
    assert status == 1 and lines[0] == f"1 of 2 runs are finished, in {folder}"
    assert [run.id for run in runs.read_runs(folder)] == ["tiny-1"]


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
    __main__.prepare(plan, folder, {}, dict.fromkeys(plan.jobs, "minmax_cam"))
    assert not list((folder / ".trained").iterdir())
    assert [file.name for file in (folder / ".finished").iterdir()] == ["minmax_cam"]
    assert (folder / "minmax_cam" / "run.json").is_file() and not (folder / "ss_cam" / "run.json").exists()


def test_a_second_batch_in_the_same_folder_is_refused(tiny, tmp_path):
    folder, go = tmp_path / "runs", tmp_path / "go"
    file = tiny([2], wait=str(go), free=0)
    first = subprocess.Popen(command(file, folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.time() + 60
    while time.time() < deadline and not (tmp_path / "log").exists():
        time.sleep(0.05)
    assert start(file, folder)[0] == 1
    first.kill()  # alone: Snakemake lives on, and still holds the folder
    first.wait()
    status, _, errors = start(file, folder)
    assert status == 1 and "another batch is at work" in errors
    go.touch()
    deadline = time.time() + 60
    while (status := start(file, folder)[0]) and time.time() < deadline:
        time.sleep(0.2)
    assert status == 0 and executed(tmp_path) == ["2"]


def test_the_dry_run_names_jobs_hours_and_what_is_missing(tmp_path, capsys):
    __main__.main([str(ROOT / "workflow" / "grids" / "paper.yaml"), "--dry-run", "--data", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "run    minmax_cam-voc2007-resnet101-linear-s0" in printed and "no data" in printed
    assert f"missing: {tmp_path} holds no VOCdevkit/VOC2007/ImageSets" in printed
    assert not list(tmp_path.iterdir())
    with pytest.raises(SystemExit, match="data are missing"):
        __main__.main([str(ROOT / "workflow" / "grids" / "paper.yaml"), "--data", str(tmp_path)])


def test_a_job_holds_as_many_gpus_as_it_uses_and_no_other_job_has_them(tmp_path, monkeypatch):
    monkeypatch.setenv("CAM_UTILS_GPUS", "5,7,9")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # restored at the end
    for count, expected in ((2, "5,7"), (1, "5")):
        del os.environ["CUDA_VISIBLE_DEVICES"]
        with execute.device(tmp_path, count):
            assert os.environ.pop("CUDA_VISIBLE_DEVICES") == expected
            with execute.device(tmp_path):
                assert os.environ["CUDA_VISIBLE_DEVICES"] == ("9" if count == 2 else "7")


def test_a_network_trained_by_two_processes_is_one_checkpoint(tmp_path):
    mark = tmp_path / "runs" / ".trained" / "two.json"
    environment = os.environ | {"CAM_UTILS_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, str(ROOT / "workflow" / "train.py"), str(tmp_path / "runs"), "two"]
    arguments += [json.dumps(training(devices=2)), str(mark)]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "GLOBAL_RANK: 1, MEMBER: 2/2" in done.stdout + done.stderr
    (checkpoint,) = (tmp_path / "cache" / "checkpoints").glob("*")
    assert json.loads(mark.read_text())["checkpoint"] == checkpoint.name
