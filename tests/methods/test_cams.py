"""Identities of Eqs. 1 to 9, hand-computed 2x2 cases, and the official code's array program written out."""

import pytest
import torch
from torch import einsum, relu

from cam_utils import maps
from cam_utils.methods import cams
from cam_utils.methods.weighted_sums import weighted_sum
from cam_utils.pairs import Pairs, pairs_of

B, K, L, H, W = 3, 7, 5, 4, 6


@pytest.fixture
def scene():
    """Activations, head weights and sets of 1, 2 and 4 labels, in double precision."""
    generator = torch.Generator().manual_seed(1)
    activations = torch.randn(B, K, H, W, dtype=torch.float64, generator=generator).relu()
    weights = torch.randn(L, K, dtype=torch.float64, generator=generator)
    present = torch.tensor([[0, 0, 1, 0, 0], [1, 0, 0, 1, 0], [1, 1, 0, 1, 1]], dtype=torch.bool)
    return activations, weights, present


def gap_gradients(weights, pairs):
    return (weights[pairs.label] / (H * W))[..., None, None].expand(-1, -1, H, W)


def _reference_official(activations, weights, present):
    """The official program (David et al. 2022): [B, K, L] arrays over all labels, then the detected picked."""
    a, w, det = activations.permute(0, 2, 3, 1), weights.T, present.to(weights.dtype)
    w_det = w[None] * det[:, None, :]
    total = w_det.sum(-1, keepdim=True)
    others = total - w_det
    c = det.sum(-1)[:, None, None]
    g = a.mean((1, 2))
    alphas = {
        "cam": w[None].expand(len(a), -1, -1),
        "minmax": w - others / (c - 1).clamp(min=1),
        "d_minmax": relu(w) - relu(others) / (c - 1).clamp(min=1) + total.clamp(max=0) / c.clamp(min=1),
        "pp": relu(w) / (2 + g[:, :, None] * w),
    }
    return {k: relu(einsum("bhwk,bkl->blhw", a, alpha))[present] for k, alpha in alphas.items()}


def test_the_cam_forms_equal_the_official_array_program(scene):
    activations, weights, present = scene
    pairs = pairs_of(present)
    expected = _reference_official(*scene)
    torch.testing.assert_close(cams.cam(activations, weights, pairs), expected["cam"])
    torch.testing.assert_close(cams.minmax_cam(activations, weights, pairs), expected["minmax"])
    torch.testing.assert_close(cams.d_minmax_cam(activations, weights, pairs), expected["d_minmax"])


def test_grad_cam_pp_on_gap_has_the_closed_form_relu_w_over_2_plus_gw(scene):
    activations, weights, present = scene
    pairs = pairs_of(present)
    ours = cams.grad_cam_pp(activations, gap_gradients(weights, pairs), pairs)
    torch.testing.assert_close(maps.normalise(ours), maps.normalise(_reference_official(*scene)["pp"]))


def test_grad_cam_pp_equals_eq_19_written_with_powers(scene):
    activations, _, present = scene
    pairs = pairs_of(present)
    g = torch.randn(len(pairs), K, H, W, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    mass = activations[pairs.image].sum((-2, -1), keepdim=True)
    a = g**2 / (2 * g**2 + mass * g**3)
    alpha = (a * relu(g)).sum((-2, -1))
    expected = relu(einsum("pk,pkhw->phw", alpha, activations[pairs.image]))
    torch.testing.assert_close(cams.grad_cam_pp(activations, g, pairs), expected)


def test_grad_cam_pp_is_zero_not_nan_where_the_gradient_is_zero(scene):
    activations, _, present = scene
    pairs = pairs_of(present)
    grads = torch.zeros(len(pairs), K, H, W, dtype=torch.float64)
    assert torch.equal(cams.grad_cam_pp(activations, grads, pairs), torch.zeros(len(pairs), H, W).double())


@pytest.mark.parametrize(
    ("grad_form", "cam_form"),
    [
        (cams.grad_cam, cams.cam),
        (cams.minmax_grad_cam, cams.minmax_cam),
        (cams.d_minmax_grad_cam, cams.d_minmax_cam),
    ],
)
def test_on_gap_and_a_linear_head_the_gradient_form_is_the_cam_form(scene, grad_form, cam_form):
    activations, weights, present = scene
    pairs = pairs_of(present)
    torch.testing.assert_close(
        grad_form(activations, gap_gradients(weights, pairs), pairs), cam_form(activations, weights, pairs)
    )


def test_d_minmax_grad_differs_from_rectifying_after_pooling_when_gradients_change_sign(scene):
    activations, _, present = scene
    pairs = pairs_of(present)
    grads = torch.randn(len(pairs), K, H, W, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    pooled_first = weighted_sum(activations, cams.d_minmax(grads.sum((-2, -1)), pairs), pairs).relu()
    assert (cams.d_minmax_grad_cam(activations, grads, pairs) - pooled_first).abs().max() > 0.1


def test_one_label_alone_gives_cam_in_all_three_forms(scene):
    activations, weights, present = scene
    pairs = pairs_of(present[:1])
    cam = cams.cam(activations, weights, pairs)
    assert torch.equal(cams.minmax_cam(activations, weights, pairs), cam)
    torch.testing.assert_close(cams.d_minmax_cam(activations, weights, pairs), cam)


def test_raw_minmax_maps_of_a_set_sum_to_zero_and_two_labels_have_disjoint_supports(scene):
    activations, weights, present = scene
    pairs = pairs_of(present)
    raw = weighted_sum(activations, cams.minmax(weights[pairs.label], pairs), pairs)
    for group in (1, 2):
        torch.testing.assert_close(raw[pairs.group == group].sum(0), torch.zeros(H, W).double())
    first, second = cams.minmax_cam(activations, weights, pairs)[pairs.group == 1]
    assert first.any() and second.any()
    assert not ((first > 1e-12) & (second > 1e-12)).any()


def test_minmax_cam_is_cam_minus_the_mean_of_all_detected_up_to_scale(scene):
    activations, weights, present = scene
    pairs = pairs_of(present[2:], torch.tensor([2]))
    n = len(pairs)
    mean = weights[pairs.label].mean(0)
    centred = weighted_sum(activations, weights[pairs.label] - mean, pairs)
    expected = maps.normalise(relu(centred))
    torch.testing.assert_close(maps.normalise(cams.minmax_cam(activations, weights, pairs)), expected)
    raw = weighted_sum(activations, cams.minmax(weights[pairs.label], pairs), pairs)
    torch.testing.assert_close(raw, n / (n - 1) * centred)


def test_with_non_negative_weights_d_minmax_is_minmax(scene):
    activations, weights, present = scene
    pairs = pairs_of(present)
    torch.testing.assert_close(
        cams.d_minmax_cam(activations, weights.abs(), pairs), cams.minmax_cam(activations, weights.abs(), pairs)
    )


def test_hand_computed_two_by_two():
    activations = torch.tensor([[[[1.0, 0.0], [2.0, 1.0]], [[0.0, 3.0], [1.0, 1.0]]]])
    weights = torch.tensor([[2.0, -1.0], [1.0, 1.0]])
    pairs = pairs_of(torch.tensor([[True, True]]))
    # CAM: 2 A1 - A2 and A1 + A2, rectified
    assert cams.cam(activations, weights, pairs).tolist() == [[[2, 0], [3, 1]], [[1, 3], [3, 2]]]
    # MinMax: weights (1, -2) and (-1, 2)
    assert cams.minmax_cam(activations, weights, pairs).tolist() == [[[1, 0], [0, 0]], [[0, 6], [0, 1]]]
    # D-MinMax, label 0: (2-1, 0-1) + min(0, (3, 0))/2 = (1, -1); label 1: (1-2, 1-0) = (-1, 1)
    assert cams.d_minmax_cam(activations, weights, pairs).tolist() == [[[1, 0], [1, 0]], [[0, 3], [0, 0]]]


def test_background_term_of_d_minmax_by_hand():
    pairs = pairs_of(torch.tensor([[True, True]]))
    # w = 1 and -3: positive 1 and 0, others' positive 0 and 1, background min(0, -2)/2 = -1
    assert cams.d_minmax(torch.tensor([[1.0], [-3.0]]), pairs).tolist() == [[0.0], [-2.0]]


def test_two_sets_for_one_image_equal_two_images(scene):
    activations, weights, present = scene
    image = torch.tensor([1, 1])
    sets = present[1:]
    ours = cams.minmax_cam(activations, weights, pairs_of(sets, image))
    torch.testing.assert_close(ours, cams.minmax_cam(activations[image], weights, pairs_of(sets)))


def test_permuting_channels_changes_nothing(scene):
    activations, weights, present = scene
    pairs, order = pairs_of(present), torch.randperm(K, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(
        cams.d_minmax_cam(activations[:, order], weights[:, order], pairs),
        cams.d_minmax_cam(activations, weights, pairs),
    )


def test_single_precision_agrees_with_double(scene):
    activations, weights, present = scene
    pairs = pairs_of(present)
    for method in (cams.cam, cams.minmax_cam, cams.d_minmax_cam):
        single = method(activations.float(), weights.float(), pairs).double()
        torch.testing.assert_close(single, method(activations, weights, pairs), rtol=1e-4, atol=1e-5)


def test_zero_activations_give_zero_maps_and_no_pairs_give_none(scene):
    activations, weights, present = scene
    zero = cams.minmax_cam(torch.zeros_like(activations), weights, pairs_of(present))
    assert torch.equal(maps.normalise(zero), torch.zeros_like(zero))
    assert cams.minmax_cam(activations, weights, pairs_of(torch.zeros_like(present))).shape == (0, H, W)
    assert len(Pairs.one().take([0, 0])) == 2
