"""The file that a training goes on from: never a damaged one or another training's, and gone at the end."""

import functools
import os
import warnings

import pytest
import torch

from cam_utils import data, runs
from cam_utils.networks import resuming, schedules
from cam_utils.networks.schedules import Stage
from tests.networks.killed import ADAMW, EASY, Killed, N, assert_same, dots, fit

SHORT = (Stage(3, **ADAMW, keep="last"),)


@pytest.fixture
def half_way(reads, tmp_path):
    """A folder with the state after the first of three epochs."""
    reads.at = 3 * N
    with pytest.raises(Killed):
        fit(dots, SHORT, folder=tmp_path)
    reads.count, reads.at = 0, None
    return tmp_path


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("damage", ["cut", "empty", "zeros", "text", "pickle", "weights", "other numbers"])
def test_a_damaged_state_starts_the_training_again(damage, half_way, reads):
    file, whole = half_way / resuming.NAME, (half_way / resuming.NAME).read_bytes()
    contents = {"cut": whole[: len(whole) // 2], "empty": b"", "zeros": bytes(len(whole)), "text": b"<html>"}
    if damage in contents:
        file.write_bytes(contents[damage])
    elif damage == "other numbers":
        saved = torch.load(file, weights_only=True)
        torch.save({**saved, "state_dict": {key: value + 1 for key, value in saved["state_dict"].items()}}, file)
    else:
        torch.save(
            {"pickle": {resuming.OWN: Evil(half_way / "hit")}, "weights": dots()[0].state_dict()}[damage], file
        )
    with pytest.warns(UserWarning, match=r"state\.pt .*start.* from the beginning"):
        result = fit(dots, SHORT, folder=half_way)
    assert reads.count == 3 * 2 * N and not (half_way / "hit").exists()
    assert_same(result, fit(dots, SHORT))


def test_the_state_of_another_training_is_passed_over(half_way, reads, monkeypatch):
    state = (half_way / resuming.NAME).read_bytes()

    def other():
        model, load = dots()
        model.head.bias.data += 1
        return model, load

    longer = (Stage(4, **ADAMW, keep="last"),)
    for start, schedule, options in ((other, SHORT, {}), (dots, longer, {}), (dots, SHORT, {"seed": 4}),
                                     (dots, SHORT, {"precision": "bf16-mixed"})):  # fmt: skip
        (half_way / resuming.NAME).write_bytes(state)
        with pytest.warns(UserWarning, match="not the state of this training but of other settings"):
            result = fit(start, schedule, folder=half_way, **options)
        assert_same(result, fit(start, schedule, **options))
    (half_way / resuming.NAME).write_bytes(state)
    with monkeypatch.context() as patched, pytest.warns(UserWarning, match="other settings, devices, versions or"):
        patched.setattr(resuming, "code_fingerprint", lambda: "other code")
        fit(dots, SHORT, folder=half_way)
    (half_way / resuming.NAME).write_bytes(state)
    reads.count = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(dots, SHORT, folder=half_way)  # its own
    assert reads.count == 2 * 2 * N


def test_a_loss_that_is_not_finite_is_told_again(tmp_path, reads):
    def broken():
        model, load = dots()
        model.head.weight.data.fill_(torch.inf)
        return model, load

    for _ in range(2):
        with pytest.raises(RuntimeError, match="training loss is not finite in stage 1"):
            fit(broken, SHORT, folder=tmp_path)
    assert reads.count == 3 * 2 * N


def test_a_trained_network_leaves_its_checkpoint_and_no_state(tmp_path, monkeypatch, reads):
    monkeypatch.setenv("CAM_UTILS_CACHE", str(tmp_path))
    schedule = (Stage(2, **ADAMW, data=EASY), Stage(2, **ADAMW, data=EASY))
    monkeypatch.setitem(schedules.SCHEDULES, "short", schedule)
    load = functools.partial(data.load, "digits", n=N)
    settings = {"network": "digits", "head": "linear", "schedule": "short", "progress": False, "workers": 0}
    model, path = runs.trained(load, **settings)
    whole, _ = reads.count, path.unlink()
    assert not list((tmp_path / "training").iterdir())
    reads.count, reads.at = 0, whole - N - 3  # in the last epoch's training
    with pytest.raises(Killed):
        runs.trained(load, **settings)
    (state,) = (tmp_path / "training").iterdir()
    assert state.name == path.stem
    reads.count, reads.at = 0, None
    again = runs.trained(load, **settings)[0].state_dict()
    assert all(torch.equal(again[key], value) for key, value in model.state_dict().items())
    assert reads.count == 2 * N and path.exists() and not state.exists()
    runs.trained(load, **settings)
    assert reads.count == 2 * N


def test_the_progress_bar_says_stage_and_epoch(capfd, tmp_path):
    schedule = (Stage(1, 0.1, keep="last"), Stage(2, 0.1, keep="last"))
    fit(dots, schedule, progress=True)
    shown = "".join(capfd.readouterr())
    for text in ("stage 1 of 2, epoch 1 of 1", "stage 2 of 2, epoch 1 of 2", "stage 2 of 2, epoch 2 of 2"):
        assert text in shown
    fit(dots, schedule, progress=False, folder=tmp_path)
    assert capfd.readouterr() == ("", "")
