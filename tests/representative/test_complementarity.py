"""How maps complement each other: numpy's correlation, masks compared pixel by pixel, and cases done by hand."""

import numpy as np
import pytest
import torch

from cam_utils.representative.complementarity import complementarity, recall_at


@pytest.fixture
def scene():
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(3, 3, 6, 5, generator=generator)
    whole = torch.rand(3, 6, 5, generator=generator)
    truth = torch.rand(3, 6, 5, generator=generator) > 0.6
    return maps, whole, truth, torch.rand(3, 6, 5, generator=generator) > 0.2


def test_every_column_is_what_plain_numpy_gives(scene):
    maps, whole, truth, valid = scene
    table = complementarity(maps, whole, truth, valid, 0.5)
    for p in range(3):
        kept = valid[p].numpy()
        flat, own = maps[p].numpy()[:, kept], truth[p].numpy()[kept]
        masks, row = flat >= 0.5, table.iloc[p]
        assert row["correlation"] == pytest.approx(np.corrcoef(flat)[np.triu_indices(3, 1)].mean(), abs=1e-6)
        twos = [(masks[i] & masks[j]).sum() / (masks[i] | masks[j]).sum() for i, j in ((0, 1), (0, 2), (1, 2))]
        assert row["overlap"] == pytest.approx(np.mean(twos))
        union = masks.any(0)
        assert row["union"] == pytest.approx((union & own).sum() / own.sum())
        assert row["best"] == pytest.approx(max((m & own).sum() / own.sum() for m in masks))
        assert row["area"] == pytest.approx(union.mean())
        for name, some in (("whole_at_area", [whole[p].numpy()[kept]]), ("best_at_area", flat)):
            top = [own[np.argsort(-values)[: union.sum()]].sum() / own.sum() for values in some]
            assert row[name] == pytest.approx(max(top))


def test_equal_maps_do_not_complement_each_other(scene):
    maps, _, truth, valid = scene
    table = complementarity(maps[:, :1].expand(-1, 4, -1, -1), maps[:, 0], truth, valid, 0.5)
    assert np.allclose(table[["correlation", "overlap"]], 1)
    for name in ("best", "best_at_area", "whole_at_area"):
        np.testing.assert_allclose(table["union"], table[name], rtol=1e-6)


def test_one_comparison_has_nothing_to_be_compared_with(scene):
    maps, whole, truth, valid = scene
    table = complementarity(maps[:, :1], whole, truth, valid, 0.5)
    assert table[["correlation", "overlap"]].isna().all(axis=None) and (table["union"] == table["best"]).all()


def test_equal_values_share_what_is_left_and_no_pixel_finds_nothing():
    maps = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]).expand(3, 1, 4)
    truth = torch.tensor([[[True, True, False, False]]]).expand(3, 1, 4)
    valid = torch.ones_like(truth)
    # One pixel: the true one. Two: it and a third of the other. None: nothing.
    assert recall_at(maps, truth, valid, torch.tensor([1, 2, 0])).tolist() == pytest.approx([0.5, 2 / 3, 0.0])


def test_an_object_without_pixels_is_refused(scene):
    maps, whole, truth, valid = scene
    with pytest.raises(ValueError, match="objects with at least one valid pixel"):
        complementarity(maps, whole, truth & ~valid, valid, 0.5)
