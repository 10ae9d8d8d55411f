"""Splits an incident by what single sessions tell: its very hours, against the same hours of earlier days.

The daily tables know five dimensions and whole days. Sessions know the release, the way of paying, the page and the
browser's version too, and when each cart was filled and bought: so a day that is running is held against what earlier
days had brought by the same time, and carts that may still be bought count as lost on neither side.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import duckdb
import numpy as np

from alerts.detection.panel import list_columns
from alerts.detection.scales import TINY, Floats, scale_of
from alerts.detection.splits import Split, count_average_days, make_split
from alerts.detection.verdicts import Hours
from alerts.rules.book import Rule

STEPS_TABLE = "marts.fct_session_steps"
# what the daily tables do not know
SESSION_DIMENSIONS = ("browser_version", "release", "payment_type", "cart_page", "checkout_page")
_DAY = dt.timedelta(days=1)
_BROWSER_VERSION = "steps.browser || ' ' || steps.browser_version || ', ' || steps.device_category"
_ALWAYS = {
    "device_category": "steps.device_category",
    "default_channel_group": "steps.default_channel_group",
    "country": "steps.country",
    "browser": "steps.browser",
    "browser_version": _BROWSER_VERSION,
    "release": "steps.release",
    "landing_page": "steps.landing_page",
}


@dataclass(frozen=True)
class _Source:
    """Where the things that a rule counts are found: the table, their day and time, how much each counts as, and what
    else they can be split by."""

    table: str
    date: str
    at: str
    y: str = "1.0"
    more: tuple[str, ...] = ()


_NOT_BOUGHT = "case when steps.purchased_at < coalesce(windows.known_until, timestamp 'infinity') then 0.0 else 1.0 end"
_BY_SESSION = "left join marts.fct_session_steps as steps on things.session_id = steps.session_id"
_SOURCES = {
    "carts": _Source(
        f"{STEPS_TABLE} as steps", "steps.session_date", "steps.cart_at", _NOT_BOUGHT, ("payment_type", "cart_page")
    ),
    "checkouts": _Source(
        f"{STEPS_TABLE} as steps",
        "steps.session_date",
        "steps.checkout_at",
        _NOT_BOUGHT,
        ("payment_type", "checkout_page"),
    ),
    "sessions": _Source(f"{STEPS_TABLE} as steps", "steps.session_date", "steps.session_started_at"),
    "events": _Source(f"marts.fct_events as things {_BY_SESSION}", "things.event_date", "things.event_at"),
    "revenue_usd": _Source(
        f"marts.fct_purchases as things {_BY_SESSION}",
        "things.purchase_date",
        "things.purchased_at",
        "things.revenue_usd",
        ("payment_type",),
    ),
}


@dataclass(frozen=True)
class _Window:
    """Hours of a day by the clock, from its midnight; None is the whole day. `known_for` cuts what is known of it."""

    begins: dt.timedelta | None = None
    ends: dt.timedelta | None = None
    known_for: dt.timedelta | None = None


def can_split_sessions(warehouse: duckdb.DuckDBPyConnection, rule: Rule) -> bool:
    """Whether sessions tell one by one what a rule counts; a warehouse of an older version does not have them."""
    return rule.hourly is not None and bool(list_columns(warehouse, STEPS_TABLE))


def read_session_splits(
    warehouse: duckdb.DuckDBPyConnection,
    rule: Rule,
    dates: list[dt.date],
    baseline_dates: list[dt.date],
    *,
    zone: ZoneInfo,
    hours: Mapping[dt.date, Hours],
    dimension_value: tuple[str, str] | None = None,
) -> list[Split]:
    """What the values of each dimension did on `dates` and on the baseline, in `hours` where a day has them.

    Of a day that is still running only what had happened by the end of its hours counts, and of the baseline's days
    what had happened by then. With `dimension_value` only its sessions are read, and split by everything else.
    """
    source = _SOURCES[str(rule.hourly)]
    columns = {**_ALWAYS, **{name: f"steps.{name}" for name in source.more}}
    where = "true"
    if dimension_value is not None:
        where = f"coalesce({columns.pop(dimension_value[0])}, '(none)') = ?"
    by_date = {date: _find_window(hours.get(date), date, zone) for date in dates}
    windows = list(dict.fromkeys(by_date.values()))
    names, cells = _read_cells(
        warehouse, source, columns, where, _place(windows, by_date, baseline_dates, zone), dimension_value
    )
    shape = (len(windows), len(baseline_dates) + 1)
    return [
        split
        for dimension in columns
        if len(names[dimension]) > 1
        and (split := _make_split(rule, dimension, names[dimension], cells[dimension], shape, by_date, baseline_dates))
        is not None
    ]


def _find_window(hours: Hours | None, date: dt.date, zone: ZoneInfo) -> _Window:
    if hours is None:
        return _Window()
    midnight = dt.datetime.combine(date, dt.time())
    since, seen = (_local(text, zone) - midnight for text in (hours.since, hours.seen_until))
    until = seen if hours.until is None else _local(hours.until, zone) - midnight
    is_running = seen < _DAY
    return _Window(max(since, dt.timedelta()), min(until, seen, _DAY), seen if is_running else None)


def _local(text: str, zone: ZoneInfo) -> dt.datetime:
    return dt.datetime.fromisoformat(text).astimezone(zone).replace(tzinfo=None)


def _place(
    windows: list[_Window], by_date: Mapping[dt.date, _Window], baseline_dates: list[dt.date], zone: ZoneInfo
) -> list[tuple[int, int, dt.date, dt.datetime | None, dt.datetime | None, dt.datetime | None]]:
    """Each window on each of the baseline's days, and on its own: (window, column, date, from, to, known until)."""

    def utc(date: dt.date, after: dt.timedelta | None) -> dt.datetime | None:
        if after is None:
            return None
        local = dt.datetime.combine(date, dt.time()) + after
        return local.replace(tzinfo=zone).astimezone(dt.UTC).replace(tzinfo=None)

    placed = [
        (number, column, date, window)
        for number, window in enumerate(windows)
        for column, date in enumerate(baseline_dates)
    ]
    placed += [(windows.index(window), len(baseline_dates), date, window) for date, window in by_date.items()]
    return [
        (number, column, date, utc(date, each.begins), utc(date, each.ends), utc(date, each.known_for))
        for number, column, date, each in placed
    ]


def _read_cells(
    warehouse: duckdb.DuckDBPyConnection,
    source: _Source,
    columns: Mapping[str, str],
    where: str,
    windows: list[tuple[int, int, dt.date, dt.datetime | None, dt.datetime | None, dt.datetime | None]],
    dimension_value: tuple[str, str] | None,
) -> tuple[dict[str, list[str]], dict[str, list[tuple[str, int, int, float, float]]]]:
    """By dimension its values, and (value, window, column, y, n) of each."""
    dimensions = ",\n".join(f"coalesce({expression}, '(none)') as {name}" for name, expression in columns.items())
    counted = "\nunion all\n".join(
        f"select '{name}', {name}, number, place, sum(y), count(*) from counted group by all" for name in columns
    )
    parts = list(zip(*windows, strict=True))
    rows = warehouse.execute(
        f"""
        with windows as (
            select
                unnest(cast(? as bigint[])) as number, unnest(cast(? as bigint[])) as place,
                unnest(cast(? as date[])) as day, unnest(cast(? as timestamp[])) as begins,
                unnest(cast(? as timestamp[])) as ends, unnest(cast(? as timestamp[])) as known_until
        ),
        counted as materialized (
            select windows.number, windows.place, {source.y} as y, {dimensions}
            from {source.table}
            inner join windows
                on {source.date} = windows.day
                and (windows.begins is null or ({source.at} >= windows.begins and {source.at} < windows.ends))
            where {source.at} is not null and {where}
        )
        {counted}
        """,
        [*(list(part) for part in parts), *([dimension_value[1]] if dimension_value else [])],
    ).fetchall()
    cells: dict[str, list[tuple[str, int, int, float, float]]] = {name: [] for name in columns}
    for dimension, value, number, place, y, n in rows:
        cells[dimension].append((value, number, place, float(y), float(n)))
    return {name: sorted({cell[0] for cell in found}) for name, found in cells.items()}, cells


def _make_split(
    rule: Rule,
    dimension: str,
    names: list[str],
    cells: list[tuple[str, int, int, float, float]],
    shape: tuple[int, int],
    by_date: Mapping[dt.date, _Window],
    baseline_dates: list[dt.date],
) -> Split | None:
    scale = scale_of(rule)
    row_of = {name: row for row, name in enumerate(names)}
    y, n = np.zeros((len(names), *shape)), np.zeros((len(names), *shape))
    for name, number, place, amount, count in cells:
        y[row_of[name], number, place], n[row_of[name], number, place] = amount, count
    average_days = _count_days((y if scale.is_total else n)[:, :, :-1].sum(axis=0), by_date, baseline_dates)
    y, n = y.sum(axis=1), n.sum(axis=1)
    return make_split(rule, dimension, names, y, n, days_before=len(baseline_dates), average_days=average_days)


def _count_days(totals: Floats, by_date: Mapping[dt.date, _Window], baseline_dates: list[dt.date]) -> float:
    """For how many of the baseline's days, in all their windows (windows, days), the incident's days count."""
    windows = list(dict.fromkeys(by_date.values()))
    share = totals.sum(axis=1) / max(float(totals.sum()), TINY)
    whole = totals.sum(axis=0)
    return sum(
        share[windows.index(window)] * count_average_days(whole, baseline_dates, [date])
        for date, window in by_date.items()
    )
