"""Bring the lake up to date with the export: load exactly the days that are new or rewritten."""

from __future__ import annotations

import datetime as dt
import logging
import sys
import time
from collections.abc import Collection, Iterable
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import duckdb
from tqdm import tqdm

from foundation.settings import Settings
from ingest import content, place, quarantine, resolve
from ingest.convert import LakeFile, UnreadableFileError, write_lake_file
from ingest.engine import is_about_space, open_engine
from ingest.flatten import flatten_lake, write_flat_file
from ingest.forget import drop_rows, find_forgotten_ids, finish_purge
from ingest.names import KINDS, Form
from ingest.opening import open_source
from ingest.quarantine import Problem
from ingest.report import LoadedDay, LoadReport
from ingest.source import ExportSource, FetchError, ListedFile, SourceTable
from ingest.space import DiskFullError, require_parquet_size, require_space, unpack
from warehouse.flat import flat_columns, flat_versions
from warehouse.forgotten import Forgotten, add_forgotten
from warehouse.lake import Manifest, SourceFile, read_manifests

logger = logging.getLogger(__name__)

_DAYS_PER_LOG_LINE = 10

State = Literal["unchanged", "to load", "to compare", "known broken"]


class PlannedTable(NamedTuple):
    """What a load would do about one table of the source."""

    event_date: dt.date
    table_name: str
    what: str
    size_bytes: int  # as the source counts them; 0 where nothing would be read


@dataclass
class _Progress:
    """What this load has done so far."""

    loaded: list[LoadedDay] = field(default_factory=list)
    manifests: list[Manifest] = field(default_factory=list)
    unchanged: int = 0
    quarantined: list[dict[str, Any]] = field(default_factory=list)
    uncast: list[dict[str, Any]] = field(default_factory=list)
    broken_folders: set[Path] = field(default_factory=set)
    good_tables: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Fetched:
    """One file of a table on local disk."""

    listed: ListedFile
    path: Path
    facts: SourceFile


def load_changed_days(settings: Settings, *, progress: bool = True, again: Collection[dt.date] = ()) -> LoadReport:
    """Load every day of `settings.export_uri` that is new or rewritten; a rerun does nothing.

    The days of `again` are fetched and converted anew even if nothing about them has changed, files that could not be
    read included. Broken files are quarantined and reported, and the other days load. `progress` shows a bar on a
    terminal, and a log line now and then elsewhere. Raises SourceError when the export as a whole cannot be read,
    DiskFullError when the disk cannot even hold the reason, and `place.LakeLockedError` when another load is running.
    """
    started = time.monotonic()
    with place.hold_lake(settings):
        forgotten = finish_purge(settings)  # what a killed command has left to do
        flatten_lake(settings)
        source = open_source(settings, progress=progress)
        listing = source.list_tables()
        for message in listing.impossible_names:
            logger.warning("not loaded: %s", message)
        try:
            done = _Loader(settings, source, forgotten, again).load(listing.tables, progress=progress)
            quarantine.resolve_entries(settings, done.broken_folders, done.good_tables)
            quarantine.record_quarantined_files(settings)
        except OSError as error:
            if not is_about_space(error):
                raise
            raise DiskFullError(
                f"the disk of {settings.home} is full ({error.strerror}); free some room and start again: what is "
                "loaded stays, and the rest follows"
            ) from error
    return LoadReport(
        source_uri=source.uri,
        days_seen=len({table.event_date for table in listing.tables}),
        days_unchanged=done.unchanged,
        events_loaded=sum(day.rows for day in done.loaded),
        seconds=round(time.monotonic() - started, 3),
        days_loaded=sorted(done.loaded, key=lambda day: day.event_date),
        quarantined=done.quarantined,
        impossible_names=list(listing.impossible_names),
        ignored_files=listing.ignored_files,
        forgotten_rows=sum(manifest.forgotten_rows for manifest in done.manifests),
        uncast_values=done.uncast,
        schema_drift=_summarise_drift(done.manifests),
    )


def plan_load(settings: Settings) -> list[PlannedTable]:
    """What a load would do, changing nothing, judged by names, sizes and times alone.

    `what` is to load, to compare (fetched to see whether it changed), unchanged, known broken or superseded.
    A table that was never read counts as a good one: that it is broken shows only when it is read.
    """
    source = open_source(settings)
    listing = source.list_tables()
    manifests = read_manifests(settings)

    def judge(table: SourceTable) -> State:
        return _judge(settings, table, manifests.get(table.event_date), source.uri)

    plan = []
    for event_date, tables in _group_by_date(listing.tables).items():
        current = manifests.get(event_date)
        is_settled = False
        for table in tables:
            if is_settled or (current is not None and resolve.is_worse(table.kind, current.kind)):
                plan.append(PlannedTable(event_date, table.name, "superseded", 0))
                continue
            what = judge(table)
            is_settled = what != "known broken"
            size_bytes = sum(file.size_bytes for file in table.files) if what in {"to load", "to compare"} else 0
            plan.append(PlannedTable(event_date, table.name, what, size_bytes))
    return plan


class _Loader:
    """One load: the tables of the source against the partitions of the lake."""

    def __init__(
        self, settings: Settings, source: ExportSource, forgotten: Forgotten | None, again: Collection[dt.date]
    ) -> None:
        self._settings, self._source, self._forgotten, self._again = settings, source, forgotten, again
        self._lake = read_manifests(settings)
        self._done = _Progress()
        # one for all days: to open one costs as much as to load a small day
        self._engine = open_engine(settings)

    def load(self, tables: tuple[SourceTable, ...], *, progress: bool) -> _Progress:
        """Load the best table of each date that can be read."""
        by_date = _group_by_date(tables)
        bar = tqdm(total=len(by_date), unit="day", desc="loading", disable=not (progress and sys.stderr.isatty()))
        with bar, closing(self):
            for event_date, candidates in by_date.items():
                self._load_first(event_date, candidates)
                self._tick(bar, len(by_date), log=progress)
        finish_purge(self._settings)  # the past of devices that turned up in this load
        return self._done

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()

    def _tick(self, bar: tqdm[Any], total: int, *, log: bool) -> None:
        bar.update()
        if log and bar.disable:
            bar.n += 1  # a bar that is not shown does not count
            if bar.n % _DAYS_PER_LOG_LINE == 0 and self._done.loaded:
                logger.info("%d of %d days seen, %d loaded", bar.n, total, len(self._done.loaded))

    def _load_first(self, event_date: dt.date, candidates: list[SourceTable]) -> None:
        """Load the best of the candidates that can be read, unless the lake has a better one."""
        for table in candidates:
            current = self._lake.get(event_date)
            if current is not None and resolve.is_worse(table.kind, current.kind):
                return
            if self._load_table(table, current):
                self._done.good_tables.add(table.name)
                return

    def _load_table(self, table: SourceTable, current: Manifest | None) -> bool:
        """Make the lake hold this table; False when it is broken."""
        is_wanted = table.event_date in self._again
        state = "to load" if is_wanted else _judge(self._settings, table, current, self._source.uri)
        if state == "unchanged":
            self._done.unchanged += 1
            return True
        if state == "known broken":
            folder = quarantine.find_entry(self._settings, table, content.LOADER_VERSION)
            if folder is not None:
                self._report_broken(table, folder, is_new=False)
                return False
        deliveries = table.deliveries
        if len(deliveries) > 1:
            problem = Problem(
                file=table.name,
                reason=f"the table appears more than once: {'; '.join(deliveries)}",
                what_to_do="keep one of them; which one is newer cannot be determined",
            )
            self._quarantine(table, [problem])
            return False
        with place.make_workspace(self._settings) as workspace:
            return self._load_into(table, current, workspace)

    def _load_into(self, table: SourceTable, current: Manifest | None, workspace: Path) -> bool:
        try:
            fetched = self._fetch(table, workspace)
        except FetchError as error:
            problem = Problem(file=error.file, reason=str(error), what_to_do=error.what_to_do)
            self._quarantine(table, [problem], is_final=error.is_final)
            return False
        facts = [file.facts for file in fetched]
        if current is not None and self._holds(table, current, facts):
            self._lake[table.event_date] = replace(current, source_uri=self._source.uri, source_files=facts)
            place.refresh_manifest(self._settings, self._lake[table.event_date])
            self._done.unchanged += 1
            return True
        partition = workspace / "partition"
        partition.mkdir()
        written: dict[str, LakeFile] = {}
        problems: list[tuple[Problem, _Fetched]] = []
        is_final = True
        has_bytes = any(file.path.stat().st_size for file in fetched)
        for position, file in enumerate(fetched):
            name = f"part-{position:05}.parquet"
            try:
                written[name] = _convert(self._engine, self._settings, file, partition / name, may_be_empty=has_bytes)
            except UnreadableFileError as error:
                problem = Problem(file.listed.name, error.reason, error.what_to_do, error.row, error.column)
                problems.append((problem, file))
                is_final = is_final and error.is_final
        if problems:
            # an engine that a broken file has upset must not fail the next day too
            self._engine.close()
            self._engine = open_engine(self._settings)
            self._quarantine(
                table,
                [problem for problem, _ in problems],
                # what fails for want of room is whole where it came from, and a copy would take more of it
                broken_files=[(file.listed.name, file.path) for _, file in problems] if is_final else (),
                is_final=is_final,
            )
            return False
        forgotten_rows = self._drop_forgotten(partition, written)
        content_hash = content.hash_content(table.kind, facts, forgotten_rows)
        versions = flat_versions(self._settings)
        manifest = _write_manifest(table, self._source.uri, facts, content_hash, written, forgotten_rows, versions)
        place.put_partition(self._settings, manifest, partition)
        self._lake[table.event_date] = manifest
        for file, lake_file in zip(fetched, written.values(), strict=True):
            self._note_odd_values(manifest.event_date, file.listed.name, lake_file)
        self._done.manifests.append(manifest)
        change = "new" if current is None else "rewritten"
        self._done.loaded.append(LoadedDay(manifest.event_date, table.kind, manifest.row_count, change))
        return True

    def _holds(self, table: SourceTable, current: Manifest, facts: list[SourceFile]) -> bool:
        """Whether the lake holds these same files already, whole."""
        return (
            table.event_date not in self._again
            # what was forgotten in the lake has been forgotten in these same rows
            and current.content_hash == content.hash_content(table.kind, facts, current.forgotten_rows)
            and place.is_whole(self._settings, current)
        )

    def _note_odd_values(self, event_date: str, file_name: str, lake_file: LakeFile) -> None:
        if lake_file.mended_rows:
            said = "%s: %d rows had bytes that are no text; they were replaced"
            logger.warning(said, file_name, lake_file.mended_rows)
        origin = {"event_date": event_date, "file": file_name}
        self._done.uncast.extend({**origin, **asdict(values)} for values in lake_file.uncast)

    def _drop_forgotten(self, partition: Path, written: dict[str, LakeFile]) -> int:
        """Take the rows of forgotten people out of a day's files; returns how many those were."""
        if self._forgotten is None:
            return 0
        files = {name: partition / name for name in written}
        total = 0
        devices = find_forgotten_ids(self._engine, self._settings, self._forgotten, list(files.values()))
        if devices:
            self._forgotten = add_forgotten(self._settings, devices=devices)
        for name, path in files.items():
            rest = path.with_suffix(".rest")
            dropped = drop_rows(self._engine, path, rest)
            if dropped:
                rest.replace(path)
                write_flat_file(self._engine, flat_columns(self._settings), path, path)
                written[name] = replace(written[name], row_count=written[name].row_count - dropped)
                total += dropped
        return total

    def _fetch(self, table: SourceTable, workspace: Path) -> list[_Fetched]:
        fetched = []
        for position, listed in enumerate(table.files):
            path = workspace / f"{position:05}.fetched"
            try:
                require_space(self._settings, listed.size_bytes)
                fetched.append(_Fetched(listed, path, self._source.fetch(listed, path)))
            except UnreadableFileError as error:
                raise FetchError(listed.name, error.reason, what_to_do="free some room") from error
        return fetched

    def _quarantine(
        self,
        table: SourceTable,
        problems: list[Problem],
        *,
        broken_files: Iterable[tuple[str, Path]] = (),
        is_final: bool = True,
    ) -> None:
        folder = quarantine.put_entry(
            self._settings,
            table,
            problems,
            source_uri=self._source.uri,
            loader_version=content.LOADER_VERSION,
            # its rows cannot be told apart, and some may be a forgotten person's
            broken_files=broken_files if self._forgotten is None else (),
            is_final=is_final,
        )
        for problem in problems:
            logger.warning("quarantined %s: %s; %s", problem.file, problem.reason, problem.what_to_do)
        self._report_broken(table, folder, is_new=True)

    def _report_broken(self, table: SourceTable, folder: Path, *, is_new: bool) -> None:
        self._done.broken_folders.add(folder)
        for problem in quarantine.read_entry(folder).problems:
            self._done.quarantined.append(
                {
                    "table_name": table.name,
                    "event_date": table.event_date.isoformat(),
                    **asdict(problem),
                    "folder": str(folder),
                    "is_new": is_new,
                }
            )


def _write(
    connection: duckdb.DuckDBPyConnection, settings: Settings, source: Path, form: Form, target: Path
) -> LakeFile:
    """Write one lake file within the bounds of one file; what the machine lacks is told of the file that lacked it."""
    if form == "parquet":
        require_parquet_size(settings, connection, source)
    require_space(settings, 2 * source.stat().st_size)  # its flat form takes about as much again
    try:
        return write_lake_file(connection, source, form, target, flat_columns(settings))
    except (duckdb.Error, OSError) as error:
        if not is_about_space(error):
            raise
        raise UnreadableFileError(
            f"there is not enough room to load it: {str(error).splitlines()[0]}",
            what_to_do="free some disk or memory (FUNNELHOUSE_DUCKDB_MEMORY_LIMIT); the next run tries again",
            is_final=False,
        ) from error


def _convert(
    connection: duckdb.DuckDBPyConnection, settings: Settings, file: _Fetched, target: Path, *, may_be_empty: bool
) -> LakeFile:
    """Write one lake file. A file that cannot be read stays as it was fetched, for the quarantine."""
    # BigQuery ends a sharded export with a shard of no bytes; a whole table of no bytes is a failed transfer.
    if file.path.stat().st_size == 0 and (file.listed.form == "parquet" or not may_be_empty):
        raise UnreadableFileError("the file is empty (0 bytes)", what_to_do="export or copy this table again")
    if not file.listed.is_gzipped:
        return _write(connection, settings, file.path, file.listed.form, target)
    plain = file.path.with_suffix(".plain")
    try:
        unpack(settings, file.path, plain)
        return _write(connection, settings, plain, file.listed.form, target)
    finally:
        plain.unlink(missing_ok=True)


def _judge(settings: Settings, table: SourceTable, current: Manifest | None, source_uri: str) -> State:
    """What is to be done about a table, told without fetching it."""
    if current is not None and current.table_name == table.name and place.is_whole(settings, current):
        known = [(file.name, file.size_bytes, file.modified_at, file.etag) for file in current.source_files]
        can_tell = all(file.modified_at or file.etag for file in table.files)
        is_same = current.source_uri == source_uri and known == table.fingerprint and can_tell
        known_hash = content.hash_content(current.kind, current.source_files, current.forgotten_rows)
        if is_same and current.content_hash == known_hash:
            return "unchanged"
    if len(table.deliveries) > 1 or quarantine.find_entry(settings, table, content.LOADER_VERSION) is not None:
        return "known broken"
    return "to load" if current is None or current.table_name != table.name else "to compare"


def _group_by_date(tables: Iterable[SourceTable]) -> dict[dt.date, list[SourceTable]]:
    """The tables of each date, best kind first; dates in order."""
    by_date: dict[dt.date, list[SourceTable]] = {}
    for table in sorted(tables, key=lambda table: (table.event_date, KINDS.index(table.kind))):
        by_date.setdefault(table.event_date, []).append(table)
    return by_date


def _write_manifest(
    table: SourceTable,
    source_uri: str,
    facts: list[SourceFile],
    content_hash: str,
    written: dict[str, LakeFile],
    forgotten_rows: int,
    versions: dict[str, str],
) -> Manifest:
    files = list(written.values())
    missing = set.intersection(*(set(file.missing_columns) for file in files))
    return Manifest(
        event_date=table.event_date.isoformat(),
        table_name=table.name,
        kind=table.kind,
        source_uri=source_uri,
        source_files=facts,
        content_hash=content_hash,
        row_count=sum(file.row_count for file in files),
        lake_files=list(written),
        forgotten_rows=forgotten_rows,
        flat_columns=versions,
        loaded_at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        unknown_columns={name: dtype for file in files for name, dtype in file.unknown_columns.items()},
        missing_columns=[name for name in files[0].missing_columns if name in missing],
        retyped_columns={
            **{name: dtype for file in files for name, dtype in file.retyped_columns.items()},
            **{
                values.column: f"{values.exported_type}, and not every value is a {values.expected_type}"
                for file in files
                for values in file.uncast
            },
        },
    )


def _summarise_drift(manifests: list[Manifest]) -> list[dict[str, Any]]:
    """The days of each distinct drift together."""
    groups: dict[str, list[Manifest]] = {}
    for manifest in manifests:
        if manifest.unknown_columns or manifest.missing_columns or manifest.retyped_columns:
            drift = (sorted(manifest.unknown_columns.items()), manifest.missing_columns, manifest.retyped_columns)
            groups.setdefault(repr(drift), []).append(manifest)
    return [
        {
            "first_date": min(manifest.event_date for manifest in group),
            "last_date": max(manifest.event_date for manifest in group),
            "days": len(group),
            "unknown": group[0].unknown_columns,
            "missing": group[0].missing_columns,
            "retyped": group[0].retyped_columns,
        }
        for group in groups.values()
    ]
