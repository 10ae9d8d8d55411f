"""What the published warehouse holds, for the summary of a run: the data, and the KPIs of the last days."""

from __future__ import annotations

import datetime as dt

import duckdb

from foundation.plain_tables import align, show_percent

RECENT_DAYS = 7
SHOWN_COLUMNS = 4


def summarise_data(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Days, rows, events and sessions of the published warehouse, and what was left out or looks new."""
    days, first, last, events, provisional = connection.execute(
        """
        select count(*), min(kpi_date), max(kpi_date), coalesce(sum(events), 0), count(*) filter (where is_provisional)
        from marts.agg_kpis_daily
        """
    ).fetchall()[0]
    raw, quarantined, duplicate, synthetic, internal, cookieless = connection.execute(
        """
        select
            coalesce(sum(raw_rows), 0), coalesce(sum(quarantined_rows), 0), coalesce(sum(duplicate_rows), 0),
            coalesce(sum(synthetic_rows), 0), coalesce(sum(internal_rows), 0), coalesce(sum(cookieless_rows), 0)
        from ops.event_counts
        """
    ).fetchall()[0]
    sessions, users, purchases, revenue = connection.execute(
        """
        select count(*), count(distinct user_pseudo_id), coalesce(sum(purchases), 0), coalesce(sum(revenue_usd), 0)
        from marts.fct_sessions
        """
    ).fetchall()[0]
    reasons = connection.execute(
        "select reason, count(*) from ops.quarantined_events group by reason order by 2 desc, 1"
    ).fetchall()
    return [
        f"DATA  {_name_sources(connection)}",
        f"  {days:,} days ({first} to {last}; {provisional} still provisional), {raw:,} rows",
        f"  {events:,} events kept; left out: {duplicate:,} duplicates, {internal:,} internal, "
        f"{synthetic:,} synthetic, {quarantined:,} quarantined",
        f"  {sessions:,} sessions of {users:,} users, {purchases:,.0f} purchases, {revenue:,.2f} USD; "
        f"{cookieless:,} cookieless events belong to no session",
        *list_schema_changes(connection),
        *(f"    quarantined: {count:,} × {reason}" for reason, count in reasons),
    ]


def _name_sources(connection: duckdb.DuckDBPyConnection) -> str:
    """Where the published days were read from: of more than one source, which are mixed, each with its days."""
    sources = connection.execute(
        """
        select source_uri, count(*) as days from ops.ingest_ledger
        group by source_uri order by max(loaded_at) desc, source_uri
        """
    ).fetchall()
    if len(sources) < 2:
        return "".join(uri for uri, _ in sources)
    return "; ".join(f"{uri} ({days:,} days)" for uri, days in sources)


def list_schema_changes(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """How the export differs from the schema that Funnelhouse knows: now, or on one of the last days."""
    rows = connection.execute(
        f"""
        select column_name || ' ' || change || ' since ' || event_date || if(is_current, '', ' until ' || last_date)
        from ops.schema_changes
        where
            differs_from_known_schema
            and last_date > (select max(event_date) - {RECENT_DAYS} from ops.ingest_ledger)
        order by change = 'missing', event_date desc, change, column_name
        """
    ).fetchall()
    if not rows:
        return []
    more = f", and {len(rows) - SHOWN_COLUMNS} more" if len(rows) > SHOWN_COLUMNS else ""
    return [f"  schema: {', '.join(text for (text,) in rows[:SHOWN_COLUMNS])}{more} (see ops.schema_changes)"]


def summarise_kpis(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The KPIs of the last seven days, and of all days together."""
    rows = connection.execute(
        f"""
        select
            kpi_date, sessions, conversion_rate, cart_abandonment_rate, avg_session_duration_seconds, revenue_usd,
            is_provisional
        from marts.agg_kpis_daily
        order by kpi_date desc limit {RECENT_DAYS}
        """
    ).fetchall()
    conversion, abandonment, duration = connection.execute(
        """
        select
            sum(sessions_with_purchase) / nullif(sum(sessions), 0),
            1 - (
                select count(*) filter (where has_add_to_cart and has_purchase)
                from marts.fct_sessions
            ) / nullif(sum(sessions_with_add_to_cart), 0),
            (select avg(session_duration_seconds) from marts.fct_sessions)
        from marts.agg_kpis_daily
        """
    ).fetchall()[0]
    header = ("date", "sessions", "conversion", "cart abandonment", "avg. duration", "revenue USD", "")
    total = ("all", "", show_percent(conversion), show_percent(abandonment), _show_seconds(duration), "", "")
    return ["KPIS OF THE LAST DAYS", *align([header, *(_show_day(*row) for row in reversed(rows)), total])]


def _show_day(
    date: dt.date,
    sessions: int,
    conversion: float | None,
    abandonment: float | None,
    duration: float | None,
    revenue: float,
    is_provisional: bool,
) -> tuple[str, ...]:
    return (
        str(date),
        f"{sessions:,}",
        show_percent(conversion),
        show_percent(abandonment),
        _show_seconds(duration),
        f"{revenue:,.2f}",
        "provisional" if is_provisional else "",
    )


def _show_seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:,.0f} s"
