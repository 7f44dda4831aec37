"""What is known about every metric, once: its names, which way it is better, what it compares; without torch.

:mod:`cam_utils.evaluation.metrics` computes the metrics, `book/metrics.md` explains them.
"""

from typing import NamedTuple


class Metric(NamedTuple):
    """The facts about a metric."""

    title: str
    heading: str  # of book/metrics.md, as its link
    wanted: int  # +1: high is better, -1: low
    symbol: str = ""  # in the tables of MinMax-CAM
    of_others: bool = False  # undefined for a label that stands alone in its image
    pixels: bool = False  # compares the map with annotated pixels
    pictures: bool = False  # shows the network the mask alone, as SS-CAM's authors do
    mean_of: tuple[str, ...] = ()  # the two metrics whose harmonic mean it is

    @property
    def short(self) -> str:
        """The shortest name in the book: IC, AD, ... or the title."""
        return (self.symbol or self.title).removeprefix("%")


# In the order of the paper's tables.
METRICS = {
    "increase_in_confidence": Metric("increase in confidence", "increase-in-confidence", +1, "%IC"),
    "average_drop": Metric("average drop", "average-drop", -1, "%AD"),
    "average_drop_others": Metric("average drop of others", "average-drop-of-others", +1, "%ADO", of_others=True),
    "average_retention": Metric("average retention", "average-retention", +1, "%AR"),
    "average_retention_others": Metric(
        "average retention of others", "average-retention-of-others", -1, "%ARO", of_others=True
    ),
    "f1_minus": Metric(
        "harmonic mean of AD and ARO", "the-two-harmonic-means", -1, "F1-",
        mean_of=("average_drop", "average_retention_others"),
    ),
    "f1_plus": Metric(
        "harmonic mean of AR and ADO", "the-two-harmonic-means", +1, "F1+",
        mean_of=("average_retention", "average_drop_others"),
    ),
    "energy_in_mask": Metric("energy in mask", "energy", +1, pixels=True),
    "energy_in_box": Metric("energy in box", "energy", +1, pixels=True),
    "energy_in_others": Metric("energy in others", "energy", -1, pixels=True),
    "pointing_mask": Metric("pointing game", "pointing-game", +1, pixels=True),
    "pointing_box": Metric("pointing game, box", "pointing-game", +1, pixels=True),
    "iou_0.15": Metric("IoU at 0.15", "intersection-over-union", +1, pixels=True),
    "iou_0.3": Metric("IoU at 0.3", "intersection-over-union", +1, pixels=True),
    "iou_0.5": Metric("IoU at 0.5", "intersection-over-union", +1, pixels=True),
    "picture_drop": Metric("average drop, mask as a picture", "the-mask-as-a-picture", -1, pictures=True),
    "picture_increase": Metric("average increase, mask as a picture", "the-mask-as-a-picture", +1, pictures=True),
}  # fmt: skip
WANTED = {name: metric.wanted for name, metric in METRICS.items()}
PAPER_NAMES = {name: metric.symbol for name, metric in METRICS.items() if metric.symbol}
HARMONIC = {name: metric.mean_of for name, metric in METRICS.items() if metric.mean_of}
SCORE_METRICS = tuple(name for name in PAPER_NAMES if name not in HARMONIC)
PIXEL_METRICS = tuple(name for name, metric in METRICS.items() if metric.pixels)
PICTURE_METRICS = tuple(name for name, metric in METRICS.items() if metric.pictures)
OF_OTHERS = tuple(name for name, metric in METRICS.items() if metric.of_others)


def harmonic_mean(a, b):
    """Return 2ab / (a + b), 0 if both are 0, of numbers, arrays or tensors: F1- of (AD, ARO), F1+ of (AR, ADO).

    >>> harmonic_mean(0.5, 1.0)  # doctest: +ELLIPSIS
    0.666...
    """
    total = a + b
    return 2 * a * b / (total + (total == 0))
