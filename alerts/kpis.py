"""Reads the daily KPIs of a rule, whole and by dimension, from the published warehouse."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from alerts.rules import Rule, RulesError, line_of_rule

DAILY_TABLE = "marts.agg_kpis_daily"
DIMENSION_TABLE = "marts.agg_kpis_daily_by_dimension"


@dataclass(frozen=True)
class Day:
    """One day of a rule's KPI. `numerator` / `denominator` pool over days; a total has denominator 1."""

    date: dt.date
    is_provisional: bool
    value: float | None
    numerator: float
    denominator: float


@dataclass(frozen=True)
class Pooled:
    """Sums of a group of days; `days` counts those that have a value."""

    numerator: float
    denominator: float
    days: int

    @property
    def value(self) -> float | None:
        """The pooled KPI, in the KPI's unit."""
        return self.numerator / self.denominator if self.denominator > 0 else None


def pool(days: list[Day]) -> Pooled:
    """Sum the days that have a value."""
    usable = [day for day in days if day.value is not None]
    return Pooled(sum(day.numerator for day in usable), sum(day.denominator for day in usable), len(usable))


def check_columns(warehouse: duckdb.DuckDBPyConnection, rules: list[Rule], rules_path: Path) -> None:
    """Raise `RulesError` with file and line when a rule names a column that `marts.agg_kpis_daily` lacks."""
    known = _number_columns(warehouse, DAILY_TABLE)
    if not known:
        raise RuntimeError(f"{DAILY_TABLE} is not in the published warehouse: build and publish the marts first")
    problems = []
    for rule in rules:
        for field in ("kpi", "numerator", "denominator"):
            column = getattr(rule, field)
            if column is not None and column not in known:
                line = line_of_rule(rules_path, rule.name, field)
                problems.append(
                    f"{rules_path}:{line}: rule '{rule.name}': {field} '{column}' is not a number column of "
                    f"{DAILY_TABLE}; it has {', '.join(sorted(known))}"
                )
    if problems:
        raise RulesError("\n".join(problems))


def read_days(warehouse: duckdb.DuckDBPyConnection, rule: Rule) -> list[Day]:
    """All days of the KPI, oldest first."""
    rows = warehouse.execute(
        f"""
        select
            kpi_date,
            is_provisional,
            cast({rule.kpi} as double) as value,
            {_numerator(rule)} as numerator,
            {_denominator(rule)} as denominator
        from {DAILY_TABLE}
        order by kpi_date
        """
    ).fetchall()
    return [_to_day(*row) for row in rows]


def read_by_dimension(
    warehouse: duckdb.DuckDBPyConnection, rule: Rule, dimension: str, dates: list[dt.date]
) -> dict[str, Pooled]:
    """The KPI pooled over `dates` for each value of a dimension; empty when the table does not break it down."""
    if not set(rule.columns) <= _number_columns(warehouse, DIMENSION_TABLE):
        return {}
    rows = warehouse.execute(
        f"""
        select
            dimension_value,
            coalesce(sum({_numerator(rule)}), 0) as numerator,
            coalesce(sum({_denominator(rule)}), 0) as denominator,
            count(*) as days
        from {DIMENSION_TABLE}
        where dimension = $dimension and list_contains($dates, kpi_date) and {rule.kpi} is not null
        group by dimension_value
        order by dimension_value
        """,
        {"dimension": dimension, "dates": dates},
    ).fetchall()
    return {
        "(none)" if value is None else str(value): Pooled(numerator, denominator, days)
        for value, numerator, denominator, days in rows
    }


def _numerator(rule: Rule) -> str:
    if rule.numerator:
        return f"cast({rule.numerator} as double)"
    # A rate or a mean times its denominator is the sum that went into it, so that days can be pooled.
    return f"cast({rule.kpi} as double) * {_denominator(rule)}"


def _denominator(rule: Rule) -> str:
    return f"cast({rule.denominator} as double)" if rule.denominator else "cast(1 as double)"


def _to_day(
    date: dt.date, is_provisional: bool, value: float | None, numerator: float | None, denominator: float | None
) -> Day:
    is_number = value is not None and math.isfinite(value)
    return Day(date, is_provisional, value if is_number else None, numerator or 0.0, denominator or 0.0)


def _number_columns(warehouse: duckdb.DuckDBPyConnection, table: str) -> set[str]:
    schema, name = table.split(".")
    rows: list[Any] = warehouse.execute(
        """
        select column_name
        from information_schema.columns
        where
            table_schema = ? and table_name = ?
            and regexp_matches(data_type, '^(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT|U.*INT.*|FLOAT|DOUBLE|DECIMAL.*)$')
        """,
        [schema, name],
    ).fetchall()
    return {row[0] for row in rows}
