"""Gradients of a logit at the pixels, and FullGrad: methods of our interface that no layer has to be named for.

PIXEL_GRADIENTS names them; :mod:`cam_utils.methods.other_libraries` has those that a library computes. A row of a
batch is one pair, and the model gets neither hooks nor gradients: what must differ inside it differs in a copy.
"""

from collections.abc import Iterator
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cam_utils.maps import normalise, upsample
from cam_utils.methods.other_libraries import ROWS, replaced
from cam_utils.methods.query import Query

CAP = 6.0  # of nn.ReLU6


def _parts(query: Query) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the images [p, 3, h, w] and labels [p] of some pairs at a time."""
    image, label = query.pairs.image, query.pairs.label
    for start in range(0, len(image), ROWS):
        rows = slice(start, start + ROWS)
        yield query.images[image[rows]].detach().clone().requires_grad_(), label[rows]


_KNOWN: WeakKeyDictionary[Query, Tensor] = WeakKeyDictionary()  # three methods ask for the same gradients


def pixel_gradients(query: Query) -> Tensor:
    """Return dS_c/dx [P, 3, h, w] of every pair's logit; they are computed once for a query."""
    if query not in _KNOWN:
        found = []
        for x, label in _parts(query):
            with torch.enable_grad():  # the caller may evaluate under no_grad
                logits = query.model(x).gather(1, label[:, None])
                found += torch.autograd.grad(logits.sum(), x)
        _KNOWN[query] = torch.cat(found)
    return _KNOWN[query]


def gradient(query: Query) -> Tensor:
    """Return |dS_c/dx| [P, h, w] of the logit (Simonyan et al. 2014), added over the colours."""
    return pixel_gradients(query).abs().sum(1)


def squared_gradient(query: Query) -> Tensor:
    """Return (dS_c/dx)^2 [P, h, w], added over the colours: what SmoothGrad-squared averages."""
    return pixel_gradients(query).square().sum(1)


def gradient_times_input(query: Query) -> Tensor:
    """Return |x dS_c/dx| [P, h, w] of the preprocessed image (Shrikumar et al. 2016), added over the colours."""
    return (query.images[query.pairs.image] * pixel_gradients(query)).abs().sum(1)


def full_gradients(model: nn.Module, images: Tensor, label: Tensor) -> list[Tensor]:
    """Return the shares of the logits S_c in the pixels, and in every bias at every place, from the input up.

    The first is x dS_c/dx [P, 3, h, w], the others b dS_c/db, [P, K, h, w] of a convolution or a batch
    normalisation, [P, L] of a linear layer. If all else in the network is piecewise linear without a bias (ReLU,
    pooling), they add up to the logit (Srinivas and Fleuret 2019, Proposition 1); a ReLU6 has a bias where it
    is at its cap. images: [P, 3, h, w], preprocessed. label: [P].

    >>> net = nn.Sequential(nn.Conv2d(3, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> shares = full_gradients(net, torch.ones(1, 3, 2, 2), torch.tensor([0]))
    >>> [share.shape for share in shares]
    [torch.Size([1, 3, 2, 2]), torch.Size([1, 1, 2, 2])]
    """
    net, places = _with_biases_apart(model), []
    x = images.detach().clone().requires_grad_()
    with torch.enable_grad():
        for apart in (module for module in net.modules() if isinstance(module, Apart)):
            apart.places = places
        logits = net(x).gather(1, label[:, None])
        grads = torch.autograd.grad(logits.sum(), [x, *places], allow_unused=True)
    values = [x.detach(), *(place.detach() for place in places)]
    return [value * grad for value, grad in zip(values, grads, strict=True) if grad is not None]


def full_grad(query: Query) -> Tensor:
    """Return FullGrad [P, h, w] (Srinivas and Fleuret 2019) of :func:`full_gradients`, as its authors' code.

    The absolute shares of each layer are rescaled to [0, 1], over all its channels, enlarged and added up; linear
    layers, which have no places, are left out. (The library's form rescales every channel by itself.)
    """
    size, found = query.images.shape[-2:], []
    for x, label in _parts(query):
        total = x.new_zeros(len(x), *size)
        for share in full_gradients(query.model, x, label):
            if share.dim() == 4:
                scaled = normalise(share.abs().flatten(1, 2)).view_as(share).sum(1)
                total += scaled if scaled.shape[-2:] == size else upsample(scaled, size)
        found.append(total.detach())
    return torch.cat(found)


class Apart(nn.Module):
    """A layer whose bias is added for each place by itself, and put into the list `places` when it runs."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.places = layer, []

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.layer, nn.ReLU6):
            bias = torch.where(x >= CAP, CAP, 0.0).to(x)
            return F.relu(x).where(x < CAP, 0.0) + self._noted(bias)
        if isinstance(self.layer, _BatchNorm):
            own = self.layer
            scale = (own.weight if own.affine else 1.0) / (own.running_var + own.eps).sqrt()
            bias = (own.bias if own.affine else 0.0) - scale * own.running_mean
            found = x * _by_channel(scale, x) + self._noted(_by_channel(bias, x).expand_as(x))
            return own.act(own.drop(found)) if hasattr(own, "act") else found  # timm's has both in one layer
        plain = self.layer(x)
        bias = _by_channel(self.layer.bias, plain)
        return plain - bias + self._noted(bias.expand_as(plain))

    def _noted(self, bias: Tensor) -> Tensor:
        noted = bias.detach().clone().requires_grad_()
        self.places.append(noted)
        return noted


def _by_channel(values: Tensor, like: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (like.dim() - 2))


def _with_biases_apart(model: nn.Module) -> nn.Module:
    """Return a frozen copy in evaluation mode whose biases are :class:`Apart`."""
    return replaced(model, _biased, Apart)


def _biased(module: nn.Module) -> bool:
    linear = isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None
    return linear or isinstance(module, _BatchNorm | nn.ReLU6)


PIXEL_GRADIENTS = {
    "gradient": gradient,
    "squared-gradient": squared_gradient,
    "gradient-times-input": gradient_times_input,
    "full-gradients": full_grad,
}
