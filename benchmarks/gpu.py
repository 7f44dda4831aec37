"""What an NVIDIA GPU is good for, in one command of under nine minutes that needs no data.

Five parts: maps of the GPU against those of the CPU; what bfloat16 changes in maps; the Score family's throughput
as a fraction of forwards alone, of which at least 85% are meant, on EfficientNet-Lite0 and ResNet-50 in
channels-last order, the chunk grown for as long as memory is free (torch.compile with CUDA graphs is told of where
it pays); the transfer of a batch as float32 and as uint8; and the time of a Score-CAM evaluation as large as VOC
2007's val split (2,510 images of 512 px, ResNet-101), measured on as many images as the time allows, beside the 16
hours that David et al. report.
Writes data/results/gpu/<device>.json.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --device cpu --tiny --no-store   # tries the script itself, anywhere
"""

import argparse
import json
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from race import race, seconds
from torch import Tensor, nn

from cam_utils import data, files, runs
from cam_utils.evaluation import evaluate
from cam_utils.front.explain import explain
from cam_utils.methods import registry, scorecam, smoothing, sscam
from cam_utils.networks import models, predictions
from cam_utils.networks.capture import capture
from cam_utils.pairs import pairs_of

VOC_IMAGES, PAPER_HOURS = 2510, 16
LABELS = [3, 281, 900]
NETWORKS = ("efficientnet_lite0", "resnet50")
TARGET = 0.85  # of the throughput of forwards alone
COMPILED = "forwards, compiled"
PAYS = 1.05  # how many times as fast compiled forwards must be to be told of


class Noise(torch.utils.data.Dataset):
    """Smooth random images in [0, 1] with one or two labels of twenty: no data set, the work of one."""

    def __init__(self, count: int, size: int) -> None:
        self.name, self.count, self.size = "noise", count, size
        self.classes = [f"class {i}" for i in range(20)]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> data.Sample:
        rough = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(i))
        image = nn.functional.interpolate(rough, (self.size, self.size), mode="bicubic")[0].clamp(0, 1)
        labels = torch.zeros(20)
        labels[[i % 20, (7 * i) % 20]] = 1
        nothing = torch.zeros(0)
        return data.Sample(image, labels, nothing.long(), torch.zeros(0, 4), None, None, nothing.bool(), str(i))

    def fingerprint(self) -> str:
        return f"{self.name}-{self.count}-{self.size}"


def stock(name: str, device: str) -> nn.Module:
    """Return a network of models.PRETRAINED with random weights."""
    torch.manual_seed(0)
    return models.pretrained(name, None).net.eval().to(device, memory_format=torch.channels_last)


def pictures(count: int, size: int) -> Tensor:
    """Return images [B, 3, size, size] of about zero mean."""
    scenes = Noise(count, size)
    return torch.stack([2 * scenes[i].image - 1 for i in range(count)])


def maps_agree(device: str, size: int, count: int) -> dict[str, float]:
    """Return, by method, the largest difference of the device's maps from the CPU's, of maps in [0, 1]."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    found, x, labels = {}, pictures(count, size), [LABELS, LABELS[:1]][:count]
    # Not SS-CAM: every device draws noise of its own.
    for method in [name for name in registry.METHODS if name not in registry.COSTLY]:
        here, there = (explain(stock("resnet18", d), x, labels, method=method).maps for d in ("cpu", device))
        found[method] = float((here - there.cpu()).abs().max())
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    return found


def rounded(device: str, name: str, size: int, count: int = 2) -> dict[str, float]:
    """Return how far Score-CAM's maps in bfloat16 are from those in float32: largest difference, correlation."""
    net, x = stock(name, device), pictures(count, size)
    made = [explain(net, x, [LABELS] * count, method="score-cam", precision=p) for p in predictions.PRECISIONS]
    full, half = (each.maps.flatten(1) for each in made)
    each = [float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in zip(full, half, strict=True)]
    return {"largest difference": float((full - half).abs().max()), "least correlation": min(each)}


def throughput(device: str, name: str, size: int, precision: str, limit: int, compiled: bool) -> dict:
    """Return images per second of bare forwards at the best batch size, and the fraction that methods reach."""
    net, x = stock(name, device), pictures(1, size).to(device, memory_format=torch.channels_last)
    score = predictions.scoring(net, "softmax", precision)
    layer = getattr(net, models.PRETRAINED[name][0])
    activations = capture(net, x, layer).activations.detach()[:, :limit]
    present = torch.zeros(1, 1000, dtype=torch.bool)
    present[0, LABELS] = True
    pairs = pairs_of(present.to(device))
    live = int((activations.flatten(2).abs().amax(-1) > 0).sum())
    *_, first, _ = scorecam.shown(activations)  # the masks that differ: Score-CAM makes no other forward

    def forwards(batch: int, run: Callable[[Tensor], Tensor] = score) -> Callable:
        images = x.expand(batch, -1, -1, -1).contiguous(memory_format=torch.channels_last)

        def call():
            with torch.inference_mode():
                for _ in range(max(1, live // batch)):
                    run(images)

        return call

    sizes = [b for b in (8, 64, 128, 256, 512) if b <= live]
    spent = {b: min(seconds(forwards(b)) for _ in range(3)) / (max(1, live // b) * b) for b in sizes}
    best = min(spent, key=spent.get)

    @torch.no_grad()
    def ours() -> None:
        scorecam.score_cam(x, activations, pairs, score)

    @torch.no_grad()
    def smoothed() -> None:
        sscam.ss_cam(x, activations, pairs, score, smoothing.reading("approach-1", draws=1))

    calls = {"forwards": forwards(best), "score-cam": ours, "ss-cam, one draw": smoothed}
    if compiled:
        faster = torch.compile(net, mode="reduce-overhead")
        calls[COMPILED] = forwards(best, predictions.scoring(faster, "softmax", precision))
    measured = race(calls, 5)
    median = {call: statistics.median(times) for call, times in measured.items()}
    done = max(1, live // best) * best
    count = {"score-cam": len(first), "ss-cam, one draw": live}
    rate = {call: count.get(call, done) / each for call, each in median.items()}
    fraction = {call: each / rate["forwards"] for call, each in rate.items()}
    if fraction.get(COMPILED, PAYS) < PAYS:
        del rate[COMPILED], fraction[COMPILED]
    kept = {call: fraction[call] >= TARGET for call in count}
    return {"network": name, "size": size, "precision": precision, "channels": live, "masks": len(first),
            "batch": best, "images_per_s": rate, "fraction": fraction, "kept": kept}  # fmt: skip


def transfer(device: str, size: int) -> dict[str, float]:
    """Return the milliseconds that 16 images take to the device, as float32 and as uint8 with /255 there."""
    whole = torch.randint(0, 256, (16, 3, size, size), dtype=torch.uint8)
    floats = whole.float() / 255
    calls = {"float32": lambda: floats.to(device), "uint8": lambda: whole.to(device).float() / 255}
    return {name: 1e3 * statistics.median(times) for name, times in race(calls, 9).items()}


def voc(device: str, name: str, size: int, precision: str, budget: float, batch: int = 4) -> dict:
    """Return the hours that Score-CAM's pairs table of 2,510 images would take, from those that fit the budget."""
    model = models.build(name, 20, seed=0, bias=-1.0).to(device).eval()

    def table(first: int) -> None:
        scenes = Noise(first + batch, size)
        samples = data.collate([scenes[i] for i in range(first, first + batch)])
        evaluate.evaluate_batch(
            model, samples, registry.resolved("score-cam"), Noise(1, size).classes, explained="annotated",
            precision=precision,
        )  # fmt: skip

    table(0)
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < budget:
        table(done)  # its values end on the CPU, so nothing is left to wait for
        done += batch
    spent = time.perf_counter() - started
    hours = spent / done * VOC_IMAGES / 3600
    return {"network": name, "size": size, "precision": precision, "images": done, "seconds": spent,
            "hours_for_2510": hours, "paper_hours": PAPER_HOURS}  # fmt: skip


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small networks and images: tries the script itself")
    parser.add_argument("--no-store", action="store_true", help="print only")
    options = parser.parse_args()
    device, tiny = runs.pick_device(options.device), options.tiny
    started = time.time()
    found: dict[str, object] = {}

    def part(name: str, value: object) -> None:
        found[name] = value
        print(f"{name} ({time.time() - started:.0f} s): {json.dumps(value)}", flush=True)

    part("maps, largest difference from the CPU's", maps_agree(device, 64, 1 if tiny else 2))
    part("bfloat16", rounded(device, *(("resnet18", 64, 1) if tiny else ("resnet50", 224))))
    rows = []
    for name in ("resnet18",) if tiny else NETWORKS:
        for precision in predictions.PRECISIONS:
            rows.append(throughput(device, name, 64 if tiny else 224, precision, 16 if tiny else 2048, not tiny))
    part("throughput", rows)
    part("transfer of 16 images, ms", transfer(device, 64 if tiny else 512))
    for precision in predictions.PRECISIONS:
        how = ("digits", 96, precision, 0.5) if tiny else ("resnet101", 512, precision, 75)
        part(f"VOC 2007 val, {precision}", voc(device, *how))
    if not options.no_store:
        name = re.sub(r"[^a-z0-9]+", "-", torch.cuda.get_device_name().lower()) if device != "cpu" else "cpu"
        target = Path(files.DATA) / "results" / "gpu" / f"{name}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        record = {
            "command": "python benchmarks/gpu.py",
            **runs.provenance(),
            "wall_s": round(time.time() - started),
        }
        target.write_text(json.dumps(record | found, indent=1) + "\n")
        print(f"stored {target.relative_to(files.DATA.parent)}")


if __name__ == "__main__":
    main()
