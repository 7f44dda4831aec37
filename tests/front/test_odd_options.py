"""Options that are none are refused in one sentence that names them, and before anything is written."""

import math

import pytest
import torch

import cam_utils
from cam_utils import data
from cam_utils.evaluation import evaluate
from cam_utils.networks import models

PHOTO = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
NO_SHARE = "expected threshold as a number from 0 to 1, got "


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        *(("threshold", value, NO_SHARE) for value in (1.5, -1, math.nan, "a", True)),
        ("target", 3, "expected target as a callable .*, got 3"),
    ],
)
def test_an_option_of_explain_that_is_none_is_named(option, value, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        cam_utils.explain(cam_utils.load_model("digits"), PHOTO, method="cam", **{option: value})


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        # Values of another type are the type checker's affair in the tests.
        *(("batch_size", value, "expected batch_size as a whole number") for value in (0, -1)),
        ("workers", -1, "expected workers as a whole number"),
        *(("shard", value, r"expected a shard \(i, n\)") for value in ((0, 0), (2, 1), (-1, 2))),
        *(("threshold", value, NO_SHARE) for value in (1.5, math.nan)),
    ],
)
def test_an_option_of_evaluate_that_is_none_is_named(tmp_path, option, value, message):
    model, scenes = models.build("digits", 10, seed=1), data.load("digits", "val", n=2)
    given = {"methods": ["cam"], "folder": tmp_path, "progress": False, option: value}
    with pytest.raises(ValueError, match=f"^{message}"):
        evaluate.evaluate(model, scenes, **given)
    assert not list(tmp_path.iterdir())
