"""A grid file becomes jobs and the trainings they share, or a sentence that says what is wrong with it."""

import ast
import json

import papermill
import pytest
import yaml

from cam_utils import data
from cam_utils.data import coco, imagenet, planet, stanford40, voc
from workflow import ROOT
from workflow.batch import estimate, grid


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
        "data/results/sscam_imagenet.csv": "a,b",
        "workflow/site/results_page.py": "text = 1",
        "n.ipynb": json.dumps({"cells": [{"cell_type": "code", "source": ["x"], "metadata": {}, "outputs": []}]}),
    }
    for name, text in tree.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for name in ("data/results/sscam_imagenet.json", "data/results/repcam_digits.csv", "requirements.lock"):
        (tmp_path / name).touch()
    job = grid.Job("n", "n", "n.ipynb", {"seed": 0}, (), 1)
    keys = [job.key()]
    for name, text in (
        ("workflow/site/results_page.py", "text = 2"),
        ("n.ipynb", tree["n.ipynb"].replace('"outputs": []', '"outputs": [1]')),
        ("cam_utils/plots.py", "figures = 2"),
        ("data/results/sscam_imagenet.csv", "a,c"),
        ("n.ipynb", tree["n.ipynb"].replace('"x"', '"y"')),
    ):
        (tmp_path / name).write_text(text)
        keys.append(job.key())
    assert keys[0] == keys[1] == keys[2] and len(set(keys)) == 4


def test_exclusions_and_overrides_apply_to_what_they_match():
    plan = grid.read(ROOT / "workflow" / "grids" / "paper.yaml", data_root="somewhere")
    assert "minmax_cam-voc2007-vgg16-gap-linear-s0" in plan.jobs
    assert "minmax_cam-coco2017-vgg16-gap-linear-s0" not in plan.jobs
    sizes = {
        job.parameters["dataset"]: job.parameters["size"] for job in plan.jobs.values() if "size" in job.parameters
    }
    assert sizes["planet"] == 256 and sizes["coco2017"] == 512


def test_the_estimates_rest_on_the_datasets_own_counts():
    known = {"coco2017": coco.EXPECTED, "planet": planet.EXPECTED, **voc.EXPECTED}
    for name, counts in known.items():
        assert estimate.SIZES[name][:2] == (counts["train"], counts["val"])
    assert estimate.SIZES["imagenet"][1] == imagenet.EXPECTED["val"]
    assert estimate.SIZES["stanford40"][:2] == (stanford40.EXPECTED["train"], stanford40.EXPECTED["test"])
