"""A notebook of one's own in a grid: what is wrong with it is one sentence that names it."""

import json

import pytest

from workflow.batch import grid


def cells(**changed):
    """The text of a notebook whose one cell is of parameters."""
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": ["x = 1"]} | changed
    return json.dumps({"cells": [cell]}).encode()


NO_NOTEBOOKS = (
    b"", b"{", b"\xff\xfe", b"[]", b"{}", b"null", b"[" * 99_999, b'{"cells": 3}', b'{"cells": [3]}',
    b'{"cells": [{}]}', cells(source=3), cells(metadata=None),
)  # fmt: skip


@pytest.mark.parametrize("content", NO_NOTEBOOKS)
def test_a_notebook_of_ones_own_that_is_none_is_named(tmp_path, content):
    (tmp_path / "own.ipynb").write_bytes(content)
    block = {"chapter": "own", "notebook": str(tmp_path / "own.ipynb")}
    (tmp_path / "grid.yaml").write_text(json.dumps({"runs": [block]}))
    with pytest.raises(ValueError, match=r"^grid\.yaml, block 1 of its runs: .*own\.ipynb is no notebook: "):
        grid.read(tmp_path / "grid.yaml")


@pytest.mark.parametrize("source", ["x = ", "x = f(1)", "x, y = 1, 2", "a.b = 2", "x = " + "(" * 500])
def test_parameters_of_ones_own_notebook_that_are_none_are_named(tmp_path, source):
    (tmp_path / "own.ipynb").write_bytes(cells(source=[source]))
    with pytest.raises(ValueError, match=r"own\.ipynb has parameters that are not of the form name = value"):
        grid.defaults(tmp_path / "own.ipynb")
