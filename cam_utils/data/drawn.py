"""A random part of a dataset."""

import torch
from torch.utils.data import Dataset

from cam_utils.data.sample import Sample, digest


class Drawn(Dataset):
    """`count` images of a dataset (None: all), drawn at random by a seed: the first of a class folder are alike.

    >>> from cam_utils import data
    >>> len(Drawn(data.load("digits", "val", n=9), 4))
    4
    """

    def __init__(self, dataset: Dataset, count: int | None, seed: int = 0) -> None:
        order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))
        self.dataset, self.rows = dataset, order[:count].tolist()
        self.name, self.split, self.classes, self.size = dataset.name, dataset.split, dataset.classes, dataset.size
        self.has_masks, self.labels = dataset.has_masks, dataset.labels[self.rows]
        self.ids = [dataset.ids[i] for i in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[self.rows[index]]

    def fingerprint(self) -> str:
        """Return a short hash of the dataset and the rows drawn."""
        return digest({"of": self.dataset.fingerprint(), "rows": self.rows}, self.labels)
