"""Networks of the form features -> global average pooling (GAP) -> head, and their checkpoints.

Every classifier here ends in the form that CAM needs: the target activations A [B, K, H, W] are the output of
`features`, g = GAP(A) [B, K], and the logits are S = g W^T + b with W [L, K]. ACoL alone has another form.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from cam_utils.files import fingerprint
from cam_utils.names import check_known
from cam_utils.networks import lite
from cam_utils.networks.baselines import CBAM, ACoL, Normalised, with_cbam, with_dense_pools
from cam_utils.networks.checkpoints import fill, filled
from cam_utils.networks.facts import NETWORKS
from cam_utils.networks.weight_files import read_own as read
from cam_utils.networks.weight_files import save

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and std of the RGB input in [0, 1]
HALF = ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))  # the digits network has no pretrained input convention


class LinearHead(nn.Linear):
    """A dense layer from K pooled features to L logits; Keras' initial values (Glorot uniform, zero bias)."""

    def reset_parameters(self) -> None:
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)

    def class_weights(self) -> Tensor:
        """Return the weights [L, K] that multiply the pooled features."""
        return self.weight

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(features, self.class_weights(), self.bias)


class KernelUsageHead(LinearHead):
    """Kernel usage regularisation: W_r = W * softmax over the labels of W (Eq. 15, David et al. 2022).

    Each kernel k shares one unit of attention among the labels, so it can serve few of them. The gradient flows
    through the softmax. W is stored [L, K], the transpose of the paper's, hence dim=0.

    >>> head = KernelUsageHead(1, 2)
    >>> head.weight.data[:] = torch.tensor([[20.0], [0.0]])
    >>> head.class_weights().flatten().tolist()
    [20.0, 0.0]
    """

    def class_weights(self) -> Tensor:
        return self.weight * self.weight.softmax(0)


HEADS = {"linear": LinearHead, "kernel-usage": KernelUsageHead}


class Residual(nn.Module):
    """Two 3x3 convolutions with batch normalisation (and CBAM), added to a (projected) copy of the input."""

    def __init__(self, inputs: int, outputs: int, stride: int, attention: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
            *([CBAM(outputs, reduction=8)] if attention else []),  # 3 to 8 hidden units for 24 to 64 channels
        )
        self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.relu = nn.ReLU()  # a module, since guided backpropagation finds rectifiers by their type

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.body(x) + self.skip(x))


def _digits_features(attention: bool = False) -> nn.Sequential:
    """Small residual network for 96 px scenes: A is [B, 64, 16, 16], with a receptive field of 45 px."""
    stem = nn.Sequential(nn.Conv2d(3, 16, 5, 3, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    sizes = ((16, 24, 1), (24, 48, 2), (48, 64, 1))
    return nn.Sequential(stem, *(Residual(*size, attention) for size in sizes))


def trunk(net: nn.Module) -> nn.Sequential:
    """Return what a torchvision network has below its pooling; a ResNet has no name for it."""
    return net.features if hasattr(net, "features") else nn.Sequential(*list(net.children())[:-2])


# name -> its library's builder and what to keep of it
BACKBONES = {
    "vgg16-gap": ("vgg16", trunk),
    **{name: (name, trunk) for name in ("vgg19", "resnet18", "resnet50", "resnet101", "resnet152")},
    **{name: (name, trunk) for name in ("mobilenet_v2", "efficientnet_b6", "squeezenet1_0")},
    "cbam_resnet50": ("resnet50", lambda net: trunk(with_cbam(net))),
    **{name: (name, lite.trunk) for name in lite.LITE},
}
NAMES = ("digits", "digits-cbam", *BACKBONES)  # the classifiers: every head and every method fits them
# ACoL's networks: name -> backbone (None: the digits features) and width of a branch
ACOL = {
    "acol-vgg19": (("vgg19", lambda net: with_dense_pools(net.features)), 1024),
    "digits-acol": (None, 64),
}


class Classifier(Normalised):
    """features -> GAP -> dropout -> head; logits [B, L].

    The images [B, 3, h, w] are those that :meth:`Normalised.preprocess` returns.
    """

    def __init__(self, features: nn.Module, head: LinearHead, *, normalisation, dropout: float = 0.0) -> None:
        super().__init__(normalisation)
        self.features = features
        self.dropout = nn.Dropout(dropout)
        self.head = head

    @property
    def num_classes(self) -> int:
        """Number of labels L."""
        return self.head.out_features

    def forward(self, images: Tensor) -> Tensor:
        pooled = self.features(images).mean((-2, -1))  # [B, K]
        return self.head(self.dropout(pooled))


# name -> the layer that is explained, and the weights between it and the logits where there are any
PRETRAINED = {
    "resnet18": ("layer4", lambda net: net.fc.weight),
    "resnet50": ("layer4", lambda net: net.fc.weight),
    "squeezenet1_0": ("features", lambda net: net.classifier[1].weight[:, :, 0, 0]),
    "vgg16": ("features", lambda net: None),  # three fully connected layers: no weight belongs to a channel
    "efficientnet_lite0": (lite.LAYER, lambda net: net.classifier.weight),
    "efficientnet_lite1": (lite.LAYER, lambda net: net.classifier.weight),
    "efficientnet_lite2": (lite.LAYER, lambda net: net.classifier.weight),
}


def normalisation_of(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std of the RGB input in [0, 1] that the network's ImageNet weights expect."""
    return lite.NORMALISATION if name in lite.LITE else IMAGENET


class Pretrained(Normalised):
    """A classifier of ImageNet's 1,000 classes, torchvision's or EfficientNet-Lite, as it is; logits [B, 1000]."""

    def __init__(self, name: str, net: nn.Module) -> None:
        super().__init__(normalisation_of(name))
        self.net, (self._layer, self._weights) = net, PRETRAINED[name]
        self.classes = imagenet_classes()
        self.num_classes = len(self.classes)

    @property
    def features(self) -> nn.Module:
        """The layer that maps are read from."""
        return getattr(self.net, self._layer)

    def class_weights(self) -> Tensor | None:
        """Return the weights [1000, K] between the layer's channels and the logits, None without such a layer."""
        weights = self._weights(self.net)
        return None if weights is None else weights.detach()

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)


def imagenet_classes() -> tuple[str, ...]:
    """Return torchvision's names of ImageNet's 1,000 classes."""
    return tuple(torchvision.models.get_model_weights("resnet18").IMAGENET1K_V1.meta["categories"])


def pretrained(name: str, weights: str | Path | None = "imagenet") -> Pretrained:
    """Return a classifier with its ImageNet weights: "imagenet", or a state dict's path (None: random).

    "imagenet" is downloaded by torchvision; for EfficientNet-Lite it is a package. Raises as :func:`build`.
    """
    check_known("pretrained network", name, PRETRAINED)
    return Pretrained(name, _filled(name, weights)).eval()


def _filled(builder: str, weights: str | Path | None) -> nn.Module:
    """Return a library's network with the weights named."""
    return lite.lite(builder, weights) if builder in lite.LITE else filled(builder, weights)


def build(
    name: str,
    num_classes: int,
    *,
    head: str = "linear",
    weights: str | Path | None = None,
    dropout: float = 0.0,
    bias: float = 0.0,
    seed: int = 0,
) -> Classifier | ACoL:
    """Return the named network with a fresh head, a :class:`Classifier` for a name of NAMES, ACoL for one of ACOL.

    `weights` initialises the backbone: None (random), "imagenet" (torchvision's download; for EfficientNet-Lite an
    installed package), or the path of a state dict of the library's network (for digits, of a checkpoint of a
    digits network); CBAM's own parameters are not in it and start at random. `bias` is the initial value of every
    logit's bias. `seed` fixes the initial values without touching the global generator.
    Raises ValueError for an unknown name or head, a file that does not fit, or a head or dropout for ACoL;
    FileNotFoundError for a missing file, ConnectionError if "imagenet" cannot be downloaded, ModuleNotFoundError
    if its package is not installed.

    >>> build("digits", 10)(torch.zeros(1, 3, 96, 96)).shape
    torch.Size([1, 10])
    """
    check_known("network", name, (*NAMES, *ACOL))
    check_known("head", head, HEADS)
    if num_classes < 1:
        raise ValueError(f"expected num_classes >= 1, got {num_classes}")
    if name in ACOL and (head != "linear" or dropout):
        raise ValueError(
            f"{name} has two convolutional branches in place of a head: pass head='linear' and dropout=0 "
            f"(the defaults), not {head!r} and {dropout}"
        )
    backbone, width = ACOL[name] if name in ACOL else (BACKBONES.get(name), None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if backbone is None:
            features, channels, normalisation = _digits_features(name == "digits-cbam"), 64, HALF
            _start(features, name, weights)
        else:
            builder, keep = backbone
            features, channels = keep(_filled(builder, weights)), NETWORKS[name].channels
            normalisation = normalisation_of(name)
        if width is not None:
            return ACoL(features, channels, num_classes, width=width, normalisation=normalisation, bias=bias)
        last = HEADS[head](channels, num_classes)
        nn.init.constant_(last.bias, bias)
        return Classifier(features, last, normalisation=normalisation, dropout=dropout)


def _start(features: nn.Module, name: str, weights: str | Path | None) -> None:
    """Fill the digits features from a checkpoint of this book, the only pretrained start that there is."""
    if weights == "imagenet":
        raise ValueError(
            f"the {name} network has no pretrained backbone: pass weights=None, or a checkpoint's path"
        )
    if weights is not None:
        fill(features, weights, f"the features of {name}")


def save_checkpoint(path: str | Path, model: nn.Module, *, name: str, head: str, classes, **facts) -> None:
    """Write the model and what is needed to rebuild it, with a digest; the file appears only when complete.

    Raises OSError naming the file where the disk takes no more.
    """
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    save(path, {"name": name, "head": head, "classes": list(classes), "facts": facts, "state": state})


def load_checkpoint(path: str | Path, classes=None, *, key: Mapping | None = None) -> Classifier | ACoL:
    """Return the model of a checkpoint of this book; with `classes`, refuse one that was trained for others.

    key: refuse one that was trained by other settings than these, which stand in its facts.
    Raises ValueError for this, for another file and for one whose parts do not fit together; and as
    :func:`cam_utils.networks.weight_files.read_own`.
    """
    saved = read(path)
    if not is_checkpoint(saved):
        raise ValueError(f"{path} is no checkpoint of this book (expected name, head, classes and state in it)")
    if classes is not None and list(classes) != saved["classes"]:
        raise ValueError(
            f"{path} was trained for {len(saved['classes'])} classes ({', '.join(saved['classes'][:3])}, ...), "
            f"but the dataset has {len(classes)} ({', '.join(list(classes)[:3])}, ...)"
        )
    own = saved["facts"].get("key") if isinstance(saved.get("facts"), dict) else None
    if key is not None and own is not None and fingerprint(own) != fingerprint(dict(key)):
        raise ValueError(f"{path} is the network of other settings than its name says")
    try:
        model = build(saved["name"], len(saved["classes"]), head=saved["head"])
    except ValueError as error:
        raise ValueError(f"{path} is of no network of this book: {error}") from error
    fill(model, {"state": saved["state"]}, f"the network {saved['name']} of {path}")
    return model.eval()


def is_checkpoint(saved: object) -> bool:
    """Return whether this is what :func:`save_checkpoint` writes."""
    if not isinstance(saved, dict) or not {"name", "head", "classes", "state"} <= saved.keys():
        return False
    names = saved["classes"]
    return isinstance(saved["state"], dict) and isinstance(names, list) and all(isinstance(n, str) for n in names)
