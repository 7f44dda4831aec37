"""GPU hours of runs and trainings, from counts of operations: for planning, and for a scheduler's time limits.

forwards x operations of the network / EFFECTIVE. A training step counts as three forwards. Tests compare SIZES with
the datasets' own counts: read from there, every start would import torch.
"""

from cam_utils import parameters
from cam_utils.networks.facts import NETWORKS

EFFECTIVE = 20e12  # floating-point operations per second: what a recent GPU reaches on these networks in float32
OVERHEAD = 0.02  # hours of every run: starting, decoding, figures
LARGE = (10.0, 2048)  # what an unlisted network is taken for
SIZES = {  # images to train on and to explain, annotated labels per image, number of labels
    "digits": (2000, 500, 2.0, 10), "voc2007": (2501, 2510, 1.5, 20), "voc2012": (5717, 5823, 1.5, 20),
    "coco2017": (118_287, 5000, 2.9, 80), "planet": (28_336, 12_143, 2.9, 17), "imagenet": (0, 50_000, 1.0, 1000),
    "stanford40": (4000, 5532, 1.0, 40), "msrc": (276, 59, 2.9, 23), "photos": (0, 19, 3.8, 80),
}  # fmt: skip
MASKED = 1449  # images of voc2012 with segmentation masks
EPOCHS = {"digits": 14}  # elsewhere the paper's 30 + 80
FURTHER = {"acol": "acol-vgg19", "cbam": "cbam_resnet50"}  # networks of chapter 2's baselines


def _macs(network: str, size: int | None = None) -> tuple[float, int]:
    """Return the billions of multiply-adds of one image, and the channels of the last layer."""
    known = NETWORKS.get(network)
    macs, channels = (known.gmacs, known.channels) if known else LARGE
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
    _, images, labels, _ = SIZES.get(dataset, (0, 1000, 1.0, 1))
    if dataset == "voc2012" and job.chapter in ("comparison", "representative_cam"):
        images = MASKED
    macs, channels = _macs(p.get("architecture") or p.get("network") or "digits", p.get("size"))
    chapter = CHAPTERS.get(job.chapter, _representative_cam)
    return OVERHEAD + chapter(p, dataset, min(images, limit or images), labels, macs, channels)


def _minmax_cam(p: dict, dataset: str, images: int, labels: float, macs: float, channels: int) -> float:
    methods = p.get("methods", "cam,grad-cam++,score-cam,minmax-cam,d-minmax-cam")
    names = parameters.CHAPTERS["minmax_cam"]["methods"].check("methods", methods)
    masked = sum({"score-cam": 1, "ss-cam": 11, "ss-cam-mean": 10}.get(name, 0) for name in names)
    per_image = 1 + 4 * labels * len(names) + 2 * channels * masked
    passes = (2 if p.get("head", "both") == "both" else 1) * (2 if dataset == "digits" else 1)
    return _hours(images * per_image * passes, macs)


def _ss_cam(p: dict, dataset: str, images: int, labels: float, macs: float, channels: int) -> float:
    """Score-CAM and both forms of SS-CAM; over `sweep` images the forms and sweeps, which share some passes."""
    draws, steps = p.get("draws", 10), p.get("steps", [1, 5, 10, 20, 35])
    sweeps = p.get("sweep", 12) * channels * (20 * draws + 2 * max(steps) + sum(steps) + 27)
    return _hours(images * channels * (2 * draws + 2) + sweeps, macs)


def _sanity_checks(p: dict, dataset: str, images: int, labels: float, macs: float, channels: int) -> float:
    """Images with two labels: four networks see the methods that need many forwards, a dozen all others; curves."""
    images = min(images, p.get("limit", 24) or images)
    masked = channels * (1 + 4 * (p.get("draws", 1) + 1))
    slow = 4 * (masked + 2 * 3 * 2 * p.get("samples", 8))
    quick = (p.get("networks", 4) * 2 + 4) * 2 * 3 * 5
    points = 2 * (p.get("steps", 8) + 1) * 22
    by_heart = _hours(3 * 64 * 120, macs) if p.get("permuted", True) else 0.0
    return by_heart + _hours(images * (slow + quick + points), macs)


def _comparison(p: dict, dataset: str, images: int, labels: float, macs: float, channels: int) -> float:
    """Masked forwards per pair and method, some in both orders; Score-CAM twice, SS-CAM twice, and gradients."""
    draws, samples = p.get("draws", 2), p.get("samples", 16)
    per_image = labels * (2 * 40 + 3 * 2 * samples) + channels * (2 + 3 * draws + labels)
    return _hours(images * per_image, macs)


def _representative_cam(p: dict, dataset: str, images: int, labels: float, macs: float, channels: int) -> float:
    hours = _hours(3 * images, macs)
    if p.get("finetune") != "full":
        return hours
    to_train, _, _, classes = SIZES.get(dataset, (1000, 1000, 1.0, 1))
    pairs, of_pair = classes * (classes - 1) / 2, 2 * to_train / classes
    hours += _hours(pairs * (3 * 4 * of_pair + 4 * images), macs)  # about four epochs until the stopping rule
    if dataset != "digits":  # the network of all classes, and the further ones, up to 200 epochs each
        names = parameters.CHAPTERS["representative_cam"]["baselines"].check(
            "baselines", p.get("baselines", "acol,cbam")
        )
        every = [macs, *(_macs(FURTHER.get(name, name))[0] for name in names)]
        single = 0.6 * to_train  # images with one label
        hours += sum(_hours(3 * single * 200, each) for each in every)
    return hours


CHAPTERS = {  # what is not listed is taken for the second chapter
    "minmax_cam": _minmax_cam,
    "ss_cam": _ss_cam,
    "sanity_checks": _sanity_checks,
    "comparison": _comparison,
}
