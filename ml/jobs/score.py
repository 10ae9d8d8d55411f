"""Score the sessions of the build file with the champions, only where something changed."""

from __future__ import annotations

import datetime as dt
import logging
import time
from dataclasses import asdict, dataclass
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from ml.core.contract import ContractMismatchError, FeatureTable, require_same_contract
from ml.core.propensity import predict_propensity
from ml.core.segmentation import predict_segments
from ml.io.contracts import check_table, contract_path, require_tables
from ml.io.frames import read_frame, split_columns
from ml.io.predictions import (
    TABLE,
    TO_SCORE,
    ChampionVersions,
    ScoredBatch,
    count_orphans,
    delete_stale,
    ensure_table,
    insert_batch,
    list_sessions_to_score,
)
from ml.io.registry import ModelRegistry, StoredModel
from ml.jobs.report import FULL, PRECHECKOUT, SEGMENTS
from warehouse.connect import open_build
from warehouse.settings import Settings

log = logging.getLogger(__name__)

BATCH_ROWS = 200_000


@dataclass(frozen=True)
class ScoreReport:
    """What a scoring run did. `sessions` have a row afterwards; `champions` scored (None = none, empty scores)."""

    scored: int
    deleted: int
    sessions: int
    champions: dict[str, str | None]
    refused: dict[str, str]  # champions that were not used, and why
    seconds: float
    message: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


@dataclass(frozen=True)
class _Champions:
    full: StoredModel | None
    precheckout: StoredModel | None
    segments: StoredModel | None

    @property
    def versions(self) -> ChampionVersions:
        def version(model: StoredModel | None) -> str | None:
            return None if model is None else model.version

        return ChampionVersions(version(self.full), version(self.precheckout), version(self.segments))


def score_sessions(settings: Settings, *, batch_rows: int = BATCH_ROWS) -> ScoreReport:
    """Bring `ml.session_predictions` of the build file up to date, in one transaction.

    Scored are the sessions without a row, of a date the build rewrote, or scored by other versions than the champions';
    rows of sessions that are gone are deleted. `propensity_precheckout` is that of the session's latest decision point
    at which it is at risk, null where there is none. A champion whose contract differs from the YAML's is refused: its
    scores are empty until it is trained again, and the rest of the run goes on. Raises `ContractMismatchError` if the
    tables differ from the YAML; `ModelRefusedError` for a broken or foreign model file.
    """
    begun = time.monotonic()
    sessions, prefixes = require_tables(contract_path(settings))
    champions, refused = _load_champions(ModelRegistry(settings.models_dir), sessions, prefixes)
    versions = champions.versions
    scored_at = dt.datetime.now(dt.UTC).replace(microsecond=0)
    with open_build(settings) as connection:
        check_table(connection, sessions)
        check_table(connection, prefixes)
        ensure_table(connection)
        to_score = list_sessions_to_score(connection, versions)
        orphans = count_orphans(connection)
        if to_score or orphans:
            connection.execute("begin transaction")
            try:
                delete_stale(connection)
                for first in range(1, to_score + 1, batch_rows):
                    batch = _score_batch(connection, champions, sessions, prefixes, first, first + batch_rows - 1)
                    insert_batch(connection, batch, versions, scored_at=scored_at)
                    log.info("scored %s of %s sessions", f"{min(first + batch_rows - 1, to_score):,}", f"{to_score:,}")
            except BaseException:
                connection.execute("rollback")
                raise
            connection.execute("commit")
        row = connection.execute(f"select count(*) from {TABLE}").fetchone()
    message = (
        f"scored {to_score:,} sessions, deleted {orphans:,} predictions without a session"
        if to_score or orphans
        else "nothing to score: every session has its scores from the champions"
    )
    log.info(message)
    return ScoreReport(
        scored=to_score,
        deleted=orphans,
        sessions=0 if row is None else int(row[0]),
        champions={
            FULL: versions.propensity_full,
            PRECHECKOUT: versions.propensity_precheckout,
            SEGMENTS: versions.segments,
        },
        refused=refused,
        seconds=round(time.monotonic() - begun, 2),
        message=message,
    )


def _load_champions(
    registry: ModelRegistry, sessions: FeatureTable, prefixes: FeatureTable
) -> tuple[_Champions, dict[str, str]]:
    loaded: dict[str, StoredModel | None] = {}
    refused: dict[str, str] = {}
    for name, table in ((FULL, sessions), (PRECHECKOUT, prefixes), (SEGMENTS, sessions)):
        model = registry.load_champion(name)
        if model is not None:
            try:
                require_same_contract(model.contract, table.contract, model_name=name)
            except ContractMismatchError as error:
                log.error("%s is not used: %s", name, error)
                refused[name] = str(error)
                model = None
        loaded[name] = model
    return _Champions(loaded[FULL], loaded[PRECHECKOUT], loaded[SEGMENTS]), refused


def _score_batch(
    connection: duckdb.DuckDBPyConnection,
    champions: _Champions,
    sessions: FeatureTable,
    prefixes: FeatureTable,
    first: int,
    last: int,
) -> ScoredBatch:
    wanted = f"select session_id from {TO_SCORE} where position between {first} and {last}"
    listed = connection.execute(
        f"select session_id, session_date from {TO_SCORE} where position between {first} and {last} order by session_id"
    ).df()
    n = len(listed)
    batch = ScoredBatch(
        session_ids=listed["session_id"].to_numpy(dtype=object),
        session_dates=listed["session_date"].to_numpy(dtype="datetime64[D]"),
        propensity_full=np.full(n, np.nan),
        propensity_precheckout=np.full(n, np.nan),
        decision_points=np.full(n, None, dtype=object),
        segment_ids=np.full(n, np.nan),
        segment_names=np.full(n, None, dtype=object),
    )
    rows = pd.Index(batch.session_ids)
    if champions.full is not None:
        source = f"(from {sessions.relation} where session_id in ({wanted}))"
        features, keys = _read(connection, source, champions.full, ["session_id"])
        batch.propensity_full[rows.get_indexer(pd.Index(keys["session_id"]))] = predict_propensity(
            champions.full.pipeline, features
        )
    if champions.segments is not None:
        source = f"(from {sessions.relation} where session_id in ({wanted}))"
        features, keys = _read(connection, source, champions.segments, ["session_id"])
        names = {segment["segment_id"]: segment["name"] for segment in champions.segments.manifest["segments"]}
        at = rows.get_indexer(pd.Index(keys["session_id"]))
        ids = predict_segments(champions.segments.pipeline, features)
        batch.segment_ids[at] = ids
        batch.segment_names[at] = [names[segment_id] for segment_id in ids.tolist()]
    if champions.precheckout is not None:
        source = (
            f"(from {prefixes.relation} where {prefixes.risk} and session_id in ({wanted}) "
            "qualify row_number() over (partition by session_id order by decision_events desc) = 1)"
        )
        features, keys = _read(connection, source, champions.precheckout, ["session_id", f"{prefixes.point} as point"])
        if len(features):
            at = rows.get_indexer(pd.Index(keys["session_id"]))
            batch.propensity_precheckout[at] = predict_propensity(champions.precheckout.pipeline, features)
            batch.decision_points[at] = keys["point"].to_numpy(dtype=object)
    return batch


def _read(
    connection: duckdb.DuckDBPyConnection, source: str, model: StoredModel, columns: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    return split_columns(read_frame(connection, source, model.contract, columns=columns), model.contract)
