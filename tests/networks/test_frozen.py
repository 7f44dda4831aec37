"""Heads trained on cached features are those that training through the backbone gives."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from cam_utils import data
from cam_utils.networks import frozen, models, schedules, training

QUIET = {"progress": False, "accelerator": "cpu"}
STAGE = schedules.Stage(4, 0.5, unfrozen=0.0, plateau=1, early_stop=3, batch_size=8)
load = partial(data.load, "digits", n=40)


def through_the_backbone(monkeypatch, model, stage, **options):
    monkeypatch.setattr(frozen, "fits", lambda *_: False)
    log = training.train(model, load, (stage,), **options, **QUIET)
    monkeypatch.undo()
    return log


@pytest.mark.parametrize("augment", frozen.VIEWS)
@pytest.mark.parametrize("head", models.HEADS)
@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_head_is_that_of_training_through_the_backbone(monkeypatch, tmp_path, augment, head, keep):
    monkeypatch.setenv("CAM_UTILS_CACHE", str(tmp_path))
    stage = replace(STAGE, augment=augment, keep=keep)
    nets = [models.build("digits", 10, head=head, seed=3, dropout=0.2) for _ in range(2)]
    before = nets[0].head.weight.clone()
    slow = through_the_backbone(monkeypatch, nets[0], stage, seed=5)
    fast = training.train(nets[1], load, (stage,), seed=5, **QUIET)
    assert torch.allclose(nets[0].head.weight, nets[1].head.weight, atol=1e-4)
    assert not torch.allclose(before, nets[1].head.weight, atol=1e-2), "nothing was learnt"
    assert slow.drop(columns=["val_f1"]).to_numpy() == pytest.approx(
        fast.drop(columns="val_f1").to_numpy(), abs=1e-4
    )
    for one, other in zip(nets[0].features.parameters(), nets[1].features.parameters(), strict=True):
        assert torch.equal(one, other)


def test_mirrored_views_are_taken_where_images_are_mirrored():
    images = torch.rand(64, 3, 4, 4)
    views = torch.stack([images.mean((2, 3)), torch.full((64, 3), 9.0)], 1)
    turned = training.AUGMENTATIONS["flip"](images, torch.Generator().manual_seed(7))
    taken = frozen.drawn(views, torch.Generator().manual_seed(7))
    mirrored = (turned != images).flatten(1).any(1)
    assert 10 < mirrored.sum() < 54
    assert ((taken == 9).all(1) == mirrored).all()


def test_several_heads_share_their_views(tmp_path):
    net = models.build("digits", 10, seed=3)
    parts = frozen.views_of(net, load, replace(STAGE, augment="flip"), folder=tmp_path, progress=False)
    assert parts.train.features.shape == (2, 40, 64) and parts.val.features.shape == (1, 40, 64)
    log = frozen.train_head(net, parts, replace(STAGE, augment="flip"), seed=1, **QUIET)
    assert log["epoch"].tolist() == [1, 2, 3, 4][: len(log)] and not net.training
    assert log["val_loss"].min() < log["val_loss"].iloc[0]


def test_other_stages_are_refused_or_trained_as_before():
    net = models.build("digits", 10)
    with pytest.raises(ValueError, match="augmentation of a stage on cached features 'photo'"):
        frozen.views_of(net, load, replace(STAGE, augment="photo"))
    with pytest.raises(ValueError, match="frozen backbone"):
        frozen.views_of(net, load, replace(STAGE, augment="flip", unfrozen=0.5))
    acol = models.build("digits-acol", 10)
    assert not frozen.fits(acol, replace(STAGE, augment="none"))


def test_the_papers_first_stage_trains_on_features():
    for name in ("paper", "paper-kernel-usage"):
        first, second = schedules.SCHEDULES[name]
        net = models.build("digits", 10)
        assert frozen.fits(net, first) and not frozen.fits(net, second)
