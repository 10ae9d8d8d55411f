"""What a message says, gathered when the incident is decided: the outbox alone is enough to render it later."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from alerts.drivers import Driver


@dataclass(frozen=True)
class ChartPoint:
    """One complete day on the chart. `expected` and `bound` are None where the history is too short."""

    date: str  # ISO
    observed: float | None
    expected: float | None
    bound: float | None
    is_incident: bool


@dataclass(frozen=True)
class IncidentFacts:
    """All that a KPI incident's message shows; dates are ISO, values in the rule's unit."""

    incident_id: str
    title: str
    description: str
    kpi: str
    denominator: str | None
    unit: str
    numerator_label: str
    direction: str
    severity: str
    owner: str
    runbook: str
    first_seen_date: str
    last_seen_date: str
    resolved_date: str | None
    incident_days: int
    observed: float
    expected: float | None
    bound: float | None
    reason: str
    volume: float
    baseline_days: int
    trailing_days: int
    run_id: str
    complete_to: str
    provisional_to: str | None
    drivers: list[Driver]
    points: list[ChartPoint]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the outbox."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> IncidentFacts:
        """Read what `to_dict` wrote."""
        return cls(
            **{
                **values,
                "drivers": [Driver(**driver) for driver in values["drivers"]],
                "points": [ChartPoint(**point) for point in values["points"]],
            }
        )


@dataclass(frozen=True)
class ResolutionFacts:
    """All that the reply at the end of an incident shows."""

    incident_id: str
    title: str
    unit: str
    first_seen_date: str
    last_seen_date: str
    resolved_date: str
    observed: float | None
    expected: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the outbox."""
        return asdict(self)


@dataclass(frozen=True)
class TaskFailureFacts:
    """All that the message about a failed task shows; `error` is already redacted and cut."""

    incident_id: str
    dag_id: str
    task_id: str
    run_id: str
    try_number: int
    error: str
    log_url: str | None
    runbook: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the outbox."""
        return asdict(self)
