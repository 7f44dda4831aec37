"""SS-CAM against the forwards that it must do, and against torch-cam's SSCAM for one label and for three.

All explain the same image with the same network and number of draws, in turn in one process. The limit is the same
number of images in the same chunks through the network alone. torch-cam averages the scores of noisy masks, so ours
runs in that form (Approach 1). Random weights do: only the time counts here. First, on a CPU, the memory that
SS-CAM of a ResNet-50 at 224 px adds to the process at its default chunk.

    python benchmarks/ss_cam.py --draws 2
"""

import argparse
import resource
import statistics
import time

import torch
import torchvision
from torchcam.methods import SSCAM

from cam_utils import sscam
from cam_utils.cams import Pairs
from cam_utils.capture import capture


def timed(call) -> float:
    """Return the seconds of one call."""
    started = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


@torch.no_grad()
def extra_memory() -> int:
    """Return the bytes by which SS-CAM raises the process's peak above one forward's (96 channels will do)."""
    model = torchvision.models.resnet50(weights=None).eval()
    image = torch.randn(1, 3, 224, 224)
    activations = capture(model, image, model.layer4).activations[:, :96]
    pairs = Pairs(*torch.zeros(3, 1, dtype=torch.long))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sscam.ss_cam(image, activations, pairs, lambda x: model(x).softmax(1), draws=1, rescore=False)
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=96, help="side of the image in pixels")
    parser.add_argument("--draws", type=int, default=2, help="N, noisy copies per mask")
    parser.add_argument("--chunk", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_default_device(options.device)
    torch.set_default_dtype(getattr(torch, options.dtype))
    if options.device == "cpu":
        print(f"ResNet-50, 224 px, default chunk: {extra_memory() / 2**20:.0f} MiB more at the peak")
    model = torchvision.models.resnet18(weights=None).eval()
    image, labels = torch.randn(1, 3, options.size, options.size), [3, 281, 900]
    activations = capture(model, image, model.layer4).activations
    fast = model.to(memory_format=torch.channels_last)
    form = {"reduce": "mean", "noise": "mask", "rescore": False, "softmax": False, "sigma": 2.0}
    many = options.draws * activations.shape[1]

    @torch.no_grad()
    def ours(count):
        pairs = Pairs(torch.zeros(count, dtype=torch.long), torch.tensor(labels[:count]), torch.zeros(count))
        score = lambda x: fast(x).softmax(1)  # noqa: E731
        return sscam.ss_cam(image, activations, pairs, score, draws=options.draws, chunk=options.chunk, **form)

    @torch.no_grad()
    def forwards():
        x = torch.randn(options.chunk, *image.shape[1:]).contiguous(memory_format=torch.channels_last)
        for start in range(0, many, options.chunk):
            fast(x[: min(options.chunk, many - start)]).softmax(1)

    peer_model = torchvision.models.resnet18(weights=None).eval()

    def theirs(count):
        for label in labels[:count]:
            with SSCAM(peer_model, "layer4", batch_size=options.chunk, num_samples=options.draws, std=2.0) as peer:
                scores = peer_model(image)
                peer(label, scores)

    calls = {
        "forwards alone": forwards,
        "ours, 1 label": lambda: ours(1),
        "ours, 3 labels": lambda: ours(3),
        "torch-cam, 1 label": lambda: theirs(1),
        "torch-cam, 3 labels": lambda: theirs(3),
    }
    seconds = {name: [] for name in calls}
    for _ in range(options.repeats):
        for name, call in calls.items():
            seconds[name].append(timed(call))
    print(f"{many} masked forwards of {options.size} px per label set, {torch.get_num_threads()} threads")
    for name, values in seconds.items():
        print(f"{name}: {statistics.median(values):.2f} s")

    def ratio(a, b):
        each = sorted(x / y for x, y in zip(seconds[a], seconds[b], strict=True))
        return f"{statistics.median(each):.2f} ({each[0]:.2f} to {each[-1]:.2f})"

    print(f"ours over the forwards: {ratio('ours, 3 labels', 'forwards alone')} for 3 labels")
    print(f"torch-cam over ours: {ratio('torch-cam, 1 label', 'ours, 1 label')} for 1 label")
    print(f"torch-cam over ours: {ratio('torch-cam, 3 labels', 'ours, 3 labels')} for 3 labels")


if __name__ == "__main__":
    main()
