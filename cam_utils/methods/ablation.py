"""Ablation-CAM (Desai and Ramaswamy 2020): channels weighted by what the score loses without them."""

import torch
from jaxtyping import Float
from torch import Tensor

from cam_utils.methods.query import Query
from cam_utils.methods.scorecam import Score, batched_scores, moved
from cam_utils.methods.weighted_sums import weighted_sum
from cam_utils.networks.capture import run_from
from cam_utils.networks.head_layers import head_of
from cam_utils.pairs import Pairs


@torch.no_grad()
def ablation_cam(query: Query) -> Tensor:
    """Return Ablation-CAM [P, H, W] of the logit; a method as :mod:`cam_utils.methods.registry` takes them.

    The paper divides by the logit itself: where it is negative, the map is that of everything else
    (deviation dev-ablation-cam). Only the head runs, once per channel and image; of a model whose head is not known
    as layers, all of it does.
    """
    head, pairs = head_of(query.model, query.captured), query.pairs
    if head is not None:
        return ablated_sums(query.activations, pairs, head, chunk=query.chunk)
    maps = query.activations.new_zeros(len(pairs), *query.activations.shape[-2:])
    for i in pairs.image.unique().tolist():  # the forward needs the channels' own image: paths may avoid the layer
        rows = (pairs.image == i).nonzero()[:, 0]
        own = Pairs(torch.zeros_like(rows), pairs.label[rows], torch.zeros_like(rows))

        def rest(activations: Tensor, image: Tensor = query.images[i : i + 1]) -> Tensor:
            return run_from(query.model, query.layer, image.expand(len(activations), -1, -1, -1), activations)

        maps[rows] = ablated_sums(query.activations[i : i + 1], own, rest, chunk=query.chunk)
    return maps


def ablated_sums(
    activations: Float[Tensor, "batch channels height width"],
    pairs: Pairs,
    rest: Score,
    *,
    chunk: int | None = None,
) -> Float[Tensor, "pairs height width"]:
    """Return Ablation-CAM: ReLU(sum_k alpha_k A^k), alpha_k = (S - S without channel k) / S (Desai et al. 2020).

    `rest` maps activations [N, K, H, W] to scores [N, L]. One forward without a channel serves all labels of its
    image. Where S is 0 the ratio is undefined: alpha is 0.

    >>> A = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    >>> rest = lambda a: a[:, :1].sum((2, 3))  # reads the first channel only
    >>> ablated_sums(A, Pairs.one(), rest).tolist()
    [[[1.0, 2.0]]]
    """
    channels, whole = activations.shape[1], rest(activations)  # [B, L]
    live = activations.flatten(2).abs().amax(-1).nonzero()  # without a channel of zeros nothing changes

    def without(index: Tensor) -> Tensor:
        image, channel = live[moved(index, live)].T
        ablated = activations[image].clone()
        ablated[torch.arange(len(image), device=image.device), channel] = 0
        return ablated

    drop = whole.new_zeros(len(whole), channels, whole.shape[1])
    for index, out in batched_scores(rest, without, len(live), like=activations, chunk=chunk):
        image, channel = live[moved(index, live)].T
        drop[image, channel] = whole[image] - out
    own = whole[pairs.image, pairs.label][:, None]
    part = drop[pairs.image, :, pairs.label]
    alpha = torch.where(own == 0, 0.0, part / torch.where(own == 0, 1.0, own))
    return weighted_sum(activations, alpha.to(activations.dtype), pairs).relu()
