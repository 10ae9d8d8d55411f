"""`ml.session_predictions` in the build file: which sessions need a score, and writing scores."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ml.core.contract import ContractMismatchError
from ml.io.contracts import SESSIONS
from ml.io.registry import StoredModel

TABLE = "ml.session_predictions"
VERSIONS = "ml.model_versions"
TO_SCORE = "temp.main.sessions_to_score"

_SCHEMA = pa.schema(
    [
        ("session_id", pa.string()),
        ("session_date", pa.date32()),
        ("propensity_full", pa.float64()),
        ("propensity_full_version", pa.string()),
        ("propensity_precheckout", pa.float64()),
        ("propensity_precheckout_version", pa.string()),
        ("precheckout_decision_point", pa.string()),
        ("segment_id", pa.int32()),
        ("segment_name", pa.string()),
        ("segments_version", pa.string()),
        ("scored_at", pa.timestamp("us")),
    ]
)


@dataclass(frozen=True)
class ChampionVersions:
    """The versions to score with; None = no champion."""

    propensity_full: str | None
    propensity_precheckout: str | None
    segments: str | None


@dataclass(frozen=True)
class ScoredBatch:
    """Scores of sessions (n,), in one order; floats are NaN and objects None where there is no score."""

    session_ids: npt.NDArray[np.object_]
    session_dates: npt.NDArray[np.datetime64]
    propensity_full: npt.NDArray[np.float64]
    propensity_precheckout: npt.NDArray[np.float64]
    decision_points: npt.NDArray[np.object_]
    segment_ids: npt.NDArray[np.float64]
    segment_names: npt.NDArray[np.object_]


def ensure_table(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the predictions table if it is not there."""
    connection.execute("create schema if not exists ml")
    connection.execute(
        f"""
        create table if not exists {TABLE} (
            session_id varchar not null,
            session_date date not null,
            propensity_full double,
            propensity_full_version varchar,
            propensity_precheckout double,
            propensity_precheckout_version varchar,
            precheckout_decision_point varchar,
            segment_id integer,
            segment_name varchar,
            segments_version varchar,
            scored_at timestamp not null
        )
        """
    )


def write_versions(connection: duckdb.DuckDBPyConnection, models: Iterable[StoredModel]) -> None:
    """Write which versions score and the last day that each was fitted on: on later days its scores are a test."""
    connection.execute(f"create or replace table {VERSIONS} (model varchar, version varchar, fitted_until date)")
    for model in models:
        values = [model.name, model.version, model.manifest.record.fitted_until]
        connection.execute(f"insert into {VERSIONS} values (?, ?, ?)", values)


def list_sessions_to_score(connection: duckdb.DuckDBPyConnection, versions: ChampionVersions) -> int:
    """Number the sessions that need a score (1, 2, …) in a temporary table, by date, and return how many there are.

    That is: no row yet, of a date that the build rewrote, of another date than stored, or scored by other versions than
    `versions`. Raises `ContractMismatchError` where `ops.build_info` is missing.
    """
    found = connection.execute(
        "select 1 from duckdb_tables() where schema_name = 'ops' and table_name = 'build_info'"
    ).fetchone()
    if found is None:
        raise ContractMismatchError("the build file has no table ops.build_info: build the marts first")
    connection.execute(
        f"""
        create or replace temporary table sessions_to_score as
        with build as (
            select min(touched_from) as touched_from, coalesce(bool_or(is_full_rebuild), false) as is_full_rebuild
            from ops.build_info
        )
        select
            sessions.session_id,
            sessions.session_date,
            row_number() over (order by sessions.session_date, sessions.session_id) as position
        from ml.{SESSIONS} as sessions
        cross join build
        left join {TABLE} as stored on stored.session_id = sessions.session_id
        where stored.session_id is null
            or build.is_full_rebuild
            or sessions.session_date >= build.touched_from
            or stored.session_date <> sessions.session_date
            or stored.propensity_full_version is distinct from ?
            or stored.propensity_precheckout_version is distinct from ?
            or stored.segments_version is distinct from ?
        """,
        [versions.propensity_full, versions.propensity_precheckout, versions.segments],
    )
    row = connection.execute(f"select count(*) from {TO_SCORE}").fetchone()
    return 0 if row is None else int(row[0])


def count_orphans(connection: duckdb.DuckDBPyConnection) -> int:
    """Predictions whose session is gone."""
    row = connection.execute(
        f"select count(*) from {TABLE} where session_id not in (select session_id from ml.{SESSIONS})"
    ).fetchone()
    return 0 if row is None else int(row[0])


def delete_stale(connection: duckdb.DuckDBPyConnection) -> None:
    """Delete predictions whose session is gone or is about to be scored again."""
    connection.execute(
        f"""
        delete from {TABLE}
        where session_id not in (select session_id from ml.{SESSIONS})
            or session_id in (select session_id from {TO_SCORE})
        """
    )


def insert_batch(
    connection: duckdb.DuckDBPyConnection, batch: ScoredBatch, versions: ChampionVersions, *, scored_at: dt.datetime
) -> None:
    """Append one batch; every row carries the versions it was scored with, also where a score is null."""
    n = len(batch.session_ids)

    def repeat(value: str | None) -> pa.Array:
        return pa.array([value] * n, pa.string())

    table = pa.Table.from_arrays(
        [
            pa.array(batch.session_ids, pa.string()),
            pa.array(batch.session_dates.astype("datetime64[D]"), pa.date32()),
            pa.array(batch.propensity_full, pa.float64(), from_pandas=True),
            repeat(versions.propensity_full),
            pa.array(batch.propensity_precheckout, pa.float64(), from_pandas=True),
            repeat(versions.propensity_precheckout),
            pa.array(batch.decision_points, pa.string(), from_pandas=True),
            pa.array(batch.segment_ids, pa.float64(), from_pandas=True).cast(pa.int32()),
            pa.array(batch.segment_names, pa.string(), from_pandas=True),
            repeat(versions.segments),
            pa.array([scored_at.astimezone(dt.UTC).replace(tzinfo=None)] * n, pa.timestamp("us")),
        ],
        schema=_SCHEMA,
    )
    connection.register("scored_batch", table)
    try:
        connection.execute(f"insert into {TABLE} ({', '.join(_SCHEMA.names)}) select * from scored_batch")
    finally:
        connection.unregister("scored_batch")
