"""From a classifier and pictures to maps in one call: :func:`explain`, the front door."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from tqdm import tqdm

from cam_utils.front.asked import names_of
from cam_utils.front.explanation import Explanation
from cam_utils.front.model_inputs import Loaded
from cam_utils.front.questions import Asking, Source, known, questions
from cam_utils.methods.registry import Method, name_of, resolved
from cam_utils.pairs import Pairs


def explain(
    model: Loaded | nn.Module,
    images,
    labels=None,
    *,
    method: str | Method = "minmax-grad-cam",
    layer: nn.Module | str | Sequence | None = None,
    activation: str | None = None,
    threshold: float = 0.5,
    top: int = 1,
    size: int | None = None,
    chunk: int | None = None,
    precision: str = "float32",
    relu: bool = True,
    output: str | int | Callable | None = None,
    target: Callable[[Tensor], Tensor] | None = None,
    inputs: Sequence | Mapping | None = None,
    batch_size: int = 16,
    limit: int | None = None,
    progress: bool = True,
) -> Explanation:
    """Explain several labels of several pictures in one call.

    model: what :func:`cam_utils.load_model` returns, or any classifier of yours.
    images: a picture (path, PIL image, uint8 array), a folder, or a list of pictures: letterboxed to `size` pixels
    and normalised as the model expects; or a tensor [B, C, h, w] that is prepared already. Files of a folder that
    cannot be read are left out, and `skipped` of the result says why.
    labels: names or indices. One, or for one picture and for a folder a list of them, holds for every picture;
    else a list with an item, or a list of labels, for each picture; or rows of zeros and ones [B, L]; or {file
    name: labels}. None: what the model predicts, with "sigmoid" all with p > `threshold`, or the most
    probable, with "softmax" the `top` most probable.
    method: a name of :data:`cam_utils.methods.registry.METHODS`, one with options (`registry.method("ss-cam",
    draws=4)`), or a callable of your own.
    layer: the layer that is read: a module, its name, or a list of them, whose maps are averaged; None: the last
    one with a map, see :func:`cam_utils.networks.layers.last_spatial_layer`.
    activation: "sigmoid" (default for the book's classifiers and for one logit), "softmax" (for others) or "none"
    (for models that give probabilities).
    size: side of the square that the model sees, in pixels; None: the model's own. limit: pictures to read.
    chunk, precision: masked images per forward of Score-CAM and SS-CAM (None: what suits the device), and whether
    these run in "float32" or, approximately, in "bfloat16".
    relu: False gives signed maps in [-1, 1], negative where the picture speaks against the label.
    output: where the logits are in what the model returns (a key, an index, a callable). target: a callable from
    the logits [B, L] to what is explained instead, [B] or [B, T]: `lambda s: -s` asks what speaks against a label.
    inputs: what the model takes besides the images, a tuple or {name: value}; see
    :class:`cam_utils.networks.answers.Answers`.
    batch_size: images per forward. progress: show a bar where there are more.

    Raises ValueError, in one sentence, for what cannot be explained: an unknown method, label or layer, wrong
    shapes, NaN in images or network, a head that the method cannot use; OSError for a picture that cannot be read.

    >>> import cam_utils
    >>> from PIL import Image
    >>> photo = Image.new("RGB", (64, 48), "green")
    >>> found = explain(cam_utils.load_model("digits"), photo, [5, 3])
    >>> [(each.name, tuple(each.map.shape)) for each in found]
    [('5', (48, 64)), ('3', (48, 64))]
    """
    if not isinstance(method, str) and not callable(method):
        raise ValueError(f"expected one method, a name or a callable, got {method!r}")
    resolved(method)  # an unknown one is refused before the model runs
    source = Source(known(model), images, size, limit)
    if target is not None and not callable(target):
        raise ValueError(f"expected target as a callable that gives numbers [B, n] of the logits, got {target!r}")
    asking = Asking(labels, layer, activation, threshold, top, chunk, precision, relu, output, target, inputs)
    masks, pairs, probabilities, layers = [], [], [], []
    with _bar(len(source.all_names), progress) as update:
        for question in questions(source, asking, batch_size):
            masks.append(question.answer(method))
            pairs.append(question.pairs_of_all())
            probabilities.append(question.probabilities)
            layers = [query.layer for query in question.queries]
            update(len(question.probabilities))
    p = torch.cat(probabilities)
    return Explanation(
        masks[0] if len(masks) == 1 else torch.cat(masks),  # no second copy of the largest tensor
        Pairs(*(torch.cat([getattr(each, name) for each in pairs]) for name in ("image", "label", "group"))),
        p,
        layers[0] if len(layers) == 1 else layers,
        method if isinstance(method, str) else name_of(method),
        source.pictures,
        label_names(p.shape[1], source.loaded.classes, target),
        source.stems,
        source.skipped,
        signed=not relu,
    )


@contextmanager
def _bar(total: int, progress: bool) -> Iterator[Callable[[int], object]]:
    """Give what a bar of so many pictures is told; one picture has none: it would stand at 0 until all is done."""
    if total == 1 or not progress:
        yield lambda _count: None
        return
    with tqdm(total=total, desc="explain", unit="picture", disable=None, delay=2) as bar:
        yield bar.update


def label_names(outputs: int, classes: Sequence[str] | None, target: Callable | None = None) -> tuple[str, ...]:
    """Return the names of what is explained: the classes, or of a target that is none of them its own name."""
    if target is not None and (classes is None or len(classes) != outputs):
        name = getattr(target, "__name__", "target").replace("<lambda>", "target")
        return (name,) if outputs == 1 else tuple(f"{name} {i}" for i in range(outputs))
    return names_of(outputs, classes)
