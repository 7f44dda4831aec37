"""What E2 and E3 are judged by, on maps whose shares are known by hand."""

import pytest
import torch
from torch import nn

from cam_utils.claims.identities import deviations
from cam_utils.methods import cams
from cam_utils.methods.query import ask
from cam_utils.pairs import pairs_of

# Three pixels in a row, two kernels, two labels: CAMs [2, 1.5, 1] and [1, 1.5, 2], MinMax [1, 0, 0] and [0, 0, 1].
TOY = [[[2.0, 1.0, 0.0]], [[0.0, 1.0, 2.0]]]
WEIGHTS = [[1.0, 0.5], [0.5, 1.0], [-1.0, -1.0]]
FORMS = ("Grad-CAM", "MinMax-Grad-CAM", "D-MinMax-Grad-CAM")


class Pooled(nn.Module):
    """The image itself for activations, then global average pooling and one linear layer."""

    def __init__(self):
        super().__init__()
        self.features = nn.Identity()
        self.head = nn.Linear(2, 3)
        self.head.weight.data = torch.tensor(WEIGHTS)

    def forward(self, images):
        return self.head(self.features(images).mean((-2, -1)))


def asked(*present, bright=1.0):
    """Return the question about a toy for each of these sets of labels; the last is so many times as bright."""
    images = torch.tensor([TOY] * len(present))
    images[-1] *= bright
    return ask(Pooled().eval(), images, pairs_of(torch.tensor(present) > 0))


def test_a_linear_head_keeps_both_identities():
    found = deviations(asked([1, 1, 0], [1, 1, 1], [0, 0, 1], [0, 0, 0]))
    assert (found["images"], found["two_label_images"], found["overlap"]) == (3, 1, 0)
    assert found["deviation"] == pytest.approx(dict.fromkeys(FORMS, 0.0), abs=1e-6)


def test_a_wrong_gradient_is_a_share_of_its_own_images_cams():
    """Twice the gradients in the second image, a tenth as bright: twice the maps, whose peaks are 2, 1, 1 of 2."""
    query = asked([1, 1, 0], [1, 1, 0], bright=0.1)
    wrong = query.gradients.clone()
    wrong[query.pairs.image == 1] *= 2
    query.__dict__["gradients"] = wrong  # a cached property, which is now read as this
    assert deviations(query)["deviation"] == pytest.approx(dict(zip(FORMS, (1.0, 0.5, 0.5), strict=True)))


def test_maps_that_share_a_pixel_overlap_by_the_darker_ones_peak(monkeypatch):
    """CAMs in the place of MinMax-CAMs: both have 1.5 at the middle pixel, and the largest value is 2."""
    query = asked([1, 1, 0], [1, 1, 1])
    monkeypatch.setattr(cams, "minmax_cam", cams.cam)
    found = deviations(query)
    assert (found["overlap"], found["two_label_images"]) == (0.75, 1)


def test_a_dark_image_deviates_by_nothing():
    query = asked([1, 1, 0], bright=0.0)
    assert deviations(query) == {
        "images": 1, "two_label_images": 1, "overlap": 0.0, "deviation": dict.fromkeys(FORMS, 0.0),
    }  # fmt: skip


def test_without_labels_nothing_is_measured():
    found = deviations(asked([0, 0, 0], [0, 0, 0]))
    assert found == {"images": 0, "two_label_images": 0, "overlap": 0.0, "deviation": {}}
