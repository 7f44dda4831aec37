"""Insertion and deletion: closed form of an additive score, 2x2 by hand, all orders of four pixels, torchcam."""

from contextlib import nullcontext
from itertools import permutations

import pytest
import torch

from cam_utils.evaluation.perturbation import area, baseline, curves, pixel_counts, pixel_order
from cam_utils.pairs import Pairs


def pairs_for(count):
    """Return one pair of label 0 for each of `count` images."""
    every = torch.arange(count)
    return Pairs(every, torch.zeros_like(every), every)


@pytest.fixture
def additive():
    """An additive score, its image, and what each pixel contributes to it."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, 4, 6, generator=generator, dtype=torch.float64)
    weights = torch.randn(3, 4, 6, generator=generator, dtype=torch.float64)
    return (lambda x: (x * weights).sum((1, 2, 3))[:, None]), image, (image[0] * weights).sum(0)


def test_two_by_two_by_hand():
    image = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).expand(1, 3, 2, 2)
    order = torch.tensor([[[0.9, 0.1], [0.5, 0.0]]])  # 1, then 3, then 2, then 4
    blank, one = torch.zeros_like(image), pairs_for(1)

    def total(x):
        return x[:, 0].sum((1, 2))[:, None]

    assert curves(total, image, blank, order, one, steps=4).tolist() == [[10.0, 9.0, 6.0, 4.0, 0.0]]
    assert curves(total, blank, image, order, one, steps=4).tolist() == [[0.0, 1.0, 4.0, 6.0, 10.0]]
    assert curves(total, image, blank, order, one, steps=2).tolist() == [[10.0, 6.0, 0.0]]
    assert area(curves(total, image, blank, order, one, steps=2)).item() == (10 / 2 + 6 + 0) / 2


def test_an_additive_score_falls_by_what_its_pixels_contribute(additive):
    score, image, part = additive
    mask = torch.rand(1, 4, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gone = part.flatten()[mask.flatten().argsort(descending=True)].cumsum(0)
    expected = torch.cat([part.sum()[None], part.sum() - gone])
    found = curves(score, image, torch.zeros_like(image), mask, pairs_for(1), steps=24)
    torch.testing.assert_close(found[0], expected)


def test_the_map_of_contributions_has_the_least_deletion_of_all_orders_and_its_reverse_the_most(additive):
    score, image, part = additive
    image, blank, part = image[..., :2, :2], torch.zeros_like(image), part[:2, :2]

    def small(x):  # the score reads the corner only
        return score(torch.nn.functional.pad(x, (0, 4, 0, 2)))

    def deleted(mask):
        return area(curves(small, image, blank[..., :2, :2], mask[None], pairs_for(1), steps=4)).item()

    every = [deleted(torch.tensor(order, dtype=torch.float64).view(2, 2)) for order in permutations(range(4))]
    assert deleted(part) == pytest.approx(min(every)) and deleted(-part) == pytest.approx(max(every))
    assert min(every) < max(every)


def test_insertion_is_deletion_by_the_reversed_order_on_any_network(net):
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(3, 3, 12, 16, generator=generator, dtype=torch.float64)
    masks = torch.rand(3, 12, 16, generator=generator, dtype=torch.float64)  # no ties
    ends = images, torch.zeros_like(images)
    shown = curves(net, *ends[::-1], masks, pairs_for(3), steps=8)
    removed = curves(net, *ends, -masks, pairs_for(3), steps=8)
    torch.testing.assert_close(shown, removed.flip(1))


def test_a_step_changes_exactly_the_highest_pixels_and_all_ends_meet():
    seen = []
    image, end = torch.ones(1, 3, 5, 5), torch.zeros(1, 3, 5, 5)
    mask = torch.arange(25.0).view(1, 5, 5)

    def watch(x):
        seen.append(x[:, 0])
        return x.sum((1, 2, 3))[:, None]

    curves(watch, image, end, mask, pairs_for(1), steps=3, chunk=2)
    for picture, count in zip(torch.cat(seen), (0, 8, 17, 25), strict=True):
        assert torch.equal(picture == 0, mask[0] >= 25 - count)


def test_ties_take_their_turn_in_one_random_order_that_is_repeated():
    flat = torch.zeros(2, 8, 8)
    order = pixel_order(flat, seed=3)
    assert sorted(order[0].flatten().tolist()) == list(range(64))
    assert torch.equal(order[0], order[1]) and torch.equal(order, pixel_order(flat, seed=3))
    assert not torch.equal(order, pixel_order(flat, seed=4))
    assert not torch.equal(order[0].flatten(), torch.arange(64)), "not line by line"
    flat[0, 7, 7] = 1.0
    assert pixel_order(flat, seed=3)[0, 7, 7] == 0, "a higher pixel comes before all ties"


def test_pairs_share_forwards_and_chunks_do_not_matter(net):
    images = torch.randn(2, 3, 12, 16, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    pairs = Pairs(torch.tensor([0, 0, 1]), torch.tensor([1, 3, 2]), torch.tensor([0, 0, 1]))
    masks = torch.rand(3, 12, 16, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    found = curves(net, images, 0 * images, masks, pairs, steps=5)
    torch.testing.assert_close(curves(net, images, 0 * images, masks, pairs, steps=5, chunk=4), found)
    torch.testing.assert_close(found[:, 0], net(images)[pairs.image, pairs.label])
    torch.testing.assert_close(found[:, -1], net(0 * images)[pairs.image, pairs.label])


def test_areas_agree_with_torchcam(net):
    from torchcam.metrics import DeletionInsertionMetric

    images = torch.randn(4, 3, 12, 16, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    masks = torch.rand(4, 12, 16, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    labels = torch.tensor([0, 3, 1, 1])

    class Given:
        """An extractor of maps that are given: torchcam asks for no more."""

        model, _hooks_off = net, staticmethod(nullcontext)
        fuse_cams = staticmethod(lambda maps: maps[0])

        def __call__(self, *_):
            return [masks]

    metric = DeletionInsertionMetric(Given(), lambda logits: logits.softmax(1), steps=16)
    metric.update(images, labels.tolist())
    pairs = Pairs(torch.arange(4), labels, torch.arange(4))
    blank = torch.zeros_like(images)
    for kind, ends in {"deletion": (images, blank), "insertion": (blank, images)}.items():
        found = area(curves(lambda x: net(x).softmax(1), *ends, masks, pairs, steps=16))
        assert found.mean().item() == pytest.approx(metric.summary()[f"{kind}_auc"], rel=1e-5)


def test_the_blur_is_that_of_rise():
    image = torch.zeros(1, 3, 31, 31)
    image[..., 15, 15] = 1.0
    blurred = baseline("blur", image)[0, 0]
    offsets = torch.arange(-5.0, 6.0)
    window = torch.exp(-(offsets**2) / (2 * 5.0**2))
    window = window / window.sum()
    torch.testing.assert_close(blurred[10:21, 10:21], window[:, None] * window)
    assert blurred.sum().item() == pytest.approx(1.0) and blurred[9].abs().max() == 0


def test_wrong_input_is_named():
    image, one = torch.zeros(1, 3, 4, 4), pairs_for(1)
    with pytest.raises(ValueError, match=r"masks of the images' size \(4, 4\), got \(1, 2, 2\)"):
        curves(lambda x: x, image, image, torch.zeros(1, 2, 2), one)
    with pytest.raises(ValueError, match="expected 1 to 16 steps"):
        curves(lambda x: x, image, image, torch.zeros(1, 4, 4), one, steps=17)
    with pytest.raises(ValueError, match="unknown baseline 'blurr'; did you mean 'blur'"):
        baseline("blurr", image)
    assert pixel_counts(7, 7).tolist() == list(range(8))
