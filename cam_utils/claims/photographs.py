"""The study of photographs: its runs as settings of MinMax-CAM's claims, and its effects as one table.

A run holds two heads under two rates, five seeds of each, on one data set and backbone. Means are those of the
official protocol over the classes that are annotated in enough images, of all seeds together.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import pandas as pd

from cam_utils import seals
from cam_utils.claims import evidence, minmax
from cam_utils.claims.truth import TRUTH, of_pixels
from cam_utils.evaluation import facts, results
from cam_utils.runs import Run

CHAPTER = "photographs"
LEAST_IMAGES = 10  # with pairs of a class and a value, or it is left out of the means over such pairs
ALL, SEVERAL = "all images", "images of several labels"
FORMS, COMPARED = minmax.FOCUSED, minmax.COMPARED
EFFECTS = (
    "head", "rate", "images", "metric", "method", "baseline", "value", "low", "high", "n_seeds", "seed_low",
    "seed_high", "n_images", "n_classes", "verdict", "reason",
)  # fmt: skip
PAIR = ("image_index", "label", "seed")


@dataclass(eq=False)
class Setting(evidence.Setting):
    """The rows of one head and rate: of all seeds on all images, or of seed 0 on images of several labels."""

    @property
    def name(self) -> str:
        """Data set, rate and images; the head has a column of its own."""
        return self.scenes

    @property
    def where(self) -> dict:
        """The columns of the claims table; one seed is named, several are counted by the row."""
        return super().where | {"seed": None if self.seeds else int(self.table["seed"].iloc[0])}

    @cached_property
    def truth(self) -> dict:
        """The MinMax forms minus CAM and area-matched CAM against pixel truth."""
        return of_pixels(self.table, FORMS, COMPARED, keys=PAIR, resamples=self.resamples)

    def weights(self) -> list[dict]:
        """Return the statistics of every seed's effective weights, computed from heads.pt once."""
        return self._weights

    @cached_property
    def _weights(self) -> list[dict]:
        content = None if self.only else seals.stored(self.run.folder / "heads.pt", self.run.record)
        if content is None:
            return []
        import torch  # which the other claims do without

        from cam_utils.networks import head_facts, models

        stored = torch.load(io.BytesIO(content), weights_only=True)
        if not all(name in stored for name in self.fits):
            return []
        found = []
        for state in (stored[name] for name in self.fits):
            labels, kernels = state["weight"].shape
            head = models.HEADS[self.head](kernels, labels)
            head.load_state_dict(state)
            found.append(head_facts.of_weights(head.class_weights().detach()))
        return found

    def predictions(self) -> list[pd.DataFrame]:
        """Return every seed's predicted and annotated labels, out of its pairs."""
        if self.only:
            return []
        flags = self.table.groupby(list(PAIR), as_index=False)[["predicted", "is_annotated"]].any()
        flags = flags.rename(columns={"is_annotated": "annotated"})
        return [flags[flags["seed"] == seed] for seed in sorted(flags["seed"].unique())]

    def identities(self) -> list[dict]:
        """Return what the study measured with every seed's network."""
        measured = {} if self.only else self.run.facts().get("identities", {})
        return [measured[name] for name in self.fits if name in measured]

    @property
    def fits(self) -> list[str]:
        """The names of the heads in heads.pt and facts.json, seed by seed: "kernel-usage-0.1-s3"."""
        return [f"{self.head}-{self.rate:g}-s{seed}" for seed in sorted(self.table["seed"].unique())]


def settings(runs: Sequence[Run]) -> list[Setting]:
    """Return one setting per head and rate, and one more for what the claims say of Score-CAM.

    The latter has one seed and the images of several labels, for all methods, and answers only where Score-CAM is
    compared; it is missing until Score-CAM has been run.
    """
    found = []
    for run in runs:
        whole = [setting(run, table) for table in fits(run.table())]
        scored = {_of(table): table for table in fits(run.table("score_cam"))}
        found += [*whole, *(_with_score_cam(s, scored[_of(s.table)]) for s in whole if _of(s.table) in scored)]
    return found


def setting(run: Run, table: pd.DataFrame, images: str = ALL, *, only: str = "") -> Setting:
    """Return the setting of one head and rate's rows; classes of few images are left out for all seeds alike."""
    (head, rate), dataset = _of(table), table["scenes"].iloc[0]
    table = results.with_enough(table.assign(predicted=table["in_predicted"]), LEAST_IMAGES)
    table = results.with_values(table, [name for name in TRUTH if name in table], LEAST_IMAGES)
    tuned = ["fine-tuned"] if run.parameters.get("finetune") else []
    scenes = ", ".join([dataset, f"rate {rate:g}", *tuned, *([] if images == ALL else [images])])
    seeds = tuple(int(seed) for seed in sorted(table["seed"].unique()))
    return Setting(
        run, table, scenes, run.parameters.get("architecture"), minmax.means, head, rate,
        seeds=seeds if len(seeds) > 1 else (), only=only,
    )  # fmt: skip


def _of(table: pd.DataFrame) -> tuple[str, float]:
    """Return the head and the rate of the rows, which are stored in few digits."""
    return table["head"].iloc[0], float(f"{table['rate'].iloc[0]:g}")


def _with_score_cam(whole: Setting, scored: pd.DataFrame) -> Setting:
    """Return the setting with Score-CAM's rows: one seed, on the images of several labels."""
    rows = several(whole.table)
    rows = rows[rows["seed"].isin(scored["seed"].unique())]
    return setting(whole.run, pd.concat([rows, scored], ignore_index=True), SEVERAL, only=minmax.SLOW)


def fits(table: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the rows of every head and rate, with words in place of categories."""
    if not len(table):
        return
    words = table.select_dtypes("category").columns
    table = table.astype(dict.fromkeys(words, str))
    for _, rows in table.groupby(["head", "rate"], sort=True):
        yield rows


def several(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the images with at least two annotated labels.

    >>> rows = pd.DataFrame({"image_index": [0, 1, 1, 1], "label": [0, 0, 1, 2], "is_annotated": [1, 1, 1, 0]})
    >>> several(rows.astype({"is_annotated": bool}))["image_index"].unique().tolist()
    [1]
    """
    labels = table[table["is_annotated"]].groupby("image_index")["label"].nunique()
    return table[table["image_index"].isin(labels.index[labels > 1])]


def effects(run: Run) -> pd.DataFrame:
    """Return what MinMax-CAM and D-MinMax-CAM change against CAM and against area-matched CAM, in points.

    One row per head, rate, `images` ("all images" or "images of several labels"), `metric`, `method` and
    `baseline`: `value` with its 95% interval `low` to `high`, `n_seeds` with the range `seed_low` to `seed_high` of
    their values (NaN where there is one seed), `n_images`, `n_classes`, and the `verdict` (with its `reason`) on
    "the method is better". Score metrics are of predicted pairs under the official protocol, pixel metrics of
    annotated ones. A difference that the run cannot tell has no row.
    """
    every = [effects_of(run, rows, images) for rows, images in product(fits(run.table()), (ALL, SEVERAL))]
    return pd.concat(every, ignore_index=True) if every else pd.DataFrame(columns=EFFECTS)


def effects_of(run: Run, rows: pd.DataFrame, images: str = SEVERAL) -> pd.DataFrame:
    """Return :func:`effects` of one head and rate alone, whose `rows` :func:`fits` yields; of `images` alone."""
    own, found = setting(run, rows if images == ALL else several(rows), images), []
    for metric, form, other in product((*facts.SCORE_METRICS, *TRUTH), FORMS, COMPARED):
        lead = minmax.higher(metric, form, other, wanted=facts.WANTED[metric])
        if measured := minmax.difference(own, lead):
            about = {"head": own.head, "rate": own.rate, "images": images, "metric": metric, "method": form}
            about |= {"baseline": other, "n_classes": measured[1]["n_classes"]}
            found += [about | tested for tested in minmax.tested(own, lead)]
    return pd.DataFrame(found, columns=EFFECTS).astype({"n_seeds": "Int64"})
