"""One explain() call for 16 COCO images with all their labels, against pytorch-grad-cam's loop over pairs.

Both explain the same network and images with Grad-CAM, in turn in one process; the ratio of medians is the result.

    python benchmarks/explain.py --root ../shared/data --weights ../shared/weights/squeezenet1_0_imagenet.pth
"""

import argparse
import statistics
import time

import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from cam_utils import data, models
from cam_utils.explain import explain


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="../shared/data", help="folder that holds coco2017/")
    parser.add_argument("--weights", default="../shared/weights/squeezenet1_0_imagenet.pth")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    dataset = data.load("coco2017", "val", root=options.root)
    chosen = [i for i in range(len(dataset)) if dataset.labels[i].any()][:16]
    images, labels = torch.stack([dataset[i].image for i in chosen]), dataset.labels[chosen] > 0
    model = models.build("squeezenet1_0", len(dataset.classes), weights=options.weights).eval()
    x, pairs = model.preprocess(images), labels.nonzero().tolist()
    print(f"{len(x)} images, {len(pairs)} pairs, torch {torch.__version__}, {torch.get_num_threads()} threads")

    def ours():
        return explain(model, x, labels, method="grad-cam").maps

    def theirs():
        with GradCAM(model, [model.features]) as peer:
            maps = [torch.from_numpy(peer(x[i : i + 1], [ClassifierOutputTarget(c)])[0]) for i, c in pairs]
        return torch.stack(maps)

    # The peer normalises once more after upsampling; apart from that the maps agree.
    again = ours()
    again = again / again.amax((-2, -1), keepdim=True).clamp(min=1e-7)
    print(f"median difference of the maps: {(again - theirs()).abs().median():.1e}")
    seconds = {ours: [], theirs: []}
    for _ in range(options.repeats):
        for call in (ours, theirs):
            started = time.perf_counter()
            call()
            seconds[call].append(time.perf_counter() - started)
    median = {call: statistics.median(values) for call, values in seconds.items()}
    pairwise = sorted(b / a for a, b in zip(seconds[ours], seconds[theirs], strict=True))
    print(f"explain(): {median[ours]:.3f} s   pytorch-grad-cam loop: {median[theirs]:.3f} s")
    ratio = median[theirs] / median[ours]
    print(f"ratio: {ratio:.1f} times faster (pairwise {pairwise[0]:.1f} to {pairwise[-1]:.1f})")


if __name__ == "__main__":
    main()
