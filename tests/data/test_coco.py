"""COCO's layout, on 128 real images: against the raw JSON and pycocotools."""

import contextlib
import io
import json
import shutil

import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from torch.utils.data import DataLoader

from cam_utils import data


@pytest.fixture(scope="module")
def val(coco_root):
    return data.load("coco2017", "val", root=coco_root)


@pytest.fixture(scope="module")
def raw(coco_root):
    return json.loads((coco_root / "coco2017" / "annotations" / "instances_val2017.json").read_text())


@pytest.fixture
def copied(coco_root, tmp_path):
    """A writable val split, and its annotation file."""
    for folder in ("annotations/instances_val2017.json", "val2017"):
        source, target = coco_root / "coco2017" / folder, tmp_path / "coco2017" / folder
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    return tmp_path, tmp_path / "coco2017" / "annotations" / "instances_val2017.json"


def test_attributes(coco_root, val):
    assert (val.name, val.split, val.size, val.has_masks) == ("coco2017", "val", 224, True)
    assert (len(val), len(data.load("coco2017", "train", root=coco_root))) == (32, 96)
    assert len(val.classes) == 80 and val.classes[0] == "person" and val.classes[-1] == "toothbrush"
    assert data.load("coco2017", "val", root=coco_root / "coco2017").ids == val.ids == sorted(val.ids)


def test_labels_are_the_union_of_all_annotations(val, raw):
    names = {category["id"]: category["name"] for category in raw["categories"]}
    for id_, row in zip(val.ids, val.labels, strict=True):
        present = {names[ann["category_id"]] for ann in raw["annotations"] if ann["image_id"] == int(id_)}
        assert {val.classes[k] for k in row.nonzero().flatten().tolist()} == present


def test_images_without_objects_are_kept(coco_root):
    train = data.load("coco2017", "train", root=coco_root, size=64)
    empty = (train.labels.sum(1) == 0).nonzero().flatten().tolist()
    assert empty
    sample = train[empty[0]]
    assert sample.masks.shape == (0, 64, 64) and sample.boxes.shape == (0, 4) and len(sample.flags) == 0


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # our reading asks for none, this reference does
def test_masks_and_boxes_against_pycocotools(coco_root, val):
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(coco_root / "coco2017" / "annotations" / "instances_val2017.json")
    crowds = 0
    for i in range(len(val)):
        sample, entry = val[i], coco.imgs[int(val.ids[i])]
        anns = coco.imgToAnns[entry["id"]]
        scale = 224 / max(entry["height"], entry["width"])
        left, top = ((224 - round(entry[side] * scale)) // 2 for side in ("width", "height"))
        assert len(anns) == len(sample.objects) == len(sample.masks)
        assert sample.flags.tolist() == [bool(ann["iscrowd"]) for ann in anns]
        crowds += int(sample.flags.sum())
        for ann, box, mask in zip(anns, sample.boxes, sample.masks, strict=True):
            x, y, w, h = (length * scale for length in ann["bbox"])
            assert box.tolist() == pytest.approx([left + x, top + y, left + x + w, top + y + h], abs=0.6)
            area = coco.annToMask(ann).sum() * scale**2
            assert mask.sum().item() == pytest.approx(area, rel=0.1, abs=25)
            assert not mask[:top].any() and not mask[:, :left].any()
    assert crowds == 2


def test_images_are_those_of_the_files(coco_root, val):
    file = coco_root / "coco2017" / "val2017" / f"{val.ids[0]}.jpg"
    with Image.open(file) as picture:
        width, height = picture.size
        small = picture.convert("RGB").resize(
            (round(width * 224 / max(picture.size)), round(height * 224 / max(picture.size))), 2
        )
    reference = (
        torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8).view(small.height, small.width, 3) / 255
    )
    top, left = (224 - small.height) // 2, (224 - small.width) // 2
    image = val[0].image[:, top : top + small.height, left : left + small.width].permute(1, 2, 0)
    assert (image - reference).abs().mean() < 0.005


def test_crop_keeps_labels_and_drops_objects_cut_away(coco_root):
    cropped = data.load("coco2017", "train", root=coco_root, resize="crop", size=96)
    dropped = 0
    for i in range(40):
        sample = cropped[i]
        assert ((sample.boxes[:, 2:] - sample.boxes[:, :2]) > 0).all()
        assert len(sample.objects) == len(sample.boxes) == len(sample.masks) == len(sample.flags)
        assert set(sample.objects.tolist()) <= set(sample.labels.nonzero().flatten().tolist())
        dropped += len(set(sample.objects.tolist())) < sample.labels.sum()
    assert dropped


def test_limit_and_fingerprint(coco_root, val):
    first = data.load("coco2017", "val", root=coco_root, limit=5)
    assert first.ids == val.ids[:5] and torch.equal(first.labels, val.labels[:5])
    others = [{}, {"limit": 5}, {"size": 225}, {"resize": "crop"}]
    prints = [data.load("coco2017", "val", root=coco_root, **other).fingerprint() for other in others]
    assert len({*prints}) == 4 and prints[0] == val.fingerprint() and prints[1] == first.fingerprint()


def test_batches(val):
    batch = next(iter(DataLoader(val, batch_size=4, collate_fn=data.collate)))
    assert batch.images.shape == (4, 3, 224, 224) and batch.ids == val.ids[:4]
    assert torch.equal(batch.labels, val.labels[:4]) and torch.equal(batch.boxes[2], val[2].boxes)


def test_nothing_is_printed(coco_root, capsys):
    data.load("coco2017", "val", root=coco_root)
    assert capsys.readouterr().out == ""


def test_missing_image(copied):
    root, _ = copied
    gone = next((root / "coco2017" / "val2017").iterdir())
    gone.unlink()
    with pytest.raises(
        FileNotFoundError, match=rf"1 of 32 files missing in .*val2017: {gone.name}; .*5,000 images"
    ):
        data.load("coco2017", "val", root=root, limit=1)


def test_truncated_image(copied):
    root, _ = copied
    file = root / "coco2017" / "val2017" / "000000000034.jpg"
    file.write_bytes(file.read_bytes()[:-2000])
    dataset = data.load("coco2017", "val", root=root)
    with pytest.raises(OSError, match=r"damaged or truncated image .*000000000034\.jpg"):
        dataset[dataset.ids.index("000000000034")]


def test_image_of_another_size(copied):
    root, _ = copied
    Image.new("RGB", (32, 16)).save(root / "coco2017" / "val2017" / "000000000034.jpg")
    dataset = data.load("coco2017", "val", root=root)
    with pytest.raises(OSError, match=r"000000000034\.jpg is 32 x 16 pixels, its annotation says 640 x 425"):
        dataset[dataset.ids.index("000000000034")]


@pytest.mark.parametrize("content", [b"", b'{"images": [', b"[]", b'{"info": {}}'])
def test_damaged_annotations(copied, content):
    root, file = copied
    file.write_bytes(content)
    with pytest.raises(OSError, match=r"damaged annotation file .*instances_val2017\.json: not COCO instances"):
        data.load("coco2017", "val", root=root)


@pytest.mark.parametrize(("key", "what"), [("image_id", "image 1"), ("category_id", "category 1000")])
def test_annotation_of_something_unlisted(copied, raw, key, what):
    root, file = copied
    broken = [{**raw["annotations"][0], key: int(what.split()[1])}, *raw["annotations"][1:]]
    file.write_text(json.dumps({**raw, "annotations": broken}))
    with pytest.raises(OSError, match=f"damaged annotation file .* names the unlisted {what}"):
        data.load("coco2017", "val", root=root)


def test_missing_annotation_file(copied):
    root, file = copied
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"missing annotation file .*instances_val2017\.json"):
        data.load("coco2017", "val", root=root)


def test_missing_image_folder(copied):
    root, _ = copied
    shutil.rmtree(root / "coco2017" / "val2017")
    with pytest.raises(
        FileNotFoundError, match=r"missing folder .*val2017: expected the images that instances_val"
    ):
        data.load("coco2017", "val", root=root)


def test_wrong_root(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"coco2017 is read from disk: give root= .* annotations/"):
        data.load("coco2017", "val")
    with pytest.raises(
        FileNotFoundError, match=r"coco2017 not found under .*nowhere: expected a folder holding coco2017/"
    ):
        data.load("coco2017", "val", root=tmp_path / "nowhere")
