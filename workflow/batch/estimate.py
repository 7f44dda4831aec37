"""GPU hours of runs and trainings, from counts of operations: for planning, and for a scheduler's time limits.

forwards x operations of the network / EFFECTIVE. A training step counts as three forwards. Tests compare the tables
below with torchvision and with the datasets' own counts: read from there, every start would import torch.
"""

EFFECTIVE = 20e12  # floating-point operations per second: what a recent GPU reaches on these networks in float32
OVERHEAD = 0.02  # hours of every run: starting, decoding, figures
GMACS = {  # billions of multiply-adds of one image at 224 px (digits: 96), and channels of the last layer
    "resnet18": (1.814, 512), "resnet34": (3.664, 512), "resnet50": (4.089, 2048), "resnet101": (7.801, 2048),
    "resnet152": (11.514, 2048), "vgg16": (15.47, 512), "vgg19": (19.632, 512), "squeezenet1_0": (0.819, 512),
    "mobilenet_v2": (0.301, 1280), "efficientnet_b6": (3.35, 2304), "digits": (0.036, 64),
}  # fmt: skip
SIZES = {  # images to train on and to explain, annotated labels per image, number of labels
    "digits": (2000, 500, 2.0, 10), "voc2007": (2501, 2510, 1.5, 20), "voc2012": (5717, 5823, 1.5, 20),
    "coco2017": (118_287, 5000, 2.9, 80), "planet": (28_336, 12_143, 2.9, 17), "imagenet": (0, 50_000, 1.0, 1000),
    "stanford40": (4000, 5532, 1.0, 40),
}  # fmt: skip
EPOCHS = {"digits": 14}  # elsewhere the paper's 30 + 80


def _macs(network: str, size: int | None) -> tuple[float, int]:
    name = network.removesuffix("-gap")
    macs, channels = GMACS.get(name, (10.0, 2048))  # an unlisted network counts as a large one
    return macs * ((size or 224) / 224) ** 2, channels


def _hours(forwards: float, macs: float) -> float:
    return forwards * 2e9 * macs / EFFECTIVE / 3600


def training(spec: dict) -> float:
    """Return the GPU hours of one training.

    >>> spec = {"dataset": "voc2012", "network": "resnet101", "size": 512}
    >>> 2 < training(spec) < 6
    True
    """
    images = SIZES.get(spec["dataset"], (10_000, 1000, 1.0, 1))[0]
    epochs = EPOCHS.get(spec["dataset"], 110)
    return _hours(3 * images * epochs, _macs(spec["network"], spec["size"])[0])


def run(job) -> float:
    """Return the GPU hours of one execution of a chapter, its trainings apart."""
    p = job.parameters
    dataset, limit = p.get("dataset", "digits"), p.get("limit", 200)
    _, images, labels, classes = SIZES.get(dataset, (0, 1000, 1.0, 1))
    images = min(images, limit or images)
    macs, channels = _macs(p.get("architecture") or p.get("network") or "digits", p.get("size"))
    if job.chapter == "minmax_cam":
        methods = p.get("methods", "cam,grad-cam++,score-cam,minmax-cam,d-minmax-cam")
        names = [name.strip() for name in (methods.split(",") if isinstance(methods, str) else methods)]
        masked = sum({"score-cam": 1, "ss-cam": 11, "ss-cam-mean": 10}.get(name, 0) for name in names)
        per_image = 1 + 4 * labels * len(names) + 2 * channels * masked
        passes = (2 if p.get("head", "both") == "both" else 1) * (2 if dataset == "digits" else 1)
        return OVERHEAD + _hours(images * per_image * passes, macs)
    if job.chapter == "ss_cam":
        # Score-CAM and both forms of SS-CAM; over `sweep` images the forms and sweeps, which share some passes.
        draws, steps = p.get("draws", 10), p.get("steps", [1, 5, 10, 20, 35])
        sweeps = p.get("sweep", 12) * channels * (20 * draws + 2 * max(steps) + sum(steps) + 27)
        return OVERHEAD + _hours(images * channels * (2 * draws + 2) + sweeps, macs)
    if job.chapter == "sanity_checks":
        # The maps of some six stages, of which Score-CAM's and SS-CAM's count; two curves per method and pair; the
        # training on permuted labels.
        images = min(images, p.get("limit", 12) or images)
        stages, draws = 6, p.get("draws", 1)
        maps = channels * (p.get("networks", 3) + 3 * draws + labels)
        points = 2 * (p.get("steps", 16) + 1) * labels * 12
        spec = {"dataset": dataset, "network": p.get("architecture", "digits"), "size": p.get("size")}
        hours = training(spec) if p.get("permuted", True) else 0.0
        return OVERHEAD + hours + _hours(images * (stages * maps + points), macs)
    images = min(images, 1449) if dataset == "voc2012" else images  # those with segmentation masks
    if job.chapter == "comparison":
        # Two masked forwards per pair and method, Score-CAM twice, both forms of SS-CAM, gradients of the pixels.
        draws, samples = p.get("draws", 2), p.get("samples", 16)
        per_image = labels * (2 * 28 + 3 * 2 * samples) + channels * (2 + 3 * draws + labels)
        return OVERHEAD + _hours(images * per_image, macs)
    hours = OVERHEAD + _hours(3 * images, macs)
    if p.get("finetune") == "full":
        pairs, of_pair = classes * (classes - 1) / 2, 2 * SIZES.get(dataset, (1000,))[0] / classes
        hours += _hours(pairs * (3 * 4 * of_pair + 4 * images), macs)  # about four epochs until the stopping rule
        if dataset != "digits":  # the network of all classes, and the further ones, up to 200 epochs each
            others = {"acol": "vgg19", "cbam": "resnet50"}
            further = [name.strip() for name in p.get("baselines", "acol,cbam").split(",") if name.strip()]
            every = [macs, *(_macs(others.get(name, name), None)[0] for name in further)]
            single = 0.6 * SIZES.get(dataset, (1000,))[0]  # images with one label
            hours += sum(_hours(3 * single * 200, each) for each in every)
    return hours
