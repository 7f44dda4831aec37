"""Labels in every form in which data sets, peers and people give them."""

import numpy as np
import pytest
import torch

from cam_utils.front.asked import asked_labels, names_of

ROW = torch.zeros(1, 6)
ROW[0, [2, 5]] = 1


@pytest.mark.parametrize(
    "labels",
    [
        ROW.bool(),
        ROW,
        ROW.half(),
        ROW.bfloat16(),
        ROW.long(),
        ROW.byte(),
        ROW.numpy(),
        ROW.bool().numpy(),
        ROW.bool().tolist(),
        ROW.tolist(),
        ROW.long().tolist(),
        ROW[0].bool(),
        ROW[0].tolist(),
        [ROW[0]],
        [2, 5],
        [[2, 5]],
        [(2, 5)],
        torch.tensor([[2, 5]]),
        torch.tensor([2, 5]),
        np.array([[2, 5]]),
        [np.int64(2), torch.tensor(5)],
        (label for label in (2, 5)),
        [[2, 5, 2]],
    ],
)
def test_every_form_of_two_labels_of_one_picture(labels):
    assert asked_labels(labels, 1, 6, None) == [[2, 5]]


def test_labels_stand_in_the_order_given():
    assert asked_labels([[5, 2]], 1, 6, None) == [[5, 2]]
    assert asked_labels(["c", 0, "b"], 1, 3, ("a", "b", "c")) == [[2, 0, 1]]


def test_one_item_or_one_list_for_each_of_several_pictures():
    assert asked_labels([1, [2, 0]], 2, 6, None) == [[1], [2, 0]]
    assert asked_labels([1, 2], 2, 6, None) == [[1], [2]]
    assert asked_labels(torch.tensor([1, 2]), 2, 6, None) == [[1], [2]]
    assert asked_labels(["a", "b"], 2, 2, ("a", "b")) == [[0], [1]]
    assert asked_labels(torch.eye(3), 3, 3, None) == [[0], [1], [2]]


def test_a_single_label_and_the_labels_of_a_folder_hold_for_all_pictures():
    for one in (1, "b", np.int64(1), torch.tensor(1)):
        assert asked_labels(one, 3, 2, ("a", "b")) == [[1]] * 3
    assert asked_labels([1, 0], 3, 2, None, every=True) == [[1, 0]] * 3
    assert asked_labels([[1], [0], [1, 0]], 3, 2, None, every=True) == [[1], [0], [1, 0]]


def test_labels_by_the_names_of_pictures():
    assert asked_labels({"b.jpg": "x", "a.jpg": [1, 0]}, ["a.jpg", "b.jpg", "c.jpg"], 2, ("x", "y")) == [
        [1, 0],
        [0],
        None,
    ]
    with pytest.raises(ValueError, match=r"unknown picture in labels 'd\.jpg'; did you mean"):
        asked_labels({"d.jpg": 0}, ["a.jpg", "b.jpg"], 2, None)


def test_networks_with_few_logits_are_read_with_care():
    assert asked_labels([[0, 1]], 1, 2, None) == [[0, 1]]  # a list of indices, as it always was
    assert asked_labels([[1, 1]], 1, 2, None) == [[0, 1]]
    assert asked_labels(torch.tensor([[False, True]]), 1, 2, None) == [[1]]
    for ambiguous in (torch.tensor([[0, 1]]), np.array([[1, 0]])):
        with pytest.raises(ValueError, match="may be two indices or a row that marks one of two"):
            asked_labels(ambiguous, 1, 2, None)
    assert asked_labels([[0]], 1, 1, None) == asked_labels(0, 1, 1, None) == [[0]]
    assert asked_labels([[True]], 1, 1, None) == asked_labels([[1.0]], 1, 1, None) == [[0]]
    for positive in (1, [1], [[1]], torch.tensor([[1]])):  # of two classes, people may mean either by it
        with pytest.raises(ValueError, match=r"expected labels in 0\.\.0"):
            asked_labels(positive, 1, 1, None)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["25"], r"names of the model's labels are not known: give indices for \['25'\]"),
        ([2.9], "as whole numbers, names or a row of 6 zeros and ones"),
        ([2.0], "as whole numbers, names or a row of 6 zeros and ones"),
        (2.5, "as whole numbers"),
        (float("nan"), "as whole numbers"),
        (True, "as whole numbers"),
        ([True, False], "a row of 6 zeros and ones for image 0, got .True, False"),
        (torch.full((1, 6), 0.5), "a row of 6 zeros and ones"),
        (torch.zeros(1, 6), "image 0 has an empty set of labels"),
        (torch.zeros(1, 6, dtype=torch.long), "image 0 has an empty set of labels"),
        (torch.zeros(1, 5, dtype=torch.bool), "a row of 6 zeros and ones for image 0"),
        ([], "expected one list of labels for each of the 1 images, got 0|an empty set of labels"),
        ([[]], "image 0 has an empty set of labels"),
        ([6], r"in 0\.\.5 for image 0, got \[6\]"),
        ([-1], r"in 0\.\.5"),
        ([[2], [5]], "one list of labels for each of the 1 images, got 2"),
        ([[[2]]], "an index or a list of indices"),
        ([[None]], "an index or a list of indices"),
        ([None], "an index or a list of indices"),
        (b"25", "as names, indices or rows"),
        (object(), "as names, indices or rows"),
        ([["a", 2.5]], "not known|whole numbers"),
    ],
)
def test_what_is_no_label_is_refused_in_one_sentence(labels, message):
    with pytest.raises(ValueError, match=message):
        asked_labels(labels, 1, 6, None)


def test_as_many_names_as_logits():
    assert names_of(2, None) == ("class 0", "class 1") and names_of(2, ["a", "b"]) == ("a", "b")
    with pytest.raises(ValueError, match="gives 2 logits, but 3 classes are named"):
        names_of(2, ["a", "b", "c"])
