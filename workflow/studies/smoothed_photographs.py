r"""SS-CAM on photographs, as printed and as its authors ran it: mosaics, drops, increases, curves of sigma and N.

    python -m workflow.studies.smoothed_photographs --root DATA --network squeezenet1_0 --weights FILE \
      --mosaics 60 --images 60 --curves 20

DATA holds imagenet/. The parts, each left out with a count of 0:

mosaics: grid pointing game on mosaics of four images of four classes; a class-blind map has 25% of its energy in
the explained quarter. Cheap methods and Score-CAM on all 60, the readings of SS-CAM on the first `--mosaics`.
images: AD and AI of the predicted class, of the image under the map and of the mask as a picture: cheap methods on
all images, Score-CAM on the first `--score-cam`, the readings on the first `--images`.
curves: on the first `--curves` images, for the printed form and the authors' of June 2020, over sigma and N: the
spread of the weights, the correlations with Grad-CAM, Score-CAM and the plain mean, and of two classes' maps.

It resumes: an image that is done is not done again, neither after a kill nor where the stored run has it, so a run
may be repeated with larger counts. Tables and record go to data/results/runs/smoothed-imagenet-NETWORK. On one core
of a CPU an image under all readings takes about two minutes with SqueezeNet and ten with EfficientNet-Lite0.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch.utils.data import Dataset

from cam_utils import data, files, runs
from cam_utils.claims import smoothed
from cam_utils.data.mosaics import Mosaics
from cam_utils.data.views import View
from cam_utils.evaluation import bootstrap, evaluate, smoothing_curves, store
from cam_utils.methods import registry
from cam_utils.methods.controls import mean_activation
from cam_utils.methods.shared_draws import SharedDraws
from cam_utils.methods.smoothing import reading
from cam_utils.networks import models
from workflow.studies import option_kinds, taken_up
from workflow.studies.smoothed_curves import curves

PLAIN = "plain mean"  # what SS-CAM's printed map is by the chapter's derivation
CHEAP = {"grad-cam": "grad-cam", "grad-cam++": "grad-cam++", PLAIN: mean_activation}
DRAWS = 10  # of every reading; the authors' library of August has 35
MOSAICS = 60
HOW = {"activation": "softmax", "upsample_first": True, "batch_size": 1, "pictures": True}


def readings(seed: int) -> dict[str, registry.Method]:
    """Return the readings of SS-CAM by name; the two of June 2020 share their forwards."""
    june = SharedDraws(reading("authors-2020-06", draws=DRAWS, seed=seed))
    return {
        "printed": registry.method("ss-cam", draws=DRAWS, seed=seed),
        "authors-2020-06": partial(june, reduce="max"),
        "authors-2020-06-mean": partial(june, reduce="mean"),
        "authors-2020-08": registry.method("ss-cam", reading="authors-2020-08", draws=DRAWS, seed=seed),
    }


def at_once(model, images: Dataset, methods: dict, explained: str, device: str) -> pd.DataFrame:
    """Return the pairs table of all images under methods that take no time."""
    return evaluate.evaluate(
        model, images, methods, explained=explained, folder=runs.evaluations(), device=device, **HOW
    )


def one_by_one(
    model, images: Dataset, count: int, methods: dict, explained: str, device: str, rows: pd.DataFrame
) -> pd.DataFrame:  # fmt: skip
    """Return the pairs table of the first `count` images, each kept for itself: a later run may ask for more.

    rows: those that are known of images under these methods.
    """

    def measure(i: int) -> pd.DataFrame:
        part = View(images, [i], images.labels[[i]], images.classes, {"row": i})
        found = evaluate.evaluate(
            model, part, methods, explained=explained, folder=runs.evaluations(), device=device, progress=False,
            **HOW,
        )  # fmt: skip
        return found.assign(image_index=i)

    desc = f"{images.name} under {', '.join(methods)}"
    return taken_up.grown(rows, min(count, len(images)), measure, desc=desc)


def curves_of(model, images: Dataset, count: int, seed: int, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the curves of the first `count` images, each kept for itself; `rows` are known."""
    plan = {"curves": files.fingerprint(*model.state_dict().values()), "seed": seed}
    how = {"folder": runs.evaluations(), "batch_size": 1, "desc": "curves", "progress": False}

    def measure(i: int) -> pd.DataFrame:
        part = View(images, [i], images.labels[[i]], images.classes, {"row": i})
        return store.measured(part, partial(curves, model, seed=seed), plan, **how).assign(image_index=i)

    return taken_up.grown(rows, count, measure, desc="curves", row=[*smoothing_curves.Step._fields, "image_index"])


def main() -> None:
    """Measure what is asked for, and write the run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    count = option_kinds.whole(0)
    parser.add_argument("--root", required=True, type=option_kinds.folder, help="folder that holds imagenet/")
    parser.add_argument("--network", default="squeezenet1_0", choices=tuple(models.PRETRAINED))
    parser.add_argument("--weights", default="imagenet", help="state dict, or imagenet: of a package or a download")
    parser.add_argument("--mosaics", type=count, default=MOSAICS, help="mosaics under the readings of SS-CAM")
    parser.add_argument("--images", type=count, default=60, help="images under the readings of SS-CAM")
    parser.add_argument("--score-cam", type=count, default=500, help="images under Score-CAM")
    parser.add_argument("--curves", type=count, default=20, help="images of the curves")
    parser.add_argument("--limit", type=option_kinds.whole(), help="images in all, to try it out")
    parser.add_argument("--seed", type=count, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--threads", type=option_kinds.whole(), help="of the processor (default: torch's own number)"
    )
    parser.add_argument("--out", type=Path, default=files.DATA / "results" / "runs")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    started, origin = time.time(), runs.provenance()
    device = runs.pick_device(options.device)
    model = models.pretrained(options.network, options.weights).to(device).eval()
    whole = data.load("imagenet", "val", root=options.root, size=224, resize="crop")
    images = data.Drawn(whole, options.limit, seed=options.seed)  # in an order without classes
    mosaics = Mosaics(images, min(MOSAICS, len(images) // 4), seed=options.seed)
    slow, few = readings(options.seed), {"score-cam": "score-cam"}
    parts = {
        "mosaics": (mosaics, "annotated", len(mosaics), options.mosaics),
        "images": (images, "predicted", options.score_cam, options.images),
    }
    folder = options.out / f"smoothed-imagenet-{options.network}"
    digest = files.fingerprint(*model.state_dict().values())
    same = {"dataset": images.fingerprint(), "weights": digest, "seed": options.seed, "draws": DRAWS}
    tables = {}
    for name, (part, explained, of_score_cam, of_readings) in parts.items():
        place = (explained, device)
        of_few, of_slow = (taken_up.known(folder, name, same, list(methods)) for methods in (few, slow))
        found = [
            at_once(model, part, CHEAP, *place),
            one_by_one(model, part, of_score_cam, few, *place, of_few),
            one_by_one(model, part, of_readings, slow, *place, of_slow),
        ]
        tables[name] = compact(pd.concat(found, ignore_index=True))
    steps = taken_up.known(folder, "curves", same)
    tables["curves"] = compact(curves_of(model, images, options.curves, options.seed, steps))
    earlier = taken_up.history(folder, same)
    for name, table in tables.items():
        if len(table):
            runs.save(folder / f"{name}.parquet", table)
    runs.save(folder / "means.csv", means(tables, options.network))
    right = tables["images"]
    right = right[right["method"] == PLAIN]["is_annotated"].mean()
    runs.save(folder / "facts.json", {"top1": float(right), "weights": digest})
    parameters = {"dataset": "imagenet", "network": options.network, "seed": options.seed, "draws": DRAWS}
    parameters |= counts(tables) | {"limit": options.limit}
    command = f"python -m workflow.studies.smoothed_photographs --network {options.network}"
    told = {"command": command, "dataset": images.fingerprint(), **{k: origin[k] for k in ("git", "dirty")}}
    told |= {"earlier": earlier} if earlier else {}
    runs.write_run(
        folder, parameters, started, chapter=smoothed.PHOTOGRAPHS, threads=torch.get_num_threads(), **told
    )


def counts(tables: dict[str, pd.DataFrame]) -> dict[str, int]:
    """Return how many images each part has, what was there before included."""

    def of(name: str, method: str | None = None) -> int:
        rows = tables[name]
        rows = rows if method is None or not len(rows) else rows[rows["method"] == method]
        return rows["image_index"].nunique() if len(rows) else 0

    return {
        "mosaics": of("mosaics", "printed"), "images": of("images", "printed"),
        "score_cam": of("images", "score-cam"), "curves": of("curves"),
    }  # fmt: skip


def means(tables: dict[str, pd.DataFrame], network: str) -> pd.DataFrame:
    """Return the means that stand beside the paper's Table 1, in percent."""
    rows = []
    for metric, words in {"average_drop": "Average Drop", "increase_in_confidence": "Average Increase"}.items():
        wide, _ = smoothed.per_image(tables["images"], metric, "predicted")
        for name in wide:
            values = wide[name].dropna().to_numpy()
            found = {k: 100 * v for k, v in bootstrap.interval(bootstrap.means(values)).items()}
            shown = {"printed": "SS-CAM", **smoothed.OTHERS}.get(name, name)
            rows.append(
                {"method": shown, "metric": words, **found, "n_images": len(values), "n_pairs": len(values)}
            )
    return pd.DataFrame(rows).assign(table="sscam_table1", setting=f"ImageNet sample, {network}")


def compact(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table without columns that say nothing here, in four decimals."""
    table = table.dropna(axis=1, how="all").drop(
        columns=["set_size", "in_predicted", "in_annotated"], errors="ignore"
    )
    reals = list(table.select_dtypes("float"))
    words = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    return table.assign(**table[reals].round(5).astype("float32"), **table[words].astype("category"))


if __name__ == "__main__":
    main()
