"""ACoL against a second computation of its maps; its trunk, its checkpoints and its refusals."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from cam_utils import maps
from cam_utils.networks import models
from cam_utils.networks.baselines import ACoL, Normalised
from cam_utils.pairs import Pairs, pairs_of
from cam_utils.representative.fusion import Recipe, fused_maps
from cam_utils.representative.sources import DirectSource

HALF = ((0.5,) * 3, (0.25,) * 3)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def acol() -> ACoL:
    """Two channels seen as they are (3 inputs, 1x1 features), 3 labels, random branches, evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ACoL(nn.Conv2d(3, 2, 1), 2, 3, width=4, normalisation=HALF).eval()


def first_map(model: ACoL, images: torch.Tensor) -> torch.Tensor:
    """Branch A's class maps [B, L, h, w] by functional convolutions, its trunk a 1x1 convolution."""
    return branch_map(model.head[0], F.conv2d(images, model.features.weight, model.features.bias))


def branch_map(branch: nn.Sequential, features: torch.Tensor) -> torch.Tensor:
    one, two, three = branch[0], branch[2], branch[4]
    hidden = F.conv2d(features, one.weight, one.bias, padding=1).clamp(min=0)
    hidden = F.conv2d(hidden, two.weight, two.bias, padding=1).clamp(min=0)
    return F.conv2d(hidden, three.weight, three.bias)


class Recorder(nn.Module):
    """Stands for branch B: keeps the features it was given, answers zeros."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.labels = labels

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        self.seen = features
        return features.new_zeros(len(features), self.labels, *features.shape[2:])


class Fixed(nn.Module):
    """Stands for branch A: the given class maps, whatever it sees."""

    def __init__(self, maps: torch.Tensor) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.maps.expand(len(features), *self.maps.shape[1:])


def test_logits_are_the_means_of_the_branches_class_maps(acol):
    images = random(2, 3, 6, 5)
    logits, _ = acol.branches(images)
    torch.testing.assert_close(logits, first_map(acol, images).mean((2, 3)))
    assert torch.equal(acol(images), logits)


def test_erased_are_exactly_the_positions_above_the_threshold(acol):
    # Normalised by hand: label 0: 0, .25, .5, .75, 1; label 1: 1, .5, 0, 0, 0; label 2 is constant.
    maps = torch.tensor([[[[-4.0, -3, -2, -1, 0]], [[2.0, 1, 0, 0, 0]], [[7.0, 7, 7, 7, 7]]]])
    acol.head[0], acol.head[1] = Fixed(maps), Recorder(3)
    acol.features, acol.erase = nn.Identity(), 0.5
    images = random(1, 3, 1, 5) + 1  # no zeros but erased ones
    kept = {  # 0.5 itself is not above the threshold
        (1, 0, 0): [1, 1, 1, 0, 0],
        (0, 1, 0): [0, 1, 1, 1, 1],
        (0, 0, 1): [1, 1, 1, 1, 1],  # nothing stands out of a constant map
        (1, 1, 0): [0, 1, 1, 0, 0],  # several labels: what A used for any of them
        (0, 0, 0): [1, 1, 1, 1, 1],
    }
    for present, expected in kept.items():
        acol.branches(images, torch.tensor([present]).float())
        assert torch.equal(acol.head[1].seen, images * torch.tensor(expected))
    acol.class_maps(images, pairs_of(torch.ones(1, 3, dtype=torch.bool)))  # each label on its own
    one_each = [torch.tensor(kept[tuple(label)]) for label in torch.eye(3, dtype=torch.int).tolist()]
    assert torch.equal(acol.head[1].seen, images * torch.stack(one_each)[:, None, None])
    acol.branches(images)  # A's own highest logit is label 2's
    assert torch.equal(acol.head[1].seen, images)
    acol.erase = 0.2
    acol.branches(images, torch.tensor([[1.0, 0, 0]]))
    assert torch.equal(acol.head[1].seen, images * torch.tensor([1, 0, 0, 0, 0]))


def test_every_image_of_a_batch_is_erased_by_its_own_map(acol):
    images, labels = random(3, 3, 6, 6), F.one_hot(torch.tensor([2, 0, 1]), 3).float()
    together = acol.branches(images, labels)
    for i in range(3):
        alone = acol.branches(images[i : i + 1], labels[i : i + 1])
        for whole, part in zip(together, alone, strict=True):
            torch.testing.assert_close(whole[i : i + 1], part)


def test_the_second_loss_does_not_reach_the_first_branch_through_the_mask(acol):
    images, labels = random(2, 3, 6, 6), torch.eye(3)[:2]
    logits_a, logits_b = acol.branches(images, labels)
    shared = (acol.features.weight, *acol.head[0].parameters())
    trunk, *first = torch.autograd.grad(logits_b.square().sum(), shared, retain_graph=True, allow_unused=True)
    assert all(g is None for g in first)
    assert trunk.abs().max() > 0  # but through what is left, B teaches the trunk
    assert torch.autograd.grad(logits_b.sum(), acol.head[1][0].weight, retain_graph=True)[0].abs().max() > 0
    second = torch.autograd.grad(logits_a.sum(), list(acol.head[1].parameters()), allow_unused=True)
    assert all(g is None for g in second)
    # The trunk's gradient is that of B on features times a constant mask.
    with torch.no_grad():
        picked = first_map(acol, images)[torch.arange(2), torch.arange(2)]
        low, high = picked.amin((1, 2), keepdim=True), picked.amax((1, 2), keepdim=True)
        mask = ((picked - low) / (high - low) <= 0.6).float()[:, None]
    assert 0 < mask.mean() < 1
    expected = branch_map(acol.head[1], acol.features(images) * mask).mean((2, 3)).square().sum()
    torch.testing.assert_close(torch.autograd.grad(expected, acol.features.weight)[0], trunk)


def rescaled(m: torch.Tensor) -> torch.Tensor:
    return (m - m.min()) / (m.max() - m.min())


def over_peak(m: torch.Tensor) -> torch.Tensor:
    return m.clamp(min=0) / m.max() if m.max() > 0 else torch.zeros_like(m)


@pytest.mark.parametrize(("normalisation", "rescale"), [("min-max", rescaled), ("relu-max", over_peak)])
def test_class_maps_are_the_larger_of_both_branches_maps(acol, normalisation, rescale):
    images = random(2, 3, 6, 6)
    for branch in acol.head:  # maps of both signs
        branch[-1].bias.data -= branch_map(branch, acol.features(images)).detach().mean((0, 2, 3))
    pairs = Pairs(torch.tensor([1, 0, 1]), torch.tensor([0, 2, 1]), torch.tensor([1, 0, 1]))
    acol.train()
    found = acol.class_maps(images, pairs, normalisation=normalisation)
    assert acol.training and not found.requires_grad
    raw, differs = first_map(acol, images), 0
    for p, (image, label) in enumerate([(1, 0), (0, 2), (1, 1)]):
        first = raw[image, label]
        features = F.conv2d(images[image : image + 1], acol.features.weight, acol.features.bias)
        features = torch.where(rescaled(first) > 0.6, torch.zeros(()), features)  # erased alike by both
        second = rescale(branch_map(acol.head[1], features)[0, label])
        first = rescale(first)
        expected = torch.where(first > second, first, second)
        torch.testing.assert_close(found[p], expected.detach())
        differs += int((expected > first + 0.1).any())
    assert differs  # the second branch adds something
    none = Pairs.one().take([])
    assert acol.class_maps(images, none, normalisation=normalisation).shape == (0, 6, 6)
    if normalisation == "min-max":
        assert torch.equal(acol.class_maps(images, pairs), found)


def test_both_normalisations_reach_a_table_of_maps_unchanged(acol):
    images = random(2, 3, 6, 6)
    pairs = Pairs(torch.tensor([1, 0]), torch.tensor([0, 2]), torch.tensor([1, 0]))
    for normalisation in maps.NORMALISATIONS:
        source = DirectSource(partial(acol.class_maps, normalisation=normalisation), normalisation)
        found = fused_maps(source, images, pairs, [Recipe("as it is", normalise=()), Recipe("over its maximum")])
        expected = acol.class_maps(images, pairs, normalisation=normalisation)
        torch.testing.assert_close(found["as it is"], expected)  # features have the images' size: no upsampling
        torch.testing.assert_close(found["over its maximum"], expected)


def test_class_maps_leave_the_statistics_of_a_training_network_alone():
    model = models.build("digits-acol", 10).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    images, pairs = random(2, 3, 96, 96), pairs_of(torch.eye(2, 10, dtype=torch.bool))
    found = model.class_maps(images, pairs)
    assert found.shape == (2, 16, 16) and found.amin() >= 0 and found.amax((1, 2)).tolist() == [1, 1]
    alone = model.class_maps(images[1:], Pairs(torch.tensor([0]), torch.tensor([1]), torch.tensor([0])))
    torch.testing.assert_close(alone, found[1:])
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_vgg19_trunk_is_torchvisions_up_to_relu4_4_and_keeps_28_pixels():
    model = models.build("acol-vgg19", 3).eval()
    reference = torchvision.models.vgg19(weights=None).features
    reference.load_state_dict(model.features.state_dict())  # pools have none
    images = random(1, 3, 224, 224)
    with torch.no_grad():
        features = model.features(images)
        expected = reference[:27](images)  # before pool4
        torch.testing.assert_close(model.features[:27](images), expected)
        for at in (28, 30, 32, 34):
            dense = F.max_pool2d(expected, 3, stride=1, padding=1) if at == 28 else expected
            layer = reference[at]
            expected = F.relu(F.conv2d(dense, layer.weight, layer.bias, padding=1))
        torch.testing.assert_close(features, F.max_pool2d(expected, 3, stride=1, padding=1))
    assert features.shape == (1, 512, 28, 28)
    assert [layer.out_channels for layer in model.head[1][::2]] == [1024, 1024, 3]


def test_both_networks_normalise_by_the_same_code():
    classifier, model = models.build("digits", 3), models.build("digits-acol", 3)
    images = random(1, 3, 8, 8)
    torch.testing.assert_close(model.preprocess(images), (images - 0.5) / 0.25)
    assert torch.equal(model.preprocess(images), classifier.preprocess(images))
    assert type(model).preprocess is type(classifier).preprocess is Normalised.preprocess


@pytest.mark.parametrize("name", ["digits-acol", "digits-cbam"])
def test_checkpoint_round_trip(name, tmp_path):
    model = models.build(name, 3, bias=-2.0, seed=1)
    images = random(2, 3, 96, 96)
    model(images)  # statistics of its own
    if name == "digits-acol":
        model.erase = 0.8
    models.save_checkpoint(tmp_path / "model.pt", model, name=name, head="linear", classes=["a", "b", "c"])
    loaded = models.load_checkpoint(tmp_path / "model.pt", ["a", "b", "c"])
    assert type(loaded) is type(model)
    assert torch.equal(model.eval()(images), loaded(images))
    if name == "digits-acol":
        assert loaded.erase == 0.8
        assert all(torch.equal(a, b) for a, b in zip(model.branches(images), loaded.branches(images), strict=True))
        assert [branch[-1].bias.tolist() for branch in models.build(name, 3, bias=-2.0).head] == [[-2.0] * 3] * 2


def test_seed_fixes_both_branches():
    first, second, other = (models.build("digits-acol", 3, seed=seed) for seed in (5, 5, 6))
    for a, b, c in zip(first.head.parameters(), second.head.parameters(), other.head.parameters(), strict=True):
        assert torch.equal(a, b) and (a.dim() == 1 or not torch.equal(a, c))
    assert not torch.equal(first.head[0][0].weight, first.head[1][0].weight)


def test_what_acol_cannot_be_is_refused(acol, tmp_path):
    with pytest.raises(
        ValueError, match="digits-acol has two convolutional branches in place of a head: pass head"
    ):
        models.build("digits-acol", 3, head="kernel-usage")
    with pytest.raises(ValueError, match=r"acol-vgg19 has two convolutional branches .* not 'linear' and 0\.5"):
        models.build("acol-vgg19", 3, dropout=0.5)
    with pytest.raises(ValueError, match="the digits-acol network has no pretrained backbone"):
        models.build("digits-acol", 3, weights="imagenet")
    with pytest.raises(ValueError, match="unknown network 'acol-vgg16'; did you mean 'acol-vgg19'"):
        models.build("acol-vgg16", 3)
    for value in (0.0, 1.0, -0.1, math.nan):
        with pytest.raises(
            ValueError, match=f"expected an erasing threshold strictly between 0 and 1, got {value}"
        ):
            acol.erase = value
    assert acol.erase == 0.6
    with pytest.raises(ValueError, match=r"expected labels \(B,L\) = \(2, 3\), got \(2,\)"):
        acol.branches(random(2, 3, 4, 4), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="unknown normalisation 'minmax'; did you mean 'min-max'"):
        acol.class_maps(random(1, 3, 4, 4), Pairs.one(), normalisation="minmax")
