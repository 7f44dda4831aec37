"""One linear head for every pair of classes, fitted on the pooled features of a frozen network.

Meng et al. (Sec. 3.2) train one binary network per pair of classes, to say what tells class c from class s. Here
the network is shared and frozen and only the head of the pair is its own: an L2-regularised logistic regression.
Shapes: N images, K channels, M pairs. One head serves both directions: the head of s against c is its negative.

Images may show several classes: a pair learns from the rows that show exactly one of its two, whatever else they
show; a row of both, or of neither, says nothing about the pair.

Features enter as they are: a head is linear in the activations and weighs them into a map as CAM does. The caller
may scale all of them by one number s; with C / s^2 the heads then give the same scores.
"""

import warnings
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils.parallel import Parallel, delayed
from threadpoolctl import threadpool_limits
from torch import Tensor


class FittedHeads(NamedTuple):
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


def separable_pairs(labels: Tensor, least: int = 1) -> Int[Tensor, "pairs 2"]:
    """Return the pairs (c, s), c < s, with at least `least` rows that show c without s, and as many the other way.

    labels: [N, n] of any kind, a class is present where > 0.

    >>> separable_pairs(torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 1]])).tolist()  # 1 never shows without 0
    [[0, 2], [1, 2]]
    """
    hot = (labels > 0).double()
    alone = hot.T @ (1 - hot)  # [n, n], rows of c without s
    return (torch.minimum(alone, alone.T) >= least).triu(1).nonzero()


def fit_heads(
    features: Tensor,
    labels: Tensor,
    pairs: Tensor | None = None,
    *,
    C: float = 1.0,
    tolerance: float = 1e-8,
    iterations: int = 1000,
) -> FittedHeads:
    """Return the head of every pair, each the minimum of C sum_i log(1 + exp(-m_i)) + |w|^2 / 2.

    The margin m is w x + b on the rows of the pair's first class and -(w x + b) on those of its second; b is not
    penalised. scikit-learn fits one pair after another in float64, with features in units of their overall standard
    deviation; `joblib.parallel_config(n_jobs=...)` around the call spreads the pairs over processes.

    Args:
        features: float [N, K] of any scale.
        labels: int64 [N], the one class of each row, 0 to n-1; or [N, n], the classes that it shows (> 0).
        pairs: int64 [M, 2], the pairs wanted, the positive class first; all pairs of the n classes by default.
        tolerance: a head is done when no entry of the gradient per row exceeds this (float64 reaches about 1e-9).
        iterations: the most steps. Heads that need more are counted in a warning.

    Raises:
        ValueError: for malformed input, or for a class of a pair without any row (that shows it without the other).

    >>> heads = fit_heads(torch.tensor([[0.0], [2.0], [4.0]]), torch.tensor([0, 1, 1]), C=1e4)
    >>> (-heads.bias / heads.weight[:, 0]).round().tolist()  # the boundary lies between 0 and 2
    [1.0]
    """
    hot = _shown(features, labels, C)
    pairs = class_pairs(hot.shape[1]).to(labels.device) if pairs is None else pairs
    _check_pairs(pairs, hot)
    (x, mean, scale), y = _standard(features), hot.cpu().numpy()
    options = {"C": C * scale**2, "tol": tolerance, "max_iter": iterations}
    with threadpool_limits(1):  # of one small head, several threads wait for each other
        fitted = Parallel()(delayed(_fit_head)(x, y, pair, options) for pair in pairs.tolist())
    weight, bias, accuracy, steps = (np.array(each) for each in zip(*fitted, strict=True))
    if missed := int((steps >= iterations).sum()):
        message = f"{missed} of {len(pairs)} heads missed the tolerance {tolerance:g} in {iterations} iterations"
        warnings.warn(f"{message}; allow more iterations", stacklevel=2)
    weight = weight / scale
    return FittedHeads(pairs, *(torch.from_numpy(v).to(features) for v in (weight, bias - weight @ mean, accuracy)))


def _fit_head(x: np.ndarray, y: np.ndarray, pair: list[int], options: dict) -> tuple[np.ndarray, float, float, int]:
    """Return the weight [K] and bias of one pair, its accuracy, and the steps it took."""
    first, second = y[:, pair].T
    rows = first ^ second
    x, first = x[rows], first[rows]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the caller counts them
        model = LogisticRegression(**options).fit(x, first)
    return model.coef_[0], model.intercept_[0], model.score(x, first), int(model.n_iter_[0])


def directed(heads: FittedHeads, n: int) -> tuple[Float[Tensor, "n n channels"], Float[Tensor, "n n"]]:
    """Return weights [n, n, K] and bias [n, n]: entry (c, s) is the head of c against s.

    Both are antisymmetric; the diagonal and the pairs without a head are zero.

    >>> heads = FittedHeads(torch.tensor([[0, 2]]), torch.tensor([[5.0]]), torch.tensor([1.0]), torch.tensor([1.0]))
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
    features: Tensor, labels: Tensor, n: int, *, C: float = 1.0, tolerance: float = 1e-6, iterations: int = 1000
) -> tuple[Float[Tensor, "classes channels"], Float[Tensor, " classes"]]:
    """Return weight [n, K] and bias [n] of one softmax head for all n classes: the head the pairs are compared to.

    It minimises C sum_i (cross-entropy of row i) + |W|^2 / 2 and is fitted by scikit-learn in float64. Weights and
    biases sum to zero over the classes. labels: [N] or [N, n] as for `fit_heads`; a row with several classes has
    them with equal probability, one with none is left out. Raises ValueError as `fit_heads` does.

    >>> fit_softmax(torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1]), 2)[0].sign().tolist()
    [[-1.0], [1.0]]
    """
    hot = _shown(features, labels, C, n).cpu()
    if n < 2 or not hot.any(0).all():
        raise ValueError(f"expected a row of each of 2 or more classes, got {hot.sum(0).tolist()} rows")
    x, mean, scale = _standard(features)
    row, label = hot.nonzero().T
    share = (
        1 / hot.sum(1)[row].double()
    )  # scikit-learn knows one class a row: one copy for each class that it shows
    # Of two classes scikit-learn fits the difference v of the weights; |W|^2 is then |v|^2 / 2.
    penalty = C * scale**2 * (2 if n == 2 else 1)
    model = LogisticRegression(C=penalty, tol=tolerance, max_iter=iterations)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x[row.numpy()], label.numpy(), sample_weight=share.numpy())
    if int(model.n_iter_.max()) >= iterations:
        message = f"the softmax head missed the tolerance {tolerance:g} in {iterations} iterations"
        warnings.warn(f"{message}; allow more iterations", stacklevel=2)
    weight, bias = torch.from_numpy(model.coef_) / scale, torch.from_numpy(model.intercept_)
    if n == 2:
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    bias = bias - bias.mean() - weight @ torch.from_numpy(mean)
    return weight.to(features), bias.to(features)


def spread(features: Float[Tensor, "images channels"]) -> float:
    """Return the overall standard deviation s of the features around their means, the unit of a penalty.

    The heads at C / s^2 do not depend on the scale of the features, which differs thirtyfold between networks.

    >>> round(spread(torch.tensor([[0.0, 10.0], [2.0, 12.0]])), 6)
    1.0
    """
    return _standard(features)[2]


def _standard(features: Tensor) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the features less their mean over their overall standard deviation, the mean, and the deviation."""
    x = features.detach().cpu().double().numpy()
    mean = x.mean(0)
    scale = float((x - mean).std()) or 1.0
    return (x - mean) / scale, mean, scale


def fit_one_against_rest(
    features: Tensor, labels: Tensor, *, C: float = 1.0, tolerance: float = 1e-8, iterations: int = 1000
) -> tuple[Float[Tensor, "classes channels"], Float[Tensor, " classes"]]:
    """Return weight [n, K] and bias [n] of one logistic head per class, "shows c" against all other rows.

    The usual classifier of images with several labels; objective and options are those of `fit_heads`. labels:
    [N, n], a class is present where > 0. Raises ValueError for a class that no row, or every row, shows.
    """
    rest = (labels > 0).double()
    hot = torch.stack([rest, 1 - rest], 2)  # a pair of its own for every class: rows with, rows without
    n = labels.shape[1]
    pairs = torch.arange(2 * n).view(n, 2)
    heads = fit_heads(features, hot.flatten(1), pairs, C=C, tolerance=tolerance, iterations=iterations)
    return heads.weight, heads.bias


def _shown(features: Tensor, labels: Tensor, C: float, n: int | None = None) -> Bool[Tensor, "images n"]:
    """Return which classes each row shows, or raise ValueError."""
    if features.dim() != 2 or not features.numel() or features.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"expected float features (N,K), got {features.dtype} {tuple(features.shape)}")
    if not features.isfinite().all():
        raise ValueError("expected finite features, got infinity or NaN")
    if not C > 0:
        raise ValueError(f"expected C > 0, got {C}")
    if labels.dim() == 2:
        if len(labels) != len(features) or (n is not None and labels.shape[1] != n):
            raise ValueError(f"expected labels ({len(features)},{n or 'n'}), got {tuple(labels.shape)}")
        return labels > 0
    if labels.shape != features.shape[:1] or labels.dtype != torch.int64:
        raise ValueError(f"expected {len(features)} int64 labels, got {labels.dtype} {tuple(labels.shape)}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or (n is not None and high >= n):
        raise ValueError(f"expected labels from 0 to {'n' if n is None else n}-1, got {low} to {high}")
    return torch.nn.functional.one_hot(labels, n or -1).bool()


def _check_pairs(pairs: Tensor, hot: Tensor) -> None:
    """Raise ValueError unless the pairs are different, each of two classes that have rows without the other."""
    if pairs.dim() != 2 or pairs.shape[1] != 2 or not len(pairs) or pairs.dtype != torch.int64:
        raise ValueError(f"expected int64 pairs (M,2) with M > 0, got {pairs.dtype} {tuple(pairs.shape)}")
    if same := pairs[pairs[:, 0] == pairs[:, 1], 0].tolist():
        raise ValueError(f"expected pairs of two classes, got class {same[0]} with itself")
    kinds, counts = pairs.sort(1).values.unique(dim=0, return_counts=True)
    if twice := kinds[counts > 1].tolist():
        raise ValueError(f"expected each pair once (one head serves both directions), got {tuple(twice[0])} twice")
    for c in pairs.unique().tolist():
        if not 0 <= c < hot.shape[1] or not hot[:, c].any():
            raise ValueError(f"class {c} has no single-label image: leave its pairs out")
    known = {tuple(pair) for pair in separable_pairs(hot).tolist()}
    if bare := [tuple(pair) for pair in pairs.tolist() if tuple(sorted(pair)) not in known]:
        c, s = bare[0]
        raise ValueError(f"no image shows one of the classes {c} and {s} without the other: leave the pair out")
