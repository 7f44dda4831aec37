"""ImageNet classifiers with their own heads: which weights belong to which channel; softmax evaluations."""

import pandas as pd
import pytest
import torch
import torchvision

from cam_utils import data
from cam_utils.evaluation import evaluate
from cam_utils.front.explain import explain
from cam_utils.methods.closed_forms import linear_head
from cam_utils.methods.query import Query
from cam_utils.methods.weighted_sums import weighted_sum
from cam_utils.networks import capture, gradients, models
from cam_utils.pairs import Pairs, pairs_of

PRESENT = torch.zeros(1, 1000, dtype=torch.bool)
PRESENT[0, [3, 281]] = True


@pytest.mark.parametrize("name", models.PRETRAINED)
def test_the_named_layer_is_spatial_and_the_weights_fit_it(name):
    model = models.pretrained(name, weights=None)
    images = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    captured = capture.capture(model, images, model.features)
    assert captured.logits.shape == (1, 1000)
    weights = model.class_weights()
    assert weights is None if name == "vgg16" else weights.shape == (1000, captured.activations.shape[1])


def test_a_residual_network_is_gap_and_a_linear_head():
    model = models.pretrained("resnet18", weights=None)
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    captured = capture.capture(model, images, model.features)
    torch.testing.assert_close(linear_head(model, captured), model.class_weights())


def test_squeezenets_head_is_its_last_kernel():
    model = models.pretrained("squeezenet1_0", weights=None)
    images = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    activations = capture.capture(model, images, model.features).activations
    before = model.net.classifier[1](activations)  # [1, 1000, h, w], of which the logits are the rectified mean
    maps = weighted_sum(activations, model.class_weights()[[3, 281]], pairs_of(PRESENT))
    bias = model.net.classifier[1].bias[[3, 281], None, None]
    torch.testing.assert_close(maps + bias, before[0, [3, 281]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", models.PRETRAINED)
def test_signs_come_from_the_heads_weights_or_else_from_the_gradient(name):
    model = models.pretrained(name, weights=None)
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    captured = capture.capture(model, images, model.features, grads=True)
    pairs = pairs_of(PRESENT)
    grads = gradients.head_gradients(captured, pairs)
    signs = Query(model, images, captured, pairs, model.features, model).signs.sign()
    expected = grads.sum((-2, -1)) if name == "vgg16" else model.class_weights()[pairs.label]
    assert torch.equal(signs, expected.sign())


def test_signs_are_the_weights_where_a_score_of_zero_has_no_gradient():
    model = models.pretrained("squeezenet1_0", weights=None)
    with torch.no_grad():
        model.net.classifier[1].bias[5] = -100.0
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    captured = capture.capture(model, images, model.features, grads=True)
    query = Query(model, images, captured, Pairs.one(label=5), model.features, model)
    assert captured.logits[0, 5] == 0 and not query.gradients.any()
    assert torch.equal(query.signs, model.class_weights()[[5]])


def test_a_softmax_classifier_is_explained_for_its_first_class():
    scenes = data.load("digits", "val", n=5, objects=(1.0,))
    model = models.build("digits", 10, seed=3).eval()
    table = evaluate.evaluate(model, scenes, ["cam", "grad-cam"], activation="softmax", progress=False)
    with torch.no_grad():
        p = model(model.preprocess(torch.stack([scenes[i].image for i in range(5)]))).softmax(1)
    predicted = table[table["in_predicted"]]
    assert (predicted.groupby(["method", "image_index"]).size() == 1).all()
    for row in predicted.itertuples():
        assert row.label == int(p[row.image_index].argmax())
        assert row.p == pytest.approx(float(p[row.image_index].max()), rel=1e-4)
    one = predicted[predicted["method"] == "cam"].iloc[0]
    mask = explain(
        model, model.preprocess(scenes[0].image[None]), [[int(one["label"])]], method="cam", activation="softmax"
    ).maps
    with torch.no_grad():
        kept = model(model.preprocess(scenes[0].image[None]) * mask[:, None]).softmax(1)[0, int(one["label"])]
    assert one["p_masked"] == pytest.approx(float(kept), rel=1e-3)
    assert one["average_drop"] == pytest.approx(max(0, one["p"] - float(kept)) / one["p"], abs=1e-4)


@pytest.mark.parametrize("explained", ["predicted", "annotated"])
def test_one_set_alone_has_the_rows_of_both(explained):
    scenes = data.load("digits", "val", n=6, objects=(1.0,))
    model = models.build("digits", 10, seed=3).eval()
    run = {"activation": "softmax", "progress": False}
    both = evaluate.evaluate(model, scenes, ["cam"], **run)
    alone = evaluate.evaluate(model, scenes, ["cam"], explained=explained, **run)
    keys = ["image_index", "label"]
    expected = both[both[f"in_{explained}"]].sort_values(keys).reset_index(drop=True)
    # Other numbers of masked images in a forward round otherwise, and relative drops magnify it.
    pd.testing.assert_frame_equal(alone.sort_values(keys).reset_index(drop=True), expected, rtol=1e-3, atol=1e-6)


def test_real_weights_know_real_images(squeezenet_weights, coco_root):
    model = models.pretrained("squeezenet1_0", str(squeezenet_weights))
    reference = torchvision.models.squeezenet1_0(weights=None)
    reference.load_state_dict(models.read(squeezenet_weights))
    images = torch.stack([data.load("coco2017", "val", root=coco_root)[i].image for i in range(2)])
    with torch.no_grad():
        x = model.preprocess(images)
        torch.testing.assert_close(model(x), reference.eval()(x))


def test_the_gradient_methods_of_a_pretrained_network_are_evaluated():
    model = models.pretrained("squeezenet1_0", weights=None)

    class Two(torch.utils.data.Dataset):
        name, classes, size = "two", tuple(map(str, range(1000))), 96

        def __len__(self):
            return 2

        def __getitem__(self, index):
            scene = data.load("digits", "val", n=2)[index]
            return scene._replace(labels=torch.nn.functional.one_hot(torch.tensor(index), 1000).float())

        def fingerprint(self):
            return "two"

    table = evaluate.evaluate(
        model, Two(), ["grad-cam", "grad-cam++"], activation="softmax", explained="predicted", progress=False
    )
    assert len(table) == 4
    assert table["average_drop"].notna().all()


def test_unknown_networks_and_scores_are_refused():
    with pytest.raises(ValueError, match="unknown pretrained network 'resnet19'; did you mean 'resnet18'"):
        models.pretrained("resnet19")
    scenes = data.load("digits", "val", n=1)
    with pytest.raises(ValueError, match="unknown activation 'soft'"):
        evaluate.evaluate(models.build("digits", 10), scenes, ["cam"], activation="soft")
    with pytest.raises(ValueError, match="the model has 1000 labels, the dataset 10"):
        evaluate.evaluate(models.pretrained("resnet18", None), scenes, ["cam"])
