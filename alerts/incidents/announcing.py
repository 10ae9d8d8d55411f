"""Queues what is to be said about an incident: its own message as it stands, and a reply for each change."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from alerts.channels import outbox
from alerts.channels.delivery import configured_channels
from alerts.incidents import store as incidents
from alerts.messages.facts import EventFacts, IncidentFacts, Member
from alerts.rules.book import QuietHours, Rule
from foundation.settings import Settings

# A mail is for what somebody should look at; how the figures of a known incident move is told where it can be ignored.
_MAILED = {"opened", "reopened", "woken", "escalated", "expected", "withdrawn", "resolved", "folded_away"}
# What is said about an incident that somebody has put to sleep.
_SAID_WHILE_SNOOZED = {"snoozed", "acknowledged", "expected", "withdrawn", "resolved"}
# These change from run to run although nothing that a reader cares for does.
_INVISIBLE = ("run_id", "complete_to", "provisional_to", "points", "try_number")


@dataclass(frozen=True)
class News:
    """One change in an incident's life, already noted in `alert_events` under `event_id`."""

    event: str
    event_id: int
    by: str
    detail: str = ""
    mention: str | None = None
    observed: float | None = None


def announce(
    state: sqlite3.Connection,
    settings: Settings,
    facts: IncidentFacts,
    news: Iterable[News],
    *,
    rule: Rule | None,
    moment: dt.datetime,
) -> None:
    """Queue what is new about an incident for every channel.

    An incident nobody has heard of gets its own message, which tells all that happened so far. Afterwards that
    message is edited when a reader would see a difference, and each piece of news is a reply.
    """
    pieces = list(news)
    before = incidents.read_facts(state, facts.incident_id)
    is_snoozed = facts.status == "snoozed"
    if is_snoozed:
        pieces = [piece for piece in pieces if piece.event in _SAID_WHILE_SNOOZED]
    incidents.save_facts(state, facts.incident_id, facts)
    if not pieces and (is_snoozed or (before is not None and _visible(before) == _visible(facts.to_dict()))):
        return
    not_before = _hold_until(settings, rule, facts.severity, moment)
    target = rule.channel if rule is not None else None
    for channel in configured_channels(settings):
        parent = outbox.read_parent(state, facts.incident_id, channel)
        event = pieces[-1].event if pieces else "updated"
        outbox.queue_parent(
            state,
            facts.incident_id,
            channel,
            event if parent is not None else "opened",
            facts.to_dict(),
            target=target,
            not_before=not_before,
        )
        if parent is None or outbox.is_untried(parent):
            continue
        for piece in pieces:
            if channel == "email" and piece.event not in _MAILED:
                continue
            told = EventFacts(piece.event, piece.by, piece.detail, piece.mention, piece.observed, facts)
            outbox.queue_reply(
                state,
                facts.incident_id,
                channel,
                piece.event,
                told.to_dict(),
                event_id=piece.event_id,
                target=target,
                not_before=None if piece.event in ("acknowledged", "snoozed", "expected") else not_before,
            )


def refresh_facts(state: sqlite3.Connection, facts: IncidentFacts) -> IncidentFacts:
    """Facts gathered earlier, with the status that the incident and those folded into it have now."""
    row = incidents.read_incident(state, facts.incident_id)
    leader = incidents.read_incident(state, row["folded_into"]) if row["folded_into"] else None
    return replace(
        facts,
        status=row["status"],
        resolved_date=row["resolved_date"],
        reason=row["reason"] or facts.reason,
        first_seen_date=row["first_seen_date"],
        last_seen_date=row["last_seen_date"],
        incident_days=row["incident_days"],
        acknowledged_by=row["acknowledged_by"],
        snoozed_until=row["snoozed_until"],
        is_escalated=row["escalated_at"] is not None,
        continues_in=leader["title"] if leader is not None else None,
        members=[read_member(member) for member in incidents.read_members(state, facts.incident_id)],
    )


def read_member(row: sqlite3.Row) -> Member:
    """How a folded incident shows in the message of the one that speaks for it."""
    return Member(
        incident_id=row["incident_id"],
        title=row["title"],
        subject=row["dimension_value"] if row["dimension"] is not None else None,
        unit=row["unit"],
        status=row["status"],
        observed=row["observed"],
        expected=row["expected"],
    )


def escalate_and_wake(
    state: sqlite3.Connection, settings: Settings, rules: dict[str, Rule], *, run_id: str, moment: dt.datetime
) -> list[str]:
    """End the snoozes that are over, and call for help where nobody has acknowledged; returns the incidents' ids."""
    now = moment.astimezone(dt.UTC)
    touched = []
    for row in incidents.read_incidents(state):
        if row["folded_into"] is not None or row["status"] not in ("open", "snoozed"):
            continue
        facts = incidents.read_facts(state, row["incident_id"])
        if facts is None or not outbox.is_announced(state, row["incident_id"]):
            continue
        if (
            row["status"] == "snoozed"
            and str(row["snoozed_until"]) <= moment.astimezone(settings.zone).date().isoformat()
        ):
            incidents.set_status(state, row["incident_id"], "open", now=iso(now))
            state.execute(
                "update alert_incidents set alerting_since = ? where incident_id = ?", (iso(now), row["incident_id"])
            )
            piece = note_event(state, row["incident_id"], "woken", by=run_id, at=iso(now))
        elif _is_overdue(row, settings, now):
            state.execute(
                "update alert_incidents set escalated_at = ? where incident_id = ?", (iso(now), row["incident_id"])
            )
            detail = f"for {settings.alert_escalate_after_hours:g} hours"
            piece = note_event(state, row["incident_id"], "escalated", by=run_id, at=iso(now), detail=detail)
            piece = replace(piece, mention=settings.alert_escalation_owner)
        else:
            continue
        current = refresh_facts(state, IncidentFacts.from_dict(facts))
        announce(state, settings, current, [piece], rule=rules.get(row["rule"]), moment=moment)
        touched.append(str(row["incident_id"]))
    return touched


def _is_overdue(row: sqlite3.Row, settings: Settings, now: dt.datetime) -> bool:
    if settings.alert_escalation_owner is None or row["severity"] != "critical" or row["status"] != "open":
        return False
    since = dt.datetime.fromisoformat(row["alerting_since"])
    return row["escalated_at"] is None and now - since >= dt.timedelta(hours=settings.alert_escalate_after_hours)


def note_event(state: sqlite3.Connection, incident_id: str, event: str, *, by: str, at: str, detail: str = "") -> News:
    """Add a change to the incident's history, as news to announce."""
    return News(event, incidents.add_event(state, incident_id, event, at=at, by=by, detail=detail), by, detail)


def _visible(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in _INVISIBLE}


def _hold_until(settings: Settings, rule: Rule | None, severity: str, moment: dt.datetime) -> str | None:
    """When the rule's quiet hours end, for a message that falls into them; critical ones are never held."""
    if rule is None or rule.quiet_hours is None or severity == "critical":
        return None
    end = end_of_quiet_hours(rule.quiet_hours, moment.astimezone(settings.zone))
    return iso(end.astimezone(dt.UTC)) if end is not None else None


def end_of_quiet_hours(hours: QuietHours, local: dt.datetime) -> dt.datetime | None:
    """When the quiet hours around a local time end; None outside of them. They may go over midnight."""
    time = local.time()
    if hours.start <= hours.end:
        inside, days = hours.start <= time < hours.end, 0
    else:
        inside, days = time >= hours.start or time < hours.end, int(time >= hours.start)
    if not inside:
        return None
    return dt.datetime.combine(local.date() + dt.timedelta(days=days), hours.end, tzinfo=local.tzinfo)


def iso(moment: dt.datetime) -> str:
    """A moment as the state file keeps it."""
    return moment.isoformat(timespec="seconds")
