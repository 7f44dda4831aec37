r"""The maps of the explorer's photographs: the project's own, under EfficientNet-Lite0 and a head of the study.

    python -m workflow.studies.explorer_photographs --smoothed 1 --readings "ss-cam (printed)"

A view is a photograph under one network: ImageNet's with the labels of `SEEN`, and the head `FIT` of the study of
photographs on VOC 2012 with the annotated labels. Only views of two labels or more count: with one label MinMax-CAM
is CAM. Cheap methods explain all views, Score-CAM those of ImageNet, and the readings of SS-CAM, each with its own
N, the first `--smoothed` of these in which every label has an outline.

It resumes: what a view cost is kept in the cache. data/explorer gets photographs.parquet (the pairs table), for
each view NETWORK-PHOTOGRAPH.webp (lossless; a row of maps per label, the most probable first, a column per method,
without the letterbox' bars) and run.json, which names rows and columns.
"""

import argparse
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from cam_utils import data, files, maps, runs
from cam_utils.data import Batch, voc
from cam_utils.data.sizing import letterbox
from cam_utils.evaluation.evaluate import evaluate_batch
from cam_utils.methods import controls, registry
from cam_utils.methods.registry import Method
from cam_utils.methods.shared_draws import SharedDraws
from cam_utils.methods.smoothing import READINGS
from cam_utils.networks import models, weight_files
from cam_utils.networks.models import Classifier, Pretrained
from workflow.studies import photograph_cells as cells
from workflow.studies.option_kinds import whole

BACKBONE, SIZE = "efficientnet_lite0", 224
STUDY = files.DATA / "results" / "runs" / f"photographs-voc2012-{BACKBONE}"
FOLDER = files.DATA / "explorer"
FIT = cells.Fit("linear", 1.0, 0)
LEAST = 20  # training images of a class whose label the head is asked about
ACTIVATIONS = {"imagenet": "softmax", "voc2012": "sigmoid"}
CHEAP: Mapping[str, Method] = {
    **{name: registry.METHODS[name] for name in ("cam", "minmax-cam", "d-minmax-cam", "grad-cam++")},
    "area-matched-cam": controls.area_matched_cam,
}
# Photograph -> label, by eye among the network's ten most probable: what is there to be seen, under its name or the
# closest of the thousand, and of several names for one thing the most probable -> COCO's name of it, if outlined.
SEEN: Mapping[str, Mapping[str, str | None]] = {
    "000000000089": {"microwave": "microwave", "stove": "oven"},
    "000000000127": {"plate": None, "cup": "cup", "dining table": "dining table"},
    "000000000450": {"pizza": "pizza", "plate": None},
    "000000000529": {"moped": "motorcycle", "crash helmet": None},
    "000000000542": {"warplane": "airplane", "wing": None},
    "000000000599": {"tabby": "cat", "remote control": "remote"},
    "000000111076": {"washbasin": "sink", "toilet seat": "toilet"},
    "000000144941": {"washbasin": "sink", "toilet seat": "toilet"},
    "000000303818": {"cab": "car", "school bus": "bus"},
    "000000331352": {"toilet seat": "toilet", "washbasin": "sink"},
}
OTHER_NAMES = {  # COCO's classes that VOC writes otherwise
    "airplane": "aeroplane", "couch": "sofa", "dining table": "diningtable", "motorcycle": "motorbike",
    "potted plant": "pottedplant", "tv": "tvmonitor",
}  # fmt: skip


class View(NamedTuple):
    """A photograph under one network: `batch` holds it alone, with the labels to explain as its annotated ones."""

    network: str  # a key of ACTIVATIONS
    batch: Batch
    classes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of its file: "imagenet-000000000599"."""
        return f"{self.network}-{self.batch.ids[0]}"

    @property
    def labels(self) -> list[str]:
        """The labels to explain, in the order of the network's classes, as in the pairs table."""
        return [self.classes[i] for i in self.batch.labels[0].nonzero()[:, 0].tolist()]

    @property
    def outlined(self) -> bool:
        """Whether every label has an outline."""
        return set(self.batch.labels[0].nonzero()[:, 0].tolist()) <= set(self.batch.objects[0].tolist())


def views() -> list[View]:
    """Return the views of two labels or more, those of ImageNet first, in the order of COCO's ids."""
    photos = data.load("photos", size=SIZE)
    known = pd.read_csv(STUDY / "classes.csv").set_index("class")["train"]
    learnt = {name: OTHER_NAMES.get(name, name) for name in photos.classes}
    learnt = {coco: name for coco, name in learnt.items() if known.get(name, 0) >= LEAST}
    found = {"imagenet": [], "voc2012": []}
    for i, photo in enumerate(photos.ids):
        shown = [photos.classes[k] for k in photos.labels[i].nonzero()[:, 0].tolist()]
        wanted = {
            "imagenet": (SEEN.get(photo, {}), models.imagenet_classes()),
            "voc2012": ({learnt[coco]: coco for coco in shown if coco in learnt}, voc.CLASSES),
        }
        for network, (labels, classes) in wanted.items():
            if len(labels) > 1:
                found[network].append(View(network, _relabelled(photos, i, labels, classes), tuple(classes)))
    return [*found["imagenet"], *found["voc2012"]]


def _relabelled(photos, i: int, labels: Mapping[str, str | None], classes) -> Batch:
    """Return photograph i with these labels of a network, and with those of its objects that have one of them."""
    batch = data.collate([photos[i]])
    place = {photos.classes.index(coco): classes.index(name) for name, coco in labels.items() if coco}
    objects = torch.tensor([place.get(each, -1) for each in batch.objects[0].tolist()])
    kept = objects >= 0
    present = torch.zeros(1, len(classes))
    present[0, [classes.index(name) for name in labels]] = 1
    parts = [[each[0][kept]] for each in (batch.boxes, batch.masks)]
    return batch._replace(
        labels=present, objects=[objects[kept]], boxes=parts[0], masks=parts[1], flags=[batch.flags[0][kept]]
    )


def networks() -> dict[str, Classifier | Pretrained]:
    """Return the networks of the views by name."""
    head = cells.with_heads(BACKBONE, "imagenet", voc.CLASSES, [FIT], STUDY / "heads.pt")
    return {"imagenet": models.pretrained(BACKBONE), "voc2012": head[FIT.name]}


def readings(seed: int = 0) -> dict[str, Method]:
    """Return the readings of SS-CAM, each with its own N; the two of June 2020 share their forwards."""
    june = SharedDraws(READINGS["authors-2020-06"])
    return {
        "ss-cam (printed)": registry.method("ss-cam", seed=seed),
        "ss-cam (June 2020)": partial(june, reduce="max"),
        "ss-cam (June 2020, mean)": partial(june, reduce="mean"),
        "ss-cam (August 2020)": registry.method("ss-cam", reading="authors-2020-08", seed=seed),
    }


def measured(
    view: View, network: Classifier | Pretrained, methods: Mapping[str, Method]
) -> tuple[pd.DataFrame, Tensor]:
    """Return the view's pairs table and its masks [P, M, h, w] in [0, 1]: numbers and pictures of the same maps."""
    masks: dict[str, Tensor] = {}

    def kept(name: str, query) -> Tensor:
        raw = methods[name](query).detach()
        masks[name] = maps.masks(raw, query.images.shape[-2:])
        return raw

    table = evaluate_batch(
        network, view.batch, {name: partial(kept, name) for name in methods}, view.classes,
        activation=ACTIVATIONS[view.network], explained="annotated",
    )  # fmt: skip
    return table.assign(network=view.network), torch.stack([masks[name] for name in methods], 1)


def stored(view: View, network: Classifier | Pretrained, methods: Mapping[str, Method]) -> tuple:
    """Return what :func:`measured` does, from the cache if it is there."""
    weights = files.fingerprint(*network.state_dict().values())
    key = files.fingerprint(view.name, view.labels, view.batch.images, list(methods), weights)
    file = files.cache() / "explorer" / f"{view.name}-{key}.pt"

    def make() -> dict[str, object]:
        table, masks = measured(view, network, methods)
        return {"table": table.to_dict("list"), "masks": masks}

    found = weight_files.kept(file, make)
    return pd.DataFrame(found["table"]), found["masks"]


def by_probability(view: View, table: pd.DataFrame, masks: Tensor) -> tuple[list[str], Tensor]:
    """Return the view's labels and masks [P, M, h, w], the most probable label first."""
    p = table.drop_duplicates("class").set_index("class")["p"]
    labels = p.sort_values(ascending=False, kind="stable").index.tolist()
    return labels, masks[[view.labels.index(label) for label in labels]]


def frame(view: View) -> tuple[int, int, int, int]:
    """Return where the photograph lies in its square: (top, left, rows, columns)."""
    with Image.open(files.DATA / "photos" / "images" / f"{view.batch.ids[0]}.jpg") as photo:
        return letterbox(photo.height, photo.width, SIZE)


def tiles(view: View, masks: Tensor) -> Image.Image:
    """Return masks [P, M, h, w] as one grey picture, a row per label and a column per method, without bars."""
    top, left, rows, columns = frame(view)
    cut = masks[..., top : top + rows, left : left + columns]
    return Image.fromarray((255 * cut.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)).round().byte().numpy())


def main() -> None:
    """Explain all views, and write what the explorer shows of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoothed", type=whole(0), default=1, help="views under the readings of SS-CAM")
    parser.add_argument("--readings", nargs="+", default=list(readings()), choices=list(readings()))
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    torch.set_num_threads(1)
    started, origin = time.time(), runs.provenance()
    every, made = views(), networks()
    few = [view.name for view in every if view.network == "imagenet" and view.outlined][: options.smoothed]
    tables, columns = [], {}
    with tqdm(total=len(every)) as bar:
        for view in every:
            bar.set_description(view.name)
            groups = [CHEAP, *([{"score-cam": registry.score_cam}] if view.network == "imagenet" else [])]
            asked = {name: each for name, each in readings().items() if name in options.readings}
            groups += [{name: each} for name, each in asked.items()] if view.name in few else []
            parts = [stored(view, made[view.network], methods) for methods in groups]
            tables += [table for table, _ in parts]
            labels, masks = by_probability(view, parts[0][0], torch.cat([each for _, each in parts], 1))
            columns[view.name] = {"labels": labels, "methods": [name for group in groups for name in group]}
            with files.written(options.out / f"{view.name}.webp") as partly:
                picture = tiles(view, masks)
                picture.save(partly, format="WEBP", lossless=True, quality=100, method=6)
            bar.update()
    cells.save_table(options.out / "photographs.parquet", compact(pd.concat(tables, ignore_index=True)))
    parameters = {"backbone": BACKBONE, "head": FIT.name, "size": SIZE, "seed": 0, "smoothed": few}
    chosen = " ".join(f'"{name}"' for name in options.readings)
    command = f"python -m workflow.studies.explorer_photographs --smoothed {options.smoothed} --readings {chosen}"
    told = {"command": command, "views": columns, **{k: origin[k] for k in ("git", "dirty")}}
    runs.write_run(options.out, parameters, started, chapter="explorer", threads=1, **told)


def compact(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table without columns that say the same of all rows, in five decimals."""
    idle = ["image_index", "in_predicted", "in_annotated", "is_annotated"]
    table = table.drop(columns=idle)
    reals = list(table.select_dtypes("float"))
    return table.assign(**table[reals].round(5).astype("float32"))


if __name__ == "__main__":
    main()
