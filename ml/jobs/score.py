"""Score the sessions of the build file with the champions, only where something changed."""

from __future__ import annotations

import datetime as dt
import logging
import time
from dataclasses import asdict, dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd

from foundation.connect import open_build
from foundation.settings import Settings
from ml.core.calibration import TrailingWindow, solve_trailing_shifts
from ml.core.contract import ContractMismatchError, FeatureTable, require_same_contract
from ml.core.errors import ModelRefusedError
from ml.core.metrics import from_logit, to_logit
from ml.core.propensity import PropensityModel
from ml.core.record import SegmentationRecord
from ml.core.segmentation import predict_segments
from ml.core.split import to_day_numbers
from ml.io.contracts import SESSIONS, check_table, contract_path, require_tables
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
    write_versions,
)
from ml.io.registry import ModelRegistry, StoredModel
from ml.jobs.propensity import restore_propensity
from ml.jobs.report import FULL, PRECHECKOUT, SEGMENTS
from warehouse.champions import read_champion_versions
from warehouse.transaction import record_champions

log = logging.getLogger(__name__)

BATCH_ROWS = 200_000
SESSIONS_PER_DAY = 2_000  # of the trailing window: enough to know a base rate, whatever the size of the shop


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
class _Propensity:
    """A champion with its table, and the shift in log-odds of each day that it has to score."""

    stored: StoredModel
    model: PropensityModel
    table: FeatureTable
    shifts: dict[int, float]


@dataclass(frozen=True)
class _Champions:
    full: _Propensity | None
    precheckout: _Propensity | None
    segments: StoredModel | None


def score_sessions(settings: Settings, *, batch_rows: int = BATCH_ROWS) -> ScoreReport:
    """Bring `ml.session_predictions` of the build file up to date, in one transaction.

    Scored are the sessions without a row, of a date the build rewrote, or scored by other versions than the champions';
    rows of sessions that are gone are deleted. `propensity_precheckout` is that of the session's latest decision point
    at which it is at risk and for which there is a model, null where there is none. Both propensities are moved, day by
    day, to the purchase rate of the days that were final when the day began. A champion that is damaged, foreign, of
    another contract than the YAML, or written by an older Funnelhouse is refused: its scores are empty until it is
    trained again, and the rest of the run goes on. The build notes which champions were seen, of which a
    later change brings the next build, which were used, and why others were not. Raises `ContractMismatchError` if the
    tables differ from the YAML.
    """
    begun = time.monotonic()
    sessions, prefixes = require_tables(contract_path(settings))
    # before the models are loaded: one that is promoted in between counts as not seen, and brings the next build
    seen = read_champion_versions(settings.models_dir)
    stored, refused = _load_champions(ModelRegistry(settings.models_dir), sessions, prefixes)
    versions = ChampionVersions(*(None if model is None else model.version for model in stored))
    with open_build(settings) as connection:
        check_table(connection, sessions)
        check_table(connection, prefixes)
        scored, deleted = _bring_up_to_date(connection, stored, versions, sessions, prefixes, batch_rows)
        row = connection.execute(f"select count(*) from {TABLE}").fetchone()
    champions = asdict(versions)
    used = {name: version for name, version in champions.items() if version}
    record_champions(settings, seen=seen, used=used, refused=refused)
    message = (
        f"scored {scored:,} sessions, deleted {deleted:,} predictions without a session"
        if scored or deleted
        else "nothing to score: every session already has its scores from the champions"
    )
    log.info(message)
    return ScoreReport(
        scored=scored,
        deleted=deleted,
        sessions=0 if row is None else int(row[0]),
        champions=champions,
        refused=refused,
        seconds=round(time.monotonic() - begun, 2),
        message=message,
    )


def _bring_up_to_date(
    connection: duckdb.DuckDBPyConnection,
    stored: tuple[StoredModel | None, ...],
    versions: ChampionVersions,
    sessions: FeatureTable,
    prefixes: FeatureTable,
    batch_rows: int,
) -> tuple[int, int]:
    """Score what has to be and delete what has no session any more; how many of each."""
    scored_at = dt.datetime.now(dt.UTC).replace(microsecond=0)
    ensure_table(connection)
    write_versions(connection, [model for model in stored[:2] if model is not None])
    to_score = list_sessions_to_score(connection, versions)
    orphans = count_orphans(connection)
    if not to_score and not orphans:
        return 0, 0
    connection.execute("begin transaction")
    try:
        champions = _Champions(
            full=_prepare(connection, stored[0], sessions),
            precheckout=_prepare(connection, stored[1], prefixes),
            segments=stored[2],
        )
        delete_stale(connection)
        for first in range(1, to_score + 1, batch_rows):
            batch = _score_batch(connection, champions, sessions, first, first + batch_rows - 1)
            insert_batch(connection, batch, versions, scored_at=scored_at)
            log.info("scored %s of %s sessions", f"{min(first + batch_rows - 1, to_score):,}", f"{to_score:,}")
    except BaseException:
        connection.execute("rollback")
        raise
    connection.execute("commit")
    return to_score, orphans


def _load_champions(
    registry: ModelRegistry, sessions: FeatureTable, prefixes: FeatureTable
) -> tuple[tuple[StoredModel | None, ...], dict[str, str]]:
    loaded: list[StoredModel | None] = []
    refused: dict[str, str] = {}
    for name, table in ((FULL, sessions), (PRECHECKOUT, prefixes), (SEGMENTS, sessions)):
        model = None
        try:
            model = registry.load_champion(name)
            if model is not None:
                require_same_contract(model.contract, table.contract, model_name=name)
                (_name_segments if name == SEGMENTS else restore_propensity)(model)
        except (ContractMismatchError, ModelRefusedError) as error:
            log.error("%s is not used: %s", name, error)
            refused[name] = str(error)
            model = None
        loaded.append(model)
    return tuple(loaded), refused


def _prepare(
    connection: duckdb.DuckDBPyConnection, stored: StoredModel | None, table: FeatureTable
) -> _Propensity | None:
    """The champion with the shift of each day to score; a day's window lies before it, so no label can leak."""
    if stored is None:
        return None
    model, window = restore_propensity(stored)
    listed = connection.execute(f"select distinct session_date from {TO_SCORE} order by session_date").df()
    days = to_day_numbers(listed["session_date"].to_numpy(dtype="datetime64[D]"))
    return _Propensity(stored, model, table, _solve_shifts(connection, stored, model, table, window, days))


def _solve_shifts(
    connection: duckdb.DuckDBPyConnection,
    stored: StoredModel,
    model: PropensityModel,
    table: FeatureTable,
    window: TrailingWindow,
    days: npt.NDArray[np.int64],
) -> dict[int, float]:
    if not len(days):
        return {}
    first, last = window.list_blocks(int(days[0])).start, window.list_blocks(int(days[-1])).stop - 1
    # The same sessions of a day, whatever else is scored: a score must not depend on how often a run was made.
    source = f"""(
        from {table.relation}
        where {_point_condition(table, model)} and session_id in (
            select session_id from ml.{SESSIONS}
            where session_date between date '1970-01-01' + {first} and date '1970-01-01' + {last}
            qualify row_number() over (
                partition by session_date order by md5(session_id), session_id
            ) <= {SESSIONS_PER_DAY}
        )
    )"""
    order = ["session_id"] if table.point is None else ["session_id", table.point]
    extra = ["session_id", "session_date", f"cast({table.label} as boolean) as label"]
    features, keys = _read(connection, source, stored, [*extra, *_point_column(table)], order)
    if not len(keys):
        return {}
    scores = model.predict(features, None if table.point is None else keys["point"].to_numpy(dtype=object))
    blocks = to_day_numbers(keys["session_date"].to_numpy(dtype="datetime64[D]"))
    shifts = solve_trailing_shifts(scores, keys["label"].to_numpy(dtype=bool), blocks, days, window)
    return dict(zip(days.tolist(), shifts.tolist(), strict=True))


def _score_batch(
    connection: duckdb.DuckDBPyConnection,
    champions: _Champions,
    sessions: FeatureTable,
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
        at, scores, _ = _score_propensity(connection, champions.full, wanted, rows)
        batch.propensity_full[at] = scores
    if champions.precheckout is not None:
        at, scores, points = _score_propensity(connection, champions.precheckout, wanted, rows)
        batch.propensity_precheckout[at] = scores
        batch.decision_points[at] = points
    if champions.segments is not None:
        source = f"(from {sessions.relation} where session_id in ({wanted}))"
        features, keys = _read(connection, source, champions.segments, ["session_id"], ["session_id"])
        names = _name_segments(champions.segments)
        at = rows.get_indexer(pd.Index(keys["session_id"]))
        ids = predict_segments(champions.segments.pipeline, features)
        batch.segment_ids[at] = ids
        batch.segment_names[at] = [names[segment_id] for segment_id in ids.tolist()]
    return batch


def _name_segments(stored: StoredModel) -> dict[int, str]:
    record = stored.manifest.record
    if not isinstance(record, SegmentationRecord):
        raise ModelRefusedError(f"{stored.name} {stored.version}: its manifest names no segments: train again")
    return {segment.segment_id: segment.name for segment in record.found.segments}


def _score_propensity(
    connection: duckdb.DuckDBPyConnection, champion: _Propensity, wanted: str, rows: pd.Index
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64], npt.NDArray[np.object_] | None]:
    """Positions in the batch, scores and decision points of those of the wanted sessions that have a score."""
    table = champion.table
    source = f"(from {table.relation} where {_point_condition(table, champion.model)} and session_id in ({wanted})"
    if table.point is not None:
        latest = [name for name in ("decision_seconds", "decision_events") if name in table.column_types]
        moments = ", ".join([*(f"{name} desc" for name in latest), table.point])
        source += f" qualify row_number() over (partition by session_id order by {moments}) = 1"
    extra = ["session_id", "session_date", *_point_column(table)]
    features, keys = _read(connection, f"{source})", champion.stored, extra, ["session_id"])
    if not len(keys):
        return np.empty(0, dtype=np.intp), np.empty(0), None
    points = None if table.point is None else keys["point"].to_numpy(dtype=object)
    days = to_day_numbers(keys["session_date"].to_numpy(dtype="datetime64[D]"))
    shifts = np.array([champion.shifts.get(day, 0.0) for day in days.tolist()])
    scores = from_logit(to_logit(champion.model.predict(features, points)) + shifts)
    return rows.get_indexer(pd.Index(keys["session_id"])), scores, points


def _point_condition(table: FeatureTable, model: PropensityModel) -> str:
    if table.point is None:
        return "true"
    points = ", ".join(f"'{point}'" for point in model.pipelines)
    return f"{table.risk} and {table.point} in ({points})"


def _point_column(table: FeatureTable) -> list[str]:
    return [] if table.point is None else [f"{table.point} as point"]


def _read(
    connection: duckdb.DuckDBPyConnection, source: str, model: StoredModel, columns: list[str], order: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    frame = read_frame(connection, source, model.contract, columns=columns, order_by=order)
    return split_columns(frame, model.contract)
