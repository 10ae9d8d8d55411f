"""Train one propensity model from its feature table, and promote it where it is better."""

from __future__ import annotations

import datetime as dt
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from ml.core.contract import FeatureTable
from ml.core.metrics import N_RESAMPLES
from ml.core.propensity import FITTED_ON, NotTrained, TrainedPropensity, TrainingSet, train_propensity
from ml.io.frames import read_frame, split_columns
from ml.io.registry import ModelRegistry
from ml.jobs.report import SEED, ModelReport, describe_making


def train_from_table(
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
        **describe_making(table.contract, {**facts, "relation": table.relation, "label": table.label}),
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
