"""One dimension of an incident: what each of its values did before and during it, and how restless they are."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import duckdb
import numpy as np

from alerts.detection.panel import DIMENSION_TABLE, say_measures
from alerts.detection.scales import TINY, Floats, measure_total_dispersion, scale_of
from alerts.rules.book import Rule

# A value with less of the volume, before and now, cannot carry an incident and only costs the others power.
SMALLEST_SHARE = 0.01


@dataclass(frozen=True)
class Split:
    """One dimension's values, the last one being all that are too small to name. Arrays (values,).

    `y` of `n` over the incident's days and over the baseline's: successes of sessions, sums of logs over sessions, or
    totals (n = 0). `phi` is the dispersion of the values' daily figures around their own baseline and `phi_weight` that
    of their daily weights, where 1 is chance alone (for means: the variance of one session). `average_days`: for how
    many average days of the baseline the incident's days count.
    """

    dimension: str
    names: list[str]
    y: Floats
    n: Floats
    y_before: Floats
    n_before: Floats
    phi: float
    phi_weight: float
    days_before: int
    average_days: float


def read_split(
    warehouse: duckdb.DuckDBPyConnection,
    rule: Rule,
    dimension: str,
    dates: list[dt.date],
    baseline_dates: list[dt.date],
) -> Split | None:
    """Read what a dimension's values did on an incident's dates and on its baseline's; None without anything before."""
    names, y, n = _read_days(warehouse, rule, dimension, [*baseline_dates, *dates])
    scale = scale_of(rule)
    totals = (y if scale.is_total else n)[:, : len(baseline_dates)].sum(axis=0)
    average_days = count_average_days(totals, baseline_dates, dates)
    return make_split(rule, dimension, names, y, n, days_before=len(baseline_dates), average_days=average_days)


def make_split(
    rule: Rule, dimension: str, names: list[str], y: Floats, n: Floats, *, days_before: int, average_days: float
) -> Split | None:
    """The split of `y` of `n`, (values, days): the baseline's days, then the incident's; None without a baseline."""
    scale = scale_of(rule)
    if scale.is_total:
        n = np.zeros_like(n)
    kept = _keep_large(names, y, n, is_total=scale.is_total, days_before=days_before)
    if kept is None:
        return None
    names, y, n, weight = kept
    before, now = slice(0, days_before), slice(days_before, None)
    return Split(
        dimension=dimension,
        names=names,
        y=y[:, now].sum(axis=1),
        n=n[:, now].sum(axis=1),
        y_before=y[:, before].sum(axis=1),
        n_before=n[:, before].sum(axis=1),
        phi=scale.dispersion(y[:, before], n[:, before]),
        phi_weight=max(1.0, measure_total_dispersion(weight[:, before])),
        days_before=days_before,
        average_days=average_days,
    )


def _keep_large(
    names: list[str], y: Floats, n: Floats, *, is_total: bool, days_before: int
) -> tuple[list[str], Floats, Floats, Floats] | None:
    """The values (rows) large enough to be named, then a row of all others: names, y, n, and what weighs them.

    Columns: the `days_before` days of the baseline, then the incident's. None where the baseline has nothing.
    """
    weight = y if is_total else n
    before, now = weight[:, :days_before], weight[:, days_before:]
    if before.sum() <= 0:
        return None
    keep = np.maximum(*(part.sum(axis=1) / max(part.sum(), TINY) for part in (before, now))) >= SMALLEST_SHARE
    y, n, weight = (np.vstack([table[keep], table[~keep].sum(axis=0, keepdims=True)]) for table in (y, n, weight))
    return [name for name, is_kept in zip(names, keep, strict=True) if is_kept], y, n, weight


def _read_days(
    warehouse: duckdb.DuckDBPyConnection, rule: Rule, dimension: str, dates: list[dt.date]
) -> tuple[list[str], Floats, Floats]:
    """The dimension's values, and the daily sums `y` of `n` (values, days) of each."""
    rows = warehouse.execute(
        f"""
        select coalesce(dimension_value, '(none)') as name, kpi_date, {say_measures(rule)}
        from {DIMENSION_TABLE}
        where dimension = ? and list_contains(?, kpi_date)
        order by name, kpi_date
        """,
        [dimension, dates],
    ).fetchall()
    scale, names = scale_of(rule), list(dict.fromkeys(row[0] for row in rows))
    series = {name: index for index, name in enumerate(names)}
    column = {date: index for index, date in enumerate(dates)}
    y, n = np.zeros((len(names), len(dates))), np.zeros((len(names), len(dates)))
    for name, date, value, count, _ in rows:
        if value is not None and count:
            y[series[name], column[date]] = scale.add_up(value, count)
            n[series[name], column[date]] = count
    return names, y, n


def count_average_days(totals: Floats, baseline_dates: list[dt.date], dates: list[dt.date]) -> float:
    """For how many average days of the baseline the incident's days count, by the weekdays they fall on."""
    mean = totals.mean()
    by_weekday: dict[int, list[float]] = {}
    for date, total in zip(baseline_dates, totals, strict=True):
        by_weekday.setdefault(date.weekday(), []).append(float(total))
    usual = [by_weekday.get(date.weekday()) for date in dates]
    return float(sum(1.0 if not values or mean <= 0 else np.mean(values) / mean for values in usual))
