"""The tables of this room in the state file; each build copies them into `ops`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from foundation.dag_names import FORMER_PIPELINE, PIPELINE
from foundation.settings import Settings
from foundation.state import copy_state, open_state

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
        hours text,                     -- JSON: the hours of the day in which too little came; null: none known
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
                                        -- escalated, expected, reopened, confirmed, withdrawn, resolved
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
    """
    create table if not exists alert_outbox (
        outbox_id integer primary key,
        idempotency_key text not null unique,  -- one message per incident, event and channel, ever
        incident_id text not null,      -- or the name of a weekly report
        channel text not null,          -- slack, email, webhook
        kind text not null,             -- parent, update (of the parent), reply
        event text not null,            -- what happened; see alert_events
        status text not null,           -- pending, sent, rendered, dropped
        payload text not null,          -- JSON, enough to render the message without the warehouse
        target text,                    -- a Slack channel other than the default one
        created_at text not null,
        not_before text,                -- quiet hours end then
        attempts integer not null default 0,
        first_attempt_at text,
        last_error text,
        finished_at text,
        channel_id text,                -- of the parent: where it stands
        message_ts text,
        chart_id text,                  -- of the parent: the uploaded chart it shows
        chart_hash text
    )
    """,
    "create index if not exists alert_outbox_by_incident on alert_outbox (incident_id, channel)",
    """
    create table if not exists kpi_revisions (
        kpi_date text not null,
        content_hash text not null,         -- of the day's table: one row per version
        project_fingerprint text not null,  -- of the SQL that made the figures
        table_kind text not null,           -- daily, fresh, intraday
        noted_at text not null,
        figures text not null,              -- JSON: each number of agg_kpis_daily, as first published from this version
        final text,                         -- the same once the day was complete; null until then
        primary key (kpi_date, content_hash, project_fingerprint)
    )
    """,
    """
    create table if not exists alert_arrivals (
        checked_at text primary key,        -- a check, UTC
        known_until text not null           -- the newest event it knew, UTC
    )
    """,
    """
    create table if not exists alert_hour_counts (
        checked_at text not null,           -- a check, UTC
        hour_started_at text not null,      -- a late hour of the intraday table, UTC
        events integer not null,            -- as many of it as the check knew
        primary key (checked_at, hour_started_at)
    )
    """,
    """
    create table if not exists alert_last_check (
        only_row integer primary key check (only_row = 1),
        seen text not null                  -- what the KPIs were last tested on: tables, rules, date, expected days
    )
    """,
    """
    create table if not exists alert_answers_seen (
        signature_hash text primary key,
        seen_at real not null           -- epoch seconds; forgotten once the timestamp alone refuses the request
    )
    """,
)


@contextmanager
def open_alerts(settings: Settings) -> Iterator[sqlite3.Connection]:
    """A transaction on the state file, as `foundation.state.open_state`, in which this room's tables exist."""
    with open_state(settings) as state:
        create_tables(state)
        yield state


@contextmanager
def copy_alerts(settings: Settings) -> Iterator[sqlite3.Connection]:
    """A copy of the state in memory, in which this room's tables exist; whatever is done to it is forgotten."""
    with copy_state(settings) as state:
        create_tables(state)
        yield state


def create_tables(state: sqlite3.Connection) -> None:
    """Create the tables of the alerts room where they are missing."""
    _drop_old_tables(state)
    for statement in TABLES:
        state.execute(statement)
    if "hours" not in {row["name"] for row in state.execute("pragma table_info(alert_checks)")}:
        state.execute("alter table alert_checks add column hours text")
    _rename_former_dag(state)


def _drop_old_tables(state: sqlite3.Connection) -> None:
    # Before version 2 a table held no life to carry over: open problems are found anew by the next check.
    columns = {row["name"] for row in state.execute("pragma table_info(alert_incidents)")}
    if columns and "folded_into" not in columns:
        for table in ("alert_outbox", "alert_checks", "alert_incidents"):
            state.execute(f"drop table if exists {table}")


def _rename_former_dag(state: sqlite3.Connection) -> None:
    """What is known of the pipeline under its former name goes on under its new one."""
    known = state.execute(
        "select 1 from alert_heartbeats where dag_id = ? "
        "union all select 1 from alert_incidents where status != 'resolved' and instr(fingerprint, ?)",
        (FORMER_PIPELINE, FORMER_PIPELINE),
    )
    if known.fetchone() is None:
        return
    state.execute("update or ignore alert_heartbeats set dag_id = ? where dag_id = ?", (PIPELINE, FORMER_PIPELINE))
    state.execute("delete from alert_heartbeats where dag_id = ?", (FORMER_PIPELINE,))
    for column in ("fingerprint", "rule", "title", "dimension_value"):
        state.execute(
            f"update alert_incidents set {column} = replace({column}, ?, ?) where status != 'resolved'",
            (FORMER_PIPELINE, PIPELINE),
        )
    state.execute(
        "update alert_facts set facts = replace(facts, ?, ?) where incident_id in "
        "(select incident_id from alert_incidents where status != 'resolved')",
        (f'"{FORMER_PIPELINE}', f'"{PIPELINE}'),
    )
