"""Combinations of methods against their definitions, written out for single pairs on a network's own numbers."""

import pytest
import torch

from cam_utils.maps import peak, upsample
from cam_utils.methods import cams, combinations, scorecam
from cam_utils.methods.query import ask
from cam_utils.networks import models
from cam_utils.pairs import pairs_of
from cam_utils.representative.sources import layers_of

SIZE = (96, 96)


@pytest.fixture(scope="module")
def query():
    net = models.build("digits", 10, seed=1).eval()
    images = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(2, 10, dtype=torch.bool)
    labels[0, [1, 7, 8]], labels[1, 4] = True, True
    return ask(net, images, pairs_of(labels))


def test_scores_are_subtracted_as_weights_are(query):
    scores = scorecam.channel_scores(query.images, query.activations, query.score)[0]  # [K, L]
    alpha = scores[:, 7] - scores[:, [1, 8]].mean(1)
    by_hand = upsample(torch.einsum("k,khw->hw", alpha, query.activations[0])[None], SIZE)[0].relu()
    found = combinations.score_minmax(query)
    assert torch.allclose(found[1], by_hand, atol=1e-5) and by_hand.max() > 0
    alone = scorecam.score_cam(query.images, query.activations, query.pairs, query.score)[3]
    assert torch.allclose(found[3], alone, atol=1e-5), "a label alone has nothing to subtract"


def test_layers_add_up_and_multiply_on_the_focused_score(query):
    """By autograd: Grad-CAM of S_c less the others' mean at every layer, their sum, and times the last one's."""
    model = query.model
    seen = []
    layers = layers_of(model.features, "digits")
    hooks = [layer.register_forward_hook(lambda _m, _i, out: seen.append(out)) for layer in layers]
    logits = model(query.images[:1].clone().requires_grad_())[0]
    for hook in hooks:
        hook.remove()
    focus = logits[7] - (logits[1] + logits[8]) / 2
    raised = []
    for activations, grads in zip(seen, torch.autograd.grad(focus, seen), strict=True):
        own = (grads.sum((-2, -1), keepdim=True) * activations).sum(1).relu()
        raised.append(peak(upsample(own.detach(), SIZE))[0])
    by_hand = sum(raised) * raised[-1]
    found = combinations.layers_minmax(query, network="digits")[1]
    assert torch.allclose(found, by_hand / by_hand.max(), atol=1e-3) and by_hand.max() > 0


def test_representatives_are_subtracted_whether_or_not_the_image_shows_them(query):
    weights = query.weights  # [L, K]
    chosen = [[(c + 1) % 10, (c + 2) % 10] for c in range(10)]
    found = combinations.representatives_minmax(query, representatives=chosen)
    for p, label in enumerate(query.pairs.label.tolist()):
        alpha = weights[label] - weights[chosen[label]].mean(0)
        own = torch.einsum("k,khw->hw", alpha, query.activations[query.pairs.image[p]]).relu()
        assert torch.allclose(found[p], own, atol=1e-5)
    # Of the image's own other labels it is MinMax-CAM.
    present = [[] for _ in range(10)]
    present[1], present[7], present[8] = [7, 8], [1, 8], [1, 7]
    ours = combinations.representatives_minmax(query, representatives=present)
    assert torch.allclose(ours, cams.minmax_cam(query.activations, weights, query.pairs), atol=1e-5)


def test_a_network_without_known_layers_is_refused(query):
    with pytest.raises(ValueError, match="unknown network with several layers 'digitz'; did you mean 'digits'"):
        combinations.layers_minmax(query, network="digitz")
