"""From a model and pictures of any kind to questions that every method answers: batches that have run once."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from cam_utils import maps
from cam_utils.front.asked import asked_labels
from cam_utils.front.file_names import printable
from cam_utils.front.model_inputs import Loaded
from cam_utils.front.model_loading import load_model
from cam_utils.front.pictures import letterboxed, pictures_in
from cam_utils.methods.query import Query, full, rectified
from cam_utils.methods.registry import METHODS, ONE_FORWARD, SIGNED, Method, resolved
from cam_utils.names import check_count, check_share, check_size
from cam_utils.networks.answers import Answers, NotLogits
from cam_utils.networks.capture import Capture, capture_layers, evaluation_mode
from cam_utils.networks.layers import check_layers, default_layer, named_layer
from cam_utils.networks.models import Classifier
from cam_utils.networks.predictions import RAW, activated, predicted, scoring
from cam_utils.pairs import Pairs


@dataclass(frozen=True, eq=False)
class Asking:
    """What is asked of every batch; :func:`cam_utils.explain` says what the options mean."""

    labels: object = None
    layer: nn.Module | str | Sequence | None = None
    activation: str | None = None
    threshold: float = 0.5
    top: int = 1
    chunk: int | None = None
    precision: str = "float32"
    relu: bool = True
    output: str | int | Callable | None = None
    target: Callable[[Tensor], Tensor] | None = None
    inputs: Sequence | Mapping | None = None


@dataclass(frozen=True, eq=False)
class Question:
    """A batch that has run once: what is explained, and what each layer's activations were.

    first: how many pictures came before it. probabilities: [B, L]. pairs: of images that count from the batch's
    first. queries: one per layer.
    """

    first: int
    kind: str
    probabilities: Tensor
    pairs: Pairs
    queries: list[Query]

    def pairs_of_all(self) -> Pairs:
        """Return the pairs with images that count from the first picture of all batches."""
        return Pairs(self.pairs.image + self.first, self.pairs.label, self.pairs.group + self.first)

    def answer(self, method: str | Method) -> Tensor:
        """Return a method's masks [P, h, w] at the input's size: of several layers, their mean.

        They are in [0, 1], or signed in [-1, 1]. Raises ValueError for a method without a signed form where one is
        asked for, for heads that the method cannot use, and for maps that do not fit the pairs.
        """
        ((name, function),) = resolved(method).items()
        if not self.queries[0].relu and name in METHODS and name not in SIGNED:
            raise ValueError(f"{name} has no signed form (relu=False): it fuses maps that are rectified")
        # A walk through the model's modules takes as long as a map.
        runs = nullcontext() if name in ONE_FORWARD else evaluation_mode(self.queries[0].model)
        with torch.inference_mode(False), runs:
            found = [self._masks(name, function, query) for query in self.queries]
            return found[0] if len(found) == 1 else torch.stack(found).mean(0)

    def _masks(self, name: str, function: Method, query: Query) -> Tensor:
        raw = full(rectified(function(query), name, self.pairs))
        size = tuple(query.images.shape[-2:])
        if query.relu:
            return maps.masks(raw, size)
        return maps.upsample(maps.balanced(raw), size)


class Source:
    """Pictures as they are given, and what becomes of them: `pictures` and `names` are of those that could be read.

    given: a tensor [B, C, h, w] as the model expects it, or as :func:`cam_utils.front.pictures.pictures_in`.
    skipped: {file name: why it could not be read}, of a folder; a picture named by itself must be readable.
    """

    def __init__(self, loaded: Loaded, given: object, size: int | None = None, limit: int | None = None) -> None:
        self.loaded, self.given = loaded, given
        self.size = loaded.size if size is None else check_size(size)
        self.pictures, self.names, self.stems, self.skipped = [], [], [], {}
        self.is_folder = False
        if isinstance(given, Tensor):
            self.all_names = [f"image-{i}" for i in range(len(_checked(given)))]
        else:
            self._found = pictures_in(given)
            self.is_folder = self._found.folder is not None
            self.all_names = self._found.names
        self.limit = len(self.all_names) if limit is None else check_count("limit", limit, " of pictures")
        self.all_names = self.all_names[: self.limit]

    def batches(self, count: int) -> Iterator[tuple[list[int], Tensor]]:
        """Yield (positions of the pictures among all given, images [B, C, h, w] as the model expects them)."""
        for start in range(0, len(self.all_names), count):
            positions = list(range(start, min(start + count, len(self.all_names))))
            if isinstance(self.given, Tensor):
                images = self.given[start : start + count]
                self._keep(positions, images, self.all_names)
                yield positions, images
                continue
            squares = {at: square for at in positions if (square := self._square(at)) is not None}
            self._keep(list(squares), self._found.images, self._found.stems)
            if squares:
                yield list(squares), self.loaded.preprocess(torch.stack(list(squares.values())))
        if not self.pictures:
            reason = next(iter(self.skipped.values()), "there is none")
            raise OSError(f"none of {len(self.all_names)} pictures can be read: {reason}")

    def _square(self, at: int) -> Tensor | None:
        try:
            return letterboxed(self._found.images[at], self.size, self.loaded.channels)
        except OSError as error:
            if not self.is_folder:
                raise
            self.skipped[self.all_names[at]] = str(error).replace(
                printable(self._found.images[at]), self.all_names[at]
            )
            return None

    def _keep(self, positions: list[int], every: Sequence, stems: Sequence[str]) -> None:
        tensor = isinstance(self.given, Tensor)
        self.pictures += list(every) if tensor else [every[at] for at in positions]
        self.names += [self.all_names[at] for at in positions]
        self.stems += [stems[at] for at in positions]


def known(model: object) -> Loaded:
    """Return what is known of a model: of one that was loaded all, of a bare module what it tells itself."""
    return model if isinstance(model, Loaded) else load_model(model)


def questions(source: Source, asking: Asking, batch_size: int = 16) -> Iterator[Question]:
    """Yield the pictures of a source in batches that have run once, ready to be answered by any method.

    Raises ValueError for what cannot be explained; :func:`cam_utils.explain` says what.
    """
    model = source.loaded.model
    check_count("batch_size", batch_size, " of images")
    if asking.inputs is not None:
        batch_size = 1  # what belongs to one image then serves all its masked copies
    count, first = len(source.all_names), 0
    for positions, images in source.batches(batch_size):
        given = _inputs_of(asking.inputs, positions[0], count)
        asked = Answers(model, output=asking.output, target=asking.target, inputs=given)
        plain = asking.output is None and asking.target is None and asking.inputs is None
        images = _moved(model, images)
        try:
            yield _question(model if plain else asked, images, positions, first, source, asking)
        except NotLogits:
            if not plain:
                raise
            yield _question(asked, images, positions, first, source, asking)
        first += len(positions)


def _question(
    model: nn.Module, images: Tensor, positions: list[int], first: int, source: Source, asking: Asking
) -> Question:
    layers = _layers(model, asking.layer, images)
    logits, activations = capture_layers(model, images, layers)
    _check_finite(model, logits, activations)
    numbers = full(logits.detach())
    kind = asking.activation or default_activation(source.loaded.model, numbers, asking.target)
    if kind == "softmax" and numbers.shape[1] == 1:
        raise ValueError("softmax of one logit is 1 for every image: pass activation='sigmoid'")
    p = activated(kind, numbers)
    pairs = _pairs(p, kind, positions, source, asking)
    score = scoring(model, kind, asking.precision)
    queries = [
        Query(model, images, Capture(logits, each), pairs, layer, score, asking.chunk, relu=asking.relu)
        for layer, each in zip(layers, activations, strict=True)
    ]
    return Question(first, kind, p, pairs, queries)


def _layers(model: nn.Module, layer: object, images: Tensor) -> list[nn.Module]:
    if layer is None:
        return [default_layer(model, images)]
    several = list(layer) if isinstance(layer, list | tuple) else [layer]
    if not several:
        raise ValueError("expected at least one layer, got an empty list")
    inner = model.model if isinstance(model, Answers) else model
    found = [named_layer(inner, each) for each in several]
    if len(set(found)) < len(found):
        raise ValueError("expected layers that differ, but one is named twice")
    check_layers(model, images, found)
    return found


def _pairs(p: Tensor, kind: str, positions: list[int], source: Source, asking: Asking) -> Pairs:
    """Return the pairs of a batch, the labels of each picture in the order in which they were given."""
    classes = source.loaded.classes
    if asking.target is not None and (classes is None or len(classes) != p.shape[1]):
        classes = None
    elif classes is not None and len(classes) != p.shape[1]:
        raise ValueError(f"the model gives {p.shape[1]} logits, but {len(classes)} classes are named")
    rows = asked_labels(asking.labels, source.all_names, p.shape[1], classes, every=source.is_folder)
    rows = [rows[at] for at in positions]
    if asking.target is not None and p.shape[1] > 1 and None in rows:
        raise ValueError(f"the target gives {p.shape[1]} numbers per image: say with labels= which are explained")
    how = {
        "threshold": check_share("threshold", asking.threshold),
        "top": check_count("top", asking.top),
        "at_least_one": True,
    }
    if None in rows:
        guessed = predicted(p, "softmax" if kind == RAW else kind, **how)
        order = p.argsort(dim=1, descending=True, stable=True).tolist()  # the most probable first
        rows = [[c for c in order[i] if guessed[i, c]] if row is None else row for i, row in enumerate(rows)]
    image = torch.tensor([i for i, row in enumerate(rows) for _ in row], device=p.device)
    label = torch.tensor([c for row in rows for c in row], device=p.device)
    return Pairs(image, label, image)


def default_activation(model: nn.Module, numbers: Tensor, target: object = None) -> str:
    """Return how the numbers [B, L] that a model gives become probabilities unless it is said.

    "sigmoid" for the book's classifiers and for one logit, else "softmax"; "none" for targets that are no logits,
    and for a model whose numbers are probabilities already: none below 0, and 1 in all.
    """
    if target is not None:
        return RAW
    if isinstance(model, Classifier) or numbers.shape[1] == 1:
        return "sigmoid"
    sums = numbers.sum(1)
    if bool((numbers >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        return RAW
    return "softmax"


def _inputs_of(inputs: Sequence | Mapping | None, at: int, count: int) -> Sequence | Mapping | None:
    """Return the further inputs of one image: of tensors with a row for each image its own."""

    def own(value: object) -> object:
        return value[at : at + 1] if isinstance(value, Tensor) and value.dim() and len(value) == count else value

    if inputs is None:
        return None
    if isinstance(inputs, Mapping):
        return {name: own(value) for name, value in inputs.items()}
    return tuple(own(value) for value in (inputs if isinstance(inputs, list | tuple) else [inputs]))


def _moved(model: nn.Module, images: Tensor) -> Tensor:
    """Return images on the model's device and in its number type; channels last, which convolutions run faster."""
    like = next((p for p in chain(model.parameters(), model.buffers()) if p.is_floating_point()), None)
    if like is None:
        return images
    return images.to(like.device, like.dtype, memory_format=torch.channels_last)


def _checked(images: Tensor) -> Tensor:
    if images.dim() != 4 or not images.is_floating_point() or 0 in images.shape:
        hint = " (divide by 255 and normalise as the model was trained)" if images.dtype == torch.uint8 else ""
        raise ValueError(f"expected float images (B,C,h,w), got {images.dtype} {tuple(images.shape)}{hint}")
    if not _finite(images):
        broken = (~images.isfinite()).flatten(1).any(1).nonzero()[:, 0].tolist()
        raise ValueError(f"images must be finite numbers, but image {broken[0]} of the batch has NaN or infinity")
    return images


def _finite(values: Tensor) -> bool:
    # The sum of finite numbers may overflow: then the look at every number decides, which takes longer.
    return math.isfinite(float(values.sum())) or bool(values.isfinite().all())


def _check_finite(model: nn.Module, logits: Tensor, activations: Sequence[Tensor]) -> None:
    """Refuse a network that gives NaN or infinity: a map of zeros would say that nothing speaks for the label."""
    for what, values in (("activations", activations), ("logits", [logits])):
        if not all(_finite(each.detach()) for each in values):
            net = model.model if isinstance(model, Answers) else model
            bad = next((name for name, p in net.named_parameters() if not bool(p.isfinite().all())), None)
            why = f": so has its parameter {bad}" if bad else f", though its parameters ({logits.dtype}) have not"
            raise ValueError(f"the {what} of {type(net).__name__} have NaN or infinity{why}")
