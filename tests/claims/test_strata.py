"""Differences in halves of the data, against means made by hand and against an effect that was put in."""

import numpy as np
import pandas as pd
import pytest

from cam_utils.claims.strata import STRATA, by_stratum


def table_of(effect, seeds=2, noise=0.0):
    """Pairs of two labels per image: method a exceeds b by effect[image, label]."""
    rng, rows = np.random.default_rng(0), []
    for (image, label), value in np.ndenumerate(effect):
        for seed in range(seeds):
            base = rng.normal()
            for method, extra in (("a", value + noise * rng.normal()), ("b", 0.0)):
                rows.append((image, label, method, base + extra, seed))
    table = pd.DataFrame(rows, columns=["image_index", "label", "method", "m", "seed"])
    return table.assign(in_annotated=True, set_size=2, head="linear", rate=0.1)


def objects_of(**columns):
    shape = next(iter(columns.values())).shape
    image, label = np.indices(shape)
    flat = {name: values.ravel() for name, values in columns.items()}
    return pd.DataFrame({"image_index": image.ravel(), "label": label.ravel(), **flat})


def test_halves_are_means_of_their_pairs():
    effect = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 60.0]])
    area = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    rows = by_stratum(table_of(effect), objects_of(area=area), "m", "a", "b").set_index("half")
    assert rows.loc["lower", "value"] == pytest.approx(2.0) and rows.loc["upper", "value"] == pytest.approx(23.0)
    assert rows.loc["upper - lower", "value"] == pytest.approx(21.0)
    assert rows["n_pairs"].tolist() == [3, 3, 6] and rows["n_images"].tolist() == [2, 2, 3]
    assert rows["cut"].unique() == pytest.approx([0.35])


def test_an_effect_of_one_stratum_is_found_there_and_not_elsewhere():
    rng = np.random.default_rng(1)
    columns = {name: rng.random((200, 2)) for name in STRATA}
    effect = 0.5 * (columns["touching"] > np.median(columns["touching"]))
    rows = by_stratum(table_of(effect, noise=0.3), objects_of(**columns), "m", "a", "b")
    apart = rows[rows["half"] == "upper - lower"].set_index("stratum")
    assert apart.loc["touching", "low"] > 0.4 and apart.loc["touching", "high"] < 0.6
    for name in {*STRATA} - {"touching"}:
        assert abs(apart.loc[name, "value"]) < 0.12, name


def test_other_pairs_do_not_count():
    effect = np.array([[1.0, 2.0], [3.0, 4.0]])
    area = objects_of(area=np.array([[0.1, 0.2], [0.3, 0.4]]))
    table = table_of(effect)
    alone = table.assign(set_size=1, m=99.0, image_index=table["image_index"] + 7)
    guessed = table.assign(in_annotated=False, m=-99.0)
    unknown = table[table["label"] == 0].assign(label=5, m=np.nan)
    more = by_stratum(pd.concat([table, alone, guessed, unknown]), area, "m", "a", "b")
    pd.testing.assert_frame_equal(more, by_stratum(table, area, "m", "a", "b"))
