"""From an image of any shape to a square one; boxes and masks move with it."""

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from cam_utils.maps import upsample

RESIZES = ("letterbox", "crop")


def fit(image: Tensor, boxes: Tensor, masks: Tensor, size: int, resize: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return image, boxes and masks in a square of side `size`, the aspect ratio kept.

    "letterbox": the longest side fits, the rest is black bars, the image centred (official code of MinMax-CAM).
    "crop": the shortest side fits, then the centre is cut out (the same paper, Sec. 5).
    A box outside the cut-out comes back with zero width or height.

    Args: image uint8 [3, H, W]; boxes float [n, 4] XYXY pixels; masks bool [m, H, W].
    Returns: float32 [3, size, size] in [0, 1]; float32 [n, 4]; bool [m, size, size].

    >>> image = torch.full((3, 10, 20), 255, dtype=torch.uint8)
    >>> image, boxes, _ = fit(image, torch.tensor([[0., 0., 20., 10.]]), torch.zeros(0, 10, 20), 10, "letterbox")
    >>> boxes.tolist(), image[0, :, 0].tolist()  # 20 x 10 becomes 10 x 5: two black rows above, three below
    ([[0.0, 2.0, 10.0, 7.0]], [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    """
    height, width = image.shape[-2:]
    inner = _inner(height, width, size, resize)
    boxes = tv_tensors.BoundingBoxes(boxes.reshape(-1, 4).float(), format="XYXY", canvas_size=(height, width))

    # Masks go in as plain tensors: for a Mask torchvision takes the legacy nearest, which samples the corner of
    # each pixel and so shifts masks against image and boxes.
    parts = [image, boxes] + ([masks.to(torch.uint8)] if len(masks) else [])
    # Paper's code: nearest for images; here: bilinear with antialias, as in pretraining (dev-interpolation).
    modes = [InterpolationMode.BILINEAR, InterpolationMode.BILINEAR, InterpolationMode.NEAREST_EXACT]
    parts = [F.resize(part, inner, mode) for part, mode in zip(parts, modes, strict=False)]
    if resize == "letterbox":
        top, left, *_ = letterbox(height, width, size)
        bars = [left, top, size - inner[1] - left, size - inner[0] - top]
        parts = [F.pad(part, bars) for part in parts]
    else:
        parts = [F.center_crop(part, [size, size]) for part in parts]

    image, boxes, *drawn = parts
    masks = drawn[0].bool() if drawn else torch.zeros(0, size, size, dtype=torch.bool)
    return F.to_dtype(image, torch.float32, scale=True), boxes.as_subclass(Tensor).clamp(0, size), masks


def fit_image(image: Tensor, size: int, resize: str = "letterbox") -> Tensor:
    """Return the image alone in its square, as :func:`fit` does."""
    return fit(image, torch.zeros(0, 4), torch.zeros(0), size, resize)[0]


def letterbox(height: int, width: int, size: int) -> tuple[int, int, int, int]:
    """Return where a letterboxed image of height x width lies in its square: (top, left, rows, columns).

    >>> letterbox(10, 20, 10)
    (2, 0, 5, 10)
    """
    rows, columns = _inner(height, width, size, "letterbox")
    return (size - rows) // 2, (size - columns) // 2, rows, columns


def unfit(maps: Tensor, height: int, width: int) -> Tensor:
    """Return maps [P, S, S] of letterboxed images in the frame of the image itself: [P, height, width].

    The black bars are cut away, the rest is resized (bilinear): the way back of :func:`fit` with "letterbox".
    Raises ValueError for maps that are not square.

    >>> unfit(torch.arange(16.0).reshape(1, 4, 4), 2, 4).tolist()  # a 4 x 2 image between two bars
    [[[4.0, 5.0, 6.0, 7.0], [8.0, 9.0, 10.0, 11.0]]]
    """
    if maps.dim() != 3 or maps.shape[-1] != maps.shape[-2]:
        raise ValueError(f"expected maps (P,S,S) of square images, got {tuple(maps.shape)}")
    top, left, rows, columns = letterbox(height, width, maps.shape[-1])
    return upsample(maps[:, top : top + rows, left : left + columns], (height, width))


def _inner(height: int, width: int, size: int, resize: str) -> list[int]:
    """Return the rows and columns of the resized image, before bars are added or the centre is cut out."""
    scale = size / (max if resize == "letterbox" else min)(height, width)
    return [max(1, round(height * scale)), max(1, round(width * scale))]
