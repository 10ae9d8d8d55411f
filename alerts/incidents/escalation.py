"""What becomes due with time: snoozes end, and somebody is called where nobody has answered."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Mapping
from dataclasses import replace

from alerts.channels import outbox
from alerts.incidents import store
from alerts.incidents.announcing import News, announce, iso, note_event, refresh_facts
from alerts.incidents.store import Incident
from alerts.rules.book import Rule
from foundation.settings import Settings


def set_clock_right(state: sqlite3.Connection, *, moment: dt.datetime) -> None:
    """Undo what would come late because the clock was ahead for a while: calls for help, reminders, messages held back.

    `moment` is the present one.
    """
    store.forget_future(state, now=iso(moment.astimezone(dt.UTC)))
    outbox.shorten_holds(state, now=moment)


def escalate_and_wake(
    state: sqlite3.Connection, settings: Settings, rules: Mapping[str, Rule], *, run_id: str, moment: dt.datetime
) -> list[str]:
    """End the snoozes that are over, and call for help where nobody has acknowledged; returns the incidents' ids."""
    touched = []
    for incident in store.read_incidents(state):
        if incident.folded_into is not None or incident.status not in ("open", "snoozed"):
            continue
        facts = store.read_facts(state, incident.incident_id)
        if facts is None or not outbox.is_announced(state, incident.incident_id):
            continue
        piece = _do_what_is_due(state, settings, incident, run_id=run_id, moment=moment)
        if piece is not None:
            current = refresh_facts(state, facts)
            announce(state, settings, current, [piece], rule=rules.get(incident.rule), moment=moment)
            touched.append(incident.incident_id)
    return touched


def _do_what_is_due(
    state: sqlite3.Connection, settings: Settings, incident: Incident, *, run_id: str, moment: dt.datetime
) -> News | None:
    incident_id, now = incident.incident_id, iso(moment.astimezone(dt.UTC))
    today = moment.astimezone(settings.zone).date()
    if incident.status == "snoozed" and incident.snoozed_until is not None and incident.snoozed_until <= today:
        store.wake(state, incident_id, now=now)
        return note_event(state, incident_id, "woken", by=run_id, at=now)
    if _is_overdue(incident, settings, moment):
        store.mark_escalated(state, incident_id, now=now)
        detail = f"for {settings.alert_escalate_after_hours:g} hours"
        piece = note_event(state, incident_id, "escalated", by=run_id, at=now, detail=detail)
        return replace(piece, mention=settings.alert_escalation_owner)
    return None


def _is_overdue(incident: Incident, settings: Settings, moment: dt.datetime) -> bool:
    if settings.alert_escalation_owner is None or incident.severity != "critical" or incident.status != "open":
        return False
    waited = moment.astimezone(dt.UTC) - incident.alerting_since
    return incident.escalated_at is None and waited >= dt.timedelta(hours=settings.alert_escalate_after_hours)
