"""Explain networks of torchvision and timm, and compare the maps with plain autograd: the book's page on networks.

    OMP_NUM_THREADS=1 python -m workflow.studies.zoo

Every network has random weights, in double precision: with random weights some make nearly the same of all places,
and in single precision rounding would be compared. `explain` picks the layer itself; what it returns for two images
of two labels is compared with gradients through the whole network, taken by torch.autograd.grad at the same layer
and turned into maps by the formulas of the papers, which this file writes down a second time. Besides, a corner of
the image is changed, and the pixel of the map that changes most must lie there. Writes data/results/zoo.csv with
a row per network, zoo_times.csv with the time of a ViT, and zoo.json. It resumes: what a killed run has measured
with the same code is not measured again. On one core it takes about half an hour.
"""

import argparse
import inspect
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from math import ceil

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cam_utils import explain, files, runs
from cam_utils.files import code_fingerprint, fingerprint
from cam_utils.front.explanation import Explanation

METHODS = ("grad-cam", "minmax-grad-cam", "d-minmax-grad-cam", "grad-cam++")
LABELS = [[1, 2], [7, 3]]  # of two images
TOLERANCE = 1e-4  # largest difference of maps in [0, 1] that is taken for rounding
ROUNDS = 3
# library, kind, pixels per side of the map's -> networks
NETWORKS = {
    ("torchvision", "cnn", 32): "resnet18 resnet50 resnext50_32x4d wide_resnet50_2 vgg11 vgg13_bn densenet121 "
    "googlenet mnasnet0_5 shufflenet_v2_x0_5 mobilenet_v2 mobilenet_v3_small efficientnet_b0 efficientnet_v2_s "
    "regnet_y_400mf regnet_x_400mf convnext_tiny alexnet squeezenet1_0 squeezenet1_1 inception_v3",
    ("torchvision", "transformer", 32): "vit_b_32 swin_t swin_v2_t maxvit_t",
    ("timm", "cnn", 32): "convnext_atto convnextv2_atto poolformer_s12 mobileone_s0 fastvit_t8 ghostnet_100 "
    "rexnet_100 hrnet_w18_small dla34 eca_nfnet_l0 tresnet_m resnetv2_50 repvgg_a0 seresnet18 skresnet18 "
    "res2net50_26w_4s resnest14d cspdarknet53 xception41 inception_next_atto inception_v4 lcnet_050 tinynet_e "
    "mobilenetv4_conv_small hgnetv2_b0 dpn48b repvit_m0_9 starnet_s1 mambaout_femto rdnet_tiny selecsls42b "
    "vovnet39a",
    ("timm", "transformer", 32): "swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 davit_tiny "
    "maxvit_tiny_tf_224 coatnet_nano_rw_224 levit_128s pvt_v2_b0 pit_ti_224 pit_ti_distilled_224 twins_svt_small "
    "twins_pcpvt_small mvitv2_tiny hiera_tiny_224 focalnet_tiny_srf efficientformer_l1 efficientformerv2_s0 "
    "mobilevit_xxs mobilevitv2_050 edgenext_xx_small visformer_tiny coat_tiny gcvit_xxtiny tiny_vit_5m_224 "
    "caformer_s18 efficientvit_b0 swiftformer_xs shvit_s1 botnet26t_256",
    ("timm", "transformer", 16): "vit_tiny_patch16_224 vit_medium_patch16_reg4_gap_256 vit_base_patch16_siglip_224 "
    "vit_small_patch16_dinov3 deit_tiny_patch16_224 deit_tiny_distilled_patch16_224 deit3_small_patch16_224 "
    "beit_base_patch16_224 cait_xxs24_224 xcit_nano_12_p16_224 volo_d1_224 crossvit_tiny_240 tnt_s_patch16_224 "
    "nest_tiny convit_tiny",
    ("timm", "transformer", 14): "eva02_tiny_patch14_224",
    ("timm", "mlp", 16): "resmlp_12_224 gmlp_ti16_224",
    ("timm", "recurrent", 14): "sequencer2d_s",
    ("timm", "mlp", 32): "mixer_s32_224",
}  # fmt: skip
# The sides of maps that are no such fraction of the image: pooled without padding, shrunk again, of another patch.
SIDES = {"alexnet": 6, "squeezenet1_0": 13, "squeezenet1_1": 13, "inception_v3": 8, "inception_v4": 8}
SIDES |= {"levit_128s": 4, "shvit_s1": 4, "selecsls42b": 14, "crossvit_tiny_240": 20}
TIMED = "vit_base_patch16_224"


def network(library: str, name: str) -> tuple[nn.Module, int]:
    """Return a network with random weights, and the side of its images in pixels."""
    torch.manual_seed(0)
    if library == "timm":
        import timm

        net = timm.create_model(name, pretrained=False)
        size = net.pretrained_cfg["input_size"][-1]
    else:
        import torchvision

        net = torchvision.models.get_model(name, weights=None)
        size = 299 if name == "inception_v3" else 224
    for each in net.parameters():  # heads, scales and biases that start as one number would hide what is wrong
        if bool((each == each.flatten()[0]).all()):
            nn.init.normal_(each, mean=1.0 if each.any() or each.numel() == 1 else 0.0, std=0.02)
    return net.eval(), size


def grid(output: Tensor, side: int) -> tuple[Tensor, str]:
    """Return an output as [B, K, side, side], and in words how it was laid out."""
    if output.dim() == 4 and output.shape[2:] == (side, side):
        return output, "(B,K,H,W)"
    if output.dim() == 4 and output.shape[1:3] == (side, side):
        return output.permute(0, 3, 1, 2), "(B,H,W,K)"
    if output.dim() != 3 or output.shape[1] < side * side:
        raise AssertionError(f"a map of {side} x {side} expected, but the layer gives {tuple(output.shape)}")
    others = output.shape[1] - side * side
    patches = output[:, others:].transpose(1, 2).reshape(len(output), -1, side, side)
    return patches, f"(B,{others}+N,K)" if others else "(B,N,K)"


def run_with(net: nn.Module, layer: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits and the layer's output, of one run with its whole graph."""
    kept = []

    def keep(_layer, _inputs, output):
        several = isinstance(output, tuple | list)
        kept.append(output[0] if several else output)
        copy = kept[0].clone()  # what follows may write in place
        return (copy, *output[1:]) if several else copy

    handle = layer.register_forward_hook(keep)
    logits = net(images)
    handle.remove()
    return logits, kept[0]


def plain_maps(net: nn.Module, layer: nn.Module, images: Tensor, side: int) -> tuple[dict[str, Tensor], str]:
    """Return the signed maps [4, side, side] of every method, and how the layer's output is laid out."""
    logits, output = run_with(net, layer, images)
    activations, layout = grid(output.detach().double(), side)
    maps: dict[str, list[Tensor]] = {method: [] for method in METHODS}
    for b, (own, other) in ((b, pair) for b, (c, d) in enumerate(LABELS) for pair in ((c, d), (d, c))):

        def gradient(score: Tensor, b: int = b) -> Tensor:
            (found,) = torch.autograd.grad(score, output, retain_graph=True)
            return grid(found.double(), side)[0][b]  # [K, H, W]

        s, n = logits[b, own], logits[b, other]
        g, g_other, g_both = gradient(s), gradient(n), gradient(s + n)
        a = activations[b]
        denominator = 2 * g**2 + a.sum((1, 2), keepdim=True) * g**3
        share = torch.where(denominator == 0, 0.0, g**2 / denominator)
        weights = {
            "grad-cam": g,
            "minmax-grad-cam": gradient(s - n),  # of J_c
            "d-minmax-grad-cam": g.clamp(min=0) - g_other.clamp(min=0) + g_both.clamp(max=0) / 2,
            "grad-cam++": share * g.clamp(min=0),
        }
        for method, each in weights.items():
            maps[method].append(torch.einsum("k,khw->hw", each.sum((1, 2)), a))
    return {method: torch.stack(each) for method, each in maps.items()}, layout


def shown(maps: Tensor, relu: bool, size: int) -> Tensor:
    """Return signed maps as `explain` shows them: of size pixels, in [0, 1], or with their sign in [-1, 1]."""
    low = 0.0
    if relu:
        maps = maps.clamp(min=0)
        low = maps.amin((1, 2), keepdim=True)
    span = (maps - low).abs().amax((1, 2), keepdim=True)
    maps = (maps - low) / torch.where(span > 0, span, 1)
    return F.interpolate(maps[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]


@torch.no_grad()
def corners(net: nn.Module, layer: nn.Module, size: int, side: int) -> int:
    """Return of how many of two corners of the image a change shows most in that corner of the map."""
    image, other = torch.randn(2, 1, 3, size, size, generator=torch.Generator().manual_seed(1)).double()
    quarter, right = size // 4, 0
    before = grid(run_with(net, layer, image)[1], side)[0]
    for rows, columns, upper in (
        (slice(quarter), slice(size - quarter, size), True),
        (slice(size - quarter, size), slice(quarter), False),
    ):
        changed = image.clone()
        changed[..., rows, columns] = other[..., rows, columns]
        change = (grid(run_with(net, layer, changed)[1], side)[0] - before).norm(dim=1)[0]
        row, column = divmod(int(change.argmax()), side)
        right += (row < side / 2) == upper and (column >= (side - 1) / 2) == upper
    return right


def measure(library: str, name: str, kind: str, stride: int) -> dict[str, object]:
    """Return a network's row."""
    net, size = network(library, name)
    net = net.double()
    side = SIDES.get(name, ceil(size / stride))
    row = {"library": library, "network": name, "kind": kind}
    row["parameters"] = sum(each.numel() for each in net.parameters())
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(2)).double()
    asked = [(method, False) for method in METHODS] + [(METHODS[1], True)]

    def maps(method: str, relu: bool = True, layer: str | None = None) -> Explanation:
        return explain(net, images, LABELS, method=method, relu=relu, layer=layer, progress=False)

    try:
        found = {each: maps(*each) for each in asked}
    except ValueError as error:
        return row | {"outcome": "refused", "sentence": str(error)}
    layer = found[METHODS[1], True].layer
    layer_name = next(name for name, module in net.named_modules() if module is layer)
    row |= {"layer": layer_name, "map": side}
    try:
        plain, row["layout"] = plain_maps(net, layer, images, side)
    except AssertionError as error:
        return row | {"outcome": "wrong", "sentence": str(error)}
    apart = {
        f"{method}, {'rectified' if relu else 'signed'}": found[method, relu].maps
        - shown(plain[method], relu, size)
        for method, relu in asked
    }
    named = maps(METHODS[1], layer=layer_name)
    apart["the layer named"] = named.maps - found[METHODS[1], True].maps
    apart = {what: float(each.abs().max()) for what, each in apart.items()}
    worst = max(apart, key=apart.get)
    empty = [method for method in METHODS if not plain[method].any()]
    wrong = f"maps differ: {worst}" if apart[worst] >= TOLERANCE else ""
    wrong = f"nothing to compare: empty maps of {', '.join(empty)}" if empty else wrong
    return row | {
        "outcome": "wrong" if wrong else "right",
        "difference": apart[worst],
        "sentence": wrong,
        "corners": corners(net, layer, size, side),
        "ratio": statistics.median(ratios(net.float(), images[:1].float(), LABELS[:1])),
    }


def ratios(net: nn.Module, images: Tensor, labels: list[list[int]], method: str = METHODS[1]) -> list[float]:
    """Return the processor time of `explain` over that of a forward without gradients, of every round."""
    orders = [images, images.contiguous(memory_format=torch.channels_last)]

    def seconds(work: Callable) -> float:
        started = time.process_time()
        work()
        return time.process_time() - started

    def forward(order: Tensor) -> float:
        with torch.no_grad():
            return seconds(lambda: net(order))

    def explained() -> float:
        return seconds(lambda: explain(net, images, labels, method=method, progress=False))

    explained(), *map(forward, orders)  # the first run finds the layer, and allocates
    return [explained() / min(map(forward, orders)) for _ in range(ROUNDS)]


def times() -> pd.DataFrame:
    """Return how long `explain` takes on a ViT, over a forward: median, least and largest of the rounds."""
    net, size = network("timm", TIMED)
    rows = []
    for count, labels, method in ((b, c, m) for b in (1, 4) for c in (1, 5) for m in METHODS):
        images = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(2))
        found = ratios(net, images, [list(range(labels))] * count, method)
        row = {"network": TIMED, "images": count, "labels": labels, "method": method}
        rows.append(row | {"ratio": statistics.median(found), "low": min(found), "high": max(found)})
        print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def main() -> None:
    """Measure what is missing and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="networks to try, nothing is written; none: all")
    chosen = parser.parse_args().names
    started, origin = time.time(), runs.provenance()  # the tree's state before this writes into it
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    code = code_fingerprint(), inspect.getsource(sys.modules[__name__])
    folder = files.cache() / "study" / f"zoo-{fingerprint(*code)}"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for (library, kind, stride), names in NETWORKS.items():
        for name in names.split():
            stored = folder / f"{library}-{name}.json"
            if chosen and name not in chosen:
                continue
            if chosen or not stored.exists():
                row = measure(library, name, kind, stride)
                files.write_text(stored, json.dumps(row))
                print(*row.values(), flush=True)
            rows.append(json.loads(stored.read_text()))
    if chosen:
        return
    table = pd.DataFrame(rows)
    columns = ["library", "network", "kind", "parameters", "layer", "layout", "map", "outcome", "difference"]
    target = files.DATA / "results" / "zoo.csv"
    table["map"] = table["map"].astype("Int64")
    table["corners"] = table["corners"].astype("Int64")
    runs.save(target, table[[*columns, "corners", "ratio", "sentence"]], float_format="%.3g")
    runs.save(target.with_name("zoo_times.csv"), times(), float_format="%.3g")
    origin["versions"]["timm"] = version("timm")
    record = {"command": "python -m workflow.studies.zoo", **origin, "wall_s": round(time.time() - started)}
    files.write_text(target.with_suffix(".json"), json.dumps(record, indent=1) + "\n")
    print(target)


if __name__ == "__main__":
    main()
