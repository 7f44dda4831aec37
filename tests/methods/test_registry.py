"""What holds for every method of the registry, and how methods are named, chosen and given options."""

import inspect

import pytest
import torch

from cam_utils.front.explain import explain
from cam_utils.methods import registry
from cam_utils.methods.query import ask
from cam_utils.methods.registry import METHODS, method, resolved
from cam_utils.networks import models
from cam_utils.pairs import Pairs, pairs_of

OPTIONS = {"ss-cam": {"draws": 2}, "ss-cam-mean": {"draws": 2}}
PRESENT = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 1]], dtype=torch.bool)


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    features = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3, 1, 1), torch.nn.ReLU(), torch.nn.Conv2d(5, 6, 3, 2, 1))
    model = models.Classifier(features, models.LinearHead(6, 4), normalisation=models.HALF).double().eval()
    return model, torch.randn(3, 3, 12, 16, dtype=torch.float64)


def maps_of(name, model, images, pairs, chunk=None):
    """Return a method's maps in double precision: sums in another order differ by the last digits only."""
    return method(name, **OPTIONS.get(name, {}))(ask(model, images, pairs, chunk=chunk))


@pytest.mark.parametrize("name", METHODS)
def test_neither_the_chunk_nor_the_rest_of_the_batch_nor_the_order_changes_a_map(small, name):
    model, images = small
    pairs = pairs_of(PRESENT)
    found = maps_of(name, model, images, pairs)
    assert found.shape[0] == 7 and found.min() >= 0 and found.amax((-2, -1)).max() > 0
    for chunk in (1, 5):
        torch.testing.assert_close(maps_of(name, model, images, pairs, chunk), found, rtol=1e-9, atol=1e-12)
    for i in range(3):
        alone = maps_of(name, model, images[i : i + 1], pairs_of(PRESENT[i : i + 1]))
        torch.testing.assert_close(alone, found[pairs.image == i], rtol=1e-9, atol=1e-12)
    shuffled = torch.tensor([4, 0, 6, 2, 5, 1, 3])
    other = maps_of(name, model, images, pairs.take(shuffled))
    torch.testing.assert_close(other, found[shuffled], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", METHODS)
def test_only_methods_that_subtract_other_labels_depend_on_the_set(small, name):
    model, images = small
    together = Pairs(torch.tensor([0, 0]), torch.tensor([1, 2]), torch.tensor([0, 0]))
    apart = Pairs.alone(together.image, together.label)
    same = torch.allclose(maps_of(name, model, images, together), maps_of(name, model, images, apart), rtol=1e-9)
    assert same == (name in registry.OF_LABEL_ALONE)


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


def test_the_cost_of_a_name_is_one_line():
    """Every entry of METHODS takes a query alone, or options by keyword."""
    for name, function in METHODS.items():
        first, *rest = inspect.signature(function).parameters.values()
        assert first.name == "query", name
        assert all(p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in rest), name
