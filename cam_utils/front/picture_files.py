"""Pictures as their makers left them: files opened whatever their metadata hold, PIL images, arrays of bytes.

Of all metadata only the orientation is read. Where Pillow stumbles over the rest (a colour profile, a thumbnail's
index, a checksum), the file is opened once more without it: what a viewer shows is read.
"""

import io
import logging
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from cam_utils.front.file_names import printable

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = tuple(TURNS[code] for code in (5, 6, 7, 8))  # these swap height and width
# Tags of TIFF that say how its pixels are stored, and its orientation; all others are about the picture.
PIXEL_TAGS = (
    *range(254, 260), 262, 266, 273, ORIENTATION, *range(277, 280), 284, 292, 293, 317, *range(320, 326), 338, 339,
    347, *range(512, 522), *range(529, 533),
)  # fmt: skip

logging.getLogger("PIL").addHandler(logging.NullHandler())  # else its notes on damaged files go to stderr
_QUIET = threading.Lock()


@contextmanager
def opened(image, *, decode: bool = True) -> Iterator[tuple[Image.Image, Image.Transpose | None]]:
    """Give a picture (path, PIL image, array of bytes) as a PIL image, and the turn that sets it upright.

    decode: False opens a file without reading its pixels. Raises as :func:`cam_utils.front.pictures.upright`, and
    says the same of whatever Pillow raises inside the block.
    """
    if not isinstance(image, Image.Image | np.ndarray | str | PathLike):
        raise ValueError(f"expected a tensor (B,3,h,w), PIL images, arrays or paths, got {type(image).__name__}")
    if isinstance(image, np.ndarray):
        image = _of_array(image)
    name = printable(getattr(image, "filename", "") if isinstance(image, Image.Image) else image) or "the picture"
    file = _checked(Path(image).expanduser(), name) if isinstance(image, str | PathLike) else None
    picture = None
    try:
        picture, turn = _read(image, decode) if file is None else _read_file(file, decode)
        if 0 in picture.size:
            raise OSError(f"it has no pixels, its size is {picture.width} x {picture.height}")
        yield picture, turn
    except Exception as error:  # whatever a decoder trips over: it must end neither a folder nor a long run
        raise OSError(f"{name} cannot be read as an image: {_reason(error)}") from error
    finally:
        if file is not None and picture is not None:
            picture.close()


def _of_array(array: np.ndarray) -> Image.Image:
    shape = array.shape
    if array.dtype != np.uint8 or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))):
        raise ValueError(
            "expected an array of a picture's bytes, uint8 (H,W), (H,W,1), (H,W,3) as RGB or (H,W,4), got "
            f"{array.dtype} {shape}: pass other numbers as a tensor, and several pictures as a list"
        )
    return Image.fromarray(np.ascontiguousarray(array[..., 0] if shape[2:] == (1,) else array))


def _checked(path: Path, name: str) -> Path:
    """Return the path of a file with content; else raise an error that says what lies there."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        link = ": it is a link to a file that does not exist" if path.is_symlink() else ""
        raise FileNotFoundError(f"no picture at {name}{link}") from None
    except (OSError, ValueError) as error:  # no permission, a name that is too long, a zero byte, a loop of links
        raise OSError(f"{name} cannot be read as an image: {_reason(error)}") from error
    if not stat.S_ISREG(found.st_mode):  # a pipe would wait for ever
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
        raise OSError(f"{name} cannot be read as an image: it is {kind}")
    if not found.st_size:
        raise OSError(f"{name} cannot be read as an image: the file is empty")
    return path


def _read_file(path: Path, decode: bool) -> tuple[Image.Image, Image.Transpose | None]:
    try:
        with path.open("rb") as file:
            late = _late_exif(file)
        return _read(path, decode, late)
    except MemoryError:
        raise
    except Exception as error:
        with path.open("rb") as file:
            bare = _bare(file)
        if bare is None:
            raise
        try:
            return _read(bare[0], decode, bare[1])
        except Exception:
            raise error from None  # what is wrong with the file as it is


def _read(source, decode: bool, exif: bytes | None = None) -> tuple[Image.Image, Image.Transpose | None]:
    # Filters of warnings belong to the whole process: one reader at a time changes them, and for Pillow alone.
    with _QUIET, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        picture = source if isinstance(source, Image.Image) else Image.open(source)
        try:
            if exif is not None:
                picture.info["exif"] = exif
            turn = None if hasattr(picture, "tag_v2") else _turn(picture)  # Pillow turns TIFF by itself
            if decode:
                with _muted() if hasattr(picture, "tag_v2") else nullcontext():
                    picture.load()
        except BaseException:
            if picture is not source:
                picture.close()
            raise
        return picture, turn


@contextmanager
def _muted() -> Iterator[None]:
    """Drop what libtiff writes about a damaged file to the standard error stream by itself, without Python."""
    try:
        kept = os.dup(2)
    except OSError:  # a process without this stream
        kept = None
    try:
        if kept is not None:
            with open(os.devnull, "wb") as nothing:
                os.dup2(nothing.fileno(), 2)
        yield
    finally:
        if kept is not None:
            os.dup2(kept, 2)
            os.close(kept)


def _turn(picture: Image.Image) -> Image.Transpose | None:
    code = _orientation(picture.info.get("exif") or b"")
    if code is None:
        try:
            code = picture.getexif().get(ORIENTATION)  # which also looks into XMP
        except Exception:  # damage of any kind: the picture is shown as it is stored
            return None
    return TURNS.get(code) if isinstance(code, int) else None


def _orientation(exif: bytes) -> int | None:
    """Return the orientation that stands in EXIF, whatever stands beside it.

    Pillow reads all entries to find one, and gives up at some that are damaged.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(exif[:4])
    if order is None:
        return None
    for entry in _entries(exif, order):
        if int.from_bytes(entry[:2], order) == ORIENTATION:
            size = {1: 1, 3: 2, 4: 4}.get(int.from_bytes(entry[2:4], order))  # whole numbers of so many bytes
            return int.from_bytes(entry[8 : 8 + size], order) if size and any(entry[4:8]) else None
    return None


def _entries(data: bytes, order: str) -> list[bytes]:
    """Return the entries of the first directory of a TIFF, 12 bytes each, as many as there are."""
    at = int.from_bytes(data[4:8], order)
    end = at + 2 + 12 * int.from_bytes(data[at : at + 2], order)
    return [data[i : i + 12] for i in range(at + 2, min(end, len(data) - 11), 12)]


def _reason(error: BaseException) -> str:
    """Return what went wrong as part of a sentence, in one line."""
    if isinstance(error, UnidentifiedImageError):
        return "its content is not that of a picture"
    if isinstance(error, MemoryError):
        return "its pixels need more memory than there is"
    if isinstance(error, OSError | Image.DecompressionBombError):
        text = error.strerror.lower() if getattr(error, "strerror", None) else str(error)
    else:
        text = f"its content is damaged ({str(error) or type(error).__name__})"
    return printable(" ".join(text.split()))[:200]


def _late_exif(file: BinaryIO) -> bytes | None:
    """Return the EXIF of a PNG, which may stand after the pixels, where Pillow finds it only by decoding them."""
    if file.read(8) != b"\x89PNG\r\n\x1a\n":
        return None
    for kind, at, length in _chunks(file):
        if kind == b"eXIf":
            file.seek(at + 8)
            return file.read(length)
        if kind in (b"tEXt", b"zTXt"):  # an old way to keep EXIF, which Pillow knows
            file.seek(at + 8)
            if file.read(21) == b"Raw profile type exif":
                return None
    return b""


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Give each chunk of a PNG: its name, where it starts, and the length of its content."""
    at = 8
    while len(head := (file.seek(at), file.read(8))[1]) == 8:
        length = int.from_bytes(head[:4], "big")
        yield head[4:], at, length
        at += 12 + length


def _bare(file: BinaryIO) -> tuple[io.BytesIO, bytes] | None:
    """Return a JPEG, PNG or TIFF without what its pixels do not need, and its EXIF; None for other files."""
    start = file.read(8)
    if start == b"\x89PNG\r\n\x1a\n":
        out, exif = io.BytesIO(), b""
        out.write(start)
        for kind, at, length in _chunks(file):
            if kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"eXIf"):
                file.seek(at)
                chunk = file.read(12 + length)
                if kind == b"eXIf":
                    exif = exif or chunk[8 : 8 + length]
                else:
                    out.write(chunk)
    elif start[:2] == b"\xff\xd8":
        out, exif = _bare_jpeg(file)
    elif start[:4] in (b"II*\0", b"MM\0*"):
        out, exif = _bare_tiff(file, "little" if start[:1] == b"I" else "big"), None
    else:
        return None
    out.seek(0)
    return out, exif


def _bare_jpeg(file: BinaryIO) -> tuple[io.BytesIO, bytes]:
    out, exif, at = io.BytesIO(b"\xff\xd8"), b"", 2
    out.seek(2)
    while True:
        file.seek(at)
        marker, length = file.read(2), int.from_bytes(file.read(2), "big")
        if len(marker) < 2 or marker[0] != 0xFF or marker[1] == 0xDA:  # the pixels start
            file.seek(at)
            out.write(file.read())
            return out, exif
        if marker[1] == 0xFF:  # bytes that fill up, and may be many
            file.seek(at)
            block = file.read(1 << 16)
            at += max(1, len(block) - len(block.lstrip(b"\xff")) - 1)
            continue
        if marker[1] in (0x00, 0x01, *range(0xD0, 0xDA)):  # markers without content
            at += 2
            continue
        content = file.read(max(0, length - 2))
        if marker[1] == 0xE1 and content[:6] == b"Exif\0\0":
            exif += content[6:]  # a long one stands in several segments
        colours = (marker[1] == 0xE0 and content[:5] == b"JFIF\0" and length >= 16) or (
            marker[1] == 0xEE and content[:5] == b"Adobe" and length >= 14
        )
        if colours or not (0xE0 <= marker[1] <= 0xEF or marker[1] == 0xFE):
            out.write(marker + length.to_bytes(2, "big") + content)
        at += 2 + max(2, length)


def _bare_tiff(file: BinaryIO, order: str) -> io.BytesIO:
    """Return a TIFF whose first directory, written anew at its end, has the pixels' tags alone."""
    file.seek(0)
    data = file.read()
    kept = [entry for entry in _entries(data, order) if int.from_bytes(entry[:2], order) in PIXEL_TAGS]
    data += b"\0" * (len(data) % 2)
    directory = len(kept).to_bytes(2, order) + b"".join(kept) + bytes(4)
    return io.BytesIO(data[:4] + len(data).to_bytes(4, order) + data[8:] + directory)
