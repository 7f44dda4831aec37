"""The tree of all layouts that tests may damage."""

import pytest

from tests.data import damage


@pytest.fixture(scope="session")
def _clean(tmp_path_factory):
    root = tmp_path_factory.mktemp("clean")
    damage.write(root)
    return root


@pytest.fixture
def layouts(_clean, tmp_path):
    """All layouts in one folder: links to files, which `damage.put` replaces."""
    for path in sorted(_clean.rglob("*")):
        to = tmp_path / path.relative_to(_clean)
        to.mkdir(parents=True) if path.is_dir() else to.symlink_to(path)
    return tmp_path
