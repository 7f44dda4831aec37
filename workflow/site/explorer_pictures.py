"""Pictures and outlines as the explorer's scripts hold them: as text."""

import base64
import io

import contourpy  # what matplotlib draws contours with, and installs
import numpy as np
from PIL import Image
from torch import Tensor

LOSSLESS = {"lossless": True, "quality": 60, "method": 4}  # of maps: no codec changes what the scores are of
LOSSY = {"quality": 82, "method": 6}  # of photographs


def picture_of(values: Tensor) -> Image.Image:
    """Return values in [0, 1], [h, w] or [h, w, 3], as a picture of 8 bits per channel."""
    return Image.fromarray((255 * values.clamp(0, 1)).round().byte().numpy())


def address(picture: Image.Image, **how: object) -> str:
    """Return the picture as the address (data:) of a WebP; `how` is :data:`LOSSLESS` or :data:`LOSSY`."""
    file = io.BytesIO()
    picture.save(file, format="WEBP", **how)
    return data_address(file.getvalue())


def data_address(webp: bytes) -> str:
    """Return the content of a WebP file as an address.

    >>> data_address(b"RIFF")
    'data:image/webp;base64,UklGRg=='
    """
    return f"data:image/webp;base64,{base64.b64encode(webp).decode()}"


def outline_path(region: np.ndarray) -> str:
    """Return the outline of a region [h, w] (bool) as an SVG path in pixels, as `plots.map_grid` would draw it.

    >>> sorted(outline_path(np.ones((1, 1), bool)).strip("MZ").split("L"))
    ['0 0.5', '0.5 0', '0.5 1', '1 0.5']
    """
    lines = contourpy.contour_generator(z=np.pad(region, 1).astype(float)).lines(0.5)  # padded: every line closes
    return "".join(f"M{'L'.join(f'{x - 0.5:g} {y - 0.5:g}' for x, y in line[:-1])}Z" for line in lines)
