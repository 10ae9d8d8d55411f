"""Checks, incidents and what happened to them, in the state file.

Everything here runs inside the caller's transaction of `foundation.state.open_state`, so that an incident, its events
and the messages about them are recorded together or not at all.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from alerts.detection.verdicts import Check
from alerts.messages.facts import RUN_KINDS
from alerts.rules.book import Rule
from foundation.errors import FunnelhouseError

# Statuses of an incident that is not over; escalation happens to an open one and is no status of its own.
LIVE = ("open", "acknowledged", "snoozed")
# A problem that comes back this soon continues its old incident, or a value that flaps would make one after another.
REOPEN_DAYS = 7
# A live incident whose days are no longer tested (a value that vanished, too little volume) ends after this long.
STALE_DAYS = 28

TABLES = (
    """
    create table if not exists alert_checks (
        fingerprint text not null,      -- rule|dimension=value|direction
        rule text not null,
        dimension text,
        dimension_value text,
        direction text not null,
        kpi_date text not null,         -- last day of the period tested
        period_days integer not null,
        verdict text not null,          -- breach, near, normal, untested
        severity text not null,
        reason text not null,
        observed real,
        expected real,
        band_low real,
        band_high real,
        z real,
        volume real,
        baseline_days integer,
        is_provisional integer not null,
        is_expected_event integer not null,
        incident_id text,               -- the incident this day belongs to (breach, or near after a breach)
        run_id text not null,
        checked_at text not null,
        primary key (fingerprint, kpi_date)
    )
    """,
    "create index if not exists alert_checks_by_incident on alert_checks (incident_id)",
    """
    create table if not exists alert_incidents (
        incident_id text primary key,
        fingerprint text not null,      -- what makes two problems the same one
        kind text not null,             -- the rule's kind, or task_failure, missed_schedule, blocked_publication
        rule text not null,
        dimension text,
        dimension_value text,
        direction text not null,
        status text not null,           -- open, acknowledged, snoozed, resolved
        severity text not null,
        owner text not null,
        title text not null,
        unit text not null,
        first_seen_date text not null,
        last_seen_date text not null,
        resolved_date text,             -- the first normal day
        incident_days integer not null,
        observed real,                  -- these seven: on last_seen_date
        expected real,
        band_low real,
        band_high real,
        z real,
        volume real,
        reason text,
        cause text,                     -- dimension=value that drives it most
        folded_into text,               -- the incident that speaks for this one
        alerting_since text not null,   -- opened or reopened: escalation counts from here
        acknowledged_by text,
        snoozed_until text,
        escalated_at text,
        opened_by_run text not null,
        opened_at text not null,
        updated_at text not null,
        resolved_at text
    )
    """,
    "create index if not exists alert_incidents_by_fingerprint on alert_incidents (fingerprint, status)",
    """
    create table if not exists alert_events (
        event_id integer primary key,
        incident_id text not null references alert_incidents (incident_id),
        event text not null,            -- opened, updated, folded, folded_away, joined, acknowledged, snoozed, woken,
                                        -- escalated, expected, reopened, withdrawn, resolved
        happened_at text not null,
        done_by text not null,          -- a run's id, or who answered
        detail text not null
    )
    """,
    """
    create table if not exists alert_expected_days (
        fingerprint text not null,
        kpi_date text not null,
        marked_by text not null,
        marked_at text not null,
        primary key (fingerprint, kpi_date)
    )
    """,
    """
    create table if not exists alert_heartbeats (
        dag_id text primary key,
        succeeded_at text not null,
        scheduled_at text               -- the last success of a run that the schedule started; null: none did yet
    )
    """,
    """
    create table if not exists alert_facts (
        incident_id text primary key references alert_incidents (incident_id),
        facts text not null             -- JSON: what the newest message about it shows
    )
    """,
)

_CHECK_FIELDS = (
    "rule",
    "dimension",
    "dimension_value",
    "direction",
    "period_days",
    "verdict",
    "severity",
    "reason",
    "observed",
    "expected",
    "band_low",
    "band_high",
    "z",
    "volume",
    "baseline_days",
    "is_provisional",
    "is_expected_event",
)
_FIGURES = ("observed", "expected", "band_low", "band_high", "z", "volume", "reason")


class UnknownIncidentError(FunnelhouseError):
    """There is no incident of that id."""


def create_tables(state: sqlite3.Connection) -> None:
    """Create the tables of the alerts room where they are missing."""
    _drop_old_tables(state)
    for statement in TABLES:
        state.execute(statement)


def _drop_old_tables(state: sqlite3.Connection) -> None:
    # Before version 2 a table held no life to carry over: open problems are found anew by the next check.
    columns = {row["name"] for row in state.execute("pragma table_info(alert_incidents)")}
    if columns and "folded_into" not in columns:
        for table in ("alert_outbox", "alert_checks", "alert_incidents"):
            state.execute(f"drop table if exists {table}")


def make_incident_id(check: Check) -> str:
    """First day, rule, value and direction, fit for a folder's name: 20260810-cart_abandonment_rate-mobile-above."""
    parts = [f"{check.date:%Y%m%d}", check.rule]
    if check.dimension is not None:
        parts.append(_slug(f"{check.dimension}={check.dimension_value}", str(check.dimension_value)))
    return "-".join([*parts, check.direction])


def _slug(identity: str, value: str) -> str:
    plain = re.sub(r"[^a-z0-9]+", "_", value.lower()).strip("_")[:30]
    # Two values of one slug (or the same value of two dimensions) must not share an incident.
    return f"{plain or 'value'}_{hashlib.sha256(identity.encode('utf-8', 'replace')).hexdigest()[:6]}"


def record_checks(
    state: sqlite3.Connection, checks: Iterable[Check], rules: Mapping[str, Rule], *, run_id: str, now: str
) -> list[dt.date]:
    """Store the verdicts that are new or changed and let incidents open, grow, shrink and reopen.

    Returns the dates with a new or changed verdict, oldest first. A day that no longer breaches (its data or the
    rule changed) leaves its incident.
    """
    changed: set[dt.date] = set()
    touched: set[str] = set()
    expected = read_expected_days(state)
    # Day by day, so that a breach finds the incident of the day before.
    for check in sorted(checks, key=lambda check: check.date):
        fingerprint = check.fingerprint
        before = state.execute(
            "select * from alert_checks where fingerprint = ? and kpi_date = ?", (fingerprint, check.date.isoformat())
        ).fetchone()
        if before is not None and all(before[field] == getattr(check, field) for field in _CHECK_FIELDS):
            continue
        changed.add(check.date)
        is_expected = check.is_expected_event or check.date in expected.get(fingerprint, set())
        incident_id = _incident_of(state, check, before, rules[check.rule], is_expected, run_id=run_id, now=now)
        values = {field: getattr(check, field) for field in _CHECK_FIELDS}
        values |= {
            "fingerprint": fingerprint,
            "kpi_date": check.date.isoformat(),
            "incident_id": incident_id,
            "run_id": run_id,
            "checked_at": now,
        }
        _insert(state, "insert or replace into alert_checks", values)
        touched |= {str(found) for found in (before["incident_id"] if before else None, incident_id) if found}
    for incident_id in sorted(touched):
        refresh_incident(state, incident_id, now=now)
    return sorted(changed)


def _insert(state: sqlite3.Connection, statement: str, values: Mapping[str, Any]) -> None:
    names = ", ".join(values)
    state.execute(f"{statement} ({names}) values ({', '.join('?' * len(values))})", tuple(values.values()))


def _incident_of(
    state: sqlite3.Connection,
    check: Check,
    before: sqlite3.Row | None,
    rule: Rule,
    is_expected: bool,
    *,
    run_id: str,
    now: str,
) -> str | None:
    """The incident a day belongs to; opens one for a breach without a neighbour."""
    if is_expected:
        return None
    if check.verdict == "near":
        return _find_beside(state, check, "<", "desc")
    if check.verdict != "breach":
        return None
    found = (
        (before["incident_id"] if before is not None else None)
        or _find_beside(state, check, "<", "desc")
        or _find_beside(state, check, ">", "asc")
        or _find_recent(state, check)
    )
    if found is not None:
        return str(found)
    incident_id = make_incident_id(check)
    date = check.date.isoformat()
    _insert(
        state,
        "insert or ignore into alert_incidents",
        {
            "incident_id": incident_id,
            "fingerprint": check.fingerprint,
            "kind": rule.kind,
            "rule": rule.name,
            "dimension": check.dimension,
            "dimension_value": check.dimension_value,
            "direction": check.direction,
            "status": "open",
            "severity": check.severity,
            "owner": rule.owner,
            "title": rule.title,
            "unit": rule.unit,
            "first_seen_date": date,
            "last_seen_date": date,
            "incident_days": 0,
            "alerting_since": now,
            "opened_by_run": run_id,
            "opened_at": now,
            "updated_at": now,
        },
    )
    return incident_id


def _find_beside(state: sqlite3.Connection, check: Check, comparison: str, order: str) -> str | None:
    """The incident of the nearest decided day on one side: near and untested days and gaps do not part an incident."""
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
    return str(row["incident_id"]) if row is not None and row["incident_id"] is not None else None


def _find_recent(state: sqlite3.Connection, check: Check) -> str | None:
    row = state.execute(
        """
        select incident_id from alert_incidents
        where
            fingerprint = ?
            and julianday(?) - julianday(last_seen_date) <= ? and julianday(first_seen_date) - julianday(?) <= ?
        order by last_seen_date desc limit 1
        """,
        (check.fingerprint, check.date.isoformat(), REOPEN_DAYS, check.date.isoformat(), REOPEN_DAYS),
    ).fetchone()
    return str(row["incident_id"]) if row is not None else None


def refresh_incident(state: sqlite3.Connection, incident_id: str, *, now: str) -> None:
    """Bring an incident's dates and figures in line with its days; a day at or after its end opens it again."""
    days = state.execute(
        "select * from alert_checks where incident_id = ? and verdict = 'breach' order by kpi_date", (incident_id,)
    ).fetchall()
    if not days:
        state.execute(
            """
            update alert_incidents
            set status = 'resolved', incident_days = 0, reason = 'withdrawn: its days no longer breach',
                resolved_at = coalesce(resolved_at, ?), updated_at = ?
            where incident_id = ?
            """,
            (now, now, incident_id),
        )
        return
    last = days[-1]
    state.execute(
        f"""
        update alert_incidents
        set first_seen_date = ?, last_seen_date = ?, incident_days = ?, updated_at = ?,
            {", ".join(f"{name} = ?" for name in _FIGURES)}
        where incident_id = ?
        """,
        (
            days[0]["kpi_date"],
            last["kpi_date"],
            len(days),
            now,
            *(last[name] for name in _FIGURES),
            incident_id,
        ),
    )
    if any(day["severity"] == "critical" for day in days):
        state.execute("update alert_incidents set severity = 'critical' where incident_id = ?", (incident_id,))
    state.execute(
        """
        update alert_incidents
        set status = 'open', resolved_date = null, resolved_at = null, escalated_at = null, acknowledged_by = null,
            snoozed_until = null, alerting_since = ?
        where incident_id = ? and status = 'resolved' and coalesce(resolved_date, '') <= last_seen_date
        """,
        (now, incident_id),
    )


def resolve_incidents(state: sqlite3.Connection, rule_names: Iterable[str], *, now: str) -> None:
    """Close what is over: a normal day followed, no rule watches it any more, or its days are not tested any more.

    An incident that speaks for others stays until those are over too.
    """
    known = set(rule_names)
    # Folded ones first, so that the one that speaks for them can follow in the same run.
    for row in state.execute(
        f"""
        select * from alert_incidents
        where status in {LIVE} and kind not in {RUN_KINDS}
        order by folded_into is null
        """
    ).fetchall():
        waits_for = state.execute(
            f"select 1 from alert_incidents where folded_into = ? and status in {LIVE}", (row["incident_id"],)
        ).fetchone()
        if waits_for is not None:
            continue
        normal = state.execute(
            """
            select min(kpi_date) as kpi_date from alert_checks
            where fingerprint = ? and verdict = 'normal' and not is_provisional and kpi_date > ?
            """,
            (row["fingerprint"], row["last_seen_date"]),
        ).fetchone()["kpi_date"]
        newest = state.execute("select max(kpi_date) from alert_checks where rule = ?", (row["rule"],)).fetchone()[0]
        last_seen, last_checked = (dt.date.fromisoformat(date) for date in (row["last_seen_date"], newest))
        if normal is not None:
            close_incident(state, row["incident_id"], resolved_date=normal, reason=None, now=now)
        elif row["rule"] not in known:
            reason = "no rule watches this any more"
            close_incident(state, row["incident_id"], resolved_date=None, reason=reason, now=now)
        elif (last_checked - last_seen).days > STALE_DAYS:
            reason = f"not tested again for {STALE_DAYS} days"
            close_incident(state, row["incident_id"], resolved_date=None, reason=reason, now=now)


def close_incident(
    state: sqlite3.Connection, incident_id: str, *, resolved_date: str | None, reason: str | None, now: str
) -> None:
    """End an incident; `reason` replaces its reason where it did not end by a normal day."""
    state.execute(
        """
        update alert_incidents
        set status = 'resolved', resolved_date = ?, resolved_at = ?, updated_at = ?, reason = coalesce(?, reason)
        where incident_id = ?
        """,
        (resolved_date, now, now, reason, incident_id),
    )


def set_status(
    state: sqlite3.Connection,
    incident_id: str,
    status: str,
    *,
    now: str,
    by: str | None = None,
    until: str | None = None,
) -> None:
    """Move a live incident to open, acknowledged or snoozed."""
    state.execute(
        """
        update alert_incidents
        set status = ?, updated_at = ?, acknowledged_by = coalesce(?, acknowledged_by), snoozed_until = ?
        where incident_id = ?
        """,
        (status, now, by, until, incident_id),
    )


def add_event(state: sqlite3.Connection, incident_id: str, event: str, *, at: str, by: str, detail: str = "") -> int:
    """Note a change of an incident's life; returns the event's id."""
    cursor = state.execute(
        "insert into alert_events (incident_id, event, happened_at, done_by, detail) values (?, ?, ?, ?, ?)",
        (incident_id, event, at, by, detail),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


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


def days_of(state: sqlite3.Connection, incident_id: str) -> list[dt.date]:
    """The breaching days of an incident, oldest first."""
    rows = state.execute(
        "select kpi_date from alert_checks where incident_id = ? and verdict = 'breach' order by kpi_date",
        (incident_id,),
    )
    return [dt.date.fromisoformat(row["kpi_date"]) for row in rows]


def covered_days(state: sqlite3.Connection, incident_id: str) -> list[dt.date]:
    """The days that the breaching periods of an incident cover, oldest first: where weeks are tested, all of theirs."""
    rows = state.execute(
        "select kpi_date, period_days from alert_checks where incident_id = ? and verdict = 'breach'", (incident_id,)
    )
    return sorted(
        {
            dt.date.fromisoformat(row["kpi_date"]) - dt.timedelta(days=age)
            for row in rows
            for age in range(row["period_days"])
        }
    )


def read_incident(state: sqlite3.Connection, incident_id: str) -> sqlite3.Row:
    """One incident; raises `UnknownIncidentError` when there is none of that id."""
    row = state.execute("select * from alert_incidents where incident_id = ?", (incident_id,)).fetchone()
    if row is None:
        raise UnknownIncidentError(f"there is no incident {incident_id!r}; `python -m alerts list` shows them")
    assert isinstance(row, sqlite3.Row)
    return row


def read_incidents(state: sqlite3.Connection) -> list[sqlite3.Row]:
    """All incidents, newest first."""
    return state.execute(
        "select * from alert_incidents order by opened_at desc, first_seen_date desc, incident_id"
    ).fetchall()


def read_members(state: sqlite3.Connection, incident_id: str) -> list[sqlite3.Row]:
    """The incidents that this one speaks for, those of the whole shop first, then the strongest."""
    return state.execute(
        """
        select * from alert_incidents where folded_into = ?
        order by dimension is not null, abs(coalesce(z, 0)) desc, incident_id
        """,
        (incident_id,),
    ).fetchall()


def save_facts(state: sqlite3.Connection, incident_id: str, facts: Any) -> None:
    """Keep what the newest message about an incident shows, so that an answer can redraw it without the warehouse."""
    text = json.dumps(asdict(facts), ensure_ascii=False)
    state.execute("insert or replace into alert_facts (incident_id, facts) values (?, ?)", (incident_id, text))


def read_facts(state: sqlite3.Connection, incident_id: str) -> dict[str, Any] | None:
    """The facts last saved for an incident; None when no message was ever due."""
    row = state.execute("select facts from alert_facts where incident_id = ?", (incident_id,)).fetchone()
    return dict(json.loads(row["facts"])) if row is not None else None
