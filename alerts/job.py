"""Checks the published KPIs, lets incidents live, queues what is new about them, and delivers the outbox."""

from __future__ import annotations

import datetime as dt
import logging
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import duckdb

from alerts.channels import outbox
from alerts.channels.delivery import Delivery, deliver_outbox, message_path
from alerts.detection.causes import Causes, explain
from alerts.detection.evaluation import evaluate_rules, select_baseline_dates
from alerts.detection.panel import DAILY_TABLE, check_columns
from alerts.detection.verdicts import Check
from alerts.incidents import store as incidents
from alerts.incidents.announcing import News, announce, escalate_and_wake, iso, note_event, read_member, refresh_facts
from alerts.incidents.folding import Candidate, choose_leaders
from alerts.incidents.runs import check_schedule, report_success
from alerts.messages.facts import RUN_KINDS, ChartPoint, IncidentFacts
from alerts.rules.book import Direction, Rule, RuleBook, load_rules
from alerts.text import say_value
from foundation.connect import open_published
from foundation.settings import Settings
from foundation.state import open_state

log = logging.getLogger(__name__)

# What the chart shows before the incident.
_CHART_DAYS = 42


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


@dataclass(frozen=True)
class Decision:
    """What a check found: the ISO dates with a new or changed verdict, and incidents by what became of them."""

    checked: list[str] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    new: set[str] = field(default_factory=set)
    resolved: set[str] = field(default_factory=set)


def check_and_send(
    settings: Settings, *, run_id: str, as_of: dt.datetime | None = None, watches_schedule: bool = True
) -> AlertReport:
    """Check the days that are new or changed, then deliver the outbox. `as_of` is the present moment, else the clock's.

    `watches_schedule`: also see that the daily run runs, which it need not ask of itself. Raises `RulesError` (bad
    rules, with file and line), `NothingPublishedError`, and `AlertDeliveryError` when a message could not be sent; the
    incidents are recorded then, and the message goes out with the next delivery.
    """
    decision = check_rules(settings, run_id=run_id, as_of=as_of, watches_schedule=watches_schedule)
    delivery = deliver_outbox(settings)
    return make_report(settings, run_id, delivery, decision)


def check_rules(
    settings: Settings, *, run_id: str, as_of: dt.datetime | None = None, watches_schedule: bool = True
) -> Decision:
    """Decide and queue in one transaction; nothing is sent."""
    # What is slow, the statistics, comes before the transaction: a button's answer must not wait for it.
    moment = (as_of or dt.datetime.now(dt.UTC)).astimezone(settings.zone)
    book = load_rules(settings.alert_rules)
    with open_published(settings) as warehouse:
        check_columns(warehouse, book.rules, settings.alert_rules)
        with open_state(settings) as state:
            incidents.create_tables(state)
            outbox.create_table(state)
            excluded = incidents.read_excluded_days(state)
        checks = evaluate_rules(warehouse, book, as_of=moment, excluded=excluded)
        with open_state(settings) as state:
            decision = _Check(settings, state, warehouse, book, run_id=run_id, moment=moment).decide(checks)
            if watches_schedule and (missed := check_schedule(state, settings, moment=moment)):
                decision.touched.add(missed)
            return decision


def follow_up(settings: Settings, *, run_id: str, as_of: dt.datetime | None = None) -> AlertReport:
    """What is due between two checks: end snoozes, escalate, see that the daily run runs, deliver what waits."""
    moment = (as_of or dt.datetime.now(dt.UTC)).astimezone(settings.zone)
    rules = {rule.name: rule for rule in load_rules(settings.alert_rules).rules}
    with open_state(settings) as state:
        incidents.create_tables(state)
        outbox.create_table(state)
        touched = set(escalate_and_wake(state, settings, rules, run_id=run_id, moment=moment))
        if (missed := check_schedule(state, settings, moment=moment)) is not None:
            touched.add(missed)
    delivery = deliver_outbox(settings)
    return make_report(settings, run_id, delivery, Decision(touched=touched))


def end_run(
    settings: Settings, *, dag_id: str, run_id: str, is_scheduled: bool = False, as_of: dt.datetime | None = None
) -> Delivery:
    """Close the incidents of a DAG whose run has succeeded, and deliver the outbox."""
    report_success(settings, dag_id=dag_id, run_id=run_id, is_scheduled=is_scheduled, as_of=as_of)
    return deliver_outbox(settings)


class _Check:
    """One check inside one transaction."""

    def __init__(
        self,
        settings: Settings,
        state: sqlite3.Connection,
        warehouse: duckdb.DuckDBPyConnection,
        book: RuleBook,
        *,
        run_id: str,
        moment: dt.datetime,
    ) -> None:
        self.settings = settings
        self.state = state
        self.warehouse = warehouse
        self.book = book
        self.rules = {rule.name: rule for rule in book.rules}
        self.run_id = run_id
        self.moment = moment
        self.now = iso(moment.astimezone(dt.UTC))
        self.causes: dict[str, Causes] = {}

    def decide(self, checks: list[Check]) -> Decision:
        """Let incidents live, fold, queue."""
        before = {row["incident_id"]: row for row in incidents.read_incidents(self.state)}
        dates = incidents.record_checks(self.state, checks, self.rules, run_id=self.run_id, now=self.now)
        incidents.resolve_incidents(self.state, self.rules, now=self.now)
        self._keep_leaders_open()
        news = self._note_changes(before)
        self._fold(news)
        self._queue(news)
        escalate_and_wake(self.state, self.settings, self.rules, run_id=self.run_id, moment=self.moment)
        events = {piece.event for pieces in news.values() for piece in pieces}
        log.debug("%d checks, %d incidents with news (%s)", len(checks), len(news), ", ".join(sorted(events)))

        def ids_of(*names: str) -> set[str]:
            return {incident for incident, pieces in news.items() if any(piece.event in names for piece in pieces)}

        return Decision(
            checked=[date.isoformat() for date in dates],
            touched=set(news),
            new=ids_of("opened"),
            resolved=ids_of("resolved"),
        )

    def _keep_leaders_open(self) -> None:
        """An incident that speaks for others is not over before they are; one of them may also have come back."""
        self.state.execute(
            f"""
            update alert_incidents
            set status = 'open', resolved_date = null, resolved_at = null, alerting_since = ?
            where
                status = 'resolved'
                and incident_id in (
                    select folded_into from alert_incidents where status in {incidents.LIVE}
                )
            """,
            (self.now,),
        )

    def _note_changes(self, before: dict[str, sqlite3.Row]) -> dict[str, list[News]]:
        """Compare with the incidents before the check; each difference becomes an event."""
        news: dict[str, list[News]] = {}
        for row in incidents.read_incidents(self.state):
            incident_id = row["incident_id"]
            names = _name_changes(before.get(incident_id), row)
            pieces = [note_event(self.state, incident_id, name, by=self.run_id, at=self.now) for name in names]
            if pieces:
                news[incident_id] = [replace(piece, observed=self._end_value(row, piece.event)) for piece in pieces]
        return news

    def _end_value(self, row: sqlite3.Row, event: str) -> float | None:
        if event != "resolved" or row["resolved_date"] is None:
            return None
        check = self.state.execute(
            "select observed from alert_checks where fingerprint = ? and kpi_date = ?",
            (row["fingerprint"], row["resolved_date"]),
        ).fetchone()
        return None if check is None else check["observed"]

    def _fold(self, news: dict[str, list[News]]) -> None:
        """Let one incident speak for those of its cause; what was told already goes on in the other one's thread."""
        rows = [
            row
            for row in incidents.read_incidents(self.state)
            if row["kind"] == "kpi"
            and row["incident_days"]
            and (row["status"] in incidents.LIVE or row["incident_id"] in news)
        ]
        for row in rows:
            if row["incident_id"] in news:
                self._explain(row)
        candidates = [self._as_candidate(incidents.read_incident(self.state, row["incident_id"])) for row in rows]
        for member_id, leader_id in choose_leaders(candidates).items():
            member = incidents.read_incident(self.state, member_id)
            if member["folded_into"] == leader_id:
                continue
            self.state.execute(
                "update alert_incidents set folded_into = ?, updated_at = ? where incident_id = ?",
                (leader_id, self.now, member_id),
            )
            leader = incidents.read_incident(self.state, leader_id)
            if member["severity"] == "critical":
                # Who speaks for a critical one is as loud as it.
                self.state.execute(
                    "update alert_incidents set severity = 'critical' where incident_id = ?", (leader_id,)
                )
            note_event(self.state, member_id, "folded", by=self.run_id, at=self.now, detail=leader_id)
            if outbox.is_announced(self.state, member_id) and not outbox.drop_unsent(self.state, member_id):
                detail = f"One cause with {leader['title']}: this goes on in its thread."
                piece = note_event(self.state, member_id, "folded_away", by=self.run_id, at=self.now, detail=detail)
                news.setdefault(member_id, []).append(piece)
            if outbox.is_announced(self.state, leader_id) and leader_id not in news:
                shown = read_member(member)
                detail = f"Same cause: {shown.title}{f', {shown.subject}' if shown.subject else ''}"
                detail += f" {say_value(shown.observed, shown.unit)}, expected {say_value(shown.expected, shown.unit)}"
                piece = note_event(self.state, leader_id, "joined", by=self.run_id, at=self.now, detail=detail)
                news.setdefault(leader_id, []).append(piece)

    def _as_candidate(self, row: sqlite3.Row) -> Candidate:
        return Candidate(
            incident_id=row["incident_id"],
            rule=row["rule"],
            dimension=row["dimension"],
            direction=row["direction"],
            first=dt.date.fromisoformat(row["first_seen_date"]),
            last=dt.date.fromisoformat(row["last_seen_date"]),
            severity=row["severity"],
            strength=abs(row["z"] or 0.0),
            cause=row["cause"],
            is_announced=outbox.is_announced(self.state, row["incident_id"]),
            folded_into=row["folded_into"],
        )

    def _explain(self, row: sqlite3.Row) -> None:
        rule = self.rules.get(row["rule"])
        dates = incidents.covered_days(self.state, row["incident_id"])
        if rule is None or rule.kind != "kpi" or not dates:
            return
        excluded = incidents.read_excluded_days(self.state).get(row["fingerprint"], set())
        baseline = select_baseline_dates(self.warehouse, rule, dates, excluded, book=self.book)
        value = (row["dimension"], row["dimension_value"]) if row["dimension"] is not None else None
        direction: Direction = row["direction"]
        causes = explain(self.warehouse, rule, direction, dates, baseline, dimension_value=value)
        self.causes[row["incident_id"]] = causes
        cause = f"{value[0]}={value[1]}" if value is not None else None
        if cause is None and causes.drivers and causes.drivers[0].is_significant:
            cause = f"{causes.drivers[0].dimension}={causes.drivers[0].value}"
        self.state.execute("update alert_incidents set cause = ? where incident_id = ?", (cause, row["incident_id"]))

    def _queue(self, news: dict[str, list[News]]) -> None:
        """Queue the messages of the incidents with news, and of those that speak for such."""
        speakers: dict[str, list[News]] = {}
        for incident_id, pieces in news.items():
            row = incidents.read_incident(self.state, incident_id)
            if row["folded_into"] is None:
                speakers.setdefault(incident_id, []).extend(pieces)
                continue
            speakers.setdefault(row["folded_into"], [])
            if outbox.is_announced(self.state, incident_id):
                own = [piece for piece in pieces if piece.event == "folded_away"]
                if own:
                    speakers.setdefault(incident_id, []).extend(own)
        for incident_id, pieces in sorted(speakers.items()):
            row = incidents.read_incident(self.state, incident_id)
            rule = self.rules.get(row["rule"])
            if not row["incident_days"]:
                self._withdraw(row, pieces, rule)
                continue
            facts = self._gather_facts(row, rule)
            if facts is not None:
                announce(self.state, self.settings, facts, pieces, rule=rule, moment=self.moment)

    def _withdraw(self, row: sqlite3.Row, pieces: list[News], rule: Rule | None) -> None:
        """An incident without a day left: what was not said yet is not said, what was said is taken back."""
        saved = incidents.read_facts(self.state, row["incident_id"])
        if saved is None or outbox.drop_unsent(self.state, row["incident_id"]):
            return
        facts = refresh_facts(self.state, IncidentFacts.from_dict(saved))
        announce(self.state, self.settings, facts, pieces, rule=rule, moment=self.moment)

    def _gather_facts(self, row: sqlite3.Row, rule: Rule | None) -> IncidentFacts | None:
        """All that the incident's message shows; without its rule, what was known before."""
        if rule is None:
            saved = incidents.read_facts(self.state, row["incident_id"])
            return None if saved is None else refresh_facts(self.state, IncidentFacts.from_dict(saved))
        check = self.state.execute(
            "select * from alert_checks where fingerprint = ? and kpi_date = ?",
            (row["fingerprint"], row["last_seen_date"]),
        ).fetchone()
        complete_to, provisional_to = self._freshness()
        causes = self.causes.get(row["incident_id"])
        if causes is None and row["kind"] == "kpi":
            self._explain(row)
            causes = self.causes.get(row["incident_id"])
        facts = IncidentFacts(
            incident_id=row["incident_id"],
            kind=row["kind"],
            rule=rule.name,
            title=rule.title,
            description=rule.description,
            kpi=rule.kpi,
            dimension=row["dimension"],
            dimension_value=row["dimension_value"],
            denominator=rule.denominator,
            unit=rule.unit,
            numerator_label=rule.numerator_label,
            direction=row["direction"],
            severity=row["severity"],
            owner=rule.owner,
            runbook=rule.runbook,
            links=dict(rule.links),
            status=row["status"],
            first_seen_date=row["first_seen_date"],
            last_seen_date=row["last_seen_date"],
            resolved_date=row["resolved_date"],
            incident_days=row["incident_days"],
            period_days=check["period_days"],
            observed=row["observed"],
            expected=row["expected"],
            band_low=row["band_low"],
            band_high=row["band_high"],
            z=row["z"],
            reason=row["reason"],
            volume=row["volume"],
            baseline_days=check["baseline_days"],
            run_id=self.run_id,
            complete_to=complete_to,
            provisional_to=provisional_to,
            cause=incidents.read_incident(self.state, row["incident_id"])["cause"],
            causes=causes,
            points=self._chart_points(row, rule),
        )
        return refresh_facts(self.state, facts)

    def _freshness(self) -> tuple[str | None, str | None]:
        """The last complete day, and the last provisional one if it is later."""
        ((complete, last),) = self.warehouse.execute(
            f"select max(kpi_date) filter (where not is_provisional), max(kpi_date) from {DAILY_TABLE}"
        ).fetchall()
        is_ahead = last is not None and (complete is None or last > complete)
        return complete.isoformat() if complete else None, last.isoformat() if is_ahead else None

    def _chart_points(self, row: sqlite3.Row, rule: Rule) -> list[ChartPoint]:
        """What was observed and expected from some weeks before the incident on."""
        incident_days = set(incidents.days_of(self.state, row["incident_id"]))
        since = min(incident_days) - dt.timedelta(days=_CHART_DAYS)
        if rule.kind != "kpi":
            checks: Iterable[Any] = self.state.execute(
                "select * from alert_checks where fingerprint = ? and kpi_date >= ? order by kpi_date",
                (row["fingerprint"], since.isoformat()),
            ).fetchall()
            points = [_to_point(check["kpi_date"], dict(check), incident_days) for check in checks]
            return points if len(points) > 2 else []
        book = self.book.model_copy(update={"rules": [rule]})
        excluded = incidents.read_excluded_days(self.state)
        found = evaluate_rules(self.warehouse, book, as_of=self.moment, excluded=excluded, since=since)
        return [
            _to_point(check.date.isoformat(), asdict(check), incident_days)
            for check in found
            if check.fingerprint == row["fingerprint"] and not check.is_provisional and check.date >= since
        ]


def _to_point(date: str, check: dict[str, Any], incident_days: set[dt.date]) -> ChartPoint:
    return ChartPoint(
        date=date,
        observed=check["observed"],
        expected=check["expected"],
        band_low=check["band_low"],
        band_high=check["band_high"],
        is_incident=dt.date.fromisoformat(date) in incident_days,
    )


def _name_changes(before: sqlite3.Row | None, after: sqlite3.Row) -> list[str]:
    """What became of an incident between two states; runs tell their own news."""
    if after["kind"] in RUN_KINDS:
        return []
    is_live = after["status"] in incidents.LIVE
    names = []
    if before is None:
        names.append("opened")
    elif before["status"] == "resolved":
        if is_live or after["last_seen_date"] > before["last_seen_date"]:
            names.append("reopened")
    elif (before["last_seen_date"], before["incident_days"]) != (after["last_seen_date"], after["incident_days"]):
        names.append("updated")
    was_live = before is None or before["status"] in incidents.LIVE or names == ["reopened"]
    if was_live and not is_live:
        names = [name for name in names if name != "updated"]
        names.append("resolved" if after["incident_days"] else "withdrawn")
    return names


def make_report(settings: Settings, run_id: str, delivery: Delivery, decision: Decision) -> AlertReport:
    """The incidents a run touched and those that are live, with what was delivered."""
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
            is_new=row["incident_id"] in decision.new,
            folded_into=row["folded_into"],
            message_path=str(message_path(settings, row["folded_into"] or row["incident_id"])),
        )
        for row in rows
        if (row["incident_id"] in decision.touched or row["status"] in incidents.LIVE) and row["incident_days"]
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
