"""Checkpoints in every usual wrapping, and one sentence for every file that is none."""

import argparse
import collections
import hashlib
import os
import pathlib
import re
import signal
import sys

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from cam_utils.networks import checkpoints, models, weight_files


def network(seed=0, counters=True):
    torch.manual_seed(seed)
    norm = nn.BatchNorm2d(4, track_running_stats=counters)
    return nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.Sequential(nn.ReLU(), nn.Linear(4, 2)))


STATE = network(1).state_dict()
OTHER = network(2).state_dict()


def under(prefix, state=STATE):
    return {prefix + key: value for key, value in state.items()}


class Settings(dict):
    """Hyper-parameters of a class that whoever opens the file need not have."""


WRAPPINGS = {
    "bare": STATE,
    **{key: {key: STATE, "epoch": 3, "acc": 0.9} for key in checkpoints._USUAL},
    **{f"{key}, of unusual name": {key: STATE} for key in ("classifier", "best", "student.net", "0")},
    **{prefix: under(prefix) for prefix in ("module.", "_orig_mod.", "model.", "net.", "backbone.", "encoder.")},
    "stacked prefixes": {"state_dict": under("module._orig_mod.model.backbone.")},
    "compiled, parallel, compiled": under("_orig_mod.module._orig_mod."),
    "two levels": {"checkpoint": {"model_state_dict": STATE, "step": 1}, "args": {"lr": 0.1}},
    "four levels": {"a": {"b": {"c": {"d": under("model.")}}}},
    "a list": [3, {"net": STATE}],
    "a tuple": (STATE, {"lr": 0.1}),
    "parts by module": {"state_dict": {"0": dict(network(1)[0].state_dict()), "1": dict(network(1)[1].state_dict()),
                                       "2": dict(network(1)[2].state_dict())}},
    "Lightning's": {
        "state_dict": {**under("model."), "loss.weight": torch.ones(2), "metric.total": torch.tensor(0)},
        "hyper_parameters": {"lr": 0.1, "folder": pathlib.PurePosixPath("/data")},
        "hparams_name": "kwargs", "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(4)}}}],
        "pytorch-lightning_version": "2.0", "callbacks": {}, "loops": {},
    },
    "an optimiser beside": {"model": STATE, "optimizer": {"state": {0: {"weight": torch.ones(9), "step": 1}}}},
    "an optimiser beside bare tensors": {**STATE, "optimizer": {"state": {0: {"exp_avg": torch.ones(9)}}}},
    "options of a script": {"model": STATE, "args": argparse.Namespace(lr=0.1, out=pathlib.PurePath("/a"))},
    "own dictionaries": {"config": Settings(lr=0.1), "net": Settings(STATE)},
    "a logger": {"net": STATE, "log": collections.defaultdict(list, loss=[1.0])},
    "an averaged model": {"n_averaged": torch.tensor(3), **under("module.")},
    "state_dict_ema": {"state_dict": OTHER, "state_dict_ema": STATE},
    "model_ema": {"model": OTHER, "model_ema": under("module.")},
    "ema": {"net": OTHER, "ema": {"shadow": STATE}},
    "params_ema": {"params": OTHER, "params_ema": STATE},
    "ema_model.": {"state_dict": {**under("model.", OTHER), **under("ema_model.")}},
    "the usual name before others": {"previous": OTHER, "state_dict": STATE},
    "twice the same": {"best": STATE, "last": STATE},
    "arrays": {"state_dict": {key: value.numpy() for key, value in STATE.items()}},
    "arrays of doubles, big endian": {k: v.double().numpy().astype(">f8") for k, v in STATE.items()},
    "parameters": {k: nn.Parameter(v) if v.is_floating_point() else v for k, v in STATE.items()},
    "no counters": {k: v for k, v in STATE.items() if "num_batches" not in k},
    "counters of operations": {**STATE, "total_ops": torch.tensor(1.0), "2.total_params": torch.tensor(1.0)},
    "sparse": {k: v.to_sparse() if v.dim() == 2 else v for k, v in STATE.items()},
    "keys that are numbers": {"net": STATE, "log": {1: 0.5, (1, 2): 3}},
}  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", WRAPPINGS)
def test_usual_wrappings_are_filled_in(tmp_path, name, zipped):
    torch.save(WRAPPINGS[name], tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    net = network()
    checkpoints.fill(net, tmp_path / "w.pth", "net")
    for key, value in net.state_dict().items():
        assert torch.equal(value, STATE[key]) or "num_batches" in key, key


def test_a_state_in_half_precision_is_converted(tmp_path):
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        torch.save({key: value.to(kind) for key, value in STATE.items()}, tmp_path / "w.pth")
        net = network()
        checkpoints.fill(net, tmp_path / "w.pth", "net")
        assert net[0].weight.dtype == torch.float32
        torch.testing.assert_close(net[0].weight, STATE["0.weight"].to(kind).float(), rtol=0, atol=0)
    counted = {**STATE, "1.num_batches_tracked": torch.tensor(float("inf"), dtype=torch.float16)}
    checkpoints.fill(net, counted, "net")
    assert net[1].num_batches_tracked == 0


def test_safetensors_are_filled_in_by_what_the_file_is_and_not_by_its_name(tmp_path, monkeypatch):
    for name in ("w.safetensors", "w.pth"):
        save_file(under("model."), tmp_path / name)
        net = network()
        checkpoints.fill(net, tmp_path / name, "net")
        assert torch.equal(net[0].weight, STATE["0.weight"])
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ImportError, match=r"w.pth needs the package safetensors, which is not installed"):
        weight_files.read(tmp_path / "w.pth")


def test_lazy_layers_are_filled_in():
    net = nn.Sequential(nn.LazyConv2d(4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.ReLU(), nn.LazyLinear(2)))
    checkpoints.fill(net, under("module."), "net")
    assert torch.equal(net[0].weight, STATE["0.weight"]) and torch.equal(net[2][1].weight, STATE["2.1.weight"])


def test_the_old_spelling_of_densenets_is_read():
    net = torchvision.models.densenet121(weights=None)
    old = {re.sub(r"(denselayer\d+\.\w+)([12])\.", r"\1.\2.", k): v for k, v in net.state_dict().items()}
    assert old.keys() != net.state_dict().keys()
    other = torchvision.models.densenet121(weights=None)
    checkpoints.fill(other, old, "densenet121")
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


def test_a_misfit_is_told_with_the_keys_that_were_found():
    wrong = {**STATE, "0.weight": torch.ones(4, 1, 3, 3)}
    cases = [
        ({"net": under("x.", wrong)}, r"it under 'net.x' has 0.weight of shape \(4, 1, 3, 3\), expected \(4, 3,"),
        ({"a.weight": torch.ones(1)}, r"it lacks 8 of the parameters \(0.weight, ...\); its keys are a.weight \("),
        ({**STATE, "3.bias": torch.ones(2)}, r"it has 1 others besides \(3.bias, ...\); its keys are 0.weight"),
        ({k: v for k, v in STATE.items() if k != "0.bias"}, r"it lacks 1 of the parameters \(0.bias, ...\)"),
        ({k: v.int() for k, v in STATE.items()}, "it has 0.weight as torch.int32, expected torch.float32"),
        ({k: v.to("meta") for k, v in STATE.items()}, "it has 0.weight as torch.float32 without numbers"),
        ({**STATE, "0.bias": STATE["0.bias"] + 0j}, "it has 0.bias as torch.complex64, expected torch.float32"),
        ({"best": STATE, "last": OTHER}, r"the state dict fits net in several places \('best', 'last'\): pass"),
        ({"student": under("module."), "teacher": OTHER}, r"several places \('student.module', 'teacher'\)"),
        ({"epoch": 3, "acc": 0.5}, "holds no state dict: expected tensors by name, got a dict of epoch, acc"),
        ({}, "holds no state dict: expected tensors by name, got a dict of nothing"),
    ]  # fmt: skip
    for saved, message in cases:
        with pytest.raises(ValueError, match=message) as failure:
            checkpoints.fill(network(), saved, "net")
        assert "\n" not in str(failure.value) and len(str(failure.value)) < 300
    integers = nn.Module()
    integers.register_buffer("index", torch.arange(3))
    checkpoints.fill(integers, {"net": {"index": torch.tensor([2.0, 1.0, 0.0])}}, "net")
    assert integers.index.tolist() == [2, 1, 0]
    with pytest.raises(ValueError, match=r"has index as torch.float32, expected torch.int64"):
        checkpoints.fill(integers, {"index": torch.tensor([2.5, 1.0, 0.0])}, "net")
    with pytest.raises(ValueError, match=r"the ReLU has no parameters that the state dict could fill"):
        checkpoints.fill(nn.ReLU(), STATE, "the ReLU")
    assert torch.equal(integers.index, torch.tensor([2, 1, 0]))


def test_the_tensors_of_a_file_are_found_without_the_network(tmp_path):
    for saved in (
        STATE,
        {"state_dict": OTHER, "model_ema": STATE},
        {"epoch": 1, "net": STATE, "x": {"y": STATE["0.bias"]}},
    ):
        torch.save(saved, tmp_path / "w.pth")
        found = checkpoints.read_state(tmp_path / "w.pth")
        assert list(found) == list(STATE) and torch.equal(found["0.weight"], STATE["0.weight"])


class Runs:
    """Executes a command when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Published:
    """Weights as torchvision lists them, fetched by a function."""

    def __init__(self, url, fetch):
        self.url, self.get_state_dict = url, fetch


def test_published_weights_are_checked_by_their_hash_and_never_executed(tmp_path, monkeypatch):
    """A file planted in the hub's cache is not executed, even if its name pretends its hash."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    name = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[-1]
    mark = tmp_path / "executed"
    torch.save(Runs(os.system, f"touch {mark}"), tmp_path / "checkpoints" / name)
    with pytest.raises(ValueError, match=rf"{name} is not the file that torchvision publishes .* delete it"):
        checkpoints.filled("squeezenet1_1", "imagenet")
    digest = hashlib.sha256((tmp_path / "checkpoints" / name).read_bytes()).hexdigest()[:8]
    pretended = f"squeezenet1_1-{digest}.pth"
    (tmp_path / "checkpoints" / name).rename(tmp_path / "checkpoints" / pretended)

    def fetch(**options):
        return torch.hub.load_state_dict_from_url(f"scheme://host/{pretended}", **options)

    weights = Published(f"scheme://host/{pretended}", fetch)
    monkeypatch.setattr(torchvision.models, "get_model_weights", lambda _: {"IMAGENET1K_V1": weights})
    with pytest.raises(ValueError, match=r"the ImageNet weights of squeezenet1_1 that came are not torchvision's"):
        checkpoints.filled("squeezenet1_1", "imagenet")
    assert not mark.exists()
    net = torchvision.models.squeezenet1_1(weights=None)
    torch.save(net.state_dict(), tmp_path / "checkpoints" / pretended)
    digest = hashlib.sha256((tmp_path / "checkpoints" / pretended).read_bytes()).hexdigest()[:8]
    right = f"squeezenet1_1-{digest}.pth"
    (tmp_path / "checkpoints" / pretended).rename(tmp_path / "checkpoints" / right)

    def fetch_right(**options):
        return torch.hub.load_state_dict_from_url(f"scheme://host/{right}", **options)

    weights = Published(f"scheme://host/{right}", fetch_right)
    monkeypatch.setattr(torchvision.models, "get_model_weights", lambda _: {"IMAGENET1K_V1": weights})
    found = checkpoints.filled("squeezenet1_1", "imagenet")
    assert torch.equal(found.features[0].weight, net.features[0].weight)


def test_numbers_that_were_changed_after_they_were_written_are_refused(tmp_path):
    """The file is whole, and its checksums fit: only the digest of its numbers tells."""
    path, classes = tmp_path / "net.pt", list("0123456789")
    net = models.build("digits", 10)
    models.save_checkpoint(path, net, name="digits", head="linear", classes=classes, key={"seed": 0})
    found = models.load_checkpoint(path, classes, key={"seed": 0})
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), net.parameters(), strict=True))
    with pytest.raises(ValueError, match=r"net\.pt is the network of other settings than its name says"):
        models.load_checkpoint(path, classes, key={"seed": 1})
    saved = torch.load(path, weights_only=True)
    for change in ({"head": "kernel-usage"}, {"state": {k: v + 1 for k, v in saved["state"].items()}}):
        torch.save({**saved, **change}, path)
        with pytest.raises(ValueError, match=r"net\.pt was changed or damaged since it was written"):
            models.load_checkpoint(path, classes)


def test_a_full_disk_is_said_with_the_checkpoints_name(tmp_path, monkeypatch):
    """torch's own writer hides it behind an assertion on positions."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match=r"net\.pt cannot be written, there are \d+ MiB left"):
            weight_files.save(tmp_path / "net.pt", {"a": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.iterdir())
