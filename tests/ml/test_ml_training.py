"""Training on made-up shops: the signal is found, nothing is found where there is none, nothing half-written stays."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import HomeSettings, Shop, make_shop

from foundation.connect import open_published
from foundation.errors import NothingPublishedError
from foundation.settings import PROJECT_DIR
from ml.core.contract import ContractError, ContractMismatchError
from ml.core.record import PropensityRecord, SegmentationRecord
from ml.core.segmentation import predict_segments
from ml.io.contracts import require_tables
from ml.io.frames import read_frame, split_columns
from ml.io.registry import ModelRegistry
from ml.jobs.propensity import restore_propensity
from ml.jobs.report import FULL, PRECHECKOUT, SEGMENTS, ModelReport
from ml.jobs.train import TrainReport, train_models

Publish = Callable[..., HomeSettings]


def by_name(report: TrainReport) -> dict[str, ModelReport]:
    return {model.name: model for model in report.models}


def manifest(settings: HomeSettings, model: ModelReport) -> dict:
    assert model.version is not None
    return json.loads((settings.models_dir / model.name / model.version / "manifest.json").read_text())


def rank_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """AUC by the rank sum, another way than the product's."""
    ranks = pd.Series(scores).rank().to_numpy()
    positives = int(labels.sum())
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * (len(labels) - positives)))


def write_truth(path: Path, shop: Shop) -> Path:
    """The file of true probabilities: a session's is the same at each of its decision points."""
    truth = pd.DataFrame({"session_id": shop.sessions["session_id"], "true_probability": shop.session_truth})
    at_points = shop.prefixes[["session_id", "decision_point"]].merge(truth, on="session_id")
    pd.concat([truth.assign(decision_point="full"), at_points]).to_parquet(path)
    return path


def test_known_signal_is_recovered_and_the_manifest_tells_the_whole_story(publish: Publish) -> None:
    shop = make_shop(8_000)
    settings = publish(shop)
    report = train_models(settings, truth=write_truth(settings.home / "truth.parquet", shop))
    models = by_name(report)
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()
    assert (report.sessions, report.first_date, report.last_date) == (8_000, "2026-03-01", "2026-03-28")
    assert models[SEGMENTS].promoted and report.champions[SEGMENTS] == models[SEGMENTS].version
    for name in (FULL, PRECHECKOUT):
        # The labels are draws: some 300 held-out purchases can bend a right slope over the gate's edge, nothing else.
        not_passed = {gate["name"] for gate in models[name].gates if not gate["passed"]}
        assert models[name].status == "trained" and not_passed <= {"calibration slope"}, models[name].why
        assert models[name].metrics["calibration_slope"]["low"] < 1.1
        assert models[name].metrics["calibration_slope"]["high"] > 0.9
        assert models[name].promoted is (not not_passed)
        assert report.champions[name] == (None if not_passed else models[name].version)

    stored = manifest(settings, models[FULL])
    held_out = shop.sessions["session_date"].astype(str).to_numpy() >= stored["split"]["test_from"]
    labels = shop.sessions["label_purchased"].to_numpy(dtype=bool)
    oracle = rank_auc(labels[held_out], shop.session_truth[held_out])
    auc = models[FULL].metrics["roc_auc"]
    assert auc["low"] < auc["value"] < auc["high"]
    assert (auc["value"] - 0.5) / (oracle - 0.5) > 0.9
    assert auc["value"] < oracle + 0.01  # better than the truth would be a leak
    reached = models[FULL].oracle["all"]
    assert reached["oracle_roc_auc"]["value"] == pytest.approx(oracle, abs=1e-6)
    assert reached["share"]["value"] == pytest.approx((auc["value"] - 0.5) / (oracle - 0.5), abs=1e-4)
    for metric in ("roc_auc", "average_precision", "lift_at_10_percent"):
        assert models[FULL].gains["checkout_flag"][metric]["low"] > 0
    assert models[PRECHECKOUT].oracle["events_3"]["share"]["value"] > 0.85
    assert models[PRECHECKOUT].metrics_by_point["events_3"]["lift_at_10_percent"]["low"] > 1.3
    assert models[FULL].metrics["n"] == int(held_out.sum())
    assert models[FULL].metrics["positives"] == int(labels[held_out].sum())
    assert models[FULL].metrics["brier"]["high"] < models[FULL].metrics["brier_baseline"]["value"]
    assert models[FULL].metrics["calibration_error"]["value"] < 0.03

    assert stored["data"]["rows"] == 8_000 and stored["data"]["positives"] == int(labels.sum())
    assert stored["data"]["users"] == shop.sessions["user_pseudo_id"].nunique()
    assert stored["contract"]["version"] == "1" and len(stored["contract"]["sha256"]) == 64
    assert stored["split"]["train_from"] == "2026-03-01" and "not used for fitting" in stored["split"]["fitted_on"]
    assert stored["metrics"] == models[FULL].metrics and stored["libraries"]["scikit-learn"]
    assert stored["code_version"] and len(stored["model_sha256"]) == 64

    points = models[PRECHECKOUT].metrics_by_point
    assert set(points) == {"events_1", "events_2", "events_3", "events_5", "events_8"}
    assert sum(point["n"] for point in points.values()) == models[PRECHECKOUT].metrics["n"]
    assert manifest(settings, models[PRECHECKOUT])["data"]["rows"] == int(shop.prefixes["is_at_risk"].sum())
    assert "decision_events" in [f["name"] for f in manifest(settings, models[PRECHECKOUT])["contract"]["features"]]

    # What is on disk is what was judged: the loaded model gives the reported AUC on the held-out rows.
    sessions, _ = require_tables(settings.dbt_project_dir / "models" / "ml")
    assert models[FULL].version is not None
    stored_model = ModelRegistry(settings.models_dir).load(FULL, models[FULL].version)
    with open_published(settings) as connection:
        frame = read_frame(connection, sessions.relation, stored_model.contract, columns=["session_id"])
    features, _ = split_columns(frame, stored_model.contract)
    scores = restore_propensity(stored_model)[0].predict(features)
    uncorrected = stored["metrics_uncorrected"]["roc_auc"]["value"]
    assert rank_auc(labels[held_out], scores[held_out]) == pytest.approx(uncorrected, abs=1e-6)
    assert (settings.models_dir / FULL / stored_model.version / "model_card.html").exists()


def test_permuted_labels_teach_nothing_and_are_not_promoted(publish: Publish, shop: Shop) -> None:
    rng = np.random.default_rng(5)
    shuffled = dataclasses.replace(
        shop,
        sessions=shop.sessions.assign(label_purchased=rng.permutation(shop.sessions["label_purchased"])),
        prefixes=shop.prefixes.assign(label_purchased=rng.permutation(shop.prefixes["label_purchased"])),
    )
    settings = publish(shuffled)
    models = by_name(train_models(settings))
    for name in (FULL, PRECHECKOUT):
        auc = models[name].metrics["roc_auc"]
        error = (auc["high"] - auc["low"]) / (2 * 1.96)
        assert abs(auc["value"] - 0.5) < 3 * error
        assert models[name].status == "trained" and not models[name].promoted
        assert "better than the base rate: AUC" in models[name].why
        assert ModelRegistry(settings.models_dir).champion_version(name) is None
        assert manifest(settings, models[name])["metrics"]["roc_auc"] == auc  # kept, to be looked at


def test_same_data_in_another_order_give_the_same_models(
    publish: Publish, shop: Shop, trained_home: Path, shop_settings: HomeSettings
) -> None:
    shutil.copytree(trained_home, shop_settings.home)
    registry = ModelRegistry(shop_settings.models_dir)
    before = {name: registry.load_champion(name) for name in (FULL, PRECHECKOUT, SEGMENTS)}
    mixed = dataclasses.replace(
        shop,
        sessions=shop.sessions.sample(frac=1, random_state=3),
        prefixes=shop.prefixes.sample(frac=1, random_state=4),
    )
    settings = publish(mixed)
    second = by_name(train_models(settings))
    for name, old in before.items():
        new = registry.load_champion(name)
        assert old is not None and new is not None and new.version != old.version
        record = old.manifest.record
        if isinstance(record, PropensityRecord):
            assert record.metrics == second[name].metrics
            assert record.metrics_by_group.get("decision_point", {}) == second[name].metrics_by_point
        else:
            assert isinstance(record, SegmentationRecord)
            # the second training knows the first one's segments, and keeps them
            kept = [{**segment, "is_kept": False} for segment in second[name].segments]
            assert [segment.to_dict() for segment in record.found.segments] == kept
        table = "ml.feat_session_prefixes" if name == PRECHECKOUT else "ml.feat_sessions"
        with open_published(settings) as connection:
            frame = read_frame(connection, f"(from {table} limit 500)", new.contract, columns=["session_id"])
        features, _ = split_columns(frame, new.contract)
        if name == SEGMENTS:
            assert (predict_segments(old.pipeline, features) == predict_segments(new.pipeline, features)).all()
        else:
            assert old.pipelines.keys() == new.pipelines.keys()
            for point, pipeline in old.pipelines.items():
                names = list(pipeline.feature_names_in_)
                before_and_after = (stored.pipelines[point].predict_proba(features[names]) for stored in (old, new))
                assert np.array_equal(*before_and_after)


def too_few_days() -> Shop:
    return make_shop(900, days=13)


def too_few_purchases() -> Shop:
    return make_shop(900, base=-2.9)


def no_late_purchases() -> Shop:
    shop = make_shop(900, base=0.5)

    def keep_old(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(label_purchased=frame["label_purchased"] & (frame["session_date"] < dt.date(2026, 3, 22)))

    return dataclasses.replace(shop, sessions=keep_old(shop.sessions), prefixes=keep_old(shop.prefixes))


def one_event_sessions() -> Shop:
    return make_shop(multi_event_share=0.1)


def no_sessions() -> Shop:
    shop = make_shop(100)
    return dataclasses.replace(shop, sessions=shop.sessions.iloc[:0], prefixes=shop.prefixes.iloc[:0])


@pytest.mark.parametrize(
    ("make_thin", "why", "why_no_segments"),
    [
        (too_few_days, "13 days with sessions; at least 14 are needed", "900 sessions"),
        (too_few_purchases, "sessions with a purchase in the training days; at least 200 are needed", "900 sessions"),
        (no_late_purchases, "0 sessions with a purchase in the held-out days", "900 sessions"),
        (one_event_sessions, "of 3,000 sessions have more than one event (25% needed)", "more than one event"),
        (no_sessions, "there are no sessions", "there are no sessions"),
    ],
)
def test_thin_data_are_declined_with_the_reason_and_the_champion_stays(
    publish: Publish, make_thin: Callable[[], Shop], why: str, why_no_segments: str
) -> None:
    settings = publish(make_thin())
    registry = ModelRegistry(settings.models_dir)
    champion = {"version": "20260101T000000Z-00000000"}
    for name in (FULL, PRECHECKOUT, SEGMENTS):
        (registry.root / name).mkdir(parents=True)
        (registry.root / name / "champion.json").write_text(json.dumps(champion))
    models = by_name(train_models(settings))
    for name, reason in ((FULL, why), (PRECHECKOUT, why), (SEGMENTS, why_no_segments)):
        assert models[name].status == "not_trained" and reason in models[name].why
        assert models[name].version is None and not models[name].promoted
        assert registry.champion_version(name) == champion["version"]
        assert [path.name for path in (registry.root / name).iterdir()] == ["champion.json"]


def test_decision_points_of_one_session_count_as_one_purchase(publish: Publish) -> None:
    shop = make_shop(1_000, base=-1.6)
    train_rows = shop.prefixes["session_date"] < dt.date(2026, 3, 15)
    rows = shop.prefixes[train_rows & shop.prefixes["is_at_risk"] & shop.prefixes["label_purchased"]]
    assert len(rows) > 200 > rows["session_id"].nunique()
    models = by_name(train_models(publish(shop)))
    assert "in the training days; at least 200 are needed" in models[PRECHECKOUT].why


def test_what_a_gate_is_sure_to_keep_back_is_not_trained(publish: Publish) -> None:
    settings = publish(make_shop(3_000, base=-1.9, seed=3))
    for name in (FULL, PRECHECKOUT):
        model = by_name(train_models(settings, names=[name]))[name]
        assert model.status == "not_trained" and model.version is None
        assert re.search(r"^\d+ sessions with a purchase in the held-out days; at least 200 are needed$", model.why)


def test_late_funnel_columns_among_the_prefixes_stop_the_training(publish: Publish, shop: Shop) -> None:
    late = next(entry for entry in shop.columns["feat_sessions"] if entry["name"] == "begin_checkouts")
    leaking = dataclasses.replace(
        shop,
        prefixes=shop.prefixes.assign(begin_checkouts=0),
        columns={**shop.columns, "feat_session_prefixes": [*shop.columns["feat_session_prefixes"], late]},
    )
    settings = publish(leaking)
    with pytest.raises(ContractError, match="begin_checkouts"):
        train_models(settings)
    assert ModelRegistry(settings.models_dir).list_versions() == []


def test_a_published_table_that_is_older_than_the_contract_is_refused(publish: Publish, shop: Shop) -> None:
    settings = publish(shop)
    extra = {**shop.columns["feat_sessions"][-1], "name": "new_feature"}
    newer = dataclasses.replace(
        shop,
        sessions=shop.sessions.assign(new_feature=0),
        columns={**shop.columns, "feat_sessions": [*shop.columns["feat_sessions"], extra]},
    )
    before = settings.published_path.read_bytes()
    publish(newer)
    settings.published_path.write_bytes(before)
    with pytest.raises(ContractMismatchError, match="new_feature is missing"):
        train_models(settings)


def test_nothing_published_is_a_clear_error(publish: Publish, shop: Shop) -> None:
    settings = publish(shop)
    settings.published_path.unlink()
    with pytest.raises(NothingPublishedError):
        train_models(settings)


KILLED_TRAINING = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{project!r}, {tests!r}]
from conftest import HomeSettings
from ml.jobs.train import train_models

real = getattr(os, {call!r})

def die_before(source, target, *arguments, **options):
    if Path(target).parent.name == {model!r}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(source, target, *arguments, **options)

setattr(os, {call!r}, die_before)
train_models(HomeSettings(home=Path({home!r}), property_timezone="UTC"), names=[{model!r}])
"""


@pytest.mark.parametrize("call", ["rename", "replace"])
def test_a_killed_training_leaves_the_champions_and_the_next_one_tidies_up(
    trained_home: Path, shop_settings: HomeSettings, call: str
) -> None:
    settings, model = shop_settings, SEGMENTS  # the quickest to train; all are written in the same way
    shutil.copytree(trained_home, settings.home)
    registry = ModelRegistry(settings.models_dir)
    before = registry.champion_version(model)
    script = KILLED_TRAINING.format(
        project=str(PROJECT_DIR), tests=str(Path(__file__).parent), call=call, model=model, home=str(settings.home)
    )
    killed = subprocess.run([sys.executable, "-c", script], env=dict(os.environ), capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr.decode()
    assert registry.champion_version(model) == before
    assert registry.load_champion(model) is not None
    left = list((registry.root / model).glob(".writing-*"))
    assert len(left) == 1  # it was killed in the middle of writing
    # Whatever can be listed is whole: the half-written version is not among them.
    assert all(registry.load(entry.name, entry.version) for entry in registry.list_versions())
    if call == "rename":
        assert train_models(settings, names=[model]).champions[model] not in (before, None)
        assert not list((registry.root / model).glob(".writing-*"))
