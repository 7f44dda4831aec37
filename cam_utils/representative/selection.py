"""Which classes a class is compared with (Meng, Huang, Li, Wu, Sec. 3.1): the selection S.

For every class c a few others, by position in its list of similar classes (Rank-a, Rank-b), at random, or one from
each cluster of similar classes (S-k). b [n, n] is the matrix of :mod:`cam_utils.representative.similarity`; a
selection is one list of class indices per explained class.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cam_utils.representative.similarity import ranked

RANK_A = (3, 9, 14, 17)  # positions in the list of 19 other classes, from 1 (deviation dev-rep-positions)
RANK_B = (3, 8, 13, 18)
POSITIONS_OF = 19

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
    """Groups of similar classes, the mean similarity within them, and how it grew from sweep to sweep."""

    members: list[list[int]]
    objective: float
    history: list[float]


def within(b: Float[Tensor, "n n"], groups: Int[Tensor, " n"]) -> float:
    """Return the mean over classes of the mean similarity to the other members of the own cluster.

    >>> within(torch.tensor([[9.0, 2.0], [4.0, 9.0]]), torch.tensor([0, 0]))
    3.0
    """
    same = (groups[:, None] == groups) & ~torch.eye(len(b), dtype=torch.bool)
    return float((torch.where(same, b, 0).sum(1) / same.sum(1).clamp(min=1)).mean())


def cluster(
    b: Tensor, count: int = 4, *, smallest: int = 4, restarts: int = 20, seed: int = 0, sweeps: int = 100
) -> Clusters:
    """Return the classes in `count` clusters of at least `smallest` (constrained k-means, Sec. 3.1.3).

    From a random partition, each class in turn wants to move where its mean similarity to the members is largest.
    The paper moves it; but its own gain may be less than what the others lose, and then the sweeps need not end.
    Here a move must also raise the mean similarity within clusters, which therefore never decreases. The best of
    `restarts` partitions is returned. Raises ValueError if the classes do not fill the clusters.
    """
    n = len(b)
    if b.shape != (n, n) or not bool(b.isfinite().all()):
        raise ValueError(f"expected a finite similarity matrix [n, n], got {list(b.shape)}")
    if count < 1 or smallest < 1 or count * smallest > n:
        raise ValueError(f"{n} classes do not fill {count} clusters of at least {smallest}")
    if restarts < 1:
        raise ValueError(f"expected restarts >= 1, got {restarts}")
    b, generator = b.double(), torch.Generator().manual_seed(seed)
    runs = [_climb(b, _partition(n, count, smallest, generator), count, smallest, sweeps) for _ in range(restarts)]
    groups, history = max(runs, key=lambda run: run[1][-1])
    members = [(groups == g).nonzero()[:, 0].tolist() for g in range(count)]
    return Clusters(sorted(members), history[-1], history)


def _partition(n: int, count: int, smallest: int, generator: torch.Generator) -> Tensor:
    """Return a random cluster index [n]: `smallest` classes each, the rest anywhere."""
    first = torch.arange(count).repeat(smallest)
    rest = torch.randint(0, count, (n - len(first),), generator=generator)
    return torch.cat([first, rest])[torch.randperm(n, generator=generator)]


def _climb(b: Tensor, groups: Tensor, count: int, smallest: int, sweeps: int) -> tuple[Tensor, list[float]]:
    history = [within(b, groups)]
    for _ in range(sweeps):
        moved = False
        for c in range(len(b)):
            own = int(groups[c])
            if int((groups == own).sum()) <= smallest:
                continue
            mine = torch.nn.functional.one_hot(groups, count).double()
            mine[c] = 0  # c is not similar to itself
            means = (b[c] @ mine) / mine.sum(0).clamp(min=1)
            best = int(means.argmax())
            if best == own or means[best] <= means[own]:
                continue
            groups[c] = best
            after = within(b, groups)
            if after > history[-1]:
                history.append(after)
                moved = True
            else:
                groups[c] = own
        if not moved:
            break
    return groups, history


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
