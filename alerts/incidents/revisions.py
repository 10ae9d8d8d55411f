"""Keeps the figures of every version of a day, so that it is known how far first ones move."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3

import duckdb

from alerts.detection.panel import DAILY_TABLE, list_columns
from alerts.detection.revisions import Measures

# Of so many days, the newest, is learnt.
LEARNT_DAYS = 90


def note_versions(
    state: sqlite3.Connection, warehouse: duckdb.DuckDBPyConnection, *, moment: dt.datetime, kept_days: int
) -> None:
    """Keep the published figures of days that may still change, and of those that were kept and are final now.

    One row per day, content of its table and version of the SQL, which makes the figures: only figures of one SQL are
    compared with each other. What is older than `kept_days` goes.
    """
    if not all(list_columns(warehouse, table) for table in ("ops.ingest_ledger", "ops.build_info")):
        return
    utc = moment.astimezone(dt.UTC)
    now, oldest = utc.isoformat(), (utc - dt.timedelta(days=kept_days)).isoformat()
    state.execute("delete from kpi_revisions where noted_at < ?", (oldest,))
    waiting = {row["kpi_date"] for row in state.execute("select kpi_date from kpi_revisions where final is null")}
    found = warehouse.execute(
        f"""
        select cast(kpis.kpi_date as varchar), ledger.kind, ledger.content_hash, build.project_fingerprint,
            kpis.is_provisional, to_json(kpis)
        from {DAILY_TABLE} as kpis
        inner join ops.ingest_ledger as ledger on kpis.kpi_date = ledger.event_date
        cross join ops.build_info as build
        where kpis.is_provisional or list_contains(?, cast(kpis.kpi_date as varchar))
        """,
        [sorted(waiting)],
    ).fetchall()
    for date, kind, content, fingerprint, is_provisional, row in found:
        figures = json.dumps({name: value for name, value in json.loads(row).items() if _is_number(value)})
        if is_provisional:
            state.execute(
                "insert or ignore into kpi_revisions values (?, ?, ?, ?, ?, ?, null)",
                (date, content, fingerprint, kind, now, figures),
            )
        else:
            state.execute(
                "update kpi_revisions set final = ? where kpi_date = ? and project_fingerprint = ?",
                (figures, date, fingerprint),
            )
            # what another version of the SQL has made of it is compared with nothing any more
            state.execute("delete from kpi_revisions where kpi_date = ? and final is null", (date,))


def read_moves(state: sqlite3.Connection) -> list[tuple[Measures, Measures]]:
    """The first figures, of a daily or fresh table, and the final ones of each day of which both are known."""
    first: dict[str, tuple[Measures, Measures]] = {}
    for row in state.execute(
        "select kpi_date, figures, final from kpi_revisions where final is not null and table_kind != 'intraday' "
        "order by noted_at, content_hash"
    ):
        first.setdefault(row["kpi_date"], (json.loads(row["figures"]), json.loads(row["final"])))
    return [first[date] for date in sorted(first)[-LEARNT_DAYS:]]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
