"""Pictures as a network sees them: read upright, letterboxed, and blended with a map.

:func:`cam_utils.data.sizing.unfit` leads from the letterboxed square back to the picture's own frame.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Set
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor, resize, to_dtype

from cam_utils.data.sizing import fit_image, letterbox
from cam_utils.front.file_names import distinct, printable, stems
from cam_utils.front.picture_files import SIDEWAYS, SUFFIXES, opened
from cam_utils.names import check_size

JPEG_SIDE = 65_500  # pixels: larger pictures cannot be stored
BAND = 1 << 19  # pixels that are turned, converted and made smaller at once, of a picture of any size


class Pictures(NamedTuple):
    """Pictures that somebody brought, in order and not yet read."""

    images: list  # paths, PIL images, arrays
    names: list[str]  # to show: the files' names, or "image-0", "image-1"
    stems: list[str]  # what files made from each picture are named after: all different
    folder: Path | None  # where they lie, if they were brought as a folder


def pictures_in(source) -> Pictures:
    """Return the pictures that `source` names: a path, a folder, a PIL image, an array, or several of these.

    A folder's pictures are those that lie in it itself, by name; see SUFFIXES. Several: a list, a tuple or whatever
    gives one after the other, but no folders. Nothing is opened.

    Raises FileNotFoundError without the file or folder, or for a folder without pictures, OSError for one that
    cannot be listed, ValueError for anything else than pictures, and for none.

    >>> found = pictures_in([Image.new("RGB", (2, 1)), np.zeros((1, 2, 3), np.uint8)])
    >>> len(found.images), found.names, found.folder
    (2, ['image-0', 'image-1'], None)
    """
    if isinstance(source, str | PathLike) and _is_folder(source):
        folder = Path(source).expanduser()
        files = _files(folder)
        return Pictures(files, [printable(file.name) for file in files], stems(files), folder)
    several = (
        isinstance(source, Iterable)
        and not isinstance(source, str | bytes | bytearray | PathLike | Mapping | Set | Image.Image | Tensor)
        and (not isinstance(source, np.ndarray) or source.dtype.kind in "UO")  # an array of names is a list
    )
    images = list(source) if several else [source]
    if not images:
        raise ValueError("expected at least one picture, got none")
    for i, image in enumerate(images):
        if isinstance(image, str | PathLike):
            if several and _is_folder(image):
                raise ValueError(f"expected pictures in a list, got the folder {printable(image)}: pass it alone")
        elif not isinstance(image, Image.Image | np.ndarray):
            where = f" as number {i} of a list" if several else ""
            raise ValueError(
                "expected a picture (path, PIL image, uint8 array), a folder or a list of pictures, got "
                f"{type(image).__name__}{where}"
            )
    paths = {i: Path(image) for i, image in enumerate(images) if isinstance(image, str | PathLike)}
    named = dict(zip(paths, stems(list(paths.values())), strict=True))
    names = [printable(paths[i].name) if i in paths else f"image-{i}" for i in range(len(images))]
    forms = [[named.get(i, name), f"{named.get(i, name)}-{i}"] for i, name in enumerate(names)]
    return Pictures(images, names, distinct(forms), None)


def letterboxed(image, size: int, channels: int = 3) -> Tensor:
    """Return a picture (path, PIL image, array) upright and letterboxed, [channels, size, size] in [0, 1].

    It is made smaller before it becomes a tensor: a large photograph needs the memory of its file's pixels, once.
    Raises as :func:`upright`.
    """
    check_size(size)
    return fit_image(smaller(image, lambda height, width: letterbox(height, width, size)[2:], channels), size)


def smaller(image, rule, channels: int = 3) -> Tensor:
    """Return a picture upright as uint8 [channels, h, w] of the size (h, w) that `rule(height, width)` says.

    Bilinear with antialias; the width first, band by band, then the height, as torchvision does it.
    """
    mode = _mode(channels)
    with opened(image) as (picture, turn):
        height, width = _upright_size(picture, turn)
        rows, columns = rule(height, width)
        narrow = torch.empty((channels, height, columns), dtype=torch.uint8)
        for top, band in _bands(picture, turn, mode):
            narrow[:, top : top + band.height] = resize(pil_to_tensor(band), [band.height, columns])
    return resize(narrow, [rows, columns])


def upright(image, channels: int = 3) -> Tensor:
    """Return a picture as uint8 [channels, H, W], turned as the orientation in its EXIF says.

    image: a path, a PIL image, or an array uint8 [H, W], [H, W, 1], [H, W, 3] (in the order red, green, blue) or
    [H, W, 4]. channels: 3, or 1 for grey. Of several frames it is the first; a grey picture becomes three equal
    channels, and an alpha channel is dropped. An orientation that is none of 1 to 8 leaves the picture as stored.

    Raises ValueError for anything else than a picture and for other numbers of channels, FileNotFoundError without
    the file, OSError for a damaged one (also one that is cut off) and for pixels of more than 8 bits.

    >>> upright(Image.new("L", (2, 1), 7)).tolist()
    [[[7, 7]], [[7, 7]], [[7, 7]]]
    """
    mode = _mode(channels)
    with opened(image) as (picture, turn):
        pixels = torch.empty((channels, *_upright_size(picture, turn)), dtype=torch.uint8)
        for top, band in _bands(picture, turn, mode):
            pixels[:, top : top + band.height] = pil_to_tensor(band)
        return pixels


def frame(image) -> tuple[int, int]:
    """Return (height, width) of a picture as it is seen, without decoding a file. Raises as :func:`upright`.

    >>> frame(Image.new("L", (20, 10)))
    (10, 20)
    """
    with opened(image, decode=False) as (picture, turn):
        return _upright_size(picture, turn)


def within(height: int, width: int, longest: int | None) -> tuple[int, int]:
    """Return the size of a picture of at most `longest` pixels.

    >>> within(300, 400, 200), within(300, 400, None), within(1, 4000, 200)
    ((150, 200), (300, 400), (1, 200))
    """
    scale = min(1.0, min(longest or JPEG_SIDE, JPEG_SIDE) / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def blend(image: Tensor, mask: Tensor, opacity: float = 0.6, *, signed: bool = False) -> np.ndarray:
    """Return an image [3, h, w], in [0, 1] or uint8, under a map [h, w] in [0, 1] as bytes [h, w, 3].

    signed: the map is in [-1, 1], red where it speaks for the label and blue against; 0 leaves the image as it is.

    >>> blend(torch.ones(3, 1, 1), torch.zeros(1, 1), opacity=0.5).tolist()  # half white, half the colour of 0
    [[[128, 128, 129]]]
    >>> blend(torch.ones(3, 1, 2), torch.tensor([[0.0, 1.0]]), opacity=1, signed=True).tolist()
    [[[255, 255, 255], [103, 0, 31]]]
    """
    from cam_utils import plots  # seaborn takes a second to import: whoever reads pictures need not wait for it

    out = np.empty((*mask.shape, 3), np.uint8)
    rows = max(1, BAND // mask.shape[-1])
    for top in range(0, len(mask), rows):  # the numbers of a large picture would fill the memory
        part = mask[top : top + rows]
        share = opacity * (part.abs().clamp(max=1)[..., None].numpy() if signed else 1)
        seen = to_dtype(image[:, top : top + rows], scale=True).permute(1, 2, 0).clamp(0, 1).numpy()
        out[top : top + rows] = (255 * ((1 - share) * seen + share * plots.coloured(part, signed=signed))).round()
    return out


def _is_folder(path: str | PathLike) -> bool:
    return os.path.isdir(Path(path).expanduser())  # Path.is_dir raises an error for names that cannot be


def _files(folder: Path) -> list[Path]:
    """Return what is named as a picture in a folder, by name."""
    if not _is_folder(folder):
        there = ": it is a file" if os.path.exists(folder) else ""
        raise FileNotFoundError(f"no folder of pictures at {printable(folder)}{there}")
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        below = not files and any(path.suffix.lower() in SUFFIXES for path in folder.glob("*/*"))
    except OSError as error:
        raise OSError(f"the folder {printable(folder)} cannot be listed: {error.strerror}") from error
    if not files:
        hint = "; there are some in its subfolders, which are not read: name one of these" if below else ""
        raise FileNotFoundError(
            f"no picture in {printable(folder)}: expected files ending in {', '.join(SUFFIXES)}{hint}"
        )
    return files


def _mode(channels: int) -> str:
    if channels not in (1, 3):
        raise ValueError(
            f"expected a network of 1 or 3 channels for a photograph, got {channels}: pass a tensor (B,C,h,w)"
        )
    return "L" if channels == 1 else "RGB"


def _upright_size(picture: Image.Image, turn: Image.Transpose | None) -> tuple[int, int]:
    width, height = picture.size
    return (width, height) if turn in SIDEWAYS else (height, width)


def _bands(picture: Image.Image, turn: Image.Transpose | None, mode: str) -> Iterator[tuple[int, Image.Image]]:
    """Give a picture in bands of its upright rows, each with its first row's number."""
    if picture.mode.startswith(("I", "F")):  # Pillow would cut every value above 255 to white
        raise OSError(f"its pixels have mode {picture.mode}, expected 8 bits per channel")
    height, width = _upright_size(picture, turn)
    step = max(1, BAND // width)
    backwards = turn in (
        Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM,  # the first row is the last as stored
        Image.Transpose.ROTATE_90, Image.Transpose.TRANSVERSE,  # the first row is the last column
    )  # fmt: skip
    for top in range(0, height, step):
        below = min(top + step, height)
        first, last = (height - below, height - top) if backwards else (top, below)
        box = (first, 0, last, width) if turn in SIDEWAYS else (0, first, width, last)
        band = picture.crop(box)
        band.info.pop("transparency", None)  # alpha is dropped, of a palette too
        if picture.mode in ("La", "RGBa"):
            band = band.convert(picture.mode.upper())
        band = band.convert("RGB").convert(mode)
        yield top, band if turn is None else band.transpose(turn)
