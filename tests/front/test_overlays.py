"""Overlays as files: names that every system takes, all different, whatever pictures and classes are called."""

import errno
import os
import subprocess
import sys
import unicodedata
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from cam_utils import plots
from cam_utils.front import overlays
from cam_utils.front.explanation import in_frame
from cam_utils.front.file_names import RESERVED, cut, label_name, method_name, printable, stems
from cam_utils.front.overlays import save_overlays
from cam_utils.front.pictures import blend
from cam_utils.pairs import Pairs
from tests.front.reading import read_folder

ODD = [
    "a.jpg", "a.png", "a-jpg.png", "A.jpg", "a.JPG.png", "con.jpg", "NUL.x.jpg", ".hidden.jpg", "-rf.jpg",
    "dot..jpg", "space .jpg", " space.jpg", "cost $5_$6^.png", "100%.png", "quo'te\".png", "new\nline.png",
    "tab\t.png", "\x1b[31m.png", "back\\slash.png", "a:b.png", "a?b.png", "a|b.png", "\u202eabc.png",
    "caf\u00e9.png", "cafe\u0301.png", "CAF\u00c9.png", "日" * 80 + ".jpg", "日" * 79 + "本.jpg",
    "x" * 245 + ".jpg", "x" * 245 + ".png", "👩‍🚀" * 20 + ".png", "हिन्दी.png", "🐈.png", "🐕.png",
    os.fsdecode(b"\xff.png"), os.fsdecode(b"\xfe.png"), os.fsdecode(b"\xff\xfe\x80.png"), "!!!.png", "???.png",
    "_.png", "ß.png", "ss.png",
]  # fmt: skip


class Found:
    """What save_overlays reads of an explanation: one picture for each map."""

    def __init__(self, labels, images=None, size=8):
        labels = torch.tensor(labels)
        self.maps = torch.rand(len(labels), size, size)
        self.pairs = Pairs(torch.arange(len(labels)) if images is None else torch.tensor(images), labels, labels)
        self.probabilities = torch.rand(int(self.pairs.image.max()) + 1, 10)


def same_on_some_system(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def assert_fit(names):
    assert len({same_on_some_system(name) for name in names}) == len(names)
    for name in names:
        assert (0 < len(name.encode()) <= 255 - 22 and name.isprintable()) or "\u200d" in name, name
        assert not set(name) & set("<>:\"/\\|?*$%'`^&;!\n") and name[0] not in ".- " and name[-1] not in ". ", name
        assert name.split(".")[0].upper() not in RESERVED, name


def test_pictures_of_every_name_give_overlays_that_are_all_different(tmp_path):
    files = [tmp_path / name for name in ODD]
    picture = Image.new("RGB", (8, 8), "red")
    for file in files:
        picture.save(file)
    assert_fit(stems(files))
    found = Found([3] * len(files))
    written = save_overlays(found, files, tmp_path / "out", method="grad-cam", classes=["x"] * 10)
    assert len(written) == len(set(written)) == len(list((tmp_path / "out").iterdir())) == len(ODD)
    assert_fit([file.name for file in written])
    assert all(file.is_file() and file.name.endswith("_3-x_grad-cam.jpg") for file in written)
    read, _ = read_folder(tmp_path, 8)
    assert len(set(read.stems)) == len(read.pictures) == len(ODD) and not read.skipped
    one = Found([3])
    for path, stem in zip(read.pictures, read.stems, strict=True):  # one by one, as a loop over a folder does
        save_overlays(one, path, tmp_path / "each", method="grad-cam", names=[stem])
    assert len(list((tmp_path / "each").iterdir())) == len(ODD)


def test_pictures_of_one_name_in_several_folders_differ(tmp_path):
    assert stems(["cat/1.jpg", "dog/1.jpg", "2.jpg"]) == ["cat-1-jpg", "dog-1-jpg", "2"]
    assert stems(["x/a/1.jpg", "y/a/1.jpg", "x/a/1.jpg"])[0] != stems(["x/a/1.jpg", "y/a/1.jpg"])[1]
    assert_fit(stems(["x/a/1.jpg", "y/a/1.jpg", "x/a/1.jpg", "1.jpg", "x/A/1.JPG"]))
    assert_fit(stems(["a.jpg"] * 5 + ["a-jpg-2.png"]))


def test_names_are_cut_between_letters_and_stay_different():
    assert cut("日" * 80, 110) != cut("日" * 79 + "本", 110)
    for letter in ("日", "e\u0301", "👩‍🚀", "👍🏽", "x"):
        short = cut(letter * 200, 110)
        start, digest = short.rsplit("-", 1)
        assert len(short.encode()) <= 110 and len(digest) == 8 and start == letter * (len(start) // len(letter))


def test_classes_and_methods_of_every_name_become_parts_of_file_names():
    classes = [
        "a/b",
        "../..",
        "",
        "日本",
        "हिन्दी",
        "x" * 300,
        "a\nb",
        "$x^2$",
        "tabby, tabby cat",
        "CON",
        "7",
        "🐈",
        "a",
    ]
    names = [label_name(i, classes) for i in range(len(classes))]
    assert names[:5] == ["0-a-b", "1", "2", "3-日本", "4-हिन्दी"] and names[6:10] == [
        "6-a-b", "7-x-2", "8-tabby-tabby-cat", "9-CON",
    ]  # fmt: skip
    assert names[11:] == ["11-🐈", "12-a"] and all(len(name.encode()) <= 80 for name in names)
    assert label_name(10, {3: "x"}) == "10" and label_name(3, {3: "3"}) == "3"
    with pytest.raises(ValueError, match="expected a class for label 3, got 2 classes"):
        label_name(3, ["a", "b"])
    assert method_name("my method/../x") == "my method-..-x"
    assert len(method_name("m" * 99).encode()) <= 40


def test_a_name_is_shown_without_what_cannot_be_seen():
    shown = [
        printable(name) for name in ("a\nb", "\u202ecod", os.fsdecode(b"\xff"), "\ud800", "日 本", "👩‍🚀", "$5_$")
    ]
    assert shown == [r"a\nb", r"\u202ecod", r"\xff", r"\ud800", "日 本", "👩‍🚀", "$5_$"]
    figure = plots.map_grid([torch.zeros(3, 4, 4)], ["cost $5_$6^\n\udcff"], {"$m^$": [torch.zeros(4, 4)]})
    plots.picture_row([torch.zeros(3, 4, 4)], ["cost $5_$6^"]).canvas.draw()
    figure.canvas.draw()  # formulas that are none would end it
    assert figure.axes[0].get_ylabel() == "cost $5_$6^\n\\xff"


def test_a_label_that_is_explained_twice_has_two_overlays(tmp_path):
    picture = Image.new("RGB", (9, 5))
    files = save_overlays(Found([1, 1, 2], [0, 0, 0]), picture, tmp_path, method="cam")
    assert [file.name for file in files] == ["image-0_1_cam.jpg", "image-0_1_cam-2.jpg", "image-0_2_cam.jpg"]
    array = np.zeros((5, 9, 3), np.uint8)
    (file,) = save_overlays(Found([1]), array, tmp_path, method="cam", names=["../up"], longest=None)
    assert file == tmp_path / "up_1_cam.jpg"
    with Image.open(file) as overlay:
        assert overlay.size == (9, 5)


def test_signed_maps_leave_the_picture_where_they_are_zero():
    image = torch.rand(3, 2, 3)
    mask = torch.tensor([[0.0, 0.5, 1.0], [0.0, -0.5, -1.0]])
    shown = blend(image, mask, 0.8, signed=True).astype(float)
    before = (255 * image.permute(1, 2, 0)).numpy()
    assert np.abs(shown[:, 0] - before[:, 0]).max() <= 0.5 + 1e-4
    change = shown - before
    red, blue = np.array([103, 0, 31]), np.array([5, 48, 97])  # the ends of matplotlib's RdBu
    assert np.abs(change[0, 2] - 0.8 * (red - before[0, 2])).max() <= 1
    assert np.abs(change[1, 2] - 0.8 * (blue - before[1, 2])).max() <= 1
    half = 0.4 * (255 * plots.coloured(torch.tensor([[0.5, -0.5]]), signed=True)[0] - before[:, 1])
    assert np.abs(change[:, 1] - half).max() <= 1
    assert np.array_equal(blend((255 * image).byte(), mask.abs()), blend((255 * image).byte() / 255, mask.abs()))


def test_folders_that_cannot_be_written_to_are_named(tmp_path, monkeypatch):
    picture, found = Image.new("RGB", (9, 5)), Found([1])
    (tmp_path / "file").write_text("x")
    for folder, message in (("file", "it is a file"), ("file/below", "Not a directory"), ("x" * 300, "too long")):
        with pytest.raises(OSError, match=f"cannot make the folder of overlays .*{folder[:9]}.*: .*{message}$"):
            save_overlays(found, picture, tmp_path / folder, method="cam")

    def full(self, file, **_):
        file.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match=r"cannot write the overlay image-0_1_cam\.jpg to .*: No space left on"):
        save_overlays(found, picture, tmp_path / "out", method="cam")
    assert not list((tmp_path / "out").iterdir())
    with pytest.raises(ValueError, match="expected longest as a whole number of pixels, 1 or more, got 0"):
        save_overlays(found, picture, tmp_path / "none", method="cam", longest=0)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("shape", [(40, 1000), (1000, 40), (333, 250)])
def test_a_map_made_in_bands_is_the_map_made_at_once(monkeypatch, shape):
    mask = torch.rand(24, 24, generator=torch.Generator().manual_seed(0))
    whole = in_frame(mask, *shape)
    monkeypatch.setattr(overlays, "BAND", 5000)
    for limit in (0, 10**9):
        monkeypatch.setattr(overlays, "WHOLE", limit)
        tops, parts = zip(*overlays._bands(mask, *shape), strict=True)
        assert [part.shape[0] for part in parts[:-1]] == [b - a for a, b in pairwise(tops)]
        torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-6)


MEMORY = """
import resource, sys
import torch
from PIL import Image
from cam_utils.front.overlays import save_overlays
from tests.front.test_overlays import Found

def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

folder, picture = sys.argv[1], Image.new("RGB", (5000, 4000), "red")
save_overlays(Found([3]), [Image.new("RGB", (64, 64))], folder, method="cam", longest=None)
before = most()
save_overlays(Found([3, 4], images=[0, 0]), [picture], folder, method="cam", longest=None)
print((most() - before) / (5000 * 4000))
"""


def test_a_large_overlay_needs_little_more_than_its_pixels(tmp_path):
    """3 bytes for the picture's, 4 for the file's; a map as large as the picture would need more."""
    done = subprocess.run([sys.executable, "-c", MEMORY, str(tmp_path)], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    assert float(done.stdout) < 11
