"""Train one propensity model from its feature table, judge it, and promote it where every gate is passed."""

from __future__ import annotations

import datetime as dt
import logging
import math
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd

from foundation.settings import Settings
from ml.core.calibration import TrailingWindow
from ml.core.card import HeldOutDrift, ModelCard, write_card
from ml.core.contract import ContractMismatchError, FeatureContract, FeatureTable, require_same_contract
from ml.core.drift import TooFewDaysError, measure_feature_drift, measure_rate_drift
from ml.core.errors import ModelRefusedError, TrainingDataError
from ml.core.estimators import drop_constant, list_candidates
from ml.core.evaluation import (
    CHAMPION,
    Judgement,
    compare_by_device,
    judge,
    measure_importance,
    measure_variance_inflation,
)
from ml.core.leaks import LeakFinding, check_leaks, check_permuted_labels
from ml.core.metrics import N_RESAMPLES, Flags, Floats
from ml.core.promotion import MIN_HELD_OUT_POSITIVES, Gate, check_gates
from ml.core.propensity import (
    FITTED_ON,
    NotTrained,
    PropensityModel,
    TrainedPropensity,
    TrainingSet,
    count_purchasing_sessions,
    draw_users,
    train_propensity,
)
from ml.core.record import Candidacy, DataRecord, EstimatorRecord, PropensityRecord
from ml.core.split import name_day, to_day_numbers
from ml.io.frames import read_frame, split_columns
from ml.io.registry import ModelRegistry, StoredModel
from ml.io.truth import read_truth
from ml.jobs.report import SEED, ModelReport, describe_making

log = logging.getLogger(__name__)

MAX_ROWS = 1_200_000  # more are sampled by user: they would change the third digit, and not fit into a laptop
WINDOW_DAYS = 28
PERMUTED_ROWS = 10_000  # of the check on shuffled labels
DRIFT_ROWS = 50_000  # of the held-out days and of those before, for the card
METRICS_NOTE = (
    f"held-out days, scored day by day with the base rate corrected from the {WINDOW_DAYS} days that were final by "
    f"then; 95 % intervals from {N_RESAMPLES} bootstrap resamples of users"
)
DEVICE = "device"
GROUP_COLUMNS = {DEVICE: "device_category", "channel": "default_channel_group", "visitor": "is_new_user"}


def train_from_table(
    connection: duckdb.DuckDBPyConnection,
    registry: ModelRegistry,
    settings: Settings,
    name: str,
    table: FeatureTable,
    trained_at: dt.datetime,
    *,
    truth: Path | None = None,
) -> ModelReport:
    """Choose, calibrate, judge and store a model of `table`; it becomes champion if it passes every gate.

    `truth` is a Parquet file of true probabilities (`read_truth`), which only the report of the held-out days reads.
    """
    data, facts = _read_training_set(connection, table, choose_window(settings), truth)
    trained = train_propensity(
        data,
        table.contract,
        budget_seconds=settings.training_budget_seconds,
        # with fewer, a gate is sure to keep the model back: it would be trained for nothing, after every publication
        test_positives=MIN_HELD_OUT_POSITIVES,
        seed=SEED,
    )
    if isinstance(trained, NotTrained):
        return ModelReport(name, "not_trained", trained.why)
    leaks = _check_leaks(data, trained, table.contract)
    champion, no_champion = _load_comparable(registry, name, table.contract)
    judgement = judge(
        data, trained.model, table.contract, trained.split, champion=champion, compared_groups=(DEVICE,), seed=SEED
    )
    positives = count_purchasing_sessions(data, trained.split.test_mask(data.periods))
    by_device = compare_by_device(judgement, DEVICE)
    gates = check_gates(judgement, positives=positives, leaks=leaks, by_device=by_device)
    passed = all(gate.passed for gate in gates)
    why = _explain(gates, judgement, no_champion)
    record = make_record(
        table.contract,
        facts,
        data,
        trained,
        judgement,
        leaks,
        name_period=name_day,
        note=METRICS_NOTE,
        candidacy=Candidacy(
            [gate.to_dict() for gate in gates], registry.champion_version(name) if champion is not None else None
        ),
    )
    card = make_card(name, data, trained, judgement, record)
    version = registry.save(name, trained.model.pipelines, record, trained_at=trained_at, card=write_card(card))
    if passed:
        registry.promote(name, version, reason=why)
    card_path = registry.card_path(name, version)
    return _make_report(name, version, record, why=why, is_promoted=passed, card_path=card_path)


def _make_report(
    name: str, version: str, record: PropensityRecord, *, why: str, is_promoted: bool, card_path: Path
) -> ModelReport:
    return ModelReport(
        name,
        "trained",
        why,
        version=version,
        promoted=is_promoted,
        estimator=record.estimator.family,
        metrics=record.metrics,
        metrics_by_point=record.metrics_by_group.get("decision_point", {}),
        gates=record.candidacy.gates if record.candidacy is not None else [],
        baselines=record.baselines,
        best_flag=record.best_flag,
        gains=record.gains,
        oracle=record.oracle,
        card=str(card_path),
    )


def choose_window(settings: Settings) -> TrailingWindow:
    """The days that correct a day's base rate: the last 28 whose purchases were final when that day began."""
    return TrailingWindow(WINDOW_DAYS, lag=1 + math.ceil(settings.complete_after_hours / 24))


def restore_propensity(stored: StoredModel) -> tuple[PropensityModel, TrailingWindow]:
    """The model and window of a stored version; raises `ModelRefusedError` where its manifest has none."""
    record = stored.manifest.record
    if not isinstance(record, PropensityRecord):
        raise ModelRefusedError(f"{stored.name} {stored.version}: its manifest describes no calibration: train again")
    if set(record.calibrations) != set(stored.pipelines):
        raise ModelRefusedError(f"{stored.name} {stored.version}: pipelines and calibrations differ: train again")
    return PropensityModel(stored.pipelines, record.calibrations), record.window


def make_record(
    contract: FeatureContract,
    facts: DataRecord,
    data: TrainingSet,
    trained: TrainedPropensity,
    judgement: Judgement,
    leaks: list[LeakFinding],
    *,
    name_period: Callable[[int], str],
    note: str,
    candidacy: Candidacy | None = None,
) -> PropensityRecord:
    """All that is known of a model after its training; `note` says how the held-out periods were scored."""
    return PropensityRecord(
        **describe_making(contract, facts),
        estimator=EstimatorRecord(trained.candidate.family, trained.candidate.params, SEED, trained.why),
        split=trained.split.with_names(name_period, fitted_on=FITTED_ON),
        search=trained.search,
        **judgement.to_dict(),
        metrics_note=note,
        calibrations=trained.model.calibrations,
        window=data.window,
        leaks=[finding.to_dict() for finding in leaks],
        candidacy=candidacy,
    )


def make_card(
    name: str,
    data: TrainingSet,
    trained: TrainedPropensity,
    judgement: Judgement,
    record: PropensityRecord,
) -> ModelCard:
    """Everything a model card shows; importance, variance inflation and drift are measured here, for it alone."""
    test = data.take(trained.split.test_mask(data.periods))
    known = data.take(trained.split.known_mask(data.periods))
    return ModelCard(
        name=name,
        record=record,
        judgement=judgement,
        importance=measure_importance(test, trained.model, record.contract, seed=SEED),
        variance_inflation=measure_variance_inflation(known.features, record.contract),
        drift=_measure_drift(known, test, record.contract),
    )


def _measure_drift(known: TrainingSet, test: TrainingSet, contract: FeatureContract) -> HeldOutDrift | str:
    """How far the held-out periods differ from those before, or why that can't be told."""
    before, now = (rows.take(draw_users(rows.users, DRIFT_ROWS, SEED)) for rows in (known, test))
    days, days_now = (rows.periods.astype("datetime64[D]") for rows in (before, now))
    try:
        features = measure_feature_drift(before.features, days, now.features, days_now, contract, seed=SEED)
    except TooFewDaysError as error:
        return str(error)
    return HeldOutDrift(tuple(features), measure_rate_drift(before.labels, days, now.labels))


def _check_leaks(data: TrainingSet, trained: TrainedPropensity, contract: FeatureContract) -> list[LeakFinding]:
    """What the features tell by themselves, and what the simplest candidate learns from shuffled labels."""
    findings = check_leaks(data.features, data.labels, data.users, contract, points=data.points, seed=SEED)
    rows = data.take(draw_users(data.users, PERMUTED_ROWS, SEED))
    candidate = list_candidates()[0].list_stages()[0]

    def fit_and_score(features: pd.DataFrame, labels: Flags, is_train: Flags) -> Floats:
        known, unseen = features[is_train], features[~is_train]
        used = drop_constant(contract, known)
        scores: Floats = candidate.predict_stages(used, known, labels[is_train], unseen, seed=SEED)[0]
        return scores

    is_known = trained.split.known_mask(rows.periods)
    return findings + check_permuted_labels(fit_and_score, rows.features, rows.labels, is_known, seed=SEED)


def _load_comparable(
    registry: ModelRegistry, name: str, contract: FeatureContract
) -> tuple[PropensityModel | None, str]:
    """The champion if it can score these rows, else why there is nothing to compare with."""
    try:
        stored = registry.load_champion(name)
        if stored is None:
            return None, "there is no champion yet"
        require_same_contract(stored.contract, contract, model_name=name)
        return restore_propensity(stored)[0], ""
    except (ContractMismatchError, ModelRefusedError) as error:
        log.warning("%s: not compared with the champion: %s", name, error)
        return None, "the champion can't score today's features"


def _explain(gates: list[Gate], judgement: Judgement, no_champion: str) -> str:
    failed = [f"{gate.name}: {gate.seen}" for gate in gates if not gate.passed]
    if failed:
        return f"kept, not champion: {'; '.join(failed)}"
    if CHAMPION in judgement.gains:
        return f"champion: passed all {len(gates)} gates, including those against the previous champion"
    return f"champion: passed all {len(gates)} gates ({no_champion or 'the champion lacks a decision point'})"


def _read_training_set(
    connection: duckdb.DuckDBPyConnection, table: FeatureTable, window: TrailingWindow, truth: Path | None
) -> tuple[TrainingSet, DataRecord]:
    order = ["session_id"]
    extra = ["session_id", "user_pseudo_id", "session_date", f"cast({table.label} as boolean) as {table.label}"]
    if table.point is not None:
        extra.append(table.point)
        order.append(table.point)
    where = table.risk or "true"
    row = connection.execute(f"select count(*) from {table.relation} where {where}").fetchone()
    total = 0 if row is None else int(row[0])
    if total > MAX_ROWS:
        where += f" and hash(user_pseudo_id) % 1000000 < {round(1_000_000 * MAX_ROWS / total)}"
        log.info("%s: a sample of users with about %s of %s rows", table.relation, f"{MAX_ROWS:,}", f"{total:,}")
    source = f"(select * from {table.relation} where {where})"
    frame = read_frame(connection, source, table.contract, columns=extra, order_by=order)
    features, others = split_columns(frame, table.contract)
    if others[table.label].isna().any():
        raise TrainingDataError(f"{table.relation}: {int(others[table.label].isna().sum())} rows have no {table.label}")
    days = to_day_numbers(others["session_date"].to_numpy(dtype="datetime64[D]"))
    data = TrainingSet(
        features=features,
        labels=others[table.label].to_numpy(dtype=bool),
        periods=days,
        users=pd.factorize(others["user_pseudo_id"], use_na_sentinel=False)[0].astype(np.int64),
        blocks=days,
        window=window,
        points=None if table.point is None else others[table.point].to_numpy(dtype=object),
        groups=_read_groups(features),
        truth=None
        if truth is None
        else read_truth(truth, others["session_id"], None if table.point is None else others[table.point]),
    )
    facts = DataRecord(
        relation=table.relation,
        rows=len(frame),
        first_date=None if not len(frame) else name_day(int(days.min())),
        last_date=None if not len(frame) else name_day(int(days.max())),
        label=table.label,
        rows_in_all=total,
        positives=int(data.labels.sum()),
        users=len(np.unique(data.users)),
    )
    return data, facts


def _read_groups(features: pd.DataFrame) -> dict[str, npt.NDArray[np.object_]]:
    groups = {}
    for group, column in GROUP_COLUMNS.items():
        if column not in features:
            continue
        if group == "visitor":
            groups[group] = np.where(features[column].to_numpy() > 0, "new", "returning").astype(object)
        else:
            groups[group] = features[column].astype(object).fillna("(unknown)").to_numpy(dtype=object)
    return groups
