"""From a dataset to the pairs table: every explained (image, label) pair with all its scores and metrics."""

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cam_utils import data, maps
from cam_utils.evaluation import metrics
from cam_utils.evaluation.mask_pictures import picture_metrics
from cam_utils.evaluation.regions import pixel_metrics
from cam_utils.evaluation.store import measured
from cam_utils.files import fingerprint
from cam_utils.methods.query import Query, rectified
from cam_utils.methods.registry import OF_LABEL_ALONE, Method, described, resolved
from cam_utils.methods.repeats import distinct
from cam_utils.methods.scorecam import Score, batched_scores, masked, moved
from cam_utils.names import check_known, check_share
from cam_utils.networks.capture import capture
from cam_utils.networks.models import Classifier, Pretrained
from cam_utils.networks.predictions import ACTIVATIONS, predicted, scoring
from cam_utils.pairs import Pairs, pairs_of

EXPLAINED = ("both", "predicted", "annotated")
HELD = 2**26  # numbers of masks whose forwards are made together: a quarter of a gigabyte


def evaluate(
    model: Classifier | Pretrained,
    dataset: Dataset,
    methods: str | Method | Iterable | Mapping[str, object],
    *,
    activation: str = "sigmoid",
    explained: str = "both",
    threshold: float = 0.5,
    precision: str = "float32",
    upsample_first: bool = False,
    pictures: bool = False,
    folder: str | Path | None = None,
    shard: tuple[int, int] = (0, 1),
    batch_size: int = 16,
    chunk: int | None = None,
    device: str = "cpu",
    workers: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Return the pairs table: one row per (image, label, method), with every score and metric value.

    Every image is explained against the labels it is predicted to have (p > `threshold`, the official protocol;
    with "softmax" the most probable class) and against its annotated ones; where both sets agree one row serves
    both (columns `in_predicted`, `in_annotated`).

    methods: names, callables or {name: either}, see :mod:`cam_utils.methods.registry`; options go in with
    `registry.method("ss-cam", draws=4)`. A stored evaluation knows a callable of yours by its name only.
    activation: "sigmoid" or "softmax" of the logits. explained: "both", "predicted" or "annotated".
    precision: "bfloat16" runs masked forwards in autocast. upsample_first: the order of normalising, see
    :func:`cam_utils.maps.masks`. pictures: also the drop and increase of SS-CAM's authors, of the mask alone as a
    picture, see :mod:`cam_utils.evaluation.mask_pictures`.
    folder, shard: where rows are kept, and how processes share them, see :mod:`cam_utils.evaluation.store`.
    workers: processes that decode the next batch while the network runs; None: up to 4 where it runs on a GPU, none
    where they would take its cores.

    Raises ValueError for an unknown method or option, a model of other labels, a shard that is none or without a
    folder, and a method whose maps do not fit the pairs.
    """
    methods = resolved(methods)
    check_known("activation", activation, ACTIVATIONS)
    check_known("explained", explained, EXPLAINED)
    check_share("threshold", threshold)
    if len(dataset.classes) != model.num_classes:
        raise ValueError(f"the model has {model.num_classes} labels, the dataset {len(dataset.classes)}")
    model = model.to(device).eval()
    how = {
        "activation": activation,
        "explained": explained,
        "threshold": threshold,
        "precision": precision,
        "upsample_first": upsample_first,
    } | ({"pictures": True} if pictures else {})  # what was stored without them stays known
    plan = {"model": fingerprint(*model.state_dict().values()), "methods": described(methods), **how}
    if workers is None:
        workers = 0 if torch.device(device).type == "cpu" else min(4, os.cpu_count() or 1)
    measure = partial(evaluate_batch, model, methods=methods, classes=dataset.classes, chunk=chunk, **how)
    kept = {"folder": folder, "batch_size": batch_size, "shard": shard, "workers": workers}
    told = ", ".join(list(methods)[:3]) + ", ..." * (len(methods) > 3)
    return measured(dataset, measure, plan, **kept, desc=f"{told} on", progress=progress)


@torch.no_grad()
def evaluate_batch(
    model: Classifier | Pretrained,
    batch: data.Batch,
    methods: Mapping[str, Method],
    classes,
    *,
    activation: str = "sigmoid",
    explained: str = "both",
    threshold: float = 0.5,
    chunk: int | None = None,
    precision: str = "float32",
    upsample_first: bool = False,
    pictures: bool = False,
) -> pd.DataFrame:
    """Return the pairs table of one batch of samples; methods as :func:`cam_utils.methods.registry.resolved`."""
    x = model.preprocess(batch.images.to(model.mean.device)).contiguous(memory_format=torch.channels_last)
    captured = capture(model, x, model.features, grads=True)
    score = scoring(model, activation, precision)
    p = ACTIVATIONS[activation](captured.logits.detach())
    present = {
        "predicted": predicted(p, activation, threshold=threshold),
        "annotated": batch.labels.to(p.device) > 0,
    }
    pairs, sets, facts = _explained(present, explained)
    if not len(pairs):
        return pd.DataFrame()
    facts = {
        "image_index": pairs.image.tolist(),
        "image": [batch.ids[i] for i in pairs.image.tolist()],
        "label": pairs.label.tolist(),
        "class": pd.Series(classes)[pairs.label.tolist()].tolist(),
        "set_size": sets.sum(1).tolist(),
        **{name: values.tolist() for name, values in facts.items()},
        "p": p[pairs.image, pairs.label].double().tolist(),
    }
    query = Query(model, x, captured, pairs, model.features, score, chunk, batch.ids)
    once, inverse = _unique(pairs)
    query_once = query.about(once)
    every = torch.arange(len(pairs), device=p.device)

    def masks_of(name: str, method: Method) -> Shown:
        # Where a map does not depend on the set C_x, a pair that stands in both sets has one map.
        asked, back = (query_once, inverse) if name in OF_LABEL_ALONE else (query, every)
        raw = rectified(method(asked), name, asked.pairs)
        return Shown(name, maps.masks(raw, x.shape[-2:], upsample_first=upsample_first), asked.pairs, back)

    def table(one: Shown, kept: Tensor, cut: Tensor) -> pd.DataFrame:
        values = score_metrics(p[pairs.image], kept[one.back], cut[one.back], pairs.label, sets)
        if pictures:
            alone = picture_metrics(model, captured.logits.detach(), one.masks, one.pairs, chunk=chunk)
            values |= {key: value[one.back] for key, value in alone.items()}
        values |= {key: value[one.back] for key, value in pixel_metrics(one.masks, one.pairs, batch).items()}
        columns = {k: (v if v.dtype == torch.bool else v.double()).cpu().numpy() for k, v in values.items()}
        return pd.DataFrame({**facts, "method": one.name, **columns})

    tables = []
    for together in _groups((masks_of(*each) for each in methods.items()), HELD):
        image = torch.cat([one.pairs.image for one in together])
        kept, cut = masked_scores(score, x, torch.cat([one.masks for one in together]), image, chunk)
        sizes = [len(one.pairs) for one in together]
        tables += [table(*each) for each in zip(together, kept.split(sizes), cut.split(sizes), strict=True)]
    return pd.concat(tables, ignore_index=True)


class Shown(NamedTuple):
    """A method's masks [Q, h, w] of the pairs that it was asked about, and which of them every pair has [P]."""

    name: str
    masks: Tensor
    pairs: Pairs
    back: Tensor


def _groups(each: Iterable[Shown], most: int) -> Iterator[list[Shown]]:
    """Yield the methods in groups whose masks have `most` numbers or a little more, at least one in each."""
    group: list[Shown] = []
    for one in each:
        group.append(one)
        if sum(held.masks.numel() for held in group) >= most:
            yield group
            group = []
    if group:
        yield group


def _explained(present: Mapping[str, Tensor], explained: str) -> tuple[Pairs, Tensor, dict[str, Tensor]]:
    """Return the pairs of the predicted and the annotated sets [B, L], every pair's set [P, L], and what is known.

    Where an image's two sets are one, its pairs stand once and belong to both.
    """
    guessed, annotated = present["predicted"], present["annotated"]
    same = (guessed == annotated).all(1)
    second = ~same if explained == "both" else torch.zeros_like(same)  # images with an annotated set of their own
    groups = torch.cat([annotated if explained == "annotated" else guessed, annotated[second]])
    every = torch.arange(len(guessed), device=guessed.device)
    pairs = pairs_of(groups, torch.cat([every, every[second]]))
    first = pairs.group < len(guessed)
    both = same[pairs.image]
    facts = {
        "in_predicted": both if explained == "annotated" else first,
        "in_annotated": both | (torch.ones_like(first) if explained == "annotated" else ~first),
        "is_annotated": annotated[pairs.image, pairs.label],
    }
    return pairs, groups[pairs.group], facts


def _unique(pairs: Pairs) -> tuple[Pairs, Tensor]:
    """Return the distinct (image, label) pairs and, for every pair, which of them it is."""
    both = torch.stack([pairs.image, pairs.label], 1)
    distinct, inverse = both.unique(dim=0, return_inverse=True)
    return Pairs(distinct[:, 0], distinct[:, 1], distinct[:, 0]), inverse


def masked_scores(
    score: Score, x: Tensor, masks: Tensor, image: Tensor, chunk: int | None
) -> tuple[Tensor, Tensor]:
    """Return p of the images x[image] under their masks [P, h, w] and under the complements, [P, L] each.

    That takes two forwards for every mask that is not one of its image's already: MinMax-CAM of a label that stands
    alone is CAM, whose scores then serve both.
    """
    first, which = distinct(image, masks)

    def made(index: Tensor) -> Tensor:
        row, kept = first[moved(index % len(first), x)], moved(index < len(first), x)
        mask = torch.where(kept[:, None, None], masks[row], 1 - masks[row])
        return masked(x, image[row], mask)

    both = torch.cat([out for _, out in batched_scores(score, made, 2 * len(first), like=x, chunk=chunk)])
    return both[: len(first)][which], both[len(first) :][which]


def score_metrics(p: Tensor, kept: Tensor, cut: Tensor, label: Tensor, sets: Tensor) -> dict[str, Tensor]:
    """Return the scores under the masks and Eqs. 10-14 of David et al., each [P]; p, kept, cut: [P, L]."""
    own = label[:, None]
    return {
        "p_masked": kept.gather(1, own)[:, 0],
        "p_complement": cut.gather(1, own)[:, 0],
        "increase_in_confidence": metrics.increase_in_confidence(p, kept, label),
        "average_drop": metrics.average_drop(p, kept, label),
        "average_drop_others": metrics.average_drop_others(p, kept, label, sets),
        "average_retention": metrics.average_retention(p, cut, label),
        "average_retention_others": metrics.average_retention_others(p, cut, label, sets),
    }
