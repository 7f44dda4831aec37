"""A run of which no page can be made is named and left out, and the others are shown."""

import json
import re

import pandas as pd
import pytest

from cam_utils.runs import read_runs
from tests import fake_runs
from workflow.site import build, fit_runs, results_page, run_pages

CHAPTERS = ("minmax_cam", "ss_cam")


def record(folder, **changed):
    file = folder / "run.json"
    file.write_text(json.dumps({k: v for k, v in (json.loads(file.read_text()) | changed).items() if v != "gone"}))


def means(folder, **changed):
    file = folder / "means.csv"
    pd.read_csv(file).assign(**changed).to_csv(file, index=False)


DAMAGES = {
    "an empty record": (lambda f: (f / "run.json").write_text("{}"), "run.json: expected chapter and parameters"),
    "an empty file": (lambda f: (f / "run.json").write_text(""), "run.json: Expecting value"),
    "a cut record": (lambda f: (f / "run.json").write_text('{"chapter": "ss'), "run.json: Unterminated string"),
    "no text": (lambda f: (f / "run.json").write_bytes(b"\xff\xfe"), "run.json: 'utf-8' codec"),
    "a list": (lambda f: (f / "run.json").write_text("[1]"), r"run.json: expected an object, got \[1\]"),
    "an unknown chapter": (lambda f: record(f, chapter="../ss_cam"), "run.json: unknown chapter '../ss_cam'"),
    "no parameters": (lambda f: record(f, parameters="gone"), "run.json: .*missing: parameters"),
    "parameters in a list": (
        lambda f: record(f, parameters=[]),
        "run.json: expected parameters to be of type dict",
    ),
    "versions in a word": (lambda f: record(f, versions="2.0"), "run.json: expected versions to be of type dict"),
    "a time in words": (lambda f: record(f, wall_s="long"), "run.json: expected wall_s to be of type int or float"),
    "a revision of a number": (lambda f: record(f, git=3), "run.json: expected git to be of type str or NoneType"),
    "no dataset": (lambda f: record(f, parameters={"seed": 1}), "notebook.ipynb: KeyError: 'dataset'"),
    "no notebook": (lambda f: (f / "notebook.ipynb").unlink(), "notebook.ipynb: run bad has no executed notebook"),
    "a cut notebook": (lambda f: (f / "notebook.ipynb").write_text('{"cells": ['), "notebook.ipynb: "),
    "empty facts": (lambda f: (f / "facts.json").write_text(""), "facts.json: Expecting value"),
    "facts in a list": (lambda f: (f / "facts.json").write_text('["a"]'), "facts.json: "),
    "a cut table": (lambda f: (f / "pairs.parquet").write_bytes(b"PAR1"), "pairs.parquet: "),
    "a table of others": (
        lambda f: pd.DataFrame({"a": [1]}).to_parquet(f / "pairs.parquet"),
        "the tables that the claims read: KeyError: 'method'",
    ),
    "empty means": (lambda f: (f / "means.csv").write_text(""), "means.csv: No columns to parse"),
    "a column less": (lambda f: (f / "means.csv").write_text("table\nx\n"), "means.csv: KeyError"),
    "an unknown table": (lambda f: means(f, table="sscam_table99"), "means.csv: .*sscam_table99"),
    "means in words": (lambda f: means(f, value="high"), "means.csv: "),
    "no method": (
        lambda f: means(f, method=None),
        "means.csv: expected a table, a method and a metric in every row",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_is_named_with_its_file_and_left_out(damage, tmp_path):
    fake_runs.write(tmp_path, "good", seed=1)
    change, said = DAMAGES[damage]
    change(fake_runs.write(tmp_path, "bad"))
    runs, (why,) = fit_runs.read(tmp_path, chapters=CHAPTERS)
    assert [run.id for run in runs] == ["good"]
    with pytest.raises(ValueError, match=said):
        fit_runs.checked(tmp_path / "bad", CHAPTERS)
    assert why.startswith("Run bad is left out (") and why.endswith("make it again, or delete its folder.")
    assert str(tmp_path) not in why
    part = results_page.results_part(runs, [why])
    assert "Run bad is left out" in part and part.count("<tr>") > 2


def test_whole_runs_are_all_there_and_of_one_name_the_later_counts(tmp_path):
    for root in ("a", "b"):
        fake_runs.write(tmp_path / root, "one", seed=len(root))
    fake_runs.write(tmp_path / "a", "two")
    (tmp_path / "a" / "begun").mkdir()
    runs, wrong = fit_runs.read(tmp_path / "a", tmp_path / "b", chapters=CHAPTERS)
    assert ([run.id for run in runs], wrong) == (["one", "two"], [])
    assert runs[0].folder == tmp_path / "b" / "one"
    (tmp_path / "b" / "one" / "run.json").write_text("{}")
    runs, wrong = fit_runs.read(tmp_path / "a", tmp_path / "b", chapters=CHAPTERS)
    assert [run.id for run in runs] == ["two"] and len(wrong) == 1


def test_names_that_look_like_numbers_in_one_run_and_not_in_another_stand_in_one_table(tmp_path):
    for name, text in (("a", 5), ("b", "five")):
        means(fake_runs.write(tmp_path, name, dataset=text), setting=text, method=text, metric=text)
    runs, wrong = fit_runs.read(tmp_path, chapters=CHAPTERS)
    assert wrong == [] and ">five</td>" in results_page.results_part(runs)
    assert set(results_page.means(runs)["dataset"]) == {"5", "five"}


@pytest.mark.parametrize(
    "name", ["a b", 'x" y', "x.md", "x.ipynb", ".x", "..", "x" * 250, "ü", "x\ny", "[*]", "#", "ß?"]
)
def test_every_folder_has_a_page_of_its_own(name, tmp_path):
    folder = fake_runs.write(tmp_path, "x", seed=1)
    run = read_runs(tmp_path)[0]._replace(folder=folder.with_name(name) if name != ".." else folder / "..")
    page = run_pages.page_of(run).removeprefix("runs/")
    assert page == name or re.fullmatch(r"[\w+-]{1,90}-[0-9a-f]{8}", page)


def test_a_default_run_that_is_damaged_stops_what_would_be_committed(tmp_path):
    (tmp_path / "ss_cam").mkdir()
    (tmp_path / "ss_cam" / "run.json").write_text("{}")
    with pytest.raises(ValueError, match=r"Run ss_cam is left out \(run.json: expected chapter and parameters"):
        build.book(tmp_path, store=True)
