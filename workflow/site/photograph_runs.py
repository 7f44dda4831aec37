"""Runs of the study of photographs, which have no notebook: what their files hold, and the numbers of a page."""

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import pandas as pd

from cam_utils.claims import photographs
from cam_utils.evaluation import bootstrap, results
from cam_utils.evaluation.facts import PAPER_NAMES, PIXEL_METRICS, SCORE_METRICS
from cam_utils.networks.schedules import SCHEDULES
from cam_utils.runs import Run, schedule_for

CHAPTER = photographs.CHAPTER
PAGE = "book/photographs"  # the runs' pages stand below it
SHOWN = (
    "average_drop", "average_drop_others", "average_retention", "average_retention_others", "energy_in_mask",
    "energy_in_others", "iou_0.3", "pointing_mask",
)  # fmt: skip
ALIKE = 1e-6  # between a rate and itself in single precision
FIT = ["head", "rate", "seed"]
LEAST_IMAGES = photographs.LEAST_IMAGES
EMPTY = "is_zero"  # maps that are zero everywhere have no energy and point nowhere
RECORD = {"command": str, "n_train": int, "n_val": int, "n_test": int}
COLUMNS = {
    "heads.csv": ("fit", "epochs", "weight_norm", "logit_std", "f1_weighted", "f1_macro"),
    "classes.csv": ("class", "train", "test"),
    "objects.parquet": ("image_index", "label", "labels"),
    "pairs.parquet": ("image_index", "label", "set_size", "method", "in_predicted", *FIT, *SCORE_METRICS),
}
TUNED = {"history.csv": ("fit", "stage")}  # of a fine-tuned network: one row for each epoch of both stages
TABLES = {"linear": "minmax_table2", "kernel-usage": "minmax_table3"}  # head -> the paper's table of such networks
NAMES = {"linear": "Baseline", "kernel-usage": "Reg."}  # of the heads in its table of F-scores
SPLITS = {"msrc": "test"}  # the part that is evaluated; "val" of the others


def is_one(run: Run) -> bool:
    """Return whether the run is of this study."""
    return run.chapter == CHAPTER


def check(run: Run, reading: Callable) -> None:
    """Raise what is wrong with a file of the run, each read within `reading(name)`."""
    with reading("run.json"):
        fields(run.record, RECORD)
        fields(run.parameters, {"dataset": str, "architecture": str, "rates": list, "seeds": list})
    check_tables(run, COLUMNS | (TUNED if run.parameters.get("finetune") else {}), reading)
    with reading("score_cam.parquet"):
        run.table("score_cam")  # none until Score-CAM has been run
    with reading("heads.csv"):
        heads(run)
    with reading("facts.json"):
        known = json.loads(there(run, "facts.json").read_text())
        fields(known, {"seconds_per_image": dict, "identities": dict})
        seconds(run)
        identities(run)
    with reading("heads.pt"):
        if not zipfile.is_zipfile(there(run, "heads.pt")):
            raise ValueError("expected weights that torch.save has written whole")


def check_tables(run: Run, columns: Mapping[str, Sequence[str]], reading: Callable) -> None:
    """Raise what is wrong with a table of {file: columns}: it is missing, damaged, empty or lacks a column."""
    for name, wanted in columns.items():
        with reading(name):
            file = there(run, name)
            table = pd.read_csv(file) if file.suffix == ".csv" else pd.read_parquet(file)
            if missing := [column for column in wanted if column not in table]:
                raise ValueError(f"expected the columns {', '.join(wanted)}, missing: {', '.join(missing)}")
            if not len(table):
                raise ValueError("expected at least one row, got none")


def fields(record: object, kinds: Mapping[str, type]) -> None:
    """Raise ValueError if the record is no object with fields of these types."""
    if not isinstance(record, dict):
        raise ValueError(f"expected an object, got {record!r}")
    for name, kind in kinds.items():
        if not isinstance(record.get(name), kind):
            raise ValueError(f"expected {name} to be of type {kind.__name__}, got {record.get(name)!r}")


def there(run: Run, name: str) -> Path:
    """Return the path of a file of the run; raises FileNotFoundError if it has none of this name."""
    if not (file := run.folder / name).is_file():
        raise FileNotFoundError(f"run {run.id} has no {name}")
    return file


def effects(run: Run) -> pd.DataFrame:
    """Return :func:`cam_utils.claims.photographs.effects` of the run, computed once."""
    return _effects(run.folder, _mark(run)).copy()


def means_of(run: Run) -> pd.DataFrame:
    """Return the run's means as rows of the paper's tables 2, 3 and 4, one for each seed, computed once.

    Columns: table, setting, method, metric, value, low, high (percent; F-scores of heads have no interval),
    n_images, seed, split. By the official protocol: predicted labels, all images, all classes. Of each head at the
    rate of the book's schedule for it.
    """
    return _means(run.folder, _mark(run)).copy()


def averages(run: Run) -> pd.DataFrame:
    """Return every method's means on all images and on those of several labels, computed once.

    Columns: images, head, rate, method, metric, value (percent, mean over seeds), n_seeds. Of classes with at least
    LEAST_IMAGES images; pixel metrics of annotated labels, the others of predicted ones. Score-CAM stands in the
    second part only, of its own seed.
    """
    return _averages(run.folder, _mark(run)).copy()


def heads(run: Run) -> pd.DataFrame:
    """Return heads.csv with the columns head, rate and seed. Raises ValueError for a head that no pair has.

    Of a fine-tuned network `epochs` is split in two: `frozen`, those of the first stage, and `tuned`, the others.
    """
    table = pd.read_csv(run.folder / "heads.csv")
    fits = pd.read_parquet(run.folder / "pairs.parquet", columns=FIT).drop_duplicates()
    known = {f"{head}-{rate:g}-s{seed}": (head, rate, seed) for head, rate, seed in fits.itertuples(index=False)}
    if unknown := sorted(set(table["fit"]) ^ set(known)):
        raise ValueError(f"expected the heads of pairs.parquet, differs in: {', '.join(unknown)}")
    table[FIT] = pd.DataFrame([known[fit] for fit in table["fit"]], index=table.index)
    if run.parameters.get("finetune"):
        first = pd.read_csv(there(run, "history.csv")).query("stage == 1")["fit"].value_counts()
        frozen = table["fit"].map(first).fillna(0).astype(int)
        table = table.assign(frozen=frozen, tuned=table["epochs"] - frozen).drop(columns="epochs")
    return table


def seconds(run: Run) -> dict[str, float]:
    """Return every method's seconds per image. Raises ValueError for what is no time."""
    found = run.facts()["seconds_per_image"]
    for name, value in found.items():
        if not (isinstance(value, int | float) and value > 0):
            raise ValueError(f"expected seconds per image above 0 for {name}, got {value!r}")
    return found


def identities(run: Run) -> dict[str, float]:
    """Return the largest deviation from the identities E2 ("overlap") and E3 (by form) over all heads."""
    every = run.facts()["identities"].values()
    found = {"overlap": max((float(each["overlap"]) for each in every), default=0.0)}
    for each in every:
        for name, value in each["deviation"].items():
            found[name] = max(found.get(name, 0.0), float(value))
    return found


def reference(table: pd.DataFrame) -> tuple[str, float]:
    """Return the head and the rate that sentences and figures show first: linear and 0.1 where they are there."""
    linear = table[table["head"] == "linear"]
    linear = table if linear.empty else linear
    usual = linear[(linear["rate"] - 0.1).abs() < ALIKE]
    first = (linear if usual.empty else usual).iloc[0]
    return first["head"], first["rate"]


def beside_paper(run: Run, head: str, rate: float) -> bool:
    """Return whether a head's rate is that of the book's schedule of the paper, or the run has no such rate."""
    wanted = SCHEDULES[schedule_for(run.parameters["dataset"], head)][0].lr
    known = any(abs(each - wanted) < ALIKE for each in run.parameters["rates"])
    return not known or abs(rate - wanted) < ALIKE


def _mark(run: Run) -> tuple:
    """Return what tells the run's files from those that lay there before."""
    files = (run.folder / f"{name}.parquet" for name in ("pairs", "score_cam"))
    return (json.dumps(run.record, sort_keys=True), *(f.stat().st_mtime_ns for f in files if f.exists()))


def _run(folder: Path, mark: tuple) -> Run:
    return Run(folder, json.loads(mark[0]))


@lru_cache(maxsize=16)
def _effects(folder: Path, mark: tuple) -> pd.DataFrame:
    return photographs.effects(_run(folder, mark))


def _fits(table: pd.DataFrame) -> Iterator[tuple[tuple, pd.DataFrame]]:
    """Yield (head, rate, seed) and its rows, of those that predict any label."""
    for fit, part in table.groupby(FIT, sort=False, observed=True):
        if part["in_predicted"].any():
            yield fit, part


@lru_cache(maxsize=16)
def _means(folder: Path, mark: tuple) -> pd.DataFrame:
    run, rows = _run(folder, mark), []
    for (head, rate, seed), part in _fits(run.table()):
        if head in TABLES and beside_paper(run, head, rate):
            known = {"table": TABLES[head], "setting": f"rate {rate:g}", "seed": seed}
            rows += [
                known
                | {"method": results.PAPER_METHODS[method], "metric": PAPER_NAMES[metric]}
                | {name: 100 * value for name, value in bootstrap.interval(draws).items()}
                | {"n_images": counts["n_images"]}
                for (method, metric), (draws, counts) in results.resample(part).items()
                if method in results.PAPER_METHODS and metric in PAPER_NAMES
            ]
    ends = dict.fromkeys(("low", "high"), float("nan"))
    for row in heads(run).to_dict("records"):
        if row["head"] in NAMES and beside_paper(run, row["head"], row["rate"]):
            known = {"table": "minmax_table4", "setting": f"rate {row['rate']:g}", "seed": row["seed"]}
            known |= {"method": NAMES[row["head"]], "metric": "F1", "n_images": run.record["n_test"]}
            rows.append(known | {"value": 100 * row["f1_weighted"]} | ends)
    columns = ["table", "setting", "method", "metric", "value", "low", "high", "n_images", "seed"]
    split = SPLITS.get(run.parameters["dataset"], "val")
    return pd.DataFrame(rows, columns=columns).assign(split=split)


@lru_cache(maxsize=16)
def _averages(folder: Path, mark: tuple) -> pd.DataFrame:
    run = _run(folder, mark)
    table, rows = run.table(), []
    pixels = tuple(name for name in SHOWN if name in PIXEL_METRICS)
    for images, tables in (
        (photographs.ALL, [table]),
        (photographs.SEVERAL, [photographs.several(table), run.table("score_cam")]),
    ):
        # A class counts for all seeds of a head and rate, or for none.
        enough = [
            results.with_values(results.with_enough(own, LEAST_IMAGES), (*pixels, EMPTY), LEAST_IMAGES)
            for each in tables
            if len(each)
            for _, own in each.groupby(["head", "rate"], sort=False, observed=True)
        ]
        for (head, rate, seed), part in (found for each in enough for found in _fits(each)):
            for pairs, metrics in (("predicted", SCORE_METRICS), ("annotated", (*pixels, EMPTY))):
                options = {"pairs": pairs, "metrics": metrics, "resamples": 0}
                rows += [
                    (images, head, rate, seed, method, metric, 100 * draws[0])
                    for (method, metric), (draws, _) in _drawn(part, **options).items()
                ]
    found = pd.DataFrame(rows, columns=["images", "head", "rate", "seed", "method", "metric", "value"])
    keys = ["images", "head", "rate", "method", "metric"]
    return found.groupby(keys, sort=False).agg(value=("value", "mean"), n_seeds=("seed", "nunique")).reset_index()


def _drawn(table: pd.DataFrame, **options) -> dict:
    """Return what `results.resample` draws, nothing where no class has enough images."""
    return results.resample(table, **options) if table[f"in_{options['pairs']}"].any() else {}
