"""What an explanation gives: items in the photograph's own frame, files, tables."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import cam_utils
from cam_utils.front.explanation import Explanation, array_of
from cam_utils.pairs import Pairs


@pytest.fixture
def wide(tmp_path):
    """A picture of 40 x 20 pixels: in a square of 20, five rows of bars above and five below."""
    Image.fromarray(np.full((20, 40, 3), 200, np.uint8)).save(tmp_path / "wide.png")
    return tmp_path / "wide.png"


def explanation(picture, maps, **options):
    count = len(maps)
    pairs = Pairs(torch.zeros(count, dtype=torch.long), torch.arange(count), torch.zeros(count, dtype=torch.long))
    facts = {"pictures": [picture], "stems": ["it"], "names": ["cat", "dog"], "method": "cam"} | options
    return Explanation(maps, pairs, torch.tensor([[0.25, 0.75]]), None, **facts)


def test_items_in_the_photographs_own_frame(wide):
    mask = torch.zeros(2, 20, 20)
    mask[0, 5:15, :10] = 1  # the left half of the picture
    mask[1, :5] = 1  # the upper bar, which is no part of it
    first, second = explanation(wide, mask)
    assert (first.name, first.label, first.probability, first.picture) == ("cat", 0, 0.25, wide)
    assert first.map.shape == (20, 40) and bool((first.map[:, :18] == 1).all()) and first.map[:, 22:].sum() == 0
    assert second.map.sum() < 0.2 * first.map.sum()  # but for what interpolation draws in
    picture, small = first.small(20)
    assert picture.shape == (3, 10, 20) and small.shape == (10, 20)
    assert picture.unique().tolist() == pytest.approx([200 / 255])


def test_maps_of_prepared_tensors_have_their_frame(tmp_path):
    x = torch.rand(1, 3, 20, 32, generator=torch.Generator().manual_seed(0))
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    found = cam_utils.explain(net, x, [2, 0], layer="0")
    assert [tuple(each.map.shape) for each in found] == [(20, 32)] * 2
    assert found[0].small(16)[0].shape == (3, 10, 16)
    files = found.save(tmp_path)
    assert [file.name for file in files] == [
        "image-0_2-class-2_minmax-grad-cam.jpg",
        "image-0_0-class-0_minmax-grad-cam.jpg",
    ]
    with Image.open(files[0]) as written:
        assert written.size == (32, 20)


@pytest.mark.parametrize("channels", [1, 3, 7])
def test_prepared_tensors_are_shown_stretched(channels):
    shown = array_of(torch.tensor([[-2.0, 0.0], [1.0, 2.0]]).expand(channels, 2, 2))
    assert shown.shape == (2, 2, 3 if channels == 3 else 1)
    assert shown[..., 0].tolist() == [[0, 128], [191, 255]]


def test_tables_and_files_keep_the_order_of_the_labels(wide, tmp_path):
    found = explanation(wide, torch.rand(2, 20, 20, generator=torch.Generator().manual_seed(0)))
    table = found.table()
    assert table["name"].tolist() == ["cat", "dog"] and table["probability"].tolist() == [0.25, 0.75]
    assert table["area"].tolist() == pytest.approx(found.maps.mean((1, 2)).tolist())
    assert [file.name for file in found.save(tmp_path / "out")] == ["it_0-cat_cam.jpg", "it_1-dog_cam.jpg"]


def test_a_folder_a_list_and_pictures_in_memory_are_one(photo, tmp_path):
    model = cam_utils.load_model("digits")
    photo.save(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    photo.rotate(180).save(tmp_path / "c.png")
    folder = cam_utils.explain(model, tmp_path, [4, 2])
    assert [path.name for path in folder.pictures] == ["a.png", "c.png"] and list(folder.skipped) == ["b.jpg"]
    assert folder.pairs.label.tolist() == [4, 2, 4, 2] and folder.pairs.image.tolist() == [0, 0, 1, 1]
    pictures = [photo, np.asarray(photo.rotate(180))]
    by_hand = cam_utils.explain(model, pictures, [[4, 2], [4, 2]], batch_size=1)
    torch.testing.assert_close(by_hand.maps, folder.maps, rtol=1e-4, atol=1e-5)
    one = cam_utils.explain(model, str(tmp_path / "a.png"), ["4", 2])
    torch.testing.assert_close(one.maps, folder.maps[:2], rtol=1e-4, atol=1e-5)
    with pytest.raises(OSError, match=r"b\.jpg cannot be read"):
        cam_utils.explain(model, tmp_path / "b.jpg", 4)
    assert len(cam_utils.explain(model, tmp_path, 4, limit=1)) == 1
    named = cam_utils.explain(model, tmp_path, {"c.png": [2, 4], "b.jpg": 1, "a.png": 3})
    assert named.pairs.label.tolist() == [3, 2, 4]


def test_the_order_of_labels_changes_no_map():
    model = cam_utils.load_model("digits")
    x = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    one, other = (cam_utils.explain(model, x, labels).maps for labels in ([[1, 5, 3]], [[3, 1, 5]]))
    torch.testing.assert_close(one, other[[1, 2, 0]])
