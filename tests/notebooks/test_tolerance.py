"""nbval with tolerance, on a notebook whose stored outputs are off by known amounts."""

import shutil
import subprocess
import sys

import nbformat

from tests.conftest import ROOT


def test_last_digits_may_differ_and_nothing_else(tmp_path):
    shutil.copy(ROOT / "notebooks" / "conftest.py", tmp_path)
    stored = [("1.24", "1.25"), ("1.23", "1.25"), ("'holds 7'", "fails 7"), ("8", "9"), ("8", "9")]
    book = nbformat.v4.new_notebook()
    for value, text in stored:
        output = nbformat.v4.new_output("stream", name="stdout", text=f"{text}\n")
        cell = nbformat.v4.new_code_cell(f"print({value})", outputs=[output], execution_count=1)
        cell.metadata["tags"] = ["nbval-check-output"]
        book.cells.append(cell)
    book.cells[-1].metadata["nbval_tolerance"] = 1.0
    nbformat.write(book, tmp_path / "off.ipynb")
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "--nbval-lax", "--nbval-current-env", "-n0"]
    done = subprocess.run([*command, str(tmp_path / "off.ipynb")], cwd=ROOT, capture_output=True, text=True)
    outcome = [line.split()[0] for line in done.stdout.splitlines() if line.startswith(("PASSED", "FAILED"))]
    assert sorted(outcome) == ["FAILED"] * 3 + ["PASSED"] * 2, done.stdout[-2000:]
    passed = [line for line in done.stdout.splitlines() if line.startswith("PASSED")]
    assert [line.rsplit(" ", 1)[1] for line in passed] == ["0", "4"]
