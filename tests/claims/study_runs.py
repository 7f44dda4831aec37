"""Finished runs of the study of photographs made by hand, for tests of the claims."""

import json

import numpy as np
import pandas as pd
import torch

from cam_utils import runs
from cam_utils.evaluation import facts

VALUES = {"cam": 0.5, "grad-cam++": 0.4, "minmax-cam": 0.6, "d-minmax-cam": 0.65, "area-matched-cam": 0.55}
SEEDS, SHIFTS = (0, 1, 2), (0.0, 0.02, -0.02)
RARE = 2  # a class of two images, whose values would turn every mean


def pairs(head="linear", rate=0.1, seeds=SEEDS, values=VALUES, images=24):
    """Return a pairs table: images of labels 0 and 1, then images of label 0 alone; the rare class in two of them.

    Every metric is the method's value; the MinMax forms' are off by the seed's shift and, from image to image, by
    up to 0.01.
    """
    rows = []
    for seed, image in [(seed, image) for seed in seeds for image in range(images)]:
        labels = [0, 1] if image < images // 2 else [0]
        labels += [RARE] if image < 2 else []
        for label, (method, value) in [(label, each) for label in labels for each in values.items()]:
            off = SHIFTS[seed] + 0.01 * (-1) ** image if "minmax" in method else 0.0
            made = 0.9 - value if label == RARE else value + off
            given = {"image_index": image, "label": label, "method": method, "seed": seed, "set_size": len(labels)}
            rows.append(given | dict.fromkeys((*facts.SCORE_METRICS, *facts.PIXEL_METRICS), made))
    flags = dict.fromkeys(("in_predicted", "in_annotated", "is_annotated"), True)
    table = pd.DataFrame(rows).assign(**flags, head=head, rate=np.float32(rate), scenes="msrc", p=0.9)
    table = table.assign(p_masked=0.5, p_complement=0.5)
    return table.astype(dict.fromkeys(("method", "head", "scenes"), "category"))


def study(folder, table, scored=None, measured=None, heads=None, **changed):
    """Return a finished run of the study."""
    runs.save(folder / "pairs.parquet", table)
    if scored is not None:
        runs.save(folder / "score_cam.parquet", scored)
    if heads is not None:
        torch.save(heads, folder / "heads.pt")
    runs.save(folder / "facts.json", measured or {})
    given = {"dataset": "msrc", "architecture": "squeezenet1_0", "head": "both", "rates": [0.1], "seeds": [0, 1, 2]}
    runs.write_run(folder, given | changed, 0.0, chapter="photographs")
    return runs.Run(folder, json.loads((folder / "run.json").read_text()))


def of(judged, claim, **where):
    """Return the rows of a claim as a table by part."""
    rows = judged[judged["claim"] == claim]
    for name, value in where.items():
        rows = rows[rows[name] == value]
    return rows.set_index("part")
