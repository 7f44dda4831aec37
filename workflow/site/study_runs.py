"""Runs of the studies of photographs that chapters 2 and 3 show: no notebook, and no page but the chapter's."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from cam_utils.claims import representative, smoothed
from cam_utils.runs import Run
from workflow.site import photograph_runs

_PAIR = ("image_index", "label", "class")
_MEANS = ("table", "setting", "metric", "method", "value", "low", "high", "n_images")


class Study(NamedTuple):
    """What a run of a study holds: {name: type} of its parameters and facts, {file: columns} of its tables."""

    chapter: str
    record: Mapping[str, type]
    parameters: Mapping[str, type]
    facts: Mapping[str, type]
    columns: Mapping[str, Sequence[str]]
    counts: Mapping[str, Sequence[str]]  # columns beside those at the threshold of the parameters


STUDIES = {
    representative.PHOTOGRAPHS: Study(
        representative.CHAPTER,
        {"n_test": int},
        {
            "dataset": str, "architecture": str, "split": str, "finetune": str, "threshold": float, "least": int,
        },
        {"classes": list, "selections": dict, "clusters": dict, "similarity": list},
        {
            "complements.parquet": (*_PAIR, "rule", "union", "best_at_area", "whole_at_area"),
            "means.csv": _MEANS,
        },
        {"pairs.parquet": (), "single.parquet": (), "sums.parquet": ("area_sum", "hit_sum")},
    ),
    smoothed.PHOTOGRAPHS: Study(
        smoothed.CHAPTER,
        {"dataset": str},
        {"dataset": str, "network": str, "seed": int, "draws": int},
        {"top1": float, "weights": str},
        {
            "images.parquet": ("image_index", "label", "method", "average_drop", "picture_drop", "is_zero"),
            "mosaics.parquet": ("image_index", "label", "method", "energy_in_mask", "is_zero"),
            "means.csv": _MEANS,
        },
        {},
    ),
}  # fmt: skip


def is_one(run: Run) -> bool:
    """Return whether the run is of one of these studies."""
    return run.chapter in STUDIES


def page(run: Run) -> str:
    """Return the page that shows the run: its chapter's."""
    return f"notebooks/{STUDIES[run.chapter].chapter}"


def check(run: Run, reading: Callable) -> None:
    """Raise what is wrong with a file of the run, each read within `reading(name)`."""
    study = STUDIES[run.chapter]
    with reading("run.json"):
        photograph_runs.fields(run.record, study.record)
        photograph_runs.fields(run.parameters, study.parameters)
        at = [f"{kind}_{run.parameters['threshold']:g}" for kind in ("area", "hit")] if study.counts else []
    counts = {name: (*_PAIR, "truth", "method", *at, *more) for name, more in study.counts.items()}
    photograph_runs.check_tables(run, counts | dict(study.columns), reading)
    with reading("facts.json"):
        photograph_runs.fields(json.loads(photograph_runs.there(run, "facts.json").read_text()), study.facts)


def extras(run: Run) -> list[str]:
    """Return what else than data set and network tells the run from others: a limit, or another least of images."""
    given = run.parameters
    least = []
    if run.chapter == representative.PHOTOGRAPHS:
        own = run.id == f"representative-{given['dataset']}-{given['architecture']}"
        least = [] if own else [f"classes of {given['least']} images"]
    return least + [f"limit {limit}" for limit in [given.get("limit")] if limit]
