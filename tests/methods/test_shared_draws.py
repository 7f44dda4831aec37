"""Maximum and mean of the same draws: each is the registry's reading, and both take the forwards of one."""

from functools import partial

import pytest
import torch

from cam_utils.methods.query import ask
from cam_utils.methods.registry import method
from cam_utils.methods.shared_draws import SharedDraws
from cam_utils.methods.smoothing import reading
from cam_utils.networks import models
from cam_utils.pairs import Pairs


@pytest.fixture
def query():
    model = models.build("digits", 10, seed=3).eval()
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    pairs = Pairs.alone(torch.tensor([0, 1, 1]), torch.tensor([3, 8, 3]))
    return ask(model, x, pairs, activation="softmax")


@pytest.mark.parametrize("name", ["printed", "authors-2020-06", "authors-2020-08"])
def test_both_are_the_registrys_readings_at_the_price_of_one(query, name):
    object.__setattr__(query, "ids", ["a", "b"])
    calls = []
    whole = query.score
    object.__setattr__(query, "score", lambda seen: (calls.append(len(seen)), whole(seen))[1])
    shared = SharedDraws(reading(name, draws=3, seed=5, rescore=False, subtract=False))
    own = {"reading": name, "draws": 3, "seed": 5, "rescore": False, "subtract": False}
    for reduce in ("max", "mean"):
        found = partial(shared, reduce=reduce)(query)
        once = sum(calls)
        torch.testing.assert_close(found, method("ss-cam", reduce=reduce, **own)(query))
        del calls[:]
        if reduce == "mean":
            assert once == 0, "the mean takes no forward of its own"


def test_another_query_is_scored_anew(query):
    shared = SharedDraws(reading("authors-2020-06", draws=2, seed=5))
    whole = shared(query, reduce="max")
    other = query.about(query.pairs.take([1]))
    torch.testing.assert_close(shared(other, reduce="max"), whole[1:2])
    darker = ask(query.model, 0.1 * query.images, query.pairs, activation="softmax")
    expected = method("ss-cam", reading="authors-2020-06", draws=2, seed=5)(darker)
    torch.testing.assert_close(shared(darker, reduce="max"), expected)
