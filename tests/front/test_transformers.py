"""Maps of transformers: tokens folded into a grid, against pytorch-grad-cam, plain autograd and plain loops."""

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from timm.models.davit import DaVit
from timm.models.deit import VisionTransformerDistilled
from timm.models.maxxvit import MaxxVit, MaxxVitCfg
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from cam_utils import maps
from cam_utils.front.explain import explain
from cam_utils.methods.ablation import ablation_cam
from cam_utils.networks.capture import capture

SIZE = (64, 96)  # not square: rows and columns that change places would show
LABELS = [[1, 4, 7], [2, 0]]
PLAIN = {"embed_dim": 32, "depth": 3, "num_heads": 2}
VIT = {"img_size": SIZE, "patch_size": 16, "num_classes": 10, **PLAIN}


def _swin():
    return torchvision.models.SwinTransformer([4, 4], 16, [2, 2], [2, 4], [2, 2], num_classes=10)


def _maxvit():
    return torchvision.models.MaxVit((64, 64), 8, 2, [16, 32], [1, 1], 8, 0.0, num_classes=10)


def _max_vit_of_timm():
    cfg = MaxxVitCfg(embed_dim=(32, 32), depths=(1, 1), block_type=("M", "M"), stem_width=8)
    return MaxxVit(cfg, img_size=64, num_classes=10)


def _davit():
    return DaVit(depths=(1, 1), embed_dims=(16, 32), num_heads=(2, 4), window_size=2, num_classes=10)


def _patches(output, grid, before):
    """The reshape that pytorch-grad-cam's tutorials give for a ViT."""
    return output[:, before:].reshape(len(output), *grid, -1).permute(0, 3, 1, 2)


# how it is made, the layer that is named, the library's reshape of it, the side of square images
NETWORKS = {
    "vit": (lambda: VisionTransformer(**VIT), "blocks.2.norm1", lambda out: _patches(out, (4, 6), 1), SIZE),
    "registers": (
        lambda: VisionTransformer(**VIT, reg_tokens=4),
        "blocks.2.norm1",
        lambda out: _patches(out, (4, 6), 5),
        SIZE,
    ),
    "pooled": (
        lambda: VisionTransformer(**VIT, class_token=False, global_pool="avg", fc_norm=True),
        "blocks",
        lambda out: _patches(out, (4, 6), 0),
        SIZE,
    ),
    "deit": (
        lambda: VisionTransformerDistilled(**VIT, weight_init=""),
        "blocks.2.norm1",
        lambda out: _patches(out, (4, 6), 2),
        SIZE,
    ),
    "torchvision's vit": (
        lambda: torchvision.models.VisionTransformer(64, 16, 3, 2, 32, 64, num_classes=10),
        "encoder.layers.encoder_layer_2.ln_1",
        lambda out: _patches(out, (4, 4), 1),
        (64, 64),
    ),
    "torchvision's swin": (_swin, "norm", lambda out: out.permute(0, 3, 1, 2), SIZE),
    "swin": (
        lambda: SwinTransformer(SIZE, embed_dim=16, depths=(2, 2), num_heads=(2, 4), window_size=2, num_classes=10),
        "norm",
        lambda out: out.permute(0, 3, 1, 2),
        SIZE,
    ),
    "davit": (_davit, "norm_pre", None, SIZE),
    "torchvision's maxvit": (_maxvit, "blocks.1", None, (64, 64)),
    "maxvit": (_max_vit_of_timm, "norm", None, (64, 64)),
}


def network(name, scale=1.0):
    """A small network in double precision, with random scales, biases and heads: no map is constant by accident."""
    make, layer, reshape, size = NETWORKS[name]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = make().double().eval()
        for each in net.parameters():
            if each.dim() == 1:
                nn.init.normal_(each, mean=1.0 if each.any() else 0.0, std=0.1)
        for module in net.modules():
            if isinstance(module, nn.Linear) and module.out_features == 10:
                nn.init.normal_(module.weight, std=scale)
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return net, images, layer, reshape


def _library(net, images, layer, reshape, method, label, others):
    from pytorch_grad_cam import GradCAM, GradCAMPlusPlus

    focused = method == "minmax-grad-cam"
    peer = GradCAMPlusPlus if method == "grad-cam++" else GradCAM

    def target(logits):
        return logits[label] - logits[others].mean() if focused else logits[label]  # Eq. 6

    with peer(net, [net.get_submodule(layer)], reshape_transform=reshape) as cam:
        return torch.from_numpy(cam(images, [target])[0])


@pytest.mark.parametrize("method", ["grad-cam", "minmax-grad-cam", "grad-cam++"])
@pytest.mark.parametrize("name", NETWORKS)
def test_maps_are_those_of_pytorch_grad_cam(name, method):
    net, images, layer, reshape = network(name, scale=1e6)  # beside which the library's epsilons are small
    ours = explain(net, images, LABELS, method=method, layer=layer)
    theirs = [
        _library(net, images[b : b + 1], layer, reshape, method, c, [n for n in row if n != c])
        for b, row in enumerate(LABELS)
        for c in row
    ]
    again = maps.normalise(ours.maps)  # it normalises once more after resizing
    torch.testing.assert_close(again, torch.stack(theirs).to(again), rtol=1e-3, atol=1e-3)
    assert sum(bool(each.any()) for each in theirs) >= 2


@pytest.mark.parametrize("name", NETWORKS)
def test_d_minmax_is_that_of_plain_autograd(name):
    net, images, layer, reshape = network(name)
    kept = []
    with torch.enable_grad():
        handle = net.get_submodule(layer).register_forward_hook(lambda m, i, out: kept.append(out))
        logits = net(images)
        handle.remove()
    fold = reshape or (lambda out: out)
    expected = []
    for b, row in enumerate(LABELS):

        def gradient(score, b=b):
            return fold(torch.autograd.grad(score, kept[0], retain_graph=True)[0])[b]

        for c in row:
            others = [n for n in row if n != c]
            weights = gradient(logits[b, c]).clamp(min=0)
            weights -= gradient(logits[b, others].sum()).clamp(min=0) / len(others)
            weights += gradient(logits[b, row].sum()).clamp(max=0) / len(row)
            expected.append(torch.einsum("k,khw->hw", weights.sum((1, 2)), fold(kept[0])[b]))
    expected = maps.upsample(maps.balanced(torch.stack(expected)), images.shape[-2:]).detach()
    ours = explain(net, images, LABELS, method="d-minmax-grad-cam", layer=layer, relu=False)
    torch.testing.assert_close(ours.maps, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [*NETWORKS])
def test_the_layer_is_found_and_a_name_asks_for_it(name):
    net, images, layer, _ = network(name)
    found = explain(net, images, LABELS)
    swin = name == "torchvision's swin"  # behind the normalisation it moves the channels to the front
    assert found.layer is net.get_submodule("permute" if swin else layer)
    named = explain(net, images, LABELS, layer=layer)
    torch.testing.assert_close(named.maps, found.maps)


@pytest.mark.parametrize("name", ["vit", "registers", "deit"])
def test_tokens_that_are_no_patch_do_not_enter_the_map(name):
    """A hook gives them other activations: the map's stay."""
    net, images, layer, _ = network(name)
    before = {"vit": 1, "registers": 5, "deit": 2}[name]
    kept = capture(net, images, net.get_submodule(layer)).activations
    handle = net.get_submodule(layer).register_forward_hook(
        lambda m, i, out: torch.cat([torch.full_like(out[:, :before], 1e3), out[:, before:]], 1)
    )
    changed = capture(net, images, net.get_submodule(layer)).activations
    handle.remove()
    assert torch.equal(changed, kept) and kept.shape == (2, 32, 4, 6)


def _looped_score_cam(net, images, activations):
    found = []
    for b, c in ((b, c) for b, row in enumerate(LABELS) for c in row):
        total = images.new_zeros(images.shape[-2:])
        for channel in activations[b]:
            up = F.interpolate(channel[None, None], images.shape[-2:], mode="bilinear")[0, 0]
            mask = (up - up.min()) / (up.max() - up.min())
            total += net((images[b] * mask)[None]).softmax(1)[0, c] * up
        found.append(total.relu())
    return torch.stack(found)


@torch.no_grad()
@pytest.mark.parametrize("name", ["registers", "torchvision's swin"])
def test_score_cam_masks_with_every_channel_of_the_tokens(name):
    net, images, layer, reshape = network(name)
    kept = []
    handle = net.get_submodule(layer).register_forward_hook(lambda m, i, out: kept.append(reshape(out)))
    net(images)
    handle.remove()
    expected = maps.normalise(_looped_score_cam(net, images, kept[0]))
    ours = explain(net, images, LABELS, method="score-cam", layer=layer).maps
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("name", ["registers", "swin", "pooled"])
def test_ablation_takes_one_channel_out_of_every_patch_and_of_no_other_token(name):
    net, images, layer, reshape = network(name)
    module = net.get_submodule(layer)
    kept, gone = [], -1  # the channel that is taken out

    def ablate(_module, _inputs, out):
        kept.append(out)
        if gone < 0:
            return out
        changed = out.clone()
        patches = changed[:, changed.shape[1] - 24 :] if out.dim() == 3 else changed
        patches[..., gone] = 0
        return changed

    handle = module.register_forward_hook(ablate)
    whole, losses = net(images), []
    while len(losses) < 32:
        gone = len(losses)
        losses.append(whole - net(images))
    handle.remove()
    activations, losses = reshape(kept[0]), torch.stack(losses, 1)  # [B, K, L]
    expected = [
        torch.einsum("k,khw->hw", losses[b, :, c] / whole[b, c], activations[b]).relu()
        for b, row in enumerate(LABELS)
        for c in row
    ]
    expected = maps.masks(torch.stack(expected), images.shape[-2:])
    ours = explain(net, images, LABELS, method=ablation_cam, layer=layer).maps
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)


def test_a_network_of_the_zoo_is_right_by_the_studys_own_measure():
    from workflow.studies import zoo

    row = zoo.measure("timm", "vit_tiny_patch16_224", "transformer", 16)
    assert (row["outcome"], row["layer"], row["corners"]) == ("right", "blocks.11.norm1", 2), row
    assert timm.create_model("vit_tiny_patch16_224").patch_embed.grid_size == (row["map"],) * 2
