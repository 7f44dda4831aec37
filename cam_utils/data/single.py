"""The images that show one class only: what a softmax classifier, or a pair of classes, can be trained on."""

from collections.abc import Sequence

import torch
from torch.utils.data import Dataset

from cam_utils.data.views import View


class SingleLabel(View):
    """The images of `dataset` with exactly one label, which is one of `classes`; labels are one-hot of these.

    An image that shows both classes of a pair has two labels, so it never trains that pair
    (deviation dev-rep-images). `target` [N] holds each image's class index. Raises ValueError for fewer than two
    classes, and for a class without such an image unless `strict` is False (validation images may lack a class).

    >>> from cam_utils import data
    >>> scenes = SingleLabel(data.load("digits", "val", n=40, objects=(1.0,)), classes=("3", "8"))
    >>> scenes.classes, int(scenes.labels.sum(1).max())
    (('3', '8'), 1)
    """

    def __init__(self, dataset: Dataset, classes: Sequence[str] | None = None, *, strict: bool = True) -> None:
        counts = single_label_counts(dataset)
        chosen = tuple(dataset.classes) if classes is None else tuple(classes)
        unknown = [name for name in chosen if name not in dataset.classes]
        if unknown or len(chosen) < 2:
            raise ValueError(f"expected two or more of the dataset's classes, got {', '.join(chosen) or 'none'}")
        bare = [name for name in chosen if not counts[name]]
        if bare and strict:
            raise ValueError(
                f"{len(bare)} of {len(chosen)} classes have no single-label image in {dataset.name} "
                f"{dataset.split}: {', '.join(bare[:5])}{', ...' if len(bare) > 5 else ''}; leave them out"
            )
        labels = dataset.labels[:, [dataset.classes.index(name) for name in chosen]]
        rows = ((dataset.labels.sum(1) == 1) & (labels.sum(1) == 1)).nonzero()[:, 0].tolist()
        super().__init__(dataset, rows, labels[rows], chosen, {"classes": chosen, "rows": rows})
        self.target = self.labels.argmax(1)


def single_label_counts(dataset: Dataset) -> dict[str, int]:
    """Return how many images show each class and nothing else, {class name: count}."""
    alone = dataset.labels[dataset.labels.sum(1) == 1].sum(0).to(torch.int64).tolist()
    return dict(zip(dataset.classes, alone, strict=True))
