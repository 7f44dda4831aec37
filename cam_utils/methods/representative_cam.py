"""Representative-class CAM (Meng et al.) for any classifier: a class against a few others, chosen for it or named.

The paper trains a network for every two classes. Here all comparisons share the explained network: the map of class
c against class s explains S_c - S_s (deviation dev-rep-pairs). The paper's experiment is in
:mod:`cam_utils.representative`.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cam_utils.methods.closed_forms import linear_head
from cam_utils.methods.query import Query, full
from cam_utils.methods.weighted_sums import class_map
from cam_utils.networks.gradients import layer_weights
from cam_utils.pairs import Pairs
from cam_utils.representative.fusion import fuse, layered
from cam_utils.representative.selection import comparison_classes


def representative_cam(
    query: Query, *, representatives: int = 4, against: Mapping[int, Sequence[int]] | None = None
) -> Tensor:
    """Return the fused maps F [P, H, W]: the mean over classes s of ReLU(map of S_c - S_s), each over its maximum.

    representatives: how many classes a label is compared with, fewer where the model has fewer others. They stand
    at the paper's positions (Rank-a) of the list of other classes by probability in the image itself: one image's
    estimate of the row B_c of the similarity matrix. against: {label: classes} names them instead.
    Raises ValueError for a model of one label, for a label that `against` leaves out or compares with itself.

    >>> import torch
    >>> from cam_utils.methods.query import ask
    >>> from cam_utils.networks import models
    >>> query = ask(models.build("digits", 10).eval(), torch.rand(1, 3, 96, 96), Pairs.one(label=3))
    >>> representative_cam(query).shape
    torch.Size([1, 16, 16])
    """
    chosen = _chosen(query, representatives, against)
    asked = [(p, s) for p, each in enumerate(chosen) for s in each]
    pair, other = torch.tensor(asked, dtype=torch.int64, device=query.images.device).reshape(-1, 2).T
    own = Pairs.alone(query.pairs.image[pair], query.pairs.label[pair])
    weights = linear_head(query.model, query.captured)  # proven for all labels: it compares with any
    if weights is not None:
        alpha = full(weights[own.label]) - full(weights[other])  # [Q, K]
    else:
        direction = torch.zeros(len(own), query.logits.shape[1], device=other.device, dtype=query.logits.dtype)
        direction.scatter_(1, own.label[:, None], 1.0).scatter_(1, other[:, None], -1.0)
        logits, activations = query.captured
        (alpha,) = layer_weights(logits, [activations], own.image, direction)
    maps = class_map(query.activations, alpha.to(query.activations.dtype), own)
    sizes = [len(each) for each in chosen]
    size = tuple(maps.shape[-2:])
    found = [fuse(layered([part[None, :]], size)) for part in maps.split(sizes)]
    return torch.cat(found) if found else maps


def _chosen(query: Query, count: int, against: Mapping[int, Sequence[int]] | None) -> list[list[int]]:
    """Return the comparison classes of every pair."""
    classes = query.logits.shape[1]
    if classes < 2:
        raise ValueError("representative-cam compares classes, but the model has one label")
    found = []
    for image, label in zip(query.pairs.image.tolist(), query.pairs.label.tolist(), strict=True):
        if against is None:
            p = query.logits[image].softmax(-1)
            found.append(comparison_classes(p, label, min(count, classes - 1)))
            continue
        others = [int(s) for s in against.get(label, ())]
        if not others or label in others or not all(0 <= s < classes for s in others):
            raise ValueError(
                f"expected other classes in 0..{classes - 1} that label {label} is compared with, got {others}"
            )
        found.append(others)
    return found
