"""One process at a time, for work that several could start and one should do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no such locks: there nothing is held
    fcntl = None


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the file's lock; it is free again when this process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
