"""What a message says, gathered when it is decided: the outbox alone is enough to render it later."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from alerts.detection.causes import Causes
from alerts.detection.verdicts import Figures, Hours

# Problems of the machinery itself: they have no days of a KPI, and end with the next run, or message, that succeeds.
BROKEN_CHANNEL = "broken_channel"
BAD_RULE = "bad_rule"
REFUSED_MODEL = "refused_model"
UNREADABLE_FILE = "unreadable_file"
WEEK = "week"  # the weekly report
RUN_KINDS = (
    "task_failure",
    "missed_schedule",
    "blocked_publication",
    BROKEN_CHANNEL,
    BAD_RULE,
    REFUSED_MODEL,
    UNREADABLE_FILE,
)


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
class Standing:
    """Where an incident stands; dates are ISO."""

    status: str
    first_seen_date: str
    last_seen_date: str
    incident_days: int
    resolved_date: str | None = None
    acknowledged_by: str | None = None
    snoozed_until: str | None = None
    is_escalated: bool = False
    continues_in: str | None = None  # title of the incident that speaks for this one since it was announced

    @property
    def is_over(self) -> bool:
        """Whether the incident has ended."""
        return self.status == "resolved"


@dataclass(frozen=True, kw_only=True)
class IncidentFacts:
    """What every incident's own message shows; `run_id` is the run that gathered it."""

    incident_id: str
    kind: str
    title: str
    severity: str
    owner: str
    runbook: str
    run_id: str
    standing: Standing


@dataclass(frozen=True, kw_only=True)
class KpiFacts(IncidentFacts):
    """An incident of something that is watched; values are in the rule's unit."""

    rule: str
    description: str
    kpi: str
    dimension: str | None
    dimension_value: str | None
    denominator: str | None
    unit: str
    numerator_label: str
    direction: str
    links: dict[str, str]
    period_days: int
    baseline_days: int
    figures: Figures
    complete_to: str | None
    provisional_to: str | None
    began: str | None = None  # the hour, ISO; None where only the day is known
    hours: Hours | None = None  # of the last day
    cause: str | None = None
    causes: Causes | None = None
    members: list[Member] = field(default_factory=list)
    points: list[ChartPoint] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class RunFacts(IncidentFacts):
    """An incident of the machinery itself: `subject` is a DAG, a channel or a rule; `part` a task of the DAG."""

    subject: str
    part: str | None
    error: str
    log_url: str | None = None
    try_number: int | None = None


@dataclass(frozen=True)
class WeekKpi:
    """A KPI of a week, in the rule's unit, beside the weeks before it.

    `values` are the weeks', oldest first, this one last; None where a week lacks days. `low` and `high` bound what
    such weeks usually bring; None where too few of them are known.
    """

    title: str
    unit: str
    values: list[float | None]
    low: float | None
    high: float | None

    @property
    def value(self) -> float | None:
        """Of the week that is reported."""
        return self.values[-1]

    @property
    def is_unusual(self) -> bool:
        """Whether the week lies outside what is usual."""
        if self.value is None or self.low is None or self.high is None:
            return False
        # where all weeks were alike, only the last digit of a sum differs
        slack = 1e-9 * abs(self.value)
        return not self.low - slack <= self.value <= self.high + slack


@dataclass(frozen=True)
class WeekIncident:
    """An incident of the week; `lost_usd` is its estimated cost over all its days, None where none is estimated."""

    title: str
    subject: str | None
    first: str
    last: str
    is_over: bool
    lost_orders: float | None
    lost_usd: float | None


@dataclass(frozen=True, kw_only=True)
class WeekFacts(IncidentFacts):
    """A week, from Monday to Sunday; `mondays` are those of the weeks of each KPI's values."""

    mondays: list[str]
    kpis: list[WeekKpi]
    incidents: list[WeekIncident] = field(default_factory=list)
    opportunity: str | None = None
    quality: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> WeekFacts:
        """Read plain values, as `dataclasses.asdict` makes them."""
        return cls(
            **{
                **values,
                "standing": Standing(**values["standing"]),
                "kpis": [WeekKpi(**each) for each in values["kpis"]],
                "incidents": [WeekIncident(**each) for each in values["incidents"]],
            }
        )


Facts = KpiFacts | RunFacts | WeekFacts


@dataclass(frozen=True)
class EventFacts:
    """One change in an incident's life, told as a reply in its thread. `facts` is the incident as it stands then."""

    event: str
    by: str
    detail: str
    mention: str | None  # who is called in, of an escalation
    observed: float | None  # of the end: the first normal day's value
    facts: KpiFacts | RunFacts


def to_json_values(facts: IncidentFacts) -> dict[str, Any]:
    """Plain values, in one level but for lists: how facts lie in the state file, and what a webhook gets.

    A KPI's and a run's have the same keys; a week's are its own.
    """
    flat = asdict(facts)
    if isinstance(facts, WeekFacts):
        return flat
    for nested in ("standing", "figures"):
        flat |= flat.pop(nested, {})
    if isinstance(facts, KpiFacts):
        return {**_OF_NO_RUN, **flat}
    subject, part = flat.pop("subject"), flat.pop("part")
    return {**_OF_NO_KPI, "rule": facts.kind, "dag_id": subject, "task_id": part, **flat}


def from_json_values(values: dict[str, Any]) -> Facts:
    """Read what `to_json_values` made."""
    if values["kind"] == WEEK:
        return WeekFacts.from_dict(values)
    standing = _pick(Standing, values)
    if values["kind"] in RUN_KINDS:
        named = _names_of(RunFacts, values)
        return RunFacts(**named, subject=values["dag_id"], part=values["task_id"], standing=standing)
    causes = values["causes"]
    rest = {name: value for name, value in _names_of(KpiFacts, values).items() if name not in _NESTED}
    return KpiFacts(
        **rest,
        standing=standing,
        figures=_pick(Figures, values),
        hours=None if values.get("hours") is None else Hours(**values["hours"]),
        causes=None if causes is None else Causes.from_dict(causes),
        members=[Member(**member) for member in values["members"]],
        points=[ChartPoint(**point) for point in values["points"]],
    )


def event_to_json_values(event: EventFacts) -> dict[str, Any]:
    """Plain values; without the chart, which the incident's own message shows."""
    own = {each.name: getattr(event, each.name) for each in fields(EventFacts) if each.name != "facts"}
    return {**own, "facts": {**to_json_values(event.facts), "points": []}}


def event_from_json_values(values: dict[str, Any]) -> EventFacts:
    """Read what `event_to_json_values` made."""
    return EventFacts(**{**values, "facts": from_json_values(values["facts"])})


_NESTED = ("hours", "causes", "members", "points")
_OF_NO_RUN = dict.fromkeys(("dag_id", "task_id", "error", "log_url", "try_number"))
_OF_NO_KPI: dict[str, Any] = {
    "description": "",
    "kpi": "",
    "dimension": None,
    "dimension_value": None,
    "denominator": None,
    "unit": "count",
    "numerator_label": "",
    "direction": "failed",
    "links": {},
    "period_days": 1,
    "baseline_days": 0,
    **asdict(Figures()),
    "complete_to": None,
    "provisional_to": None,
    "began": None,
    "hours": None,
    "cause": None,
    "causes": None,
    "members": [],
    "points": [],
}
_Part = TypeVar("_Part", Standing, Figures)


def _pick(part: type[_Part], values: dict[str, Any]) -> _Part:
    return part(**_names_of(part, values))


def _names_of(part: type, values: dict[str, Any]) -> dict[str, Any]:
    return {each.name: values[each.name] for each in fields(part) if each.name in values}
