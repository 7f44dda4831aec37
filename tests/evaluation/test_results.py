"""Averages by hand on a table of six pairs, the bootstrap against scikit-free theory, and the paper's numbers."""

import numpy as np
import pandas as pd
import pytest

from cam_utils.evaluation import facts, results


def table(rows):
    frame = pd.DataFrame(
        rows,
        columns=["image_index", "label", "set_size", "average_drop", "average_retention_others", "is_annotated"],
    )
    frame["average_retention"] = 1 - frame["average_drop"]
    frame["average_drop_others"] = 1 - frame["average_retention_others"]
    frame["increase_in_confidence"] = 0.0
    return frame.assign(method="cam", in_predicted=True, in_annotated=frame["is_annotated"])


@pytest.fixture
def pairs():
    nan = np.nan
    return table(
        [
            (0, 0, 2, 0.2, 0.4, True),
            (0, 1, 2, 0.4, 0.2, True),
            (1, 0, 1, 0.0, nan, True),
            (2, 0, 1, 0.1, nan, False),
            (3, 1, 2, 0.8, 0.6, True),
            (3, 2, 2, 0.5, 0.1, True),
        ]
    )


def value(frame, metric, **options):
    found = results.aggregate(frame, resamples=10, **options)
    return found.set_index("metric").loc[metric, "value"]


def test_macro_micro_and_weighted_by_hand(pairs):
    assert value(pairs, "average_drop") == pytest.approx((0.1 + 0.6 + 0.5) / 3)
    assert value(pairs, "average_drop", average="micro") == pytest.approx(2.0 / 6)
    # annotated support: class 0 twice, class 1 twice, class 2 once
    assert value(pairs, "average_drop", average="weighted") == pytest.approx((2 * 0.1 + 2 * 0.6 + 0.5) / 5)


def test_single_detection_images_count_as_zero_or_not_at_all(pairs):
    zero, skip = (value(pairs, "average_retention_others", singles=s) for s in ("zero", "skip"))
    assert zero == pytest.approx(((0.4 + 0 + 0) / 3 + (0.2 + 0.6) / 2 + 0.1) / 3)
    assert skip == pytest.approx((0.4 + 0.4 + 0.1) / 3)
    assert value(pairs, "average_retention_others", multi_only=True) == pytest.approx(skip)


def test_harmonic_mean_per_class_is_at_most_that_of_the_means(pairs):
    per_class = value(pairs, "f1_minus", singles="skip")
    hm = lambda a, b: 2 * a * b / (a + b)  # noqa: E731
    assert per_class == pytest.approx((hm(0.1, 0.4) + hm(0.6, 0.4) + hm(0.5, 0.1)) / 3)
    of_means = value(pairs, "f1_minus", singles="skip", harmonic="of-means")
    assert of_means == pytest.approx(hm(0.4, 0.3))
    assert per_class < of_means


def test_a_harmonic_mean_that_is_a_column_already_is_averaged_as_any_other(pairs):
    """The comparison has one per pair; asked for without its two parts, their counts were looked for."""
    table = pairs.assign(f1_minus=results.harmonic_mean(pairs["average_drop"], pairs["average_retention_others"]))
    found = results.aggregate(table, metrics=("f1_minus",), average="micro")
    cam = table[(table["method"] == "cam") & table["in_predicted"]]["f1_minus"]
    row = found[found["method"] == "cam"].iloc[0]
    assert row["value"] == pytest.approx(cam.mean()) and row["n_pairs"] == cam.notna().sum()


def test_predicted_and_annotated_pairs(pairs):
    found = results.aggregate(pairs, pairs="annotated", resamples=10).set_index("metric")
    assert found.loc["average_drop", "value"] == pytest.approx((0.1 + 0.6 + 0.5) / 3)
    assert found.loc["average_drop", ["n_pairs", "n_images", "n_classes"]].tolist() == [5, 3, 3]


def test_classes_with_few_images_are_left_out():
    """By hand: class 0 is predicted in two images, class 1 in one, though annotated in two."""
    rows = [(0, 0, 2, 0.2, 0.4, True), (0, 1, 2, 0.9, 0.2, True), (1, 0, 1, 0.4, np.nan, True)]
    rows += [(2, 1, 1, 0.5, np.nan, True)]
    both = table(rows).assign(**{"class": ["zebra", "ant", "zebra", "ant"]})
    both["in_annotated"] = True
    both["in_predicted"] = [True, True, True, False]
    both = pd.concat([both, both.assign(method="other", average_drop=both["average_drop"] + 0.1)])  # no new image
    cam = both[both["method"] == "cam"]
    assert value(cam, "average_drop", least_images=1) == pytest.approx((0.3 + 0.9) / 2)
    found = results.aggregate(both, least_images=2, resamples=5).set_index(["method", "metric"])
    assert found.loc[("cam", "average_drop"), "value"] == pytest.approx(0.3)
    assert found.loc[("cam", "average_drop"), ["n_pairs", "n_images", "n_classes"]].tolist() == [2, 2, 1]
    assert found.loc[("cam", "average_retention_others"), "value"] == pytest.approx(0.2)  # of 0.4 and nothing
    assert value(cam, "average_drop", least_images=2, average="micro") == pytest.approx(0.3)
    assert value(cam, "average_drop", least_images=2, pairs="annotated") == pytest.approx((0.3 + 0.7) / 2)
    apart = results.differences(both, "cam", least_images=2, resamples=5).set_index("metric")
    assert apart.loc["average_drop", "value"] == pytest.approx(0.1)
    for least, names in enumerate([["ant", "zebra"], ["ant", "zebra"], ["zebra"], []]):
        assert results.covered_classes(both, least) == names
    assert results.covered_classes(both, 2, pairs="annotated") == ["ant", "zebra"]
    with pytest.raises(ValueError, match="no class has predicted pairs in 3 images: the most is 2"):
        results.aggregate(both, least_images=3)
    with pytest.raises(ValueError, match="no predicted pairs in the table"):
        results.aggregate(both.assign(in_predicted=False), least_images=3)


def test_a_class_with_few_values_is_left_out_of_that_metric_alone():
    """By hand: both classes have three images, but class 1 has a value of energy in one of them."""
    rows = pd.DataFrame(
        {"image_index": [0, 1, 2, 3, 4, 5], "label": [0, 0, 0, 1, 1, 1], "set_size": [2, 2, 1, 1, 1, 2]}
    )
    rows = rows.assign(method="cam", in_predicted=True, in_annotated=True, is_annotated=True)
    rows = rows.assign(
        energy_in_others=[0.1, 0.3, np.nan, np.nan, np.nan, 0.9], energy_in_mask=[0.2] * 3 + [0.6] * 3
    )
    rows = rows.assign(average_drop_others=rows["energy_in_others"])
    metrics = ("energy_in_others", "energy_in_mask", "average_drop_others")
    for pairs in ("annotated", "predicted"):
        for least, expected in ((1, [0.55, 0.4, 0.4 / 3 / 2 + 0.15]), (2, [0.2, 0.4, 0.4 / 3 / 2 + 0.15])):
            found = results.resample(rows, pairs=pairs, metrics=metrics, least_images=least, resamples=0)
            # Of drops of others, images of one label count as zeros: every class has three values.
            assert [found["cam", name][0][0] for name in metrics] == pytest.approx(expected)
    apart = results.resample(rows, metrics=metrics, least_images=2, singles="skip", resamples=0)
    assert apart["cam", "average_drop_others"][0][0] == pytest.approx(0.2)
    assert apart["cam", "average_drop_others"][1] == {"n_pairs": 2, "n_images": 2, "n_classes": 1}


def test_pairs_are_told_apart_by_their_keys():
    rows = pd.DataFrame({"image_index": 0, "label": 0, "set_size": 1, "seed": [0, 0, 1, 1], "m": [np.nan, 1, 2, 3]})
    assert results.paired(rows, ["m"])["m"].isna().all()
    apart = results.paired(rows, ["m"], keys=("image_index", "label", "seed"))["m"]
    assert apart.isna().tolist() == [True, True, False, False]


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(120):
        drops = rng.beta(2, 5, 60)
        found = results.aggregate(table([(i, 0, 1, d, np.nan, True) for i, d in enumerate(drops)]), resamples=300)
        row = found.set_index("metric").loc["average_drop"]
        hits += row["low"] <= 2 / 7 <= row["high"]
        assert row["low"] <= row["value"] <= row["high"]
    assert 0.88 <= hits / 120 <= 0.99


def test_images_not_pairs_are_resampled():
    """Ten copies of each image's pair carry no new information: the interval must not shrink."""
    drops = np.random.default_rng(1).uniform(size=40)
    once = [(i, 0, 1, d, np.nan, True) for i, d in enumerate(drops)]
    widths = []
    for rows in (once, [row for row in once for _ in range(10)]):
        row = results.aggregate(table(rows), average="micro").set_index("metric").loc["average_drop"]
        widths.append(row["high"] - row["low"])
    assert widths[1] == pytest.approx(widths[0])


def test_paired_differences_see_what_separate_intervals_hide():
    """A method that is always 0.01 better than another of wide spread: the paired interval excludes zero."""
    drops = np.random.default_rng(2).uniform(0.2, 0.9, 30)
    rows = [[(i, 0, 1, d - gain, np.nan, True) for i, d in enumerate(drops)] for gain in (0, 0.01)]
    both = pd.concat([table(rows[0]), table(rows[1]).assign(method="better")], ignore_index=True)
    found = results.differences(both, "cam").set_index("metric").loc["average_drop"]
    assert found["value"] == pytest.approx(-0.01) and found["high"] < 0
    alone = results.aggregate(both).query("metric == 'average_drop'").set_index("method")
    assert alone.loc["better", "high"] > alone.loc["cam", "low"]
    with pytest.raises(ValueError, match="unknown baseline 'cm'; did you mean 'cam'"):
        results.differences(both, "cm")


def test_options_and_empty_tables_are_refused(pairs):
    with pytest.raises(ValueError, match="unknown average 'marco'; did you mean 'macro'"):
        results.aggregate(pairs, average="marco")
    with pytest.raises(ValueError, match="no predicted pairs in the table"):
        results.aggregate(pairs.assign(in_predicted=False))
    with pytest.raises(ValueError, match="unknown table 'minmax_tabel1'; did you mean 'minmax_table1'"):
        results.paper_table("minmax_tabel1")


@pytest.mark.parametrize("name", ["minmax_table1", "minmax_table2", "minmax_table3"])
def test_published_harmonic_means_match_their_columns_except_the_halved_cells(name):
    """F1 cells lie at 0.83-0.98 of the harmonic mean of their columns, six at half of that (dev-halved-cells)."""
    ratios = results.harmonic_ratios(results.paper_table(name))
    halved = ratios[ratios["ratio"] < 0.6]
    assert set(halved["method"]) == {"Score-CAM"} and set(halved["dataset"]) == {"VOC07"}
    assert halved["ratio"].between(0.4, 0.5).all()
    assert ratios.drop(halved.index)["ratio"].between(0.8, 1.005).all()


def test_every_metric_has_its_kind_so_that_tables_show_it():
    kinds = (facts.SCORE_METRICS, facts.PIXEL_METRICS, facts.PICTURE_METRICS, tuple(facts.HARMONIC))
    for name in facts.METRICS:
        assert sum(name in kind for kind in kinds) == 1, f"{name}: symbol, pixels, pictures or mean_of?"
