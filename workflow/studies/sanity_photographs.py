"""The sanity checks on photographs: a network with ImageNet weights that forgets, from its head down.

    python -m workflow.studies.sanity_photographs --root DATA --images 24

EfficientNet-Lite0 explains the annotated class of images of the ImageNet sample, drawn at random (very probably
images that it was trained on). Random parts take the statistics of their batch normalisation from the explained
images: without that the signal dies out on its way up. Every stage has two random networks, the first and the last
six more for methods that need one forward; those that need many see the first. Score-CAM, with --score-cam only, is
asked at the two ends: hundreds of forwards an image, which the trained and the random head share. SS-CAM, ten times
that and more, is left out. "other label" is the class of the next image, for QUICK methods also of the three after
it. The record's wall time counts the calls that were needed.

Writes data/results/sanity_photographs.csv (a row per image, method, stage and network) and .json. It resumes: a
network, or with Score-CAM an image, that a killed run has finished is not done again.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from cam_utils import data, files, maps, runs
from cam_utils.evaluation import sanity
from cam_utils.methods import other_libraries
from cam_utils.methods.scorecam import score_cam
from cam_utils.networks import models, weight_files
from cam_utils.networks.capture import capture
from cam_utils.pairs import Pairs
from workflow.studies.option_kinds import folder, whole

NETWORK = "efficientnet_lite0"
STEPS = 8  # of integrated gradients, and noisy images of SmoothGrad
DRAWS, MORE_DRAWS, LABELS = 2, 8, 4  # random networks; the same, and other labels, for QUICK methods
# From the head down; a stage has all parts before it random, too.
STAGES = {
    "head": ["net.classifier"],
    "last convolution": ["net.bn2", "net.conv_head"],
    "blocks 5 to 7": ["net.blocks.6", "net.blocks.5", "net.blocks.4"],
    "all": [*(f"net.blocks.{i}" for i in range(3, -1, -1)), "net.bn1", "net.conv_stem"],
}
JUDGED = ("head", "all")
CHEAP = (
    "cam", "grad-cam++", "layer-cam", "xgrad-cam", "eigen-cam", "ablation-cam", "relevance-cam",
    "representative-cam", "gradient", "squared-gradient", "gradient-times-input", "guided-backprop",
    "full-gradients", *sanity.CONTROLS,
)  # fmt: skip
QUICK = CHEAP[: CHEAP.index("gradient")]
SLOW = {  # many forwards and backwards: one random network for each stage
    "integrated-gradients": partial(other_libraries.integrated_gradients, steps=STEPS),
    "smoothgrad": partial(other_libraries.smooth_grad, samples=STEPS),
}
SCORE = "score-cam"
Kept = Callable[[str, Callable[[], object]], object]


def chosen(draw: int) -> dict:
    """Return the methods that see this random network."""
    return {name: name for name in (CHEAP if draw < DRAWS else QUICK)} | (SLOW if draw == 0 else {})


def networks(model: nn.Module, statistics: Tensor) -> Iterator[tuple[str, int, Callable[[], nn.Module]]]:
    """Yield every stage, the number of its random network, and what makes it."""
    parts: list[str] = []
    for stage, more in STAGES.items():
        parts = [*parts, *more]
        for draw in range(MORE_DRAWS if stage in JUDGED else DRAWS):
            yield stage, draw, partial(sanity.randomised, model, parts, seed=draw + 1, statistics=statistics)


def masks(methods: dict, model: nn.Module, images: Tensor, label: Tensor) -> dict[str, Tensor]:
    """Return every method's masks [B, h, w] of one label per image, image by image."""
    found = []
    for i in range(len(images)):
        pair = Pairs(torch.tensor([0]), label[i : i + 1], torch.tensor([0]))
        found.append(sanity.masks_of(methods, model, images[i : i + 1], pair, activation="softmax"))
    return {name: torch.cat([each[name] for each in found]) for name in methods}


@torch.no_grad()
def score_cams(heads: list[models.Pretrained], image: Tensor, label: int) -> Tensor:
    """Return Score-CAM's masks [heads, h, w] of networks with the first one's features: they share the forwards."""
    model, n = heads[0], len(heads)

    def each(x: Tensor) -> Tensor:
        pooled = model.net.global_pool(model.net.forward_features(x))
        return torch.cat([net.net.classifier(pooled).softmax(1) for net in heads], 1)

    activations = capture(model, image, model.features).activations
    labels = label + model.num_classes * torch.arange(n)
    pairs = Pairs(torch.zeros_like(labels), labels, torch.zeros_like(labels))
    return maps.masks(score_cam(image, activations, pairs, each), image.shape[-2:])


def measure(model: models.Pretrained, images: Tensor, label: Tensor, facts: pd.DataFrame, kept: Kept) -> list:
    """Return the tables of all networks. kept(name, make) gives what a name stands for, made once."""
    trained = kept("trained", lambda: masks(chosen(0), model, images, label))
    table = partial(sanity.table, trained, facts=facts, image=torch.arange(len(facts)))
    tables = [table(trained, stage=sanity.TRAINED, draw=0)]
    for draw in range(LABELS):
        methods = chosen(0 if draw == 0 else DRAWS)
        others = label.roll(-1 - draw)
        found = kept(f"other {draw}", lambda m=methods, others=others: masks(m, model, images, others))
        tables.append(table(found, stage=sanity.OTHER, draw=draw))
    for stage, draw, make in networks(model, images):
        found = kept(f"{stage} {draw}", lambda draw=draw, make=make: masks(chosen(draw), make(), images, label))
        tables.append(table(found, stage=stage, draw=draw))
        print(stage, draw, flush=True)
    return tables


def measure_score_cam(
    model: models.Pretrained, images: Tensor, label: Tensor, facts: pd.DataFrame, kept: Kept
) -> list:
    """Return Score-CAM's tables: the trained network, its head random, and all of it random."""
    made = {stage: make for stage, draw, make in networks(model, images) if draw == 0}
    head, everything = made["head"](), made["all"]()
    found = []
    for i in range(len(images)):
        of = (images[i : i + 1], int(label[i]))
        two = kept(f"{SCORE} {i}", lambda of=of: score_cams([model, head], *of))
        found.append(torch.cat([two, kept(f"{SCORE} all {i}", lambda of=of: score_cams([everything], *of))]))
        print(SCORE, i, flush=True)
    every = dict(zip((sanity.TRAINED, "head", "all"), torch.stack(found, 1), strict=True))
    trained = {SCORE: every[sanity.TRAINED]}
    table = partial(sanity.table, trained, facts=facts, image=torch.arange(len(facts)), draw=0)
    return [table({SCORE: each}, stage=stage) for stage, each in every.items()]


def keeper(folder: Path) -> Kept:
    """Return a `kept` whose things lie in a folder, each whole or not at all."""

    def kept(name: str, make: Callable[[], object]) -> object:
        file = folder / f"{name.replace(' ', '-')}.pt"
        return weight_files.kept(file, lambda: {"made": make()})["made"]

    return kept


def main() -> None:
    """Make the maps, compare them, and write the table with its record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, type=folder, help="folder that holds imagenet/")
    parser.add_argument("--images", type=whole(), default=24)
    parser.add_argument("--score-cam", action="store_true", help="Score-CAM, too: most of the time")
    options = parser.parse_args()
    torch.set_num_threads(1)
    started, origin = time.time(), runs.provenance()
    model = models.pretrained(NETWORK)
    sample = data.Drawn(data.load("imagenet", "val", root=options.root, size=224, resize="crop"), options.images)
    batch = data.collate([sample[i] for i in range(len(sample))])
    images, label = model.preprocess(batch.images), batch.labels.argmax(1)
    with torch.no_grad():
        p = model(images).softmax(1)
    facts = pd.DataFrame({"image_index": range(len(label)), "image": batch.ids, "label": label.numpy()})
    weights = files.fingerprint(*model.state_dict().values())
    settings = (sample.fingerprint(), weights, STAGES, STEPS, CHEAP)
    kept = keeper(files.cache() / "study" / "sanity_photographs" / files.fingerprint(*settings))
    tables = measure(model, images, label, facts, kept)
    if options.score_cam:
        tables += measure_score_cam(model, images, label, facts, kept)
    target = files.DATA / "results" / "sanity_photographs.csv"
    log = target.with_suffix(".json")
    earlier = json.loads(log.read_text()) if log.exists() else {}
    of_same = (earlier.get("weights"), earlier.get("dataset")) == (weights, sample.fingerprint())
    spent = earlier["wall_s"] if of_same else 0  # by the calls that this one goes on from
    runs.save(target, pd.concat(tables, ignore_index=True).drop(columns="image"), float_format="%.4g")
    record = {
        "command": f"python -m workflow.studies.sanity_photographs --root DATA --images {len(sample)}"
        + " --score-cam" * options.score_cam,
        "network": NETWORK, "weights": weights, "dataset": sample.fingerprint(), "images": batch.ids,
        "top1": float((p.argmax(1) == label).double().mean()), **origin,
        "wall_s": spent + round(time.time() - started),
    }  # fmt: skip
    files.write_text(log, json.dumps(record, indent=1) + "\n")
    print(target)


if __name__ == "__main__":
    main()
