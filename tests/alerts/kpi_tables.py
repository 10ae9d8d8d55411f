"""Writes KPI tables into a DuckDB connection from plain counts, so that the statistics can be checked by hand."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

import duckdb

from alerts.rules.book import Rule, RuleBook

START = dt.date(2026, 6, 1)  # a Monday
AS_OF = dt.datetime(2027, 1, 1, 12, tzinfo=dt.UTC)
_MEASURES = (
    "sessions",
    "engaged_sessions",
    "sessions_with_add_to_cart",
    "purchases",
    "cart_abandonment_rate",
    "mean_log_duration_engaged",
    "avg_session_duration_seconds",
    "revenue_usd",
)


@dataclass
class Counts:
    """What a shop, or one value of a dimension, did on one day."""

    sessions: int = 1_000
    engaged: int = 700
    carts: int = 500
    abandoned: int = 350
    mean_log: float = 4.0
    revenue: float = 15_000.0

    def measures(self) -> list[Any]:
        """The columns `_MEASURES`."""
        return [
            self.sessions,
            self.engaged,
            self.carts,
            self.carts - self.abandoned,
            self.abandoned / self.carts if self.carts else None,
            self.mean_log if self.engaged else None,
            100.0,
            self.revenue,
        ]


@dataclass
class KpiDay:
    """One day: the whole shop, and values by dimension."""

    shop: Counts = field(default_factory=Counts)
    values: dict[tuple[str, str], Counts] = field(default_factory=dict)
    is_provisional: bool = False
    kind: str = "intraday"  # of the table of a provisional day


def date_of(index: int) -> dt.date:
    """The date of the day at `index`; day 0 is a Monday."""
    return START + dt.timedelta(days=index)


def write_kpis(days: list[KpiDay | None]) -> duckdb.DuckDBPyConnection:
    """A warehouse in memory; None leaves a day out."""
    connection = duckdb.connect()
    connection.execute("create schema marts")
    connection.execute("create schema ops")
    columns = ", ".join(f"{name} double" for name in _MEASURES)
    connection.execute(
        f"create table marts.agg_kpis_daily (kpi_date date, is_provisional boolean, table_kind varchar, {columns})"
    )
    connection.execute(
        "create table marts.agg_kpis_daily_by_dimension "
        f"(kpi_date date, is_provisional boolean, dimension varchar, dimension_value varchar, {columns})"
    )
    daily, by_dimension = [], []
    for index, day in enumerate(days):
        if day is not None:
            kind = day.kind if day.is_provisional else "daily"
            daily.append([date_of(index), day.is_provisional, kind, *day.shop.measures()])
            for (dimension, value), counts in day.values.items():
                by_dimension.append([date_of(index), day.is_provisional, dimension, value, *counts.measures()])
    _insert(connection, "marts.agg_kpis_daily", daily)
    _insert(connection, "marts.agg_kpis_daily_by_dimension", by_dimension)
    return connection


def make_rule(**overrides: Any) -> Rule:
    """The rule on cart abandonment, whole shop."""
    values: dict[str, Any] = {
        "name": "carts",
        "description": "d",
        "kpi": "cart_abandonment_rate",
        "unit": "share",
        "denominator": "sessions_with_add_to_cart",
        "direction": "above",
        "severity": "info",
        "owner": "o",
        "runbook": "r",
    }
    return Rule.model_validate({**values, **overrides})


def make_duration_rule(direction: str) -> Rule:
    """The rule on session duration, whole shop."""
    return make_rule(
        name="duration",
        kpi="avg_session_duration_seconds",
        statistic="mean_log_duration_engaged",
        unit="seconds",
        denominator="engaged_sessions",
        direction=direction,
    )


def make_book(*rules: Rule, **overrides: Any) -> RuleBook:
    """A rule book of these rules."""
    return RuleBook.model_validate({"rules": list(rules), **overrides})


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: list[list[Any]]) -> None:
    for start in range(0, len(rows), 500):
        part = rows[start : start + 500]
        places = ", ".join(["(" + ", ".join("?" * len(part[0])) + ")"] * len(part))
        connection.execute(f"insert into {table} values {places}", [value for row in part for value in row])
