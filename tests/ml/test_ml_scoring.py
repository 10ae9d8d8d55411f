"""Scoring the build file: only what changed, the same whatever the portions, refused where it does not fit."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from conftest import HomeSettings, Shop, make_shop, write_contract, write_tables

from foundation.connect import open_build
from ml.core.contract import ContractMismatchError
from ml.core.errors import TrainingDataError
from ml.core.record import SegmentationRecord
from ml.io.registry import ModelRegistry
from ml.jobs.report import FULL, PRECHECKOUT, SEGMENTS
from ml.jobs.score import score_sessions
from warehouse.champions import read_champion_versions
from warehouse.transaction import read_refused_models, read_used_models

SCORED = ["session_id", "session_date", "propensity_full", "propensity_full_version", "propensity_precheckout"]
SCORED += ["propensity_precheckout_version", "precheckout_decision_point", "segment_id", "segment_name"]
SCORED += ["segments_version"]


@pytest.fixture
def settings(trained_home: Path, shop_settings: HomeSettings, shop: Shop) -> HomeSettings:
    """A copy of that home with a fresh build file."""
    shutil.copytree(trained_home, shop_settings.home)
    write_tables(shop_settings.build_path, shop)
    return shop_settings


@pytest.fixture
def read(settings: HomeSettings) -> Iterator[Callable[[], pd.DataFrame]]:
    def predictions() -> pd.DataFrame:
        with open_build(settings, read_only=True) as connection:
            return connection.execute(
                f"select {', '.join(SCORED)} from ml.session_predictions order by session_id"
            ).df()

    yield predictions


def test_every_session_gets_its_scores(settings: HomeSettings, shop: Shop, read: Callable[[], pd.DataFrame]) -> None:
    report = score_sessions(settings)
    scores = read()
    assert report.scored == report.sessions == len(shop.sessions) == len(scores)
    assert scores["session_id"].tolist() == sorted(shop.sessions["session_id"])
    assert scores["propensity_full"].between(0, 1).all()
    for name, column in ((FULL, "propensity_full"), (PRECHECKOUT, "propensity_precheckout"), (SEGMENTS, "segments")):
        assert set(scores[f"{column}_version"]) == {report.champions[name]}
    labels = shop.sessions.set_index("session_id")["label_purchased"].loc[scores["session_id"]].to_numpy()
    assert scores.loc[labels, "propensity_full"].mean() > 1.5 * scores.loc[~labels, "propensity_full"].mean()
    registry = ModelRegistry(settings.models_dir)
    segments = registry.load_champion(SEGMENTS)
    assert segments is not None and isinstance(segments.manifest.record, SegmentationRecord)
    sizes = scores.groupby("segment_name").size().to_dict()
    assert sizes == {segment.name: segment.size for segment in segments.manifest.record.found.segments}


def test_pre_checkout_is_scored_at_the_latest_point_at_risk(
    settings: HomeSettings, shop: Shop, read: Callable[[], pd.DataFrame]
) -> None:
    score_sessions(settings)
    scores = read().set_index("session_id")
    at_risk = shop.prefixes[shop.prefixes["is_at_risk"]].sort_values("decision_events")
    latest = at_risk.groupby("session_id")["decision_point"].last()
    points = scores["precheckout_decision_point"].dropna()
    assert points.sort_index().to_dict() == latest.sort_index().to_dict()
    assert (scores["propensity_precheckout"].notna() == scores["precheckout_decision_point"].notna()).all()
    assert 0 < scores["propensity_precheckout"].isna().sum() < len(scores)
    assert scores["propensity_precheckout"].dropna().between(0, 1).all()


def test_a_second_run_finds_nothing_to_do(settings: HomeSettings, read: Callable[[], pd.DataFrame]) -> None:
    score_sessions(settings)
    before = read()
    report = score_sessions(settings)
    assert report.scored == report.deleted == 0 and report.message.startswith("nothing to score")
    pd.testing.assert_frame_equal(read(), before)


@pytest.mark.parametrize("batch_rows", [999, 380])
def test_scores_do_not_depend_on_the_batches(
    settings: HomeSettings, shop: Shop, read: Callable[[], pd.DataFrame], batch_rows: int
) -> None:
    score_sessions(settings)
    whole = read()
    settings.build_path.unlink()
    write_tables(settings.build_path, shop)
    score_sessions(settings, batch_rows=batch_rows)
    pd.testing.assert_frame_equal(read(), whole, check_exact=True)


def test_one_row_alone_scores_as_among_all(settings: HomeSettings, read: Callable[[], pd.DataFrame]) -> None:
    score_sessions(settings)
    whole = read()
    with duckdb.connect(str(settings.build_path)) as connection:
        connection.execute("delete from ml.session_predictions where hash(session_id) % 100 = 0")
        (left,) = connection.execute("select count(*) from ml.session_predictions").fetchall()[0]
    assert score_sessions(settings, batch_rows=1).scored == len(whole) - left > 10
    pd.testing.assert_frame_equal(read(), whole, check_exact=True)


def test_incremental_scoring_equals_a_full_one(
    settings: HomeSettings, shop: Shop, read: Callable[[], pd.DataFrame]
) -> None:
    touched = dt.date(2026, 3, 26)
    score_sessions(settings)
    changed = make_shop(len(shop.sessions), seed=99)
    is_late = (shop.sessions["session_date"] >= touched).to_numpy()
    columns = [name for name in shop.sessions if name not in ("session_id", "session_date", "user_pseudo_id")]
    sessions = shop.sessions.copy()
    sessions.loc[is_late, columns] = changed.sessions.loc[is_late, columns]
    gone = sessions.loc[is_late, "session_id"].iloc[::10]
    sessions = sessions[~sessions["session_id"].isin(gone)]
    new = changed.sessions.iloc[:30].assign(session_id=[f"new|{row}" for row in range(30)])
    new["session_date"] = touched
    prefixes = shop.prefixes[~shop.prefixes["session_id"].isin(gone)]
    next_shop = dataclasses.replace(shop, sessions=pd.concat([sessions, new]), prefixes=prefixes)

    write_tables(settings.build_path, next_shop, touched_from=touched)
    report = score_sessions(settings)
    incremental = read()
    assert report.scored == int((sessions["session_date"] >= touched).sum()) + 30
    assert report.deleted == len(gone)
    settings.build_path.unlink()
    write_tables(settings.build_path, next_shop)
    assert score_sessions(settings).scored == len(next_shop.sessions)
    pd.testing.assert_frame_equal(incremental, read(), check_exact=True)


def test_new_champions_and_full_rebuilds_score_everything_again(settings: HomeSettings, shop: Shop) -> None:
    score_sessions(settings)
    ModelRegistry(settings.models_dir).retire(SEGMENTS)
    report = score_sessions(settings)
    assert report.scored == len(shop.sessions) and report.champions[SEGMENTS] is None
    assert score_sessions(settings).scored == 0
    write_tables(settings.build_path, shop, is_full_rebuild=True)
    assert score_sessions(settings).scored == len(shop.sessions)


def test_without_champions_every_session_has_an_empty_row(
    settings: HomeSettings, shop: Shop, read: Callable[[], pd.DataFrame]
) -> None:
    shutil.rmtree(settings.models_dir)
    report = score_sessions(settings)
    scores = read()
    assert report.scored == len(scores) == len(shop.sessions)
    assert scores.drop(columns=["session_id", "session_date"]).isna().all().all()
    assert score_sessions(settings).scored == 0


def test_unseen_levels_and_missing_values_are_scored(settings: HomeSettings, shop: Shop) -> None:
    odd = shop.sessions.assign(country="Atlantis", device_category=None, days_since_previous_session=np.nan)
    odd = odd.assign(page_views=None, is_new_user=None, engagement_seconds=1e12)
    write_tables(settings.build_path, dataclasses.replace(shop, sessions=odd))
    assert score_sessions(settings).scored == len(shop.sessions)
    with open_build(settings, read_only=True) as connection:
        row = connection.execute(
            "select count(*) from ml.session_predictions where propensity_full between 0 and 1 and segment_id >= 0"
        ).fetchone()
    assert row == (len(shop.sessions),)


def test_a_champion_of_another_contract_is_refused_and_the_others_score(settings: HomeSettings, shop: Shop) -> None:
    score_sessions(settings)
    columns = [dict(entry) for entry in shop.columns["feat_sessions"] if entry["name"] != "wishlist_adds"]
    changed = dataclasses.replace(shop, columns={**shop.columns, "feat_sessions": columns})
    write_contract(settings, changed)
    write_tables(settings.build_path, changed, is_full_rebuild=True)
    report = score_sessions(settings)
    assert "column wishlist_adds: is gone" in report.refused[FULL]
    assert report.champions[FULL] is None and report.champions[PRECHECKOUT] is not None
    with open_build(settings, read_only=True) as connection:
        counts = connection.execute("select count(*), count(propensity_full) from ml.session_predictions").fetchall()
        seen, used = map(
            json.loads, connection.execute("select champions_seen, champions_used from ops.build_info").fetchall()[0]
        )
    assert counts == [(len(shop.sessions), 0)]
    # seen, so that it is no reason to build again and again; not used, so that it is trained anew
    assert seen == read_champion_versions(settings.models_dir) and FULL in seen
    assert used == {PRECHECKOUT: seen[PRECHECKOUT]}


def _change_a_byte(models: Path) -> None:
    path = next(models.glob(f"{PRECHECKOUT}/*/model.skops"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _remove_the_version(models: Path) -> None:
    shutil.rmtree(next(models.glob(f"{PRECHECKOUT}/2*")))


def _name_another_folder(models: Path) -> None:
    (models / PRECHECKOUT / "champion.json").write_text('{"version": "../../elsewhere"}')


def _empty_the_champion(models: Path) -> None:
    (models / PRECHECKOUT / "champion.json").write_text("")


def _exchange_the_models(models: Path) -> None:
    """The files of a whole-session model under the name of the other one: sound in themselves."""
    version = next(models.glob(f"{FULL}/2*"))
    shutil.copytree(version, models / PRECHECKOUT / version.name)
    (models / PRECHECKOUT / "champion.json").write_text(json.dumps({"version": version.name}))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_change_a_byte, "sha256 differs"),
        (_remove_the_version, "can't be read (No such file or directory)"),
        (_name_another_folder, "'../../elsewhere' is not a version"),
        (_empty_the_champion, "names no champion"),
        (_exchange_the_models, "was trained on another contract"),
    ],
)
def test_a_damaged_champion_is_refused_and_the_others_score(
    settings: HomeSettings, read: Callable[[], pd.DataFrame], damage: Callable[[Path], None], reason: str
) -> None:
    score_sessions(settings)
    assert read()["propensity_precheckout"].notna().any()
    damage(settings.models_dir)
    report = score_sessions(settings)
    assert list(report.refused) == [PRECHECKOUT] and reason in report.refused[PRECHECKOUT]
    scores = read()
    assert scores["propensity_precheckout"].isna().all() and scores["propensity_full"].notna().all()
    with open_build(settings, read_only=True) as connection:
        assert read_refused_models(connection) == report.refused
        assert PRECHECKOUT not in read_used_models(connection)


def test_a_failure_in_the_middle_leaves_the_old_scores(
    settings: HomeSettings, shop: Shop, read: Callable[[], pd.DataFrame]
) -> None:
    score_sessions(settings)
    before = read()
    # The last session by date holds what the pipeline can't take: the first batches are written before it fails.
    last = shop.sessions.sort_values(["session_date", "session_id"]).index[-1]
    broken = shop.sessions.copy()
    broken.loc[last, "engagement_seconds"] = float("inf")
    write_tables(settings.build_path, dataclasses.replace(shop, sessions=broken), is_full_rebuild=True)
    with pytest.raises(TrainingDataError, match="infinite values in column engagement_seconds"):
        score_sessions(settings, batch_rows=1_000)
    pd.testing.assert_frame_equal(read(), before)


def test_a_build_without_marts_is_a_clear_error(settings: HomeSettings) -> None:
    with duckdb.connect(str(settings.build_path)) as connection:
        connection.execute("drop table ops.build_info")
    with pytest.raises(ContractMismatchError, match=r"ops\.build_info"):
        score_sessions(settings)
