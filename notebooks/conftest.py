"""nbval compares stored outputs as tests/tolerance.py says."""

from tests import tolerance

tolerance.install()
