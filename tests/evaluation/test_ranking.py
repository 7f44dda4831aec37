"""Ranks, tests and agreement: cases by hand, scipy on its own, and relations that random maps must show."""

from functools import cache
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cam_utils.evaluation import ranking


def pairs_table(values, **metrics):
    """One label per image: {method: values of average_drop}, other metrics constant or given likewise."""
    rows = []
    for method, drops in values.items():
        for i, drop in enumerate(drops):
            row = {"image_index": i, "label": i % 2, "method": method, "set_size": 2, "is_zero": False}
            row |= {"in_annotated": True, "in_predicted": True, "is_annotated": True, "average_drop": drop}
            rows.append(row | {name: column[method][i] for name, column in metrics.items()})
    return pd.DataFrame(rows)


def test_an_image_counts_once_however_many_labels_it_has():
    table = pairs_table({"a": [0.2, 0.4, 0.9]}).assign(image_index=[0, 0, 1], label=[0, 1, 0])
    assert ranking.per_image(table, "average_drop")["a"].tolist() == pytest.approx([0.3, 0.9])


def test_a_zero_maps_undefined_energy_is_the_worst_and_others_are_left_out():
    energy = {"a": [np.nan, 0.5, np.nan], "b": [0.2, 0.6, np.nan]}
    table = pairs_table({"a": [0.0] * 3, "b": [0.0] * 3}, energy_in_mask=energy, energy_in_others=energy)
    table["is_zero"] = [True, False, False, False, False, False]
    assert ranking.per_image(table, "energy_in_mask").to_numpy().tolist() == [[0.0, 0.2], [0.5, 0.6]]
    assert ranking.per_image(table, "energy_in_others").to_numpy().tolist() == [[1.0, 0.2], [0.5, 0.6]]


def test_metrics_of_others_leave_out_labels_that_stand_alone():
    others = {"a": [0.3, np.nan], "b": [0.4, np.nan]}
    table = pairs_table({"a": [0.0] * 2, "b": [0.0] * 2}, average_drop_others=others)
    table["set_size"] = [2, 1, 2, 1]
    assert len(ranking.known_values(table, ["average_drop_others"])) == 2
    with pytest.raises(ValueError, match="unknown metric 'average_dropp'; did you mean 'average_drop'"):
        ranking.known_values(table, ["average_dropp"])
    with pytest.raises(ValueError, match="no annotated pair has a value of average_drop_others"):
        ranking.known_values(table.assign(set_size=1), ["average_drop_others"])


def test_wilcoxon_holm_is_scipys_test_with_the_correction_by_hand():
    rng = np.random.default_rng(0)
    base = rng.random(30)
    values = pd.DataFrame({"a": base, "b": base + 0.1 + 0.01 * rng.random(30), "c": rng.random(30)})
    found = ranking.wilcoxon_holm(values).set_index(["first", "second"])
    raw = {
        pair: stats.wilcoxon(values[pair[0]], values[pair[1]], method="approx").pvalue
        for pair in (("a", "b"), ("a", "c"), ("b", "c"))
    }
    order = sorted(raw, key=raw.get)
    expected, highest = {}, 0.0
    for k, pair in enumerate(order):
        highest = max(highest, min(1.0, (3 - k) * raw[pair]))
        expected[pair] = highest
    for pair, p in expected.items():
        assert found.loc[pair, "adjusted"] == pytest.approx(p, rel=1e-3)
    assert found.loc[("a", "b"), "apart"] and not found.loc[("a", "c"), "apart"]
    assert found.loc[("a", "b"), "sign"] == -1, "b has the higher values in every image"


def test_the_better_of_two_has_the_wanted_values_and_a_matrix_is_its_own_opposite():
    rng = np.random.default_rng(7)
    base = rng.random(40)
    values = pd.DataFrame({"low": base, "high": base + 1, "same": base + 1e-3 * rng.standard_normal(40)})
    tests = ranking.wilcoxon_holm(values)
    order = ["high", "same", "low"]
    for wanted in (+1, -1):
        found = ranking.better(tests, wanted, order)
        assert found.loc["high"].tolist() == [0, wanted, wanted]
        assert found.loc["low", "same"] == 0 and (found == -found.T).all(axis=None)
    # Against the sign of the signed-rank sum, which Wilcoxon's statistic is made of.
    gaps = values["high"] - values["low"] - 0.9
    sum_of = (np.sign(gaps) * stats.rankdata(gaps.abs())).sum()
    mixed = ranking.wilcoxon_holm(pd.DataFrame({"a": gaps, "b": 0.0, "c": -1.0})).set_index(["first", "second"])
    assert mixed.loc[("a", "b"), "sign"] == np.sign(sum_of)


def test_equal_means_share_the_better_rank_and_low_is_better_where_it_is_wanted():
    summary = pd.DataFrame(
        [("iou_0.3", 0.5), ("average_drop", 0.1), ("iou_0.3", 0.7), ("average_drop", 0.1), ("iou_0.3", 0.5),
         ("average_drop", 0.0), ("iou_0.3", 0.1)],
        columns=["metric", "value"],
    )  # fmt: skip
    assert ranking.mean_ranks(summary).tolist() == [2, 2, 1, 2, 2, 1, 4]


def test_equal_methods_are_never_told_apart_and_share_their_rank():
    base = np.random.default_rng(1).random(40)
    values = pd.DataFrame({"a": base, "b": base + 1e-9, "c": base + 1})
    tests = ranking.wilcoxon_holm(values).set_index(["first", "second"])["adjusted"]
    assert tests["a", "b"] == 1 and tests["a", "c"] < 1e-4
    assert ranking.average_ranks(values, -1).tolist() == [1.5, 1.5, 3.0]
    assert ranking.friedman(values) < 1e-6
    with pytest.raises(ValueError, match="expected 3 or more methods on 2 or more images, got 2 on 40"):
        ranking.friedman(values[["a", "b"]])


def test_methods_with_the_same_maps_are_found():
    drops = np.random.default_rng(2).random(200)
    energy = {"a": drops, "b": np.where(np.arange(200) == 7, 0.0, drops), "c": drops[::-1]}
    table = pairs_table({"a": drops, "b": drops + 1e-5, "c": drops}, energy_in_mask=energy)
    assert ranking.alike(table, ["average_drop", "energy_in_mask"]) == [["a", "b"], ["c"]]


def test_spearman_is_scipys():
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 5, (6, 20)).astype(float), rng.random((6, 20))
    expected = [stats.spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(ranking.spearman(a, b), expected)
    assert np.isnan(ranking.spearman(np.zeros(4), np.arange(4.0)))


def test_repeated_items_are_items_that_stand_several_times():
    rng = np.random.default_rng(8)
    a, b = rng.integers(0, 4, (3, 12)).astype(float), rng.random((3, 12))
    weights = rng.multinomial(12, np.full(12, 1 / 12), 5)
    found = ranking.repeated_spearman(a, b, weights)
    assert found.shape == (5, 3)
    for r, k in product(range(5), range(3)):
        picked = np.repeat(np.arange(12), weights[r])
        assert found[r, k] == pytest.approx(stats.spearmanr(a[k][picked], b[k][picked]).statistic, abs=1e-6)
    alone = np.eye(12, dtype=int)[:1] * 12  # one item twelve times has no order
    assert np.isnan(ranking.repeated_spearman(a, b, alone)).all()


def test_resampling_methods_and_images_gives_the_quantiles_of_all_possible_resamples():
    """Of 2 images and 4 methods there are 4 x 256 equally likely resamples: every one is computed."""
    rng = np.random.default_rng(9)
    drop, energy = rng.random((2, 2, 4))  # [images, methods], one label per image
    table = pairs_table(
        dict(zip("abcd", drop.T, strict=True)), energy_in_mask=dict(zip("abcd", energy.T, strict=True))
    )
    table["label"] = 0  # so that a mean over classes is one over images
    found = ranking.agreement(table, ["average_drop"], ["energy_in_mask"], resamples=4000, seed=1)
    found = found.set_index(["level", "over"])
    every_image, every_method = list(product(range(2), repeat=2)), list(product(range(4), repeat=4))
    cases = {"images": (every_image, [tuple(range(4))]), "methods": ([tuple(range(2))], every_method)}
    for over, (images, methods) in {**cases, "both": (every_image, every_method)}.items():
        of_methods, of_pairs, of_maps = [], [], []
        for i, m in product(map(list, images), map(list, methods)):
            a, b = -drop[i][:, m], energy[i][:, m]
            of_methods.append(correlation(a.mean(0), b.mean(0)))
            of_pairs.append(mean_of_known([correlation(x, y) for x, y in zip(a, b, strict=True)]))
            of_maps.append(mean_of_known([correlation(x, y) for x, y in zip(a.T, b.T, strict=True)]))
        for level, drawn in {
            "methods": of_methods,
            "maps of a pair": of_pairs,
            "maps of a method": of_maps,
        }.items():
            known = np.sort(np.array(drawn)[~np.isnan(drawn)])
            row = found.loc[(level, over)]
            # The end of an interval is a quantile of the enumeration, give or take 1% of the cases.
            for end, share in ((row["low"], 0.025), (row["high"], 0.975)):
                below, upto = ((known < end - 1e-6).mean(), (known < end + 1e-6).mean())
                assert below - 0.01 <= share <= upto + 0.01, (level, over, end)


def correlation(a, b):
    """Scipy's, NaN without a warning where one is constant."""
    return _correlation(tuple(a.round(6)), tuple(b.round(6)))


@cache
def _correlation(a, b):
    return np.nan if min(len(set(a)), len(set(b))) < 2 else stats.spearmanr(a, b).statistic


def mean_of_known(values):
    known = [value for value in values if not np.isnan(value)]
    return np.mean(known) if known else np.nan


def test_images_that_agree_leave_the_methods_all_the_doubt():
    """Where all images are alike nothing hangs on which are drawn: "both" is "methods", and "images" is a point."""
    rng = np.random.default_rng(10)
    drop, energy = rng.random((2, 8))
    table = pairs_table(
        {f"m{k}": [drop[k]] * 5 for k in range(8)}, energy_in_mask={f"m{k}": [energy[k]] * 5 for k in range(8)}
    )
    found = ranking.agreement(table.assign(label=0), ["average_drop"], ["energy_in_mask"]).set_index(
        ["level", "over"]
    )
    expected = stats.spearmanr(-drop, energy).statistic
    for level in ("methods", "maps of a pair"):
        assert found.loc[(level, "images"), ["value", "low", "high"]].tolist() == pytest.approx([expected] * 3)
        assert found.loc[(level, "both"), "low"] == pytest.approx(found.loc[(level, "methods"), "low"])
        assert found.loc[(level, "both"), "high"] > found.loc[(level, "both"), "low"] + 0.3


def test_a_metric_agrees_with_itself_and_the_sign_follows_what_is_wanted():
    rng = np.random.default_rng(4)
    quality = {m: (k + rng.random(40)) / 4 for k, m in enumerate("abc")}
    lost = {m: 1 - q for m, q in quality.items()}
    table = pairs_table(lost, energy_in_mask=quality, energy_in_others=quality)
    found = ranking.agreement(table, ["average_drop"], ["energy_in_mask", "energy_in_others"], resamples=20)
    found = found[found["over"] == "both"].set_index(["level", "truth"])
    assert found["value"].xs("energy_in_mask", level="truth").to_numpy() == pytest.approx(1.0)
    assert found["value"].xs("energy_in_others", level="truth").to_numpy() == pytest.approx(-1.0)
    assert found.loc[("maps of a method", "energy_in_mask"), "n"] == 40
    assert found.loc[("methods", "energy_in_mask"), "n"] == 3


def test_levels_can_disagree():
    """Methods with less drop have more energy, but within each of them the map with less drop has less."""
    rng = np.random.default_rng(5)
    noise = {m: rng.random(60) for m in "abcd"}
    lost = {m: 0.2 * (3 - k) + 0.1 * noise[m] for k, m in enumerate("abcd")}
    energy = {m: 0.2 * k + 0.1 * noise[m] for k, m in enumerate("abcd")}
    found = ranking.agreement(pairs_table(lost, energy_in_mask=energy), ["average_drop"], ["energy_in_mask"])
    found = found[found["over"] == "images"].set_index("level")
    assert found.loc["methods", "value"] == pytest.approx(1)
    assert found.loc["maps of a method", "high"] < -0.99
    assert found.loc["maps of a pair", "low"] > 0.9


def test_unrelated_metrics_have_intervals_around_zero():
    rng = np.random.default_rng(6)
    table = pairs_table({m: rng.random(80) for m in "abcdef"}, energy_in_mask={m: rng.random(80) for m in "abcdef"})
    found = ranking.agreement(table, ["average_drop"], ["energy_in_mask"])
    found = found[found["over"] == "both"]
    assert ((found["low"] < 0) & (found["high"] > 0)).all()
