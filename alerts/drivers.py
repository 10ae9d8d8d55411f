"""Finds the device and the channel that drive an incident most."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import duckdb

from alerts.kpis import read_by_dimension
from alerts.rules import Direction, Rule

DIMENSIONS = ("device_category", "default_channel_group")


@dataclass(frozen=True)
class Driver:
    """The value of a dimension with the largest excess over its own trailing value.

    `excess` and `total_excess` are, for shares, numerator units (sessions beyond expectation); for means, the part of
    the mean's change that this value makes; for totals, units of the KPI per day. They count all days of the incident
    so far.
    """

    dimension: str
    value: str
    observed: float
    expected: float
    excess: float
    total_excess: float
    volume: float


def find_drivers(
    warehouse: duckdb.DuckDBPyConnection,
    rule: Rule,
    direction: Direction,
    incident_dates: list[dt.date],
    baseline_dates: list[dt.date],
) -> list[Driver]:
    """The worst value of each of `DIMENSIONS`; a dimension without a breakdown or without a baseline is left out."""
    drivers = []
    for dimension in DIMENSIONS:
        driver = _find_driver(warehouse, rule, direction, dimension, incident_dates, baseline_dates)
        if driver is not None:
            drivers.append(driver)
    return drivers


def _find_driver(
    warehouse: duckdb.DuckDBPyConnection,
    rule: Rule,
    direction: Direction,
    dimension: str,
    incident_dates: list[dt.date],
    baseline_dates: list[dt.date],
) -> Driver | None:
    now = read_by_dimension(warehouse, rule, dimension, incident_dates)
    before = read_by_dimension(warehouse, rule, dimension, baseline_dates)
    if not now or not before:
        return None
    if rule.denominator is None:
        # A value without a row on a day counted nothing that day, so totals are means over all days, not its own.
        observed = {value: group.numerator / len(incident_dates) for value, group in now.items()}
        expected = {value: group.numerator / len(baseline_dates) for value, group in before.items()}
        names = sorted(observed.keys() | expected.keys())
        rows = [(name, observed.get(name, 0.0), expected.get(name, 0.0), 1.0) for name in names]
        scale = 1.0
    else:
        weight = sum(group.denominator for group in before.values())
        if weight <= 0:
            return None
        overall = sum(group.numerator for group in before.values()) / weight
        rows = []
        for name, group in now.items():
            if group.value is None:
                continue
            own = before[name].value if name in before else None
            # A value that is new has no past of its own and is held against the whole.
            rows.append((name, group.value, overall if own is None else own, group.denominator))
        total = sum(row[3] for row in rows)
        if total <= 0:
            return None
        scale = 1.0 if rule.unit == "share" else 1.0 / total
    excesses = [(observed_ - expected_) * weight_ * scale for _, observed_, expected_, weight_ in rows]
    sign = 1 if direction == "above" else -1
    worst = max(range(len(rows)), key=lambda index: sign * excesses[index])
    if sign * excesses[worst] <= 0:
        return None
    name, observed_value, expected_value, volume = rows[worst]
    return Driver(dimension, name, observed_value, expected_value, excesses[worst], sum(excesses), volume)
