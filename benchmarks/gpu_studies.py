"""The studies of photographs on a GPU, from one packed file, in under nine minutes: what takes a CPU days.

Four parts by the studies' own functions, each with a share of the time; what one leaves over the next ones have:

fine-tuning: the upper layers of EfficientNet-Lite0 under both heads, by the paper's second stage (VOC 2012), and
the cheap methods on all images of "val" with what is trained;
score-cam: Score-CAM under four heads on the images of "val", those of several labels first;
ss-cam: every reading of SS-CAM on the images of "val", in the same order;
mosaics: the grid pointing game on ImageNet's images, cheap methods, Score-CAM and every reading of SS-CAM.

It resumes: what is trained and every image that is done lies in the cache, so that the same command once more goes
on. Tables with their record go to data/results/gpu/studies-DEVICE; benchmarks/gpu_pack.py makes PACK.

    python benchmarks/gpu_studies.py PACK
    python benchmarks/gpu_studies.py PACK --device cpu --budget 60 --out FOLDER   # tries the script, anywhere
"""

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from gpu_pack import unpacked
from torch.utils.data import Dataset

from cam_utils import data, files, runs
from cam_utils.data.mosaics import Mosaics
from cam_utils.data.views import View
from cam_utils.evaluation import bootstrap, evaluate
from cam_utils.networks import models
from workflow.studies import photograph_cells as cells
from workflow.studies import smoothed_photographs as smoothed
from workflow.studies.comparison_photographs import DATASET, FIT, HEADS, NETWORK
from workflow.studies.photographs import RATES

BUDGET = 510  # seconds of all parts together: the rest of nine minutes is for starting and storing
SHARES = {"fine-tuning": 0.45, "score-cam": 0.2, "ss-cam": 0.2, "mosaics": 0.15}
TUNED = [cells.Fit(head, 1.0, 0) for head in cells.HEADS]
BLOCK = 8  # images that Score-CAM explains between two looks at the clock
METRICS = ("average_drop", "increase_in_confidence", "average_retention", "energy_in_mask")


@dataclass(frozen=True)
class Place:
    """Where a study works: its packed data, the device, and the folder of what is trained."""

    root: Path
    device: str
    work: Path

    @property
    def load(self) -> Callable[..., Dataset]:
        """Return `load(split)` of VOC 2012, as the study of photographs parts it."""
        return cells.loader(DATASET, self.root)

    def heads(self, fits: Sequence[cells.Fit], device: str) -> dict[str, models.Classifier]:
        """Return the stored classifiers of these fits, on `device`."""
        made = cells.with_heads(
            NETWORK, "imagenet", self.load("test").classes, fits, files.DATA / "results" / HEADS
        )
        return {name: model.to(device) for name, model in made.items()}


def until(images: Sequence[int], deadline: float, block: int = 1) -> Iterator[list[int]]:
    """Yield `images` in blocks for as long as there is time; a block that is begun is finished."""
    for at in range(0, len(images), block):
        if time.monotonic() >= deadline:
            return
        yield list(images[at : at + block])


def ordered(images: Dataset) -> list[int]:
    """Return the numbers of the images, those of several labels first."""
    return sorted(range(len(images)), key=lambda i: (images.labels[i].sum() < 2, i))


def tune(place: Place) -> pd.DataFrame:
    """Fine-tune both heads' networks, or find them trained, and return the history."""
    kind = "cpu" if place.device == "cpu" else "gpu"
    return cells.tuned(place.heads(TUNED, "cpu"), place.load, TUNED, place.work, accelerator=kind, progress=False)


def begun(options: argparse.Namespace, deadline: float) -> None:
    """Fine-tune in a process of its own, which is ended when the time is up: it goes on from its last epoch."""
    command = [sys.executable, __file__, str(options.pack), "--device", options.device, "--tune"]
    training = subprocess.Popen(command)
    try:
        training.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        training.terminate()
        training.wait()


def fine_tuned(place: Place, options: argparse.Namespace, deadline: float) -> dict[str, pd.DataFrame]:
    """Return the history and the pairs table of the heads whose networks could be trained in time."""
    begun(options, deadline)
    done = [fit for fit in TUNED if (place.work / f"{fit.name}-tuned.pt").exists()]
    if not done:
        return {}
    made = place.heads(done, "cpu")
    history = cells.tuned(made, place.load, done, place.work, progress=False)
    table = cells.evaluated(made, place.load("test"), done, device=place.device, progress=False)
    return {"history": history, "tuned": cells.compact(table)}


def score_cams(place: Place, _: argparse.Namespace, deadline: float) -> dict[str, pd.DataFrame]:
    """Return Score-CAM's pairs table under the heads of seed 0, on as many images as there is time for."""
    test, made = place.load("test"), place.heads(cells.fits(RATES, [0]), place.device)
    blocks = until(ordered(test), deadline, BLOCK)
    return joined("score_cam", [cells.score_cams(made, test, block, progress=False) for block in blocks])


def ss_cams(place: Place, _: argparse.Namespace, deadline: float) -> dict[str, pd.DataFrame]:
    """Return the pairs table of SS-CAM's readings under the head that other studies have."""
    test, model = place.load("test"), place.heads([FIT], place.device)[FIT.name]
    tables = []
    for (i,) in until(ordered(test), deadline):
        part = View(test, [i], test.labels[[i]], test.classes, {"row": i})
        found = evaluate.evaluate(
            model, part, smoothed.readings(0), explained="annotated", upsample_first=True, batch_size=1,
            folder=runs.evaluations(), device=place.device, progress=False,
        )  # fmt: skip
        tables.append(found.assign(image_index=i))
    return joined("ss_cam", tables)


def mosaics(place: Place, _: argparse.Namespace, deadline: float) -> dict[str, pd.DataFrame]:
    """Return the pairs table of the grid pointing game under every method of its study."""
    net = models.pretrained(NETWORK).to(place.device)
    images = data.load("imagenet", "val", root=place.root, size=cells.SIZE, resize="crop")
    images = data.Drawn(images, None, seed=0)
    shown = Mosaics(images, min(smoothed.MOSAICS, len(images) // 4), seed=0)
    methods = smoothed.CHEAP | {cells.SCORE_CAM: cells.SCORE_CAM} | smoothed.readings(0)
    tables = []
    for (i,) in until(range(len(shown)), deadline):
        part = View(shown, [i], shown.labels[[i]], shown.classes, {"row": i})
        tables.append(smoothed.at_once(net, part, methods, "annotated", place.device).assign(image_index=i))
    return {name: smoothed.compact(table) for name, table in joined("mosaics", tables).items()}


PARTS = {"fine-tuning": fine_tuned, "score-cam": score_cams, "ss-cam": ss_cams, "mosaics": mosaics}


def joined(name: str, tables: list[pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return the tables as one under its name, none where there are none."""
    return {name: pd.concat(tables, ignore_index=True)} if tables else {}


def means(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return every part's means over images with their 95% intervals, by method, and by head or fit."""
    rows = []
    for name, table in tables.items():
        if "method" not in table:
            continue
        by = ["method", *[column for column in ("fit", "head") if column in table]]
        for key, part in table.groupby(by, observed=True):
            for metric in (each for each in METRICS if each in part):
                each = part.groupby("image_index")[metric].mean().dropna().to_numpy(float)
                if len(each):
                    found = bootstrap.interval(bootstrap.means(each))
                    rows.append(dict(zip(by, key, strict=True)) | {"table": name, "metric": metric, **found,
                                                                   "n_images": len(each)})  # fmt: skip
    return pd.DataFrame(rows)


def main(*arguments: object) -> None:
    """Run the parts in turn, each until its time is up, and store what they found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path, help="what benchmarks/gpu_pack.py wrote")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds")
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=tuple(PARTS))
    parser.add_argument("--out", type=Path, help="folder of the results")
    parser.add_argument("--tune", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args([str(each) for each in arguments] or None)
    started, clock, device = time.time(), time.monotonic(), runs.pick_device(options.device)
    root, packed = unpacked(options.pack)
    work = files.cache() / "gpu-studies" / files.fingerprint(packed, device, files.code_fingerprint())
    place = Place(root, device, work)
    if options.tune:
        tune(place)
        return
    name = torch.cuda.get_device_name() if device != "cpu" else "cpu"
    out = options.out or files.DATA / "results" / "gpu" / f"studies-{re.sub(r'[^a-z0-9]+', '-', name.lower())}"
    tables, spent = {}, {}
    for i, part in enumerate(options.parts):
        began = time.monotonic()
        share = SHARES[part] / sum(SHARES[each] for each in options.parts[i:])
        tables |= PARTS[part](place, options, began + share * (clock + options.budget - began))
        spent[part] = round(time.monotonic() - began, 1)
        print(f"{part}: {spent[part]:.0f} s; so far {', '.join(tables) or 'no table'}", flush=True)
    for table, rows in tables.items():
        if table == "history":
            runs.save(out / "history.csv", rows)
        else:
            cells.save_table(out / f"{table}.parquet", rows)
    runs.save(out / "means.csv", means(tables))
    counts = {name: int(rows["image_index"].nunique()) for name, rows in tables.items() if "image_index" in rows}
    told = {"command": "python benchmarks/gpu_studies.py PACK", "pack": packed, "seconds": spent, "images": counts}
    runs.write_run(out, {"budget": options.budget, "parts": list(options.parts)}, started, chapter="gpu", **told)
    print(f"stored in {out}")


if __name__ == "__main__":
    main()
