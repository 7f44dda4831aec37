"""Models of every source: libraries, files and modules, with their input, and one sentence on what is none."""

import dataclasses
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from torch import nn
from torch.optim.swa_utils import AveragedModel

import cam_utils
from cam_utils import load_model
from cam_utils.front import model_sources
from cam_utils.front.model_loading import Loaded
from cam_utils.networks import models
from tests.front.test_model_loading import file, pictures  # noqa: F401


def small(channels=3, outputs=2):
    layers = nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(4, outputs))


def test_a_module_is_taken_as_it_is():
    net = small()
    loaded = load_model(net)
    assert loaded.model is net and net.training and loaded.classes is None
    assert (loaded.size, loaded.channels, loaded.mean, loaded.std) == (224, 3, *models.IMAGENET)
    assert dataclasses.replace(loaded, size=32).size == 32 and loaded.size == 224
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.size = 3
    again = load_model(loaded, size=64, classes=["cat", "dog"])
    assert again.model is net and (again.size, again.classes) == (64, ("cat", "dog"))
    state = small().state_dict()
    assert load_model(net, {"model_state_dict": state}).model is net
    assert torch.equal(net[0].weight, state["0.weight"])


@pytest.mark.filterwarnings("ignore")
def test_a_module_is_taken_out_of_what_is_around_it():
    net = small()
    wrapped = [torch.compile(net), nn.DataParallel(net), nn.DataParallel(torch.compile(net))]
    wrapped += [torch.compile(each) for each in wrapped[1:]]
    assert all(load_model(each).model is net for each in wrapped)
    assert isinstance(load_model(AveragedModel(net)).model, nn.Sequential)


def test_the_digits_network_is_the_one_of_the_chapters():
    from functools import partial

    from cam_utils import data, runs

    _, path = runs.trained(
        partial(data.load, "digits", size=96, co_occurrence=0.9), network="digits", head="linear"
    )
    loaded = load_model("digits")
    expected = models.load_checkpoint(path)
    assert all(torch.equal(a, b) for a, b in zip(loaded.model.parameters(), expected.parameters(), strict=True))
    assert loaded.classes == tuple("0123456789") and loaded.size == 96 and not loaded.model.training
    scene = data.load("digits", "val", limit=1)[0].image[None]
    torch.testing.assert_close(loaded.preprocess(scene), expected.preprocess(scene))


def test_where_the_data_are_not_the_digits_network_is_refused(tmp_path, monkeypatch):
    (tmp_path / "checkpoints").mkdir()
    monkeypatch.setattr(cam_utils.files, "DATA", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"none of the 0 checkpoints in .* is of these digits"):
        load_model("digits")
    monkeypatch.setattr(cam_utils.files, "DATA", tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"the project's tables come with its repository"):
        load_model("digits")


@pytest.mark.filterwarnings("ignore:The default weight initialization")
def test_imagenets_weights_of_a_network_that_turns_the_input_itself_turn_it(monkeypatch):
    monkeypatch.setattr(models, "filled", lambda name, weights: torchvision.models.get_model(name, weights=None))
    assert load_model("googlenet", "imagenet").model.transform_input
    assert not load_model("googlenet").model.transform_input
    with pytest.raises(ValueError, match=r"torchvision has no IMAGENET1K_V1 weights of vit_h_14"):
        load_model("vit_h_14", "imagenet")


def test_the_input_of_libraries_networks_fits_them():
    sizes = {"vit_b_16": 224, "inception_v3": 299, "efficientnet_b1": 240, "densenet121": 224, "maxvit_t": 224}
    sizes |= {
        "timm/vit_tiny_patch16_384": 384,
        "timm/mixer_s16_224": 224,
        "timm/swin_tiny_patch4_window7_224": 224,
        "vit_h_14": 224,
    }
    sizes["timm/csatv2"] = timm.get_pretrained_cfg("csatv2").input_size[-1]  # whose first layer reads no pixels
    with torch.device("meta"):  # without the numbers
        for name, size in sizes.items():
            net = load_model(name)
            assert (net.size, net.channels, len(net.mean), len(net.std)) == (size, 3, 3, 3), name


@pytest.mark.parametrize(
    ("net", "channels"),
    [
        (small(13), 13), (small(1), 1), (nn.Linear(3 * 16 * 16, 8), 3), (nn.Linear(28 * 28, 10), 1), (nn.ReLU(), 3),
        (nn.Sequential(nn.Conv2d(512, 10, 1), nn.Conv2d(3, 512, 3)), 3), (nn.Sequential(nn.LazyConv2d(4, 3)), 3),
        (nn.Sequential(nn.Linear(16, 8), nn.Conv2d(4, 8, 3)), 4), (nn.Sequential(nn.Conv2d(2, 8, 3)), 2),
    ],
)  # fmt: skip
def test_the_number_of_channels_is_read_from_the_layers(net, channels):
    loaded = load_model(net)
    assert loaded.channels == len(loaded.mean) == len(loaded.std) == channels
    if channels != 3:
        assert loaded.mean == pytest.approx((0.449,) * channels) and loaded.std == pytest.approx(
            (0.226,) * channels
        )


def test_what_the_reader_knows_of_the_input_goes_first():
    loaded = load_model(small(), size=32, mean=0.5, std=(0.1, 0.2, 0.3), classes=2)
    assert loaded == Loaded(loaded.model, 32, (0.5,) * 3, (0.1, 0.2, 0.3), ("class 0", "class 1"), 3)
    assert load_model(small(), channels=5, mean=np.arange(5.0)).mean == (0.0, 1.0, 2.0, 3.0, 4.0)
    assert load_model(small(), mean=np.float32(0.5)).mean == load_model(small(), mean=torch.tensor(0.5)).mean
    assert load_model(small(), std=torch.tensor([1.0, 2.0, 4.0])).std == (1.0, 2.0, 4.0)
    cases = [
        ({"size": 0}, "expected size as a whole number of pixels, 1 to 16384, got 0"),
        ({"channels": 2.0}, "expected channels as a whole number, 1 or more, got 2.0"),
        ({"mean": (0.5, 0.5)}, r"expected mean as 3 numbers, one per channel, or as one, got \(0.5, 0.5\)"),
        ({"mean": "0.5"}, "expected mean as 3 numbers"),
        ({"mean": [0.5, None, 0.5]}, "expected mean as 3 numbers"),
        ({"mean": float("nan")}, "expected mean as 3 numbers"),
        ({"mean": True}, "expected mean as 3 numbers"),
        ({"std": 0}, "expected std as 3 positive numbers, one per channel, or as one, got 0"),
        ({"std": (0.1, -0.1, 0.1)}, "expected std as 3 positive numbers"),
        ({"outputs": 2}, "outputs=2 is for architectures by name: Sequential has its own"),
        ({"weights": "imagenet"}, "weights='imagenet' is for architectures by name: Sequential has its own"),
        ({"weights": 3}, "expected weights as 'imagenet', a path or a state dict, got int"),
        ({"classes": []}, "expected a list of class names"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            load_model(small(), **options)


def test_pictures_become_what_the_model_takes():
    picture = Image.new("RGB", (20, 10), (255, 0, 0))
    for channels in (3, 1):
        loaded = load_model(small(channels), size=16)
        images = loaded.read([picture, picture])
        assert images.shape == (2, channels, 16, 16) and loaded.read(picture).shape == (1, channels, 16, 16)
        pixels = torch.rand(2, channels, 4, 4)
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (loaded.mean, loaded.std))
        torch.testing.assert_close(loaded.preprocess(pixels), (pixels - mean) / std)
        for wrong in (torch.rand(2, 5, 4, 4), torch.zeros(2, channels, 4, 4, dtype=torch.uint8), torch.rand(4)):
            with pytest.raises(ValueError, match=rf"expected float pixels \(B,{channels},h,w\), got"):
                loaded.preprocess(wrong)


def test_the_number_of_outputs_is_that_of_the_classes(tmp_path):
    three = torchvision.models.resnet18(weights=None, num_classes=3)
    torch.save({"net": three.state_dict()}, tmp_path / "w.pth")
    loaded = load_model("resnet18", tmp_path / "w.pth", classes=["a", "b", "c"])
    assert loaded.classes == ("a", "b", "c") and torch.equal(loaded.model.fc.weight, three.fc.weight)
    assert (
        load_model("resnet18").classes == load_model("resnet18", outputs=1000).classes == models.imagenet_classes()
    )
    cases = [
        (("resnet18",), {"classes": ["a", "b"], "outputs": 3}, "2 classes are named, but outputs is 3"),
        (("resnet18", "imagenet"), {"classes": ["a"]}, "the ImageNet weights of resnet18 have 1000 outputs, got 1"),
        (("resnet18", "imagenet"), {"outputs": 3}, "the ImageNet weights of resnet18 have 1000 outputs, got 3"),
        (("digits",), {"classes": ["a", "b"]}, "the digits network has 10 classes, but 2 are named"),
        (("digits", "w.pth"), {}, "the digits network has its weights in it"),
        (("resnet18",), {"channels": 1}, "resnet18 takes 3 channels, got channels=1: build it in FILE.py:NAME"),
    ]
    for arguments, options, message in cases:
        with pytest.raises(ValueError, match=message):
            load_model(*arguments, **options)


def test_what_is_no_model_is_refused_in_one_sentence(tmp_path, file):  # noqa: F811
    torch.save(small().state_dict(), tmp_path / "w.pth")
    torch.save({"name": "digit", "head": "linear", "classes": ["a"], "state": {}}, tmp_path / "odd.pt")
    torch.save({"name": "digits", "head": "linear", "classes": ["a"], "state": {}}, tmp_path / "lost.pt")
    (tmp_path / "empty.pt").touch()
    cases = [
        ("resnet_18", "unknown architecture 'resnet_18'; did you mean 'resnet"),
        ("", "unknown architecture ''"),
        ("fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn is for detection: expected a classifier of pictures"),
        ("fcn_resnet50", "fcn_resnet50 is for segmentation"),
        ("r3d_18", "r3d_18 is for video"),
        ("raft_small", "raft_small is for optical flow"),
        ("quantized_resnet18", "quantized_resnet18 is for quantization"),
        ("timm/resnet_18", "unknown architecture of timm 'resnet_18'"),
        ("timm/resnet18.a9_in1k", "unknown weights of timm 'resnet18.a9_in1k'; did you mean 'resnet18.a"),
        (
            tmp_path / "w.pth",
            r"w.pth is no checkpoint of this book: if it holds weights, .*load_model\('resnet18', 'w",
        ),
        (tmp_path / "odd.pt", "odd.pt is of no network of this book: unknown network 'digit'"),
        (tmp_path / "lost.pt", "the state dict holds no state dict|does not fit the network digits"),
        (tmp_path / "empty.pt", r"empty.pt is empty \(0 bytes\)"),
        (file, "expected FILE.py:NAME, with the name of your model or function in it, got 'model.py'"),
        (torchvision.models.resnet18, "an nn.Module, got resnet18: call it, and pass what it returns"),
        (nn.Identity, "an nn.Module, got Identity: call it"),
        (None, "expected a model's name, a file or an nn.Module, got NoneType"),
        (3, "expected a model's name, a file or an nn.Module, got int"),
        (small().state_dict(), "expected a model's name, a file or an nn.Module, got OrderedDict"),
    ]
    for model, message in cases:
        with pytest.raises(ValueError, match=message) as failure:
            load_model(model)
        assert "\n" not in str(failure.value) and len(str(failure.value)) < 500
    with pytest.raises(FileNotFoundError, match=r"no weights file at none/net.pth"):
        load_model("none/net.pth")
    with pytest.raises(IsADirectoryError, match=r"expected a file of weights, got the folder"):
        load_model(tmp_path)


def test_a_network_of_timm_brings_its_own_input(monkeypatch):
    """A stand-in with timm's interface, so that the path is tried where timm is not installed."""

    def create_model(name, pretrained, num_classes=1000):
        net = small(outputs=num_classes)
        net.num_classes = num_classes
        net.pretrained_cfg = {"input_size": (3, 288, 288), "mean": (0.5, 0.4, 0.3), "std": (0.1, 0.2, 0.3)}
        if pretrained:
            raise RuntimeError("no route to host\nand more")
        return net

    fake = SimpleNamespace(
        create_model=create_model,
        list_models=lambda *_, **__: ["convnext_atto", "vit_tiny"],
        get_pretrained_cfg=lambda name: SimpleNamespace(has_weights=name != "convnext_atto"),
        models=SimpleNamespace(set_pretrained_check_hash=lambda on: checked.append(on)),
    )
    checked = []
    monkeypatch.setitem(sys.modules, "timm", fake)
    loaded = load_model("timm/convnext_atto")
    assert (loaded.size, loaded.mean, loaded.std) == (288, (0.5, 0.4, 0.3), (0.1, 0.2, 0.3))
    assert len(loaded.classes) == 1000 and load_model("timm/vit_tiny", outputs=7).classes is None
    with pytest.raises(
        ValueError, match=r"unknown architecture of timm 'convnext_ato'; did you mean 'convnext_atto'"
    ):
        load_model("timm/convnext_ato")
    with pytest.raises(ValueError, match=r"timm has no pretrained weights of convnext_atto"):
        load_model("timm/convnext_atto", "imagenet")
    with pytest.raises(ConnectionError, match=r"timm/vit_tiny could not be downloaded \(no route to host\)"):
        load_model("timm/vit_tiny", "imagenet")
    assert set(checked) == {True}
    with pytest.raises(ValueError, match=r"timm/vit_tiny cannot be built with {'in_chans': 2}"):
        load_model("timm/vit_tiny", channels=2)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"timm/vit_tiny needs the package timm, which is not installed"):
        load_model("timm/vit_tiny")


def test_networks_of_the_real_timm_are_read():
    loaded = load_model("timm/convnext_atto.d2_in1k", channels=1, outputs=5, size=64)
    assert loaded.channels == 1 and loaded.mean == pytest.approx((0.449,)) and loaded.classes is None
    assert loaded.model(torch.zeros(1, 1, 64, 64)).shape == (1, 5) and not loaded.model.training
    assert load_model("timm/convnext_atto").size == timm.get_pretrained_cfg("convnext_atto").input_size[-1]
    assert load_model(timm.create_model("vit_tiny_patch16_224", num_classes=2)).mean == (0.5, 0.5, 0.5)
    assert model_sources.library_of("timm/none") is model_sources.from_timm


def test_imagenets_weights_without_a_network_are_refused_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", offline)
    with pytest.raises(
        ConnectionError, match=r"the ImageNet weights of resnet18 could not be downloaded .*no route"
    ) as told:
        load_model("resnet18", "imagenet")
    assert "\n" not in str(told.value)


def offline(*_arguments, **_options):
    from urllib.error import URLError

    raise URLError("no route")
