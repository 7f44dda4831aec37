"""How SS-CAM's map moves with sigma and with N, on photographs: the curves of the study."""

import pandas as pd
import torch
from torch import Tensor, nn

from cam_utils import data
from cam_utils.methods import scorecam, sscam
from cam_utils.methods.query import ask
from cam_utils.methods.smoothing import image_seeds, reading
from cam_utils.methods.weighted_sums import weighted_sum
from cam_utils.pairs import Pairs

FORMS = ("printed", "authors-2020-06")
SIGMAS = (0.1, 0.5, 1.0, 2.0, 4.0, 8.0)
DRAWS = (1, 2, 4, 10, 20, 35)
OF_SIGMA = 10  # draws where sigma changes; sigma is 4 where they change


def correlation(first: Tensor, second: Tensor) -> float:
    """Return Pearson's correlation of two maps [H, W], NaN where one is constant.

    >>> round(correlation(torch.tensor([[0.0, 1.0]]), torch.tensor([[3.0, 1.0]])), 3)
    -1.0
    """
    return float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]).double())[0, 1])


@torch.no_grad()
def curves(model: nn.Module, batch: data.Batch, *, seed: int) -> pd.DataFrame:
    """Return a row for each form, sigma and N of one image's most probable class.

    `r_*` is the correlation of the map with Grad-CAM's, Score-CAM's and the plain mean; `ratio` that of the largest
    channel weight to the smallest, `p` the probability of the class.
    """
    x = model.preprocess(batch.images.to(model.mean.device)).contiguous(memory_format=torch.channels_last)
    label = model(x).argmax(1)
    pairs = Pairs.alone(torch.arange(len(x), device=x.device), label)
    with torch.enable_grad():
        query = ask(model, x, pairs, activation="softmax")
    channels = scorecam.channel_scores(x, query.activations, query.score)[pairs.image, :, label]
    others = {
        "r_grad_cam": query.summed_gradients,
        "r_score_cam": channels,
        "r_plain": torch.ones_like(channels),
    }
    others = {name: _map(query, alpha) for name, alpha in others.items()}
    place = (x, query.activations, pairs, query.score)
    rows = []
    for form in FORMS:
        for sigma in SIGMAS:
            steps = DRAWS if sigma == 4.0 else (OF_SIGMA,)
            how = reading(form, sigma=sigma, draws=max(steps), seed=image_seeds(seed, batch.ids))
            each = sscam.drawn_scores(*place, how, weights=query.signs)
            for draws in steps:
                first = each[..., :draws].amax(-1)
                alpha = sscam.smoothed_weights(*place, how, weights=query.signs, first=first)
                found = _map(query, alpha)
                told = {name: correlation(found, other) for name, other in others.items()}
                plain = alpha / query.signs if how.weighted else alpha  # of the score alone
                told["ratio"] = float(plain.max() / plain.min().clamp_min(1e-12))
                rows.append({"form": form, "sigma": sigma, "draws": draws, **told, "zero": bool(found.max() <= 0)})
    known = {"image_index": 0, "image": batch.ids[0], "p": float(query.logits.softmax(1)[0, label[0]])}
    return pd.DataFrame(rows).assign(**known)


def _map(query, alpha: Tensor) -> Tensor:
    """Return the rectified map [H, W] of channel weights [1, K]."""
    return weighted_sum(query.activations, alpha.to(query.activations.dtype), query.pairs)[0].relu()
