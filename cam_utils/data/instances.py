"""COCO's annotation file, checked before anything is decoded: what draws its polygons trusts what it is given."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cam_utils.data.reading import cut_box, is_name, read_bytes, shown

SEGMENTATION = " in its segmentation"


class Instances(NamedTuple):
    """What the file lists: images by id, the annotations of each in the file's order, {category id: name} by id."""

    images: list[dict]
    annotations: dict[int, list[dict]]
    categories: dict[int, str]


def read(file: Path) -> Instances:
    """Return the file's content.

    Raises: OSError naming the file and the annotation, image or category that is not as COCO describes it.
    """
    try:
        try:
            content = json.loads(read_bytes(file), parse_constant=_refuse)
        except RecursionError:
            raise ValueError("it nests too deep") from None
        if not isinstance(content, dict):
            raise ValueError(f"expected an object with images, annotations and categories, got {shown(content)}")
        listed = {key: _listed(content, key) for key in ("images", "annotations", "categories")}
    except ValueError as error:
        raise OSError(f"damaged annotation file {file}: not COCO instances: {error}") from error
    try:
        images = _by_id(listed["images"], "images", "image", _check_image)
        _each_once(images, "file_name")
        categories = _by_id(listed["categories"], "categories", "category", _check_category)
        _each_once(categories, "name")
        annotations = _by_id(listed["annotations"], "annotations", "annotation", lambda _: None)
        of = {image: [] for image in images}
        for number, annotation in annotations.items():
            try:
                of[_known(annotation, "image_id", images, "image")].append(annotation)
                _known(annotation, "category_id", categories, "category")
                _check_annotation(annotation, images[annotation["image_id"]])
            except ValueError as error:
                raise ValueError(f"annotation {number} {error}") from error
    except ValueError as error:
        raise OSError(f"damaged annotation file {file}: {error}") from error
    return Instances(
        [images[each] for each in sorted(images)],
        of,
        {each: categories[each]["name"] for each in sorted(categories)},
    )


def _refuse(constant: str) -> None:
    raise ValueError(f"it holds {constant}, which is no number of JSON")


def _listed(content: dict, key: str) -> list:
    found = content.get(key)
    if not isinstance(found, list) or not found:
        raise ValueError(f"expected a list of {key}, got {shown(found) if key in content else 'none'}")
    return found


def _by_id(entries: list, plural: str, singular: str, check) -> dict[int, dict]:
    """Return {id: entry}, each checked; the errors name the id, or the place in the list where there is none."""
    found = {}
    for place, entry in enumerate(entries):
        if type(entry) is not dict:
            raise ValueError(f"{plural}[{place}] is {shown(entry)}, expected an object")
        if type(entry.get("id")) is not int:
            raise ValueError(f"{plural}[{place}] {_expected(entry, 'id', 'a whole number')}")
        if entry["id"] in found:
            raise ValueError(f"{singular} {entry['id']} is listed twice, expected each id once")
        try:
            check(entry)
        except ValueError as error:
            raise ValueError(f"{singular} {entry['id']} {error}") from error
        found[entry["id"]] = entry
    return found


def _each_once(entries: dict[int, dict], key: str) -> None:
    owner = {}
    for number, entry in entries.items():
        if owner.setdefault(entry[key], number) != number:
            raise ValueError(f"{owner[entry[key]]} and {number} share the {key} {shown(entry[key])}")


def _expected(entry: dict, key: str, what: str, where: str = "") -> str:
    return f"has {f'{key} {shown(entry[key])}' if key in entry else f'no {key}'}{where}, expected {what}"


def _known(annotation: dict, key: str, entries: dict, what: str) -> int:
    number = annotation.get(key)
    if type(number) is not int:
        raise ValueError(_expected(annotation, key, "a whole number"))
    if number not in entries:
        raise ValueError(f"names the unlisted {what} {number}")
    return number


def _check_text(entry: dict, key: str) -> None:
    if not is_name(entry.get(key)):
        raise ValueError(_expected(entry, key, "a name"))


def _check_image(image: dict) -> None:
    _check_text(image, "file_name")
    for key in ("height", "width"):
        if type(image.get(key)) is not int or image[key] < 1:
            raise ValueError(_expected(image, key, "a number of pixels"))


def _check_category(category: dict) -> None:
    _check_text(category, "name")


def _check_annotation(annotation: dict, image: dict) -> None:
    height, width = image["height"], image["width"]
    crowd = annotation.get("iscrowd")
    if type(crowd) is not int or crowd not in (0, 1):
        raise ValueError(_expected(annotation, "iscrowd", "0 or 1"))
    box = annotation.get("bbox")
    if not _numbers(box) or len(box) != 4:
        raise ValueError(_expected(annotation, "bbox", "4 numbers x, y, width, height"))
    if corners(box, height, width) is None:
        raise ValueError(_expected(annotation, "bbox", f"x, y, width, height inside {width} x {height} pixels"))
    outline = annotation.get("segmentation")
    if type(outline) is list and outline:
        for polygon in outline:
            _check_polygon(polygon, height, width)
    elif type(outline) is dict:
        run_lengths(outline, height, width)
    else:
        raise ValueError(_expected(annotation, "segmentation", "polygons or run lengths"))


def corners(box: Sequence[float], height: int, width: int) -> list[float] | None:
    """Return (x, y, width, height) as corners cut at the picture's edges; None further out than a pixel.

    >>> corners([1, 2, 3.5, 0], 10, 10), corners([1, 2, 11, 4], 10, 10)
    ([1, 2, 4.5, 2], None)
    """
    x, y, w, h = box
    return cut_box([x, y, x + w, y + h], height, width)


def _numbers(values: object) -> bool:
    return type(values) is list and bool(values) and {*map(type, values)} <= {int, float}


def _check_polygon(polygon: object, height: int, width: int) -> None:
    if not _numbers(polygon) or len(polygon) < 6 or len(polygon) % 2:
        raise ValueError(f"has the polygon {shown(polygon)}, expected numbers x1, y1, ... of 3 points or more")
    xs, ys = polygon[0::2], polygon[1::2]
    # The rasteriser walks along every edge, pixel by pixel; JSON's 1e999 is infinite, and never inside.
    if min(xs) < -1 or max(xs) > width + 1 or min(ys) < -1 or max(ys) > height + 1:
        extent = f"x {min(xs):g} to {max(xs):g}, y {min(ys):g} to {max(ys):g}"
        raise ValueError(f"has a polygon of {extent}, expected it inside {width} x {height} pixels")


def run_lengths(outline: dict, height: int, width: int) -> list[int]:
    """Return the run lengths of a mask, columns first, the background's first; compressed ones are unpacked.

    Raises ValueError if they do not fill height x width pixels exactly.

    >>> run_lengths({"size": [2, 3], "counts": [1, 2, 3]}, 2, 3)
    [1, 2, 3]
    >>> run_lengths({"size": [2, 3], "counts": "123"}, 2, 3)
    [1, 2, 3]
    """
    if outline.get("size") != [height, width]:
        raise ValueError(_expected(outline, "size", f"[{height}, {width}], as its image", SEGMENTATION))
    counts = outline.get("counts")
    if type(counts) is str:
        counts = _unpacked(counts)
    if type(counts) is not list or {*map(type, counts)} != {int} or min(counts) < 0:
        raise ValueError(_expected(outline, "counts", "whole numbers, 0 or more", SEGMENTATION))
    if sum(counts) != height * width:
        raise ValueError(f"has run lengths that sum up to {sum(counts)}, expected {height} x {width} pixels")
    return counts


def _unpacked(text: str) -> list[int] | None:
    """Return the numbers of COCO's compressed run lengths, None if they are none.

    A character gives 5 bits, the low ones first, and says whether another follows; from the fourth number on a
    number is told as the difference to the last but one.
    """
    counts, value, shift = [], 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) and 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value, shift = 0, 0
    return None if shift else counts
