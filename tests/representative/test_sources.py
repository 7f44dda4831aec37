"""Maps against comparison classes: written out pair by pair with autograd, and the identities of linear heads."""

import pytest
import torch
import torchvision

from cam_utils.methods import cams
from cam_utils.methods.weighted_sums import weighted_sum
from cam_utils.networks import models
from cam_utils.pairs import pairs_of
from cam_utils.representative import fusion, sources
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
    source = sources.HeadSource(model, sources.layers_of(model.features, "digits"), weights)
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
    source = sources.HeadSource(model, [model.features], w[:, None] - w)
    (found,) = source.layer_maps(images, pairs, WANTED, False)
    activations = model.features(images).detach()
    area = activations.shape[-1] * activations.shape[-2]
    for p, c in enumerate(pairs.label.tolist()):
        for s in WANTED[c]:
            one = pairs.take([p])
            maps = [weighted_sum(activations, w[k : k + 1], one)[0] for k in (c, s)]
            torch.testing.assert_close(found[p, s] * area, maps[0] - maps[1], rtol=1e-4, atol=1e-5)


def test_fusing_before_the_relu_is_minmax_cam_with_absent_labels(digits):
    model, images, _ = digits
    w = model.head.weight.detach()
    reps = [[1, 3], [0, 4], [0, 1, 4], [2, 4], [1]]
    pairs = pairs_of(PRESENT[:, :])
    source = sources.HeadSource(model, [model.features], w[:, None] - w)
    found = fusion.fused_maps(source, images, pairs, [Recipe("joint", reps, joint=True)])["joint"]
    activations = model.features(images).detach()
    for p, (b, c) in enumerate(zip(pairs.image.tolist(), pairs.label.tolist(), strict=True)):
        others = torch.zeros(1, 5, dtype=torch.bool)
        others[0, [c, *reps[c]]] = True  # C_x = the class and its representatives
        focus = pairs_of(others, torch.tensor([b]))
        own = focus.label.tolist().index(c)
        minmax = cams.minmax_cam(activations, w, focus)[own][None, None]
        expected = fusion.fuse(fusion.layered([minmax], images.shape[-2:]))
        torch.testing.assert_close(found[p], expected[0], rtol=1e-3, atol=1e-4)


def test_one_representative_leaves_relu_and_mean_in_any_order(digits):
    model, images, weights = digits
    pairs = pairs_of(PRESENT)
    source = sources.HeadSource(model, [model.features], weights)
    one = [[1], [0], [3], [2], [0]]
    maps = fusion.fused_maps(source, images, pairs, [Recipe("a", one), Recipe("b", one, joint=True)])
    torch.testing.assert_close(maps["a"], maps["b"])


def test_networks_of_pairs_explain_both_of_their_classes(digits):
    _, images, _ = digits
    networks = {
        (c, s): models.build("digits", 2, seed=10 * c + s).eval() for c in range(5) for s in range(c + 1, 5)
    }
    pairs = pairs_of(PRESENT)
    source = sources.NetworkSource(
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
        source = sources.NetworkSource(lambda c, s: network, lambda m: [m.features], 2, "test", score)
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
    source = sources.HeadSource(model, sources.layers_of(model.features, "digits"), weights)
    one = [[1], [0], [3], [2], [0]]
    found = fusion.fused_maps(source, images, pairs, [Recipe("m", one), Recipe("m2", one, square=True)])
    torch.testing.assert_close(found["m"] ** 2, found["m2"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [n for n in sources.LAYERS if n != "digits"])
def test_layers_shrink_towards_the_last(name):
    model = models.build(name, 3).eval()
    layers = sources.layers_of(model.features, name)
    _, activations = sources.capture_layers(model, torch.rand(1, 3, 64, 64), layers, grads=False)
    sizes = [a.shape[-1] for a in activations]
    assert sizes == sorted(set(sizes), reverse=True)
    assert (
        len(sizes)
        == {"resnet": 4, "vgg": 5, "mobile": 5, "efficientnet": 5, "squeeze": 4}[
            next(k for k in ("resnet", "vgg", "mobile", "efficientnet", "squeeze") if name.startswith(k))
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
    source = sources.ClassSource(model, sources.layers_of(model.features, "digits"))
    found = source.layer_maps(images, pairs, [[]] * 5, True)
    for p, (b, c) in enumerate(zip(pairs.image.tolist(), pairs.label.tolist(), strict=True)):
        for maps, cut in zip(found, sources.LAYERS["digits"], strict=True):
            expected = written_out(model.features, cut, images[b], lambda g, c=c: model.head(g[None])[0, c])
            torch.testing.assert_close(maps[p, 0], expected, rtol=1e-4, atol=1e-6)


def test_bad_questions_say_what_is_wrong(digits):
    model, _, weights = digits
    with pytest.raises(ValueError, match=r"expected weights \[n, n, 64\], got \[5, 64\]"):
        sources.HeadSource(model, [model.features], weights[0])
    with pytest.raises(ValueError, match="unknown network with several layers 'efficientnet_b6'"):
        sources.layers_of(model.features, "efficientnet_b6")
    with pytest.raises(ValueError, match="recipe a: class 1 is compared with itself"):
        Recipe("a", [[1], [0, 1]])
    with pytest.raises(ValueError, match="recipe a: multilayer, square and joint exclude each other"):
        Recipe("a", multilayer=True, joint=True)
