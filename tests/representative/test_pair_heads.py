"""Heads of pairs against scikit-learn, the gradient of the objective written out, and symmetries."""

import numpy as np
import pytest
import torch
from joblib import parallel_config
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import cross_entropy, softplus

from cam_utils.representative.pair_heads import (
    FittedHeads,
    class_pairs,
    directed,
    fit_heads,
    fit_one_against_rest,
    fit_softmax,
    separable_pairs,
    spread,
)

SIZES = (3, 9, 14, 30)
TIGHT = {"tolerance": 1e-11, "iterations": 5000}


def scene(channels, scale=1.0, sizes=SIZES, shift=0.5):
    """Rectified features whose mean differs by class, in double precision, rows in mixed order."""
    rng = np.random.default_rng(channels)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    features = rng.normal(size=(len(sizes), channels))[labels] * 0.5 + rng.normal(size=(len(labels), channels))
    return torch.from_numpy(scale * np.maximum(0, features + shift)), torch.from_numpy(labels)


def _reference_heads(features, labels, pairs, C):
    rows = []
    for first, second in pairs.tolist():
        chosen = (labels == first) | (labels == second)
        # The Newton solver: another algorithm than the default one, exact on few channels.
        model = LogisticRegression(C=C, tol=1e-10, max_iter=10000, solver="newton-cholesky")
        model.fit(features[chosen].numpy(), (labels[chosen] == first).numpy())
        right = model.score(features[chosen].numpy(), (labels[chosen] == first).numpy())
        rows.append((torch.from_numpy(model.coef_[0]), float(model.intercept_[0]), right))
    weight, bias, right = zip(*rows, strict=True)
    return torch.stack(weight), torch.tensor(bias).double(), torch.tensor(right).double()


def objective(weight, bias, features, positive, C):
    margins = (features @ weight + bias) * torch.where(positive, 1.0, -1.0)
    return C * softplus(-margins).sum() + weight.square().sum() / 2


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
@pytest.mark.parametrize(("channels", "scale"), [(2, 1.0), (8, 50.0), (60, 0.02), (60, 1.0), (100, 50.0)])
def test_heads_are_those_of_scikit_learn_with_more_rows_than_channels_and_with_fewer(channels, scale, C):
    features, labels = scene(channels, scale)
    heads = fit_heads(features, labels, C=C, **TIGHT)
    weight, bias, accuracy = _reference_heads(features, labels, heads.pairs, C)
    torch.testing.assert_close(heads.weight, weight, rtol=1e-3, atol=1e-4 * float(weight.abs().max()))
    torch.testing.assert_close(heads.bias, bias, rtol=1e-3, atol=1e-4)
    ours, theirs = features @ heads.weight.T + heads.bias, features @ weight.T + bias
    torch.testing.assert_close(ours.sigmoid(), theirs.sigmoid(), rtol=0, atol=1e-3)
    torch.testing.assert_close(heads.accuracy, accuracy)


def test_single_precision_and_the_default_tolerance_reach_the_probabilities_of_the_fitted_rows():
    features, labels = scene(100, 50.0, sizes=(40, 50, 60))
    exact = fit_heads(features, labels, **TIGHT)
    heads = fit_heads(features.float(), labels)
    assert heads.weight.dtype == torch.float32
    fitted = (labels[:, None, None] == heads.pairs).any(-1)
    ours, theirs = features @ heads.weight.double().T + heads.bias, features @ exact.weight.T + exact.bias
    assert (ours.sigmoid() - theirs.sigmoid())[fitted].abs().max() < 2e-3


def test_two_points_on_a_line_satisfy_the_condition_of_the_minimum():
    # Points -1 and 1: b = 0 by symmetry, and w = 2 C sigmoid(-w) from w - C (sigmoid(-w) + sigmoid(-w)) = 0.
    heads = fit_heads(torch.tensor([[1.0], [-1.0]]).double(), torch.tensor([0, 1]), C=3.0, **TIGHT)
    w = float(heads.weight)
    assert w == pytest.approx(6 / (1 + np.exp(w)), abs=1e-9) and abs(float(heads.bias)) < 1e-9
    assert heads.accuracy.tolist() == [1.0]


def test_the_gradient_of_the_written_objective_is_zero():
    features, labels = scene(20)
    for pair, w, b, _ in zip(*fit_heads(features, labels, C=2.0, **TIGHT), strict=True):
        w, b, chosen = w.clone().requires_grad_(), b.clone().requires_grad_(), (labels[:, None] == pair).any(1)
        objective(w, b, features[chosen], labels[chosen] == pair[0], 2.0).backward()
        assert max(w.grad.abs().max(), b.grad.abs()) < 1e-7 * int(chosen.sum())


def test_order_of_rows_and_company_of_other_pairs_do_not_matter():
    features, labels = scene(30)
    whole = fit_heads(features, labels, **TIGHT)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    picked = torch.tensor([5, 1])
    for other, same in [
        (fit_heads(features[order], labels[order], **TIGHT), slice(None)),
        (fit_heads(features, labels, whole.pairs[picked], **TIGHT), picked),
    ]:
        for a, b in zip(whole, other, strict=True):
            torch.testing.assert_close(a[same], b, rtol=1e-6, atol=1e-8)
    with parallel_config("threading", n_jobs=2):
        assert torch.equal(fit_heads(features, labels, **TIGHT).weight, whole.weight)


def test_swapping_the_classes_negates_the_head():
    features, labels = scene(30)
    heads, swapped = fit_heads(features, labels), fit_heads(features, labels, class_pairs(4).flip(1))
    torch.testing.assert_close(swapped.weight, -heads.weight)
    torch.testing.assert_close(swapped.bias, -heads.bias)
    torch.testing.assert_close(swapped.accuracy, heads.accuracy)


def test_directed_heads_are_antisymmetric_and_zero_where_no_head_is():
    features, labels = scene(6)
    heads = fit_heads(features, labels, torch.tensor([[0, 1], [3, 0]]))
    weights, bias = directed(heads, 5)
    assert torch.equal(weights[0, 1], heads.weight[0]) and torch.equal(weights[0, 3], -heads.weight[1])
    assert torch.equal(weights, -weights.transpose(0, 1)) and torch.equal(bias, -bias.T)
    assert (weights.abs().sum(-1) > 0).sum() == 4
    with pytest.raises(ValueError, match="classes 0 to 2, got class 3"):
        directed(heads, 3)


def test_equal_classes_and_constant_features_give_zero_weights():
    assert not fit_heads(torch.ones(4, 3), torch.tensor([0, 0, 1, 1])).weight.any()
    same = torch.tensor([[1.0, 2.0], [3.0, 5.0]]).repeat(2, 1)
    assert fit_heads(same, torch.tensor([0, 0, 1, 1])).weight.abs().max() < 1e-4


def test_a_fit_that_stops_early_warns():
    with pytest.warns(
        UserWarning, match="6 of 6 heads missed the tolerance 1e-11 in 2 iterations; allow more iterations"
    ):
        fit_heads(*scene(30), tolerance=1e-11, iterations=2)


@pytest.mark.parametrize("n", [2, 4])
def test_the_softmax_head_is_a_minimum_of_its_objective(n):
    features, labels = scene(10, 5.0, sizes=SIZES[:n])
    weight, bias = (each.requires_grad_() for each in fit_softmax(features, labels, n, C=0.5, tolerance=1e-10))
    loss = 0.5 * cross_entropy(features @ weight.T + bias, labels, reduction="sum") + weight.square().sum() / 2
    loss.backward()
    assert weight.grad.abs().max() < 1e-4 and bias.grad.abs().max() < 1e-4
    assert weight.sum(0).abs().max() < 1e-9 and bias.dtype == features.dtype


X, Y = torch.rand(6, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 0, 1, 1, 3, 3])


@pytest.mark.parametrize(
    ("features", "labels", "options", "message"),
    [
        (X[0], Y, {}, r"expected float features \(N,K\), got torch.float32 \(2,\)"),
        (X.long(), Y, {}, r"expected float features \(N,K\), got torch.int64 \(6, 2\)"),
        (X / 0, Y, {}, "expected finite features"),
        (X, Y[:4], {}, r"expected 6 int64 labels, got torch.int64 \(4,\)"),
        (X, Y.float(), {}, "expected 6 int64 labels, got torch.float32"),
        (X, Y - 1, {}, "expected labels from 0 to n-1, got -1 to 2"),
        (X, Y, {"C": 0.0}, "expected C > 0, got 0.0"),
        (X, Y, {}, "class 2 has no single-label image: leave its pairs out"),
        (X, Y, {"pairs": [[0, 7]]}, "class 7 has no single-label image"),
        (X, Y, {"pairs": [[-1, 0]]}, "class -1 has no single-label image"),
        (X, Y, {"pairs": [[0, 1], [3, 3]]}, "expected pairs of two classes, got class 3 with itself"),
        (X, Y, {"pairs": [[0, 1], [1, 0]]}, r"got \(0, 1\) twice"),
        (X, Y, {"pairs": [0, 1]}, r"expected int64 pairs \(M,2\)"),
        (X, Y * 0, {}, r"expected int64 pairs \(M,2\) with M > 0"),
    ],
)
def test_what_is_wrong_with_the_input_is_one_sentence(features, labels, options, message):
    if "pairs" in options:
        options = {"pairs": torch.tensor(options["pairs"])}
    with pytest.raises(ValueError, match=message):
        fit_heads(features, labels, **options)


def test_softmax_refuses_labels_out_of_range_and_classes_without_rows():
    with pytest.raises(ValueError, match="expected labels from 0 to 3-1, got 0 to 3"):
        fit_softmax(X, Y, 3)
    with pytest.raises(ValueError, match=r"expected a row of each of 2 or more classes, got \[2, 2, 0, 2\] rows"):
        fit_softmax(X, Y, 4)


def test_heads_hold_the_pairs_they_were_asked_for():
    heads = fit_heads(X, Y, torch.tensor([[3, 0]]))
    assert isinstance(heads, FittedHeads) and heads.pairs.tolist() == [[3, 0]]
    scores = X @ heads.weight[0] + heads.bias[0]
    assert scores[Y == 3].mean() > scores[Y == 0].mean()


HOT = torch.tensor([[1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 1, 1], [1, 1, 0], [0, 0, 1], [0, 0, 0]])


def test_images_of_several_classes_train_the_pairs_of_which_they_show_one():
    x = torch.rand(7, 4, generator=torch.Generator().manual_seed(1)).double()
    heads = fit_heads(x, HOT, torch.tensor([[0, 1], [1, 2]]), **TIGHT)
    for k, (rows, first) in enumerate((([0, 1, 2, 3], [1, 1, 0, 0]), ([1, 2, 4, 5], [0, 1, 1, 0]))):
        exact = LogisticRegression(tol=1e-10, max_iter=10000, solver="newton-cholesky").fit(x[rows].numpy(), first)
        torch.testing.assert_close(heads.weight[k], torch.from_numpy(exact.coef_[0]), rtol=1e-4, atol=1e-6)


def test_one_label_each_is_the_special_case():
    features, labels = scene(6)
    hot = torch.nn.functional.one_hot(labels).float()
    for a, b in zip(fit_heads(features, labels), fit_heads(features, hot), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    n = hot.shape[1]
    for a, b in zip(fit_softmax(features, labels, n), fit_softmax(features, hot, n), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_softmax_of_several_labels_is_a_minimum_of_the_soft_cross_entropy():
    x = torch.rand(7, 4, generator=torch.Generator().manual_seed(2)).double()
    weight, bias = (each.requires_grad_() for each in fit_softmax(x, HOT, 3, C=2.0, tolerance=1e-11))
    shown = HOT[:6].double()
    loss = 2 * cross_entropy(x[:6] @ weight.T + bias, shown / shown.sum(1, keepdim=True), reduction="sum")
    (loss + weight.square().sum() / 2).backward()
    assert weight.grad.abs().max() < 1e-4 and bias.grad.abs().max() < 1e-4


def test_one_against_rest_is_scikit_learns():
    x = torch.rand(7, 4, generator=torch.Generator().manual_seed(3)).double()
    weight, bias = fit_one_against_rest(x, HOT, C=3.0, tolerance=1e-11)
    for c in range(3):
        exact = LogisticRegression(C=3.0, tol=1e-10, max_iter=10000, solver="newton-cholesky")
        exact.fit(x.numpy(), HOT[:, c].numpy())
        torch.testing.assert_close(weight[c], torch.from_numpy(exact.coef_[0]), rtol=1e-4, atol=1e-6)
        assert float(bias[c]) == pytest.approx(exact.intercept_[0], abs=1e-5)


def test_pairs_that_never_show_apart_are_told_and_refused():
    together = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1], [1, 1, 1]])
    assert separable_pairs(together).tolist() == [[0, 2], [1, 2]]
    assert separable_pairs(together, 2).tolist() == []
    with pytest.raises(ValueError, match="shows one of the classes 0 and 1 without the other: leave the pair out"):
        fit_heads(torch.rand(4, 2), together, torch.tensor([[0, 1]]))
    with pytest.raises(ValueError, match=r"expected labels \(4,n\), got \(3, 3\)"):
        fit_heads(torch.rand(4, 2), together[:3])


def test_a_penalty_in_units_of_the_spread_does_not_see_the_scale():
    features, labels = scene(20)
    for fit in (lambda x, C: fit_heads(x, labels, C=C), lambda x, C: fit_softmax(x, labels, len(SIZES), C=C)):
        ours, theirs = (fit(x, 0.1 / spread(x) ** 2) for x in (features, 100 * features))
        weight, scaled = (each.weight if hasattr(each, "weight") else each[0] for each in (ours, theirs))
        torch.testing.assert_close(100 * scaled, weight, rtol=1e-3, atol=1e-5 * float(weight.abs().max()))


def test_a_softmax_fit_that_stops_early_warns():
    features, labels = scene(20, 50.0)
    with pytest.warns(UserWarning, match="the softmax head missed the tolerance 1e-12 in 2 iterations"):
        fit_softmax(features, labels, len(SIZES), C=100.0, tolerance=1e-12, iterations=2)
