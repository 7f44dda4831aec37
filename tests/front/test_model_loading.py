"""A reader's own classifier: loaded by name or from a file, or refused in a sentence; its layer and its methods."""

import sys
from types import SimpleNamespace

import pytest
import timm
import torch
import torchvision
from torch import nn

from cam_utils import maps
from cam_utils.front import model_loading
from cam_utils.front.explain import explain
from cam_utils.methods import cams
from cam_utils.methods.registry import COSTLY, METHODS, NEEDS_LINEAR_HEAD
from cam_utils.networks import models
from cam_utils.networks.capture import capture, head_gradients, last_spatial_layer

MODEL = """
from torch import nn
width = 4
def build():
    layers = nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 2)
    return nn.Sequential(*layers)
def sized(width):
    return build()
def number():
    return 3
ready = build()
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "model.py").write_text(MODEL)
    return tmp_path / "model.py"


def pictures(count=1, size=64, seed=0):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_an_architecture_with_a_state_dict_is_torchvisions_own_network(tmp_path):
    reference = torchvision.models.resnet18(weights=None, num_classes=3).eval()
    torch.save(reference.state_dict(), tmp_path / "w.pth")
    loaded = model_loading.load_model("resnet18", tmp_path / "w.pth", outputs=3)
    assert loaded.classes is None and loaded.size == 224 and loaded.mean == (0.485, 0.456, 0.406)
    torch.testing.assert_close(loaded.model(pictures()), reference(pictures()))
    assert model_loading.load_model("efficientnet_b1").size == 240
    assert model_loading.load_model("squeezenet1_0").classes[:2] == ("tench", "goldfish")


@pytest.mark.parametrize("wrap", [lambda s: {"state_dict": s}, lambda s: {f"module.{k}": v for k, v in s.items()}])
def test_state_dicts_in_their_usual_wrappings_are_read(file, tmp_path, wrap):
    reference = model_loading.load_model(f"{file}:build").model
    torch.save(wrap(reference.state_dict()), tmp_path / "w.pth")
    loaded = model_loading.load_model(f"{file}:build", tmp_path / "w.pth")
    torch.testing.assert_close(loaded.model(pictures()), reference(pictures()))


def test_a_file_gives_a_module_or_a_function_that_makes_one(file):
    for name in ("build", "ready"):
        loaded = model_loading.load_model(f"{file}:{name}")
        assert not loaded.model.training and loaded.model(pictures()).shape == (1, 2)
        assert (loaded.size, loaded.mean, loaded.std) == (224, *models.IMAGENET)


def test_a_checkpoint_of_the_book_brings_its_classes_and_its_input(tmp_path):
    net = models.build("digits", 2)
    models.save_checkpoint(tmp_path / "a.pt", net, name="digits", head="linear", classes=["cat", "dog"])
    loaded = model_loading.load_model(tmp_path / "a.pt")
    assert loaded.classes == ("cat", "dog") and loaded.size == 96
    pixels = torch.rand(1, 3, 96, 96)
    torch.testing.assert_close(loaded.preprocess(pixels), net.preprocess(pixels))


@pytest.mark.filterwarnings("ignore:The default weight initialization")
def test_imagenets_weights_of_a_network_that_turns_the_input_itself_turn_it(monkeypatch):
    monkeypatch.setattr(models, "filled", lambda name, weights: torchvision.models.get_model(name, weights=None))
    assert model_loading.load_model("googlenet", "imagenet").model.transform_input
    assert not model_loading.load_model("googlenet").model.transform_input
    with pytest.raises(ValueError, match="torchvision has no IMAGENET1K_V1 weights of vit_h_14"):
        model_loading.load_model("vit_h_14", "imagenet")


def test_a_network_of_timm_brings_its_own_input(monkeypatch):
    """A stand-in with timm's interface, so that the path is tried where timm is not installed."""

    def create_model(name, pretrained, num_classes=1000):
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))
        net.num_classes = num_classes
        net.pretrained_cfg = {"input_size": (3, 288, 288), "mean": (0.5, 0.4, 0.3), "std": (0.1, 0.2, 0.3)}
        if pretrained:
            raise RuntimeError("no route to host\nand more")
        return net

    fake = SimpleNamespace(create_model=create_model, list_models=lambda: ["convnext_atto", "vit_tiny"])
    monkeypatch.setitem(sys.modules, "timm", fake)
    loaded = model_loading.load_model("timm/convnext_atto")
    assert (loaded.size, loaded.mean, loaded.std) == (288, (0.5, 0.4, 0.3), (0.1, 0.2, 0.3))
    assert len(loaded.classes) == 1000 and model_loading.load_model("timm/vit_tiny", outputs=7).classes is None
    with pytest.raises(
        ValueError, match="unknown architecture of timm 'convnext_ato'; did you mean 'convnext_atto'"
    ):
        model_loading.load_model("timm/convnext_ato")
    with pytest.raises(ConnectionError, match=r"timm/vit_tiny could not be downloaded \(no route to host\)"):
        model_loading.load_model("timm/vit_tiny", "imagenet")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match="timm/vit_tiny needs the package timm, which is not installed"):
        model_loading.load_model("timm/vit_tiny")


def test_networks_of_the_real_timm_are_read_and_its_transformers_refused():
    loaded = model_loading.load_model("timm/convnext_atto")
    name, layer = model_loading.find_layer(loaded.model, pictures(size=64))
    expected = timm.create_model("convnext_atto").forward_features(pictures(size=64)).shape
    assert capture(loaded.model, pictures(size=64), layer).activations.shape == expected, name
    assert model_loading.allowed(loaded.model, pictures(size=64), layer, ["grad-cam"])[0] == ["grad-cam"]
    with pytest.raises(ValueError, match="works on tokens"):
        model_loading.find_layer(model_loading.load_model("timm/vit_tiny_patch16_224").model, pictures(size=224))


def test_bad_models_and_weights_are_named(file, tmp_path):
    torch.save(torchvision.models.resnet18(weights=None, num_classes=3).state_dict(), tmp_path / "three.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("no weights")
    net = models.build("digits", 2)
    models.save_checkpoint(tmp_path / "a.pt", net, name="digits", head="linear", classes=["cat", "dog"])
    cases = [
        (("resnet-18",), ValueError, "unknown architecture 'resnet-18'; did you mean 'resnet18' .*in all"),
        (("resnet18", tmp_path / "none.pth"), FileNotFoundError, "no weights file at .*none.pth"),
        (("resnet18", tmp_path / "text.pth"), ValueError, "text.pth is damaged or no PyTorch file"),
        (("resnet18", tmp_path / "list.pth"), ValueError, "list.pth holds no state dict: .* got list"),
        (
            ("resnet18", tmp_path / "three.pth"),
            ValueError,
            r"three.pth does not fit resnet18: it has fc.weight of shape \(3, 512\), expected \(1000, 512\); if it "
            "knows other classes, name them in `classes`",
        ),
        (
            ("resnet34", tmp_path / "three.pth"),
            ValueError,
            r"three.pth does not fit resnet34: it lacks \d+ of the parameters \(layer1.2.conv1.weight, ...\), and",
        ),
        ((tmp_path / "a.pt", tmp_path / "three.pth"), ValueError, "a.pt has its weights in it"),
        ((tmp_path / "b.pt",), FileNotFoundError, "no weights file at .*b.pt"),
        ((f"{tmp_path}/other.py:build",), FileNotFoundError, "no file .*other.py to read the model build from"),
        ((f"{file}:biuld",), ValueError, "unknown name in model.py 'biuld'; did you mean 'build'"),
        ((f"{file}:sized",), ValueError, r"sized\(\) of model.py failed without arguments"),
        ((f"{file}:number",), ValueError, "expected number of model.py to give an nn.Module, got int"),
        ((f"{file}:build", "imagenet"), ValueError, "weights='imagenet' is for architectures by name"),
    ]
    for arguments, kind, message in cases:
        with pytest.raises(kind, match=message) as failure:
            model_loading.load_model(*arguments)
        assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "layer4"),
        ("vgg11", "features"),  # not its adaptive pooling, which has a fixed size
        ("squeezenet1_0", "features"),  # not its class maps
        ("swin_t", "permute"),  # its features have channels last
        ("shufflenet_v2_x0_5", "conv5"),
    ],
)
def test_the_layer_is_found_by_name(name, layer):
    net = model_loading.load_model(name).model
    found, module = model_loading.find_layer(net, pictures(size=64))
    assert found == layer and module is dict(net.named_modules())[layer]


def test_a_swin_transformer_is_pooling_and_one_layer_behind_its_permutation():
    net = model_loading.load_model("swin_t").model
    _, layer = model_loading.find_layer(net, pictures(size=64))
    methods, reasons = model_loading.allowed(net, pictures(size=64), layer)
    assert set(NEEDS_LINEAR_HEAD) < set(methods) and set(reasons) == set(COSTLY)
    found = explain(net, pictures(size=64), [[3, 5]], method="cam", layer=layer)
    captured = capture(net, pictures(size=64), layer, grads=True)
    grads = head_gradients(captured, found.pairs)  # an ordinary backward, without the closed form
    raw = cams.grad_cam(captured.activations.detach(), grads, found.pairs)
    torch.testing.assert_close(found.maps, maps.masks(raw, (64, 64)), rtol=0, atol=1e-4)


class Heads(nn.Module):
    """Tokens [B, N, K] behind a convolution, with attention's heads [B, heads, N, d] on the way."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 16, 16)
        self.keys = nn.ModuleList(nn.LayerNorm(2) for _ in range(blocks))
        self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(blocks))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        for key, block in zip(self.keys, self.blocks, strict=True):
            x = block(key(x.unflatten(2, (4, 2)).transpose(1, 2)).transpose(1, 2).flatten(2))
        return self.head(x.mean(1))


def test_a_model_on_tokens_is_refused_unless_a_layer_is_named():
    net = Heads(blocks=3)
    with pytest.raises(ValueError, match=r"Heads has no map .* behind the last one, of Conv2d, it works on tokens"):
        model_loading.find_layer(net, pictures())
    with pytest.raises(ValueError, match="works on tokens"):
        explain(net, pictures(), [[1]])
    assert model_loading.find_layer(net, pictures(), "patches") == ("patches", net.patches)
    with pytest.raises(
        ValueError, match=r"expected a layer with a map \(B,K,H,W\), got \(1, 4, 16, 2\) from keys.0"
    ):
        model_loading.find_layer(net, pictures(), "keys.0")
    with pytest.raises(ValueError, match=r"unknown layer 'patch'; did you mean 'patches'"):
        model_loading.find_layer(net, pictures(), "patch")
    with pytest.raises(ValueError, match="VisionTransformer has no map"):
        last_spatial_layer(torchvision.models.vit_b_32(weights=None), pictures(size=224))


def test_a_network_with_a_few_tokens_in_its_head_keeps_its_layer():
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU())
            self.keys, self.head = nn.Linear(8, 8), nn.Linear(8, 5)

        def forward(self, x):
            tokens = self.body(x).flatten(2).transpose(1, 2)
            return self.head((self.keys(tokens).softmax(1) * tokens).sum(1))

    net = Pooled()
    assert model_loading.find_layer(net, pictures()) == ("body", net.body)


def test_methods_that_the_head_does_not_allow_are_named_with_the_reason():
    net = model_loading.load_model("alexnet").model
    methods, reasons = model_loading.allowed(net, pictures(size=96), net.features)
    assert set(methods) | set(reasons) == set(METHODS) and not set(methods) & set(reasons)
    assert set(reasons) == {*NEEDS_LINEAR_HEAD, *COSTLY}
    assert "minmax-grad-cam" in reasons["minmax-cam"] and "named in `methods`" in reasons["ss-cam"]
    assert model_loading.allowed(net, pictures(size=96), net.features, ["ss-cam", "cam"])[0] == ["ss-cam"]
    with pytest.raises(ValueError, match="none of the methods can be used: cam needs global average pooling"):
        model_loading.allowed(net, pictures(size=96), net.features, ["cam"])
    with pytest.raises(ValueError, match="unknown method 'camm'; did you mean 'cam'"):
        model_loading.allowed(net, pictures(size=96), net.features, ["camm"])
