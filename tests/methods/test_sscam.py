"""SS-CAM against Algorithm 1 and Eqs. 9, 14 and 15 written out channel by channel, and what must not matter."""

import pytest
import torch
import torch.nn.functional as F

from cam_utils import maps
from cam_utils.methods import ablation, scorecam, smoothing, sscam
from cam_utils.methods.smoothing import Smoothing
from cam_utils.pairs import Pairs, pairs_of

KINDS = [
    {"reduce": r, "noise": n, "scaled": scaled, "rescore": again, "softmax": soft}
    for r in ("max", "mean")
    for n in ("input", "mask", "mask-grey", "activation")
    for scaled in (True, False)
    for again in (True, False)
    for soft in (True, False)
]


def written_out(
    net, images, activations, pairs, weights, *, draws, sigma, unit, seed, reduce, noise, scaled, rescore, softmax
):
    """Return alpha [P, K] by loops over pairs, channels and draws, with the mask s(U(w A)) as printed."""
    score = lambda x: net(x[None]).softmax(1)[0]  # noqa: E731
    alphas = []
    for p, (b, c) in enumerate(zip(pairs.image.tolist(), pairs.label.tolist(), strict=True)):
        values = []
        for k in range(activations.shape[1]):
            weighed = weights[p, k] * activations[b, k]
            none = weighed.max() == weighed.min() if scaled else not weighed.any()
            sign = 0 if none else int(weights[p, k].sign())
            key = (k if sign else 0) * 3 + sign + 1

            def masked(channel, sign=sign):
                up = F.interpolate(sign * channel[None, None], images.shape[-2:], mode="bilinear")[0, 0]
                return up if not scaled or not sign else (up - up.min()) / (up.max() - up.min())

            mask = masked(activations[b, k])
            found = []
            for n in range(draws):
                shape = activations[:, :1] if noise == "activation" else images
                spread = sigma * smoothing.draw_noise(shape, seed[b], key, n)
                spread = spread[:1] if noise == "mask-grey" else spread
                if noise == "input":
                    x = images[b] * mask + unit * spread
                elif noise == "activation":
                    x = images[b] * masked(activations[b, k] + spread[0])
                else:
                    x = images[b] * (mask + spread)
                found.append(score(x)[c])
            value = torch.stack(found).max() if reduce == "max" else torch.stack(found).mean()
            values.append(score(value * images[b] * mask)[c] if rescore else value)
        increase = torch.stack(values) - score(torch.zeros_like(images[0]))[c]
        alphas.append(increase.softmax(0) if softmax else increase)
    return torch.stack(alphas)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def test_every_reading_equals_its_equations(net, scene, kind):
    weights = torch.randn(len(scene[2]), 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    weights[0, 1] = 0.0
    options = {"draws": 3, "sigma": 0.7, "unit": 0.5, "seed": [4, 2, 7], **kind}
    found = sscam.smoothed_weights(
        *scene, lambda x: net(x).softmax(1), Smoothing(**options), weights=weights, chunk=5
    )
    torch.testing.assert_close(found, written_out(net, *scene, weights, **options))


@torch.no_grad()
@pytest.mark.parametrize("softmax", [True, False])
def test_the_first_pass_may_be_shared(net, scene, softmax):
    score = lambda x: net(x).softmax(1)  # noqa: E731
    options = {"draws": 3, "sigma": 0.7, "seed": 5}
    first = sscam.smoothed_scores(*scene, score, Smoothing(**options))
    for rescore in (True, False):
        how = Smoothing(**options, rescore=rescore, softmax=softmax)
        whole = sscam.smoothed_weights(*scene, score, how)
        torch.testing.assert_close(sscam.smoothed_weights(*scene, score, how, first=first), whole)


@torch.no_grad()
def test_min_max_keeps_only_the_sign_of_a_weight(scene):
    _, activations, _ = scene
    for w in (3.0, -0.2):
        flat = activations.flatten(0, 1)
        sign = torch.full((len(flat),), 1 if w > 0 else -1)
        ours = sscam.sign_mask(flat, sign, (12, 16))
        expected = maps.normalise(maps.upsample(w * flat, (12, 16)))
        varied = flat.amax((-2, -1)) > flat.amin((-2, -1))
        torch.testing.assert_close(ours[varied], expected[varied])
        assert ours[~varied].abs().max() == 0


@torch.no_grad()
def test_images_have_noise_of_their_own_by_their_ids(net, scene):
    images, activations, _ = scene
    twice = torch.tensor([0, 0])  # one image under two names
    pairs = Pairs(torch.arange(2), torch.zeros(2, dtype=torch.long), torch.arange(2))
    seeds = smoothing.image_seeds(3, ["a", "b"])
    maps_ = sscam.ss_cam(
        images[twice], activations[twice], pairs, lambda x: net(x).softmax(1), Smoothing(seed=seeds)
    )
    assert not torch.allclose(maps_[0], maps_[1])
    assert smoothing.image_seeds(4, ["a", "b"]) != seeds == smoothing.image_seeds(3, ["b", "a"])[::-1]


@torch.no_grad()
def test_all_labels_share_two_masks_per_channel(net, scene):
    images, activations, _ = scene
    everything = pairs_of(torch.ones(3, 4, dtype=torch.bool))
    weights = torch.randn(12, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    seen = []

    def score(x):
        seen.append(len(x))
        return net(x).softmax(1)

    sscam.smoothed_weights(
        images, activations, everything, score, Smoothing(draws=5, rescore=False), weights=weights
    )
    assert sum(seen) - 1 <= 5 * 2 * 6 * 3  # draws x signs x channels x images, whatever the labels; 1: the baseline
    needed = {
        (int(b), k, 0 if activations[b, k].max() == activations[b, k].min() else int(weights[p, k].sign()))
        for p, b in enumerate(everything.image)
        for k in range(6)
    }
    kept = {(b, k if sign else 0, sign) for b, k, sign in needed}
    assert sum(seen) == 5 * len(kept) + 1
    seen.clear()
    sscam.smoothed_weights(images, activations, everything, score, Smoothing(draws=5), weights=weights)
    flat = activations.flatten(2)
    live = int((flat.amax(-1) > flat.amin(-1))[everything.image].sum())  # others have no mask to score again
    assert sum(seen) == 5 * len(kept) + live + 2 and live < weights.numel()


@torch.no_grad()
def test_without_noise_and_second_pass_it_is_score_cam(net, scene):
    score = lambda x: net(x).softmax(1)  # noqa: E731
    black = torch.zeros(3, 12, 16, dtype=torch.float64)
    plain = sscam.smoothed_weights(
        *scene, score, Smoothing(sigma=0.0, rescore=False, softmax=False, baseline=black)
    )
    channel = scorecam.channel_scores(*scene[:2], score)[scene[2].image, :, scene[2].label]
    live = scene[1].flatten(2).amax(-1)[scene[2].image] > scene[1].flatten(2).amin(-1)[scene[2].image]
    expected = channel - score(black[None])[0, scene[2].label][:, None]
    torch.testing.assert_close(plain[live], expected[live])


@torch.no_grad()
def test_a_softmax_over_probabilities_keeps_the_weights_within_a_factor_e(net, scene):
    alpha = sscam.smoothed_weights(*scene, lambda x: net(x).softmax(1), Smoothing(draws=2))
    torch.testing.assert_close(alpha.sum(1), torch.ones(len(alpha), dtype=torch.float64))
    assert (alpha.amax(1) / alpha.amin(1)).max() <= torch.e


def test_memory_that_does_not_suffice_halves_the_chunk(net, scene):
    sizes = []

    def score(x):
        sizes.append(len(x))
        if len(x) > 4:
            raise torch.cuda.OutOfMemoryError
        return net(x).softmax(1)

    with torch.no_grad():
        found = sscam.ss_cam(*scene, score, Smoothing(draws=2), chunk=16)
        torch.testing.assert_close(found, sscam.ss_cam(*scene, lambda x: net(x).softmax(1), Smoothing(draws=2)))
    assert sizes[:3] == [16, 8, 4]


def test_bad_requests_say_what_is_wrong(net, scene):
    score = lambda x: net(x).softmax(1)  # noqa: E731
    for options, sentence in (
        ({"draws": 0}, r"draws \(N\) as a whole number, 1 or more, got 0"),
        ({"draws": 2.5}, r"draws \(N\) as a whole number, 1 or more, got 2.5"),
        ({"sigma": -1.0}, "expected sigma >= 0, got -1.0"),
        ({"reduce": "median"}, "unknown reduce 'median'"),
        ({"noise": "image"}, "unknown noise 'image'"),
        ({"relative": True, "unit": 2.0}, "expected unit = 1 where sigma is relative"),
        ({"weighted": True}, r"expected weights \[P, K\]: this reading of SS-CAM sums w A, and got none"),
        ({"weights": torch.ones(2, 2)}, r"expected weights \[P, K\] = \[7, 6\], got \[2, 2\]"),
        ({"chunk": 0}, "expected chunk >= 1"),
        ({"seed": [1, 2]}, "expected one seed, or one for each of the 3 images, got 2"),
    ):
        with pytest.raises(ValueError, match=sentence):
            given = {name: options.pop(name) for name in ("weights", "chunk") if name in options}
            sscam.smoothed_weights(*scene, score, Smoothing(**options), **given)
    with pytest.raises(ValueError, match="activations with spatial extent"):
        sscam.smoothed_weights(scene[0], scene[1][..., :1, :1], scene[2], score)


@torch.no_grad()
def test_ablation_cam_of_a_linear_head_is_its_closed_form(net, scene):
    _, activations, pairs = scene
    head = lambda a: net[2:](a)  # noqa: E731
    found = ablation.ablated_sums(activations, pairs, head, chunk=4)
    weights, bias = net[4].weight, net[4].bias
    pooled = activations.mean((-2, -1))[pairs.image]
    logits = (pooled * weights[pairs.label]).sum(1) + bias[pairs.label]
    alpha = weights[pairs.label] * pooled / logits[:, None]  # S - S without k = w_k g_k
    expected = torch.einsum("pk,pkhw->phw", alpha, activations[pairs.image]).relu()
    torch.testing.assert_close(found, expected)
