"""Damaged masks and pictures: one sentence that names the file, when it is read."""

import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from cam_utils import data
from tests.data.damage import (
    MASK,
    PHOTO,
    put,
    read,
    refused,
)


def mask(size=(200, 100), mode="P", **boxes):
    """Return a picture in which index k fills a box (x1, y1, x2, y2)."""
    pixels = np.zeros(size[::-1], np.uint8)
    for index, (x1, y1, x2, y2) in boxes.items():
        pixels[y1:y2, x1:x2] = int(index.removeprefix("k"))
    picture = Image.fromarray(pixels)
    if mode != "P":
        return picture.convert(mode)
    picture.putpalette([value for grey in range(256) for value in (grey, grey, grey)])
    return picture


CAT, HUMAN = (10, 20, 40, 80), (90, 10, 130, 90)  # the boxes of image 1


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (mask(size=(100, 200)), r"000001\.png has shape \(200, 100\), expected the image's \(100, 200\)"),
        (mask(mode="RGB"), r"000001\.png has shape \(100, 200, 3\), expected"),
        (mask(mode="1"), r"000001\.png has shape \(100, 200\) and one bit per pixel, expected"),
        (
            mask(mode="I;16"),
            r"damaged or truncated image .*000001\.png: its pixels have mode I;16, expected 8 bits",
        ),
        (mask(), r"000001\.png holds no pixel of object 1, expected palette index k for object k of .*000001\.xml"),
        (mask(k8=CAT, k15=HUMAN), r"000001\.png holds no pixel of object 1"),  # class indices
        (mask(k1=CAT, k15=HUMAN), r"000001\.png holds no pixel of object 2"),
        (mask(k2=CAT, k1=HUMAN), r"000001\.png holds index 1 outside the box of object 1"),
        (mask(k1=CAT, k2=(0, 0, 200, 100)), r"000001\.png holds no pixel of object 1|index 2 outside the box"),
    ],
)
def test_damaged_masks(layouts, picture, message):
    (layouts / MASK).unlink()
    picture.save(layouts / MASK)
    refused(layouts, MASK, message)


def test_masks_with_hidden_and_unlisted_objects(layouts):
    (layouts / MASK).unlink()
    mask(k1=CAT, k255=(0, 0, 5, 5)).save(layouts / MASK)
    sample = read(layouts, MASK)[0]
    assert sample.masks.flatten(1).any(1).tolist() == [True, False] and sample.ignore.any()
    mask(mode="L", k1=CAT, k2=HUMAN, k3=(180, 0, 200, 100)).save(layouts / MASK)
    sample = read(layouts, MASK)[0]
    assert len(sample.masks) == 2 and sample.ignore[8:24, 30].all()  # neither object nor background


def png(*chunks):
    def chunk(name, content):
        return len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")

    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


HEAD = (b"IHDR", (200).to_bytes(4, "big") + (100).to_bytes(4, "big") + b"\x08\x02\0\0\0")
HUGE = (b"IHDR", (60_000).to_bytes(4, "big") * 2 + b"\x01\0\0\0\0")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (png(HUGE, (b"IDAT", zlib.compress(b"")), (b"IEND", b"")), "could be decompression bomb"),
        (png(HEAD, (b"IDAT", b"garbage"), (b"IEND", b"")), "."),
        (png(HEAD, (b"IEND", b"")), "."),
        (png(HEAD, (b"iCCP", b"x")), "."),
        (png((b"IHDR", b"")), "."),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "cannot identify"),  # runs a program
        (b"GIF89a" + b"\xff" * 60, "."),
        (b"II*\x00\x08\x00\x00\x00" + b"\xff" * 60, "."),
        (b"RIFF\x40\x00\x00\x00WEBPVP8 " + b"\0" * 50, "."),
        (b"BM" + b"\xff" * 80, "."),
        (b"\xff\xd8\xff\xe1\x00\x10Exif\x00\x00" + b"\xff" * 9, "."),
    ],
)
@pytest.mark.parametrize("name", [PHOTO, "planet/train-jpg/train_1.jpg", "Stanford40/JPEGImages/reading_001.jpg"])
def test_damaged_pictures(layouts, name, content, message):
    put(layouts, name, content)
    refused(layouts, name, f"^damaged or truncated image .*: .*{message}")


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_pictures_of_more_than_8_bits(layouts, mode):
    (layouts / PHOTO).unlink()
    picture = Image.fromarray(np.full((100, 200), 7, {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]))
    picture.save(layouts / PHOTO, format="TIFF")
    refused(layouts, PHOTO, rf"000001\.jpg: its pixels have mode {mode}\S*, expected 8 bits per channel")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_pictures_of_other_modes_are_read(layouts, mode):
    (layouts / PHOTO).unlink()
    Image.new("RGB", (200, 100), (255, 255, 255)).convert(mode).save(layouts / PHOTO, "TIFF")
    assert read(layouts, PHOTO)[0].image[:, 16, 16].tolist() == [1, 1, 1]


def test_annotated_pixels_are_those_of_the_file(layouts):
    """An EXIF tag that turns the picture, and one that is damaged: neither moves a pixel."""
    (layouts / PHOTO).unlink()
    for exif in (
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0",
        b"Exif\0\0MM\0*\xff\xff\xff",
    ):
        Image.new("RGB", (200, 100)).save(layouts / PHOTO, "JPEG", exif=exif, icc_profile=_profile())
        assert len(read(layouts, PHOTO)[0].boxes) == 2


def _profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def test_pictures_too_long_to_be_cropped(layouts):
    (layouts / PHOTO).unlink()
    Image.new("L", (60_000, 1)).save(layouts / PHOTO, "PNG")  # 224 rows would have 13 million columns
    scenes = data.load("voc2007", "train", root=layouts, resize="crop")
    with pytest.raises(
        OSError, match=r"000001\.jpg is 60000 x 1 pixels, expected at most 100 times as long as wide"
    ):
        scenes.pixels(0)
    assert data.load("voc2007", "train", root=layouts, size=32).pixels(0).shape == (3, 32, 32)
