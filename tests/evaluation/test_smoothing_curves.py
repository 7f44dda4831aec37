"""SS-CAM's curves of sigma and N against single calls, and their correlations against numpy."""

import numpy as np
import pytest
import torch

from cam_utils.evaluation import smoothing_curves
from cam_utils.evaluation.smoothing_curves import Step, correlations
from cam_utils.methods import cams, sscam
from cam_utils.methods.query import ask
from cam_utils.methods.smoothing import reading
from cam_utils.networks import models
from cam_utils.pairs import Pairs


@pytest.fixture(scope="module")
def query():
    model = models.build("digits", 10, seed=3).eval()
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return ask(model, x, Pairs.alone(torch.arange(2), torch.tensor([3, 8])), activation="softmax")


def test_every_step_is_the_method_with_its_sigma_and_n(query):
    found = smoothing_curves.curves(query, [5, 6], sigmas=(0.5,), draws=(1, 3), usual=2)
    expected = [(s, n) for s, n in ((0.5, 2), (4.0, 1), (4.0, 2), (4.0, 3))]
    assert list(found) == [Step(form, *step) for form in smoothing_curves.FORMS for step in expected]
    place = (query.images, query.activations, query.pairs, query.score)
    with torch.no_grad():
        for step, (_, maps) in found.items():
            how = reading(step.form, sigma=step.sigma, draws=step.draws, seed=[5, 6])
            alpha = sscam.smoothed_weights(*place, how, weights=query.signs)
            by_hand = torch.einsum("pk,pkhw->phw", alpha, query.activations).relu()
            torch.testing.assert_close(maps, by_hand)


def test_the_table_compares_with_grad_cam_score_cam_and_the_plain_mean(query):
    found = smoothing_curves.curves(query, [5, 6], sigmas=(), draws=(1,), usual=1)
    others = smoothing_curves.references(query)
    grad_cam = cams.grad_cam(query.activations, query.gradients, query.pairs)
    torch.testing.assert_close(
        others["r_grad_cam"] / others["r_grad_cam"].amax((-2, -1), keepdim=True),
        grad_cam / grad_cam.amax((-2, -1), keepdim=True),
        rtol=1e-4,
        atol=1e-5,
    )
    table = smoothing_curves.table(found, others, {step: {"AD": torch.tensor([0.1, 0.2])} for step in found})
    assert len(table) == 2 * len(found) and table["AD"].tolist() == pytest.approx([0.1, 0.2] * len(found))
    for row in table.itertuples():
        own = found[Step(row.form, row.sigma, row.draws)][1][row.image_index].numpy().ravel()
        for name, other in others.items():
            by_numpy = np.corrcoef(own, other[row.image_index].numpy().ravel())[0, 1]
            assert getattr(row, name) == pytest.approx(by_numpy, abs=1e-6, nan_ok=True)


def test_a_constant_map_has_no_correlation():
    assert correlations(torch.ones(1, 2, 2), torch.rand(1, 2, 2)).isnan().all()
