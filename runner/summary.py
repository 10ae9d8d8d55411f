"""What a run prints at its end: read from the published warehouse, the state file and the models folder."""

from __future__ import annotations

import json
import sqlite3
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb

from foundation.connect import open_published
from foundation.errors import NothingPublishedError
from foundation.settings import PROJECT_DIR, Settings
from foundation.state import open_state

RECENT_DAYS = 7
SHOWN_COLUMNS = 4
METRICS = (("roc_auc", "AUC"), ("average_precision", "AP"), ("lift_at_10_percent", "lift at 10 %"), ("brier", "Brier"))


def summarise(settings: Settings) -> str:
    """The state of the shop as text, a section a subject."""
    try:
        with open_published(settings) as connection:
            sections = [
                _data(connection, settings),
                _kpis(connection),
                _validation(connection),
                _models(settings),
                _segments(connection),
                _alerts(settings),
            ]
    except NothingPublishedError as error:
        sections = [str(error)]
    return "\n\n".join([*sections, _look_further(settings)])


def _data(connection: duckdb.DuckDBPyConnection, settings: Settings) -> str:
    ((days, first, last, events, provisional),) = _rows(
        connection,
        """
        select count(*), min(kpi_date), max(kpi_date), sum(events), count(*) filter (where is_provisional)
        from marts.agg_kpis_daily
        """,
    )
    counts = dict(
        zip(
            ("raw", "quarantined", "duplicate", "synthetic", "internal", "cookieless"),
            _rows(
                connection,
                """
                select
                    sum(raw_rows), sum(quarantined_rows), sum(duplicate_rows), sum(synthetic_rows),
                    sum(internal_rows), sum(cookieless_rows)
                from ops.event_counts
                """,
            )[0],
            strict=True,
        )
    )
    ((sessions, users, purchases, revenue),) = _rows(
        connection,
        """
        select count(*), count(distinct user_pseudo_id), sum(purchases), sum(revenue_usd) from marts.fct_sessions
        """,
    )
    lines = [
        f"DATA  {settings.export_uri}",
        f"  {days or 0:,} days ({first} to {last}; {provisional or 0} still provisional), {counts['raw'] or 0:,} rows",
        f"  {events or 0:,} events kept; left out: {counts['duplicate'] or 0:,} duplicates, "
        f"{counts['internal'] or 0:,} internal, {counts['synthetic'] or 0:,} synthetic, "
        f"{counts['quarantined'] or 0:,} quarantined",
        f"  {sessions:,} sessions of {users:,} users, {purchases or 0:,.0f} purchases, {revenue or 0:,.2f} USD; "
        f"{counts['cookieless'] or 0:,} cookieless events belong to no session",
    ]
    lines += _schema(connection)
    lines += [
        f"    quarantined: {count:,} × {reason}"
        for reason, count in _rows(
            connection, "select reason, count(*) from ops.quarantined_events group by reason order by 2 desc, 1"
        )
    ]
    lines += [
        f"    file not loaded: {row['file_name']}: {row['reason']}; {row['what_to_do']}"
        for row in _state_rows(
            settings,
            "quarantined_files",
            "select * from quarantined_files where resolved_at is null order by file_name",
        )
    ]
    return "\n".join(lines)


def _schema(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """How the export differs from the schema that Funnelhouse knows: now, or on one of the last days."""
    rows = _rows(
        connection,
        f"""
        select column_name || ' ' || change || ' since ' || event_date || if(is_current, '', ' until ' || last_date)
        from ops.schema_changes
        where
            differs_from_known_schema
            and last_date > (select max(event_date) - {RECENT_DAYS} from ops.ingest_ledger)
        order by change = 'missing', event_date desc, change, column_name
        """,
    )
    if not rows:
        return []
    more = f", and {len(rows) - SHOWN_COLUMNS} more" if len(rows) > SHOWN_COLUMNS else ""
    return [f"  schema: {', '.join(text for (text,) in rows[:SHOWN_COLUMNS])}{more} (see ops.schema_changes)"]


def _kpis(connection: duckdb.DuckDBPyConnection) -> str:
    rows = _rows(
        connection,
        f"""
        select
            kpi_date, sessions, conversion_rate, cart_abandonment_rate, avg_session_duration_seconds, revenue_usd,
            is_provisional
        from marts.agg_kpis_daily
        order by kpi_date desc limit {RECENT_DAYS}
        """,
    )
    table = [("date", "sessions", "conversion", "cart abandonment", "avg. duration", "revenue USD", "")]
    table += [
        (
            str(date),
            f"{sessions:,}",
            _percent(conversion),
            _percent(abandonment),
            "-" if duration is None else f"{duration:,.0f} s",
            f"{revenue:,.2f}",
            "provisional" if provisional else "",
        )
        for date, sessions, conversion, abandonment, duration, revenue, provisional in reversed(rows)
    ]
    ((conversion, abandonment, duration),) = _rows(
        connection,
        """
        select
            sum(sessions_with_purchase) / nullif(sum(sessions), 0),
            1 - (
                select count(*) filter (where has_add_to_cart and has_purchase)
                from marts.fct_sessions
            ) / nullif(sum(sessions_with_add_to_cart), 0),
            (select avg(session_duration_seconds) from marts.fct_sessions)
        from marts.agg_kpis_daily
        """,
    )
    table.append(
        (
            "all",
            "",
            _percent(conversion),
            _percent(abandonment),
            "-" if duration is None else f"{duration:,.0f} s",
            "",
            "",
        )
    )
    return "KPIS OF THE LAST DAYS\n" + _align(table)


def _validation(connection: duckdb.DuckDBPyConnection) -> str:
    # a run without new days validates no landing: what counts is each suite's newest verdict
    newest = """
        select * from ops.validation_results
        qualify validated_at = max(validated_at) over (partition by suite)
    """
    rows = _rows(
        connection,
        f"""
        select suite, count(*) filter (where success = 1), count(*) filter (where success = 0 and severity = 'warn'),
            count(*) filter (where success = 0 and severity = 'fail')
        from ({newest})
        group by suite order by array_position(['landing', 'marts', 'scores'], suite)
        """,
    )
    lines = ["VALIDATION (each suite's newest)"]
    lines += [f"  {suite}: {passed} passed, {warned} warned, {failed} failed" for suite, passed, warned, failed in rows]
    lines += [
        f"    warning: {name}: {textwrap.shorten(str(observed), 160, placeholder=' …')}"
        for name, observed in _rows(
            connection,
            f"select expectation, observed from ({newest}) where success = 0 order by suite, expectation",
        )
    ]
    return "\n".join(lines)


def _models(settings: Settings) -> str:
    lines = ["MODELS (held-out last days; 95 % intervals)"]
    for name in ("propensity_full", "propensity_precheckout"):
        champion = settings.models_dir / name / "champion.json"
        if not champion.exists():
            lines.append(f"  {name}: no champion: {_why_not(settings, name)}")
            continue
        version = json.loads(champion.read_text(encoding="utf-8"))["version"]
        manifest = json.loads((champion.parent / version / "manifest.json").read_text(encoding="utf-8"))
        parts = [
            f"{label} {metric['value']:.3f} [{metric['low']:.3f}, {metric['high']:.3f}]"
            for key, label in METRICS
            if (metric := manifest["metrics"].get(key))
        ]
        lines.append(f"  {name} {version}: " + ", ".join(parts))
    return "\n".join(lines)


def _why_not(settings: Settings, name: str) -> str:
    with suppress(FileNotFoundError):
        report = json.loads((settings.models_dir / "last_training.json").read_text(encoding="utf-8"))
        for model in report["models"]:
            if model["name"] == name:
                return str(model["why"])
    return "not trained yet"


def _segments(connection: duckdb.DuckDBPyConnection) -> str:
    rows = _rows(
        connection,
        """
        select
            scores.segment_name, count(*), count(*) / sum(count(*)) over (),
            avg(cast(sessions.has_purchase as integer))
        from marts.fct_session_scores as scores
        inner join marts.fct_sessions as sessions using (session_id)
        where scores.segment_name is not null
        group by scores.segment_name order by 2 desc
        """,
    )
    if not rows:
        return "SEGMENTS\n  none yet"
    table = [("segment", "sessions", "share", "conversion")]
    table += [(str(name), f"{n:,}", _percent(share), _percent(conversion)) for name, n, share, conversion in rows]
    return "SEGMENTS\n" + _align(table)


def _alerts(settings: Settings) -> str:
    rows = _state_rows(
        settings,
        "alert_outbox",
        """
        select i.incident_id, i.title, i.status, i.first_seen_date, i.last_seen_date, o.status as delivery,
            (select count(*) from alert_incidents as folded where folded.folded_into = i.incident_id) as folded
        from alert_incidents as i
        left join alert_outbox as o on o.incident_id = i.incident_id and o.kind = 'parent' and o.channel = 'slack'
        where i.folded_into is null and i.incident_days > 0
        order by i.first_seen_date, i.incident_id
        """,
    )
    lines = [f"ALERTS  {len(rows)} incidents"]
    for row in rows:
        folded = f", with {row['folded']} more of its cause" if row["folded"] else ""
        lines.append(
            f"  {row['title']} {row['first_seen_date']} to {row['last_seen_date']}, {row['status']}{folded}"
            f" ({row['delivery']})"
        )
        message = settings.alerts_dir / row["incident_id"] / "message.txt"
        if row["delivery"] == "rendered" and message.exists():
            lines += [f"    | {line}" for line in message.read_text(encoding="utf-8").splitlines()]
            lines.append(f"    whole message and chart: {_shown(message.parent)}")
    if any(row["delivery"] == "rendered" for row in rows):
        lines.append(
            "  No Slack token is set: messages were rendered, not posted. README.md says how to connect Slack."
        )
    return "\n".join(lines)


def _look_further(settings: Settings) -> str:
    database = settings.published_path
    return "\n".join(
        [
            "LOOK FURTHER",
            f'  warehouse   {_shown(database)}  (DuckDB; e.g. `make sql Q="from marts.agg_kpis_daily"`)',
            f"  data docs   {_shown(settings.docs_dir / 'data_docs' / 'index.html')}",
            f"  models      {_shown(settings.models_dir)}  (`make models`)",
            f"  logs        {_shown(settings.home / 'logs')}",
            "  `make docs` writes the documentation of every table; `make up` keeps Airflow running with its page",
        ]
    )


def _state_rows(settings: Settings, table: str, sql: str) -> list[sqlite3.Row]:
    """Rows of the state file; none where the room that owns the table has not run yet."""
    with open_state(settings) as state:
        known = state.execute("select 1 from sqlite_master where name = ?", (table,)).fetchone()
        return state.execute(sql).fetchall() if known else []


def _shown(path: Path) -> str:
    """The path as one would type it from the project's folder."""
    return str(path.relative_to(PROJECT_DIR)) if path.is_relative_to(PROJECT_DIR) else str(path)


def _rows(connection: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    return connection.execute(sql).fetchall()


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _align(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)
