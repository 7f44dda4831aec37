"""What every dataset hands out: one `Sample` per image, one `Batch` per step."""

import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Sample(NamedTuple):
    """One image with what is known about it; n objects, L classes, S the side of the square image.

    Where the image as a whole is annotated (ImageNet), its class is its label, with or without objects.
    """

    image: Tensor  # float32 [3, S, S] in [0, 1], not normalised
    labels: Tensor  # float32 [L] multi-hot: the union of all annotated objects, crowd and difficult included
    objects: Tensor  # int64 [n], class index of each object that is visible in the resized image
    boxes: Tensor  # float32 [n, 4], (x1, y1, x2, y2) pixels in the resized image, x2 and y2 exclusive
    masks: Tensor | None  # bool [n, S, S], None where the dataset has none for this image
    ignore: Tensor | None  # bool [S, S], pixels that are neither object nor background; None if there are none
    flags: Tensor  # bool [n], crowd (COCO) or difficult (VOC)
    id: str


class Batch(NamedTuple):
    """B samples: images and labels stacked, the rest one entry per image."""

    images: Tensor  # float32 [B, 3, S, S]
    labels: Tensor  # float32 [B, L]
    objects: list[Tensor]
    boxes: list[Tensor]
    masks: list[Tensor | None]
    ignore: list[Tensor | None]
    flags: list[Tensor]
    ids: list[str]


def collate(samples: Sequence[Sample]) -> Batch:
    """Return the samples as one Batch; give it to a DataLoader as `collate_fn`.

    >>> none = torch.zeros(0)
    >>> one = Sample(torch.zeros(3, 8, 8), torch.ones(2), none, none, None, None, none, "a")
    >>> batch = collate([one, one])
    >>> batch.images.shape, batch.labels.shape, batch.ids
    (torch.Size([2, 3, 8, 8]), torch.Size([2, 2]), ['a', 'a'])
    """
    images, labels, *rest = zip(*samples, strict=True)
    return Batch(torch.stack(images), torch.stack(labels), *map(list, rest))


def multi_hot(objects: Sequence[Sequence[int]], classes: int) -> Tensor:
    """Return float32 [N, classes], one where the image has an object of the class.

    >>> multi_hot([[0, 2, 2], []], 3).tolist()
    [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    """
    labels = torch.zeros(len(objects), classes)
    for row, present in zip(labels, objects, strict=True):
        row[list(present)] = 1
    return labels


def digest(facts: dict[str, object], labels: Tensor) -> str:
    """Return 16 hex characters of the SHA-256 of `facts` (JSON values) and the label matrix.

    >>> digest({"name": "a"}, torch.zeros(1, 2)) == digest({"name": "b"}, torch.zeros(1, 2))
    False
    """
    text = json.dumps(facts, sort_keys=True)
    return hashlib.sha256(text.encode() + labels.to(torch.uint8).numpy().tobytes()).hexdigest()[:16]
