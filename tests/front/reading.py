"""A folder as `explain` reads it."""

import torch
from torch import Tensor

from cam_utils.front.model_loading import load_model
from cam_utils.front.questions import Source


def read_folder(folder, size: int, limit: int | None = None) -> tuple[Source, Tensor]:
    """Return the source when all its pictures are read, and what the network sees of them."""
    source = Source(load_model("digits"), folder, size, limit)
    return source, torch.cat([images for _, images in source.batches(4)])
