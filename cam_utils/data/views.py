"""Other views of a dataset: a random part of it, its images for other classes, or with the labels of others."""

from collections.abc import Sequence

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


class Unlabelled(Dataset):
    """The images of a dataset for a network of other `classes`: no label is known, objects keep their places.

    What needs no annotation (AD, AI, the maps of predicted classes) can be measured on them. Objects get the index
    -1, which no class has, so that none is taken for an annotation of the network's classes.

    >>> from cam_utils import data
    >>> scenes = Unlabelled(data.load("digits", "val", n=2), ("cat", "dog"))
    >>> scenes[0].labels.tolist(), set(scenes[0].objects.tolist()), scenes.classes
    ([0.0, 0.0], {-1}, ('cat', 'dog'))
    """

    def __init__(self, dataset: Dataset, classes: Sequence[str]) -> None:
        self.dataset, self.classes = dataset, tuple(classes)
        self.name, self.split, self.size, self.ids = dataset.name, dataset.split, dataset.size, dataset.ids
        self.has_masks, self.labels = dataset.has_masks, torch.zeros(len(dataset), len(self.classes))

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset[index]
        return sample._replace(labels=self.labels[index], objects=torch.full_like(sample.objects, -1))

    def fingerprint(self) -> str:
        """Return a short hash of the dataset and the classes."""
        return digest({"of": self.dataset.fingerprint(), "classes": self.classes}, self.labels)


class Permuted(Dataset):
    """The images of a dataset, each with the labels of another image: what a network can learn only by heart.

    The sets change places at random by `seed`, so every label stays as frequent as it was. For training: the
    labels no longer belong to the annotated objects, and single samples are not given out.

    >>> from cam_utils import data
    >>> scenes = data.load("digits", "val", n=9)
    >>> others = Permuted(scenes, seed=0)
    >>> others.labels.sum(0).equal(scenes.labels.sum(0)), others.labels.equal(scenes.labels)
    (True, False)
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))
        self.dataset, self.labels = dataset, dataset.labels[order]
        self.name, self.split, self.classes, self.size = dataset.name, dataset.split, dataset.classes, dataset.size
        if hasattr(dataset, "images_uint8"):  # all images at once, where the dataset holds them
            self.images_uint8 = dataset.images_uint8

    def __len__(self) -> int:
        return len(self.dataset)

    def pixels(self, index: int) -> torch.Tensor:
        """Return the uint8 image [3, h, w] of a row, as the dataset does."""
        return self.dataset.pixels(index)

    def fingerprint(self) -> str:
        """Return a short hash of the dataset and the labels."""
        return digest({"of": self.dataset.fingerprint()}, self.labels)
