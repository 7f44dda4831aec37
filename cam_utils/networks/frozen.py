"""A frozen stage of training on cached features: while the backbone stays as it is, no image need pass it twice.

A stage whose only augmentation is mirroring sees every image in two views. Their pooled features are computed once
(:mod:`cam_utils.networks.features`); epochs then draw among them what they would draw among the images, so that the
head is the one that training through the backbone gives. The colours and the vertical mirror of the official
notebooks have too many views to keep (deviation dev-frozen-views).
"""

from collections.abc import Callable
from typing import NamedTuple

import pandas as pd
import torch
from torch import Generator, Tensor, nn
from torch.utils.data import Dataset

from cam_utils.names import check_known
from cam_utils.networks.augmentation import flip
from cam_utils.networks.features import pooled_features
from cam_utils.networks.models import Classifier
from cam_utils.networks.schedules import Stage

VIEWS = {"none": (False,), "flip": (False, True)}  # augmentation -> its views: mirrored or not


class Views(Dataset):
    """(features [V, K] of an image's views, labels [L]), given features [V, N, K] and labels [N, L]."""

    def __init__(self, features: Tensor, labels: Tensor) -> None:
        self.features, self.labels = features, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.features[:, index], self.labels[index]


class Parts(NamedTuple):
    """The views to train on, and those that say when to stop."""

    train: Views
    val: Views


class Pooled(nn.Module):
    """What of a classifier follows its pooling, as a model of pooled features [B, K]; it shares the head."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.features, self.dropout, self.head = nn.Identity(), model.dropout, model.head

    def forward(self, pooled: Tensor) -> Tensor:
        return self.head(self.dropout(pooled))


def fits(model: nn.Module, stage: Stage) -> bool:
    """Return whether the stage can train this model on cached features.

    >>> from cam_utils.networks import models
    >>> net = models.build("digits", 10)
    >>> [fits(net, Stage(1, 0.1, unfrozen=u, augment=a)) for u, a in ((0.0, "flip"), (0.6, "flip"), (0.0, "photo"))]
    [True, False, False]
    """
    return isinstance(model, Classifier) and not stage.unfrozen and stage.augment in VIEWS


def views_of(model: Classifier, load: Callable[..., Dataset], stage: Stage, **options: object) -> Parts:
    """Return the features of the splits "train" and "val" of `load`, in the views that the stage draws from.

    `options` are those of :func:`cam_utils.networks.features.pooled_features`. Validation has one view. Raises
    ValueError for a stage that does not freeze the backbone, or whose augmentation has more views.
    """
    check_known("augmentation of a stage on cached features", stage.augment, VIEWS)
    if stage.unfrozen:
        raise ValueError(f"expected a stage with a frozen backbone (unfrozen=0.0), got unfrozen={stage.unfrozen}")
    found = []
    for split, views in (("train", VIEWS[stage.augment]), ("val", (False,))):
        images = load(split, **stage.data)
        features = [pooled_features(model, images, mirrored=each, **options) for each in views]
        found.append(Views(torch.stack(features), images.labels))
    return Parts(*found)


def drawn(views: Tensor, generator: Generator | None) -> Tensor:
    """Return one view of every image [B, K] out of all [B, V, K]: the first, or with a generator one at random.

    The draws are those of the augmentation "flip": where it would mirror the image, the second view is taken.

    >>> drawn(torch.tensor([[[1.0], [2.0]]]), None).tolist()
    [[1.0]]
    """
    if generator is None or views.shape[1] == 1:
        return views[:, 0]
    numbers = torch.arange(2.0).expand(len(views), 1, 1, 2)  # mirrored they start with 1
    turned = flip(numbers, generator)[:, 0, 0, 0].long()
    return views[torch.arange(len(views)), turned.to(views.device)]


def train_head(model: Classifier, parts: Parts, stage: Stage, **options: object) -> pd.DataFrame:
    """Train the model's head in place on views of its images and return one row per epoch.

    As :func:`cam_utils.networks.training.train` with this stage alone, whose options, columns and errors it has;
    for several heads on one backbone, which share :func:`views_of`.
    """
    from cam_utils.networks import training  # which trains frozen stages by this module

    log = training.train(Pooled(model).train(), lambda split: getattr(parts, split), (stage,), **options)
    model.eval()
    return log
