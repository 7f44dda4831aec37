"""COCO 2017 in its own layout; pycocotools draws polygons and run lengths."""

import warnings
from functools import partial
from pathlib import Path

import numpy as np
from pycocotools import mask as drawing

from cam_utils.data import instances
from cam_utils.data.folder import Annotation, Pictures, check_masks, find, listing
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
    full = f"the full split has {EXPECTED[split]:,} images"
    return pictures(name, split, file, base / f"{split}2017", full, limit, **square)


def pictures(
    name: str, split: str, file: Path, folder: Path, full: str, limit: int | None, **square: object
) -> Pictures:
    """Return the images of `folder` that the annotation `file` lists; `full` says how many there should be.

    Raises: FileNotFoundError (images), OSError (damaged annotations).
    """
    found = instances.read(file)
    names = [entry["file_name"] for entry in found.images]
    listing(folder, f"the images that {file.name} lists", names, f"{file.name} lists them ({full})")

    entries = found.images[:limit]
    index = {category: i for i, category in enumerate(found.categories)}
    anns = [found.annotations[entry["id"]] for entry in entries]
    paths = [folder / entry["file_name"] for entry in entries]
    classes, told = found.categories.values(), partial(_known, anns)
    objects = [[index[ann["category_id"]] for ann in each] for each in anns]
    annotate = partial(_annotate, file.name, entries, anns, objects, paths)
    return Pictures(name, split, paths, classes, objects, annotate, known=told, has_masks=True, **square)


def _known(anns: list[list[dict]], i: int) -> list:
    keys = ("category_id", "bbox", "iscrowd", "segmentation")
    return [[ann[key] for key in keys] for ann in anns[i]]


def _annotate(
    listed: str, entries: list[dict], anns: list[list[dict]], objects: list[list[int]], paths: list[Path],
    i: int, height: int, width: int,
) -> Annotation:  # fmt: skip
    entry = entries[i]
    if (entry["height"], entry["width"]) != (height, width):
        stated = f"{entry['width']} x {entry['height']}"
        raise OSError(f"{paths[i]} is {width} x {height} pixels, its annotation says {stated} ({listed})")
    check_masks(len(anns[i]), height, width, paths[i])
    masks = [_mask(ann["segmentation"], height, width) for ann in anns[i]]
    return Annotation(
        objects=objects[i],
        boxes=[instances.corners(ann["bbox"], height, width) for ann in anns[i]],
        flags=[bool(ann["iscrowd"]) for ann in anns[i]],
        masks=np.stack(masks) if masks else np.zeros((0, height, width), bool),
    )


def _mask(outline: list | dict, height: int, width: int) -> np.ndarray:
    """Return polygons or run lengths, checked when the file was read, as a mask [height, width]."""
    with warnings.catch_warnings():  # pycocotools' arrays predate NumPy 2's __array__
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        if isinstance(outline, list):
            runs = drawing.merge(drawing.frPyObjects(outline, height, width))
        else:
            runs = {"size": [height, width], "counts": instances.run_lengths(outline, height, width)}
            runs = drawing.frPyObjects(runs, height, width)
        return drawing.decode(runs).astype(bool)
