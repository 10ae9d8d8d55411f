"""The marts and scores suites' tables: differences between the build's tables that must agree."""

from __future__ import annotations

import duckdb

from expectations.scope import Scope
from expectations.tables import create_tables, set_variables
from foundation.errors import FunnelhouseError
from foundation.quoting import quote_text
from foundation.settings import Settings

# dbt's views name their database, which is the build file without its suffix; the files of sql/ call it so, too
BUILD = "warehouse"

MART_TABLES = (
    "staging.stg_ga4__events",
    "staging.stg_ga4__events_parsed",
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
    _attach_build(connection, settings, MART_TABLES)
    set_variables(connection, property_timezone=settings.property_timezone)
    create_tables(connection, "marts", ("rates", "dimension_rates", "sessions", "dates", "totals", "placeholder_ids"))
    dates, sessions, quarantined = (
        _count_rows(connection, f"{BUILD}.{table}")
        for table in ("marts.agg_kpis_daily", "marts.fct_sessions", "ops.quarantined_events")
    )
    return Scope(text=f"{dates} dates, {sessions:,} sessions, {quarantined:,} quarantined rows")


def prepare_scores(connection: duckdb.DuckDBPyConnection, settings: Settings) -> Scope:
    """Create the scores suite's tables over the build file; empty while there is no model to score with or to refuse.

    Raises `BuildIncompleteError` naming the missing tables or the missing build file.
    """
    _attach_build(connection, settings, ("marts.fct_sessions", "ops.refused_models"))
    is_scored = "ml.session_predictions" in _list_tables(connection) and (
        _has_versions(connection) or _count_rows(connection, f"{BUILD}.ops.refused_models")
    )
    if not is_scored:
        return Scope(text="no scores", notes=["No model has scored a session yet."], is_empty=True)
    _require_tables(connection, settings, ("marts.fct_session_scores", "ml.feat_sessions"))
    create_tables(connection, "scores", ("scores", "score_totals", "refused_models"))
    return Scope(text=f"{_count_rows(connection, 'scores'):,} scored sessions")


def _attach_build(connection: duckdb.DuckDBPyConnection, settings: Settings, needed: tuple[str, ...]) -> None:
    if not settings.build_path.exists():
        raise BuildIncompleteError(
            f"{settings.build_path} does not exist: no build has started; run the dbt build first"
        )
    connection.execute(f"attach {quote_text(str(settings.build_path))} as {BUILD} (read_only)")
    _require_tables(connection, settings, needed)


def _require_tables(connection: duckdb.DuckDBPyConnection, settings: Settings, needed: tuple[str, ...]) -> None:
    known = _list_tables(connection)
    missing = [table for table in needed if table not in known]
    if missing:
        raise BuildIncompleteError(f"{settings.build_path} lacks {', '.join(missing)}; build these dbt models first")


def _list_tables(connection: duckdb.DuckDBPyConnection) -> set[str]:
    rows = connection.execute(
        "select schema_name || '.' || table_name from duckdb_tables() where database_name = $build "
        "union all select schema_name || '.' || view_name from duckdb_views() where database_name = $build",
        {"build": BUILD},
    ).fetchall()
    return {name for (name,) in rows}


def _count_rows(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(connection.execute(f"select count(*) from {table}").fetchall()[0][0])


def _has_versions(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether any model scored any session: without a champion the rows are there, and empty."""
    versions = "coalesce(propensity_full_version, propensity_precheckout_version, segments_version)"
    return bool(
        connection.execute(
            f"select 1 from {BUILD}.ml.session_predictions where {versions} is not null limit 1"
        ).fetchall()
    )
