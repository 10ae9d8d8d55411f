"""What people answer to an incident: acknowledged, snoozed, expected."""

from __future__ import annotations

import datetime as dt
import sqlite3
from typing import Literal

from alerts.channels import outbox
from alerts.incidents import store as incidents
from alerts.incidents.announcing import announce, iso, note_event, refresh_facts
from alerts.messages.facts import RUN_KINDS, IncidentFacts
from alerts.rules.book import RulesError, load_rules
from alerts.text import cut, say_date
from foundation.errors import FunnelhouseError
from foundation.settings import Settings
from foundation.state import open_state

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
    with open_state(settings) as state:
        return answer_in(state, settings, incident_id, kind, by=by, until=until, as_of=as_of)


def answer_in(
    state: sqlite3.Connection,
    settings: Settings,
    incident_id: str,
    kind: Answer,
    *,
    by: str,
    until: dt.date | None = None,
    as_of: dt.datetime | None = None,
) -> str:
    """As `answer`, inside the caller's transaction."""
    incidents.create_tables(state)
    outbox.create_table(state)
    moment = as_of or dt.datetime.now(dt.UTC)
    today = moment.astimezone(settings.zone).date()
    now = iso(moment.astimezone(dt.UTC))
    row = incidents.read_incident(state, incident_id)
    if row["folded_into"] is not None:
        row = incidents.read_incident(state, row["folded_into"])
    name = row["incident_id"]
    if row["status"] not in incidents.LIVE and kind != "expected":
        raise AnswerError(f"incident {name} is over already")
    by = cut(by, 80)
    if kind == "acknowledge":
        if row["status"] == "acknowledged":
            return f"incident {name} was acknowledged by {row['acknowledged_by']} already"
        incidents.set_status(state, name, "acknowledged", now=now, by=by)
        event, detail = "acknowledged", ""
    elif kind == "snooze":
        until = until or today + dt.timedelta(days=1)
        if until <= today:
            raise AnswerError(f"a snooze must end after today ({today}), not on {until}")
        incidents.set_status(state, name, "snoozed", now=now, until=until.isoformat())
        event, detail = "snoozed", f"until {say_date(until.isoformat())}"
    else:
        event, detail = "expected", _mark_expected(state, row, until, by=by, now=now)
    piece = note_event(state, name, event, by=by, at=now, detail=detail)
    saved = incidents.read_facts(state, name)
    if event == "expected" and saved is not None and outbox.drop_unsent(state, name):
        saved = None  # nobody has heard of it: nobody needs to hear that it was expected
    if saved is not None:
        try:
            rule = next((rule for rule in load_rules(settings.alert_rules).rules if rule.name == row["rule"]), None)
        except RulesError:
            rule = None  # an answer is taken also while the rules are being edited
        facts = refresh_facts(state, IncidentFacts.from_dict(saved))
        announce(state, settings, facts, [piece], rule=rule, moment=moment)
    return f"incident {name}: {event}{f' {detail}' if detail else ''} by {by}"


def _mark_expected(state: sqlite3.Connection, row: sqlite3.Row, until: dt.date | None, *, by: str, now: str) -> str:
    """Mark the days of an incident and of those it speaks for, and close them."""
    if row["kind"] in RUN_KINDS:
        raise AnswerError("a failed run is not expected: acknowledge or snooze it")
    first = dt.date.fromisoformat(row["first_seen_date"])
    last = until or dt.date.fromisoformat(row["last_seen_date"])
    if last < first:
        raise AnswerError(f"the incident began on {first}: the last expected day cannot be {last}")
    if (last - first).days > 366:
        raise AnswerError("more than a year cannot be expected in one go: put it into the rule's expected_events")
    dates = [first + dt.timedelta(days=day) for day in range((last - first).days + 1)]
    for each in [row, *incidents.read_members(state, row["incident_id"])]:
        incidents.mark_expected(state, each["fingerprint"], dates, by=by, now=now)
        if each["status"] in incidents.LIVE:
            incidents.close_incident(
                state, each["incident_id"], resolved_date=None, reason=f"expected, says {by}", now=now
            )
    return f"for {say_date(first.isoformat())} to {say_date(last.isoformat())}"
