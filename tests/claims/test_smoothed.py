"""Verdicts on SS-CAM's claims: by hand where they are known, and the rule of their tests against scipy's."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cam_utils import claims
from cam_utils.claims import effects
from cam_utils.claims.effects import Effect, judged
from tests.claims.chapter_runs import pairs, verdicts, write

VALUES = {"grad-cam": 0.5, "grad-cam++": 0.4, "score-cam": 0.2, "printed": 0.3, "approach-1": 0.9}
PARAMETERS = {"dataset": "digits", "network": None, "seed": 0}


def table(n, **columns):
    flat = {"energy_in_box": np.nan, "picture_drop": 0.5, "picture_increase": 0.0, "is_zero": False}
    return pairs(n, values=VALUES, set_size=1, **flat | columns)


def curves(n, **ends):
    rows = [
        {"form": "printed", "sigma": sigma, "draws": draws, "image_index": image, "zero": False}
        | {name: values[at] for name, values in ends.items()}
        for sigma, draws, at in ((0.1, 10, 0), (4.0, 10, 1), (8.0, 10, 1), (4.0, 1, 0), (4.0, 35, 1))
        for image in range(n)
    ]
    return pd.DataFrame(rows)


def test_readings_against_other_methods_by_hand(tmp_path):
    found = claims.judge([write(tmp_path / "a", "ss_cam", PARAMETERS, pairs=table(24))])
    assert verdicts(found, "S1") == {
        "as printed: lower AD than Grad-CAM": "holds",
        "as printed: lower AD than Grad-CAM++": "holds",
        "as printed: lower AD than Score-CAM": "fails",
    }
    assert set(verdicts(found, "S1'").values()) == {"undecided"}  # equal in every image
    assert list(verdicts(found, "S2").values()) == ["fails", "fails", "holds"]
    assert list(verdicts(found, "S3").values()) == ["not run"]  # no boxes
    assert verdicts(found, "S4") == {"as printed: lower AD with the maximum of the draws than Approach 1": "holds"}
    first = found[found["claim"] == "S1"].iloc[0]
    assert first["value"] == pytest.approx(-20) and first["n_images"] == 24 and first["reason"] == "p < 0.001"


def test_fewer_than_twenty_images_decide_nothing(tmp_path):
    found = claims.judge([write(tmp_path / "a", "ss_cam", PARAMETERS, pairs=table(19))])
    assert set(found[found["claim"].isin(["S1", "S2", "S4"])]["verdict"]) == {"undecided"}
    assert set(found[found["claim"] == "S1"]["reason"]) == {"19 images, fewer than 20"}


def test_zero_maps_have_the_worst_energy_and_are_counted(tmp_path):
    rows = table(24, energy_in_box=0.5)
    own = rows["method"] == "printed"
    rows.loc[own, "energy_in_box"] = 0.6
    zero = own & (rows["image_index"] < 12)
    rows.loc[zero, ["energy_in_box", "is_zero"]] = [np.nan, True]
    found = claims.judge([write(tmp_path / "a", "ss_cam", PARAMETERS, pairs=rows)])
    third = found[found["claim"] == "S3"]
    assert third["value"].tolist() == pytest.approx([-20.0] * 3)  # (0 + 0.6) / 2 - 0.5
    assert third["reason"].str.contains("24 zero maps count as the worst").all()  # of two labels
    alone = claims.judge([write(tmp_path / "b", "ss_cam", PARAMETERS, pairs=rows[~own | (rows["label"] == 0)])])
    assert alone[alone["claim"] == "S3"]["reason"].str.contains("12 zero maps").all()


def test_curves_answer_s5_and_s6(tmp_path):
    rows = curves(24, r_score_cam=(0.9, 0.1), r_grad_cam=(0.2, 0.5), r_plain=(0.5, 0.52), energy=(0.3, 0.4))
    found = claims.judge([write(tmp_path / "a", "ss_cam", PARAMETERS, curves=rows)])
    assert list(verdicts(found, "S5").values()) == ["holds", "holds"]
    fifth = found[found["claim"] == "S5'"].iloc[0]
    assert (
        fifth["verdict"] == "undecided"
        and fifth["reason"] == "p < 0.001, but less than 0.05, the least of interest"
    )
    assert verdicts(found, "S6") == {"as printed: N = 35 has more energy in the object than N = 1": "holds"}
    assert found[found["claim"] == "S6"]["value"].item() == pytest.approx(10)


def test_mosaics_answer_s3_of_the_quarters(tmp_path):
    mosaics = pairs(24, values={"printed": 0.25, "grad-cam": 0.5}).assign(is_zero=False)
    mosaics = mosaics.assign(energy_in_mask=mosaics["average_drop"])
    run = write(tmp_path / "a", "smoothed_photographs", PARAMETERS | {"dataset": "imagenet"}, mosaics=mosaics)
    found = claims.judge([run])
    assert verdicts(found, "S3'") == {"as printed: more energy in its quarter of a mosaic than Grad-CAM": "fails"}


def test_p_is_that_of_random_signs_corrected_by_holm():
    rng = np.random.default_rng(0)
    samples = [rng.normal(mean, 0.05, 40) for mean in (0.0, 0.02, 0.03, 0.2)]
    by_scipy = [
        stats.permutation_test((x,), np.mean, permutation_type="samples", n_resamples=20_000, rng=1).pvalue
        for x in samples
    ]
    order = np.argsort(by_scipy)
    adjusted, running = np.empty(4), 0.0
    for rank, i in enumerate(order):
        running = max(running, by_scipy[i] * (4 - rank))
        adjusted[i] = min(1.0, running)
    rows = judged({}, [Effect("S1", str(i), x, +1, "AD") for i, x in enumerate(samples)])
    for row, sample, p in zip(rows, samples, adjusted, strict=True):
        decided = p < effects.ALPHA and abs(100 * sample.mean()) >= effects.LEAST["AD"]
        assert abs(p - effects.ALPHA) > 0.01, "the example must not turn on the draw"
        assert row["verdict"] == ("holds" if decided else "undecided"), (row, p)


def test_one_image_does_not_decide():
    values = np.zeros(24)
    values[0] = 2.0  # a mean of 8 points, and an interval that a bootstrap may well leave above zero
    assert judged({}, [Effect("S1", "a", values, +1, "AD")])[0]["verdict"] == "undecided"
