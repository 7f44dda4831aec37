"""The study of Score-CAM's approximations: its forms against the library's own calls, and what the page says."""

import numpy as np
import pytest
import torch
from scipy import stats

from cam_utils import data, maps
from cam_utils.evaluation import evaluate
from cam_utils.methods import registry
from cam_utils.networks import models
from workflow.site import fewer_forwards_part as part
from workflow.studies import fewer_forwards as study


@pytest.fixture(scope="module")
def table():
    scenes = data.load("digits", "val", size=96, limit=4)
    return study.measured(models.build("digits", 10, seed=2).eval(), scenes, folder=None, progress=False)


def test_every_form_is_the_method_with_its_option(table):
    scenes = data.load("digits", "val", size=96, limit=4)
    net = models.build("digits", 10, seed=2).eval()
    forms = {"exact": "score-cam", "channels 16": registry.method("score-cam", channels=16)}
    forms["clusters 32"] = registry.method("score-cam", clusters=32)
    theirs = evaluate.evaluate(net, scenes, forms, explained="annotated", upsample_first=True, progress=False)
    both = table.merge(theirs, on=["method", "image_index", "label"], suffixes=("", "_theirs"))
    assert len(both) == 3 * int(scenes.labels.sum())
    for metric in study.METRICS:
        np.testing.assert_allclose(both[metric], both[f"{metric}_theirs"], atol=1e-4)


def test_a_form_takes_no_more_forwards_than_it_says_and_the_exact_one_is_its_own_twin(table):
    for option, name, count, share, both in study.curves(table):
        assert name == f"{option} {count}" and (both["forwards"] <= count).all() and 0 < share <= 1
        assert len(both) == len(table) / len(study.forms())
    exact = table[table["method"] == study.EXACT]
    np.testing.assert_allclose(exact["correlation"].where(~exact["is_zero"].astype(bool), 1.0), 1.0)


def test_correlations_are_scipys():
    one, other = torch.rand(2, 5, 4, 3, generator=torch.Generator().manual_seed(0)).unbind(0)
    expected = [
        stats.pearsonr(a.flatten().numpy(), b.flatten().numpy()).statistic for a, b in zip(one, other, strict=True)
    ]
    np.testing.assert_allclose(study.correlations(one, other), expected, atol=1e-6)
    assert not study.correlations(maps.normalise(torch.zeros(2, 3, 3)), torch.rand(2, 3, 3)).any()


def test_the_page_shows_the_curves_and_the_cheapest_form_that_keeps_the_map(table, tmp_path):
    (tmp_path / "assets").mkdir()
    record = {"images": 4, "pairs": len(table) // len(study.forms()), "network": "digits", "git": "3c2bfa9fcf"}
    text = part.fewer_forwards_part(record, table, tmp_path / "assets")
    assert (tmp_path / "assets" / "speed-fewer-forwards.png").stat().st_size > 5_000
    for _, name, _, share, both in study.curves(table):
        if name in part.SHOWN:
            mean = both.groupby("image_index")["correlation"].mean().mean()
            assert f"{mean:.3f} [" in text and f"({100 * share:.0f}% of the exact ones)" in text
    assert "fig-speed-fewer-forwards" in text
    wrong = table.assign(correlation=table["correlation"] - 0.5)
    assert part.fewer_forwards_part(record, wrong, tmp_path / "assets") != text
