"""What was found about one day or week of one thing that is watched."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from alerts.rules.book import Direction

Verdict = Literal["breach", "near", "normal", "untested"]


@dataclass(frozen=True)
class Figures:
    """What was observed, what was expected, and why that is unusual or not, in the rule's unit.

    The band's edges are where the limit lies; None is not known, or not limited on that side.
    """

    observed: float | None = None
    expected: float | None = None
    band_low: float | None = None
    band_high: float | None = None
    z: float | None = None
    volume: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Hours:
    """The hours in which too little came: from the start of `since` to that of `until` (None: it goes on).

    Both are ISO texts with the property's offset. `came` and `expected` are of the check's day, so far, and `begun` the
    carts or checkouts they belong to (None for totals), `deviation` the standard deviation of what should have come;
    `seen_until` is the end of the last hour that counts. `decides`: the verdict rests on them, not on the whole day.
    `so_far`: by the end of each hour from some hours before `since` on, what had come from the first of them on, what
    should have, and its standard deviation.
    """

    since: str
    until: str | None
    seen_until: str
    came: float
    begun: float | None
    expected: float
    deviation: float
    decides: bool = True
    so_far: tuple[tuple[str, float, float, float], ...] = ()

    def __post_init__(self) -> None:
        # as read from JSON
        object.__setattr__(self, "so_far", tuple((str(at), came, due, spread) for at, came, due, spread in self.so_far))


@dataclass(frozen=True)
class Check:
    """The verdict on one day or week of one KPI, or of one dimension value of it, in one direction.

    A `breach` opens or extends an incident and a `normal` one ends it; `near` (more than halfway to the limit) and
    `untested` do neither. `date` is the day, or the last of the `period_days` (7 where the volume is too small for
    days).
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
    figures: Figures
    baseline_days: int
    is_provisional: bool = False
    is_expected_event: bool = False
    hours: Hours | None = None

    @property
    def fingerprint(self) -> str:
        """The identity of a problem; incidents of one fingerprint follow each other and never overlap."""
        return make_fingerprint(self.rule, self.dimension, self.dimension_value, self.direction)


def make_fingerprint(rule: str, dimension: str | None, dimension_value: str | None, direction: Direction) -> str:
    """`rule|dimension=value|direction`, with nothing around the equals sign for the whole shop."""
    return f"{rule}|{dimension or ''}={dimension_value or ''}|{direction}"
