"""Methods of other libraries as methods of ours: callables that take a query (:mod:`cam_utils.methods.registry`).

OTHER_LIBRARIES names them. The libraries are optional (the extra `peers`) and imported when a method runs. What the
adapter adds:

- Several labels per image: a row of the library's batch is one pair, so each keeps its one target per image.
- Class activation maps take the query's activations and gradients, and from the library only its formula, so that
  all maps are normalised and resized alike: rectified here, the rest by the caller.
- Pixel attributions are signed and per colour: the map is the sum of their absolute values over the colours.
- Libraries put hooks, gradients and modes on what they are given; they get a copy of the model.
"""

import copy
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from cam_utils.methods.query import Query
from cam_utils.names import library
from cam_utils.networks.capture import evaluation_mode

PACKAGES = {"pytorch_grad_cam": "grad-cam", "captum": "captum"}
ROWS = 32  # pairs, or copies of one pair's image, in a forward and backward of the whole network


def required(module: str) -> ModuleType:
    """Return an optional module. Raises ImportError, naming what to install, where it is missing."""
    try:
        return library(module)
    except ImportError as error:
        package = PACKAGES[module.split(".")[0]]
        raise ImportError(
            f"this method is the library {package}'s, which is not installed: pip install {package} "
            "(or cam_utils[peers])"
        ) from error


def _class_map(name: str, query: Query) -> Tensor:
    """Return the map of pytorch-grad-cam's class `name` from our activations and gradients."""
    library = required("pytorch_grad_cam")
    grads = query.gradients.cpu().numpy()
    activations = query.activations[query.pairs.image]
    with evaluation_mode(query.model):  # its constructor changes the mode; without layers to read it sets no hooks
        method = getattr(library, name)(query.model, [])
    found = method.get_cam_image(None, None, None, activations.cpu().numpy(), grads, False)
    return torch.from_numpy(np.ascontiguousarray(found)).to(activations).relu()


def eigen_cam(query: Query) -> Tensor:
    """Return Eigen-CAM [P, H, W]: the first principal component of the activations, one map for all labels.

    The sign of a singular vector is arbitrary: here its largest magnitude is positive (as in Seg-Eigen-CAM).
    """
    project = required("pytorch_grad_cam.utils.svd_on_activations").get_2d_projection
    activations = query.activations
    found = torch.from_numpy(project(activations.cpu().numpy())).to(activations)
    turned = (-found.amin((-2, -1)) > found.amax((-2, -1)))[:, None, None]
    return torch.where(turned, -found, found).relu()[query.pairs.image]


def full_grad(query: Query) -> Tensor:
    """Return FullGrad [P, h, w] (Srinivas and Fleuret 2019) as pytorch-grad-cam computes it, in [0, 1].

    The library rescales every channel's share to [0, 1] before it adds them, which the paper does not.
    """
    library = required("pytorch_grad_cam")
    target = required("pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget
    found, pairs = [], query.pairs
    for rows in _chunks(len(pairs)):
        with torch.enable_grad(), library.FullGrad(_copied(query.model), []) as method:
            x = query.images[pairs.image[rows]].detach().clone()
            found.append(torch.from_numpy(method(x, [target(c) for c in pairs.label[rows].tolist()])))
    return torch.cat(found).to(query.images)


def integrated_gradients(query: Query, *, steps: int = 50) -> Tensor:
    """Return |integrated gradients| [P, h, w] of the logit (Sundararajan et al. 2017), added over the colours.

    The path starts at zeros, the mean colour of preprocessed images, and is cut in `steps`.
    """
    return _by_pixel(
        lambda net, x, target: (
            required("captum.attr")
            .IntegratedGradients(net)
            .attribute(x, target=target, n_steps=steps, internal_batch_size=ROWS)
        ),
        query,
    )


def guided_backprop(query: Query) -> Tensor:
    """Return |guided backpropagation| [P, h, w] (Springenberg et al. 2015), added over the colours.

    Captum guides modules of type nn.ReLU and cannot see a rectifier that is none; an nn.ReLU6 is taken for a ReLU
    and the cap behind it. Raises ValueError for a model without any.
    """
    if not any(isinstance(module, nn.ReLU | nn.ReLU6) for module in query.model.modules()):
        raise ValueError(
            f"guided-backprop needs rectifiers that are nn.ReLU or nn.ReLU6; {type(query.model).__name__} has none"
        )

    def guided(net: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Setting backward hooks")  # on our copy
            plain = replaced(net, lambda module: isinstance(module, nn.ReLU6), _in_two)
            return required("captum.attr").GuidedBackprop(plain).attribute(x, target=target)

    return _by_pixel(guided, query)


def smooth_grad(query: Query, *, samples: int = 50, level: float = 0.15, seed: int = 0) -> Tensor:
    """Return |SmoothGrad| [P, h, w] (Smilkov et al. 2017): the mean gradient of noisy images, over the colours.

    The noise has standard deviation `level` of the image's own range, and is the same for every image and label.
    """
    attr = required("captum.attr")

    def one_by_one(net: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        tunnel = attr.NoiseTunnel(attr.Saliency(net))
        rows = []
        for image, label in zip(x.detach(), target.tolist(), strict=True):
            with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
                torch.manual_seed(seed)
                rows.append(
                    tunnel.attribute(
                        image[None].requires_grad_(),
                        target=label,
                        abs=False,  # the mean of signed gradients, whose magnitude is shown
                        nt_type="smoothgrad",
                        nt_samples=samples,
                        nt_samples_batch_size=min(samples, ROWS),
                        stdevs=level * float(image.max() - image.min()),
                    )
                )
        return torch.cat(rows)

    return _by_pixel(one_by_one, query)


def _by_pixel(attribute: Callable, query: Query) -> Tensor:
    """Return attributions [P, 3, h, w] as maps: absolute values, added over the colours."""
    net, found, pairs = _copied(query.model), [], query.pairs
    for rows in _chunks(len(pairs)):
        with torch.enable_grad():  # the caller may evaluate under no_grad
            x = query.images[pairs.image[rows]].detach().clone().requires_grad_()
            found.append(attribute(net, x, pairs.label[rows]).detach())
    return torch.cat(found).abs().sum(1)


def _copied(model: nn.Module) -> nn.Module:
    """Return a frozen copy in evaluation mode whose rectifiers write nothing in place, as hooks need it."""
    net = copy.deepcopy(model).eval().requires_grad_(False)
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return net


def _in_two(_: nn.ReLU6) -> nn.Sequential:
    return nn.Sequential(nn.ReLU(), nn.Hardtanh(0.0, 6.0))


def replaced(model: nn.Module, chosen: Callable[[nn.Module], bool], by: Callable) -> nn.Module:
    """Return a frozen copy in evaluation mode with `by(module)` in place of every chosen module."""
    net = copy.deepcopy(model).eval().requires_grad_(False)
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if chosen(child):
                setattr(parent, name, by(child))
    return net


def _chunks(count: int) -> Iterator[slice]:
    return (slice(i, i + ROWS) for i in range(0, count, ROWS))


OTHER_LIBRARIES = {
    "layer-cam": partial(_class_map, "LayerCAM"),
    "xgrad-cam": partial(_class_map, "XGradCAM"),
    "hirescam": partial(_class_map, "HiResCAM"),
    "eigen-cam": eigen_cam,
    "fullgrad": full_grad,
    "integrated-gradients": integrated_gradients,
    "guided-backprop": guided_backprop,
    "smoothgrad": smooth_grad,
}
