"""Checks, incidents and what happened to them, in the state file: all SQL on these tables.

Everything here runs inside the caller's transaction, so that an incident, its events and the messages about them are
recorded together or not at all. `now` and other moments are ISO texts in UTC.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from alerts.detection.verdicts import Check, Figures, Hours
from alerts.messages.facts import RUN_KINDS, KpiFacts, RunFacts, WeekFacts, from_json_values, to_json_values
from alerts.rules.book import Direction
from foundation.errors import FunnelhouseError

Status = Literal["open", "acknowledged", "snoozed", "resolved"]
# Statuses of an incident that is not over; escalation happens to an open one and is no status of its own.
LIVE = ("open", "acknowledged", "snoozed")
_FIGURES = tuple(each.name for each in fields(Figures))


class UnknownIncidentError(FunnelhouseError):
    """There is no incident of that id."""


@dataclass(frozen=True)
class Incident:
    """A problem from its first day to its last. `figures` are those of `last_seen_date`, in the rule's unit."""

    incident_id: str
    fingerprint: str
    kind: str
    rule: str
    dimension: str | None
    dimension_value: str | None
    direction: str
    status: Status
    severity: str
    owner: str
    title: str
    unit: str
    first_seen_date: dt.date
    last_seen_date: dt.date
    resolved_date: dt.date | None
    incident_days: int
    figures: Figures
    cause: str | None
    folded_into: str | None
    alerting_since: dt.datetime
    acknowledged_by: str | None
    snoozed_until: dt.date | None
    escalated_at: str | None
    opened_by_run: str
    opened_at: str

    @property
    def is_live(self) -> bool:
        """Whether it is not over."""
        return self.status in LIVE

    @property
    def is_of_run(self) -> bool:
        """Whether it is about the machinery itself: a run in Airflow, a channel."""
        return self.kind in RUN_KINDS

    @property
    def subject(self) -> str | None:
        """The DAG or channel that it is about; None for a KPI."""
        return self.fingerprint.split("|")[1] if self.is_of_run else None

    @property
    def label(self) -> tuple[str, str] | None:
        """Dimension and value that it is about; None for the whole shop."""
        return None if self.dimension is None else (self.dimension, str(self.dimension_value))


@dataclass(frozen=True)
class StoredCheck:
    """A check as it was last decided, and the incident that its day belongs to."""

    check: Check
    incident_id: str | None

    def says(self, check: Check) -> bool:
        """Whether a new check says the same; its KPI's name is not kept."""
        return replace(self.check, kpi=check.kpi) == check


@dataclass(frozen=True)
class HistoryEntry:
    """One change in an incident's life."""

    event: str
    happened_at: str
    done_by: str
    detail: str


@dataclass(frozen=True)
class Heartbeat:
    """When a DAG last succeeded, and when a run that its schedule had started last did."""

    succeeded_at: dt.datetime
    scheduled_at: dt.datetime | None


# ---------------------------------------------------------------------------------------------------------- checks


def read_check(state: sqlite3.Connection, fingerprint: str, date: dt.date) -> StoredCheck | None:
    """The check of one day."""
    row = state.execute(
        "select * from alert_checks where fingerprint = ? and kpi_date = ?", (fingerprint, date.isoformat())
    ).fetchone()
    return _read_check(row) if row is not None else None


def write_check(state: sqlite3.Connection, check: Check, incident_id: str | None, *, run_id: str, now: str) -> None:
    """Store a check in the place of an earlier one of its day."""
    values = {name: value for name, value in asdict(check).items() if name not in ("kpi", "date", "figures", "hours")}
    _insert(
        state,
        "insert or replace into alert_checks",
        values
        | asdict(check.figures)
        | {
            "fingerprint": check.fingerprint,
            "kpi_date": check.date.isoformat(),
            "hours": None if check.hours is None else json.dumps(asdict(check.hours)),
            "incident_id": incident_id,
            "run_id": run_id,
            "checked_at": now,
        },
    )


def list_breaches(state: sqlite3.Connection, incident_id: str) -> list[Check]:
    """The breaching days of an incident, oldest first."""
    rows = state.execute(
        "select * from alert_checks where incident_id = ? and verdict = 'breach' order by kpi_date", (incident_id,)
    )
    return [_read_check(row).check for row in rows]


def list_checks(state: sqlite3.Connection, fingerprint: str, since: dt.date) -> list[Check]:
    """The checks of one series from a day on, oldest first."""
    rows = state.execute(
        "select * from alert_checks where fingerprint = ? and kpi_date >= ? order by kpi_date",
        (fingerprint, since.isoformat()),
    )
    return [_read_check(row).check for row in rows]


def find_beside(state: sqlite3.Connection, check: Check, side: Literal["before", "after"]) -> str | None:
    """The incident of the nearest decided day on one side: near and untested days and gaps do not part an incident."""
    comparison, order = ("<", "desc") if side == "before" else (">", "asc")
    row = state.execute(
        f"""
        select incident_id from alert_checks
        where
            fingerprint = ? and verdict in ('breach', 'normal') and not is_provisional and not is_expected_event
            and kpi_date {comparison} ?
        order by kpi_date {order} limit 1
        """,
        (check.fingerprint, check.date.isoformat()),
    ).fetchone()
    return None if row is None else row["incident_id"]


def find_first_normal(state: sqlite3.Connection, fingerprint: str, after: dt.date) -> dt.date | None:
    """The first complete normal day after a date."""
    row = state.execute(
        """
        select min(kpi_date) as kpi_date from alert_checks
        where fingerprint = ? and verdict = 'normal' and not is_provisional and kpi_date > ?
        """,
        (fingerprint, after.isoformat()),
    ).fetchone()
    return _read_date(row["kpi_date"])


def find_end_by_hours(state: sqlite3.Connection, fingerprint: str, last_seen: dt.date) -> dt.date | None:
    """The date of the first hour that was usual again, where the last day of an incident knows it."""
    stored = read_check(state, fingerprint, last_seen)
    hours = None if stored is None else stored.check.hours
    return None if hours is None or hours.until is None else dt.date.fromisoformat(hours.until[:10])


def find_newest_checked(state: sqlite3.Connection, rule: str) -> dt.date | None:
    """The newest day on which a rule was checked."""
    row = state.execute("select max(kpi_date) as kpi_date from alert_checks where rule = ?", (rule,)).fetchone()
    return _read_date(row["kpi_date"])


def mark_expected(state: sqlite3.Connection, fingerprint: str, dates: Iterable[dt.date], *, by: str, now: str) -> None:
    """Days on which this problem is no alert and that no baseline uses."""
    state.executemany(
        "insert or ignore into alert_expected_days (fingerprint, kpi_date, marked_by, marked_at) values (?, ?, ?, ?)",
        [(fingerprint, date.isoformat(), by, now) for date in dates],
    )
    state.execute(
        """
        update alert_checks set incident_id = null
        where (fingerprint, kpi_date) in (select fingerprint, kpi_date from alert_expected_days)
        """
    )


def read_expected_days(state: sqlite3.Connection) -> dict[str, set[dt.date]]:
    """Per fingerprint, the days that someone marked as expected."""
    days: dict[str, set[dt.date]] = {}
    for row in state.execute("select fingerprint, kpi_date from alert_expected_days"):
        days.setdefault(row["fingerprint"], set()).add(dt.date.fromisoformat(row["kpi_date"]))
    return days


def read_excluded_days(state: sqlite3.Connection) -> dict[str, set[dt.date]]:
    """Per fingerprint, the days no baseline may use: those of an incident, near ones included, and expected ones."""
    days = read_expected_days(state)
    for row in state.execute("select fingerprint, kpi_date from alert_checks where incident_id is not null"):
        days.setdefault(row["fingerprint"], set()).add(dt.date.fromisoformat(row["kpi_date"]))
    return days


# ------------------------------------------------------------------------------------------------------- incidents


def insert_incident(state: sqlite3.Connection, values: Mapping[str, Any], *, run_id: str, now: str) -> None:
    """Open an incident; one of the same id stays as it is."""
    opened = {"status": "open", "alerting_since": now, "opened_by_run": run_id, "opened_at": now, "updated_at": now}
    _insert(state, "insert or ignore into alert_incidents", {**values, **opened})


def read_incident(state: sqlite3.Connection, incident_id: str) -> Incident:
    """One incident; raises `UnknownIncidentError` when there is none of that id."""
    row = state.execute("select * from alert_incidents where incident_id = ?", (incident_id,)).fetchone()
    if row is None:
        raise UnknownIncidentError(f"there is no incident {incident_id!r}; `python -m alerts list` shows them")
    return _read_incident(row)


def read_incidents(state: sqlite3.Connection) -> list[Incident]:
    """All incidents, newest first."""
    rows = state.execute("select * from alert_incidents order by opened_at desc, first_seen_date desc, incident_id")
    return [_read_incident(row) for row in rows]


def read_members(state: sqlite3.Connection, incident_id: str) -> list[Incident]:
    """The incidents that this one speaks for, those of the whole shop first, then the strongest."""
    rows = state.execute(
        """
        select * from alert_incidents where folded_into = ?
        order by dimension is not null, abs(coalesce(z, 0)) desc, incident_id
        """,
        (incident_id,),
    )
    return [_read_incident(row) for row in rows]


def find_near(state: sqlite3.Connection, fingerprint: str, date: dt.date, days: int) -> str | None:
    """The newest incident of a fingerprint that lies within so many days of a date."""
    row = state.execute(
        """
        select incident_id from alert_incidents
        where
            fingerprint = ?
            and julianday(?) - julianday(last_seen_date) <= ? and julianday(first_seen_date) - julianday(?) <= ?
        order by last_seen_date desc limit 1
        """,
        (fingerprint, date.isoformat(), days, date.isoformat(), days),
    ).fetchone()
    return None if row is None else str(row["incident_id"])


def find_newest(state: sqlite3.Connection, fingerprint: str) -> Incident | None:
    """The newest incident of a fingerprint."""
    row = state.execute(
        "select * from alert_incidents where fingerprint = ? order by last_seen_date desc, opened_at desc limit 1",
        (fingerprint,),
    ).fetchone()
    return None if row is None else _read_incident(row)


def has_live_members(state: sqlite3.Connection, incident_id: str) -> bool:
    """Whether an incident speaks for one that is not over."""
    found = state.execute(
        f"select 1 from alert_incidents where folded_into = ? and status in {LIVE}", (incident_id,)
    ).fetchone()
    return found is not None


def set_days(state: sqlite3.Connection, incident_id: str, breaches: list[Check], *, now: str) -> None:
    """Bring an incident's dates and figures in line with its breaching days, oldest first."""
    first, last = breaches[0], breaches[-1]
    state.execute(
        f"""
        update alert_incidents
        set first_seen_date = ?, last_seen_date = ?, incident_days = ?, updated_at = ?,
            {", ".join(f"{name} = ?" for name in _FIGURES)}
        where incident_id = ?
        """,
        (
            first.date.isoformat(),
            last.date.isoformat(),
            len(breaches),
            now,
            *(getattr(last.figures, name) for name in _FIGURES),
            incident_id,
        ),
    )
    if any(check.severity == "critical" for check in breaches):
        raise_severity(state, incident_id)
    # a day at or after its end opens it again, but for the day in the middle of which it ended
    ended = last.hours.until[:10] if last.hours is not None and last.hours.until is not None else None
    state.execute(
        f"""
        update alert_incidents
        set status = 'open', resolved_date = null, resolved_at = null, {_FORGET_ANSWERS}, alerting_since = ?
        where
            incident_id = ? and status = 'resolved' and coalesce(resolved_date, '') <= last_seen_date
            and (? is null or resolved_date is not ?)
        """,
        (now, incident_id, ended, ended),
    )


def add_run_day(state: sqlite3.Connection, incident_id: str, date: dt.date, *, now: str) -> None:
    """Note that the problem of a run occurred once more."""
    state.execute(
        """
        update alert_incidents
        set first_seen_date = min(first_seen_date, ?), last_seen_date = max(last_seen_date, ?),
            incident_days = incident_days + 1, updated_at = ?
        where incident_id = ?
        """,
        (date.isoformat(), date.isoformat(), now, incident_id),
    )


def reopen(state: sqlite3.Connection, incident_id: str, *, now: str) -> None:
    """Open an incident that was over; what was answered to it counts no more."""
    state.execute(
        f"""
        update alert_incidents
        set status = 'open', resolved_date = null, resolved_at = null, {_FORGET_ANSWERS}, alerting_since = ?
        where incident_id = ?
        """,
        (now, incident_id),
    )


def reopen_speakers(state: sqlite3.Connection, *, now: str) -> None:
    """Open the incidents that are over but speak for one that is not."""
    state.execute(
        f"""
        update alert_incidents
        set status = 'open', resolved_date = null, resolved_at = null, alerting_since = ?
        where
            status = 'resolved'
            and incident_id in (select folded_into from alert_incidents where status in {LIVE})
        """,
        (now,),
    )


def withdraw(state: sqlite3.Connection, incident_id: str, *, now: str) -> None:
    """End an incident that has no breaching day left."""
    state.execute(
        """
        update alert_incidents
        set status = 'resolved', incident_days = 0, reason = 'withdrawn: its days no longer breach',
            resolved_at = coalesce(resolved_at, ?), updated_at = ?
        where incident_id = ?
        """,
        (now, now, incident_id),
    )


def close_incident(
    state: sqlite3.Connection, incident_id: str, *, resolved_date: dt.date | None, reason: str | None, now: str
) -> None:
    """End an incident; `reason` replaces its reason where it did not end by a normal day."""
    state.execute(
        """
        update alert_incidents
        set status = 'resolved', resolved_date = ?, resolved_at = ?, updated_at = ?, reason = coalesce(?, reason)
        where incident_id = ?
        """,
        (None if resolved_date is None else resolved_date.isoformat(), now, now, reason, incident_id),
    )


def set_status(
    state: sqlite3.Connection,
    incident_id: str,
    status: Status,
    *,
    now: str,
    by: str | None = None,
    until: dt.date | None = None,
) -> None:
    """Move a live incident to open, acknowledged or snoozed."""
    state.execute(
        """
        update alert_incidents
        set status = ?, updated_at = ?, acknowledged_by = coalesce(?, acknowledged_by), snoozed_until = ?
        where incident_id = ?
        """,
        (status, now, by, None if until is None else until.isoformat(), incident_id),
    )


def wake(state: sqlite3.Connection, incident_id: str, *, now: str) -> None:
    """End a snooze: escalation counts from here."""
    set_status(state, incident_id, "open", now=now)
    state.execute("update alert_incidents set alerting_since = ? where incident_id = ?", (now, incident_id))


def mark_escalated(state: sqlite3.Connection, incident_id: str, *, now: str) -> None:
    """Note that help was called."""
    state.execute("update alert_incidents set escalated_at = ? where incident_id = ?", (now, incident_id))


def set_cause(state: sqlite3.Connection, incident_id: str, cause: str | None) -> None:
    """Note what drives an incident most, as `dimension=value`."""
    state.execute("update alert_incidents set cause = ? where incident_id = ?", (cause, incident_id))


def raise_severity(state: sqlite3.Connection, incident_id: str) -> None:
    """Make an incident critical."""
    state.execute("update alert_incidents set severity = 'critical' where incident_id = ?", (incident_id,))


def fold(state: sqlite3.Connection, incident_id: str, into: str, *, now: str) -> None:
    """Let another incident speak for this one."""
    state.execute(
        "update alert_incidents set folded_into = ?, updated_at = ? where incident_id = ?", (into, now, incident_id)
    )


# ---------------------------------------------------------------------------------- events, facts, runs, signatures


def add_event(state: sqlite3.Connection, incident_id: str, event: str, *, at: str, by: str, detail: str = "") -> int:
    """Note a change of an incident's life; returns the event's id."""
    cursor = state.execute(
        "insert into alert_events (incident_id, event, happened_at, done_by, detail) values (?, ?, ?, ?, ?)",
        (incident_id, event, at, by, detail),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def read_history(state: sqlite3.Connection, incident_id: str) -> list[HistoryEntry]:
    """All that has happened to an incident, oldest first."""
    rows = state.execute(
        "select event, happened_at, done_by, detail from alert_events where incident_id = ? order by event_id",
        (incident_id,),
    )
    return [HistoryEntry(*row) for row in rows]


def has_told(state: sqlite3.Connection, incident_id: str, run_id: str) -> bool:
    """Whether a run has told this problem already."""
    found = state.execute(
        "select 1 from alert_events where incident_id = ? and done_by = ? and event != 'resolved'",
        (incident_id, run_id),
    ).fetchone()
    return found is not None


def has_reported(state: sqlite3.Connection, dag_id: str, run_id: str) -> bool:
    """Whether a run has told any problem of its DAG."""
    found = state.execute(
        """
        select 1 from alert_events
        inner join alert_incidents using (incident_id)
        where done_by = ? and fingerprint like ?
        """,
        (run_id, f"%|{dag_id}|%"),
    ).fetchone()
    return found is not None


def save_facts(state: sqlite3.Connection, facts: KpiFacts | RunFacts) -> None:
    """Keep what the newest message about an incident shows, so that an answer can redraw it without the warehouse."""
    text = json.dumps(to_json_values(facts), ensure_ascii=False)
    state.execute("insert or replace into alert_facts (incident_id, facts) values (?, ?)", (facts.incident_id, text))


def read_facts(state: sqlite3.Connection, incident_id: str) -> KpiFacts | RunFacts | None:
    """The facts last saved for an incident; None when no message was ever due."""
    row = state.execute("select facts from alert_facts where incident_id = ?", (incident_id,)).fetchone()
    facts = from_json_values(json.loads(row["facts"])) if row is not None else None
    assert not isinstance(facts, WeekFacts)  # a week is no incident
    return facts


def read_heartbeat(state: sqlite3.Connection, dag_id: str) -> Heartbeat | None:
    """When a DAG last succeeded; None where it never did."""
    row = state.execute("select * from alert_heartbeats where dag_id = ?", (dag_id,)).fetchone()
    if row is None:
        return None
    scheduled = row["scheduled_at"]
    return Heartbeat(
        dt.datetime.fromisoformat(row["succeeded_at"]),
        None if scheduled is None else dt.datetime.fromisoformat(scheduled),
    )


def write_heartbeat(state: sqlite3.Connection, dag_id: str, *, is_scheduled: bool, now: str) -> None:
    """Note that a run of a DAG has succeeded."""
    state.execute(
        """
        insert into alert_heartbeats (dag_id, succeeded_at, scheduled_at) values (?, ?, ?)
        on conflict (dag_id) do update set
            succeeded_at = excluded.succeeded_at,
            scheduled_at = coalesce(excluded.scheduled_at, scheduled_at)
        """,
        (dag_id, now, now if is_scheduled else None),
    )


def forget_future(state: sqlite3.Connection, *, now: str) -> None:
    """Move to `now` what a clock that was ahead has noted as later, where somebody counts the hours since then."""
    state.execute("update alert_incidents set alerting_since = ? where alerting_since > ?", (now, now))
    state.execute("update alert_heartbeats set succeeded_at = ? where succeeded_at > ?", (now, now))


def read_last_check(state: sqlite3.Connection) -> str | None:
    """What the KPIs were last tested on; None before a first check."""
    row = state.execute("select seen from alert_last_check").fetchone()
    return None if row is None else str(row["seen"])


def write_last_check(state: sqlite3.Connection, seen: str) -> None:
    """Note what the KPIs were tested on."""
    state.execute("insert or replace into alert_last_check (only_row, seen) values (1, ?)", (seen,))


def remember_signature(state: sqlite3.Connection, signature: str, *, now: float, forget_after: float) -> bool:
    """Note that a signed request was taken, in epoch seconds; False when it had been before."""
    state.execute("delete from alert_answers_seen where seen_at < ?", (now - forget_after,))
    try:
        state.execute(
            "insert into alert_answers_seen (signature_hash, seen_at) values (?, ?)",
            (hashlib.sha256(signature.encode()).hexdigest(), now),
        )
    except sqlite3.IntegrityError:
        return False
    return True


_FORGET_ANSWERS = "acknowledged_by = null, snoozed_until = null, escalated_at = null"


def _insert(state: sqlite3.Connection, statement: str, values: Mapping[str, Any]) -> None:
    names = ", ".join(values)
    state.execute(f"{statement} ({names}) values ({', '.join('?' * len(values))})", tuple(values.values()))


def _read_date(text: str | None) -> dt.date | None:
    return None if text is None else dt.date.fromisoformat(text)


def _read_figures(row: sqlite3.Row) -> Figures:
    return Figures(**{name: row[name] for name in _FIGURES if name != "reason"}, reason=row["reason"] or "")


def _read_check(row: sqlite3.Row) -> StoredCheck:
    direction: Direction = row["direction"]
    check = Check(
        rule=row["rule"],
        kpi="",
        dimension=row["dimension"],
        dimension_value=row["dimension_value"],
        direction=direction,
        date=dt.date.fromisoformat(row["kpi_date"]),
        period_days=row["period_days"],
        verdict=row["verdict"],
        severity=row["severity"],
        figures=_read_figures(row),
        baseline_days=row["baseline_days"],
        is_provisional=bool(row["is_provisional"]),
        is_expected_event=bool(row["is_expected_event"]),
        hours=None if row["hours"] is None else Hours(**json.loads(row["hours"])),
    )
    return StoredCheck(check, row["incident_id"])


def _read_incident(row: sqlite3.Row) -> Incident:
    dates = ("first_seen_date", "last_seen_date", "resolved_date", "snoozed_until")
    plain = [each.name for each in fields(Incident) if each.name not in (*dates, "figures", "alerting_since")]
    return Incident(
        **{name: row[name] for name in plain},
        **{name: _read_date(row[name]) for name in dates},  # type: ignore[arg-type]
        figures=_read_figures(row),
        alerting_since=dt.datetime.fromisoformat(row["alerting_since"]),
    )
