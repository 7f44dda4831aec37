"""Stanford 40 Actions in its own layout: one action per image, the person who does it in a box."""

from functools import partial
from pathlib import Path

from cam_utils.data.folder import Annotation, Pictures, find, listing
from cam_utils.data.reading import is_name, read_names, read_text, shown
from cam_utils.data.voc import facts, parse, placed
from cam_utils.names import check_known

EXPECTED = {"train": 4_000, "test": 5_532}  # images of the full split
LAYOUT = "Stanford40/ with JPEGImages/, XMLAnnotations/ and ImageSplits/"


def load(name: str, split: str, *, root: str | Path | None, limit: int | None, **square: object) -> Pictures:
    """Return Stanford 40's "train" or "test", in the order of its list; 40 actions in the order of actions.txt.

    The label is the action in the XML file, the box the person who performs it; corners, 1-based and inclusive
    there as in VOC, become 0-based with x2 and y2 exclusive, and are cut at the picture's edges. Without
    `ImageSplits/<split>.txt` the lists of the actions, `<action>_<split>.txt`, are read one after the other. There
    are no masks.
    `root` is the folder that holds `Stanford40/`, or that folder itself.

    Raises: ValueError (split, action), FileNotFoundError (folder or file), OSError (damaged list or XML).
    """
    check_known(f"split of {name}", split, EXPECTED)
    base = find(root, ("Stanford40", "."), LAYOUT, name, signs=("ImageSplits",))
    lists = base / "ImageSplits"
    belongs = f"actions.txt and the lists of images; {name} is read from {LAYOUT}"
    present = listing(lists, belongs, ["actions.txt"], "it names the 40 actions")
    classes = _actions(lists / "actions.txt")

    files = [f"{split}.txt"] if f"{split}.txt" in present else [f"{action}_{split}.txt" for action in classes]
    listing(lists, belongs, files, f"expected {split}.txt, or one list for each action of actions.txt")
    ids = [each.removesuffix(".jpg") for each in read_names([lists / each for each in files], "image")]
    lister = f"ImageSplits/{files[0] if len(files) == 1 else ''}"
    expected = f"{lister} lists them (the full split has {EXPECTED[split]:,} images)"
    for folder, suffix in (("JPEGImages", ".jpg"), ("XMLAnnotations", ".xml")):
        listing(base / folder, f"one {suffix} file per image", [each + suffix for each in ids], expected)

    ids = ids[:limit]
    files = [base / "XMLAnnotations" / f"{each}.xml" for each in ids]
    known = [_parse(each, classes) for each in files]
    paths = [base / "JPEGImages" / f"{each}.jpg" for each in ids]
    objects, told = [each.objects for each in known], partial(facts, known)
    return Pictures(
        name, split, paths, classes, objects, partial(_annotate, known, files, paths), known=told, **square
    )


def _actions(file: Path) -> list[str]:
    """Return the actions of a list, one in a line, with its number of images or without; a header is left out."""
    rows = [(number, line.split()) for number, line in enumerate(read_text(file).splitlines(), 1)]
    rows = [(number, words) for number, words in rows if words and words[0] != "action_name"]
    actions = {}
    for number, words in rows:
        counted = [word.isdecimal() for word in words[1:]]
        if not is_name(words[0]) or counted not in ([], [True]) or len(words) != len(rows[0][1]):
            line = shown(" ".join(words))
            raise OSError(f"damaged {file}: line {number} is {line}, expected an action and its number of images")
        if words[0] in actions:
            raise OSError(f"damaged {file}: line {number} names {shown(words[0])} again, expected each action once")
        actions[words[0]] = number
    if not actions:
        raise OSError(f"empty {file}: expected the actions, one in each line")
    return list(actions)


def _parse(file: Path, classes: list[str]) -> Annotation:
    annotation = parse(file, classes, "action")
    if len(set(annotation.objects)) != 1:
        raise OSError(f"damaged annotation {file}: {len(set(annotation.objects))} actions, expected one")
    return annotation


def _annotate(
    known: list[Annotation], files: list[Path], paths: list[Path], i: int, height: int, width: int
) -> Annotation:
    return placed(known[i], height, width, files[i], paths[i])
