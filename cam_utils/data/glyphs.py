"""Handwritten digits as smooth pen strokes, and as strokes that are no digit.

Every operation here is exact: dyadic filter weights, single divisions, fixed-point integers. So the same strokes
come out on each machine, whatever its vector instructions or number of threads.
"""

from functools import cache

import numpy as np
from sklearn.datasets import load_digits

SIDE = 40  # pixels of a master glyph: 8 cells and a margin of one cell, four pixels each
PATCH = 52  # pixels of a rendered patch; the largest glyph, turned and sheared, fits
SHARE = 0.7  # of the digits train, the rest validate; the file is ordered by writer


@cache
def masters() -> tuple[np.ndarray, np.ndarray]:
    """Return opacity uint8 [1797, 40, 40] and class int64 [1797] of scikit-learn's digits.

    Bicubic (Catmull-Rom) from 10 x 10 cells, blurred once (binomial 5), then a soft threshold at 0.48 of the
    maximum: the iso-contour reads as one pen stroke.
    """
    digits = load_digits()
    cells = np.pad(digits.images, ((0, 0), (1, 1), (1, 1)))  # [1797, 10, 10], 0 to 16
    widen = _blur() @ _bicubic()  # [40, 10]
    smooth = widen @ cells @ widen.T  # [1797, 40, 40]
    level = smooth / smooth.max((1, 2), keepdims=True)
    return _to_bytes((level - 0.48) / 0.25 + 0.5), digits.target


@cache
def pools() -> dict[str, list[np.ndarray]]:
    """Return, for "train" and "val", the rows of each class; the two share no row.

    >>> [sum(map(len, pools()[split])) for split in ("train", "val")]
    [1257, 540]
    """
    target = masters()[1]
    cut = int(SHARE * len(target))
    rows = {"train": np.arange(cut), "val": np.arange(cut, len(target))}
    return {split: [each[target[each] == digit] for digit in range(10)] for split, each in rows.items()}


def scramble(glyphs: np.ndarray, variant: np.ndarray) -> np.ndarray:
    """Return uint8 [n, 40, 40]: the quadrants of each digit moved and flipped; same strokes, no digit.

    Quadrants are those of the strokes' own box, so that the pieces meet again; the seams are smoothed.

    Args: glyphs uint8 [n, 40, 40]; variant int [n] in 0..2, how the quadrants move (see below).
    """
    x1, y1, x2, y2 = extents(glyphs).astype(np.int32).T[:, :, None]  # [n, 1] each
    wide, tall, line = x2 - x1, y2 - y1, np.arange(SIDE, dtype=np.int32)
    column, row, variant = line - x1, line - y1, variant[:, None, None]  # [n, 40], [n, 40], [n, 1, 1]
    lower, right = (row >= tall // 2)[:, :, None], (column >= wide // 2)[:, None, :]

    # Columns change sides in all, rows too in 0 and 1; in 1 the right half, in 2 the lower half is turned over.
    from_x = ((column + wide // 2) % wide)[:, None, :]
    from_y = np.where(variant < 2, ((row + tall // 2) % tall)[:, :, None], row[:, :, None])
    from_y = np.where((variant == 1) & right, (tall - 1)[:, :, None] - from_y, from_y)  # [n, 40, 40]
    from_x = np.where((variant == 2) & lower, (wide - 1)[:, :, None] - from_x, from_x)

    inside = ((column >= 0) & (column < wide))[:, None, :] & ((row >= 0) & (row < tall))[:, :, None]
    first = np.arange(len(glyphs), dtype=np.int32)[:, None] * SIDE**2 + y1 * SIDE + x1  # flat index of each box
    moved = np.where(inside, glyphs.take(first[:, :, None] + from_y * SIDE + from_x, mode="clip"), 0)
    return _to_bytes((_blur() @ (moved / 256) @ _blur() - 0.45) / 0.3 + 0.5)


def render(glyphs: np.ndarray, geometry: np.ndarray) -> np.ndarray:
    """Return uint8 [n, 52, 52]: each glyph resized, turned and sheared about the centre of its patch.

    Args:
        glyphs: uint8 [n, 40, 40] opacity.
        geometry: float [n, 4]: side in pixels, angle in radians, shear (x per y), aspect (width over height).
    """
    inverse = _inverse(geometry)
    padded = np.pad(glyphs, ((0, 0), (1, 1), (1, 1))).astype(np.int32)  # [n, 42, 42]
    offset = 2 * np.arange(PATCH, dtype=np.int32) - (PATCH - 1)  # from the centre, in half pixels
    centre = (SIDE + 1) * 1024  # of the padded master, in 1/2048 pixel
    spots, parts = [], []
    for row in (1, 0):  # y, x
        spot = inverse[:, row, 0, None, None] * offset + inverse[:, row, 1, None, None] * offset[:, None] + centre
        spot = spot.clip(0, (SIDE + 1) * 2048 - 1)  # [n, 52, 52]
        spots.append(spot >> 11)
        parts.append((spot & 2047) >> 3)  # in 1/256
    (y, x), (part_y, part_x) = spots, parts
    flat = padded.ravel()
    first = (np.arange(len(glyphs), dtype=np.int32)[:, None, None] * (SIDE + 2) + y) * (SIDE + 2) + x
    upper = flat[first] * (256 - part_x) + flat[first + 1] * part_x
    lower = flat[first + SIDE + 2] * (256 - part_x) + flat[first + SIDE + 3] * part_x
    return ((upper * (256 - part_y) + lower * part_y + 32768) >> 16).astype(np.uint8)


def extents(patches: np.ndarray) -> np.ndarray:
    """Return int64 [n, 4]: (x1, y1, x2, y2) of the pixels of opacity above one half, x2 and y2 exclusive.

    >>> patch = np.zeros((1, 5, 5), np.uint8); patch[0, 1:3, 2:5] = 255
    >>> extents(patch).tolist()
    [[2, 1, 5, 3]]
    """
    ink = patches > 127
    sides = []
    for seen in (ink.any(1), ink.any(2)):  # columns, rows: [n, 52]
        sides.append((seen.argmax(1), seen.shape[1] - seen[:, ::-1].argmax(1)))
    (x1, x2), (y1, y2) = sides
    return np.stack([x1, y1, x2, y2], 1)


def _inverse(geometry: np.ndarray) -> np.ndarray:
    """Return int32 [n, 2, 2] in 1/1024, from patch to master offsets; rounding hides the last bit of the sine."""
    side, angle, shear, aspect = geometry.T
    scale = SIDE / side
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    rows = [(cos - shear * -sin) / aspect, (sin - shear * cos) / aspect, -sin, cos]
    return np.rint(np.stack(rows, 1) * 1024).astype(np.int32).reshape(-1, 2, 2)


def _bicubic() -> np.ndarray:
    """Return float64 [40, 10]: Catmull-Rom interpolation to four times as many samples; weights are dyadic."""
    matrix = np.zeros((SIDE, SIDE // 4))
    for i in range(SIDE):
        base, t = divmod((i + 0.5) / 4 - 0.5, 1)
        weights = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2)
        for k, weight in enumerate(weights):
            matrix[i, min(max(int(base) + k - 1, 0), SIDE // 4 - 1)] += weight / 2
    return matrix


def _blur() -> np.ndarray:
    """Return float64 [40, 40]: the binomial filter 1 4 6 4 1 over 16."""
    return sum(np.eye(SIDE, k=k) * weight / 16 for k, weight in zip(range(-2, 3), (1, 4, 6, 4, 1), strict=True))


def _to_bytes(opacity: np.ndarray) -> np.ndarray:
    return np.floor(opacity.clip(0, 1) * 255 + 0.5).astype(np.uint8)
