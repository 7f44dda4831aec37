"""What a claim is, what its test looks at, and one row of evidence for or against it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from cam_utils.evaluation import bootstrap
from cam_utils.runs import Run

SCALES = {"points": 100, "%": 100, "correlation": 1, "number": 1}  # from stored fractions to a row's unit


class Claim(NamedTuple):
    """A sentence of a paper, what the paper's own tables say of it, and its test on the runs of its chapter.

    `test` takes the chapter's settings and returns rows made by :func:`row`, none if no setting can answer; `needs`
    says what is missing then.
    """

    id: str
    chapter: str
    statement: str
    evidence: str
    test: Callable[[Sequence], list[dict]]
    needs: str


@dataclass(eq=False)
class Setting:
    """What a test looks at: a run's table, or its rows of one kind of scenes and one head.

    `seeds` are those of a table with the rows of several trainings, else (). With `only`, the setting answers only
    where this method is compared.
    """

    run: Run
    table: pd.DataFrame
    scenes: str
    network: str | None
    measure: Callable[["Setting"], dict]  # what the chapter's claims compare: means with their bootstrap
    head: str = ""
    rate: float | None = None  # of the training, where runs differ in it
    seeds: tuple[int, ...] = ()
    only: str = ""
    resamples: int = 1000

    @property
    def name(self) -> str:
        """The setting's name in the run's own tables and facts."""
        return f"{self.scenes} / {self.head}" if self.head else self.scenes

    @property
    def where(self) -> dict:
        """The columns of the claims table that say which setting a row is about."""
        given = self.run.parameters
        own = {"setting": self.name, "dataset": given.get("dataset"), "network": self.network, "head": self.head}
        return own | {"seed": given.get("seed"), "runs": self.run.id}

    @cached_property
    def found(self) -> dict:
        """What `measure` finds, once for all claims."""
        return self.measure(self)

    @cached_property
    def parts(self) -> "list[Setting]":
        """Every seed alone, without a bootstrap; none where there is one seed."""
        by_seed = [self.table[self.table["seed"] == seed] for seed in self.seeds]
        return [replace(self, table=table, seeds=(), resamples=0) for table in by_seed]

    @property
    def truth(self) -> dict:
        """Differences between methods in metrics of pixels: {(method, other, metric): (draws, counts)}."""
        return {}

    def weights(self) -> list[dict]:
        """Return the statistics of the head's weights, for every seed; empty if not stored."""
        stored = self.run.facts().get("weights", {}).get(self.name)
        return [stored] if stored else []

    def predictions(self) -> list[pd.DataFrame]:
        """Return the predicted and annotated labels of the network's validation images, for every seed."""
        table = self.run.table("predictions")
        if len(table):
            table = table[(table["scenes"] == self.scenes) & (table["head"] == self.head)]
        return [table] if len(table) else []

    def identities(self) -> list[dict]:
        """Return what the chapter's derivation measured with this setting, for every seed."""
        measured = self.run.facts().get("identities", {})
        return [measured] if measured.get("setting") == self.name else []


def alike(settings: Sequence[Setting], free: set[str]) -> list[list[Setting]]:
    """Return groups of settings with the same scenes, whose runs differ in no parameter but those in `free`."""
    groups: dict[str, list[Setting]] = {}
    for setting in settings:
        same = {name: value for name, value in setting.run.parameters.items() if name not in free}
        groups.setdefault(json.dumps([setting.scenes, same], sort_keys=True), []).append(setting)
    return list(groups.values())


def together(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return several settings' rows in one table, methods as "name:method": their bootstraps share the images."""
    return pd.concat([table.assign(method=f"{name}:" + table["method"]) for name, table in tables.items()])


def row(
    where: Mapping[str, object],
    part: str,
    draws: np.ndarray | float,
    wanted: int,
    n_images: int | None,
    *,
    unit: str = "points",
    margin: float = 0.0,
    seeds: Sequence[float] = (),
    **more: object,
) -> dict:
    """Return one tested difference as a row of the claims table.

    where: columns that say which runs and setting. part: the difference in words. draws [1 + resamples]: the
    sample's own value, then its bootstrap (fractions for "points" and "%"); a single number is exact, such as a
    largest deviation or a fact about weights, and has no interval. The value should lie above (`wanted` = +1) or
    below (-1) `margin`, which is in the row's unit. n_images: images behind the value, None where there are none.
    seeds: the value of every seed where `draws` is of several together: a verdict needs all of them on its side.

    >>> row({}, "a exceeds b", np.array([0.2, 0.1, 0.3]), +1, 50)["verdict"]
    'holds'
    >>> row({}, "a exceeds b", np.array([0.2, 0.1, 0.3]), +1, 5)["verdict"]
    'undecided'
    >>> row({}, "a exceeds b", np.array([0.2, 0.1, 0.3]), +1, 50, seeds=[0.5, -0.1])["reason"]
    '1 of 2 seeds lies on the other side'
    """
    scale = SCALES[unit]
    if exact := np.ndim(draws) == 0:
        found = {"value": scale * float(draws), "low": np.nan, "high": np.nan}
    else:
        found = {name: scale * value for name, value in bootstrap.interval(draws).items()}
    low, high = (found["value"],) * 2 if exact else (found["low"], found["high"])
    enough = exact or n_images >= bootstrap.FEWEST_IMAGES
    verdict = bootstrap.verdict(low - margin, high - margin, wanted) if enough else "undecided"
    tested = {"unit": unit, "wanted": wanted, "margin": margin, "n_images": n_images, "verdict": verdict}
    if len(seeds) > 1:
        side = {"holds": wanted, "fails": -wanted}.get(verdict, np.sign(found["value"] - margin))
        tested |= _of_seeds(scale * np.asarray(seeds, float), margin, side, verdict)
    return {**where, "part": part, **found, **tested, **more}


def _of_seeds(values: np.ndarray, margin: float, side: int, verdict: str) -> dict:
    """Return the columns about seeds: the verdict stands if all of them lie on the same side of the margin."""
    known = values[~np.isnan(values)]
    sides = np.sign(known - margin)
    counts = {
        ("lies on the other side", "lie on the other side"): (sides == -side).sum() if side else 0,
        ("lies on the margin", "lie on the margin"): (sides == 0).sum() if side else 0,
        ("has no value", "have no value"): len(values) - len(known),
    }
    said = [f"{n} of {len(values)} seeds {one if n == 1 else more}" for (one, more), n in counts.items() if n]
    low, high = (known.min(), known.max()) if len(known) else (np.nan, np.nan)
    agreed = {"verdict": "undecided" if said else verdict, "reason": ", ".join(said)}
    return {"n_seeds": len(values), "seed_low": low, "seed_high": high, **agreed}


def text(row: Mapping[str, object]) -> str:
    """Return a row's value and interval as a reader's text, in the row's unit.

    An end that would round to zero without being zero gets more digits, so that its sign stays visible.

    >>> text({"value": 3.42, "low": 1.8, "high": 5.31, "unit": "points"})
    '+3.4 [+1.8, +5.3]'
    >>> text({"value": 1.49, "low": -0.024, "high": 3.56, "unit": "points"})
    '+1.490 [-0.024, +3.560]'
    """
    numbers = [row[name] for name in ("value", "low", "high")]
    if row["unit"] == "number":
        return f"{row['value']:.2g}"
    if row["unit"] == "%":
        return bootstrap.text(*numbers, digits=0, unit="%")
    hidden = any(number != 0 and abs(number) < 0.05 for number in numbers)
    return bootstrap.text(*numbers, digits=3 if row["unit"] == "correlation" or hidden else 1, sign=True)


def seeds_text(row: Mapping[str, object]) -> str:
    """Return the number of a row's seeds and the range of their values, empty where there is one seed.

    >>> seeds_text({"n_seeds": 5, "seed_low": 0.4, "seed_high": 5.3, "unit": "points"})
    '5: +0.4 to +5.3'
    """
    if pd.isna(row["n_seeds"]):
        return ""
    ends = [{"value": row[name], "low": np.nan, "high": np.nan} for name in ("seed_low", "seed_high")]
    return f"{row['n_seeds']}: {' to '.join(text({'unit': row['unit'], **end}) for end in ends)}"
