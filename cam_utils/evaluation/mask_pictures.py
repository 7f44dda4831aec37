"""Average drop, increase and energy as the notebooks of SS-CAM's authors have them: of a mask alone, as a picture.

The paper prints scores of the image under its map. The notebooks in the authors' repository cut the map at 50 of
255 and show the network that black and white picture, without the image; and they compare the largest logits,
whichever class has them. What their printed tables were made with is not known (deviation dev-sscam-pictures).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cam_utils.evaluation.metrics import Masks, Values
from cam_utils.methods.scorecam import batched_scores, moved
from cam_utils.pairs import Pairs

CUT = 50 / 255  # a map's grey level above which its pixel is kept


def black_and_white(masks: Masks, cut: float = CUT) -> Float[Tensor, "pairs 3 height width"]:
    """Return pictures in [0, 1] of the masks [P, h, w]: white above `cut`, black elsewhere.

    >>> black_and_white(torch.tensor([[[0.1, 0.2]]]))[0, :, 0].tolist()
    [[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]
    """
    return (masks > cut).to(masks.dtype)[:, None].expand(-1, 3, -1, -1)


def drop_and_increase(largest: Values, of_mask: Values) -> dict[str, Tensor]:
    """Return max(0, Y - O) / Y and [Y < O] of the largest logits Y of the images and O of the masks, each [P].

    NaN where Y is not positive: a drop has no size there.

    >>> {k: v.tolist() for k, v in drop_and_increase(torch.tensor([4.0, 4.0]), torch.tensor([3.0, 5.0])).items()}
    {'picture_drop': [0.25, 0.0], 'picture_increase': [0.0, 1.0]}
    """
    drop = (largest - of_mask).clamp(min=0) / largest.where(largest > 0, torch.nan)
    return {"picture_drop": drop, "picture_increase": (largest < of_mask).to(largest.dtype)}


@torch.no_grad()
def picture_metrics(
    model: nn.Module,
    logits: Float[Tensor, "batch labels"],
    masks: Masks,
    pairs: Pairs,
    *,
    cut: float = CUT,
    chunk: int | None = None,
) -> dict[str, Tensor]:
    """Return `picture_drop` and `picture_increase` [P] of masks at input size: one forward for each.

    model: a classifier of the book. logits: of the images [B, L]. Pictures are normalised as images are; whether
    the authors did so is not known.
    """

    def made(index: Tensor) -> Tensor:
        return model.preprocess(black_and_white(masks[moved(index, masks)], cut))

    like = masks[:, None].expand(-1, 3, -1, -1)
    parts = [out.amax(1) for _, out in batched_scores(model, made, len(masks), like=like, chunk=chunk)]
    of_mask = torch.cat(parts) if parts else logits.new_zeros(0)
    return drop_and_increase(logits.amax(1)[pairs.image], of_mask.to(logits.dtype))


def energy_above(
    masks: Masks, boxes: Float[Tensor, "pairs 4"], *, cut: float = CUT, swapped: bool = False
) -> Values:
    """Return the share of a mask's pixels above `cut` that lie in its box (x1, y1, x2, y2), in pixels of the mask.

    swapped: rows are compared with x and columns with y, as the authors' notebook does. Its boxes are those of the
    photograph and its mask has the network's size; give boxes in the photograph's pixels to repeat that, too.
    NaN for a mask without such pixels.

    >>> mask = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    >>> box = torch.tensor([[0.0, 0.0, 1.0, 2.0]])  # the left column
    >>> energy_above(mask, box).item(), energy_above(mask, box, swapped=True).item()
    (0.5, 1.0)
    """
    kept = masks > cut
    row, column = (torch.arange(n, device=masks.device) + 0.5 for n in masks.shape[-2:])
    x1, y1, x2, y2 = (boxes.to(masks.device)[:, i, None] for i in ((1, 0, 3, 2) if swapped else range(4)))
    inside = ((row >= y1) & (row < y2))[:, :, None] & ((column >= x1) & (column < x2))[:, None, :]
    total = kept.sum((-2, -1)).to(masks.dtype)
    return (kept & inside).sum((-2, -1)) / total.where(total > 0, torch.nan)
