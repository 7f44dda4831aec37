"""The metrics of SS-CAM's authors against values by hand, a network that is known, and plain loops."""

import math

import pytest
import torch
from torch import nn

from cam_utils import data
from cam_utils.evaluation import evaluate, facts
from cam_utils.evaluation.mask_pictures import CUT, drop_and_increase, energy_above, picture_metrics
from cam_utils.networks import models
from cam_utils.pairs import Pairs


class Brightness(nn.Module):
    """Logits of a picture: the mean of its first colour, and minus it."""

    def preprocess(self, images):
        return 2 * images - 1

    def forward(self, images):
        mean = images[:, 0].mean((-2, -1))
        return torch.stack([mean, -mean], 1)


def test_the_mask_is_shown_alone_cut_and_normalised():
    masks = torch.tensor([[[0.0, CUT, 0.5, 1.0]], [[0.0, 0.0, 0.0, 1.0]]])  # what equals the cut is black
    logits = torch.tensor([[0.2, 0.1], [0.9, 2.0]])
    pairs = Pairs.alone(torch.tensor([0, 1]), torch.tensor([1, 1]))
    found = picture_metrics(Brightness(), logits, masks, pairs, chunk=1)
    # two of four pixels white: the mean and both logits are 0; one of four: -0.5, and the largest logit is 0.5
    assert found["picture_drop"].tolist() == pytest.approx([1.0, 0.75])
    assert found["picture_increase"].tolist() == [0.0, 0.0]
    whole = picture_metrics(Brightness(), torch.tensor([[0.2, 0.1]]), torch.ones(1, 1, 4), Pairs.one(label=1))
    assert whole["picture_drop"].item() == 0 and whole["picture_increase"].item() == 1


def test_a_logit_that_is_not_positive_has_no_drop():
    found = drop_and_increase(torch.tensor([0.0, -1.0]), torch.tensor([-1.0, 2.0]))
    assert found["picture_drop"].isnan().all() and found["picture_increase"].tolist() == [0.0, 1.0]


@pytest.mark.parametrize("swapped", [False, True])
def test_energy_above_the_cut_equals_a_loop_over_pixels(swapped):
    masks = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(0))
    masks[2] = 0.0
    boxes = torch.tensor([[1.0, 0.0, 4.0, 3.0], [0.2, 2.6, 6.0, 5.0], [0.0, 0.0, 7.0, 5.0]])
    found = energy_above(masks, boxes, cut=0.4, swapped=swapped)
    for mask, box, value in zip(masks, boxes, found.tolist(), strict=True):
        x1, y1, x2, y2 = box.tolist()
        inside = above = 0
        for i in range(5):
            for j in range(7):
                if mask[i, j] > 0.4:
                    above += 1
                    x, y = (i + 0.5, j + 0.5) if swapped else (j + 0.5, i + 0.5)
                    inside += x1 <= x < x2 and y1 <= y < y2
        assert value == pytest.approx(inside / above) if above else math.isnan(value)


@torch.no_grad()
def test_an_evaluation_has_them_on_request():
    images = data.load("digits", "val", n=4)
    model = models.build("digits", 10, seed=1).eval()
    how = {"activation": "softmax", "explained": "predicted", "progress": False}
    plain = evaluate.evaluate(model, images, ["cam"], **how)
    table = evaluate.evaluate(model, images, ["cam"], pictures=True, **how)
    assert set(table.columns) - set(plain.columns) == set(facts.PICTURE_METRICS)
    assert table[plain.columns].equals(plain)
    for i, row in enumerate(table.itertuples()):  # one pair for each image: written out, image by image
        x = model.preprocess(images[i].image[None])
        logits, activations = model(x)[0], model.features(x)[0]
        raw = torch.einsum("k,khw->hw", model.head.weight[logits.argmax()], activations).relu()
        raised = torch.nn.functional.interpolate(
            ((raw - raw.min()) / (raw.max() - raw.min()))[None, None], x.shape[-2:], mode="bilinear"
        )
        picture = (raised > CUT).float().expand(1, 3, -1, -1)
        largest, of_mask = float(logits.max()), float(model(model.preprocess(picture)).max())
        assert row.picture_increase == (largest < of_mask)
        if largest > 0:
            assert row.picture_drop == pytest.approx(max(0.0, largest - of_mask) / largest, abs=1e-4)
        else:
            assert math.isnan(row.picture_drop)
