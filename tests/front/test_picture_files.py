"""Picture files of every kind, and what is none: read upright, or refused in a sentence."""

import logging
import os
import struct
import threading
import time
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from cam_utils.front import pictures
from cam_utils.front.pictures import frame, letterboxed, upright
from tests.front.reading import read_folder

# What a viewer does with pixels that are stored as orientation 1 to 8 says, by numpy.
SEEN = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}
PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def chw(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)


def exif(kind: int, count: int, value: bytes) -> bytes:
    return b"Exif\0\0II*\0" + struct.pack("<IHHHI", 8, 1, 0x0112, kind, count) + value.ljust(4, b"\0") + bytes(4)


@pytest.mark.parametrize("code", SEEN)
@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg"])
def test_every_orientation_is_set_upright_in_every_format(code, suffix, tmp_path, monkeypatch):
    tags = Image.Exif()
    tags[0x0112] = code
    Image.fromarray(PIXELS).save(tmp_path / f"a.{suffix}", exif=tags, lossless=True)
    with Image.open(tmp_path / f"a.{suffix}") as picture:
        stored = np.array(picture) if suffix == "jpg" else PIXELS
    expected = chw(SEEN[code](stored))
    whole = letterboxed(tmp_path / f"a.{suffix}", 16)
    assert torch.equal(upright(tmp_path / f"a.{suffix}"), expected)
    assert frame(tmp_path / f"a.{suffix}") == tuple(expected.shape[1:])
    monkeypatch.setattr(pictures, "BAND", 100)  # several bands, and a last one that is smaller
    assert torch.equal(upright(tmp_path / f"a.{suffix}"), expected)
    assert torch.equal(letterboxed(tmp_path / f"a.{suffix}", 16), whole)


def test_an_orientation_that_is_none_leaves_the_picture_as_stored(tmp_path):
    as_stored, turned = (20, 30), (30, 20)
    for kind, count, value, expected in (
        (3, 1, b"\6\0", turned), (4, 1, b"\6\0\0\0", turned), (1, 1, b"\6", turned), (3, 1, b"\0\0", as_stored),
        (3, 1, b"\x09\0", as_stored), (2, 2, b"6\0", as_stored), (3, 0, b"\6\0", as_stored),
        (5, 1, b"\6", as_stored), (99, 1, b"\6\0", as_stored),
        (4, 1, b"\6\0\1\0", as_stored), (7, 4, b"\6\0\0\0", as_stored),
    ):  # fmt: skip
        for suffix in ("jpg", "png", "webp"):
            Image.fromarray(PIXELS).save(tmp_path / f"a.{suffix}", exif=exif(kind, count, value))
            assert frame(tmp_path / f"a.{suffix}") == expected, (kind, count, value, suffix)
            assert tuple(upright(tmp_path / f"a.{suffix}").shape[1:]) == expected


def test_every_kind_of_pixel_is_read_in_its_colours(tmp_path):
    picture = Image.fromarray(PIXELS)
    alpha = Image.merge("RGBA", [*picture.split(), Image.fromarray(PIXELS[..., 0])])
    palette = picture.convert("P")
    palette.save(tmp_path / "palette.png", transparency=bytes(range(256)))  # one alpha for each colour
    palette.save(tmp_path / "palette.gif", transparency=3)
    picture.convert("1").save(tmp_path / "bits.png")
    alpha.convert("LA").save(tmp_path / "grey_alpha.png")
    alpha.save(tmp_path / "alpha.webp", lossless=True, exact=True)
    alpha.save(tmp_path / "alpha.tif")
    picture.convert("CMYK").save(tmp_path / "cmyk.tif")
    other = Image.fromarray(255 - PIXELS)
    for suffix in ("gif", "png", "tif", "webp"):
        options = {"lossless": True} if suffix == "webp" else {}
        first = palette if suffix == "gif" else picture
        first.save(tmp_path / f"several.{suffix}", save_all=True, append_images=[other], **options)
    grey = np.array(picture.convert("L"))[..., None].repeat(3, 2)
    bits = np.array(picture.convert("1")).astype(np.uint8)[..., None].repeat(3, 2) * 255
    coloured = np.array(palette.convert("RGB"))
    expected = {
        "palette.png": coloured, "palette.gif": coloured, "bits.png": bits, "grey_alpha.png": grey,
        "alpha.webp": PIXELS, "alpha.tif": PIXELS, "cmyk.tif": PIXELS, "several.gif": coloured,
        "several.png": PIXELS, "several.tif": PIXELS, "several.webp": PIXELS,
    }  # fmt: skip
    for name, array in expected.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert torch.equal(upright(tmp_path / name), chw(array)), name
        assert torch.equal(upright(tmp_path / name, 1)[0], torch.from_numpy(np.array(
            Image.fromarray(array).convert("L")))), name  # fmt: skip
    picture.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    assert (upright(tmp_path / "cmyk.jpg").int() - chw(PIXELS).int()).abs().float().mean() < 20
    for name, array in (("deep.png", np.uint16), ("deep.tif", np.uint16), ("float.tif", np.float32)):
        Image.fromarray(np.full((5, 5), 40_000, array)).save(tmp_path / name)
        with pytest.raises(OSError, match=rf"{name} cannot be read as an image: its pixels have mode .*8 bits"):
            upright(tmp_path / name)


def test_what_is_no_picture_is_skipped_with_its_reason(tmp_path):
    whole = tmp_path / "z.jpg"
    Image.fromarray(PIXELS).save(whole)
    png = tmp_path / "wide.png"
    Image.fromarray(PIXELS).save(png)
    data = png.read_bytes()
    header = b"IHDR" + struct.pack(">II", 2**20, 2**20) + data[24:29]  # it says that it is enormous
    png.write_bytes(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[:-200])
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "zeros.png").write_bytes(bytes(1000))
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to("nothing")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    bad = os.fsdecode(b"\xff\n.png")
    (tmp_path / bad).touch()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read, _ = read_folder(tmp_path, 32)
    assert [path.name for path in read.pictures] == ["z.jpg"]
    damaged = "its content is not that of a picture"
    reasons = {
        "empty.jpg": "the file is empty", "cut.jpg": "image file is truncated", "zeros.png": damaged,
        "text.jpg": damaged,
        "folder.jpg": "it is a folder",
        "link.jpg": "no picture at link.jpg: it is a link to a file that does not exist",
        "loop.jpg": "too many levels of symbolic links", "pipe.jpg": "it is no regular file",
        "wide.png": "could be decompression bomb", r"\xff\n.png": "the file is empty",
    }  # fmt: skip
    assert read.skipped.keys() == reasons.keys()
    for name, reason in reasons.items():
        assert name in read.skipped[name] and reason in read.skipped[name], read.skipped[name]
        assert str(tmp_path) not in read.skipped[name]
    for path, kind, reason in (
        ("none.jpg", FileNotFoundError, "no picture at none.jpg$"),
        ("z.jpg/a.jpg", FileNotFoundError, "no picture at z.jpg/a.jpg$"),
        ("x" * 300 + ".jpg", OSError, "xxx.jpg cannot be read as an image: file name too long"),
        ("a\0b.jpg", OSError, r"a\\x00b.jpg cannot be read as an image: its content is damaged|no picture"),
    ):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(kind, match=reason):
            patch.chdir(tmp_path)
            letterboxed(path, 32)


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)  # whoever tests as root may read all
    with pytest.raises(OSError, match=r"a\.jpg cannot be read as an image: permission denied$"):
        upright(tmp_path / "a.jpg")


def test_large_pictures_are_read_in_silence_and_enormous_ones_refused(tmp_path, monkeypatch):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
        assert upright(tmp_path / "a.png").shape == (3, 20, 30)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
        with pytest.raises(OSError, match=r"a\.png cannot be read as an image: Image size \(600 pixels\) exceeds"):
            upright(tmp_path / "a.png")


def test_threads_leave_the_filters_of_warnings_as_they_were(tmp_path, monkeypatch):
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0" + bytes(3))
    before, reading, most, read = list(warnings.filters), [], [], []
    plain = Image.open

    def slow(*args):
        reading.append(1)
        most.append(len(reading))
        time.sleep(0.01)
        reading.pop()
        return plain(*args)

    monkeypatch.setattr(Image, "open", slow)
    threads = [threading.Thread(target=lambda: read.append(upright(tmp_path / "a.jpg"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read) == 8 and max(most) == 1 and warnings.filters == before


def test_what_pillow_notes_about_a_file_stays_off_the_screen(monkeypatch, capfd):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logging.getLogger("PIL.TiffImagePlugin").error("More samples per pixel than can be decoded: 9")
    assert capfd.readouterr() == ("", "")


def test_the_frame_is_known_without_decoding(tmp_path, monkeypatch):
    tags = Image.Exif()
    tags[0x0112] = 6
    names = [f"a.{suffix}" for suffix in ("jpg", "png", "tif", "bmp", "gif", "late.png")]
    for name in names[:-1]:
        Image.fromarray(PIXELS).save(
            tmp_path / name, **({"exif": tags} if name[2:] in ("jpg", "png", "tif") else {})
        )
    data = (tmp_path / "a.png").read_bytes()  # EXIF may stand after the pixels, too
    at = data.index(b"eXIf") - 4
    end = at + 12 + int.from_bytes(data[at : at + 4], "big")
    (tmp_path / "a.late.png").write_bytes(data[:at] + data[end:-12] + data[at:end] + data[-12:])
    assert upright(tmp_path / "a.late.png").shape == (3, 30, 20)

    def load(_):
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    frames = [frame(tmp_path / name) for name in names]
    assert frames == [(30, 20), (30, 20), (30, 20), (20, 30), (20, 30), (30, 20)]
