"""The landing suite's tables: one scan over the lake's new days, and what their manifests say."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import duckdb

from expectations.scope import Scope, quote
from foundation.connect import open_published
from foundation.errors import FunnelhouseError, NothingPublishedError
from foundation.settings import Settings
from warehouse.ga4_schema import EVENT_COLUMNS, REQUIRED_COLUMNS
from warehouse.lake import PARTITION_PREFIX, Manifest, carry_unknown_columns, partition_dir, read_manifests

# What the scan reads; a file in which one of these has another type is left out, and column_types_canonical fails.
PROFILED_COLUMNS = ("event_date", "event_timestamp", "event_name", "event_params", "user_pseudo_id", "stream_id")

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
                f"Nothing new: the published warehouse has the lake as it is ({_count(list(manifests), 'day')})."
                if manifests
                else f"Nothing to validate: the lake {settings.lake_dir} is empty."
            ],
            is_empty=True,
        )
    _create_partitions(connection, settings, manifests, set(changed))
    _create_lake_files(connection, settings, manifests, changed)
    _create_columns(connection)
    _create_event_profile(connection)
    _create_days(connection)
    _create_event_names(connection)
    _create_drift(connection, manifests, changed)
    _create_gaps(connection)

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


def _create_partitions(
    connection: duckdb.DuckDBPyConnection, settings: Settings, manifests: dict[dt.date, Manifest], changed: set[dt.date]
) -> None:
    """One row per partition of the lake; the changed ones carry the bounds of plausible timestamps, µs UTC."""
    connection.execute(
        "create table partitions (event_date date, table_name varchar, kind varchar, row_count bigint, "
        "exported_rows bigint, is_changed boolean, earliest_us bigint, latest_us bigint)"
    )
    connection.executemany(
        "insert into partitions values (?, ?, ?, ?, ?, ?, ?, ?)",
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


def _create_lake_files(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    manifests: dict[dt.date, Manifest],
    changed: list[dt.date],
) -> None:
    """One row per lake file of the changed days, and one per file and column with the type it has there."""
    files = [
        (str(_existing(partition_dir(settings, date) / name, date)), date, f"{PARTITION_PREFIX}{date}/{name}")
        for date in changed
        for name in manifests[date].lake_files
    ]
    connection.execute("create table lake_files (filename varchar, event_date date, label varchar)")
    connection.execute("create table file_columns (filename varchar, column_name varchar, column_type varchar)")
    if not files:
        return
    connection.executemany("insert into lake_files values (?, ?, ?)", files)
    # Files with the same Parquet schema have the same columns: describe one of each kind.
    schemas = _query(
        connection,
        f"""
        with fields as (
            select
                file_name,
                string_agg(concat_ws(':', name, type, duckdb_type, num_children), '|' order by column_id) as layout
            from parquet_schema([{", ".join(quote(filename) for filename, _, _ in files)}])
            group by file_name
        )
        select list(file_name) from fields group by layout
        """,
    )
    for (alike,) in schemas:
        connection.execute(
            "insert into file_columns select filename, column_name, column_type from "
            f"(describe select * from read_parquet({quote(alike[0])}, hive_partitioning = false)), "
            f"unnest([{', '.join(map(quote, alike))}]) as alike(filename)"
        )


def _existing(path: Path, date: dt.date) -> Path:
    if not path.is_file():
        raise LakeFileError(
            f"{path} is listed in the manifest of {date} but is not there: "
            f"delete the folder {path.parent} and run again, so that the day is loaded anew"
        )
    return path


def _query(connection: duckdb.DuckDBPyConnection, sql: str) -> list[tuple]:
    try:
        return connection.execute(sql).fetchall()
    except (duckdb.IOException, duckdb.InvalidInputException) as error:
        raise LakeFileError(
            f"a lake file cannot be read: {error}. Delete its partition folder and run again, "
            "so that the day is loaded anew"
        ) from error


def _create_columns(connection: duckdb.DuckDBPyConnection) -> None:
    """One row per known column: the number of lake files that lack it or hold it with another type."""
    typed_nulls = ", ".join(f'cast(null as {type_name}) as "{name}"' for name, type_name in EVENT_COLUMNS.items())
    connection.execute(
        f"create table known_columns as select column_name, column_type from (describe select {typed_nulls})"
    )
    connection.execute(
        """
        create table off_type as
        select lake_files.filename, lake_files.label, column_name, known_columns.column_type, found.column_type as found
        from lake_files
        cross join known_columns
        left join file_columns as found using (filename, column_name)
        where found.column_type is distinct from known_columns.column_type
        """
    )
    connection.execute(
        """
        create table columns as
        select
            column_name || coalesce(
                ' is ' || min(coalesce(found, 'absent')) || ' instead of ' || min(off_type.column_type)
                || ', for example in ' || min(label), ''
            ) as subject,
            column_name,
            count(filename) as files_off_type
        from known_columns
        left join off_type using (column_name)
        group by column_name
        """
    )


def _create_event_profile(connection: duckdb.DuckDBPyConnection) -> None:
    """The one scan: counts per day and event name. What is no event is defined as in dbt's quarantine_reason()."""
    connection.execute(
        f"""
        create table scanned_files as
        select
            lake_files.filename,
            lake_files.event_date,
            partitions.earliest_us,
            partitions.latest_us,
            strftime(lake_files.event_date, '%Y%m%d') as table_date,
            -- whole days together, about a million rows at a time: finding duplicates takes memory by the row
            sum(partitions.row_count) over (order by partitions.event_date range unbounded preceding)
                // {BATCH_ROWS} as batch
        from lake_files
        inner join partitions using (event_date)
        where filename not in (
            select filename from off_type where column_name in ({", ".join(map(quote, PROFILED_COLUMNS))})
        )
        """
    )
    connection.execute(
        """
        create table event_profile (
            event_date date, event_name varchar, row_count bigint, timestamp_missing bigint, date_missing bigint,
            date_other bigint, timestamp_outside bigint, unidentified bigint, to_quarantine bigint, duplicates bigint
        )
        """
    )
    # as dbt reads the date, which may have a blank before it; almost all are equal as they are, without being read
    is_other_date = (
        "case when events.event_date = table_date then false "
        "else try_strptime(events.event_date, '%Y%m%d')::date is distinct from files.event_date end"
    )
    batches = connection.execute(
        "select list(filename order by filename) from scanned_files group by batch order by batch"
    ).fetchall()
    for (files,) in batches:
        _query(
            connection,
            f"""
            insert into event_profile
            select
                files.event_date,
                events.event_name,
                count(*),
                count(*) filter (where event_timestamp is null),
                count(*) filter (where events.event_date is null),
                count(*) filter (where events.event_date is not null and {is_other_date}),
                count(*) filter (where event_timestamp not between earliest_us and latest_us),
                count(*) filter (where user_pseudo_id is null),
                count(*) filter (
                    where coalesce(trim(event_name), '') = ''
                    or event_timestamp is null
                    or event_timestamp not between 1262304000000000 and 4102444800000000
                    or event_timestamp not between epoch_us(files.event_date) - 302400000000
                    and epoch_us(files.event_date) + 388800000000
                    or {is_other_date}
                ),
                -- copies as they usually come, params in the same order; dbt finds the others as well
                count(*) - count(distinct hash(
                    events.event_date, stream_id, user_pseudo_id, event_name, event_timestamp, event_params
                ))
            from read_parquet([{", ".join(map(quote, files))}], filename = true, hive_partitioning = false) as events
            inner join scanned_files as files using (filename)
            group by files.event_date, events.event_name
            """,
        )


def _create_days(connection: duckdb.DuckDBPyConnection) -> None:
    """One row per changed day: shares of its rows, and its volume against the usual one."""
    connection.execute(
        f"""
        create table days as
        with profile as (
            select
                event_date,
                sum(row_count)::bigint as rows_read,
                sum(case when coalesce(trim(event_name), '') = '' then row_count else 0 end) as name_missing,
                sum(timestamp_missing) as timestamp_missing,
                sum(date_missing) as date_missing,
                sum(date_other) as date_other,
                sum(timestamp_outside) as timestamp_outside,
                sum(unidentified) as unidentified,
                sum(to_quarantine)::bigint as to_quarantine,
                sum(duplicates) as duplicates
            from event_profile
            group by event_date
        ),
        -- Only a whole day can be compared, and only with whole days.
        daily as (
            select event_date, exported_rows from partitions where kind = 'daily'
        ),
        usual as (
            select
                today.event_date,
                count(earlier.event_date) as history_days,
                median(earlier.exported_rows) filter (
                    where datediff('day', earlier.event_date, today.event_date) % 7 = 0
                ) as usual_rows
            from daily as today
            left join daily as earlier
                on earlier.event_date between today.event_date - 28 and today.event_date - 1
            group by today.event_date
        ),
        unread as (
            -- a file that the scan left out is reported once, by its column types
            select event_date
            from lake_files
            where filename not in (select filename from scanned_files)
        )
        select
            partitions.event_date::varchar as subject,
            partitions.event_date,
            partitions.kind,
            partitions.row_count,
            case when partitions.kind = 'daily' then partitions.exported_rows end as daily_rows,
            case
                when partitions.event_date not in (select event_date from unread)
                    then abs(partitions.row_count - coalesce(profile.rows_read, 0))
            end as rows_off_manifest,
            profile.name_missing / profile.rows_read as event_name_missing_share,
            profile.timestamp_missing / profile.rows_read as event_timestamp_missing_share,
            profile.date_missing / profile.rows_read as event_date_missing_share,
            profile.date_other / profile.rows_read as other_date_share,
            profile.timestamp_outside / nullif(profile.rows_read - profile.timestamp_missing, 0)
                as timestamp_outside_share,
            profile.to_quarantine as rows_to_quarantine,
            profile.unidentified / profile.rows_read as unidentified_share,
            profile.duplicates / profile.rows_read as duplicate_share,
            usual.history_days,
            usual.usual_rows,
            case
                when usual.history_days >= {HISTORY_DAYS} then partitions.exported_rows / nullif(usual.usual_rows, 0)
            end as volume_ratio
        from partitions
        left join profile on partitions.event_date = profile.event_date
        left join usual on partitions.event_date = usual.event_date
        where partitions.is_changed
        """
    )


def _create_event_names(connection: duckdb.DuckDBPyConnection) -> None:
    """One row per event name of the changed days."""
    connection.execute(
        """
        create table event_names as
        select
            event_name || ' (rows: ' || sum(row_count) || ', days: ' || count(*) || ')' as subject,
            event_name
        from event_profile
        where coalesce(trim(event_name), '') != ''
        group by event_name
        """
    )


def _create_drift(
    connection: duckdb.DuckDBPyConnection, manifests: dict[dt.date, Manifest], changed: list[dt.date]
) -> None:
    """Two tables of differences: `drift`, from the known schema, and `schema_changes`, from one day to the next."""
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
    connection.execute(
        "create table seen_drift (event_date date, change varchar, column_name varchar, exported_as varchar)"
    )
    if seen:
        connection.executemany("insert into seen_drift values (?, ?, ?, ?)", seen)
    required = ", ".join(quote(name) for name in REQUIRED_COLUMNS)
    connection.execute(
        f"""
        create table drift as
        select
            column_name || if(count(*) = 1, ' on ', ' on ' || count(*) || ' days, ') || min(event_date)
            || if(count(*) = 1, '', ' to ' || max(event_date)) as subject,
            change,
            column_name in ({required}) as is_required
        from seen_drift
        inner join partitions using (event_date)
        where is_changed
        group by change, column_name
        """
    )
    # As in dbt's ops.schema_changes: a difference is told on the day it begins, against the loaded day before, and the
    # return to the known schema is none.
    connection.execute(
        """
        create table schema_changes as
        with previous as (
            select event_date, lag(event_date) over (order by event_date) as previous_date from partitions
        )
        select
            now.column_name || if(now.exported_as = '', '', ' as ' || left(now.exported_as, 120))
            || ' from ' || now.event_date
            || coalesce(
                ' (' || if(before.change = 'missing', 'absent', left(before.exported_as, 120)) || ' before)', ''
            ) as subject,
            now.change,
            now.column_name,
            now.event_date
        from seen_drift as now
        inner join partitions on now.event_date = partitions.event_date
        inner join previous on now.event_date = previous.event_date
        left join seen_drift as before
            on now.column_name = before.column_name and previous.previous_date = before.event_date
        where
            partitions.is_changed
            and (before.change, before.exported_as) is distinct from (now.change, now.exported_as)
        """
    )


def _create_gaps(connection: duckdb.DuckDBPyConnection) -> None:
    """One row per day without a partition, from the day before the first changed day to the last one."""
    connection.execute(
        """
        create table gaps as
        with bounds as (
            select
                greatest(min(event_date) filter (where is_changed) - 1, min(event_date)) as first_date,
                max(event_date) filter (where is_changed) as last_date
            from partitions
        ),
        calendar as (
            select unnest(generate_series(first_date, last_date, interval 1 day))::date as event_date from bounds
        )
        select event_date::varchar as subject, event_date
        from calendar
        where event_date not in (select event_date from partitions)
        """
    )


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
