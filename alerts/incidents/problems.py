"""Incidents of the machinery itself: what makes two problems the same one, and what is told about it."""

from __future__ import annotations

import datetime as dt
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from alerts.channels.redaction import redact, secrets_of
from alerts.incidents import store
from alerts.incidents.announcing import announce, iso, note_event, read_standing, refresh_facts
from alerts.incidents.life import REOPEN_DAYS
from alerts.incidents.store import Incident
from alerts.messages.facts import BAD_RULE, BROKEN_CHANNEL, REFUSED_MODEL, UNREADABLE_FILE, RunFacts
from foundation.settings import Settings

_ERROR_LIMIT = 1_500
_OWNER = "data team"
_PREFIX = {
    "task_failure": "task",
    "blocked_publication": "blocked",
    "missed_schedule": "missed",
    BROKEN_CHANNEL: "channel",
    BAD_RULE: "rule",
    REFUSED_MODEL: "model",
    UNREADABLE_FILE: "files",
}


@dataclass(frozen=True)
class RunProblem:
    """What went wrong, and with what: `subject` is a DAG, a channel, a rule, a model or the export; `part` a task, None
    where it is the whole subject. `error` is not yet redacted."""

    kind: str
    subject: str
    part: str | None
    run_id: str
    error: str
    try_number: int | None = None
    log_url: str | None = None

    @property
    def fingerprint(self) -> str:
        """What makes two of them the same problem: not the run."""
        return f"{self.kind}|{self.subject}|{self.part or ''}"


def record_problem(
    state: sqlite3.Connection, settings: Settings, problem: RunProblem, *, moment: dt.datetime
) -> str | None:
    """Open, continue or reopen the incident of a problem and queue what is new; None when this run told it already."""
    now, date = iso(moment.astimezone(dt.UTC)), moment.astimezone(settings.zone).date()
    newest = store.find_newest(state, problem.fingerprint)
    if newest is None or not (newest.is_live or (date - newest.last_seen_date).days <= REOPEN_DAYS):
        incident_id, event = _open(state, problem, date, now), "opened"
    else:
        incident_id = newest.incident_id
        if store.has_told(state, incident_id, problem.run_id):
            return None
        event = "updated" if newest.is_live else "reopened"
        store.add_run_day(state, incident_id, date, now=now)
        if event == "reopened":
            store.reopen(state, incident_id, now=now)
    piece = note_event(state, incident_id, event, by=problem.run_id, at=now)
    facts = _gather_facts(state, settings, problem, store.read_incident(state, incident_id))
    announce(state, settings, facts, [piece], rule=None, moment=moment)
    return incident_id


def close_problem(
    state: sqlite3.Connection, settings: Settings, incident: Incident, *, by: str, moment: dt.datetime
) -> None:
    """End the incident of a problem that is over, and queue that it is."""
    now, today = iso(moment.astimezone(dt.UTC)), moment.astimezone(settings.zone).date()
    store.close_incident(state, incident.incident_id, resolved_date=today, reason=None, now=now)
    piece = note_event(state, incident.incident_id, "resolved", by=by, at=now)
    saved = store.read_facts(state, incident.incident_id)
    if saved is not None:
        announce(state, settings, refresh_facts(state, saved), [piece], rule=None, moment=moment)


def follow_states(
    state: sqlite3.Connection,
    settings: Settings,
    kind: str,
    broken: Mapping[str, str],
    *,
    mended: set[str] | None = None,
    tells_changes: bool = False,
    by: str,
    moment: dt.datetime,
) -> bool:
    """Open an incident for each subject that is broken and has none, and end those of the mended; True if any changed.

    `broken` maps subjects to errors; `mended` are by default all others. A state that lasts is told once, not at every
    look; with `tells_changes` again when its error is another.
    """
    has_changed = False
    live = {str(each.subject): each for each in store.read_incidents(state) if each.kind == kind and each.is_live}
    for subject, error in broken.items():
        problem = RunProblem(kind=kind, subject=subject, part=None, run_id=by, error=error)
        if subject not in live or (tells_changes and _has_changed(state, settings, live[subject], error)):
            has_changed |= record_problem(state, settings, problem, moment=moment) is not None
    over = live.keys() - broken.keys() if mended is None else live.keys() & mended
    for subject in sorted(over):
        close_problem(state, settings, live[subject], by=by, moment=moment)
        has_changed = True
    return has_changed


def _has_changed(state: sqlite3.Connection, settings: Settings, incident: Incident, error: str) -> bool:
    told = store.read_facts(state, incident.incident_id)
    return isinstance(told, RunFacts) and told.error != _shorten(settings, incident.kind, error)


def _open(state: sqlite3.Connection, problem: RunProblem, date: dt.date, now: str) -> str:
    names = [problem.subject, *([problem.part] if problem.part else [])]
    plain = "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", name)[:50].strip(".") for name in names)
    incident_id = f"{_PREFIX[problem.kind]}-{date:%Y%m%d}-{plain}"
    values = {
        "incident_id": incident_id,
        "fingerprint": problem.fingerprint,
        "kind": problem.kind,
        "rule": problem.kind,
        "direction": "failed",
        "severity": "critical",
        "owner": _OWNER,
        "title": ".".join(names),
        "unit": "count",
        "first_seen_date": date.isoformat(),
        "last_seen_date": date.isoformat(),
        "incident_days": 1,
        "reason": "",
    }
    store.insert_incident(state, values, run_id=problem.run_id, now=now)
    return incident_id


def _gather_facts(state: sqlite3.Connection, settings: Settings, problem: RunProblem, incident: Incident) -> RunFacts:
    return RunFacts(
        incident_id=incident.incident_id,
        kind=problem.kind,
        title=incident.title,
        severity=incident.severity,
        owner=incident.owner,
        runbook=f"docs/runbooks/{problem.kind}.md",
        run_id=problem.run_id,
        standing=read_standing(state, incident),
        subject=problem.subject,
        part=problem.part,
        error=_shorten(settings, problem.kind, problem.error),
        log_url=redact(problem.log_url, *secrets_of(settings)) if problem.log_url else None,
        try_number=problem.try_number,
    )


def _shorten(settings: Settings, kind: str, error: str) -> str:
    # Redact before cutting: half a token is no longer recognised as one. The end of a traceback says the most.
    # An error about a file's name may hold lone surrogates, which neither SQLite nor Slack takes.
    text = redact(error.encode("utf-8", "replace").decode(), *secrets_of(settings))
    if len(text) <= _ERROR_LIMIT:
        return text
    # Of a list the beginning: of a blocked publication it names the expectations.
    is_list = kind in ("blocked_publication", UNREADABLE_FILE)
    return f"{text[:_ERROR_LIMIT]}…" if is_list else f"…{text[-_ERROR_LIMIT:]}"
