"""The explained pairs (image, label) of a batch: what every method makes one map for."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """The explained pairs: image index, label index, and which set of labels C_x each belongs to (all int64 [P]).

    The set matters because MinMax-CAM subtracts what the *other* labels of a pair's set need.

    >>> pairs = Pairs.one(image=0, label=7)
    >>> len(pairs), pairs.label.tolist()
    (1, [7])
    """

    image: Int[Tensor, " pairs"]
    label: Int[Tensor, " pairs"]
    group: Int[Tensor, " pairs"]

    def __len__(self) -> int:
        return len(self.image)

    @classmethod
    def one(cls, image: int = 0, label: int = 0, device: torch.device | str = "cpu") -> "Pairs":
        """Return the single pair of an image and a label that stands alone in its set."""
        return cls(*(torch.tensor([index], device=device) for index in (image, label, 0)))

    @classmethod
    def alone(cls, image: Int[Tensor, " pairs"], label: Int[Tensor, " pairs"]) -> "Pairs":
        """Return pairs each of which is a set of its own, so that no label has others.

        >>> Pairs.alone(torch.tensor([0, 0]), torch.tensor([3, 5])).group.tolist()
        [0, 1]
        """
        return cls(image, label, torch.arange(len(label), device=label.device))

    def take(self, rows: Tensor | Sequence[int]) -> "Pairs":
        """Return the pairs of these rows (indices or a boolean mask)."""
        return Pairs(self.image[rows], self.label[rows], self.group[rows])

    def to(self, device: torch.device | str) -> "Pairs":
        """Return the pairs on another device."""
        return Pairs(self.image.to(device), self.label.to(device), self.group.to(device))


def pairs_of(present: Bool[Tensor, "sets labels"], image: Int[Tensor, " sets"] | None = None) -> Pairs:
    """Return every pair of a batch from its sets of labels: row b of `present` is the set C_x of image b.

    With `image` [G], row g is a set of image `image[g]`, so that one image may be explained against two sets
    (predicted and annotated labels) without a second forward.

    >>> pairs_of(torch.tensor([[True, False, True], [False, True, False]])).label.tolist()
    [0, 2, 1]
    """
    group, label = present.nonzero(as_tuple=True)
    return Pairs(group if image is None else image.to(group.device)[group], label, group)


def rank_within_image(image: Int[Tensor, " pairs"]) -> Int[Tensor, " pairs"]:
    """Return the rank of every pair among those of the same image.

    >>> rank_within_image(torch.tensor([0, 1, 0, 1, 1])).tolist()
    [0, 0, 1, 1, 2]
    """
    order = torch.argsort(image, stable=True)
    counts = torch.bincount(image)
    starts = counts.cumsum(0) - counts
    slot = torch.empty_like(order)
    slot[order] = torch.arange(len(image), device=order.device) - starts[image[order]]
    return slot
