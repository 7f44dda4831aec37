"""ImageNet's two layouts: on small trees with boxes worked out by hand, and on 500 real images in class folders."""

import numpy as np
import pytest
import torch
from PIL import Image

from cam_utils import data
from cam_utils.data.single import single_label_counts

# A synset list in miniature; two classes are called crane, as in the real one.
SYNSETS = ("n01440764 tench, Tinca tinca", "n02012849 crane", "n02123045 tabby, tabby cat", "n03126707 crane")
# Image id -> wnid, (width, height), boxes in pixels, 0-based and inclusive.
IMAGES = {
    "ILSVRC2012_val_00000001": ("n02123045", (200, 100), [(100, 20, 139, 59), (0, 0, 199, 99)]),
    "ILSVRC2012_val_00000002": ("n01440764", (80, 160), [(10, 100, 19, 119)]),
    "ILSVRC2012_val_00000003": ("n02123045", (60, 60), [(5, 5, 54, 54)]),
    "ILSVRC2012_val_00000004": ("n03126707", (90, 60), [(0, 0, 9, 9)]),
}
KAGGLE = "ILSVRC/Data/CLS-LOC/val"
FIRST, SECOND = "ILSVRC2012_val_00000001", "ILSVRC2012_val_00000002"


def solve(rows: dict[str, str]) -> str:
    return "ImageId,PredictionString\n" + "".join(f"{id_},{text}\n" for id_, text in rows.items())


def rows() -> dict[str, str]:
    return {
        id_: " ".join(f"{wnid} {x1} {y1} {x2} {y2}" for x1, y1, x2, y2 in boxes) + " "
        for id_, (wnid, _, boxes) in reversed(IMAGES.items())
    }


def write(base, folder: str, *, classes: bool, solution: bool):
    """Write IMAGES under base/folder, in class folders or flat, and the two lists into base."""
    (base / folder).mkdir(parents=True)
    (base / "LOC_synset_mapping.txt").write_text("".join(f"{line}\n" for line in SYNSETS))
    if solution:
        (base / "LOC_val_solution.csv").write_text(solve(rows()))
    for line in SYNSETS if classes else ():
        (base / folder / line.split()[0]).mkdir()
    for id_, (wnid, (width, height), boxes) in IMAGES.items():
        pixels = np.zeros((height, width, 3), np.uint8)
        x1, y1, x2, y2 = boxes[0]
        pixels[y1 : y2 + 1, x1 : x2 + 1] = 255  # the first box is white
        Image.fromarray(pixels).save(base / folder / (wnid if classes else "") / f"{id_}.JPEG", quality=100)
    return base


@pytest.fixture
def folders(tmp_path):
    return write(tmp_path, "val", classes=True, solution=False)


@pytest.fixture
def kaggle(tmp_path):
    return write(tmp_path, KAGGLE, classes=False, solution=True)


def names(images) -> list[str]:
    return [images.classes[k] for k in images.labels.argmax(1).tolist()]


def test_class_folders(folders):
    val = data.load("imagenet", "val", root=folders, size=50)
    assert (val.name, val.split, val.size, val.has_masks) == ("imagenet", "val", 50, False)
    assert val.classes == ("tench", "crane (n02012849)", "tabby", "crane (n03126707)")
    assert [id_[-1] for id_ in val.ids] == ["2", "1", "3", "4"]  # by class, then file name; one folder is empty
    assert names(val) == ["tench", "tabby", "tabby", "crane (n03126707)"] and (val.labels.sum(1) == 1).all()
    assert single_label_counts(val)["crane (n02012849)"] == 0


def test_without_solution_there_is_a_label_but_no_object(folders):
    sample = data.load("imagenet", "val", root=folders, size=50)[0]
    assert sample.labels.tolist() == [1, 0, 0, 0] and sample.image.shape == (3, 50, 50)
    assert len(sample.objects) == len(sample.flags) == 0 and sample.boxes.shape == (0, 4)
    assert sample.masks is None and sample.ignore is None


def test_solution_beside_class_folders_gives_the_boxes(folders):
    bare = data.load("imagenet", "val", root=folders, size=100)
    (folders / "LOC_val_solution.csv").write_text(solve(rows()))
    boxed = data.load("imagenet", "val", root=folders, size=100)
    assert boxed.ids == bare.ids and torch.equal(boxed.labels, bare.labels)
    assert boxed[1].boxes.tolist() == [[50, 35, 70, 55], [0, 25, 100, 75]]  # letterbox: 200 x 100 -> 100 x 50
    assert boxed.fingerprint() != bare.fingerprint()


@pytest.mark.parametrize("folder", ["val", KAGGLE])
def test_flat_layout(tmp_path, folder):
    val = data.load("imagenet", "val", root=write(tmp_path, folder, classes=False, solution=True), size=100)
    assert val.ids == sorted(IMAGES)  # by image id, although the rows of the list come in another order
    assert names(val) == ["tabby", "tench", "tabby", "crane (n03126707)"]
    assert val[0].objects.tolist() == [2, 2] and val[0].flags.tolist() == [False, False]
    assert val[0].boxes.tolist() == [[50, 35, 70, 55], [0, 25, 100, 75]]


def test_crop_moves_and_drops_boxes(kaggle):
    val = data.load("imagenet", "val", root=kaggle, size=50, resize="crop")
    # 200 x 100 -> 100 x 50, of which columns 25 to 75 stay; 80 x 160 -> 50 x 100, of which rows 25 to 75 stay.
    assert val[0].boxes.tolist() == [[25, 10, 45, 30], [0, 0, 50, 50]]
    assert val[1].boxes.tolist() == [[6.25, 37.5, 12.5, 50]]
    corner = data.load("imagenet", "val", root=kaggle, size=60, resize="crop")[3]  # 90 x 60: columns 15 to 75 stay
    assert len(corner.boxes) == len(corner.objects) == 0 and corner.labels[3] == 1


def test_box_covers_the_pixels_it_names(kaggle):
    """The first box is painted white: 0-based corners, x2 and y2 exclusive, cut out exactly these pixels."""
    sample = data.load("imagenet", "val", root=kaggle, size=200)[0]
    x1, y1, x2, y2 = map(int, sample.boxes[0])
    white = sample.image.mean(0) > 0.5
    assert white[y1:y2, x1:x2].all() and white.sum() == (y2 - y1) * (x2 - x1) == 40 * 40


def test_row_with_the_class_alone_has_no_box(kaggle):
    (kaggle / "LOC_val_solution.csv").write_text(solve(rows() | {FIRST: "n02123045"}))
    val = data.load("imagenet", "val", root=kaggle)
    assert len(val[0].boxes) == 0 and val.labels[0, 2] == 1 and len(val[1].boxes) == 1


def test_limit_and_parent_folder(tmp_path):
    write(tmp_path / "imagenet", "val", classes=True, solution=False)
    assert data.load("imagenet", "val", root=tmp_path, limit=2).ids == [SECOND, FIRST]


@pytest.mark.parametrize(
    ("box", "shown"),
    [
        ((0, 0, 200, 99), "0 0 200 99"),
        ((0, 0, 199, 100), "0 0 199 100"),
        ((300, 0, 310, 5), "300 0 310 5"),
    ],
)
def test_box_outside_the_image(kaggle, box, shown):
    (kaggle / "LOC_val_solution.csv").write_text(solve(rows() | {FIRST: f"n02123045 {' '.join(map(str, box))}"}))
    val = data.load("imagenet", "val", root=kaggle)
    with pytest.raises(OSError, match=rf"{FIRST}\.JPEG is 200 x 100 pixels, its box x1 y1 x2 y2 = {shown} in LOC_"):
        val[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"damaged .*LOC_val_solution\.csv: row 'ILSVRC2012_val_00000001 ': expected one row for each image"),
        ("n02123045 1 2 3", r"row 'ILSVRC2012_val_00000001 n02123045 1 2 3': expected one row for each image"),
        ("n02123045 1 2 3 four", r"row .*: could not convert string to float: 'four'"),
        ("n02123045 -1 0 5 5", r"row .*: expected boxes x1 y1 x2 y2 from 0, the smaller first"),
        ("n02123045 9 0 5 5", r"row .*: expected boxes x1 y1 x2 y2 from 0, the smaller first"),
        ("n99999999 1 2 3 4", r"row .*: synset 'n99999999' is not in LOC_synset"),
        ("n02123045 1 2 3 4 n01440764 1 2 3 4", r"row .*'wnid x1 y1 x2 y2' repeated for one class"),
        (f"n02123045\n{FIRST},n02123045", r"row 'ILSVRC2012_val_00000001 n02123045': expected one row for each"),
    ],
)
def test_damaged_solution(kaggle, text, message):
    (kaggle / "LOC_val_solution.csv").write_text(solve(rows() | {FIRST: text}))
    with pytest.raises(OSError, match=message):
        data.load("imagenet", "val", root=kaggle)


def test_solution_without_its_columns(kaggle):
    (kaggle / "LOC_val_solution.csv").write_text("id,label\na,b\n")
    with pytest.raises(
        OSError, match=r"damaged .*csv: expected the columns ImageId,PredictionString, got 'id,label'"
    ):
        data.load("imagenet", "val", root=kaggle)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"damaged .*LOC_synset_mapping\.txt: line 1 is '', expected 'wnid name, synonyms'"),
        ("n01440764 tench\nn02012849\n", r"line 2 is 'n02012849', expected"),
        (
            "n01440764 tench\nn01440764 tench\n",
            r"line 2 has n01440764 after n01440764, expected rising synsets, each once",
        ),
    ],
)
def test_damaged_synset_list(folders, text, message):
    (folders / "LOC_synset_mapping.txt").write_text(text)
    with pytest.raises(OSError, match=message):
        data.load("imagenet", "val", root=folders)


def test_solution_and_folders_must_agree(folders):
    few = rows()
    few.pop(SECOND)
    (folders / "LOC_val_solution.csv").write_text(solve(few))
    with pytest.raises(OSError, match=rf"LOC_val_solution\.csv has no row for the image .*{SECOND}\.JPEG"):
        data.load("imagenet", "val", root=folders)
    (folders / "LOC_val_solution.csv").write_text(solve(rows() | {SECOND: "n02012849"}))
    with pytest.raises(OSError, match=rf"{SECOND}\.JPEG lies in the folder of another class than LOC_val_solution"):
        data.load("imagenet", "val", root=folders)


def test_unknown_class_folder(folders):
    (folders / "val" / "n99999999").mkdir()
    with pytest.raises(
        ValueError, match=r"unknown class folder .*n99999999: LOC_synset_mapping\.txt lists no synset"
    ):
        data.load("imagenet", "val", root=folders)


def test_missing_lists_and_images(kaggle):
    (kaggle / KAGGLE / f"{FIRST}.JPEG").unlink()
    with pytest.raises(FileNotFoundError, match=rf"1 of 4 files missing in .*val: {FIRST}\.JPEG; .*50,000 images"):
        data.load("imagenet", "val", root=kaggle)
    (kaggle / "LOC_val_solution.csv").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"missing LOC_val_solution\.csv: without class folders in .*CLS-LOC"
    ):
        data.load("imagenet", "val", root=kaggle)
    for file in (kaggle / KAGGLE).iterdir():
        file.unlink()
    with pytest.raises(FileNotFoundError, match=r"no \.JPEG file in .*CLS-LOC.val or its class folders: expected"):
        data.load("imagenet", "val", root=kaggle)
    (kaggle / "LOC_synset_mapping.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"missing synset list .*LOC_synset_mapping\.txt: imagenet is read"):
        data.load("imagenet", "val", root=kaggle)


def test_wrong_root_and_split(tmp_path, folders):
    with pytest.raises(FileNotFoundError, match=r"imagenet is read from disk: give root= .* val/<wnid>/"):
        data.load("imagenet", "val")
    with pytest.raises(FileNotFoundError, match=r"imagenet not found under .*nowhere: expected a folder holding"):
        data.load("imagenet", "val", root=tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"unknown split of imagenet 'train' \(valid: val\)"):
        data.load("imagenet", "train", root=folders)
    (folders / "val").rename(folders / "validation")
    with pytest.raises(
        FileNotFoundError, match=r"imagenet not found under .*: expected a folder holding imagenet/"
    ):
        data.load("imagenet", "val", root=folders)


def test_truncated_image(folders):
    file = folders / "val" / "n01440764" / f"{SECOND}.JPEG"
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(OSError, match=rf"damaged or truncated image .*{SECOND}\.JPEG"):
        data.load("imagenet", "val", root=folders)[0]


def test_real_sample(shared):
    val = data.load("imagenet", "val", root=shared / "data" / "imagenet", resize="crop")
    assert len(val) == 500 and val.labels.shape == (500, 1000) and len(set(val.classes)) == 1000
    assert val.classes[0] == "tench" and val.classes[2] == "great white shark"
    assert val.classes[134] == "crane (n02012849)" and val.classes[517] == "crane (n03126707)"
    assert torch.equal(val.labels.argmax(1), torch.arange(0, 1000, 2))  # one image of every second class
    shark = val[val.ids.index("n01484850_0002")]
    assert shark.image.shape == (3, 224, 224) and shark.image.std() > 0.05 and shark.labels[2] == 1
    assert data.load("imagenet", "val", root=shared / "data", resize="crop").fingerprint() == val.fingerprint()
