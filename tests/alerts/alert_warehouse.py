"""Writes tiny published warehouses whose KPIs can be checked by hand."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

import duckdb

from foundation.settings import Settings

START = dt.date(2026, 7, 1)


@dataclass
class Segment:
    """One device and channel on one day. `duration` is the mean over its sessions, in seconds."""

    device: str = "desktop"
    channel: str = "Direct"
    sessions: int = 1000
    carts: int = 200
    abandoned: int = 130
    duration: float = 100.0


@dataclass
class ShopDay:
    """One day: whole-shop figures are the sums of its segments."""

    segments: list[Segment] = field(default_factory=lambda: [Segment()])
    is_provisional: bool = False
    kind: str = ""  # of its table; by default daily, or intraday where provisional

    @property
    def table_kind(self) -> str:
        """Which table the day is from."""
        return self.kind or ("intraday" if self.is_provisional else "daily")


def day(**segment: float) -> ShopDay:
    """A day of one segment."""
    return ShopDay([Segment(**segment)])  # type: ignore[arg-type]


def date_of(index: int) -> dt.date:
    """The date of the day at `index`."""
    return START + dt.timedelta(days=index)


def _measure(segments: list[Segment]) -> tuple[float | None, ...]:
    sessions = sum(s.sessions for s in segments)
    carts = sum(s.carts for s in segments)
    abandoned = sum(s.abandoned for s in segments)
    duration = sum(s.duration * s.sessions for s in segments)
    return (
        sessions,
        carts,
        carts - abandoned,
        abandoned / carts if carts else None,
        duration / sessions if sessions else None,
        float(10 * (carts - abandoned)),
    )


def publish(settings: Settings, days: list[ShopDay | None]) -> None:
    """Write the published file; None leaves a date out."""
    settings.published_path.parent.mkdir(parents=True, exist_ok=True)
    settings.published_path.unlink(missing_ok=True)
    measures = """
        sessions bigint, sessions_with_add_to_cart bigint, sessions_with_purchase bigint,
        cart_abandonment_rate double, avg_session_duration_seconds double, revenue_usd double
    """
    with duckdb.connect(str(settings.published_path)) as connection:
        connection.execute("create schema marts")
        connection.execute(
            "create table marts.agg_kpis_daily "
            f"(kpi_date date, is_provisional boolean, table_kind varchar, landing varchar, {measures})"
        )
        connection.execute(
            "create table marts.agg_kpis_daily_by_dimension "
            f"(kpi_date date, dimension varchar, dimension_value varchar, is_provisional boolean, {measures})"
        )
        daily, by_dimension = [], []
        for index, shop_day in enumerate(days):
            if shop_day is None:
                continue
            date = date_of(index)
            daily.append([date, shop_day.is_provisional, shop_day.table_kind, "x", *_measure(shop_day.segments)])
            for dimension, attribute in (("device_category", "device"), ("default_channel_group", "channel")):
                for value in sorted({getattr(segment, attribute) for segment in shop_day.segments}):
                    group = [segment for segment in shop_day.segments if getattr(segment, attribute) == value]
                    by_dimension.append([date, dimension, value, shop_day.is_provisional, *_measure(group)])
        _insert(connection, "marts.agg_kpis_daily", daily)
        _insert(connection, "marts.agg_kpis_daily_by_dimension", by_dimension)


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: list[list[Any]]) -> None:
    if rows:
        places = ", ".join(["(" + ", ".join("?" * len(rows[0])) + ")"] * len(rows))
        connection.execute(f"insert into {table} values {places}", [value for row in rows for value in row])
