"""Says an incident, or a change in its life, in words."""

from __future__ import annotations

from alerts.messages.content import Content
from alerts.messages.facts import EventFacts, Facts, RunFacts, WeekFacts
from alerts.messages.kpi_content import describe_kpi, say_kpi_event
from alerts.messages.run_content import describe_run, say_run_event
from alerts.messages.week_content import describe_week

_EVENT_SIGN = {
    "acknowledged": "👀",
    "snoozed": "💤",
    "woken": "⏰",
    "escalated": "🚨",
    "expected": "✅",
    "withdrawn": "✅",
    "resolved": "✅",
    "reopened": "🔁",
    "confirmed": "☑️",
    "joined": "➕",
    "folded_away": "↪️",
}


def describe_incident(facts: Facts) -> Content:
    """An incident's own message, as it stands now; or the weekly report."""
    if isinstance(facts, WeekFacts):
        return describe_week(facts)
    return describe_run(facts) if isinstance(facts, RunFacts) else describe_kpi(facts)


def describe_event(event: EventFacts) -> Content:
    """One change in an incident's life."""
    sign = _EVENT_SIGN.get(event.event)
    text = _say_event(event)
    headline = f"{sign} {text}" if sign else text
    context = f"Incident {event.facts.incident_id} · {event.by}"
    return Content(headline=headline, notification=headline, context=context, people=frozenset({event.by}))


def _say_event(event: EventFacts) -> str:
    facts = event.facts
    own = say_run_event(event.event, facts) if isinstance(facts, RunFacts) else say_kpi_event(event, facts)
    return {
        "acknowledged": f"Acknowledged by {event.by}.",
        "snoozed": f"Snoozed {event.detail} by {event.by}.",
        "expected": f"{own}: marked as expected by {event.by}, {event.detail}. No baseline will use these days.",
        "escalated": f"Nobody has acknowledged this {event.detail}: {own}",
        "joined": event.detail,
        "folded_away": event.detail,
    }.get(event.event, own or f"{event.event}: {event.detail}")
