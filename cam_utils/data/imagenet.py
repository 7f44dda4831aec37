"""ImageNet's validation images (ILSVRC 2012) in class folders, or flat as Kaggle hands them out."""

import math
import re
from collections import Counter
from functools import partial
from pathlib import Path

from cam_utils.data.folder import Annotation, Pictures, find, listing
from cam_utils.data.reading import is_name, read_rows, read_text, shown
from cam_utils.names import check_known

EXPECTED = {"val": 50_000}  # images of the full split, 50 of each of the 1,000 classes
SYNSETS, SOLUTION = "LOC_synset_mapping.txt", "LOC_val_solution.csv"
OTHERS = (".jpeg", ".jpg", ".png")  # what else an image of a class folder may end in, and is not read
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
    told, options = boxes.__getitem__, {"boxes": any(boxes)}
    return Pictures(name, split, paths, classes, objects, annotate, known=told, options=options, **square)


def _synsets(file: Path) -> tuple[dict[str, int], list[str]]:
    """Return {wnid: class index} and the class names of the list, one "wnid name, synonyms" per line."""
    index, names, last = {}, [], ""
    for number, line in enumerate(read_text(file).rstrip().split("\n"), 1):
        wnid, _, rest = line.strip().partition(" ")
        name = rest.partition(",")[0].strip()
        if not re.fullmatch(r"n[0-9]{8}", wnid) or not is_name(name):
            raise OSError(f"damaged {file}: line {number} is {shown(line)}, expected 'wnid name, synonyms'")
        if wnid <= last:  # in another order the labels would not be those of a network's outputs
            raise OSError(
                f"damaged {file}: line {number} has {wnid} after {last}, expected rising synsets, each once"
            )
        index[wnid], last = len(names), wnid
        names.append(name)
    shared = Counter(names)
    named = zip(index, names, strict=True)
    return index, [f"{name} ({wnid})" if shared[name] > 1 else name for wnid, name in named]


def _solution(file: Path, index: dict[str, int]) -> dict[str, tuple[int, list[list[float]]]]:
    """Return {image id: (class index, boxes)}; a row is the id and "wnid x1 y1 x2 y2", repeated for each box."""
    known, form = {}, "one row for each image, 'wnid x1 y1 x2 y2' repeated for one class"
    for _, (image, text) in read_rows(file, ("ImageId", "PredictionString"), form):
        words = text.split()
        try:
            boxes = [[float(each) for each in words[i : i + 4]] for i in range(1, len(words), 5)]
            whole = len(words) == 1 or (boxes and len(words) % 5 == 0)
            if not whole or len(set(words[::5])) != 1 or image in known:
                raise ValueError(f"expected {form}")
            if not all(0 <= x1 <= x2 < math.inf and 0 <= y1 <= y2 < math.inf for x1, y1, x2, y2 in boxes):
                raise ValueError("expected boxes x1 y1 x2 y2 from 0, the smaller first")
            known[image] = (index[words[0]], boxes)
        except (KeyError, ValueError) as error:
            what = f"synset {shown(words[0])} is not in {SYNSETS}" if isinstance(error, KeyError) else error
            raise OSError(f"damaged {file}: row {shown(f'{image} {text}')}: {what}") from error
    if not known:
        raise OSError(f"empty {file}: it lists no image, expected {form}")
    return known


def _images(folder: Path, index: dict[str, int], solution: dict | None) -> list[tuple[Path, int]]:
    """Return (path, class index) of every image, having checked that folders and solution agree."""
    names = {each for each in listing(folder, "the validation images") if not each.startswith(".")}
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
    found = []
    for wnid in sorted(wnids, key=index.__getitem__):
        inside = sorted(listing(folder / wnid, "the images of one class"))
        inside = [folder / wnid / each for each in inside if not each.startswith(".")]
        other = next((path for path in inside if path.suffix != ".JPEG" and path.suffix.lower() in OTHERS), None)
        if other:
            raise OSError(f"{other} would be left out: expected the images of {folder / wnid} to end in .JPEG")
        found += [(path, index[wnid]) for path in inside if path.suffix == ".JPEG"]
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
