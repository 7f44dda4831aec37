"""A reader's own classifier: loaded by name or from a file, or refused in a sentence; its layer and its methods."""

import pytest
import torch
import torchvision
from torch import nn

from cam_utils import maps
from cam_utils.front import model_loading
from cam_utils.front.explain import explain
from cam_utils.methods import cams
from cam_utils.networks import models
from cam_utils.networks.capture import capture
from cam_utils.networks.gradients import head_gradients
from cam_utils.networks.layers import default_layer

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
    assert default_layer(net, pictures(size=64)) is net.get_submodule(layer)


def test_a_swin_transformer_is_pooling_and_one_layer_behind_its_permutation():
    net = model_loading.load_model("swin_t").model
    layer = default_layer(net, pictures(size=64))
    found = explain(net, pictures(size=64), [[3, 5]], method="cam", layer=layer)
    captured = capture(net, pictures(size=64), layer, grads=True)
    grads = head_gradients(captured, found.pairs)  # an ordinary backward, without the closed form
    raw = cams.grad_cam(captured.activations.detach(), grads, found.pairs)
    torch.testing.assert_close(found.maps, maps.masks(raw, (64, 64)), rtol=0, atol=1e-4)


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
    assert default_layer(net, pictures()) is net.body
