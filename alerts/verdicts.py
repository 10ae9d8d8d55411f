"""Decides whether a day breaches a rule: pure functions over daily values."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import Literal

from alerts.kpis import Day, pool
from alerts.rules import Direction, Rule

Verdict = Literal["breach", "near", "normal", "untested"]


@dataclass(frozen=True)
class Check:
    """The verdict on one day or week of one KPI, or of one dimension value of it, in one direction.

    A `breach` opens or extends an incident and a `normal` one ends it; `near` (more than halfway to the limit) and
    `untested` do neither. `date` is the day, or the last of the `period_days` (7 where the volume is too small for
    days). `observed`, `expected` and the band are in the rule's unit; the band's edges are where the limit lies.
    """

    rule: str
    kpi: str
    dimension: str | None
    dimension_value: str | None
    direction: Direction
    date: dt.date
    period_days: int
    verdict: Verdict
    severity: str
    reason: str
    observed: float | None
    expected: float | None
    band_low: float | None
    band_high: float | None
    z: float | None
    volume: float
    baseline_days: int
    is_provisional: bool = False
    is_expected_event: bool = False

    @property
    def fingerprint(self) -> str:
        """The identity of a problem; incidents of one fingerprint follow each other and never overlap."""
        return make_fingerprint(self.rule, self.dimension, self.dimension_value, self.direction)


def make_fingerprint(rule: str, dimension: str | None, dimension_value: str | None, direction: Direction) -> str:
    """`rule|dimension=value|direction`, with nothing around the equals sign for the whole shop."""
    return f"{rule}|{dimension or ''}={dimension_value or ''}|{direction}"


@dataclass(frozen=True)
class BoundCheck:
    """The verdict on one day in one direction.

    `expected` is the pooled trailing value; `bound` the value beyond which a day breaches (the nearer one of the
    absolute and the relative bound); both in the KPI's unit. `volume` is the day's denominator, or for totals the
    trailing daily mean.

    A `breach` opens or extends an incident and a `normal` day ends it. A day `near` the bound (inside it, but more than
    halfway there from the trailing value) and an `untested` one do neither, so that a value that wavers around its
    bound makes one incident and not one every other day; near days that follow a breach stay out of the baseline.
    """

    rule: str
    direction: Direction
    date: dt.date
    verdict: Verdict
    reason: str
    observed: float | None
    expected: float | None
    bound: float | None
    volume: float
    baseline_days: int


def select_baseline(rule: Rule, days: list[Day], date: dt.date, incident_dates: set[dt.date]) -> list[Day]:
    """The complete days of the trailing window: never the tested day, nor a day of a known incident of the rule."""
    first = date - dt.timedelta(days=rule.trailing_days)
    return [
        day
        for day in days
        if first <= day.date < date
        and not day.is_provisional
        and day.value is not None
        and day.denominator > 0
        and day.date not in incident_dates
    ]


def check_day(rule: Rule, direction: Direction, day: Day, baseline: list[Day]) -> BoundCheck:
    """Test one complete day against its absolute bound and its own trailing value."""
    pooled = pool(baseline)
    has_history = pooled.days >= rule.minimum_history_days
    expected = pooled.value if has_history else None
    volume = day.denominator if rule.denominator else (pooled.value or 0.0)

    absolute = rule.absolute.of(direction)
    relative = rule.relative.of(direction)
    moving = expected * (1 + relative) if relative is not None and expected is not None else None
    bounds = [bound for bound in (absolute, moving) if bound is not None]
    bound = (min(bounds) if direction == "above" else max(bounds)) if bounds else None

    verdict: Verdict
    if day.value is None:
        verdict, reason = "untested", "the day has no value"
    elif volume < rule.minimum_volume:
        verdict, reason = "untested", f"volume {volume:g} is below the minimum of {rule.minimum_volume:g}"
    elif bound is not None and _is_beyond(day.value, bound, direction):
        crossed = [
            name
            for name, value in (("absolute", absolute), ("relative", moving))
            if value is not None and _is_beyond(day.value, value, direction)
        ]
        verdict, reason = "breach", f"{' and '.join(crossed)} bound"
    elif relative is not None and not has_history:
        verdict = "untested"
        reason = f"{pooled.days} usable trailing days, {rule.minimum_history_days} needed"
    elif bound is not None and expected is not None and _is_near(day.value, expected, bound, direction):
        verdict, reason = "near", "more than halfway to the bound"
    else:
        verdict, reason = "normal", "within bounds"
    return BoundCheck(rule.name, direction, day.date, verdict, reason, day.value, expected, bound, volume, pooled.days)


def _is_near(value: float, expected: float, bound: float, direction: Direction) -> bool:
    # Where the usual value itself lies beyond an absolute bound, there is no halfway.
    return not _is_beyond(expected, bound, direction) and _is_beyond(value, (expected + bound) / 2, direction)


def _is_beyond(value: float, bound: float, direction: Direction) -> bool:
    # Exactly at the bound is no breach, also when pooling in floating point moved it by a last digit.
    if math.isclose(value, bound, rel_tol=1e-9, abs_tol=1e-12):
        return False
    return value > bound if direction == "above" else value < bound
