"""What people bring as pictures, files, arrays and lists; and how much memory it takes."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from cam_utils.data.sizing import fit_image
from cam_utils.front.pictures import frame, letterboxed, pictures_in, upright
from tests.conftest import ROOT
from tests.front.test_picture_files import PIXELS, chw


def test_arrays_of_bytes_are_pictures_and_other_numbers_are_not():
    for array in (PIXELS, PIXELS[:, ::-1], np.dstack([PIXELS, PIXELS[..., :1]])):
        assert torch.equal(upright(array), chw(array[..., :3])) and frame(array) == (20, 30)
    for grey in (PIXELS[..., 0], PIXELS[..., :1]):
        assert torch.equal(upright(grey), chw(PIXELS[..., :1]).expand(3, -1, -1))
        assert torch.equal(upright(grey, 1), chw(PIXELS[..., :1]))
    assert torch.equal(letterboxed(PIXELS, 16), fit_image(chw(PIXELS), 16))
    for array in (
        PIXELS / 255,
        PIXELS.astype(int),
        PIXELS > 3,
        PIXELS.transpose(2, 0, 1),
        PIXELS[None],
        PIXELS[0, 0],
    ):
        with pytest.raises(ValueError, match=r"expected an array of a picture's bytes, uint8 \(H,W\).* got "):
            upright(array)
    with pytest.raises(
        OSError, match="the picture cannot be read as an image: it has no pixels, its size is 3 x 0"
    ):
        upright(np.zeros((0, 3), np.uint8))
    with pytest.raises(
        ValueError, match="expected a network of 1 or 3 channels for a photograph, got 4: pass a ten"
    ):
        letterboxed(PIXELS, 16, channels=4)
    for size in (0, 10**6, True, 2.0):
        with pytest.raises(ValueError, match=f"expected size as a whole number of pixels, 1 to 16384, got {size}"):
            letterboxed(PIXELS, size)
    for other in (torch.zeros(3, 4, 4), 7, None, b"a.jpg", [PIXELS]):
        with pytest.raises(ValueError, match=r"expected a tensor \(B,3,h,w\), PIL images, arrays or paths, got"):
            upright(other)


def test_the_square_is_that_of_the_whole_picture_made_smaller_at_once():
    picture = Image.fromarray(load_sample_images().images[0])
    for image in (picture, picture.resize((2000, 1500)), picture.resize((90, 40))):
        for size in (96, 224):
            difference = letterboxed(image, size) - fit_image(upright(image), size)
            assert difference.abs().max() < 1.001 / 255
            grey = letterboxed(image, size, 1) - fit_image(upright(image, 1), size)
            assert grey.shape == (1, size, size) and grey.abs().max() < 1.001 / 255


def test_whatever_people_bring_becomes_a_list_of_pictures(tmp_path, monkeypatch):
    picture = Image.fromarray(PIXELS)
    for name in ("b.jpg", "a.png", "A.webp"):
        picture.save(tmp_path / name)
    (tmp_path / "notes.txt").touch()
    monkeypatch.chdir(tmp_path)
    found = pictures_in(tmp_path)
    assert found.folder == tmp_path and found.names == ["A.webp", "a.png", "b.jpg"]
    assert found.stems == ["A-webp", "a-png", "b"]
    for source in (
        "b.jpg",
        tmp_path / "b.jpg",
        ["b.jpg"],
        ("b.jpg",),
        (each for each in ["b.jpg"]),
        np.array(["b.jpg"]),
    ):
        found = pictures_in(source)
        assert (found.names, found.stems, found.folder) == (["b.jpg"], ["b"], None)
        assert upright(found.images[0]).shape == (3, 20, 30)
    found = pictures_in(["b.jpg", picture, PIXELS, "b.jpg", tmp_path / "a.png"])
    assert found.names == ["b.jpg", "image-1", "image-2", "b.jpg", "a.png"]
    assert len(set(found.stems)) == 5 and found.images[1] is picture
    assert pictures_in(PIXELS).names == ["image-0"]
    for source, kind, message in (
        ([], ValueError, "expected at least one picture, got none"),
        ([tmp_path, "b.jpg"], ValueError, "expected pictures in a list, got the folder .*: pass it alone"),
        (["b.jpg", 7], ValueError, "expected a picture .*, got int as number 1 of a list"),
        ({"b.jpg": 1}, ValueError, "expected a picture .* or a list of pictures, got dict$"),
        (None, ValueError, "got NoneType$"),
        (torch.zeros(3, 4, 4), ValueError, "got Tensor$"),
        ("none", FileNotFoundError, "no picture at none"),
    ):
        with pytest.raises(kind, match=message):
            letterboxed(pictures_in(source).images[0], 32)


MEMORY = """
import re, sys, torch, torchvision
from cam_utils import plots
from cam_utils.front import explain, overlays, pictures
from cam_utils.pairs import Pairs

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

class Found:
    maps, probabilities = torch.rand(6, 224, 224), torch.rand(1, 6)
    pairs = Pairs(torch.zeros(6, dtype=torch.long), torch.arange(6), torch.ones(6, 6, dtype=torch.bool))

before = peak()
for file in sys.argv[2:]:
    pictures.letterboxed(file, 224)
    overlays.save_overlays(Found, file, sys.argv[1], method="cam")
    print(peak() - before)
"""


def test_a_photograph_of_48_megapixels_is_decoded_once_and_copied_never(tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6
    picture = Image.new("RGB", (8000, 6000), "navy")
    picture.save(tmp_path / "a.jpg", exif=tags)
    picture.save(tmp_path / "b.png", compress_level=1)
    del picture
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, tmp_path / "out", tmp_path / "a.jpg", tmp_path / "b.png"],
        capture_output=True, text=True, check=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    growth = list(map(float, done.stdout.split()))
    assert len(growth) == 2 and 150 < min(growth) <= max(growth) < 300, growth  # MB; the pixels alone are 192
    sizes = set()
    for file in (tmp_path / "out").iterdir():
        with Image.open(file) as overlay:
            sizes.add((file.name[0], overlay.size))
    assert sizes == {("a", (768, 1024)), ("b", (1024, 768))}
