"""Score-CAM against a loop over channels, its bounds, and pytorch-grad-cam where that is right."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cam_utils import maps
from cam_utils.methods import scorecam
from cam_utils.pairs import pairs_of


def _reference_loop(images, activations, pairs, score):
    """The official notebook: one pass per channel, sigma(f(x * s(U(A))))_c U(A), summed at input resolution."""
    found = []
    for b, c in zip(pairs.image.tolist(), pairs.label.tolist(), strict=True):
        total = torch.zeros(images.shape[-2:], dtype=images.dtype)
        for k in range(activations.shape[1]):
            up = F.interpolate(activations[b, k][None, None], images.shape[-2:], mode="bilinear")[0, 0]
            low, high = up.min(), up.max()
            mask = (up - low) / (high - low) if high > low else torch.zeros_like(up)
            total += score((images[b] * mask)[None])[0, c] * up
        found.append(total.relu())
    return torch.stack(found)


@torch.no_grad()
def test_equals_the_loop_over_channels(net, scene):
    score = lambda x: net(x).sigmoid()  # noqa: E731
    ours = scorecam.score_cam(*scene, score, chunk=4)
    torch.testing.assert_close(ours, _reference_loop(*scene, score))


@torch.no_grad()
def test_one_forward_serves_all_labels_and_dead_channels_cost_none(net, scene):
    images, activations, pairs = scene
    seen = []

    def score(x):
        seen.append(len(x))
        return net(x).sigmoid()

    scorecam.score_cam(images, activations, pairs, score, chunk=5)
    assert sum(seen) == activations[:, :, 0, 0].numel() - 1  # 3 images x 6 channels, one of them dead
    assert max(seen) == 5


@torch.no_grad()
def test_all_channels_dead_gives_zero_maps(net, scene):
    images, activations, pairs = scene
    dead = scorecam.score_cam(images, torch.zeros_like(activations), pairs, lambda x: net(x).sigmoid())
    assert torch.equal(maps.normalise(dead), torch.zeros_like(dead))


def test_chunk_below_one_is_refused(net, scene):
    with pytest.raises(ValueError, match="expected chunk >= 1"):
        scorecam.score_cam(*scene, net, chunk=0)


@torch.no_grad()
def test_agrees_with_pytorch_grad_cam_after_its_channel_softmax():
    """pytorch-grad-cam weighs by a softmax over channels of the logits and upsamples with aligned corners.

    On 1x1-upsampling (feature size = input size) the masks agree, so with its softmax as our score's last step
    the maps must be equal.
    """
    from pytorch_grad_cam import ScoreCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    torch.manual_seed(2)
    net = nn.Sequential(
        nn.Conv2d(3, 5, 3, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)
    ).eval()
    image = torch.randn(1, 3, 8, 8)
    activations = net[:2](image)
    pairs = pairs_of(torch.tensor([[False, True, True]]))
    scores = scorecam.channel_scores(image, activations, net)  # logits, [1, K, L]
    alpha = scores.softmax(1)[pairs.image, :, pairs.label]
    ours = maps.normalise(torch.einsum("pk,khw->phw", alpha, activations[0]).relu()).numpy()
    with ScoreCAM(net, [net[1]]) as peer:
        theirs = [peer(image, [ClassifierOutputTarget(c)])[0] for c in (1, 2)]
    np.testing.assert_allclose(ours, np.stack(theirs), atol=1e-4)
