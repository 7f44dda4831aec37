"""What two choices behind representative-class CAM do on the digits, without any training: under a minute.

    python -m workflow.studies.representative_choices

The rule of the clustering, on the similarity matrices of the chapter's held-out and training images: the mean
similarity within clusters that a thousand restarts reach, the share of them that settle, and for how many classes
the representatives of S-1 change. How the maps of CAM and ACoL are normalised: mIoU (M1, in percent) on the
chapter's 200 scenes. Writes data/results/repcam_choices.csv, with a record beside it.
"""

import json
import time
from functools import partial
from itertools import product

import pandas as pd
import torch
from torch import Tensor

from cam_utils import data, files, maps, runs
from cam_utils.data.single import SingleLabel
from cam_utils.evaluation import miou
from cam_utils.evaluation.map_counts import evaluate_maps
from cam_utils.files import fingerprint
from cam_utils.methods.weighted_sums import weighted_sum
from cam_utils.networks.capture import capture
from cam_utils.networks.features import pooled_features
from cam_utils.networks.models import Classifier
from cam_utils.pairs import Pairs
from cam_utils.representative import pair_heads, selection
from cam_utils.representative.fusion import Recipe
from cam_utils.representative.similarity import similarity_matrix
from cam_utils.representative.sources import DirectSource

single = partial(data.load, "digits", size=96, resize="crop", objects=(1.0,))


def baseline() -> tuple[Classifier, SingleLabel]:
    """Return the chapter's default network, one softmax head on the committed backbone, and its training images."""
    model, _ = runs.trained(single, network="digits", head="linear", schedule="digits-softmax")
    training = SingleLabel(single("train"), single("val", limit=1).classes)
    head = pair_heads.fit_softmax(pooled_features(model, training, progress=False), training.target, 10)
    model.head.weight.data, model.head.bias.data = head
    return model, training


@torch.no_grad()
def similarities() -> dict[str, Tensor]:
    """Return the similarity matrices [10, 10] of the digits by the images behind them."""
    model, training = baseline()
    found = {}
    for name, images in (("held-out", SingleLabel(single("val"), training.classes)), ("train", training)):
        p = model.head(pooled_features(model, images, progress=False)).softmax(1)
        found[name] = similarity_matrix(p, images.target, 10, per_image=True)
    return found


def clustering(b: Tensor) -> dict[str, dict[str, float]]:
    """Return {rule: {quantity: value}} of both rules on one matrix."""
    found = {rule: selection.cluster(b, smallest=2, rule=rule) for rule in selection.RULES}
    ours, literal = (selection.by_cluster(b, each) for each in found.values())
    replaced = [len(set(mine) - set(theirs)) for mine, theirs in zip(ours, literal, strict=True)]
    names = [[[str(c) for c in group] for group in each.members] for each in found.values()]
    rows = {
        rule: {"mean similarity within": each.objective, "share of restarts that settle": each.settled}
        for rule, each in found.items()
    }
    rows["literal"] |= {
        "classes whose S-1 changes, of 10": sum(count > 0 for count in replaced),
        "representatives of S-1 replaced, of 40": sum(replaced),
    }
    rows["literal"]["adjusted Rand index with ours"] = selection.agreement(*names)
    return rows


def normalising() -> dict[str, dict[str, float]]:
    """Return {method and normalisation: {quantity: value}} of CAM and ACoL: mIoU in percent and thresholds."""
    model, _ = baseline()
    _, trunk = runs.trained(single, network="digits", head="linear", schedule="digits-softmax")
    acol, _ = runs.trained(single, network="digits-acol", head="linear", schedule="digits-acol", weights=str(trunk))
    scenes = data.load("digits", "val", size=96, resize="crop", limit=200)

    def cam(images: Tensor, pairs: Pairs, *, normalisation: str) -> Tensor:
        raw = weighted_sum(
            capture(model, images, model.features).activations, model.head.weight[pairs.label], pairs
        )
        return maps.NORMALISATIONS[normalisation](raw)

    found = {}
    for (name, net, made), normalisation in product(
        (("CAM", model, cam), ("ACoL", acol.eval(), acol.eval().class_maps)), maps.NORMALISATIONS
    ):
        source = DirectSource(partial(made, normalisation=normalisation), fingerprint(name, normalisation))
        table = evaluate_maps(source, scenes, [Recipe(name)], preprocess=net.preprocess, classes=scenes.classes)
        curve = miou.sweep(table).set_index("threshold")["value"] * 100
        found[f"{name}, {normalisation}"] = {
            "mIoU at 0.15": curve[0.15],
            "best mIoU": curve.max(),
            "at": curve.idxmax(),
        }
    return found


def main() -> None:
    """Measure, print, and write the table with its record."""
    started, origin = time.time(), runs.provenance()
    rows = [
        {"choice": f"clustering, B of {images} images", "option": rule, "quantity": quantity, "value": value}
        for images, b in similarities().items()
        for rule, quantities in clustering(b).items()
        for quantity, value in quantities.items()
    ]
    rows += [
        {"choice": "normalisation", "option": option, "quantity": quantity, "value": value}
        for option, quantities in normalising().items()
        for quantity, value in quantities.items()
    ]
    target = files.DATA / "results" / "repcam_choices.csv"
    table = pd.DataFrame(rows)
    runs.save(target, table, float_format="%.4g")
    command = "python -m workflow.studies.representative_choices"
    record = {"command": command, **origin, "wall_s": round(time.time() - started)}
    files.write_text(target.with_suffix(".json"), json.dumps(record, indent=1) + "\n")
    print(table.to_string(index=False, float_format="%.4g"))


if __name__ == "__main__":
    main()
