"""Cached features: the numbers of a plain forward, read again from disk, within the bound."""

import os

import pytest
import torch

from cam_utils import data
from cam_utils.networks import models
from cam_utils.networks.features import pooled_features


def test_features_are_pooled_activations_and_read_again(tmp_path, monkeypatch):
    scenes = data.load("digits", "val", n=9)
    model = models.build("digits", 10).eval()
    found = pooled_features(model, scenes, batch_size=4, folder=tmp_path, progress=False)
    images = torch.stack([scenes[i].image for i in range(9)])
    with torch.no_grad():
        torch.testing.assert_close(found, model.features(model.preprocess(images)).mean((-2, -1)))
    monkeypatch.setattr(models.Classifier, "preprocess", None)  # a second forward would fail
    assert torch.equal(pooled_features(model, scenes, folder=tmp_path, progress=False), found)


def test_another_network_or_dataset_is_another_file(tmp_path):
    scenes = data.load("digits", "val", n=4)
    for model, dataset in (
        (models.build("digits", 10), scenes),
        (models.build("digits", 10, seed=1), scenes),
        (models.build("digits", 10), data.load("digits", "val", n=5)),
    ):
        pooled_features(model, dataset, folder=tmp_path, progress=False)
    assert len(list(tmp_path.glob("*.pt"))) == 3


def test_the_folder_stays_within_its_budget(tmp_path):
    scenes = data.load("digits", "val", n=4)
    nets = [models.build("digits", 10, seed=seed) for seed in range(4)]
    for age, net in enumerate(nets[:3]):
        pooled_features(net, scenes, folder=tmp_path, progress=False)
        for file in tmp_path.glob("*.pt"):
            if file.stat().st_mtime > 1e9:
                os.utime(file, (age, age))  # the first network's file was used long ago
    size = max(file.stat().st_size for file in tmp_path.glob("*.pt"))
    oldest, newest = (sorted(tmp_path.glob("*.pt"), key=lambda f: f.stat().st_mtime)[i] for i in (0, -1))
    pooled_features(nets[3], scenes, folder=tmp_path, budget=2 * size, progress=False)
    left = list(tmp_path.glob("*.pt"))
    assert len(left) == 2
    assert newest in left
    assert oldest not in left
    pooled_features(models.build("digits", 10, seed=9), scenes, folder=tmp_path, budget=1, progress=False)
    assert len(list(tmp_path.glob("*.pt"))) == 1  # the newest stays, or its caller would compute for nothing


def other_numbers(file):
    saved = torch.load(file, weights_only=True)
    torch.save({**saved, "features": saved["features"] + 1}, file)


def of_fewer_images(file):
    torch.save({"features": torch.load(file, weights_only=True)["features"][1:]}, file)


def without_digest(file):
    torch.save({"features": torch.load(file, weights_only=True)["features"]}, file)


def flipped(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def emptied(file):
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [other_numbers, of_fewer_images, without_digest, flipped, emptied])
def test_features_that_are_not_as_written_are_named_and_made_again(tmp_path, damage):
    scenes, model = data.load("digits", "val", n=4), models.build("digits", 10)
    found = pooled_features(model, scenes, folder=tmp_path, progress=False)
    (file,) = tmp_path.glob("*.pt")
    damage(file)
    with pytest.warns(UserWarning, match=rf"{file.name} .*features are computed again"):
        assert torch.equal(pooled_features(model, scenes, folder=tmp_path, progress=False), found)
    assert torch.equal(torch.load(file, weights_only=True)["features"], found)


def test_processes_that_evict_at_once_do_not_stumble_over_each_other(tmp_path, monkeypatch):
    """A file may be gone between its listing and the look at its size."""
    (tmp_path / "gone.pt").symlink_to(tmp_path / "nowhere")
    found = pooled_features(
        models.build("digits", 10), data.load("digits", "val", n=4), folder=tmp_path, budget=1, progress=False
    )
    assert found.shape == (4, 64) and len(list(tmp_path.glob("digits*.pt"))) == 1
