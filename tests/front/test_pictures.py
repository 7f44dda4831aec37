"""From a folder of pictures to overlays in the pictures' own frames, and the chapter on real photographs."""

import shutil

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn
from torchvision.transforms.v2.functional import pil_to_tensor

from cam_utils import maps
from cam_utils.data.sizing import fit, unfit
from cam_utils.evaluation import metrics
from cam_utils.front import overlays, pictures
from cam_utils.front.explain import explain
from cam_utils.front.pictures import upright
from cam_utils.networks import models
from cam_utils.networks.baselines import Normalised
from tests.conftest import ROOT
from tests.front.reading import read_folder
from workflow.run_notebook import run

CHAPTER = ROOT / "notebooks" / "your_model.ipynb"
TURNED = 0x0112, 6  # the camera was turned: rotate by 90 degrees clockwise to see it upright


def size_of(file):
    with Image.open(file) as picture:
        return picture.size


@pytest.fixture(scope="module")
def china():
    return Image.fromarray(load_sample_images().images[0])  # 640 x 427


@pytest.fixture
def folder(china, tmp_path):
    """A folder with a picture of every kind that people have."""
    exif = Image.Exif()
    exif[TURNED[0]] = TURNED[1]
    china.save(tmp_path / "china.PNG")
    china.convert("L").save(tmp_path / "grey.png")
    china.convert("RGBA").save(tmp_path / "alpha.png")
    china.convert("P").save(tmp_path / "palette.gif")
    china.rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    china.save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:9000])
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "notes.txt").write_text("no picture either")
    Image.fromarray(np.full((5, 5), 40_000, np.uint16)).save(tmp_path / "deep.png")
    return tmp_path


class Brightness(Normalised):
    """A network whose CAM of label 0 is the picture itself: GAP and a linear layer on its mean colour."""

    def __init__(self):
        super().__init__(((0.0,) * 3, (1.0,) * 3))
        self.features = nn.Conv2d(3, 1, 1, bias=False)
        self.head = nn.Linear(1, 2, bias=False)
        nn.init.constant_(self.features.weight, 1 / 3)
        self.head.weight.data = torch.tensor([[1.0], [-1.0]])

    def forward(self, x):
        return self.head(self.features(x).mean((-2, -1)))


def test_unfit_is_the_way_back_of_fit_for_wide_and_tall_pictures():
    for height, width, size in ((5, 12, 12), (12, 5, 12), (7, 7, 7), (11, 4, 11)):  # scale 1: nothing is resized
        picture = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
        square = fit(picture, torch.zeros(0, 4), torch.zeros(0), size, "letterbox")[0]
        torch.testing.assert_close(unfit(square, height, width), picture / 255, rtol=0, atol=1e-6)


def test_unfit_of_a_half_sized_map_is_bilinear_inside_the_picture():
    square = torch.zeros(1, 4, 4)
    square[0, 1:3] = torch.tensor([0.0, 1.0, 1.0, 0.0])  # an 8 x 4 picture: two rows between two bars
    row = torch.tensor([0.0, 0.25, 0.75, 1.0, 1.0, 0.75, 0.25, 0.0])  # by hand: half-pixel centres
    torch.testing.assert_close(unfit(square, 4, 8), row.expand(1, 4, 8))
    with pytest.raises(ValueError, match=r"expected maps \(P,S,S\) of square images, got \(1, 2, 3\)"):
        unfit(torch.zeros(1, 2, 3), 2, 3)


@pytest.mark.parametrize("turned", [False, True])
def test_an_overlay_lies_exactly_on_its_picture_also_if_that_is_stored_sideways(tmp_path, turned):
    shown = torch.full((3, 48, 96), 30, dtype=torch.uint8)
    shown[:, 6:18, 60:84] = 250  # bright at the top right
    picture, exif = Image.fromarray(shown.permute(1, 2, 0).numpy()), Image.Exif()
    if turned:
        exif[TURNED[0]] = TURNED[1]
        picture = picture.rotate(90, expand=True)
    picture.save(tmp_path / "a.png", exif=exif)
    assert torch.equal(upright(tmp_path / "a.png"), shown)
    found = explain(Brightness(), tmp_path / "a.png", [[0]], method="cam", activation="softmax", size=96)
    mask = unfit(found.maps, 48, 96)[0]
    torch.testing.assert_close(mask, shown[0] / 250)  # the bars are 0, so brightness is divided by its maximum
    (file,) = overlays.save_overlays(
        found, tmp_path / "a.png", tmp_path / "out", method="cam", classes=("a b/c", "d")
    )
    assert file.name == "a_0-a-b-c_cam.jpg"
    written = pil_to_tensor(Image.open(file)).float()
    assert written.shape == (3, 48, 96)
    expected = torch.from_numpy(pictures.blend(shown / 255, mask)).permute(2, 0, 1).float()
    assert (written - expected)[:, 9:15, 64:80].abs().max() < 8  # JPEG, away from edges
    assert written[:, 9:15, 64:80].mean() > 200 > 60 > written[:, 30:, :50].mean()


def test_a_folder_is_read_as_a_viewer_shows_it_and_bad_files_are_named(folder, china):
    read, pixels = read_folder(folder, 64)
    names = [path.name for path in read.pictures]
    assert names == ["alpha.png", "china.PNG", "grey.png", "palette.gif", "turned.png", "whole.jpg"]
    assert {pictures.frame(path) for path in read.pictures} == {(427, 640)} and pixels.shape == (6, 3, 64, 64)
    of = dict(zip(names, pixels, strict=True))
    assert torch.equal(of["turned.png"], of["china.PNG"]) and torch.equal(of["alpha.png"], of["china.PNG"])
    assert torch.equal(of["grey.png"][0], of["grey.png"][2])
    assert {k: v.split(":")[0] for k, v in read.skipped.items()} == {
        name: f"{name} cannot be read as an image" for name in ("cut.jpg", "deep.png", "text.jpg")
    }
    assert "mode I;16, expected 8 bits per channel" in read.skipped["deep.png"]
    assert str(folder) not in "".join(read.skipped.values())
    some, _ = read_folder(folder, 64, limit=2)
    assert [path.name for path in some.pictures] == names[:2]


def test_bad_folders_are_named(tmp_path):
    (tmp_path / "sub").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "sub" / "a.png")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.jpg").write_text("no picture")
    cases = [
        (tmp_path / "none", FileNotFoundError, "no picture at .*none$"),
        (tmp_path, FileNotFoundError, "no picture in .*: expected files ending in .jpg.*some in its subfolders"),
        (tmp_path / "broken", OSError, "none of 1 pictures can be read: a.jpg cannot be read as an image"),
    ]
    for folder, kind, message in cases:
        with pytest.raises(kind, match=message):
            read_folder(folder, 32)
    with pytest.raises(ValueError, match="expected limit as a whole number of pictures, 1 or more, got 0"):
        read_folder(tmp_path / "sub", 32, limit=0)


def test_overlays_have_names_of_their_own_and_a_longest_side(china, tmp_path):
    china.save(tmp_path / "a.jpg")
    china.save(tmp_path / "a.png")
    pictures = [tmp_path / "a.jpg", tmp_path / "a.png"]
    found = explain(Brightness(), pictures, [[0, 1], [1]], method="cam")
    files = overlays.save_overlays(found, pictures, tmp_path / "out", method="cam", longest=100)
    assert [file.name for file in files] == ["a-jpg_0_cam.jpg", "a-jpg_1_cam.jpg", "a-png_1_cam.jpg"]
    assert {size_of(file) for file in files} == {(100, 67)}
    (file,) = overlays.save_overlays(
        explain(Brightness(), china, [[0]], method="cam"), china, tmp_path, method="cam", longest=None
    )
    assert file.name == "image-0_0_cam.jpg" and size_of(file) == china.size
    with pytest.raises(ValueError, match="expected the 2 pictures that were explained, got 1"):
        overlays.save_overlays(found, pictures[:1], tmp_path, method="cam")
    with pytest.raises(ValueError, match="expected a name of its own for each of 2 pictures"):
        overlays.save_overlays(found, pictures, tmp_path, method="cam", names=["a", "a"])


def test_the_chapter_explains_real_photographs(shared, squeezenet_weights, china, folder, tmp_path):
    sample = sorted((shared / "data" / "imagenet" / "val").glob("*/*.JPEG"))[0]
    shutil.copy(sample, folder / "sample.jpg")
    for name in ("palette.gif", "whole.jpg", "deep.png", "text.jpg"):
        (folder / name).unlink()
    out = run(
        CHAPTER,
        tmp_path / "out.ipynb",
        {
            "images": str(folder), "network": "squeezenet1_0", "weights": str(squeezenet_weights),
            "labels": {"grey.png": ["castle", 497]}, "methods": "minmax-cam, grad-cam, minmax-grad-cam",
            "output": str(tmp_path / "run"),
        },
        logs=tmp_path,
        progress=False,
    )  # fmt: skip
    table = pd.read_csv(tmp_path / "run" / "scores.csv")
    assert set(table["method"]) == {"grad-cam", "minmax-grad-cam"} and len(table) == 5 * 2 * 2
    written = {file.name: size_of(file) for file in (tmp_path / "run" / "overlays").iterdir()}
    assert len(written) == len(table)
    assert set(table[table["picture"] == "grey.png"]["label"]) == {483, 497}
    assert {"grey_483-castle_grad-cam.jpg", "grey_497-church_minmax-grad-cam.jpg"} < set(written)
    # The picture that lies sideways in its file has the scores and the overlays of the upright one.
    by = table.set_index(["picture", "label", "method"])
    pd.testing.assert_series_equal(by.loc["turned.png"]["p_masked"], by.loc["china.PNG"]["p_masked"])
    assert all(size == china.size for name, size in written.items() if name.startswith("turned_"))
    # One row, computed here from the parts.
    model = models.pretrained("squeezenet1_0", squeezenet_weights)
    found = explain(model, folder / "china.PNG", [[442]], method="grad-cam", activation="softmax")
    x = model.preprocess(
        fit(upright(folder / "china.PNG"), torch.zeros(0, 4), torch.zeros(0), 224, "letterbox")[0]
    )[None]
    with torch.no_grad():
        kept = model(x * found.maps).softmax(1)
    row = by.loc["china.PNG", 442, "grad-cam"]
    assert row["p"] == pytest.approx(float(found.probabilities[0, 442]), rel=1e-3)
    assert row["p_masked"] == pytest.approx(float(kept[0, 442]), rel=1e-2, abs=1e-4)
    drop = metrics.average_drop(found.probabilities, kept, torch.tensor([442]))
    assert row["average_drop"] == pytest.approx(float(drop), rel=1e-2)
    assert float(maps.normalise(found.maps).max()) == 1
    text = "".join(
        o.get("text", "") + str(o.get("data", {}).get("text/html", ""))
        for cell in nbformat.read(out, 4).cells
        if cell.cell_type == "code"
        for o in cell.outputs
    )
    assert "cut.jpg cannot be read as an image" in text and "minmax-cam needs global average pooling" in text
    assert str(tmp_path) not in text


def test_parameters_that_make_no_sense_are_refused_before_anything_is_read():
    cells = [c.source for c in nbformat.read(CHAPTER, 4).cells if c.cell_type == "code"][:2]
    for changed, message in (
        ({"network": "resnet18"}, "since 'resnet18' as network has none, got None"),
        ({"classes": ["cat", "dog"]}, "expected weights and classes as None for the network digits"),
        ({"mean": "grey"}, "mean as a number"),
        ({"top": 0}, "expected top as"),
        ({"labls": ["3"]}, "unknown parameter 'labls'; did you mean 'labels'"),
    ):
        variables: dict = {}
        exec(cells[0], variables)
        variables |= changed
        with pytest.raises(ValueError, match=message):
            exec(cells[1], variables)
