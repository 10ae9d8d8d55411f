"""Reads the hours of a rule from the published warehouse: the whole shop, and the values of its dimensions."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import numpy as np

from alerts.detection.hourly import HourlySeries, Timeline
from alerts.detection.panel import DAILY_TABLE, MOST_VALUES, list_columns
from alerts.detection.scales import Floats, scale_of
from alerts.rules.book import Rule

HOURLY_TABLE = "marts.agg_kpis_hourly"
HOURLY_DIMENSION_TABLE = "marts.agg_kpis_hourly_by_dimension"
COMPLETIONS_TABLE = "marts.agg_completions_hourly"
DIMENSIONS = ("device_category", "default_channel_group")
# What has not come by then hardly comes any more.
LAGS = 12
_HOUR = dt.timedelta(hours=1)
_STAGES = {"carts": "cart", "checkouts": "checkout"}


@dataclass(frozen=True)
class Arrivals:
    """How the export's events come in, as earlier checks have seen it; None where too few have.

    By `heard_until` everything has usually come, so that earlier hours without any event are hours in which nothing
    happened. `delivered` is the share of an hour's events that has come when it is over for less than one hour, for
    less than two, and so on.
    """

    heard_until: dt.datetime | None = None
    delivered: tuple[float, ...] | None = None


# Nothing is known of them yet.
UNKNOWN_ARRIVALS = Arrivals()


@dataclass(frozen=True)
class HourlyPanel:
    """A rule's hourly series side by side, the whole shop first; `labels` as a `Panel` has them.

    `starts` are the hours' beginnings (UTC, aware), `dates` those of the timeline's days. `over` is the number of hours
    that are over: whatever happened in them has come, as far as it ever does at once.
    """

    series: HourlySeries
    labels: list[tuple[str, str] | None]
    starts: list[dt.datetime]
    dates: list[dt.date]
    over: int
    is_intraday: dict[dt.date, bool]


def has_hours(warehouse: duckdb.DuckDBPyConnection) -> bool:
    """Whether the published warehouse knows hours; an older one does not."""
    return all(list_columns(warehouse, name) for name in (HOURLY_TABLE, HOURLY_DIMENSION_TABLE, COMPLETIONS_TABLE))


def read_hourly_panel(
    warehouse: duckdb.DuckDBPyConnection,
    rule: Rule,
    *,
    zone: ZoneInfo,
    days: int,
    arrivals: Arrivals = UNKNOWN_ARRIVALS,
) -> HourlyPanel | None:
    """The newest `days` days of a rule's hours; None where there are none.

    Hours are over that the newest event lies behind, or that lie before `arrivals.heard_until`. While it is not known
    how events come in, the newest hour of an intraday table waits for the next.
    """
    rows = _read_calendar(warehouse, days)
    if not rows:
        return None
    first, last = _aware(rows[0][0]), _aware(rows[-1][0])
    over = max((_aware(row[0]) + _HOUR for row in rows if row[4]), default=first)
    is_intraday = {row[1]: bool(row[2]) for row in rows}
    is_running = is_intraday[rows[-1][1]]
    if arrivals.heard_until is not None and is_running:
        over = max(over, arrivals.heard_until)
        last = max(last, over - _HOUR)
    count = (last - first) // _HOUR + 1
    starts = [first + _HOUR * place for place in range(count)]
    timeline, dates = _make_timeline(starts, zone)
    complete = {row[1] for row in rows if not row[3]}
    labels = _list_labels(warehouse, rule, first)
    came, begun, left = _read_values(warehouse, rule, labels, first, count)
    usable = np.array([date in complete for date in dates], dtype=bool)
    hours_over = int((over - first) // _HOUR)
    delivered = np.ones(count)
    if is_running and arrivals.delivered is None:
        hours_over = max(hours_over - 1, 0)
    elif is_running and arrivals.delivered is not None:
        newest = arrivals.delivered[:hours_over]
        delivered[hours_over - len(newest) : hours_over] = newest[::-1]
    return HourlyPanel(
        series=HourlySeries(
            scale=scale_of(rule),
            timeline=timeline,
            came=came,
            usable=np.tile(usable, (len(labels), 1)),
            shop=np.zeros(len(labels), dtype=np.int64),
            dimension=np.array(
                [0 if each is None else 1 + DIMENSIONS.index(each[0]) for each in labels], dtype=np.int64
            ),
            begun=begun,
            left=left,
            delivered=delivered,
        ),
        labels=labels,
        starts=starts,
        dates=dates,
        over=hours_over,
        is_intraday=is_intraday,
    )


def _read_calendar(warehouse: duckdb.DuckDBPyConnection, days: int) -> list[tuple[Any, ...]]:
    """The hours of the newest days, oldest first: start, date, whether of an intraday table, provisional, over."""
    return warehouse.execute(
        f"""
        with days as (
            select kpi_date, table_kind, is_provisional from {DAILY_TABLE}
            where kpi_date > (select max(kpi_date) from {DAILY_TABLE}) - cast(? as integer)
        )
        select hours.hour_started_at, days.kpi_date, days.table_kind = 'intraday', days.is_provisional,
            hours.is_over or days.table_kind != 'intraday'
        from {HOURLY_TABLE} as hours
        inner join days on hours.kpi_date = days.kpi_date
        order by hours.hour_started_at
        """,
        [days],
    ).fetchall()


def _make_timeline(starts: list[dt.datetime], zone: ZoneInfo) -> tuple[Timeline, list[dt.date]]:
    """The property's days and hours of the day that the hours lie in."""
    local = [start.astimezone(zone) for start in starts]
    dates = sorted({each.date() for each in local})
    position = {date: place for place, date in enumerate(dates)}
    timeline = Timeline(
        day=np.array([position[each.date()] for each in local], dtype=np.int64),
        hour_of_day=np.array([each.hour for each in local], dtype=np.int64),
        weekday=np.array([date.weekday() for date in dates], dtype=np.int64),
    )
    return timeline, dates


def _list_labels(warehouse: duckdb.DuckDBPyConnection, rule: Rule, first: dt.datetime) -> list[tuple[str, str] | None]:
    """The whole shop, then the largest values of each of the rule's dimensions that are known by the hour."""
    wanted = [dimension for dimension in rule.dimensions if dimension in DIMENSIONS]
    if not wanted or rule.hourly == "events":
        return [None]
    found = warehouse.execute(
        f"""
        select dimension, dimension_value from {HOURLY_DIMENSION_TABLE}
        where hour_started_at >= ? and list_contains(?, dimension)
        group by dimension, dimension_value
        qualify row_number() over (partition by dimension order by sum({rule.hourly}) desc, dimension_value) <= ?
        order by list_position(?, dimension), sum({rule.hourly}) desc, dimension_value
        """,
        [first.replace(tzinfo=None), wanted, MOST_VALUES, wanted],
    ).fetchall()
    return [None, *((str(dimension), _name(value)) for dimension, value in found)]


def _read_values(
    warehouse: duckdb.DuckDBPyConnection,
    rule: Rule,
    labels: list[tuple[str, str] | None],
    first: dt.datetime,
    count: int,
) -> tuple[Floats, Floats | None, Floats | None]:
    """What came of each hour by lag, and for carts and checkouts how many began and how many had left, by lag."""
    place = {label: row for row, label in enumerate(labels)}
    measure = rule.hourly
    whole = f"select 'all', 'all', hour_started_at, {measure} from {HOURLY_TABLE} where hour_started_at >= ?"
    values = (
        f"select dimension, dimension_value, hour_started_at, {measure} from {HOURLY_DIMENSION_TABLE} "
        "where hour_started_at >= ?"
    )
    since = first.replace(tzinfo=None)
    total = np.zeros((len(labels), count))
    parameters = [since] if len(labels) == 1 else [since, since]
    for dimension, value, hour, amount in warehouse.execute(
        whole if len(labels) == 1 else f"{whole} union all {values}", parameters
    ).fetchall():
        row, column = place.get(_label(dimension, value)), (_aware(hour) - first) // _HOUR
        if row is not None and 0 <= column < count:
            total[row, column] += max(float(amount or 0.0), 0.0)
    stage = _STAGES.get(str(measure))
    if stage is None:
        return total[:, :, None], None, None
    came, left = np.zeros((len(labels), count, LAGS)), np.zeros((len(labels), count, LAGS))
    for dimension, value, hour, later, bought, not_bought in warehouse.execute(
        f"""
        select dimension, dimension_value, hour_started_at, least(hours_later, ?), sum(bought), sum(not_bought)
        from {COMPLETIONS_TABLE} where stage = ? and hour_started_at >= ? group by all
        """,
        [LAGS - 1, stage, since],
    ).fetchall():
        row, column = place.get(_label(dimension, value)), (_aware(hour) - first) // _HOUR
        if row is not None and 0 <= column < count:
            came[row, column, int(later)] += float(bought)
            left[row, column, int(later)] += float(not_bought)
    return came, total, left


def _label(dimension: str, value: Any) -> tuple[str, str] | None:
    return None if dimension == "all" else (dimension, _name(value))


def _name(value: Any) -> str:
    return "(none)" if value is None else str(value)


def _aware(moment: dt.datetime) -> dt.datetime:
    return moment.replace(tzinfo=dt.UTC)
