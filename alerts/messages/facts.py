"""What a message says, gathered when it is decided: the outbox alone is enough to render it later."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from alerts.detection.causes import Causes

# Problems of a run in Airflow: they have no days of a KPI, and end with the next run that succeeds.
RUN_KINDS = ("task_failure", "missed_schedule", "blocked_publication")


@dataclass(frozen=True)
class ChartPoint:
    """One period on the chart. `expected` and the band are None where the history is too short."""

    date: str  # ISO
    observed: float | None
    expected: float | None
    band_low: float | None
    band_high: float | None
    is_incident: bool


@dataclass(frozen=True)
class Member:
    """Another incident of the same cause, told in this one's message."""

    incident_id: str
    title: str
    subject: str | None  # the dimension's value it is about; None for the whole shop
    unit: str
    status: str
    observed: float | None
    expected: float | None


@dataclass(frozen=True)
class IncidentFacts:
    """All that an incident's own message shows; dates are ISO, values in the rule's unit."""

    incident_id: str
    kind: str
    rule: str
    title: str
    description: str
    kpi: str
    dimension: str | None
    dimension_value: str | None
    denominator: str | None
    unit: str
    numerator_label: str
    direction: str
    severity: str
    owner: str
    runbook: str
    links: dict[str, str]
    status: str
    first_seen_date: str
    last_seen_date: str
    resolved_date: str | None
    incident_days: int
    period_days: int
    observed: float | None
    expected: float | None
    band_low: float | None
    band_high: float | None
    z: float | None
    reason: str
    volume: float | None
    baseline_days: int
    run_id: str
    complete_to: str | None
    provisional_to: str | None
    acknowledged_by: str | None = None
    snoozed_until: str | None = None
    is_escalated: bool = False
    continues_in: str | None = None  # title of the incident that speaks for this one since it was announced
    cause: str | None = None
    causes: Causes | None = None
    members: list[Member] = field(default_factory=list)
    points: list[ChartPoint] = field(default_factory=list)
    # of a run in Airflow
    error: str | None = None
    log_url: str | None = None
    dag_id: str | None = None
    task_id: str | None = None
    try_number: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the outbox."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> IncidentFacts:
        """Read what `to_dict` wrote."""
        return cls(
            **{
                **values,
                "causes": Causes.from_dict(values["causes"]) if values["causes"] is not None else None,
                "members": [Member(**member) for member in values["members"]],
                "points": [ChartPoint(**point) for point in values["points"]],
            }
        )

    @property
    def is_over(self) -> bool:
        """Whether the incident has ended."""
        return self.status == "resolved"


@dataclass(frozen=True)
class EventFacts:
    """One change in an incident's life, told as a reply in its thread. `facts` is the incident as it stands then."""

    event: str
    by: str
    detail: str
    mention: str | None  # who is called in, of an escalation
    observed: float | None  # of the end: the first normal day's value
    facts: IncidentFacts

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the outbox; without the chart, which the incident's own message shows."""
        return {**asdict(self), "facts": {**self.facts.to_dict(), "points": []}}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EventFacts:
        """Read what `to_dict` wrote."""
        return cls(**{**values, "facts": IncidentFacts.from_dict(values["facts"])})
