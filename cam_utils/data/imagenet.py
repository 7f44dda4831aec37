"""ImageNet's validation images (ILSVRC 2012) in class folders, or flat as Kaggle hands them out."""

import csv
import re
from collections import Counter
from functools import partial
from pathlib import Path

from cam_utils.data.folder import Annotation, Pictures, find, listing
from cam_utils.names import check_known

EXPECTED = {"val": 50_000}  # images of the full split, 50 of each of the 1,000 classes
SYNSETS, SOLUTION = "LOC_synset_mapping.txt", "LOC_val_solution.csv"
FLAT = "ILSVRC/Data/CLS-LOC/val"
LAYOUT = f"imagenet/ with {SYNSETS} and val/<wnid>/*.JPEG (or {SOLUTION} and {FLAT}/*.JPEG)"


def load(name: str, split: str, *, root: str | Path | None, limit: int | None, **square: object) -> Pictures:
    """Return ImageNet's validation images; the classes in the order of the synset list, which networks share.

    Every image has one label, its class. In class folders (`val/<wnid>/`) the folder gives the label and images
    come by class, then file name; in a flat `val/`, here or under `ILSVRC/Data/CLS-LOC/`, `LOC_val_solution.csv`
    gives it and they come by image id. The boxes are those of this file; without it, or in rows that name the
    class only, an image has a label but no objects. Corners, 0-based and inclusive there, become exclusive in x2
    and y2. A class is named by its first synonym, with its wnid added where two classes share that.
    `root` is the folder that holds `imagenet/`, or that folder itself. There are no masks.

    Raises: ValueError (split, class folder), FileNotFoundError (folder, list or image), OSError (damaged list,
    list and folders that disagree, box outside its image).
    """
    check_known(f"split of {name}", split, EXPECTED)
    base = find(root, ("imagenet", "."), LAYOUT, name, signs=(SYNSETS,))
    if not (base / SYNSETS).is_file():
        raise FileNotFoundError(f"missing synset list {base / SYNSETS}: {name} is read from {LAYOUT}")
    index, classes = _synsets(base / SYNSETS)
    file = base / SOLUTION
    solution = _solution(file, index) if file.is_file() else None
    found = _images(find(base, ("val", FLAT), LAYOUT, name), index, solution)

    found = found[:limit]
    paths, labels = [path for path, _ in found], [label for _, label in found]
    boxes = [solution[path.stem][1] if solution else [] for path in paths]
    objects, annotate = [[label] for label in labels], partial(_annotate, paths, labels, boxes)
    return Pictures(name, split, paths, classes, objects, annotate, options={"boxes": any(boxes)}, **square)


def _synsets(file: Path) -> tuple[dict[str, int], list[str]]:
    """Return {wnid: class index} and the class names of the list, one "wnid name, synonyms" per line."""
    lines = file.read_text().rstrip().split("\n")
    parts = [re.fullmatch(r"(n\d{8}) +([^,]*[^, ])\s*(,.*)?", line) for line in lines]
    if None in parts:
        at = parts.index(None)
        raise OSError(f"damaged {file}: line {at + 1} is {lines[at]!r}, expected 'wnid name, synonyms'")
    index = {part[1]: i for i, part in enumerate(parts)}
    if len(index) < len(parts):
        raise OSError(f"damaged {file}: {len(parts)} lines name {len(index)} synsets, expected each once")
    shared = Counter(part[2] for part in parts)
    return index, [f"{part[2]} ({part[1]})" if shared[part[2]] > 1 else part[2] for part in parts]


def _solution(file: Path, index: dict[str, int]) -> dict[str, tuple[int, list[list[float]]]]:
    """Return {image id: (class index, boxes)}; a row is the id and "wnid x1 y1 x2 y2", repeated for each box."""
    known = {}
    with file.open(newline="") as lines:
        rows = csv.DictReader(lines)
        if not {"ImageId", "PredictionString"} <= set(rows.fieldnames or ()):
            raise OSError(f"damaged {file}: expected the columns ImageId and PredictionString")
        for row in rows:
            words = (row.get("PredictionString") or "").split()
            wnids = set(words[::5])
            try:
                boxes = [[float(each) for each in words[i : i + 4]] for i in range(1, len(words), 5)]
                whole = len(words) == 1 or (boxes and len(words) % 5 == 0)
                if not whole or len(wnids) != 1 or row["ImageId"] in known:
                    raise ValueError("expected one row for each image, 'wnid x1 y1 x2 y2' repeated for one class")
                known[row["ImageId"]] = (index[words[0]], boxes)
            except (KeyError, ValueError) as error:
                what = f"unlisted synset {error}" if isinstance(error, KeyError) else error
                raise OSError(f"damaged {file}: row {' '.join(map(str, row.values()))!r}: {what}") from error
    return known


def _images(folder: Path, index: dict[str, int], solution: dict | None) -> list[tuple[Path, int]]:
    """Return (path, class index) of every image, having checked that folders and solution agree."""
    names = listing(folder, "the validation images")
    if any(each.endswith(".JPEG") for each in names):
        if solution is None:
            raise FileNotFoundError(f"missing {SOLUTION}: without class folders in {folder} it gives the classes")
        ids = sorted(solution)
        full = f"{SOLUTION} lists them (the full split has {EXPECTED['val']:,} images)"
        listing(folder, "the validation images", [f"{each}.JPEG" for each in ids], full)
        return [(folder / f"{each}.JPEG", solution[each][0]) for each in ids]

    wnids = [each for each in names if (folder / each).is_dir()]
    for each in sorted(wnids):
        if each not in index:
            raise ValueError(f"unknown class folder {folder / each}: {SYNSETS} lists no synset {each!r}")
    found = [
        (folder / wnid / each, index[wnid])
        for wnid in sorted(wnids, key=index.__getitem__)
        for each in sorted(listing(folder / wnid, "the images of one class"))
        if each.endswith(".JPEG")
    ]
    if not found:
        raise FileNotFoundError(f"no .JPEG file in {folder} or its class folders: expected {LAYOUT}")
    if solution is not None:
        for path, label in found:
            if path.stem not in solution:
                raise OSError(f"{SOLUTION} has no row for the image {path}")
            if solution[path.stem][0] != label:
                raise OSError(f"{path} lies in the folder of another class than {SOLUTION} states")
    return found


def _annotate(paths: list[Path], labels: list[int], boxes: list, i: int, height: int, width: int) -> Annotation:
    # PASCAL VOC's XML counts from 1; these boxes reach from 0 to width - 1, and the challenge's own overlap adds
    # 1 to each side.
    for x1, y1, x2, y2 in boxes[i]:
        if not (0 <= x1 <= x2 < width and 0 <= y1 <= y2 < height):
            box = f"x1 y1 x2 y2 = {x1:g} {y1:g} {x2:g} {y2:g}"
            raise OSError(f"{paths[i]} is {width} x {height} pixels, its box {box} in {SOLUTION} is not inside")
    corners = [[x1, y1, x2 + 1, y2 + 1] for x1, y1, x2, y2 in boxes[i]]
    return Annotation([labels[i]] * len(corners), corners, [False] * len(corners))
