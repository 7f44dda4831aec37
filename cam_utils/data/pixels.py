"""Images as bytes with their labels: what training, features and predictions read of a dataset."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset


class PixelsAndLabels(Dataset):
    """(uint8 image [3, h, w], labels [L]), decoded once and kept while all fit in `budget` bytes."""

    def __init__(self, dataset: Dataset, budget: int = 4 << 30) -> None:
        self.dataset = dataset
        self.images: Tensor | None = getattr(dataset, "images_uint8", None)
        fits = len(dataset) * 3 * dataset.size**2 <= budget
        self.kept: dict[int, Tensor] | None = {} if fits and self.images is None else None

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.pixels([index])[0], self.dataset.labels[index]

    def pixels(self, rows: Sequence[int] | Tensor) -> Tensor:
        """Return the images of `rows`, uint8 [n, 3, h, w]."""
        if self.images is not None:
            return self.images[rows]
        return torch.stack([self._one(int(i)) for i in rows])

    def _one(self, index: int) -> Tensor:
        if self.kept is None:
            return self.dataset.pixels(index)
        if index not in self.kept:
            self.kept[index] = self.dataset.pixels(index)
        return self.kept[index]
