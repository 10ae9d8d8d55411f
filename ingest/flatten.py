"""Flat files beside the lake's: written as a day is loaded, and derived anew when other columns are wanted."""

from __future__ import annotations

import datetime as dt
import logging
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import duckdb

from foundation.errors import FunnelhouseError
from foundation.quoting import quote_name, quote_path, quote_text
from foundation.settings import Settings
from ingest import place
from ingest.engine import is_about_space, open_engine
from warehouse.flat import FlatColumn, flat_columns, flat_path, flat_versions, flatten_query
from warehouse.lake import Manifest, partition_dir, read_manifests

logger = logging.getLogger(__name__)


class FlattenError(FunnelhouseError):
    """A lake file cannot be read; the message names it and says what to do."""


def write_flat_file(
    connection: duckdb.DuckDBPyConnection,
    columns: Iterable[FlatColumn],
    source: Path,
    lake_file: Path,
) -> int:
    """Write the flat form of `source`, which is or becomes `lake_file`; returns its number of rows."""
    target = flat_path(lake_file)
    target.parent.mkdir(exist_ok=True)
    rows = f"read_parquet({quote_path(source)}, hive_partitioning = false)"
    query = flatten_query(columns, rows)
    return int(connection.execute(f"copy ({query}) to {quote_text(str(target))} (format parquet)").fetchall()[0][0])


def flatten_lake(settings: Settings) -> list[str]:
    """Derive what the flat files of the lake lack, or hold in an older form, from the rows as exported; the days.

    A column that stands as it is wanted is kept. A kill leaves each day as it was or as it is to be. The caller holds
    the lake. Raises FlattenError, after the other days, for a lake file that cannot be read.
    """
    wanted = flat_versions(settings)
    stale = [manifest for manifest in read_manifests(settings).values() if not _is_current(settings, manifest, wanted)]
    if stale:
        logger.info("deriving flat columns of %d days", len(stale))
    damaged: list[str] = []
    remaining = list(stale)
    while remaining:
        # one engine for all days, and another one after a damaged file, which may have upset it
        with open_engine(settings) as connection:
            while remaining:
                manifest = remaining.pop(0)
                try:
                    _flatten_day(connection, settings, manifest, wanted)
                except duckdb.Error as error:
                    if is_about_space(error):
                        raise
                    damaged.append(f"{manifest.event_date} ({str(error).splitlines()[0]})")
                    break
    if damaged:
        raise FlattenError(
            f"lake files cannot be read: {'; '.join(damaged)}. Delete the partition folders of these days in "
            f"{settings.lake_dir} and load them again (python -m ingest)"
        )
    return [manifest.event_date for manifest in stale]


def _is_current(settings: Settings, manifest: Manifest, wanted: dict[str, str]) -> bool:
    folder = partition_dir(settings, dt.date.fromisoformat(manifest.event_date))
    return wanted.items() <= manifest.flat_columns.items() and all(
        flat_path(folder / name).is_file() for name in manifest.lake_files
    )


def _flatten_day(
    connection: duckdb.DuckDBPyConnection, settings: Settings, manifest: Manifest, wanted: dict[str, str]
) -> None:
    folder = partition_dir(settings, dt.date.fromisoformat(manifest.event_date))
    with place.make_workspace(settings) as workspace:
        partition = workspace / "partition"
        partition.mkdir()
        for name in manifest.lake_files:
            shutil.copyfile(folder / name, partition / name)
            _derive(connection, settings, manifest, folder / name, partition / name)
        place.put_partition(settings, replace(manifest, flat_columns=wanted), partition)


def _derive(
    connection: duckdb.DuckDBPyConnection, settings: Settings, manifest: Manifest, old: Path, lake_file: Path
) -> None:
    columns = flat_columns(settings)
    missing = [column for column in columns if manifest.flat_columns.get(column.name) != column.version]
    kept = [column.name for column in columns if column not in missing]
    flat = flat_path(old)
    if not kept or not flat.is_file() or _count_rows(connection, flat) != _count_rows(connection, lake_file):
        write_flat_file(connection, columns, lake_file, lake_file)
        return
    derived = flatten_query(missing, f"read_parquet({quote_path(lake_file)}, hive_partitioning = false)")
    selected = ", ".join([*(f"flat.{quote_name(name)}" for name in kept), "derived.*"])
    target = flat_path(lake_file)
    target.parent.mkdir(exist_ok=True)
    connection.execute(
        # both in the order of their rows, which is the same
        f"copy (select {selected} from read_parquet({quote_path(flat)}, hive_partitioning = false) as flat "
        f"positional join ({derived}) as derived) "
        f"to {quote_text(str(target))} (format parquet)"
    )


def _count_rows(connection: duckdb.DuckDBPyConnection, path: Path) -> int:
    [(rows,)] = connection.execute(f"select num_rows from parquet_file_metadata({quote_path(path)})").fetchall()
    return int(rows)
