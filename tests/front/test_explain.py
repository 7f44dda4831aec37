"""The front door: one call from pictures or tensors to maps, and what bad input says."""

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from cam_utils.front.explain import explain
from cam_utils.methods import query, registry
from cam_utils.networks import layers


def test_explain_is_one_line_on_a_stock_network_and_a_photo(photo):
    network = torchvision.models.resnet18(weights=None)
    found = explain(network, photo, [[3, 5, 900]])
    assert found.maps.shape == (3, 224, 224) and found.layer is network.layer4
    assert found.pairs.label.tolist() == [3, 5, 900]
    assert found.maps.min() >= 0 and found.maps.max() <= 1


def test_explain_mixed_label_counts_equals_one_image_at_a_time(model):
    images = torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    labels = [[1], [2, 3], [0, 4, 5, 9]]
    for method in ("minmax-cam", "score-cam"):  # the others: tests/methods/test_registry.py
        together = explain(model, images, labels, method=method).maps
        alone = [explain(model, images[i : i + 1], [labels[i]], method=method).maps for i in range(3)]
        torch.testing.assert_close(together, torch.cat(alone), rtol=1e-3, atol=1e-4)


def test_explain_predicts_when_no_labels_are_given(model):
    images = torch.randn(4, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    found = explain(model, images)
    assert torch.equal(found.probabilities > 0.5, _present(found, images))
    softmax = explain(model, images, activation="softmax")
    assert softmax.pairs.label.tolist() == softmax.probabilities.argmax(1).tolist()


def _present(found, images):
    present = torch.zeros(len(images), 10, dtype=torch.bool)
    present[found.pairs.image, found.pairs.label] = True
    return present


def test_explain_reads_paths_and_a_given_layer(photo, tmp_path):
    photo.save(tmp_path / "a.png")
    network = torchvision.models.resnet18(weights=None)
    by_path = explain(network, [tmp_path / "a.png", photo], [[1], [1]], layer=network.layer3)
    assert by_path.layer is network.layer3
    torch.testing.assert_close(by_path.maps[0], by_path.maps[1])


def test_a_photo_stored_sideways_is_explained_upright(model, photo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees to see it upright
    photo.rotate(90, expand=True).save(tmp_path / "sideways.png", exif=exif)
    upright = explain(model, photo, [[1]]).probabilities
    torch.testing.assert_close(explain(model, tmp_path / "sideways.png", [[1]]).probabilities, upright)


def test_one_rule_finds_the_layer_of_features_with_channels_last(photo):
    """Swin's `features` gives (1, 7, 7, 768): the layer is the permutation behind it, for all entrances alike."""
    network = torchvision.models.swin_t(weights=None).eval()
    found = explain(network, photo, [[1]])
    assert found.layer is layers.default_layer(network, torch.zeros(1, 3, 224, 224)) is network.permute
    assert explain(network, photo, [[1]], layer=network.features).maps.shape == (1, 224, 224)


def test_with_no_label_above_the_threshold_the_most_probable_is_explained(model):
    found = explain(model, torch.randn(2, 3, 96, 96), threshold=1.0)
    assert found.pairs.label.tolist() == found.probabilities.argmax(1).tolist()


def test_bad_input_to_explain_is_named(model, photo, tmp_path):
    images = torch.randn(2, 3, 96, 96)
    broken = images.clone()
    broken[1, 0, 5, 5] = torch.nan
    cases = [
        (
            (images, [[1], [2]]),
            {"method": "min-max-cam"},
            "unknown method 'min-max-cam'; did you mean 'minmax-cam'",
        ),
        ((broken, [[1], [2]]), {}, "image 1 of the batch has NaN"),
        ((images[0], [[1]]), {}, r"expected float images \(B,C,h,w\), got torch.float32 \(3, 96, 96\)"),
        ((images, [[1], []]), {}, "image 1 has an empty set of labels"),
        ((images, [[1]]), {}, "one list of labels for each of the 2 images, got 1"),
        ((images, [[1], [10]]), {}, r"expected labels in 0..9 for image 1, got \[10\]"),
        (
            (images, torch.ones(2, 3, dtype=torch.bool)),
            {},
            r"a row of 10 zeros and ones for image 0, got .True, True, True",
        ),
        ((images, [[1], [2]]), {"method": ["cam", "grad-cam"]}, "expected one method, a name or a callable, got"),
        ((images, [[1], [2]]), {"activation": "sigmod"}, "unknown activation 'sigmod'; did you mean 'sigmoid'"),
    ]
    for arguments, options, message in cases:
        with pytest.raises(ValueError, match=message):
            explain(model, *arguments, **options)
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 no image")
    with pytest.raises(OSError, match=r"cut\.jpg cannot be read as an image"):
        explain(model, tmp_path / "cut.jpg", [[1]])
    photo.save(tmp_path / "whole.jpg")
    (tmp_path / "truncated.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:9000])
    with pytest.raises(OSError, match=r"truncated\.jpg cannot be read as an image"):
        explain(model, tmp_path / "truncated.jpg", [[1]])
    with pytest.raises(ValueError, match="uint8"):
        explain(model, np.zeros((3, 96, 96)), [[1]])
    with pytest.raises(ValueError, match=r"names of the model's labels are not known: give indices for \['dog'\]"):
        explain(model, photo, [["dog"]])
    with pytest.raises(FileNotFoundError, match=r"none\.jpg"):
        explain(model, tmp_path / "none.jpg", [[1]])


def test_a_cam_form_on_a_fully_connected_head_names_the_gradient_form(photo):
    network = torchvision.models.alexnet(weights=None)
    with pytest.raises(ValueError, match=r"minmax-cam needs global average pooling .* \(minmax-grad-cam\)"):
        explain(network, photo, [[1, 2]], method="minmax-cam")
    assert explain(network, photo, [[1, 2]]).maps.shape == (2, 224, 224)


def test_explain_needs_no_gradients_of_the_model_and_leaves_it(model):
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = explain(model, torch.randn(1, 3, 96, 96), [[1, 2]], method="score-cam")
    assert not found.maps.requires_grad and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert found.pairs.label.tolist() == [1, 2] and found.maps.shape == (2, 96, 96)


@pytest.mark.parametrize("method", sorted(name for name in registry.METHODS if "grad" in name))
def test_the_closed_forms_of_a_linear_head_equal_the_backward(photo, method, monkeypatch):
    torch.manual_seed(0)
    network = torchvision.models.resnet18(weights=None).eval()
    fast = explain(network, photo, [[3, 5, 900]], method=method).maps
    monkeypatch.setattr(query, "linear_head", lambda *_: None)
    slow = explain(network, photo, [[3, 5, 900]], method=method).maps
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-5)


def test_the_layer_is_looked_for_once_per_model(photo, monkeypatch):
    network = torchvision.models.resnet18(weights=None).eval()
    first = explain(network, photo, [[3]]).layer
    monkeypatch.setattr(layers, "last_spatial_layer", lambda *_: pytest.fail("looked for again"))
    assert explain(network, photo, [[3]]).layer is first is network.layer4
