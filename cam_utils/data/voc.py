"""PASCAL VOC 2007 and 2012 in the layout of the VOC devkit."""

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from cam_utils.data.folder import Annotation, Pictures, check_masks, find, listing
from cam_utils.data.reading import cut_box, read_bytes, read_names, read_pixels, shown
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
    and are None elsewhere; index 255 becomes `ignore`, and so does an index that the XML has no object for.
    Difficult objects are included and flagged. Box corners, 1-based and inclusive in the XML, become 0-based with
    x2 and y2 exclusive; they may reach one pixel out of the picture, and are cut there.
    `root` is the folder that holds `VOCdevkit/`, or that folder itself. `segmentation_only` reads the lists of
    ImageSets/Segmentation instead of ImageSets/Main.

    Raises: ValueError (split, class), FileNotFoundError (folder or file), OSError (damaged list, XML or mask).
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
    ids = read_names([file], "image")
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
    files = [base / "Annotations" / f"{each}.xml" for each in ids]
    known = [parse(each, CLASSES) for each in files]
    masks = [drawn / f"{each}.png" if f"{each}.png" in pngs else None for each in ids]
    paths = [base / "JPEGImages" / f"{each}.jpg" for each in ids]
    objects = [annotation.objects for annotation in known]
    told, annotate = partial(facts, known), partial(_annotate, known, files, paths, masks)
    rest = {"drawn": masks, "has_masks": any(masks), "options": {"segmentation_only": segmentation_only}}
    return Pictures(name, split, paths, CLASSES, objects, annotate, known=told, **rest, **square)


class _Plain(ET.TreeBuilder):
    """Elements only: what a document type can declare (entities of entities) no annotation has."""

    def doctype(self, *_: object) -> None:
        raise ValueError("it declares a document type, expected plain elements")


def parse(file: Path, classes: Sequence[str], tag: str = "name") -> Annotation:
    """Return objects, boxes and difficult flags of one XML file (the parts of a person are not objects).

    `tag` is the element of an object that holds its class. Raises: ValueError (class), OSError (damaged file).
    """
    try:
        root = ET.fromstring(read_bytes(file), ET.XMLParser(target=_Plain()))
        objects = root.findall("object")
        if root.tag != "annotation" or not objects:
            got = f"{len(objects)} in <{root.tag[:60]}>"
            raise ValueError(f"expected <annotation> with one <object> or more, got {got}")
        boxes = [_corners(item, number) for number, item in enumerate(objects, 1)]
        flags = [_flag(item, number) for number, item in enumerate(objects, 1)]
        frame = _frame(root)
    except (ET.ParseError, LookupError, ValueError) as error:  # LookupError: an encoding that nobody knows
        raise OSError(f"damaged annotation {file}: {str(error)[:200]}") from error
    names = [item.findtext(tag, "").strip() for item in objects]
    indices = [classes.index(check_known(f"class in {file}", each[:200], classes)) for each in names]
    return Annotation(indices, boxes, flags, frame=frame)


def _corners(item: ET.Element, number: int) -> list[float]:
    """Return the corners (x1, y1, x2, y2) of an object, 0-based, x2 and y2 exclusive."""
    texts = [item.findtext(f"bndbox/{corner}") for corner in ("xmin", "ymin", "xmax", "ymax")]
    try:
        x1, y1, x2, y2 = corners = [float(text) for text in texts]
        if not all(map(math.isfinite, corners)) or x1 > x2 or y1 > y2:
            raise ValueError
    except (TypeError, ValueError):
        got = " ".join("-" if text is None else text.strip() for text in texts)
        numbers = "expected numbers xmin ymin xmax ymax, the smaller first"
        raise ValueError(f"the box of object {number} is {shown(got)}, {numbers}") from None
    return [x1 - 1, y1 - 1, x2, y2]


def _flag(item: ET.Element, number: int) -> bool:
    text = (item.findtext("difficult") or "0").strip()
    if text not in ("0", "1"):
        raise ValueError(f"object {number} has difficult {shown(text)}, expected 0 or 1")
    return text == "1"


def _frame(root: ET.Element) -> tuple[int, int] | None:
    """Return the stated (height, width); None where they are missing or 0, as some tools leave them."""
    texts = [(root.findtext(f"size/{side}") or "0").strip() for side in ("height", "width")]
    if not all(text.isdecimal() and len(text) < 9 for text in texts):
        raise ValueError(f"height and width are {shown(' '.join(texts))}, expected whole numbers")
    height, width = map(int, texts)
    return (height, width) if height and width else None


def facts(known: Sequence[Annotation], i: int) -> tuple:
    """Return what the XML says of image i, as JSON values."""
    return known[i].objects, known[i].boxes, known[i].flags


def placed(known: Annotation, height: int, width: int, file: Path, image: Path) -> Annotation:
    """Return the annotation with boxes cut at the edges; raises OSError if one lies further out than a pixel."""
    boxes = [cut_box(box, height, width) for box in known.boxes]
    if None in boxes:
        x1, y1, x2, y2 = known.boxes[boxes.index(None)]
        corners = f"xmin ymin xmax ymax = {x1 + 1:g} {y1 + 1:g} {x2:g} {y2:g}"
        raise OSError(f"{image} is {width} x {height} pixels, the box {corners} in {file} is not inside")
    return known._replace(boxes=boxes)


def _annotate(
    known: list[Annotation], xmls: list[Path], paths: list[Path], masks: list[Path | None],
    i: int, height: int, width: int,
) -> Annotation:  # fmt: skip
    if known[i].frame not in (None, (height, width)):
        stated = f"{known[i].frame[1]} x {known[i].frame[0]}"
        raise OSError(f"{paths[i]} is {width} x {height} pixels, its annotation {xmls[i]} says {stated}")
    found = placed(known[i], height, width, xmls[i], paths[i])
    if masks[i] is None:
        return found
    check_masks(len(found.objects), height, width, paths[i])
    drawn = _indices(masks[i], found.boxes, height, width, xmls[i])
    order = np.arange(1, len(found.objects) + 1)
    return found._replace(masks=drawn == order[:, None, None], ignore=drawn > len(order))


def _indices(file: Path, boxes: list[list[float]], height: int, width: int, xml: Path) -> np.ndarray:
    """Return the palette indices [height, width] of a mask, index k that of the object of box k.

    Raises OSError if it has another form, or if it cannot be the mask of these objects: a picture of class indices,
    or objects of another number or order. An object may be hidden, and an index more than the XML has objects.
    """
    drawn = read_pixels(file)
    if drawn.shape != (height, width) or drawn.dtype != np.uint8:
        got = f"has shape {drawn.shape}" + ("" if drawn.dtype == np.uint8 else " and one bit per pixel")
        raise OSError(f"{file} {got}, expected the image's ({height}, {width}) palette indices")
    pixels = np.bincount(drawn.ravel(), minlength=256)
    hidden = [k for k in range(1, len(boxes) + 1) if k >= BORDER or not pixels[k]]
    others = [k for k in range(len(boxes) + 1, BORDER) if pixels[k]]
    away = []
    for k, box in enumerate(boxes, 1):
        if k not in hidden:
            x1, y1 = (max(0, int(corner) - 2) for corner in box[:2])
            x2, y2 = (int(corner) + 3 for corner in box[2:])
            inside = np.count_nonzero(drawn[y1:y2, x1:x2] == k)
            away += [k] if 2 * inside < pixels[k] else []
    if away or (hidden and (others or len(hidden) == len(boxes))):
        why = f"index {away[0]} outside the box of object {away[0]}" if away else f"no pixel of object {hidden[0]}"
        raise OSError(f"{file} holds {why}, expected palette index k for object k of {xml}")
    return drawn
