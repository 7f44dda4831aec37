"""What may a pair learn from: images that show one class alone, or those that show exactly one of the two?

    python -m workflow.studies.representative_single --data ../shared/data

Meng et al. train on images of a single class. Most photographs show several, so that the study of representative
classes takes the images that show exactly one of a pair. Here both are fitted for the classes of VOC 2012's sample
that have enough single-label images, on one frozen network, and judged on the same images.
Writes data/results/repcam_single_label.csv and a record beside it; a few minutes on one core.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from cam_utils import files, runs
from cam_utils.evaluation import miou
from cam_utils.evaluation.map_counts import evaluate_maps
from cam_utils.networks import models
from cam_utils.networks.features import pooled_features
from cam_utils.representative import pair_heads, sources
from cam_utils.representative.fusion import Recipe
from workflow.studies import representative_cells as cells
from workflow.studies.option_kinds import folder

NETWORK, LEAST = "efficientnet_lite0", 30
TARGET = files.DATA / "results" / "repcam_single_label.csv"


def study(root: Path, *, limit: int | None = None, progress: bool = True) -> tuple[pd.DataFrame, dict]:
    """Return one row per kind of training images and method, and how many images each kind has."""
    of = cells.cell("voc2012", root, least=1, limit=limit)
    alone = of.labels[of.labels.sum(1) == 1].sum(0)
    kept = [name for name, count in zip(of.classes, alone.tolist(), strict=True) if count >= LEAST]
    of = replace(of, classes=tuple(kept))
    n, single = len(kept), torch.cat([part.labels.sum(1) == 1 for part in of.training])
    model = models.build(NETWORK, n, weights="imagenet").eval()
    x = torch.cat([pooled_features(model, part, progress=progress) for part in of.training])
    _, _, penalty = cells.tried(x, of.labels)
    C = penalty / pair_heads.spread(x) ** 2
    others = [[s for s in range(n) if s != c] for c in range(n)]
    tables, told = [], {}
    for name, rows in {"one class alone": single, "exactly one of the two": torch.ones_like(single)}.items():
        y = of.labels[rows]
        heads = pair_heads.fit_heads(x[rows], y, C=C)
        softmax = pair_heads.fit_softmax(x[rows], y, n, C=C)
        told[name] = {
            "images": int((y.sum(1) > 0).sum()),
            "of_each": dict(zip(kept, map(int, y.sum(0)), strict=True)),
        }
        cells.with_head(model, cells.linear(*softmax))
        for source, recipe in (
            (
                sources.HeadSource(model, [model.features], pair_heads.directed(heads, n)[0]),
                Recipe("All+F", others),
            ),
            (sources.ClassSource(model, [model.features]), Recipe("Baseline")),
        ):
            table = evaluate_maps(
                source, of.judged, [recipe], preprocess=model.preprocess, classes=of.classes, progress=progress
            )
            tables.append(table.assign(method=f"{recipe.name}, {name}"))
    table = pd.concat(tables, ignore_index=True)
    chosen = miou.at_chosen_threshold(table)[0]
    pairs = [
        *((f"All+F, {name}", f"Baseline, {name}") for name in told),
        *((f"{rule}, exactly one of the two", f"{rule}, one class alone") for rule in ("All+F", "Baseline")),
    ]
    found = pd.concat(
        miou.differences(each, pairs, threshold=t).assign(at=at)
        for at, each, t in (
            ("T = 0.15", table, miou.PAPER_THRESHOLD),
            ("T of the other half", chosen, miou.CHOSEN),
        )
    )
    return found, {"classes": kept, "training": told, "network": NETWORK, "penalty": penalty}


def main() -> None:
    """Fit both, print the differences and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=folder, help="folder that holds VOCdevkit/")
    started, origin = time.time(), runs.provenance()
    found, told = study(parser.parse_args().data)
    runs.save(TARGET, found, float_format="%.4f")
    command = "python -m workflow.studies.representative_single --data DATA"
    record = {"command": command, **origin, "wall_s": round(time.time() - started), **told}
    files.write_text(TARGET.with_suffix(".json"), json.dumps(record, indent=1) + "\n")
    print(found.round(4).to_string(index=False))


if __name__ == "__main__":
    main()
