"""Figures of evidence: intervals, other people's numbers, verdicts that are told apart without colour."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from cam_utils import charts
from cam_utils.plots import COLUMN
from tests.test_plots import lightness


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def row(**given):
    usual = {"level": "x", "score": "s", "truth": "t", "value": 1.0, "low": 0.5, "high": 2.5}
    return {**usual, **given}


def test_a_bar_spans_its_interval_and_a_number_without_one_is_hollow():
    found = pd.DataFrame([row(), row(score="the paper", value=3.0, low=np.nan, high=np.nan)])
    axes = charts.forest(found, ["x"], limits=None).axes[0]
    (bar,) = axes.containers
    assert bar[2][0].get_segments()[0][:, 0].tolist() == [0.5, 2.5]
    assert bar[0].get_xydata().tolist() == [[1.0, 0.0]]
    (hollow,) = [line for line in axes.lines if line.get_markerfacecolor() == "none"]
    assert hollow.get_xydata().tolist() == [[3.0, 1.0]], "on the row of its own score"


def test_several_numbers_of_one_row_all_show():
    ours = [row(value=value, low=np.nan, high=np.nan) for value in (1.0, 2.0)]
    axes = charts.forest(pd.DataFrame(ours), ["x"]).axes[0]
    assert [1.0, 2.0] in [list(line.get_xdata()) for line in axes.lines]


def test_groups_differ_by_marker_and_by_colour_and_panels_wrap():
    found = pd.DataFrame([row(level=level, truth=f"t{i}") for i in range(9) for level in "xyz"])
    figure = charts.forest(found, list("xyz"), columns=2)
    assert len(figure.axes) == 3
    bars = figure.axes[0].containers
    assert len({bar[0].get_marker() for bar in bars}) == len({bar[0].get_color() for bar in bars}) == 9
    assert charts.forest(found, list("xyz"), height=2.2).get_figheight() == 2.2


def test_the_lowest_and_the_highest_seed_are_marked():
    axes = charts.forest(pd.DataFrame([row(seed_low=0.8, seed_high=1.3)]), ["x"]).axes[0]
    assert {0.8, 1.3} <= {line.get_xdata()[0] for line in axes.lines if line.get_marker() == "|"}


def test_verdicts_stand_in_their_cells_and_differ_without_colour():
    kinds = list(charts.VERDICTS)
    table = pd.DataFrame([[*kinds[:3], ""], ["", *kinds[3:]]], index=["C1", "C2"])
    axes = charts.verdict_dots(table).axes[0]
    drawn = {line.get_label(): line for line in axes.lines}
    for name, (*_, label) in charts.VERDICTS.items():
        (place,) = drawn[label].get_xydata().tolist()
        assert table.iloc[int(place[1]), int(place[0])] == name
    looks = {(line.get_marker(), line.get_fillstyle()) for line in axes.lines}
    assert len(looks) == len(kinds)
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first claim stands on top"


def test_verdicts_have_their_colour_their_number_and_a_lightness_of_their_own():
    columns = pd.MultiIndex.from_tuples([("scenes", "all random"), ("photographs", "all random")])
    verdicts = pd.DataFrame([["fails", ""], ["passes", "undecided"]], ["edges", "cam"], columns)
    numbers = pd.DataFrame([[0.98, np.nan], [-0.001, 0.15]], ["edges", "cam"], columns)
    axes = charts.verdict_cells(verdicts, numbers, label="excess").axes[0]
    drawn = [matplotlib.colors.to_hex(patch.get_facecolor()) for patch in axes.patches]
    assert drawn == [matplotlib.colors.to_hex(charts.VERDICT_COLOURS[v]) for v in ("fails", "passes", "undecided")]
    assert [t.get_text() for t in axes.texts] == ["0.98", "0.00", "0.15?", "scenes", "photographs"]
    steps = lightness(np.array([matplotlib.colors.to_rgb(c) for c in charts.VERDICT_COLOURS.values()]))
    assert (np.diff(steps) > 0.1).all()


def test_letters_of_a_wide_table_of_verdicts_are_read_on_a_page():
    figure = charts.verdict_dots(pd.DataFrame([["holds"] * 30], ["C1"], [f"run {i}" for i in range(30)]))
    shrunk = COLUMN / figure.get_figwidth()
    letters = [*figure.axes[0].get_xticklabels(), *figure.axes[0].get_yticklabels(), *figure.legends[0].texts]
    assert shrunk < 1 and min(text.get_fontsize() for text in letters) * shrunk >= 8 - 1e-9


def test_a_cell_has_its_number_and_the_colour_of_its_rank():
    values = pd.DataFrame({"AD": [12.0, 30.0, 12.0], "IoU": [1.0, 2.0, 3.0]}, index=list("abc"))
    ranks = pd.DataFrame({"AD": [1, 3, 1], "IoU": [3, 2, 1]}, index=list("abc"))
    axes = charts.rank_heatmap(values, ranks, rules=[1], label="rank").axes[0]
    assert [text.get_text() for text in axes.texts] == ["12", "1", "30", "2", "12", "3"]
    colours = axes.collections[0].get_facecolors().reshape(3, 2, 4)
    assert (colours[0, 0] == colours[2, 1]).all(), "both are the best"
    assert (colours[1, 0] == colours[0, 1]).all() and (colours[0, 0] != colours[1, 0]).any()
    assert [line.get_xdata()[0] for line in axes.lines] == [1]


def test_better_and_worse_have_colours_of_their_own_and_columns_the_rows_numbers():
    table = pd.DataFrame([[0, 1, 0], [-1, 0, 0], [0, 0, 0]], list("abc"), list("abc"))
    axes = charts.pairwise({"m": table}).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a 1", "b 2", "c 3"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "3"]
    colours = axes.collections[0].get_facecolors().reshape(3, 3, 4)
    assert len({tuple(colours[at]) for at in ((0, 1), (1, 0), (0, 2))}) == 3
    assert (colours[0, 2] == colours[1, 2]).all()
    assert not axes.collections[0].get_array().mask.reshape(3, 3)[0, 1]
    assert axes.collections[0].get_array().mask.reshape(3, 3).diagonal().all()
