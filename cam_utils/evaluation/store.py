"""A table written in parts by an evaluation that may be killed at any moment, and resumed."""

import json
import uuid
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from cam_utils.files import code_fingerprint


class Store:
    """Parts of one table in `folder` (None: in memory). A part counts only when complete: it is renamed into place.

    Raises ValueError if the folder holds parts made under another `plan` (dataset, model, methods, code).
    """

    def __init__(self, folder: str | Path | None, plan: dict, parts: int) -> None:
        self.folder = None if folder is None else Path(folder)
        self.parts = parts
        self.memory: dict[int, pd.DataFrame] = {}
        if self.folder is None:
            return
        plan = {**plan, "code": code_fingerprint(), "parts": parts}
        (self.folder / "parts").mkdir(parents=True, exist_ok=True)
        file = self.folder / "plan.json"
        if not file.exists():
            self._replace(file, lambda partial: partial.write_text(json.dumps(plan, indent=1)))
        stored = json.loads(file.read_text())
        differing = [key for key in plan if stored.get(key) != plan[key]]
        if differing:
            raise ValueError(
                f"{self.folder} holds the rows of another evaluation (different: {', '.join(differing)}); "
                "choose another folder, or delete it"
            )

    def finished(self) -> bool:
        """Return whether the folder holds the whole table."""
        return self.folder is not None and self._table().exists()

    def missing(self) -> list[int]:
        """Return the numbers of the parts that are still to be made."""
        if self.folder is None:
            return [i for i in range(self.parts) if i not in self.memory]
        if self.finished():
            return []
        return [i for i in range(self.parts) if not self._part(i).exists()]

    def write(self, number: int, rows: pd.DataFrame) -> None:
        """Store one part, whole or not at all."""
        if self.folder is None:
            self.memory[number] = rows
        else:
            self._replace(self._part(number), rows.to_parquet)

    def rows(self, numbers: Iterable[int]) -> pd.DataFrame:
        """Return the rows of these parts, all of which must be there, in order."""
        if self.folder is None:
            return self._concat([self.memory[i] for i in numbers])
        if self.finished():
            raise ValueError(f"{self.folder} is finished: read pairs.parquet")
        return self._concat([pd.read_parquet(self._part(i)) for i in numbers])

    def finish(self) -> pd.DataFrame:
        """Return all parts as one table, in order; with a folder it is `pairs.parquet` there."""
        if self.folder is None:
            return self.rows(range(self.parts))
        table = self._table()
        if not table.exists():
            self._replace(table, self.rows(range(self.parts)).to_parquet)
        for i in range(self.parts):
            self._part(i).unlink(missing_ok=True)
        for left in self.folder.rglob(".*.partial"):  # of processes that were killed
            left.unlink(missing_ok=True)
        return pd.read_parquet(table)

    @staticmethod
    def _concat(parts: list[pd.DataFrame]) -> pd.DataFrame:
        filled = [part for part in parts if len(part)]
        return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()

    def _table(self) -> Path:
        return self.folder / "pairs.parquet"

    def _part(self, number: int) -> Path:
        return self.folder / "parts" / f"{number:06d}.parquet"

    @staticmethod
    def _replace(path: Path, write) -> None:
        partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.partial")  # shards may write at once
        write(partial)
        partial.replace(path)


def gather(folder: str | Path) -> pd.DataFrame:
    """Return the table of an evaluation whose parts several processes wrote, and store it as `pairs.parquet`.

    Raises FileNotFoundError if there is no evaluation in `folder`, ValueError if parts are missing or a pair
    stands there twice.
    """
    file = Path(folder) / "plan.json"
    if not file.is_file():
        raise FileNotFoundError(f"no evaluation in {folder}: expected plan.json, which the first shard writes")
    plan = json.loads(file.read_text())
    store = Store(folder, {k: v for k, v in plan.items() if k not in ("code", "parts")}, plan["parts"])
    if missing := store.missing():
        shown = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        raise ValueError(f"{folder} lacks {len(missing)} of {store.parts} parts: {shown}; run their shards")
    keys = ["image_index", "label", "method", "in_predicted", "in_annotated"]
    if not store.finished():
        rows = store.rows(range(store.parts))
        if twice := int(rows.duplicated(keys).sum()) if len(rows) else 0:
            raise ValueError(f"{folder} has {twice} pairs more than once: its parts are not of one evaluation")
    return store.finish()
