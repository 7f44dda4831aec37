"""Maps over the pictures that they explain, as files, in the pictures' own frame."""

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from cam_utils.data.sizing import letterbox
from cam_utils.files import written
from cam_utils.front.explanation import Explanation, in_frame
from cam_utils.front.file_names import distinct, label_name, method_name, printable
from cam_utils.front.pictures import BAND, blend, pictures_in, smaller, within
from cam_utils.maps import upsample
from cam_utils.names import check_count

WHOLE = 1 << 24  # pixels: maps of larger pictures are made in bands, since one would fill the memory


def save_overlays(
    found: Explanation,
    images,
    folder: str | Path,
    *,
    method: str,
    classes: Sequence[str] | Mapping[int, str] | None = None,
    names: Sequence[str] | None = None,
    longest: int | None = 1024,
    opacity: float = 0.6,
    signed: bool = False,
) -> list[Path]:
    """Write each map over its picture, in the picture's own frame, and return the files, one per pair.

    found, images: what :func:`cam_utils.front.explain.explain` returned, and the pictures as
    :func:`cam_utils.front.pictures.pictures_in` takes them. A file is named
    `<picture>_<index>-<class>_<method>.jpg`: `names` replaces the pictures' names, and without `classes` the index
    stands alone. Whatever the names hold, the files' names are such as every system takes, and all different.
    longest: larger pictures are made smaller, to so many pixels on the longer side (None: to what JPEG can hold).
    signed: the maps are in [-1, 1].

    Raises ValueError if the pictures are not those of the maps or `names` are not one for each, OSError for a
    folder that cannot be written to, and as :func:`cam_utils.front.pictures.upright`.
    """
    brought = pictures_in(images)
    if len(brought.images) != len(found.probabilities):
        raise ValueError(
            f"expected the {len(found.probabilities)} pictures that were explained, got {len(brought.images)}"
        )
    if names is not None and (len(names) != len(brought.images) or len(set(names)) < len(names)):
        raise ValueError(
            f"expected a name of its own for each of {len(brought.images)} pictures, got {list(names)}"
        )
    own = brought.stems if names is None else distinct([[name, f"{name}-{i}"] for i, name in enumerate(names)])
    parts = [label_name(label, classes) for label in found.pairs.label.tolist()]
    if longest is not None:
        check_count("longest", longest, " of pixels")
    folder = _made(Path(folder).expanduser())
    files: list[Path] = []
    for i, image in enumerate(brought.images):
        rows = (found.pairs.image == i).nonzero()[:, 0].tolist()
        if not rows:
            continue
        shown = smaller(image, lambda height, width: within(height, width, longest))
        for row in rows:
            file = folder / f"{own[i]}_{parts[row]}_{method_name(method)}.jpg"
            number = count(2)
            while file in files:  # a label that is explained twice
                file = folder / f"{own[i]}_{parts[row]}_{method_name(method)}-{next(number)}.jpg"
            _save(_overlaid(shown, found.maps[row].cpu(), opacity, signed), file)
            files.append(file)
    return files


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        there = "it is a file" if os.path.isfile(folder) else getattr(error, "strerror", None) or str(error)
        raise OSError(f"cannot make the folder of overlays {printable(folder)}: {there}") from error
    return folder


def _overlaid(shown: Tensor, mask: Tensor, opacity: float, signed: bool) -> Image.Image:
    """Return a picture [3, H, W] under a letterboxed map [h, w]; of a large one only the pixels' bytes are held."""
    height, width = shown.shape[-2:]
    found = Image.new("RGB", (width, height))
    for top, part in _bands(mask, height, width):
        pixels = blend(shown[:, top : top + len(part)], part, opacity, signed=signed)
        found.paste(Image.fromarray(pixels), (0, top))
    return found


def _bands(mask: Tensor, height: int, width: int) -> Iterator[tuple[int, Tensor]]:
    """Give a map in the picture's own frame [height, width] in bands of rows, each with its first row's number.

    As :func:`cam_utils.front.explanation.in_frame`; of a large picture rows are mixed after columns, which rounds
    the last bit otherwise.
    """
    rows = max(1, BAND // width)
    if mask.shape == (height, width) or height * width <= WHOLE:
        whole = in_frame(mask, height, width)
        yield from ((top, whole[top : top + rows]) for top in range(0, height, rows))
        return
    top, left, tall, wide = letterbox(height, width, mask.shape[-1])
    inner = upsample(mask[None, top : top + tall, left : left + wide], (tall, width))[0]
    for top in range(0, height, rows):
        at = torch.arange(top, min(top + rows, height)).add(0.5).mul(tall / height).sub(0.5).clamp(0, tall - 1)
        above = at.long()
        share = (at - above)[:, None]
        yield top, inner[above] * (1 - share) + inner[(above + 1).clamp(max=tall - 1)] * share


def _save(picture: Image.Image, file: Path) -> None:
    try:
        with written(file) as partial:
            picture.save(partial, format="JPEG", quality=92)
    except OSError as error:
        raise OSError(
            f"cannot write the overlay {file.name} to {printable(file.parent)}: {error.strerror or error}"
        ) from error
