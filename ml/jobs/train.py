"""Train the three models on the published warehouse; writes only the model registry."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb

from foundation.connect import open_published
from foundation.settings import Settings
from ml.core.contract import FeatureContract, FeatureTable, forbid_late_funnel
from ml.core.propensity import NotTrained, explain_thin_sessions
from ml.core.record import DataRecord, EstimatorRecord, SegmentationRecord
from ml.core.segmentation import (
    SegmentationData,
    TrainedSegments,
    behaviour_contract,
    train_segments,
)
from ml.io.contracts import check_table, contract_path, require_tables
from ml.io.frames import read_frame
from ml.io.registry import ModelRegistry
from ml.jobs.propensity import train_from_table
from ml.jobs.report import FULL, MODEL_NAMES, PRECHECKOUT, SEED, SEGMENTS, ModelReport, describe_making

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainReport:
    """What a training run did, model by model; `champions` are the versions that score from now on."""

    trained_at: str
    sessions: int
    first_date: str | None
    last_date: str | None
    models: list[ModelReport]
    champions: dict[str, str | None]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


@dataclass(frozen=True)
class _Facts:
    """The published sessions in numbers; `multi_event_share` is None where events are not counted."""

    sessions: int
    first_date: dt.date | None
    last_date: dt.date | None
    multi_event_share: float | None


def train_models(settings: Settings, *, names: Collection[str] = MODEL_NAMES, truth: Path | None = None) -> TrainReport:
    """Train the named ones of `propensity_full`, `propensity_precheckout`, `segments` on the published features.

    A model for which the data are too thin is reported as not trained, with the reason, and its champion stays. A new
    propensity becomes champion if it passes every gate (`ml.core.promotion`); new segments always do. `truth` is a
    Parquet file of true probabilities: with it the report says how much of what is possible is reached.
    Raises `ContractError` for an unreadable contract, a table that does not fit it, or a late-funnel column among the
    pre-checkout features; `foundation.connect.NothingPublishedError` where there is no published warehouse.
    """
    sessions, prefixes = require_tables(contract_path(settings))
    forbid_late_funnel(prefixes.contract, sessions.contract)
    registry = ModelRegistry(settings.models_dir)
    started = dt.datetime.now(dt.UTC).replace(microsecond=0)
    with registry.lock(), open_published(settings) as connection:
        for name in registry.clear_half_written():
            log.info("removed the half-written %s", name)
        check_table(connection, sessions)
        check_table(connection, prefixes)
        facts = _read_facts(connection, sessions)
        thin = explain_thin_sessions(facts.sessions, facts.multi_event_share)
        trainers: dict[str, Callable[[], ModelReport]] = {
            FULL: lambda: train_from_table(connection, registry, settings, FULL, sessions, started, truth=truth),
            PRECHECKOUT: lambda: train_from_table(
                connection, registry, settings, PRECHECKOUT, prefixes, started, truth=truth
            ),
            SEGMENTS: lambda: _train_segments(connection, registry, sessions, facts, started),
        }
        reports = [_run(name, train, thin) for name, train in trainers.items() if name in names]
        for name in MODEL_NAMES:
            for version in registry.prune(name, kept=settings.kept_model_versions):
                log.info("%s: removed the old version %s", name, version)
        champions = {name: registry.champion_version(name) for name in MODEL_NAMES}
    report = TrainReport(
        trained_at=started.isoformat(),
        sessions=facts.sessions,
        first_date=None if facts.first_date is None else facts.first_date.isoformat(),
        last_date=None if facts.last_date is None else facts.last_date.isoformat(),
        models=reports,
        champions=champions,
    )
    registry.write_last_report(report.to_dict())
    return report


def _run(name: str, train: Callable[[], ModelReport], thin: str | None) -> ModelReport:
    if thin is not None:
        log.info("%s: not trained: %s", name, thin)
        return ModelReport(name, "not_trained", thin)
    log.info("%s: training", name)
    begun = time.monotonic()
    report = train()
    seconds = round(time.monotonic() - begun, 2)
    log.info("%s: %s in %.1f s: %s", name, report.status.replace("_", " "), seconds, report.why)
    return ModelReport(**{**vars(report), "seconds": seconds})


def _read_facts(connection: duckdb.DuckDBPyConnection, sessions: FeatureTable) -> _Facts:
    counted = "event_count" in sessions.contract.feature_names
    multi = "avg(cast(event_count >= 2 as integer))" if counted else "cast(null as double)"
    row = connection.execute(
        f"select count(*), min(session_date), max(session_date), {multi} from {sessions.relation}"
    ).fetchone()
    if row is None:
        return _Facts(0, None, None, None)
    return _Facts(*row)


def _train_segments(
    connection: duckdb.DuckDBPyConnection,
    registry: ModelRegistry,
    table: FeatureTable,
    facts: _Facts,
    trained_at: dt.datetime,
) -> ModelReport:
    contract = behaviour_contract(table.contract)
    knows_device = "device_category" in table.contract.feature_names
    extra = [f"cast({table.label} as boolean) as label"]
    if knows_device:
        extra.append("coalesce(device_category = 'mobile', false) as is_mobile")
    knows_carts = "add_to_carts" in table.contract.feature_names
    if knows_carts:
        extra.append("coalesce(add_to_carts > 0, false) as has_cart")
    if contract.features:
        frame = read_frame(connection, table.relation, contract, columns=extra)
    else:
        return ModelReport(SEGMENTS, "not_trained", f"{table.relation} has none of the behaviour columns")
    data = SegmentationData(
        features=frame[contract.feature_names],
        labels=frame["label"].to_numpy(dtype=bool),
        is_mobile=frame["is_mobile"].to_numpy(dtype=bool) if knows_device else None,
        has_cart=frame["has_cart"].to_numpy(dtype=bool) if knows_carts else None,
    )
    champion = [stored for stored in registry.list_versions() if stored.name == SEGMENTS and stored.is_champion]
    record = champion[0].manifest.record if champion else None
    previous = record.found if isinstance(record, SegmentationRecord) else None
    trained = train_segments(data, previous=previous, seed=SEED)
    if isinstance(trained, NotTrained):
        return ModelReport(SEGMENTS, "not_trained", trained.why)
    segments = [segment.to_dict() for segment in trained.segments]
    version = registry.save(
        SEGMENTS, trained.pipeline, _make_record(contract, table, facts, trained), trained_at=trained_at
    )
    kept = sum(segment.is_kept for segment in trained.segments)
    why = f"champion: {trained.k} segments ({trained.chosen_by})"
    if previous is not None:
        why += f"; kept {kept} of the {len(previous.segments)} previous ones"
    registry.promote(SEGMENTS, version, reason=why)
    return ModelReport(SEGMENTS, "trained", why, version=version, promoted=True, estimator="k_means", segments=segments)


def _make_record(
    contract: FeatureContract, table: FeatureTable, facts: _Facts, trained: TrainedSegments
) -> SegmentationRecord:
    data = DataRecord(table.relation, facts.sessions, str(facts.first_date), str(facts.last_date))
    return SegmentationRecord(
        **describe_making(contract, data),
        estimator=EstimatorRecord("k_means", {"k": trained.k}, SEED, trained.chosen_by),
        found=trained.found,
        choice_of_k=trained.choice,
        ward_ari=trained.ward_ari,
    )
