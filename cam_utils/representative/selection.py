"""Which classes a class is compared with (Meng, Huang, Li, Wu, Sec. 3.1): the selection S.

For every class c a few others, by position in its list of similar classes (Rank-a, Rank-b), at random, or one from
each cluster of similar classes (S-k). b [n, n] is the matrix of :mod:`cam_utils.representative.similarity`; a
selection is one list of class indices per explained class.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from cam_utils.names import check_known
from cam_utils.representative.similarity import ranked

RANK_A = (3, 9, 14, 17)  # positions in the list of 19 other classes, from 1 (deviation dev-rep-positions)
RANK_B = (3, 8, 13, 18)
POSITIONS_OF = 19
RULES = ("objective", "literal")  # of clustering

Selection = list[list[int]]
Positions = Sequence[int | float]


def spread(positions: Positions, count: int) -> list[float]:
    """Return `count` positions over the same range of the list: the paper's own for as many as it has.

    >>> spread(RANK_A, 4), spread(RANK_A, 2)
    ([3.0, 9.0, 14.0, 17.0], [3.0, 17.0])
    """
    at = torch.linspace(0, len(positions) - 1, count).double()
    low = at.floor().long().clamp(max=len(positions) - 2)
    known = torch.tensor(positions, dtype=torch.float64)
    return (known[low] + (at - low) * (known[low + 1] - known[low])).tolist()


def scaled_positions(positions: Positions, others: int, *, of: int = POSITIONS_OF) -> list[int]:
    """Return the paper's `positions` in a list of `of` classes as positions in one of `others`, kept apart.

    Raises ValueError for positions that do not rise from 1 to `of`, and for fewer others than positions.

    >>> scaled_positions(RANK_A, 19), scaled_positions(RANK_A, 4)
    ([3, 9, 14, 17], [1, 2, 3, 4])
    """
    check_count(len(positions), others + 1)
    if sorted(set(positions)) != list(positions) or not 1 <= positions[0] <= positions[-1] <= of:
        raise ValueError(f"expected ascending positions from 1 to {of}, got {list(positions)}")
    scaled: list[int] = []
    for k, position in enumerate(positions):
        wanted = round(position * others / of)
        first, last = (scaled[-1] + 1 if scaled else 1), others - (len(positions) - 1 - k)
        scaled.append(min(max(wanted, first), last))
    return scaled


def comparison_classes(p: Tensor, label: int, count: int = 4, *, positions: Positions = RANK_A) -> list[int]:
    """Return `count` classes to compare `label` with, at the rule's positions of one image's probabilities p [L].

    p is what one image says of the row B_c of the similarity matrix (Eq. 2). Raises ValueError for a label that is
    none of the L, and as :func:`scaled_positions`.

    >>> comparison_classes(torch.tensor([0.1, 0.5, 0.2, 0.15, 0.05]), 1, count=2)  # of 2, 3, 0, 4
    [2, 4]
    """
    if p.dim() != 1 or not 0 <= label < len(p):
        raise ValueError(f"expected probabilities [L] and one of their labels, got {list(p.shape)} and {label}")
    order = [j for j in p.argsort(descending=True, stable=True).tolist() if j != label]
    return [order[k - 1] for k in scaled_positions(spread(positions, count), len(order))]


def by_rank(b: Float[Tensor, "n n"], positions: Positions = RANK_A, *, of: int = POSITIONS_OF) -> Selection:
    """Return for every class the classes at fixed `positions` (from 1) of its list of other classes.

    The paper's positions are those of a list of `of` classes; on a list of another length they are scaled and kept
    apart. Raises ValueError if there are fewer other classes than positions.

    >>> b = torch.arange(20.0, 0, -1).expand(20, 20)
    >>> by_rank(b)[0], by_rank(b[:5, :5])[0]
    ([3, 9, 14, 17], [1, 2, 3, 4])
    """
    scaled = scaled_positions(positions, len(b) - 1, of=of)
    return [[order[k - 1] for k in scaled] for order in (ranked(b, c) for c in range(len(b)))]


def by_chance(classes: int, count: int = 4, *, seed: int = 0) -> Selection:
    """Return `count` random other classes for every class, the paper's "Random"."""
    check_count(count, classes)
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randperm(classes - 1, generator=generator)[:count].tolist() for _ in range(classes)]
    return [sorted(j + (j >= c) for j in row) for c, row in enumerate(drawn)]


def check_count(count: int, classes: int) -> None:
    """Raise ValueError if a class has fewer than `count` others to be compared with."""
    if not 1 <= count <= classes - 1:
        raise ValueError(
            f"expected 1 to {classes - 1} representatives, got {count}: each of {classes} classes has "
            f"{classes - 1} others"
        )


class Clusters(NamedTuple):
    """Groups of similar classes, the mean similarity within them, and how it changed from sweep to sweep.

    `converged`: the last sweep moved no class. `settled`: the share of all restarts of which this is true.
    """

    members: list[list[int]]
    objective: float
    history: list[float]
    converged: bool = True
    settled: float = 1.0


def within(b: Float[Tensor, "n n"], groups: Int[Tensor, "*runs n"]) -> Float[Tensor, "*runs"]:
    """Return the mean over classes of the mean similarity to the other members of the own cluster.

    >>> within(torch.tensor([[9.0, 2.0], [4.0, 9.0]]), torch.tensor([[0, 0], [0, 1]])).tolist()
    [3.0, 0.0]
    """
    inside = one_hot(groups).to(b)  # [*runs, n, clusters]
    sums = (inside * (b.clone().fill_diagonal_(0) @ inside)).sum(-1)  # a class is not similar to itself
    others = (inside * (inside.sum(-2, keepdim=True) - 1)).sum(-1)
    return (sums / others.clamp(min=1)).mean(-1)


def cluster(
    b: Tensor,
    count: int = 4,
    *,
    rule: str = "objective",
    smallest: int = 4,
    restarts: int = 1000,
    seed: int = 0,
    sweeps: int = 100,
) -> Clusters:
    """Return the classes in `count` clusters of at least `smallest` (constrained k-means, Secs. 3.1.3 and 4.3).

    From a random partition, each class in turn moves to another cluster, unless its own would keep fewer than
    `smallest`, until a sweep moves nothing or `sweeps` are over. By the rule "literal" it moves as Sec. 3.1.3
    prints: where its mean similarity to the members is largest, itself not counted. The others may lose more than
    it gains, and then the sweeps need not end. By the rule "objective" it moves where the mean similarity within
    clusters becomes largest, which therefore rises with every move (deviation dev-rep-clustering). The best of
    `restarts` partitions is returned, of the converged ones if there are any. Raises ValueError for an unknown
    rule and if the classes do not fill the clusters.

    >>> b = torch.tensor([[0.0, 5, 1, 1], [5, 0, 1, 1], [1, 1, 0, 5], [1, 1, 5, 0]])
    >>> cluster(b, 2, smallest=2).members, cluster(b, 2, smallest=1, rule="literal").members
    ([[0, 1], [2, 3]], [[0, 1], [2, 3]])
    """
    n = len(b)
    check_known("rule of clustering", rule, RULES)
    if b.shape != (n, n) or not bool(b.isfinite().all()):
        raise ValueError(f"expected a finite similarity matrix [n, n], got {list(b.shape)}")
    if count < 1 or smallest < 1 or count * smallest > n:
        raise ValueError(f"{n} classes do not fill {count} clusters of at least {smallest}")
    if restarts < 1:
        raise ValueError(f"expected restarts >= 1, got {restarts}")
    b, generator = b.double(), torch.Generator().manual_seed(seed)
    groups = torch.stack([_partition(n, count, smallest, generator) for _ in range(restarts)])
    history, moving = _climb(b, groups, count, smallest, sweeps, rule)
    reached = history[-1].where(~moving | moving.all(), -torch.inf)
    best = int(reached.argmax())
    members = sorted((groups[best] == g).nonzero()[:, 0].tolist() for g in range(count))
    values = history[:, best].tolist()
    while len(values) > 1 and values[-1] == values[-2]:  # sweeps of other restarts
        values.pop()
    return Clusters(members, float(reached[best]), values, not moving[best], float((~moving).double().mean()))


def _partition(n: int, count: int, smallest: int, generator: torch.Generator) -> Tensor:
    """Return a random cluster index [n]: `smallest` classes each, the rest anywhere."""
    first = torch.arange(count).repeat(smallest)
    rest = torch.randint(0, count, (n - len(first),), generator=generator)
    return torch.cat([first, rest])[torch.randperm(n, generator=generator)]


def _climb(
    b: Tensor, groups: Int[Tensor, "runs n"], count: int, smallest: int, sweeps: int, rule: str
) -> tuple[Float[Tensor, "sweeps runs"], Bool[Tensor, " runs"]]:
    """Improve all runs in place; return what each reaches, first at its start, and which still move at the end."""
    moving, history = torch.ones(len(groups), dtype=torch.bool), [within(b, groups)]
    for _ in range(sweeps):
        before, after = groups[moving], groups[moving]
        for c in range(len(b)):
            _move(b, after, c, count, smallest, rule)
        groups[moving] = after
        reached = history[-1].clone()
        reached[moving] = within(b, after)
        history.append(reached)
        moving[moving.clone()] = (after != before).any(1)
        if not moving.any():
            break
    return torch.stack(history), moving


def _move(b: Tensor, groups: Int[Tensor, "runs n"], c: int, count: int, smallest: int, rule: str) -> None:
    """Move class c to the cluster that the rule scores highest, in place and in every run where it is free to."""
    inside, run, own = one_hot(groups, count).to(b), torch.arange(len(groups)), groups[:, c]
    free = inside.sum(1)[run, own] > smallest
    inside[:, c] = 0
    sizes = inside.sum(1)  # [runs, count], of the others
    if rule == "literal":
        score = (b[c] @ inside) / sizes.clamp(min=1)
    else:  # by how much c raises the sum over a cluster's classes of their mean similarity
        before = (inside * (b.clone().fill_diagonal_(0) @ inside)).sum(1)
        after = before + (b[c] + b[:, c]) @ inside
        score = after / sizes.clamp(min=1) - before / (sizes - 1).clamp(min=1)
    best = score.argmax(1)
    run = run[free & (score[run, best] > score[run, own])]
    groups[run, c] = best[run]


def agreement(clusters: Sequence[Sequence[str]], others: Sequence[Sequence[str]]) -> float:
    """Return the adjusted Rand index of two clusterings on the class names that both have.

    1: the same groups; 0: on average, of random groups of these sizes; NaN for fewer than two names in common. The
    paper prints its clusters of VOC's classes (Sec. 4.3): data/paper_tables/repcam_clusters.csv.

    >>> agreement([["cat", "dog"], ["car", "bus"]], [["bus", "car", "van"], ["dog", "cat"]])
    1.0
    """
    from sklearn.metrics import adjusted_rand_score  # only who asks for it waits for the import

    first, second = ({name: g for g, group in enumerate(each) for name in group} for each in (clusters, others))
    common = [name for name in first if name in second]
    if len(common) < 2:
        return math.nan
    return float(adjusted_rand_score([first[name] for name in common], [second[name] for name in common]))


def complete(clusters: Clusters | Sequence[Sequence[int]], k: int) -> int:
    """Return for how many classes S-k is what it says: every cluster holds k classes besides the class itself.

    For the others :func:`by_cluster` takes the last class of some cluster; where it is 0 for two k, they may be the
    same selection.

    >>> [complete([[0, 1], [2, 3, 4]], k) for k in (1, 2, 3)]
    [5, 3, 0]
    """
    members = clusters.members if isinstance(clusters, Clusters) else clusters
    return sum(len(own) for own in members if all(len(group) - (group is own) >= k for group in members))


def by_cluster(b: Float[Tensor, "n n"], clusters: Clusters | Sequence[Sequence[int]], k: int = 1) -> Selection:
    """Return for every class the k-th most similar class of each cluster (S-k, k from 1).

    Of a cluster with fewer than k others the last is taken, and of the class's own cluster the class itself does
    not count (deviation dev-rep-short-cluster); a cluster that holds nothing else gives no representative. Raises
    ValueError for k < 1 or clusters that are no partition of the classes.
    """
    members = clusters.members if isinstance(clusters, Clusters) else [list(group) for group in clusters]
    if sorted(j for group in members for j in group) != list(range(len(b))):
        raise ValueError(f"expected clusters that hold each of {len(b)} classes once, got {members}")
    if k < 1:
        raise ValueError(f"expected k >= 1 of S-k, got {k}")
    orders = [[ranked(b, c, group) for group in members] for c in range(len(b))]
    return [[order[min(k, len(order)) - 1] for order in each if order] for each in orders]
