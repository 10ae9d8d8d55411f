"""Finds what drives an incident, tells mix from rate, and estimates what it cost."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm

from alerts.detection.impact import Impact, estimate_impact
from alerts.detection.panel import DIMENSION_TABLE, has_columns
from alerts.detection.scales import TINY, Count, Floats, Rate, scale_of
from alerts.detection.session_splits import can_split_sessions, read_session_splits
from alerts.detection.splits import Split, read_split
from alerts.detection.statistics import correct_for_many
from alerts.detection.verdicts import Hours
from alerts.rules.book import Direction, Rule

DIMENSIONS = ("device_category", "default_channel_group", "country", "browser", "landing_page")
MOST_DRIVERS = 3
ALPHA = 0.05
# Values that explain at least so much of what the first explains are told apart by how far they stand out.
NEARLY = 0.8


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
class Causes:
    """What drives an incident, and what it cost.

    `mix_effect` and `rate_effect` add up to the change of the KPI (rule's unit) and are taken in the dimension of the
    first driver; None for totals. `impact` is None where the rule says nothing of what a breach costs.
    """

    drivers: list[Driver]
    mix_effect: float | None
    rate_effect: float | None
    impact: Impact | None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Causes:
        """Read plain values, as `dataclasses.asdict` makes them."""
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
    hours: Mapping[dt.date, Hours] | None = None,
    zone: ZoneInfo | None = None,
) -> Causes:
    """Rank what drives the incident on `dates` against `baseline_dates`, and estimate its cost.

    The drivers are values that moved more than the rest of their dimension beyond chance, the largest excess first,
    then, up to three in all, the largest excesses that did not. Of those that explain nearly as much as the first, the
    one that stands out most leads: where one version of a browser broke, its device explains as much and says less.
    The excess over expectation is split into rate and mix after Kitagawa (1955): value v adds N_v (r_v - r0_v) through
    its rate and N (w_v - w0_v) (r0_v - r0) through its weight.

    `dimension_value` is (dimension, value) where the incident is about one value. `hours` are those of days that are
    not over, or usual but for these hours: cost and drivers are of them alone. Rules that count what sessions tell one
    by one are split by those sessions (`zone`, the property's, places their hours); other rules by the daily tables,
    which do not break a single value down further.
    """
    if rule.kind != "kpi" or not dates or not baseline_dates:
        return Causes([], None, None, None)
    partial = hours or {}
    whole = [date for date in dates if date not in partial]
    impact = estimate_impact(warehouse, rule, whole, baseline_dates, dimension_value, list(partial.values()))
    splits: list[Split] = []
    if zone is not None and can_split_sessions(warehouse, rule):
        splits = read_session_splits(
            warehouse, rule, dates, baseline_dates, zone=zone, hours=partial, dimension_value=dimension_value
        )
    elif dimension_value is None and has_columns(warehouse, DIMENSION_TABLE, rule.columns):
        read = [read_split(warehouse, rule, dimension, dates, baseline_dates) for dimension in DIMENSIONS]
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
    drivers = _rank(drivers, sign)
    mix = rate = None
    if rule.test in ("rate", "log_mean"):
        first = drivers[0].dimension if drivers else splits[0].dimension
        mix, rate = _part_mix_from_rate(rule, next(split for split in splits if split.dimension == first))
    return Causes(drivers[:MOST_DRIVERS], mix, rate, impact)


def _rank(drivers: list[Driver], sign: float) -> list[Driver]:
    """The significant ones first: those that explain nearly as much as any by how far they stand out, then the others
    by how much they explain."""
    most = max((sign * each.excess for each in drivers if each.is_significant), default=0.0)

    def order(each: Driver) -> tuple[bool, bool, float, float, str, str]:
        leads = each.is_significant and sign * each.excess >= NEARLY * most
        return (
            not each.is_significant,
            not leads,
            -abs(each.z) if leads else 0.0,
            -sign * each.excess,
            each.dimension,
            each.value,
        )

    return sorted(drivers, key=order)


def _find_drivers(rule: Rule, split: Split) -> list[Driver]:
    """Every named value of a dimension with its p-value, not yet corrected for the others."""
    if scale_of(rule).is_total:
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
        unit = float((shown(now) - shown(before)) / (now - before)) if abs(now - before) > TINY else float(np.exp(now))
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
    split: Split,
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
            share_of_excess=float(excess[row] / total) if abs(total) > TINY else 0.0,
            volume=float(volume[row]),
            z=float(z[row]),
            p_value=float(2 * norm.sf(abs(z[row]))),
            p_adjusted=1.0,
            kind=kind,
            is_significant=False,
        )
        for row, name in enumerate(split.names)
    ]


def _part_mix_from_rate(rule: Rule, split: Split) -> tuple[float, float]:
    """The change of the KPI, in its unit, through the values' weights and through their own rates."""
    rates_before, rates = _find_rates(split)
    weights_before, weights = split.n_before / split.n_before.sum(), split.n / max(split.n.sum(), 1.0)
    mix = float(((weights - weights_before) * rates_before).sum())
    rate = float(((rates - rates_before) * weights).sum())
    if rule.test == "log_mean":
        before = float((weights_before * rates_before).sum())
        shown = np.expm1 if rule.statistic else np.exp
        unit = (shown(before + mix + rate) - shown(before)) / (mix + rate) if abs(mix + rate) > TINY else 0.0
        mix, rate = mix * unit, rate * unit
    return float(mix), float(rate)


def _find_rates(split: Split) -> tuple[Floats, Floats]:
    """Each value's rate (or mean) before and now; a value without a past of its own is held against the whole."""
    whole = split.y_before.sum() / split.n_before.sum()
    before = np.where(split.n_before > 0, split.y_before / np.maximum(split.n_before, 1.0), whole)
    return before, np.where(split.n > 0, split.y / np.maximum(split.n, 1.0), before)


def _score_rates(split: Split) -> Floats:
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
    distance = Rate().distance(split.y, np.maximum(split.n, TINY), mean)
    return np.where(split.n > 0, distance / np.sqrt(split.phi * (1.0 + split.n * p * (1 - p) * variance)), 0.0)


def _score_means(split: Split) -> Floats:
    """How far each value's mean moved beyond that of the rest; z-scores."""
    before, now = _find_rates(split)
    rest, rest_before = split.n.sum() - split.n, split.n_before.sum() - split.n_before
    moved = (split.y.sum() - split.y) / np.maximum(rest, 1.0) - (split.y_before.sum() - split.y_before) / np.maximum(
        rest_before, 1.0
    )
    sizes = (split.n, split.n_before, rest, rest_before)
    variance = split.phi * sum(1.0 / np.maximum(size, TINY) for size in sizes)
    return (now - before - moved) / np.sqrt(variance)


def _score_totals(split: Split) -> Floats:
    """How far each value's total lies from where it would be, had it moved as the rest did; z-scores."""
    scale = split.average_days / split.days_before
    rest, rest_before = split.y.sum() - split.y, split.y_before.sum() - split.y_before
    ratio = (rest + 0.5) / (rest_before * scale + 0.5)
    mu = np.maximum((split.y_before + 0.5) * scale * ratio, TINY)
    variance = 1.0 / (split.y_before + 0.5) + 1.0 / (rest_before + 0.5) + 1.0 / (rest + 0.5)
    return Count().distance(split.y, split.n, np.log(mu)) / np.sqrt(split.phi * (1.0 + mu * variance))


def _score_weights(split: Split) -> Floats:
    """How far each value's share of the sessions moved; z-scores."""
    size, before = split.n.sum(), split.n_before.sum()
    share = np.clip((split.n_before + 0.5) / (before + 1.0), TINY, 1 - TINY)
    distance = Rate().distance(split.n, np.full(len(share), max(size, TINY)), logit(share))
    return distance / np.sqrt(split.phi_weight * (1.0 + size / before))
