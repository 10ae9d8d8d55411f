"""Reads the daily KPIs of a rule from the published warehouse: the whole shop and the values of its dimensions."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from alerts.detection.scales import Bools, Floats, Scale, scale_of
from alerts.rules.book import Rule, RulesError
from alerts.rules.loading import line_of_rule
from foundation.errors import FunnelhouseError

DAILY_TABLE = "marts.agg_kpis_daily"
DIMENSION_TABLE = "marts.agg_kpis_daily_by_dimension"
# A dimension with more values (landing pages) is watched for the largest of them.
MOST_VALUES = 50
_NUMBER = re.compile(r"TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT|U.*INT.*|FLOAT|DOUBLE|DECIMAL.*")
_Row = tuple[int, dt.date, Any, Any, Any]  # series, date, y, n, volume


class KpiTablesError(FunnelhouseError):
    """The published warehouse has no KPIs to check."""


@dataclass(frozen=True)
class Panel:
    """A rule's daily series side by side: arrays (series, days) over a calendar without gaps.

    `labels[i]` is None for the whole shop, else (dimension, value). `y` of `n` for rates; totals in `y` (n = 1); mean
    logs in `y` over `n` sessions. `volume` is what `minimum_volume` counts. `usable`: complete and with a value.
    `is_first`: provisional, but from a daily or fresh table, whose figures hardly move any more.
    """

    scale: Scale
    dates: list[dt.date]
    labels: list[tuple[str, str] | None]
    y: Floats
    n: Floats
    volume: Floats
    usable: Bools
    is_provisional: Bools
    is_first: Bools

    @property
    def weekday(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Monday = 0, per day."""
        return np.array([date.weekday() for date in self.dates], dtype=np.int64)


def check_columns(warehouse: duckdb.DuckDBPyConnection, rules: list[Rule], rules_path: Path) -> None:
    """Raise `RulesError` with file and line when a rule names a column or dimension that the KPI tables lack."""
    problems = find_column_problems(warehouse, rules, rules_path)
    if problems:
        raise RulesError("\n".join(line for lines in problems.values() for line in lines))


def find_column_problems(
    warehouse: duckdb.DuckDBPyConnection, rules: list[Rule], rules_path: Path
) -> dict[str, list[str]]:
    """The rules that name a column or dimension which the KPI tables lack, with `file:line: …` for each.

    Raises `KpiTablesError` where there are no KPI tables.
    """
    daily = _number_columns(warehouse, DAILY_TABLE)
    if not daily:
        raise KpiTablesError(f"{DAILY_TABLE} is not in the published warehouse: build and publish the marts first")
    by_dimension = _number_columns(warehouse, DIMENSION_TABLE)
    dimensions: set[str] = set()
    if by_dimension:
        dimensions = {
            row[0] for row in warehouse.execute(f"select distinct dimension from {DIMENSION_TABLE}").fetchall()
        }
    problems: dict[str, list[str]] = {}
    for rule in rules:
        for field, message in _judge_columns(rule, daily, by_dimension, dimensions):
            line = line_of_rule(rules_path, rule.name, field)
            problems.setdefault(rule.name, []).append(f"{rules_path}:{line}: rule '{rule.name}': {message}")
    return problems


def _judge_columns(
    rule: Rule, daily: set[str], by_dimension: set[str], dimensions: set[str]
) -> Iterator[tuple[str, str]]:
    """The fields of a rule that are wrong, and why."""
    if rule.kind != "kpi":
        return
    for field in ("kpi", "statistic", "numerator", "denominator", "volume"):
        column = getattr(rule, field)
        if column is None:
            continue
        if column not in daily:
            known = ", ".join(sorted(daily))
            yield field, f"{field} '{column}' is not a numeric column of {DAILY_TABLE}; it has {known}"
        elif rule.dimensions and column not in by_dimension:
            yield field, f"{field} '{column}' is not in {DIMENSION_TABLE}, so the rule cannot have dimensions"
    for dimension in rule.dimensions:
        if dimensions and dimension not in dimensions:
            known = ", ".join(sorted(dimensions))
            yield "dimensions", f"'{dimension}' is not a dimension of {DIMENSION_TABLE}; it has {known}"


def read_panel(warehouse: duckdb.DuckDBPyConnection, rule: Rule, *, with_dimensions: bool = True) -> Panel:
    """All days of a rule's KPI, whole shop first. A day without a row has no value; a dimension value without a row
    on a day that has one counted zero."""
    scale, columns = scale_of(rule), say_measures(rule)
    kind = "table_kind" if "table_kind" in list_columns(warehouse, DAILY_TABLE) else "'intraday'"
    whole = warehouse.execute(
        f"select kpi_date, is_provisional, {kind} != 'intraday', {columns} from {DAILY_TABLE} order by kpi_date"
    ).fetchall()
    if not whole:
        empty, no_days = np.zeros((1, 0)), np.zeros(0, dtype=bool)
        return Panel(scale, [], [None], empty, empty, empty, empty.astype(bool), no_days, no_days)
    first, days = whole[0][0], (whole[-1][0] - whole[0][0]).days + 1
    is_present = np.zeros(days, dtype=bool)
    is_provisional, is_first = np.zeros(days, dtype=bool), np.zeros(days, dtype=bool)
    for date, is_young, has_own_table, *_ in whole:
        is_present[(date - first).days] = True
        is_provisional[(date - first).days] = bool(is_young)
        is_first[(date - first).days] = bool(is_young and has_own_table)
    labels: list[tuple[str, str] | None] = [None]
    rows: list[_Row] = [(0, row[0], *row[3:]) for row in whole]
    if with_dimensions and rule.dimensions:
        found, rows_of_values = _read_values(warehouse, rule)
        labels += found
        rows += rows_of_values

    y = np.full((len(labels), days), np.nan)
    n, volume = np.zeros_like(y), np.zeros_like(y)
    if scale.is_total:
        y[1:, is_present] = 0.0
        n[:, is_present] = 1.0
    for series, date, *values in rows:
        day = (date - first).days
        if 0 <= day < days:
            y[series, day], n[series, day], volume[series, day] = [np.nan if v is None else float(v) for v in values]
    n, volume = np.nan_to_num(n), np.nan_to_num(volume)
    has_value = np.isfinite(y) & (n > 0) & is_present
    return Panel(
        scale=scale,
        dates=[first + dt.timedelta(days=day) for day in range(days)],
        labels=labels,
        y=np.where(has_value, scale.clip(y, n), 0.0),
        n=np.where(has_value, n, 0.0),
        volume=volume,
        usable=has_value & ~is_provisional,
        is_provisional=is_provisional,
        is_first=is_first,
    )


def _read_values(warehouse: duckdb.DuckDBPyConnection, rule: Rule) -> tuple[list[tuple[str, str]], list[_Row]]:
    """The values of the rule's dimensions, and their rows; the whole shop is series 0, so theirs begin with 1."""
    index: dict[tuple[str, str], int] = {}
    rows: list[_Row] = []
    for dimension, value, *rest in warehouse.execute(
        f"""
        with ranked as (
            select
                dimension, dimension_value, kpi_date, {say_measures(rule)},
                sum({_volume(rule)}) over (partition by dimension, dimension_value) as total_volume
            from {DIMENSION_TABLE}
            where list_contains(?, dimension)
        )
        select dimension, dimension_value, kpi_date, y, n, volume from ranked
        qualify dense_rank() over (partition by dimension order by total_volume desc, dimension_value) <= ?
        order by list_position(?, dimension), total_volume desc, dimension_value, kpi_date
        """,
        [list(rule.dimensions), MOST_VALUES, list(rule.dimensions)],
    ).fetchall():
        label = (dimension, "(none)" if value is None else str(value))
        rows.append((index.setdefault(label, len(index) + 1), *rest))
    return list(index), rows


def say_measures(rule: Rule) -> str:
    """The SQL columns y, n and volume of a rule, as `Panel` describes them."""
    if rule.test == "rate":
        # Counts that were divided come back whole, but for the last digit of the division.
        y = rule.numerator or f"round(cast({rule.kpi} as double) * {rule.denominator})"
        n = str(rule.denominator)
    elif rule.test == "log_mean":
        y = rule.statistic or f"case when {rule.kpi} > 0 then ln({rule.kpi}) end"
        n = str(rule.denominator)
    else:
        y, n = rule.kpi, "1"
    return f"cast({y} as double) as y, cast({n} as double) as n, cast({_volume(rule)} as double) as volume"


def _volume(rule: Rule) -> str:
    return rule.volume or rule.denominator or rule.kpi


def has_columns(warehouse: duckdb.DuckDBPyConnection, table: str, columns: list[str]) -> bool:
    """Whether a table has all of these number columns."""
    return set(columns) <= _number_columns(warehouse, table)


def _number_columns(warehouse: duckdb.DuckDBPyConnection, table: str) -> set[str]:
    return {name for name, kind in list_columns(warehouse, table).items() if _NUMBER.fullmatch(kind)}


def list_columns(warehouse: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """The columns of a table and their types; none where it does not exist."""
    schema, name = table.split(".")
    rows = warehouse.execute(
        "select column_name, data_type from information_schema.columns where table_schema = ? and table_name = ?",
        [schema, name],
    ).fetchall()
    return dict(rows)
