"""What the study of photographs knows beside its pairs: how the heads came out, how objects lie in the images."""

from collections.abc import Mapping, Sequence

import pandas as pd
import torch
import torch.nn.functional as F
from sklearn.metrics import fbeta_score
from torch import Tensor
from torch.utils.data import Dataset

from cam_utils.claims.identities import deviations
from cam_utils.evaluation.regions import label_regions
from cam_utils.methods.query import ask
from cam_utils.networks import head_facts
from cam_utils.networks.models import Classifier
from cam_utils.pairs import pairs_of

REACH = 3  # pixels between two objects that touch
WEIGHTS = {  # columns of heads.csv -> statistics of weights, and what they are divided by
    "weight_skewness": ("skewness", 1),
    "positive_mass": ("positive mass (%)", 100),
    "negative_weights": ("negative (%)", 100),
    "correlation": ("mean |correlation|", 1),
    "labels_per_kernel": ("labels per kernel", 1),
    "kernels_for_one": ("kernels for one label (%)", 100),
    "kernels_for_none": ("kernels for none (%)", 100),
    "shared_top_10": ("shared top-10 kernels", 1),
    "shared_positive": ("of these positive for both", 1),
}


def of_heads(
    made: Mapping[str, Classifier], features: Mapping[str, Tensor], labels: Tensor, history: pd.DataFrame
) -> pd.DataFrame:
    """Return one row per head: epochs, lowest validation loss, norms and scales, F-scores on the evaluated images.

    features [N, K] of every network, labels [N, L]: of the images that are evaluated. weight_norm: mean over labels
    of the norm of the effective weights; logit_std: mean over labels of the logits' standard deviation over the
    images, by which equal nominal rates can be told from equal effective ones. WEIGHTS: columns about the effective
    weights, shares as fractions (:func:`cam_utils.networks.head_facts.of_weights`). f1_weighted,
    f1_macro, f2_weighted: of p > 0.5.
    """
    rows, truth = [], labels.numpy() > 0
    for name, model in made.items():
        log = history[history["fit"] == name]
        weights = model.head.class_weights().detach()
        statistics = head_facts.of_weights(weights)
        with torch.no_grad():
            logits = model.head(features[name])
        guessed = logits.numpy() > 0
        scores = {
            f"f{beta}_{average}": fbeta_score(truth, guessed, beta=beta, average=average, zero_division=0)
            for beta, average in ((1, "weighted"), (1, "macro"), (2, "weighted"))
        }
        rows.append(
            {
                "fit": name,
                "epochs": len(log),
                "val_loss": log["val_loss"].min(),
                "last_rate": log["lr"].iloc[-1],
                "weight_norm": float(weights.norm(dim=1).mean()),
                **{column: statistics[known] / scale for column, (known, scale) in WEIGHTS.items()},
                "logit_std": float(logits.std(0).mean()),
                "logit_mean": float(logits.mean()),
                **scores,
            }
        )
    return pd.DataFrame(rows)


def of_objects(images: Dataset, train_labels: Tensor) -> pd.DataFrame:
    """Return how every annotated label lies in its image, one row per (image_index, label).

    area: share of the image that it covers. others_area: share that the others cover. touching: share of the
    rim of REACH pixels around it that belongs to other labels. co_occurrence: the largest share of the training
    images with this label that hold another label of the image, too. labels: how many the image has. NaN where the
    image has no masks.
    """
    together = (train_labels.T @ train_labels) / train_labels.sum(0).clamp(min=1)[
        :, None
    ]  # [L, L]: P(column | row)
    rows = []
    for index in range(len(images)):
        sample = images[index]
        present = sample.labels.nonzero().flatten().tolist()
        regions = None
        if sample.masks is not None:
            regions = label_regions(sample.objects, torch.as_tensor(sample.masks), len(sample.labels))
        for label in present:
            others = [other for other in present if other != label]
            rows.append(
                {
                    "image_index": index,
                    "label": label,
                    "labels": len(present),
                    "co_occurrence": max((float(together[label, other]) for other in others), default=0.0),
                    **_of_region(regions, label),
                }
            )
    return pd.DataFrame(rows)


def _of_region(regions: Tensor | None, label: int) -> dict[str, float]:
    if regions is None or not regions[label].any():
        return dict.fromkeys(("area", "others_area", "touching"), float("nan"))
    own = regions[label]
    elsewhere = regions.any(0) & ~own
    near = F.max_pool2d(own[None, None].float(), 2 * REACH + 1, 1, REACH)[0, 0] > 0
    rim = near & ~own
    return {
        "area": float(own.float().mean()),
        "others_area": float(elsewhere.float().mean()),
        "touching": float((elsewhere & rim).sum() / rim.sum().clamp(min=1)),
    }


def identities(model: Classifier, images: Dataset, count: int = 16) -> dict[str, int | float | dict[str, float]]:
    """Return :func:`cam_utils.claims.identities.deviations` on the first `count` images of exactly two labels.

    Without such an image nothing is measured: no deviation, and an overlap of 0 on 0 images.
    """
    two = [images[index] for index in (images.labels.sum(1) == 2).nonzero().flatten().tolist()[:count]]
    if not two:
        return {"images": 0, "two_label_images": 0, "overlap": 0.0, "deviation": {}}
    present = torch.stack([sample.labels > 0 for sample in two])
    shown = model.preprocess(torch.stack([sample.image for sample in two]))
    return deviations(ask(model, shown, pairs_of(present)))


def of_classes(train: Dataset, test: Dataset) -> pd.DataFrame:
    """Return every class with the number of its images to train on and to evaluate."""
    counts: Sequence[Tensor] = [images.labels.sum(0).long() for images in (train, test)]
    return pd.DataFrame({"class": train.classes, "train": counts[0].tolist(), "test": counts[1].tolist()})
