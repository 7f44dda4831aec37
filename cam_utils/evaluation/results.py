"""From the pairs table to numbers: every average of the paper, with n and a bootstrap interval over images.

The pairs table has one row per (image, label, method); see :func:`cam_utils.evaluation.evaluate.evaluate`. Values
are fractions in [0, 1] until a table for readers turns them into percent (`_percent` in its columns' names).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cam_utils import files
from cam_utils.evaluation import bootstrap
from cam_utils.evaluation.bootstrap import class_sums, interval, mean_of_known
from cam_utils.evaluation.display import METHODS
from cam_utils.evaluation.facts import HARMONIC, OF_OTHERS, PAPER_NAMES, SCORE_METRICS, harmonic_mean
from cam_utils.names import check_known

PAPER_METHODS = {name: METHODS[name] for name in ("cam", "grad-cam++", "score-cam", "minmax-cam", "d-minmax-cam")}


def aggregate(table: pd.DataFrame, **options) -> pd.DataFrame:
    """Return one row per (method, metric): value, low, high (95% bootstrap over images) and the counts behind it.

    Columns: method, metric, value, low, high, n_pairs, n_images, n_classes. Options and errors: :func:`resample`.
    """
    return pd.DataFrame(
        [
            {"method": method, "metric": metric, **interval(draws), **counts}
            for (method, metric), (draws, counts) in resample(table, **options).items()
        ]
    )


def differences(table: pd.DataFrame, baseline: str, **options) -> pd.DataFrame:
    """Return every other method's metric minus the baseline's, paired image by image.

    The same bootstrap images serve both methods, so the interval is that of the difference. Columns as
    :func:`aggregate`. Options and errors: :func:`resample`.
    """
    drawn = resample(table, **options)
    check_known("baseline", baseline, dict.fromkeys(method for method, _ in drawn))
    return pd.DataFrame(
        [
            {"method": method, "metric": metric, **interval(draws - drawn[baseline, metric][0]), **counts}
            for (method, metric), (draws, counts) in drawn.items()
            if method != baseline
        ]
    )


def paired(
    table: pd.DataFrame, metrics: Sequence[str], *, keys: Sequence[str] = ("image_index", "label", "set_size")
) -> pd.DataFrame:
    """Return the table with a metric undefined (NaN) for all methods of a pair where it is for one of them.

    A zero map has no energy: left out of its own mean alone, it would compare methods on different images. `keys`
    are the columns that tell the pairs apart.

    >>> rows = {"image_index": [0, 0], "label": [1, 1], "set_size": [1, 1], "m": [np.nan, 0.5]}
    >>> int(paired(pd.DataFrame(rows), ["m"])["m"].isna().sum())
    2
    """
    columns = [table[name] for name in keys]
    known = {name: table[name].where(table[name].notna().groupby(columns).transform("all")) for name in metrics}
    return table.assign(**known)


def with_enough(table: pd.DataFrame, least_images: int) -> pd.DataFrame:
    """Return the table in which pairs of a class count only if `least_images` images have such pairs of it.

    Predicted and annotated pairs are counted apart (`in_predicted`, `in_annotated`): a class that is annotated in
    many images may be predicted in one, which would weigh as much in a mean over classes as hundreds of another.

    >>> rows = pd.DataFrame({"image_index": [0, 1, 1], "label": [0, 0, 1]})
    >>> with_enough(rows.assign(in_predicted=True, in_annotated=True), 2)["in_predicted"].tolist()
    [True, True, False]
    """
    if least_images <= 0 or not len(table):
        return table
    counting = {}
    for name in ("in_predicted", "in_annotated"):
        images = table[table[name]].groupby("label")["image_index"].nunique()
        counting[name] = table[name] & table["label"].isin(images.index[images >= least_images])
    return table.assign(**counting)


def with_values(
    table: pd.DataFrame, metrics: Sequence[str], least_images: int, *, pairs: str = "annotated"
) -> pd.DataFrame:
    """Return the table with a metric undefined (NaN) for a class that has a value of it in too few images.

    A class may have many images and a value in a few: energy on other objects needs one of another class beside it.
    Counted are "annotated" or "predicted" pairs of all methods together.

    >>> rows = pd.DataFrame({"image_index": [0, 1, 2], "label": [0, 0, 1], "m": [1.0, 2.0, 3.0]})
    >>> with_values(rows.assign(in_annotated=True), ["m"], 2)["m"].tolist()
    [1.0, 2.0, nan]
    """
    if least_images <= 0 or not len(table):
        return table
    own, enough = table[table[f"in_{pairs}"]], {}
    for name in metrics:
        images = own[own[name].notna()].groupby("label")["image_index"].nunique()
        enough[name] = table[name].where(table["label"].isin(images.index[images >= least_images]))
    return table.assign(**enough)


def covered_classes(table: pd.DataFrame, least_images: int, *, pairs: str = "predicted") -> list[str]:
    """Return the names of the classes that `least_images` leaves in the means, in alphabetical order."""
    counting = with_enough(table, least_images)
    return sorted(counting.loc[counting[f"in_{pairs}"], "class"].unique())


def resample(
    table: pd.DataFrame,
    *,
    pairs: str = "predicted",
    average: str = "macro",
    harmonic: str = "per-class",
    singles: str = "zero",
    multi_only: bool = False,
    least_images: int = 0,
    metrics: tuple[str, ...] = SCORE_METRICS,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[tuple[str, str], tuple[np.ndarray, dict[str, int]]]:
    """Return {(method, metric): (means [1 + resamples], counts)}; the first mean is the sample's own, unresampled.

    pairs: "predicted" (p > 0.5; official code) or "annotated" labels.
    average: "macro" over classes (the paper's tables), "micro" over pairs (its equations), or "weighted" by how
    often a class is annotated.
    harmonic: F1- and F1+ "per-class", then averaged (official code), or "of-means" of the reported columns.
    singles: images with one label count as 0 in the metrics of others ("zero", official code) or not ("skip").
    multi_only: keep only pairs of images with at least two labels.
    least_images: leave out the classes whose pairs are of fewer images (:func:`with_enough`), and of a metric those
    that have a value in fewer (:func:`with_values`).

    Raises ValueError for an unknown option, a table without such pairs, or one where no class has enough images.
    """
    check_known("pairs", pairs, ("predicted", "annotated"))
    check_known("average", average, ("macro", "micro", "weighted"))
    check_known("harmonic", harmonic, ("per-class", "of-means"))
    check_known("singles", singles, ("zero", "skip"))
    every = table[table["set_size"] >= (2 if multi_only else 1)] if len(table) else table
    rows = every[with_enough(every, least_images)[f"in_{pairs}"]] if len(every) else every
    if singles == "zero":
        alone = rows["set_size"] == 1
        rows = rows.assign(**{name: rows[name].mask(alone, 0.0) for name in metrics if name in OF_OTHERS})
    rows = with_values(rows, metrics, least_images, pairs=pairs)
    if not len(rows):
        own = every[every[f"in_{pairs}"]] if len(every) else every
        if len(own):
            most = own.groupby("label")["image_index"].nunique().max()
            raise ValueError(f"no class has {pairs} pairs in {least_images} images: the most is {most}")
        raise ValueError(f"no {pairs} pairs in the table: no mean to report")
    images, classes = (np.sort(rows[name].unique()) for name in ("image_index", "label"))
    weights = 1.0
    if average == "weighted":
        weights = _annotations(table).reindex(classes, fill_value=0).to_numpy(float)
    drawn = bootstrap.draws(len(images), resamples=resamples, seed=seed)
    found = {}
    for method, part in rows.groupby("method", sort=False):
        image, label = np.searchsorted(images, part["image_index"]), np.searchsorted(classes, part["label"])
        by_class, counts = {}, {}
        for metric in metrics:
            values = part[metric].to_numpy(float)
            known = ~np.isnan(values)
            total, number = (
                class_sums(drawn, image[known], label[known], each, len(classes))
                for each in (values[known], np.ones(known.sum()))
            )
            if average == "micro":
                total, number = total.sum(1, keepdims=True), number.sum(1, keepdims=True)
            by_class[metric] = bootstrap.ratio(total, number)
            counts[metric] = {
                "n_pairs": int(known.sum()),
                "n_images": len(np.unique(image[known])),
                "n_classes": len(np.unique(label[known])),
            }
        for metric, means in _over_classes(by_class, weights, harmonic).items():
            # A harmonic mean is of two metrics, or of pairs already: then it is a column as any other.
            found[method, metric] = means, counts[metric if metric in counts else HARMONIC[metric][0]]
    return found


def _annotations(table: pd.DataFrame) -> pd.Series:
    """Return in how many images each class is annotated, by label."""
    return table.loc[table["is_annotated"], ["image_index", "label"]].drop_duplicates()["label"].value_counts()


def _over_classes(by_class: dict, weights: np.ndarray | float, harmonic: str) -> dict[str, np.ndarray]:
    """Return the mean over classes of every metric, and the harmonic means of those that are there."""
    means = {metric: mean_of_known(values, weights) for metric, values in by_class.items()}
    for name, parts in HARMONIC.items():
        if set(parts) <= set(by_class) and harmonic == "per-class":
            means[name] = mean_of_known(harmonic_mean(*(by_class[part] for part in parts)), weights)
        elif set(parts) <= set(by_class):
            means[name] = harmonic_mean(*(means[part] for part in parts))
    return means


def wide(aggregated: pd.DataFrame, *, interval: bool = True, digits: int = 1) -> pd.DataFrame:
    """Return metrics as rows and methods as columns under the paper's names, in percent: "12.3 [10.1, 14.8]".

    >>> row = {"method": "cam", "metric": "average_drop", "value": 0.123, "low": 0.1, "high": 0.15}
    >>> wide(pd.DataFrame([row])).loc["%AD", "CAM"]
    '12.3 [10.0, 15.0]'
    """

    shown = ("value", "low", "high") if interval else ("value",)
    texts = [
        bootstrap.text(*(100 * row[name] for name in shown), digits=digits) for _, row in aggregated.iterrows()
    ]
    cells = aggregated.assign(cell=texts).replace({"metric": PAPER_NAMES, "method": PAPER_METHODS})
    table = cells.pivot(index="metric", columns="method", values="cell")
    return table.loc[cells["metric"].unique(), cells["method"].unique()].rename_axis(index=None, columns=None)


def paper_table(name: str) -> pd.DataFrame:
    """Return the published numbers of `data/paper_tables/<name>.csv` ("minmax_table1", ...).

    Raises ValueError for an unknown table, FileNotFoundError in an installation without the repository's data.
    """
    folder = files.data_file("paper_tables")
    check_known("table", name, sorted(path.stem for path in folder.glob("*.csv")))
    return pd.read_csv(folder / f"{name}.csv")


def harmonic_ratios(paper: pd.DataFrame) -> pd.DataFrame:
    """Return every published F1- and F1+ over the harmonic mean of the two columns it is made of.

    The mean over classes of harmonic means is at most the harmonic mean of the means, so a ratio lies somewhat
    below 1; one near 0.5 betrays a missing factor 2 (deviation dev-halved-cells).
    """
    keys = ["dataset", "architecture", "method"]
    columns = paper.pivot_table(index=keys, columns="metric", values="value")
    found = []
    for name, parts in HARMONIC.items():
        expected = harmonic_mean(*(columns[PAPER_NAMES[part]] for part in parts))
        printed = columns[PAPER_NAMES[name]]
        rows = pd.DataFrame({"printed": printed, "of_columns": expected, "ratio": printed / expected})
        found.append(rows.assign(metric=PAPER_NAMES[name]).reset_index())
    return pd.concat(found, ignore_index=True)
