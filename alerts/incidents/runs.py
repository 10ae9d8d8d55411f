"""Incidents of the runs themselves: failed tasks, blocked publications, runs that did not end or did not start."""

from __future__ import annotations

import datetime as dt
import re
import sqlite3

from alerts.channels.delivery import Delivery
from alerts.incidents import store
from alerts.incidents.announcing import iso
from alerts.incidents.problems import RunProblem, close_problem, record_problem
from alerts.incidents.sending import deliver_outbox
from alerts.state import open_alerts
from foundation.dag_names import PIPELINE
from foundation.setting_types import longest_pause
from foundation.settings import Settings

# A machine may sleep, and a run may take its time.
MISSED_AFTER = dt.timedelta(hours=6)


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
        subject=dag_id,
        part=task_id,
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
    problem = RunProblem(kind="task_failure", subject=dag_id, part=None, run_id=run_id, error=reason)
    return _report(settings, problem, as_of)


def report_success(
    settings: Settings, *, dag_id: str, run_id: str, is_scheduled: bool, as_of: dt.datetime | None = None
) -> None:
    """Note that a run succeeded: its DAG's open incidents are over. Queues only; deliver afterwards.

    A scheduled run that comes after a gap says so, for nobody else may have been there to notice.
    """
    moment = as_of or dt.datetime.now(dt.UTC)
    with open_alerts(settings) as state:
        if is_scheduled and dag_id == PIPELINE:
            check_schedule(state, settings, moment=moment)
        store.write_heartbeat(state, dag_id, is_scheduled=is_scheduled, now=iso(moment.astimezone(dt.UTC)))
        for incident in store.read_incidents(state):
            if incident.is_of_run and incident.is_live and incident.subject == dag_id:
                close_problem(state, settings, incident, by=run_id, moment=moment)


def check_schedule(state: sqlite3.Connection, settings: Settings, *, moment: dt.datetime) -> str | None:
    """Open an incident when the scheduled pipeline has not succeeded for too long; returns its id, else None.

    Only a schedule that has started a run before can be missed: who runs by hand is not reminded.
    """
    beat = store.read_heartbeat(state, PIPELINE)
    if beat is None or beat.scheduled_at is None or settings.pipeline_schedule is None:
        return None
    last = beat.succeeded_at
    gap = moment.astimezone(dt.UTC) - last
    limit = (
        dt.timedelta(hours=settings.missed_run_after_hours)
        if settings.missed_run_after_hours
        else longest_pause(settings.pipeline_schedule) + MISSED_AFTER
    )
    if gap <= limit:
        return None
    # Told once per gap: its beginning stands in for a run's id.
    since = f"since {iso(last)}"
    problem = RunProblem(
        kind="missed_schedule",
        subject=PIPELINE,
        part=None,
        run_id=since,
        error=(
            f"The last success was {last.astimezone(settings.zone):%Y-%m-%d %H:%M %Z}, "
            f"{gap.total_seconds() / 3600:.0f} hours ago; the limit is {limit.total_seconds() / 3600:g}. Everybody "
            "sees what was published then."
        ),
    )
    return record_problem(state, settings, problem, moment=moment)


def _report(settings: Settings, problem: RunProblem, as_of: dt.datetime | None) -> Delivery:
    with open_alerts(settings) as state:
        record_problem(state, settings, problem, moment=as_of or dt.datetime.now(dt.UTC))
    return deliver_outbox(settings)
