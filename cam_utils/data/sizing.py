"""From an image of any shape to a square one; boxes and masks move with it."""

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

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
    scale = size / (max if resize == "letterbox" else min)(height, width)
    inner = [max(1, round(height * scale)), max(1, round(width * scale))]
    boxes = tv_tensors.BoundingBoxes(boxes.reshape(-1, 4).float(), format="XYXY", canvas_size=(height, width))

    # Masks go in as plain tensors: for a Mask torchvision takes the legacy nearest, which samples the corner of
    # each pixel and so shifts masks against image and boxes.
    parts = [image, boxes] + ([masks.to(torch.uint8)] if len(masks) else [])
    # Paper's code: nearest for images; here: bilinear with antialias, as in pretraining; see deviations.
    modes = [InterpolationMode.BILINEAR, InterpolationMode.BILINEAR, InterpolationMode.NEAREST_EXACT]
    parts = [F.resize(part, inner, mode) for part, mode in zip(parts, modes, strict=False)]
    if resize == "letterbox":
        left, top = (size - inner[1]) // 2, (size - inner[0]) // 2
        bars = [left, top, size - inner[1] - left, size - inner[0] - top]
        parts = [F.pad(part, bars) for part in parts]
    else:
        parts = [F.center_crop(part, [size, size]) for part in parts]

    image, boxes, *drawn = parts
    masks = drawn[0].bool() if drawn else torch.zeros(0, size, size, dtype=torch.bool)
    return F.to_dtype(image, torch.float32, scale=True), boxes.as_subclass(Tensor).clamp(0, size), masks
