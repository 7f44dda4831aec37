"""Maps against comparison classes: written out pair by pair with autograd, and the identities of linear heads."""

import copy

import pytest
import torch
import torchvision

from cam_utils import data
from cam_utils.evaluation import map_counts
from cam_utils.methods import cams
from cam_utils.networks import models
from cam_utils.pairs import Pairs, pairs_of
from cam_utils.representative import selection, sources
from cam_utils.representative.fusion import Recipe

PRESENT = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 1, 0]], dtype=torch.bool)
WANTED = [[1, 2], [0, 4], [0, 1, 3, 4], [2], []]


@pytest.fixture(scope="module")
def digits():
    model = models.build("digits", 5, seed=1).eval()
    generator = torch.Generator().manual_seed(0)
    return model, torch.rand(3, 3, 48, 48, generator=generator), torch.randn(5, 5, 64, generator=generator)


def written_out(features, cut, images, score):
    """Return Grad-CAM before the ReLU [h, w] of score(pooled) at child `cut` of the features, for one image."""
    activations = features[: cut + 1](images[None]).detach().requires_grad_(True)
    pooled = features[cut + 1 :](activations).mean((-2, -1))[0]
    (grad,) = torch.autograd.grad(score(pooled), activations)
    return (grad.mean((-2, -1), keepdim=True) * activations).sum(1)[0].detach()


def test_heads_give_every_layer_the_map_of_their_own_score(digits):
    model, images, weights = digits
    weights = weights - weights.transpose(0, 1)
    pairs = pairs_of(PRESENT)
    source = sources.HeadPairs(model, sources.layers_of(model.features, "digits"), weights)
    found = source.layer_maps(images, pairs, WANTED, True)
    assert [tuple(m.shape[:2]) for m in found] == [(5, 5)] * 4
    for p, (b, c) in enumerate(zip(pairs.image.tolist(), pairs.label.tolist(), strict=True)):
        for s in range(5):
            for maps, cut in zip(found, sources.LAYERS["digits"], strict=True):
                expected = written_out(model.features, cut, images[b], lambda g, c=c, s=s: g @ weights[c, s])
                if s not in WANTED[c]:
                    assert maps[p, s].abs().max() == 0  # not asked, not computed
                else:
                    torch.testing.assert_close(maps[p, s], expected, rtol=1e-4, atol=1e-6)
    last = source.layer_maps(images, pairs, WANTED, False)
    torch.testing.assert_close(last[0], found[-1])
    assert len(last) == 1


def test_the_last_map_is_the_difference_of_two_class_activation_maps(digits):
    model, images, _ = digits
    w = model.head.weight.detach()
    pairs = pairs_of(PRESENT)
    source = sources.HeadPairs(model, [model.features], w[:, None] - w)
    (found,) = source.layer_maps(images, pairs, WANTED, False)
    activations = model.features(images).detach()
    area = activations.shape[-1] * activations.shape[-2]
    for p, c in enumerate(pairs.label.tolist()):
        for s in WANTED[c]:
            one = Pairs(*(field[p : p + 1] for field in pairs))
            maps = [cams.weighted_sum(activations, w[k : k + 1], one)[0] for k in (c, s)]
            torch.testing.assert_close(found[p, s] * area, maps[0] - maps[1], rtol=1e-4, atol=1e-5)


def test_fusing_before_the_relu_is_minmax_cam_with_absent_labels(digits):
    model, images, _ = digits
    w = model.head.weight.detach()
    reps = [[1, 3], [0, 4], [0, 1, 4], [2, 4], [1]]
    pairs = pairs_of(PRESENT[:, :])
    source = sources.HeadPairs(model, [model.features], w[:, None] - w)
    found = map_counts.fused_maps(source, images, pairs, [Recipe("joint", reps, joint=True)])["joint"]
    activations = model.features(images).detach()
    for p, (b, c) in enumerate(zip(pairs.image.tolist(), pairs.label.tolist(), strict=True)):
        others = torch.zeros(1, 5, dtype=torch.bool)
        others[0, [c, *reps[c]]] = True  # C_x = the class and its representatives
        focus = pairs_of(others, torch.tensor([b]))
        own = focus.label.tolist().index(c)
        minmax = cams.minmax_cam(activations, w, focus)[own][None, None]
        expected = selection.fuse(selection.layered([minmax], images.shape[-2:]))
        torch.testing.assert_close(found[p], expected[0], rtol=1e-3, atol=1e-4)


def test_one_representative_leaves_relu_and_mean_in_any_order(digits):
    model, images, weights = digits
    pairs = pairs_of(PRESENT)
    source = sources.HeadPairs(model, [model.features], weights)
    one = [[1], [0], [3], [2], [0]]
    maps = map_counts.fused_maps(source, images, pairs, [Recipe("a", one), Recipe("b", one, joint=True)])
    torch.testing.assert_close(maps["a"], maps["b"])


def test_networks_of_pairs_explain_both_of_their_classes(digits):
    _, images, _ = digits
    networks = {
        (c, s): models.build("digits", 2, seed=10 * c + s).eval() for c in range(5) for s in range(c + 1, 5)
    }
    pairs = pairs_of(PRESENT)
    source = sources.NetworkPairs(
        lambda c, s: networks[c, s], lambda m: sources.layers_of(m.features, "digits"), 5, "test"
    )
    found = source.layer_maps(images, pairs, WANTED, True)
    for p, (b, c) in enumerate(zip(pairs.image.tolist(), pairs.label.tolist(), strict=True)):
        for s in WANTED[c]:
            model, logit = networks[min(c, s), max(c, s)], int(c > s)
            for maps, cut in zip(found, sources.LAYERS["digits"], strict=True):
                expected = written_out(
                    model.features, cut, images[b], lambda g, m=model, k=logit: m.head(g[None])[0, k]
                )
                torch.testing.assert_close(maps[p, s], expected, rtol=1e-4, atol=1e-6)


def test_the_difference_of_a_networks_logits_forgets_what_its_rows_share(digits):
    _, images, _ = digits
    network = models.build("digits", 2, seed=3).eval()
    pairs = pairs_of(torch.tensor([[1, 1], [1, 0], [0, 1]], dtype=torch.bool))

    def last(score):
        source = sources.NetworkPairs(lambda c, s: network, lambda m: [m.features], 2, "test", score)
        return source.layer_maps(images, pairs, [[1], [0]], False)[0]

    logit, difference = last("logit"), last("difference")
    torch.testing.assert_close(
        difference[0, 1], logit[0, 1] - logit[1, 0], rtol=1e-4, atol=1e-6
    )  # image 0 has both
    torch.testing.assert_close(difference[0, 1], -difference[1, 0])
    network.head.weight.data += torch.randn(1, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(last("difference"), difference, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(last("logit"), logit, rtol=0.1, atol=1e-3)
    with pytest.raises(ValueError, match="unknown score 'logits'"):
        last("logits")


def test_a_square_at_t_is_the_map_at_the_root_of_t(digits):
    model, images, weights = digits
    pairs = pairs_of(PRESENT)
    source = sources.HeadPairs(model, sources.layers_of(model.features, "digits"), weights)
    one = [[1], [0], [3], [2], [0]]
    found = map_counts.fused_maps(source, images, pairs, [Recipe("m", one), Recipe("m2", one, square=True)])
    torch.testing.assert_close(found["m"] ** 2, found["m2"], rtol=1e-4, atol=1e-6)


def test_an_ignored_pixel_and_a_class_outside_the_choice_count_nowhere():
    scenes = list(data.load("digits", "val", n=4))
    ignore = torch.zeros(96, 96, dtype=torch.bool)
    ignore[:, :48] = True
    batch = data.collate([scene._replace(ignore=ignore) for scene in scenes])
    names = tuple("0123456789")
    chosen = tuple(names[c] for c in range(10) if c != int(scenes[0].objects[0]))
    pairs, truth, valid = map_counts.truths(batch, names, chosen)
    assert not valid[:, :, :48].any()
    assert {chosen[c] for c in pairs.label.tolist()} <= set(chosen)
    rows = map_counts._evaluate_batch(
        sources.Direct(lambda x, p: torch.ones(len(p), *x.shape[-2:]), "one"),
        batch.images, batch, [Recipe("one")], names, chosen, (0.5,),
    )  # fmt: skip
    real = rows[rows["class"] != "background"]
    assert (real["area_0.5"] == 96 * 48).all()  # the valid half
    assert real["truth"].tolist() == [int(t[:, 48:].sum()) for t in truth]
    assert real["hit_0.5"].tolist() == real["truth"].tolist()


@pytest.mark.parametrize("name", [n for n in sources.LAYERS if n != "digits"])
def test_layers_shrink_towards_the_last(name):
    model = models.build(name, 3).eval()
    layers = sources.layers_of(model.features, name)
    _, activations = sources.capture_layers(model, torch.rand(1, 3, 64, 64), layers, grads=False)
    sizes = [a.shape[-1] for a in activations]
    assert sizes == sorted(set(sizes), reverse=True)
    assert (
        len(sizes)
        == {"resnet": 4, "vgg": 5, "mobile": 5, "squeeze": 4}[
            next(k for k in ("resnet", "vgg", "mobile", "squeeze") if name.startswith(k))
        ]
    )


def test_vgg_is_read_before_its_pools_and_resnet_at_its_blocks():
    vgg = models.build("vgg19", 2).features
    for i in sources.LAYERS["vgg19"]:
        assert isinstance(vgg[i + 1], torch.nn.MaxPool2d)
    net = torchvision.models.resnet18()
    blocks = [net.layer1, net.layer2, net.layer3, net.layer4]
    ours = sources.layers_of(models.build("resnet18", 2).features, "resnet18")
    assert [[k for k, _ in a.named_parameters()] for a in ours] == [
        [k for k, _ in b.named_parameters()] for b in blocks
    ]


def test_the_class_network_is_grad_cam_of_its_logit(digits):
    model, images, _ = digits
    pairs = pairs_of(PRESENT)
    source = sources.ClassNetwork(model, sources.layers_of(model.features, "digits"))
    found = source.layer_maps(images, pairs, [[]] * 5, True)
    for p, (b, c) in enumerate(zip(pairs.image.tolist(), pairs.label.tolist(), strict=True)):
        for maps, cut in zip(found, sources.LAYERS["digits"], strict=True):
            expected = written_out(model.features, cut, images[b], lambda g, c=c: model.head(g[None])[0, c])
            torch.testing.assert_close(maps[p, 0], expected, rtol=1e-4, atol=1e-6)


def test_evaluation_resumes_without_a_second_pass(digits, tmp_path):
    model, _, weights = digits
    weights = torch.randn(10, 10, 64, generator=torch.Generator().manual_seed(3))
    scenes = data.load("digits", "val", n=7)
    source = sources.HeadPairs(model, [model.features], weights)
    every = [[j for j in range(10) if j != c] for c in range(10)]
    recipes = [Recipe("All", every), Recipe("vs 1", [[1] if c != 1 else [] for c in range(10)])]
    run = {"preprocess": model.preprocess, "batch_size": 3, "progress": False}
    whole = map_counts.evaluate_maps(source, scenes, recipes, **run)
    calls, interrupted = [], copy.copy(source)

    class Killed(Exception):
        pass

    def dies(images, *rest):
        calls.append(len(images))
        if len(calls) == 2:
            raise Killed
        return source.layer_maps(images, *rest)

    interrupted.layer_maps = dies
    with pytest.raises(Killed):
        map_counts.evaluate_maps(interrupted, scenes, recipes, folder=tmp_path, **run)
    resumed = map_counts.evaluate_maps(interrupted, scenes, recipes, folder=tmp_path, **run)
    assert calls == [3, 3, 3, 1]  # the first part was not made again
    assert resumed.equals(whole)
    explained = resumed[resumed["class"] != "background"].groupby("method")["class"]
    assert set(explained.unique()["All"]) - set(explained.unique()["vs 1"]) == {"1"}  # never against itself
    with pytest.raises(ValueError, match="rows of another evaluation"):
        map_counts.evaluate_maps(source, scenes, recipes[:1], folder=tmp_path, **run)


def test_bad_questions_say_what_is_wrong(digits):
    model, _, weights = digits
    with pytest.raises(ValueError, match=r"expected weights \[n, n, 64\], got \[5, 64\]"):
        sources.HeadPairs(model, [model.features], weights[0])
    with pytest.raises(ValueError, match="unknown network with several layers 'efficientnet_b6'"):
        sources.layers_of(model.features, "efficientnet_b6")
    scenes = data.load("digits", "val", n=1)
    with pytest.raises(ValueError, match="recipes with different names"):
        map_counts.evaluate_maps(None, scenes, [Recipe("a"), Recipe("a")], preprocess=None)
    with pytest.raises(ValueError, match="recipe a: class 1 is compared with itself"):
        Recipe("a", [[1], [0, 1]])
    with pytest.raises(ValueError, match="recipe a: multilayer, square and joint exclude each other"):
        Recipe("a", multilayer=True, joint=True)
    bare = data.load("digits", "val", n=1, objects=(1.0,))
    absent = [name for name in bare.classes if name != bare.classes[int(bare.labels[0].argmax())]]
    with pytest.raises(ValueError, match="no annotated pixel of 9 classes in 1 images of digits"):
        map_counts.evaluate_maps(
            sources.Direct(None, "x"), bare, [Recipe("a")], preprocess=lambda x: x, classes=absent
        )
