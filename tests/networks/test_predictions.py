"""Predicted labels: one rule for the evaluation, the front door and the reader's own model."""

import pytest
import torch

from cam_utils.networks import models
from cam_utils.networks.predictions import predicted, scoring

P = torch.tensor([[0.2, 0.6, 0.6, 0.9], [0.1, 0.4, 0.3, 0.2]])


def test_sigmoid_takes_all_above_the_threshold_and_the_first_only_where_asked():
    assert predicted(P, "sigmoid").tolist() == [[False, True, True, True], [False] * 4]
    assert predicted(P, "sigmoid", top=1).equal(predicted(P, "sigmoid"))  # `top` is for softmax
    assert predicted(P, "sigmoid", at_least_one=True)[1].tolist() == [False, True, False, False]
    assert predicted(P, "sigmoid", threshold=0.95, at_least_one=True).sum(1).tolist() == [1, 1]
    assert predicted(P, "sigmoid", threshold=0.6)[0].tolist() == [False, False, False, True]  # above, not at


def test_softmax_takes_the_most_probable_and_of_equal_ones_the_first():
    assert predicted(P, "softmax")[:, [3, 1]].tolist() == [[True, False], [False, True]]
    assert predicted(P, "softmax", top=2)[0].tolist() == [False, True, False, True]


def test_unknown_activations_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match="unknown activation 'sigmod'; did you mean 'sigmoid'"):
        predicted(P, "sigmod")
    with pytest.raises(ValueError, match="unknown activation 'softmaks'; did you mean 'softmax'"):
        scoring(models.build("digits", 10), "softmaks")
