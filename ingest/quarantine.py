"""Files that could not be loaded: kept with the reason, and not fetched again until they change."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import logging
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from foundation.settings import Settings
from foundation.state import open_state
from ingest.place import make_workspace
from ingest.source import SourceTable

logger = logging.getLogger(__name__)

REASON_NAME = "reason.json"

_READER = 2  # raise it when files can be read that could not be before


@dataclass(frozen=True)
class Problem:
    """What is wrong with one file of a table; `row` counts from 1."""

    file: str
    reason: str
    what_to_do: str
    row: int | None = None
    column: str | None = None


@dataclass(frozen=True)
class Entry:
    """One broken version of one table, as `reason.json` in its quarantine folder tells it."""

    table_name: str
    event_date: str
    kind: str
    source_uri: str
    problems: list[Problem]
    fingerprint: list[list[Any]] | None  # of `_describe`; None: try again at every run
    loader_version: int
    quarantined_at: str
    kept_files: list[str] = field(default_factory=list)
    resolved_at: str | None = None
    resolution: str | None = None

    def to_json(self) -> str:
        """The entry as it stands in the file."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Entry:
        """Read what `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        values["problems"] = [Problem(**problem) for problem in values["problems"]]
        return cls(**values)


def find_entry(settings: Settings, table: SourceTable, loader_version: int) -> Path | None:
    """The folder of the open entry that already tells why exactly these files cannot be loaded."""
    fingerprint = _describe(settings, table)
    for folder, entry in _read_entries(settings, table.name):
        if entry.resolved_at is None and entry.fingerprint == fingerprint and entry.loader_version == loader_version:
            return folder
    return None


def read_entry(folder: Path) -> Entry:
    """The entry of one quarantine folder."""
    return Entry.from_json((folder / REASON_NAME).read_text(encoding="utf-8"))


def put_entry(
    settings: Settings,
    table: SourceTable,
    problems: list[Problem],
    *,
    source_uri: str,
    loader_version: int,
    broken_files: Iterable[tuple[str, Path]] = (),
    is_final: bool = True,
) -> Path:
    """Keep the broken files of a table, given as (name in the source, local path), with the reason; returns the folder.

    The same broken content met again goes into the folder it has. `is_final=False` marks a trouble that may pass
    without the files changing: the next run tries again.
    """
    files = {f"{position:03}-{Path(name).name}": path for position, (name, path) in enumerate(broken_files)}
    digest = hashlib.sha256()
    for path in files.values():
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    if not files:
        digest.update("\n".join(problem.reason for problem in problems).encode())
    target = settings.quarantine_dir / table.name / digest.hexdigest()[:12]
    earlier = _read_if_whole(target)
    entry = Entry(
        table_name=table.name,
        event_date=table.event_date.isoformat(),
        kind=table.kind,
        source_uri=source_uri,
        problems=problems,
        fingerprint=_describe(settings, table) if is_final else None,
        loader_version=loader_version,
        quarantined_at=earlier.quarantined_at if earlier else _now(),
        kept_files=sorted(files),
    )
    if earlier is not None:
        _write_entry(settings, target, entry)
        return target
    with make_workspace(settings) as workspace:
        folder = workspace / "entry"
        folder.mkdir()
        for name, path in files.items():
            shutil.move(path, folder / name)
        (folder / REASON_NAME).write_text(entry.to_json(), encoding="utf-8")
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():  # it has lost its reason, and holds nothing but these same files
            target.rename(workspace / "without a reason")
        folder.rename(target)
    return target


def drop_kept_files(settings: Settings) -> None:
    """Delete the copies of broken files, also those whose reason is lost; the reasons stay."""
    for path in settings.quarantine_dir.glob("*/*/*"):
        if path.name != REASON_NAME:
            path.unlink(missing_ok=True)
    for folder, entry in _read_entries(settings):
        if entry.kept_files:
            _write_entry(settings, folder, replace(entry, kept_files=[]))


def resolve_entries(settings: Settings, still_broken: set[Path], loaded_tables: set[str]) -> None:
    """Close every open entry that this run did not meet again, saying why."""
    for folder, entry in _read_entries(settings):
        if entry.resolved_at is not None or folder in still_broken:
            continue
        if entry.table_name in loaded_tables:
            resolution = "a readable version was loaded"
        elif any(other.parent == folder.parent for other in still_broken):
            resolution = "another broken version took its place"
        else:
            resolution = "the table is no longer in the source, or a better table of its date is loaded"
        _write_entry(settings, folder, replace(entry, resolved_at=_now(), resolution=resolution))


def record_quarantined_files(settings: Settings) -> None:
    """Copy what the quarantine folder says into the state table `quarantined_files`, one row per broken file."""
    rows = [
        {
            "table_name": entry.table_name,
            "event_date": entry.event_date,
            "kind": entry.kind,
            "source_uri": entry.source_uri,
            "file_name": problem.file,
            "row_number": problem.row,
            "column_name": problem.column,
            "reason": problem.reason,
            "what_to_do": problem.what_to_do,
            "folder": str(folder),
            "quarantined_at": entry.quarantined_at,
            "resolved_at": entry.resolved_at,
            "resolution": entry.resolution,
        }
        for folder, entry in _read_entries(settings)
        for problem in entry.problems
    ]
    with open_state(settings) as state:
        state.execute(
            "create table if not exists quarantined_files (table_name text not null, event_date text not null, "
            "kind text not null, source_uri text not null, file_name text not null, row_number integer, "
            "column_name text, reason text not null, what_to_do text not null, folder text not null, "
            "quarantined_at text not null, resolved_at text, resolution text)"
        )
        state.execute("delete from quarantined_files")
        state.executemany(
            "insert into quarantined_files values (:table_name, :event_date, :kind, :source_uri, :file_name, "
            ":row_number, :column_name, :reason, :what_to_do, :folder, :quarantined_at, :resolved_at, :resolution)",
            rows,
        )


def _read_entries(settings: Settings, table_name: str = "*") -> list[tuple[Path, Entry]]:
    paths = sorted(settings.quarantine_dir.glob(f"{table_name}/*/{REASON_NAME}"))
    entries = [(path.parent, _read_if_whole(path.parent)) for path in paths]
    return [(folder, entry) for folder, entry in entries if entry is not None]


def _read_if_whole(folder: Path) -> Entry | None:
    """The entry of a folder; None when its reason is gone or damaged: then the table is tried again, and told anew."""
    try:
        return read_entry(folder)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        logger.warning(
            "%s cannot be read (%s); its table is tried again, and you can delete the folder",
            folder / REASON_NAME,
            error or type(error).__name__,
        )
        return None


def _write_entry(settings: Settings, folder: Path, entry: Entry) -> None:
    with make_workspace(settings) as workspace:
        new = workspace / REASON_NAME
        new.write_text(entry.to_json(), encoding="utf-8")
        new.replace(folder / REASON_NAME)


def _describe(settings: Settings, table: SourceTable) -> list[list[Any]]:
    """What must change before it is worth another try: the files, what one may become, or what can be read."""
    return [*(list(facts) for facts in table.fingerprint), [settings.max_file_gb, _READER]]


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
