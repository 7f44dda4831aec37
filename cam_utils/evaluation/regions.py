"""Annotated regions of a label in an image, and the pixel metrics of masks against them."""

import torch
from torch import Tensor

from cam_utils.evaluation import metrics
from cam_utils.pairs import Pairs

THRESHOLDS = (0.15, 0.3, 0.5)  # of the IoU columns; 0.15 is Meng et al.'s


def label_regions(objects: Tensor, shapes: Tensor, count: int) -> Tensor:
    """Return the union [L, h, w] of the shapes [n, h, w] of each label, given every object's label [n] (-1: none).

    >>> shapes = torch.tensor([[[True, False]], [[False, True]]])
    >>> label_regions(torch.tensor([1, 1]), shapes, 2).tolist()
    [[[False, False]], [[True, True]]]
    """
    regions = torch.zeros(count, *shapes.shape[-2:], dtype=torch.bool)
    for label in objects[objects >= 0].unique().tolist():
        regions[label] = shapes[objects == label].any(0)
    return regions


def box_shapes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return every XYXY pixel box [n, 4] as a filled shape [n, h, w]: pixels whose centre lies inside.

    >>> box_shapes(torch.tensor([[1.0, 0.0, 3.0, 1.0]]), (2, 4)).int().tolist()
    [[[0, 1, 1, 0], [0, 0, 0, 0]]]
    """
    y, x = (torch.arange(n) + 0.5 for n in size)
    x1, y1, x2, y2 = (boxes[:, i, None] for i in range(4))
    inside_x = (x >= x1) & (x < x2)  # [n, w]
    inside_y = (y >= y1) & (y < y2)  # [n, h]
    return inside_y[:, :, None] & inside_x[:, None, :]


def pixel_metrics(masks: Tensor, pairs: Pairs, batch) -> dict[str, Tensor]:
    """Return the pixel metrics of the masks [P, h, w] against the batch's annotation, each [P] in [0, 1], and their
    mean value `mask_area`.

    NaN where the image has no such annotation, or the label is not annotated in it (a false positive).
    """
    size, count = masks.shape[-2:], batch.labels.shape[1]
    own, boxes, others, valid = [], [], [], []
    cache: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
    for i, label in zip(pairs.image.tolist(), pairs.label.tolist(), strict=True):
        if i not in cache:
            shapes = batch.masks[i]
            empty = torch.zeros(count, *size, dtype=torch.bool)
            by_mask = empty if shapes is None else label_regions(batch.objects[i], torch.as_tensor(shapes), count)
            by_box = label_regions(batch.objects[i], box_shapes(torch.as_tensor(batch.boxes[i]), size), count)
            ignore = batch.ignore[i]
            cache[i] = by_mask, by_box, torch.ones(size, dtype=torch.bool) if ignore is None else ~ignore
        by_mask, by_box, counted = cache[i]
        own.append(by_mask[label] & counted)
        boxes.append(by_box[label])
        elsewhere = by_mask.any(0) & ~by_mask[label] & counted
        others.append(elsewhere if by_mask[label].any() else torch.zeros_like(elsewhere))
        valid.append(counted)
    own, boxes, others, valid = (torch.stack(regions).to(masks.device) for regions in (own, boxes, others, valid))
    counted = masks * valid
    return {
        "energy_in_mask": metrics.energy_inside(counted, own),
        "energy_in_box": metrics.energy_inside(masks, boxes),
        "energy_in_others": metrics.energy_inside(counted, others),
        "pointing_mask": metrics.pointing_game(counted, own),
        "pointing_box": metrics.pointing_game(masks, boxes),
        **{f"iou_{t:g}": metrics.iou(masks, own, t, valid) for t in THRESHOLDS},
        "mask_area": masks.mean((-2, -1)),
        "is_zero": masks.amax((-2, -1)) == 0,
    }
