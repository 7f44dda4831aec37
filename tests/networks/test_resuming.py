"""A training that was killed, at any moment, ends as one that was not: same weights, same log, bit for bit."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cam_utils.networks import resuming
from cam_utils.networks.schedules import Stage
from tests.networks.killed import (
    ADAMW,
    SCHEDULES,
    Killed,
    N,
    assert_same,
    digits,
    dots,
    few,
    fit,
    kill,
    went_on,
)


@pytest.mark.parametrize("start", [digits, dots])
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_training_killed_in_every_epoch_ends_as_one_left_alone(name, start, reads, tmp_path):
    schedule = SCHEDULES[name]
    alone = fit(start, schedule)
    epochs = len(alone[1])
    assert reads.count == 2 * N * epochs
    # At the first image of the next epoch or stage, in the midst of its training, in that of its validation
    for after in (2 * N, 2 * N + 11, 3 * N + 5):
        result, kills = went_on(reads, tmp_path / str(after), after, start, schedule)
        assert_same(result, alone)
        assert kills == epochs - 1
        assert [path.name for path in (tmp_path / str(after)).iterdir()] == [resuming.NAME]
        reads.count, reads.at = 0, 0
        assert_same(fit(start, schedule, folder=tmp_path / str(after)), alone)  # ended: nothing is read again


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_kill_right_after_a_state_was_written_repeats_nothing(name, reads, tmp_path, monkeypatch):
    alone = fit(digits, SCHEDULES[name])

    def dies(self, checkpoint, path, storage_options=None, save=resuming.WholeFiles.save_checkpoint):
        save(self, checkpoint, path)
        kill()

    reads.count = 0
    monkeypatch.setattr(resuming.WholeFiles, "save_checkpoint", dies)
    for epochs in range(1, len(alone[1]) + 1):
        with pytest.raises(Killed):
            fit(digits, SCHEDULES[name], folder=tmp_path)
        assert reads.count == 2 * N * epochs
    assert_same(fit(digits, SCHEDULES[name], folder=tmp_path), alone)
    assert reads.count == 2 * N * epochs


def test_a_stage_on_cached_features_goes_on_too(tmp_path, monkeypatch):
    """The paper's first stage: it trains another model, which shares the head and drops features out."""
    both = {"plateau": 1, "batch_size": 8}
    schedule = (Stage(3, 0.5, unfrozen=0.0, augment="flip", **both), Stage(2, 0.1, unfrozen=0.6, **both))

    def dropping():
        model, load = dots()
        model.dropout.p = 0.4
        return model, load

    monkeypatch.setenv("CAM_UTILS_CACHE", str(tmp_path / "cache"))
    alone, calls = fit(dropping, schedule), []
    assert_same(fit(dropping, schedule), alone)  # whether the features are computed or found

    def dies(self, checkpoint, path, storage_options=None, save=resuming.WholeFiles.save_checkpoint):
        save(self, checkpoint, path)
        calls.append(path)
        kill()

    monkeypatch.setattr(resuming.WholeFiles, "save_checkpoint", dies)
    for _ in alone[1].index:
        with pytest.raises(Killed):
            fit(dropping, schedule, folder=tmp_path / "state")
    assert_same(fit(dropping, schedule, folder=tmp_path / "state"), alone)
    assert len(calls) == len(alone[1]) == 5


def test_the_schedules_of_the_tests_reach_what_they_are_about():
    """Patience runs out before the last epoch, rates fall, weights go back: else the tests above show little."""
    _, log = fit(digits, SCHEDULES["the paper's: plateau, back to the best weights, early stop"])
    rates = log.groupby("stage")["lr"].nunique()
    assert len(log) < 13 and rates.max() > 1
    best = log.groupby("stage")["val_loss"].agg(lambda loss: loss.argmin() < len(loss) - 1)
    assert best.any()
    _, log = fit(digits, SCHEDULES["early stop alone"])
    assert (log["stage"] == 1).sum() < 9


def test_a_kill_between_two_stages_repeats_nothing(reads, tmp_path):
    schedule = SCHEDULES["one cycle, best weights"]
    alone = fit(dots, schedule)
    epochs = (alone[1]["stage"] == 1).sum()

    def dies(split, **options):  # the second stage's data cannot be read
        if reads.count == 2 * N * epochs:
            kill()
        return few(split, **options)

    reads.count = 0
    with pytest.raises(Killed):
        fit(lambda: (dots()[0], dies), schedule, folder=tmp_path)
    reads.count = 0
    assert_same(fit(dots, schedule, folder=tmp_path), alone)
    assert reads.count == 2 * N * (len(alone[1]) - epochs)


SCRIPT = """
import os, signal, sys, torch
import pytest
from tests.networks import killed

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def half(content, file, save=torch.save, writes=[]):
    save(content, file)
    file.flush()
    writes.append(file.name)
    if len(writes) == int(sys.argv[3]):
        os.truncate(file.name, os.path.getsize(file.name) // 2)
        kill()

torch.save = half
killed.Reads(pytest.MonkeyPatch(), kill).at = int(sys.argv[2])
killed.fit(killed.digits, killed.SCHEDULES["one cycle, best weights"], folder=sys.argv[1])
"""


def test_a_training_whose_process_is_killed_goes_on(reads, tmp_path):
    alone = fit(digits, SCHEDULES["one cycle, best weights"])
    root, folder = Path(__file__).resolve().parents[2], tmp_path / "state"
    never = 10**6
    # Epoch 1 in the midst, epoch 3 while its state is written, epoch 4 (of stage 2) in the midst of its validation
    for at, write, left in ((11, never, 0), (never, 3, 2), (2 * N + N + 5, never, 1)):
        done = subprocess.run([sys.executable, "-c", SCRIPT, str(folder), str(at), str(write)], cwd=root)
        assert done.returncode == -signal.SIGKILL
        assert len(list(folder.iterdir()) if folder.exists() else []) == left
    reads.count = 0
    assert_same(fit(digits, SCHEDULES["one cycle, best weights"], folder=folder), alone)
    assert reads.count == 2 * N * 2  # both epochs of stage 2: the first was not whole
    assert [path.name for path in folder.iterdir()] == [resuming.NAME]


@pytest.mark.parametrize("workers", [0, 1])
def test_several_devices_go_on_together(workers, tmp_path, monkeypatch):
    schedule = (Stage(2, 0.1, plateau=1, batch_size=8), Stage(3, **ADAMW, one_cycle=True))
    options = {"devices": 2, "strategy": "ddp_fork", "workers": workers}
    alone = fit(dots, schedule, **options)

    def dies(self, checkpoint, path, storage_options=None, save=resuming.WholeFiles.save_checkpoint):
        save(self, checkpoint, path)
        if len(checkpoint.get(resuming.OWN, {"rows": ()})["rows"]) == 3:  # the first epoch of stage 2
            raise RuntimeError("told to die")

    with monkeypatch.context() as patched:
        patched.setattr(resuming.WholeFiles, "save_checkpoint", dies)
        with pytest.raises(Exception, match="told to die"):
            fit(dots, schedule, folder=tmp_path, **options)
    assert [path.name for path in tmp_path.iterdir()] == [resuming.NAME]
    assert_same(fit(dots, schedule, folder=tmp_path, **options), alone)


def test_a_training_that_is_over_takes_its_state_and_nothing_else_away(tmp_path):
    for name in (resuming.NAME, f".{resuming.NAME}.012345-1.0123456789ab.partial"):
        (tmp_path / "state").mkdir(exist_ok=True)
        (tmp_path / "state" / name).write_text("x")
    (tmp_path / "state" / "thesis.txt").write_text("years of work")
    resuming.clear(tmp_path / "state")
    assert [each.name for each in (tmp_path / "state").iterdir()] == ["thesis.txt"]
    (tmp_path / "state" / "thesis.txt").unlink()
    resuming.clear(tmp_path / "state")
    assert not (tmp_path / "state").exists()
    resuming.clear(tmp_path / "state")  # none is no error
