"""The curves of the study of SS-CAM on photographs: an image at a time."""

import pandas as pd
import torch
from torch import nn

from cam_utils import data
from cam_utils.evaluation import smoothing_curves
from cam_utils.methods.query import ask
from cam_utils.methods.smoothing import image_seeds
from cam_utils.pairs import Pairs

SIGMAS = (0.1, 0.5, 1.0, 2.0, 4.0, 8.0)
DRAWS = (1, 2, 4, 10, 20, 35)
USUAL = 10


def curves(model: nn.Module, batch: data.Batch, *, seed: int) -> pd.DataFrame:
    """Return :func:`cam_utils.evaluation.smoothing_curves.table` of the images' most probable class."""
    x = model.preprocess(batch.images.to(model.mean.device)).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        label = model(x).argmax(1)
    query = ask(model, x, Pairs.alone(torch.arange(len(x), device=x.device), label), activation="softmax")
    seeds = image_seeds(seed, batch.ids)
    found = smoothing_curves.curves(query, seeds, sigmas=SIGMAS, draws=DRAWS, usual=USUAL)
    return smoothing_curves.table(found, smoothing_curves.references(query)).assign(image=batch.ids[0])
