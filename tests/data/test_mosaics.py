"""Mosaics: every quarter is one halved image, and a map that knows no class has a quarter of its energy in each."""

import pytest
import torch

from cam_utils import data
from cam_utils.data.mosaics import Mosaics
from cam_utils.evaluation import evaluate
from cam_utils.networks import models


@pytest.fixture(scope="module")
def single():
    return data.load("digits", "val", n=60, objects=(1.0,))


def test_a_quarter_is_an_image_of_its_class_halved(single):
    mosaics = Mosaics(single, 4, seed=3)
    used = [i for four in mosaics.rows for i in four]
    assert len(set(used)) == len(used) == 16
    for index in range(4):
        sample, half = mosaics[index], 48
        assert sample.labels.sum() == 4 and sample.labels.equal(mosaics.labels[index])
        for k, row in enumerate(mosaics.rows[index]):
            x1, y1, x2, y2 = sample.boxes[k].int().tolist()
            part, image = sample.image[:, y1:y2, x1:x2], single[row].image
            # antialiased bilinear halving is a weighted mean of 4 x 4 pixels: 1/8 3/8 3/8 1/8 in each direction
            w = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
            block = image[:, 2 * 10 - 1 : 2 * 10 + 3, 2 * 7 - 1 : 2 * 7 + 3]
            torch.testing.assert_close(
                part[:, 10, 7], torch.einsum("i,cij,j->c", w, block, w), atol=1e-5, rtol=1e-4
            )
            assert sample.masks[k].sum() == half * half and sample.masks[k][y1:y2, x1:x2].all()
            assert sample.objects[k] == single.labels[row].argmax()


def test_the_draw_is_the_seeds(single):
    first, again, other = Mosaics(single, 5, 0), Mosaics(single, 5, 0), Mosaics(single, 5, 1)
    assert first.rows == again.rows != other.rows and first.fingerprint() == again.fingerprint()
    assert first.fingerprint() != other.fingerprint() != Mosaics(single, 4, 0).fingerprint()


def test_what_cannot_be_put_together_is_refused(single):
    with pytest.raises(ValueError, match="expected images for 30 mosaics of four classes, got"):
        Mosaics(single, 30)
    with pytest.raises(ValueError, match="expected images of an even size to halve, got 95"):
        Mosaics(data.load("digits", "val", n=8, size=95, objects=(1.0,)), 1)


def test_a_class_blind_map_has_exactly_a_quarter_over_the_classes_of_a_mosaic(single):
    mosaics = Mosaics(single, 3)
    model = models.build("digits", 10, seed=1).eval()

    def blind(query):
        return query.activations.sum(1).relu()[query.pairs.image]

    table = evaluate.evaluate(
        model, mosaics, {"blind": blind, "grad-cam": "grad-cam"}, explained="annotated", upsample_first=True,
        progress=False,
    )  # fmt: skip
    shares = table[table["method"] == "blind"].groupby("image_index")["energy_in_mask"].mean()
    assert shares.to_numpy() == pytest.approx(0.25, abs=1e-6)
    assert table["energy_in_box"].to_numpy() == pytest.approx(table["energy_in_mask"].to_numpy(), abs=1e-6)
    assert table[table["method"] == "grad-cam"]["energy_in_mask"].std() > 0.01
