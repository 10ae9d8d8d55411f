"""Queues what is to be said about an incident: its own message as it stands, and a reply for each change."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from alerts.channels import outbox
from alerts.channels.available import choose_channels
from alerts.incidents import store
from alerts.incidents.store import Incident
from alerts.messages.facts import (
    BROKEN_CHANNEL,
    EventFacts,
    KpiFacts,
    Member,
    RunFacts,
    Standing,
    event_to_json_values,
    to_json_values,
)
from alerts.rules.book import QuietHours, Rule
from foundation.settings import Settings

# What is said about an incident that somebody has put to sleep.
_SAID_WHILE_SNOOZED = {"snoozed", "acknowledged", "expected", "withdrawn", "resolved"}
# Answers are confirmed at once, whatever the hour: somebody is there.
_SAID_IN_QUIET_HOURS = {"snoozed", "acknowledged", "expected"}
# While it goes on, the figures of an incident's hours are told anew after so long.
_PAUSE = dt.timedelta(hours=2)
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
    facts: KpiFacts | RunFacts,
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
    before = store.read_facts(state, facts.incident_id)
    is_snoozed = facts.standing.status == "snoozed"
    if is_snoozed:
        pieces = [piece for piece in pieces if piece.event in _SAID_WHILE_SNOOZED]
    if not pieces and _is_too_soon(before, facts):
        return
    store.save_facts(state, facts)
    if not pieces and (is_snoozed or (before is not None and _visible(before) == _visible(facts))):
        return
    not_before = _hold_until(settings, rule, facts.severity, moment)
    target = rule.channel if rule is not None else None
    payload = to_json_values(facts)
    for channel in choose_channels(settings):
        if isinstance(facts, RunFacts) and facts.kind == BROKEN_CHANNEL and facts.subject == channel.name:
            continue  # the others tell it
        parent = outbox.read_parent(state, facts.incident_id, channel.name)
        event = "opened" if parent is None else pieces[-1].event if pieces else "updated"
        outbox.queue_parent(state, facts.incident_id, channel, event, payload, target=target, not_before=not_before)
        if parent is None or parent.is_untried:
            continue
        for piece in pieces:
            if channel.carries(piece.event):
                told = EventFacts(piece.event, piece.by, piece.detail, piece.mention, piece.observed, facts)
                outbox.queue_reply(
                    state,
                    facts.incident_id,
                    channel,
                    piece.event,
                    event_to_json_values(told),
                    event_id=piece.event_id,
                    target=target,
                    not_before=None if piece.event in _SAID_IN_QUIET_HOURS else not_before,
                )


def note_event(state: sqlite3.Connection, incident_id: str, event: str, *, by: str, at: str, detail: str = "") -> News:
    """Add a change to the incident's history, as news to announce."""
    return News(event, store.add_event(state, incident_id, event, at=at, by=by, detail=detail), by, detail)


def refresh_facts(state: sqlite3.Connection, facts: KpiFacts | RunFacts) -> KpiFacts | RunFacts:
    """Facts gathered earlier, with where the incident and those folded into it stand now."""
    incident = store.read_incident(state, facts.incident_id)
    standing = read_standing(state, incident)
    if isinstance(facts, RunFacts):
        return replace(facts, standing=standing)
    reason = incident.figures.reason or facts.figures.reason
    members = [to_member(member) for member in store.read_members(state, facts.incident_id)]
    return replace(facts, standing=standing, figures=replace(facts.figures, reason=reason), members=members)


def read_standing(state: sqlite3.Connection, incident: Incident) -> Standing:
    """Where an incident stands."""
    speaker = store.read_incident(state, incident.folded_into) if incident.folded_into is not None else None
    return Standing(
        status=incident.status,
        first_seen_date=incident.first_seen_date.isoformat(),
        last_seen_date=incident.last_seen_date.isoformat(),
        incident_days=incident.incident_days,
        resolved_date=_iso_date(incident.resolved_date),
        acknowledged_by=incident.acknowledged_by,
        snoozed_until=_iso_date(incident.snoozed_until),
        is_escalated=incident.escalated_at is not None,
        continues_in=speaker.title if speaker is not None else None,
    )


def to_member(incident: Incident) -> Member:
    """How a folded incident shows in the message of the one that speaks for it."""
    return Member(
        incident_id=incident.incident_id,
        title=incident.title,
        subject=incident.dimension_value if incident.dimension is not None else None,
        unit=incident.unit,
        status=incident.status,
        observed=incident.figures.observed,
        expected=incident.figures.expected,
    )


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


def _iso_date(date: dt.date | None) -> str | None:
    return None if date is None else date.isoformat()


def _is_too_soon(before: KpiFacts | RunFacts | None, facts: KpiFacts | RunFacts) -> bool:
    """Whether only the figures of the running hours have gone on, and that was told lately."""
    if (
        not (isinstance(before, KpiFacts) and isinstance(facts, KpiFacts))
        or before.hours is None
        or facts.hours is None
    ):
        return False
    same_day = before.standing == facts.standing and before.hours.since == facts.hours.since
    if not same_day or before.hours.until != facts.hours.until or _list_members(before) != _list_members(facts):
        return False
    told, seen = (dt.datetime.fromisoformat(each.hours.seen_until) for each in (before, facts) if each.hours)
    return dt.timedelta() <= seen - told < _PAUSE


def _list_members(facts: KpiFacts) -> list[tuple[str, str]]:
    return [(member.incident_id, member.status) for member in facts.members]


def _visible(facts: KpiFacts | RunFacts) -> dict[str, Any]:
    return {name: value for name, value in to_json_values(facts).items() if name not in _INVISIBLE}


def _hold_until(settings: Settings, rule: Rule | None, severity: str, moment: dt.datetime) -> str | None:
    """When the rule's quiet hours end, for a message that falls into them; critical ones are never held."""
    if rule is None or rule.quiet_hours is None or severity == "critical":
        return None
    end = end_of_quiet_hours(rule.quiet_hours, moment.astimezone(settings.zone))
    return iso(end.astimezone(dt.UTC)) if end is not None else None
