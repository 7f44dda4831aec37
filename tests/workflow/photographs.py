"""A small finished run on photographs whose numbers are known, for tests of its pages."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cam_utils.evaluation import facts

METHODS = ("cam", "grad-cam++", "minmax-cam", "d-minmax-cam", "area-matched-cam")
HEADS, RATES, SEEDS = ("linear", "kernel-usage"), (0.1, 1.0), (0, 1)
IMAGES = 12
# Of every pair of a seed 0; seed 1 has 0.02 more everywhere.
VALUES = {
    "cam": 0.2,
    "grad-cam++": 0.1,
    "minmax-cam": 0.5,
    "d-minmax-cam": 0.6,
    "area-matched-cam": 0.4,
    "score-cam": 0.3,
}


def write(root: Path, name: str = "photographs-msrc-squeezenet1_0", text: str | None = None, **changed) -> Path:
    """Write the folder of a run; with `text` everything that is free text is this text.

    Two labels in every image but the last, which has one; every metric of a method has the value of VALUES, but for
    the kernel-usage head at rate 1, under which MinMax-CAM is level with CAM. Class 2 is in one image only.
    """
    folder = root / name
    folder.mkdir(parents=True)
    dataset = text or changed.get("dataset", "msrc")
    classes = [text] * 3 if text else ["cow", "grass", "horse"]
    table(classes, dataset).to_parquet(folder / "pairs.parquet")
    scored = table(classes, dataset, ("score-cam",))
    scored[(scored["seed"] == 0) & (scored["set_size"] > 1)].to_parquet(folder / "score_cam.parquet")
    fits = [f"{head}-{rate:g}-s{seed}" for head, rate, seed in product(HEADS, RATES, SEEDS)]
    columns = ("val_loss", "weight_norm", "weight_skewness", "negative_weights", "correlation", "shared_top_10")
    heads = pd.DataFrame({"fit": fits, "epochs": 30} | dict.fromkeys(columns, 0.5))
    heads["logit_std"] = [1.0 + seed for _, _, seed in product(HEADS, RATES, SEEDS)]
    for score in ("f1_weighted", "f1_macro", "f2_weighted"):
        heads[score] = [0.5 + 0.1 * seed for _, _, seed in product(HEADS, RATES, SEEDS)]
    heads.to_csv(folder / "heads.csv", index=False)
    if changed.get("finetune"):  # of the 30 epochs the last 12
        stages = pd.DataFrame(list(product(fits, [1] * 18 + [2] * 12)), columns=["fit", "stage"])
        stages.to_csv(folder / "history.csv", index=False)
    pd.DataFrame({"class": classes, "train": [20, 20, 2], "test": [12, 11, 1]}).to_csv(
        folder / "classes.csv", index=False
    )
    objects = pd.DataFrame(list(product(range(IMAGES), (0, 1))), columns=["image_index", "label"])
    objects.assign(labels=2, area=np.linspace(0, 1, len(objects))).to_parquet(folder / "objects.parquet")
    identity = {"two_label_images": 8, "overlap": 0.0, "deviation": {text or "Grad-CAM": 1e-7}}
    known = {
        "seconds_per_image": {text or "score-cam": 9.0, "cam": 0.5},
        "identities": dict.fromkeys(fits, identity),
    }
    (folder / "facts.json").write_text(json.dumps(known))
    drawn = torch.randn((len(fits), 3, 16), generator=torch.Generator().manual_seed(0))
    states = {fit: {"weight": weight, "bias": torch.zeros(3)} for fit, weight in zip(fits, drawn, strict=True)}
    torch.save(states, folder / "heads.pt")
    parameters = {"dataset": dataset, "architecture": text or "squeezenet1_0", "head": "both", "limit": text}
    record = {
        "chapter": "photographs",
        "parameters": parameters | {"rates": list(RATES), "seeds": list(SEEDS)} | changed,
        "command": text or "python -m workflow.studies.photographs",
        "versions": {"python": text or "3.11.7"},
        "device": text or "cpu, 2 cores",
        "git": text or "3c2bfa9fcf231f0e",
        "dirty": False,
        "wall_s": 7200.0,
        "n_train": 100,
        "n_val": 50,
        "n_test": IMAGES,
        "key": "x",
    }
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def table(classes: list[str], dataset: str, methods: tuple[str, ...] = METHODS) -> pd.DataFrame:
    """Return a pairs table as the study writes it."""
    metrics = [*facts.SCORE_METRICS, *facts.PIXEL_METRICS]
    rows = []
    for head, rate, seed in product(HEADS, RATES, SEEDS):
        for image, method in product(range(IMAGES), methods):
            labels = [0] if image == IMAGES - 1 else [0, 1, 2] if image == 0 else [0, 1]
            level = head == "kernel-usage" and rate == 1 and method in ("minmax-cam", "cam")
            value = VALUES["cam" if level else method] + 0.02 * seed * (method != "cam")
            rows += [
                {"image_index": image, "image": f"i{image}", "label": label, "class": classes[label],
                 "set_size": len(labels), "in_predicted": True, "in_annotated": True, "is_annotated": True,
                 "p": 0.9, "p_masked": 0.5, "p_complement": 0.5, "method": method, "mask_area": 0.3,
                 "is_zero": False, "head": head, "rate": rate,
                 "seed": seed, "scenes": dataset} | dict.fromkeys(metrics, value)
                for label in labels
            ]  # fmt: skip
    found = pd.DataFrame(rows)
    alone = found["set_size"] == 1
    found.loc[alone, list(facts.OF_OTHERS)] = np.nan
    words = ["image", "class", "method", "head", "scenes"]
    return found.astype(dict.fromkeys(words, "category") | {"rate": "float32"})
