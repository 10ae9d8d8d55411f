"""Train the three models on the published warehouse; writes only the model registry."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import duckdb
import numpy as np
import pandas as pd

from ml.core.contract import FeatureContract, FeatureTable, forbid_late_funnel
from ml.core.metrics import N_RESAMPLES
from ml.core.propensity import (
    FITTED_ON,
    NotTrained,
    TrainedPropensity,
    TrainingSet,
    explain_thin_sessions,
    train_propensity,
)
from ml.core.segmentation import SegmentationData, TrainedSegments, behaviour_contract, train_segments
from ml.io.code_version import read_code_version, read_library_versions
from ml.io.contracts import check_table, contract_path, require_tables
from ml.io.frames import read_frame, split_columns
from ml.io.registry import ModelRegistry
from warehouse.connect import open_published
from warehouse.settings import Settings

log = logging.getLogger(__name__)

FULL = "propensity_full"
PRECHECKOUT = "propensity_precheckout"
SEGMENTS = "segments"
MODEL_NAMES = (FULL, PRECHECKOUT, SEGMENTS)
SEED = 20_260_101


@dataclass(frozen=True)
class ModelReport:
    """What became of one model. Metrics are of the held-out days, each `{value, low, high}` with a 95 % interval."""

    name: str
    status: Literal["trained", "not_trained"]
    why: str  # why it was not trained, or why it is or is not the champion
    version: str | None = None
    promoted: bool = False
    estimator: str | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    metrics_by_point: dict[str, Any] = field(default_factory=dict)
    segments: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0


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


def train_models(settings: Settings, *, names: Collection[str] = MODEL_NAMES) -> TrainReport:
    """Train the named ones of `propensity_full`, `propensity_precheckout`, `segments` on the published features.

    A model for which the data are too thin is reported as not trained, with the reason, and its champion stays. A new
    propensity becomes champion unless its held-out ROC-AUC interval reaches down to .5; new segments always do.
    Raises `ContractError` for an unreadable contract, a table that does not fit it, or a late-funnel column among the
    pre-checkout features; `warehouse.connect.NothingPublishedError` where there is no published warehouse.
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
            FULL: lambda: _train_propensity(connection, registry, FULL, sessions, started),
            PRECHECKOUT: lambda: _train_propensity(connection, registry, PRECHECKOUT, prefixes, started),
            SEGMENTS: lambda: _train_segments(connection, registry, sessions, facts, started),
        }
        reports = [_run(name, train, thin) for name, train in trainers.items() if name in names]
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


def _train_propensity(
    connection: duckdb.DuckDBPyConnection,
    registry: ModelRegistry,
    name: str,
    table: FeatureTable,
    trained_at: dt.datetime,
) -> ModelReport:
    data, facts = _read_training_set(connection, table)
    trained = train_propensity(data, table.contract, seed=SEED)
    if isinstance(trained, NotTrained):
        return ModelReport(name, "not_trained", trained.why)
    metrics = trained.evaluation.to_dict()
    by_point = {point: evaluation.to_dict() for point, evaluation in trained.by_point.items()}
    manifest = {
        **_describe_making(table.contract, {**facts, "relation": table.relation, "label": table.label}),
        "split": {**trained.split.to_dict(), "fitted_on": FITTED_ON},
        "estimator": {"family": trained.candidate.family, "params": trained.candidate.params, "seed": SEED},
        "validation": trained.validation,
        "metrics": metrics,
        "metrics_by_point": by_point,
        "metrics_note": f"held-out days; 95 % intervals from {N_RESAMPLES} bootstrap resamples of users",
    }
    version = registry.save(name, trained.pipeline, manifest, trained_at=trained_at)
    promoted, why = _promote(registry, name, version, trained)
    return ModelReport(
        name,
        "trained",
        why,
        version=version,
        promoted=promoted,
        estimator=trained.candidate.family,
        metrics=metrics,
        metrics_by_point=by_point,
    )


def _promote(registry: ModelRegistry, name: str, version: str, trained: TrainedPropensity) -> tuple[bool, str]:
    auc = trained.evaluation.metrics["roc_auc"]
    interval = "no interval" if auc.low is None or auc.high is None else f"95 % interval {auc.low:.3f}–{auc.high:.3f}"
    if not trained.beats_base_rate:
        return False, f"kept, not champion: on the held-out days it is no better than the base rate (AUC {interval})"
    why = f"champion: better than the base rate on the held-out days (AUC {interval})"
    registry.promote(name, version, reason=why)
    return True, why


def _read_training_set(
    connection: duckdb.DuckDBPyConnection, table: FeatureTable
) -> tuple[TrainingSet, dict[str, Any]]:
    order = ["session_id"]
    extra = ["user_pseudo_id", "session_date", f"cast({table.label} as boolean) as {table.label}"]
    source = table.relation
    if table.point is not None:
        extra.append(table.point)
        order.append("decision_events")
    if table.risk is not None:
        source = f"(select * from {table.relation} where {table.risk})"
    frame = read_frame(connection, source, table.contract, columns=extra, order_by=order)
    features, others = split_columns(frame, table.contract)
    if others[table.label].isna().any():
        raise ValueError(f"{table.relation}: {int(others[table.label].isna().sum())} rows have no {table.label}")
    data = TrainingSet(
        features=features,
        labels=others[table.label].to_numpy(dtype=bool),
        days=others["session_date"].to_numpy(dtype="datetime64[D]"),
        users=pd.factorize(others["user_pseudo_id"], use_na_sentinel=False)[0].astype(np.int64),
        points=None if table.point is None else others[table.point].to_numpy(dtype=object),
    )
    facts = {
        "rows": len(frame),
        "positives": int(data.labels.sum()),
        "users": len(np.unique(data.users)),
        "first_date": None if not len(frame) else str(data.days.min()),
        "last_date": None if not len(frame) else str(data.days.max()),
    }
    return data, facts


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
    if contract.features:
        frame = read_frame(connection, table.relation, contract, columns=extra)
    else:
        return ModelReport(SEGMENTS, "not_trained", f"{table.relation} has none of the behaviour columns")
    data = SegmentationData(
        features=frame[contract.feature_names],
        labels=frame["label"].to_numpy(dtype=bool),
        is_mobile=frame["is_mobile"].to_numpy(dtype=bool) if knows_device else None,
    )
    trained = train_segments(data, seed=SEED)
    if isinstance(trained, NotTrained):
        return ModelReport(SEGMENTS, "not_trained", trained.why)
    segments = [segment.to_dict() for segment in trained.segments]
    version = registry.save(
        SEGMENTS, trained.pipeline, _segment_manifest(contract, table, facts, trained), trained_at=trained_at
    )
    why = f"champion: {trained.k} segments ({trained.chosen_by})"
    registry.promote(SEGMENTS, version, reason=why)
    return ModelReport(SEGMENTS, "trained", why, version=version, promoted=True, estimator="k_means", segments=segments)


def _segment_manifest(
    contract: FeatureContract, table: FeatureTable, facts: _Facts, trained: TrainedSegments
) -> dict[str, Any]:
    data = {
        "relation": table.relation,
        "rows": facts.sessions,
        "first_date": str(facts.first_date),
        "last_date": str(facts.last_date),
    }
    return {
        **_describe_making(contract, data),
        "estimator": {"family": "k_means", "params": {"k": trained.k}, "seed": SEED, "chosen_by": trained.chosen_by},
        "choice_of_k": trained.choice,
        "segments": [segment.to_dict() for segment in trained.segments],
    }


def _describe_making(contract: FeatureContract, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "data": data,
        "contract": contract.to_dict(),
        "code_version": read_code_version(),
        "libraries": read_library_versions(),
    }
