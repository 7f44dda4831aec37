"""Finished runs of chapters made by hand, for tests of the claims."""

import json

import pandas as pd

from cam_utils import runs
from cam_utils.evaluation import facts

BASE = {"cam": 0.5, "grad-cam++": 0.4, "score-cam": 0.3, "minmax-cam": 0.7, "d-minmax-cam": 0.71}


def write(folder, chapter, parameters, facts=None, **tables):
    """Return a finished run with these tables."""
    for name, table in tables.items():
        runs.save(folder / f"{name}.parquet", table)
    runs.save(folder / "facts.json", facts or {})
    runs.write_run(folder, parameters, 0.0, chapter=chapter)
    return runs.Run(folder, json.loads((folder / "run.json").read_text()))


def pairs(n=12, scenes="digits", head="linear", values=BASE, spread=0.02, **columns):
    """Return a pairs table of n images with the labels 0 and 1; every score metric is the method's value.

    The values of image i are off by up to `spread`, alike for all methods: paired differences are exact.
    """
    rows = []
    for image in range(n):
        off = spread * (2 * image / max(n - 1, 1) - 1)
        for label in (0, 1):
            for method, value in values.items():
                score = dict.fromkeys(facts.SCORE_METRICS, value + off)
                rows.append({"image_index": image, "label": label, "method": method, **score})
    flags = dict.fromkeys(("in_predicted", "in_annotated", "is_annotated"), True)
    constant = {"set_size": 2, "p_masked": 0.5, "p_complement": 0.5, "scenes": scenes, "head": head}
    return pd.DataFrame(rows).assign(**flags | constant | columns)


def minmax_run(folder, table, facts=None, head="linear", seed=0, **more):
    """Return a run of the MinMax-CAM chapter."""
    parameters = {"dataset": "digits", "architecture": "digits", "seed": seed, "head": head}
    return write(folder, "minmax_cam", parameters | {"output": str(folder)}, facts, pairs=table, **more)


def verdicts(judged, claim):
    """Return {part: verdict} of a claim."""
    rows = judged[judged["claim"] == claim]
    return dict(zip(rows["part"], rows["verdict"], strict=True))
