"""COCO 2017 in its own layout; pycocotools reads polygons and run lengths."""

import contextlib
import io
import json
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO

from cam_utils.data.folder import Annotation, Pictures, find, listing
from cam_utils.names import check_known

EXPECTED = {"train": 118_287, "val": 5_000}  # images of the full split
LAYOUT = "coco2017/ with train2017/, val2017/ and annotations/instances_{train,val}2017.json"


def load(name: str, split: str, *, root: str | Path | None, limit: int | None, **square: object) -> Pictures:
    """Return COCO 2017 `split` ("train" or "val"), in the order of the image ids; 80 classes in category order.

    Images without objects are kept, with an all-zero label vector. Crowd objects are included and flagged.
    `root` is the folder that holds `coco2017/`, or that folder itself. A smaller tree is read as it is, but every
    image that the annotations list must exist.

    Raises: ValueError (split), FileNotFoundError (folder, annotations or images), OSError (damaged annotations).
    """
    check_known(f"split of {name}", split, EXPECTED)
    base = find(root, ("coco2017", "."), LAYOUT, name, signs=("annotations",))
    file = base / "annotations" / f"instances_{split}2017.json"
    if not file.is_file():
        raise FileNotFoundError(f"missing annotation file {file}: {name} is read from {LAYOUT}")
    coco = _read(file)
    entries = sorted(coco.imgs.values(), key=lambda entry: entry["id"])
    folder = base / f"{split}2017"
    full = f"{file.name} lists them (the full split has {EXPECTED[split]:,} images)"
    listing(folder, f"the images that {file.name} lists", [entry["file_name"] for entry in entries], full)

    entries = entries[:limit]
    index = {category: i for i, category in enumerate(sorted(coco.cats))}
    anns = [coco.imgToAnns.get(entry["id"], []) for entry in entries]
    paths = [folder / entry["file_name"] for entry in entries]
    classes = [coco.cats[category]["name"] for category in index]
    objects = [[index[ann["category_id"]] for ann in each] for each in anns]
    annotate = partial(_annotate, coco, entries, anns, index)
    return Pictures(name, split, paths, classes, objects, annotate, has_masks=True, **square)


def _annotate(coco: COCO, entries: list, anns: list, index: dict, i: int, height: int, width: int) -> Annotation:
    entry = entries[i]
    if (entry["height"], entry["width"]) != (height, width):
        stated = f"{entry['width']} x {entry['height']}"
        raise OSError(f"{entry['file_name']} is {width} x {height} pixels, its annotation says {stated}")
    corners = [[x, y, x + w, y + h] for x, y, w, h in (ann["bbox"] for ann in anns[i])]
    with warnings.catch_warnings():  # pycocotools' arrays predate NumPy 2's __array__
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        masks = [coco.annToMask(ann).astype(bool) for ann in anns[i]]
    return Annotation(
        objects=[index[ann["category_id"]] for ann in anns[i]],
        boxes=corners,
        flags=[bool(ann["iscrowd"]) for ann in anns[i]],
        masks=np.stack(masks) if masks else np.zeros((0, height, width), bool),
    )


def _read(file: Path) -> COCO:
    """Return the indexed annotations; raises OSError naming the file if it is not whole."""
    try:
        content = json.loads(file.read_bytes())
        coco = COCO()
        coco.dataset = content
        with contextlib.redirect_stdout(io.StringIO()):  # createIndex prints its progress
            coco.createIndex()
        stray = next((ann for ann in content["annotations"] if ann["image_id"] not in coco.imgs), None)
        odd = next((ann for ann in content["annotations"] if ann["category_id"] not in coco.cats), None)
    except (ValueError, KeyError, TypeError) as error:
        raise OSError(f"damaged annotation file {file}: not COCO instances ({error!r})") from error
    if stray or odd:
        ann = stray or odd
        what = f"image {ann['image_id']}" if stray else f"category {ann['category_id']}"
        raise OSError(f"damaged annotation file {file}: annotation {ann['id']} names the unlisted {what}")
    return coco
