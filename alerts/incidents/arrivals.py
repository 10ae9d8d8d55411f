"""Notes how far behind the clock the export is: an hour in which nothing came is not one that has not come yet."""

from __future__ import annotations

import datetime as dt
import sqlite3

import duckdb
import numpy as np

from alerts.detection.hourly_panel import HOURLY_TABLE, UNKNOWN_ARRIVALS, Arrivals
from alerts.detection.panel import DAILY_TABLE, list_columns

EVENTS_TABLE = "marts.fct_events"
KEPT_DAYS = 7
# So many checks must have seen the export before its silence says anything.
FEWEST_CHECKS = 24
USUAL_SHARE = 0.9
# An export that is usually further behind than this is none to be watched by the hour.
LONGEST_DELAY = dt.timedelta(hours=3)
# So long after its end an hour has as good as all its events.
WATCHED = dt.timedelta(hours=12)
_HOUR = dt.timedelta(hours=1)


def note_arrival(state: sqlite3.Connection, warehouse: duckdb.DuckDBPyConnection, *, moment: dt.datetime) -> Arrivals:
    """Note what this check knows of the newest hours, and return how events have come in during the last days.

    Nothing is known where the newest day has its own table, or too few checks have seen how late events come.
    """
    now = moment.astimezone(dt.UTC)
    if not list_columns(warehouse, EVENTS_TABLE) or not list_columns(warehouse, HOURLY_TABLE):
        return UNKNOWN_ARRIVALS
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
        return UNKNOWN_ARRIVALS
    for table in ("alert_arrivals", "alert_hour_counts"):
        oldest = (now - dt.timedelta(days=KEPT_DAYS)).isoformat()
        state.execute(f"delete from {table} where checked_at < ? or checked_at > ?", (oldest, now.isoformat()))
    known_until = found[0].replace(tzinfo=dt.UTC)
    rows = state.execute("select checked_at, known_until from alert_arrivals").fetchall()
    state.execute("insert or replace into alert_arrivals values (?, ?)", (now.isoformat(), known_until.isoformat()))
    delivered = _learn_delivered(state, warehouse)
    state.executemany(
        "insert or replace into alert_hour_counts values (?, ?, ?)",
        [(now.isoformat(), hour, events) for hour, events in _count_hours(warehouse, now - WATCHED, now).items()],
    )
    if len(rows) < FEWEST_CHECKS:
        return UNKNOWN_ARRIVALS
    delays = [
        (dt.datetime.fromisoformat(checked) - dt.datetime.fromisoformat(known)).total_seconds()
        for checked, known in rows
    ]
    usual = dt.timedelta(seconds=float(np.quantile(delays, USUAL_SHARE)))
    return Arrivals(now - usual if usual <= LONGEST_DELAY else None, delivered)


def _learn_delivered(state: sqlite3.Connection, warehouse: duckdb.DuckDBPyConnection) -> tuple[float, ...]:
    """Of the hours that earlier checks knew, the share of what is known of them now, by whole hours since their end."""
    known = [
        (dt.datetime.fromisoformat(checked), dt.datetime.fromisoformat(hour), int(events))
        for checked, hour, events in state.execute("select * from alert_hour_counts")
    ]
    if not known:
        return ()
    first, last = min(hour for _, hour, _ in known), max(hour for _, hour, _ in known)
    now_known = _count_hours(warehouse, first, last + _HOUR)
    ages = int(WATCHED / _HOUR)
    then, later = np.zeros(ages), np.zeros(ages)
    for checked, hour, events in known:
        age = (checked - hour - _HOUR) // _HOUR
        # what is itself young may still grow
        if 0 <= age < ages and (total := now_known.get(hour.isoformat(), 0)) > 0 and last - hour >= WATCHED:
            then[age] += min(events, total)
            later[age] += total
    return tuple(np.where(later > 0, then / np.maximum(later, 1.0), 1.0).tolist())


def _count_hours(warehouse: duckdb.DuckDBPyConnection, since: dt.datetime, until: dt.datetime) -> dict[str, int]:
    rows = warehouse.execute(
        f"select hour_started_at, events from {HOURLY_TABLE} where hour_started_at >= ? and hour_started_at < ?",
        [since.replace(tzinfo=None), until.replace(tzinfo=None)],
    ).fetchall()
    return {hour.replace(tzinfo=dt.UTC).isoformat(): int(events) for hour, events in rows}
