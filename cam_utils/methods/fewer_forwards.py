"""Score-CAM with fewer forwards, approximately: some channels left out, or channels that look alike as one.

Both are options of the method "score-cam", off unless they are asked for: `method("score-cam", channels=64)` and
`method("score-cam", clusters=64)`. Each hands :func:`cam_utils.methods.scorecam.score_cam` other activations, and
with as many channels or clusters as are alive it is Score-CAM itself. Neither is a published method's exact form:
others take the channels of the largest variance, and Group-CAM (Zhang et al. 2021) adds up neighbours in the
channels' order, by gradients. What they cost in the map is measured on the page on speed.
"""

import warnings

import torch
from jaxtyping import Float
from torch import Tensor

from cam_utils import maps
from cam_utils.names import check_count

Activations = Float[Tensor, "batch channels height width"]


def strongest(activations: Activations, channels: int) -> Activations:
    """Return the activations with all but the `channels` of largest energy, sum A^2, of every image set to zero.

    What is zero is not forwarded, and the map does without it. Raises ValueError unless `channels` is a whole
    number from 1.

    >>> A = torch.tensor([[[[0.0, 1.0]], [[3.0, 0.0]], [[2.0, 2.0]]]])
    >>> strongest(A, 2)[0, :, 0].tolist()
    [[0.0, 0.0], [3.0, 0.0], [2.0, 2.0]]
    """
    check_count("channels", channels)
    energy = activations.flatten(2).square().sum(-1)
    best = energy.topk(min(channels, energy.shape[1])).indices
    kept = torch.zeros_like(energy, dtype=torch.bool).scatter_(1, best, True)
    return torch.where(kept[..., None, None], activations, 0.0)


def clustered(
    activations: Activations, clusters: int, seed: int = 0
) -> Float[Tensor, "batch clusters height width"]:
    """Return the sums of the channels of each of at most `clusters` groups of every image [B, clusters, H, W].

    k-means groups an image's live channels by their masks s(A): channels of one group show the same place, and
    share the score of their sum's mask. Groups that an image does not need are zero. Raises ValueError unless
    clusters is a whole number from 1.

    >>> A = torch.tensor([[[[0.0, 1.0, 0.0]], [[0.0, 4.0, 0.0]], [[5.0, 0.0, 0.0]]]])
    >>> sorted(clustered(A, 2)[0, :, 0].tolist())  # the first two show one place
    [[0.0, 5.0, 0.0], [5.0, 0.0, 0.0]]
    """
    check_count("clusters", clusters)
    from sklearn.cluster import KMeans  # here, since who explains without clusters need not wait for it
    from sklearn.exceptions import ConvergenceWarning

    sums = activations.new_zeros(len(activations), clusters, *activations.shape[2:])
    for image, total in zip(activations, sums, strict=True):
        live = image[image.flatten(1).abs().amax(-1) > 0]
        if not len(live):
            continue
        masks = maps.normalise(live).flatten(1).float().cpu().numpy()
        with warnings.catch_warnings():  # fewer different masks than clusters: the rest stay empty
            warnings.simplefilter("ignore", ConvergenceWarning)
            found = KMeans(min(clusters, len(live)), n_init=1, random_state=seed).fit_predict(masks)
        total.index_add_(0, torch.from_numpy(found).long().to(live.device), live)
    return sums
