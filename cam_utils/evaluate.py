"""From a classifier to maps (:func:`explain`), and from a dataset to the pairs table (:func:`evaluate`)."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision.transforms.v2.functional import pil_to_tensor
from tqdm import tqdm

from cam_utils import data, maps, metrics
from cam_utils.baselines import Normalised
from cam_utils.cams import Pairs, pairs_of
from cam_utils.capture import capture, last_spatial_layer
from cam_utils.data.sizing import fit
from cam_utils.methods import USES_SET, check_methods, raw_maps
from cam_utils.models import IMAGENET, Classifier, Pretrained
from cam_utils.names import check_known
from cam_utils.regions import pixel_metrics
from cam_utils.store import Store, fingerprint
from cam_utils.training import PixelsAndLabels

SCORES = {"sigmoid": torch.sigmoid, "softmax": lambda logits: logits.softmax(-1)}


class Explanation(NamedTuple):
    """What :func:`explain` returns: masks in [0, 1] [P, h, w], their pairs, scores [B, L], and the layer read."""

    maps: Tensor
    pairs: Pairs
    scores: Tensor
    layer: nn.Module


def explain(
    model: nn.Module,
    images,
    labels=None,
    *,
    method: str = "minmax-grad-cam",
    layer: nn.Module | None = None,
    scores: str | None = None,
    threshold: float = 0.5,
    size: int = 224,
    chunk: int | None = None,
) -> Explanation:
    """Explain several labels of several images in one call.

    images: a tensor [B, 3, h, w] as the model expects it, or a PIL image, a path, or a list of these (letterboxed
    to `size` and normalised as torchvision's networks, or as the model's own `preprocess`, expect).
    labels: per image an index or a list of indices, or a boolean tensor [B, L]; None explains what the model
    predicts: all labels with p > `threshold` for "sigmoid" scores, the first for "softmax".
    scores: "sigmoid" (default for the book's classifiers) or "softmax" (default for others).
    layer: the module whose activations are read; None takes `model.features` or else the last module with a
    spatial output.

    Raises ValueError for an unknown method, wrong shapes, NaN images, labels out of range or none to explain,
    and for a head that the method cannot use.

    >>> from cam_utils import models
    >>> found = explain(models.build("digits", 10), torch.rand(2, 3, 96, 96), [[3, 5], 1])
    >>> found.maps.shape, found.pairs.label.tolist()
    (torch.Size([3, 96, 96]), [3, 5, 1])
    """
    check_methods([method])
    images = _as_tensor(model, images, size)
    kind = scores or ("sigmoid" if isinstance(model, Classifier) else "softmax")
    check_known("score function", kind, SCORES)
    images = images.to(next(model.parameters()).device)
    if layer is None:
        layer = _default_layer(model, images)
    captured = capture(model, images, layer, grads=True)
    height, width = captured.activations.shape[-2:]
    if height > images.shape[-2] or width > images.shape[-1] or min(height, width) < 2:
        raise ValueError(
            f"expected activations (B,K,H,W) with channels first, got {tuple(captured.activations.shape)} from "
            f"{type(layer).__name__} for images {tuple(images.shape)}: pass layer= one with a spatial map"
        )
    p = SCORES[kind](captured.logits.detach())
    present = _present(labels, p, kind, threshold)
    pairs = pairs_of(present)
    raw = raw_maps([method], model, images, captured, pairs, lambda x: SCORES[kind](model(x)), chunk=chunk)
    return Explanation(maps.masks(raw[method], images.shape[-2:]), pairs, p, layer)


def _default_layer(model: nn.Module, images: Tensor) -> nn.Module:
    features = getattr(model, "features", None)
    return features if isinstance(features, nn.Module) else last_spatial_layer(model, images)


def _as_tensor(model: nn.Module, images, size: int) -> Tensor:
    if not isinstance(images, Tensor):
        pixels = torch.stack(
            [_open(one, size) for one in (images if isinstance(images, list | tuple) else [images])]
        )
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in IMAGENET)
        images = model.preprocess(pixels) if isinstance(model, Normalised) else (pixels - mean) / std
    if images.dim() != 4 or not images.is_floating_point():
        raise ValueError(f"expected float images (B,3,h,w), got {images.dtype} {tuple(images.shape)}")
    broken = (~images.isfinite()).flatten(1).any(1).nonzero()[:, 0].tolist()
    if broken:
        raise ValueError(f"images must be finite numbers, but image {broken[0]} of the batch has NaN or infinity")
    return images


def _open(image, size: int) -> Tensor:
    """Return a picture (PIL image or path) upright and letterboxed, [3, size, size] in [0, 1]."""
    if not isinstance(image, Image.Image | str | PathLike):
        raise ValueError(f"expected a tensor (B,3,h,w), PIL images or paths, got {type(image).__name__}")
    try:
        picture = image if isinstance(image, Image.Image) else Image.open(image)
        pixels = pil_to_tensor(ImageOps.exif_transpose(picture).convert("RGB"))  # phones store photos sideways
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError) as error:
        raise OSError(f"{image} cannot be read as an image: {error}") from error
    nothing = torch.zeros(0, *pixels.shape[-2:], dtype=torch.bool)
    return fit(pixels, torch.zeros(0, 4), nothing, size, "letterbox")[0]


def _present(labels, p: Tensor, kind: str, threshold: float) -> Tensor:
    """Return the sets of labels to explain as a boolean tensor [B, L]."""
    count = p.shape[1]
    if labels is None:
        if kind == "softmax":
            return torch.zeros_like(p, dtype=torch.bool).scatter_(1, p.argmax(1, keepdim=True), True)
        if not (p > threshold).any():
            raise ValueError(f"no label of any image has p > {threshold}: pass labels=, or a lower threshold")
        return p > threshold
    if isinstance(labels, Tensor) and labels.dtype == torch.bool:
        if labels.shape != p.shape:
            raise ValueError(f"expected labels (B,L) = {tuple(p.shape)}, got {tuple(labels.shape)}")
        rows = [row.nonzero()[:, 0].tolist() for row in labels]
    else:
        try:
            rows = [[int(row)] if not hasattr(row, "__len__") else [int(c) for c in row] for row in labels]
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"expected per image an index or a list of indices of labels, got {labels!r}"
            ) from error
    if len(rows) != len(p):
        raise ValueError(f"expected one list of labels for each of the {len(p)} images, got {len(rows)}")
    present = torch.zeros_like(p, dtype=torch.bool)
    for i, row in enumerate(rows):
        if not row:
            raise ValueError(f"image {i} has an empty set of labels: nothing to explain")
        if not all(0 <= c < count for c in row):
            raise ValueError(f"expected labels in 0..{count - 1} for image {i}, got {row}")
        present[i, row] = True
    return present


def evaluate(
    model: Classifier,
    dataset: Dataset,
    methods: Sequence[str],
    *,
    folder: str | Path | None = None,
    scores: str = "sigmoid",
    explained: str = "both",
    threshold: float = 0.5,
    batch_size: int = 16,
    chunk: int = 64,
    device: str = "cpu",
    workers: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Return the pairs table: one row per (image, label, method), with every score and metric value.

    Every image is explained against the labels it is predicted to have (p > `threshold`, the official protocol;
    with "softmax" scores the most probable class) and against its annotated ones; where both sets agree one row
    serves both (columns `in_predicted`, `in_annotated`). `explained`: "both", or "predicted" or "annotated" alone.
    With `folder` the table is written in parts and a later call resumes after the last complete one; the finished
    table is `pairs.parquet`. Raises ValueError if the folder holds another evaluation.
    """
    check_methods(methods)
    check_known("score function", scores, SCORES)
    check_known("explained", explained, ("both", "predicted", "annotated"))
    if len(dataset.classes) != model.num_classes:
        raise ValueError(f"the model has {model.num_classes} labels, the dataset {len(dataset.classes)}")
    batches = [range(i, min(i + batch_size, len(dataset))) for i in range(0, len(dataset), batch_size)]
    model = model.to(device).eval()
    how = {"scores": scores, "explained": explained, "threshold": threshold}
    origin = {"dataset": dataset.fingerprint(), "model": fingerprint(*model.state_dict().values())}
    store = Store(folder, {**origin, "methods": list(methods), **how, "batch_size": batch_size}, len(batches))
    todo = store.missing()
    indices = [index for i in todo for index in batches[i]]
    loader = iter(DataLoader(Subset(dataset, indices), None, num_workers=workers))
    for i in tqdm(todo, desc=f"evaluate {dataset.name}", **({} if progress else {"disable": True})):
        batch = data.collate([next(loader) for _ in batches[i]])
        rows = evaluate_batch(model, batch, methods, dataset.classes, chunk=chunk, **how)
        if len(rows):
            rows["image_index"] += batches[i].start
        store.write(i, rows)
    return store.finish()


@torch.no_grad()
def evaluate_batch(
    model: Classifier | Pretrained,
    batch,
    methods,
    classes,
    *,
    scores: str,
    explained: str,
    threshold: float,
    chunk: int,
) -> pd.DataFrame:
    """Return the pairs table of one batch of samples."""
    x = model.preprocess(batch.images.to(model.mean.device)).contiguous(memory_format=torch.channels_last)
    captured = capture(model, x, model.features, grads=isinstance(model, Pretrained))

    def probability(images: Tensor) -> Tensor:
        return SCORES[scores](model(images))

    p = SCORES[scores](captured.logits.detach())
    top = torch.nn.functional.one_hot(p.argmax(1), p.shape[1]) > 0
    predicted = top if scores == "softmax" else p > threshold
    annotated = batch.labels.to(p.device) > 0
    same = (predicted == annotated).all(1)
    second = ~same if explained == "both" else torch.zeros_like(same)  # images with an annotated set of their own
    groups = torch.cat([annotated if explained == "annotated" else predicted, annotated[second]])
    every = torch.arange(len(x), device=p.device)
    pairs = pairs_of(groups, torch.cat([every, every[second]]))
    if not len(pairs):
        return pd.DataFrame()
    first, sets = pairs.group < len(x), groups[pairs.group]
    in_predicted = same[pairs.image] if explained == "annotated" else first
    in_annotated = same[pairs.image] | (torch.ones_like(first) if explained == "annotated" else ~first)
    names = pd.Series(classes)
    facts = {
        "image_index": pairs.image.tolist(),
        "image": [batch.ids[i] for i in pairs.image.tolist()],
        "label": pairs.label.tolist(),
        "class": names[pairs.label.tolist()].tolist(),
        "set_size": sets.sum(1).tolist(),
        "in_predicted": in_predicted.tolist(),
        "in_annotated": in_annotated.tolist(),
        "is_annotated": annotated[pairs.image, pairs.label].tolist(),
        "p": p[pairs.image, pairs.label].double().tolist(),
    }
    once, inverse = _unique(pairs)
    every = torch.arange(len(pairs), device=p.device)
    tables = []
    for method in methods:
        # Only the MinMax forms depend on the set C_x: for others a pair that stands in both sets is scored once.
        sub, back = (pairs, every) if method in USES_SET else (once, inverse)
        raw = raw_maps([method], model, x, captured, sub, probability, chunk=chunk)
        masks = maps.masks(raw[method], x.shape[-2:])
        kept, cut = (each[back] for each in _masked_scores(probability, x, masks, sub, chunk))
        before = p[pairs.image]
        values = {
            "p_masked": kept.gather(1, pairs.label[:, None])[:, 0],
            "p_complement": cut.gather(1, pairs.label[:, None])[:, 0],
            "increase_in_confidence": metrics.increase_in_confidence(before, kept, pairs.label),
            "average_drop": metrics.average_drop(before, kept, pairs.label),
            "average_drop_others": metrics.average_drop_others(before, kept, pairs.label, sets),
            "average_retention": metrics.average_retention(before, cut, pairs.label),
            "average_retention_others": metrics.average_retention_others(before, cut, pairs.label, sets),
            **{name: value[back] for name, value in pixel_metrics(masks, sub, batch).items()},
        }
        columns = {k: (v if v.dtype == torch.bool else v.double()).cpu().numpy() for k, v in values.items()}
        tables.append(pd.DataFrame({**facts, "method": method, **columns}))
    return pd.concat(tables, ignore_index=True)


def _unique(pairs: Pairs) -> tuple[Pairs, Tensor]:
    """Return the distinct (image, label) pairs and, for every pair, which of them it is."""
    both = torch.stack([pairs.image, pairs.label], 1)
    distinct, inverse = both.unique(dim=0, return_inverse=True)
    return Pairs(distinct[:, 0], distinct[:, 1], distinct[:, 0]), inverse


def _masked_scores(probability, x: Tensor, masks: Tensor, pairs: Pairs, chunk: int) -> tuple[Tensor, Tensor]:
    """Return p of the masked images and of their complements, [P, L] each: two forwards per pair."""
    kept, cut = [], []
    for mask, image in zip(masks[:, None].split(chunk), pairs.image.split(chunk), strict=True):
        shown = x[image] * mask
        kept.append(probability(shown))
        cut.append(probability(x[image] - shown))
    return torch.cat(kept), torch.cat(cut)


@torch.no_grad()
def predict(model: Classifier, dataset: Dataset, *, batch_size: int = 64, device: str = "cpu") -> Tensor:
    """Return the probabilities p [N, L] of every image of the dataset."""
    model = model.to(device).eval()
    pixels = PixelsAndLabels(dataset, budget=0)
    p = [model(model.preprocess(x.to(device).float() / 255)).sigmoid() for x, _ in DataLoader(pixels, batch_size)]
    return torch.cat(p).cpu()
