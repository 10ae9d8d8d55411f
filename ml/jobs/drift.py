"""Measure the drift of the champions on the published warehouse, and say which models are due for training."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from foundation.connect import open_published
from foundation.settings import Settings
from foundation.state import open_state
from ml.core.contract import FeatureContract, FeatureTable
from ml.core.drift import (
    CalibrationDrift,
    FeatureDrift,
    RateDrift,
    TooFewDaysError,
    measure_calibration_drift,
    measure_feature_drift,
    measure_rate_drift,
)
from ml.io.contracts import contract_path, require_tables
from ml.io.frames import read_frame
from ml.io.registry import ModelRegistry, StoredVersion
from ml.jobs.report import FULL, PRECHECKOUT, SEED
from warehouse.transaction import unused_models

log = logging.getLogger(__name__)

CURRENT_DAYS = 7
MAX_ROWS = 100_000


@dataclass(frozen=True)
class ModelDrift:
    """What was measured for one champion; `why_not` says why nothing was."""

    name: str
    version: str
    current_from: str | None = None
    current_to: str | None = None
    features: tuple[FeatureDrift, ...] = ()
    rate: RateDrift | None = None
    calibration: CalibrationDrift | None = None
    why_not: str | None = None

    @property
    def reasons(self) -> list[str]:
        """What has drifted, in sentences; none where nothing has."""
        found = [
            f"{drift.feature} (PSI {drift.psi:.2f}, limit {drift.limit:.2f})"
            for drift in self.features
            if drift.has_drifted
        ]
        reasons = [f"features have drifted: {', '.join(found)}"] if found else []
        if self.rate is not None and self.rate.has_drifted:
            reasons.append(f"the base rate went from {self.rate.reference_rate:.2%} to {self.rate.current_rate:.2%}")
        if self.calibration is not None and self.calibration.has_drifted:
            reasons.append(
                f"{self.calibration.observed:,} purchases against {self.calibration.expected:,.0f} predicted, "
                f"calibration slope {self.calibration.slope:.2f}"
            )
        return reasons


@dataclass(frozen=True)
class DriftReport:
    """All champions' drift."""

    measured_at: str
    models: list[ModelDrift]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "measured_at": self.measured_at,
            "models": [{**asdict(model), "reasons": model.reasons} for model in self.models],
        }


def measure_drift(settings: Settings) -> DriftReport:
    """Compare the last seven complete days after each propensity champion's training days with these.

    Results go to `model_drift` of the state file, from which each build copies them to `ops.model_drift`. Raises
    `foundation.connect.NothingPublishedError` where there is no published warehouse.
    """
    sessions, prefixes = require_tables(contract_path(settings))
    champions = {
        version.name: version for version in ModelRegistry(settings.models_dir).list_versions() if version.is_champion
    }
    measured_at = dt.datetime.now(dt.UTC).replace(microsecond=0).isoformat()
    with open_published(settings) as connection:
        models = [
            _measure(connection, champions[name], table)
            for name, table in ((FULL, sessions), (PRECHECKOUT, prefixes))
            if name in champions
        ]
    report = DriftReport(measured_at, models)
    _remember(settings, report)
    return report


def explain_retraining(settings: Settings, names: Collection[str], *, looks_for_drift: bool = True) -> dict[str, str]:
    """The models that are due after a publication, each with the reason.

    Due is a model without a usable champion, unless the last training up to the very same day has not made one; all of
    them, once a training is older than `retraining_max_age_days`; and all, where a champion has drifted and there are
    days that the last training has not seen: the same days would give the same models. Whether one has drifted only
    final days can tell: a publication without new ones need not look (`looks_for_drift`).
    """
    due = dict.fromkeys(unused_models(settings, names), "it has no usable champion")
    trained_at, last_date, declined = _read_last_training(settings)
    if trained_at is None:
        return due
    with open_published(settings) as connection:
        newest = connection.execute("select max(session_date) from ml.feat_sessions").fetchall()[0][0]
    due = {
        name: reason
        for name, reason in due.items()
        # the hours of a day that is still going on make no other model
        if name not in declined or declined[name] != (None if newest is None else newest.isoformat())
    }
    age = dt.datetime.now(dt.UTC) - trained_at
    if age >= dt.timedelta(days=settings.retraining_max_age_days):
        return {name: due.get(name, f"the last training was {age.days} days ago") for name in names}
    if newest is None or last_date is None or newest <= last_date or not looks_for_drift:
        return due
    reasons = [f"{model.name}: {reason}" for model in measure_drift(settings).models for reason in model.reasons]
    if reasons:
        return {name: due.get(name, "; ".join(reasons)) for name in names}
    return due


def _read_last_training(
    settings: Settings,
) -> tuple[dt.datetime | None, dt.date | None, dict[str, str | None]]:
    """When and until which day was trained, and the newest day of the sessions that made no champion, by model."""
    report = ModelRegistry(settings.models_dir).read_last_report()
    if report is None:
        return None, None, {}
    last_date = report["last_date"]
    declined = {
        model["name"]: model["last_date"] for model in report["models"] if not model["promoted"] and "sessions" in model
    }
    newest = None if last_date is None else dt.date.fromisoformat(last_date)
    return dt.datetime.fromisoformat(report["trained_at"]), newest, declined


def _measure(connection: duckdb.DuckDBPyConnection, champion: StoredVersion, table: FeatureTable) -> ModelDrift:
    fitted_until = champion.manifest.record.fitted_until
    if fitted_until is None:
        return ModelDrift(
            champion.name, champion.version, why_not="its manifest does not say which days it was fitted on"
        )
    days = _list_new_days(connection, table, fitted_until)
    if not days:
        return ModelDrift(
            champion.name, champion.version, why_not=f"no complete day after {fitted_until}, its last training day"
        )
    contract = table.contract.select(champion.manifest.record.contract.feature_names)
    frame = _read_days(connection, table, contract, fitted_until, days)
    dates = frame["session_date"].to_numpy(dtype="datetime64[D]")
    labels = frame["label"].to_numpy(dtype=bool)
    is_now = dates > np.datetime64(fitted_until)
    try:
        features = measure_feature_drift(
            frame[~is_now], dates[~is_now], frame[is_now], dates[is_now], contract, seed=SEED
        )
    except TooFewDaysError as error:
        return ModelDrift(champion.name, champion.version, why_not=str(error))
    scored = _read_scores(connection, champion, days)
    return ModelDrift(
        champion.name,
        champion.version,
        current_from=days[0].isoformat(),
        current_to=days[-1].isoformat(),
        features=tuple(features),
        rate=measure_rate_drift(labels[~is_now], dates[~is_now], labels[is_now]),
        calibration=measure_calibration_drift(
            scored["score"].to_numpy(dtype=np.float64), scored["label"].to_numpy(dtype=bool)
        ),
    )


def _list_new_days(connection: duckdb.DuckDBPyConnection, table: FeatureTable, after: dt.date) -> list[dt.date]:
    """The last complete days after the given one, oldest first."""
    newest_first = connection.execute(
        f"""
        select distinct session_date from {table.relation}
        where session_date > ?
            and session_date in (select kpi_date from marts.agg_kpis_daily where not is_provisional)
        order by session_date desc limit {CURRENT_DAYS}
        """,
        [after],
    ).fetchall()
    return [row[0] for row in reversed(newest_first)]


def _read_days(
    connection: duckdb.DuckDBPyConnection,
    table: FeatureTable,
    contract: FeatureContract,
    fitted_until: dt.date,
    days: list[dt.date],
) -> pd.DataFrame:
    """Features, date and label of the training days and of `days`; of very many rows an even sample of sessions."""
    risk = table.risk or "true"
    size = connection.execute(f"select count(*) from {table.relation} where {risk}").fetchone()
    every = max(1, -(-(size[0] if size else 0) // MAX_ROWS))
    return read_frame(
        connection,
        f"""(
            select * from {table.relation}
            where (session_date <= date '{fitted_until}' or session_date between date '{days[0]}' and date '{days[-1]}')
                and hash(session_id) % {every} = 0 and {risk}
        )""",
        contract,
        columns=["session_date", f"cast({table.label} as boolean) as label"],
    )


def _read_scores(connection: duckdb.DuckDBPyConnection, champion: StoredVersion, days: list[dt.date]) -> pd.DataFrame:
    """What the champion said of the sessions of these days, and what they did."""
    return connection.execute(
        f"""
        select scores.{champion.name} as score, sessions.has_purchase as label
        from marts.fct_session_scores as scores
        inner join marts.fct_sessions as sessions on scores.session_id = sessions.session_id
        where scores.{champion.name}_version = ? and scores.{champion.name} is not null
            and sessions.session_date between ? and ?
        """,
        [champion.version, days[0], days[-1]],
    ).df()


def _remember(settings: Settings, report: DriftReport) -> None:
    rows: list[tuple[str, str, str, str, float, float | None, int]] = []
    for model in report.models:
        start = (report.measured_at, model.name, model.version)
        rows += [
            (*start, f"psi of {drift.feature}", drift.psi, drift.limit, int(drift.has_drifted))
            for drift in model.features
        ]
        if model.rate is not None:
            rows.append(
                (*start, "base rate", model.rate.current_rate, model.rate.reference_rate, int(model.rate.has_drifted))
            )
        if model.calibration is not None:
            found = model.calibration
            rows.append((*start, "observed over predicted", found.ratio, 1.0, int(found.has_drifted)))
            rows.append((*start, "calibration slope", found.slope, 1.0, int(found.has_drifted)))
    measured_at = dt.datetime.fromisoformat(report.measured_at)
    oldest = (measured_at - dt.timedelta(days=settings.kept_result_days)).isoformat()
    before = (measured_at - dt.timedelta(seconds=1)).isoformat()
    with open_state(settings) as state:
        state.execute(
            """
            create table if not exists model_drift (
                measured_at text, model text, version text, measure text,
                value real, reference real, is_drifted integer
            )
            """
        )
        if "has_drifted" in {row["name"] for row in state.execute("pragma table_info(model_drift)")}:
            state.execute("alter table model_drift rename column has_drifted to is_drifted")  # as it was called once
        # the newest measurement is the one with the latest moment, also after a clock that was ahead
        state.execute("update model_drift set measured_at = ? where measured_at >= ?", (before, report.measured_at))
        state.execute("delete from model_drift where measured_at < ?", (oldest,))
        state.executemany("insert into model_drift values (?, ?, ?, ?, ?, ?, ?)", rows)
