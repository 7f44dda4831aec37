"""Damages of COCO's annotation file: each is a sentence naming file and entry, and none reaches pycocotools."""

import copy
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as drawing

from cam_utils import data
from cam_utils.data import instances
from tests.data import coco_tree

GONE = object()
FIRST, IMAGE, CATEGORY = ("annotations", 0), ("images", 1), ("categories", 1)
OUTLINE = (*FIRST, "segmentation")
RUNS = ("annotations", 1, "segmentation")
PACKED = ("annotations", 2, "segmentation", "counts")
HALF = coco_tree.content()["annotations"][2]["segmentation"]["counts"][:4]
POLYGON = r"annotation 10 has the polygon .*, expected numbers x1, y1, \.\.\. of 3 points or more"
EXTENT = r"annotation 10 has a polygon of x .*, y .*, expected it inside 40 x 30 pixels"
BOX = r"annotation 10 has (bbox .*|no bbox), expected 4 numbers x, y, width, height"
PLACE = r"annotation 10 has bbox .*, expected x, y, width, height inside 40 x 30 pixels"
DRAWN = r"annotation 10 has (segmentation .*|no segmentation), expected polygons or run lengths"
COUNTS = r"has (counts .*|no counts) in its segmentation, expected whole numbers, 0 or more"
WHOLE, SIDE = "annotation 10 has .*expected a whole number", "image 2 has .*expected a number of pixels"
SIZE = r"annotation 11 has (size .*|no size) in its segmentation, expected \[40, 30\], as its image"


@pytest.fixture
def tree(tmp_path):
    return tmp_path, coco_tree.write(tmp_path)


def changed(path: tuple, value: object) -> dict:
    """Return the content with the value at `path` replaced, or gone."""
    content = coco_tree.content()
    holder = content
    for key in path[:-1]:
        holder = holder[key]
    if value is GONE:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return content


def refused(root, file, message):
    """Assert that loading ends in one sentence of that kind, naming the file."""
    with pytest.raises(OSError, match=rf"^damaged annotation file .*instances_val2017\.json: {message}") as found:
        data.load("coco2017", "val", root=root)
    text = str(found.value)
    assert "\n" not in text and len(text) < 600 and str(file) in text


@pytest.mark.parametrize(
    ("path", "values", "message"),
    [
        # Coordinates far away make the rasteriser fill the memory or end the process.
        ((*OUTLINE, 0, 2), [1e9, -1e9, 1e308, 42, -2, 10**30], EXTENT),
        ((*OUTLINE, 0, 3), [1e9, -1e9, 32, -2], EXTENT),
        ((*OUTLINE, 0, 2), ["25", None, True, [25], {}], POLYGON),
        ((*OUTLINE, 0), [[], [1], [1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7], None, "1 2 3 4 5 6", 5, {}], POLYGON),
        (OUTLINE, [[], None, "x", 5, True, GONE], DRAWN),
        (OUTLINE, [[5, 5, 25, 5, 25, 20]], POLYGON),
        (RUNS, [{}, {"counts": [1200]}], SIZE),
        ((*RUNS, "size"), [[30, 40], [40, 30, 1], [40], None, "40 30", [1e9, 1e9], [2**31, 2**31], GONE], SIZE),
        ((*RUNS, "counts"), [[], None, 5, {}, [-1, 1201], [1.5, 1198.5], ["1200"]], "annotation 11 " + COUNTS),
        ((*RUNS, "counts"), [[True] * 1200, GONE], "annotation 11 " + COUNTS),
        ((*RUNS, "counts"), [[10, 200, 989], [10, 10**9], [0], [2**32, 1200]], "annotation 11 has run.* sum up to"),
        (PACKED, ["~~~~", "é", "\x00", " ", "P" * 9, "", HALF[:-1] + "o"], "annotation 12 " + COUNTS),
        (PACKED, ["1", HALF, "oooo0", "o" * 6 + "3"], "annotation 12 has run lengths that sum up to"),
        ((*FIRST, "bbox"), [None, [], [1, 2, 3], [1, 2, 3, 4, 5], ["1", 2, 3, 4], [1, 2, 3, None], GONE], BOX),
        ((*FIRST, "bbox"), [[-2, 0, 5, 5], [0, 0, 42, 5], [9, 9, -5, 5], [9, 9, 5, -5]], PLACE),
        ((*FIRST, "bbox"), [[1e9, 0, 1, 1], [0, 0, 10**400, 1]], PLACE),
        ((*FIRST, "iscrowd"), [2, -1, None, "0", True, 0.0, [], GONE], "annotation 10 has .*expected 0 or 1"),
        ((*FIRST, "image_id"), [99, -1], "annotation 10 names the unlisted image"),
        ((*FIRST, "image_id"), [None, "1", 1.0, [1], GONE], WHOLE),
        ((*FIRST, "category_id"), [2, 0], "annotation 10 names the unlisted category"),
        ((*FIRST, "category_id"), [None, "1", True, {}, GONE], WHOLE),
        ((*FIRST, "id"), [None, "10", 1.5, [], GONE], r"annotations\[0\] has .*expected a whole number"),
        ((*FIRST, "id"), [11], "annotation 11 is listed twice"),
        (FIRST, [None, 5, "x", []], r"annotations\[0\] is .*, expected an object"),
        ((*IMAGE, "file_name"), [None, "", " ", 5, [], "a\nb.jpg", "x" * 999, GONE], "image 2 has .* a name"),
        ((*IMAGE, "file_name"), ["000000000001.jpg"], "1 and 2 share the file_name"),
        ((*IMAGE, "height"), [0, -40, None, "40", 40.0, True, GONE], SIDE),
        ((*IMAGE, "width"), [0, None, [30], GONE], SIDE),
        ((*IMAGE, "id"), [None, "2", GONE], r"images\[1\] has .*expected a whole number"),
        ((*IMAGE, "id"), [1], "image 1 is listed twice"),
        (IMAGE, [None, 7, []], r"images\[1\] is .*, expected an object"),
        ((*CATEGORY, "name"), [None, "", 7, "a\x00b", "\ud800", GONE], "category 7 has .* a name"),
        ((*CATEGORY, "name"), ["person"], "1 and 7 share the name 'person'"),
        ((*CATEGORY, "id"), [None, "7", GONE], r"categories\[1\] has .*expected a whole number"),
        ((*CATEGORY, "id"), [1], "category 1 is listed twice"),
        (("images",), [None, {}, [], "x", GONE], "not COCO instances: expected a list of images"),
        (("categories",), [None, {}, [], GONE], "not COCO instances: expected a list of categories"),
        (("annotations",), [None, {}, [], GONE], "not COCO instances: expected a list of annotations"),
    ],
)  # fmt: skip
def test_damaged_values(tree, path, values, message):
    root, file = tree
    for value in values:
        file.write_text(json.dumps(changed(path, value)))
        refused(
            root, file, message if "annotation 1" in message or path[0] != "annotations" else f"(.* )?{message}"
        )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not COCO instances: Expecting value"),
        (json.dumps(coco_tree.content()).encode()[:-9], "not COCO instances: "),
        (json.dumps([coco_tree.content()]).encode(), "not COCO instances: expected an object"),
        (b"null", "not COCO instances: expected an object"),
        (
            json.dumps(coco_tree.content()).replace("person", "persöne").encode("latin-1"),
            "not COCO instances: 'utf-8'",
        ),
        (json.dumps(changed((*OUTLINE, 0, 2), float("nan"))).encode(), "not COCO instances: it holds NaN"),
        (
            json.dumps(changed((*FIRST, "bbox", 2), float("inf"))).encode(),
            "not COCO .* it holds Infinity",
        ),
        (json.dumps(changed((*OUTLINE, 0, 2), 777)).replace("777", "1e999").encode(), EXTENT),
        (
            json.dumps(changed((*OUTLINE, 0, 2), 777)).replace("777", "7" * 5000).encode(),
            "not COCO instances: Exceeds",
        ),
        (b"[" * 10**6, "not COCO instances: it nests too deep"),
        (b"\xff\xd8\xff\xe0 a JPEG", "not COCO instances: "),
    ],
)
def test_damaged_bytes(tree, content, message):
    root, file = tree
    file.write_bytes(content)
    refused(root, file, message)


def test_image_of_another_size_than_stated(tree):
    root, file = tree
    Image.new("RGB", (25, 24)).save(file.parents[1] / "val2017" / "000000000003.jpg")
    with pytest.raises(
        OSError, match=r"000000000003\.jpg is 25 x 24 pixels, its annotation says 24 x 24 \(instances"
    ):
        data.load("coco2017", "val", root=root)[2]


def test_more_masks_than_memory(tree, monkeypatch):
    monkeypatch.setattr("cam_utils.data.folder.MOST_BYTES", 2000)
    scenes = data.load("coco2017", "val", root=tree[0])
    assert scenes[0].masks is not None  # 1200 bytes
    with pytest.raises(OSError, match=r"000000000002\.jpg of 30 x 40 pixels has 2 annotated objects: their masks"):
        scenes[1]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_other_writers_of_json(tree, encoding):
    root, file = tree
    before = data.load("coco2017", "val", root=root)
    file.write_bytes(json.dumps(coco_tree.content(), indent=1).replace("\n", "\r\n").encode(encoding))
    again = data.load("coco2017", "val", root=root)
    assert again.fingerprint() == before.fingerprint() and torch.equal(again.labels, before.labels)


def test_what_is_right_is_read_as_pycocotools_reads_it(tree):
    scenes = data.load("coco2017", "val", root=tree[0], size=40)
    assert scenes.classes == ("person", "cat") and scenes.labels.tolist() == [[1, 0], [1, 1], [0, 0]]
    two = scenes[1]  # 30 x 40 in a square of 40: bars of 5
    assert (
        two.flags.tolist() == [True, False] and two.masks[1, :, 5:35].numpy().tolist() == coco_tree.SHAPE.tolist()
    )
    crowd = np.zeros(1200, bool)
    crowd[10:210] = True  # columns first
    assert two.masks[0, :, 5:35].numpy().tolist() == crowd.reshape(30, 40).T.tolist()
    assert scenes[0].masks.sum() == 20 * 15 + drawing.area(drawing.frPyObjects([[1.5, 1, 4, 1, 4, 4]], 30, 40))[0]


def test_flat_boxes_of_the_official_file_and_boxes_a_pixel_out(tree):
    root, file = tree
    flat = copy.deepcopy(coco_tree.content())
    flat["annotations"][0] |= {  # as annotation 918 of instances_train2017.json
        "bbox": [5.65, 8.33, 1.03, 0.0],
        "segmentation": [[5.65, 8.33, 5.65, 8.33, 6.68, 8.33, 6.68, 8.33]],
    }
    flat["annotations"][1]["bbox"] = [-1, 10, 32, 20]
    file.write_text(json.dumps(flat))
    scenes = data.load("coco2017", "val", root=root, size=40)
    assert len(scenes[0].boxes) == 0 and scenes.labels[0].tolist() == [1, 0]
    assert scenes[1].boxes[0].tolist() == [5, 10, 35, 30]  # cut at the edges of the picture, not of the bars


def test_run_lengths_are_unpacked_as_pycocotools_packs_them():
    for seed in range(60):
        rng = np.random.default_rng(seed)
        height, width = rng.integers(1, 90, 2)
        shape = np.asfortranarray(rng.random((height, width)) < rng.random(), np.uint8)
        if seed % 2:  # long runs need several characters
            shape = np.asfortranarray(np.kron(shape, np.ones((9, 9), np.uint8)))
        height, width = shape.shape
        packed = {"size": [height, width], "counts": drawing.encode(shape)["counts"].decode()}
        counts = instances.run_lengths(packed, height, width)
        drawn = np.repeat(np.arange(len(counts)) % 2, counts).reshape(width, height).T
        assert drawn.tolist() == shape.tolist()


def test_a_sentence_stays_short_whatever_the_file_holds(tree):
    root, file = tree
    file.write_text(json.dumps(changed(OUTLINE, "x" * 10**6)))
    refused(root, file, re.escape("annotation 10 has segmentation 'xxx"))
