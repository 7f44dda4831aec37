"""Statistics of a head's weights against hand-computed matrices, other libraries, and enumeration."""

from itertools import combinations, product

import numpy as np
import pytest
import torch
from scipy import stats

from cam_utils.networks import head_facts
from cam_utils.networks.models import KernelUsageHead

# Kernels 0 to 3 of twelve; all others are small and negative for both labels.
WEIGHTS = np.full((2, 12), -0.125)
WEIGHTS[0, :4] = [4.0, 0.5, 0.25, -1.0]
WEIGHTS[1, :4] = [1.0, 0.0, 2.0, 0.2]


def test_a_small_matrix_by_hand():
    found = head_facts.of_weights(WEIGHTS)
    # Positive: 4.75 + 3.2; negative: 1 of kernel 3 and 16 times 0.125.
    assert found["positive mass (%)"] == pytest.approx(100 * 7.95 / (7.95 + 3.0))
    assert found["negative (%)"] == pytest.approx(100 * 17 / 24)
    # A tenth of the largest: 0.4 and 0.2. Kernel 0 serves both, 1 the first, 2 and 3 the second, eight serve none.
    assert found["labels per kernel"] == pytest.approx(5 / 12)
    assert found["kernels for one label (%)"] == pytest.approx(100 * 3 / 12)
    assert found["kernels for none (%)"] == pytest.approx(100 * 8 / 12)
    assert found["positive kernels per label"] == 3
    assert found["of these positive for both"] == 2  # kernels 0 and 2
    assert found["shared by chance"] == pytest.approx(100 / 12) and found["shared at least"] == 8


def test_skewness_and_correlation_are_those_of_scipy_in_numpy_and_in_torch():
    weights = np.random.default_rng(0).normal(size=(3, 40)) ** 3
    found = head_facts.of_weights(weights)
    assert found["skewness"] == pytest.approx(stats.skew(weights, axis=None))
    pairs = [abs(stats.pearsonr(weights[a], weights[b])[0]) for a, b in combinations(range(3), 2)]
    assert found["mean |correlation|"] == pytest.approx(np.mean(pairs))
    top = [set(np.argsort(-row)[:10]) for row in weights]
    assert found["shared top-10 kernels"] == np.mean([len(a & b) for a, b in combinations(top, 2)])
    assert head_facts.of_weights(torch.from_numpy(weights)) == found
    assert head_facts.of_weights(3 * weights) == pytest.approx(found), "none depends on the scale"


def test_a_mirrored_matrix_is_half_positive_and_not_skewed():
    half = np.random.default_rng(1).exponential(size=(4, 30))
    found = head_facts.of_weights(np.concatenate([half, -half], axis=1))
    assert found["positive mass (%)"] == pytest.approx(50) and found["skewness"] == pytest.approx(0, abs=1e-9)


def test_each_kernel_of_a_fierce_kernel_usage_head_serves_one_label():
    head = KernelUsageHead(20, 2)
    with torch.no_grad():
        head.weight[:] = torch.arange(20) % 2 * 20.0
        head.weight[1] = 20.0 - head.weight[0]
    found = head_facts.of_weights(head.class_weights().detach())
    assert (found["kernels for one label (%)"], found["kernels for none (%)"]) == (100, 0)
    assert found["of these positive for both"] == 0 and found["positive mass (%)"] == pytest.approx(100)


def test_a_label_without_a_positive_weight_is_served_by_none():
    found = head_facts.of_weights(-np.abs(np.random.default_rng(2).normal(size=(2, 10))))
    assert found["labels per kernel"] == 0 and found["kernels for none (%)"] == 100
    assert found["positive mass (%)"] == 0 and found["of these positive for both"] == 0


def test_equal_weights_have_no_skewness():
    found = head_facts.of_weights(np.zeros((2, 10)))
    undefined = {name for name, value in found.items() if np.isnan(value)}
    assert undefined == {"skewness", "mean |correlation|", "positive mass (%)"}


def test_chance_is_what_random_sets_share():
    generator = np.random.default_rng(3)
    drawn = [[set(generator.permutation(64)[:10]) for _ in range(2)] for _ in range(4000)]
    shared = [len(a & b) for a, b in drawn]
    assert head_facts.chance(64) == pytest.approx(np.mean(shared), abs=4 * np.std(shared) / 4000**0.5)


@pytest.mark.parametrize(("labels", "kernels", "top"), [(2, 4, 3), (3, 4, 2), (3, 5, 3), (4, 4, 2), (2, 6, 2)])
def test_the_least_that_lists_share_is_that_of_all_lists(labels, kernels, top):
    """Every choice of lists is tried; the first list can be any, so it is fixed."""
    sets = [frozenset(each) for each in combinations(range(kernels), top)]
    least = min(
        sum(len(a & b) for a, b in combinations((sets[0], *rest), 2)) for rest in product(sets, repeat=labels - 1)
    )
    assert head_facts.least_shared(labels, kernels, top) == pytest.approx(least / (labels * (labels - 1) / 2))


@pytest.mark.parametrize("shape", [(10,), (1, 64), (3, 9)])
def test_weights_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected weights \[L >= 2, K >= 10\], got shape"):
        head_facts.of_weights(np.ones(shape))
