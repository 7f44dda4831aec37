"""Every metric by hand on numbers small enough to check by eye, and its ends of the scale."""

import math

import pytest
import torch
from torch import tensor

from cam_utils.data import Sample, collate
from cam_utils.evaluation import facts, metrics, regions
from cam_utils.pairs import pairs_of

P = tensor([[0.8, 0.5, 0.4], [0.6, 0.9, 0.1]])
O = tensor([[0.6, 0.6, 0.1], [0.6, 0.3, 0.1]])  # noqa: E741 - the paper's letter
LABEL = tensor([0, 1])
SETS = tensor([[True, True, True], [False, True, False]])


def test_score_metrics_by_hand():
    torch.testing.assert_close(metrics.average_drop(P, O, LABEL), tensor([0.25, 2 / 3]))
    torch.testing.assert_close(metrics.average_retention(P, O, LABEL), tensor([0.25, 2 / 3]))
    assert metrics.increase_in_confidence(P, O, LABEL).tolist() == [0, 0]
    assert metrics.increase_in_confidence(P, O, tensor([1, 0])).tolist() == [1, 0]  # equal is no increase
    others = metrics.average_drop_others(P, O, LABEL, SETS)
    assert others[0].item() == pytest.approx((0 + 0.75) / 2)  # label 1 rose: no drop; label 2 fell by 3/4
    assert math.isnan(others[1].item())  # alone in its set: undefined, not zero


def test_the_explained_label_is_never_among_the_others():
    with_own, without = SETS[:1], tensor([[False, True, True]])
    args = P[:1], O[:1], LABEL[:1]
    assert metrics.average_drop_others(*args, with_own) == metrics.average_drop_others(*args, without)


def test_an_all_ones_mask_drops_nothing_and_a_black_image_drops_by_the_whole_relative_gap():
    assert metrics.average_drop(P, P, LABEL).tolist() == [0, 0]
    assert metrics.average_drop(P, torch.zeros_like(P), LABEL).tolist() == [1, 1]


def test_a_probability_of_zero_has_no_relative_drop():
    assert math.isnan(metrics.average_drop(torch.zeros(1, 1), torch.zeros(1, 1), tensor([0])).item())


@pytest.mark.parametrize(
    ("a", "b", "expected"), [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.3, 0.6, 0.4)]
)
def test_harmonic_mean(a, b, expected):
    assert facts.harmonic_mean(a, b) == pytest.approx(expected)
    assert facts.harmonic_mean(tensor(a), tensor(b)).item() == pytest.approx(expected)


MASK = tensor([[[0.2, 0.9], [0.1, 0.8]]])
RIGHT = tensor([[[False, True], [False, True]]])


def test_pixel_metrics_by_hand():
    assert metrics.energy_inside(MASK, RIGHT).item() == pytest.approx(1.7 / 2.0)
    assert metrics.pointing_game(MASK, RIGHT).item() == 1
    assert metrics.pointing_game(MASK, ~RIGHT).item() == 0
    assert metrics.iou(MASK, RIGHT, 0.5).item() == 1
    assert metrics.iou(MASK, RIGHT, 0.15).item() == pytest.approx(2 / 3)
    assert metrics.iou(MASK, ~RIGHT, 0.15).item() == pytest.approx(1 / 4)


def test_ignored_pixels_count_neither_way():
    valid = tensor([[[False, True], [True, True]]])
    assert metrics.iou(MASK, RIGHT, 0.15, valid).item() == 1


def test_a_flat_map_points_by_share_and_a_zero_map_not_at_all():
    assert metrics.pointing_game(torch.ones(1, 2, 2), RIGHT).item() == 0.5
    assert math.isnan(metrics.pointing_game(torch.zeros(1, 2, 2), RIGHT).item())
    assert math.isnan(metrics.energy_inside(torch.zeros(1, 2, 2), RIGHT).item())
    assert metrics.iou(torch.zeros(1, 2, 2), RIGHT, 0.5).item() == 0


def test_an_empty_region_is_undefined():
    empty = torch.zeros(1, 2, 2, dtype=torch.bool)
    for value in (
        metrics.energy_inside(MASK, empty),
        metrics.pointing_game(MASK, empty),
        metrics.iou(MASK, empty, 0.5),
    ):
        assert math.isnan(value.item())


def test_energy_equals_the_box_sum_of_the_score_cam_authors_for_boxes():
    """Their formula: sum of the map in the box over its whole sum (rows are y, columns are x)."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(1, 10, 14, generator=generator)
    shape = regions.box_shapes(tensor([[2.0, 3.0, 9.0, 5.0]]), (10, 14))
    expected = mask[0, 3:5, 2:9].sum() / mask.sum()
    torch.testing.assert_close(metrics.energy_inside(mask, shape)[0], expected)


def test_pixel_metrics_use_own_and_others_regions_and_ignore():
    shapes = torch.zeros(3, 4, 4, dtype=torch.bool)
    shapes[0, 0] = shapes[1, 1] = shapes[2, 3] = True  # two objects of label 1 in rows 0 and 1, label 0 in row 3
    ignore = torch.zeros(4, 4, dtype=torch.bool)
    ignore[0, 0] = True
    boxes = tensor([[0.0, 0.0, 4.0, 1.0], [0.0, 1.0, 4.0, 2.0], [0.0, 3.0, 4.0, 4.0]])
    none = torch.zeros(3, dtype=torch.bool)
    sample = Sample(torch.zeros(3, 4, 4), tensor([1.0, 1, 0]), tensor([1, 1, 0]), boxes, shapes, ignore, none, "a")
    pairs = pairs_of(torch.ones(1, 3, dtype=torch.bool))
    found = regions.pixel_metrics(torch.ones(3, 4, 4), pairs, collate([sample]))
    torch.testing.assert_close(found["energy_in_mask"], tensor([4 / 15, 7 / 15, torch.nan]), equal_nan=True)
    torch.testing.assert_close(found["energy_in_others"], tensor([7 / 15, 4 / 15, torch.nan]), equal_nan=True)
    torch.testing.assert_close(found["energy_in_box"], tensor([4 / 16, 8 / 16, torch.nan]), equal_nan=True)
    torch.testing.assert_close(found["iou_0.5"], tensor([4 / 15, 7 / 15, torch.nan]), equal_nan=True)
    bare = regions.pixel_metrics(torch.ones(3, 4, 4), pairs, collate([sample._replace(masks=None, ignore=None)]))
    assert bare["energy_in_mask"].isnan().all() and not bare["energy_in_box"][:2].isnan().any()
