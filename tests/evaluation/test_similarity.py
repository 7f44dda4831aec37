"""Rank correlation and SSIM against scipy, HOG against scikit-image's numbers and an edge that is turned."""

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torchmetrics.functional.image import structural_similarity_index_measure

from cam_utils.evaluation.similarity import compared, histograms, hog, similarities, spearman, ssim, with_others


@pytest.fixture
def two():
    """Two batches of maps with many ties, as rectified maps have."""
    generator = torch.Generator().manual_seed(0)
    return tuple((torch.randn(5, 13, 17, generator=generator).relu() * 4).round() / 8 for _ in range(2))


def test_spearman_agrees_with_scipy_on_tied_values(two):
    a, b = two
    for i, found in enumerate(spearman(a, b)):
        assert found.item() == pytest.approx(stats.spearmanr(a[i].flatten(), b[i].flatten()).statistic, abs=1e-12)


def test_spearman_sees_order_alone(two):
    a, _ = two
    torch.testing.assert_close(spearman(a, a**3), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(spearman(a, -a), -torch.ones(5, dtype=torch.float64))


def _reference_ssim(a, b):
    """SSIM of Wang et al. (2004), Eq. 13, the mean over all pixels, with the border mirrored."""

    def blur(m):
        return ndimage.gaussian_filter(m, 1.5, radius=5, mode="mirror")

    one, two = blur(a), blur(b)
    variance, other = blur(a * a) - one**2, blur(b * b) - two**2
    covariance = blur(a * b) - one * two
    c1, c2 = 0.01**2, 0.03**2
    return np.mean(
        (2 * one * two + c1) * (2 * covariance + c2) / ((one**2 + two**2 + c1) * (variance + other + c2))
    )


def test_ssim_is_that_of_its_paper(two):
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.rand(3, 24, 20, generator=generator, dtype=torch.float64) for _ in range(2))
    expected = [_reference_ssim(x, y) for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    np.testing.assert_allclose(ssim(a, b), expected, atol=1e-6)
    torch.testing.assert_close(ssim(a, a), torch.ones(3, dtype=torch.float64))


def test_ssim_is_that_of_torchmetrics():
    generator = torch.Generator().manual_seed(2)
    a, b = (torch.rand(4, 20, 31, generator=generator) ** 3 for _ in range(2))
    expected = structural_similarity_index_measure(a[:, None], b[:, None], data_range=1.0, reduction="none")
    torch.testing.assert_close(ssim(a, b), expected.flatten(), rtol=0, atol=1e-5)


def test_each_mask_is_compared_with_the_others_named():
    a, b = (torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(seed)) for seed in (3, 4))
    others = torch.tensor([[0, 2], [1, 0], [2, 1]])
    found = with_others(a, b, others)
    for column in range(2):
        for name, values in similarities(a, b[others[:, column]]).items():
            torch.testing.assert_close(found[name][:, column], values, msg=name)
    torch.testing.assert_close(found["ssim"][:, 1], ssim(a, b[others[:, 1]]))


# skimage.feature.hog 0.26.0 of the ramp below, 9 orientations, cells of 4 x 4, blocks of 3 x 3: 12 values
SCIKIT_IMAGE = [0.056565, 0.0, 0.239983, 0.0, 0.056565, 0.0, 0.0, 0.0, 0.0, 0.075419, 0.0, 0.341881]


def test_histograms_are_those_of_scikit_image():
    ramp = torch.arange(144.0).view(1, 12, 12).remainder(11) / 10
    np.testing.assert_allclose(histograms(ramp)[0, :12], SCIKIT_IMAGE, atol=1e-6)


@pytest.mark.parametrize(("angle", "bin"), [(0, 0), (45, 2), (90, 4), (135, 6)])
def test_an_edge_counts_at_the_angle_of_its_gradient(angle, bin):
    y, x = np.mgrid[:24, :24] - 11.5
    across = np.cos(np.deg2rad(angle + 1)) * x + np.sin(np.deg2rad(angle + 1)) * y  # a degree off the bins' edges
    edge = torch.from_numpy(1 / (1 + np.exp(-across)))[None]
    assert histograms(edge)[0].view(-1, 9).sum(0).argmax().item() == bin
    assert hog(edge, edge).item() == pytest.approx(1)
    assert hog(edge, 1 - 0.5 * edge).item() == pytest.approx(1, abs=1e-6), "neither sign nor contrast counts"
    assert hog(edge, edge.transpose(1, 2)).item() < (0.2 if angle in (0, 90) else 1.01)
    with pytest.raises(ValueError, match=r"12 x 12 pixels or more, got \(1, 8, 24\)"):
        histograms(edge[:, :8])


def test_a_constant_map_is_like_nothing(two):
    a, _ = two
    flat = torch.zeros_like(a)
    flat[1:] = a[1:]
    for found in (spearman(a, flat), spearman(flat, a), ssim(a, flat), ssim(flat, a), hog(a, flat)):
        assert found.isnan().tolist() == [True, False, False, False, False]


def test_large_masks_are_compared_by_means_of_blocks():
    masks = torch.rand(2, 96, 48, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(compared(masks), (masks[:, ::2] + masks[:, 1::2]) / 2)
    small = masks[:, :20, :20]
    assert torch.equal(compared(small), small)
    assert set(similarities(small, small)) == {"spearman", "ssim", "hog"}
