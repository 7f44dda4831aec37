"""The findings of the whole book: a claim each, and what stored results say of it on photographs and on digits.

A finding's words stay as they are when results change: its verdict and its numbers are read from the results.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from cam_utils import claims
from cam_utils.claims import photographs, representative, smoothed, verdicts
from cam_utils.evaluation import bootstrap, ranking, results, sanity_rule
from cam_utils.evaluation.facts import METRICS
from cam_utils.runs import Run, read_runs
from workflow import ROOT
from workflow.site import photograph_runs as numbers

STORED = Path("data") / "results"
JUDGED = {"R5": representative.PHOTOGRAPHS, "S1": smoothed.PHOTOGRAPHS}  # claim -> whose runs answer it
BLIND = ("centre", "everywhere", "dot", "mean activation", "gaussian", "sobel")  # controls: they know no label
EVERYWHERE = "everywhere"
AD, ADO, IOU, AR = "average_drop", "average_drop_others", "iou_0.3", "average_retention"
TURNED = {"holds": "fails", "fails": "holds"}
CHECKED = {"passes": "holds", "fails": "fails", "undecided": "undecided"}


class Row(NamedTuple):
    """One number of one run, reading or method: its 95% interval, and what it says of the claim."""

    value: float
    low: float
    high: float
    verdict: str


@dataclass(frozen=True, eq=False)
class Evidence:
    """Stored results: those in `source`/data/results, finished runs, and the ledger of `claims.judge`."""

    source: Path
    runs: Sequence[Run]
    ledger: pd.DataFrame

    def stored(self, name: str) -> pd.DataFrame | None:
        """Return a table of data/results, None if it is not there."""
        file = self.source / STORED / name
        if not file.is_file():
            return None
        return pd.read_csv(file) if file.suffix == ".csv" else pd.read_parquet(file)

    def table(self, chapter: str, name: str = "pairs") -> pd.DataFrame | None:
        """Return a table of the chapter's default run, None without such a run."""
        found = [run.table(name) for run in self.runs if run.id == run.chapter == chapter]
        return found[0] if found and len(found[0]) else None

    @cached_property
    def effects(self) -> pd.DataFrame:
        """What MinMax-CAM changes on images of several labels, in the head and rate that each page shows first."""
        found = []
        for run in filter(numbers.is_one, self.runs):
            table = run.table()
            head, rate = numbers.reference(table)
            table = table[(table["head"] == head) & (table["rate"] == rate)]
            found += [photographs.effects_of(run, rows) for rows in photographs.fits(table)]
        return pd.concat(found) if found else pd.DataFrame(columns=photographs.EFFECTS)


@lru_cache(maxsize=1)
def of_project() -> Evidence:
    """Return the evidence that is committed: data/results and its runs (seconds)."""
    runs = read_runs(ROOT / STORED / "runs")
    answering = [run for run in runs if run.chapter in JUDGED.values()]
    return Evidence(ROOT, runs, claims.judge(answering, list(JUDGED)))


def effect(metric: str, baseline: str, *, turned: bool = False) -> Callable[[Evidence], list[Row]]:
    """Return the rows of MinMax-CAM minus `baseline`, one per run, in points; `turned`: it is claimed to lose."""

    def rows(found: Evidence) -> list[Row]:
        own = found.effects
        own = own[(own["method"] == "minmax-cam") & (own["baseline"] == baseline) & (own["metric"] == metric)]
        return [
            each._replace(verdict=TURNED.get(each.verdict, each.verdict)) if turned else each for each in _rows(own)
        ]

    return rows


def judged(claim: str, part: str) -> Callable[[Evidence], list[Row]]:
    """Return the rows of a claim on photographs whose part is this one, of any reading."""
    return lambda found: _rows(_of(found.ledger, claim, part, digits=False))


def on_digits(claim: str, part: str, setting: str = "") -> Callable[[Evidence], list[Row]]:
    """Return the rows of a claim in the committed ledger of the chapters, data/results/claims.csv."""

    def rows(found: Evidence) -> list[Row]:
        ledger = found.stored("claims.csv")
        own = ledger if ledger is None else _of(ledger, claim, part, digits=True)
        return [] if own is None else _rows(own[own["setting"] == setting] if setting else own)

    return rows


def compared(found: Evidence, *, digits: bool) -> pd.DataFrame | None:
    """Return the pairs of all methods' comparison, without twins, each map enlarged before it is rescaled."""
    table = found.table("comparison") if digits else found.stored("comparison_photographs.parquet")
    if table is None:
        return None
    table = table.astype(dict.fromkeys(("image", "class", "method"), str))
    table = table[table["upsample_first"]] if "upsample_first" in table else table
    known = [name for name in METRICS if name in table]
    return table[table["method"].isin([group[0] for group in ranking.alike(table, known)])]


def everywhere(found: Evidence, *, digits: bool) -> list[Row]:
    """Return the average drop of a map that is 1 everywhere minus that of the best explanation, in points."""
    table = compared(found, digits=digits)
    if table is None:
        return []
    options = {"pairs": "annotated", "average": "micro", "metrics": (AD,)}
    real = results.aggregate(table[~table["method"].isin(BLIND)], **options, resamples=0)
    best = real.loc[real["value"].idxmin(), "method"]
    (row,) = results.differences(table[table["method"].isin([EVERYWHERE, best])], best, **options).to_dict(
        "records"
    )
    value, low, high = (100 * row[name] for name in ("value", "low", "high"))
    return [Row(value, low, high, bootstrap.verdict(low, high, -1))]


def agreement(found: Evidence, *, digits: bool) -> list[Row]:
    """Return the rank correlation over methods, controls left out, of %ADO with the IoU of the annotated object."""
    table = compared(found, digits=digits)
    if table is None:
        return []
    real = table[~table["method"].isin(BLIND)]
    every = ranking.agreement(real, [ADO], [IOU], average="micro", seed=0)
    row = every[(every["level"] == "methods") & (every["over"] == "both")].iloc[0]
    return [Row(row["value"], row["low"], row["high"], bootstrap.verdict(row["low"], row["high"], +1))]


def random_head(found: Evidence, *, digits: bool) -> list[Row]:
    """Return how much of itself every method's map keeps under a random head, by the measure that shows most."""
    table = found.table("sanity_checks", "similarity") if digits else found.stored("sanity_photographs.csv")
    if table is None:
        return []
    each = sanity_rule.judge(table[~table["method"].isin(BLIND)], "head")
    verdict = sanity_rule.overall(each).set_index("method")["verdict"].map(CHECKED)
    most = each.dropna(subset="excess").sort_values("excess").groupby("method", sort=False).tail(1)
    return [Row(row.excess, row.low, row.high, verdict[row.method]) for row in most.itertuples()]


def _of(ledger: pd.DataFrame, claim: str, part: str, *, digits: bool) -> pd.DataFrame:
    parts = ledger["part"].astype(str)  # "lower AD than CAM", or the same of a reading: "as printed: lower AD ..."
    own = ledger[(ledger["claim"] == claim) & ((parts == part) | parts.str.endswith(f": {part}"))]
    return own[((own["dataset"] == "digits") == digits) & (own["verdict"] != "not run")]


def _rows(own: pd.DataFrame) -> list[Row]:
    return [Row(row["value"], row["low"], row["high"], row["verdict"]) for row in own.to_dict("records")]


def outcome(rows: Sequence[Row]) -> str:
    """Return what the rows say together, a key of `workflow.site.verdicts.MARKS`.

    >>> outcome([Row(1, 0.5, 2, "holds"), Row(3, 2, 4, "holds")]), outcome([])
    ('holds', 'not run')
    """
    return verdicts.together([row.verdict for row in rows]) if rows else "not run"


def text(rows: Sequence[Row], digits: int = 1, unit: str = "") -> str:
    """Return the value with its interval; of several rows the lowest to the highest, and the ends of all intervals.

    >>> text([Row(1.0, 0.5, 2.0, "")], unit=" points"), text([Row(1.0, 0.5, 2.0, ""), Row(3.0, 2.0, 4.0, "")])
    ('+1.0 points [+0.5, +2.0]', '+1.0 to +3.0 [+0.5, +4.0]')
    """
    if not rows:
        return ""
    ends = min(row.low for row in rows), max(row.high for row in rows)
    values = sorted(row.value for row in rows)
    shown = bootstrap.text(values[-1], *ends, digits=digits, sign=True, unit=unit)
    return shown if len(rows) == 1 else f"{values[0]:+.{digits}f} to {shown}"
