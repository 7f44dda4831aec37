"""From a dataset to the pairs table: every explained (image, label) pair with all its scores and metrics."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from cam_utils import data, maps
from cam_utils.data.pixels import PixelsAndLabels
from cam_utils.evaluation import metrics
from cam_utils.evaluation.regions import pixel_metrics
from cam_utils.evaluation.store import Store
from cam_utils.files import fingerprint
from cam_utils.methods.registry import METHODS, SCORES, USES_SET, check_methods, raw_maps, scoring
from cam_utils.methods.scorecam import forwards, moved, shown
from cam_utils.methods.sscam import image_seeds
from cam_utils.names import check_known
from cam_utils.networks.capture import capture
from cam_utils.networks.models import Classifier, Pretrained
from cam_utils.pairs import Pairs, pairs_of

Explainer = Callable[[Classifier, Tensor, Pairs], Tensor]  # model, prepared images [B, 3, h, w], pairs -> [P, H, W]


def evaluate(
    model: Classifier,
    dataset: Dataset,
    methods: Sequence[str],
    *,
    folder: str | Path | None = None,
    scores: str = "sigmoid",
    explained: str = "both",
    threshold: float = 0.5,
    smoothing: Mapping[str, object] | None = None,
    precision: str = "float32",
    upsample_first: bool = False,
    extra: Mapping[str, Explainer] | None = None,
    shard: tuple[int, int] = (0, 1),
    batch_size: int = 16,
    chunk: int | None = None,
    device: str = "cpu",
    workers: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Return the pairs table: one row per (image, label, method), with every score and metric value.

    Every image is explained against the labels it is predicted to have (p > `threshold`, the official protocol;
    with "softmax" scores the most probable class) and against its annotated ones; where both sets agree one row
    serves both (columns `in_predicted`, `in_annotated`). `explained`: "both", or "predicted" or "annotated" alone.
    With `folder` the table is written in parts and a later call resumes after the last complete one; the finished
    table is `pairs.parquet`. `smoothing`: plain options of SS-CAM (draws, sigma, seed, ...), see
    :func:`cam_utils.methods.sscam.smoothed_weights`; every image has noise of its own, by `seed` and the image's id.
    `precision`: "bfloat16" runs masked forwards in autocast. `upsample_first`: the order of normalising, see
    :func:`cam_utils.maps.masks`. `extra`: further methods {name: callable}, such as those of
    :mod:`cam_utils.methods.other_libraries`: it returns the rectified maps [P, H, W] of the pairs, at any resolution. A stored
    evaluation knows them by their names only. `workers`: processes that decode the next batch while the network
    runs; None: up to 4 where it runs on a GPU, none where they would take its cores. `shard` (i, n): of n processes
    that share `folder`, this one does every n-th part from i on and returns its own rows;
    :func:`cam_utils.evaluation.store.gather` makes the table of all.

    Raises ValueError if the folder holds another evaluation, for a shard that is none, or without a folder, and
    for an extra method with a known name or with maps that do not fit the pairs.
    """
    check_methods(methods)
    extra = dict(extra or {})
    if taken := [name for name in extra if name in METHODS]:
        raise ValueError(f"expected a new name for an extra method, got {taken[0]!r}, which is one of ours")
    check_known("score function", scores, SCORES)
    check_known("explained", explained, ("both", "predicted", "annotated"))
    if len(dataset.classes) != model.num_classes:
        raise ValueError(f"the model has {model.num_classes} labels, the dataset {len(dataset.classes)}")
    first, of = shard
    if not 0 <= first < of or (of > 1 and folder is None):
        raise ValueError(f"expected a shard (i, n) with 0 <= i < n, and a folder to share, got {shard}, {folder}")
    batches = [range(i, min(i + batch_size, len(dataset))) for i in range(0, len(dataset), batch_size)]
    model = model.to(device).eval()
    how = {"scores": scores, "explained": explained, "threshold": threshold, "smoothing": dict(smoothing or {})}
    how |= {"precision": precision} if precision != "float32" else {}  # tables made before it was there stay valid
    how |= {"upsample_first": True} if upsample_first else {}
    origin = {"dataset": dataset.fingerprint(), "model": fingerprint(*model.state_dict().values())}
    store = Store(folder, {**origin, "methods": [*methods, *extra], **how, "batch_size": batch_size}, len(batches))
    todo = [i for i in store.missing() if i % of == first]
    indices = [index for i in todo for index in batches[i]]
    if workers is None:
        workers = 0 if torch.device(device).type == "cpu" else min(4, os.cpu_count() or 1)
    ahead = {"num_workers": workers, "prefetch_factor": batch_size} if workers else {}
    loader = iter(DataLoader(Subset(dataset, indices), None, **ahead))
    for i in tqdm(todo, desc=f"evaluate {dataset.name}", **({} if progress else {"disable": True})):
        batch = data.collate([next(loader) for _ in batches[i]])
        rows = evaluate_batch(model, batch, methods, dataset.classes, chunk=chunk, extra=extra, **how)
        if len(rows):
            rows["image_index"] += batches[i].start
        store.write(i, rows)
    return store.finish() if of == 1 else store.rows(range(first, len(batches), of))


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
    chunk: int | None,
    smoothing: Mapping[str, object],
    precision: str = "float32",
    upsample_first: bool = False,
    extra: Mapping[str, Explainer] | None = None,
) -> pd.DataFrame:
    """Return the pairs table of one batch of samples."""
    x = model.preprocess(batch.images.to(model.mean.device)).contiguous(memory_format=torch.channels_last)
    captured = capture(model, x, model.features, grads=isinstance(model, Pretrained))
    smoothing = {**smoothing, "seed": image_seeds(smoothing.get("seed", 0), batch.ids)}
    probability = scoring(model, scores, precision)
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
    extra = extra or {}
    for method in (*methods, *extra):
        # Only the MinMax forms depend on the set C_x: for others a pair that stands in both sets is scored once.
        sub, back = (pairs, every) if method in USES_SET or method in extra else (once, inverse)
        if method in extra:
            raw = {method: _checked(method, extra[method](model, x, sub), sub)}
        else:
            raw = raw_maps([method], model, x, captured, sub, probability, chunk=chunk, smoothing=smoothing)
        masks = maps.masks(raw[method], x.shape[-2:], upsample_first=upsample_first)
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


def _checked(method: str, raw: Tensor, pairs: Pairs) -> Tensor:
    """Return an extra method's maps without their graph. Raises ValueError for those that are no maps."""
    if not isinstance(raw, Tensor) or raw.dim() != 3 or len(raw) != len(pairs) or not raw.isfinite().all():
        got = tuple(raw.shape) if isinstance(raw, Tensor) else type(raw).__name__
        raise ValueError(f"expected finite maps ({len(pairs)},H,W) from the extra method {method}, got {got}")
    return raw.detach()


def _unique(pairs: Pairs) -> tuple[Pairs, Tensor]:
    """Return the distinct (image, label) pairs and, for every pair, which of them it is."""
    both = torch.stack([pairs.image, pairs.label], 1)
    distinct, inverse = both.unique(dim=0, return_inverse=True)
    return Pairs(distinct[:, 0], distinct[:, 1], distinct[:, 0]), inverse


def _masked_scores(probability, x: Tensor, masks: Tensor, pairs: Pairs, chunk: int | None) -> tuple[Tensor, Tensor]:
    """Return p of the masked images and of their complements, [P, L] each: two forwards per pair."""

    def made(index: Tensor) -> Tensor:
        pair, kept = moved(index % len(pairs), x), moved(index < len(pairs), x)
        mask = torch.where(kept[:, None, None], masks[pair], 1 - masks[pair])
        return shown(x, pairs.image[pair], mask)

    both = torch.cat([out for _, out in forwards(probability, made, 2 * len(pairs), like=x, chunk=chunk)])
    return both[: len(pairs)], both[len(pairs) :]


@torch.no_grad()
def predict(model: Classifier, dataset: Dataset, *, batch_size: int = 64, device: str = "cpu") -> Tensor:
    """Return the probabilities p [N, L] of every image of the dataset."""
    model = model.to(device).eval()
    pixels = PixelsAndLabels(dataset, budget=0)
    p = [model(model.preprocess(x.to(device).float() / 255)).sigmoid() for x, _ in DataLoader(pixels, batch_size)]
    return torch.cat(p).cpu()
