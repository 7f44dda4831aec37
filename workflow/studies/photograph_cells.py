"""One cell of the study of photographs: a data set and a frozen backbone, with all heads that are trained on it."""

import functools
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cam_utils import data, files, runs, seals
from cam_utils.data.views import View
from cam_utils.evaluation import evaluate, store
from cam_utils.methods import controls, scorecam
from cam_utils.methods.query import Query
from cam_utils.networks import frozen, models, resuming, schedules, training, weight_files
from cam_utils.networks.predictions import ACTIVATIONS

HEADS = ("linear", "kernel-usage")
METHODS = ("cam", "grad-cam++", "minmax-cam", "d-minmax-cam", controls.area_matched_cam)
SCORE_CAM = "score-cam"
STOPPING = 0.1  # of the training images decide when to stop where a data set has no third part for that
SIZE = 224


@dataclass(frozen=True)
class Fit:
    """One head: its kind, the rate of its training, and the seed of its first weights and of the batches."""

    head: str
    rate: float
    seed: int

    @property
    def name(self) -> str:
        """A name that is a file's, too: "kernel-usage-0.1-s3"."""
        return f"{self.head}-{self.rate:g}-s{self.seed}"


def fits(rates: Iterable[float], seeds: Iterable[int]) -> list[Fit]:
    """Return every head under every rate and seed."""
    return [Fit(*each) for each in product(HEADS, rates, seeds)]


def loader(name: str, root: str | Path, limit: int | None = None) -> Callable[..., Dataset]:
    """Return `load(split)` for "train", "val" (which decides when training stops) and "test" (which is evaluated).

    MSRC-v2 has these parts. Of VOC 2012 a tenth of "train", drawn once, becomes "val", and "val" is "test": no
    image that is evaluated takes part in a training.
    """

    @functools.cache
    def part(split: str) -> Dataset:
        return data.load(name, split, root=root, size=SIZE, limit=limit)

    def load(split: str) -> Dataset:
        if name == "msrc":
            return part(split)
        if split == "test":
            return part("val")
        whole = part("train")
        drawn = data.Drawn(whole, None, seed=0).rows
        cut = round(STOPPING * len(drawn))
        rows = sorted(drawn[:cut] if split == "val" else drawn[cut:])
        return View(whole, rows, whole.labels[rows], whole.classes, {"rows": rows})

    return load


def trained(
    network: str, weights: str | Path, load: Callable[..., Dataset], wanted: Sequence[Fit], folder: Path,
    *, progress: bool = True,
) -> tuple[dict[str, models.Classifier], pd.DataFrame]:  # fmt: skip
    """Return every fit's classifier by name, and the history of all trainings.

    What is in `folder` (one for each data set, network and code) is taken from there.
    """
    made, history, views = {}, [], None
    for fit in wanted:
        model = models.build(network, len(load("test").classes), head=fit.head, weights=weights, seed=fit.seed)

        def train(model=model, fit=fit) -> dict[str, object]:
            nonlocal views
            views = views or frozen.views_of(model, load, schedules.frozen(fit.rate), progress=progress)
            rows = frozen.train_head(model, views, schedules.frozen(fit.rate), seed=fit.seed, progress=False)
            if progress:
                print(f"{fit.name}: {len(rows)} epochs, lowest loss {rows['val_loss'].min():.4f}", flush=True)
            return {"state": model.head.state_dict(), "log": rows.to_dict("list")}

        stored = weight_files.kept(folder / f"{fit.name}.pt", train)
        model.head.load_state_dict(stored["state"])
        made[fit.name] = model.eval()
        history.append(pd.DataFrame(stored["log"]).assign(fit=fit.name))
    return made, pd.concat(history, ignore_index=True)


def tuned(
    made: dict[str, models.Classifier], load: Callable[..., Dataset], wanted: Sequence[Fit], folder: Path,
    *, accelerator: str = "cpu", progress: bool = True,
) -> pd.DataFrame:  # fmt: skip
    """Train the upper layers of every classifier in place by the paper's second stage, and return the history.

    What is in `folder` is taken from there: finished networks, and the last whole epoch of one that was killed.
    """
    history = []
    for fit in wanted:
        model, state = made[fit.name], folder / f"{fit.name}-state"

        def train(model=model, fit=fit, state=state) -> dict[str, object]:
            rows = training.train(
                model, load, (schedules.FINE_TUNING,), seed=fit.seed, folder=state, accelerator=accelerator,
                progress=progress,
            )  # fmt: skip
            return {"state": model.state_dict(), "log": rows.assign(stage=2).to_dict("list")}

        stored = weight_files.kept(folder / f"{fit.name}-tuned.pt", train)
        resuming.clear(state)
        model.load_state_dict(stored["state"])
        model.eval()
        history.append(pd.DataFrame(stored["log"]).assign(fit=fit.name))
    return pd.concat(history, ignore_index=True)


def evaluated(
    made: dict[str, models.Classifier], test: Dataset, wanted: Sequence[Fit],
    *, device: str = "cpu", progress: bool = True,
) -> pd.DataFrame:  # fmt: skip
    """Return the pairs table of all fits on all images, with columns that tell the fits apart."""
    tables = []
    for fit in wanted:
        how = {"folder": runs.evaluations(), "device": device, "progress": progress}
        table = evaluate.evaluate(made[fit.name], test, METHODS, **how)
        tables.append(table.assign(**asdict(fit)))
    return pd.concat(tables, ignore_index=True)


def score_cams(
    made: dict[str, models.Classifier], test: Dataset, rows: Sequence[int] | None = None, *, progress: bool = True
) -> pd.DataFrame:
    """Return the rows of Score-CAM under every head of one frozen backbone, on the images of several labels.

    The masked images do not depend on the head: their features are computed once for all heads. rows: of these
    images instead.
    """
    asked = (test.labels.sum(1) > 1).nonzero().flatten().tolist() if rows is None else list(rows)
    images = View(test, asked, test.labels[asked], test.classes, {"rows": asked})
    plan = {"score-cam of": {name: files.fingerprint(*model.state_dict().values()) for name, model in made.items()}}
    measure = functools.partial(_score_cams, made, classes=test.classes)
    table = store.measured(
        images, measure, plan, folder=runs.evaluations(), batch_size=1, desc="Score-CAM of", progress=progress
    )
    return table.assign(image_index=[asked[i] for i in table["image_index"]]) if len(table) else table


@torch.no_grad()
def _score_cams(made: dict[str, models.Classifier], batch: data.Batch, *, classes) -> pd.DataFrame:
    backbone = next(iter(made.values()))
    x = backbone.preprocess(batch.images.to(backbone.mean.device)).contiguous(memory_format=torch.channels_last)
    activations = backbone.features(x)
    alive = activations.flatten(2).abs().amax(-1) > 0  # a dead channel scores 0, as in channel_scores
    pooled = scorecam.channel_scores(x, activations, lambda images: backbone.features(images).mean((-2, -1)))
    rows = []
    for name, model in made.items():

        def method(query: Query, model=model) -> Tensor:
            scores = ACTIVATIONS["sigmoid"](model.head(pooled)) * alive[..., None]  # [B, K, L]
            alpha = scores[query.pairs.image, :, query.pairs.label]
            return scorecam.upsampled_sum(query.images, query.activations, alpha, query.pairs)

        rows.append(evaluate.evaluate_batch(model, batch, {SCORE_CAM: method}, classes).assign(fit=name))
    return pd.concat(rows, ignore_index=True)


def timed(model: models.Classifier, test: Dataset, *, images: int = 8, costly: int = 1) -> dict[str, float]:
    """Return every method's seconds per image with several labels, maps and scores together: the paper's run time.

    Score-CAM is timed on `costly` images. Only ratios of one call mean anything.
    """
    several = (test.labels.sum(1) > 1).nonzero().flatten().tolist()[:images]
    found = {}
    for method in (METHODS[0], *METHODS, SCORE_CAM):  # the first call warms up, and counts for nothing
        rows = several[:costly] if method == SCORE_CAM else several
        part = View(test, rows, test.labels[rows], test.classes, {})
        started = time.perf_counter()
        evaluate.evaluate(model, part, method, explained="annotated", progress=False)
        name = method if isinstance(method, str) else "area-matched-cam"
        found[name] = (time.perf_counter() - started) / len(rows)
    return found


def compact(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table in as few bytes as a reader can do with: four decimals, words as categories."""
    reals = list(table.select_dtypes("float"))
    words = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    small = {"image_index": "int16", "label": "int8", "set_size": "int8", "seed": "int8"}
    return table.assign(**table[reals].round(4).astype("float32"), **table[words].astype("category")).astype(
        {name: kind for name, kind in small.items() if name in table}
    )


def save_table(file: Path, table: pd.DataFrame) -> None:
    """Write the table whole or not at all, in the form that takes the least room."""
    with files.written(file) as partial:
        table.to_parquet(partial, compression="zstd", compression_level=19, index=False)


def with_heads(
    network: str, weights: str | Path, classes: Sequence[str], wanted: Sequence[Fit], file: Path
) -> dict[str, models.Classifier]:
    """Return the classifiers of these fits by name, with their heads out of what :func:`save_heads` wrote.

    Raises ValueError if the file is not as the record of its run says.
    """
    record = file.with_name(seals.RECORD)
    seals.check_record(record)
    seals.stored(file, json.loads(record.read_bytes()))
    stored, made = weight_files.read(file), {}
    for fit in wanted:
        made[fit.name] = models.build(network, len(classes), head=fit.head, weights=weights).eval()
        made[fit.name].head.load_state_dict(stored[fit.name])
    return made


def save_heads(file: Path, made: dict[str, models.Classifier]) -> None:
    """Write all heads' weights into one file; the run's record seals it."""
    with files.written(file) as partial:
        torch.save({name: model.head.state_dict() for name, model in made.items()}, partial)
