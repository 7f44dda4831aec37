"""The embedded dataset: several handwritten digits on a photograph, with exact masks, generated in seconds.

Digits and photographs are scikit-learn's own. The digits of some pairs co-occur, as chair and sofa do in VOC, and
how strongly is an option: a classifier then leans on the companion, and the exact masks show it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from cam_utils.data.glyphs import masters, pools, render, scramble
from cam_utils.data.sample import Sample, digest, multi_hot
from cam_utils.data.scenes import PLACES, Scene, choose_digits, paint
from cam_utils.data.sizing import RESIZES
from cam_utils.names import check_count, check_known, check_size

CLASSES = tuple("0123456789")
COUNT = {"train": 5000, "val": 500}
SIDES = (48, 427)  # smallest and largest scene, in pixels: a digit must fit, and a photograph must fill it
GEOMETRY = ((26, 40), (-0.21, 0.21), (-0.15, 0.15), (0.9, 1.1))  # side, angle (up to 12 degrees), shear, aspect
RECIPE = 1  # raised whenever the same options give other pixels


class Digits(Dataset):
    """Generated scenes, held in memory as bytes.

    Besides what every dataset has: `images_uint8` [N, 3, S, S], all images at once (the fast path of training).
    """

    def __init__(self, split: str, count: int, size: int, options: dict[str, object]):
        self.name, self.split, self.classes, self.size, self.has_masks = "digits", split, CLASSES, size, True
        self.ids = [f"{split}-{i:05d}" for i in range(count)]
        self._options = options
        pool = pools()[split]
        # Scrambled, a 1 stays a 1 and a 4 turns into a 0, so the distractors come from the other digits.
        strokes = np.concatenate([each for digit, each in enumerate(pool) if digit not in (0, 1, 4)])
        rngs = [np.random.default_rng((options["seed"], list(COUNT).index(split), i)) for i in range(count)]
        scenes, groups = zip(*(_scene(rng, pool, strokes, size, **options) for rng in rngs), strict=True)
        self._objects = [[digit for group in each for digit in group] for each in groups]
        self._boxes = [scene.boxes for scene in scenes]
        self._owner = np.stack([scene.owner for scene in scenes])
        self.labels = multi_hot(self._objects, len(CLASSES))
        images = np.stack([scene.image for scene in scenes]).transpose(0, 3, 1, 2)
        self.images_uint8 = torch.from_numpy(np.ascontiguousarray(images))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        index = range(len(self))[index]
        order = np.arange(1, len(self._objects[index]) + 1, dtype=np.uint8)
        return Sample(
            image=self.images_uint8[index].float() / 255,
            labels=self.labels[index],
            objects=torch.tensor(self._objects[index]),
            boxes=torch.from_numpy(self._boxes[index]).float(),
            masks=torch.from_numpy(self._owner[index] == order[:, None, None]),
            ignore=None,
            flags=torch.zeros(len(order), dtype=torch.bool),
            id=self.ids[index],
        )

    def fingerprint(self) -> str:
        """Return a short hash of all that determines the samples: recipe, split, size, options, ids, labels."""
        facts = {"name": self.name, "split": self.split, "size": self.size, "ids": self.ids, "recipe": RECIPE}
        return digest(facts | {"options": self._options}, self.labels)


def load(
    name: str,
    split: str,
    *,
    root: str | Path | None = None,
    size: int | None = None,
    resize: str = "letterbox",
    limit: int | None = None,
    n: int | None = None,
    seed: int = 0,
    co_occurrence: float = 0.9,
    pairs: Sequence[Sequence[int]] = ((1, 7), (0, 6), (3, 8)),
    place: str = "right",
    objects: Sequence[float] = (0.15, 0.35, 0.30, 0.20),
    distractors: tuple[int, int] = (0, 3),
) -> Digits:
    """Return `n` scenes (5000 in "train", 500 in "val"); the splits share no handwriting. `root` is not used.

    Args:
        size: side of the scene in pixels, 96 if None; digits keep their 26 to 40 pixels.
        seed: of everything random; scene i is the same whatever `n`.
        co_occurrence: probability in [0, 1] that the first digit of a pair brings the second, and that a second
            is not drawn without it; 0 makes the digits independent.
        pairs: (first, second) digits, each digit in one pair at most.
        place: where the second stands, seen from the first: "right", "left", "above" or "below".
        objects: probabilities of 1, 2, ... different digits, before companions join. (1.0,) gives one digit per
            scene, and then there are no pairs.
        distractors: fewest and most strokes that are no digit.
    Raises: ValueError for any value outside of these, and if the digits do not fit into `size`.

    >>> load("digits", "val", n=3, size=48, objects=(1.0,)).labels.sum(1).tolist()
    [1.0, 1.0, 1.0]
    """
    check_known("split of digits", split, COUNT)
    check_known("place", place, PLACES)
    check_known("resize", resize, RESIZES)
    size = check_size(96 if size is None else size)
    if not SIDES[0] <= size <= SIDES[1]:
        raise ValueError(f"expected size of digits from {SIDES[0]} to {SIDES[1]} pixels, got {size}")
    count = check_count("n", COUNT[split] if n is None else n, " of scenes")
    options = {
        "seed": check_count("seed", seed, least=0),
        "co_occurrence": float(co_occurrence),
        "pairs": [list(pair) for pair in pairs],
        "place": place,
        "objects": [float(each) for each in objects],
        "distractors": list(distractors),
    }
    _check(**options)
    return Digits(split, min(count, limit or count), size, options)


def _check(*, co_occurrence: float, pairs: list, objects: list, distractors: list, **_: object) -> None:
    if not 0 <= co_occurrence <= 1:
        raise ValueError(f"expected co_occurrence in [0, 1], got {co_occurrence}")
    paired = [digit for pair in pairs for digit in pair]
    if any(len(pair) != 2 for pair in pairs) or not set(paired) <= set(range(10)) or len({*paired}) < len(paired):
        raise ValueError(f"expected pairs of digits 0 to 9, each digit in one pair at most, got {pairs}")
    if not 1 <= len(objects) <= 10 or min(objects) < 0 or abs(sum(objects) - 1) > 1e-6:
        raise ValueError(f"expected objects as 1 to 10 probabilities that sum to 1, got {objects}")
    if len(distractors) != 2 or not 0 <= distractors[0] <= distractors[1]:
        raise ValueError(f"expected distractors as (fewest, most), got {distractors}")


def _scene(
    rng: np.random.Generator, pool: list, strokes: np.ndarray, size: int, *, co_occurrence: float, pairs: list,
    place: str, objects: list, distractors: list, **_: object,
) -> tuple[Scene, list[tuple[int, ...]]]:  # fmt: skip
    """Return a painted scene and its digits in groups; `pool` holds each digit's rows of handwriting."""
    groups = choose_digits(rng, objects, co_occurrence, pairs)
    extra = distractors[0] + int(rng.random() * (distractors[1] - distractors[0] + 1))
    parts = [pool[digit] for group in groups for digit in group] + [strokes] * extra
    rows = [part[int(draw * len(part))] for part, draw in zip(parts, rng.random(len(parts)), strict=True)]
    draws, shown = rng.random((len(parts), 5)), len(parts) - extra
    glyphs = masters()[0][rows]
    glyphs[shown:] = scramble(glyphs[shown:], (draws[shown:, 4] * 3).astype(int))
    low, high = np.array(GEOMETRY).T
    patches = render(glyphs, low + (high - low) * draws[:, :4])  # [m, P, P]
    order = iter(range(shown))
    return paint(rng, patches, [[next(order) for _ in group] for group in groups], extra, size, place), groups
