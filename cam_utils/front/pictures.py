"""Pictures as a network sees them: read upright, letterboxed, and blended with a map.

:func:`cam_utils.data.sizing.unfit` leads from the letterboxed square back to the picture's own frame.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from cam_utils.data.sizing import fit_image
from cam_utils.names import check_count

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


class Photos(NamedTuple):
    """The pictures of a folder that could be read, in the order of their names."""

    paths: list[Path]
    stems: list[str]  # what files made from each picture are named after
    frames: list[tuple[int, int]]  # (height, width) of each, upright
    pixels: Tensor  # [N, 3, S, S] in [0, 1], letterboxed
    skipped: dict[str, str]  # {file name: why it could not be read}
    left: int  # number of pictures beyond the limit, which were not opened


def read_folder(folder: str | Path, size: int, *, limit: int | None = None) -> Photos:
    """Return the pictures that lie in `folder` itself, letterboxed to `size` pixels; see SUFFIXES.

    A file that cannot be read is skipped, and `skipped` says why. limit: open the first so many files.

    Raises FileNotFoundError without the folder or a picture in it, OSError if none of them can be read,
    ValueError for a limit below 1.
    """
    folder = Path(folder).expanduser()
    if limit is not None:
        check_count("limit", limit, " of pictures")
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder of pictures at {folder}" + (": it is a file" if folder.exists() else "")
        )
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        below = any(path.suffix.lower() in SUFFIXES for path in folder.glob("*/*"))
        hint = "; there are some in its subfolders, which are not read: name one of these" if below else ""
        raise FileNotFoundError(f"no picture in {folder}: expected files ending in {', '.join(SUFFIXES)}{hint}")
    found, skipped = {}, {}
    for path in files[:limit]:
        try:
            pixels = upright(path)
        except OSError as error:
            skipped[path.name] = str(error).replace(str(path), path.name)
            continue
        found[path] = (tuple(pixels.shape[-2:]), fit_image(pixels, size))
    if not found:
        raise OSError(f"none of {len(skipped)} pictures can be read: {next(iter(skipped.values()))}")
    frames, squares = zip(*found.values(), strict=True)
    left = len(files) - len(files[:limit])
    return Photos(list(found), stems(list(found)), list(frames), torch.stack(squares), skipped, left)


def letterboxed(image, size: int) -> Tensor:
    """Return a picture (PIL image or path) upright and letterboxed, [3, size, size] in [0, 1].

    Raises as :func:`upright`.
    """
    return fit_image(upright(image), size)


def upright(image) -> Tensor:
    """Return a picture (PIL image or path) as uint8 [3, H, W], turned as its EXIF tag says.

    Grey becomes three equal channels, and an alpha channel is dropped. Raises ValueError for anything else than a
    picture, FileNotFoundError without the file, OSError for a damaged one and for pixels of more than 8 bits.

    >>> upright(Image.new("L", (2, 1), 7)).tolist()
    [[[7, 7]], [[7, 7]], [[7, 7]]]
    """
    if not isinstance(image, Image.Image | str | PathLike):
        raise ValueError(f"expected a tensor (B,3,h,w), PIL images or paths, got {type(image).__name__}")
    try:
        with nullcontext(image) if isinstance(image, Image.Image) else Image.open(image) as picture:
            if picture.mode.startswith(("I", "F")):  # Pillow would cut every value above 255 to white
                raise OSError(f"its pixels have mode {picture.mode}, expected 8 bits per channel")
            return pil_to_tensor(ImageOps.exif_transpose(picture).convert("RGB"))  # phones store photos sideways
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise OSError(f"{image} cannot be read as an image: {error}") from error


def blend(image: Tensor, mask: Tensor, opacity: float = 0.6) -> np.ndarray:
    """Return an image [3, h, w] in [0, 1] under a map [h, w] in [0, 1] as bytes [h, w, 3]: the overlay as pixels.

    >>> import torch
    >>> blend(torch.ones(3, 1, 1), torch.zeros(1, 1), opacity=0.5).tolist()  # half white, half the colour of 0
    [[[128, 128, 129]]]
    """
    from cam_utils import plots  # seaborn takes a second to import: whoever reads pictures need not wait for it

    colours = plots.coloured(mask)
    mixed = (1 - opacity) * image.permute(1, 2, 0).clamp(0, 1).numpy() + opacity * colours
    return (255 * mixed).round().astype(np.uint8)


def stems(paths: Sequence[Path]) -> list[str]:
    """Return the files' names without suffix; with it where two files would share one.

    >>> stems([Path("a.jpg"), Path("b.jpg"), Path("b.png")])
    ['a', 'b-jpg', 'b-png']
    """
    shared = Counter(path.stem for path in paths)
    return [path.stem if shared[path.stem] == 1 else path.name.replace(".", "-") for path in paths]
