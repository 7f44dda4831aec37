"""Datasets that lie on disk: finding the folder, checking it is whole, decoding one image at a time."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFile
from torch.utils.data import Dataset

from cam_utils.data.sample import Sample, digest, multi_hot
from cam_utils.data.sizing import RESIZES, fit, fit_image
from cam_utils.names import check_count, check_known


class Annotation(NamedTuple):
    """What is known about one image, in the pixels of its file; n objects in an image of H x W."""

    objects: list[int]
    boxes: list[list[float]]  # (x1, y1, x2, y2), x2 and y2 exclusive
    flags: list[bool]
    masks: np.ndarray | None = None  # bool [n, H, W]
    ignore: np.ndarray | None = None  # bool [H, W]


class Pictures(Dataset):
    """A map-style dataset of image files: `annotate(i, height, width)` says what image i shows.

    Labels are the union of `objects`, the class indices annotated in each image. Objects that the "crop" sizing
    cuts away entirely leave the sample's `objects`, `boxes`, `masks` and `flags`; their label stays.
    """

    def __init__(
        self,
        name: str,
        split: str,
        paths: Sequence[Path],
        classes: Sequence[str],
        objects: Sequence[Sequence[int]],
        annotate: Callable[[int, int, int], Annotation],
        *,
        has_masks: bool = False,
        options: dict[str, object] | None = None,
        size: int | None = None,
        resize: str = "letterbox",
    ):
        self.name, self.split, self.classes, self._paths = name, split, tuple(classes), list(paths)
        self.ids = [path.stem for path in paths]
        self.size = check_size(224 if size is None else size)
        self.resize = check_known("resize", resize, RESIZES)
        self.labels = multi_hot(objects, len(classes))
        self.has_masks, self._annotate, self._options = has_masks, annotate, options or {}

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index`; raises OSError naming the file if it is damaged."""
        index = range(len(self))[index]
        image = self._read(index)
        height, width = image.shape[-2:]
        known = self._annotate(index, height, width)
        planes = [] if known.masks is None else list(known.masks)
        planes += [] if known.ignore is None else [known.ignore]
        masks = torch.from_numpy(np.stack(planes)) if planes else torch.zeros(0, height, width)
        image, boxes, masks = fit(image, torch.tensor(known.boxes), masks, self.size, self.resize)
        inside = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)
        return Sample(
            image=image,
            labels=self.labels[index],
            objects=torch.tensor(known.objects, dtype=torch.int64)[inside],
            boxes=boxes[inside],
            masks=None if known.masks is None else masks[: len(inside)][inside],
            ignore=None if known.ignore is None else masks[-1],
            flags=torch.tensor(known.flags, dtype=torch.bool)[inside],
            id=self.ids[index],
        )

    def pixels(self, index: int) -> torch.Tensor:
        """Return image `index` alone, uint8 [3, size, size]: training needs neither boxes nor masks."""
        return (fit_image(self._read(index), self.size, self.resize) * 255).round().to(torch.uint8)

    def _read(self, index: int) -> torch.Tensor:
        return torch.from_numpy(read_pixels(self._paths[index], "RGB")).permute(2, 0, 1)

    def fingerprint(self) -> str:
        """Return a short hash of all that determines the samples: name, split, sizing, options, ids, labels."""
        facts = {"name": self.name, "split": self.split, "size": self.size, "resize": self.resize}
        return digest(facts | {"ids": self.ids, "options": self._options}, self.labels)


def read_pixels(path: Path, mode: str | None = None) -> np.ndarray:
    """Return the pixels of the file, [H, W] or [H, W, channels], converted to Pillow's `mode` if given.

    Raises: OSError naming the file if it is damaged; RuntimeError if Pillow is set to pad truncated files, for
    then damage would pass unseen.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise RuntimeError("Pillow pads truncated images; set PIL.ImageFile.LOAD_TRUNCATED_IMAGES to False")
    try:
        with Image.open(path) as picture:
            return np.array(picture.convert(mode) if mode else picture)
    except (OSError, SyntaxError) as error:  # Pillow reports a broken PNG chunk as SyntaxError
        raise OSError(f"damaged or truncated image {path}: {error}") from error


def check_size(size: int) -> int:
    """Return `size` if it is a positive whole number of pixels; raises ValueError otherwise."""
    return check_count("size", size, " of pixels")


def find(
    root: str | Path | None, candidates: Sequence[str], layout: str, name: str, signs: Sequence[str] = ()
) -> Path:
    """Return `root` if it holds one of `signs`, else the first of root/candidate that is a folder.

    Raises FileNotFoundError saying what is expected.
    """
    if root is None:
        raise FileNotFoundError(f"{name} is read from disk: give root= the folder that holds {layout}")
    if any((Path(root) / sign).exists() for sign in signs):
        return Path(root)
    for candidate in candidates:
        if (Path(root) / candidate).is_dir():
            return Path(root) / candidate
    raise FileNotFoundError(f"{name} not found under {root}: expected a folder holding {layout}")


def listing(folder: Path, expected: str, names: Sequence[str] = (), reason: str = "") -> set[str]:
    """Return the names of all files in `folder`, one scan, having checked that `names` are among them.

    Raises FileNotFoundError, saying what is `expected` in the folder that is missing, or naming the first files
    that it lacks; `reason` ends that sentence.
    """
    try:
        present = set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(f"missing folder {folder}: expected {expected}") from error
    missing = [name for name in names if name not in present]
    if missing:
        first = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise FileNotFoundError(f"{len(missing)} of {len(names)} files missing in {folder}: {first}; {reason}")
    return present
