"""Incidents of the runs themselves: failed tasks, blocked publications, runs that did not end or did not start."""

from __future__ import annotations

import datetime as dt
import re
import sqlite3
from dataclasses import dataclass

from alerts.channels.delivery import Delivery, deliver_outbox
from alerts.channels.redaction import redact, secrets_of
from alerts.incidents import store
from alerts.incidents.announcing import announce, iso, note_event, read_standing, refresh_facts
from alerts.incidents.life import REOPEN_DAYS
from alerts.incidents.store import Incident
from alerts.messages.facts import RunFacts
from alerts.state import open_alerts
from foundation.settings import Settings

DAILY_DAG = "ga4_daily"

_ERROR_LIMIT = 1_500
_OWNER = "data team"
_PREFIX = {"task_failure": "task", "blocked_publication": "blocked", "missed_schedule": "missed"}


@dataclass(frozen=True)
class RunProblem:
    """What went wrong with a run. `task_id` is None where it is the run as a whole; `error` is not yet redacted."""

    kind: str
    dag_id: str
    task_id: str | None
    run_id: str
    error: str
    try_number: int | None = None
    log_url: str | None = None

    @property
    def fingerprint(self) -> str:
        """What makes two of them the same problem: not the run."""
        return f"{self.kind}|{self.dag_id}|{self.task_id or ''}"


def report_task_failure(
    settings: Settings,
    *,
    dag_id: str,
    task_id: str,
    run_id: str,
    try_number: int,
    error: str | BaseException | None,
    log_url: str | None,
    as_of: dt.datetime | None = None,
) -> Delivery:
    """Report a task whose last retry failed, and deliver the outbox.

    One incident a DAG and task: a failure of a later run is told in its thread, and the next run that succeeds ends
    it. A validation that stopped a run is a blocked publication and names the failed expectation. The error text is
    redacted and cut. Raises `AlertDeliveryError` when a message could not be sent.
    """
    text = f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else (error or "")
    is_blocked = re.match(r"(\w+: )?Validation of \w+ failed", text) is not None
    problem = RunProblem(
        kind="blocked_publication" if is_blocked else "task_failure",
        dag_id=dag_id,
        task_id=task_id,
        run_id=run_id,
        error=text,
        try_number=try_number,
        log_url=log_url,
    )
    return _report(settings, problem, as_of)


def report_run_timeout(
    settings: Settings, *, dag_id: str, run_id: str, reason: str, as_of: dt.datetime | None = None
) -> Delivery | None:
    """Report a run that failed although none of its tasks did; None when one of them has reported already."""
    with open_alerts(settings) as state:
        if store.has_reported(state, dag_id, run_id):
            return None
    problem = RunProblem(kind="task_failure", dag_id=dag_id, task_id=None, run_id=run_id, error=reason)
    return _report(settings, problem, as_of)


def report_success(
    settings: Settings, *, dag_id: str, run_id: str, is_scheduled: bool, as_of: dt.datetime | None = None
) -> None:
    """Note that a run succeeded: its DAG's open incidents are over. Queues only; deliver afterwards.

    A scheduled run that comes after a gap says so, for nobody else may have been there to notice.
    """
    moment = as_of or dt.datetime.now(dt.UTC)
    now, today = iso(moment.astimezone(dt.UTC)), moment.astimezone(settings.zone).date()
    with open_alerts(settings) as state:
        if is_scheduled and dag_id == DAILY_DAG:
            check_schedule(state, settings, moment=moment)
        store.write_heartbeat(state, dag_id, is_scheduled=is_scheduled, now=now)
        for incident in store.read_incidents(state):
            if not incident.is_of_run or not incident.is_live or incident.fingerprint.split("|")[1] != dag_id:
                continue
            store.close_incident(state, incident.incident_id, resolved_date=today, reason=None, now=now)
            piece = note_event(state, incident.incident_id, "resolved", by=run_id, at=now)
            saved = store.read_facts(state, incident.incident_id)
            if saved is not None:
                announce(state, settings, refresh_facts(state, saved), [piece], rule=None, moment=moment)


def check_schedule(state: sqlite3.Connection, settings: Settings, *, moment: dt.datetime) -> str | None:
    """Open an incident when the scheduled daily run has not succeeded for too long; returns its id, else None.

    Only a schedule that has started a run before can be missed: who runs by hand is not reminded.
    """
    beat = store.read_heartbeat(state, DAILY_DAG)
    if beat is None or beat.scheduled_at is None or settings.daily_schedule is None:
        return None
    last = beat.succeeded_at
    gap = moment.astimezone(dt.UTC) - last
    if gap <= dt.timedelta(hours=settings.missed_run_after_hours):
        return None
    # Told once per gap: its beginning stands in for a run's id.
    since = f"since {iso(last)}"
    problem = RunProblem(
        kind="missed_schedule",
        dag_id=DAILY_DAG,
        task_id=None,
        run_id=since,
        error=(
            f"The last success was {last.astimezone(settings.zone):%Y-%m-%d %H:%M %Z}, "
            f"{gap.total_seconds() / 3600:.0f} hours ago; it is missed after {settings.missed_run_after_hours:g}. "
            "What was published then is what everybody sees."
        ),
    )
    return record_problem(state, settings, problem, moment=moment)


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


def _report(settings: Settings, problem: RunProblem, as_of: dt.datetime | None) -> Delivery:
    with open_alerts(settings) as state:
        record_problem(state, settings, problem, moment=as_of or dt.datetime.now(dt.UTC))
    return deliver_outbox(settings)


def _open(state: sqlite3.Connection, problem: RunProblem, date: dt.date, now: str) -> str:
    names = [problem.dag_id, *([problem.task_id] if problem.task_id else [])]
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
    # Redact before cutting: half a token is no longer recognised as one. The end of a traceback says the most.
    # An error about a file's name may hold lone surrogates, which neither SQLite nor Slack takes.
    secrets = secrets_of(settings)
    text = redact(problem.error.encode("utf-8", "replace").decode(), *secrets)
    if len(text) > _ERROR_LIMIT:
        # Of a blocked publication the beginning, which names the expectations.
        is_blocked = problem.kind == "blocked_publication"
        text = f"{text[:_ERROR_LIMIT]}…" if is_blocked else f"…{text[-_ERROR_LIMIT:]}"
    return RunFacts(
        incident_id=incident.incident_id,
        kind=problem.kind,
        title=incident.title,
        severity=incident.severity,
        owner=incident.owner,
        runbook=f"docs/runbooks/{problem.kind}.md",
        run_id=problem.run_id,
        standing=read_standing(state, incident),
        dag_id=problem.dag_id,
        task_id=problem.task_id,
        error=text,
        log_url=redact(problem.log_url, *secrets) if problem.log_url else None,
        try_number=problem.try_number,
    )
