"""The maps of the study of pair networks: whose they are, which comparisons they fuse, and the table of rows."""

import copy
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cam_utils import runs
from cam_utils.evaluation import bootstrap, miou
from cam_utils.evaluation.map_counts import evaluate_maps
from cam_utils.networks.features import pooled_features
from cam_utils.networks.models import Classifier
from cam_utils.representative import pair_heads, selection, sources
from cam_utils.representative.fusion import Recipe
from cam_utils.representative.pair_networks import training_rows, untrained
from cam_utils.representative.similarity import similarity_matrix
from cam_utils.representative.trained_networks import TrainedNetworks
from workflow.studies.pair_network_training import Settings

DRAWS = 5  # of two random comparisons
BATCH = 48  # images judged at once: every pair's network sees a few of them
BASELINE = "Baseline"
WITH_A = "+A"
CLASS_RECIPES = [
    Recipe(BASELINE),
    Recipe(BASELINE + WITH_A, multilayer=True),
    Recipe("Baseline squared", square=True),
]
AT = {"T = 0.15": miou.PAPER_THRESHOLD, "T of the other half": miou.CHOSEN}
Rows = dict[str, list[selection.Selection]]  # the rule's name -> its draws, one for a rule without chance


def similarity(network: Classifier, images: Dataset) -> Tensor:
    """Return B [n, n] of images that took no part in the training; one of several classes counts for each."""
    x = network.preprocess(images.images_uint8.float() / 255)
    with torch.no_grad():
        p = torch.cat([network(part).softmax(1) for part in x.split(16)])
    image, label = images.labels.nonzero().T
    return similarity_matrix(p[image], label, images.labels.shape[1], per_image=True)


def rules(b: Tensor) -> tuple[Rows, selection.Clusters]:
    """Return every rule's comparison classes, and the two clusters of S-1.

    The "mean single pair" is the mean of n - 1 rows, in each of which every class has one comparison.
    """
    n = len(b)
    clusters = selection.cluster(b, 2, smallest=2)
    found: Rows = {
        "mean single pair": [[[(c + k) % n] for c in range(n)] for k in range(1, n)],
        "All": [[[s for s in range(n) if s != c] for c in range(n)]],
        "Random 2": [selection.by_chance(n, 2, seed=k) for k in range(DRAWS)],
        "S-1": [selection.by_cluster(b, clusters)],
    }
    return found, clusters


def recipes(chosen: Rows) -> list[Recipe]:
    """Return the recipes of all rules, without and with step A: "S-1+A, 0" is the first draw of S-1 with A."""
    return [
        Recipe(f"{rule}{WITH_A * multilayer}, {k}", picked, multilayer=multilayer)
        for rule, draws in chosen.items()
        for multilayer in (False, True)
        for k, picked in enumerate(draws)
    ]


def learned_only(found: TrainedNetworks, start: Classifier, seed: int) -> Callable[..., Classifier]:
    """Return the networks without what their heads were at random before the training."""

    def network(*pair: int) -> Classifier:
        model = copy.deepcopy(found(*pair))
        model.head.weight.data -= untrained(start, pair, seed).head.weight.data
        return model

    return network


def all_sources(
    found: TrainedNetworks, start: Classifier, train: Dataset, settings: Settings
) -> Iterator[tuple[dict, sources.Source, bool]]:
    """Yield ({"epoch", "of", "score"}, source of maps, whether it compares classes) of all that is judged.

    Epoch 0 is the frozen network, with fitted heads. "learned" takes off a head's random start, "rows" are the
    differences of the rows of one head for all classes.
    """
    n, group = len(settings.classes), settings.everything
    layers = partial(layers_of, network=settings.network)
    frozen, heads = frozen_heads(start, train, settings)
    yield {"epoch": "0", "of": "softmax head", "score": "logit"}, sources.ClassSource(frozen, layers(frozen)), False
    yield {"epoch": "0", "of": "pair heads", "score": "difference"}, _head_source(frozen, layers, heads), True
    yield {"epoch": "0", "of": "softmax head", "score": "rows"}, _head_source(frozen, layers), True
    for epoch in (*settings.snapshots, None):
        nets, told = found.at(epoch), {"epoch": str(epoch or "stop")}
        subtracted = learned_only(nets, start, settings.seed)
        for score, network in (("logit", nets(*group)), ("learned", subtracted(*group))):
            source = sources.ClassSource(network, layers(network))
            yield told | {"of": "network of all classes", "score": score}, source, False
        yield told | {"of": "network of all classes", "score": "rows"}, _head_source(nets(*group), layers), True
        for score in ("logit", "difference"):
            source = sources.NetworkSource(nets, layers, n, nets.identity, score)
            yield told | {"of": "pair networks", "score": score}, source, True
        source = sources.NetworkSource(subtracted, layers, n, f"{nets.identity}, learned", "difference")
        yield told | {"of": "pair networks", "score": "learned"}, source, True


def layers_of(model: Classifier, network: str) -> list[torch.nn.Module]:
    """Return the layers of a network that step A reads."""
    return sources.layers_of(model.features, network)


def _head_source(model: Classifier, layers: Callable, weights: Tensor | None = None) -> sources.HeadSource:
    """Return the source of pairs' heads on one network, by default of the differences of its head's rows."""
    rows = model.head.weight.detach()
    return sources.HeadSource(model, layers(model), rows[:, None] - rows if weights is None else weights)


def frozen_heads(start: Classifier, train: Dataset, settings: Settings) -> tuple[Classifier, Tensor]:
    """Return the start network with a fitted softmax head, and every pair's fitted head [n, n, K].

    They see the images that the networks are trained on.
    """
    n, labels = len(settings.classes), train.labels
    features = pooled_features(start, train, progress=False)
    weights = torch.zeros(n, n, features.shape[1])
    for pair in settings.pairs:
        rows = training_rows(labels, pair, settings.most, settings.seed)
        head = pair_heads.fit_heads(features[rows], labels[rows], torch.tensor([pair]))
        weights += pair_heads.directed(head, n)[0]
    rows = training_rows(labels, settings.everything, settings.most, settings.seed)
    model = copy.deepcopy(start)
    model.head.weight.data, model.head.bias.data = pair_heads.fit_softmax(features[rows], labels[rows], n)
    return model.eval(), weights


def measured(
    source: sources.Source, wanted: list[Recipe], test: Dataset, start: Classifier, settings: Settings,
    *, progress: bool = True,
) -> pd.DataFrame:  # fmt: skip
    """Return the table of pixel counts of the test images that show any of the classes; kept in the cache."""
    return evaluate_maps(
        source, test, wanted, preprocess=start.preprocess, classes=settings.classes, folder=runs.evaluations(),
        batch_size=BATCH, progress=progress,
    )  # fmt: skip


def draws(table: pd.DataFrame) -> dict[str, dict[str, list[np.ndarray]]]:
    """Return {where T is from: {rule: the bootstrap's means of each of its draws}}; M1.

    A draw chooses its T on the other half of the images for itself (:func:`miou.at_chosen_threshold`).
    """
    found = {}
    for name, threshold in AT.items():
        judged = miou.at_chosen_threshold(table)[0] if threshold == miou.CHOSEN else table
        found[name] = {}
        for method, (_, mean) in miou.miou(judged, threshold=threshold).items():
            found[name].setdefault(method.rpartition(", ")[0] or method, []).append(mean)
    return found


def table_of(measures: list[tuple[dict, pd.DataFrame]]) -> pd.DataFrame:
    """Return one row per source, rule and T: mIoU and its differences to the baseline of the epoch.

    The baseline is the logit's map of the network of all classes, at its own T: `difference` is to the one without
    step A, `difference_same` to the one that has it where the row has it. Of a rule with several draws the mean is
    given, and as `spread` half the range of the draws. All share the bootstrap's images.
    """
    counted = [(told, draws(table), table) for told, table in measures]
    base = {told["epoch"]: values for told, values, _ in counted if _is_baseline(told)}
    rows = []
    for told, values, table in counted:
        judged = table[table["class"] != miou.BACKGROUND]
        sizes = {
            "n_images": judged["image_index"].nunique(),
            "n_pairs": len(judged.drop_duplicates(["image_index", "label"])),
        }
        for (at, by_rule), reference in zip(values.items(), base[told["epoch"]].values(), strict=True):
            for rule, each in by_rule.items():
                mean, a = np.mean(each, 0), rule.endswith(WITH_A)
                row = {**told, "rule": rule.removesuffix(WITH_A), "with_a": a, "at": at, **bootstrap.interval(mean)}
                firsts = [one[0] for one in each]
                row["spread"] = (max(firsts) - min(firsts)) / 2 if len(each) > 1 else np.nan
                for name, other in (("difference", BASELINE), ("difference_same", BASELINE + WITH_A * a)):
                    gap = bootstrap.interval(mean - reference[other][0])
                    row |= {name: gap["value"], f"{name}_low": gap["low"], f"{name}_high": gap["high"]}
                rows.append(row | sizes)
    return pd.DataFrame(rows)


def _is_baseline(told: dict) -> bool:
    return told["score"] == "logit" and told["of"] != "pair networks"
