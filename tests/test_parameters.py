"""The parameters of all chapters: every value of a pool is taken, in the right form, or refused in one sentence.

What must be taken is said anew in parameter_values.py.
"""

import json
import os

import pytest
import torch

from cam_utils import data, parameters, runs
from cam_utils.evaluation import perturbation, sanity
from cam_utils.methods import other_libraries, pixel_gradients, registry
from cam_utils.networks import models, predictions, schedules
from cam_utils.parameter_kinds import items, registered
from cam_utils.representative import sources
from tests.parameter_values import CASES, OWN, PHOTOS, alone, every
from workflow import ROOT
from workflow.batch.grid import defaults


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder to be in, with one file, on a machine that has every device."""
    monkeypatch.setattr(runs, "pick_device", str)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.pth").touch()
    return tmp_path


@pytest.mark.parametrize(("chapter", "kind"), CASES)
def test_every_value_of_every_parameter_is_taken_in_its_own_form_or_refused_in_a_sentence(chapter, kind, place):
    base = defaults(ROOT / "notebooks" / f"{chapter}.ipynb")
    taken = dict.fromkeys(base, 0)
    for name, value, right, own, given in every(chapter, kind, base):
        try:
            found = runs.check_parameters(chapter, given | {"torch": torch, "f": print, "_private": 1, "In": []})
        except ValueError as error:
            assert not right, (name, value, error)
            assert name in str(error) and "\n" not in str(error) and len(str(error)) < 700, (name, error)
            continue
        assert right, (name, value, found[name])
        assert found[name] == own and type(found[name]) is type(own), (name, value)
        assert json.dumps(found) and found.keys() == base.keys()
        taken[name] += 1
    rules = OWN[chapter] if kind == "defaults" else OWN[chapter] | PHOTOS[chapter][1]
    assert all(taken[name] for name in base if rules.get(name) is not alone)
    assert os.listdir(place) == ["here.pth"]


@pytest.mark.parametrize("chapter", parameters.CHAPTERS)
def test_a_notebooks_parameters_are_those_declared_and_its_defaults_are_taken(chapter, place):
    known = defaults(ROOT / "notebooks" / f"{chapter}.ipynb")
    assert list(known) == list(parameters.CHAPTERS[chapter]) and parameters.chapter_of(known) == chapter
    assert parameters.check(chapter, known).keys() == known.keys()


@pytest.mark.parametrize(
    ("source", "known"),
    [
        ("methods/registry.py:METHODS", registry.METHODS),
        ("networks/models.py:HEADS", models.HEADS),
        ("networks/models.py:PRETRAINED", models.PRETRAINED),
        ("networks/predictions.py:ACTIVATIONS", predictions.ACTIVATIONS),
        ("data/__init__.py:LOADERS", data.LOADERS),
        ("evaluation/perturbation.py:BASELINES", perturbation.BASELINES),
        ("evaluation/sanity.py:ORDERS", sanity.ORDERS),
        ("methods/other_libraries.py:OTHER_LIBRARIES", other_libraries.OTHER_LIBRARIES),
        ("methods/pixel_gradients.py:PIXEL_GRADIENTS", pixel_gradients.PIXEL_GRADIENTS),
        ("representative/sources.py:DIRECTIONS", sources.DIRECTIONS),
    ],
)
def test_names_read_from_a_source_are_those_of_the_registry(source, known):
    assert registered(source) == tuple(known)


def test_every_examined_method_may_be_named_but_for_the_controls_which_are_always_there():
    kind = parameters.CHAPTERS["sanity_checks"]["methods"]
    every = [name for name in sanity.EXAMINED if name not in sanity.CONTROLS]
    assert kind.check("methods", ",".join(every)) == every
    with pytest.raises(ValueError, match="sobel"):
        kind.check("methods", "sobel")


def test_names_of_networks_and_schedules_are_those_that_can_be_built():
    declared = parameters.CHAPTERS["minmax_cam"]
    for name in (*models.NAMES, *models.ACOL, "vgg16"):
        assert (f"{name}," in f"{declared['architecture'].words},") == (name in models.NAMES)
    assert all(name in declared["schedule"].words for name in schedules.SCHEDULES)


def test_what_is_no_parameter_is_named_and_what_lacks_too():
    known = defaults(ROOT / "notebooks" / "ss_cam.ipynb")
    with pytest.raises(ValueError, match="unknown parameter 'swep'; did you mean 'sweep'"):
        runs.check_parameters("ss_cam", known | {"swep": 1})
    with pytest.raises(ValueError, match="the parameters of ss_cam lack output"):
        runs.check_parameters("ss_cam", {name: value for name, value in known.items() if name != "output"})
    with pytest.raises(ValueError, match="unknown chapter 'ss'"):
        runs.check_parameters("ss", known)
    with pytest.raises(ValueError, match="unknown parameter 'swep'"):
        parameters.check("ss_cam", known | {"swep": 1})


def test_long_lists_and_folders_that_cannot_be_written_are_refused(place, monkeypatch):
    known = defaults(ROOT / "notebooks" / "your_model.ipynb")
    with pytest.raises(
        ValueError, match="expected mean as a list, or a text with commas, of 1 to 256 values"
    ) as refused:
        runs.check_parameters("your_model", known | {"mean": [0.5] * 257})
    assert len(str(refused.value)) < 400
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(
        ValueError, match="expected output as a folder that can be written, got 'new/folder': see /"
    ):
        runs.check_parameters("your_model", known | {"output": "new/folder"})


def test_sentences_say_what_is_expected_and_what_was_got(place):
    expected = [
        (
            "ss_cam",
            "limit",
            1.5,
            r"limit as a whole number of images from 1 to 1,000,000,000, or None \(all\), got 1\.5",
        ),
        ("ss_cam", "steps", [1, 0], "expected entry 2 of steps as a whole number from 1 to 10,000, got 0"),
        ("minmax_cam", "methods", "minmax-cam", r"expected cam among the methods, .*, got \['minmax-cam'\]"),
        ("sanity_checks", "methods", "cam, minmaxcam", "entry 2 of methods 'minmaxcam'; did you mean 'minmax-cam'"),
        (
            "minmax_cam",
            "weights",
            "imagenet",
            "weights as None or the path of a checkpoint for the digits",
        ),
        (
            "representative_cam",
            "smallest",
            3,
            "smallest as 1 to 2, since 4 clusters share the digits, got 3",
        ),
        ("representative_cam", "output", "here.pth", "output as a folder that can be written, got 'here.pth'"),
        (
            "comparison",
            "dataset",
            "voc2007",
            "data_root as the folder that the dataset voc2007 is in, got None",
        ),
        ("comparison", "schedule", "digit", "unknown schedule 'digit'; did you mean 'digits'"),
    ]
    for chapter, name, value, sentence in expected:
        known = defaults(ROOT / "notebooks" / f"{chapter}.ipynb")
        with pytest.raises(ValueError, match=sentence):
            runs.check_parameters(chapter, known | {name: value})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a, b", ["a", "b"]),
        ("[a, b]", ["a", "b"]),
        (' [ \'a, b\' , "c\\"d" ] ', ["a, b", 'c"d']),
        ("bird's nest, '90s car", ["bird's nest", "'90s car"]),
        ("[old] cats, new [cats]", ["[old] cats", "new [cats]"]),
        ("Rome: day 1, runs/test #2", ["Rome: day 1", "runs/test #2"]),
        ("~, no, 4.10, 1e5", ["~", "no", "4.10", "1e5"]),
        ('"\\q",', ["\\q"]),
        ("", []),
        ("[]", []),
        (",,", []),
    ],
)
def test_a_text_with_commas_is_a_list(text, found):
    assert [item for item, _ in items(text)] == found


def test_a_misspelt_network_is_named_before_its_weights_are_missed(place):
    known = defaults(ROOT / "notebooks" / "your_model.ipynb")
    with pytest.raises(ValueError, match="unknown network 'resnt18'; did you mean 'resnet18'"):
        parameters.check("your_model", known | {"network": "resnt18"})
    with pytest.raises(ValueError, match="expected weights as 'imagenet' or a path, since 'resnet18'"):
        parameters.check("your_model", known | {"network": "resnet18"})
