"""A network as people write them, and its masks by plain autograd."""

import torch
from torch import nn

from cam_utils import maps

LABELS = [[0, 3], [1]]


def images(size=(32, 32), channels=3, count=2, seed=0):
    return torch.rand(count, channels, *size, generator=torch.Generator().manual_seed(seed))


class Small(nn.Module):
    """A convolution, a head of two layers, and what a test does between them."""

    def __init__(self, between=None, around=None, channels=3, width=8):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Sequential(nn.Conv2d(channels, width, 3, 2, 1), nn.ReLU())
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(width * 256, 16), nn.ReLU(), nn.Linear(16, 5))
        self.between, self.around = between or (lambda x: x), around or (lambda function, x: function(x))

    def forward(self, x):
        return self.head(self.between(self.around(self.conv, x)))


def by_hand(net, x, labels, form):
    """The masks of plain autograd at net.conv: the whole graph, one ordinary backward per label."""
    found = []
    for b, row in enumerate(labels):
        activations = net.conv(x[b : b + 1])
        logits = net.head(activations)[0]
        g = {c: torch.autograd.grad(logits[c], activations, retain_graph=True)[0][0].sum((-2, -1)) for c in row}
        for c in row:
            others = [g[n] for n in row if n != c]
            minus = sum(others) / len(others) if others and form == "minmax-grad-cam" else 0
            alpha = g[c] - minus
            found.append((alpha[:, None, None] * activations[0]).sum(0).relu().detach())
    return maps.upsample(maps.normalise(torch.stack(found)), x.shape[-2:])
