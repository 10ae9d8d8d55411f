"""The marts and scores suites' tables: differences between the build's tables that must agree."""

from __future__ import annotations

import duckdb

from expectations.scope import Scope, quote
from foundation.errors import FunnelhouseError
from foundation.settings import Settings

MART_TABLES = (
    "staging.stg_ga4__events",
    "marts.fct_sessions",
    "marts.fct_purchases",
    "marts.agg_kpis_daily",
    "marts.agg_kpis_daily_by_dimension",
    "ops.build_info",
    "ops.event_counts",
    "ops.ingest_ledger",
    "ops.quarantined_events",
)


class BuildIncompleteError(FunnelhouseError):
    """The build file lacks a table that dbt or the transaction around it should have made."""


def prepare_marts(connection: duckdb.DuckDBPyConnection, settings: Settings) -> Scope:
    """Create the marts suite's tables over the build file.

    Raises `BuildIncompleteError` naming the missing tables or the missing build file.
    """
    build = _attach_build(connection, settings, MART_TABLES)
    _create_rates(connection, build)
    connection.execute(
        f"create view sessions as select session_id as subject, session_id, event_count as events "
        f"from {build}.marts.fct_sessions"
    )
    _create_dates(connection, build)
    _create_totals(connection, build, settings)
    dates, sessions, quarantined = (
        _count_rows(connection, f"{build}.{table}")
        for table in ("marts.agg_kpis_daily", "marts.fct_sessions", "ops.quarantined_events")
    )
    return Scope(text=f"{dates} dates, {sessions:,} sessions, {quarantined:,} quarantined rows")


def prepare_scores(connection: duckdb.DuckDBPyConnection, settings: Settings) -> Scope:
    """Create the scores suite's tables over the build file; empty while there is no model to score with.

    Raises `BuildIncompleteError` naming the missing tables or the missing build file.
    """
    build = _attach_build(connection, settings, ("marts.fct_sessions",))
    predictions = f"{build}.ml.session_predictions"
    if "ml.session_predictions" not in _list_tables(connection, build) or not _has_versions(connection, predictions):
        return Scope(text="no scores", notes=["No model has scored a session yet."], is_empty=True)
    _require_tables(connection, settings, build, ("marts.fct_session_scores", "ml.feat_sessions"))
    connection.execute(
        f"create view scores as select session_id as subject, session_id, propensity_full, propensity_precheckout "
        f"from {build}.marts.fct_session_scores"
    )
    connection.execute(
        f"""
        create table score_totals as
        with sessions as (
            select session_id from {build}.marts.fct_sessions
        ),
        features as (
            select session_id from {build}.ml.feat_sessions
        ),
        scores as (
            select * from {build}.marts.fct_session_scores
        ),
        predictions as (
            select session_id, scored_at from {predictions}
        )
        select
            'all sessions' as subject,
            (
                select count(*)
                from features
                anti join (select session_id from scores where scored_at is not null) using (session_id)
            ) as sessions_without_scores,
            (select count(*) from scores anti join sessions using (session_id)) as scores_without_session,
            (select count(*) from scores) - (select count(*) from sessions) as rows_off_sessions,
            (
                select count(*)
                from predictions
                anti join scores using (session_id, scored_at)
            ) as predictions_off_scores,
            (
                select count(*) from scores where propensity_full_version is not null and propensity_full is null
            ) as versions_without_propensity
        """
    )
    return Scope(text=f"{_count_rows(connection, 'scores'):,} scored sessions")


def _attach_build(connection: duckdb.DuckDBPyConnection, settings: Settings, needed: tuple[str, ...]) -> str:
    """Attach the build file read-only under its own name (dbt's views name their database) and return that name."""
    if not settings.build_path.exists():
        raise BuildIncompleteError(f"{settings.build_path} does not exist: no build has begun; run the dbt build first")
    build = settings.build_path.stem
    connection.execute(f"attach {quote(str(settings.build_path))} as {build} (read_only)")
    _require_tables(connection, settings, build, needed)
    return build


def _require_tables(
    connection: duckdb.DuckDBPyConnection, settings: Settings, build: str, needed: tuple[str, ...]
) -> None:
    known = _list_tables(connection, build)
    missing = [table for table in needed if table not in known]
    if missing:
        raise BuildIncompleteError(f"{settings.build_path} lacks {', '.join(missing)}; build these dbt models first")


def _list_tables(connection: duckdb.DuckDBPyConnection, build: str) -> set[str]:
    rows = connection.execute(
        "select schema_name || '.' || table_name from duckdb_tables() where database_name = $build "
        "union all select schema_name || '.' || view_name from duckdb_views() where database_name = $build",
        {"build": build},
    ).fetchall()
    return {name for (name,) in rows}


def _count_rows(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(connection.execute(f"select count(*) from {table}").fetchall()[0][0])


def _has_versions(connection: duckdb.DuckDBPyConnection, predictions: str) -> bool:
    """Whether any model scored any session: without a champion the rows are there, and empty."""
    versions = "coalesce(propensity_full_version, propensity_precheckout_version, segments_version)"
    return bool(connection.execute(f"select 1 from {predictions} where {versions} is not null limit 1").fetchall())


def _create_rates(connection: duckdb.DuckDBPyConnection, build: str) -> None:
    """One row per date (and dimension value) and rate that is not null."""
    connection.execute(
        f"""
        create table rates as
        select kpi_date || ' ' || rate_name as subject, kpi_date, rate_name, rate
        from {build}.marts.agg_kpis_daily
        unpivot (
            rate for rate_name in
            (engagement_rate, bounce_rate, conversion_rate, cart_abandonment_rate, checkout_abandonment_rate)
        )
        """
    )
    connection.execute(
        f"""
        create table dimension_rates as
        select
            concat_ws(' ', kpi_date, dimension || '=' || coalesce(dimension_value, 'null'), rate_name) as subject,
            kpi_date,
            rate_name,
            rate
        from {build}.marts.agg_kpis_daily_by_dimension
        unpivot (rate for rate_name in (conversion_rate, cart_abandonment_rate, checkout_abandonment_rate))
        """
    )


def _create_dates(connection: duckdb.DuckDBPyConnection, build: str) -> None:
    """One row per date that any of the tables knows; a date that one of them lacks counts as 0 there.

    A session over midnight has one date, and its purchase may have the next: revenue in fct_sessions is dated by the
    session, revenue in agg_kpis_daily by the purchase.
    """
    connection.execute(
        f"""
        create table dates as
        with counts as (
            select event_date as date_day, * from {build}.ops.event_counts
        ),
        ledger as (
            select event_date as date_day, row_count from {build}.ops.ingest_ledger
        ),
        staged as (
            select event_date as date_day, count(*) as row_count
            from {build}.staging.stg_ga4__events
            group by event_date
        ),
        quarantined as (
            select event_date as date_day, count(*) as row_count
            from {build}.ops.quarantined_events
            group by event_date
        ),
        kpis as (
            select kpi_date as date_day, * from {build}.marts.agg_kpis_daily
        ),
        sessions as (
            select session_date as date_day, count(*) as sessions, sum(revenue_usd) as revenue_usd
            from {build}.marts.fct_sessions
            group by session_date
        ),
        bought_in_sessions as (
            select fct_sessions.session_date as date_day, sum(fct_purchases.revenue_usd) as revenue_usd
            from {build}.marts.fct_purchases
            inner join {build}.marts.fct_sessions using (session_id)
            group by fct_sessions.session_date
        ),
        bought as (
            select purchase_date as date_day, sum(revenue_usd) as revenue_usd
            from {build}.marts.fct_purchases
            group by purchase_date
        ),
        calendar as (
            select date_day from counts
            union select date_day from ledger
            union select date_day from staged
            union select date_day from quarantined
            union select date_day from kpis
            union select date_day from sessions
            union select date_day from bought
        )
        select
            date_day::varchar as subject,
            date_day,
            coalesce(counts.raw_rows, 0) - coalesce(ledger.row_count, 0) as raw_rows_off_ledger,
            coalesce(
                counts.raw_rows - counts.quarantined_rows - counts.duplicate_rows - counts.synthetic_rows
                - counts.internal_rows - counts.staged_rows, 0
            ) as raw_rows_off_counts,
            coalesce(staged.row_count, 0) - coalesce(counts.staged_rows, 0) as staged_rows_off_counts,
            coalesce(quarantined.row_count, 0) - coalesce(counts.quarantined_rows, 0) as quarantined_rows_off_counts,
            coalesce(kpis.sessions, 0) - coalesce(sessions.sessions, 0) as kpi_sessions_off,
            coalesce(sessions.revenue_usd, 0) - coalesce(bought_in_sessions.revenue_usd, 0) as session_revenue_off_usd,
            coalesce(kpis.revenue_usd, 0) - coalesce(bought.revenue_usd, 0) as kpi_revenue_off_usd,
            coalesce(kpis.sessions_with_purchase - kpis.sessions_with_begin_checkout, 0) as purchases_beyond_checkouts
        from calendar
        left join counts using (date_day)
        left join ledger using (date_day)
        left join staged using (date_day)
        left join quarantined using (date_day)
        left join kpis using (date_day)
        left join sessions using (date_day)
        left join bought_in_sessions using (date_day)
        left join bought using (date_day)
        """
    )


def _create_totals(connection: duckdb.DuckDBPyConnection, build: str, settings: Settings) -> None:
    """One row of differences over everything."""
    connection.execute(
        f"""
        create table totals as
        with counted as (
            select coalesce(sum(staged_rows - cookieless_rows), 0) as identified from {build}.ops.event_counts
        ),
        in_sessions as (
            select coalesce(sum(event_count), 0) as events, coalesce(sum(revenue_usd), 0) as revenue_usd
            from {build}.marts.fct_sessions
        ),
        purchases as (
            select coalesce(sum(revenue_usd), 0) as revenue_usd from {build}.marts.fct_purchases
        ),
        kpis as (
            select coalesce(sum(revenue_usd), 0) as revenue_usd from {build}.marts.agg_kpis_daily
        ),
        orphans as (
            select count(*) as purchases
            from {build}.marts.fct_purchases
            anti join {build}.marts.fct_sessions using (session_id)
        ),
        age as (
            select datediff(
                'day',
                (select max(event_date) from {build}.ops.ingest_ledger),
                (
                    select timezone({quote(settings.property_timezone)}, timezone('UTC', as_of))::date
                    from {build}.ops.build_info
                )
            ) as days
        )
        select
            'all dates' as subject,
            (counted.identified - in_sessions.events)::bigint as events_off_sessions,
            in_sessions.revenue_usd - purchases.revenue_usd as session_revenue_off_usd,
            kpis.revenue_usd - purchases.revenue_usd as kpi_revenue_off_usd,
            orphans.purchases as purchases_without_session,
            age.days as days_behind
        from counted, in_sessions, purchases, kpis, orphans, age
        """
    )
