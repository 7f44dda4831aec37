"""Representative-class CAM as a method: maps of differences of logits, against autograd and by hand."""

import pytest
import torch
from torch import nn

from cam_utils.maps import peak
from cam_utils.methods.query import ask
from cam_utils.methods.representative_cam import representative_cam
from cam_utils.networks import models
from cam_utils.pairs import Pairs, pairs_of


def expected(model, layer, images, pairs, others):
    """F of every pair: one backward of S_c - S_s each, weights averaged over pixels, ReLU, peak, mean, peak."""
    found = []
    for image, label in zip(pairs.image.tolist(), pairs.label.tolist(), strict=True):
        maps = []
        for s in others[label]:
            kept = []
            with layer.register_forward_hook(lambda _m, _i, out, kept=kept: kept.append(out)):
                logits = model(images[image : image + 1])
            (a,) = kept
            (g,) = torch.autograd.grad(logits[0, label] - logits[0, s], a)
            maps.append(peak((g.mean((-2, -1), keepdim=True) * a).sum(1).relu())[0])
        found.append(peak(torch.stack(maps).mean(0)))
    return torch.stack(found).detach()


@pytest.mark.parametrize("linear", [True, False])
def test_it_is_the_mean_of_rectified_maps_of_differences(linear):
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU())
    head = nn.Linear(6, 5) if linear else nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 5))
    model = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).double().eval()
    images = torch.randn(2, 3, 12, 16, dtype=torch.float64)
    pairs = pairs_of(torch.tensor([[1, 0, 1, 0, 0], [0, 0, 0, 0, 1]], dtype=torch.bool))
    against = {0: [1, 3], 2: [0], 4: [0, 1, 2, 3]}
    query = ask(model, images, pairs, layer=features)
    assert (query.linear_weights is not None) == linear
    found = representative_cam(query, against=against)
    torch.testing.assert_close(found, expected(model, features, images, pairs, against))


def test_unnamed_classes_are_those_of_rank_a_in_the_image_itself():
    model = models.build("digits", 10, seed=1).eval()
    images = torch.rand(1, 3, 96, 96)
    query = ask(model, images, Pairs.one(label=3))
    order = [c for c in query.logits[0].argsort(descending=True).tolist() if c != 3]
    by_hand = [order[k - 1] for k in (1, 4, 7, 8)]  # positions 3, 9, 14, 17 of 19 in a list of 9
    torch.testing.assert_close(
        representative_cam(query), representative_cam(query, against={3: by_hand}), rtol=1e-5, atol=1e-6
    )


def test_bad_comparisons_are_named():
    query = ask(models.build("digits", 10).eval(), torch.rand(1, 3, 96, 96), Pairs.one(label=3))
    for against in ({}, {3: []}, {3: [3]}, {3: [10]}):
        with pytest.raises(ValueError, match=r"expected other classes in 0\.\.9 that label 3 is compared with"):
            representative_cam(query, against=against)
    alone = ask(models.build("digits", 1).eval(), torch.rand(1, 3, 96, 96), Pairs.one())
    with pytest.raises(ValueError, match="compares classes, but the model has one label"):
        representative_cam(alone)
