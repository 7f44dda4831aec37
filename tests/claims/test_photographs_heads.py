"""Verdicts on the study of photographs about its two heads: at both rates, with every seed."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score

from cam_utils import claims
from tests.claims.study_runs import SEEDS, VALUES, of, pairs, study


def two_heads(rates=(0.1, 1.0)):
    """Return the pairs of both heads under the rates: the kernel-usage head's values are 0.1 higher, at 1.0 0.2."""
    raised = {rate: {m: v + 0.1 * (i + 1) for m, v in VALUES.items()} for i, rate in enumerate(rates)}
    tables = [pairs("linear", rate) for rate in rates]
    tables += [pairs("kernel-usage", rate, values=raised[rate]) for rate in rates]
    return pd.concat(tables, ignore_index=True)


def states(shape=(3, 40)):
    """Return heads.pt: every fit's head with weights of its own."""
    fits = [
        f"{head}-{rate}-s{seed}" for head in ("linear", "kernel-usage") for rate in ("0.1", "1") for seed in SEEDS
    ]
    weights = torch.randn((len(fits), *shape), generator=torch.Generator().manual_seed(0))
    return {
        fit: {"weight": weight, "bias": torch.zeros(shape[0])} for fit, weight in zip(fits, weights, strict=True)
    }


def positive_mass(weight):
    return 100 * float(weight.clamp(min=0).sum() / weight.abs().sum())


def test_heads_are_compared_at_equal_rates_and_at_the_papers_own(tmp_path):
    stored = states()
    stored["kernel-usage-1-s2"]["weight"] = -stored["kernel-usage-1-s2"]["weight"].abs()  # of a seed, all negative
    judged = claims.judge([study(tmp_path / "a", two_heads(), heads=stored)])
    recipe = "msrc, rates 0.1 (linear) and 1 (kernel-usage)"
    found = of(judged, "C11").loc["the kernel-usage head raises %IC of MinMax"].set_index("setting")
    assert found["value"].to_dict() == pytest.approx({"msrc, rate 0.1": 10, "msrc, rate 1": 20, recipe: 20})
    assert set(found["head"]) == {"both"} and set(found["n_seeds"]) == {3}
    # Of the effective weights of Eq. 15, seed by seed and by hand (in single precision).
    masses = {rate: [] for rate in ("0.1", "1")}
    for seed in SEEDS:
        masses["0.1"].append(positive_mass(stored[f"linear-0.1-s{seed}"]["weight"]))
        raw = stored[f"kernel-usage-1-s{seed}"]["weight"]
        masses["1"].append(positive_mass(raw * raw.exp() / raw.exp().sum(0)))
    weights = of(judged, "C19", setting=recipe)
    assert len(weights) == 6 and set(weights["n_seeds"]) == {3}
    share = weights.loc["most of its sum of |w| is positive (50% if symmetric around zero)"]
    assert share["value"] == pytest.approx(np.mean(masses["1"])) and share["seed_low"] == 0
    assert share["verdict"] == "undecided" and share["reason"] == "1 of 3 seeds lies on the other side"
    more = weights.loc["more of the kernel-usage head's sum of |w| is positive"]
    apart = np.subtract(masses["1"], masses["0.1"])
    assert more["value"] == pytest.approx(apart.mean(), abs=1e-3) and more["verdict"] == "undecided"
    assert [more["seed_low"], more["seed_high"]] == pytest.approx([apart.min(), apart.max()], abs=1e-3)
    equal = of(judged, "C19", setting="msrc, rate 0.1")
    assert equal.loc["more of the kernel-usage head's sum of |w| is positive", "verdict"] == "holds"
    shared = equal.loc["its labels share fewer of their ten strongest kernels, where positive for both"]
    assert shared["reason"].endswith("lists of any signs share 2.5 by chance and 0 at least")  # 100 / 40; 30 places


def test_without_a_heads_weights_nothing_is_said_of_them(tmp_path):
    stored = states()
    del stored["linear-1-s2"]
    judged = claims.judge([study(tmp_path / "a", two_heads(), heads=stored)])
    assert set(judged.loc[judged["claim"] == "C19", "setting"]) == {
        "msrc, rate 0.1", "msrc, rates 0.1 (linear) and 1 (kernel-usage)",
    }  # fmt: skip
    assert set(of(claims.judge([study(tmp_path / "b", two_heads())]), "C19")["verdict"]) == {"not run"}


def test_an_effect_is_mixed_only_if_every_seed_agrees(tmp_path):
    """The kernel-usage head raises CAM and lowers the MinMax forms, one of three seeds raises them, too."""
    table = two_heads(rates=(0.1,))
    forms = table["method"].isin(["minmax-cam", "d-minmax-cam"]) & (table["head"] == "kernel-usage")
    metrics = ["average_drop", "average_retention_others"]
    table.loc[forms, metrics] -= 0.2  # 0.1 above becomes 0.1 below
    (found,) = of(claims.judge([study(tmp_path / "a", table)]), "C12").to_dict("records")
    assert (found["value"], found["verdict"], found["n_seeds"]) == (2, "holds", 3)
    assert (found["seed_low"], found["seed_high"]) == (2, 2) and found["reason"].endswith("2 fall, 2 rise")
    table.loc[forms & (table["seed"] == 1), metrics] += 0.2
    (found,) = of(claims.judge([study(tmp_path / "b", table)]), "C12").to_dict("records")
    assert (found["seed_low"], found["seed_high"], found["verdict"]) == (0, 2, "undecided")
    assert found["reason"] == "of 4 methods, beyond interval and seeds: 0 fall, 2 rise"


def test_f_scores_are_the_mean_of_those_of_scikit_learn(tmp_path):
    table = two_heads(rates=(0.1,))
    draws = np.random.default_rng(0).random((2, 3, 24, 3)) > 0.4
    head, image = (table["head"] == "kernel-usage").to_numpy(int), table["image_index"].to_numpy()
    table["in_predicted"] = draws[head, table["seed"], image, table["label"]]
    truth = np.zeros((24, 3), bool)
    truth[image, table["label"]] = True
    f = [[f1_score(truth, draws[h, s] & truth, average="weighted") for s in SEEDS] for h in (0, 1)]
    apart = 100 * np.subtract(f[1], f[0])
    found = of(claims.judge([study(tmp_path / "a", table)]), "C18").iloc[0]
    assert found["value"] == pytest.approx(apart.mean()) and found["n_images"] == 24
    assert [found["seed_low"], found["seed_high"]] == pytest.approx([apart.min(), apart.max()])
