"""Image, boxes and masks in one square: against hand arithmetic and against each other."""

import pytest
import torch

from cam_utils.data.sizing import fit


def _rectangle(height: int, width: int, box: tuple[int, int, int, int]):
    """A white rectangle on black, its box and its mask."""
    x1, y1, x2, y2 = box
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    mask[:, y1:y2, x1:x2] = True
    return mask.expand(3, -1, -1).to(torch.uint8) * 255, torch.tensor([box]).float(), mask


def test_letterbox_of_a_wide_image():
    image, boxes, masks = fit(*_rectangle(100, 200, (20, 40, 60, 80)), 50, "letterbox")
    # Scale 1/4: 200 x 100 becomes 50 x 25, with 12 black rows above and 13 below.
    assert boxes.tolist() == [[5.0, 22.0, 15.0, 32.0]]
    assert masks.sum() == 100 and masks[0, 22:32, 5:15].all()
    assert image[:, 22:32, 5:15].mean() > 0.95
    assert image.sum() == pytest.approx(300, rel=0.03)


def test_letterbox_bars_are_black():
    image, _, masks = fit(
        torch.full((3, 60, 30), 255, dtype=torch.uint8), *_rectangle(60, 30, (0, 0, 30, 60))[1:], 40, "letterbox"
    )
    assert image[:, :, 10:30].eq(1).all() and masks[0, :, 10:30].all()
    assert image[:, :, :10].eq(0).all() and image[:, :, 30:].eq(0).all() and masks.sum() == 800


def test_crop_of_a_wide_image():
    image, boxes, masks = fit(*_rectangle(100, 200, (40, 40, 100, 80)), 50, "crop")
    # Scale 1/2: 100 x 50, of which columns 25 to 75 stay; the box loses 5 of its 30 columns on the left.
    assert boxes.tolist() == [[0.0, 20.0, 25.0, 40.0]]
    assert masks.sum() == 25 * 20 and masks[0, 20:40, :25].all()
    assert image[:, 21:39, :24].min() > 0.95


def test_crop_leaves_a_box_without_extent_where_the_object_is_cut_away():
    _, boxes, masks = fit(*_rectangle(100, 200, (0, 0, 40, 40)), 50, "crop")
    assert ((boxes[:, 2:] - boxes[:, :2]) <= 0).any() and not masks.any()


@pytest.mark.parametrize("resize", ["letterbox", "crop"])
@pytest.mark.parametrize(("height", "width"), [(97, 211), (333, 120), (64, 64), (31, 30), (480, 641)])
def test_image_box_and_mask_move_together(resize, height, width):
    box = (width // 3, height // 3, 2 * width // 3 + 1, 2 * height // 3 + 1)
    image, boxes, masks = fit(*_rectangle(height, width, box), 65, resize)
    bright = image[0] > 0.5
    assert (bright & masks[0]).sum() / (bright | masks[0]).sum() > 0.93
    rows, columns = masks[0].any(1).nonzero(), masks[0].any(0).nonzero()
    extent = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    assert (extent - boxes[0]).abs().max() <= 1.01


@pytest.mark.parametrize("resize", ["letterbox", "crop"])
def test_no_objects(resize):
    image, boxes, masks = fit(
        torch.zeros(3, 30, 50, dtype=torch.uint8), torch.tensor([]), torch.zeros(0, 30, 50), 20, resize
    )
    assert image.shape == (3, 20, 20) and boxes.shape == (0, 4)
    assert masks.shape == (0, 20, 20) and masks.dtype == torch.bool
