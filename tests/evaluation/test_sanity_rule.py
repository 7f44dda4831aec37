"""The rule on tables whose answer is known: what passes, fails, stays undecided, and what no measure can see."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cam_utils.evaluation import paired_tests, sanity, sanity_rule
from cam_utils.evaluation.similarity import SIMILARITIES


def table_of(method, s, s0, own=0.0, images=24, spread=0.05):
    """Return a table: at the stage "all" similarities around s and nulls s0; trained maps have the null `own`."""
    rng = np.random.default_rng(0)
    rows = []
    for (stage, value, null), image in product(((sanity.TRAINED, 1.0, own), ("all", s, s0)), range(images)):
        noise = 0.0 if stage == sanity.TRAINED else rng.normal(0, spread)
        row = {"image_index": image, "label": 1, "method": method, "stage": stage, "draw": 0}
        for name in SIMILARITIES:
            row |= {name: value + noise, f"{name} null": null}
        rows.append(row)
    return pd.DataFrame(rows)


CASES = {
    "forgets": ((0.2, 0.2), "passes"),
    "keeps what another image does not have": ((0.5, 0.2), "fails"),
    "edges": ((1.0, 0.1), "fails"),
    "keeps 0.02 more than another image": ((0.22, 0.2), "passes"),  # within the margin
    "at the margin": ((0.3, 0.2), "undecided"),
    "opposite": ((-0.5, 0.2), "passes"),
    "one map for all": ((1.0, 1.0, 1.0), "fails"),
    "noise": ((0.0, 0.0), "passes"),  # what no such check finds out, and the chapter says so
}


def test_the_rule_on_cases_whose_answer_is_known():
    table = pd.concat([table_of(name, *numbers) for name, (numbers, _) in CASES.items()])
    judged = sanity_rule.judge(table, "all")
    found = sanity_rule.overall(judged).set_index("method")["verdict"].to_dict()
    assert found == {name: expected for name, (_, expected) in CASES.items()}
    for name, ((s, s0, *own), _) in CASES.items():
        for _, row in judged[judged["method"] == name].iterrows():
            assert row["excess"] == pytest.approx(s - s0, abs=0.05) and row["low"] <= row["excess"] <= row["high"]
            assert row["n_images"] == row["n_pairs"] == 24
            assert row["own"] == pytest.approx(1 - (own or [0.0])[0])
    assert set(judged.loc[judged["method"] == "one map for all", "verdict"]) == {"blind"}


def test_few_images_decide_nothing_and_undefined_pairs_are_left_out():
    table = table_of("a", 0.9, 0.1, images=21)
    assert set(sanity_rule.judge(table, "all")["verdict"]) == {"fails"}
    undefined = table.assign(spearman=table["spearman"].where(table["image_index"] > 1))
    row = sanity_rule.judge(undefined, "all").iloc[0]
    assert (row["measure"], row["n_images"], row["verdict"]) == ("spearman", 19, "undecided")
    row = sanity_rule.judge(table.assign(spearman=np.nan), "all").iloc[0]
    assert (row["n_images"], row["verdict"]) == (0, "undecided")
    with pytest.raises(ValueError, match="unknown stage 'al'; did you mean 'all'"):
        sanity_rule.judge(table, "al")


def test_draws_are_averaged_within_a_pair_and_pairs_within_an_image():
    table = table_of("a", 0.2, 0.2, spread=0.0)
    later = table[table["stage"] == "all"].assign(draw=1, spearman=0.6)
    third = later.assign(label=2, draw=0, spearman=0.9)  # a second pair: (0.4 + 0.9) / 2, not the mean of all rows
    row = sanity_rule.judge(pd.concat([table, later, third]), "all").iloc[0]
    assert row["similarity"] == pytest.approx(0.65) and row["n_pairs"] == 48 and row["n_images"] == 24


def test_one_measure_that_recognises_a_map_is_enough_to_fail():
    table = table_of("a", 0.2, 0.2)
    judged = sanity_rule.judge(table.assign(hog=table["hog"] + 0.5), "all")
    assert judged.set_index("measure")["verdict"].to_dict() == {
        "spearman": "passes",
        "ssim": "passes",
        "hog": "fails",
    }
    row = sanity_rule.overall(judged).iloc[0]
    assert (row["verdict"], row["measure"]) == ("fails", "hog")


def test_a_wider_margin_passes_more():
    table = table_of("a", 0.5, 0.2)
    found = [sanity_rule.judge(table, "all", margin=m).iloc[0]["verdict"] for m in (0.1, 0.5)]
    assert found == ["fails", "passes"]


def test_the_test_is_that_of_scipy_over_all_signs():
    values = np.random.default_rng(1).normal(0.3, 1.0, 10)
    exact = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
    ).pvalue  # 2^10 signs
    assert paired_tests.sign_flip(values) == pytest.approx(exact, abs=0.01)


def test_holm_is_that_of_its_paper():
    p = np.array([0.04, 0.001, 0.03, 0.5])
    # sorted: 0.001 x 4, 0.03 x 3, 0.04 x 2 (raised to 0.09), 0.5
    assert paired_tests.holm(p).round(6).tolist() == [0.09, 0.004, 0.09, 0.5]
