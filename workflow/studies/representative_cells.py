"""One cell of the study of representative classes on photographs: data, heads on a frozen backbone, recipes, maps.

All heads see the same images with the same penalty: one per pair, from the images that show exactly one of its two
classes; one softmax head of all classes; and one head per class against the rest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from sklearn.model_selection import KFold
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from cam_utils import data
from cam_utils.evaluation import sums
from cam_utils.evaluation.map_counts import truths
from cam_utils.files import fingerprint
from cam_utils.maps import NORMALISATIONS, peak, upsample
from cam_utils.methods.weighted_sums import weighted_sum
from cam_utils.networks import models
from cam_utils.networks.capture import capture
from cam_utils.networks.features import pooled_features
from cam_utils.pairs import Pairs
from cam_utils.representative import pair_heads, selection, sources
from cam_utils.representative.complementarity import complementarity
from cam_utils.representative.fusion import Recipe
from cam_utils.representative.similarity import similarity_matrix

SIZE = 224
# Data set -> its parts to train on, the part that is judged, and the fewest training images of a class.
PARTS = {"voc2012": (("train",), "val", 30), "msrc": (("train", "val"), "test", 20)}
N = 4  # representatives of a class
LEAST_APART = 5  # images of each of two classes without the other, or the pair has no head
DRAWS = 10  # of random representatives
# C in units of the features' spread; one for all heads of a cell
PENALTIES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)


@dataclass(frozen=True)
class Cell:
    """A data set's images as a study needs them: `training` parts, `judged` images, the classes with enough."""

    name: str
    training: tuple[Dataset, ...]
    judged: Dataset
    classes: tuple[str, ...]

    @property
    def labels(self) -> Tensor:
        """What the training images show of the classes, [N, n]."""
        columns = [self.judged.classes.index(name) for name in self.classes]
        return torch.cat([part.labels[:, columns] for part in self.training])


def cell(name: str, root: str | Path, *, least: int | None = None, limit: int | None = None) -> Cell:
    """Return the cell of a data set: classes with fewer than `least` training images are left out."""
    train, judged, fewest = PARTS[name]
    load = partial(data.load, name, root=root, size=SIZE, resize="crop", limit=limit)
    parts, test = tuple(load(split) for split in train), load(judged)
    counts = torch.cat([part.labels for part in parts]).sum(0)
    kept = [c for c, count in zip(test.classes, counts.tolist(), strict=True) if count >= (least or fewest)]
    return Cell(name, parts, test, tuple(kept))


@dataclass
class Heads:
    """Everything that is fitted on the features of a cell's training images; K channels, n classes."""

    pairs: Tensor  # [M, 2], those with a head
    against: Tensor  # [n, n, K], c against s, zero where no head is
    softmax: nn.Linear
    rest: nn.Linear
    accuracy: Tensor  # [M], of the pairs' heads on their own images
    losses: dict[str, float]  # by penalty, the softmax head's on unseen images; everyone has the best
    similarity: Tensor  # [n, n], B by folds


def fitted(model: models.Classifier, of: Cell, *, folds: int = 5, seed: int = 0, progress: bool = True) -> Heads:
    """Return the heads of a cell on the features of `model`; B is of images that its heads did not see."""
    x = torch.cat([pooled_features(model, part, progress=progress) for part in of.training])
    y, n, unit = of.labels, len(of.classes), pair_heads.spread(x)
    losses, unseen, best = tried(x, y, folds=folds, seed=seed)
    C = best / unit**2
    heads = pair_heads.fit_heads(x, y, pair_heads.separable_pairs(y, LEAST_APART), C=C)
    image, label = (y > 0).nonzero().T  # an image of several classes says something about each of them
    b = similarity_matrix(unseen[image], label, n, per_image=True)
    softmax, rest = pair_heads.fit_softmax(x, y, n, C=C), pair_heads.fit_one_against_rest(x, y, C=C)
    told = {f"{penalty:g}": round(loss, 4) for penalty, loss in losses.items()}
    return Heads(
        heads.pairs, pair_heads.directed(heads, n)[0], linear(*softmax), linear(*rest), heads.accuracy, told, b
    )


def tried(x: Tensor, y: Tensor, *, folds: int = 5, seed: int = 0) -> tuple[dict[float, float], Tensor, float]:
    """Return the softmax head's loss by penalty, its probabilities under the best one, and that penalty.

    All are of images that the head did not see. The penalty is the baseline's own best, and every other head's too.
    """
    unit = pair_heads.spread(x)
    found = {penalty: _by_folds(x, y, penalty / unit**2, folds, seed) for penalty in PENALTIES}
    losses = {penalty: _loss(p, y) for penalty, p in found.items()}
    best = min(losses, key=losses.get)
    return losses, found[best], best


def _by_folds(x: Tensor, y: Tensor, C: float, folds: int, seed: int) -> Tensor:
    """Return the softmax heads' probabilities [N, n] of images that they did not see."""
    p = torch.zeros(y.shape)
    for seen, unseen in KFold(folds, shuffle=True, random_state=seed).split(x):
        weight, bias = pair_heads.fit_softmax(x[seen], y[seen], y.shape[1], C=C)
        p[unseen] = (x[unseen] @ weight.T + bias).softmax(1)
    return p


def _loss(p: Tensor, y: Tensor) -> float:
    """Return the mean cross-entropy of images that show any class, their classes equally likely."""
    shown = y.sum(1) > 0
    wanted = y[shown] / y[shown].sum(1, keepdim=True)
    return float(-(wanted * p[shown].log()).sum(1).mean())


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """Return the head with these weights [n, K] and biases [n]."""
    layer = nn.Linear(weight.shape[1], len(weight))
    layer.weight.data, layer.bias.data = weight, bias
    return layer


def with_head(model: models.Classifier, head: nn.Linear) -> models.Classifier:
    """Return the model with this head in place of its own."""
    model.head.weight.data, model.head.bias.data = head.weight.data, head.bias.data
    return model.eval()


def allowed(pairs: Tensor, n: int) -> list[list[int]]:
    """Return for every class the others that it has a pair with."""
    met: list[list[int]] = [[] for _ in range(n)]
    for c, s in pairs.tolist():
        met[c].append(s)
        met[s].append(c)
    return [sorted(each) for each in met]


def among(rule: Callable[[list[int]], selection.Selection], others: Sequence[Sequence[int]]) -> selection.Selection:
    """Return a rule's choice for every class out of the classes that it has a pair with.

    `rule(kept)` returns the selections of the classes `kept`, in their own numbers; a class with fewer than N
    others has none and is left out of all rows.
    """
    found: selection.Selection = []
    for c, mine in enumerate(others):
        kept = sorted([c, *mine])
        chosen = rule(kept)[kept.index(c)] if len(mine) >= N else []
        found.append([kept[j] for j in chosen])
    return found


def selections(
    b: Tensor, others: Sequence[Sequence[int]], *, seed: int = 0
) -> tuple[dict[str, selection.Selection], selection.Clusters]:
    """Return every rule's representatives, "All" and ten random draws among them, and the clusters of S-k."""
    n = len(b)
    clusters = selection.cluster(b, N, smallest=min(N, n // N), seed=seed)

    def by_cluster(k: int) -> Callable[[list[int]], selection.Selection]:
        def rule(kept: list[int]) -> selection.Selection:
            groups = [[kept.index(j) for j in group if j in kept] for group in clusters.members]
            return selection.by_cluster(b[kept][:, kept], [group for group in groups if group], k)

        return rule

    def by_rank(positions: Sequence[int]) -> Callable[[list[int]], selection.Selection]:
        return lambda kept: selection.by_rank(b[kept][:, kept], selection.spread(positions, N))

    rules = {
        "Rank-a": by_rank(selection.RANK_A), "Rank-b": by_rank(selection.RANK_B),
        **{f"S-{k}": by_cluster(k) for k in (1, 2, 3, 4)},
    }  # fmt: skip
    found = {name: among(rule, others) for name, rule in rules.items()}
    found["All"] = [list(mine) if len(mine) >= N else [] for mine in others]
    enough = found["All"]
    draws = {f"Random {k}": sums.drawn(enough, N, seed=10_000 * seed + 100 * k) for k in range(DRAWS)}
    return found | draws, clusters


def last_layer(chosen: dict[str, selection.Selection], names: Sequence[str]) -> list[Recipe]:
    """Return the recipes of the last layer: single pairs, every rule, and the controls."""
    every = chosen["All"]
    found = [Recipe(f"vs {name}", [[k] if k in mine else [] for mine in every]) for k, name in enumerate(names)]
    found += [Recipe(f"{rule}+F", picked) for rule, picked in chosen.items()]
    for rule in ("S-1", "All"):
        found += [
            Recipe(f"{rule}, ReLU first", chosen[rule], normalise=("fusion",)),
            Recipe(f"{rule}, ReLU last", chosen[rule], joint=True),
        ]
    return [*found, Recipe("S-1+F, maps squared", chosen["S-1"], square=True)]


def cam_source(model: models.Classifier, normalisation: str) -> sources.DirectSource:
    """Return CAM's maps under one of :data:`cam_utils.maps.NORMALISATIONS`: "min-max" is its authors' own."""
    weights = model.head.weight.detach()

    def maps(images: Tensor, pairs: Pairs) -> Tensor:
        activations = capture(model, images, model.features).activations
        return NORMALISATIONS[normalisation](weighted_sum(activations, weights[pairs.label], pairs))

    return sources.DirectSource(maps, fingerprint("cam", normalisation, *model.state_dict().values()))


def complements(
    model: models.Classifier, heads: Heads, of: Cell, chosen: dict[str, selection.Selection], threshold: float,
    *, batch_size: int = 16, progress: bool = True,
) -> pd.DataFrame:  # fmt: skip
    """Return :func:`complementarity` of every rule's pair maps against the softmax head's map, one row per pair."""
    source = sources.HeadSource(model, [model.features], heads.against)
    whole = sources.ClassSource(model, [model.features])
    loader = DataLoader(of.judged, batch_size, collate_fn=data.collate)
    tables, start = [], 0
    for batch in tqdm(loader, "complements", disable=not progress):
        truth = truths(batch, of.judged.classes, of.classes)
        index = [start + i for i in truth.pairs.image.tolist()]
        start += len(batch.images)
        if not len(truth.pairs):
            continue
        x = model.preprocess(batch.images)
        size = x.shape[-2:]
        raw = source.layer_maps(x, truth.pairs, chosen["All"], False)[0].relu()
        base = peak(upsample(whole.layer_maps(x, truth.pairs, [], False)[0][:, 0].relu(), size))
        for p, label in enumerate(truth.pairs.label.tolist()):
            facts = {"image_index": index[p], "label": label, "class": of.classes[label]}
            row = slice(p, p + 1)
            for rule, picked in chosen.items():
                if picked[label]:
                    maps = peak(upsample(raw[p, picked[label]], size))[None]
                    place = (truth.masks[row], truth.valid[truth.pairs.image[row]])
                    tables.append(complementarity(maps, base[row], *place, threshold).assign(**facts, rule=rule))
    return pd.concat(tables, ignore_index=True)
