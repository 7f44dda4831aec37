"""Figures that are read without colour: markers, a scale of rising lightness, outlines with a rim."""

from itertools import pairwise

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from cam_utils import plots


@pytest.fixture(autouse=True)
def _closed():
    plots.style()
    yield
    plt.close("all")


def lightness(colours):
    """Return the relative luminance of sRGB colours [n, 3]."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_the_scale_of_maps_gets_lighter_with_every_step():
    steps = lightness(matplotlib.colormaps[plots.MAP_COLOURS](np.linspace(0, 1, 64))[:, :3])
    assert (np.diff(steps) > 0).all() and steps[0] < 0.01 and steps[-1] > 0.8


def test_curves_differ_by_marker_and_keep_their_format():
    sweep = pd.DataFrame(
        {"method": ["a", "a", "b", "b"], "threshold": [0.1, 0.2] * 2, "value": [0.1, 0.3, 0.2, 0.2]}
    )
    lines = plots.threshold_curves(sweep, {0.15: "T"}, {"a": "C0-", "b": "C1--"}).axes[0].get_lines()[:2]
    assert [line.get_linestyle() for line in lines] == ["-", "--"]
    assert lines[0].get_marker() != lines[1].get_marker()
    assert list(lines[0].get_ydata()) == pytest.approx([10, 30])


def test_a_wide_photograph_leaves_no_gap_between_the_rows():
    wide = torch.zeros(3, 10, 30)
    figure = plots.map_grid([wide] * 2, ["a", "b"], {"cam": [torch.zeros(10, 30)] * 2}, side=3.0)
    assert figure.get_size_inches() == pytest.approx((6.0, 2 * (3.0 / 3 + 0.07)))


def test_signed_maps_share_one_scale_around_zero():
    figure = plots.signed_row([torch.tensor([[1.0, -4.0]]), torch.tensor([[0.5, 0.0]])], ["a", "b"])
    assert {axes.images[0].get_clim() for axes in figure.axes} == {(-4.0, 4.0)}


def test_a_figure_is_no_wider_than_the_column_of_the_page():
    picture, values = torch.zeros(3, 4, 4), torch.tensor([[1.0, -4.0]])
    many = pd.DataFrame(np.eye(20), range(20), [str(i) for i in range(20)])
    for figure in (
        plots.picture_row([picture] * 7, list("abcdefg")),
        plots.signed_row([values] * 4, list("abcd")),
        plots.table_heatmap(many, title=""),
    ):
        assert figure.get_figwidth() == pytest.approx(plots.COLUMN)


def test_words_below_a_table_are_turned_and_digits_are_not():
    for names, turned in ((["building", "grass"], 40), (["0", "1"], 0)):
        axes = plots.table_heatmap(pd.DataFrame(np.eye(2), names, names), title="").axes[0]
        assert [label.get_rotation() for label in axes.get_xticklabels()] == [turned] * 2


def test_the_legend_of_curves_stands_below_them():
    sweep = pd.DataFrame({"method": "a", "threshold": [0.1, 0.9], "value": [0.1, 0.3]})
    figure = plots.threshold_curves(sweep, {}, {"a": "C0-"})
    figure.draw_without_rendering()
    assert figure.legends[0].get_window_extent().y1 < figure.axes[0].get_window_extent().y0


def test_bars_count_the_kernels_by_the_labels_that_they_serve():
    figure = plots.kernels_served({"linear": [2, 0, 2], "other": [1, 1, 1]})
    assert [[bar.get_height() for bar in axes.patches] for axes in figure.axes] == [[1, 0, 2], [0, 3, 0]]


def test_correlations_of_labels_are_those_of_their_weights():
    weights = torch.tensor([[1.0, 0.0, 2.0], [2.0, 0.0, 4.0], [0.0, 1.0, -1.0]])
    figure = plots.weight_correlations({"linear": weights}, ["a", "b", "c"])
    drawn = figure.axes[0].collections[0].get_array().reshape(3, 3)
    assert drawn[0, 1] == 1.0 and drawn[0, 2] == pytest.approx(np.corrcoef(weights)[0, 2].round(1))
    assert [text.get_text() for text in figure.axes[0].texts[:3]] == [
        "1.0",
        "1.0",
        f"{drawn[0, 2]:.1f}".replace("0.", "."),
    ]


def test_an_outline_has_a_dark_rim_below_the_light_line():
    image, region = torch.ones(3, 8, 8), torch.zeros(8, 8, dtype=torch.bool)
    region[2:6, 2:6] = True
    axes = plots.map_grid([image], ["a"], {"cam": [torch.ones(8, 8)]}, outlines=[region]).axes[0]
    rim, line = axes.collections
    assert rim.get_linewidth()[0] > line.get_linewidth()[0]
    assert lightness(rim.get_edgecolor()[:, :3])[0] < 0.01 < lightness(line.get_edgecolor()[:, :3])[0]


def test_a_method_that_a_panel_lacks_keeps_its_sign_in_the_others():
    both = pd.DataFrame({"method": ["a", "b"], "at": [1, 1], "value": [1.0, 2.0], "low": [1, 2], "high": [1, 2]})
    figure = plots.curve_panels({"both": both, "b alone": both[1:]}, xlabel="", ylabel="")
    first, second = ({tuple(line.get_ydata()): line for line in axes.lines} for axes in figure.axes)
    assert first[2.0,].get_color() == second[2.0,].get_color() != first[1.0,].get_color()
    named = dict(
        zip((t.get_text() for t in figure.legends[0].texts), figure.legends[0].legend_handles, strict=True)
    )
    assert (
        named["b"].get_color() == second[2.0,].get_color() and named["b"].get_marker() == second[2.0,].get_marker()
    )


def test_panels_stand_in_lines_and_what_is_grey_has_no_colour():
    both = pd.DataFrame({"method": ["a", "b"], "at": [1, 1], "value": [1.0, 2.0], "low": [1, 2], "high": [1, 2]})
    figure = plots.curve_panels(dict.fromkeys("vwxyz", both), xlabel="", ylabel="", columns=3, grey=["b"])
    assert len(figure.axes) == 5 and figure.get_size_inches().tolist() == pytest.approx([10.2, 6.8])
    own, grey = figure.axes[-1].lines
    assert grey.get_color() == "0.45" != own.get_color()


def test_long_names_go_on_in_a_second_line_and_do_not_meet():
    names = ["Representative-class CAM", "MinMax-Grad-CAM", "D-MinMax-Grad-CAM", "guided backpropagation"]
    rows, maps = [torch.zeros(3, 8, 8)] * 4, [torch.zeros(8, 8)] * 4
    figure = plots.map_grid(rows, names, dict.fromkeys(names, maps), side=1.0)
    figure.canvas.draw()
    across = [axes.title.get_window_extent() for axes in figure.axes[1:5]]
    down = [axes.yaxis.label.get_window_extent() for axes in figure.axes[::5]]
    assert all(a.x1 < b.x0 for a, b in pairwise(across))
    assert all(a.y0 > b.y1 for a, b in pairwise(down))


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_a_figure_is_stored_whole_or_not_at_all(tmp_path, suffix, monkeypatch):
    file = tmp_path / f"a.{suffix}"
    plots.save(plt.figure(), file)
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix]
    before = file.read_bytes()
    assert before.startswith(start)

    def half(_self, target, **_options):
        target.write_bytes(b"half")
        raise OSError("told to fail")

    monkeypatch.setattr(plt.Figure, "savefig", half)
    with pytest.raises(OSError, match="told to fail"):
        plots.save(plt.figure(), file)
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


def test_titles_are_drawn_as_they_are_written(tmp_path):
    """A dollar and an underscore in a name would else be read as mathematics, and end the figure."""
    name = "cost $5_$6^\x00"
    rows = pd.DataFrame({"method": ["cam"] * 2, "at": [1, 2], "value": 0.5, "low": 0.4, "high": 0.6})
    for figure in (
        plots.signed_row([torch.ones(2, 2)], [name]),
        plots.curve_panels({name: rows}, xlabel="", ylabel=""),
        plots.picture_row([torch.ones(3, 4, 4)], [name]),
    ):
        plots.save(figure, tmp_path / "a.png")
        assert "$5_$6^" in figure.axes[0].get_title()
