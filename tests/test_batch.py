"""The batch: grids become jobs, and jobs survive kills, failures and changed parameters."""

import ast
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

import batch
import estimate
import execute
import grid
import papermill
import pytest
import torchvision
import yaml

from cam_utils import data, runs
from cam_utils.data import coco, imagenet, planet, stanford40, voc
from tests.tiny import children, command, executed, finished, start, training, write

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
    assert batch.full(folder) is None
    assert batch.summary(plan, folder, {})[1] == f"failed: tiny-1: no reason was left, see {folder / 'logs'}"
    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(SystemExit, match=r"batch: the disk is full: .* takes no 1 MiB more; make room, and start"):
        batch.main([str(tmp_path / "grid.yaml"), "--runs", str(folder)])
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


@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT / "workflow" / "grids").glob("*.yaml")))
def test_the_grids_name_existing_parameters_and_distinct_runs(name):
    plan = grid.read(ROOT / "workflow" / "grids" / f"{name}.yaml", data_root="somewhere")
    assert plan.jobs and {t for job in plan.jobs.values() for t in job.trainings} == set(plan.trainings)
    for job in plan.jobs.values():
        assert job.parameters.keys() <= grid.defaults(job.notebook).keys()
        assert job.parameters.get("dataset", "digits") in data.LOADERS


@pytest.mark.parametrize("notebook", sorted(p.name for p in (ROOT / "notebooks").glob("*.ipynb")))
def test_a_notebooks_parameters_are_those_that_papermill_sets(notebook):
    expected = papermill.inspect_notebook(str(ROOT / "notebooks" / notebook))
    found = grid.defaults(f"notebooks/{notebook}")
    assert found == {name: ast.literal_eval(fact["default"]) for name, fact in expected.items()}


def test_networks_that_chapters_share_are_trained_once():
    plan = grid.read(ROOT / "workflow" / "grids" / "default.yaml")
    users = [[name for name, job in plan.jobs.items() if shared in job.trainings] for shared in plan.trainings]
    assert users == [["minmax_cam", "comparison", "sanity_checks"], ["representative_cam", "ss_cam"]]


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"chaptr": "ss_cam"}, "unknown key of a block of runs 'chaptr'; did you mean 'chapter'"),
        ({"chapter": "ss_cam", "over": {"draw": [1]}}, "unknown parameter of ss_cam 'draw'; did you mean 'draws'"),
        ({"chapter": "ss_cam", "over": {"draws": 1}}, "expected a list of values for draws of ss_cam, got 1"),
        ({"chapter": "ss_cams"}, "no notebook notebooks/ss_cams.ipynb"),
        ({"parameters": {}}, "names no chapter"),
    ],
)
def test_a_wrong_grid_is_named(tmp_path, block, message):
    file = tmp_path / "grid.yaml"
    file.write_text(yaml.safe_dump({"runs": [block]}))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        grid.read(file)


def test_two_runs_of_one_name_and_a_missing_grid_are_refused(tmp_path):
    file = tmp_path / "grid.yaml"
    file.write_text(yaml.safe_dump({"runs": [{"chapter": "ss_cam"}, {"chapter": "ss_cam"}]}))
    with pytest.raises(ValueError, match="two runs named ss_cam"):
        grid.read(file)
    with pytest.raises(FileNotFoundError, match="there are: default, digits, paper, smoke"):
        grid.read(tmp_path / "none.yaml")


def test_exclusions_and_overrides_apply_to_what_they_match():
    plan = grid.read(ROOT / "workflow" / "grids" / "paper.yaml", data_root="somewhere")
    assert "minmax_cam-voc2007-vgg16-gap-linear-s0" in plan.jobs
    assert "minmax_cam-coco2017-vgg16-gap-linear-s0" not in plan.jobs
    sizes = {
        job.parameters["dataset"]: job.parameters["size"] for job in plan.jobs.values() if "size" in job.parameters
    }
    assert sizes["planet"] == 256 and sizes["coco2017"] == 512


def test_the_dry_run_names_jobs_hours_and_what_is_missing(tmp_path, capsys):
    batch.main([str(ROOT / "workflow" / "grids" / "paper.yaml"), "--dry-run", "--data", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "run    minmax_cam-voc2007-resnet101-linear-s0" in printed and "no data" in printed
    assert f"missing: {tmp_path} holds no VOCdevkit/VOC2007/ImageSets" in printed
    assert not list(tmp_path.iterdir())
    with pytest.raises(SystemExit, match="data are missing"):
        batch.main([str(ROOT / "workflow" / "grids" / "paper.yaml"), "--data", str(tmp_path)])


def test_the_estimates_rest_on_the_libraries_own_counts():
    for name, (macs, _) in estimate.GMACS.items():
        if name != "digits":
            weights = torchvision.models.get_model_weights(name).DEFAULT
            side = weights.transforms().crop_size[0]
            expected = weights.meta["_ops"] * (224 / side) ** 2
            assert macs == pytest.approx(expected, rel=0.05), name
    known = {"coco2017": coco.EXPECTED, "planet": planet.EXPECTED, **voc.EXPECTED}
    for name, counts in known.items():
        assert estimate.SIZES[name][:2] == (counts["train"], counts["val"])
    assert estimate.SIZES["imagenet"][1] == imagenet.EXPECTED["val"]
    assert estimate.SIZES["stanford40"][:2] == (stanford40.EXPECTED["train"], stanford40.EXPECTED["test"])


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
