"""What people answer to an incident: acknowledged, snoozed, expected."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Mapping
from typing import Literal

from alerts.channels import outbox
from alerts.incidents import store
from alerts.incidents.announcing import announce, iso, note_event, refresh_facts
from alerts.incidents.store import Incident
from alerts.rules.book import Rule, RulesError
from alerts.rules.loading import load_usable_rules
from alerts.state import open_alerts
from alerts.text import cut, say_date
from foundation.errors import FunnelhouseError
from foundation.settings import Settings

Answer = Literal["acknowledge", "snooze", "expected"]


class AnswerError(FunnelhouseError):
    """The answer does not fit the incident; the message says why."""


def answer(
    settings: Settings,
    incident_id: str,
    kind: Answer,
    *,
    by: str,
    until: dt.date | None = None,
    as_of: dt.datetime | None = None,
) -> str:
    """Record an answer and queue what it changes, in one transaction; returns what was done. Deliver afterwards.

    An answer to an incident that another one speaks for counts for that other one. `until` is the day on which a
    snooze ends (default: tomorrow), or the last expected day (default: the incident's last).
    Raises `UnknownIncidentError` and `AnswerError` for an answer that does not fit.
    """
    rules = load_rules_if_valid(settings)
    with open_alerts(settings) as state:
        return answer_in(state, settings, rules, incident_id, kind, by=by, until=until, as_of=as_of)


def load_rules_if_valid(settings: Settings) -> dict[str, Rule]:
    """The rules by name; none while they are being edited, for an answer is taken then too.

    Reading them takes a while, and belongs before the transaction.
    """
    try:
        return {rule.name: rule for rule in load_usable_rules(settings.alert_rules).book.rules}
    except RulesError:
        return {}


def answer_in(
    state: sqlite3.Connection,
    settings: Settings,
    rules: Mapping[str, Rule],
    incident_id: str,
    kind: Answer,
    *,
    by: str,
    until: dt.date | None = None,
    as_of: dt.datetime | None = None,
) -> str:
    """As `answer`, inside the caller's transaction."""
    moment = as_of or dt.datetime.now(dt.UTC)
    now, today = iso(moment.astimezone(dt.UTC)), moment.astimezone(settings.zone).date()
    incident = store.read_incident(state, incident_id)
    if incident.folded_into is not None:
        incident = store.read_incident(state, incident.folded_into)
    name = incident.incident_id
    if not incident.is_live and kind != "expected":
        raise AnswerError(f"incident {name} is already over")
    by = cut(by, 80)
    if kind == "acknowledge":
        if incident.status == "acknowledged":
            return f"incident {name} was already acknowledged by {incident.acknowledged_by}"
        store.set_status(state, name, "acknowledged", now=now, by=by)
        event, detail = "acknowledged", ""
    elif kind == "snooze":
        until = until or today + dt.timedelta(days=1)
        if until <= today:
            raise AnswerError(f"a snooze must end after today ({today}), not on {until}")
        store.set_status(state, name, "snoozed", now=now, until=until)
        event, detail = "snoozed", f"until {say_date(until.isoformat())}"
    else:
        event, detail = "expected", _mark_expected(state, incident, until, by=by, now=now)
    piece = note_event(state, name, event, by=by, at=now, detail=detail)
    saved = store.read_facts(state, name)
    if event == "expected" and saved is not None and outbox.drop_unsent(state, name):
        saved = None  # nobody has heard of it: nobody needs to hear that it was expected
    if saved is not None:
        facts = refresh_facts(state, saved)
        announce(state, settings, facts, [piece], rule=rules.get(incident.rule), moment=moment)
    return f"incident {name}: {event}{f' {detail}' if detail else ''} by {by}"


def _mark_expected(state: sqlite3.Connection, incident: Incident, until: dt.date | None, *, by: str, now: str) -> str:
    """Mark the days of an incident and of those it speaks for, and close them."""
    if incident.is_of_run:
        raise AnswerError("a failed run cannot be marked as expected: acknowledge or snooze it")
    first, last = incident.first_seen_date, until or incident.last_seen_date
    if last < first:
        raise AnswerError(f"the incident began on {first}: the last expected day cannot be {last}")
    if (last - first).days > 366:
        raise AnswerError("more than a year cannot be marked as expected at once: add it to the rule's expected_events")
    dates = [first + dt.timedelta(days=day) for day in range((last - first).days + 1)]
    for each in [incident, *store.read_members(state, incident.incident_id)]:
        store.mark_expected(state, each.fingerprint, dates, by=by, now=now)
        if each.is_live:
            reason = f"expected, says {by}"
            store.close_incident(state, each.incident_id, resolved_date=None, reason=reason, now=now)
    return f"for {say_date(first.isoformat())} to {say_date(last.isoformat())}"
