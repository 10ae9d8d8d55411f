"""Incidents of the runs themselves: failed tasks, blocked publications, runs that did not end or did not start."""

from __future__ import annotations

import datetime as dt
import re
import sqlite3
from dataclasses import dataclass

from alerts.channels import outbox
from alerts.channels.delivery import Delivery, deliver_outbox
from alerts.channels.redaction import redact, secrets_of
from alerts.incidents import store as incidents
from alerts.incidents.announcing import News, announce, iso, note_event, refresh_facts
from alerts.messages.facts import RUN_KINDS, IncidentFacts
from foundation.settings import Settings
from foundation.state import open_state

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
    with open_state(settings) as state:
        _create_tables(state)
        told = state.execute(
            """
            select 1 from alert_events
            inner join alert_incidents using (incident_id)
            where done_by = ? and fingerprint like ?
            """,
            (run_id, f"%|{dag_id}|%"),
        ).fetchone()
    if told is not None:
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
    now = iso(moment.astimezone(dt.UTC))
    with open_state(settings) as state:
        _create_tables(state)
        if is_scheduled and dag_id == DAILY_DAG:
            check_schedule(state, settings, moment=moment)
        state.execute(
            """
            insert into alert_heartbeats (dag_id, succeeded_at, scheduled_at) values (?, ?, ?)
            on conflict (dag_id) do update set
                succeeded_at = excluded.succeeded_at,
                scheduled_at = coalesce(excluded.scheduled_at, scheduled_at)
            """,
            (dag_id, now, now if is_scheduled else None),
        )
        for row in incidents.read_incidents(state):
            if row["kind"] not in RUN_KINDS or row["status"] not in incidents.LIVE:
                continue
            if row["fingerprint"].split("|")[1] != dag_id:
                continue
            date = moment.astimezone(settings.zone).date().isoformat()
            incidents.close_incident(state, row["incident_id"], resolved_date=date, reason=None, now=now)
            piece = note_event(state, row["incident_id"], "resolved", by=run_id, at=now)
            _announce(state, settings, row["incident_id"], [piece], moment)


def check_schedule(state: sqlite3.Connection, settings: Settings, *, moment: dt.datetime) -> str | None:
    """Open an incident when the scheduled daily run has not succeeded for too long; returns its id, else None.

    Only a schedule that has started a run before can be missed: who runs by hand is not reminded.
    """
    beat = state.execute("select * from alert_heartbeats where dag_id = ?", (DAILY_DAG,)).fetchone()
    if beat is None or beat["scheduled_at"] is None or settings.daily_schedule is None:
        return None
    last = dt.datetime.fromisoformat(beat["succeeded_at"])
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
    now = iso(moment.astimezone(dt.UTC))
    date = moment.astimezone(settings.zone).date()
    newest = state.execute(
        "select * from alert_incidents where fingerprint = ? order by last_seen_date desc, opened_at desc limit 1",
        (problem.fingerprint,),
    ).fetchone()
    is_recent = newest is not None and (
        newest["status"] in incidents.LIVE
        or (date - dt.date.fromisoformat(newest["last_seen_date"])).days <= incidents.REOPEN_DAYS
    )
    if not is_recent:
        incident_id, event = _open(state, problem, date, now), "opened"
    else:
        incident_id = str(newest["incident_id"])
        told = state.execute(
            "select 1 from alert_events where incident_id = ? and done_by = ? and event != 'resolved'",
            (incident_id, problem.run_id),
        ).fetchone()
        if told is not None:
            return None
        event = "updated" if newest["status"] in incidents.LIVE else "reopened"
        state.execute(
            """
            update alert_incidents
            set last_seen_date = ?, incident_days = incident_days + 1, updated_at = ?
            where incident_id = ?
            """,
            (date.isoformat(), now, incident_id),
        )
        if event == "reopened":
            state.execute(
                """
                update alert_incidents
                set status = 'open', resolved_date = null, resolved_at = null, acknowledged_by = null,
                    snoozed_until = null, escalated_at = null, alerting_since = ?
                where incident_id = ?
                """,
                (now, incident_id),
            )
    piece = note_event(state, incident_id, event, by=problem.run_id, at=now)
    _announce(state, settings, incident_id, [piece], moment, problem)
    return incident_id


def _report(settings: Settings, problem: RunProblem, as_of: dt.datetime | None) -> Delivery:
    with open_state(settings) as state:
        _create_tables(state)
        record_problem(state, settings, problem, moment=as_of or dt.datetime.now(dt.UTC))
    return deliver_outbox(settings)


def _create_tables(state: sqlite3.Connection) -> None:
    incidents.create_tables(state)
    outbox.create_table(state)


def _open(state: sqlite3.Connection, problem: RunProblem, date: dt.date, now: str) -> str:
    names = [problem.dag_id, *([problem.task_id] if problem.task_id else [])]
    plain = "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", name)[:50].strip(".") for name in names)
    incident_id = f"{_PREFIX[problem.kind]}-{date:%Y%m%d}-{plain}"
    state.execute(
        """
        insert or ignore into alert_incidents (
            incident_id, fingerprint, kind, rule, direction, status, severity, owner, title, unit, first_seen_date,
            last_seen_date, incident_days, reason, alerting_since, opened_by_run, opened_at, updated_at
        ) values (?, ?, ?, ?, 'failed', 'open', 'critical', ?, ?, 'count', ?, ?, 1, '', ?, ?, ?, ?)
        """,
        (
            incident_id,
            problem.fingerprint,
            problem.kind,
            problem.kind,
            _OWNER,
            ".".join(names),
            date.isoformat(),
            date.isoformat(),
            now,
            problem.run_id,
            now,
            now,
        ),
    )
    return incident_id


def _announce(
    state: sqlite3.Connection,
    settings: Settings,
    incident_id: str,
    pieces: list[News],
    moment: dt.datetime,
    problem: RunProblem | None = None,
) -> None:
    if problem is not None:
        facts = _gather_facts(settings, problem, incident_id)
    else:
        saved = incidents.read_facts(state, incident_id)
        if saved is None:
            return
        facts = IncidentFacts.from_dict(saved)
    announce(state, settings, refresh_facts(state, facts), pieces, rule=None, moment=moment)


def _gather_facts(settings: Settings, problem: RunProblem, incident_id: str) -> IncidentFacts:
    """What the message shows; days and status are filled in from the incident."""
    # Redact before cutting: half a token is no longer recognised as one. The end of a traceback says the most.
    # An error about a file's name may hold lone surrogates, which neither SQLite nor Slack takes.
    secrets = secrets_of(settings)
    text = redact(problem.error.encode("utf-8", "replace").decode(), *secrets)
    if len(text) > _ERROR_LIMIT:
        # Of a blocked publication the beginning, which names the expectations.
        is_blocked = problem.kind == "blocked_publication"
        text = f"{text[:_ERROR_LIMIT]}…" if is_blocked else f"…{text[-_ERROR_LIMIT:]}"
    return IncidentFacts(
        incident_id=incident_id,
        kind=problem.kind,
        rule=problem.kind,
        title=".".join(filter(None, [problem.dag_id, problem.task_id])),
        description="",
        kpi="",
        dimension=None,
        dimension_value=None,
        denominator=None,
        unit="count",
        numerator_label="",
        direction="failed",
        severity="critical",
        owner=_OWNER,
        runbook=f"docs/runbooks/{problem.kind}.md",
        links={},
        status="open",
        first_seen_date="",
        last_seen_date="",
        resolved_date=None,
        incident_days=1,
        period_days=1,
        observed=None,
        expected=None,
        band_low=None,
        band_high=None,
        z=None,
        reason="",
        volume=None,
        baseline_days=0,
        run_id=problem.run_id,
        complete_to=None,
        provisional_to=None,
        error=text,
        log_url=redact(problem.log_url, *secrets) if problem.log_url else None,
        dag_id=problem.dag_id,
        task_id=problem.task_id,
        try_number=problem.try_number,
    )
