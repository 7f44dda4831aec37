"""Mosaics of four photographs, 2 x 2: where is the explained class? (grid pointing game, Böhle et al. 2021).

A map that knows the network and not the class has, over the four classes of a mosaic, a quarter of its energy in
the explained class's own photograph: chance needs no second method to compare with.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from cam_utils.data.sample import Sample, digest

CELLS = 4


class Mosaics(Dataset):
    """`count` mosaics of four images of four different classes, drawn by `seed`; no image is used twice.

    dataset: images with one label each. A mosaic has the size of one of its images: each is halved (bilinear,
    antialiased). Its objects are the four quarters, with boxes and masks.
    Raises ValueError if the images are of odd size, or do not suffice.

    >>> from cam_utils import data
    >>> four = Mosaics(data.load("digits", "val", n=60, objects=(1.0,)), 2)
    >>> four[0].image.shape, sorted(four[0].objects.tolist()) == four.labels[0].nonzero().flatten().tolist()
    (torch.Size([3, 96, 96]), True)
    """

    has_masks = True

    def __init__(self, dataset: Dataset, count: int, seed: int = 0) -> None:
        if dataset.size % 2:
            raise ValueError(f"expected images of an even size to halve, got {dataset.size}")
        self.dataset, self.classes, self.size = dataset, dataset.classes, dataset.size
        self.name, self.split = f"mosaics of {dataset.name}", dataset.split
        order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed)).tolist()
        self.rows = _fours(order, dataset.labels.argmax(1).tolist(), count)
        self.labels = torch.stack([dataset.labels[four].sum(0) for four in self.rows])
        self.ids = [" + ".join(dataset.ids[i] for i in four) for four in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        samples = [self.dataset[i] for i in self.rows[index]]
        half = self.size // 2
        small = F.interpolate(
            torch.stack([each.image for each in samples]), (half, half), mode="bilinear", antialias=True
        ).clamp(0, 1)
        masks = torch.zeros(CELLS, self.size, self.size, dtype=torch.bool)
        image, boxes = torch.empty(3, self.size, self.size), torch.zeros(CELLS, 4)
        for k in range(CELLS):
            y, x = half * (k // 2), half * (k % 2)
            image[:, y : y + half, x : x + half] = small[k]
            masks[k, y : y + half, x : x + half] = True
            boxes[k] = torch.tensor([x, y, x + half, y + half])
        own = torch.stack([each.labels.argmax() for each in samples])
        flags = torch.zeros(CELLS, dtype=torch.bool)
        return Sample(image, self.labels[index], own, boxes, masks, None, flags, self.ids[index])

    def fingerprint(self) -> str:
        """Return a short hash of the images' and of how they are put together."""
        return digest({"of": self.dataset.fingerprint(), "rows": self.rows}, self.labels)


def _fours(order: Sequence[int], label: Sequence[int], count: int) -> list[list[int]]:
    """Return `count` lists of four images of different classes, in the order that is given."""
    waiting, found = list(order), []
    while len(found) < count:
        four: list[int] = []
        for i in waiting:
            if label[i] not in [label[k] for k in four]:
                four.append(i)
            if len(four) == CELLS:
                break
        if len(four) < CELLS:
            raise ValueError(
                f"expected images for {count} mosaics of four classes, got {len(found)} from {len(order)}"
            )
        waiting = [i for i in waiting if i not in four]
        found.append(four)
    return found
