"""What is randomised and what stays; controls that ignore the network; maps compared with their null."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import ndimage
from torch import nn

from cam_utils import data, files, maps, runs
from cam_utils.evaluation import sanity
from cam_utils.files import fingerprint
from cam_utils.methods import cams
from cam_utils.methods.query import ask
from cam_utils.networks import models, predictions
from cam_utils.pairs import Pairs, pairs_of


def changed(before, after):
    """Return the names of the parameters that differ."""
    theirs = dict(after.named_parameters())
    return {name for name, p in before.named_parameters() if not torch.equal(p, theirs[name])}


@pytest.mark.parametrize("name", ["digits", "digits-cbam", "resnet18", "squeezenet1_0"])
def test_stages_go_from_the_head_to_the_first_layer_and_cover_every_parameter_once(name):
    model = models.build(name, 4)
    parts = sanity.stages(model)
    assert parts[0] == "head" and parts[-1] == "features.0"
    counted = [id(p) for part in parts for p in model.get_submodule(part).parameters()]
    assert sorted(counted) == sorted(id(p) for p in model.parameters())


def test_a_cascade_keeps_what_is_below_and_forgets_what_is_above(model):
    before = fingerprint(*model.state_dict().values())
    parts = sanity.stages(model)
    for stage, chosen in sanity.steps_of(parts).items():
        network = sanity.randomised(model, chosen, seed=1)
        lost = parts[: parts.index(stage) + 1]
        assert changed(model, network) <= {n for n, _ in model.named_parameters() if n.startswith(tuple(lost))}
        for part in lost:  # all that is drawn; biases and batch normalisation have fixed initial values
            drawn = {f"{part}.{n}" for n, p in model.get_submodule(part).named_parameters() if p.dim() > 1}
            assert drawn <= changed(model, network), part
        for name, module in network.named_modules():
            if isinstance(module, nn.BatchNorm2d) and name.startswith(tuple(lost)):
                assert module.running_mean.abs().max() == 0 and (module.running_var == 1).all()
    assert fingerprint(*model.state_dict().values()) == before, "the caller's network stays as it was"


def test_a_seed_draws_the_same_values_and_leaves_the_global_generator_alone(model):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, deeper, other = (
        sanity.randomised(model, parts, seed)
        for parts, seed in ((["head"], 1), (["head", "features.3"], 1), (["head"], 2))
    )
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(one.head.weight, deeper.head.weight), "a deeper stage keeps the head that was drawn"
    assert not torch.equal(one.head.weight, other.head.weight)


def test_one_part_at_a_time_leaves_all_others(model):
    steps = sanity.steps_of(sanity.stages(model), "independent")
    network = sanity.randomised(model, steps["features.1"], seed=0)
    assert {name.split(".")[1] for name in changed(model, network)} == {"1"}
    with pytest.raises(ValueError, match="unknown order of randomisation 'cascad'; did you mean 'cascade'"):
        sanity.steps_of(["head"], "cascad")


def test_parts_that_cannot_be_randomised_are_named(model):
    with pytest.raises(ValueError, match=r"unknown part of the network 'features\.9'"):
        sanity.randomised(model, ["features.9"], seed=0)

    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(torch.ones(1))

    with pytest.raises(ValueError, match="Scale in 0 has no reset_parameters"):
        sanity.randomised(nn.Sequential(Scale()), ["0"], seed=0)


def test_the_controls_are_what_they_say():
    images = torch.rand(2, 3, 20, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pairs = Pairs(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]))
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    asked = ask(net, images, pairs, layer=net[0])
    centre = sanity.centred_gaussian(asked)
    assert centre.shape == (3, 20, 30) and torch.equal(centre[0], centre[2])
    torch.testing.assert_close(centre, centre.flip(1, 2))
    torch.testing.assert_close(
        centre[0, 0, 0] / centre[0, 0, 14], torch.exp(torch.tensor(-(14.5**2 - 0.5**2) / 112.5)).double()
    )
    edges = sanity.sobel(asked)
    grey = images.mean(1).numpy()
    for row, image in enumerate(pairs.image.tolist()):
        across, down = (ndimage.sobel(grey[image], axis, mode="nearest") for axis in (1, 0))
        np.testing.assert_allclose(edges[row], np.hypot(across, down), atol=1e-12)


def test_masks_are_those_of_the_methods_and_controls_ignore_the_network(model):
    scenes = data.load("digits", "val", n=3)
    images = model.preprocess(torch.stack([s.image for s in scenes]))
    pairs = pairs_of(scenes.labels > 0)
    found = sanity.masks_of(["minmax-cam", *sanity.CONTROLS], model, images, pairs)
    with torch.no_grad():
        raw = cams.minmax_cam(model.features(images), model.head.class_weights(), pairs)
    torch.testing.assert_close(found["minmax-cam"], maps.masks(raw, images.shape[-2:]), rtol=1e-4, atol=1e-4)
    other = sanity.masks_of(["minmax-cam", *sanity.CONTROLS], sanity.randomised(model, ["head"], 0), images, pairs)
    assert all(torch.equal(found[name], other[name]) for name in sanity.CONTROLS)
    assert not torch.equal(found["minmax-cam"], other["minmax-cam"])
    with pytest.raises(ValueError, match="unknown method 'sobell'; did you mean 'sobel'"):
        sanity.masks_of(["sobell"], model, images, pairs)


def test_unrelated_maps_are_of_the_next_images_and_the_same_place():
    pairs = Pairs(torch.tensor([4, 4, 6, 9]), torch.tensor([0, 1, 0, 0]), torch.tensor([0, 0, 1, 2]))
    assert sanity.unrelated(pairs.image, 2).tolist() == [[2, 3], [2, 3], [3, 0], [0, 2]]
    assert sanity.unrelated(torch.tensor([1, 1, 2, 2]), 1).tolist() == [[2], [3], [0], [1]]
    with pytest.raises(ValueError, match="pairs of two images or more"):
        sanity.unrelated(torch.tensor([3, 3]))


def test_the_null_compares_with_the_changed_maps_of_other_images():
    ramp = torch.arange(256.0).view(16, 16) / 256
    before = torch.stack([ramp, ramp, 1 - ramp])
    after = torch.stack([ramp, 1 - ramp, 1 - ramp])  # of the second image the map is turned over
    found = sanity.compared(before, after, torch.tensor([0, 1, 2]))
    assert found["spearman"].tolist() == pytest.approx([1, -1, 1])
    # Of image 0: after of 1 and 2, both turned. Among the maps before it would be (1 - 1) / 2.
    assert found["spearman null"].tolist() == pytest.approx([-1, 0, 0])
    after[0] = 0.5
    found = sanity.compared(before, after, torch.tensor([0, 1, 2]))
    assert found["hog"].isnan().tolist() == [True, False, False]
    assert sanity.constant(after).tolist() == [True, False, False]
    assert found["ssim null"].isfinite().all(), "a constant map is left out of others' nulls"


def test_a_table_has_a_row_for_each_pair_and_method_with_what_is_known():
    maps_of = {"a": torch.rand(3, 16, 16), "b": torch.zeros(3, 16, 16)}
    facts = pd.DataFrame({"image_index": [0, 0, 1], "label": [1, 2, 1]})
    found = sanity.table(maps_of, maps_of, facts, torch.tensor([0, 0, 1]), stage="all", draw=2)
    assert found[["method", "image_index", "label"]].to_numpy().tolist() == [
        [m, i, c] for m in ("a", "b") for i, c in ((0, 1), (0, 2), (1, 1))
    ]
    assert (found["stage"] == "all").all() and (found["draw"] == 2).all()
    assert found["constant"].tolist() == [False] * 3 + [True] * 3
    assert found.loc[found["method"] == "a", "spearman"].tolist() == pytest.approx([1] * 3)
    assert found.loc[found["method"] == "b", ["hog", "ssim null"]].isna().all(axis=None)


def test_random_parts_take_statistics_from_images_and_others_keep_theirs(model):
    images = torch.rand(6, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    parts = sanity.stages(model)[:2]
    plain, told = (sanity.randomised(model, parts, 1, statistics=each) for each in (None, images))
    with torch.no_grad():
        before = model.features[:3](images)
        layer, body = told.features[3], told.features[3].body
        assert torch.equal(told.features[:3](images), before), "what is not random stays, statistics too"
        inside = body[0](before)  # into the first batch normalisation
    torch.testing.assert_close(body[1].running_mean, inside.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(body[1].running_var, inside.var((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert body[1].momentum == model.features[3].body[1].momentum and not layer.training
    assert torch.equal(plain.features[3].body[0].weight, body[0].weight)


def test_every_method_by_name_runs_or_says_why_not(model):
    scenes = data.load("digits", "val", n=2)
    images = model.preprocess(torch.stack([s.image for s in scenes]))
    pairs = pairs_of(scenes.labels > 0)
    slow = {"ss-cam", "ss-cam-mean", "smoothgrad", "integrated-gradients", "score-cam"}
    found = sanity.masks_of([name for name in sanity.EXAMINED if name not in slow], model, images, pairs)
    for name, masks in found.items():
        assert masks.shape == (len(pairs), 96, 96) and masks.min() >= 0 and masks.max() <= 1, name


def test_permuted_labels_keep_images_and_frequencies():
    load = partial(data.load, "digits", n=40)
    plain, other, third = load("train"), sanity.permuted(load, 0)("train"), sanity.permuted(load, 1)("train")
    assert torch.equal(plain.images_uint8, other.images_uint8)
    assert torch.equal(plain.labels.sum(0), other.labels.sum(0)) and not torch.equal(plain.labels, other.labels)
    assert sorted(map(tuple, plain.labels.tolist())) == sorted(map(tuple, other.labels.tolist()))
    assert len({each.fingerprint() for each in (plain, other, third)}) == 3
    assert len(sanity.permuted(load, 0)("val", size=120)) == 40 and other.size == 96


def test_the_committed_network_knows_permuted_labels_by_heart():
    load = partial(data.load, "digits")
    others = sanity.permuted(load, 0)
    network, path = runs.trained(others, network="digits", head="linear", schedule="by-heart", seed=0)
    assert path.parent == files.DATA / "checkpoints", "the sanity checks' own network is committed"
    learned, scenes = others("train", limit=64), load("train", limit=64)
    p = predictions.predict(network, learned)
    assert ((p > 0.5) == (learned.labels > 0)).all(), "all it was told, and it was told nothing true"
    assert ((p > 0.5) == (scenes.labels > 0)).float().mean() < 0.7
    both = (learned.labels > 0) & (scenes.labels > 0)
    assert both.any(1).sum() >= 20, "enough images where a true label is among those learned"
