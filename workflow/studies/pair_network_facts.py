"""Why the logit of a pair's network is a poor thing to explain: what the rows of its head have in common.

A softmax sees only differences of logits. The gradient of the loss with respect to the rows of a head sums to zero
over the rows. Of two rows it is opposite, Adam's steps are opposite, too, and the mean of both keeps its random
start for ever; of more rows Adam's steps do not sum to zero, and their mean moves a little. A row is the mean plus
its deviation from it, and the map of a logit the sum of the maps of both.
"""

from collections.abc import Iterator

import pandas as pd
import torch
from torch import Tensor

from cam_utils.networks.models import Classifier
from cam_utils.representative.complementarity import correlation
from cam_utils.representative.pair_networks import untrained
from cam_utils.representative.trained_networks import Pair, TrainedNetworks
from workflow.studies.pair_network_training import Held, Settings


def common_part(rows: Tensor, start: Tensor) -> dict[str, float]:
    """Return how large the mean of a head's rows [n, K] is beside their deviations, and what moved since `start`.

    common_share: of the squared norm of all rows, 1 / n for independent ones. common_moved, own_moved: the norm of
    the change of the mean, and of the deviations, by that of what they were.

    >>> common_part(torch.tensor([[3.0, 1.0], [3.0, -1.0]]), torch.tensor([[3.0, 2.0], [3.0, -2.0]]))
    {'common_share': 0.9, 'common_moved': 0.0, 'own_moved': 0.5}
    """
    mean, first = rows.mean(0), start.mean(0)
    own, before = rows - mean, start - first
    return {
        "common_share": round(float(len(rows) * mean.square().sum() / rows.square().sum()), 6),
        "common_moved": round(float((mean - first).norm() / first.norm()), 6),
        "own_moved": round(float((own - before).norm() / before.norm()), 6),
    }


def parts_of_maps(activations: Tensor, rows: Tensor, shown: Tensor) -> dict[str, float]:
    """Return how the maps of the logits of the classes that are shown split into the common part and their own.

    activations [N, K, h, w], rows [n, K], shown [N, n] which classes an image shows. Over (image, class): `own` and
    `common` are the mean correlations of the logit's map with the map of its row's deviation and of the mean row;
    `other` with another class's logit's map; `mass` is the share of the positive part of all these maps that the
    mean row gives; `dark` is the share of maps without any positive pixel.
    """
    maps = torch.einsum("nkp,ck->ncp", activations.flatten(2), rows)
    common = maps.mean(1, keepdim=True)
    image, label = shown.nonzero().T
    logit, shared = maps[image, label], common[image, 0]
    lit = logit > 0
    others = correlation(logit[:, None], maps[image])
    others[torch.arange(len(label)), label] = torch.nan
    return {
        "own": float(correlation(logit, logit - shared).nanmean()),
        "common": float(correlation(logit, shared).nanmean()),
        "other": float(others.nanmean()),
        "mass": float((shared * lit).sum() / (logit * lit).sum()),
        "dark": float((~lit.any(1)).double().mean()),
    }


@torch.no_grad()
def collapse(found: TrainedNetworks, start: Classifier, test: Held, settings: Settings) -> pd.DataFrame:
    """Return one row per epoch and kind of network: means over all pairs' networks, and the one for all classes.

    Epoch 0 is before the training: the start network with random heads.
    """
    rows = []
    for epoch in ("0", *settings.snapshots, "stop"):
        nets = None if epoch == "0" else found.at(None if epoch == "stop" else epoch)
        for pair in (*settings.pairs, settings.everything):
            first = untrained(start, pair, settings.seed)
            network = (first if nets is None else nets(*pair)).eval()
            kept = test.labels[:, pair].any(1)
            facts = common_part(network.head.weight, first.head.weight)
            activations = torch.cat(list(_activations(network, test.images_uint8[kept])))
            facts |= parts_of_maps(activations, network.head.weight, test.labels[kept][:, pair] > 0)
            rows.append({"epoch": str(epoch), "of": _kind(pair), **facts})
    return pd.DataFrame(rows).groupby(["of", "epoch"], sort=False).mean().reset_index()


def _activations(network: Classifier, images: Tensor) -> Iterator[Tensor]:
    for part in images.split(32):
        x = network.preprocess(part.float() / 255)
        yield network.features(x.contiguous(memory_format=torch.channels_last))


def _kind(pair: Pair) -> str:
    return "pair networks" if len(pair) == 2 else "network of all classes"
