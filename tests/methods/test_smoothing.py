"""The readings of SS-CAM by name, each against plain loops written from its description, and torch-cam's."""

import pytest
import torch
import torch.nn.functional as F

from cam_utils.methods import smoothing, sscam
from cam_utils.methods.query import ask
from cam_utils.methods.registry import method
from cam_utils.methods.smoothing import READINGS, Smoothing, draw_noise, noise_key, reading
from cam_utils.networks import models
from cam_utils.pairs import Pairs


def up(channel, size):
    return F.interpolate(channel[None, None], size, mode="bilinear", align_corners=False)[0, 0]


def min_max(values):
    return (values - values.min()) / (values.max() - values.min())


def june(net, image, activations, w, label, *, draws, multiplier, largest, seed):
    """The authors' notebooks of June 2020: Grad-CAM's weights in masks and map, noise by the range of the input."""
    total = torch.zeros(image.shape[-2:], dtype=image.dtype)
    for k, channel in enumerate(activations):
        weighed = up(w[k] * channel, image.shape[-2:])
        if channel.max() == channel.min() or w[k] == 0:
            continue
        x = image * min_max(weighed)
        deviation = (multiplier / (x.max() - x.min())) ** 2
        scores = []
        for i in range(draws):
            noise = draw_noise(image[None], seed, noise_key(k, int(w[k].sign())), i)
            scores.append(net((x + deviation * noise)[None]).softmax(1)[0, label])
        scores = torch.stack(scores)
        total += (scores.max() if largest else scores.mean()) * weighed
    return total.relu()


def august(net, image, activations, label, *, draws, multiplier, seed):
    """Their library file of August 2020: noise on the channel as it is, the mean score, and no weights."""
    total = torch.zeros(image.shape[-2:], dtype=image.dtype)
    for k, channel in enumerate(activations):
        raised = up(channel, image.shape[-2:])
        if channel.max() == channel.min():
            continue
        deviation = (multiplier / (raised.max() - raised.min())) ** 2
        score = 0
        for i in range(draws):
            noise = draw_noise(image[None], seed, noise_key(k, 1), i)[0]
            score += net((image * (raised + deviation * noise))[None]).softmax(1)[0, label] / draws
        total += score * raised
    return total.relu()


@torch.no_grad()
@pytest.mark.parametrize("name", ["authors-2020-06", "authors-2020-06-mean", "authors-2020-08"])
@pytest.mark.parametrize("sigma", [0.5, 4.0])
def test_the_authors_readings_equal_loops_written_from_their_description(net, scene, name, sigma):
    images, activations, pairs = scene
    w = torch.randn(len(pairs), 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    w[0, 1] = 0.0
    how = reading(name, draws=3, sigma=sigma, seed=[4, 2, 7])
    found = sscam.ss_cam(images, activations, pairs, lambda x: net(x).softmax(1), how, weights=w, chunk=5)
    for p, (b, c) in enumerate(zip(pairs.image.tolist(), pairs.label.tolist(), strict=True)):
        place, seed = (net, images[b], activations[b]), [4, 2, 7][b]
        if name == "authors-2020-08":
            expected = august(*place, c, draws=3, multiplier=sigma, seed=seed)
        else:
            largest = name == "authors-2020-06"
            expected = june(*place, w[p], c, draws=3, multiplier=sigma, largest=largest, seed=seed)
        torch.testing.assert_close(found[p], expected)


def test_the_readings_have_the_numbers_that_were_published():
    assert [(how.draws, how.sigma, how.reduce) for how in READINGS.values()] == [
        (10, 4.0, "max"),
        (10, 4.0, "mean"),
        (10, 4.0, "max"),
        (10, 4.0, "mean"),
        (35, 2.0, "mean"),
    ]
    assert READINGS["printed"] == Smoothing() == sscam.ALGORITHM_1
    with pytest.raises(ValueError, match="unknown reading of SS-CAM 'authors'; did you mean"):
        reading("authors")
    with pytest.raises(ValueError, match="unknown option of ss-cam 'drawz'"):
        reading("printed", drawz=3)


def test_a_reading_is_an_option_of_the_registrys_method():
    model = models.build("digits", 10, seed=3).eval()
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    query = ask(model, x, Pairs.alone(torch.arange(2), torch.tensor([3, 8])), activation="softmax")
    for name in ("authors-2020-06", "authors-2020-08"):
        how = reading(name, draws=2)
        place = (x, query.activations, query.pairs, query.score)
        with torch.no_grad():
            expected = sscam.ss_cam(*place, how, weights=query.signs)
        torch.testing.assert_close(method("ss-cam", reading=name, draws=2)(query), expected)


@torch.no_grad()
@pytest.mark.parametrize("reduce", ["max", "mean"])
@pytest.mark.parametrize("name", ["printed", "authors-2020-06", "authors-2020-08"])
def test_one_pass_of_all_draws_holds_every_smaller_number_of_them(net, scene, name, reduce):
    w = torch.randn(len(scene[2]), 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    score = lambda x: net(x).softmax(1)  # noqa: E731
    how = reading(name, draws=4, sigma=0.8, reduce=reduce)
    each = sscam.drawn_scores(*scene, score, how, weights=w, chunk=7)
    assert each.shape == (*w.shape, 4) and each.std(-1).max() > 0
    for draws in (1, 3, 4):
        few = smoothing.replace(how, draws=draws)
        first = each[..., :draws].amax(-1) if reduce == "max" else each[..., :draws].mean(-1)
        torch.testing.assert_close(sscam.smoothed_scores(*scene, score, few, weights=w), first)


@torch.no_grad()
def test_a_channel_twice_as_large_gets_a_quarter_of_augusts_noise():
    how = reading("authors-2020-08", sigma=1.0)
    channels = torch.tensor([[[0.0, 2.0], [1.0, 0.5]]])
    assert how.deviation(channels).flatten().tolist() == [0.25]
    torch.testing.assert_close(how.deviation(2 * channels), how.deviation(channels) / 4)
    assert (how.deviation(torch.ones(1, 2, 2)) == 0).all()


@torch.no_grad()
def test_torch_cam_ships_another_reading(monkeypatch):
    """Its current SS-CAM is ours with logits, noise of a fixed size on the rescaled channel, softmax and mean."""
    from torchcam.methods import SSCAM

    model = models.build("digits", 10, seed=3).eval()
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    query = ask(model, x, Pairs.one(label=3), activation="softmax")
    keys = [noise_key(k, 1) for k in range(query.activations.shape[1])]

    class Drawn:
        turn = -1

        def sample(self, shape):
            self.turn += 1  # one sample holds a draw of every channel
            return torch.stack([2.0 * draw_noise(x, 0, key, self.turn)[0] for key in keys])[None]

    with SSCAM(model, model.features, num_samples=3, input_shape=(3, 32, 32)) as extractor:
        extractor._distrib = Drawn()
        logits = model(x)
        theirs = extractor(3, logits)[0]
    low, high = (f(query.activations.flatten(2), -1)[..., None, None] for f in (torch.amin, torch.amax))
    rescaled = torch.where(high > low, (query.activations - low) / (high - low).clamp_min(1e-12), 0.0)
    how = reading("authors-2020-08", draws=3, relative=False, subtract=False, softmax=True)
    alpha = sscam.smoothed_weights(x, rescaled, query.pairs, model, how)
    ours = torch.einsum("k,khw->hw", alpha[0], query.activations[0]).relu()
    torch.testing.assert_close(min_max(theirs[0]), min_max(ours), rtol=1e-3, atol=1e-4)
