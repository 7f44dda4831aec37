"""Networks that Meng et al. compare with: CBAM (attention inside every residual block) and ACoL (two classifiers,
the second of which sees only what the first did not use); :func:`cam_utils.networks.models.build` makes them.

Shapes: images [B, 3, H, W] from :meth:`Normalised.preprocess`, features [B, K, h, w], logits [B, L].
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from cam_utils.maps import NORMALISATIONS, normalise
from cam_utils.names import check_known
from cam_utils.networks.capture import evaluation_mode
from cam_utils.pairs import Pairs


class Normalised(nn.Module):
    """A network that carries how its input is normalised: `normalisation` is (mean, std), three numbers each."""

    def __init__(self, normalisation) -> None:
        super().__init__()
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in normalisation)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def preprocess(self, images: Tensor) -> Tensor:
        """Return images [B, 3, H, W] in [0, 1] normalised as the backbone expects; a masked pixel (0) is mean."""
        return (images - self.mean) / self.std


class CBAM(nn.Module):
    """Convolutional block attention (Woo et al. 2018, Eqs. 1-3): F'' = M_s F' with F' = M_c F; [B, C, h, w] both.

    M_c = sigmoid(MLP(avg F) + MLP(max F)) [B, C] has one MLP for both, of max(1, C // reduction) hidden units;
    M_s = sigmoid(conv([avg_c F'; max_c F'])) [B, h, w]. Raises ValueError for an even `kernel` or a number < 1.

    >>> attention = CBAM(2)
    >>> _ = [nn.init.zeros_(weights) for weights in attention.parameters()]
    >>> attention(torch.ones(1, 2, 1, 1)).flatten().tolist()  # sigmoid(0) = 1/2, twice
    [0.25, 0.25]
    """

    def __init__(self, channels: int, reduction: int = 16, kernel: int = 7) -> None:
        super().__init__()
        if min(channels, reduction, kernel) < 1 or kernel % 2 == 0:
            raise ValueError(
                f"expected channels >= 1, reduction >= 1 and an odd kernel, got {channels}, {reduction}, {kernel}"
            )
        hidden = max(1, channels // reduction)
        # PyTorch's default initial values: both sigmoids start near 1/2, so a branch starts at about a quarter of
        # its size, and the skip connection around it carries the signal. The authors' code starts there too; its
        # batch normalisation behind the convolution, which the paper does not have, is left out.
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        self.conv = nn.Conv2d(2, 1, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.mlp(x.mean((-2, -1))) + self.mlp(x.amax((-2, -1)))  # [B, C]
        x = scores.sigmoid()[..., None, None] * x
        pooled = torch.stack((x.mean(1), x.amax(1)), dim=1)  # [B, 2, h, w]
        return self.conv(pooled).sigmoid() * x


def with_cbam(net: nn.Module) -> nn.Module:
    """Return the torchvision ResNet with a CBAM at the end of every bottleneck's branch; changes it in place.

    It follows the branch's last normalisation and precedes the addition. Raises ValueError if `net` has no
    bottleneck.
    """
    blocks = [module for module in net.modules() if isinstance(module, Bottleneck)]
    if not blocks:
        raise ValueError(f"expected a torchvision ResNet made of bottlenecks, got {type(net).__name__}")
    for block in blocks:
        block.bn3 = nn.Sequential(block.bn3, CBAM(block.bn3.num_features))
    return net


def with_dense_pools(features: nn.Sequential) -> nn.Sequential:
    """Return VGG's features whose last two poolings keep the size: maps at 1/8 of the input instead of 1/32.

    Kernel 3, stride 1, padding 1 as in ACoL's code, which also enlarges the first three kernels to 3; those stay
    torchvision's, with which the ImageNet weights were trained.
    """
    layers = list(features)
    for at in [i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)][-2:]:
        layers[at] = nn.MaxPool2d(3, stride=1, padding=1)
    return nn.Sequential(*layers)


def _branch(channels: int, width: int, num_classes: int, bias: float) -> nn.Sequential:
    """Return a fully convolutional classifier: class maps [B, L, h, w] whose means over pixels are the logits."""
    branch = nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, num_classes, 1),
    )
    for layer in branch[::2]:  # initial values as in the authors' code
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    nn.init.constant_(branch[-1].bias, bias)
    return branch


class ACoL(Normalised):
    """Adversarial complementary learning (Zhang et al. 2018): branch B classifies what branch A did not look at.

    `head` holds A and B. Where A's class map, min-max normalised, exceeds `erase` (the paper's delta), the
    features are set to 0 before B; the erasing mask carries no gradient. `erase` may be set at any time
    (ValueError outside (0, 1)) and is part of the state dict, so that a checkpoint brings back its own.

    The authors' code also erases where the map equals delta, and smooths the features by a 3x3 mean before both
    branches; neither is done here (deviation dev-rep-acol-code).

    >>> model = ACoL(nn.Identity(), 3, 5, width=4, normalisation=((0.5,) * 3, (0.25,) * 3))
    >>> [logits.shape for logits in model.branches(torch.rand(2, 3, 8, 8))]
    [torch.Size([2, 5]), torch.Size([2, 5])]
    """

    def __init__(
        self,
        features: nn.Module,
        channels: int,
        num_classes: int,
        *,
        width: int,
        normalisation,
        erase: float = 0.6,
        bias: float = 0.0,
    ) -> None:
        super().__init__(normalisation)
        self.features = features
        self.head = nn.ModuleList(_branch(channels, width, num_classes, bias) for _ in range(2))
        self.erase = erase

    @property
    def erase(self) -> float:
        return self._erase

    @erase.setter
    def erase(self, value: float) -> None:
        if not 0 < value < 1:
            raise ValueError(f"expected an erasing threshold strictly between 0 and 1, got {value}")
        self._erase = float(value)

    # A tensor, like everything else in a checkpoint, but no buffer: that would be rounded by .half().
    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.erase, dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        self.erase = state.item()

    def forward(self, images: Tensor) -> Tensor:
        """Return branch A's logits [B, L]."""
        return self.head[0](self.features(images)).mean((-2, -1))

    def branches(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the logits [B, L] of branch A and of branch B, which learn together.

        `labels` [B, L] (present where > 0) names the class whose map erases; None takes A's highest logit. With
        several labels in an image, B loses what A used for any of them; with none, nothing. Raises ValueError
        for labels of another shape.
        """
        features = self.features(images)
        maps = self.head[0](features)  # [B, L, h, w]
        logits = maps.mean((-2, -1))
        if labels is None:
            labels = F.one_hot(logits.argmax(1), logits.shape[1])
        elif labels.shape != logits.shape:
            raise ValueError(f"expected labels (B,L) = {tuple(logits.shape)}, got {tuple(labels.shape)}")
        erased = (normalise(maps.detach()) > self.erase) & (labels > 0)[..., None, None]
        left = features * ~erased.any(1, keepdim=True)  # [B, K, h, w]
        return logits, self.head[1](left).mean((-2, -1))

    @torch.no_grad()
    def class_maps(self, images: Tensor, pairs: Pairs, *, normalisation: str = "min-max") -> Tensor:
        """Return the maps [P, h, w] in [0, 1] of the pairs (image, label): the larger of both branches' maps.

        Each is first normalised by one of `cam_utils.maps.NORMALISATIONS`: "min-max" as in the authors' code,
        whose maps of signed scores have a background far above 0, or "relu-max" as the maps that it is compared
        with (deviation dev-rep-other-normalisation). What B sees erased is A's min-max map of the pair's own label
        above `erase`, either way. The larger of two min-max maps peaks at 1 but need not reach 0, since the two
        have their lowest pixels in different places. Runs in evaluation mode and gives every module its mode back.
        `pairs.group` plays no part. Raises ValueError for an unknown normalisation.
        """
        check_known("normalisation", normalisation, NORMALISATIONS)
        rescale = NORMALISATIONS[normalisation]
        with evaluation_mode(self):
            features = self.features(images)
            first = self.head[0](features)[pairs.image, pairs.label]  # [P, h, w]
            left = features[pairs.image] * (normalise(first) <= self.erase)[:, None]  # [P, K, h, w]
            every = torch.arange(len(pairs), device=pairs.label.device)
            second = self.head[1](left)[every, pairs.label]
        return torch.maximum(rescale(first), rescale(second))
