import torch

from cam_utils import maps


def test_normalising_a_constant_or_zero_map_is_zero_not_nan():
    raw = torch.stack([torch.zeros(3, 3), torch.full((3, 3), 7.0), torch.full((3, 3), -1e-30)])
    assert torch.equal(maps.normalise(raw), torch.zeros(3, 3, 3))


def test_normalising_is_invariant_to_positive_affine_changes():
    raw = torch.randn(4, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(maps.normalise(raw), maps.normalise(3.5 * raw + 11))


def test_normalisations_differ_where_a_map_is_negative():
    raw = torch.tensor([[[-3.0, 0.0], [1.0, 2.0]], [[-4.0, -3.0], [-2.0, -1.0]]])
    found = {name: rescale(raw).tolist() for name, rescale in maps.NORMALISATIONS.items()}
    assert found["relu-max"] == [[[0, 0], [0.5, 1]], [[0, 0], [0, 0]]]
    torch.testing.assert_close(
        torch.tensor(found["min-max"]), torch.tensor([[[0, 0.6], [0.8, 1]], [[0, 1 / 3], [2 / 3, 1]]])
    )
    assert list(found) == ["min-max", "relu-max"]


def test_upsample_by_two_matches_bilinear_weights_by_hand():
    up = maps.upsample(torch.tensor([[[0.0, 4.0]]]), (1, 4))
    # half-pixel centres: output centres lie at -0.25, 0.25, 0.75, 1.25 input pixels
    torch.testing.assert_close(up, torch.tensor([[[0.0, 1.0, 3.0, 4.0]]]))


def test_upsample_commutes_with_weighted_sums():
    generator = torch.Generator().manual_seed(1)
    raw = torch.randn(5, 4, 4, dtype=torch.float64, generator=generator)
    w = torch.randn(5, dtype=torch.float64, generator=generator)
    direct = maps.upsample((w[:, None, None] * raw).sum(0, keepdim=True), (9, 13))
    torch.testing.assert_close(direct, (w[:, None, None] * maps.upsample(raw, (9, 13))).sum(0, keepdim=True))


def test_masks_normalise_before_upsampling_so_a_peak_may_stay_below_one():
    raw = torch.zeros(1, 3, 3)
    raw[0, 1, 1] = 5.0
    masks = maps.masks(raw, (6, 6))
    # the nearest output centres lie 0.25 input pixels away in both directions
    assert masks.max().item() == 0.75**2
    assert maps.masks(raw, (3, 3)).max().item() == 1.0
