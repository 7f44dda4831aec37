"""The batch on the SLURM that slurm.sh starts: GPUs given out, a job cancelled, the batch killed, several nodes."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from tests.workflow.tiny import begin, children, executed, finished, start, training, write
from workflow import ROOT

# This SLURM keeps no accounts of ended jobs, and need not be spared.
FLAGS = ("--profile=slurm", "--slurm-status-command=squeue", "--slurm-init-seconds-before-status-checks=3")


def grid(work, count):
    """Write a grid of `count` runs, of which the fifth and sixth wait, and of one (x = 0) trained on two nodes."""
    waits = [{"match": {"x": x}, "set": {"wait": str(work / f"go-{x}"), "free": 0}} for x in (5, 6)]
    file = write(work, range(1, count + 1), overrides=waits)
    (tiny,) = yaml.safe_load(file.read_text())["runs"]
    two = {"chapter": "ss_cam", "notebook": tiny["notebook"], "parameters": tiny["parameters"] | {"x": 0}}
    two["training"] = {"devices": 1, "nodes": 2, "strategy": "ddp", "accelerator": "cpu"}
    file.write_text(yaml.safe_dump({"runs": [tiny, two]}))
    return file


def jobs(state):
    """Return the jobs in this state: {number: (name, comment)}."""
    listing = ["squeue", "--noheader", f"--states={state}", "--format=%i|%j|%k"]
    lines = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.splitlines()
    return {number: tuple(rest) for number, *rest in (line.split("|") for line in lines)}


def wait_for(condition, seconds=120):
    deadline = time.time() + seconds
    while not condition():
        assert time.time() < deadline, "nothing came of it in time"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with a grid of six runs, one of which was cancelled once under way."""
    work = tmp_path_factory.mktemp("work")
    with (work / "batch.log").open("w") as log:
        batch = begin(grid(work, 5), work / "runs", *FLAGS, stdout=log, stderr=log)
        wait_for(lambda: "5" in executed(work))
        (cancelled,) = (number for number, (_, comment) in jobs("RUNNING").items() if comment.endswith("tiny-5"))
        subprocess.run(["scancel", cancelled], check=True)
        (work / "go-5").touch()
        status = batch.wait(timeout=240)
    assert status == 0, (work / "batch.log").read_text()
    (work / "cancelled").write_text(cancelled)
    return work


def test_every_job_has_a_gpu_and_is_finished(work):
    records = [json.loads(file.read_text()) for file in finished(work / "runs")]
    assert len(records) == len({record["SLURM_JOB_ID"] for record in records}) == 6
    assert {record["CUDA_VISIBLE_DEVICES"] for record in records} <= {"0", "1"}


def test_a_cancelled_job_is_tried_again(work):
    cancelled = (work / "cancelled").read_text()
    assert f"SLURM-job '{cancelled}' failed, SLURM status is: 'CANCELLED'" in (work / "batch.log").read_text()
    assert json.loads((work / "runs" / "tiny-5" / "run.json").read_text())["SLURM_JOB_ID"] > cancelled
    assert executed(work) == ["0", "1", "2", "3", "4", "5", "5"]


def test_a_training_on_two_nodes_gets_their_gpus(work):
    (number,) = (number for number, (_, comment) in jobs("COMPLETED").items() if "rule_train" in comment)
    shown = subprocess.run(["scontrol", "show", "job", number], capture_output=True, text=True, check=True).stdout
    for fact in ("NodeList=one,two", "NumNodes=2", "CPUs/Task=2", "MinMemoryNode=16000M", "TresPerNode=gres:gpu:1"):
        assert fact in shown.split(), shown


def test_a_killed_batch_goes_on_once_its_jobs_are_cancelled(work):
    folder, before = work / "runs", finished(work / "runs")
    file = grid(work, 6)
    killed = begin(file, folder, *FLAGS, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: "6" in executed(work))
    for pid in (killed.pid, *children(killed.pid)):
        os.kill(pid, signal.SIGKILL)
    killed.wait()
    ((name, comment),) = jobs("RUNNING").values()  # it runs on
    assert name.startswith("cam_utils_") and comment.endswith("tiny-6")
    subprocess.run(["scancel", f"--name={name}"], check=True)
    wait_for(lambda: not jobs("RUNNING,COMPLETING"))
    (work / "go-6").touch()
    status, lines, log = start(file, folder, *FLAGS)
    assert status == 0, log
    assert lines[0] == f"7 of 7 runs are finished, in {folder}" and not lines[3:]
    assert before.items() <= finished(folder).items()
    assert executed(work) == ["0", "1", "2", "3", "4", "5", "5", "6", "6"]


@pytest.mark.parametrize(("devices", "nodes"), [(2, 1), (1, 2)])
def test_a_training_is_shared_by_devices_and_by_nodes(tmp_path, devices, nodes):
    spec = json.dumps(training(devices=devices, nodes=nodes))
    script = [sys.executable, "-m", "workflow.batch.train", str(tmp_path / "runs"), "two", spec]
    step = ["srun", "-n1", "--cpu-bind=q", f"--cpus-per-task={2 * devices}", f"--nodes={nodes}"]
    job = ["salloc", f"--nodes={nodes}", f"--gres=gpu:{devices}", f"--cpus-per-task={2 * devices}"]
    environment = os.environ | {"CAM_UTILS_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    environment["MASTER_ADDR"] = "127.0.0.1"  # the pretended nodes' names lead nowhere
    mark, command = tmp_path / "mark.json", [*job, *step, *script, str(tmp_path / "mark.json")]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "GLOBAL_RANK: 1, MEMBER: 2/2" in done.stdout + done.stderr
    (checkpoint,) = (tmp_path / "cache" / "checkpoints").glob("*")
    assert json.loads(mark.read_text())["checkpoint"] == checkpoint.name
