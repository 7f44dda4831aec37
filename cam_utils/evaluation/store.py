"""Rows measured batch by batch over a dataset, kept in parts: killed at any moment, a later call goes on."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from cam_utils import data
from cam_utils.files import PARTIAL, code_fingerprint, fingerprint, written


def measured(
    dataset: Dataset,
    measure: Callable[[data.Batch], pd.DataFrame],
    plan: dict,
    *,
    folder: str | Path | None = None,
    batch_size: int = 16,
    shard: tuple[int, int] = (0, 1),
    workers: int = 0,
    desc: str = "measure",
    progress: bool = True,
) -> pd.DataFrame:
    """Return the rows of `measure(batch)` for all batches of the dataset, in their order.

    measure: its rows have a column `image_index`, which counts within the batch and here within the dataset.
    plan: what determines the rows beside dataset, batch size and code, as JSON values.
    folder: holds the evaluation in a subfolder named by a digest of all that determines it, so that evaluations of
    one folder never mix: parts, and when all are there `pairs.parquet`. None: in memory.
    shard (i, n): of n processes that share `folder`, this one does every n-th batch from i on and returns its rows.

    Raises ValueError for a shard that is none, or without a folder.
    """
    first, of = shard
    if not 0 <= first < of or (of > 1 and folder is None):
        raise ValueError(f"expected a shard (i, n) with 0 <= i < n, and a folder to share, got {shard}, {folder}")
    batches = [range(i, min(i + batch_size, len(dataset))) for i in range(0, len(dataset), batch_size)]
    plan = {"dataset": dataset.fingerprint(), **plan, "batch_size": batch_size}
    store = Store(folder, plan, len(batches))
    todo = [i for i in store.missing() if i % of == first]
    # One sample at a time, since a worker that makes a whole batch has nothing to hand out until it is done.
    ahead = {"num_workers": workers, "prefetch_factor": batch_size} if workers else {}
    samples = iter(DataLoader(Subset(dataset, [index for i in todo for index in batches[i]]), None, **ahead))
    for i in tqdm(todo, desc=f"{desc} {dataset.name}", **({} if progress else {"disable": True})):
        rows = measure(data.collate([next(samples) for _ in batches[i]]))
        if len(rows):
            rows["image_index"] += batches[i].start
        store.write(i, rows)
    if of == 1:
        return store.finish()
    rows = store.rows(range(first, len(batches), of))
    return rows[rows["image_index"] // batch_size % of == first] if len(rows) else rows


class Store:
    """Parts of one table, in a subfolder of `folder` that plan and code name, or in memory (folder None)."""

    def __init__(self, folder: str | Path | None, plan: dict, parts: int) -> None:
        self.parts = parts
        self.memory: dict[int, pd.DataFrame] = {}
        plan = {**plan, "code": code_fingerprint(), "parts": parts}
        self.folder = None if folder is None else Path(folder) / fingerprint(plan)
        if self.folder is not None and not (self.folder / "plan.json").exists():
            with written(self.folder / "plan.json") as partial:  # for a reader: the folder's name says it all
                partial.write_text(json.dumps(plan, indent=1))

    def missing(self) -> list[int]:
        """Return the numbers of the parts that are still to be made."""
        if self.folder is None:
            return [i for i in range(self.parts) if i not in self.memory]
        return [] if self._table().exists() else [i for i in range(self.parts) if not self._part(i).exists()]

    def write(self, number: int, rows: pd.DataFrame) -> None:
        """Store one part, whole or not at all."""
        if self.folder is None:
            self.memory[number] = rows
            return
        with written(self._part(number)) as partial:
            rows.to_parquet(partial)

    def rows(self, numbers: range) -> pd.DataFrame:
        """Return the rows of these parts, all of which must be there, in order.

        Of a finished table the parts are gone: all of its rows are returned.
        """
        if self.folder is not None and self._table().exists():
            return pd.read_parquet(self._table())
        parts = [self.memory[i] if self.folder is None else pd.read_parquet(self._part(i)) for i in numbers]
        filled = [part for part in parts if len(part)]
        return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()

    def finish(self) -> pd.DataFrame:
        """Return all parts as one table, in order; with a folder it is `pairs.parquet` there."""
        if self.folder is None or self._table().exists():
            return self.rows(range(self.parts))
        table = self.rows(range(self.parts))
        with written(self._table()) as partial:
            table.to_parquet(partial)
        for i in range(self.parts):
            self._part(i).unlink(missing_ok=True)
        for left in self.folder.rglob(f".*{PARTIAL}"):  # of processes that were killed
            left.unlink(missing_ok=True)
        return pd.read_parquet(self._table())

    def _table(self) -> Path:
        return self.folder / "pairs.parquet"

    def _part(self, number: int) -> Path:
        return self.folder / "parts" / f"{number:06d}.parquet"
