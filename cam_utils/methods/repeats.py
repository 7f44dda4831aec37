"""Masks that are the same number for number are shown to the network once: forwards saved without any error."""

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

ROWS = 64  # keyed at a time: their sums take eight bytes for each number


def keys(values: Shaped[Tensor, "rows ..."]) -> Int[Tensor, " rows"]:
    """Return a number for each row: equal for rows that are equal bit for bit, else different but for chance.

    It is the sum of the numbers' bits times fixed random odd integers, modulo 2^64: two different rows
    share it with a chance of 2^-63 or so.

    >>> a, b, c = keys(torch.tensor([[0.1, 0.2], [0.2, 0.1], [0.1, 0.2]])).tolist()
    >>> a == c, a == b
    (True, False)
    """
    flat = values.flatten(1)
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(-(2**62), 2**62, (flat.shape[1],), generator=generator).mul_(2).add_(1).to(flat.device)
    flat, bits = (flat, torch.int64) if flat.dtype == torch.float64 else (flat.float(), torch.int32)
    # Zero has two forms, which count as one.
    parts = [((part + 0.0).view(bits).long() * factors).sum(1) for part in flat.split(ROWS)]
    return torch.cat(parts) if parts else factors.new_zeros(0)


def distinct(
    owner: Int[Tensor, " rows"], values: Shaped[Tensor, "rows ..."]
) -> tuple[Int[Tensor, " distinct"], Int[Tensor, " rows"]]:
    """Return where each distinct (owner, values) first stands, in that order, and which of them every row is.

    owner: rows of different owners (images) are never the same. `rows[first][which]` equals `rows`.

    >>> first, which = distinct(torch.tensor([0, 0, 1, 0]), torch.tensor([[1.0], [1.0], [1.0], [2.0]]))
    >>> first.tolist(), which.tolist()
    ([0, 2, 3], [0, 0, 1, 2])
    """
    both = torch.stack([owner.to(values.device), keys(values)], 1)
    found, which = both.unique(dim=0, return_inverse=True)
    at = torch.arange(len(both), device=values.device)
    first = torch.full_like(at[: len(found)], len(both)).scatter_reduce_(0, which, at, "amin")
    first, order = first.sort()
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=values.device)
    return first, place[which]
