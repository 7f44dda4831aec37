"""What holds for every method of the registry, and how methods are named, chosen and given options."""

import copy
import dataclasses
import inspect

import pytest
import torch
from torch import nn

from cam_utils.front.explain import explain
from cam_utils.methods import ablation, other_libraries, registry, relevance, scorecam, smoothing, sscam
from cam_utils.methods.query import ask
from cam_utils.methods.registry import METHODS, method, resolved
from cam_utils.networks import models
from cam_utils.pairs import Pairs, pairs_of

OTHERS = {"ablation-cam": ablation.ablation_cam, "relevance-cam": relevance.relevance_cam}
ALL = METHODS | OTHERS | other_libraries.OTHER_LIBRARIES
OPTIONS = {
    "ss-cam": {"draws": 2},
    "ss-cam-mean": {"draws": 2},
    "integrated-gradients": {"steps": 8},
    "smoothgrad": {"samples": 4},
}
APPROACH_1 = {"reduce": "mean", "noise": "mask", "signed": False, "rescore": False, "softmax": False}
PRESENT = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 1]], dtype=torch.bool)


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    features = nn.Sequential(
        nn.Conv2d(3, 5, 3, 1, 1), nn.BatchNorm2d(5), nn.ReLU(inplace=True), nn.Conv2d(5, 6, 3, 2, 1), nn.ReLU()
    )
    model = models.Classifier(features, models.LinearHead(6, 4), normalisation=models.HALF).double().eval()
    return model, torch.randn(3, 3, 12, 16, dtype=torch.float64)


def maps_of(name, model, images, pairs, chunk=None):
    return ALL[name](ask(model, images, pairs, chunk=chunk), **OPTIONS.get(name, {}))


def assert_same(name, found, expected):
    """Sums in another order differ by the last digits only; pytorch-grad-cam works in single precision."""
    rtol, atol = (1e-4, 1e-6) if name in other_libraries.OTHER_LIBRARIES else (1e-9, 1e-12)
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", ALL)
def test_neither_the_chunk_nor_the_rest_of_the_batch_nor_the_order_changes_a_map(small, name, monkeypatch):
    model, images = small
    pairs = pairs_of(PRESENT)
    found = maps_of(name, model, images, pairs)
    assert found.shape[0] == 7 and found.min() >= 0 and found.amax((-2, -1)).max() > 0
    for chunk in (1, 5):
        monkeypatch.setattr(other_libraries, "ROWS", chunk)
        assert_same(name, maps_of(name, model, images, pairs, chunk), found)
    for i in range(3):
        alone = maps_of(name, model, images[i : i + 1], pairs_of(PRESENT[i : i + 1]))
        assert_same(name, alone, found[pairs.image == i])
    shuffled = torch.tensor([4, 0, 6, 2, 5, 1, 3])
    assert_same(name, maps_of(name, model, images, pairs.take(shuffled)), found[shuffled])


@pytest.mark.parametrize("name", ALL)
def test_the_model_the_images_and_the_generator_stay_as_they_were(small, name):
    model, images = copy.deepcopy(small[0]), small[1].clone()
    model.train(mode := name not in registry.MASKED)  # those run the network as it is given
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    state, random, modules = copy.deepcopy(model.state_dict()), torch.get_rng_state(), list(model.modules())
    attributes = [set(vars(module)) for module in modules]
    with torch.no_grad():  # as evaluate calls it
        assert not maps_of(name, model, images, pairs_of(PRESENT)).requires_grad
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(bool((p.grad == 1).all()) and p.requires_grad for p in model.parameters())
    assert list(model.modules()) == modules and [set(vars(module)) for module in modules] == attributes
    for module in modules:
        assert module.training == mode and not (module._forward_hooks or module._backward_hooks)
        assert not (module._forward_pre_hooks or module._backward_pre_hooks)
    assert model.features[2].inplace
    assert torch.equal(images, small[1]) and not images.requires_grad
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("name", ALL)
def test_only_methods_that_subtract_other_labels_depend_on_the_set(small, name):
    model, images = small
    together = Pairs(torch.tensor([0, 0]), torch.tensor([1, 2]), torch.tensor([0, 0]))
    apart = Pairs.alone(together.image, together.label)
    found = [maps_of(name, model, images, pairs).double() for pairs in (together, apart)]
    assert torch.allclose(*found, rtol=1e-6) == (name in registry.OF_LABEL_ALONE or name not in METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_no_pair_gives_no_map(small, name):
    if name not in registry.MASKED:
        model, images = small
        assert len(maps_of(name, model, images, Pairs.one().take([]))) == 0


def test_a_method_of_ones_own_is_one_function(small):
    def mean_activation(query):
        return query.activations.mean(1).relu()[query.pairs.image]

    model, images = small
    found = explain(model, images, [[0], [1], [2]], method=mean_activation, layer=model.features)
    assert found.maps.shape == (3, 12, 16) and list(resolved(mean_activation)) == ["mean-activation"]


def test_options_of_ones_own_win_over_those_of_the_mean_over_masks(small):
    model, images = small
    query = ask(model, images, pairs_of(PRESENT))
    place = (images, query.activations, query.pairs, query.score)

    def written_out(**options):
        how = smoothing.Smoothing(**(APPROACH_1 | {"draws": 2} | options))
        return sscam.ss_cam(*place, how, weights=query.signs)

    plain = method("ss-cam-mean", draws=2)(query)
    torch.testing.assert_close(plain, written_out())
    others = {"reduce": "max", "noise": "input", "signed": True, "rescore": True, "softmax": True}
    assert set(others) == set(APPROACH_1)
    for option, other in others.items():
        mine = method("ss-cam-mean", draws=2, **{option: other})(query)
        torch.testing.assert_close(mine, written_out(**{option: other}))
        assert not torch.equal(mine, plain), option


@pytest.mark.parametrize("name", registry.COSTLY)
def test_an_images_noise_is_that_of_its_name(small, name):
    model, images = small
    twice = images[[0, 0]]
    query = ask(model, twice, pairs_of(torch.ones(2, 4) > 0))
    unnamed = ALL[name](query, draws=1)
    assert torch.equal(unnamed[:4], unnamed[4:])
    named = ALL[name](dataclasses.replace(query, ids=["a", "b"]), draws=1)
    assert not torch.allclose(named[:4], named[4:])
    again = ALL[name](dataclasses.replace(query, ids=["b", "a"]), draws=1)
    torch.testing.assert_close(again, named.roll(4, 0))


def test_options_are_checked_before_anything_runs_and_known_to_the_plan():
    with pytest.raises(ValueError, match="unknown option of representative-cam 'representative'; did you mean"):
        method("representative-cam", representative=3)
    with pytest.raises(ValueError, match=r"unknown option of cam 'draws' \(valid: none\)"):
        method("cam", draws=3)
    with pytest.raises(ValueError, match="unknown method 'sscam'; did you mean 'ss-cam'"):
        method("sscam")
    chosen = resolved(
        {"few": method("ss-cam", draws=2), "cam": "cam", "black": method("ss-cam", baseline=torch.ones(3))}
    )
    described = registry.described(chosen)
    assert described["few"] == {"draws": 2} and described["cam"] == {} and len(described["black"]["baseline"]) == 16


def test_the_masked_methods_of_the_registry_are_those_that_run_the_network_again(small):
    model, images = small
    again = set()
    for name in METHODS:
        query = ask(model, images, pairs_of(PRESENT))
        object.__setattr__(query, "score", lambda x, name=name: (again.add(name), model(x).sigmoid())[1])
        method(name, **OPTIONS.get(name, {}))(query)
    assert again == set(registry.MASKED) and set(registry.COSTLY) < again


def test_approach_1_weighs_no_channel_and_inverts_no_mask(small):
    """Without noise it is Score-CAM less the blank image's score, whatever the signs of the head's weights."""
    model, images = small
    query = ask(model, images, pairs_of(PRESENT))
    assert (query.signs < 0).any()
    alpha = sscam.smoothed_weights(
        images, query.activations, query.pairs, query.score, smoothing.Smoothing(sigma=0.0, **APPROACH_1)
    )
    expected = scorecam.upsampled_sum(images, query.activations, alpha, query.pairs)
    torch.testing.assert_close(method("ss-cam-mean", sigma=0.0)(query), expected)
    inverted = method("ss-cam", sigma=0.0, rescore=False, softmax=False, reduce="mean", noise="mask")(query)
    assert not torch.allclose(inverted, expected)


def test_the_cost_of_a_name_is_one_line():
    """Every entry of METHODS takes a query alone, or options by keyword."""
    for name, function in METHODS.items():
        first, *rest = inspect.signature(function).parameters.values()
        assert first.name == "query", name
        assert all(p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in rest), name
