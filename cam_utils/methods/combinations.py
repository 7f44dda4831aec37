"""Combinations of methods that no paper tries: MinMax-CAM's subtraction on what another method weighs.

MinMax-CAM subtracts from a label what the other labels of its set need. Nothing in that asks for CAM's weights, for
one layer, or for labels that are in the image. Methods as :mod:`cam_utils.methods.registry` takes them.
"""

import torch
from torch import Tensor, nn

from cam_utils.methods import cams
from cam_utils.methods.query import Query
from cam_utils.methods.scorecam import channel_scores, upsampled_sum
from cam_utils.methods.weighted_sums import weighted_sum
from cam_utils.networks.capture import capture_layers
from cam_utils.networks.gradients import layer_weights
from cam_utils.pairs import pairs_of
from cam_utils.representative.fusion import layered
from cam_utils.representative.selection import Selection
from cam_utils.representative.sources import layers_of


@torch.no_grad()
def score_minmax(query: Query) -> Tensor:
    """Return Eq. 7 of MinMax-CAM on the scores of Score-CAM [P, h, w]."""
    scores = channel_scores(query.images, query.activations, query.score, chunk=query.chunk)
    return minmax_of_scores(query, scores)


def minmax_of_scores(query: Query, scores: Tensor) -> Tensor:
    """Return the same of channels' scores [B, K, L] that are known already."""
    pairs = query.pairs
    alpha = cams.minmax(scores[pairs.image, :, pairs.label], pairs)
    return upsampled_sum(query.images, query.activations, alpha, pairs)


def layers_minmax(query: Query, *, network: str) -> Tensor:
    """Return the multi-layer map, step A of Meng et al., of Grad-CAM of the focused score J_c [P, h, w].

    network: its name in :data:`cam_utils.representative.sources.LAYERS`, which says where its layers are. Raises
    ValueError for another.
    """
    pairs, layers = query.pairs, layers_of(query.model.features, network)
    logits, activations = capture_layers(query.model, query.images, layers)
    own = nn.functional.one_hot(pairs.label, logits.shape[1]).to(query.images)
    alphas = layer_weights(logits, activations, pairs.image, cams.minmax(own, pairs))
    each = [
        weighted_sum(a.detach(), alpha, pairs).relu()[:, None] for a, alpha in zip(activations, alphas, strict=True)
    ]
    return layered(each, query.images.shape[-2:])[:, 0]


def representatives_minmax(query: Query, *, representatives: Selection) -> Tensor:
    """Return MinMax-CAM against the representative classes of a label, in the image or not [P, H, W].

    representatives: of every class the classes to subtract. Raises ValueError as :func:`Query.weights`.
    """
    pairs = query.pairs
    sets = torch.zeros(len(pairs), query.logits.shape[1], dtype=torch.bool, device=pairs.label.device)
    for row, label in enumerate(pairs.label.tolist()):
        sets[row, [label, *representatives[label]]] = True
    focus = pairs_of(sets, pairs.image)
    found = cams.minmax_cam(query.activations, query.weights, focus)
    return found[focus.label == pairs.label[focus.group]]
