"""Maps over the pictures that they explain, as files, in the pictures' own frame."""

import os
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image

from cam_utils.files import written
from cam_utils.front.explanation import Explanation, in_frame
from cam_utils.front.file_names import distinct, label_name, method_name, printable
from cam_utils.front.pictures import blend, pictures_in, smaller, within
from cam_utils.names import check_count


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
        for row in rows:  # one after the other: a map may be as large as the picture
            mask = in_frame(found.maps[row].cpu(), *shown.shape[-2:])
            file = folder / f"{own[i]}_{parts[row]}_{method_name(method)}.jpg"
            number = count(2)
            while file in files:  # a label that is explained twice
                file = folder / f"{own[i]}_{parts[row]}_{method_name(method)}-{next(number)}.jpg"
            _save(blend(shown, mask, opacity, signed=signed), file)
            files.append(file)
    return files


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        there = "it is a file" if os.path.isfile(folder) else getattr(error, "strerror", None) or str(error)
        raise OSError(f"cannot make the folder of overlays {printable(folder)}: {there}") from error
    return folder


def _save(pixels: np.ndarray, file: Path) -> None:
    try:
        with written(file) as partial:
            Image.fromarray(pixels).save(partial, format="JPEG", quality=92)
    except OSError as error:
        raise OSError(
            f"cannot write the overlay {file.name} to {printable(file.parent)}: {error.strerror or error}"
        ) from error
