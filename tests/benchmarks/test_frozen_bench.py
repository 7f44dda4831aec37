"""The benchmark of cached features does what it says, on a network that takes no time."""

import frozen as bench
import pytest


def test_ratios_follow_from_the_seconds(monkeypatch):
    spent = iter([6.0, 2.0, 0.01])
    monkeypatch.setattr(bench, "timed", lambda work: (work(), next(spent))[1])
    found = bench.measured("digits", images=8, rounds=1)
    assert found["ratio of one head"] == pytest.approx(30 * 6 / (2 + 30 * 0.01))
    assert found["ratio of all heads"] == pytest.approx(30 * 30 * 6 / (2 + 30 * 30 * 0.01))
    assert found["seconds per image, epoch"] == pytest.approx(6 / 8)
