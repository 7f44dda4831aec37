"""One linear head for every pair of classes, all fitted together on the pooled features of a frozen network.

Meng et al. (Sec. 3.2) train one binary network per pair of classes, to say what tells class c from class s. Here
the network is shared and frozen and only the head of the pair is its own: an L2-regularised logistic regression.
Shapes: N images, K channels, M pairs. One head serves both directions: the head of s against c is its negative.

Features enter as they are: a head is linear in the activations and weighs them into a map as CAM does. The caller
may scale all of them by one number s; with C / s^2 the heads then give the same scores.
"""

import warnings
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from torch import Tensor

Features, Labels = Float[Tensor, "rows channels"], Int[Tensor, " rows"]


class PairHeads(NamedTuple):
    """The heads: pair (c, s) decides for its first class c where weight @ x + bias > 0."""

    pairs: Int[Tensor, "pairs 2"]
    weight: Float[Tensor, "pairs channels"]
    bias: Float[Tensor, " pairs"]
    accuracy: Float[Tensor, " pairs"]  # on the rows that were fitted, in [0, 1]


def class_pairs(n: int) -> Int[Tensor, "pairs 2"]:
    """Return the n(n-1)/2 pairs of n classes, first < second.

    >>> class_pairs(3).tolist()
    [[0, 1], [0, 2], [1, 2]]
    """
    return torch.triu_indices(n, n, 1).T.contiguous()


def fit_heads(
    features: Features,
    labels: Labels,
    pairs: Int[Tensor, "pairs 2"] | None = None,
    *,
    C: float = 1.0,
    tolerance: float = 1e-6,
    iterations: int = 500,
    chunk: int = 1024,
) -> PairHeads:
    """Return the head of every pair, each the minimum of C sum_i log(1 + exp(-m_i)) + |w|^2 / 2.

    The margin m is w x + b on the rows of the pair's first class and -(w x + b) on those of its second; b is not
    penalised. This is the objective of scikit-learn's LogisticRegression(C=C).

    Args:
        features: of any scale; their precision, float32 or float64, is that of the computation.
        labels: the one class of each row, 0 to n-1.
        pairs: the pairs wanted, the positive class first; all pairs of the n classes by default.
        tolerance: a head is done when no entry of the gradient per row exceeds this, with features in units of
            their overall standard deviation. Heads that miss it are counted in a warning.
        iterations: the most steps; each is two products with the features.
        chunk: pairs solved together; the working memory is about 15 chunk (K + rows of a pair) numbers.

    Raises:
        ValueError: for malformed input, or for a class of a pair without any row.

    >>> heads = fit_heads(torch.tensor([[0.0], [2.0], [4.0]]), torch.tensor([0, 1, 1]), C=1e4)
    >>> (-heads.bias / heads.weight[:, 0]).round().tolist()  # the boundary lies between 0 and 2
    [1.0]
    """
    sizes = _sizes(features, labels, C)
    pairs = class_pairs(len(sizes)).to(labels.device) if pairs is None else pairs
    _check_pairs(pairs, sizes)
    mean = features.mean(0)
    scale = (features - mean).square().mean().sqrt()
    scale = torch.where(scale > 0, scale, 1.0)
    x = torch.cat([(features - mean) / scale, torch.ones_like(features[:, :1])], 1)  # [N, K+1]
    rows = list(x[labels.argsort(stable=True)].split(sizes.tolist()))
    ridge = 1 / (C * float(scale) ** 2)  # the objective divided by C, with weights of the scaled features
    parts = [_solve(rows, part, ridge, tolerance, iterations) for part in pairs.split(chunk)]
    heads, accuracy, error = (torch.cat(each) for each in zip(*parts, strict=True))
    if missed := int((~(error <= tolerance)).sum()):
        worst = f"the largest gradient is {float(error.max()):.1e}"
        message = (
            f"{missed} of {len(pairs)} heads missed the tolerance {tolerance:g} in {iterations} iterations: {worst}"
        )
        warnings.warn(f"{message}; allow more iterations or pass float64 features", stacklevel=2)
    weight = heads[:, :-1] / scale
    return PairHeads(pairs, weight, heads[:, -1] - weight @ mean, accuracy)


def directed(heads: PairHeads, n: int) -> tuple[Float[Tensor, "n n channels"], Float[Tensor, "n n"]]:
    """Return weights [n, n, K] and bias [n, n]: entry (c, s) is the head of c against s.

    Both are antisymmetric; the diagonal and the pairs without a head are zero.

    >>> heads = PairHeads(torch.tensor([[0, 2]]), torch.tensor([[5.0]]), torch.tensor([1.0]), torch.tensor([1.0]))
    >>> directed(heads, 3)[1].tolist()
    [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]
    """
    if heads.pairs.numel() and int(heads.pairs.max()) >= n:
        raise ValueError(f"expected pairs of the classes 0 to {n - 1}, got class {int(heads.pairs.max())}")
    first, second = heads.pairs.unbind(1)
    weights, bias = heads.weight.new_zeros(n, n, heads.weight.shape[1]), heads.bias.new_zeros(n, n)
    weights[first, second], bias[first, second] = heads.weight, heads.bias
    return weights - weights.transpose(0, 1), bias - bias.T


def fit_softmax(
    features: Features, labels: Labels, n: int, *, C: float = 1.0, tolerance: float = 1e-6, iterations: int = 1000
) -> tuple[Float[Tensor, "classes channels"], Float[Tensor, " classes"]]:
    """Return weight [n, K] and bias [n] of one softmax head for all n classes: the head the pairs are compared to.

    It minimises C sum_i (cross-entropy of row i) + |W|^2 / 2 and is fitted by scikit-learn in float64. Weights and
    biases sum to zero over the classes. Raises ValueError as `fit_heads` does.

    >>> fit_softmax(torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1]), 2)[0].sign().tolist()
    [[-1.0], [1.0]]
    """
    sizes = _sizes(features, labels, C, n)
    if n < 2 or not sizes.all():
        raise ValueError(f"expected a row of each of 2 or more classes, got {sizes.tolist()} rows")
    x = features.detach().cpu().double()
    mean = x.mean(0)
    # Of two classes scikit-learn fits the difference v of the weights; |W|^2 is then |v|^2 / 2.
    model = LogisticRegression(C=2 * C if n == 2 else C, tol=tolerance, max_iter=iterations)
    model.fit((x - mean).numpy(), labels.cpu().numpy())
    weight, bias = torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_)
    if n == 2:
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    bias = bias - bias.mean() - weight @ mean
    return weight.to(features), bias.to(features)


class _Margins:
    """Margins of all rows of both classes under every head: one product per class serves all its pairs.

    An edge is a pair seen from one of its classes. Edges are sorted by class, and the margins lie edge after
    edge in one vector. Heads [M, K+1] are centred: their last entry is the score at the mean of the pair's rows,
    which keeps the bias apart from the weights (about a third fewer steps).
    """

    def __init__(self, rows: list[Tensor], means: Tensor, pairs: Tensor) -> None:
        classes, order = pairs.T.flatten().sort(stable=True)  # [2M], first classes before second
        sizes = torch.tensor([len(each) for each in rows], device=pairs.device)
        self.place = order.argsort().view(2, -1)  # the two edges of each pair
        self.pair = order % len(pairs)
        self.sign = torch.where(order < len(pairs), 1, -1).to(means.dtype)
        self.length = sizes[classes]
        present, heads = torch.unique_consecutive(classes, return_counts=True)
        self.rows, self.heads = [rows[c] for c in present.tolist()], heads.tolist()
        self.blocks = (heads * sizes[present]).tolist()
        self.signs = self.spread(self.sign)
        self.count = sizes[pairs].sum(1).to(means.dtype)  # [M]
        share = sizes[pairs] / self.count[:, None]
        self.mean = means[pairs[:, 0]] * share[:, :1] + means[pairs[:, 1]] * share[:, 1:]
        self.mean[:, -1] = 0

    def spread(self, edges: Tensor) -> Tensor:
        """Return the value of each edge for each of its rows."""
        return edges.repeat_interleave(self.length, output_size=sum(self.blocks))

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of values of rows for each pair."""
        first, second = torch.segment_reduce(values, "sum", lengths=self.length, unsafe=True)[self.place]
        return first + second

    def raw(self, heads: Tensor) -> Tensor:
        """Return the heads with their bias where features are zero."""
        return torch.cat([heads[:, :-1], heads[:, -1:] - (heads * self.mean).sum(1, keepdim=True)], 1)

    def of(self, heads: Tensor) -> Tensor:
        """Return the margins, a linear function of the heads."""
        edges = self.raw(heads).index_select(0, self.pair).split(self.heads)
        return torch.cat([(w @ x.T).flatten() for w, x in zip(edges, self.rows, strict=True)]) * self.signs

    def back(self, values: Tensor) -> Tensor:
        """Return the transpose of `of`: for each pair the sum of its rows (signed), weighed by values."""
        parts = zip(values.split(self.blocks), self.heads, self.rows, strict=True)
        edges = torch.cat([v.view(heads, -1) @ x for v, heads, x in parts])
        total = edges.index_select(0, self.place[0]) - edges.index_select(0, self.place[1])
        return torch.addcmul(total, total[:, -1:], self.mean, value=-1)


def _solve(
    rows: list[Tensor], pairs: Tensor, ridge: float, tolerance: float, iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the raw heads [M, K+1], their accuracy, their gradient: nonlinear conjugate gradients, all in step.

    Margins are linear in the heads, so the search along a direction is exact at the price of elementwise work:
    a step is one product for the margins and one for the gradient. Heads that are done leave the batch.
    """
    means = torch.stack([x.mean(0) if len(x) else x.new_zeros(x.shape[1]) for x in rows])
    every = margins = _Margins(rows, means, pairs)
    penalty = torch.full_like(means[0], ridge)
    penalty[-1] = 0
    found, errors = means.new_zeros(len(pairs), means.shape[1]), torch.zeros_like(every.count)
    active, heads = torch.arange(len(pairs), device=pairs.device), found
    m = margins.of(heads)
    gradient = penalty * heads - margins.back(torch.sigmoid(-m))
    direction = -gradient
    for step in range(iterations + 1):
        error = gradient.abs().amax(1) / margins.count
        busy = ~(error <= tolerance)
        left = int(busy.sum())
        if step == iterations or left < 0.7 * len(busy):
            found, errors = found.index_copy(0, active, heads), errors.index_copy(0, active, error)
            if step == iterations or not left:
                break
            active, heads, gradient, direction = (v[busy] for v in (active, heads, gradient, direction))
            margins, busy = _Margins(rows, means, pairs[active]), busy[busy]
            m = margins.of(heads)
        direction = direction * busy[:, None]
        t, m, q = _search(margins, m, heads, gradient, direction, penalty)
        heads = torch.addcmul(heads, t[:, None], direction)
        new = torch.addcmul(-margins.back(q), penalty, heads)
        beta = (new * (new - gradient)).sum(1) / (gradient * gradient).sum(1).clamp(min=1e-30)  # Polak-Ribiere
        direction = torch.addcmul(-new, beta.clamp(min=0)[:, None], direction)
        uphill = (direction * new).sum(1) >= 0
        gradient, direction = new, torch.where(uphill[:, None], -new, direction)
    accuracy = every.sum((every.of(found) > 0).to(means.dtype)) / every.count
    return every.raw(found), accuracy, errors


def _search(
    margins: _Margins, m: Tensor, heads: Tensor, gradient: Tensor, direction: Tensor, penalty: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the step t of each head, where its slope is a fifth of the slope at 0, new margins and sigmoid(-m).

    Newton's method on a convex function of one number, held by bisection between the last two signs of the slope.
    """
    change, pull = margins.of(direction), penalty * direction
    start, fixed, rise = ((v * direction).sum(1) for v in (gradient, penalty * heads, pull))
    t, slope, q = torch.zeros_like(start), start, torch.sigmoid(-m)
    low, high, near = t, torch.full_like(t, torch.inf), start == 0
    for _ in range(40):
        curvature = rise + margins.sum(q * (1 - q) * change * change)
        newton = t - slope / curvature.clamp(min=1e-30)
        inside = (newton > low) & (newton < high)
        t = torch.where(near, t, torch.where(inside, newton, (low + high) / 2))
        moved = torch.addcmul(m, margins.spread(t[margins.pair]), change)
        q = torch.sigmoid(-moved)
        slope = fixed + t * rise - margins.sum(q * change)
        low, high = torch.where(slope < 0, t, low), torch.where(slope > 0, t, high)
        near = slope.abs() <= 0.2 * start.abs()
        if near.all():
            break
    return t, moved, q


def _sizes(features: Tensor, labels: Tensor, C: float, n: int | None = None) -> Tensor:
    """Return the number of rows of each class, or raise ValueError."""
    if features.dim() != 2 or not features.numel() or features.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"expected float features (N,K), got {features.dtype} {tuple(features.shape)}")
    if not features.isfinite().all():
        raise ValueError("expected finite features, got infinity or NaN")
    if labels.shape != features.shape[:1] or labels.dtype != torch.int64:
        raise ValueError(f"expected {len(features)} int64 labels, got {labels.dtype} {tuple(labels.shape)}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or (n is not None and high >= n):
        raise ValueError(f"expected labels from 0 to {'n' if n is None else n}-1, got {low} to {high}")
    if not C > 0:
        raise ValueError(f"expected C > 0, got {C}")
    return torch.bincount(labels, minlength=n or 0)


def _check_pairs(pairs: Tensor, sizes: Tensor) -> None:
    """Raise ValueError unless the pairs are different, each of two classes that have rows."""
    if pairs.dim() != 2 or pairs.shape[1] != 2 or not len(pairs) or pairs.dtype != torch.int64:
        raise ValueError(f"expected int64 pairs (M,2) with M > 0, got {pairs.dtype} {tuple(pairs.shape)}")
    if same := pairs[pairs[:, 0] == pairs[:, 1], 0].tolist():
        raise ValueError(f"expected pairs of two classes, got class {same[0]} with itself")
    kinds, counts = pairs.sort(1).values.unique(dim=0, return_counts=True)
    if twice := kinds[counts > 1].tolist():
        raise ValueError(f"expected each pair once (one head serves both directions), got {tuple(twice[0])} twice")
    for c in pairs.unique().tolist():
        if not 0 <= c < len(sizes) or not sizes[c]:
            raise ValueError(f"class {c} has no single-label image: leave its pairs out")
