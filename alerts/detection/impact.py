"""What an incident has cost: orders and revenue lost, each with an interval."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np

from alerts.detection.panel import DAILY_TABLE, DIMENSION_TABLE, has_columns, say_measures
from alerts.detection.scales import TINY, Floats, scale_of
from alerts.detection.splits import count_average_days
from alerts.detection.verdicts import Hours
from alerts.rules.book import Rule

_INTERVAL_Z = 1.96


@dataclass(frozen=True)
class Impact:
    """Estimated orders and revenue lost over the incident, each with a 95 % interval; negative is a gain."""

    lost_orders: float
    lost_orders_low: float
    lost_orders_high: float
    lost_revenue_usd: float
    lost_revenue_usd_low: float
    lost_revenue_usd_high: float


@dataclass(frozen=True)
class _Days:
    """Daily figures, (days,): `y` of `n` are those of the rule."""

    dates: list[dt.date]
    orders: Floats
    revenue: Floats
    sessions: Floats
    y: Floats
    n: Floats


def estimate_impact(
    warehouse: duckdb.DuckDBPyConnection,
    rule: Rule,
    dates: list[dt.date],
    baseline_dates: list[dt.date],
    label: tuple[str, str] | None,
    hours: Sequence[Hours] = (),
) -> Impact | None:
    """Expected minus observed orders, and their revenue at the usual order value; None where nothing can be said.

    `dates` are whole days; of days that are not over, `hours` say what was lost so far.

    Intervals by the delta method from the sampling error of the incident and of the baseline, both widened by the days'
    overdispersion.
    """
    table = DIMENSION_TABLE if label else DAILY_TABLE
    if rule.impact is None or not has_columns(
        warehouse, table, [*rule.columns, "purchases", "revenue_usd", "sessions"]
    ):
        return None
    before, now = (_read_days(warehouse, rule, days, label) for days in (baseline_dates, dates))
    if before.orders.sum() <= 0 or before.revenue.sum() <= 0 or (rule.impact == "orders" and before.n.sum() <= 0):
        return None
    if rule.impact == "orders":
        lost, variance = _lose_orders(rule, before, now)
    elif rule.impact == "visits":
        lost, variance = _lose_visits(before, now)
    else:
        lost, variance = _lose_total(before.orders, now.orders, before.dates, now.dates)
    if rule.impact == "revenue":
        lost_revenue, revenue_variance = _lose_total(before.revenue, now.revenue, before.dates, now.dates)
    else:
        lost_revenue, revenue_variance = _price(lost, variance, before)
    lost, variance, lost_revenue, revenue_variance = _add_hours(
        rule, before, hours, (lost, variance, lost_revenue, revenue_variance)
    )
    reach, revenue_reach = _INTERVAL_Z * np.sqrt(variance), _INTERVAL_Z * np.sqrt(revenue_variance)
    return Impact(
        lost_orders=float(lost),
        lost_orders_low=float(lost - reach),
        lost_orders_high=float(lost + reach),
        lost_revenue_usd=float(lost_revenue),
        lost_revenue_usd_low=float(lost_revenue - revenue_reach),
        lost_revenue_usd_high=float(lost_revenue + revenue_reach),
    )


def _add_hours(
    rule: Rule, before: _Days, hours: Sequence[Hours], known: tuple[float, float, float, float]
) -> tuple[float, float, float, float]:
    """What whole days and hours have lost together: orders and revenue, each with its variance."""
    lost, variance, lost_revenue, revenue_variance = known
    for each in hours:
        missing, spread = each.expected - each.came, each.deviation**2
        value = before.revenue.sum() / before.orders.sum()
        if rule.hourly == "revenue_usd":
            lost, variance = lost + missing / value, variance + spread / value**2
            lost_revenue, revenue_variance = lost_revenue + missing, revenue_variance + spread
            continue
        if rule.impact == "visits":
            per_visit = before.orders.sum() / max(before.sessions.sum(), 1.0)
            missing, spread = missing * per_visit, spread * per_visit**2 + missing * per_visit
        revenue, of_revenue = _price(missing, spread, before)
        lost, variance = lost + missing, variance + spread
        lost_revenue, revenue_variance = lost_revenue + revenue, revenue_variance + of_revenue
    return lost, variance, lost_revenue, revenue_variance


def _read_days(
    warehouse: duckdb.DuckDBPyConnection, rule: Rule, dates: list[dt.date], label: tuple[str, str] | None
) -> _Days:
    table, where = (DIMENSION_TABLE, "dimension = ? and dimension_value = ?") if label else (DAILY_TABLE, "true")
    rows = warehouse.execute(
        f"""
        select kpi_date, purchases, revenue_usd, sessions, {say_measures(rule)}
        from {table} where {where} and list_contains(?, kpi_date)
        """,
        [*(label or ()), dates],
    ).fetchall()
    found = {row[0]: [float(value or 0.0) for value in row[1:6]] for row in rows}
    return _Days(dates, *np.array([found.get(date, [0.0] * 5) for date in dates]).reshape(-1, 5).T)


def _lose_orders(rule: Rule, before: _Days, now: _Days) -> tuple[float, float]:
    """Each session beyond the usual share is an order lost, or one more; and the variance."""
    p = before.y.sum() / before.n.sum()
    phi = scale_of(rule).dispersion(before.y[None, :], before.n[None, :])
    size = float(now.n.sum())
    lost = float(now.y.sum() - size * p) * (1.0 if rule.direction == "above" else -1.0)
    return lost, phi * size * p * (1 - p) * (1.0 + size / before.n.sum())


def _lose_visits(before: _Days, now: _Days) -> tuple[float, float]:
    """Each visit that did not come has lost the orders that a visit usually makes; and the variance."""
    visits, variance = _lose_total(before.sessions, now.sessions, before.dates, now.dates)
    per_visit = before.orders.sum() / before.sessions.sum()
    return visits * per_visit, variance * per_visit**2 + visits**2 * per_visit / before.sessions.sum()


def _price(lost: float, variance: float, before: _Days) -> tuple[float, float]:
    """The revenue of lost orders at the usual order value, and its variance."""
    orders, revenue = before.orders, before.revenue
    value = revenue.sum() / orders.sum()
    value_variance = float(np.square(revenue - value * orders).sum()) / orders.sum() ** 2
    return lost * value, variance * value**2 + lost**2 * value_variance


def _lose_total(
    before: Floats, now: Floats, baseline_dates: list[dt.date], dates: list[dt.date]
) -> tuple[float, float]:
    """Expected minus observed total, and its variance from the days' spread around their weekday's usual value."""
    average_days = count_average_days(before, baseline_dates, dates)
    expected = float(before.mean()) * average_days
    usual = np.array([before.mean() * count_average_days(before, baseline_dates, [date]) for date in baseline_dates])
    phi = float(np.square(before - usual).sum() / max(usual.sum(), TINY)) * len(before) / max(len(before) - 7, 1)
    return expected - float(now.sum()), phi * expected * (1.0 + average_days / len(before))
