"""A message in words, before any channel's layout, and what messages of all kinds have in common."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from alerts.messages.facts import IncidentFacts, Standing
from alerts.text import cut, say_change, say_date, say_days, say_value

_SEVERITY_SIGN = {"critical": "🔴", "warning": "🟠", "info": "🔵"}
_STATUS_SIGN = {"acknowledged": "👀", "snoozed": "💤", "resolved": "✅"}


@dataclass(frozen=True)
class Line:
    """A line with a label, and perhaps a name that comes from the data."""

    label: str
    name: str | None
    text: str


@dataclass(frozen=True)
class Content:
    """What a message says, before any channel's layout. All texts are plain; `error` and `sql` keep their lines.

    `people` are those who have answered: no other name in a text, which may be from the data, calls anybody.
    """

    headline: str
    notification: str
    context: str
    description: str | None = None
    fields: list[tuple[str, str]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    error: str | None = None
    owner: str | None = None
    runbook: str | None = None
    links: list[tuple[str, str]] = field(default_factory=list)
    sql: str | None = None
    people: frozenset[str] = frozenset()


def list_people(standing: Standing) -> frozenset[str]:
    """Who has answered to an incident."""
    return frozenset([standing.acknowledged_by] if standing.acknowledged_by is not None else [])


def choose_sign(facts: IncidentFacts) -> str:
    """What a headline begins with: where the incident stands, or how grave it is."""
    return _STATUS_SIGN.get(facts.standing.status) or _SEVERITY_SIGN.get(facts.severity, "🔵")


def say_status(standing: Standing) -> str:
    """Where an incident stands."""
    if standing.is_over:
        return "over"
    if standing.continues_in is not None:
        return f"continues in the thread of {cut(standing.continues_in, 80)}"
    if standing.status == "snoozed" and standing.snoozed_until:
        return f"snoozed until {say_date(standing.snoozed_until)}"
    if standing.status == "acknowledged":
        return f"acknowledged by {standing.acknowledged_by or 'somebody'}"
    return "open, escalated" if standing.is_escalated else "open"


def say_span(standing: Standing) -> str:
    """The days of an incident."""
    if standing.first_seen_date == standing.last_seen_date:
        return say_date(standing.first_seen_date)
    first, last = (say_date(date, with_year=False) for date in (standing.first_seen_date, standing.last_seen_date))
    return f"{first} to {last} ({say_days(standing.incident_days)})"


def say_duration(standing: Standing) -> str:
    """How long an incident lasted, from its first day to its last."""
    first, last = (dt.date.fromisoformat(date) for date in (standing.first_seen_date, standing.last_seen_date))
    return f"It lasted {say_days((last - first).days + 1)}."


def say_name(title: str, subject: str | None) -> str:
    """`Cart abandonment rate`, or `Cart abandonment rate, mobile`."""
    return cut(title, 60) if subject is None else f"{cut(title, 45)}, {cut(subject, 25)}"


def say_amount(observed: float | None, expected: float | None, unit: str) -> str:
    """A value and, where there is something to compare with, its change: `90.0 % (+38 %)`."""
    change = say_change(observed, expected) if observed is not None else ""
    return say_value(observed, unit) + (f" ({change})" if change else "")
