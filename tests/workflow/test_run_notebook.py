"""The notebook runner: parameters checked first, failures readable, nothing half-written."""

import errno
import os
import subprocess
import sys

import nbformat
import papermill
import pytest

from cam_utils.parameters import CHAPTERS
from workflow import ROOT, RunFailed
from workflow.run_notebook import main, read, run


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


def injected(out):
    """Return the parameters that a notebook was executed with."""
    (cell,) = (c for c in nbformat.read(out, 4).cells if c.id == "injected-parameters")
    found = {}
    exec(cell.source, found)
    return {name: value for name, value in found.items() if name != "__builtins__"}


def refusal(*arguments):
    """Return the line that the command line ends with."""
    with pytest.raises(SystemExit) as stopped:
        main([str(each) for each in arguments])
    assert str(stopped.value.code).startswith("run_notebook: ") and "\n" not in stopped.value.code
    return stopped.value.code


def test_the_command_line_fails_in_one_line(notebook, tmp_path, capsys):
    out, logs = tmp_path / "out.ipynb", tmp_path / "logs"
    main([str(notebook), str(out), "-p", "steps", "5", "-p", "name", "[a, b]"])
    assert injected(out) == {"steps": 5, "name": "[a, b]"}
    assert capsys.readouterr().out.strip() == str(out)
    none = tmp_path / "none.ipynb"
    assert "unknown parameter 'stepz'" in refusal(notebook, none, "--logs", logs, "-p", "stepz", 5)
    assert "expected steps as a whole number" in refusal(notebook, none, "--logs", logs, "-p", "steps", "many")
    assert not logs.exists()
    assert "too many steps" in refusal(notebook, none, "--logs", logs, "-p", "steps", 50)
    assert not none.exists()


TEXTS = [
    "runs/test #2",
    "2024",
    "2024-05-01",
    "Rome: day 1",
    "1e5",
    "[old] cats",
    "~",
    "4.10",
    "[no, yes]",
    "yes",
    "no",
    "on",
    "off",
    "null",
    "None",
    "true",
    "0x10",
    "1_000",
    "-1",
    "-p",
    "--logs",
    "{a: 1}",
    "a, b",
    "'x'",
    '"x"',
    "\\",
    "é",
    "$HOME",
    "%s",
    "!x",
    "&x",
    "*x",
    ".inf",
    "12:30",
]


def test_text_stays_text_whatever_it_looks_like(notebook, tmp_path):
    """In a notebook of one's own the default says what a parameter is."""
    for text in [*TEXTS, "", " ", "two\nlines"]:
        assert read(notebook, [("name", text)]) == {"name": text}
    odd = "two\nlines {steps} '\"\\ #2: [é]"
    main([str(notebook), str(tmp_path / "out.ipynb"), "-p", "name", odd, "-p", "steps", "4"])
    assert injected(tmp_path / "out.ipynb") == {"name": odd, "steps": 4}


def test_what_a_text_means_in_a_chapter_is_what_its_parameter_is():
    model, smoothed = ROOT / "notebooks" / "your_model.ipynb", ROOT / "notebooks" / "ss_cam.ipynb"
    for text in TEXTS:
        meant = None if text in ("null", "None") else text
        for name in ("images", "output", "weights"):
            assert read(model, [(name, text)]) == {name: meant}
        assert read(model, [("network", text)]) == {"network": text}
    for name, text, meant in (
        ("classes", "[no, yes]", ["no", "yes"]),
        ("classes", "on,off", ["on", "off"]),
        ("classes", "[2024, 4.10, 1e5]", ["2024", "4.10", "1e5"]),
        ("classes", "names.txt", "names.txt"),
        ("classes", "20", 20),
        ("layer", "4.10", "4.10"),
        ("layer", "features.1, features.2", ["features.1", "features.2"]),
        ("labels", "a,b", ["a", "b"]),
        ("labels", "[207, tabby, no]", [207, "tabby", "no"]),
        ("labels", "{a.jpg: [no, 3], b: ~}", {"a.jpg": ["no", 3], "b": ["~"]}),
        ("mean", "[0.5, .5, 5e-1]", [0.5, 0.5, 0.5]),
        ("limit", "null", None),
        ("output", "./null", "./null"),
        ("output", "~/runs", os.path.expanduser("~/runs")),
    ):
        assert read(model, [(name, text)]) == {name: meant}
    assert read(smoothed, [("steps", "1,5"), ("sigma", "1e-1")]) == {"steps": [1, 5], "sigma": 0.1}
    for name, text in (
        ("limit", "1.5"),
        ("limit", "1e2"),
        ("limit", "~"),
        ("sigma", "nan"),
        ("sigma", "inf"),
        ("sigma", "1e999"),
        ("steps", "1, x"),
        ("seed", "null"),
        ("data_root", ""),
        ("limit", "yes"),
    ):
        with pytest.raises(ValueError, match=f"expected .*{name} as .*, got "):
            read(smoothed, [(name, text)])


@pytest.mark.parametrize(
    ("default", "text", "meant"),
    [
        ("1", "4.5", 4.5), ("1", "-3", -3), ("0.5", "2", 2), ("False", "yes", True),
        ("[]", "[1, 2.5, no]", [1, 2.5, "no"]),
        ("['a']", "no, 1", ["no", "1"]), ("{}", "{a: [1, b]}", {"a": [1, "b"]}), ("None", "3", 3),
        ("None", "a: b", "a: b"),
        ("None", "2024-05-01", "2024-05-01"), ("None", "[no, 1]", ["no", 1]), ("None", "null", None),
        ("1 + 1", "x", "x"), ("None", "NaN", "NaN"),
        ("'a'", "null", "null"),
    ],
)  # fmt: skip
def test_a_default_says_what_a_parameter_of_ones_own_is(notebook, default, text, meant):
    book = nbformat.read(notebook, 4)
    book.cells[0].source = f"own = {default}  # a comment"
    nbformat.write(book, notebook)
    assert read(notebook, [("own", text)]) == {"own": meant}


WRONG = (
    ("ss_cam", "limit", "1.5"), ("ss_cam", "output", "file"), ("sanity_checks", "order", "cascades"),
    ("minmax_cam", "dataset", "voc2007"), ("representative_cam", "representatives", "10"),
    ("comparison", "head", "both"),
    ("your_model", "images", "2024"), ("your_model", "std", "0"), ("minmax_cam", "weights", "none.pth"),
)  # fmt: skip


def test_a_chapter_is_not_begun_and_nothing_is_written_where_a_parameter_is_wrong(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    copy = tmp_path / "copy.ipynb"  # is the chapter still
    for chapter, name, value in WRONG:
        copy.write_bytes((ROOT / "notebooks" / f"{chapter}.ipynb").read_bytes())
        assert name in refusal(copy, "out/out.ipynb", "--logs", "logs", "-p", name, value)
    copy.unlink()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_no_notebook_can_be_written_to_is_refused_before(notebook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for out in ("folder", "file/out.ipynb", "x" * 250, f"{'y' * 300}/out.ipynb"):
        assert "expected OUT" in refusal(notebook, out, "--logs", "logs")
    assert "no notebook at folder" in refusal("folder", "out.ipynb")
    assert "file is no notebook" in refusal("file", "out.ipynb")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "little.ipynb"]


def test_notebooks_may_have_any_name(notebook, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    odd = "-{steps} 'a' #2: [é]"
    (tmp_path / odd).mkdir()
    source = notebook.rename(tmp_path / odd / "-in {x}.ipynb")
    main(["-p", "steps", "4", "--logs", "{logs}", "--", f"{odd}/{source.name}", f"{odd}/-out {{y}}.ipynb"])
    assert sorted(path.name for path in (tmp_path / odd).iterdir()) == ["-in {x}.ipynb", "-out {y}.ipynb"]
    assert injected(tmp_path / odd / "-out {y}.ipynb") == {"steps": 4}
    assert capsys.readouterr().out.strip() == f"{odd}/-out {{y}}.ipynb"
    assert "no notebook at -p" in refusal("--", "-p", "out.ipynb")


def test_the_parameters_of_a_notebook_are_listed(notebook, capsys):
    main([str(notebook), "--parameters"])
    assert capsys.readouterr().out.splitlines() == ["steps = 3", "name = 'a'"]
    for chapter, declared in CHAPTERS.items():
        main([str(ROOT / "notebooks" / f"{chapter}.ipynb"), "--parameters"])
        lines = capsys.readouterr().out.splitlines()
        assert [line.split(" = ")[0] for line in lines if not line.startswith(" ")] == list(declared)
        assert all(f"    {parameter.meaning[:20]}" in "\n".join(lines) for parameter in declared.values())


@pytest.mark.parametrize("arguments", [[], ["a.ipynb"], ["a.ipynb", "b.ipynb", "-p", "x"], ["a", "b", "c"]])
def test_a_command_that_lacks_something_says_what(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "error: " in capsys.readouterr().err


def test_the_chapter_itself_refuses_an_unknown_parameter_of_plain_papermill(tmp_path):
    chapter = str(ROOT / "notebooks" / "minmax_cam.ipynb")
    with pytest.raises(
        papermill.PapermillExecutionError, match="unknown parameter 'datset'; did you mean 'dataset'"
    ):
        papermill.execute_notebook(chapter, str(tmp_path / "out.ipynb"), {"datset": "x"}, progress_bar=False)


def test_a_full_disk_is_a_sentence_that_names_the_file(monkeypatch, tmp_path):
    def full(*_args, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(papermill, "execute_notebook", full)
    notebook, out = str(ROOT / "notebooks" / "your_model.ipynb"), tmp_path / "out.ipynb"
    with pytest.raises(SystemExit, match=r"out\.ipynb, or what is executed .* cannot be written: No space left"):
        main([notebook, str(out), "--logs", str(tmp_path / "logs")])
    assert not out.exists()


def test_running_a_notebook_compiles_no_grammar_of_addresses():
    """It took more than half of the time that the imports of every run of a batch take."""
    code = "import sys, workflow.run_notebook; print('nbformat' in sys.modules, 'lark' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
