"""Finds what drives an incident, tells mix from rate, and estimates what it cost."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import duckdb
import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm

from alerts.detection.panel import DAILY_TABLE, DIMENSION_TABLE, has_columns, say_measures
from alerts.detection.statistics import Floats, correct_for_many, find_distance
from alerts.rules.book import Direction, Rule

DIMENSIONS = ("device_category", "default_channel_group", "country", "browser", "landing_page")
MOST_DRIVERS = 3
ALPHA = 0.05
# A value with less of the volume, before and now, cannot carry an incident and only costs the others power.
SMALLEST_SHARE = 0.01
_INTERVAL_Z = 1.96
_TINY = 1e-12


@dataclass(frozen=True)
class Driver:
    """One dimension value and its part in an incident, over all days of it.

    `observed` and `expected` are in the rule's unit. `excess` is how far the value went beyond its expectation: for
    shares in sessions, for totals in the KPI's unit, for means in units of the whole mean (its part of the change);
    `total_excess` the same of the whole shop. `kind` says what moved: the value's own `rate` (or total), or its weight
    (`mix`), with `observed` and `expected` then being shares of all sessions. `z` is how far it moved beyond the rest,
    `p_value` (two-sided) how likely chance does that, `p_adjusted` after Holm's correction for all values looked at.
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
    kind: Literal["rate", "mix"]
    z: float = 0.0
    is_significant: bool = True


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
    """What drives an incident, and what it cost.

    `mix_effect` and `rate_effect` add up to the change of the KPI (rule's unit) and are taken in the dimension of the
    first driver; None for totals. `impact` is None where the rule says nothing of what a breach costs.
    """

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

    The drivers are values that moved more than the rest of their dimension beyond chance, the largest excess first,
    then, up to three in all, the largest excesses that did not. The excess over expectation is split into rate and mix
    after Kitagawa (1955): value v adds N_v (r_v - r0_v) through its rate and N (w_v - w0_v) (r0_v - r0) through its
    weight. `dimension_value` is (dimension, value) where the incident is about one value: the daily tables do not
    break it down further, so it has an impact and no drivers.
    """
    if rule.kind != "kpi" or not dates or not baseline_dates:
        return Causes([], None, None, None)
    impact = _estimate_impact(warehouse, rule, dates, baseline_dates, dimension_value)
    if dimension_value is not None or not has_columns(warehouse, DIMENSION_TABLE, rule.columns):
        return Causes([], None, None, impact)
    read = [_read_split(warehouse, rule, dimension, dates, baseline_dates) for dimension in DIMENSIONS]
    splits = [split for split in read if split is not None]
    found = [driver for split in splits for driver in _find_drivers(rule, split)]
    if not found:
        return Causes([], None, None, impact)
    adjusted = correct_for_many(np.array([driver.p_value for driver in found]))
    sign = 1.0 if direction == "above" else -1.0
    drivers = []
    for driver, p in zip(found, adjusted, strict=True):
        # A value whose own rate stands out must do so in the incident's direction: the rest of a value that broke
        # stands out too, for having moved less.
        stands_out = bool(p < ALPHA) and (driver.kind == "mix" or sign * driver.z > 0)
        if sign * driver.excess > 0 and (stands_out or driver.kind == "rate"):
            drivers.append(replace(driver, p_adjusted=float(p), is_significant=stands_out))
    drivers.sort(key=lambda each: (not each.is_significant, -sign * each.excess, each.dimension, each.value))
    mix = rate = None
    if rule.test in ("rate", "log_mean"):
        first = drivers[0].dimension if drivers else splits[0].dimension
        mix, rate = _part_mix_from_rate(rule, next(split for split in splits if split.dimension == first))
    return Causes(drivers[:MOST_DRIVERS], mix, rate, impact)


@dataclass(frozen=True)
class _Split:
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


def _read_split(
    warehouse: duckdb.DuckDBPyConnection,
    rule: Rule,
    dimension: str,
    dates: list[dt.date],
    baseline_dates: list[dt.date],
) -> _Split | None:
    rows = warehouse.execute(
        f"""
        select coalesce(dimension_value, '(none)') as name, kpi_date, {say_measures(rule)}
        from {DIMENSION_TABLE}
        where dimension = ? and (list_contains(?, kpi_date) or list_contains(?, kpi_date))
        order by name, kpi_date
        """,
        [dimension, dates, baseline_dates],
    ).fetchall()
    if not rows:
        return None
    names = list(dict.fromkeys(row[0] for row in rows))
    days = [*baseline_dates, *dates]
    series = {name: index for index, name in enumerate(names)}
    column = {date: index for index, date in enumerate(days)}
    y, n = np.zeros((len(names), len(days))), np.zeros((len(names), len(days)))
    for name, date, value, count, _ in rows:
        if value is not None and count:
            y[series[name], column[date]] = value * (count if rule.test == "log_mean" else 1.0)
            n[series[name], column[date]] = count
    is_total = rule.test in ("count", "amount")
    before, now = slice(0, len(baseline_dates)), slice(len(baseline_dates), len(days))
    weight = y if is_total else n
    if weight[:, before].sum() <= 0:
        return None
    shares = [part.sum(axis=1) / max(part.sum(), _TINY) for part in (weight[:, before], weight[:, now])]
    keep = np.maximum(*shares) >= SMALLEST_SHARE
    y, n, weight = (
        np.vstack([table[keep], table[~keep].sum(axis=0, keepdims=True)])
        for table in (y, np.zeros_like(n) if is_total else n, weight)
    )
    return _Split(
        dimension=dimension,
        names=[name for name, is_kept in zip(names, keep, strict=True) if is_kept],
        y=y[:, now].sum(axis=1),
        n=n[:, now].sum(axis=1),
        y_before=y[:, before].sum(axis=1),
        n_before=n[:, before].sum(axis=1),
        phi=_measure_dispersion(rule, y[:, before], n[:, before]),
        phi_weight=max(1.0, _measure_total_dispersion(weight[:, before])),
        days_before=len(baseline_dates),
        average_days=_count_average_days(weight[:, before].sum(axis=0), baseline_dates, dates),
    )


def _find_drivers(rule: Rule, split: _Split) -> list[Driver]:
    """Every named value of a dimension with its p-value, not yet corrected for the others."""
    if rule.test in ("count", "amount"):
        expected = split.y_before / split.days_before * split.average_days
        excess = split.y - expected
        return _make_drivers(split, "rate", split.y, expected, excess, excess.sum(), split.y, _score_totals(split))
    rates_before, rates = _find_rates(split)
    before, now = split.y_before.sum() / split.n_before.sum(), split.y.sum() / max(split.n.sum(), 1.0)
    size = split.n.sum()
    if rule.test == "rate":
        shown, unit = (lambda values: values), size  # in sessions
    else:
        # In units of the mean as it is shown; logs are turned into them in proportion.
        shown = np.expm1 if rule.statistic else np.exp
        unit = float((shown(now) - shown(before)) / (now - before)) if abs(now - before) > _TINY else float(np.exp(now))
    total = (now - before) * unit
    weights_before, weights = split.n_before / split.n_before.sum(), split.n / max(size, 1.0)
    by_rate = (rates - rates_before) * weights * unit
    by_mix = (weights - weights_before) * (rates_before - before) * unit
    z = _score_rates(split) if rule.test == "rate" else _score_means(split)
    return [
        *_make_drivers(split, "rate", shown(rates), shown(rates_before), by_rate, total, split.n, z),
        *_make_drivers(split, "mix", weights, weights_before, by_mix, total, split.n, _score_weights(split)),
    ]


def _make_drivers(
    split: _Split,
    kind: Literal["rate", "mix"],
    observed: Floats,
    expected: Floats,
    excess: Floats,
    total: float,
    volume: Floats,
    z: Floats,
) -> list[Driver]:
    return [
        Driver(
            dimension=split.dimension,
            value=name,
            observed=float(observed[row]),
            expected=float(expected[row]),
            excess=float(excess[row]),
            total_excess=float(total),
            share_of_excess=float(excess[row] / total) if abs(total) > _TINY else 0.0,
            volume=float(volume[row]),
            z=float(z[row]),
            p_value=float(2 * norm.sf(abs(z[row]))),
            p_adjusted=1.0,
            kind=kind,
            is_significant=False,
        )
        for row, name in enumerate(split.names)
    ]


def _part_mix_from_rate(rule: Rule, split: _Split) -> tuple[float, float]:
    """The change of the KPI, in its unit, through the values' weights and through their own rates."""
    rates_before, rates = _find_rates(split)
    weights_before, weights = split.n_before / split.n_before.sum(), split.n / max(split.n.sum(), 1.0)
    mix = float(((weights - weights_before) * rates_before).sum())
    rate = float(((rates - rates_before) * weights).sum())
    if rule.test == "log_mean":
        before = float((weights_before * rates_before).sum())
        shown = np.expm1 if rule.statistic else np.exp
        unit = (shown(before + mix + rate) - shown(before)) / (mix + rate) if abs(mix + rate) > _TINY else 0.0
        mix, rate = mix * unit, rate * unit
    return float(mix), float(rate)


def _find_rates(split: _Split) -> tuple[Floats, Floats]:
    """Each value's rate (or mean) before and now; a value without a past of its own is held against the whole."""
    whole = split.y_before.sum() / split.n_before.sum()
    before = np.where(split.n_before > 0, split.y_before / np.maximum(split.n_before, 1.0), whole)
    return before, np.where(split.n > 0, split.y / np.maximum(split.n, 1.0), before)


def _score_rates(split: _Split) -> Floats:
    """How far each value's rate lies from where it would be, had its logit moved as that of the rest did; z-scores."""
    logits, variances = [], []
    for y, n in ((split.y, split.n), (split.y_before, split.n_before)):
        p = (y.sum() - y + 0.5) / (n.sum() - n + 1.0)
        logits.append(logit(p))
        variances.append(1.0 / ((n.sum() - n + 1.0) * p * (1 - p)))
    whole = split.y_before.sum() / split.n_before.sum()
    own = np.clip((split.y_before + whole) / (split.n_before + 1.0), 1e-4, 1 - 1e-4)
    mean = logit(own) + logits[0] - logits[1]
    variance = variances[0] + variances[1] + 1.0 / ((split.n_before + 1.0) * own * (1 - own))
    p = expit(mean)
    distance = find_distance("rate", split.y, np.maximum(split.n, _TINY), mean)
    return np.where(split.n > 0, distance / np.sqrt(split.phi * (1.0 + split.n * p * (1 - p) * variance)), 0.0)


def _score_means(split: _Split) -> Floats:
    """How far each value's mean moved beyond that of the rest; z-scores."""
    before, now = _find_rates(split)
    rest, rest_before = split.n.sum() - split.n, split.n_before.sum() - split.n_before
    moved = (split.y.sum() - split.y) / np.maximum(rest, 1.0) - (split.y_before.sum() - split.y_before) / np.maximum(
        rest_before, 1.0
    )
    sizes = (split.n, split.n_before, rest, rest_before)
    variance = split.phi * sum(1.0 / np.maximum(size, _TINY) for size in sizes)
    return (now - before - moved) / np.sqrt(variance)


def _score_totals(split: _Split) -> Floats:
    """How far each value's total lies from where it would be, had it moved as the rest did; z-scores."""
    scale = split.average_days / split.days_before
    rest, rest_before = split.y.sum() - split.y, split.y_before.sum() - split.y_before
    ratio = (rest + 0.5) / (rest_before * scale + 0.5)
    mu = np.maximum((split.y_before + 0.5) * scale * ratio, _TINY)
    variance = 1.0 / (split.y_before + 0.5) + 1.0 / (rest_before + 0.5) + 1.0 / (rest + 0.5)
    return find_distance("count", split.y, split.n, np.log(mu)) / np.sqrt(split.phi * (1.0 + mu * variance))


def _score_weights(split: _Split) -> Floats:
    """How far each value's share of the sessions moved; z-scores."""
    size, before = split.n.sum(), split.n_before.sum()
    share = np.clip((split.n_before + 0.5) / (before + 1.0), _TINY, 1 - _TINY)
    distance = find_distance("rate", split.n, np.full(len(share), max(size, _TINY)), logit(share))
    return distance / np.sqrt(split.phi_weight * (1.0 + size / before))


def _measure_dispersion(rule: Rule, y: Floats, n: Floats) -> float:
    """Pearson's dispersion of daily figures (values, days) around each value's own mean; for means their variance."""
    if rule.test in ("count", "amount"):
        return max(1.0 if rule.test == "count" else _TINY, _measure_total_dispersion(y))
    seen = n > 0
    free = max(int(seen.sum()) - int(seen.any(axis=1).sum()), 1)
    mean = y.sum(axis=1, keepdims=True) / np.maximum(n.sum(axis=1, keepdims=True), 1.0)
    squares = np.square(y - n * mean) / np.maximum(n, 1.0)
    if rule.test == "log_mean":
        return max(float(squares.sum()) / free, _TINY)
    return max(1.0, float((squares / np.maximum(mean * (1 - mean), 1e-3)).sum()) / free)


def _measure_total_dispersion(totals: Floats) -> float:
    """Pearson's dispersion of daily totals (values, days) around each value's usual share of the day."""
    share = totals.sum(axis=1, keepdims=True) / max(float(totals.sum()), _TINY)
    expected = share * totals.sum(axis=0, keepdims=True)
    seen = expected > 0
    free = max((len(totals) - 1) * (totals.shape[1] - 1), 1)
    return float((np.square(totals - expected)[seen] / expected[seen]).sum()) / free


def _count_average_days(totals: Floats, baseline_dates: list[dt.date], dates: list[dt.date]) -> float:
    """For how many average days of the baseline the incident's days count, by the weekdays they fall on."""
    mean = totals.mean()
    by_weekday: dict[int, list[float]] = {}
    for date, total in zip(baseline_dates, totals, strict=True):
        by_weekday.setdefault(date.weekday(), []).append(float(total))
    usual = [by_weekday.get(date.weekday()) for date in dates]
    return float(sum(1.0 if not values or mean <= 0 else np.mean(values) / mean for values in usual))


def _estimate_impact(
    warehouse: duckdb.DuckDBPyConnection,
    rule: Rule,
    dates: list[dt.date],
    baseline_dates: list[dt.date],
    label: tuple[str, str] | None,
) -> Impact | None:
    """Expected minus observed orders, and their revenue at the usual order value; intervals by the delta method from
    the sampling error of the incident and of the baseline, both widened by the days' overdispersion."""
    table, where = (DIMENSION_TABLE, "dimension = ? and dimension_value = ?") if label else (DAILY_TABLE, "true")
    if rule.impact is None or not has_columns(
        warehouse, table, [*rule.columns, "purchases", "revenue_usd", "sessions"]
    ):
        return None
    rows = warehouse.execute(
        f"""
        select kpi_date, purchases, revenue_usd, sessions, {say_measures(rule)}
        from {table} where {where} and (list_contains(?, kpi_date) or list_contains(?, kpi_date))
        """,
        [*(label or ()), dates, baseline_dates],
    ).fetchall()
    found = {row[0]: [float(value or 0.0) for value in row[1:6]] for row in rows}
    nothing = [0.0] * 5
    orders_before, revenue_before, sessions_before, y_before, n_before = np.array(
        [found.get(date, nothing) for date in baseline_dates]
    ).T
    orders, revenue, sessions, y, n = np.array([found.get(date, nothing) for date in dates]).T
    if orders_before.sum() <= 0 or revenue_before.sum() <= 0:
        return None
    order_value = revenue_before.sum() / orders_before.sum()
    order_value_variance = (
        float(np.square(revenue_before - order_value * orders_before).sum()) / orders_before.sum() ** 2
    )

    if rule.impact == "orders":
        if n_before.sum() <= 0:
            return None
        p = y_before.sum() / n_before.sum()
        phi = _measure_dispersion(rule, y_before[None, :], n_before[None, :])
        size = float(n.sum())
        lost = float(y.sum() - size * p) * (1.0 if rule.direction == "above" else -1.0)
        variance = phi * size * p * (1 - p) * (1.0 + size / n_before.sum())
    elif rule.impact == "visits":
        lost_visits, visits_variance = _lose_total(sessions_before, sessions, baseline_dates, dates)
        per_visit = orders_before.sum() / sessions_before.sum()
        lost = lost_visits * per_visit
        variance = visits_variance * per_visit**2 + lost_visits**2 * per_visit / sessions_before.sum()
    else:
        lost, variance = _lose_total(orders_before, orders, baseline_dates, dates)
    if rule.impact == "revenue":
        lost_revenue, revenue_variance = _lose_total(revenue_before, revenue, baseline_dates, dates)
    else:
        lost_revenue = lost * order_value
        revenue_variance = variance * order_value**2 + lost**2 * order_value_variance
    reach, revenue_reach = _INTERVAL_Z * np.sqrt(variance), _INTERVAL_Z * np.sqrt(revenue_variance)
    return Impact(
        lost_orders=float(lost),
        lost_orders_low=float(lost - reach),
        lost_orders_high=float(lost + reach),
        lost_revenue_usd=float(lost_revenue),
        lost_revenue_usd_low=float(lost_revenue - revenue_reach),
        lost_revenue_usd_high=float(lost_revenue + revenue_reach),
    )


def _lose_total(
    before: Floats, now: Floats, baseline_dates: list[dt.date], dates: list[dt.date]
) -> tuple[float, float]:
    """Expected minus observed total, and its variance from the days' spread around their weekday's usual value."""
    average_days = _count_average_days(before, baseline_dates, dates)
    expected = float(before.mean()) * average_days
    usual = np.array([before.mean() * _count_average_days(before, baseline_dates, [date]) for date in baseline_dates])
    phi = float(np.square(before - usual).sum() / max(usual.sum(), _TINY)) * len(before) / max(len(before) - 7, 1)
    return expected - float(now.sum()), phi * expected * (1.0 + average_days / len(before))
