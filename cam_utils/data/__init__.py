"""Datasets with one or several labels per image: one `load` for all, one kind of `Sample` out of each.

>>> scenes = load("digits", "val", n=4)
>>> len(scenes), scenes[0].image.shape, scenes.classes[:3]
(4, torch.Size([3, 96, 96]), ('0', '1', '2'))
"""

import importlib
import inspect
from pathlib import Path

from torch.utils.data import Dataset

from cam_utils.data.sample import Batch, Sample, collate
from cam_utils.data.views import Drawn, Permuted, Unlabelled
from cam_utils.names import check_count, check_known

__all__ = ["LOADERS", "Batch", "Drawn", "Permuted", "Sample", "Unlabelled", "collate", "load"]

# name -> module with its `load`, imported on use: reading COCO needs pycocotools, drawing digits scikit-learn.
LOADERS = {
    "digits": "digits",
    "coco2017": "coco",
    "voc2007": "voc",
    "voc2012": "voc",
    "imagenet": "imagenet",
    "stanford40": "stanford40",
    "planet": "planet",
    "msrc": "msrc",
    "photos": "photos",
}


def load(
    name: str,
    split: str | None = None,
    *,
    root: str | Path | None = None,
    size: int | None = None,
    resize: str = "letterbox",
    limit: int | None = None,
    **options: object,
) -> Dataset:
    """Return a map-style dataset of `Sample`, with the labels of all its images known before any is decoded.

    Args:
        name: "digits", "coco2017", "voc2007", "voc2012", "imagenet", "stanford40", "planet", "msrc" or "photos".
        split: the dataset's own name of a part, such as "train" or "val"; photos have one only, "all".
        root: folder that holds the dataset in its official layout (digits needs none and ignores it; photos lie
            in the project's data/).
        size: side of the square image in pixels; 96 for digits, 224 elsewhere.
        resize: "letterbox" (longest side fits, black bars) or "crop" (shortest side fits, centre crop); digits
            are square as generated, so that both are the same.
        limit: keep the first `limit` samples.
        options: what the dataset's own `load` takes, such as `co_occurrence` or `segmentation_only`.
    Returns: dataset with `name, split, classes, size, has_masks, ids, labels [N, L], fingerprint()`.
    Raises: ValueError (name, split, option), FileNotFoundError (folder or file), OSError (damaged file).

    >>> load("digits", "vall")
    Traceback (most recent call last):
    ValueError: unknown split of digits 'vall'; did you mean 'val'? (valid: train, val)
    """
    loader = importlib.import_module(f"cam_utils.data.{LOADERS[check_known('dataset', name, LOADERS)]}").load
    fixed = {"name", "split", "root", "size", "resize", "limit", "square"}  # square: size and resize
    for option in options:
        check_known(f"option of {name}", option, sorted(inspect.signature(loader).parameters.keys() - fixed))
    if limit is not None:
        check_count("limit", limit, " of samples")
    return loader(name, split, root=root, size=size, resize=resize, limit=limit, **options)
