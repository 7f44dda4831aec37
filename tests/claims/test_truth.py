"""Differences against pixel truth: paired label by label, and left out where nothing can be compared."""

import numpy as np
import pandas as pd
import pytest

from cam_utils.claims.truth import TRUTH, of_pixels

KEYS = ("image_index", "label", "set_size")


def rows(method, energies):
    """Return one annotated pair per image, of two labels in turn, with these energies in the mask."""
    count = len(energies)
    table = pd.DataFrame({"image_index": range(count), "label": [i % 2 for i in range(count)], "set_size": 1})
    table = table.assign(in_predicted=False, in_annotated=True, is_annotated=True, method=method)
    return table.assign(**dict.fromkeys(TRUTH, 0.5)).assign(energy_in_mask=energies)


def of(*tables, others=("cam",)):
    return of_pixels(pd.concat(tables), ("minmax-cam",), others, keys=KEYS, resamples=50)


def test_a_difference_is_the_mean_over_classes_of_the_pairs_that_both_methods_have():
    cam = rows("cam", [0.2, 0.4, 0.6, np.nan])
    found = of(cam, rows("minmax-cam", [0.3, 0.8, np.nan, 0.9]))
    draws, counts = found["minmax-cam", "cam", "energy_in_mask"]
    # Class 0: images 0 and 2, of which 2 lacks MinMax-CAM; class 1: images 1 and 3, of which 3 lacks CAM.
    assert draws[0] == pytest.approx(((0.3 - 0.2) + (0.8 - 0.4)) / 2) and counts["n_images"] == 2
    assert len(draws) == 51


def test_predicted_pairs_do_not_count_and_a_method_that_is_not_there_is_left_out():
    predicted = rows("cam", [0.9, 0.9]).assign(in_predicted=True, in_annotated=False)
    found = of(rows("cam", [0.2, 0.2]), predicted, rows("minmax-cam", [0.3, 0.3]), others=("cam", "absent"))
    assert {other for _, other, _ in found} == {"cam"}
    assert found["minmax-cam", "cam", "energy_in_mask"][0][0] == pytest.approx(0.1)


def test_a_table_without_pixels_answers_nothing():
    assert of(rows("cam", [0.2]).drop(columns="iou_0.3"), rows("minmax-cam", [0.3]).drop(columns="iou_0.3")) == {}
    assert of(rows("cam", [0.2, 0.4])) == {}
    blind = [rows(method, [0.1, 0.2]).assign(**dict.fromkeys(TRUTH, np.nan)) for method in ("cam", "minmax-cam")]
    assert of(*blind) == {}
