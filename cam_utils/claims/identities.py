"""What the identities E2 and E3 are judged by: how far the maps of a network are from what algebra says of them."""

import torch

from cam_utils.methods import cams
from cam_utils.methods.query import Query

FORMS = {  # made by gradients -> the same form by the head's weights, and by gradients
    "Grad-CAM": (cams.cam, cams.grad_cam),
    "MinMax-Grad-CAM": (cams.minmax_cam, cams.minmax_grad_cam),
    "D-MinMax-Grad-CAM": (cams.d_minmax_cam, cams.d_minmax_grad_cam),
}


def deviations(query: Query) -> dict[str, int | float | dict[str, float]]:
    """Return how far a question's maps are from E2 and E3, over all sets of labels that it asks about.

    images: sets with a label, two_label_images: sets with exactly two. overlap: the largest value that both MinMax
    maps of a set of two have at one pixel (E2); deviation: the largest difference of each form made by gradients, a
    backward for every pair, from the same form made by the head's weights (E3). Both are shares of the largest
    absolute value of the set's CAMs before the ReLU. Raises ValueError for a network without global average pooling
    and one linear layer behind the explained layer.
    """
    pairs, given = query.pairs, (query.activations, query.weights, query.pairs)
    sizes = torch.bincount(pairs.group)  # [sets]
    peaks = cams.cam(*given, relu=False).abs().amax((-2, -1))  # [P]
    largest = peaks.new_zeros(len(sizes)).scatter_reduce(0, pairs.group, peaks, "amax")
    # Where all CAMs are zero a map that is zero as well deviates by 0, any other by more than any margin.
    scale = largest.clamp(min=torch.finfo(peaks.dtype).tiny)[pairs.group, None, None]  # [P, 1, 1]
    minmax = cams.minmax_cam(*given) / scale
    two = (sizes == 2).nonzero()[:, 0].tolist()
    found = {
        name: (by_gradient(query.activations, query.gradients, pairs) - form(*given)).abs() / scale
        for name, (form, by_gradient) in FORMS.items()
    }
    return {
        "images": int((sizes > 0).sum()),
        "two_label_images": len(two),
        "overlap": max((float(minmax[pairs.group == group].amin(0).max()) for group in two), default=0.0),
        "deviation": {name: float(apart.max()) for name, apart in found.items() if apart.numel()},
    }
