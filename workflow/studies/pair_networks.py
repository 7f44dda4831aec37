r"""One network for each pair of six classes of photographs: Meng et al.'s own mode, against one network for all.

    python -m workflow.studies.pair_networks --data DATA [--threads 1]

DATA holds the VOC 2012 sample (VOCdevkit/VOC2012). The 15 networks of the pairs and the one of all six classes
start from ImageNet, see the same images and are kept after 1, 3 and 10 epochs and at the paper's stopping rule;
heads on the frozen start network are fitted on these images, too. Maps of the test images are judged by their
masks. Killed at any moment, it goes on where it was: trained networks and judged images lie in the cache. On one
core it takes about an hour, half of it for the training. Writes data/results/repcam_pair_networks.csv and a record
beside it, with what the rows of the pairs' heads have in common.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch

from cam_utils import files, runs
from cam_utils.evaluation import miou
from cam_utils.networks import models
from workflow.studies import pair_network_facts as facts
from workflow.studies import pair_network_maps as maps
from workflow.studies import pair_network_training as training
from workflow.studies.option_kinds import folder, whole

TARGET = files.DATA / "results" / "repcam_pair_networks.csv"
COMMAND = "python -m workflow.studies.pair_networks --data DATA --threads 1"
SHOWN = ("Baseline", "mean single pair", "All", "S-1")  # of the table of classes
PRINTED = ["epoch", "of", "score", "rule", "with_a", "value", "difference", "difference_low", "difference_high"]


def study(root: Path, settings: training.Settings, *, progress: bool = True) -> tuple[pd.DataFrame, dict]:
    """Return the table of the rows, and what else was found: B, clusters, times, the facts of the collapse."""
    load = training.loader(root, settings)
    start = models.build(settings.network, len(settings.classes), weights=settings.weights, seed=settings.seed)
    found, times = training.trained(load("train"), settings, progress=progress)
    b = maps.similarity(found(*settings.everything), load("val"))
    chosen, clusters = maps.rules(b)
    rows = maps.recipes(chosen)
    measures = []
    for told, source, compares in maps.all_sources(found, start, load("train"), settings):
        if progress:
            print(*told.values(), flush=True)
        wanted = rows if compares else maps.CLASS_RECIPES
        measures.append((told, maps.measured(source, wanted, load("test"), start, settings, progress=progress)))
    test = training.Held(load("test"), list(range(len(load("test")))), settings.classes)
    names = settings.classes
    record = {
        "settings": asdict(settings),
        "trainings": times,
        "similarity": [[round(float(v), 4) for v in row] for row in b],
        "clusters": [[names[c] for c in group] for group in clusters.members],
        "collapse": facts.collapse(found, start, test, settings).round(4).to_dict("records"),
        "classes": classes_of(measures),
        "images": {split: len(load(split)) for split in ("train", "val", "test")},
    }
    return maps.table_of(measures), record


def classes_of(measures: list[tuple[dict, pd.DataFrame]]) -> list[dict]:
    """Return the IoU of every class at T = 0.15 for the rows that compare with all others, and the baselines."""
    found = []
    for told, table in measures:
        per = miou.per_class(table)
        for rule in SHOWN:
            columns = [name for name in per if (name.rpartition(", ")[0] or name) == rule]
            if columns:
                means = per[columns].mean(axis=1).round(4)
                found.append({**told, "rule": rule, **means.to_dict()})
    return found


def main() -> None:
    """Train and judge what is missing, write the tables and print the rows at T = 0.15."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=folder, help="folder that holds VOCdevkit/")
    parser.add_argument("--threads", type=whole(), help="of the processor (default: torch's own number)")
    parser.add_argument("--limit", type=whole(), help="images of each split, to try it out")
    parser.add_argument("--train-only", action="store_true", help="leave the maps to a later call")
    parser.add_argument("--out", type=Path, default=TARGET, help="the table's file; the record gets its name")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    settings = training.Settings(limit=options.limit)
    if options.train_only:
        training.trained(training.loader(options.data, settings)("train"), settings)
        return
    started, origin = time.time(), runs.provenance()  # the tree's state before this writes into it
    table, record = study(options.data, settings)
    runs.save(options.out, table)
    told = {
        "command": COMMAND,
        **origin,
        "threads": torch.get_num_threads(),
        "wall_s": round(time.time() - started),
    }
    files.write_text(options.out.with_suffix(".json"), json.dumps(told | record, indent=1) + "\n")
    for at, part in table.groupby("at", sort=False):
        print(f"\nmIoU (M1), {at}\n{part[PRINTED].to_string(index=False, float_format='%.3f')}")
    print(f"\n{pd.DataFrame(record['collapse']).to_string(index=False)}\n{options.out}")


if __name__ == "__main__":
    main()
