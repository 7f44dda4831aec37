"""Representative classes on photographs: VOC 2012's sample and MSRC-v2, two frozen networks, heads on features.

    python -m workflow.studies.representative_photographs --data ../shared/data

Every cell (a data set and a network) becomes a folder `representative-DATASET-NETWORK` of data/results/runs with
pixel counts: of all rules (pairs.parquet), of single pairs (single.parquet), and of means against sums
(sums.parquet); with how maps complement each other (complements.parquet), and what the rules chose (facts.json).
Maps are made in parts, and a killed run goes on with the first part that is missing.
"""

import time
from pathlib import Path

import pandas as pd
import torch

from cam_utils import files, runs
from cam_utils.claims.representative import PHOTOGRAPHS, comparable
from cam_utils.evaluation import miou, sums
from cam_utils.evaluation.map_counts import evaluate_maps
from cam_utils.files import code_fingerprint, fingerprint
from cam_utils.maps import NORMALISATIONS
from cam_utils.networks import models
from cam_utils.representative import sources
from cam_utils.representative.fusion import Recipe
from workflow.studies import representative_cells as cells
from workflow.studies.option_kinds import whole
from workflow.studies.photograph_cells import save_table
from workflow.studies.photographs import cells_parser, chosen_cells, record_of

# Fewer than the chapter's, for the tables' size; 0.387 is the root of T, at which a map is what its square is at T.
THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.387, 0.4, 0.5, 0.6, 0.7, 0.8)
SINGLE = ("area_0.15", "hit_0.15", "area_0.3", "hit_0.3", "area_0.5", "hit_0.5")  # columns of single pairs
MEANS = ["table", "setting", "metric", "method", "value", "low", "high", "n_images", "n_pairs"]
BESIDE = {  # rows of the paper's tables -> ours
    "repcam_table2": {
        "Baseline": "Baseline", **{f"{r}{s}": f"{r}{s}" for r in ("Rank-a", "Rank-b", "S-1", "S-2", "S-3", "S-4")
                                   for s in ("+F", "+A+F")}, "Random+F": "Random+F", "Random+A+F": "Random+A+F",
    },
    "repcam_table5": {"CAM": "CAM, relu-max", "Grad-CAM": "Baseline", "Our w/o fusion": "S-1+F",
                      "Our": "S-1+A+F"},
    "repcam_table1_topk": {"All": "All+F", "Grad-CAM": "Baseline"},
}  # fmt: skip


def counted(model: models.Classifier, heads: cells.Heads, of: cells.Cell, network: str, work: Path, **how) -> tuple:
    """Return the tables of counts: all rules, and means against sums; and what the rules chose."""
    layers = sources.layers_of(model.features, network)
    others = cells.allowed(heads.pairs, len(of.classes))
    chosen, clusters = cells.selections(heads.similarity, others)
    layered = {rule: picked for rule, picked in chosen.items() if rule != "All"}
    pair_source = sources.HeadSource(model, layers, heads.against)
    rows = heads.softmax.weight.detach()
    soft_source = sources.HeadSource(model, layers, rows[:, None] - rows)

    def count(source, recipes: list[Recipe], prefix: str = "", thresholds=THRESHOLDS) -> pd.DataFrame:
        table = evaluate_maps(
            source, of.judged, recipes, preprocess=model.preprocess, classes=of.classes, thresholds=thresholds,
            folder=work, **how,
        )  # fmt: skip
        kept = [name for name in table if not name.startswith("seg_")]  # M3 needs them, and takes half of the room
        table = table.loc[table["class"] != miou.BACKGROUND, kept]
        return table.assign(method=prefix + table["method"])

    baseline = [
        Recipe("Baseline"), Recipe("Baseline+A", multilayer=True),
        Recipe("Adding", multilayer=True, multiply=False), Recipe("Baseline, map squared", square=True),
    ]  # fmt: skip
    tables = [
        count(pair_source, cells.last_layer(chosen, of.classes)),
        count(pair_source, [Recipe(f"{rule}+A+F", picked, True) for rule, picked in layered.items()]),
        count(soft_source, [Recipe(f"{r}+F", chosen[r]) for r in ("S-1", "All", "Random 0")], "softmax "),
        count(soft_source, [Recipe("S-1+A+F", chosen["S-1"], True)], "softmax "),
    ]
    cells.with_head(model, heads.softmax)
    tables.append(count(sources.ClassSource(model, layers), baseline))
    for name in NORMALISATIONS:  # which a recipe's own would undo
        tables.append(count(cells.cam_source(model, name), [Recipe(f"CAM, {name}", normalise=())]))
    cells.with_head(model, heads.rest)
    tables.append(count(sources.ClassSource(model, layers), baseline[:2], "one against rest: "))
    last = sources.HeadSource(model, [model.features], heads.against)
    rows = count(last, sums.recipes(others, least=cells.N), thresholds=sums.thresholds(len(of.classes) - 1))
    return pd.concat(tables, ignore_index=True), sums.of_sums(rows, len(of.classes) - 1), chosen, clusters


def run_cell(dataset: str, network: str, weights: str, root: Path, out: Path, **how) -> Path:
    """Run one cell and return its folder; a finished one stays as it is.

    how: limit (images of each part, to try it out), least (training images of a class), progress.
    """
    limit, least, progress = how.get("limit"), how.get("least"), how.get("progress", True)
    started, origin = time.time(), runs.provenance()
    of = cells.cell(dataset, root, least=least, limit=limit)
    n = len(of.classes)
    data = {part.split: part.fingerprint() for part in (*of.training, of.judged)}
    parameters = {
        "dataset": dataset, "architecture": network, "finetune": "heads", "split": of.judged.split,
        "representatives": cells.N, "threshold": miou.PAPER_THRESHOLD, "least": least or cells.PARTS[dataset][2],
        "limit": limit, "penalties": list(cells.PENALTIES),
    }  # fmt: skip
    folder = out / ("-".join(["representative", dataset, network]) + (f"-{n}" if least else ""))
    key = fingerprint(parameters, data, code_fingerprint())
    if (known := record_of(folder)) and known["key"] == key:
        print(f"{folder.name}: done before", flush=True)
        return folder
    # In a small batch few backward passes are for the image that asks most.
    work, how = files.cache() / PHOTOGRAPHS / key, {"progress": progress, "batch_size": 4}
    model = models.build(network, n, head="linear", weights=weights).eval()
    heads = cells.fitted(model, of, progress=progress)
    table, summed, chosen, clusters = counted(model, heads, of, network, work, **how)
    cells.with_head(model, heads.softmax)
    complements = cells.complements(
        model, heads, of, complementing(chosen), miou.PAPER_THRESHOLD, progress=progress
    )
    table = with_random(table)
    single = table["method"].str.startswith("vs ")
    facts = [name for name in table if not name.startswith(("area_", "hit_"))]
    save_table(folder / "pairs.parquet", compact(table[~single]))
    save_table(folder / "single.parquet", compact(table.loc[single, [*facts, *SINGLE]]))
    save_table(folder / "sums.parquet", compact(summed))
    save_table(folder / "complements.parquet", compact(complements))
    runs.save(folder / "means.csv", means(table))
    skipped = n * (n - 1) // 2 - len(heads.pairs)
    alone = [int(part.labels.sum(1).eq(1).sum()) for part in of.training]
    told = {
        "classes": list(of.classes), "images_per_class": [int(v) for v in of.labels.sum(0)],
        "single_label_images": sum(alone), "training_images": sum(map(len, of.training)),
        "pairs": len(heads.pairs), "pairs_skipped": skipped, "least_apart": cells.LEAST_APART,
        "penalties": heads.losses, "accuracy_of_pairs": float(heads.accuracy.min()), "selections": chosen,
        "clusters": {"members": clusters.members, "objective": clusters.objective},
        "similarity": [[round(v, 5) for v in row] for row in heads.similarity.tolist()],
    }  # fmt: skip
    runs.save(folder / "facts.json", told)
    command = f"python -m workflow.studies.representative_photographs --datasets {dataset} --networks {network}"
    command += f" --least {least}" if least else ""
    made = {"command": command, "data": data, "key": key, "n_test": len(of.judged)}
    made |= {name: origin[name] for name in ("git", "dirty")}  # the tree's state before this wrote into it
    runs.write_run(folder, parameters, started, chapter=PHOTOGRAPHS, threads=torch.get_num_threads(), **made)
    return folder


def complementing(chosen: dict) -> dict:
    """Return the rules whose maps are asked whether they complement each other; all others is one of them."""
    return {rule: chosen[rule] for rule in ("S-1", *(f"Random {k}" for k in range(3)), "All")}


def with_random(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with the first random draw under the name of the paper's row, too."""
    named = {f"Random 0{step}": f"Random{step}" for step in ("+F", "+A+F")}
    first = table[table["method"].isin(named)]
    return pd.concat([table, first.assign(method=first["method"].map(named))], ignore_index=True)


def compact(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table in few bytes: counts (224 x 224 pixels at most), shares in four decimals, categories."""
    reals, counts = list(table.select_dtypes("float")), list(table.select_dtypes("integer"))
    words = [name for name in table if name not in (*reals, *counts)]
    kinds = dict.fromkeys(counts, "uint16") | dict.fromkeys(words, "category")
    return table.assign(**table[reals].round(4).astype("float32")).astype(kinds)


def means(table: pd.DataFrame) -> pd.DataFrame:
    """Return mIoU (M1, percent, at T) beside the rows of the paper's tables; no row for a try with a few images.

    The mean is over the classes that the claims are about, which are judged in enough images.
    """
    kept = comparable(table)
    if not len(kept):
        return pd.DataFrame(columns=MEANS)
    at = miou.summary(kept).set_index("method")
    at[["value", "low", "high"]] *= 100
    where = {"setting": "sample, heads on frozen features", "metric": "mIoU"}
    return pd.DataFrame([
        {"table": name, **where, "method": theirs, **at.loc[ours]}
        for name, rows in BESIDE.items() for theirs, ours in rows.items() if ours in at.index
    ]).astype({"n_images": int, "n_pairs": int})  # fmt: skip


def main() -> None:
    """Run the cells that the command line names."""
    parser = cells_parser(__doc__)
    parser.add_argument("--least", type=whole(), help="fewest training images of a class (voc2012: 30, msrc: 20)")
    options = parser.parse_args()
    chosen, weights = chosen_cells(options)
    how = {"limit": options.limit, "least": options.least}
    for dataset, network in chosen:
        print(run_cell(dataset, network, weights[network], options.data, options.out, **how), flush=True)


if __name__ == "__main__":
    main()
