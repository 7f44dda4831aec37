"""COCO's layout in miniature: three images, with polygons, a crowd, and compressed run lengths."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as drawing

FRAMES = {1: (40, 30), 2: (30, 40), 3: (24, 24)}  # image id -> (width, height)
SHAPE = np.zeros((40, 30), np.uint8, order="F")  # the mask that annotation 12 packs
SHAPE[3:20, 4:9] = SHAPE[30:35, 20:22] = 1


def content() -> dict:
    """Return what the annotation file says; the category ids have gaps, and image 3 shows nothing."""
    square, corner = [5, 5, 25, 5, 25, 20, 5, 20], [1.5, 1, 4, 1, 4, 4]
    packed = drawing.encode(SHAPE)["counts"].decode()
    return {
        "images": [
            {"id": i, "file_name": f"{i:012}.jpg", "width": width, "height": height}
            for i, (width, height) in FRAMES.items()
        ],
        "categories": [{"id": 1, "name": "person"}, {"id": 7, "name": "cat"}],
        "annotations": [
            _annotation(10, 1, 1, 0, [1.5, 1, 23.5, 19], [square, corner]),
            _annotation(11, 2, 7, 1, [0, 10, 30, 20], {"size": [40, 30], "counts": [10, 200, 990]}),
            _annotation(12, 2, 1, 0, [4, 3, 18, 32.0], {"size": [40, 30], "counts": packed}),
        ],
    }


def _annotation(number: int, image: int, category: int, crowd: int, box: list, outline: list | dict) -> dict:
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "iscrowd": crowd,
        "bbox": box,
        "segmentation": outline,
    }


def write(root: Path) -> Path:
    """Write the tree as coco2017/ into root, its "val"; return the annotation file."""
    base = root / "coco2017"
    for folder in ("annotations", "val2017"):
        (base / folder).mkdir(parents=True)
    for i, (width, height) in FRAMES.items():
        pixels = np.random.default_rng(i).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(base / "val2017" / f"{i:012}.jpg")
    file = base / "annotations" / "instances_val2017.json"
    file.write_text(json.dumps(content()))
    return file
