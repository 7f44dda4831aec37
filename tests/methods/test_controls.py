"""CAM at the size of MinMax-CAM, against powers known beforehand and against masks' own means."""

import pytest
import torch

from cam_utils import maps
from cam_utils.methods import cams, controls
from cam_utils.methods.query import ask
from cam_utils.networks import models
from cam_utils.pairs import pairs_of

SIZE = (96, 96)


@pytest.fixture(scope="module")
def query():
    net = models.build("digits", 10, seed=1).eval()
    images = torch.rand(3, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(3, 10, dtype=torch.bool)
    labels[0, [1, 7]], labels[1, [0, 3, 6]], labels[2, 4] = True, True, True
    return ask(net, images, pairs_of(labels))


def test_masks_have_minmax_cams_area_and_cams_order(query):
    found, given = controls.area_matched_cam(query), (query.activations, query.weights, query.pairs)
    cam, minmax = cams.cam(*given), cams.minmax_cam(*given)
    areas = [maps.masks(each, SIZE).mean((-2, -1)) for each in (found, minmax)]
    assert torch.allclose(*areas, atol=1e-5)
    assert not torch.allclose(areas[0][:5], maps.masks(cam, SIZE).mean((-2, -1))[:5], atol=1e-3), "nothing to match"
    for ours, theirs in zip(found.flatten(1), cam.flatten(1), strict=True):
        order = theirs.argsort(stable=True)
        assert (ours[order].diff() >= 0).all() and ours.argmax() == theirs.argmax()


def test_a_label_alone_keeps_its_cam(query):
    found = controls.area_matched_cam(query)
    cam = cams.cam(query.activations, query.weights, query.pairs)
    assert torch.allclose(found[-1], maps.normalise(cam[-1:])[0], atol=1e-5)


@pytest.mark.parametrize("power", [0.25, 1.0, 3.0, 17.0])
def test_a_known_power_is_found(power):
    ramp = torch.linspace(0, 1, 49).view(1, 7, 7)
    found = controls.area_matched(ramp, ramp**power, (224, 224))
    assert torch.allclose(found, ramp**power, atol=1e-5)


def test_what_cannot_be_reached_is_the_nearest():
    ramp = torch.tensor([[[0.0, 0.5, 1.0]]])
    few, all_, none = torch.tensor([[[0.0, 0.0, 1.0]]]), torch.tensor([[[1.0, 1.0, 0.0]]]), torch.zeros(1, 1, 3)
    size = (1, 3)
    assert torch.allclose(controls.area_matched(ramp, few, size), few, atol=1e-6)
    assert torch.allclose(controls.area_matched(ramp, all_, size), torch.tensor([[[0.0, 1.0, 1.0]]]), atol=1e-6)
    assert controls.area_matched(ramp, none, size).equal(none)
    assert controls.area_matched(none, ramp, size).equal(none)


def test_a_head_that_does_not_fit_is_refused():
    net = models.pretrained("vgg16", weights=None)
    asked = ask(net, torch.rand(1, 3, 64, 64), pairs_of(torch.eye(1, 1000, dtype=torch.bool)))
    with pytest.raises(ValueError, match="global average pooling"):
        controls.area_matched_cam(asked)


def test_maps_that_know_no_label_win_the_metric_that_they_are_made_for(query):
    """Nothing is hidden by a map of everything, next to nothing is cut out by a dot; the label changes neither."""
    for name, control in controls.LABEL_BLIND.items():
        found = control(query)
        same_image = query.pairs.image[:-1] == query.pairs.image[1:]
        assert torch.equal(found[:-1][same_image], found[1:][same_image]), name
    kept = maps.masks(controls.everywhere(query), SIZE, upsample_first=True)
    assert (kept == 1).sum((-2, -1)).tolist() == [96 * 96 - 1] * len(kept)
    assert maps.masks(controls.dot(query), SIZE, upsample_first=True).sum((-2, -1)).tolist() == [1.0] * len(kept)
    gaussian = controls.centre(query)[0]
    assert (
        gaussian[47:49, 47:49].min() > 0.99 and torch.allclose(gaussian, gaussian.flip(0)) and gaussian.min() < 0.1
    )
    means = [a.mean(0).clamp(min=0) for a in query.activations]
    assert torch.allclose(controls.mean_activation(query), torch.stack(means)[query.pairs.image])
