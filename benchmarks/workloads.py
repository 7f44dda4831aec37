"""What is raced: the same work by us, by two other libraries, and the forwards that nobody can do without.

Every function returns calls by name: "ours", "pytorch-grad-cam", "torch-cam", "limit". Images and labels are COCO's
and SqueezeNet's weights real where --data holds them; ResNet-50's weights are random, which changes no time.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from pytorch_grad_cam import AblationCAM, GradCAM, ScoreCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from race import Calls
from torch import Tensor, nn
from torchcam import methods as torchcam

from cam_utils import data, evaluate, models, scorecam, sscam
from cam_utils.cams import Pairs, pairs_of
from cam_utils.capture import capture
from cam_utils.explain import explain


class Bench(NamedTuple):
    """A network with its layer, images [B, 3, h, w] as it expects them, and labels to explain, the same for all."""

    name: str
    net: nn.Module
    layer: nn.Module
    layer_name: str
    images: Tensor
    labels: list[int]

    @property
    def pairs(self) -> Pairs:
        """All labels of all images."""
        present = torch.zeros(len(self.images), 1000, dtype=torch.bool)
        present[:, self.labels] = True
        return pairs_of(present)


def bench(name: str, batch: int, labels: int, size: int, root: str | None) -> Bench:
    """Return a bench of a torchvision network ("squeezenet1_0" or "resnet50"); `root` is the folder of samples."""
    weights = f"{root}/weights/{name}_imagenet.pth" if root and name == "squeezenet1_0" else None
    torch.manual_seed(0)
    model = models.pretrained(name, weights)
    x = torch.rand(batch, 3, size, size)
    if root:
        photographs = data.load("coco2017", "val", root=f"{root}/data", size=size)
        x = torch.stack([photographs[i % len(photographs)].image for i in range(batch)])
    x = model.preprocess(x)
    with torch.no_grad():
        first = model(x).softmax(1).mean(0).topk(labels).indices.tolist()
    layer = {"squeezenet1_0": "features", "resnet50": "layer4", "resnet18": "layer4"}[name]
    return Bench(name, model.net.eval(), model.features, layer, x, first)


def forward(net: nn.Module, x: Tensor, formats: tuple = (torch.contiguous_format, torch.channels_last)) -> Callable:
    """Return the fastest bare inference forward of `x`: the better of the memory formats, tried here."""
    import copy

    from race import seconds

    best = None
    for memory_format in formats:
        own, images = copy.deepcopy(net).to(memory_format=memory_format), x.contiguous(memory_format=memory_format)

        def call(own=own, images=images):
            with torch.inference_mode():
                return own(images)

        call()
        spent = min(seconds(call) for _ in range(3))
        if best is None or spent < best[0]:
            best = spent, call
    return best[1]


def cams(b: Bench) -> Calls:
    """Grad-CAM of all labels of the batch; the limit is one forward of the batch."""
    labels = [b.labels] * len(b.images)

    def pytorch_grad_cam():
        with GradCAM(b.net, [b.layer]) as peer:
            for label in b.labels:
                peer(b.images, [ClassifierOutputTarget(label)] * len(b.images))

    def torch_cam():
        with torchcam.GradCAM(b.net, b.layer_name) as peer:
            scores = b.net(b.images)
            for label in b.labels:
                peer([label] * len(b.images), scores, retain_graph=True)

    return {
        "ours": lambda: explain(b.net, b.images, labels, method="grad-cam", layer=b.layer),
        "ours, MinMax-CAM": lambda: explain(b.net, b.images, labels, method="minmax-grad-cam", layer=b.layer),
        "pytorch-grad-cam": pytorch_grad_cam,
        "torch-cam": torch_cam,
        "limit": forward(b.net, b.images),
    }


def score_cam(b: Bench, chunks: tuple[int, ...] = (8, 16, 32, 64)) -> Calls:
    """Score-CAM of all labels of every image; the limit is as many forwards as there are live channels."""
    activations = capture(b.net, b.images, b.layer).activations
    live = int((activations.flatten(2).abs().amax(-1) > 0).sum())
    labels = [b.labels] * len(b.images)

    def pytorch_grad_cam():
        with ScoreCAM(b.net, [b.layer]) as peer:
            peer.batch_size = 32
            for label in b.labels:
                peer(b.images, [ClassifierOutputTarget(label)] * len(b.images))

    def torch_cam():
        with torchcam.ScoreCAM(b.net, b.layer_name, batch_size=32) as peer, torch.no_grad():
            for label in b.labels:
                for image in b.images:
                    peer(label, b.net(image[None]))

    return {
        "ours": lambda: explain(b.net, b.images, labels, method="score-cam", layer=b.layer),
        "pytorch-grad-cam": pytorch_grad_cam,
        "torch-cam": torch_cam,
        "limit": many(b, live, chunks),
    }


def many(b: Bench, count: int, chunks: tuple[int, ...]) -> Callable:
    """Return `count` bare forwards of images of the bench's size, at the fastest of the batch sizes."""
    from race import seconds

    calls = {}
    for chunk in chunks:
        x = b.images[:1].expand(chunk, -1, -1, -1).contiguous()
        call = forward(b.net, x)
        calls[chunk] = min(seconds(call) for _ in range(2)) / chunk, call
    chunk = min(calls, key=lambda size: calls[size][0])
    call = calls[chunk][1]
    rest = forward(b.net, b.images[:1].expand(count % chunk, -1, -1, -1).contiguous()) if count % chunk else None

    def run():
        for _ in range(count // chunk):
            call()
        if rest:
            rest()

    return run


def ss_cam(b: Bench, draws: int = 2) -> Calls:
    """SS-CAM in torch-cam's form (mean over noisy masks); the limit is K x draws forwards."""
    activations = capture(b.net, b.images, b.layer).activations
    form = {"reduce": "mean", "noise": "mask", "rescore": False, "softmax": False, "sigma": 2.0, "draws": draws}
    live = int((activations.flatten(2).amax(-1) > activations.flatten(2).amin(-1)).sum())

    @torch.no_grad()
    def ours():
        found = capture(b.net, b.images, b.layer).activations
        sscam.ss_cam(b.images, found, b.pairs, lambda x: b.net(x).softmax(1), **form)

    def torch_cam():
        with (
            torchcam.SSCAM(b.net, b.layer_name, batch_size=32, num_samples=draws, std=2.0) as peer,
            torch.no_grad(),
        ):
            for label in b.labels:
                for image in b.images:
                    peer(label, b.net(image[None]))

    return {"ours": ours, "torch-cam": torch_cam, "limit": many(b, live * draws, (8, 16, 32, 64))}


def limited(b: Bench, group: str, channels: int) -> Callable:
    """Return a call of ours that has only the first `channels` channels to score, to see what memory depends on."""
    activations = capture(b.net, b.images, b.layer).activations[:, :channels].detach()

    @torch.no_grad()
    def call():
        if group == "score_cam":
            scorecam.score_cam(b.images, activations, b.pairs, lambda x: b.net(x).softmax(1))
        else:
            sscam.ss_cam(b.images, activations, b.pairs, lambda x: b.net(x).softmax(1), draws=1, rescore=False)

    return call


def ablation_cam(b: Bench) -> Calls:
    """Ablation-CAM of all labels; ours runs only what follows the layer, once per live channel."""
    tail = b.net.classifier if b.name == "squeezenet1_0" else nn.Sequential(b.net.avgpool, nn.Flatten(), b.net.fc)
    rest = (lambda a: tail(a).flatten(1)) if b.name == "squeezenet1_0" else tail

    @torch.no_grad()
    def ours():
        scorecam.ablation_cam(capture(b.net, b.images, b.layer).activations, b.pairs, rest)

    def pytorch_grad_cam():
        with AblationCAM(b.net, [b.layer]) as peer:
            peer.batch_size = 32
            for label in b.labels:
                peer(b.images, [ClassifierOutputTarget(label)] * len(b.images))

    return {"ours": ours, "pytorch-grad-cam": pytorch_grad_cam}


def evaluation(b: Bench) -> Calls:
    """The pairs table of four methods for a batch of scenes; the limit is two forwards per pair and method."""
    methods = ["cam", "grad-cam++", "minmax-cam", "d-minmax-cam"]
    scenes = data.load("digits", "val", n=48)
    model = models.build("resnet18", 10, seed=0, bias=0.0).eval()
    batch = data.collate([scenes[i] for i in range(16)])
    how = {"scores": "sigmoid", "explained": "annotated", "threshold": 0.5, "chunk": 64, "smoothing": {}}
    pairs = int(batch.labels.sum())
    x = model.preprocess(batch.images)
    count = 2 * len(methods) * pairs + len(x)
    own = Bench("resnet18", model, model.features, "features", x, b.labels)
    return {
        "ours": lambda: evaluate.evaluate_batch(model, batch, methods, scenes.classes, **how),
        "limit": many(own, count, (16, 32, 64)),
    }
