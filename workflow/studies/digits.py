"""Train and evaluate the digits networks of the book: `make checkpoints` (committed) and `make study` (measured).

checkpoints: co-occurring and independent scenes x both heads, chapter 2's networks of one digit per scene, and the
network that knows permuted labels by heart (sanity checks), seed 0, into data/checkpoints.
study: the same over three seeds, and the heads under each other's learning rate, evaluated into
data/results/minmax_digits.csv.
Both resume: what is already trained or evaluated is not done again.
"""

import argparse
import json
import time
from functools import partial
from itertools import product

import pandas as pd
from sklearn.metrics import f1_score
from torch import corrcoef

from cam_utils import data, files, runs
from cam_utils.evaluation import display, evaluate, facts, results, sanity
from cam_utils.networks import predictions

CO_OCCURRENCE = (0.9, 0.0)
HEADS = ("linear", "kernel-usage")
SEEDS = (0, 1, 2)
ONE_DIGIT = {"digits": "digits-softmax", "digits-cbam": "digits-softmax", "digits-acol": "digits-acol"}  # schedules
METHODS = ("cam", "grad-cam++", "score-cam", "minmax-cam", "d-minmax-cam")
SCENES = 200


def settings(seeds) -> list[dict]:
    """Return the committed settings: every scene kind and head under its own schedule."""
    return [
        {"co_occurrence": co, "head": head, "schedule": runs.schedule_for("digits", head), "seed": seed}
        for seed, co, head in product(seeds, CO_OCCURRENCE, HEADS)
    ]


def swapped(seeds) -> list[dict]:
    """Return the ablation: each head under the other's learning rate, on co-occurring scenes."""
    other = {"linear": "kernel-usage", "kernel-usage": "linear"}
    return [
        {"co_occurrence": 0.9, "head": head, "schedule": runs.schedule_for("digits", other[head]), "seed": seed}
        for seed, head in product(seeds, HEADS)
    ]


def model_of(setting: dict, folder=None):
    """Return the trained model of a setting, and the loader of its scenes."""
    load = partial(data.load, "digits", co_occurrence=setting["co_occurrence"])
    started = time.time()
    model, path = runs.trained(
        load, network="digits", head=setting["head"], schedule=setting["schedule"], seed=setting["seed"],
        folder=folder, progress=False,
    )  # fmt: skip
    print(f"{path.name}: {time.time() - started:.0f} s", flush=True)
    return model, load


def measure(setting: dict) -> pd.DataFrame:
    """Return every aggregated metric of one setting, with its classification scores and weight statistics."""
    model, load = model_of(setting)
    table = evaluate.evaluate(model, load("val", limit=SCENES), METHODS, folder=runs.evaluations(), progress=False)
    rows = results.aggregate(table, metrics=facts.SCORE_METRICS + facts.PIXEL_METRICS)
    scores = {}
    for name, co in (("macro_f1", setting["co_occurrence"]), ("macro_f1_unbiased_scenes", 0.0)):
        scenes = data.load("digits", "val", co_occurrence=co)
        p = predictions.predict(model, scenes)
        scores[name] = f1_score(scenes.labels, p > 0.5, average="macro", zero_division=0)
    correlation = corrcoef(model.head.class_weights().detach())
    scores["weight_correlation_of_pairs"] = float(sum(correlation[i, j] for i, j in ((1, 7), (0, 6), (3, 8))) / 3)
    extra = pd.DataFrame([{"method": "", "metric": k, "value": v} for k, v in scores.items()])
    return pd.concat([rows, extra], ignore_index=True).assign(**setting)


def summarise(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the study's two tables: mean over seeds ± half their range, percent (correlations as they are)."""
    rows = rows.assign(rate=rows["schedule"].map({"digits": "slow", "digits-kernel-usage": "fast"}))
    rows = rows.sort_values(["co_occurrence", "rate"], ascending=False, kind="stable")
    rows["scenes"] = rows["co_occurrence"].map({0.9: "co-occurring", 0.0: "independent"})
    by_network = ["scenes", "rate", "head"]

    def table(rows: pd.DataFrame, metrics: dict[str, str], index: list[str]) -> pd.DataFrame:
        chosen = rows[rows["metric"].isin(metrics)]
        scale = chosen["metric"].map(lambda name: 1 if "correlation" in name else 100)
        digits = {name: 2 if "correlation" in name else 1 for name in metrics}
        groups = chosen.assign(value=chosen["value"] * scale).groupby([*index, "metric"], sort=False)["value"]
        cells = groups.agg(["mean", "min", "max"]).reset_index()
        cells["cell"] = [
            f"{mean:.{digits[name]}f} ± {(high - low) / 2:.{digits[name]}f}"
            for name, mean, low, high in cells[["metric", "mean", "min", "max"]].itertuples(index=False)
        ]
        wide = cells.pivot(index=index, columns="metric", values="cell")[list(metrics)].rename(columns=metrics)
        order = cells[index].drop_duplicates()
        return wide.loc[[tuple(row) for row in order.to_numpy()]].reset_index()

    networks = {
        "macro_f1": "macro F1 (%)",
        "macro_f1_unbiased_scenes": "on independent scenes (%)",
        "weight_correlation_of_pairs": "weight correlation of pairs",
    }
    names = ("increase_in_confidence", "average_drop", "average_drop_others", "average_retention_others")
    shorts = {name: facts.METRICS[name].short for name in (*names, "energy_in_mask", "energy_in_others")}
    maps = {name: display.metric_name(short, arrow=True) for name, short in shorts.items()}
    shown = rows[rows["method"].isin(["", "cam", "grad-cam++", "minmax-cam"])]
    shown = shown.assign(method=shown["method"].map(display.method_name))
    return {"networks": table(rows, networks, by_network), "maps": table(shown, maps, [*by_network, "method"])}


def main() -> None:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("checkpoints", "study"))
    command = parser.parse_args().command
    if command == "checkpoints":
        folder = files.DATA / "checkpoints"
        for setting in settings(SEEDS[:1]):
            model_of(setting, folder)
        load, trunk = partial(data.load, "digits", objects=(1.0,)), None
        for network, schedule in ONE_DIGIT.items():
            weights = str(trunk) if network == "digits-acol" else None
            _, path = runs.trained(
                load, network=network, head="linear", schedule=schedule, weights=weights, folder=folder,
                progress=False,
            )  # fmt: skip
            trunk = trunk or path
        load = sanity.permuted(partial(data.load, "digits"), seed=0)
        runs.trained(load, network="digits", head="linear", schedule="by-heart", folder=folder, progress=False)
        return
    started, origin = time.time(), runs.provenance()  # the tree's state before this writes into it
    target = files.DATA / "results" / "minmax_digits.csv"
    rows = pd.concat([measure(s) for s in settings(SEEDS) + swapped(SEEDS)], ignore_index=True)
    columns = ["co_occurrence", "head", "schedule", "seed", "method", "metric", "value", "low", "high", "n_pairs"]
    rows[columns].to_csv(target, index=False, float_format="%.6g")
    for name, table in summarise(rows).items():
        table.to_csv(target.with_name(f"minmax_digits_{name}.csv"), index=False)
    record = {
        "command": "make study",
        "scenes": SCENES,
        **origin,
        "wall_s": round(time.time() - started),
    }
    target.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    print(target)


if __name__ == "__main__":
    main()
