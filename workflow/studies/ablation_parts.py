"""What the ablations are made of: the images and heads they are measured on, and what the package does not have.

Nothing here adds an option to the package: alternatives are put together from its parts.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from cam_utils import data, files, runs
from cam_utils.data.reading import read_pixels
from cam_utils.data.sizing import letterbox
from cam_utils.data.views import View
from cam_utils.evaluation import evaluate
from cam_utils.methods import scorecam, weighted_sums
from cam_utils.methods.query import Query
from cam_utils.networks import frozen, models, schedules
from cam_utils.networks.schedules import Stage
from cam_utils.pairs import Pairs
from workflow.studies import photograph_cells as cells

DATASET, NETWORK, CLASSES = "voc2012", "efficientnet_lite0", 20
PAIR = ("cam", "minmax-cam")
SEEDS = (0, 1, 2)
SCENES = 200
BATCH = 16  # of the code's evaluation


class Photographs:
    """The VOC 2012 sample with what the study of photographs stored about it: heads and pairs."""

    def __init__(self, root: Path, limit: int | None = None, stored: Path | None = None) -> None:
        self.root, self.load = root, cells.loader(DATASET, root, limit)
        folder = stored or files.DATA / "results" / "runs" / f"photographs-{DATASET}-{NETWORK}"
        self.heads, self.pairs = folder / "heads.pt", pd.read_parquet(folder / "pairs.parquet")
        test = self.load("test")
        self.rows = (test.labels.sum(1) > 1).nonzero().flatten().tolist()
        self.images = self.several(test)
        self.features: Quick | None = None

    def several(self, test: Dataset) -> View:
        """Return the images of several labels."""
        return View(test, self.rows, test.labels[self.rows], test.classes, {"rows": self.rows})

    def remade(self, load: Callable[..., Dataset]) -> Callable[..., Dataset]:
        """Return `load(split)` of the same parts, of the images that `load("train")` and `load("val")` give."""
        whole = cache(load)

        def part(split: str) -> Dataset:
            known, images = self.load(split), whole("val" if split == "test" else "train")
            rows = list(getattr(known, "rows", range(len(known))))
            return View(images, rows, images.labels[rows], images.classes, {"rows": rows})

        return cache(part)

    def stored(self, seed: int, methods: Sequence[str] = PAIR, *, head: str = "linear", rate: float = 0.1):
        """Return the stored pairs of a head: annotated sets of several labels."""
        table = self.pairs
        of = (table["head"] == head) & ((table["rate"] - rate).abs() < 1e-6) & (table["seed"] == seed)
        shown = table["in_annotated"] & (table["set_size"] > 1) & table["method"].isin(methods)
        return table[of & shown & table["image_index"].isin(self.rows)].astype({"method": str, "class": str})

    def model(self, seed: int) -> models.Classifier:
        """Return the network under the stored linear head of rate 0.1."""
        fit = cells.Fit("linear", 0.1, seed)
        return self.quick(cells.with_heads(NETWORK, "imagenet", self.images.classes, [fit], self.heads)[fit.name])

    def fresh(self, seed: int, **options: object) -> models.Classifier:
        """Return the network under a head that is still to be trained."""
        return self.quick(models.build(NETWORK, CLASSES, weights="imagenet", seed=seed, **options))

    def quick(self, model: models.Classifier) -> models.Classifier:
        """Return the model with its features made faster, once for all: they are the same under every head."""
        self.features = self.features or Quick(model.features.eval())
        model.features = self.features
        return model

    def evaluated(self, model, methods=PAIR, *, images: Dataset | None = None, **options: object) -> pd.DataFrame:
        """Return the pairs table of annotated sets on the images of several labels."""
        how = {"explained": "annotated", "progress": False} | options
        table = evaluate.evaluate(model, images or self.images, methods, **how)
        return table.assign(image_index=[self.rows[i] for i in table["image_index"]])

    def trained(
        self, seed: int, stage: Stage | None = None, load: Callable[..., Dataset] | None = None,
        *, model: models.Classifier | None = None, views: frozen.Parts | None = None,
    ) -> pd.DataFrame:  # fmt: skip
        """Return the pairs of a head that is trained here, on remade images where `load` gives them."""
        stage, model, load = stage or schedules.frozen(0.1), model or self.fresh(seed), load or self.load
        views = views or frozen.views_of(model, load, stage, progress=False)
        frozen.train_head(model, views, stage, seed=seed, progress=False, accelerator="cpu")
        return self.evaluated(model.eval(), images=self.several(load("test")))


class Digits:
    """The digits with their committed network, on the scenes of several digits."""

    def __init__(self, scenes: int = SCENES) -> None:
        self.load = partial(data.load, "digits")
        test = self.load("val", limit=scenes)
        self.rows = (test.labels.sum(1) > 1).nonzero().flatten().tolist()
        self.images = View(test, self.rows, test.labels[self.rows], test.classes, {"rows": self.rows})

    def evaluated(self, methods: Mapping[str, object]) -> pd.DataFrame:
        """Return the pairs table of annotated sets under the committed network."""
        model, _ = runs.trained(self.load, network="digits", head="linear", progress=False)
        how = {"explained": "annotated", "batch_size": BATCH, "progress": False}
        return evaluate.evaluate(model, self.images, methods, **how)


def named(table: pd.DataFrame, name: str, method: str) -> pd.DataFrame:
    """Return the table with one method under another name: a callable of ours may not have a method's own."""
    return table.assign(method=table["method"].replace(name, method))


def d_minmax_before(w: Tensor, pairs: Pairs) -> Tensor:
    """Return D-MinMax weights [P, K] that are rectified label by label, before the sums over labels.

    >>> from cam_utils.pairs import pairs_of
    >>> d_minmax_before(torch.tensor([[3.0], [-1.0], [5.0]]), pairs_of(torch.ones(1, 3) > 0)).round(decimals=2)[0]
    tensor([0.1700])
    """
    same = (pairs.group[:, None] == pairs.group).to(w.dtype)  # [P, P]
    size = same.sum(1, keepdim=True)
    high, low = w.clamp(min=0), w.clamp(max=0)
    return high - (same @ high - high) / (size - 1).clamp(min=1) + same @ low / size


def rectified_before(query: Query) -> Tensor:
    """Return D-MinMax-CAM by :func:`d_minmax_before`."""
    alpha = d_minmax_before(query.weights[query.pairs.label], query.pairs)
    return weighted_sums.class_map(query.activations, alpha, query.pairs, query.relu)


class AbsoluteUsage(models.KernelUsageHead):
    """Kernel usage with the softmax of absolute weights.

    >>> head = AbsoluteUsage(1, 2)
    >>> head.weight.data[:] = torch.tensor([[-20.0], [0.0]])
    >>> head.class_weights().flatten().tolist()
    [-20.0, 0.0]
    """

    def class_weights(self) -> Tensor:
        return self.weight * self.weight.abs().softmax(0)


def score_cam_of(alpha: Callable[[Query, Tensor], Tensor]) -> Callable[[Query], Tensor]:
    """Return Score-CAM whose weights [P, K] are `alpha` of the query and of its channels' scores [P, K]."""

    @torch.no_grad()
    def method(query: Query) -> Tensor:
        scores = scorecam.channel_scores(query.images, query.activations, query.score, chunk=query.chunk)
        weights = alpha(query, scores[query.pairs.image, :, query.pairs.label])
        return scorecam.upsampled_sum(query.images, query.activations, weights, query.pairs)

    return method


def less_baseline(query: Query, scores: Tensor) -> Tensor:
    """Return the scores less that of an image of the mean colour (Wang et al. 2020, Eq. 7)."""
    blank = query.score(torch.zeros_like(query.images[:1]))[0]
    return scores - blank[query.pairs.label][:, None]


def softmaxed(query: Query, scores: Tensor) -> Tensor:
    """Return the softmax of the scores over channels; a baseline would cancel."""
    return scores.softmax(1)


def until_constant(query: Query, scores: Tensor) -> Tensor:
    """Return the scores of the channels up to the first rank whose channel is constant in all images of the batch.

    Ranks are by the spread over pixels, the largest first, in every image for itself.
    """
    spread = query.activations.flatten(2).std(-1, correction=0)  # [B, K]
    order = spread.argsort(1, descending=True)
    constant = (spread.gather(1, order) == 0).all(0)
    kept = int(constant.float().argmax()) if constant.any() else len(constant)
    shown = torch.zeros_like(spread).scatter(1, order[:, :kept], 1.0)
    return scores * shown[query.pairs.image]


class Nearest(View):
    """Images of VOC resized by nearest neighbour; masks and boxes are the dataset's."""

    def __init__(self, dataset: Dataset, folder: Path) -> None:
        super().__init__(dataset, None, dataset.labels, dataset.classes, {"interpolation": "nearest"})
        self.folder = folder

    def pixels(self, index: int) -> Tensor:
        whole = torch.from_numpy(read_pixels(self.folder / f"{self.ids[index]}.jpg", "RGB")).permute(2, 0, 1)
        top, left, rows, columns = letterbox(*whole.shape[-2:], self.size)
        square = torch.zeros(3, self.size, self.size, dtype=torch.uint8)
        square[:, top : top + rows, left : left + columns] = nearest(whole, rows, columns)
        return square

    def __getitem__(self, index: int) -> data.Sample:
        return super().__getitem__(index)._replace(image=self.pixels(index).float() / 255)


def nearest(image: Tensor, rows: int, columns: int) -> Tensor:
    """Return the image [3, H, W] resized by nearest neighbour, pixel centres at halves.

    >>> nearest(torch.arange(4.0).expand(3, 1, 4), 1, 2)[0].tolist()
    [[1.0, 3.0]]
    """
    return nn.functional.interpolate(image[None].float(), (rows, columns), mode="nearest-exact")[0].to(image.dtype)


class Quick(nn.Module):
    """Frozen features with normalisations folded into convolutions: equal to 1e-4, in two thirds of the time."""

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features  # whose weights tell cached features apart
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch.compile would need a compiler
            self._run = [torch.jit.freeze(torch.jit.trace(features, torch.zeros(2, 3, 224, 224)))]

    def forward(self, images: Tensor) -> Tensor:
        return self._run[0](images)


class Shifted(nn.Module):
    """Features of images to which a colour is added: what was zero is now that colour."""

    def __init__(self, features: nn.Module, colour: Tensor) -> None:
        super().__init__()
        self.features = features
        self.register_buffer("colour", colour)

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images + self.colour)


def masked_with(model: models.Classifier, colour: Sequence[float]) -> models.Classifier:
    """Return the same network in which a masked pixel, 0, is this RGB colour in [0, 1]."""
    wanted = torch.tensor(colour).view(3, 1, 1)
    features = Shifted(model.features, (wanted - model.mean) / model.std)
    return models.Classifier(features, model.head, normalisation=(tuple(colour), _numbers(model.std))).eval()


def normalised_as(model: models.Classifier, normalisation: tuple) -> models.Classifier:
    """Return the same network with another mean and standard deviation of its input."""
    return models.Classifier(model.features, model.head, normalisation=normalisation)


def _numbers(values: Tensor) -> tuple[float, ...]:
    return tuple(values.flatten().tolist())
