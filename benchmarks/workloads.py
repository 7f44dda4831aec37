"""What is raced: the same work by us, by other libraries, and the forwards that nobody can do without.

Every function returns calls by name: "ours" and "ours, METHOD", a library's name, "limit". Images are COCO's and
SqueezeNet's weights real where the samples are there, EfficientNet-Lite's always; those of ResNet-50 and of the
vision transformer are random, which changes no time. Labels are the most probable ones.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import timm
import torch
import torchvision
from pytorch_grad_cam import AblationCAM, GradCAM, ScoreCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from race import Calls, race, seconds
from torch import Tensor, nn
from torchcam import methods as torchcam

from cam_utils import data
from cam_utils.evaluation import evaluate
from cam_utils.front.explain import explain
from cam_utils.methods import ablation, registry, scorecam, smoothing, sscam
from cam_utils.networks import lite, models
from cam_utils.networks.capture import capture
from cam_utils.pairs import Pairs, pairs_of

EVALUATED = ("cam", "grad-cam++", "minmax-cam", "d-minmax-cam")
DEIT, SIDE, PATCH = "deit_tiny", 224, 16  # the vision transformer: a class token, then one for each patch
CHUNKS = (4, 8, 16, 32, 64)  # batch sizes among which the limit takes the fastest


class Bench(NamedTuple):
    """A network with its layer, images [B, 3, h, w] as it expects them, and labels to explain, the same for all."""

    name: str
    net: nn.Module
    layer: nn.Module
    layer_name: str
    images: Tensor
    labels: list[int]

    @property
    def folding(self) -> dict[str, Callable]:
        """What pytorch-grad-cam must be told of a transformer."""
        return {"reshape_transform": folded} if self.name == DEIT else {}

    @property
    def pairs(self) -> Pairs:
        """All labels of all images."""
        present = torch.zeros(len(self.images), 1000, dtype=torch.bool)
        present[:, self.labels] = True
        return pairs_of(present)


def bench(name: str, batch: int, labels: int, size: int, root: str | None) -> Bench:
    """Return a bench of a network of models.PRETRAINED; `root` is the folder of samples."""
    weights = f"{root}/weights/{name}_imagenet.pth" if root and name == "squeezenet1_0" else None
    weights = "imagenet" if name in lite.LITE else weights
    torch.manual_seed(0)
    model = transformer() if name == DEIT else models.pretrained(name, weights)
    x = torch.rand(batch, 3, size, size)
    if root:
        photographs = data.load("coco2017", "val", root=f"{root}/data", size=size)
        x = torch.stack([photographs[i % len(photographs)].image for i in range(batch)])
    x = model.preprocess(x)
    with torch.no_grad():
        first = model(x).softmax(1).mean(0).topk(labels).indices.tolist()
    if name == DEIT:  # the front door finds the layer that is read; others are told
        return Bench(name, model, model.blocks[-1].norm1, "blocks.11.norm1", x, first)
    return Bench(name, model.net.eval(), model.features, models.PRETRAINED[name][0], x, first)


def transformer() -> nn.Module:
    """Return a DeiT with random weights, which takes images [B, 3, 224, 224] as they are."""
    net = timm.create_model(f"{DEIT}_patch16_224", pretrained=False).eval()
    net.preprocess = lambda images: images
    return net


def folded(tokens: Tensor) -> Tensor:
    """Return what a block of the transformer puts out [B, 1 + N, K] as a map [B, K, h, w]."""
    return tokens[:, 1:].transpose(1, 2).unflatten(2, (SIDE // PATCH, SIDE // PATCH))


def forward(net: nn.Module, x: Tensor, formats: tuple = (torch.contiguous_format, torch.channels_last)) -> Callable:
    """Return the fastest bare inference forward of `x`: the better of the memory formats, tried here in turn."""

    def made(memory_format: torch.memory_format) -> Callable:
        images = x.contiguous(memory_format=memory_format)

        def call() -> Tensor:
            with torch.inference_mode():
                return net(images)

        return call

    calls = {str(each): made(each) for each in formats}
    tried = race(calls, 5 if len(calls) > 1 else 1)
    return calls[min(tried, key=lambda name: min(tried[name]))]


def cams(b: Bench) -> Calls:
    """Grad-CAM of all labels of the batch; the limit is one forward of the batch."""
    labels = [b.labels] * len(b.images)

    def pytorch_grad_cam():
        with GradCAM(b.net, [b.layer], **b.folding) as peer:
            for label in b.labels:
                peer(b.images, [ClassifierOutputTarget(label)] * len(b.images))

    def torch_cam():
        with torchcam.GradCAM(b.net, b.layer_name) as peer:
            scores = b.net(b.images)
            for label in b.labels:
                peer([label] * len(b.images), scores, retain_graph=True)

    def own(method: str) -> Callable:
        return lambda: explain(b.net, b.images, labels, method=method, layer=b.layer)

    others = ["grad-cam++", "minmax-grad-cam", "d-minmax-grad-cam"]
    others += [] if b.name in ("squeezenet1_0", DEIT) else ["cam", "minmax-cam", "d-minmax-cam"]
    return {
        "ours": own("grad-cam"),
        **{f"ours, {method}": own(method) for method in others},
        "pytorch-grad-cam": pytorch_grad_cam,
        **({} if b.folding else {"torch-cam": torch_cam}),  # which reads no tokens
        "limit": forward(b.net, b.images),
    }


def score_cam(b: Bench, chunks: tuple[int, ...] = CHUNKS) -> Calls:
    """Score-CAM of all labels of every image; the limit: a forward for every mask that live channels show."""
    activations = capture(b.net, b.images, b.layer).activations.detach()
    *_, first, _ = scorecam.shown(activations)
    labels = [b.labels] * len(b.images)

    def pytorch_grad_cam():
        with ScoreCAM(b.net, [b.layer], **b.folding) as peer:
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
        **({} if b.folding else {"torch-cam": torch_cam}),  # which reads no tokens
        "limit": many(b, len(first), chunks),
    }


def many(b: Bench, count: int, chunks: tuple[int, ...]) -> Callable:
    """Return `count` bare forwards of images of the bench's size, at the fastest of the batch sizes."""
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
    form = smoothing.reading("approach-1", draws=draws, sigma=2.0)
    live = int((activations.flatten(2).amax(-1) > activations.flatten(2).amin(-1)).sum())

    @torch.no_grad()
    def ours():
        found = capture(b.net, b.images, b.layer).activations
        sscam.ss_cam(b.images, found, b.pairs, lambda x: b.net(x).softmax(1), form)

    def torch_cam():
        with (
            torchcam.SSCAM(b.net, b.layer_name, batch_size=32, num_samples=draws, std=2.0) as peer,
            torch.no_grad(),
        ):
            for label in b.labels:
                for image in b.images:
                    peer(label, b.net(image[None]))

    return {"ours": ours, "torch-cam": torch_cam, "limit": many(b, live * draws, CHUNKS)}


def wide(channels: int, size: int) -> Bench:
    """Return a bench of a random network whose last layer has so many channels, one image, one label."""
    torch.manual_seed(0)
    body = nn.Sequential(*list(torchvision.models.resnet18(weights=None).children())[:-2])
    layer = nn.Sequential(nn.Conv2d(512, channels, 1), nn.ReLU())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))
    net = nn.Sequential(OrderedDict(body=body, layer=layer, head=head)).eval()
    return Bench("wide", net, net.layer, "layer", torch.rand(1, 3, size, size), [0])


def limited(b: Bench, group: str, channels: int) -> Callable:
    """Return a call of ours that scores only the first `channels` channels: the chunk alone decides on memory."""
    activations = capture(b.net, b.images, b.layer).activations[:, :channels].detach()

    @torch.no_grad()
    def call():
        if group == "score_cam":
            scorecam.score_cam(b.images, activations, b.pairs, lambda x: b.net(x).softmax(1))
        else:
            one = smoothing.reading("printed", draws=1, rescore=False)
            sscam.ss_cam(b.images, activations, b.pairs, lambda x: b.net(x).softmax(1), one)

    return call


def ablation_cam(b: Bench) -> Calls:
    """Ablation-CAM of all labels; ours runs only what follows the layer, once per live channel."""
    tail = b.net.classifier if b.name == "squeezenet1_0" else nn.Sequential(b.net.avgpool, nn.Flatten(), b.net.fc)
    rest = (lambda a: tail(a).flatten(1)) if b.name == "squeezenet1_0" else tail

    @torch.no_grad()
    def ours():
        ablation.ablated_sums(capture(b.net, b.images, b.layer).activations, b.pairs, rest)

    def pytorch_grad_cam():
        with AblationCAM(b.net, [b.layer]) as peer:
            peer.batch_size = 32
            for label in b.labels:
                peer(b.images, [ClassifierOutputTarget(label)] * len(b.images))

    return {"ours": ours, "pytorch-grad-cam": pytorch_grad_cam}


def evaluation(count: int, methods: tuple[str, ...] = EVALUATED) -> Calls:
    """The pairs table of a batch of scenes; the limit is two forwards per different mask, and the batch's own."""
    scenes = data.load("digits", "val", n=3 * count)
    model = models.build("resnet18", 10, seed=0, bias=0.0).eval()
    batch = data.collate([scenes[i] for i in range(count)])
    how = {"explained": "annotated"}
    x = model.preprocess(batch.images)

    def ours():
        return evaluate.evaluate_batch(model, batch, registry.resolved(methods), scenes.classes, **how)

    seen: list[int] = []
    counting = model.head.register_forward_hook(lambda _module, _given, out: seen.append(len(out)))
    ours()
    counting.remove()
    return {
        "ours": ours,
        "limit": many(Bench("resnet18", model, model.features, "features", x, []), sum(seen), CHUNKS),
    }
