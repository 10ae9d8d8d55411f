"""Notes how far behind the clock the export is: an hour in which nothing came is not one that has not come yet."""

from __future__ import annotations

import datetime as dt
import sqlite3

import duckdb
import numpy as np

from alerts.detection.panel import DAILY_TABLE, list_columns

EVENTS_TABLE = "marts.fct_events"
KEPT_DAYS = 7
# So many checks must have seen the export before its silence says anything.
FEWEST_CHECKS = 24
USUAL_SHARE = 0.9
# An export that is usually further behind than this is none to be watched by the hour.
LONGEST_DELAY = dt.timedelta(hours=3)


def note_arrival(
    state: sqlite3.Connection, warehouse: duckdb.DuckDBPyConnection, *, moment: dt.datetime
) -> dt.datetime | None:
    """Note the newest event that this check knows, and return until when everything has usually come by now.

    None where the newest day has its own table, or too few checks have seen how late events come.
    """
    now = moment.astimezone(dt.UTC)
    if not list_columns(warehouse, EVENTS_TABLE):
        return None
    found = warehouse.execute(
        f"""
        with newest as (select kpi_date, table_kind from {DAILY_TABLE} order by kpi_date desc limit 1)
        select max(events.event_at)
        from {EVENTS_TABLE} as events
        inner join newest on events.event_date = newest.kpi_date
        where newest.table_kind = 'intraday' and events.event_at <= ?
        """,
        [now.replace(tzinfo=None)],
    ).fetchone()
    if found is None or found[0] is None:
        return None
    oldest = now - dt.timedelta(days=KEPT_DAYS)
    state.execute(
        "delete from alert_arrivals where checked_at < ? or checked_at > ?", (oldest.isoformat(), now.isoformat())
    )
    rows = state.execute("select checked_at, known_until from alert_arrivals").fetchall()
    known_until = found[0].replace(tzinfo=dt.UTC)
    state.execute("insert or replace into alert_arrivals values (?, ?)", (now.isoformat(), known_until.isoformat()))
    if len(rows) < FEWEST_CHECKS:
        return None
    delays = [
        (dt.datetime.fromisoformat(checked) - dt.datetime.fromisoformat(known)).total_seconds()
        for checked, known in rows
    ]
    usual = dt.timedelta(seconds=float(np.quantile(delays, USUAL_SHARE)))
    return now - usual if usual <= LONGEST_DELAY else None
