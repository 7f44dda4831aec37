"""Fixtures: the real samples beside the repository, a small VOC tree, a cache that is thrown away."""

import functools
import http.server
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn

from cam_utils import data, runs
from cam_utils.files import lock
from cam_utils.networks import models
from cam_utils.pairs import pairs_of
from tests import fake_runs

# Two years of a devkit in miniature: id -> (width, height), objects (name, xmin, ymin, xmax, ymax, difficult).
# Corners are VOC's: 1-based, inclusive. Images 1 to 3 have masks.
VOC_IMAGES = {
    "000001": ((200, 100), [("cat", 11, 21, 40, 80, 0), ("person", 91, 11, 130, 90, 0)]),
    "000002": ((90, 160), [("person", 31, 61, 60, 120, 0), ("person", 1, 1, 20, 30, 1)]),
    "000003": ((120, 120), [("dog", 21, 21, 100, 100, 0)]),
    "000004": ((160, 120), [("tvmonitor", 5, 5, 60, 60, 1), ("chair", 61, 61, 110, 110, 0)]),
    "000005": ((100, 100), [("sheep", 11, 11, 90, 90, 0)]),
    "000006": ((128, 96), [("boat", 1, 1, 128, 96, 0)]),
}
VOC_SPLITS = {
    "train": ["000001", "000002", "000004"],
    "val": ["000003", "000005"],
    "trainval": ["000001", "000002", "000003", "000004", "000005"],
    "test": ["000006"],
}
VOC_SEGMENTED = {"train": ["000001", "000002"], "val": ["000003"], "trainval": ["000001", "000002", "000003"]}


ROOT = Path(__file__).resolve().parents[1]
BROWSER = ["--no-sandbox", "--disable-gpu"]


def once(tmp_path_factory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that `make` has filled: once for all processes that share the tests (pytest-xdist)."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with lock(folder.with_suffix(".lock")):
        if not (mark := folder.with_suffix(".done")).exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            mark.touch()
    return folder


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """The site of the committed chapters and three finished runs of SS-CAM: the default, a seed, a dataset."""
    from workflow.site import build as builder

    def build(out: Path) -> None:
        fake_runs.write(out / "runs", "ss_cam")
        fake_runs.write(out / "runs", "ss_cam-digits-s1", seed=1)
        fake_runs.write(out / "runs", "ss_cam-imagenet-resnet18-s0", dataset="imagenet", network="resnet18")
        builder.build(builder.chapters(), out, runs.read_runs(out / "runs"))

    return once(tmp_path_factory, "site", build) / "html"


@pytest.fixture(scope="session")
def single(site, tmp_path_factory) -> tuple[list[str], Path]:
    """The pages of the contents, and all of them as one page, in a copy of the site with what it needs."""
    import yaml

    from workflow.site import contents, export

    names = contents.pages_of(yaml.safe_load((ROOT / "_toc.yml").read_text()))

    def join(out: Path) -> None:
        export.single_page(shutil.copytree(site, out / "html"), names)

    return names, once(tmp_path_factory, "single", join) / "html" / export.NAME


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def chromium():
    """A headless Chromium; skipped where there is none, except in CI."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        message = "Chromium is not installed"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=BROWSER)
        yield browser
        browser.close()


@pytest.fixture
def serve():
    """Serve a folder on the loopback address; returns its root URL."""
    servers = []

    def start(folder):
        handler = functools.partial(Quiet, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory):
    os.environ["CAM_UTILS_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real samples; without it a test is skipped here and fails where it must run."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        message = "the real samples are missing: expected the folder shared/ beside the repository"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def coco_root(shared) -> Path:
    return shared / "data"


@pytest.fixture(scope="session")
def squeezenet_weights(shared) -> Path:
    return shared / "weights" / "squeezenet1_0_imagenet.pth"


@pytest.fixture(scope="session")
def voc_root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("voc")
    for year in ("2007", "2012"):
        write_voc(root / "VOCdevkit" / f"VOC{year}")
    (root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Main" / "test.txt").unlink()
    return root


def write_voc(base: Path) -> None:
    """Write VOC_IMAGES in the official layout: crops of two photographs, boxes, masks with a border of 255."""
    for folder in ("JPEGImages", "Annotations", "SegmentationObject", "SegmentationClass"):
        (base / folder).mkdir(parents=True)
    photos = load_sample_images().images
    for k, (name, ((width, height), objects)) in enumerate(VOC_IMAGES.items()):
        crop = photos[k % 2][50 : 50 + height, 100 : 100 + width]
        Image.fromarray(crop).save(base / "JPEGImages" / f"{name}.jpg", quality=90)
        (base / "Annotations" / f"{name}.xml").write_text(_xml(name, width, height, objects))
        if name in VOC_SEGMENTED["trainval"]:
            for folder, indices in (("SegmentationObject", range(1, 9)), ("SegmentationClass", [15] * 8)):
                _palette(width, height, objects, indices).save(base / folder / f"{name}.png")
    for kind, splits in (("Main", VOC_SPLITS), ("Segmentation", VOC_SEGMENTED)):
        (base / "ImageSets" / kind).mkdir(parents=True)
        for split, ids in splits.items():
            (base / "ImageSets" / kind / f"{split}.txt").write_text("".join(f"{each}\n" for each in ids))


def _xml(name: str, width: int, height: int, objects: list) -> str:
    items = ""
    for label, xmin, ymin, xmax, ymax, difficult in objects:
        box = f"<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>"
        part = f"<part><name>head</name><bndbox>{box}</bndbox></part>" if label == "person" else ""
        bndbox = f"<bndbox>{box}</bndbox>"
        items += f"<object><name>{label}</name><difficult>{difficult}</difficult>{bndbox}{part}</object>\n"
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}.jpg</filename>{size}\n{items}</annotation>\n"


def _palette(width: int, height: int, objects: list, indices) -> Image.Image:
    """Return each object as its filled box: a border of 2 pixels is 255, the inside the object's index."""
    drawn = np.zeros((height, width), np.uint8)
    for index, (_, xmin, ymin, xmax, ymax, _) in zip(indices, objects, strict=False):
        drawn[ymin - 1 : ymax, xmin - 1 : xmax] = 255
        drawn[ymin + 1 : ymax - 2, xmin + 1 : xmax - 2] = index
    image = Image.fromarray(drawn, mode="P")
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
    return image


@pytest.fixture
def net():
    """A small classifier in double precision: one convolution, GAP and a linear head."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
    ).double()


@pytest.fixture
def scene(net):
    """Images, their activations (one channel dead, one constant) and the pairs to explain."""
    images = torch.randn(3, 3, 12, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    activations = net[:2](images).detach().clone()
    activations[1, 2] = 0.0  # a dead channel
    activations[2, 3] = 0.7  # a constant one
    present = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 1]], dtype=torch.bool)
    return images, activations, pairs_of(present)


@pytest.fixture(scope="module")
def model():
    """A digits network whose untrained head predicts a mix of labels on every scene."""
    built = models.build("digits", 10, seed=1)
    with torch.no_grad():
        for module in built.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
        built.train()
        scenes = data.load("digits", "val", n=24)
        features = built.preprocess(torch.stack([s.image for s in scenes]))
        built.head.bias[:] = -built(features).median(0).values
    return built.eval()
