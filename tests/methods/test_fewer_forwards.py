"""Score-CAM's approximations: exact where nothing is left out, and what they say they are elsewhere."""

import pytest
import torch

from cam_utils.methods import fewer_forwards, registry
from cam_utils.methods.query import Query
from cam_utils.networks.capture import capture
from cam_utils.pairs import pairs_of


@pytest.fixture
def query(net, scene):
    images, _, _ = scene
    pairs = pairs_of(
        torch.tensor([[True, True, False, False], [False, False, True, True], [True, False, False, True]])
    )
    return Query(net, images, capture(net, images, net[1], grads=True), pairs, net[1], lambda x: net(x).sigmoid())


def _counted(query, **options):
    seen = []

    def score(x):
        seen.append(len(x))
        return query.score(x)

    counting = Query(query.model, query.images, query.captured, query.pairs, query.layer, score)
    return registry.method("score-cam", **options)(counting), sum(seen)


@pytest.mark.parametrize("option", ["channels", "clusters"])
def test_all_channels_or_as_many_clusters_are_score_cam_itself(query, option):
    exact, _ = _counted(query)
    found, _ = _counted(query, **{option: query.activations.shape[1]})
    torch.testing.assert_close(found, exact)


@pytest.mark.parametrize("option", ["channels", "clusters"])
def test_at_most_so_many_forwards_an_image(query, option):
    for count in (1, 2, 4):
        found, forwards = _counted(query, **{option: count})
        assert 0 < forwards <= count * len(query.images) and (found >= 0).all()


def test_a_cluster_of_all_weighs_the_plain_sum_by_its_one_score(query):
    found, _ = _counted(query, clusters=1)
    summed = torch.nn.functional.interpolate(
        query.activations.sum(1, keepdim=True), query.images.shape[-2:], mode="bilinear"
    )
    low, high = summed.amin((2, 3), keepdim=True), summed.amax((2, 3), keepdim=True)
    alpha = query.score(query.images * (summed - low) / (high - low))
    image, label = query.pairs.image, query.pairs.label
    expected = alpha[image, label][:, None, None] * summed[image, 0]
    torch.testing.assert_close(found, expected)


def test_the_strongest_channels_are_those_a_sort_by_energy_begins_with():
    generator = torch.Generator().manual_seed(0)
    activations = torch.rand(2, 6, 3, 3, generator=generator)
    kept = fewer_forwards.strongest(activations, 3)
    for before, after in zip(activations, kept, strict=True):
        order = sorted(range(6), key=lambda k: -float((before[k] ** 2).sum()))
        assert (after[order[3:]] == 0).all() and torch.equal(after[order[:3]], before[order[:3]])


def test_clusters_hold_every_live_channel_once_and_dead_images_none():
    activations = torch.rand(2, 6, 3, 3, generator=torch.Generator().manual_seed(1))
    activations[0, 2], activations[1] = 0.0, 0.0
    found = fewer_forwards.clustered(activations, 4)
    torch.testing.assert_close(found.sum(1), activations.sum(1))
    assert found[0].flatten(1).amax(-1).gt(0).sum() == 4 and not found[1].any()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"channels": 0}, "expected channels as a whole number, 1 or more, got 0"),
        ({"clusters": -1}, "expected clusters as a whole number, 1 or more, got -1"),
        ({"channels": 2, "clusters": 2}, "expected channels or clusters, got both"),
    ],
)
def test_what_is_no_number_of_forwards_is_refused(query, options, why):
    with pytest.raises(ValueError, match=why):
        _counted(query, **options)
