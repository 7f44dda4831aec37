"""Rows of a stored table that a larger run of its study goes on from: an image that is measured stays measured.

A cache is one machine's, and starts anew with every change of the code. A committed table outlives both, so a study
of days can grow by an hour at a time. What is taken up is checked: today's code measures one of the stored images
again, and must find the same.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

ROW = ["image_index", "method", "label"]  # tells the rows of an image apart
TOLERANCE = 1e-3  # of values in [0, 1]; five decimals are stored, and another number of threads rounds otherwise


def record(folder: Path, same: Mapping[str, object]) -> dict | None:
    """Return a stored run's record, None without a run or of one of other images, network or settings.

    same: what the run must say of these, in its record, its parameters or its facts.
    """
    files = [folder / name for name in ("run.json", "facts.json")]
    if not all(file.is_file() for file in files):
        return None
    told, facts = (json.loads(file.read_text()) for file in files)
    said = told["parameters"] | told | facts  # the record says the images by their digest, the parameters by name
    return told if all(said.get(key) == value for key, value in same.items()) else None


def history(folder: Path, same: Mapping[str, object]) -> list[dict]:
    """Return what a larger run says of the runs that it goes on from, the newest last: commit, settings, time."""
    last = record(folder, same)
    told = ("git", "dirty", "parameters", "wall_s")
    return [*last.get("earlier", []), {name: last[name] for name in told}] if last else []


def known(
    folder: Path, name: str, same: Mapping[str, object], methods: Collection[str] | None = None
) -> pd.DataFrame:
    """Return the rows of these methods in a stored run's table, of the images that have them all.

    folder, name: the run, and its table's name. same: as in :func:`record`. methods: None for a table without.
    """
    table = folder / f"{name}.parquet"
    if not (record(folder, same) and table.is_file()):
        return pd.DataFrame()
    rows = pd.read_parquet(table)
    if methods is None:
        return rows
    rows = rows.assign(method=rows["method"].astype(str))
    rows = rows[rows["method"].isin(methods)]
    whole = rows.groupby("image_index")["method"].nunique() == len(methods)
    return rows[rows["image_index"].isin(whole.index[whole])]


def grown(
    rows: pd.DataFrame, count: int, measure: Callable[[int], pd.DataFrame], *, desc: str, row: Sequence[str] = ROW
) -> pd.DataFrame:
    """Return `rows`, and what `measure(i)` gives for those of the images 0 to `count` - 1 that have none there.

    If any image is measured and any is taken up, the first of the latter is measured as well, and compared by the
    columns that tell a `row` from others. Raises ValueError where today's rows of it are others.

    >>> made = lambda i: pd.DataFrame({"image_index": [i], "method": ["cam"], "label": [0], "drop": [i / 10]})
    >>> grown(made(0), 2, made, desc="try")["drop"].tolist()
    [0.0, 0.1]
    """
    there = set(rows["image_index"]) if len(rows) else set()
    missing = [i for i in range(count) if i not in there]
    if there and missing:
        again = min(there)
        check(rows[rows["image_index"] == again], measure(again), row)
    tables = [rows] if there else []
    tables += [measure(i) for i in tqdm(missing, desc=desc)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def check(stored: pd.DataFrame, again: pd.DataFrame, row: Sequence[str] = ROW) -> None:
    """Raise ValueError, with the place of the largest difference, unless both tables have the same rows.

    >>> one = pd.DataFrame({"image_index": [3], "method": ["cam"], "label": [0], "drop": [0.5]})
    >>> check(one, one.assign(drop=0.6))
    Traceback (most recent call last):
    ValueError: stored rows are not what is measured today: drop of 3, cam, 0 was 0.5 and is 0.6
    """
    first, second = (_by(table, row) for table in (stored, again))
    if set(first.index) != set(second.index):
        raise ValueError(f"stored rows are not those that are measured today: {sorted(first.index)} are stored")
    second = second.loc[first.index]
    for name in first.select_dtypes("number"):
        if name not in second:
            raise ValueError(f"stored rows are not what is measured today: they have {name}")
        was, now = first[name].astype(float), second[name].astype(float)
        gap = (was - now).abs().where(was.notna() | now.notna(), 0).fillna(1)  # missing in one of them: different
        if gap.max() > TOLERANCE:
            at = gap.idxmax()
            raise ValueError(
                f"stored rows are not what is measured today: {name} of {', '.join(map(str, at))} was {was[at]:g} "
                f"and is {now[at]:g}"
            )


def _by(table: pd.DataFrame, row: Sequence[str]) -> pd.DataFrame:
    words = {name: table[name].astype(str) for name in row if not pd.api.types.is_numeric_dtype(table[name])}
    return table.assign(**words).set_index(list(row))
