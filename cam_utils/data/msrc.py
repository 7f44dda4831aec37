"""MSRC-v2 of Microsoft Research Cambridge: 591 photographs whose pixels carry one of 23 classes, or none."""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torchvision.ops import masks_to_boxes

from cam_utils.data.folder import Annotation, Pictures, find, listing
from cam_utils.data.reading import read_pixels
from cam_utils.names import check_known

# fmt: off
CLASSES = (
    "building", "grass", "tree", "cow", "horse", "sheep", "sky", "mountain", "aeroplane", "water", "face", "car",
    "bicycle", "flower", "sign", "bird", "book", "chair", "road", "cat", "dog", "body", "boat",
)
GROUPS = (30, 30, 30, 30, 30, 30, 30, 30, 30, 32, 30, 34, 30, 30, 24, 30, 30, 30, 30, 21)  # images named <group>_*
# fmt: on
IDS = tuple(f"{group}_{k}_s" for group, count in enumerate(GROUPS, 1) for k in range(1, count + 1))
EXPECTED = {"train": 276, "val": 59, "test": 256, "trainval": 335}  # images of a split
VOC = np.array([[(k >> c & 1) * 128 + (k >> c + 3 & 1) * 64 for c in range(3)] for k in range(26)], np.uint8)
# MSRC's own colours are VOC's but for two that it leaves out: road has VOC's colour 21, and so on to boat's 25.
COLOURS = np.delete(VOC, (19, 20), 0)  # of void (black), then of the classes in their order
LAYOUT = "msrc/ with Images/1_1_s.bmp ... and GroundTruth/1_1_s_GT.bmp ... (or .jpg and .png)"
SEED = 0  # every split holds every class, horse (3 images in all) once


def load(name: str, split: str, *, root: str | Path | None, limit: int | None, **square: object) -> Pictures:
    """Return MSRC-v2's "train", "val", "test" or "trainval", in the order of :func:`order`; 23 classes.

    All pixels of a class are one object; its mask is exact, its box tight. Black pixels, which have no class, are
    `ignore`. The ground truth is a picture in MSRC's colours, or a palette picture in which k is class k and 0 no
    class; its palette is MSRC's colours or VOC's, which differ from class 19 on.
    `root` is the folder that holds `msrc/`, or that folder itself. The split is drawn from all 591 images, so that
    all must be there; `limit` keeps the first, a mixture.

    Raises: ValueError (split, an image that is none of MSRC's), FileNotFoundError (folder, image, ground truth),
    OSError (ground truth that is damaged, in other colours or of another size than its image).
    """
    check_known(f"split of {name}", split, EXPECTED)
    base = find(root, ("msrc", "MSRC_ObjCategImageDatabase_v2", "."), LAYOUT, name, signs=("Images",))
    suffix = _suffix(base / "Images", "", (".bmp", ".jpg", ".png"))
    drawn = _suffix(base / "GroundTruth", "_GT", (".bmp", ".png"))

    start = EXPECTED["train"] if split == "val" else EXPECTED["trainval"] if split == "test" else 0
    ids = order()[start : start + EXPECTED[split]][:limit]
    paths = [base / "Images" / f"{each}{suffix}" for each in ids]
    truths = [base / "GroundTruth" / f"{each}_GT{drawn}" for each in ids]
    objects = [_objects(read_classes(file)) for file in truths]
    annotate = partial(_annotate, paths, truths)
    return Pictures(name, split, paths, CLASSES, objects, annotate, drawn=truths, has_masks=True, **square)


def order() -> list[str]:
    """Return the names of the 591 images in the order of SHA-256 of "<SEED>/<name>", the same everywhere.

    "train" is the first 276, "val" the next 59, "test" the last 256, and "trainval" the first 335: as many as in
    the split of TextonBoost (Shotton et al., ECCV 2006), but not the same images.

    >>> len(order()), order()[:3]
    (591, ['10_8_s', '19_15_s', '20_19_s'])
    """
    return sorted(IDS, key=lambda each: hashlib.sha256(f"{SEED}/{each}".encode()).digest())


def _suffix(folder: Path, tail: str, suffixes: Sequence[str]) -> str:
    """Return what the names of the 591 files end in, having checked that all are there and no others."""
    present = listing(folder, f"the {len(IDS)} files of MSRC-v2: {LAYOUT}")
    suffix = max(suffixes, key=lambda each: sum(f"{name}{tail}{each}" in present for name in IDS))
    names = [f"{name}{tail}{suffix}" for name in IDS]
    listing(folder, "", names, f"MSRC-v2 has {len(IDS)} images, and its split is drawn from all")
    more = sorted(each for each in present - {*names} if each.endswith(suffix) and not each.startswith("."))
    if more:
        raise ValueError(f"{folder} holds {more[0]}, expected the {len(IDS)} files of MSRC-v2 and no more")
    return suffix


def read_classes(file: Path) -> np.ndarray:
    """Return the ground truth of a file: uint8 [H, W], 0 where no class is, k where CLASSES[k - 1] is.

    Raises OSError naming the file if it is damaged, of another mode, or holds other colours or indices.
    """
    found = read_pixels(file)
    if found.ndim == 3 and found.shape[2] == 3:
        steps = COLOURS // 64 @ (16, 4, 1)
        table = np.zeros(64, np.uint8)
        table[steps] = range(len(COLOURS))
        classes, colours, palettes = table[found // 64 @ np.array((16, 4, 1), np.uint8)], found, [COLOURS]
    elif found.ndim == 2 and found.dtype == np.uint8:
        if found.max() > len(CLASSES):
            raise OSError(f"{file} holds the index {found.max()}, expected 0 (no class) to {len(CLASSES)}")
        classes, colours, palettes = found, read_pixels(file, "RGB"), [VOC, COLOURS]
    else:
        got = f"shape {found.shape}" + ("" if found.dtype == np.uint8 else " and one bit per pixel")
        raise OSError(f"{file} has {got}, expected RGB pixels or palette indices of MSRC-v2's classes")
    others = [(palette[classes] != colours).any(-1) for palette in palettes]
    if all(each.any() for each in others):
        y, x = np.argwhere(others[0])[0]
        kind = "RGB colour" if found.ndim == 3 else f"palette index {found[y, x]} with the colour"
        raise OSError(
            f"{file} holds the {kind} {tuple(colours[y, x].tolist())} at row {y}, column {x}, expected the colours "
            f"of MSRC-v2's {len(CLASSES)} classes or black"
        )
    return classes


def _objects(classes: np.ndarray) -> list[int]:
    """Return the indices of the classes that have a pixel, rising."""
    return np.flatnonzero(np.bincount(classes.ravel(), minlength=2)[1:]).tolist()


def _annotate(paths: list[Path], truths: list[Path], i: int, height: int, width: int) -> Annotation:
    classes = read_classes(truths[i])
    if classes.shape != (height, width):
        got = f"{classes.shape[1]} x {classes.shape[0]}"
        raise OSError(f"{truths[i]} is {got} pixels, expected the {width} x {height} of {paths[i]}")
    objects = _objects(classes)
    masks = classes == 1 + np.array(objects, int)[:, None, None]
    boxes = masks_to_boxes(torch.from_numpy(masks)) + torch.tensor([0, 0, 1, 1])  # it gives the last pixel inside
    return Annotation(objects, boxes.tolist(), [False] * len(objects), masks, classes == 0)
