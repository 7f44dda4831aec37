"""PASCAL VOC 2007 and 2012 in the layout of the VOC devkit."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from cam_utils.data.folder import Annotation, Pictures, find, listing, read_pixels
from cam_utils.names import check_known

# fmt: off
CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)
# fmt: on
EXPECTED = {  # images of the full split
    "voc2007": {"train": 2_501, "val": 2_510, "trainval": 5_011, "test": 4_952},
    "voc2012": {"train": 5_717, "val": 5_823, "trainval": 11_540},
}
BORDER = 255  # palette index of pixels that are neither object nor background


def load(
    name: str, split: str, *, root: str | Path | None, limit: int | None, segmentation_only: bool = False,
    **square: object,
) -> Pictures:  # fmt: skip
    """Return VOC 2007 ("train", "val", "trainval", "test") or 2012 (without "test"); 20 classes, alphabetical.

    Masks come from SegmentationObject where the image has such a file (object k of the XML is palette index k),
    and are None elsewhere; index 255 becomes `ignore`. Difficult objects are included and flagged. Box corners,
    1-based and inclusive in the XML, become 0-based with x2 and y2 exclusive.
    `root` is the folder that holds `VOCdevkit/`, or that folder itself. `segmentation_only` reads the lists of
    ImageSets/Segmentation instead of ImageSets/Main.

    Raises: ValueError (split, class), FileNotFoundError (folder or file), OSError (damaged XML or mask).
    """
    check_known(f"split of {name}", split, EXPECTED[name])
    if not isinstance(segmentation_only, bool):
        raise ValueError(f"expected segmentation_only as True or False, got {segmentation_only!r}")
    year = name.removeprefix("voc")
    layout = f"VOCdevkit/VOC{year}/ with JPEGImages/, Annotations/ and ImageSets/Main/"
    base = find(root, (f"VOCdevkit/VOC{year}", f"VOC{year}"), layout, name)

    kind = "Segmentation" if segmentation_only else "Main"
    file = base / "ImageSets" / kind / f"{split}.txt"
    if not file.is_file():
        raise FileNotFoundError(f"missing split file {file}: {name} is read from {layout}")
    ids = file.read_text().split()
    full = "" if segmentation_only else f" (the full split has {EXPECTED[name][split]:,} images)"
    expected = f"{kind}/{file.name} lists them{full}"
    for folder, suffix in (("JPEGImages", ".jpg"), ("Annotations", ".xml")):
        names = [each + suffix for each in ids]
        listing(base / folder, f"one {suffix} file per image of {file.name}", names, expected)
    drawn = base / "SegmentationObject"
    pngs = set()
    if segmentation_only or drawn.is_dir():
        needed = [f"{each}.png" for each in ids] if segmentation_only else []
        pngs = listing(drawn, "one .png per segmented image", needed, expected)

    ids = ids[:limit]
    known = [parse(base / "Annotations" / f"{each}.xml", CLASSES) for each in ids]
    masks = [drawn / f"{each}.png" if f"{each}.png" in pngs else None for each in ids]
    paths = [base / "JPEGImages" / f"{each}.jpg" for each in ids]
    objects, annotate = [annotation.objects for annotation in known], partial(_annotate, known, masks)
    options = {"segmentation_only": segmentation_only}
    return Pictures(name, split, paths, CLASSES, objects, annotate, has_masks=any(masks), options=options, **square)


def parse(file: Path, classes: Sequence[str], tag: str = "name") -> Annotation:
    """Return objects, boxes and difficult flags of one XML file (the parts of a person are not objects).

    `tag` is the element of an object that holds its class. Raises: ValueError (class), OSError (damaged file).
    """
    try:
        objects = ET.parse(file).getroot().findall("object")
        names = [item.findtext(tag, "").strip() for item in objects]
        edges = [
            [float(item.findtext(f"bndbox/{k}")) for k in ("xmin", "ymin", "xmax", "ymax")] for item in objects
        ]
        flags = [bool(int(item.findtext("difficult") or 0)) for item in objects]
    except (ET.ParseError, TypeError, ValueError) as error:
        raise OSError(f"damaged annotation {file}: {error}") from error
    indices = [classes.index(check_known(f"class in {file}", each, classes)) for each in names]
    return Annotation(indices, [[x1 - 1, y1 - 1, x2, y2] for x1, y1, x2, y2 in edges], flags)


def _annotate(known: list[Annotation], files: list[Path | None], i: int, height: int, width: int) -> Annotation:
    if files[i] is None:
        return known[i]
    drawn = read_pixels(files[i])
    if drawn.shape != (height, width):
        raise OSError(
            f"{files[i]} has shape {drawn.shape}, expected the image's ({height}, {width}) palette indices"
        )
    order = np.arange(1, len(known[i].objects) + 1)
    return known[i]._replace(masks=drawn == order[:, None, None], ignore=drawn == BORDER)
