"""What the studies need of VOC 2012 and of ImageNet in one file that travels to a GPU: make gpu-pack DATA=FOLDER.

A zip file with both data sets in their own layouts, which `cam_utils.data.load` reads: every image as the studies
see it (the longest side of VOC's 224 px, the central square of ImageNet's), masks of VOC's "val" alone, boxes moved
along. What deviates from the data themselves is that images are encoded as JPEG once more: pack.json holds the
quality and the mean difference of a pixel. It is for machines, not for git: pictures of data sets stay out of it.

    python benchmarks/gpu_pack.py --data DATA --out data/cache/gpu-pack.zip
"""

import argparse
import io
import json
import sys
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from tqdm import tqdm

from cam_utils import data, files
from cam_utils.data.sample import Sample
from cam_utils.data.sizing import letterbox
from workflow.studies.photograph_cells import SIZE

MOST = 45_000_000  # bytes
QUALITY = 85
VOC, IMAGENET, SYNSETS = "VOCdevkit/VOC2012", "imagenet", "LOC_synset_mapping.txt"
DIFFICULT = ("0", "1")


class Pack:
    """A zip file that is written; equal contents are equal bytes."""

    def __init__(self, file: zipfile.ZipFile, quality: int) -> None:
        self.file, self.quality = file, quality
        self.differences: list[float] = []

    def add(self, name: str, content: bytes | str) -> None:
        """Add a file; what is no picture is compressed."""
        packed = zipfile.ZIP_DEFLATED if name.endswith((".xml", ".txt", ".json")) else zipfile.ZIP_STORED
        self.file.writestr(zipfile.ZipInfo(name), content, packed)  # of 1980, whenever it is made

    def picture(self, name: str, image: torch.Tensor) -> None:
        """Add an image [3, h, w] in [0, 1] as JPEG, and keep how far its pixels are from those given."""
        pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "JPEG", quality=self.quality, optimize=True)
        again = np.asarray(Image.open(content), dtype=float)
        self.differences.append(float(np.abs(again - pixels).mean() / 255))
        self.add(name, content.getvalue())


def annotation(sample: Sample, classes, top: int, left: int, rows: int, columns: int) -> str:
    """Return VOC's XML of a sample whose picture lies there in its square."""
    root = ET.Element("annotation")
    size = ET.SubElement(root, "size")
    for name, value in (("width", columns), ("height", rows), ("depth", 3)):
        ET.SubElement(size, name).text = str(value)
    moved = sample.boxes - torch.tensor([left, top, left, top])
    for label, (x1, y1, x2, y2), flag in zip(sample.objects, moved.tolist(), sample.flags, strict=True):
        item = ET.SubElement(root, "object")
        ET.SubElement(item, "name").text = classes[label]
        ET.SubElement(item, "difficult").text = DIFFICULT[int(flag)]
        box = ET.SubElement(item, "bndbox")
        # VOC counts from 1, the last pixel included: a box is one pixel wide at least.
        corners = {"xmin": x1 + 1, "ymin": y1 + 1, "xmax": max(x2, x1 + 1), "ymax": max(y2, y1 + 1)}
        for name, value in corners.items():
            ET.SubElement(box, name).text = f"{value:.2f}"
    return ET.tostring(root, encoding="unicode")


def drawn(sample: Sample, top: int, left: int, rows: int, columns: int) -> bytes | None:
    """Return the masks as PNG of palette indices, object k as k, what is ignored as 255; None without a pixel."""
    indices = torch.zeros(sample.image.shape[-2:], dtype=torch.uint8)
    for number, mask in enumerate(sample.masks, 1):
        indices[mask] = number
    if not indices.any():
        return None
    indices[sample.ignore] = 255
    content = io.BytesIO()
    image = Image.fromarray(indices[top : top + rows, left : left + columns].numpy(), mode="P")
    image.putpalette([value for k in range(256) for value in (k, k, k)])
    image.save(content, "PNG", optimize=True)
    return content.getvalue()


def add_voc(pack: Pack, root: Path, split: str, limit: int | None) -> Dataset:
    """Add a split of VOC 2012, with masks for "val", and return it."""
    images = data.load("voc2012", split, root=root, size=SIZE, limit=limit)
    for i, name in enumerate(tqdm(images.ids, desc=f"VOC 2012 {split}")):
        with Image.open(root / VOC / "JPEGImages" / f"{name}.jpg") as opened:
            width, height = opened.size
        place = top, left, rows, columns = letterbox(height, width, SIZE)
        sample = images[i]
        pack.picture(f"{VOC}/JPEGImages/{name}.jpg", sample.image[:, top : top + rows, left : left + columns])
        pack.add(f"{VOC}/Annotations/{name}.xml", annotation(sample, images.classes, *place))
        if split == "val" and sample.masks is not None and (content := drawn(sample, *place)):
            pack.add(f"{VOC}/SegmentationObject/{name}.png", content)
    pack.add(f"{VOC}/ImageSets/Main/{split}.txt", "".join(f"{name}\n" for name in images.ids))
    return images


def add_imagenet(pack: Pack, root: Path, limit: int | None) -> Dataset:
    """Add ImageNet's images, and return them."""
    images = data.load("imagenet", "val", root=root, size=SIZE, resize="crop", limit=limit)
    listed = (root / IMAGENET / SYNSETS).read_text()
    synsets = [line.split()[0] for line in listed.splitlines()]
    pack.add(f"{IMAGENET}/{SYNSETS}", listed)
    for i, name in enumerate(tqdm(images.ids, desc="ImageNet")):
        synset = synsets[int(images.labels[i].argmax())]
        pack.picture(f"{IMAGENET}/val/{synset}/{name}.JPEG", images[i].image)
    return images


def write(root: Path, target: Path, *, quality: int = QUALITY, limit: int | None = None) -> dict:
    """Write the pack of the data sets in `root`, whole or not at all, and return what its pack.json holds.

    limit: images of each part. Raises ValueError for a pack over MOST bytes, and as the loaders.
    """
    with files.written(target) as partial:
        with zipfile.ZipFile(partial, "w") as file:
            pack = Pack(file, quality)
            parts = {f"voc2012 {split}": add_voc(pack, root, split, limit) for split in ("train", "val")}
            parts["imagenet"] = add_imagenet(pack, root, limit)
            told = {
                "size": SIZE, "quality": quality, "mean difference": float(np.mean(pack.differences)),
                "images": {name: len(images) for name, images in parts.items()},
                "of": {name: images.fingerprint() for name, images in parts.items()},
            }  # fmt: skip
            pack.add("pack.json", json.dumps(told, indent=1))
        if (found := partial.stat().st_size) > MOST:
            raise ValueError(
                f"the pack has {found / 1e6:.1f} MB, expected {MOST / 1e6:.0f} at most: lower its --quality"
            )
    return told


def unpacked(pack: Path) -> tuple[Path, dict]:
    """Return the folder of a pack's data sets, in the cache, and what its pack.json holds."""
    place = files.cache() / "gpu-pack"
    folder = place / files.files_digest([pack], pack.parent)
    with files.lock(place / f"{folder.name}.lock"):
        if not (folder / "pack.json").is_file():  # the last file of a pack
            with zipfile.ZipFile(pack) as file:
                file.extractall(folder)
    return folder, json.loads((folder / "pack.json").read_text())


def main() -> None:
    """Write the pack that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds VOCdevkit/ and imagenet/")
    parser.add_argument("--out", type=Path, default=files.DATA / "cache" / "gpu-pack.zip")
    parser.add_argument("--quality", type=int, default=QUALITY, help="of the JPEG files")
    parser.add_argument("--limit", type=int, help="images of each part, to try it out")
    options = parser.parse_args()
    torch.set_num_threads(1)  # pictures are small
    try:
        told = write(options.data, options.out, quality=options.quality, limit=options.limit)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"gpu-pack: {error}")
    print(json.dumps(told["images"]), f"{options.out.stat().st_size / 1e6:.1f} MB in {options.out}")


if __name__ == "__main__":
    main()
