"""Checks the published KPIs, lets incidents live, and queues what is new about them."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import logging
import sqlite3
from dataclasses import dataclass, field, replace

from alerts.channels import outbox
from alerts.detection.causes import Causes
from alerts.detection.evaluation import evaluate_rules
from alerts.detection.panel import find_column_problems
from alerts.detection.verdicts import Check, Figures, Hours
from alerts.incidents import store
from alerts.incidents.announcing import (
    News,
    announce,
    iso,
    note_event,
    read_standing,
    refresh_facts,
    to_member,
)
from alerts.incidents.arrivals import note_arrival
from alerts.incidents.escalation import escalate_and_wake, set_clock_right
from alerts.incidents.folding import Candidate, choose_leaders
from alerts.incidents.investigation import Investigation
from alerts.incidents.life import list_covered_days, record_checks, resolve_incidents
from alerts.incidents.problems import follow_states
from alerts.incidents.revisions import note_versions, read_moves
from alerts.incidents.runs import check_schedule
from alerts.incidents.store import Incident
from alerts.messages.facts import BAD_RULE, REFUSED_MODEL, UNREADABLE_FILE, ChartPoint, KpiFacts, RunFacts
from alerts.rules.book import Rule, RuleBook, RulesError
from alerts.rules.loading import load_usable_rules
from alerts.state import copy_alerts, open_alerts
from alerts.text import say_date, say_hour, say_hours, say_value
from foundation.connect import open_published
from foundation.settings import Settings
from warehouse.lake import list_unloaded_files
from warehouse.transaction import read_refused_models

log = logging.getLogger(__name__)

# What the chart shows before the incident.
_USUAL_DEVIATIONS = 2.0
_CHART_DAYS = 42
# Somebody may answer while a check works out what it needs; so often it starts again from what is then known.
_REHEARSALS = 3


@dataclass(frozen=True)
class Decision:
    """What a check found: the ISO dates with a new or changed verdict, and incidents by what became of them."""

    checked: list[str] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    new: set[str] = field(default_factory=set)
    resolved: set[str] = field(default_factory=set)


def check_rules(
    settings: Settings, *, run_id: str, as_of: dt.datetime | None = None, watches_schedule: bool = True
) -> Decision:
    """Decide and queue in one transaction; nothing is sent.

    The statistics, causes and charts come first, in a rehearsal on a copy of the state: nobody's answer has to wait for
    them.
    """
    moment = (as_of or dt.datetime.now(dt.UTC)).astimezone(settings.zone)
    usable = load_usable_rules(settings.alert_rules)
    with open_published(settings) as warehouse:
        problems = usable.problems | find_column_problems(warehouse, usable.book.rules, settings.alert_rules)
        book = _leave_out(usable.book, problems)
        with open_alerts(settings) as state:
            excluded = store.read_excluded_days(state)
            note_versions(state, warehouse, moment=moment, kept_days=settings.kept_result_days)
            moved = read_moves(state)
            arrivals = note_arrival(state, warehouse, moment=moment)
            seen = _describe_inputs(state, settings, moment=moment, heard_until=arrivals.heard_until)
            is_known = seen == store.read_last_check(state)
        checks = evaluate_rules(
            warehouse,
            _leave_out_kpis(book) if is_known else book,
            as_of=moment,
            excluded=excluded,
            moved=moved,
            with_hours=True,
            arrivals=arrivals,
        )
        investigation = Investigation(warehouse, book, moment=moment, moved=moved)
        states = {
            BAD_RULE: {name: "\n".join(lines) for name, lines in problems.items()},
            REFUSED_MODEL: read_refused_models(warehouse),
            UNREADABLE_FILE: _list_unreadable_files(settings),
        }

        def decide(state: sqlite3.Connection) -> Decision:
            check = _RuleCheck(settings, state, investigation, book, run_id=run_id, moment=moment)
            decision = check.decide(checks, left_out=set(problems))
            for kind, broken in states.items():
                follow_states(
                    state, settings, kind, broken, tells_changes=kind == UNREADABLE_FILE, by=run_id, moment=moment
                )
            store.write_last_check(state, seen)
            if watches_schedule and (missed := check_schedule(state, settings, moment=moment)):
                decision.touched.add(missed)
            return decision

        def decide_for_good() -> Decision:
            with open_alerts(settings) as state:
                return decide(state)

        for _ in range(_REHEARSALS):
            with copy_alerts(settings) as rehearsed:
                decide(rehearsed)
            decision = investigation.try_with_what_is_known(decide_for_good)
            if decision is not None:
                return decision
        return decide_for_good()


def _describe_inputs(
    state: sqlite3.Connection,
    settings: Settings,
    *,
    moment: dt.datetime,
    heard_until: dt.datetime | None,
) -> str:
    """All that the checks of KPIs are made of, but for incidents, which follow from it."""
    file = settings.published_path.stat()
    rules = hashlib.sha256(settings.alert_rules.read_bytes()).hexdigest()
    expected = store.read_expected_days(state)
    hour = None if heard_until is None else heard_until.replace(minute=0, second=0, microsecond=0).isoformat()
    parts = [file.st_ino, file.st_mtime_ns, file.st_size, rules, moment.date().isoformat(), hour]
    return json.dumps([*parts, sorted((name, sorted(map(str, days))) for name, days in expected.items())])


def _list_unreadable_files(settings: Settings) -> dict[str, str]:
    """What the export holds that could not be loaded, as one problem of the export; empty where there is nothing."""
    lines = list_unloaded_files(settings)
    return {"export": "\n".join([f"{len(lines)} file(s):", *lines])} if lines else {}


def _leave_out(book: RuleBook, problems: dict[str, list[str]]) -> RuleBook:
    """The book without the rules that have problems; raises `RulesError` where none would be left."""
    left = [rule for rule in book.rules if rule.name not in problems]
    if not left:
        raise RulesError("\n".join(line for lines in problems.values() for line in lines))
    return book.model_copy(update={"rules": left})


def _leave_out_kpis(book: RuleBook) -> RuleBook:
    """The rules that depend on the clock: what KPIs say of the same tables was found by the last check."""
    return book.model_copy(update={"rules": [rule for rule in book.rules if rule.kind != "kpi"]})


class _RuleCheck:
    """One check inside one transaction."""

    def __init__(
        self,
        settings: Settings,
        state: sqlite3.Connection,
        investigation: Investigation,
        book: RuleBook,
        *,
        run_id: str,
        moment: dt.datetime,
    ) -> None:
        self.settings = settings
        self.state = state
        self.investigation = investigation
        self.rules = {rule.name: rule for rule in book.rules}
        self.run_id = run_id
        self.moment = moment
        self.now = iso(moment.astimezone(dt.UTC))
        self.causes: dict[str, Causes] = {}
        self.excluded: dict[str, set[dt.date]] = {}

    def decide(self, checks: list[Check], *, left_out: set[str]) -> Decision:
        """Let incidents live, fold, queue; those of the rules that are `left_out` stay as they are."""
        set_clock_right(self.state, moment=self.moment)
        before = {incident.incident_id: incident for incident in store.read_incidents(self.state)}
        confirmed = self._find_confirmed(checks)
        dates = record_checks(self.state, checks, self.rules, run_id=self.run_id, now=self.now)
        self.excluded = store.read_excluded_days(self.state)
        resolve_incidents(self.state, self.rules.keys() | left_out, now=self.now)
        # An incident that speaks for others is not over before they are; one of them may also have come back.
        store.reopen_speakers(self.state, now=self.now)
        news = self._note_changes(before)
        self._confirm(confirmed, news)
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

    def _find_confirmed(self, checks: list[Check]) -> dict[str, Check]:
        """The incidents told by the hours of an intraday table of which the day's own table says the same."""
        found = {}
        for check in checks:
            stored = store.read_check(self.state, check.fingerprint, check.date)
            if stored is None or stored.incident_id is None or stored.check.hours is None:
                continue
            if stored.check.is_provisional and not check.is_provisional and check.verdict == "breach":
                found[stored.incident_id] = check
        return found

    def _confirm(self, confirmed: dict[str, Check], news: dict[str, list[News]]) -> None:
        for incident_id, check in sorted(confirmed.items()):
            if check.hours is not None and outbox.is_announced(self.state, incident_id):
                detail = f"the table of {say_date(check.date.isoformat())} has come and says the same"
                piece = note_event(self.state, incident_id, "confirmed", by=self.run_id, at=self.now, detail=detail)
                news.setdefault(incident_id, []).append(piece)

    def _note_changes(self, before: dict[str, Incident]) -> dict[str, list[News]]:
        """Compare with the incidents before the check; each difference becomes an event."""
        news: dict[str, list[News]] = {}
        for incident in store.read_incidents(self.state):
            earlier = before.get(incident.incident_id)
            if earlier is not None and incident.is_live and earlier.figures != incident.figures:
                # its own message shows them; how often that is edited is decided there
                news.setdefault(incident.incident_id, [])
            for name in _name_changes(earlier, incident):
                end = self._find_end(incident) if name == "resolved" else None
                # what ended it is a value of a KPI, an hour, and of everything else a sentence
                detail = end.reason if end is not None and incident.kind != "kpi" else ""
                if name == "resolved" and (hours := self._find_hours(incident)) is not None and hours.until is not None:
                    began = self._find_begin(incident) or hours.since
                    detail, end = f"usual again since {say_hour(hours.until)}; {say_hours(began, hours.until)}", None
                piece = note_event(self.state, incident.incident_id, name, by=self.run_id, at=self.now, detail=detail)
                observed = end.observed if end is not None else None
                news.setdefault(incident.incident_id, []).append(replace(piece, observed=observed))
        return news

    def _find_end(self, incident: Incident) -> Figures | None:
        """The first normal day's figures."""
        if incident.resolved_date is None:
            return None
        stored = store.read_check(self.state, incident.fingerprint, incident.resolved_date)
        return None if stored is None else stored.check.figures

    def _find_hours(self, incident: Incident) -> Hours | None:
        """The hours of its last day."""
        stored = store.read_check(self.state, incident.fingerprint, incident.last_seen_date)
        return None if stored is None else stored.check.hours

    def _find_begin(self, incident: Incident) -> str | None:
        """The hour in which it began, where its first day knows it."""
        breaches = store.list_breaches(self.state, incident.incident_id)
        return breaches[0].hours.since if breaches and breaches[0].hours is not None else None

    def _fold(self, news: dict[str, list[News]]) -> None:
        """Let one incident speak for those of its cause; what was told already goes on in the other one's thread."""
        incidents = [
            incident
            for incident in store.read_incidents(self.state)
            if incident.kind == "kpi" and incident.incident_days and (incident.is_live or incident.incident_id in news)
        ]
        for incident in incidents:
            if incident.incident_id in news:
                self._explain(incident)
        candidates = [self._as_candidate(each.incident_id) for each in incidents]
        for member_id, speaker_id in choose_leaders(candidates).items():
            member = store.read_incident(self.state, member_id)
            if member.folded_into != speaker_id:
                self._fold_one(member, store.read_incident(self.state, speaker_id), news)

    def _fold_one(self, member: Incident, speaker: Incident, news: dict[str, list[News]]) -> None:
        member_id, speaker_id = member.incident_id, speaker.incident_id
        store.fold(self.state, member_id, speaker_id, now=self.now)
        if member.severity == "critical":
            # Who speaks for a critical one is as loud as it.
            store.raise_severity(self.state, speaker_id)
        note_event(self.state, member_id, "folded", by=self.run_id, at=self.now, detail=speaker_id)
        if outbox.is_announced(self.state, member_id) and not outbox.drop_unsent(self.state, member_id):
            detail = f"Same cause as {speaker.title}: this continues in its thread."
            piece = note_event(self.state, member_id, "folded_away", by=self.run_id, at=self.now, detail=detail)
            news.setdefault(member_id, []).append(piece)
        if outbox.is_announced(self.state, speaker_id) and speaker_id not in news:
            shown = to_member(member)
            detail = f"Same cause: {shown.title}{f', {shown.subject}' if shown.subject else ''}"
            detail += f" {say_value(shown.observed, shown.unit)}, expected {say_value(shown.expected, shown.unit)}"
            piece = note_event(self.state, speaker_id, "joined", by=self.run_id, at=self.now, detail=detail)
            news.setdefault(speaker_id, []).append(piece)

    def _as_candidate(self, incident_id: str) -> Candidate:
        incident = store.read_incident(self.state, incident_id)
        return Candidate(
            incident_id=incident_id,
            rule=incident.rule,
            dimension=incident.dimension,
            direction=incident.direction,
            first=incident.first_seen_date,
            last=incident.last_seen_date,
            severity=incident.severity,
            strength=abs(incident.figures.z or 0.0),
            cause=incident.cause,
            is_announced=outbox.is_announced(self.state, incident_id),
            folded_into=incident.folded_into,
            measures=self.rules[incident.rule].hourly if incident.rule in self.rules else None,
        )

    def _explain(self, incident: Incident) -> None:
        rule = self.rules.get(incident.rule)
        dates = list_covered_days(self.state, incident.incident_id)
        if rule is None or rule.kind != "kpi" or not dates:
            return
        hours = {
            check.date: check.hours
            for check in store.list_breaches(self.state, incident.incident_id)
            if check.hours is not None and (check.is_provisional or check.hours.decides)
        }
        excluded = self.excluded.get(incident.fingerprint, set())
        causes = self.investigation.explain(incident, rule, dates, excluded, hours)
        self.causes[incident.incident_id] = causes
        driver = incident.label
        if driver is None and causes.drivers and causes.drivers[0].is_significant:
            driver = (causes.drivers[0].dimension, causes.drivers[0].value)
        store.set_cause(self.state, incident.incident_id, None if driver is None else f"{driver[0]}={driver[1]}")

    def _queue(self, news: dict[str, list[News]]) -> None:
        """Queue the messages of the incidents with news, and of those that speak for such."""
        speakers: dict[str, list[News]] = {}
        for incident_id, pieces in news.items():
            speaker = store.read_incident(self.state, incident_id).folded_into
            if speaker is None:
                speakers.setdefault(incident_id, []).extend(pieces)
                continue
            speakers.setdefault(speaker, [])
            own = [piece for piece in pieces if piece.event == "folded_away"]
            if own and outbox.is_announced(self.state, incident_id):
                speakers.setdefault(incident_id, []).extend(own)
        for incident_id, pieces in sorted(speakers.items()):
            incident = store.read_incident(self.state, incident_id)
            rule = self.rules.get(incident.rule)
            facts = self._gather_facts(incident, rule)
            if facts is not None:
                announce(self.state, self.settings, facts, pieces, rule=rule, moment=self.moment)

    def _gather_facts(self, incident: Incident, rule: Rule | None) -> KpiFacts | RunFacts | None:
        """All that the incident's message shows; None where nothing is to be said."""
        is_withdrawn = not incident.incident_days
        if rule is not None and not is_withdrawn:
            return self._make_facts(incident, rule)
        # Without its rule, or a day, it is told by what was known before.
        saved = store.read_facts(self.state, incident.incident_id)
        # What was not said yet is not said, what was said is taken back.
        if saved is None or (is_withdrawn and outbox.drop_unsent(self.state, incident.incident_id)):
            return None
        return refresh_facts(self.state, saved)

    def _make_facts(self, incident: Incident, rule: Rule) -> KpiFacts:
        if incident.incident_id not in self.causes and incident.kind == "kpi":
            self._explain(incident)
            incident = store.read_incident(self.state, incident.incident_id)
        stored = store.read_check(self.state, incident.fingerprint, incident.last_seen_date)
        assert stored is not None
        return KpiFacts(
            incident_id=incident.incident_id,
            kind=incident.kind,
            title=rule.title,
            severity=incident.severity,
            owner=rule.owner,
            runbook=rule.runbook,
            run_id=self.run_id,
            standing=read_standing(self.state, incident),
            rule=rule.name,
            description=rule.description,
            kpi=rule.kpi,
            dimension=incident.dimension,
            dimension_value=incident.dimension_value,
            denominator=rule.denominator,
            unit=rule.unit,
            numerator_label=rule.numerator_label,
            direction=incident.direction,
            links=dict(rule.links),
            period_days=stored.check.period_days,
            baseline_days=stored.check.baseline_days,
            figures=incident.figures,
            began=self._find_begin(incident),
            hours=stored.check.hours,
            complete_to=self.investigation.complete_to,
            provisional_to=self.investigation.provisional_to,
            cause=incident.cause,
            causes=self.causes.get(incident.incident_id),
            members=[to_member(member) for member in store.read_members(self.state, incident.incident_id)],
            points=self._list_points(incident, rule),
        )

    def _list_points(self, incident: Incident, rule: Rule) -> list[ChartPoint]:
        """What was observed and expected from some weeks before the incident on."""
        breaches = store.list_breaches(self.state, incident.incident_id)
        days = {check.date for check in breaches}
        if breaches[-1].hours is not None and breaches[-1].hours.decides and breaches[-1].hours.so_far:
            return _to_hourly_points(breaches[-1].hours)
        since = min(days) - dt.timedelta(days=_CHART_DAYS)
        if rule.kind != "kpi":
            checks = store.list_checks(self.state, incident.fingerprint, since)
            return [_to_point(check, days) for check in checks] if len(checks) > 2 else []
        return [
            _to_point(check, days)
            for check in self.investigation.list_checks(rule, since, self.excluded)
            if check.fingerprint == incident.fingerprint and not check.is_provisional and check.date >= since
        ]


def _to_hourly_points(hours: Hours) -> list[ChartPoint]:
    """What had come by the end of each hour, around the begin of an incident that the hours alone tell."""
    return [
        ChartPoint(
            date=at,
            observed=came,
            expected=due,
            band_low=max(0.0, due - _USUAL_DEVIATIONS * spread),
            band_high=due + _USUAL_DEVIATIONS * spread,
            is_incident=at > hours.since and (hours.until is None or at <= hours.until),
        )
        for at, came, due, spread in hours.so_far
    ]


def _to_point(check: Check, incident_days: set[dt.date]) -> ChartPoint:
    return ChartPoint(
        date=check.date.isoformat(),
        observed=check.figures.observed,
        expected=check.figures.expected,
        band_low=check.figures.band_low,
        band_high=check.figures.band_high,
        is_incident=check.date in incident_days,
    )


def _name_changes(before: Incident | None, after: Incident) -> list[str]:
    """What became of an incident between two states; runs tell their own news."""
    if after.is_of_run:
        return []
    names = []
    if before is None:
        names.append("opened")
    elif before.status == "resolved":
        if after.is_live or after.last_seen_date > before.last_seen_date:
            names.append("reopened")
    elif (before.last_seen_date, before.incident_days) != (after.last_seen_date, after.incident_days):
        names.append("updated")
    was_live = before is None or before.is_live or names == ["reopened"]
    if was_live and not after.is_live:
        names = [name for name in names if name != "updated"]
        names.append("resolved" if after.incident_days else "withdrawn")
    return names
