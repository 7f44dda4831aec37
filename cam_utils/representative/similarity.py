"""How similar the classes look to a classifier: the matrix B [n, n] of Meng et al., Sec. 3.1.

Row c holds the similarities to class c; B is not symmetric.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def similarity_matrix(p: Tensor, target: Tensor, classes: int, *, per_image: bool = False) -> Float[Tensor, "n n"]:
    """Return B [n, n], B_cj = sum of p(j) over the images of class c (Eq. 2); `per_image` divides by their number.

    p: softmax probabilities [N, n]; target: the class of each image [N]. Sums keep the order within a row, but
    rows of frequent classes weigh more when rows are compared, as clustering does (dev-rep-similarity-rows).

    >>> p = torch.tensor([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]])
    >>> similarity_matrix(p, torch.tensor([0, 1, 1]), 2).tolist()
    [[0.75, 0.25], [0.75, 1.25]]
    """
    if p.shape != (len(target), classes):
        raise ValueError(f"expected probabilities [{len(target)}, {classes}], got {list(p.shape)}")
    counts = torch.bincount(target, minlength=classes)
    if (counts == 0).any():
        missing = (counts == 0).nonzero()[:, 0].tolist()
        raise ValueError(
            f"no image of class {missing[0]}: its similarities are unknown ({len(missing)} such classes)"
        )
    sums = p.new_zeros(classes, classes).index_add_(0, target, p)
    return sums / counts[:, None] if per_image else sums


def ranked(b: Float[Tensor, "n n"], c: int, among: Sequence[int] | None = None) -> list[int]:
    """Return the other classes (of `among`) by descending similarity to c; equal ones in the order of the classes.

    >>> ranked(torch.tensor([[9.0, 1.0, 3.0], [0, 0, 0], [0, 0, 0]]), 0)
    [2, 1]
    """
    others = [j for j in (range(len(b)) if among is None else among) if j != c]
    return sorted(others, key=lambda j: -float(b[c, j]))
