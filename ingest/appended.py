"""What was read of growing BigQuery tables, kept so that the next run has to read only what was appended since."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from foundation.durable import sync, write_durably


@dataclass(frozen=True)
class Kept:
    """All rows that a table had got before `until` (ISO, UTC): how many, the sums of their hashes, their file.

    `counted` is the number of rows that BigQuery told then. It leaves out what still streams, so there are never fewer.
    """

    created_at: str
    columns: str
    until: str
    rows: int
    sums: tuple[int, int]
    counted: int
    file: str


class KeptRows:
    """A folder with a Parquet file and a note for each table; without the note a file does not count."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, table_id: str, *, created_at: str, columns: str) -> Kept | None:
        """What is kept of a table, if it is still the same table with the same columns."""
        try:
            values = json.loads(self._note(table_id).read_text(encoding="utf-8"))
            kept = Kept(**{**values, "sums": tuple(values["sums"])})
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None
        is_same = (kept.created_at, kept.columns) == (created_at, columns)
        return kept if is_same and self.path(kept).exists() else None

    def path(self, kept: Kept) -> Path:
        """The file with the kept rows."""
        return self._folder / kept.file

    def keep(self, table_id: str, rows: Path, kept: Kept) -> None:
        """Take the place of what was kept of a table; a kill leaves the one or the other."""
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = replace(kept, file=f"{table_id}.{uuid.uuid4().hex}.parquet")
        arriving = self._folder / f".{kept.file}"
        shutil.copyfile(rows, arriving)
        sync(arriving)
        arriving.replace(self.path(kept))
        note = self._folder / f".{table_id}.json"
        write_durably(note, json.dumps(asdict(kept)).encode())
        note.replace(self._note(table_id))
        self.forget_others([table_id], only=table_id)

    def drop(self, table_id: str) -> None:
        """Keep nothing of a table."""
        self._note(table_id).unlink(missing_ok=True)
        self.forget_others([], only=table_id)

    def forget_others(self, table_ids: Collection[str], *, only: str | None = None) -> None:
        """Remove what is kept of tables that are not among these, and files that no note names; `only` of one table."""
        for note in self._folder.glob("*.json"):
            if note.stem not in table_ids and only in (None, note.stem):
                note.unlink()
        named = {json.loads(note.read_text(encoding="utf-8"))["file"] for note in self._folder.glob("*.json")}
        for path in [*self._folder.glob("*.parquet"), *self._folder.glob(".*.parquet")]:
            if path.name not in named and only in (None, path.name.lstrip(".").split(".", 1)[0]):
                path.unlink()

    def _note(self, table_id: str) -> Path:
        return self._folder / f"{table_id}.json"


def describe_columns(columns: str) -> str:
    """A short mark of a table's columns."""
    return hashlib.sha256(columns.encode()).hexdigest()
