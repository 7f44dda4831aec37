"""Around the book: batches of its chapters, its pages, its studies. It works in a checkout of the project."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # the project's folder


class RunFailed(RuntimeError):
    """One line that says by itself why a notebook or a run failed."""
