"""How well maps show what the model sees, without annotation: :func:`evaluate`, for pictures of any kind."""

import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm

from cam_utils.data.sizing import letterbox
from cam_utils.evaluation.evaluate import evaluate as evaluate_dataset
from cam_utils.evaluation.evaluate import masked_scores, score_metrics
from cam_utils.front.explain import label_names
from cam_utils.front.model_inputs import Loaded
from cam_utils.front.pictures import frame
from cam_utils.front.questions import Asking, Question, Source, known, questions
from cam_utils.methods.registry import COSTLY, MASKED, METHODS, Method, resolved
from cam_utils.pairs import Pairs

TAKES_LONG = "takes many forwards per channel and label: it runs only if it is named"


def evaluate(
    model: Loaded | nn.Module,
    pictures,
    methods: str | Method | Iterable | Mapping | None = None,
    labels=None,
    *,
    layer: nn.Module | str | Sequence | None = None,
    activation: str | None = None,
    threshold: float = 0.5,
    top: int = 1,
    size: int | None = None,
    chunk: int | None = None,
    precision: str = "float32",
    output: str | int | Callable | None = None,
    inputs: Sequence | Mapping | None = None,
    batch_size: int = 16,
    limit: int | None = None,
    progress: bool = True,
    **options: object,
) -> pd.DataFrame:
    """Return a row per picture, label and method, with what the model makes of the map: no annotation is needed.

    pictures, labels and the options are those of :func:`cam_utils.explain`. methods: names, callables or {name:
    either}; None: all but SS-CAM's two, which take long. Of several, those that the head does not allow are left
    out: the table's `attrs["left_out"]` says why, and a warning if they were named.

    Columns: `p` of the whole picture, `p_masked` where the map masks it, `p_complement` where the map is taken
    away; from these the metrics of David et al. (2022, Eqs. 10-14), see :mod:`cam_utils.evaluation.metrics`, where
    the other labels are those explained in the same picture; `area`, the mean of the mask; `in_bars`, the share of
    the mask on the letterbox' black bars, which no overlay shows.

    A data set of :func:`cam_utils.data.load` in place of pictures gives the pairs table of
    :func:`cam_utils.evaluation.evaluate.evaluate`, with its `options` and with metrics against annotations.

    Raises as :func:`cam_utils.explain`, and ValueError for two methods of one name.

    >>> import cam_utils
    >>> from PIL import Image
    >>> table = evaluate(cam_utils.load_model("digits"), Image.new("RGB", (64, 48)), ["grad-cam"], [5, 3])
    >>> table[["picture", "name", "method"]].values.tolist()
    [['image-0', '5', 'grad-cam'], ['image-0', '3', 'grad-cam']]
    """
    if isinstance(pictures, Dataset):
        how = {
            "activation": activation or "sigmoid",
            "threshold": threshold,
            "precision": precision,
            "chunk": chunk,
        }
        how |= {"batch_size": batch_size, "progress": progress, **options}
        return evaluate_dataset(known(model).model, pictures, METHODS if methods is None else methods, **how)
    if options:
        raise TypeError(f"evaluate() got options of a data set, {', '.join(options)}, for pictures")
    chosen, left_out = resolved(METHODS if methods is None else methods), {}
    source = Source(known(model), pictures, size, limit)
    asking = Asking(labels, layer, activation, threshold, top, chunk, precision, True, output, None, inputs)
    bar = tqdm(total=len(source.all_names), desc="evaluate", unit="picture", disable=not progress or None, delay=2)
    tables = []
    with bar:
        for question in questions(source, asking, batch_size):
            if not tables and (methods is None or len(chosen) > 1):
                chosen, left_out = allowed(question, chosen, () if methods is not None else COSTLY)
                for name, reason in left_out.items() if methods is not None else ():
                    warnings.warn(f"{name} is left out: {reason}", stacklevel=2)
            tables += [_scored(question, name, method, source) for name, method in chosen.items()]
            bar.update(len(question.probabilities))
    table = pd.concat(tables, ignore_index=True)
    table.attrs["left_out"] = left_out
    return table


def allowed(
    question: Question, methods: Mapping[str, Method], costly: Collection[str] = ()
) -> tuple[dict[str, Method], dict[str, str]]:
    """Return the methods that the model's head allows, and {method: why not} of the others.

    costly: names of those that are left out since they take long. Raises ValueError if none is left.
    """
    reasons = {name: TAKES_LONG for name in methods if name in costly}
    for name, method in methods.items():
        if name not in MASKED:  # which any head allows
            try:
                question.answer(method)
            except ValueError as error:
                reasons[name] = str(error)
    left = {name: method for name, method in methods.items() if name not in reasons}
    if not left:
        raise ValueError(f"none of the methods can be used: {'; '.join(dict.fromkeys(reasons.values()))}")
    return left, {name: reasons[name] for name in methods if name in reasons}


@torch.no_grad()
def _scored(question: Question, name: str, method: Method, source: Source) -> pd.DataFrame:
    """Return the rows of one method for the pairs of one batch."""
    query, pairs, p = question.queries[0], question.pairs, question.probabilities
    masks = question.answer(method)
    kept, cut = masked_scores(query.score, query.images, masks, pairs.image, query.chunk)
    sets = torch.zeros_like(p, dtype=torch.bool)
    sets[pairs.image, pairs.label] = True
    values = score_metrics(p[pairs.image], kept, cut, pairs.label, sets[pairs.image])
    values |= {"area": masks.mean((-2, -1)), "in_bars": _in_bars(masks, pairs, question.first, source)}
    names = label_names(p.shape[1], source.loaded.classes)
    label = pairs.label.tolist()
    facts = {
        "picture": [source.names[question.first + i] for i in pairs.image.tolist()],
        "label": label,
        "name": [names[c] for c in label],
        "method": name,
        "p": p[pairs.image, pairs.label].tolist(),
    }
    return pd.DataFrame(facts | {key: value.cpu().numpy() for key, value in values.items()})


def _in_bars(masks: Tensor, pairs: Pairs, first: int, source: Source) -> Tensor:
    """Return the share of every mask [P] on the letterbox' bars, NaN for a map that is zero."""
    if isinstance(source.given, Tensor):
        return masks.new_zeros(len(masks))
    inside = torch.empty_like(masks[:, 0, 0])
    for row, i in enumerate(pairs.image.tolist()):
        top, left, rows, columns = letterbox(*frame(source.pictures[first + i]), masks.shape[-1])
        inside[row] = masks[row, top : top + rows, left : left + columns].sum()
    return 1 - inside / masks.sum((-2, -1))
