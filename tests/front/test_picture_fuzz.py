"""Damaged pictures, at random but always the same ones: what is whole is read upright, the rest has a sentence."""

import io
import random
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from cam_utils.front import pictures
from cam_utils.front.picture_files import PIXEL_TAGS

WIDTH, HEIGHT = 24, 16
LONGS, ODD_COUNTS = (0x0100, 0x011A, 0x0128, 0x8769, 0x8825, 0xA005), (0, 1, 2, 7, 1000, 2**31, 2**32 - 1)
FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "tif": "TIFF", "gif": "GIF", "bmp": "BMP"}


def stored() -> Image.Image:
    """A picture whose corners differ."""
    x, y = np.meshgrid(np.linspace(0, 200, WIDTH), np.linspace(0, 200, HEIGHT))
    return Image.fromarray(np.stack([x, y, 255 - x], -1).astype(np.uint8))


def entry(order: str, tag: int, kind: int, count: int, value: bytes) -> bytes:
    return struct.pack(f"{order}HHI", tag, kind, count) + value[:4].ljust(4, b"\0")


def odd_entries(rng: random.Random, order: str) -> list[bytes]:
    """Entries of a directory with tags, types, counts and values that do not belong together."""
    found = []
    for _ in range(rng.randint(1, 5)):
        tag = rng.choice([*LONGS, rng.randrange(2**16)])
        if tag not in PIXEL_TAGS:
            found.append(entry(order, tag, rng.randint(0, 20), rng.choice(ODD_COUNTS), rng.randbytes(4)))
    return found


def odd_exif(rng: random.Random) -> bytes:
    """EXIF with a good orientation (6: a quarter to the right) among entries that are not good."""
    order = rng.choice("<>")
    turn = entry(order, 0x0112, 3, 1, struct.pack(f"{order}H", 6))
    entries = [turn, *odd_entries(rng, order)]
    if rng.random() < 0.5:
        rng.shuffle(entries)
    count = len(entries) + rng.choice([0, 0, 1, 500])  # the directory may be cut
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, count)
    return head + b"".join(entries) + rng.randbytes(rng.randint(0, 20))


def chunk(kind: bytes, content: bytes, checksum: int | None = None) -> bytes:
    crc = zlib.crc32(kind + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def odd_metadata(rng: random.Random, suffix: str) -> bytes:
    """A whole picture, stored sideways, in a file whose other metadata are damaged."""
    picture, out = stored().transpose(Image.Transpose.ROTATE_90), io.BytesIO()
    exif, junk = odd_exif(rng), rng.randbytes(rng.randint(0, 60))
    if suffix == "webp":
        picture.save(out, "WEBP", exif=exif, icc_profile=junk, xmp=rng.randbytes(9), lossless=True)
        return out.getvalue()
    options = (
        {"compression": rng.choice([None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])} if suffix == "tif" else {}
    )
    picture.save(out, FORMATS[suffix], **({"quality": 95} if suffix == "jpg" else options))
    data = out.getvalue()
    if suffix == "png":
        kinds = (b"iCCP", b"zTXt", b"iTXt", b"tEXt", b"gAMA", b"cHRM", b"pHYs", b"sRGB", b"acTL", b"abCd")
        odd = [chunk(rng.choice(kinds), junk, rng.choice([None, 0])) for _ in range(2)]
        odd.append(chunk(b"eXIf", exif, rng.choice([None, None, 1])))
        rng.shuffle(odd)
        where = rng.choice([33, len(data) - 12])  # behind the header, or before the end
        return data[:where] + b"".join(odd) + data[where:]
    if suffix == "jpg":
        kinds = [(0xE2, b"ICC_PROFILE\0"), (0xE2, b"MPF\0"), (0xE1, b"http://ns.adobe.com/xap/1.0/\0"), (0xED, b""),
                 (0xED, b"Photoshop 3.0\x008BIM"), (0xE0, b"JFIF\0"), (0xEE, b"Adobe"), (0xFE, b"")]  # fmt: skip
        odd = [segment(0xE1, b"Exif\0\0" + exif)]
        for marker, start in rng.sample(kinds, 2):
            odd.append(segment(marker, start + junk[: 3 if start == b"Adobe" else 60]))
        rng.shuffle(odd)
        return data[:2] + b"".join(odd) + data[2:]
    order, (at,) = "<", struct.unpack("<I", data[4:8])  # TIFF
    (count,) = struct.unpack("<H", data[at : at + 2])
    old = [data[i : i + 12] for i in range(at + 2, at + 2 + 12 * count, 12)]
    entries = sorted(
        [*old, *odd_entries(rng, order), entry(order, 0x0112, 3, 1, b"\6\0")], key=lambda e: e[:2][::-1]
    )
    data += b"\0" * (len(data) % 2)
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + struct.pack("<H", len(entries)) + b"".join(
        entries) + bytes(4)  # fmt: skip


def damaged(rng: random.Random, suffix: str) -> bytes:
    """A file with flipped bits, cut, lengthened, with a part taken out or overwritten."""
    if suffix in ("gif", "bmp"):
        out = io.BytesIO()
        stored().save(out, FORMATS[suffix])
        data = bytearray(out.getvalue())
    else:
        data = bytearray(odd_metadata(rng, suffix))
    kind = rng.choice(["flip", "head", "cut", "out", "over"])
    at = rng.randrange(min(len(data), 80) if kind == "head" else len(data))
    if kind in ("flip", "head"):
        for _ in range(rng.randint(1, 8)):
            data[min(len(data) - 1, at + rng.randint(0, 40))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del data[at:]
    elif kind == "out":
        del data[at : at + rng.randint(1, 40)]
    else:
        data[at : at + 8] = rng.randbytes(8)
    return bytes(data)


def outcome(file) -> str:
    """Return "read" or "refused", and fail if there is no picture or no sentence."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            pixels = pictures.upright(file)
        except OSError as error:
            text = str(error)
            assert type(error) in (OSError, FileNotFoundError) and str(file) in text and "\n" not in text
            assert text.isprintable() and len(text) < 600, text
            return "refused"
    assert pixels.dtype == torch.uint8 and pixels.dim() == 3 and pixels.numel()
    assert pictures.frame(file) == tuple(pixels.shape[1:])
    return "read"


def whole(file, suffix: str) -> bool:
    """Return whether a picture that is stored sideways is read upright."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = pictures.upright(file).permute(1, 2, 0).int()
    expected = torch.from_numpy(np.array(stored())).int()
    return pixels.shape == expected.shape and (pixels - expected).abs().max() <= (40 if suffix == "jpg" else 0)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_odd_metadata_never_hide_a_picture(suffix, tmp_path, capfd):
    rng, file = random.Random(7), tmp_path / f"a.{suffix}"
    for i in range(120):
        file.write_bytes(odd_metadata(rng, suffix))
        assert whole(file, suffix), i
        assert pictures.frame(file) == (HEIGHT, WIDTH), i
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", list(FORMATS))
def test_damaged_files_are_read_or_refused_in_a_sentence(suffix, tmp_path, capfd):
    rng, file, found = random.Random(8), tmp_path / f"a.{suffix}", []
    for _ in range(150):
        file.write_bytes(damaged(rng, suffix))
        found.append(outcome(file))
    assert set(found) == {"read", "refused"}
    assert capfd.readouterr() == ("", "")
