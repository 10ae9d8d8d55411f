"""Tiny lakes and build files, whole or with planted faults."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import sqlite3
from typing import Any

import duckdb

from foundation.quoting import quote_text
from foundation.settings import Settings
from warehouse.ga4_schema import EVENT_COLUMNS
from warehouse.lake import MANIFEST_NAME, Manifest, partition_dir

FIRST_DAY = dt.date(2026, 8, 3)


def day(number: int) -> dt.date:
    """The date `number` days after the first one."""
    return FIRST_DAY + dt.timedelta(days=number)


@functools.cache
def _writer() -> duckdb.DuckDBPyConnection:
    """A connection with an empty table of all known columns."""
    connection = duckdb.connect()
    columns = ", ".join(f'"{name}" {type_name}' for name, type_name in EVENT_COLUMNS.items())
    connection.execute(f"create table no_events ({columns})")
    return connection


def write_day(
    settings: Settings,
    date: dt.date,
    *,
    rows: int = 100,
    kind: str = "daily",
    row_count: int | None = None,
    types: dict[str, str] | None = None,
    columns: dict[str, str] | None = None,
    **manifest: Any,
) -> None:
    """Write one partition as ingestion does: all known columns, here from SQL expressions over the row number `i`.

    `columns` replaces expressions, `types` the types in the file, `row_count` what the manifest says.
    """
    expressions = {
        "event_date": f"'{date:%Y%m%d}'",
        "event_timestamp": f"epoch_us(timestamp '{date} 12:00:00') + i * 1000000",
        "event_name": "list_extract(['session_start', 'page_view', 'view_item', 'scroll'], 1 + i % 4)",
        "event_params": (
            "[{'key': 'ga_session_id', 'value': {'string_value': null, 'int_value': i // 5, "
            "'float_value': null, 'double_value': null}}]"
        ),
        "user_pseudo_id": "'user-' || (i // 5)",
        "stream_id": "'web'",
        **(columns or {}),
    }
    folder = partition_dir(settings, date)
    folder.mkdir(parents=True, exist_ok=True)
    select = ", ".join(f"cast({sql} as {EVENT_COLUMNS[name]}) as {name}" for name, sql in expressions.items())
    columns_as_found = ", ".join(
        f'cast("{name}" as {types[name]}) as "{name}"' if types and name in types else f'"{name}"'
        for name in EVENT_COLUMNS
    )
    _writer().execute(
        f"copy (select {columns_as_found} from (select * from no_events union all by name "
        f"select {select} from range({rows}) as r(i))) to {quote_text(f'{folder}/part-0.parquet')}"
    )
    table_name = f"events_{'' if kind == 'daily' else kind + '_'}{date:%Y%m%d}"
    values = Manifest(
        event_date=date.isoformat(),
        table_name=table_name,
        kind=kind,
        source_uri=f"/export/{table_name}.parquet",
        content_hash=hashlib.sha256(repr((date, rows, columns, types)).encode()).hexdigest(),
        row_count=rows if row_count is None else row_count,
        lake_files=["part-0.parquet"],
        loaded_at="2026-10-01T00:00:00+00:00",
        **{"source_files": [], **manifest},
    )
    (folder / MANIFEST_NAME).write_text(values.to_json(), encoding="utf-8")


def read_results(settings: Settings, run_id: str) -> dict[str, sqlite3.Row]:
    """What was kept of a run, by expectation."""
    state = sqlite3.connect(settings.state_path)
    state.row_factory = sqlite3.Row
    try:
        rows = state.execute("select * from validation_results where run_id = ?", (run_id,)).fetchall()
    finally:
        state.close()
    assert len({row["expectation"] for row in rows}) == len(rows)
    return {row["expectation"]: row for row in rows}


def write_build(settings: Settings, *statements: str) -> None:
    """Write a build file of three dates whose tables agree, then run the statements that break it.

    Date `n` (1, 2, 3) has 12 raw rows: 1 quarantined, 1 duplicate, 1 synthetic, 1 internal, 8 staged of which 2
    cookieless; the other 6 make 3 sessions of 2 events. The first session of each date buys for 10.10 n dollars,
    on date 2 after midnight, so that the purchase is dated 3.
    """
    settings.build_path.parent.mkdir(parents=True, exist_ok=True)
    settings.build_path.unlink(missing_ok=True)
    with duckdb.connect(str(settings.build_path)) as build:
        for schema in ("staging", "intermediate", "marts", "ml", "ops"):
            build.execute(f"create schema {schema}")
        build.execute("create table days as select n, date '2026-08-02' + n::int as d from range(1, 4) as r(n)")
        for name, select in _BUILD_TABLES.items():
            build.execute(f"create table {name} as {select}")
        # As in dbt's project: a view whose text names the database.
        build.execute(f"create view staging.stg_ga4__events as select * from {settings.build_path.stem}.staging.parsed")
        build.execute("drop table days")
        for statement in statements:
            build.execute(statement)


_RATES = (
    "0.5::double as conversion_rate, 0.0::double as cart_abandonment_rate, null::double as checkout_abandonment_rate"
)

_BUILD_TABLES = {
    "ops.build_info": (
        "select 'run' as run_id, timestamp '2026-08-06 07:00:00' as as_of, "
        "null::date as touched_from, true as is_full_rebuild"
    ),
    "ops.refused_models": "select '' as model, '' as version, '' as reason where false",
    "ops.ingest_ledger": "select d as event_date, 12::bigint as row_count from days",
    "ops.event_counts": (
        "select d as event_date, 12::bigint as raw_rows, 1::bigint as quarantined_rows, 1::bigint as duplicate_rows, "
        "1::bigint as synthetic_rows, 1::bigint as internal_rows, 8::bigint as staged_rows, "
        "2::bigint as cookieless_rows from days"
    ),
    "ops.quarantined_events": "select d as event_date, 'missing_event_name' as reason from days",
    "staging.stg_ga4__events_parsed": (
        "select d as event_date, null::varchar as placeholder_transaction_id, null::varchar as exclusion_reason "
        "from days"
    ),
    "staging.parsed": (
        "select d as event_date, n * 10 + i as event_key, if(i < 6, 'u' || n, null) as user_pseudo_id, "
        "if(i < 6, 'web|u' || n || '|' || i // 2, null) as session_id, false as is_background "
        "from days, range(8) as r(i)"
    ),
    "intermediate.int_inferred_sessions": "select 0::bigint as event_key, '' as session_id where false",
    "marts.fct_sessions": (
        "select 'web|u' || n || '|' || i as session_id, d as session_date, 2::bigint as event_count, "
        "if(i = 0, 10.10 * n, 0)::double as revenue_usd from days, range(3) as r(i)"
    ),
    "marts.fct_purchases": (
        "select 'p' || n as purchase_id, 'web|u' || n || '|0' as session_id, if(n = 2, d + 1, d) as purchase_date, "
        "(10.10 * n)::double as revenue_usd from days"
    ),
    "marts.agg_kpis_daily": (
        "select d as kpi_date, 3::bigint as sessions, 1::bigint as sessions_with_begin_checkout, "
        "1::bigint as sessions_with_purchase, 1.0::double as engagement_rate, "
        "(list_extract([10.10, 0, 50.50], n))::double as revenue_usd, "
        f"0.0::double as bounce_rate, {_RATES} from days"
    ),
    "marts.agg_kpis_daily_by_dimension": (
        "select d as kpi_date, 'device_category' as dimension, 'mobile' as dimension_value, " + _RATES + " from days"
    ),
}

# Predictions for every session, and the scores that dbt makes of them.
SCORES = (
    """
    create table ml.session_predictions as
    select
        session_id,
        0.25::double as propensity_full,
        'full-1' as propensity_full_version,
        null::double as propensity_precheckout,
        null::varchar as propensity_precheckout_version,
        null::varchar as segments_version,
        timestamp '2026-08-06 08:00:00' as scored_at
    from marts.fct_sessions
    """,
    """
    create schema if not exists ml;
    create table ml.feat_sessions as select session_id from marts.fct_sessions;
    create table marts.fct_session_scores as
    select predictions.*
    from marts.fct_sessions
    left join ml.session_predictions as predictions using (session_id)
    """,
)
