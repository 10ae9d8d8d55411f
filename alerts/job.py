"""Checks the published KPIs, records incidents with their messages, and delivers what is in the outbox."""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import sqlite3
from dataclasses import asdict, dataclass, field
from typing import Any

import duckdb

from alerts import incidents
from alerts.delivery import Delivery, deliver_outbox, message_path
from alerts.drivers import find_drivers
from alerts.facts import ChartPoint, IncidentFacts, ResolutionFacts, TaskFailureFacts
from alerts.kpis import Day, check_columns, read_days
from alerts.redaction import redact
from alerts.rules import Direction, Rule, RuleBook, load_rules
from alerts.verdicts import check_day, select_baseline
from warehouse.connect import open_published
from warehouse.settings import Settings
from warehouse.state import open_state

log = logging.getLogger(__name__)

TASK_RUNBOOK = "docs/runbooks/task_failure.md"
_ERROR_LIMIT = 1_500


@dataclass(frozen=True)
class IncidentReport:
    """One incident that this run opened, extended, resolved, or found still open."""

    id: str
    rule: str
    direction: str
    since: str  # ISO date
    last: str
    observed: float | None
    expected: float | None
    status: str
    is_new: bool
    message_path: str


@dataclass(frozen=True)
class AlertReport:
    """What a run of the alerts did. `sent`, `rendered`, `pending` count messages, `resolved` incidents."""

    run_id: str
    checked_days: list[str] = field(default_factory=list)
    incidents: list[IncidentReport] = field(default_factory=list)
    sent: int = 0
    rendered: int = 0
    pending: int = 0
    resolved: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values."""
        return asdict(self)


def check_and_send(settings: Settings, *, run_id: str) -> AlertReport:
    """Check the complete days that are new or changed, then deliver the outbox.

    Raises `RulesError` (bad rules, with file and line), `NothingPublishedError`, and `AlertDeliveryError` when a
    message could not be sent; the incidents are recorded then, and the message goes out with the next delivery.
    """
    checked, touched, new, resolved = check_rules(settings, run_id=run_id)
    delivery = deliver_outbox(settings)
    return _report(settings, run_id, delivery, checked=checked, touched=touched, new=new, resolved=resolved)


def check_rules(settings: Settings, *, run_id: str) -> tuple[set[str], set[str], set[str], list[str]]:
    """Decide and queue in one transaction; nothing is sent.

    Returns the ISO dates that were checked now, and the ids of the incidents touched, opened and resolved.
    """
    book = load_rules(settings.alert_rules)
    with open_published(settings) as warehouse:
        check_columns(warehouse, book.rules, settings.alert_rules)
        days_by_rule = {rule.name: read_days(warehouse, rule) for rule in book.rules}
        with open_state(settings) as state:
            incidents.create_tables(state)
            return _decide(state, warehouse, book, days_by_rule, run_id=run_id)


def report_task_failure(
    settings: Settings,
    *,
    dag_id: str,
    task_id: str,
    run_id: str,
    try_number: int,
    error: str | BaseException | None,
    log_url: str | None,
) -> AlertReport:
    """Queue a message about a failed task, once per DAG, task and run, and deliver the outbox.

    The error text is redacted and cut. Raises `AlertDeliveryError` when a message could not be sent.
    """
    fingerprint = f"task|{dag_id}|{task_id}|{run_id}"
    incident_id = f"task-{hashlib.sha256(fingerprint.encode()).hexdigest()[:12]}"
    now = dt.datetime.now(dt.UTC)
    text = f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else (error or "")
    # Redact before cutting: half a token is no longer recognised as one. The end of a traceback says the most.
    # An error about a file's name may hold lone surrogates, which neither SQLite nor Slack takes.
    text = redact(text.encode("utf-8", "replace").decode(), settings.slack_token)
    facts = TaskFailureFacts(
        incident_id=incident_id,
        dag_id=dag_id,
        task_id=task_id,
        run_id=run_id,
        try_number=try_number,
        error=text if len(text) <= _ERROR_LIMIT else f"…{text[-_ERROR_LIMIT:]}",
        log_url=redact(log_url, settings.slack_token) if log_url else None,
        runbook=TASK_RUNBOOK,
    )
    with open_state(settings) as state:
        incidents.create_tables(state)
        incidents.record_task_failure(
            state,
            incident_id=incident_id,
            fingerprint=fingerprint,
            task=f"{dag_id}.{task_id}",
            run_id=run_id,
            date=now.astimezone(settings.zone).date(),
            now=now.isoformat(timespec="seconds"),
        )
        incidents.queue_message(
            state, incident_id, "task_failure", facts.to_dict(), now=now.isoformat(timespec="seconds")
        )
    delivery = deliver_outbox(settings)
    return _report(settings, run_id, delivery, touched={incident_id}, include_open=False)


def _decide(
    state: sqlite3.Connection,
    warehouse: duckdb.DuckDBPyConnection,
    book: RuleBook,
    days_by_rule: dict[str, list[Day]],
    *,
    run_id: str,
) -> tuple[set[str], set[str], set[str], list[str]]:
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    checked: set[str] = set()
    touched: set[str] = set()
    new: set[str] = set()
    for rule in book.rules:
        days = days_by_rule[rule.name]
        window = [day for day in days if not day.is_provisional][-book.check_last_days :]
        # Day by day in order, so that a bad day is out of the baseline of the days after it.
        for day in window:
            for direction in rule.directions:
                if incidents.is_checked(state, rule, direction, day):
                    continue
                baseline = select_baseline(rule, days, day.date, incidents.incident_dates(state, rule.name))
                check = check_day(rule, direction, day, baseline)
                incident_id, is_new = incidents.record_check(state, rule, check, day, run_id=run_id, now=now)
                checked.add(day.date.isoformat())
                if incident_id is not None:
                    touched.add(incident_id)
                if incident_id is not None and is_new:
                    new.add(incident_id)
    fingerprints = {rule.fingerprint(direction) for rule in book.rules for direction in rule.directions}
    resolved = incidents.resolve_incidents(state, fingerprints, now=now)

    rules = {rule.name: rule for rule in book.rules}
    for incident_id in sorted(new):
        row = incidents.read_incident(state, incident_id)
        rule = rules[row["rule"]]
        facts = _gather_facts(state, warehouse, rule, row, days_by_rule[rule.name], run_id=run_id)
        if facts is not None:
            incidents.queue_message(state, incident_id, "incident", facts.to_dict(), now=now)
    for incident_id in resolved:
        # An incident that began and ended before anyone heard of it says so in its one message.
        if incident_id not in new:
            row = incidents.read_incident(state, incident_id)
            resolution = _gather_resolution(rules[row["rule"]], row, days_by_rule[row["rule"]])
            incidents.queue_message(state, incident_id, "resolution", resolution.to_dict(), now=now)
    return checked, touched | new | set(resolved), new, resolved


def _gather_facts(
    state: sqlite3.Connection,
    warehouse: duckdb.DuckDBPyConnection,
    rule: Rule,
    incident: sqlite3.Row,
    days: list[Day],
    *,
    run_id: str,
) -> IncidentFacts | None:
    direction: Direction = incident["direction"]
    incident_days = incidents.days_of(state, incident["incident_id"])
    if not incident_days:
        return None
    excluded = incidents.incident_dates(state, rule.name)
    complete = [day for day in days if not day.is_provisional]
    chart_start = incident_days[0] - dt.timedelta(days=rule.trailing_days)
    points = []
    for day in complete:
        if day.date < chart_start:
            continue
        check = check_day(rule, direction, day, select_baseline(rule, days, day.date, excluded))
        points.append(
            ChartPoint(day.date.isoformat(), day.value, check.expected, check.bound, day.date in incident_days)
        )
    baseline = select_baseline(rule, days, incident_days[-1], excluded)
    last_date = max(day.date for day in days)
    return IncidentFacts(
        incident_id=incident["incident_id"],
        title=rule.title,
        description=rule.description,
        kpi=rule.kpi,
        denominator=rule.denominator,
        unit=rule.unit,
        numerator_label=rule.numerator_label,
        direction=direction,
        severity=rule.severity,
        owner=rule.owner,
        runbook=rule.runbook,
        first_seen_date=incident["first_seen_date"],
        last_seen_date=incident["last_seen_date"],
        resolved_date=incident["resolved_date"],
        incident_days=len(incident_days),
        observed=incident["observed"],
        expected=incident["expected"],
        bound=incident["bound"],
        reason=incident["reason"],
        volume=incident["volume"],
        baseline_days=len(baseline),
        trailing_days=rule.trailing_days,
        run_id=run_id,
        complete_to=complete[-1].date.isoformat(),
        provisional_to=last_date.isoformat() if last_date > complete[-1].date else None,
        drivers=find_drivers(warehouse, rule, direction, incident_days, [day.date for day in baseline]),
        points=points,
    )


def _gather_resolution(rule: Rule, incident: sqlite3.Row, days: list[Day]) -> ResolutionFacts:
    resolved_date = incident["resolved_date"]
    observed = next((day.value for day in days if day.date.isoformat() == resolved_date), None)
    return ResolutionFacts(
        incident_id=incident["incident_id"],
        title=rule.title,
        unit=rule.unit,
        first_seen_date=incident["first_seen_date"],
        last_seen_date=incident["last_seen_date"],
        resolved_date=resolved_date,
        observed=observed,
        expected=incident["expected"],
    )


def _report(
    settings: Settings,
    run_id: str,
    delivery: Delivery,
    *,
    touched: set[str],
    checked: set[str] | None = None,
    new: set[str] | None = None,
    resolved: list[str] | None = None,
    include_open: bool = True,
) -> AlertReport:
    with open_state(settings) as state:
        rows = incidents.read_incidents(state)
    reports = [
        IncidentReport(
            id=row["incident_id"],
            rule=row["rule"],
            direction=row["direction"],
            since=row["first_seen_date"],
            last=row["last_seen_date"],
            observed=row["observed"],
            expected=row["expected"],
            status=row["status"],
            is_new=row["incident_id"] in (new or set()),
            message_path=str(message_path(settings, row["incident_id"], row["kind"])),
        )
        for row in rows
        if row["incident_id"] in touched or (include_open and row["status"] == "open")
    ]
    return AlertReport(
        run_id=run_id,
        checked_days=sorted(checked or ()),
        incidents=reports,
        sent=delivery.sent,
        rendered=delivery.rendered,
        pending=delivery.pending,
        resolved=len(resolved or ()),
    )
