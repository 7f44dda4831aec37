"""Maps of a class against each of several others: where they come from, whichever way the pairs were trained.

A source answers `layer_maps(images, pairs, wanted, multilayer)` with one tensor [P, S, h_l, w_l] per layer: the
map of pair p (image, class) against comparison class s, before its ReLU (Meng et al., Sec. 3.2, Grad-CAM of the
class's logit). Only what `wanted` lists per class is computed, the rest stays zero; without `multilayer` only the
last layer is. S is the number of classes, or 1 for networks that compare a class with all others at once. Its
`identity` says what the maps depend on besides the images.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from cam_utils.files import fingerprint
from cam_utils.names import check_known
from cam_utils.networks.capture import capture_layers
from cam_utils.networks.gradients import layer_weights
from cam_utils.networks.models import Classifier
from cam_utils.pairs import Pairs
from cam_utils.representative.selection import Selection

# Children of `features`: the layers of the paper (Sec. 4.3), the last layer last; "2.4" is a child of a child.
LAYERS = {
    **dict.fromkeys(("resnet18", "resnet50", "resnet101", "resnet152"), (4, 5, 6, 7)),  # the four blocks
    "vgg19": (3, 8, 17, 26, 35),  # before each max-pooling
    "vgg16-gap": (3, 8, 15, 22, 29),
    "mobilenet_v2": (1, 3, 6, 13, 18),  # the end of each resolution
    **dict.fromkeys(  # not in the paper: as MobileNet, the end of each resolution
        ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"), ("2.0", "2.1", "2.2", "2.4", "4")
    ),
    "squeezenet1_0": (1, 5, 10, 12),
    "digits": (0, 1, 2, 3),  # stem and the three residual blocks
}

# What a pair's network is asked for its first and for its second class: a combination of its two logits.
DIRECTIONS = {"logit": torch.eye(2), "difference": torch.tensor([[1.0, -1.0], [-1.0, 1.0]])}


def layers_of(features: nn.Sequential, network: str) -> list[nn.Module]:
    """Return the layers of a backbone that the multi-layer map reads, the last one last.

    >>> from cam_utils.networks import models
    >>> len(layers_of(models.build("resnet18", 20).features, "resnet18"))
    4
    """
    check_known("network with several layers", network, LAYERS)
    return [features.get_submodule(str(i)) for i in LAYERS[network]]


@runtime_checkable
class Source(Protocol):
    """Anything with maps of pairs against comparison classes."""

    identity: object

    def layer_maps(self, images: Tensor, pairs: Pairs, wanted: Selection, multilayer: bool) -> list[Tensor]:
        """Return one [P, S, h_l, w_l] per layer, before the ReLU."""


class _Pooled(nn.Module):
    """features -> GAP: what all heads on a frozen backbone share."""

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images).mean((-2, -1))


class HeadSource:
    """Every pair as a linear head on the pooled features of one network: `weights[c, s]` [K] is c against s.

    The heads of a frozen backbone (:func:`cam_utils.representative.pair_heads.directed`), or, since the map is
    linear in the head, the differences W_c - W_s of one softmax head.
    """

    def __init__(self, model: Classifier, layers: Sequence[nn.Module], weights: Tensor) -> None:
        channels = model.head.in_features
        if weights.dim() != 3 or weights.shape[0] != weights.shape[1] or weights.shape[2] != channels:
            raise ValueError(f"expected weights [n, n, {channels}], got {list(weights.shape)}")
        self.pooled, self.layers, self.weights = _Pooled(model.features), list(layers), weights
        self.identity = fingerprint(*model.features.state_dict().values(), weights)

    def layer_maps(self, images: Tensor, pairs: Pairs, wanted: Selection, multilayer: bool) -> list[Tensor]:
        row, other = _queries(pairs, wanted)
        pooled, activations = capture_layers(self.pooled, images, self.layers[0 if multilayer else -1 :])
        direction = self.weights.to(images.device)[pairs.label[row], other]
        alphas = layer_weights(pooled, activations, pairs.image[row], direction)
        place = (row, other, len(pairs), len(self.weights))
        return [_maps(a, alpha, pairs.image[row], place) for a, alpha in zip(activations, alphas, strict=True)]


class NetworkSource:
    """One network per pair of classes: `network(c, s)`, c < s, returns it; its logits are (c, s).

    `layers` names what it reads: a function from the network to its layers, the last one last. `score` is what is
    explained: the class's own "logit" (deviation dev-rep-score), or the "difference" y^c - y^s of the two. Training
    sees only the difference: what both rows of the head have in common keeps its random start, and a logit's map
    contains it.
    """

    def __init__(
        self,
        network: Callable[[int, int], Classifier],
        layers: Callable[[Classifier], list[nn.Module]],
        classes: int,
        identity: object,
        score: str = "logit",
    ) -> None:
        check_known("score", score, DIRECTIONS)
        self.network, self.layers, self.classes, self.score = network, layers, classes, score
        self.identity = f"{identity}, {score}"

    def layer_maps(self, images: Tensor, pairs: Pairs, wanted: Selection, multilayer: bool) -> list[Tensor]:
        row, other = _queries(pairs, wanted)
        own = pairs.label[row]
        first, second = torch.minimum(own, other), torch.maximum(own, other)
        found: list[Tensor] = []
        for c, s in torch.stack([first, second], 1).unique(dim=0).tolist():
            asked = ((first == c) & (second == s)).nonzero()[:, 0]
            shown, image = pairs.image[row[asked]].unique(return_inverse=True)
            model = self.network(c, s).to(images.device)
            layers = self.layers(model)[0 if multilayer else -1 :]
            logits, activations = capture_layers(model, images[shown], layers)
            direction = DIRECTIONS[self.score].to(images)[(own[asked] == s).long()]
            alphas = layer_weights(logits, activations, image, direction)
            place = (row[asked], other[asked], len(pairs), self.classes)
            maps = [_maps(a, alpha, image, place) for a, alpha in zip(activations, alphas, strict=True)]
            found = [total + one for total, one in zip(found, maps, strict=True)] if found else maps
            model.cpu()  # all pairs' networks together may not fit on the device
        return found


class ClassSource:
    """One network for all classes: Grad-CAM of the class's logit, the baseline (Selvaraju et al. 2017)."""

    def __init__(self, model: Classifier, layers: Sequence[nn.Module]) -> None:
        self.model, self.layers = model, list(layers)
        self.identity = fingerprint(*model.state_dict().values())

    def layer_maps(self, images: Tensor, pairs: Pairs, wanted: Selection, multilayer: bool) -> list[Tensor]:
        logits, activations = capture_layers(self.model, images, self.layers[0 if multilayer else -1 :])
        direction = nn.functional.one_hot(pairs.label, logits.shape[1]).to(logits.dtype)
        alphas = layer_weights(logits, activations, pairs.image, direction)
        row = torch.arange(len(pairs), device=images.device)
        place = (row, torch.zeros_like(row), len(pairs), 1)
        return [_maps(a, alpha, pairs.image, place) for a, alpha in zip(activations, alphas, strict=True)]


class DirectSource:
    """Maps from a function of (images, pairs) -> [P, h, w], such as CAM's or ACoL's."""

    def __init__(self, maps: Callable[[Tensor, Pairs], Tensor], identity: object) -> None:
        self.maps, self.identity = maps, identity

    @torch.no_grad()
    def layer_maps(self, images: Tensor, pairs: Pairs, wanted: Selection, multilayer: bool) -> list[Tensor]:
        return [self.maps(images, pairs)[:, None]]


def _queries(pairs: Pairs, wanted: Selection) -> tuple[Tensor, Tensor]:
    """Return, for everything that is asked, the pair's row and the comparison class, [Q] each."""
    rows = [(p, s) for p, label in enumerate(pairs.label.tolist()) for s in wanted[label] if s != label]
    both = torch.tensor(rows, dtype=torch.int64, device=pairs.label.device).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _maps(
    activations: Float[Tensor, "images channels h w"],
    alpha: Float[Tensor, "queries channels"],
    image: Int[Tensor, " queries"],
    place: tuple[Tensor, Tensor, int, int],
) -> Float[Tensor, "pairs classes h w"]:
    """Return the weighted sums of every query's activations, put to its (row, column) of pairs and classes.

    Image by image: early layers are too large to be copied for every query.
    """
    row, column, count, columns = place
    flat = activations.detach().flatten(2)
    maps = flat.new_zeros(count, columns, flat.shape[2])
    for b in image.unique().tolist():
        asked = (image == b).nonzero()[:, 0]
        maps[row[asked], column[asked]] = alpha[asked] @ flat[b]
    return maps.unflatten(2, activations.shape[2:])
