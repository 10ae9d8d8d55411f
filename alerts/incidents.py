"""Checks, incidents and the outbox in the state file: what was decided, and what is still to be said.

Everything here runs inside the caller's transaction of `warehouse.state.open_state`, so that an incident and its
message are recorded together or not at all.
"""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from typing import Any

from alerts.kpis import Day
from alerts.rules import Direction, Rule
from alerts.verdicts import BoundCheck

TABLES = (
    """
    create table if not exists alert_checks (
        rule text not null,
        direction text not null,
        kpi_date text not null,
        verdict text not null,          -- breach, near, normal, untested
        reason text not null,
        observed real,
        expected real,                  -- pooled trailing value
        bound real,
        volume real not null,
        baseline_days integer not null,
        incident_id text,               -- the incident this day belongs to (breach, or near after a breach)
        day_hash text not null,         -- of the day's values and the rule: unchanged means already checked
        run_id text not null,
        checked_at text not null,
        primary key (rule, direction, kpi_date)
    )
    """,
    """
    create table if not exists alert_incidents (
        incident_id text primary key,
        fingerprint text not null,      -- what makes two problems the same one
        kind text not null,             -- kpi, task_failure
        rule text not null,
        direction text not null,
        status text not null,           -- open, resolved; task failures: reported
        severity text not null,
        owner text not null,
        first_seen_date text not null,
        last_seen_date text not null,
        resolved_date text,             -- the first normal day
        observed real,                  -- these five: on last_seen_date
        expected real,
        bound real,
        volume real,
        reason text,
        opened_by_run text not null,
        opened_at text not null,
        updated_at text not null,
        resolved_at text
    )
    """,
    "create index if not exists alert_incidents_by_fingerprint on alert_incidents (fingerprint, status)",
    """
    create table if not exists alert_outbox (
        outbox_id integer primary key,
        idempotency_key text not null unique,  -- one message per incident and kind, ever
        incident_id text not null references alert_incidents (incident_id),
        kind text not null,             -- incident, resolution, task_failure
        status text not null,           -- pending, sent, rendered
        payload text not null,          -- JSON, enough to render the message without the warehouse
        created_at text not null,
        attempts integer not null default 0,
        first_attempt_at text,
        last_error text,
        finished_at text,
        channel_id text,
        message_ts text
    )
    """,
)


def create_tables(state: sqlite3.Connection) -> None:
    """Create the tables of the alerts room where they are missing."""
    for statement in TABLES:
        state.execute(statement)


def day_hash(rule: Rule, day: Day) -> str:
    """Identifies the content a verdict was given on."""
    return json.dumps([rule.content_hash, day.value, day.numerator, day.denominator])


def is_checked(state: sqlite3.Connection, rule: Rule, direction: Direction, day: Day) -> bool:
    """Whether the day was already checked with the same values and the same rule."""
    row = state.execute(
        "select day_hash from alert_checks where rule = ? and direction = ? and kpi_date = ?",
        (rule.name, direction, day.date.isoformat()),
    ).fetchone()
    return row is not None and row["day_hash"] == day_hash(rule, day)


def incident_dates(state: sqlite3.Connection, rule: str) -> set[dt.date]:
    """The days that belong to any incident of the rule, in either direction, near days after a breach included."""
    rows = state.execute("select kpi_date from alert_checks where rule = ? and incident_id is not null", (rule,))
    return {dt.date.fromisoformat(row["kpi_date"]) for row in rows}


def record_check(
    state: sqlite3.Connection, rule: Rule, check: BoundCheck, day: Day, *, run_id: str, now: str
) -> tuple[str | None, bool]:
    """Store a verdict; a breach extends the incident beside it or opens one.

    Returns the incident the day belongs to, and whether it was opened. A day that no longer breaches (its data or
    the rule changed) leaves its incident.
    """
    key = (check.rule, check.direction, check.date.isoformat())
    row = state.execute(
        "select incident_id from alert_checks where rule = ? and direction = ? and kpi_date = ?", key
    ).fetchone()
    before = row["incident_id"] if row else None
    incident_id: str | None = None
    is_new = False
    if check.verdict == "breach":
        incident_id = before or _find_adjacent_incident(state, check)
        if incident_id is None:
            incident_id = f"{check.date:%Y%m%d}-{check.rule}-{check.direction}"
            is_new = _open_incident(state, incident_id, rule, check, run_id=run_id, now=now)
    elif check.verdict == "near":
        incident_id = _find_incident_beside(state, check, "<", "desc")
    state.execute(
        """
        insert or replace into alert_checks (
            rule, direction, kpi_date, verdict, reason, observed, expected, bound, volume, baseline_days,
            incident_id, day_hash, run_id, checked_at
        ) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        """,
        (
            *key,
            check.verdict,
            check.reason,
            check.observed,
            check.expected,
            check.bound,
            check.volume,
            check.baseline_days,
            incident_id,
            day_hash(rule, day),
            run_id,
            now,
        ),
    )
    for changed in {before, incident_id} - {None}:
        _refresh_incident(state, str(changed), now=now)
    return incident_id, is_new


def _find_adjacent_incident(state: sqlite3.Connection, check: BoundCheck) -> str | None:
    """The incident of the nearest decided day before, else after: near and untested days and gaps do not part one."""
    return _find_incident_beside(state, check, "<", "desc") or _find_incident_beside(state, check, ">", "asc")


def _find_incident_beside(state: sqlite3.Connection, check: BoundCheck, comparison: str, order: str) -> str | None:
    row = state.execute(
        f"""
        select incident_id from alert_checks
        where rule = ? and direction = ? and verdict in ('breach', 'normal') and kpi_date {comparison} ?
        order by kpi_date {order} limit 1
        """,
        (check.rule, check.direction, check.date.isoformat()),
    ).fetchone()
    return str(row["incident_id"]) if row is not None and row["incident_id"] is not None else None


def _open_incident(
    state: sqlite3.Connection, incident_id: str, rule: Rule, check: BoundCheck, *, run_id: str, now: str
) -> bool:
    # An incident that was withdrawn (its only day turned out normal) and comes back keeps its id and its message.
    cursor = state.execute(
        """
        insert into alert_incidents (
            incident_id, fingerprint, kind, rule, direction, status, severity, owner, first_seen_date,
            last_seen_date, opened_by_run, opened_at, updated_at
        ) values (?, ?, 'kpi', ?, ?, 'open', ?, ?, ?, ?, ?, ?, ?)
        on conflict (incident_id) do nothing
        """,
        (
            incident_id,
            rule.fingerprint(check.direction),
            rule.name,
            check.direction,
            rule.severity,
            rule.owner,
            check.date.isoformat(),
            check.date.isoformat(),
            run_id,
            now,
            now,
        ),
    )
    return cursor.rowcount == 1


def _refresh_incident(state: sqlite3.Connection, incident_id: str, *, now: str) -> None:
    """Bring an incident's dates and figures in line with its days; a day at or after its end opens it again."""
    last = state.execute(
        """
        select *, min(kpi_date) over () as first_date from alert_checks
        where incident_id = ? and verdict = 'breach' order by kpi_date desc limit 1
        """,
        (incident_id,),
    ).fetchone()
    if last is None:
        state.execute(
            """
            update alert_incidents
            set status = 'resolved', reason = 'withdrawn: its days no longer breach', resolved_at = ?, updated_at = ?
            where incident_id = ?
            """,
            (now, now, incident_id),
        )
        return
    state.execute(
        """
        update alert_incidents
        set first_seen_date = ?, last_seen_date = ?, observed = ?, expected = ?, bound = ?, volume = ?, reason = ?,
            updated_at = ?
        where incident_id = ?
        """,
        (
            last["first_date"],
            last["kpi_date"],
            last["observed"],
            last["expected"],
            last["bound"],
            last["volume"],
            last["reason"],
            now,
            incident_id,
        ),
    )
    state.execute(
        """
        update alert_incidents
        set status = 'open', resolved_date = null, resolved_at = null
        where incident_id = ? and status = 'resolved' and coalesce(resolved_date, '') <= last_seen_date
        """,
        (incident_id,),
    )


def resolve_incidents(state: sqlite3.Connection, fingerprints: set[str], *, now: str) -> list[str]:
    """Close the open incidents that a normal day followed (their ids are returned) or that no rule watches any more."""
    resolved = []
    for row in state.execute("select * from alert_incidents where kind = 'kpi' and status = 'open'").fetchall():
        if row["fingerprint"] not in fingerprints:
            state.execute(
                """
                update alert_incidents
                set status = 'resolved', reason = 'no rule watches this any more', resolved_at = ?, updated_at = ?
                where incident_id = ?
                """,
                (now, now, row["incident_id"]),
            )
            continue
        normal = state.execute(
            """
            select min(kpi_date) as kpi_date from alert_checks
            where rule = ? and direction = ? and verdict = 'normal' and kpi_date > ?
            """,
            (row["rule"], row["direction"], row["last_seen_date"]),
        ).fetchone()
        if normal["kpi_date"] is not None:
            state.execute(
                """
                update alert_incidents
                set status = 'resolved', resolved_date = ?, resolved_at = ?, updated_at = ?
                where incident_id = ?
                """,
                (normal["kpi_date"], now, now, row["incident_id"]),
            )
            resolved.append(str(row["incident_id"]))
    return resolved


def record_task_failure(
    state: sqlite3.Connection, *, incident_id: str, fingerprint: str, task: str, run_id: str, date: dt.date, now: str
) -> None:
    """Record a failed task once per fingerprint; it has no life of its own and is `reported` at once."""
    state.execute(
        """
        insert into alert_incidents (
            incident_id, fingerprint, kind, rule, direction, status, severity, owner, first_seen_date,
            last_seen_date, opened_by_run, opened_at, updated_at
        ) values (?, ?, 'task_failure', ?, 'failed', 'reported', 'critical', 'data team', ?, ?, ?, ?, ?)
        on conflict (incident_id) do nothing
        """,
        (incident_id, fingerprint, task, date.isoformat(), date.isoformat(), run_id, now, now),
    )


def queue_message(state: sqlite3.Connection, incident_id: str, kind: str, payload: dict[str, Any], *, now: str) -> None:
    """Put a message into the outbox; a second one of the same incident and kind is dropped."""
    state.execute(
        """
        insert into alert_outbox (idempotency_key, incident_id, kind, status, payload, created_at)
        values (?, ?, ?, 'pending', ?, ?)
        on conflict (idempotency_key) do nothing
        """,
        (f"{incident_id}:{kind}", incident_id, kind, json.dumps(payload, ensure_ascii=False), now),
    )


def days_of(state: sqlite3.Connection, incident_id: str) -> list[dt.date]:
    """The breaching days of an incident, oldest first."""
    rows = state.execute(
        "select kpi_date from alert_checks where incident_id = ? and verdict = 'breach' order by kpi_date",
        (incident_id,),
    )
    return [dt.date.fromisoformat(row["kpi_date"]) for row in rows]


def read_incident(state: sqlite3.Connection, incident_id: str) -> sqlite3.Row:
    """One incident; raises KeyError when there is none of that id."""
    row = state.execute("select * from alert_incidents where incident_id = ?", (incident_id,)).fetchone()
    if row is None:
        raise KeyError(f"there is no incident {incident_id!r}")
    assert isinstance(row, sqlite3.Row)
    return row


def read_incidents(state: sqlite3.Connection) -> list[sqlite3.Row]:
    """All incidents with their message's status, newest first."""
    return state.execute(
        """
        select incidents.*, outbox.status as message_status, outbox.last_error
        from alert_incidents as incidents
        left join alert_outbox as outbox
            on outbox.incident_id = incidents.incident_id and outbox.kind in ('incident', 'task_failure')
        order by incidents.opened_at desc, incidents.first_seen_date desc, incidents.incident_id
        """
    ).fetchall()
