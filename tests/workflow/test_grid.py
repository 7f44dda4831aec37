"""A grid file becomes jobs and the trainings they share, or a sentence that says what is wrong with it."""

import ast
import json
import os
import re
from pathlib import Path

import nbformat
import papermill
import pytest
import yaml

from cam_utils import data
from cam_utils.data import coco, imagenet, msrc, photos, planet, stanford40, voc
from cam_utils.evaluation.results import paper_table
from cam_utils.networks.facts import NETWORKS
from tests.workflow import tiny
from workflow import ROOT
from workflow.batch import estimate, grid
from workflow.batch.__main__ import main


@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT / "workflow" / "grids").glob("*.yaml")))
def test_the_grids_name_existing_parameters_and_distinct_runs(name):
    plan = grid.read(ROOT / "workflow" / "grids" / f"{name}.yaml", data_root="somewhere")
    assert plan.jobs and {t for job in plan.jobs.values() for t in job.trainings} == set(plan.trainings)
    for job in plan.jobs.values():
        assert job.parameters.keys() <= grid.defaults(ROOT / job.notebook).keys()
        assert job.parameters.get("dataset", "digits") in data.LOADERS


@pytest.mark.parametrize("notebook", sorted(p.name for p in (ROOT / "notebooks").glob("*.ipynb")))
def test_a_notebooks_parameters_are_those_that_papermill_sets(notebook):
    expected = papermill.inspect_notebook(str(ROOT / "notebooks" / notebook))
    found = grid.defaults(ROOT / "notebooks" / notebook)
    assert found == {name: ast.literal_eval(fact["default"]) for name, fact in expected.items()}


def test_networks_that_chapters_share_are_trained_once():
    plan = grid.read(ROOT / "workflow" / "grids" / "default.yaml")
    users = [[name for name, job in plan.jobs.items() if shared in job.trainings] for shared in plan.trainings]
    assert users == [["minmax_cam", "comparison", "sanity_checks"], ["representative_cam", "ss_cam"]]


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"chaptr": "ss_cam"}, "unknown key of a block of runs 'chaptr'; did you mean 'chapter'"),
        ({"chapter": "ss_cam", "over": {"draw": [1]}}, "unknown parameter of ss_cam 'draw'; did you mean 'draws'"),
        ({"chapter": "ss_cam", "over": {"draws": 1}}, "expected a list of values for draws of ss_cam, got '1'"),
        ({"chapter": "ss_cams"}, "no notebook notebooks/ss_cams.ipynb"),
        ({"parameters": {}}, "names no chapter"),
        ({"chapter": "ss_cam", "parameters": {"draws": 1}}, "needs a name: list one of them in `over`"),
        (
            {"chapter": "ss_cam", "over": {"seed": [0]}, "exclude": [{"sed": 1}]},
            "unknown parameter of ss_cam 'sed'",
        ),
        (
            {"chapter": "ss_cam", "over": {"seed": [0]}, "overrides": [{"set": {}}]},
            "expected an override of ss_cam",
        ),
    ],
)
def test_a_wrong_grid_is_named(tmp_path, block, message):
    file = tmp_path / "grid.yaml"
    file.write_text(yaml.safe_dump({"runs": [block]}))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        grid.read(file)


SS = "{chapter: ss_cam, over: {seed: [0]}, "  # a block that lacks its end


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (SS + "parameters: {draws: many}}", "expected draws as a whole number from 1 to 10,000, got 'many'"),
        (SS + "parameters: {limit: 1.5}}", "expected limit as a whole number of images .*, got '1.5'"),
        (SS + "parameters: {sigma: .nan}}", "expected sigma as a number above 0"),
        (SS + "parameters: {steps: [1, yes]}}", "expected entry 2 of steps as a whole number .*, got 'yes'"),
        (SS + "parameters: {seed: null}}", "expected seed as .*, got None"),
        (SS + "parameters: {output: x}}", "a grid's runs have folders of their own: leave output out"),
        (SS + "parameters: {dataset: coco}}", "unknown dataset 'coco'; did you mean 'coco2017'"),
        (SS + "parameters: {dataset: voc2007}}", "expected network as a name"),
        (SS + "parameters: {network: resnet18}}", "expected network and weights as None for the dataset digits"),
        (SS + "parameters: [draws]}", "expected parameters of ss_cam as a mapping"),
        (SS + "training: {device: 2}}", "unknown key of training of ss_cam 'device'; did you mean 'devices'"),
        (SS + "training: {devices: 0}}", "expected devices of training as a whole number from 1 to 1,024, got 0"),
        (SS + "training: {accelerator: tpu}}", "unknown accelerator of training 'tpu'"),
        (SS + "training: 2}", "expected training of ss_cam as a mapping"),
        (SS + "shards: 0}", "expected shards of ss_cam as a whole number from 1 to 10,000, got 0"),
        (SS + "shards: two}", "expected shards of ss_cam as a whole number"),
        (SS + "shards: 2}", "expected shards of ss_cam as 1, since only minmax_cam evaluates in parts"),
        (SS + "exclude: [3]}", "expected an entry of exclude of ss_cam as a mapping of parameters, got '3'"),
        (SS + "exclude: {seed: 0}}", "expected exclude of ss_cam as a list"),
        (SS + "exclude: [{seed: x}]}", "expected seed as a whole number"),
        (SS + "overrides: [{match: {}, set: {draws: x}}]}", "expected draws as a whole number"),
        ("{chapter: minmax_cam, over: {head: [linear, x]}}", "unknown head 'x'"),
        ("{chapter: minmax_cam, over: {methods: [minmax-cam]}}", "expected cam among the methods"),
        ("{chapter: minmax_cam, over: [head]}", "expected over of minmax_cam as a mapping"),
        ("{chapter: [minmax_cam]}", "expected chapter as a name"),
        ("{chapter: minmax_cam, notebook: [x]}", "expected notebook as a path"),
        ("minmax_cam", "expected a block as a mapping with a chapter, got 'minmax_cam'"),
        ("null", "expected a block as a mapping with a chapter, got None"),
    ],
)
def test_a_wrong_value_of_a_grid_is_refused_in_the_dry_run_by_file_and_block(tmp_path, capsys, block, message):
    file = tmp_path / "grid.yaml"
    file.write_text(f"runs:\n  - chapter: ss_cam\n  - {block}\n")
    with pytest.raises(SystemExit) as stopped:
        main([str(file), "--dry-run", "--runs", str(tmp_path / "runs")])
    assert re.search(rf"^batch: grid\.yaml, block 2 of its runs: (\S+: )?{message}", stopped.value.code)
    assert "\n" not in stopped.value.code and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("runs: {}", "expected a list `runs` in"),
        ("[]", "expected a list `runs` in"),
        ("", "expected a list `runs` in"),
        ("runs: [", "is no YAML"),
        ("runs: []\ndata_root: [a]", "expected data_root of grid.yaml as the path of a folder"),
        ("runs: []\ndata: a", "unknown key of grid.yaml 'data'"),
        (b"runs: [\xff]", "is no YAML"),
        ("? [a]\n: 1", "is no YAML|expected a list"),
    ],
)
def test_a_file_that_is_no_grid_is_named(tmp_path, text, message):
    file = tmp_path / "grid.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message):
        grid.read(file)


def test_values_of_a_grid_are_what_their_parameters_are(tmp_path):
    """What YAML reads as dates, truth values and numbers stays text where text is expected."""
    file = tmp_path / "grid.yaml"
    file.write_text("""
data_root: 2024-05-01
runs:
  - chapter: your_model
    over: {seed: &seeds [0]}
""")
    with pytest.raises(ValueError, match="unknown parameter of your_model 'seed'"):
        grid.read(file)
    file.write_text("""
data_root: 2024-05-01
runs:
  - chapter: your_model
    over: {images: [2024-05-01, no, 1e5, ~/x, "null"], layer: [4.10]}
    parameters: {network: model.py:build, classes: [no, yes, 2024, 1e5], limit: ~, labels: [3, on], mean: [.5, 1]}
  - chapter: minmax_cam
    over: {methods: ["cam, minmax-cam", [cam]], dataset: [voc2007]}
    parameters: {retrain: yes, weights: "null", architecture: resnet18}
    exclude: [{methods: cam}]
    shards: "2"
    training: {devices: 2, precision: 32, strategy: ddp}
""")
    jobs = list(grid.read(file).jobs.values())
    assert [job.parameters["images"] for job in jobs[:5]] == [
        "2024-05-01",
        "no",
        "1e5",
        os.path.expanduser("~/x"),
        "null",
    ]
    assert jobs[0].id == "your_model-2024-05-01-4.10" and jobs[0].parameters["layer"] == "4.10"
    assert jobs[0].parameters["classes"] == ["no", "yes", "2024", "1e5"] and jobs[0].parameters["limit"] is None
    assert jobs[0].parameters["labels"] == [3, "on"] and jobs[0].parameters["mean"] == [0.5, 1.0]
    (job,) = jobs[5:]
    assert job.id == "minmax_cam-cam_minmax-cam-voc2007" and job.shards == 2
    own = {"methods": ["cam", "minmax-cam"], "dataset": "voc2007", "retrain": True, "weights": "null"}
    assert job.parameters == own | {"architecture": "resnet18", "data_root": "2024-05-01"}
    plan = grid.read(file, data_root="~/elsewhere")
    assert plan.jobs[job.id].parameters["data_root"] == os.path.expanduser("~/elsewhere")


def test_training_of_a_grid_is_numbers_and_names(tmp_path):
    file = tmp_path / "grid.yaml"
    file.write_text("runs: [{chapter: minmax_cam, training: {devices: 2, precision: 32, strategy: ddp}}]")
    trainers = [spec["trainer"] for spec in grid.read(file).trainings.values()]
    assert trainers == [{"devices": 2, "precision": "32", "strategy": "ddp"}] * 4


def test_a_batch_runs_in_folders_of_any_name_and_values_reach_the_notebook_as_they_are(tmp_path):
    place = tmp_path / "Rome: day 1 #2 {a: 1} 'q'\nx"
    place.mkdir()
    file = tiny.write(place, [1])
    status, lines, errors = tiny.start(file, place / "runs", "--data", str(place))
    assert not status and lines[0].startswith("1 of 1 runs are finished"), errors
    assert tiny.executed(place) == ["1"]


def test_two_runs_of_one_name_and_a_missing_grid_are_refused(tmp_path):
    file = tmp_path / "grid.yaml"
    file.write_text(yaml.safe_dump({"runs": [{"chapter": "ss_cam"}, {"chapter": "ss_cam"}]}))
    with pytest.raises(ValueError, match="two runs named ss_cam"):
        grid.read(file)
    with pytest.raises(FileNotFoundError, match="there are: default, digits, paper, smoke"):
        grid.read(tmp_path / "none.yaml")


def test_names_and_places_are_fit_for_folders_and_commands(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    block = {"chapter": "ss_cam", "over": {"steps": [[1, 5]], "dataset": ["imagenet"]}}
    file = tmp_path / "grid.yaml"
    keys = []
    for place in ("~/data", "~/elsewhere"):
        block["parameters"] = {"weights": "~/w.pth", "network": "resnet18"}
        file.write_text(yaml.safe_dump({"data_root": place, "runs": [block]}))
        (job,) = grid.read(file).jobs.values()
        assert job.id == "ss_cam-imagenet-_1_5_" and job.parameters["weights"] == f"{tmp_path}/w.pth"
        assert job.parameters["data_root"] == place.replace("~", str(tmp_path))
        keys.append(job.key())
    assert keys[0] == keys[1]  # where the data lie changes no result


def test_a_run_depends_on_the_package_and_its_cells_but_not_on_the_pages_of_the_book(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "ROOT", tmp_path)
    tree = {
        "cam_utils/plots.py": "figures = 1",
        "data/results/repcam_single_label.csv": "a,b",
        "workflow/site/results_page.py": "text = 1",
        "n.ipynb": json.dumps({"cells": [{"cell_type": "code", "source": ["x"], "metadata": {}, "outputs": []}]}),
    }
    for name, text in tree.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for name in (each for each in grid.INPUTS if Path(each).suffix and each not in tree):
        (tmp_path / name).touch()
    job = grid.Job("n", "n", "n.ipynb", {"seed": 0}, (), 1)
    keys = [job.key()]
    for name, text in (
        ("workflow/site/results_page.py", "text = 2"),
        ("n.ipynb", tree["n.ipynb"].replace('"outputs": []', '"outputs": [1]')),
        ("cam_utils/plots.py", "figures = 2"),
        ("data/results/repcam_single_label.csv", "a,c"),
        ("n.ipynb", tree["n.ipynb"].replace('"x"', '"y"')),
    ):
        (tmp_path / name).write_text(text)
        keys.append(job.key())
    assert keys[0] == keys[1] == keys[2] and len(set(keys)) == 4


def test_a_run_depends_on_every_stored_table_that_a_chapter_reads():
    stored = {file.name for file in (ROOT / "data" / "results").glob("*.*")}
    for file in sorted((ROOT / "notebooks").glob("*.ipynb")):
        code = "\n".join(cell.source for cell in nbformat.read(file, 4).cells if cell.cell_type == "code")
        read = set(re.findall(r"""["']([\w-]+\.(?:csv|json|parquet))["']""", code)) & stored
        assert {f"data/results/{name}" for name in read} <= set(grid.INPUTS), file.name


def test_exclusions_and_overrides_apply_to_what_they_match():
    plan = grid.read(ROOT / "workflow" / "grids" / "paper.yaml", data_root="somewhere")
    assert "minmax_cam-voc2007-vgg16-gap-linear-s0" in plan.jobs
    assert "minmax_cam-coco2017-vgg16-gap-linear-s0" not in plan.jobs
    sizes = {
        job.parameters["dataset"]: job.parameters["size"] for job in plan.jobs.values() if "size" in job.parameters
    }
    assert sizes["planet"] == 256 and sizes["coco2017"] == 512


def test_the_papers_grid_has_the_networks_and_images_of_the_second_papers_tables():
    plan = grid.read(ROOT / "workflow" / "grids" / "paper.yaml", data_root="somewhere")
    jobs = [job for job in plan.jobs.values() if job.chapter == "representative_cam"]
    ours = {(p["dataset"], p.get("split", "val"), p["architecture"]) for p in (job.parameters for job in jobs)}
    named = {name: network for network, facts in NETWORKS.items() for name in facts.papers}
    sets = {"VOC12": "voc2012", "COCO": "coco2017"}
    printed = set()
    for number in (2, 3, 4, 5):
        rows = paper_table(f"repcam_table{number}")
        rows = rows[~rows["method"].str.contains("ACoL|CBAM")]  # networks that every run trains besides its own
        cells = zip(rows["dataset"], rows["split"], rows["architecture"], strict=True)
        printed |= {(sets[dataset], split, named[network]) for dataset, split, network in cells}
    assert ours == printed and len(jobs) == 3 * len(printed)
    (train,) = (job for job in jobs if job.id == "representative_cam-voc2012-resnet152-train-s0")
    (val,) = (job for job in jobs if job.id == "representative_cam-voc2012-resnet152-val-s0")
    assert train.parameters["split"] == "train" and train.key() != val.key()
    assert train.trainings == val.trainings  # one network for both


def test_the_estimates_rest_on_the_datasets_own_counts():
    known = {"coco2017": coco.EXPECTED, "planet": planet.EXPECTED, "msrc": msrc.EXPECTED, **voc.EXPECTED}
    for name, counts in known.items():
        assert estimate.SIZES[name][:2] == (counts["train"], counts["val"])
    assert estimate.SIZES["imagenet"][1] == imagenet.EXPECTED["val"]
    assert estimate.SIZES["photos"][1] == photos.EXPECTED["all"]
    assert set(estimate.SIZES) == set(data.LOADERS)
    assert estimate.SIZES["stanford40"][:2] == (stanford40.EXPECTED["train"], stanford40.EXPECTED["test"])
