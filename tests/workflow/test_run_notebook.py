"""The notebook runner: parameters checked first, failures readable, nothing half-written."""

import nbformat
import papermill
import pytest

from workflow import ROOT, RunFailed
from workflow.run_notebook import main, run


@pytest.fixture
def notebook(tmp_path):
    cells = [
        nbformat.v4.new_code_cell("steps = 3\nname = 'a'", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("assert steps < 10, 'too many steps'"),
        nbformat.v4.new_code_cell("print(steps * 2)"),
    ]
    path = tmp_path / "little.ipynb"
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    return path


def test_a_run_takes_its_parameters(notebook, tmp_path):
    out = run(notebook, tmp_path / "runs" / "out.ipynb", {"steps": 4}, progress=False)
    assert nbformat.read(out, as_version=4).cells[-1].outputs[0].text.strip() == "8"
    assert [p.name for p in out.parent.iterdir()] == ["out.ipynb"]


def test_an_unknown_parameter_is_refused_before_anything_runs(notebook, tmp_path):
    with pytest.raises(ValueError, match="unknown parameter 'step'; did you mean 'steps'"):
        run(notebook, tmp_path / "runs" / "out.ipynb", {"step": 4}, progress=False)
    assert not (tmp_path / "runs").exists()


def test_a_failing_cell_is_named_and_leaves_no_result(notebook, tmp_path):
    out, logs = tmp_path / "runs" / "out.ipynb", tmp_path / "logs"
    with pytest.raises(RunFailed, match=r"little\.ipynb cell 3: AssertionError: too many steps") as failure:
        run(notebook, out, {"steps": 40}, logs=logs, progress=False)
    assert "\n" not in str(failure.value)
    assert not out.parent.exists()
    (log,) = logs.iterdir()
    assert str(log) in str(failure.value)


def test_a_failing_cell_leaves_an_earlier_result_as_it_was(notebook, tmp_path):
    out = run(notebook, tmp_path / "out.ipynb", logs=tmp_path / "logs", progress=False)
    before = out.read_bytes()
    with pytest.raises(RunFailed):
        run(notebook, out, {"steps": 40}, logs=tmp_path / "logs", progress=False)
    assert out.read_bytes() == before


def test_two_runs_store_the_same_bytes(notebook, tmp_path):
    first, second = (run(notebook, tmp_path / f"{i}.ipynb", {"steps": 4}, progress=False) for i in range(2))
    assert first.read_bytes() == second.read_bytes()


def test_the_command_line_reads_yaml_and_fails_in_one_line(notebook, tmp_path, capsys):
    out = tmp_path / "out.ipynb"
    main([str(notebook), str(out), "-p", "steps", "5", "-p", "name", "[a, b]"])
    injected = next(c for c in nbformat.read(out, 4).cells if c.id == "injected-parameters")
    assert 'steps = 5\nname = ["a", "b"]' in injected.source
    assert capsys.readouterr().out.strip() == str(out)
    for wrong in (["-p", "stepz", "5"], ["-p", "steps", "50", "--logs", str(tmp_path / "logs")]):
        with pytest.raises(SystemExit) as stopped:
            main([str(notebook), str(tmp_path / "none.ipynb"), *wrong])
        assert stopped.value.code.startswith("run_notebook: ") and "\n" not in stopped.value.code
    assert not (tmp_path / "none.ipynb").exists()


def test_the_chapter_itself_refuses_an_unknown_parameter_of_plain_papermill(tmp_path):
    chapter = str(ROOT / "notebooks" / "minmax_cam.ipynb")
    with pytest.raises(
        papermill.PapermillExecutionError, match="unknown parameter 'datset'; did you mean 'dataset'"
    ):
        papermill.execute_notebook(chapter, str(tmp_path / "out.ipynb"), {"datset": "x"}, progress_bar=False)
