"""Fixtures of trainings that are killed."""

import pytest

from tests.networks.killed import Reads, kill


@pytest.fixture
def reads(monkeypatch):
    """Counts the images that are read, and kills at the one that it is told."""
    return Reads(monkeypatch, kill)
