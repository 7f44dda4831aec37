"""Published weights: what lies in a library's cache is checked before it is read, and never executed."""

import hashlib
import os
import sys

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from cam_utils.front.model_loading import load_model
from cam_utils.networks import checkpoints, published

NAME = "test_resnet.r160_in1k"  # timm's smallest residual network


class Runs:
    """Runs a command where it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache of Hugging Face with a file of timm's weights, without a network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    config = timm.get_pretrained_cfg(NAME)
    folder = tmp_path / f"models--{config.hf_hub_id.replace('/', '--')}"
    shown = folder / "snapshots" / ("a" * 40)
    for each in (folder / "blobs", folder / "refs", shown):
        each.mkdir(parents=True)
    (folder / "refs" / "main").write_text("a" * 40)
    torch.manual_seed(0)
    net = timm.create_model(NAME)
    save_file(net.state_dict(), folder / "w")
    blob = folder / "blobs" / hashlib.sha256((folder / "w").read_bytes()).hexdigest()
    (folder / "w").rename(blob)
    (shown / "model.safetensors").symlink_to(blob)
    return shown / "model.safetensors", blob, net


def test_weights_of_timm_are_read_from_the_cache_that_holds_what_was_published(hub):
    _, _, net = hub
    loaded = load_model(f"timm/{NAME}", "imagenet")
    for key, value in net.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[key], value)


def _changed(shown, blob, mark):
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)


def _planted(shown, blob, mark):
    content = blob.read_bytes()
    shown.unlink()
    shown.write_bytes(content)


def _planted_pickle(shown, blob, mark):
    shown.unlink()
    torch.save(Runs(f"touch {mark}"), shown.with_name("pytorch_model.bin"))


def _elsewhere(shown, blob, mark):
    shown.unlink()
    torch.save(Runs(f"touch {mark}"), mark.with_name("w"))
    shown.with_name("pytorch_model.bin").symlink_to(mark.with_name("w"))


@pytest.mark.parametrize("plant", [_changed, _planted, _planted_pickle, _elsewhere])
def test_another_file_in_the_cache_of_timm_is_refused_by_name(hub, tmp_path, plant):
    shown, blob, _ = hub
    plant(shown, blob, tmp_path / "ran")
    with pytest.raises(
        ValueError, match=r"(model.safetensors|model.bin) is not what was published .*: delete"
    ) as told:
        load_model(f"timm/{NAME}", "imagenet")
    assert "\n" not in str(told.value) and not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["another", "folder", "pipe", "link to nothing"])
def test_whatever_stands_in_torch_hubs_cache_is_checked(tmp_path, monkeypatch, kind):
    """A folder was taken for a network that fails, and a pipe waited for ever."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    file = tmp_path / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    file.parent.mkdir()
    if kind == "another":
        torch.save(Runs(f"touch {tmp_path / 'ran'}"), file)
    elif kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to(tmp_path / "nothing")
    told = rf"{file.name} is not the file that torchvision publishes \(.*: delete it, and it is downloaded"
    with pytest.raises(ValueError, match=told):
        checkpoints.filled("squeezenet1_1", "imagenet")
    with pytest.raises(ValueError, match=r"publishes"):
        load_model("squeezenet1_1", "imagenet")
    assert not (tmp_path / "ran").exists()


def test_timms_downloads_to_torch_hub_are_checked_too(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setitem(sys.modules, "huggingface_hub.constants", None)
    config = timm.get_pretrained_cfg("gcvit_xxtiny")
    file = tmp_path / "checkpoints" / config.url.rsplit("/", 1)[-1]
    file.parent.mkdir()
    torch.save(nn.Linear(1, 1).state_dict(), file)
    with pytest.raises(ValueError, match=rf"{file.name} is not the file that timm publishes"):
        load_model("timm/gcvit_xxtiny", "imagenet")
    published.check_timm(timm.get_pretrained_cfg(NAME))  # without either cache there is nothing to check
