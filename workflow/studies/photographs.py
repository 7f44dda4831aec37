r"""MinMax-CAM on photographs with pixel truth: two data sets, two backbones, two heads, two rates, five seeds.

    python -m workflow.studies.photographs --data DATA --squeezenet FILE

DATA holds the VOC 2012 sample (VOCdevkit/VOC2012) and MSRC-v2 (msrc); FILE is a state dict of torchvision's
SqueezeNet 1.0 (default: imagenet, torchvision's download); EfficientNet-Lite0 comes with its package. Every cell
(data set and backbone) becomes a run in data/results/runs: its pairs table, heads and facts, and no picture. It
resumes: heads that are trained and images that are evaluated are not done again, and a finished cell is passed over
unless its settings, images or code have changed. Score-CAM takes most of the time, the masked forwards the rest.

    python -m workflow.studies.photographs --data DATA --fine-tune --rates 1.0 \
      --datasets voc2012 --networks efficientnet_lite0

trains the upper layers as well, by the paper's second stage; killed, it goes on from the last whole epoch.
"""

import argparse
import json
import time
from dataclasses import asdict
from itertools import product
from pathlib import Path

import pandas as pd
import torch

from cam_utils import files, runs
from cam_utils.networks.features import pooled_features
from workflow.studies import photograph_cells as cells
from workflow.studies import photograph_facts as facts
from workflow.studies.option_kinds import folder, positive, whole

CHAPTER = "photographs"
DATASETS = ("voc2012", "msrc")
NETWORKS = ("efficientnet_lite0", "squeezenet1_0")
RATES = (0.1, 1.0)
SEEDS = range(5)


def cell(
    dataset: str, network: str, weights: str, root: Path, out: Path, fit_list: list[cells.Fit],
    *, tune: bool = False, limit: int | None = None, progress: bool = True,
) -> Path:  # fmt: skip
    """Run one cell but for Score-CAM and return its folder; what an earlier call made is taken up.

    tune: train the upper layers of the backbone, too, by the paper's second stage, one network for each fit.
    """
    folder = folder_of(out, dataset, network, tune)
    started, origin = time.time(), runs.provenance()
    load = cells.loader(dataset, root, limit)
    splits = {split: load(split) for split in ("train", "val", "test")}
    parameters = {
        "dataset": dataset, "architecture": network, "head": "both", "limit": limit, "finetune": tune,
        "rates": sorted({fit.rate for fit in fit_list}), "seeds": sorted({fit.seed for fit in fit_list}),
    }  # fmt: skip
    data = {split: images.fingerprint() for split, images in splits.items()}
    key = files.fingerprint(parameters, data, files.code_fingerprint())
    if (known := record_of(folder)) and known["key"] == key:
        print(f"{folder.name}: done before", flush=True)
        return folder
    work = files.cache() / CHAPTER / key
    made, history = cells.trained(network, weights, load, fit_list, work, progress=progress)
    if tune:
        history = pd.concat([history, cells.tuned(made, load, fit_list, work, progress=progress)])
    trained_s = time.time() - started
    first = next(iter(made.values()))
    features = {name: pooled_features(model, splits["test"], progress=progress) for name, model in made.items()}
    heads = facts.of_heads(made, features, splits["test"].labels, history)
    table = cells.evaluated(made, splits["test"], fit_list, progress=progress)
    objects = facts.of_objects(splits["test"], splits["train"].labels)
    measured = {
        "seconds_until_trained": round(trained_s),
        "seconds_per_image": cells.timed(first, splits["test"]),
        "identities": {fit.name: facts.identities(made[fit.name], splits["test"]) for fit in fit_list},
    }
    cells.save_table(folder / "pairs.parquet", cells.compact(table.assign(scenes=dataset)))
    cells.save_table(folder / "objects.parquet", cells.compact(objects))
    cells.save_heads(folder / "heads.pt", made)
    runs.save(folder / "heads.csv", heads)
    runs.save(folder / "history.csv", history)
    runs.save(folder / "classes.csv", facts.of_classes(splits["train"], splits["test"]))
    runs.save(folder / "facts.json", measured)
    sizes = {f"n_{split}": len(images) for split, images in splits.items()}
    rates = " ".join(f"{rate:g}" for rate in parameters["rates"])
    command = f"python -m workflow.studies.photographs --datasets {dataset} --networks {network} --rates {rates}"
    told = {"command": command + " --fine-tune" * tune, "data": data, "key": key, **sizes}
    told |= {name: origin[name] for name in ("git", "dirty")}  # the tree's state before this wrote into it
    runs.write_run(folder, parameters, started, chapter=CHAPTER, threads=torch.get_num_threads(), **told)
    return folder


def score_cam(folder: Path, weights: str, root: Path, fit_list: list[cells.Fit], *, progress: bool = True) -> None:
    """Add Score-CAM to a finished cell: its heads of seed 0, on the images of several labels."""
    record = record_of(folder)
    given, file = record["parameters"], folder / "score_cam.json"
    if file.exists() and json.loads(file.read_text())["key"] == record["key"]:
        print(f"{folder.name}: Score-CAM done before", flush=True)
        return
    started, origin = time.time(), runs.provenance()
    load = cells.loader(given["dataset"], root, given["limit"])
    first = [fit for fit in fit_list if fit.seed == 0]
    made = cells.with_heads(given["architecture"], weights, load("test").classes, first, folder / "heads.pt")
    rows = cells.score_cams(made, load("test"), progress=progress)
    fits_of = pd.DataFrame([asdict(fit) | {"fit": fit.name} for fit in first])
    table = rows.merge(fits_of, on="fit").drop(columns="fit").assign(scenes=given["dataset"])
    cells.save_table(folder / "score_cam.parquet", cells.compact(table))
    told = {"key": record["key"], **origin, "wall_s": round(time.time() - started)}
    runs.save(file, told)
    runs.seal(folder, record)


def folder_of(out: Path, dataset: str, network: str, tune: bool = False) -> Path:
    """Return the folder of a cell's run."""
    return out / f"{CHAPTER}-{dataset}-{network}{'-tuned' * tune}"


def record_of(folder: Path) -> dict | None:
    """Return the record of a finished cell, None of another."""
    file = folder / "run.json"
    return json.loads(file.read_text()) if file.is_file() else None


def cells_parser(description: str) -> argparse.ArgumentParser:
    """Return the parser of a study whose cells are a data set and a network: which ones, from where, to where."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=folder, help="folder that holds VOCdevkit/ and msrc/")
    parser.add_argument("--squeezenet", default="imagenet", help="state dict of SqueezeNet 1.0, or imagenet")
    parser.add_argument("--datasets", nargs="+", default=DATASETS, choices=DATASETS)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    parser.add_argument("--limit", type=whole(), help="images of each split, to try it out")
    parser.add_argument("--threads", type=whole(), help="of the processor (default: torch's own number)")
    parser.add_argument("--out", type=Path, default=files.DATA / "results" / "runs")
    return parser


def chosen_cells(options: argparse.Namespace) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Return the cells (data set, network) that were asked for and the networks' weights; sets torch's threads."""
    if options.threads:
        torch.set_num_threads(options.threads)
    weights = dict.fromkeys(NETWORKS, "imagenet") | {"squeezenet1_0": options.squeezenet}
    return list(product(options.datasets, options.networks)), weights


def main() -> None:
    """Run the cells that the command line names, then Score-CAM on them."""
    parser = cells_parser(__doc__)
    parser.add_argument("--rates", nargs="+", type=positive, default=RATES)
    parser.add_argument("--seeds", type=whole(), default=len(SEEDS), help="how many seeds, from 0 on")
    parser.add_argument("--fine-tune", action="store_true", help="the backbone, too: seed 0, no Score-CAM")
    parser.add_argument("--no-score-cam", action="store_true", help="leave Score-CAM to a later call")
    options = parser.parse_args()
    chosen, weights = chosen_cells(options)
    fit_list = cells.fits(options.rates, range(1 if options.fine_tune else options.seeds))
    for dataset, network in chosen:
        place = (options.data, options.out, fit_list)
        how = {"tune": options.fine_tune, "limit": options.limit}
        print(cell(dataset, network, weights[network], *place, **how), flush=True)
    for dataset, network in [] if options.no_score_cam or options.fine_tune else chosen:
        score_cam(folder_of(options.out, dataset, network), weights[network], options.data, fit_list)


if __name__ == "__main__":
    main()
