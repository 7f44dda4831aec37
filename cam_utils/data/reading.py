"""Files of a dataset, read so that damage in them is one sentence: pictures, lists of names, tables, boxes."""

import csv
import io
import reprlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

# What Pillow may take a picture for, whatever its name ends in: of the others, one runs a program (EPS).
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP")

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 100


def shown(value: object) -> str:
    """Return what a sentence shows of a value: its `repr`, cut in the middle where that is long.

    >>> shown("cat"), len(shown("x" * 9999)), len(shown(["x" * 9999] * 9))
    ("'cat'", 100, 93)
    """
    text = _short.repr(value)
    return text if len(text) <= 102 else f"{text[:60]}...{text[-30:]}"


def is_name(text: object) -> bool:
    """Return whether the value can name a class or a file: printable text of 1 to 200 characters.

    >>> is_name("dining table"), is_name(" "), is_name("cat\\n"), is_name(None)
    (True, False, False, False)
    """
    return isinstance(text, str) and 0 < len(text.strip()) <= len(text) <= 200 and text.isprintable()


def read_bytes(file: Path) -> bytes:
    """Return the content; raises FileNotFoundError if this is no regular file: a pipe would wait for ever."""
    if not file.is_file():
        raise FileNotFoundError(f"missing {file}: expected a file")
    return file.read_bytes()


def read_text(file: Path) -> str:
    """Return the text, UTF-8 with or without a byte order mark; raises OSError naming the file if it is none."""
    try:
        return read_bytes(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OSError(f"damaged {file}: expected text in UTF-8, got {error}") from error


def read_names(files: Sequence[Path], what: str) -> list[str]:
    """Return the names that the files list, one in a line, without blank lines; `what` they name: "image".

    Raises: OSError naming file and line if a line holds more than a name, or a name of before; if there is none.
    """
    names = {}
    for file in files:
        for number, line in enumerate(read_text(file).splitlines(), 1):
            name = line.strip()
            if not name:
                continue
            if not is_name(name) or len(name.split()) > 1:
                raise OSError(f"damaged {file}: line {number} is {shown(line)}, expected the name of one {what}")
            if name in names:
                raise OSError(f"damaged {file}: line {number} names {shown(name)} again, expected each {what} once")
            names[name] = None
    if not names:
        raise OSError(f"empty {' and '.join(map(str, files[:2]))}: expected the name of one {what} in each line")
    return list(names)


def read_rows(file: Path, columns: Sequence[str], form: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of the line, values in the order of `columns`) for each row of a table with a header.

    Raises: OSError naming the file if it is no such table; naming the line if a row has more or fewer values than
    the header, or quotes that do not end. `form` says what was expected of a row.
    """
    rows = csv.reader(io.StringIO(read_text(file), newline=""), strict=True)
    try:
        header = next(rows, [])
        if not set(columns) <= set(header) or len(set(header)) < len(header):
            raise OSError(
                f"damaged {file}: expected the columns {','.join(columns)}, got {shown(','.join(header))}"
            )
        for row in filter(None, rows):  # csv gives a blank line as an empty row
            if len(row) != len(header):
                raise OSError(f"damaged line {rows.line_num} of {file}: {shown(','.join(row))}, expected {form}")
            yield rows.line_num, [row[header.index(column)] for column in columns]
    except csv.Error as error:
        raise OSError(f"damaged line {rows.line_num} of {file}: {error}, expected {form}") from error


def read_pixels(path: Path, mode: str | None = None) -> np.ndarray:
    """Return the pixels of the file, [H, W] or [H, W, channels], converted to Pillow's `mode` if given.

    They come as they are stored, for so they were annotated: no EXIF tag turns them.

    Raises: OSError naming the file if it is damaged, too large for Pillow, of another format than FORMATS, or has
    more than 8 bits per channel; FileNotFoundError without it; RuntimeError if Pillow is set to pad truncated
    files, for then damage would pass unseen.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise RuntimeError("Pillow pads truncated images; set PIL.ImageFile.LOAD_TRUNCATED_IMAGES to False")
    if not path.is_file():
        raise FileNotFoundError(f"missing image {path}: expected a file")
    try:
        with Image.open(path, formats=FORMATS) as picture:
            if picture.mode.startswith(("I", "F")):  # Pillow would cut every value above 255 to white
                raise OSError(f"its pixels have mode {picture.mode}, expected 8 bits per channel")
            return np.array(picture.convert(mode) if mode else picture)
    except Exception as error:  # Pillow's decoders raise nearly every kind; a bomb is an Exception of its own
        raise OSError(f"damaged or truncated image {path}: {error or type(error).__name__}") from error


def cut_box(box: Sequence[float], height: int, width: int, slack: float = 1.0) -> list[float] | None:
    """Return (x1, y1, x2, y2) cut at the edges of the picture, None if it reaches more than `slack` pixels beyond.

    One pixel is what counting from 0 and from 1 differ by. x2 may equal x1: COCO's own boxes can be flat.

    >>> cut_box([-1, 0, 5, 8], 8, 8), cut_box([-2, 0, 5, 8], 8, 8), cut_box([5, 0, 4, 8], 8, 8)
    ([0, 0, 5, 8], None, None)
    """
    x1, y1, x2, y2 = box
    if -slack <= x1 <= x2 <= width + slack and -slack <= y1 <= y2 <= height + slack:  # never true of NaN
        return [max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)]
    return None
