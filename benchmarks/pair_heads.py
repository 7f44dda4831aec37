"""The 190 heads of 20 classes fitted together, against scikit-learn's LogisticRegression on one pair after another.

Features are made up like pooled activations: rectified, correlated, with class structure, 512 channels, 100 rows
per class; as many more are held out. scikit-learn runs at its default tolerance, fit_heads at one that leaves it
about as far from the minimum, and at its own default, which is tighter: a third fit, in float64 to 1e-10, tells how
far each is. With one thread, OMP_NUM_THREADS=1, scikit-learn may be several times faster.

    python benchmarks/pair_heads.py --repeats 5
"""

import argparse
import statistics
import time
from functools import partial

import torch
from sklearn.linear_model import LogisticRegression

from cam_utils.representative.pair_heads import class_pairs, fit_heads


def features_of(labels: torch.Tensor, channels: int) -> torch.Tensor:
    """Return rectified features [N, K] of 40 hidden causes whose means differ by class, up to about 50."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(40, channels, generator=generator) / 40**0.5
    means = torch.randn(int(labels.max()) + 1, 40, generator=generator)
    causes = means[labels] + 1.5 * torch.randn(len(labels), 40, generator=generator)
    noise = 0.5 * torch.randn(len(labels), channels, generator=generator)
    return 6 * (causes @ mixing + noise - 0.3).relu()


def one_by_one(x: torch.Tensor, y: torch.Tensor, tolerance: float = 1e-4) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scikit-learn's weights [M, K] and biases [M] of the heads of all pairs of classes."""
    weights, biases = [], []
    for first, second in class_pairs(int(y.max()) + 1).tolist():
        chosen = (y == first) | (y == second)
        model = LogisticRegression(tol=tolerance, max_iter=1000)
        model.fit(x[chosen].numpy(), (y[chosen] == first).numpy())
        weights.append(torch.from_numpy(model.coef_[0]))
        biases.append(float(model.intercept_[0]))
    return torch.stack(weights), torch.tensor(biases)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--rows", type=int, default=100, help="per class")
    parser.add_argument("--channels", type=int, default=512)
    parser.add_argument("--tolerance", type=float, nargs="+", default=[1e-4, 1e-6], help="of fit_heads")
    parser.add_argument("--peer-tolerance", type=float, default=1e-4, help="of scikit-learn; its default is 1e-4")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    y = torch.arange(options.classes).repeat(2 * options.rows)
    x, half = features_of(y, options.channels), len(y) // 2
    x, y, held, held_y = x[:half], y[:half], x[half:], y[half:]
    pairs = class_pairs(options.classes)

    def fitted(tolerance):
        heads = fit_heads(x, y, tolerance=tolerance)
        return heads.weight, heads.bias

    calls = {tolerance: partial(fitted, tolerance) for tolerance in options.tolerance} | {
        "scikit-learn": partial(one_by_one, x, y, options.peer_tolerance)
    }
    seconds, found = {name: [] for name in calls}, {}
    for _ in range(options.repeats):
        for name, call in calls.items():
            started = time.perf_counter()
            found[name] = call()
            seconds[name].append(time.perf_counter() - started)
    exact = fit_heads(x.double(), y, tolerance=1e-10, iterations=5000)
    first = held_y[:, None] == pairs[:, 0]  # [N, M]
    tested = first | (held_y[:, None] == pairs[:, 1])

    def judged(weight, bias):
        """Return held-out accuracy and the largest difference of held-out probabilities from the minimum's."""
        p, truth = (
            (held.double() @ w.double().T + b.double()).sigmoid()[tested]
            for w, b in ((weight, bias), (exact.weight, exact.bias))
        )
        right = ((p > 0.5) == first[tested]).double().mean()
        return f"held-out accuracy {right:.4f}, held-out p within {(p - truth).abs().max():.0e} of the minimum's"

    peer = seconds.pop("scikit-learn")
    print(f"{len(pairs)} heads, {torch.get_num_threads()} threads")
    print(f"scikit-learn, one by one: {statistics.median(peer):.3f} s; {judged(*found['scikit-learn'])}")
    for tolerance, own in seconds.items():
        ratios = sorted(b / a for a, b in zip(own, peer, strict=True))
        print(
            f"fit_heads to {tolerance:g}: {statistics.median(own):.3f} s, {statistics.median(ratios):.1f} times "
            f"faster ({ratios[0]:.1f} to {ratios[-1]:.1f}); {judged(*found[tolerance])}"
        )


if __name__ == "__main__":
    main()
