"""Rows measured batch by batch over a dataset, kept in parts: killed at any moment, a later call goes on.

Any number of processes may work on one evaluation: whatever they read and write is whole, and each ends with the
same table. Parts and tables are sealed: each holds the SHA-256 of all its other bytes, and which part of which
evaluation it is. What does not fit its seal is set aside, and made again.
"""

import io
import json
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from cam_utils import data, seals
from cam_utils.files import clear_abandoned, code_fingerprint, fingerprint, written
from cam_utils.names import check_count

SEAL = "cam_utils.seal"  # the key in the file's metadata
TRIES = 4  # how often parts are made before the disk is blamed


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

    A damaged part is named in a warning and made again. Raises ValueError for a batch size or a number of workers
    that is none, and for a shard that is none, or without a folder.
    """
    check_count("batch_size", batch_size, " of images")
    check_count("workers", workers, " of processes", least=0)
    if not (isinstance(shard, tuple | list) and [type(each) for each in shard] == [int, int]):
        raise ValueError(f"expected shard as two whole numbers (i, n), got {shard!r}")
    first, of = shard
    if not 0 <= first < of or (of > 1 and folder is None):
        raise ValueError(f"expected a shard (i, n) with 0 <= i < n, and a folder to share, got {shard}, {folder}")
    batches = [range(i, min(i + batch_size, len(dataset))) for i in range(0, len(dataset), batch_size)]
    plan = {"dataset": dataset.fingerprint(), **plan, "batch_size": batch_size}
    store = Store(folder, plan, len(batches))
    own = range(first, len(batches), of)
    # One sample at a time, since a worker that makes a whole batch has nothing to hand out until it is done.
    ahead = {"num_workers": workers, "prefetch_factor": batch_size} if workers else {}
    for _ in range(TRIES):
        rows = store.finish() if of == 1 else store.rows(own)
        if rows is not None:
            break
        todo = [i for i in store.missing() if i % of == first]
        samples = iter(DataLoader(Subset(dataset, [index for i in todo for index in batches[i]]), None, **ahead))
        for i in tqdm(todo, desc=f"{desc} {dataset.name}", **({} if progress else {"disable": True})):
            made = measure(data.collate([next(samples) for _ in batches[i]]))
            if len(made):
                made["image_index"] += batches[i].start
            store.write(i, made)
    else:
        raise OSError(f"the parts in {store.folder} are damaged again whenever they are made: is its disk sound?")
    return rows[rows["image_index"] // batch_size % of == first] if of > 1 and len(rows) else rows


class Store:
    """Parts of one table, in a subfolder of `folder` that plan and code name, or in memory (folder None)."""

    def __init__(self, folder: str | Path | None, plan: dict, parts: int) -> None:
        self.parts = parts
        self.memory: dict[int, pd.DataFrame] = {}
        plan = {**plan, "code": code_fingerprint(), "parts": parts}
        self.name = fingerprint(plan)
        self.folder = None if folder is None else Path(folder) / self.name
        if self.folder is not None:  # for a reader: the folder's name says it all
            told, file = json.dumps(plan, indent=1), self.folder / "plan.json"
            if not file.is_file() or file.read_bytes() != told.encode():
                with written(file) as partial:
                    partial.write_text(told)

    def missing(self) -> list[int]:
        """Return the numbers of the parts that are still to be made; a part that is damaged is set aside."""
        if self.folder is None:
            return [i for i in range(self.parts) if i not in self.memory]
        found = [i for i in range(self.parts) if self._read(self._part(i), str(i)) is None]
        # Only now: whoever has finished the table has deleted the parts after it.
        return [] if self._stored() is not None else found

    def write(self, number: int, rows: pd.DataFrame) -> None:
        """Store one part, whole or not at all."""
        if self.folder is None:
            self.memory[number] = rows
        else:
            self._write(self._part(number), rows, str(number))

    def rows(self, numbers: range) -> pd.DataFrame | None:
        """Return the rows of these parts in order, None if not all are there.

        Of a finished table the parts are gone: all of its rows are returned.
        """
        if (table := self._stored()) is not None:
            return table
        parts = []
        for i in numbers:
            part = self.memory.get(i) if self.folder is None else self._read(self._part(i), str(i))
            if part is None:
                return self._stored()  # another process may have finished, and deleted the parts
            parts += [part] if len(part) else []
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

    def finish(self) -> pd.DataFrame | None:
        """Return all parts as one table, in order, None if not all are there; with a folder as `pairs.parquet`."""
        table = self.rows(range(self.parts))
        if table is None or self.folder is None:
            return table
        if not self._table().exists():
            self._write(self._table(), table, "all")
            if (table := self._stored()) is None:
                return None
        for i in range(self.parts):
            self._part(i).unlink(missing_ok=True)
        clear_abandoned(self.folder.rglob(".*"))
        return table

    def _table(self) -> Path:
        return self.folder / "pairs.parquet"

    def _part(self, number: int) -> Path:
        return self.folder / "parts" / f"{number:06d}.parquet"

    def _stored(self) -> pd.DataFrame | None:
        return None if self.folder is None else self._read(self._table(), "all")

    def _write(self, file: Path, rows: pd.DataFrame, what: str) -> None:
        with written(file) as partial:
            partial.write_bytes(sealed(rows, f"{self.name} {what}"))

    def _read(self, file: Path, what: str) -> pd.DataFrame | None:
        """Return what a file holds, None without it; one that is damaged, or of something else, is set aside."""
        try:
            return unsealed(file.read_bytes(), f"{self.name} {what}")
        except FileNotFoundError:
            return None
        except ValueError as error:
            aside = self.folder / "damaged" / f"{file.stem}.{uuid.uuid4().hex[:12]}{file.suffix}"
            aside.parent.mkdir(exist_ok=True)
            try:
                file.rename(aside)
            except FileNotFoundError:  # by another process
                return None
            told = (
                f"{file} {error}: it is set aside as {aside.relative_to(self.folder)}, and its rows are made again"
            )
            warnings.warn(told, stacklevel=2)
            return None


def sealed(rows: pd.DataFrame, what: str) -> bytes:
    """Return a Parquet file of the rows that says `what` it is, with a seal.

    >>> unsealed(sealed(pd.DataFrame({"a": [1, 2]}), "x"), "x")["a"].tolist()
    [1, 2]
    """
    table, out = pa.Table.from_pandas(rows), io.BytesIO()
    told = {**(table.schema.metadata or {}), SEAL: seals.blank(what)}
    pq.write_table(table.replace_schema_metadata(told), out)
    return seals.filled(out.getvalue())


def unsealed(content: bytes, what: str) -> pd.DataFrame:
    """Return the rows of a file that :func:`sealed` made; raises as :func:`cam_utils.seals.check` for any other."""
    seals.check(content, what)
    return pd.read_parquet(io.BytesIO(content))
