"""The landing suite's tables: one scan over the lake's new days, and what their manifests say."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import duckdb
import yaml

from expectations.scope import Scope
from expectations.tables import create_tables, run_file, set_variables
from foundation.connect import insert_rows, open_published
from foundation.errors import FunnelhouseError, NothingPublishedError
from foundation.settings import Settings
from warehouse.ga4_schema import EVENT_COLUMNS, REQUIRED_COLUMNS
from warehouse.lake import PARTITION_PREFIX, Manifest, carry_unknown_columns, partition_dir, read_manifests

# The vars of dbt_project.yml by which dbt's quarantine_reason() tells what is no event.
QUARANTINE_BOUNDS = (
    "earliest_event_timestamp",
    "latest_event_timestamp",
    "earliest_micros_from_event_date",
    "latest_micros_from_event_date",
)

BATCH_ROWS = 1_000_000
HISTORY_DAYS = 7  # with fewer daily tables in the four weeks before a day, its volume is not judged


class LakeFileError(FunnelhouseError):
    """A file that a manifest vouches for is missing or cannot be read."""


def prepare_landing(connection: duckdb.DuckDBPyConnection, settings: Settings) -> Scope:
    """Create the landing suite's tables over the days that differ from the published warehouse.

    Raises `LakeFileError` naming a file that is missing or unreadable.
    """
    manifests = read_manifests(settings)
    built = _read_built_hashes(settings)
    changed = [date for date, manifest in manifests.items() if built.get(date) != manifest.content_hash]
    if not changed:
        return Scope(
            text="no days",
            notes=[
                f"Nothing new: the published warehouse matches the lake ({_count(list(manifests), 'day')})."
                if manifests
                else f"Nothing to validate: the lake {settings.lake_dir} is empty."
            ],
            is_empty=True,
        )
    set_variables(
        connection,
        batch_rows=BATCH_ROWS,
        history_days=HISTORY_DAYS,
        required_columns=list(REQUIRED_COLUMNS),
        **_read_quarantine_bounds(settings),
    )
    create_tables(connection, "landing", ("partitions", "lake_files", "file_columns", "seen_drift"))
    _fill_partitions(connection, settings, manifests, set(changed))
    _fill_lake_files(connection, settings, manifests, changed)
    _fill_file_columns(connection)
    _fill_seen_drift(connection, manifests)
    _create_known_columns(connection)
    create_tables(connection, "landing", ("off_type", "columns", "scanned_files", "event_profile"))
    _fill_event_profile(connection)
    create_tables(connection, "landing", ("days", "event_names", "drift", "schema_changes", "gaps"))

    rows = sum(manifests[date].row_count for date in changed)
    days = f"1 day ({changed[0]})" if len(changed) == 1 else f"{len(changed)} days ({changed[0]} to {changed[-1]})"
    return Scope(text=f"{days}, {rows:,} rows", notes=_describe_unjudged(connection))


def _read_built_hashes(settings: Settings) -> dict[dt.date, str]:
    """Content hash by date that the published warehouse was built from; empty when nothing is published."""
    try:
        with open_published(settings) as published:
            known = published.execute(
                "select table_name from duckdb_tables() where schema_name = 'ops' and table_name = 'built_partitions'"
            ).fetchall()
            if not known:
                return {}
            return dict(published.execute("select event_date, content_hash from ops.built_partitions").fetchall())
    except NothingPublishedError:
        return {}


def _read_quarantine_bounds(settings: Settings) -> dict[str, int]:
    project = yaml.safe_load((settings.dbt_project_dir / "dbt_project.yml").read_text(encoding="utf-8"))
    return {name: project["vars"][name] for name in QUARANTINE_BOUNDS}


def _fill_partitions(
    connection: duckdb.DuckDBPyConnection, settings: Settings, manifests: dict[dt.date, Manifest], changed: set[dt.date]
) -> None:
    insert_rows(
        connection,
        "partitions",
        [
            (
                date,
                manifest.table_name,
                manifest.kind,
                manifest.row_count,
                manifest.row_count + manifest.forgotten_rows,
                date in changed,
                _start_of_day_us(date - dt.timedelta(days=1), settings),
                _start_of_day_us(date + dt.timedelta(days=2), settings) - 1,
            )
            for date, manifest in manifests.items()
        ],
    )


def _start_of_day_us(date: dt.date, settings: Settings) -> int:
    """Midnight of the date in the property's time zone, in microseconds UTC."""
    midnight = dt.datetime.combine(date, dt.time(), tzinfo=settings.zone)
    return (midnight - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)


def _fill_lake_files(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    manifests: dict[dt.date, Manifest],
    changed: list[dt.date],
) -> None:
    files = [
        (str(_existing(partition_dir(settings, date) / name, date)), date, f"{PARTITION_PREFIX}{date}/{name}")
        for date in changed
        for name in manifests[date].lake_files
    ]
    insert_rows(connection, "lake_files", files)


def _existing(path: Path, date: dt.date) -> Path:
    if not path.is_file():
        raise LakeFileError(
            f"{path} is listed in the manifest of {date} but does not exist: delete the folder {path.parent} and run "
            "again, so that the day is loaded again"
        )
    return path


@contextlib.contextmanager
def _reading_lake_files() -> Iterator[None]:
    """Turn what DuckDB says of a file that it cannot read into a `LakeFileError`."""
    try:
        yield
    except (duckdb.IOException, duckdb.InvalidInputException) as error:
        raise LakeFileError(
            f"a lake file cannot be read: {error}. Delete its partition folder and run again, so that the day is "
            "loaded again"
        ) from error


def _fill_file_columns(connection: duckdb.DuckDBPyConnection) -> None:
    files = [filename for (filename,) in connection.execute("select filename from lake_files").fetchall()]
    if not files:
        return
    set_variables(connection, files=files)
    with _reading_lake_files():
        run_file(connection, "landing", "file_layouts")
    for (alike,) in connection.execute("select filenames from file_layouts").fetchall():
        set_variables(connection, files=alike)
        connection.execute(
            "insert into file_columns select filename, column_name, column_type from "
            "(describe select * from read_parquet(getvariable('files')[1], hive_partitioning = false)), "
            "unnest(getvariable('files')) as alike (filename)"
        )


def _fill_seen_drift(connection: duckdb.DuckDBPyConnection, manifests: dict[dt.date, Manifest]) -> None:
    seen = [
        (date, change, name, exported_as)
        for date, manifest in zip(manifests, carry_unknown_columns(manifests.values()), strict=True)
        for change, columns in (
            ("unknown", manifest.unknown_columns),
            ("missing", dict.fromkeys(manifest.missing_columns, "")),
            ("retyped", manifest.retyped_columns),
        )
        for name, exported_as in columns.items()
    ]
    insert_rows(connection, "seen_drift", seen)


def _create_known_columns(connection: duckdb.DuckDBPyConnection) -> None:
    """One row per known column with its type as DuckDB writes it: no variable can stand for a type."""
    typed_nulls = ", ".join(f'cast(null as {type_name}) as "{name}"' for name, type_name in EVENT_COLUMNS.items())
    connection.execute(
        f"create table known_columns as select column_name, column_type from (describe select {typed_nulls})"
    )


def _fill_event_profile(connection: duckdb.DuckDBPyConnection) -> None:
    batches = connection.execute(
        "select list(filename order by filename) from scanned_files group by batch order by batch"
    ).fetchall()
    for (files,) in batches:
        set_variables(connection, files=files)
        with _reading_lake_files():
            run_file(connection, "landing", "event_profile_batch")


def _describe_unjudged(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """What could not be checked, in words."""
    days = connection.execute("select event_date, kind, history_days from days order by event_date").fetchall()
    young = [date for date, kind, history_days in days if kind == "daily" and history_days < HISTORY_DAYS]
    unfinished = [date for date, kind, _ in days if kind != "daily"]
    notes = []
    if young:
        notes.append(
            f"Volume not compared on {_count(young, 'day')} (first {young[0]}): "
            f"fewer than {HISTORY_DAYS} daily tables in the four weeks before."
        )
    if unfinished:
        notes.append(f"Volume not compared on {_count(unfinished, 'day')} (first {unfinished[0]}): no daily table yet.")
    return notes


def _count(things: list[dt.date], noun: str) -> str:
    return f"{len(things)} {noun}" + ("" if len(things) == 1 else "s")
