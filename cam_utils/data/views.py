"""Other views of a dataset: a random part of it, its images for other classes, or with the labels of others."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from cam_utils.data.folder import Pictures
from cam_utils.data.sample import Sample, digest


class View(Dataset):
    """Rows of a dataset (None: all) with `labels` [N, L] of `classes`; everything else is the dataset's.

    `facts` tell the view from others with the same labels. Without `annotated` the labels are not those of the
    dataset's objects: they get the index -1, which no class has, so that none is taken for an annotation.
    """

    def __init__(
        self, dataset: Dataset, rows: Sequence[int] | None, labels: Tensor, classes: Sequence[str], facts: dict,
        *, annotated: bool = True,
    ) -> None:  # fmt: skip
        self.dataset, self.labels, self.classes = dataset, labels, tuple(classes)
        self.rows = range(len(dataset)) if rows is None else rows
        self.name, self.split, self.size, self.has_masks = (
            dataset.name,
            dataset.split,
            dataset.size,
            dataset.has_masks,
        )
        self.ids = [dataset.ids[i] for i in self.rows]
        self._facts, self._annotated = facts, annotated
        if hasattr(dataset, "images_uint8"):  # all images at once, where the dataset holds them
            self.images_uint8 = dataset.images_uint8 if rows is None else dataset.images_uint8[rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset[self.rows[index]]._replace(labels=self.labels[index])
        return sample if self._annotated else sample._replace(objects=torch.full_like(sample.objects, -1))

    def pixels(self, index: int) -> Tensor:
        """Return the uint8 image [3, h, w] of a row, as the dataset does."""
        return self.dataset.pixels(self.rows[index])

    def fingerprint(self, rows: Sequence[int] | None = None) -> str:
        """Return a short hash of the dataset, what tells this view apart, and its labels.

        Of image files only those of this view are read, or of its `rows`.
        """
        rows = list(self.rows) if rows is None else [self.rows[i] for i in rows]
        of = self.dataset.fingerprint(*([rows] if isinstance(self.dataset, Pictures | View) else []))
        return digest({"of": of} | self._facts, self.labels)


class Drawn(View):
    """`count` images of a dataset (None: all), drawn at random by a seed: the first of a class folder are alike.

    >>> from cam_utils import data
    >>> len(Drawn(data.load("digits", "val", n=9), 4))
    4
    """

    def __init__(self, dataset: Dataset, count: int | None, seed: int = 0) -> None:
        rows = _shuffled(dataset, seed)[:count]
        super().__init__(dataset, rows, dataset.labels[rows], dataset.classes, {"rows": rows})


class Unlabelled(View):
    """The images of a dataset for a network of other `classes`: no label is known, objects keep their places.

    What needs no annotation (AD, AI, the maps of predicted classes) can be measured on them.

    >>> from cam_utils import data
    >>> scenes = Unlabelled(data.load("digits", "val", n=2), ("cat", "dog"))
    >>> scenes[0].labels.tolist(), set(scenes[0].objects.tolist()), scenes.classes
    ([0.0, 0.0], {-1}, ('cat', 'dog'))
    """

    def __init__(self, dataset: Dataset, classes: Sequence[str]) -> None:
        labels = torch.zeros(len(dataset), len(classes))
        super().__init__(dataset, None, labels, classes, {"classes": tuple(classes)}, annotated=False)


class Permuted(View):
    """The images of a dataset, each with the labels of another image: what a network can learn only by heart.

    The sets change places at random by `seed`, so every label stays as frequent as it was.

    >>> from cam_utils import data
    >>> scenes = data.load("digits", "val", n=9)
    >>> others = Permuted(scenes, seed=0)
    >>> others.labels.sum(0).equal(scenes.labels.sum(0)), others.labels.equal(scenes.labels)
    (True, False)
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        labels = dataset.labels[_shuffled(dataset, seed)]
        super().__init__(dataset, None, labels, dataset.classes, {}, annotated=False)


def _shuffled(dataset: Dataset, seed: int) -> list[int]:
    return torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed)).tolist()
