"""Datasets with one or several labels per image: one `load` for all, one kind of `Sample` out of each.

>>> scenes = load("digits", "val", n=4)
>>> len(scenes), scenes[0].image.shape, scenes.classes[:3]
(4, torch.Size([3, 96, 96]), ('0', '1', '2'))
"""

import inspect
import os
from pathlib import Path

from torch.utils.data import Dataset

from cam_utils.data import coco, digits, imagenet, planet, stanford40, voc
from cam_utils.data.sample import Batch, Sample, collate
from cam_utils.data.views import Drawn, Permuted, Unlabelled
from cam_utils.names import check_known

__all__ = ["CACHE", "DATA", "LOADERS", "Batch", "Drawn", "Permuted", "Sample", "Unlabelled", "collate", "load"]

DATA = Path(__file__).resolve().parents[2] / "data"
LOADERS = {
    "digits": digits.load,
    "coco2017": coco.load,
    "voc2007": voc.load,
    "voc2012": voc.load,
    "imagenet": imagenet.load,
    "stanford40": stanford40.load,
    "planet": planet.load,
}


def __getattr__(name: str) -> Path:
    """Return CACHE, read from the environment at each use so that it can be redirected after the import."""
    if name == "CACHE":
        return Path(os.environ.get("CAM_UTILS_CACHE") or DATA / "cache")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load(
    name: str,
    split: str,
    *,
    root: str | Path | None = None,
    size: int | None = None,
    resize: str = "letterbox",
    limit: int | None = None,
    **options: object,
) -> Dataset:
    """Return a map-style dataset of `Sample`, with the labels of all its images known before any is decoded.

    Args:
        name: "digits", "coco2017", "voc2007", "voc2012", "imagenet", "stanford40" or "planet".
        split: the dataset's own name of a part, such as "train" or "val".
        root: folder that holds the dataset in its official layout (digits needs none and ignores it).
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
    loader = LOADERS[check_known("dataset", name, LOADERS)]
    fixed = {"name", "split", "root", "size", "resize", "limit"}
    for option in options:
        check_known(f"option of {name}", option, sorted(inspect.signature(loader).parameters.keys() - fixed))
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise ValueError(f"expected limit as a whole number of samples, 1 or more, got {limit!r}")
    return loader(name, split, root=root, size=size, resize=resize, limit=limit, **options)
