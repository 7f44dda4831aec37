"""Stanford 40 Actions in its own layout: one action per image, the person who does it in a box."""

from functools import partial
from pathlib import Path

from cam_utils.data.folder import Annotation, Pictures, find, listing
from cam_utils.data.voc import parse
from cam_utils.names import check_known

EXPECTED = {"train": 4_000, "test": 5_532}  # images of the full split
LAYOUT = "Stanford40/ with JPEGImages/, XMLAnnotations/ and ImageSplits/"


def load(name: str, split: str, *, root: str | Path | None, limit: int | None, **square: object) -> Pictures:
    """Return Stanford 40's "train" or "test", in the order of its list; 40 actions in the order of actions.txt.

    The label is the action in the XML file, the box the person who performs it; corners, 1-based and inclusive
    there as in VOC, become 0-based with x2 and y2 exclusive. Without `ImageSplits/<split>.txt` the lists of the
    actions, `<action>_<split>.txt`, are read one after the other. There are no masks.
    `root` is the folder that holds `Stanford40/`, or that folder itself.

    Raises: ValueError (split, action), FileNotFoundError (folder or file), OSError (damaged XML).
    """
    check_known(f"split of {name}", split, EXPECTED)
    base = find(root, ("Stanford40", "."), LAYOUT, name, signs=("ImageSplits",))
    lists = base / "ImageSplits"
    belongs = f"actions.txt and the lists of images; {name} is read from {LAYOUT}"
    present = listing(lists, belongs, ["actions.txt"], "it names the 40 actions")
    lines = [line.split() for line in (lists / "actions.txt").read_text().splitlines()]
    classes = [words[0] for words in lines if words and words[0] != "action_name"]  # the header, if any

    files = [f"{split}.txt"] if f"{split}.txt" in present else [f"{action}_{split}.txt" for action in classes]
    listing(lists, belongs, files, f"expected {split}.txt, or one list for each action of actions.txt")
    ids = [Path(each).stem for file in files for each in (lists / file).read_text().split()]
    expected = f"ImageSplits/ lists them (the full split has {EXPECTED[split]:,} images)"
    for folder, suffix in (("JPEGImages", ".jpg"), ("XMLAnnotations", ".xml")):
        listing(base / folder, f"one {suffix} file per image", [each + suffix for each in ids], expected)

    ids = ids[:limit]
    known = [_parse(base / "XMLAnnotations" / f"{each}.xml", classes) for each in ids]
    paths = [base / "JPEGImages" / f"{each}.jpg" for each in ids]
    return Pictures(
        name, split, paths, classes, [each.objects for each in known], partial(_annotate, known), **square
    )


def _parse(file: Path, classes: list[str]) -> Annotation:
    annotation = parse(file, classes, "action")
    if len(set(annotation.objects)) != 1:
        raise OSError(f"damaged annotation {file}: {len(set(annotation.objects))} actions, expected one")
    return annotation


def _annotate(known: list[Annotation], i: int, height: int, width: int) -> Annotation:
    return known[i]
