"""Digits and distractors on photographs: what a scene holds, where it stands, how it is painted.

Each scene draws from its own generator, so that scene i is the same whatever the number of scenes. All pixel
arithmetic is on integers.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from cam_utils.data.glyphs import extents

PLACES = ("right", "left", "above", "below")
SCALES = (1.0, 0.75, 0.55)  # of the photographs
TRIES, RESTARTS = 40, 25  # random places per digit; fresh starts per scene
OVERLAP = 0.1  # largest shared part of two boxes, of the smaller one
VISIBLE = 0.85  # smallest part of a digit's strokes that no later digit covers
REPEAT = 0.1  # of the scenes show one digit twice, in another handwriting
CONTRAST = 0.35  # smallest difference of luminance between a digit and the background behind it


class Scene(NamedTuple):
    """One painted scene with n digits."""

    image: np.ndarray  # uint8 [S, S, 3]
    owner: np.ndarray  # uint8 [S, S]: 1 + the digit that is visible there, 0 elsewhere
    boxes: np.ndarray  # int64 [n, 4], of the visible strokes, x2 and y2 exclusive


def choose_digits(
    rng: np.random.Generator, objects: Sequence[float], co_occurrence: float, pairs: Sequence[Sequence[int]]
) -> list[tuple[int, ...]]:
    """Return the digits of one scene in groups: (digit,) stands alone, (first, second) side by side.

    Drawn one by one until there are as many as `objects` asks for. With probability `co_occurrence` the first of
    a pair brings the second, and a second drawn on its own is passed over; so each of the two is seen without
    the other about equally seldom. Where no companion fits under the largest number, the first is passed over
    too. One-object scenes know no pairs.
    """
    most = len(objects)
    wanted = 1 + min(int(np.searchsorted(np.cumsum(objects), rng.random(), side="right")), most - 1)
    companion, seconds = dict(pairs), {second for _, second in pairs}
    groups: list[tuple[int, ...]] = []
    for digit in np.argsort(rng.random(10), kind="stable").tolist():
        present = {each for group in groups for each in group}
        if len(present) >= wanted:
            break
        bound = most > 1 and rng.random() < co_occurrence
        if digit in present or (bound and digit in seconds):
            continue
        if bound and digit in companion and companion[digit] not in present:
            if len(present) + 2 <= most:
                groups.append((digit, companion[digit]))
        else:
            groups.append((digit,))
    single = [group for group in groups if len(group) == 1 and group[0] not in seconds | set(companion)]
    if single and sum(map(len, groups)) < most and rng.random() < REPEAT:
        groups.append(single[0])
    return groups


def place(
    rng: np.random.Generator, sides: np.ndarray, groups: Sequence[Sequence[int]], side: int, relation: str
) -> np.ndarray | None:
    """Return int64 [m, 2], the corner (x, y) of each part, or None if no free place was found.

    Args:
        sides: int [m, 2], width and height of each part.
        groups: indices of parts; of two, the second stands at `relation` of the first.
        side: of the scene, in pixels. Parts in no group are left out: their corner is (-1, -1).
    """
    corners = np.full((len(sides), 2), -1)
    taken: list[tuple[int, int, int, int]] = []
    for group in groups:
        offsets = [(0, 0)]
        if len(group) == 2:
            offsets = _beside(rng, *sides[list(group)].tolist(), relation)
        boxes = [(x, y, x + sides[k][0], y + sides[k][1]) for k, (x, y) in zip(group, offsets, strict=True)]
        left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
        room_x = side - (max(box[2] for box in boxes) - left)
        room_y = side - (max(box[3] for box in boxes) - top)
        for _ in range(TRIES if min(room_x, room_y) >= 0 else 0):
            x, y = int(rng.random() * (room_x + 1)) - left, int(rng.random() * (room_y + 1)) - top
            moved = [(x1 + x, y1 + y, x2 + x, y2 + y) for x1, y1, x2, y2 in boxes]
            if all(_overlap(box, other) <= OVERLAP for box in moved for other in taken):
                taken += moved
                corners[list(group)] = [box[:2] for box in moved]
                break
        else:
            return None
    return corners


def paint(
    rng: np.random.Generator,
    patches: np.ndarray,
    groups: Sequence[Sequence[int]],
    extra: int,
    side: int,
    relation: str,
) -> Scene:
    """Return the scene of the given parts: the digits in `groups`, then `extra` distractors, behind them.

    Args: patches uint8 [m, P, P] opacity; groups of indices into them. Raises ValueError if they do not fit.
    """
    digits = len(patches) - extra
    ink = extents(patches)
    sides = ink[:, 2:] - ink[:, :2]
    for _ in range(RESTARTS):
        corners = place(rng, sides, groups, side, relation)
        if corners is None:
            continue
        owner = np.zeros((side, side), np.uint8)
        for k in range(digits):
            window, patch = _window(corners[k] - ink[k, :2], patches[k], side)
            owner[window][patch > 127] = k + 1
        strokes = (patches[:digits] > 127).sum((1, 2))
        seen = np.bincount(owner.ravel(), minlength=digits + 1)[1:]
        if (seen >= VISIBLE * strokes).all():
            break
    else:
        raise ValueError(f"{digits} digits found no place in a scene of {side} pixels; give a larger size")

    # A distractor that finds no free place is left out, so they are placed one by one.
    for k in range(digits, len(patches)):
        taken = [(*corners[j], *(corners[j] + sides[j])) for j in range(k) if corners[j, 0] >= 0]
        for _ in range(TRIES):
            x, y = (int(rng.random() * (side - length + 1)) for length in sides[k])
            if all(_overlap((x, y, x + sides[k][0], y + sides[k][1]), box) <= OVERLAP for box in taken):
                corners[k] = x, y
                break

    image = background(rng, side)
    still = image.copy()
    for k in [*range(digits, len(patches)), *range(digits)]:
        tint = rng.random(5)
        if corners[k, 0] >= 0:
            x, y = corners[k]
            colour = _colour(tint, still[y : y + sides[k][1], x : x + sides[k][0]])
            window, patch = _window(corners[k] - ink[k, :2], patches[k], side)
            opacity = patch[..., None].astype(np.int32)
            image[window] += ((colour - image[window]) * opacity + 127) // 255
    image = np.clip(image + _noise(rng, side), 0, 255).astype(np.uint8)
    visible = np.stack([owner == k + 1 for k in range(digits)])
    return Scene(image, owner, extents(visible.astype(np.uint8) * 255))


def background(rng: np.random.Generator, side: int) -> np.ndarray:
    """Return int32 [side, side, 3]: a crop of a photograph, mirrored at random, contrast lowered, hue turned."""
    fitting = [photo for photo in photographs() if min(photo.shape[:2]) >= side]
    draws = rng.random(6)
    photo = fitting[int(draws[0] * len(fitting))]
    y, x = (int(draw * (length - side + 1)) for draw, length in zip(draws[1:3], photo.shape, strict=False))
    crop = photo[y : y + side, x : x + side].astype(np.int32)
    crop = crop[:, ::-1] if draws[3] < 0.5 else crop
    turned = np.clip(crop @ _hue((draws[4] - 0.5) * 1.4) >> 10, 0, 255)
    sparse = turned[::4, ::4].reshape(-1, 3)
    mean = sparse.sum(0) // len(sparse)
    return mean + ((turned - mean) * int(1024 * (0.55 + 0.35 * draws[5])) >> 10)


@cache
def photographs() -> list[np.ndarray]:
    """Return scikit-learn's two photographs, uint8 [H, W, 3], at each of the scales; the smallest scale last."""
    images = [Image.fromarray(image) for image in load_sample_images().images]
    sizes = [[int(length * scale) for length in images[0].size] for scale in SCALES]
    return [np.asarray(each.resize(size, Image.Resampling.BICUBIC)) for size in sizes for each in images]


def luminance(image: np.ndarray) -> np.ndarray:
    """Return int [...] in 0..255 of RGB integers [..., 3], with the weights of BT.601.

    >>> luminance(np.array([[255, 255, 255], [0, 255, 0]])).tolist()
    [255, 149]
    """
    return (image.astype(np.int64) * (77, 150, 29)).sum(-1) >> 8


def _hue(angle: float) -> np.ndarray:
    """Return int32 [3, 3] in 1/1024: the rotation of colours about the grey axis."""
    same, other, turn = np.cos(angle), (1 - np.cos(angle)) / 3, np.sin(angle) / np.sqrt(3)
    cycle = np.roll(np.eye(3), 1, 1)
    return np.rint((same * np.eye(3) + other + turn * (cycle - cycle.T)) * 1024).astype(np.int32)


def _colour(tint: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """Return int32 [3]: a random colour at least CONTRAST away in luminance, lighter on dark, darker on bright."""
    ground = float(luminance(behind).sum()) / behind[..., 0].size / 255
    distance = CONTRAST + 0.25 * tint[3]
    level = min(ground + distance, 0.98) if ground < 0.5 else max(ground - distance, 0.02)
    chroma = [each - (0.299 * tint[0] + 0.587 * tint[1] + 0.114 * tint[2]) for each in tint[:3].tolist()]
    room = [((1 - level) if each > 0 else level) / abs(each) for each in chroma if each]  # until a channel clips
    strength = min([*room, 1.0]) * (0.3 + 0.7 * tint[4])
    return np.array([int(255 * (level + strength * each) + 0.5) for each in chroma], np.int32)


def _noise(rng: np.random.Generator, side: int) -> np.ndarray:
    """Return int32 [side, side, 3], a window of one fixed noise field; standard deviation 0.015 of the range."""
    y, x = (int(draw * 65) for draw in rng.random(2))
    return _field(side + 64)[y : y + side, x : x + side]


@cache
def _field(side: int) -> np.ndarray:
    draws = np.random.default_rng(0).random((side, side, 3, 4))
    return np.rint((draws[..., 0] + draws[..., 1] - draws[..., 2] - draws[..., 3]) * 6.625).astype(np.int32)


def _beside(rng: np.random.Generator, first: list[int], second: list[int], relation: str) -> list[tuple[int, int]]:
    """Return the corners of two boxes, 1 to 3 pixels apart and level to within 2 pixels."""
    gap, shift = 1 + int(rng.random() * 3), int(rng.random() * 5) - 2
    level = [(a - b) // 2 + shift for a, b in zip(first, second, strict=True)]
    corner = {
        "right": (first[0] + gap, level[1]),
        "left": (-second[0] - gap, level[1]),
        "above": (level[0], -second[1] - gap),
        "below": (level[0], first[1] + gap),
    }[relation]
    return [(0, 0), corner]


def _overlap(box: Sequence[int], other: Sequence[int]) -> float:
    """Return the shared area as a part of the smaller box."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    areas = [(each[2] - each[0]) * (each[3] - each[1]) for each in (box, other)]
    return max(width, 0) * max(height, 0) / min(areas)


def _window(corner: np.ndarray, patch: np.ndarray, side: int) -> tuple[tuple[slice, slice], np.ndarray]:
    """Return where the patch lies in the scene, and the part of it that does."""
    (x, y), length = corner.tolist(), len(patch)
    left, top, right, low = max(-x, 0), max(-y, 0), min(side - x, length), min(side - y, length)
    return (slice(y + top, y + low), slice(x + left, x + right)), patch[top:low, left:right]
