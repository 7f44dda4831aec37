"""The ablations: what they are made of by hand and by loops, and one of them from scenes to rows."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cam_utils.methods.query import ask
from cam_utils.networks import models
from cam_utils.pairs import Pairs, pairs_of
from workflow.studies import ablation_choices, ablations
from workflow.studies import ablation_parts as parts

LINE = ablation_choices.Choice("dev-fitting", "turned", None)


def test_the_order_of_rectifying_on_two_labels_and_two_kernels():
    w = torch.tensor([[2.0, -1.0], [-4.0, 3.0]])  # two labels of one image
    pairs = pairs_of(torch.tensor([[True, True]]))
    # max(0, own) - max(0, other) + (min(0, own) + min(0, other)) / 2
    assert parts.d_minmax_before(w, pairs).tolist() == [[2 - 0 - 2, 0 - 3 - 0.5], [0 - 2 - 2, 3 - 0 - 0.5]]


def _reference_before(w, groups):
    found = np.zeros_like(w)
    for i, group in enumerate(groups):
        mates = [j for j, other in enumerate(groups) if other == group]
        others = [j for j in mates if j != i]
        found[i] = np.maximum(0, w[i]) + sum(np.minimum(0, w[j]) for j in mates) / len(mates)
        if others:
            found[i] -= sum(np.maximum(0, w[j]) for j in others) / len(others)
    return found


def test_the_order_of_rectifying_against_loops():
    sets = torch.tensor([[True, True, True], [False, True, False], [True, False, True]])
    pairs = pairs_of(sets)
    w = torch.randn(len(pairs), 5, generator=torch.Generator().manual_seed(0))
    found = parts.d_minmax_before(w, pairs).numpy()
    assert found == pytest.approx(_reference_before(w.numpy(), pairs.group.tolist()), abs=1e-6)


def test_the_softmax_of_absolute_weights_in_closed_form():
    head = parts.AbsoluteUsage(1, 2)
    head.weight.data[:] = torch.tensor([[-np.log(3.0)], [0.0]])  # |W|: shares 3/4 and 1/4; of W: 1/4 and 3/4
    assert head.class_weights().flatten().tolist() == pytest.approx([-0.75 * np.log(3.0), 0.0], abs=1e-6)
    assert models.KernelUsageHead.class_weights(head)[0, 0].item() == pytest.approx(-0.25 * np.log(3.0))


def test_score_cam_stops_where_a_rank_is_constant_in_all_images():
    activations = torch.zeros(2, 3, 1, 2)
    activations[0] = torch.tensor([[[1.0, 1.0]], [[0.0, 4.0]], [[2.0, 2.0]]])
    activations[1] = torch.tensor([[[0.0, 9.0]], [[0.0, 1.0]], [[3.0, 3.0]]])
    query = SimpleNamespace(activations=activations, pairs=Pairs(*torch.tensor([[0, 1], [0, 0], [0, 1]])))
    # Ranks: image 0 has kernel 1, then the constant 0 and 2; image 1 has 0, 1, 2. Rank 3 is constant in both.
    assert parts.until_constant(query, torch.ones(2, 3)).tolist() == [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]


def test_score_cam_less_its_baseline():
    bright = lambda x: x.mean((1, 2, 3))[:, None] + 0.5  # noqa: E731
    query = SimpleNamespace(images=torch.ones(1, 3, 2, 2), score=bright, pairs=Pairs.one())
    assert parts.less_baseline(query, torch.tensor([[0.75, 0.5]])).tolist() == [[0.25, 0.0]]
    assert parts.softmaxed(query, torch.tensor([[0.0, np.log(3.0)]])).tolist()[0] == pytest.approx([0.25, 0.75])


def test_a_masked_pixel_has_the_colour():
    model = models.build("digits", 10).eval()
    red = parts.masked_with(model, (1.0, 0.0, 0.0))
    image = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(96, 96)
    mask[:, :48] = 1.0
    colour = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
    with torch.no_grad():
        expected = model(model.preprocess(image * mask + colour * (1 - mask)))
        assert torch.allclose(red(red.preprocess(image) * mask), expected, atol=1e-4)
        assert not torch.allclose(model(model.preprocess(image) * mask), expected, atol=1e-2)
    query = ask(red, red.preprocess(image), Pairs.one())
    assert torch.equal(query.weights, model.head.weight)  # the maps are those of the same head


def test_nearest_neighbour_against_pillow():
    image = np.random.default_rng(0).integers(0, 255, (30, 50, 3), dtype=np.uint8)
    expected = np.array(Image.fromarray(image).resize((20, 12), Image.Resampling.NEAREST))
    found = parts.nearest(torch.from_numpy(image).permute(2, 0, 1), 12, 20).permute(1, 2, 0).numpy()
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("size", [224, 320])
def test_faster_features_are_the_same_at_every_size_that_is_measured(size):
    features = models.build(parts.NETWORK, 20, weights="imagenet").features.eval()
    images = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(parts.Quick(features)(images), features(images), atol=1e-3)


def pairs(values):
    """Return a pairs table of two images with two labels: values by method, of every metric."""
    rows = [
        {"image_index": i, "label": label, "class": str(label), "method": method, "set_size": 2}
        | {"in_annotated": True, "in_predicted": True, "is_annotated": True}
        | dict.fromkeys(ablations.METRICS, of[i])
        for method, of in values.items()
        for i in (0, 1)
        for label in (0, 1)
    ]
    return pd.DataFrame(rows)


def test_the_rows_of_a_choice_by_hand():
    ours = pairs({"cam": (0.1, 0.3), "minmax-cam": (0.4, 0.6)})
    turned = pairs({"cam": (0.2, 0.4), "minmax-cam": (0.2, 0.4)})
    found = ablations.compare([(ours, turned)], LINE, least_images=0)
    found = found[found["metric"] == "average_drop"].set_index(["choice", "method"])
    assert found.loc[("ours", "minmax-cam minus cam"), ["value", "low", "high"]].tolist() == [0.3] * 3
    assert found.loc[("turned", "minmax-cam minus cam"), "value"] == 0.0
    assert found.loc[("turned minus ours", "minmax-cam minus cam"), "value"] == -0.3
    assert found.loc[("turned minus ours", "cam"), "value"] == 0.1
    assert found.loc[("turned minus ours", "minmax-cam"), "value"] == -0.2
    several = ablations.compare([(ours, ours), (ours, turned)], LINE, least_images=0)
    several = several[several["metric"] == "average_drop"].set_index(["choice", "method"])
    assert several.loc[("turned", "minmax-cam minus cam"), "value"] == 0.15
    assert set(several["seeds"]) == {2}


def test_one_ablation_of_a_few_scenes_against_plain_means():
    choice = next(each for each in ablation_choices.CHOICES if each.row == "dev-d-minmax-rectify" and each.digits)
    bench = parts.Digits(scenes=30)
    rows = ablations.measured(choice, bench, (0,), least_images=0)
    rows = rows[rows["metric"] == "average_drop_others"].set_index(["choice", "method"])
    for name, table in zip(("ours", choice.name), choice.tables(bench, 0), strict=True):
        assert (table["set_size"] > 1).all()
        by_class = table.groupby(["method", "label"])["average_drop_others"].mean().groupby("method").mean()
        found = rows.loc[(name, "d-minmax-cam minus cam"), "value"]
        assert found == pytest.approx(by_class["d-minmax-cam"] - by_class["cam"], abs=1e-4)
    assert rows.loc[(f"{choice.name} minus ours", "cam"), "value"] == 0.0
    assert rows.loc[(f"{choice.name} minus ours", "d-minmax-cam"), "value"] != 0.0


def test_grey_is_what_the_stored_pairs_were_masked_with(shared):
    bench = parts.Photographs(shared / "data", limit=12)
    grey = parts.masked_with(bench.model(0), (127 / 255,) * 3)
    keys = ["image_index", "label", "method"]
    found, stored = (each.sort_values(keys) for each in (bench.evaluated(grey), bench.stored(0)))
    assert len(found) and found[keys].to_numpy().tolist() == stored[keys].to_numpy().tolist()
    for metric in ablations.METRICS:
        assert found[metric].to_numpy() == pytest.approx(stored[metric].to_numpy(), abs=2e-3, nan_ok=True), metric


def test_remade_images_have_the_places_of_the_stored_ones(shared):
    bench = parts.Photographs(shared / "data", limit=12)
    load = ablation_choices._nearest(bench)
    for split in ("train", "val", "test"):
        assert load(split).ids == list(bench.load(split).ids)
        assert torch.equal(load(split).labels, bench.load(split).labels)
    ours, other = bench.load("test")[0], load("test")[0]
    assert other.image.shape == ours.image.shape and not torch.equal(other.image, ours.image)
    assert (other.image - ours.image).abs().mean() < 0.1 and torch.equal(other.boxes, ours.boxes)
