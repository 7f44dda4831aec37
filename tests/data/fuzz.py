"""Mutate the files of every layout and read them: `python -m tests.data.fuzz COUNT SEED` prints the tally.

It runs in a process of its own, because what it looks for may end the process.
"""

import contextlib
import copy
import faulthandler
import io
import json
import random
import re
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO

from cam_utils import data
from tests.data import coco_tree, damage

VALUES = [
    *(None, True, False, 0, -1, 1, 2, 1.5, -0.5, 1e9, 1e308, -1e9, 10**30, 2**31, 2**32, 2**63, float("inf"), ""),
    *("x", float("nan"), "../x", "\x00", "é\ud800", [], {}, [1], [[]], [None], {"size": [1, 1], "counts": [1]}),
]  # fmt: skip
WORDS = ["", "-1", "0", "nan", "inf", "1e999", "99999", "x", "0.5", "1 2", "9" * 5000, "é", "\x00"]
PIECES = [
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r\n", b"\n\n", b",", b'"', b"999999999999", b"-1", b"nan", b"1e999"),
    *(b"<!DOCTYPE a>", b"<object>", b"&a;", b"\xe9"),
]  # fmt: skip


def of_json(content: bytes, rng: random.Random) -> bytes:
    """Return JSON with one to three of its values deleted, doubled, scaled or replaced, at any depth."""
    if rng.random() < 0.2:
        return of_bytes(content, rng)
    whole = json.loads(content)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        paths = [path for path in _paths(whole) if path]
        depth = rng.choice(sorted({len(path) for path in paths}))  # coordinates would drown the rest
        *above, key = rng.choice([path for path in paths if len(path) == depth])
        holder = whole
        for each in above:
            holder = holder[each]
        action, value = rng.random(), holder[key]
        if action < 0.2:
            del holder[key]
        elif action < 0.35 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(value))
        elif action < 0.5 and isinstance(value, int | float):
            holder[key] = value * rng.choice([-1, 0, 2, 10, 1e6, 1e12, 0.5])
        elif action < 0.6 and isinstance(value, str):
            holder[key] = "".join(rng.choice([letter, chr(rng.randrange(32, 127))]) for letter in value)
        else:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
    return json.dumps(whole).encode()


def _paths(value: object, path: tuple = ()):
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from _paths(child, (*path, key))


def of_bytes(content: bytes, rng: random.Random) -> bytes:
    """Return the bytes with bits flipped, pieces lost, doubled or inserted, the end cut, or noise."""
    found = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8])):
        at, action = rng.randrange(len(found) + 1), rng.random()
        if action < 0.35 and at < len(found):
            found[at] ^= 1 << rng.randrange(8)
        elif action < 0.5:
            found[at : at + 1] = bytes([rng.randrange(256)])
        elif action < 0.6:
            del found[at:]
        elif action < 0.7:
            del found[at : at + rng.randrange(1, 40)]
        elif action < 0.8:
            found[at:at] = found[max(0, at - 60) : at]
        elif action < 0.95:
            found[at:at] = rng.choice(PIECES)
        else:
            found[:] = rng.randbytes(rng.randrange(200))
    return bytes(found)


def of_text(content: bytes, rng: random.Random) -> bytes:
    """Return the text with words replaced, or lines doubled, lost, shuffled or lengthened; or bytes changed."""
    if rng.random() < 0.4:
        return of_bytes(content, rng)
    text = content.decode()
    spans = [word.span() for word in re.finditer(r"[\w.-]+", text)]
    if rng.random() < 0.5:
        start, end = rng.choice(spans)
        return (text[:start] + rng.choice(WORDS) + text[end:]).encode()
    lines, action = text.split("\n"), rng.random()
    at = rng.randrange(len(lines))
    if action < 0.3:
        lines.insert(at, lines[at])
    elif action < 0.6:
        del lines[at]
    elif action < 0.8:
        rng.shuffle(lines)
    else:
        lines[at] += rng.choice([" 1", ",", "\t", "\r", " "])
    return "\n".join(lines).encode()


def read_coco(root: Path, name: str) -> list:
    """Return the samples, having checked that labels, crowds and masks are those that pycocotools reads."""
    scenes = data.load("coco2017", "val", root=root, size=48)
    samples = [scenes[i] for i in range(len(scenes))]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(root / name)  # after ours has let the file pass: it would crash
    index = {category: i for i, category in enumerate(sorted(coco.cats))}
    for i, entry in enumerate(sorted(coco.imgs.values(), key=lambda entry: entry["id"])):
        anns = coco.imgToAnns[entry["id"]]
        found = scenes._annotate(i, entry["height"], entry["width"])
        assert found.objects == [index[ann["category_id"]] for ann in anns]
        assert found.flags == [ann["iscrowd"] == 1 for ann in anns]
        assert all((coco.annToMask(ann) == mask).all() for ann, mask in zip(anns, found.masks, strict=True))
        assert scenes.labels[i].nonzero().flatten().tolist() == sorted({*found.objects})
    return samples


def attempt(root: Path, name: str, read: Callable) -> str:
    """Return "refused" if reading ends in a sentence, "accepted" if in samples; else what was wrong about it."""
    try:
        samples = read(root, name)
    except (OSError, ValueError) as error:
        text, kind = str(error), type(error)
        plain = kind in (OSError, ValueError, FileNotFoundError) and str(root) in text
        return "refused" if plain and "\n" not in text and len(text) < 900 else f"poor sentence: {error!r}"
    except BaseException as error:
        return f"raw error: {error!r}"
    right = len(samples) > 0 and all(_sound(sample) for sample in samples)
    return "accepted" if right else f"unsound samples: {samples}"


def _sound(sample: data.Sample) -> bool:
    boxes = sample.boxes.numpy()
    return bool(np.isfinite(boxes).all() and (boxes >= 0).all() and (boxes <= 48).all())


def main(count: int, seed: int) -> None:
    faulthandler.enable()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        damage.write(root)
        coco = str(coco_tree.write(root).relative_to(root))
        texts = (damage.LIST, damage.SYNSETS, damage.SOLUTION, damage.ACTIONS, damage.SPLIT, damage.TAGS)
        ways = dict.fromkeys((*texts, damage.XML, damage.PERSON), (of_text, damage.read))
        ways |= dict.fromkeys((damage.MASK, damage.PHOTO), (of_bytes, damage.read)) | {coco: (of_json, read_coco)}
        tally = {}
        for name, (mutate, read) in ways.items():
            original = (root / name).read_bytes()
            found = tally[name] = {"refused": 0, "accepted": 0, "wrong": []}
            for k in range(count * (4 if name == coco else 1)):
                (root / name).write_bytes(mutate(original, random.Random(f"{seed} {k} {name}")))
                outcome = attempt(root, name, read)
                if outcome in found:
                    found[outcome] += 1
                else:
                    found["wrong"].append(f"{seed} {k}: {outcome[:500]}")
            (root / name).write_bytes(original)
    print(json.dumps(tally, indent=1))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
