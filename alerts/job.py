"""What the DAGs and the command line call: check and send, follow up, end a run."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass, field
from typing import Any

from alerts.channels.delivery import Delivery
from alerts.channels.folder import message_path
from alerts.incidents import store
from alerts.incidents.check import Decision, check_rules
from alerts.incidents.escalation import escalate_and_wake, set_clock_right
from alerts.incidents.runs import check_schedule, report_success
from alerts.incidents.sending import deliver_outbox
from alerts.incidents.weekly import find_due_week, gather_week, queue_week
from alerts.messages.facts import WeekFacts
from alerts.rules.loading import load_usable_rules
from alerts.state import copy_alerts, open_alerts
from foundation.connect import open_published
from foundation.settings import Settings


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
    folded_into: str | None
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


def check_and_send(
    settings: Settings, *, run_id: str, as_of: dt.datetime | None = None, watches_schedule: bool = True
) -> AlertReport:
    """Check the days that are new or changed, then deliver the outbox. `as_of` is the present moment, else the clock's.

    `watches_schedule`: also see that the pipeline runs, which it need not ask of itself. Raises `RulesError` (bad
    rules, with file and line), `NothingPublishedError`, and `AlertDeliveryError` when a message could not be sent; the
    incidents are recorded then, and the message goes out with the next delivery.
    """
    decision = check_rules(settings, run_id=run_id, as_of=as_of, watches_schedule=watches_schedule)
    delivery = deliver_outbox(settings)
    return make_report(settings, run_id, delivery, decision)


def follow_up(settings: Settings, *, run_id: str, as_of: dt.datetime | None = None) -> AlertReport:
    """What is due between two checks: end snoozes, escalate, see that the pipeline runs, deliver what waits."""
    moment = (as_of or dt.datetime.now(dt.UTC)).astimezone(settings.zone)
    rules = {rule.name: rule for rule in load_usable_rules(settings.alert_rules).book.rules}
    with open_alerts(settings) as state:
        set_clock_right(state, moment=moment)
        touched = set(escalate_and_wake(state, settings, rules, run_id=run_id, moment=moment))
        if (missed := check_schedule(state, settings, moment=moment)) is not None:
            touched.add(missed)
    delivery = deliver_outbox(settings)
    # after what is urgent, which nothing that goes wrong with a report may hold back
    if report_week(settings, run_id=run_id, moment=moment) is not None:
        weekly = deliver_outbox(settings)
        delivery = Delivery(delivery.sent + weekly.sent, delivery.rendered + weekly.rendered, weekly.pending)
    return make_report(settings, run_id, delivery, Decision(touched=touched))


def report_week(
    settings: Settings, *, run_id: str, moment: dt.datetime, monday: dt.date | None = None
) -> WeekFacts | None:
    """Queue the report of a week: the last one if it is due, or the one that begins on `monday`, due or not.

    What is said is gathered from a copy of the state file, so that nobody waits for it. None where no report is due, or
    the week's Sunday is not published.
    """
    with open_alerts(settings) as state:
        week = monday or find_due_week(state, settings, moment=moment)
    if week is None or not settings.published_path.exists():
        return None
    book = load_usable_rules(settings.alert_rules).book
    with open_published(settings) as warehouse, copy_alerts(settings) as known:
        facts = gather_week(warehouse, known, book, week, run_id=run_id)
    if facts is not None:
        with open_alerts(settings) as state:
            queue_week(state, settings, facts)
    return facts


def end_run(
    settings: Settings, *, dag_id: str, run_id: str, is_scheduled: bool = False, as_of: dt.datetime | None = None
) -> Delivery:
    """Close the incidents of a DAG whose run has succeeded, and deliver the outbox."""
    report_success(settings, dag_id=dag_id, run_id=run_id, is_scheduled=is_scheduled, as_of=as_of)
    return deliver_outbox(settings)


def make_report(settings: Settings, run_id: str, delivery: Delivery, decision: Decision) -> AlertReport:
    """The incidents a run touched and those that are live, with what was delivered."""
    with open_alerts(settings) as state:
        incidents = store.read_incidents(state)
    reports = [
        IncidentReport(
            id=each.incident_id,
            rule=each.rule,
            direction=each.direction,
            since=each.first_seen_date.isoformat(),
            last=each.last_seen_date.isoformat(),
            observed=each.figures.observed,
            expected=each.figures.expected,
            status=each.status,
            is_new=each.incident_id in decision.new,
            folded_into=each.folded_into,
            message_path=str(message_path(settings, each.folded_into or each.incident_id)),
        )
        for each in incidents
        if (each.incident_id in decision.touched or each.is_live) and each.incident_days
    ]
    return AlertReport(
        run_id=run_id,
        checked_days=decision.checked,
        incidents=reports,
        sent=delivery.sent,
        rendered=delivery.rendered,
        pending=delivery.pending,
        resolved=len(decision.resolved),
    )
