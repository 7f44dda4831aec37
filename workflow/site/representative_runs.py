"""Runs of the study of representative classes on photographs: no notebook and no page, the chapter shows them."""

import json
from collections.abc import Callable

from cam_utils.claims import representative
from cam_utils.runs import Run
from workflow.site import photograph_runs

CHAPTER = representative.PHOTOGRAPHS
PAGE = f"notebooks/{representative.CHAPTER}"
PARAMETERS = {"dataset": str, "architecture": str, "split": str, "finetune": str, "threshold": float, "least": int}
FACTS = {"classes": list, "selections": dict, "clusters": dict, "similarity": list}
_PAIR = ("image_index", "label", "class")
COLUMNS = {
    "complements.parquet": (*_PAIR, "rule", "union", "best_at_area", "whole_at_area"),
    "means.csv": ("table", "setting", "metric", "method", "value", "low", "high", "n_images"),
}
COUNTS = {"pairs.parquet": (), "single.parquet": (), "sums.parquet": ("area_sum", "hit_sum")}  # beside those at T


def is_one(run: Run) -> bool:
    """Return whether the run is of this study."""
    return run.chapter == CHAPTER


def check(run: Run, reading: Callable) -> None:
    """Raise what is wrong with a file of the run, each read within `reading(name)`."""
    with reading("run.json"):
        photograph_runs.fields(run.record, {"n_test": int})
        photograph_runs.fields(run.parameters, PARAMETERS)
        at = [f"{kind}_{run.parameters['threshold']:g}" for kind in ("area", "hit")]
    counts = {name: (*_PAIR, "truth", "method", *at, *more) for name, more in COUNTS.items()}
    photograph_runs.check_tables(run, counts | COLUMNS, reading)
    with reading("facts.json"):
        photograph_runs.fields(json.loads(photograph_runs.there(run, "facts.json").read_text()), FACTS)


def extras(run: Run) -> list[str]:
    """Return what else than data set and network tells the run from others: a limit, or another least of images."""
    given = run.parameters
    own = run.id == f"representative-{given['dataset']}-{given['architecture']}"
    least = [] if own else [f"classes of {given['least']} images"]
    return least + [f"limit {limit}" for limit in [given.get("limit")] if limit]
