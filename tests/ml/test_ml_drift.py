"""Drift: judged against its own null, and what follows from it for retraining."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from conftest import FIRST_DAY, HomeSettings, Shop, make_shop, write_contract, write_tables

from alerts.detection.evaluation import evaluate_rules
from alerts.rules.book import RuleBook
from foundation.state import open_state
from ml.core.contract import Feature, FeatureContract
from ml.core.drift import (
    FeatureDrift,
    TooFewDaysError,
    measure_calibration_drift,
    measure_feature_drift,
    measure_rate_drift,
)
from ml.io.registry import LAST_REPORT_FILE, ModelRegistry
from ml.jobs.drift import DriftReport, ModelDrift, _remember, explain_retraining, measure_drift
from ml.jobs.report import FULL, MODEL_NAMES, PRECHECKOUT
from ml.jobs.wording import describe_drift
from warehouse.transaction import _copy_state

CONTRACT = FeatureContract(
    "f",
    "1",
    (
        Feature("seconds", "DOUBLE", "numeric", "seconds", False),
        Feature("wishes", "BIGINT", "numeric", "events", False),
        Feature("source", "VARCHAR", "categorical", None, False),
    ),
)


def make_rows(seed: int, days: int, per_day: int, *, spread: float = 0.0) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows of days whose level differs by `spread`, as real days do."""
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(days), per_day)
    level = rng.normal(scale=spread, size=days)[day]
    seconds = np.exp(rng.normal(size=len(day)) + level)
    seconds[rng.random(len(day)) < 0.05] = np.nan
    frame = pd.DataFrame(
        {
            "seconds": seconds,
            "wishes": rng.poisson(0.1, len(day)).astype(float),
            "source": pd.Series(rng.choice(["google", "mail", "rare"], len(day), p=[0.6, 0.395, 0.005])).astype(
                "category"
            ),
        }
    )
    return frame, np.datetime64("2026-03-01") + day.astype("timedelta64[D]")


def find_drift(current: pd.DataFrame, current_days: np.ndarray, **reference: float) -> dict[str, bool]:
    frame, days = make_rows(1, 30, 200, **reference)
    found = measure_feature_drift(frame, days, current, current_days, CONTRACT)
    return {drift.feature: drift.has_drifted for drift in found}


def test_psi_is_that_of_the_textbook() -> None:
    reference, days = make_rows(1, 30, 400)
    current, current_days = make_rows(2, 7, 400)
    current["seconds"] *= 3
    drift = {d.feature: d for d in measure_feature_drift(reference, days, current, current_days, CONTRACT)}["seconds"]
    edges = np.nanquantile(reference["seconds"], np.arange(1, 10) / 10)
    before, now = (
        np.append(np.histogram(values.dropna(), [-np.inf, *edges, np.inf])[0], values.isna().sum()) / len(values)
        for values in (reference["seconds"], current["seconds"])
    )
    assert drift.psi == pytest.approx(((now - before) * np.log(now / before)).sum(), rel=0.02)
    assert drift.has_drifted and drift.limit == max(0.1, drift.null_99)


def test_chance_is_no_drift_and_a_change_is() -> None:
    same, days = make_rows(2, 7, 200)
    assert find_drift(same, days) == {"seconds": False, "wishes": False, "source": False}
    changed = same.assign(
        wishes=same["wishes"] + (np.arange(len(same)) % 2), source=pd.Series(["new"] * len(same)).astype("category")
    )
    assert find_drift(changed, days) == {"seconds": False, "wishes": True, "source": True}


def test_a_fixed_threshold_would_mislead_where_days_differ() -> None:
    """One day of a shop whose days differ: PSI is far above .1, and no more than its own days give."""
    one_day, day = make_rows(13, 1, 200, spread=0.6)
    reference, days = make_rows(1, 30, 200, spread=0.6)
    drift = {d.feature: d for d in measure_feature_drift(reference, days, one_day, day, CONTRACT)}["seconds"]
    assert drift.psi > 0.1 and drift.null_99 > 0.1 and not drift.has_drifted


def test_too_few_days_are_refused() -> None:
    frame, days = make_rows(1, 6, 50)
    with pytest.raises(TooFewDaysError, match="drift needs 7 days of training and one after it: there are 6 and 6"):
        measure_feature_drift(frame, days, frame, days, CONTRACT)


def test_base_rate_with_and_without_spread_between_days() -> None:
    rng = np.random.default_rng(4)
    days = np.datetime64("2026-03-01") + np.repeat(np.arange(30), 500).astype("timedelta64[D]")
    steady = rng.random(15_000) < 0.1
    assert not measure_rate_drift(steady, days, rng.random(3_500) < 0.1).has_drifted
    assert measure_rate_drift(steady, days, rng.random(3_500) < 0.14).has_drifted
    restless = rng.random(15_000) < np.repeat(rng.beta(2, 18, 30), 500)
    now = rng.random(3_500) < 1.25 * restless.mean()
    assert abs(measure_rate_drift(restless, days, now).z) < abs(measure_rate_drift(steady, days, now).z)
    assert not measure_rate_drift(restless, days, now).has_drifted


def test_calibration_is_measured_with_its_error() -> None:
    rng = np.random.default_rng(5)
    odds = rng.normal(-2, 1, 20_000)
    scores = 1 / (1 + np.exp(-odds))
    good = measure_calibration_drift(scores, rng.random(20_000) < scores)
    assert good is not None and not good.has_drifted
    assert good.slope_low < 1 < good.slope_high and good.ratio_low < 1 < good.ratio_high
    low = measure_calibration_drift(scores, rng.random(20_000) < scores / 2)
    assert low is not None and low.has_drifted and low.ratio == pytest.approx(0.5, abs=0.05)
    bent = measure_calibration_drift(1 / (1 + np.exp(-2 * odds - 2)), rng.random(20_000) < scores)
    assert bent is not None and bent.has_drifted and bent.slope == pytest.approx(0.5, abs=0.05)
    assert measure_calibration_drift(scores[:300], rng.random(300) < scores[:300]) is None


@pytest.fixture
def home(trained_home: Path, shop: Shop, shop_settings: HomeSettings) -> HomeSettings:
    """A home with champions and, beside the features, the marts that drift reads."""
    shutil.copytree(trained_home, shop_settings.home)
    publish_again(shop_settings, shop)
    return shop_settings


def publish_again(settings: HomeSettings, shop: Shop) -> None:
    """Publish a shop as the pipeline would: scored by the champions, dates complete."""
    write_contract(settings, shop)
    write_tables(settings.published_path, shop)
    registry = ModelRegistry(settings.models_dir)
    versions = {name: registry.champion_version(name) for name in MODEL_NAMES}
    with duckdb.connect(str(settings.published_path)) as connection:
        connection.execute(
            f"""
            create schema if not exists marts;
            create or replace table marts.agg_kpis_daily as
            select distinct session_date as kpi_date, false as is_provisional from ml.feat_sessions;
            create or replace table marts.fct_sessions as
            select session_id, session_date, label_purchased as has_purchase from ml.feat_sessions;
            create or replace table marts.fct_session_scores as
            select session_id, 0.2 as {FULL}, '{versions[FULL]}' as {FULL}_version,
                0.2 as {PRECHECKOUT}, '{versions[PRECHECKOUT]}' as {PRECHECKOUT}_version
            from ml.feat_sessions;
            update ops.build_info set champions_used = '{json.dumps(versions)}'
            """
        )


def move_days(shop: Shop, days: int) -> Shop:
    later = make_shop(800, days=days, seed=28, base=-0.8)
    shift = dt.timedelta(days=28)
    for frame in (later.sessions, later.prefixes):
        frame["session_id"] = "later" + frame["session_id"]
        frame["session_date"] = frame["session_date"] + shift
        frame["session_started_at"] = frame["session_started_at"] + shift
    return Shop(
        pd.concat([shop.sessions, later.sessions], ignore_index=True),
        pd.concat([shop.prefixes, later.prefixes], ignore_index=True),
        np.concatenate([shop.session_truth, later.session_truth]),
        shop.columns,
    )


def test_the_same_days_never_bring_another_training(home: HomeSettings, shop: Shop) -> None:
    assert explain_retraining(home, MODEL_NAMES) == {}
    report = measure_drift(home)
    assert [model.name for model in report.models] == [FULL, PRECHECKOUT]
    assert all(model.why_not is None and model.current_to == "2026-03-28" for model in report.models)
    assert json.loads(json.dumps(report.to_dict()))["models"][0]["features"]


def test_new_days_bring_a_training_only_where_something_has_drifted(home: HomeSettings, shop: Shop) -> None:
    longer = move_days(shop, 7)
    publish_again(home, longer)
    rates = [model.rate for model in measure_drift(home).models]
    assert [rate is not None and rate.has_drifted for rate in rates] == [False, False]
    # the scores are this test's own: only features and rates may speak
    with duckdb.connect(str(home.published_path)) as connection:
        connection.execute(f"update marts.fct_session_scores set {FULL} = null, {PRECHECKOUT} = null")
    assert explain_retraining(home, MODEL_NAMES) == {}
    moved = longer.sessions["session_date"] > FIRST_DAY + dt.timedelta(days=27)
    longer.sessions.loc[moved, "searches"] += 20
    publish_again(home, longer)
    due = explain_retraining(home, MODEL_NAMES)
    assert set(due) == set(MODEL_NAMES) and "searches (PSI" in due[FULL]


def test_the_alert_rule_reads_what_was_measured_last_whatever_the_clock_said(home: HomeSettings) -> None:
    rule = {
        "name": "drift",
        "kind": "model_drift",
        "description": "d",
        "severity": "info",
        "owner": "o",
        "runbook": "r",
    }
    with open_state(home) as state:  # a table of an older version
        state.execute(
            "create table model_drift (measured_at text, model text, version text, measure text, value real, "
            "reference real, has_drifted integer)"
        )
    now = dt.datetime(2026, 8, 4, tzinfo=dt.UTC)
    for shift, has_drifted in ((1, True), (0, False), (-1, True)):
        drift = FeatureDrift("searches", psi=0.5, null_99=0.1, limit=0.1, has_drifted=has_drifted)
        measured_at = (now + dt.timedelta(days=shift)).isoformat()
        _remember(home, DriftReport(measured_at, [ModelDrift(FULL, "v", features=(drift,))]))
        with duckdb.connect() as warehouse:
            warehouse.execute("create schema ops")
            _copy_state(warehouse, home)
            book = RuleBook.model_validate({"rules": [rule]})
            [check] = evaluate_rules(warehouse, book, as_of=now, excluded={})
        assert (check.verdict, check.dimension_value) == ("breach" if has_drifted else "normal", FULL)


def test_age_and_a_missing_champion_are_reasons(home: HomeSettings) -> None:
    path = home.models_dir / LAST_REPORT_FILE
    report = json.loads(path.read_text())
    ModelRegistry(home.models_dir).retire(FULL)
    assert explain_retraining(home, MODEL_NAMES) == {FULL: "it has no usable champion"}
    old = dt.datetime.now(dt.UTC) - dt.timedelta(days=8)
    path.write_text(json.dumps({**report, "trained_at": old.isoformat()}))
    due = explain_retraining(home, MODEL_NAMES)
    assert set(due) == set(MODEL_NAMES) and due[PRECHECKOUT] == "the last training was 8 days ago"


def test_a_model_that_passed_no_gate_waits_for_new_sessions(home: HomeSettings, shop: Shop) -> None:
    registry = ModelRegistry(home.models_dir)
    registry.retire(FULL)
    path = home.models_dir / LAST_REPORT_FILE
    report = json.loads(path.read_text())
    for model in report["models"]:
        model["promoted"] = model["name"] != FULL
    path.write_text(json.dumps(report))
    assert explain_retraining(home, MODEL_NAMES) == {}
    # a training of one model forgets nothing about the others
    full = next(model for model in report["models"] if model["name"] == FULL)
    registry.write_last_report({**report, "models": [full], "trained_at": "2999-01-01T00:00:00+00:00"})
    kept = json.loads(path.read_text())
    assert {model["name"] for model in kept["models"]} == set(MODEL_NAMES)
    assert kept["trained_at"] == report["trained_at"]
    publish_again(home, move_days(shop, 1))
    assert explain_retraining(home, MODEL_NAMES)[FULL] == "it has no usable champion"


def test_the_report_can_be_read_and_the_state_keeps_it(home: HomeSettings) -> None:
    report = measure_drift(home)
    printed = "\n".join(line for model in report.models for line in describe_drift(model))
    assert f"{FULL} " in printed and "2026-03-22 to 2026-03-28 against its training days" in printed
    assert "base rate" in printed and "observed over predicted" in printed and "PSI" in printed
    with closing(sqlite3.connect(home.state_path)) as state:
        rows = state.execute("select measured_at, model, measure, value from model_drift").fetchall()
    assert {row[0] for row in rows} == {report.measured_at}
    wanted = {f"psi of {drift.feature}": drift.psi for drift in report.models[0].features}
    assert wanted.items() <= {row[2]: row[3] for row in rows if row[1] == FULL}.items()


def test_what_cannot_be_measured_says_why(home: HomeSettings) -> None:
    with duckdb.connect(str(home.published_path)) as connection:
        connection.execute("update marts.agg_kpis_daily set is_provisional = true")
    for model in measure_drift(home).models:
        assert model.why_not is not None and "no complete day after" in model.why_not and not model.reasons
