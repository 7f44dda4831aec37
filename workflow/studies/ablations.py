"""What choices change that MinMax-CAM's paper leaves open: one alternative after the other, all else as it is.

    python -m workflow.studies.ablations --data DATA

DATA holds the VOC 2012 sample (VOCdevkit/VOC2012). Writes data/results/minmax_ablations.csv after every choice and
minmax_ablations.json, then the sentences of book/deviations_minmax_cam.md. What is in the table is not measured
again without --again. A row is of the difference between a method and CAM on images of several annotated labels
("ours" and under the alternative), or of what the alternative changes ("<alternative> minus ours"): fractions, the
mean over classes and seeds with its paired 95% interval over images.
"""

import argparse
import json
import time
from collections.abc import Sequence

import numpy as np
import pandas as pd

from cam_utils import runs
from cam_utils.claims.photographs import LEAST_IMAGES
from cam_utils.evaluation import results
from cam_utils.evaluation.bootstrap import interval
from workflow.studies import ablation_page
from workflow.studies.ablation_choices import CHOICES, Choice
from workflow.studies.ablation_page import BASELINE, OURS, TABLE
from workflow.studies.ablation_parts import NETWORK, SEEDS, Digits, Photographs
from workflow.studies.option_kinds import folder, whole

METRICS = ("average_drop", "average_drop_others", "average_retention_others", "energy_in_others")
OTHER = "other"
MEAN = {"pairs": "annotated", "average": "macro", "multi_only": True, "metrics": METRICS}


def compare(tables: Sequence[tuple[pd.DataFrame, pd.DataFrame]], choice: Choice, least_images: int) -> pd.DataFrame:
    """Return the rows of a choice out of its pairs tables, one couple (ours, alternative) for every seed.

    All means are of the same bootstrap images, so that every difference is paired; seeds are averaged.
    """
    found: dict[tuple[str, str, str], list[np.ndarray]] = {}
    counts = {}
    for here, there in tables:
        sides = [part.assign(method=f"{side}|" + part["method"].astype(str))
                 for side, part in ((OURS, here), (OTHER, there))]  # fmt: skip
        both = pd.concat(sides, ignore_index=True)
        whole = len(here) == len(there)  # else pairs are left out on purpose, and stay in the other mean
        both = results.paired(both, METRICS) if whole else both
        for (name, metric), (draws, count) in results.resample(both, **MEAN, least_images=least_images).items():
            side, method = name.split("|")
            found.setdefault((side, method, metric), []).append(draws)
            counts[side, metric] = count["n_images"]
    mean = {key: np.mean(draws, axis=0) for key, draws in found.items()}
    minus, changed = f"{choice.method} minus {BASELINE}", f"{choice.name} minus {OURS}"
    rows = []
    for metric in METRICS:
        here, there = ({m: mean[side, m, metric] for m in (choice.method, BASELINE)} for side in (OURS, OTHER))
        less = [of[choice.method] - of[BASELINE] for of in (here, there)]
        told = [(OURS, minus, less[0]), (choice.name, minus, less[1]), (changed, minus, less[1] - less[0])]
        told += [(changed, method, there[method] - here[method]) for method in here]
        for name, method, draws in told:
            n = counts[OURS if name == OURS else OTHER, metric]
            rows.append({"choice": name, "method": method, "metric": metric, **interval(draws), "n_images": n})
    row, name, dataset = choice.key
    network = "digits" if choice.digits else NETWORK
    facts = {"id": row, "alternative": name, "dataset": dataset, "network": network, "head": choice.head}
    table = pd.DataFrame(rows).assign(**facts, seeds=len(tables))
    numbers = ["value", "low", "high"]
    return table.assign(**table[numbers].round(4) + 0.0)[COLUMNS]  # no -0.0


COLUMNS = [
    "id", "alternative", "choice", "dataset", "network", "head", "method", "metric", "value", "low", "high",
    "n_images", "seeds",
]  # fmt: skip
KEY = ["id", "alternative", "dataset"]


def measured(choice: Choice, bench: Photographs | Digits, seeds: Sequence[int], least_images: int = LEAST_IMAGES):
    """Return the rows of one choice; on digits there is one committed network, so one seed."""
    seeds = (0,) if choice.digits else seeds
    return compare([choice.tables(bench, seed) for seed in seeds], choice, least_images)


def main() -> None:
    """Measure what is not in the table, one choice after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=folder, help="folder that holds VOCdevkit/")
    parser.add_argument("--seeds", type=whole(), default=len(SEEDS), help="how many heads of the stored study")
    ids = sorted({choice.row for choice in CHOICES})
    parser.add_argument("--only", nargs="+", choices=ids, metavar="ID", help="deviations (default: all)")
    parser.add_argument("--again", action="store_true", help="measure what is in the table, too")
    options = parser.parse_args()
    table = pd.read_csv(TABLE) if TABLE.is_file() else pd.DataFrame(columns=COLUMNS)
    record = TABLE.with_suffix(".json")
    told = json.loads(record.read_text()) if record.is_file() else {"choices": {}}
    benches: dict[bool, Photographs | Digits] = {}
    for choice in CHOICES:
        same = pd.Series([tuple(key) == choice.key for key in table[KEY].to_numpy()], dtype=bool)
        if (options.only and choice.row not in options.only) or (same.any() and not options.again):
            continue
        started, origin = time.time(), runs.provenance()
        if choice.digits not in benches:
            benches[choice.digits] = Digits() if choice.digits else Photographs(options.data)
        rows = measured(choice, benches[choice.digits], range(options.seeds))
        table = pd.concat([table[~same], rows], ignore_index=True)
        order = {each.key: number for number, each in enumerate(CHOICES)}
        number = pd.Series([order.get(tuple(key), len(order)) for key in table[KEY].to_numpy()])
        table = table.loc[number.sort_values(kind="stable").index].reset_index(drop=True)
        runs.save(TABLE, table)
        seconds = round(time.time() - started)
        told["choices"][" / ".join(choice.key)] = {
            "git": origin["git"],
            "dirty": origin["dirty"],
            "wall_s": seconds,
        }
        command = "python -m workflow.studies.ablations --data DATA"
        runs.save(record, {"command": command, **origin, "choices": told["choices"]})
        print(f"{' / '.join(choice.key)}: {seconds} s", flush=True)
    ablation_page.write()


if __name__ == "__main__":
    main()
