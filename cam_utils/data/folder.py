"""Datasets that lie on disk: finding the folder, checking it is whole, decoding one image at a time."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from cam_utils.data.reading import read_bytes, read_pixels, shown
from cam_utils.data.sample import Sample, digest, multi_hot
from cam_utils.data.sizing import RESIZES, fit, fit_image
from cam_utils.names import check_known, check_size

LONGEST = 100  # how long an image may be for its width to be cropped: the resized one has as many times `size`
MOST_BYTES = 2 << 30  # of the masks of one image; COCO's own need 50 MB at most


class Annotation(NamedTuple):
    """What is known about one image, in the pixels of its file; n objects in an image of H x W."""

    objects: list[int]
    boxes: list[list[float]]  # (x1, y1, x2, y2), x2 and y2 exclusive
    flags: list[bool]
    masks: np.ndarray | None = None  # bool [n, H, W]
    ignore: np.ndarray | None = None  # bool [H, W]
    frame: tuple[int, int] | None = None  # (H, W) as the annotation states it, if it does


class Pictures(Dataset):
    """A map-style dataset of image files: `annotate(i, height, width)` says what image i shows.

    Labels are the union of `objects`, the class indices annotated in each image. Objects that the "crop" sizing
    cuts away entirely leave the sample's `objects`, `boxes`, `masks` and `flags`; their label stays.
    What else determines sample i: `known(i)`, its annotations as JSON values, and `drawn[i]`, a file of its masks.
    Raises ValueError for two images of one name, for tables tell images apart by it.
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
        known: Callable[[int], object] | None = None,
        drawn: Sequence[Path | None] = (),
        has_masks: bool = False,
        options: dict[str, object] | None = None,
        size: int | None = None,
        resize: str = "letterbox",
    ):
        self.name, self.split, self.classes, self._paths = name, split, tuple(classes), list(paths)
        self.ids = [path.stem for path in paths]
        places = dict(zip(self.ids, paths, strict=True))
        again = next((path for path in paths if places[path.stem] != path), None)
        if again:
            raise ValueError(
                f"{again} and {places[again.stem]} share one name, expected each image to have its own"
            )
        self.size = check_size(224 if size is None else size)
        self.resize = check_known("resize", resize, RESIZES)
        self.labels = multi_hot(objects, len(classes))
        self.has_masks, self._annotate, self._options = has_masks, annotate, options or {}
        self._known, self._drawn = known, list(drawn)
        self._contents: dict[Path, tuple[tuple, str]] = {}  # digests, with what the system says of the file

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
        pixels = torch.from_numpy(read_pixels(self._paths[index], "RGB")).permute(2, 0, 1)
        height, width = pixels.shape[-2:]
        if self.resize == "crop" and max(height, width) > LONGEST * min(height, width):
            raise OSError(
                f"{self._paths[index]} is {width} x {height} pixels, expected at most {LONGEST} times as long as "
                'wide for resize="crop", which resizes the shortest side'
            )
        return pixels

    def fingerprint(self, rows: Sequence[int] | None = None) -> str:
        """Return a short hash of all that determines the samples, the contents of the image files included.

        rows: of which images annotations and files are told (all); a part of a large folder need not read the
        rest. Files are read once, and again when size or time say that they have changed.
        """
        rows = range(len(self)) if rows is None else rows
        files = [self._paths[i] for i in rows] + [self._drawn[i] for i in rows if self._drawn and self._drawn[i]]
        with ThreadPoolExecutor() as pool:  # hashing and waiting for a disk both leave the interpreter free
            contents = list(pool.map(self._content, files))
        known = [_digest(json.dumps(self._known(i)).encode()) for i in rows] if self._known else []
        facts = {"name": self.name, "split": self.split, "size": self.size, "resize": self.resize}
        facts |= {"ids": self.ids, "classes": self.classes, "options": self._options}
        return digest(facts | {"files": contents, "known": known}, self.labels)

    def _content(self, file: Path) -> str:
        """Return the digest of the file's bytes."""
        found = file.stat()
        now = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        then, content = self._contents.get(file, (None, ""))
        if then != now:
            content = _digest(read_bytes(file))
            self._contents[file] = (now, content)
        return content


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def check_masks(count: int, height: int, width: int, image: Path) -> None:
    """Raise OSError naming the image if its masks [count, height, width] would fill the memory."""
    if count * height * width > MOST_BYTES:
        raise OSError(
            f"{image} of {width} x {height} pixels has {count} annotated objects: their masks would take "
            f"{count * height * width >> 30} GiB, expected {MOST_BYTES >> 30} at most"
        )


def find(
    root: str | Path | None, candidates: Sequence[str], layout: str, name: str, signs: Sequence[str] = ()
) -> Path:
    """Return `root` if it holds one of `signs`, else the first of root/candidate that is a folder.

    Raises FileNotFoundError saying what is expected.
    """
    if root is None:
        raise FileNotFoundError(f"{name} is read from disk: give root= the folder that holds {layout}")
    if not isinstance(root, str | os.PathLike):
        raise ValueError(f"expected root as the path of the folder that holds {layout}, got {shown(root)}")
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
        first = ", ".join(name[:80] for name in missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise FileNotFoundError(f"{len(missing)} of {len(names)} files missing in {folder}: {first}; {reason}")
    return present
