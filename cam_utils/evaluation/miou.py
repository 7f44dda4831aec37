"""Intersection over union of thresholded maps with segmentation masks, from pixel counts that any average can use.

:func:`cam_utils.evaluation.map_counts.evaluate_maps` counts. Its table has one row per (image, class, method), and
for every threshold T the pixels of the mask (map >= T) and how many of them are true. From these counts come all
definitions of the mean IoU (deviation dev-rep-miou):
M1 pools a class's pixels over its images, then averages classes; M2 averages the images' own IoU; M3 segments,
every pixel going to the class of the image whose map is highest there, or to the background below T.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cam_utils.evaluation import bootstrap
from cam_utils.evaluation.bootstrap import class_sums, interval
from cam_utils.evaluation.results import paper_table
from cam_utils.names import check_known

PAPER_THRESHOLD = 0.15
THRESHOLDS = tuple(round(0.05 * k, 2) for k in range(1, 20))
CHOSEN = -1.0  # stands for a threshold that each half of the images has its own of: none that a map can have
DEFINITIONS = ("M1", "M2", "M3")
BACKGROUND = "background"


def columns(thresholds: Sequence[float]) -> list[str]:
    """Return the names of the count columns."""
    return [f"{kind}_{t:g}" for kind in ("area", "hit", "seg_area", "seg_hit") for t in thresholds]


def miou(
    table: pd.DataFrame,
    *,
    definition: str = "M1",
    threshold: float = PAPER_THRESHOLD,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return {method: (IoU of every class [1 + resamples, n], their mean [1 + resamples])}; draw 0 is the sample.

    All methods share the bootstrap's images, so draws can be subtracted from each other. In a resample a class
    without images is left out of its mean. Raises ValueError for an unknown definition, or a table without rows
    or without this threshold.
    """
    check_known("definition of mIoU", definition, DEFINITIONS)
    seg = "seg_" if definition == "M3" else ""
    if not len(table) or not (table["class"] != BACKGROUND).any():
        raise ValueError("no annotated pixel in any image: there is nothing to compare maps with")
    if f"area_{threshold:g}" not in table:
        known = [name.removeprefix("area_") for name in table if name.startswith("area_")]
        raise ValueError(f"the table has no threshold {threshold:g} (it has {', '.join(known)})")
    rows = _explained(table, definition)
    images, classes = np.sort(rows["image_index"].unique()), class_order(rows)
    drawn = bootstrap.draws(len(images), resamples=resamples, seed=seed)
    found = {}
    for method, part in rows.groupby("method", sort=False):
        image, label = np.searchsorted(images, part["image_index"]), part["class"].map(classes.index).to_numpy()
        hit, area = (part[f"{seg}{kind}_{threshold:g}"].to_numpy(float) for kind in ("hit", "area"))
        union = area + part["truth"].to_numpy(float) - hit
        if definition == "M2":
            # Only background rows have no truth, and M2 leaves them out: every union is positive.
            hit, union = hit / union, np.ones(len(part))
        iou = bootstrap.ratio(*(class_sums(drawn, image, label, each, len(classes)) for each in (hit, union)))
        found[method] = iou, bootstrap.mean_of_known(iou)
    return found


def _explained(table: pd.DataFrame, definition: str = "M1") -> pd.DataFrame:
    """Return the rows that a definition counts: M3 has a background, the others have classes alone."""
    rows = table if definition == "M3" else table[table["class"] != BACKGROUND]
    return rows.astype({name: object for name in ("method", "class") if name in rows})  # stored as categories


def class_order(table: pd.DataFrame) -> list[str]:
    """Return the table's classes by label, the background first where there is one."""
    return table.drop_duplicates("class").sort_values("label")["class"].tolist()


def summary(table: pd.DataFrame, **options) -> pd.DataFrame:
    """Return one row per method: mIoU with its 95% interval, n_images and n_pairs. Options: :func:`miou`.

    Columns: method, value, low, high (fractions), n_images, n_pairs.
    """
    found = miou(table, **options)
    real = _explained(table).groupby("method")
    sizes = pd.DataFrame({"n_images": real["image_index"].nunique(), "n_pairs": real.size()})
    return pd.DataFrame(
        [{"method": name, **interval(mean), **sizes.loc[name].to_dict()} for name, (_, mean) in found.items()]
    )


def per_class(table: pd.DataFrame, **options) -> pd.DataFrame:
    """Return every class's IoU (rows) for every method (columns), and the mean as the last row "avg"."""
    found = miou(table, resamples=0, **options)
    rows = _explained(table, options.get("definition", "M1"))
    values = {name: [*iou[0], mean[0]] for name, (iou, mean) in found.items()}
    return pd.DataFrame(values, index=[*class_order(rows), "avg"])


def class_intervals(table: pd.DataFrame, methods: Sequence[str], **options) -> pd.DataFrame:
    """Return every class's IoU in percent with its 95% interval, as text, and the mean as the last row "avg"."""
    found = miou(table[table["method"].isin(methods)], **options)
    cells = {
        name: [bootstrap.percent(interval(draws)) for draws in (*iou.T, mean)]
        for name, (iou, mean) in ((name, found[name]) for name in methods)
    }
    rows = _explained(table, options.get("definition", "M1"))
    return pd.DataFrame(cells, index=[*class_order(rows), "avg"])


def differences(table: pd.DataFrame, pairs: Sequence[tuple[str, str]], **options) -> pd.DataFrame:
    """Return for every (method, other) the difference of their mIoU with its interval, paired image by image.

    Raises ValueError for an unknown method, and for two that explain different classes.
    """
    found = miou(table, **options)
    for name in {name for pair in pairs for name in pair}:
        check_known("method", name, found)
    for a, b in pairs:
        if (np.isnan(found[a][0][0]) != np.isnan(found[b][0][0])).any():
            raise ValueError(f"{a} and {b} explain different classes: their means are not comparable")
    return pd.DataFrame([{"method": a, "minus": b, **interval(found[a][1] - found[b][1])} for a, b in pairs])


def sweep(table: pd.DataFrame, *, definition: str = "M1", thresholds: Sequence[float] = THRESHOLDS) -> pd.DataFrame:
    """Return mIoU at every threshold: columns method, threshold, value (a fraction)."""
    return pd.DataFrame(
        [
            {"method": name, "threshold": t, "value": mean[0]}
            for t in thresholds
            for name, (_, mean) in miou(table, definition=definition, threshold=t, resamples=0).items()
        ]
    )


def at_chosen_threshold(
    table: pd.DataFrame, *, definition: str = "M1", thresholds: Sequence[float] = THRESHOLDS
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the table at a threshold that each method chooses on the other half of the images, and the choices.

    A method's best threshold on the images that judge it flatters it. Here images of even index are judged at the
    threshold with the highest mIoU on those of odd index, and the other way round; of equal ones the lowest counts.
    The new table has all rows and one threshold, CHOSEN, for the functions of this module. Choices: columns method,
    half ("even" or "odd", the one that is judged), threshold. Raises ValueError if a half has no image.
    """
    even = table["image_index"] % 2 == 0
    kinds = ("area", "hit", "seg_area", "seg_hit")
    parts, choices = [], []
    for half, judged in (("even", even), ("odd", ~even)):
        curves = sweep(table[~judged], definition=definition, thresholds=thresholds)
        best = curves.loc[curves.groupby("method")["value"].idxmax()].set_index("method")["threshold"]
        choices.append(best.rename("threshold").reset_index().assign(half=half))
        for method, rows in table[judged].groupby("method", sort=False):
            at = {f"{kind}_{best[method]:g}": f"{kind}_{CHOSEN:g}" for kind in kinds}
            facts = [name for name in rows if not name.startswith(tuple(f"{kind}_" for kind in kinds))]
            parts.append(rows[facts + [name for name in at if name in rows]].rename(columns=at))
    return pd.concat(parts, ignore_index=True), pd.concat(choices, ignore_index=True)


def matrix(table: pd.DataFrame, classes: Sequence[str], prefix: str = "vs ", **options) -> pd.DataFrame:
    """Return IoU of every class (columns) compared with every other (rows), from the methods "vs <class>"."""
    found = per_class(table[table["method"].str.startswith(prefix)], **options)
    return found.rename(columns=lambda name: name.removeprefix(prefix)).T.reindex(index=classes, columns=classes)


def paper_rows(number: int) -> pd.DataFrame:
    """Return a published table of mIoU (2 to 5), in percent, with the methods named alike in all of them.

    Rows: method; columns: network, or for Table 5 (dataset, split). Table 4 prints "Random" for
    "Random+F" (deviation dev-rep-names).
    """
    check_known("table of mIoU", str(number), "2345")
    rows = paper_table(f"repcam_table{number}")
    names = rows["method"].str.replace(r"\s*\[\d+\]|\s+(?=\+)", "", regex=True).str.replace("random", "Random")
    if number == 4:
        names = names.where(names.str.contains(r"\+|Baseline"), names + "+F")
    columns = ["dataset", "split"] if number == 5 else "architecture"
    table = rows.assign(method=names).pivot(index="method", columns=columns, values="value")
    order = table.columns if number == 5 else rows["architecture"].unique()
    return table.loc[names.unique(), order]


def paper_matrix() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return Table 1 in percent: single pairs (rows: compared with), and its Top-k, All and Grad-CAM rows."""
    pairs = paper_table("repcam_table1_pairs")
    order = pairs["class"].unique()
    single = 100 * pairs.pivot(index="comparison_class", columns="class", values="miou").loc[order, order]
    top = paper_table("repcam_table1_topk")
    rows = 100 * top.pivot(index="method", columns="class", values="value")[[*order, "avg"]]
    return single, rows.loc[top["method"].unique()]
