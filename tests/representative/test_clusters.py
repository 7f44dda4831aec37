"""Clusters of similar classes: the rules swept class by class, exhaustive search, and what the paper prints."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from cam_utils.data.voc import CLASSES
from cam_utils.representative import selection
from tests.representative.published import GROUPS, NAMES, PUBLISHED, from_clusters, random_b


@pytest.mark.parametrize("seed", range(5))
def test_published_clusters_come_back(seed):
    assert selection.cluster(from_clusters(seed=seed), seed=seed).members == sorted(GROUPS)


def _reference_objective(b, groups):
    """The mean over classes of the mean similarity to the others of the own cluster, counted one by one."""
    means = []
    for c in range(len(b)):
        others = [float(b[c, j]) for j in range(len(b)) if j != c and groups[j] == groups[c]]
        means.append(sum(others) / len(others) if others else 0.0)
    return sum(means) / len(b)


def _reference_sweeps(b, groups, count, smallest, sweeps, rule):
    """The rules, one class after the other: partition, what it reached after every sweep, whether it settled."""
    groups, history = list(groups), [_reference_objective(b, groups)]
    for _ in range(sweeps):
        moved = False
        for c in range(len(b)):
            if groups.count(groups[c]) <= smallest:
                continue
            scores = []
            for g in range(count):
                if rule == "literal":
                    there = [float(b[c, j]) for j in range(len(b)) if j != c and groups[j] == g]
                    scores.append(sum(there) / len(there))
                else:
                    scores.append(_reference_objective(b, [*groups[:c], g, *groups[c + 1 :]]))
            best = max(range(count), key=lambda g: scores[g])
            if scores[best] > scores[groups[c]] + 1e-12:
                groups[c], moved = best, True
        if not moved:
            return groups, history, True
        history.append(_reference_objective(b, groups))
    return groups, history, False


@pytest.mark.parametrize("rule", selection.RULES)
@pytest.mark.parametrize(("n", "smallest"), [(20, 4), (11, 2)])
def test_all_restarts_together_are_each_swept_by_its_rule(rule, n, smallest):
    b, settled = random_b(n, 1), []
    starts = torch.stack([torch.randperm(n, generator=torch.Generator().manual_seed(s)) % 4 for s in range(12)])
    groups = starts.clone()
    history, moving = selection._climb(b, groups, 4, smallest, 12, rule)
    for r, start in enumerate(starts.tolist()):
        expected, values, rest = _reference_sweeps(b, start, 4, smallest, 12, rule)
        assert groups[r].tolist() == expected and bool(moving[r]) is not rest
        known = history[:, r].tolist()
        assert known[: len(values)] == pytest.approx(values) and known[-1] == pytest.approx(values[-1])
        settled.append(rest)
        if rule == "objective":
            assert values == sorted(set(values))  # rises with every sweep
    assert all(settled) if rule == "objective" else not all(settled)  # the printed rule need not end


def test_the_best_restart_that_settled_is_returned_and_told():
    b = random_b(20, 1)
    found = selection.cluster(b, rule="literal", restarts=300, sweeps=30)
    generator = torch.Generator().manual_seed(0)
    starts = torch.stack([selection._partition(20, 4, 4, generator) for _ in range(300)])
    history, moving = selection._climb(b, starts, 4, 4, 30, "literal")
    values, rest = history[-1].tolist(), (~moving).tolist()
    assert found.converged and 0 < found.settled == sum(rest) / 300 < 1
    assert found.objective == max(v for v, ended in zip(values, rest, strict=True) if ended) < max(values)
    assert found.history[0] == history[0, values.index(found.objective)] and found.history[-1] == found.objective
    owner = {c: g for g, group in enumerate(found.members) for c in group}
    assert found.objective == pytest.approx(_reference_objective(b, [owner[c] for c in range(20)]))
    assert sorted(owner) == list(range(20)) and min(map(len, found.members)) >= 4
    cut = selection.cluster(b, rule="literal", restarts=3, sweeps=1)
    assert not cut.converged and cut.settled == 0 and len(cut.history) == 2
    ours = selection.cluster(b, restarts=300)
    assert ours.converged and ours.settled == 1 and ours.objective > found.objective


def partitions(n, count, smallest):
    """Every partition of n classes into `count` clusters of at least `smallest`, as cluster indices [n]."""

    def extend(groups, used):
        if len(groups) == n:
            if used == count and min(map(groups.count, range(count))) >= smallest:
                yield groups
            return
        for g in range(min(used + 1, count)):
            yield from extend([*groups, g], max(used, g + 1))

    return list(extend([], 0))


@pytest.fixture(scope="module")
def every():
    found = partitions(10, 4, 2)
    assert (
        len(found) == 9450
    )  # 10! / (4! 2! 2! 2! 3!) of sizes 4, 2, 2, 2 and 10! / (3! 3! 2! 2! 2! 2!) of 3, 3, 2, 2
    return np.array(found)


def _reference_optimum(b, every):
    """The largest objective of all partitions, by sums over the pairs of classes."""
    same = (every[:, :, None] == every[:, None]) & ~np.eye(len(b), dtype=bool)
    return ((same * b.numpy()).sum(2) / same.sum(2)).mean(1).max()


@pytest.mark.parametrize("seed", range(6))
def test_the_default_restarts_find_the_best_of_all_partitions(every, seed):
    b = random_b(10, seed) ** (1 + seed)  # from even to skewed, as the rows of probabilities are
    assert selection.cluster(b, smallest=2).objective == pytest.approx(_reference_optimum(b, every))


def test_they_find_it_on_the_matrices_of_the_digits_too(every):
    from workflow.studies.representative_choices import similarities

    for b in similarities().values():
        best = _reference_optimum(b.double(), every)
        assert selection.cluster(b, smallest=2).objective == pytest.approx(best, rel=1e-9)
        literal = selection.cluster(b, smallest=2, rule="literal")
        assert literal.converged and literal.objective < best


@pytest.mark.parametrize("rule", selection.RULES)
def test_what_the_others_lose_decides_between_the_rules(rule):
    # c0 leans to cluster {3, 4} by a little; cluster {0, 1, 2} would lose all that 1 and 2 have in 0.
    b = torch.zeros(5, 5, dtype=torch.float64)
    b[0, 1] = b[0, 2] = 1.0
    b[0, 3] = b[0, 4] = 1.1
    b[1, 0] = b[2, 0] = 5.0
    groups = torch.tensor([[0, 0, 0, 1, 1]])
    selection._move(b, groups, 0, 2, 2, rule)
    assert groups.tolist() == [[0, 0, 0, 1, 1] if rule == "objective" else [1, 0, 0, 1, 1]]


def test_agreement_is_the_share_of_pairs_treated_alike_beyond_chance():
    def reference(first, second, names):  # Hubert and Arabie 1985, from counts of pairs
        pairs = list(combinations(names, 2))
        both = [[any(a in g and b in g for g in each) for a, b in pairs] for each in (first, second)]
        together = sum(x and y for x, y in zip(*both, strict=True))
        ones, twos = map(sum, both)
        expected = ones * twos / len(pairs)
        return (together - expected) / ((ones + twos) / 2 - expected)

    other = [["bird", "boat", "cow", "sheep", "horse"], ["bus", "car", "train", "cat"], ["dog", "sofa", "unicorn"]]
    common = [name for group in other for name in group if name != "unicorn"]
    found = selection.agreement(NAMES, other)
    assert found == pytest.approx(reference(NAMES, other, common)) and 0 < found < 1
    assert selection.agreement(other, NAMES) == pytest.approx(found)
    assert selection.agreement(NAMES, NAMES[::-1]) == 1
    assert math.isnan(selection.agreement([["zero", "one"]], NAMES))
    assert math.isnan(selection.agreement([["cat", "one"]], NAMES))


def test_the_published_clusters_hold_every_class_once_and_make_s4_real_for_twelve():
    assert sorted(PUBLISHED["class"]) == sorted(CLASSES)
    assert [len(group) for group in GROUPS] == [4, 4, 7, 5]
    b = random_b(20, 0)
    for k in (1, 2, 3, 4, 5):
        real = 0
        for c, chosen in enumerate(selection.by_cluster(b, GROUPS, k)):
            places = []
            for members, one in zip(GROUPS, chosen, strict=True):
                others = sorted((j for j in members if j != c), key=lambda j: -b[c, j])
                places.append(others.index(one) + 1)
            real += places == [k] * 4
        assert selection.complete(GROUPS, k) == real == {4: 12, 5: 0}.get(k, 20)


def test_clustering_is_deterministic_under_a_seed():
    b = random_b(20, 3)
    assert selection.cluster(b, seed=5) == selection.cluster(b, seed=5)
