"""The bootstrap against scipy's and against theory, sums by hand, texts, and the facts about metrics."""

import re

import numpy as np
import pytest
from scipy import stats

from cam_utils.evaluation import bootstrap, facts
from cam_utils.files import PACKAGE


def test_every_resample_has_as_many_images_as_the_sample():
    drawn = bootstrap.draws(7, resamples=50, seed=3)
    assert drawn.shape == (51, 7) and (drawn.sum(1) == 7).all() and (drawn[0] == 1).all()
    np.testing.assert_array_equal(drawn, bootstrap.draws(7, resamples=50, seed=3))
    assert (drawn != bootstrap.draws(7, resamples=50, seed=4)).any()


def _reference_interval(values):
    """Return the percentile interval of the mean as scipy draws it."""
    found = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", random_state=1)
    return found.confidence_interval


@pytest.mark.parametrize("kind", ["weights", "indices"])
def test_the_interval_is_scipys(kind):
    values = np.random.default_rng(0).beta(2, 5, 80)
    by_weights = bootstrap.draws(80, resamples=4000) @ values / 80
    found = bootstrap.interval(by_weights if kind == "weights" else bootstrap.means(values, resamples=4000))
    expected = _reference_interval(values)
    assert found["value"] == pytest.approx(values.mean())
    width = expected.high - expected.low
    assert abs(found["low"] - expected.low) < 0.05 * width and abs(found["high"] - expected.high) < 0.05 * width
    assert width == pytest.approx(2 * 1.96 * values.std() / np.sqrt(80), rel=0.05)  # the central limit


def test_class_sums_add_up_what_every_resample_holds():
    rng = np.random.default_rng(0)
    image, label, values = rng.integers(0, 5, 30), rng.integers(0, 3, 30), rng.random(30)
    drawn = bootstrap.draws(5, resamples=4)
    expected = [
        [sum(row[i] * v for i, c, v in zip(image, label, values, strict=True) if c == k) for k in range(3)]
        for row in drawn
    ]
    np.testing.assert_allclose(bootstrap.class_sums(drawn, image, label, values, 3), expected)


def test_an_undefined_mean_has_no_interval_and_says_so():
    found = bootstrap.interval(np.full(4, np.nan))
    assert bootstrap.percent(found) == bootstrap.UNDEFINED
    assert bootstrap.percent({"value": 0.5, "low": np.nan, "high": np.nan}, digits=0, unit="%") == "50%"
    assert bootstrap.verdict(np.nan, np.nan, +1) == "undecided"


def test_the_book_says_of_every_metric_what_the_table_says():
    """A heading that the book does not have is a dead link; a sign that it does not share is a wrong verdict."""
    page = (PACKAGE.parent / "book" / "metrics.md").read_text()
    sections = {
        re.sub(r"\W+", "-", title.lower()): text for title, text in re.findall(r"^#+ (.+)\n([^#]*)", page, re.M)
    }
    for name, metric in facts.METRICS.items():
        assert metric.heading in sections, name
        if not metric.mean_of and "in_others" not in name:  # these two the book words otherwise
            assert ("High" if metric.wanted > 0 else "Low") + " is better" in sections[metric.heading], name
    assert set(facts.HARMONIC) == {"f1_minus", "f1_plus"}
    for first, second in facts.HARMONIC.values():  # both parts should go the same way
        assert facts.WANTED[first] == facts.WANTED[second]
