"""Trainings of seconds that can be killed at any image that they read, and what they end with."""

import functools

import pandas as pd
import torch
from torch import nn

from cam_utils import data
from cam_utils.data.pixels import PixelsAndLabels
from cam_utils.networks import models, training
from cam_utils.networks.schedules import Stage
from tests.networks.test_training import Dots

N = 24  # images of each split; every epoch reads all 48
EASY = {"objects": (1.0,), "size": 48}
ADAMW = {"lr": 0.01, "optimizer": "adamw", "batch_size": 8}
# Rates are too high where patience is to run out.
SCHEDULES = {
    "the paper's: plateau, back to the best weights, early stop": (
        Stage(5, 0.5, unfrozen=0.0, plateau=1, early_stop=3, batch_size=8, data=EASY),
        Stage(8, 1.0, unfrozen=0.6, plateau=2, early_stop=3, batch_size=8, data=EASY),
    ),
    "the digits': one cycle, last weights, another size": (
        Stage(3, **ADAMW, one_cycle=True, keep="last", augment="digits", data=EASY),
        Stage(2, **ADAMW, one_cycle=True, keep="last", augment="digits", data={"size": 64}),
    ),
    "one cycle, best weights": (
        Stage(3, **ADAMW, one_cycle=True, data=EASY),
        Stage(2, **ADAMW, one_cycle=True, data=EASY),
    ),
    "plateau without going back": (
        Stage(5, 0.03, optimizer="adam", plateau=1, restore=False, keep="last", loss="softmax", data=EASY),
    ),
    "early stop alone": (Stage(9, 3.0, early_stop=1, data=EASY), Stage(2, 0.1, keep="last", data=EASY)),
}  # fmt: skip


@functools.cache
def scenes(split, size=48, **options):
    return data.load("digits", split, size=size, n=N, **options)


def digits(**_):
    return models.build("digits", 10, seed=1), scenes


def dots(**_):
    """A network whose stages differ in which modules drop out and keep statistics."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        norm, drop = nn.BatchNorm2d(8), nn.Dropout(0.4)
        features = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), norm, nn.ReLU(), drop, nn.Conv2d(8, 8, 3, 1, 1))
        return models.Classifier(features, models.LinearHead(8, 2), normalisation=models.HALF), few


def few(split, **_):
    return Dots(split, n=N)


def fit(start, schedule, **options):
    """Train from the start and return the weights and the log."""
    model, load = start()
    settings = {"seed": 3, "progress": False, "accelerator": "cpu"} | options
    log = training.train(model, load, schedule, **settings)
    return model.state_dict(), log


class Killed(BaseException):
    """No error that anything but a test catches."""


class Reads:
    """Counts the images that are read, and kills by `kill()` instead of reading number `at`."""

    def __init__(self, monkeypatch, kill):
        self.count, self.at, self.kill, self.read = 0, None, kill, PixelsAndLabels.__getitem__
        monkeypatch.setattr(PixelsAndLabels, "__getitem__", lambda pairs, index: self(pairs, index))

    def __call__(self, pairs, index):
        if self.count == self.at:
            self.kill()
        self.count += 1
        return self.read(pairs, index)


def kill():
    raise Killed


def assert_same(first, second):
    (weights, log), (others, other) = first, second
    pd.testing.assert_frame_equal(log, other, check_exact=True)
    assert weights.keys() == others.keys()
    for key, value in weights.items():
        assert torch.equal(value, others[key]), key


def went_on(reads, folder, after, *arguments, **options):
    """Return how a training ends that is killed again and again after so many images, and how often it was."""
    for kills in range(40):
        reads.count, reads.at = 0, after
        try:
            return fit(*arguments, folder=folder, **options), kills
        except Killed:
            assert len(list(folder.iterdir())) <= 1
    raise AssertionError("the training does not get on")
