"""What models return besides a tensor of logits, and what else can be explained."""

from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from cam_utils.networks.answers import Answers, NotLogits, told

LOGITS = torch.tensor([[1.0, 2.0, 4.0], [0.0, 1.0, 0.5]])
IMAGES = torch.zeros(2, 3, 4, 4)
Pair = namedtuple("Pair", "logits aux")


class Returning(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, images):
        return self.answer


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        (LOGITS, None),
        ({"logits": LOGITS, "loss": None}, None),  # what transformers return, a dict with attributes
        (SimpleNamespace(logits=LOGITS), None),
        (Pair(LOGITS, None), None),
        ((LOGITS, LOGITS[:, :2]), 0),
        ([None, LOGITS], -1),
        ({"out": LOGITS}, "out"),
        (SimpleNamespace(scores=LOGITS), "scores"),
        ((1, {"deep": LOGITS}), lambda result: result[1]["deep"]),
    ],
)
def test_logits_are_found_in_every_form(answer, output):
    assert torch.equal(Answers(Returning(answer), output=output)(IMAGES), LOGITS)


@pytest.mark.parametrize(
    ("answer", "options", "message"),
    [
        ((LOGITS, LOGITS), {}, r"it returns a tuple \(tensor \(2, 3\), tensor \(2, 3\)\): say which part"),
        ({"out": LOGITS}, {}, r"it returns a dict \(out: tensor \(2, 3\)\): say which part"),
        ({"out": LOGITS}, {"output": "logit"}, "it has no output 'logit'"),
        ((LOGITS,), {"output": 3}, "it has no output 3"),
        (None, {}, "it returns a NoneType"),
        (LOGITS[None], {}, r"got tensor \(1, 2, 3\); a target="),
        (LOGITS[:1], {}, r"for 2 images .* got tensor \(1, 3\)"),
        (LOGITS.long(), {}, "they have no gradient"),
        (LOGITS, {"target": lambda s: s.sum()}, r"from the target, a row for each, but got tensor \(\)"),
        (LOGITS, {"target": lambda s: "x"}, "from the target, a row for each, but got a str"),
    ],
)
def test_what_is_no_logits_is_told_in_one_sentence(answer, options, message):
    with pytest.raises(NotLogits, match=message):
        Answers(Returning(answer), **options)(IMAGES)


def test_targets_make_columns_of_any_numbers():
    difference = Answers(Returning(LOGITS), target=lambda s: s[:, 2] - s[:, 0])
    assert difference(IMAGES).tolist() == [[3.0], [0.5]]
    against = Answers(Returning(LOGITS), target=lambda s: -s)
    assert torch.equal(against(IMAGES), -LOGITS)


def test_further_inputs_serve_any_number_of_masked_copies():
    class Two(nn.Module):
        def forward(self, images, bias, *, scale=1.0):
            assert len(bias) == len(images)
            return images.flatten(1)[:, :2] * scale + bias

    images, bias = torch.ones(5, 1, 2, 2), torch.tensor([[10.0, 20.0]])
    assert Answers(Two(), inputs=(bias,))(images).tolist() == [[11.0, 21.0]] * 5
    assert Answers(Two(), inputs={"bias": bias, "scale": 2.0})(images).tolist() == [[12.0, 22.0]] * 5


def test_what_is_returned_is_told_in_words():
    assert told(LOGITS) == "tensor (2, 3)"
    assert told({str(i): i for i in range(9)}).count(":") == 6
