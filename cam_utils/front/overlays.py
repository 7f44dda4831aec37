"""Maps in the frame of the picture that they explain: overlays as files, and scores of one picture's maps."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image

from cam_utils.data.sizing import letterbox, unfit
from cam_utils.evaluation import metrics
from cam_utils.front.explain import Explanation
from cam_utils.front.pictures import blend, stems, upright


def save_overlays(
    found: Explanation,
    images,
    folder: str | Path,
    *,
    method: str,
    classes: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    longest: int | None = 1024,
    opacity: float = 0.6,
) -> list[Path]:
    """Write each map over its picture, in the picture's own frame, and return the files, one per pair.

    found, images: what :func:`cam_utils.front.explain.explain` returned, and the pictures (paths or PIL images,
    one or a list). A file is named `<picture>_<index>-<class>_<method>.jpg`: `names` replaces the pictures' names,
    and without `classes` the index stands alone. longest: larger pictures are made smaller, to so many pixels on
    their longer side (None: never).

    Raises ValueError if the pictures are not those of the maps or `names` are not one for each, and as
    :func:`cam_utils.front.pictures.upright`.
    """
    images = list(images) if isinstance(images, list | tuple) else [images]
    if len(images) != len(found.probabilities):
        raise ValueError(f"expected the {len(found.probabilities)} pictures that were explained, got {len(images)}")
    if names is None:
        known = all(not isinstance(image, Image.Image) for image in images)
        names = stems([Path(image) for image in images]) if known else [f"image-{i}" for i in range(len(images))]
    if len(names) != len(images) or len(set(names)) < len(names):
        raise ValueError(f"expected a name of its own for each of {len(images)} pictures, got {list(names)}")
    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for i, image in enumerate(images):
        rows = (found.pairs.image == i).nonzero()[:, 0].tolist()
        if not rows:
            continue
        picture = to_pil_image(upright(image))
        if longest is not None:
            picture.thumbnail((longest, longest))
        shown = pil_to_tensor(picture).float() / 255
        for row, mask in zip(rows, unfit(found.maps[rows].cpu(), *shown.shape[-2:]), strict=True):
            name = f"{names[i]}_{label_name(int(found.pairs.label[row]), classes)}_{method}.jpg"
            Image.fromarray(blend(shown, mask, opacity)).save(folder / name, quality=92)
            written.append(folder / name)
    return written


def label_name(index: int, classes: Sequence[str] | None = None) -> str:
    """Return a label as a part of a file's name: its index, and its class in letters that every system takes.

    >>> label_name(281, {281: "tabby, tabby cat"}), label_name(3, "0123"), label_name(3)
    ('281-tabby-tabby-cat', '3', '3')
    """
    name = re.sub(r"[^\w]+", "-", str(classes[index])).strip("-") if classes is not None else ""
    return str(index) if name in ("", str(index)) else f"{index}-{name}"


@torch.no_grad()
def map_scores(
    score: Callable[[Tensor], Tensor], x: Tensor, found: Explanation, frame: tuple[int, int]
) -> dict[str, Tensor]:
    """Return what the model makes of the maps of one picture, {name: values [P]}.

    score: from images [N, 3, S, S] to probabilities [N, L]; x: the picture [1, 3, S, S] as the model expects it;
    frame: (height, width) of the picture. `p` of the whole picture, `p_map` where the map masks it, `p_rest` where
    the map is taken away; `average_drop` and `average_retention` of :mod:`cam_utils.evaluation.metrics`;
    `area`, the mean of the mask; `in_bars`, the share of the mask on the letterbox' black bars, which no overlay
    shows (NaN for a map that is zero).
    """
    masks, label = found.maps, found.pairs.label
    before = found.probabilities[found.pairs.image]
    kept, cut = score(x * masks[:, None]), score(x * (1 - masks[:, None]))
    top, left, rows, columns = letterbox(*frame, masks.shape[-1])
    inside = masks[:, top : top + rows, left : left + columns].sum((-2, -1))
    return {
        "p": before.gather(1, label[:, None])[:, 0],
        "p_map": kept.gather(1, label[:, None])[:, 0],
        "p_rest": cut.gather(1, label[:, None])[:, 0],
        "average_drop": metrics.average_drop(before, kept, label),
        "average_retention": metrics.average_retention(before, cut, label),
        "area": masks.mean((-2, -1)),
        "in_bars": 1 - inside / masks.sum((-2, -1)),
    }
