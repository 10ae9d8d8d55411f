"""Segments: planted groups are found again whatever the seed, and names stay with their sessions from week to week."""

from __future__ import annotations

import datetime as dt
import json
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pandas as pd
import pytest
from conftest import make_shop
from sklearn.metrics import adjusted_rand_score

from ml.core.contract import Feature, FeatureContract
from ml.core.propensity import NotTrained
from ml.core.segment_names import (
    MOBILE_SKIMMERS,
    NAMING_RULES,
    PLAIN_NAMES,
    SKIMMERS,
    match_segments,
    name_segments,
)
from ml.core.segmentation import (
    BEHAVIOUR_FEATURES,
    BOUNCED,
    CLUSTER_FEATURES,
    SegmentationData,
    TrainedSegments,
    behaviour_contract,
    predict_segments,
    train_segments,
)
from ml.core.segments import SegmentSet
from sample_shop.options import Calendar, SampleOptions
from sample_shop.records import EVENT_DTYPE, EVENT_NAMES, SESSION_DTYPE
from sample_shop.simulate import simulate_chunk

LAST_DAY = dt.date(2026, 9, 30)
COLUMNS = ["page_views", "product_views", "searches", "engagement_seconds"]


def clear_data(seed: int, n: int = 1_500) -> tuple[SegmentationData, np.ndarray]:
    """Four groups far apart on the log scale: skimmers (mobile), searchers, explorers, readers."""
    rng = np.random.default_rng(seed)
    group = rng.choice(4, n, p=[0.4, 0.25, 0.2, 0.15])
    means = np.array([[1, 0, 0, 3], [6, 1, 9, 90], [14, 14, 0, 150], [5, 0, 0, 900]])[group]
    values = np.expm1(np.log1p(means) + rng.normal(scale=0.25, size=means.shape)).clip(0)
    features = pd.DataFrame(values, columns=COLUMNS)
    labels = rng.random(n) < np.array([0.01, 0.05, 0.2, 0.04])[group]
    return SegmentationData(features, labels, rng.random(n) < np.where(group == 0, 0.9, 0.4)), group


def train(data: SegmentationData, seed: int = 0, previous: SegmentSet | None = None) -> TrainedSegments:
    trained = train_segments(data, previous=previous, seed=seed)
    assert isinstance(trained, TrainedSegments)
    return trained


@pytest.fixture(scope="module")
def clear() -> TrainedSegments:
    return train(clear_data(1)[0])


def test_planted_groups_are_found_and_named_the_same_whatever_the_seed(clear: TrainedSegments) -> None:
    data, group = clear_data(1)
    ids = predict_segments(clear.pipeline, data.features)
    assert clear.k == 4 and adjusted_rand_score(group, ids) > 0.98 and clear.ward_ari > 0.98
    names = [segment.name for segment in clear.segments]
    assert names[0] == MOBILE_SKIMMERS
    assert {"Search-driven browsers", "High-intent buyers"} < set(names)
    again = train(data, 1)
    assert [segment.name for segment in again.segments] == names
    assert (predict_segments(again.pipeline, data.features) == ids).mean() > 0.99


def test_sizes_and_conversion_are_of_the_sessions_themselves(clear: TrainedSegments) -> None:
    data, _ = clear_data(1)
    ids = predict_segments(clear.pipeline, data.features)
    assert sum(segment.size for segment in clear.segments) == len(ids)
    assert sum(segment.share for segment in clear.segments) == pytest.approx(1)
    for segment in clear.segments:
        members = ids == segment.segment_id
        assert segment.size == members.sum() and segment.share >= 0.05
        assert segment.conversion == pytest.approx(data.labels[members].mean())
        assert segment.conversion_low < segment.conversion < segment.conversion_high
        mean = np.log1p(data.features[members]).mean()
        assert segment.centroid == pytest.approx(mean.to_dict(), rel=1e-6)


def test_the_labels_and_the_device_never_move_a_session(clear: TrainedSegments) -> None:
    data, _ = clear_data(1)
    other = SegmentationData(data.features, ~data.labels, None, data.labels)
    ids = predict_segments(clear.pipeline, data.features)
    assert (predict_segments(train(other).pipeline, data.features) == ids).all()


def test_only_behaviour_is_used() -> None:
    names = [*BEHAVIOUR_FEATURES, "add_to_carts", "hour_of_day", "previous_purchases", "device_category"]
    features = [Feature(name, "BIGINT", "numeric", None, name == "add_to_carts") for name in names]
    contract = FeatureContract("feat_sessions", "1", tuple(features))
    assert behaviour_contract(contract).feature_names == list(BEHAVIOUR_FEATURES)
    late = [Feature(name, "BIGINT", "numeric", None, name == "searches") for name in names]
    assert "searches" not in behaviour_contract(FeatureContract("f", "1", tuple(late))).feature_names


def test_nothing_to_cluster_is_declined_with_the_reason() -> None:
    data, _ = clear_data(5)
    few = SegmentationData(data.features.iloc[:900], data.labels[:900], None)
    same = SegmentationData(data.features.assign(page_views=1.0, product_views=0.0), data.labels, None)
    binary = SegmentationData((data.features > 5).astype(float), data.labels, None)
    for thin, why in (
        (few, "900 sessions"),
        (same, "only 2 of the columns that make segments vary"),
        (binary, "differ"),
    ):
        result = train_segments(thin)
        assert isinstance(result, NotTrained) and why in result.why


def test_names_are_unique_even_where_segments_are_alike() -> None:
    for n in range(3, 9):
        alike = [dict.fromkeys(COLUMNS, 0.5 + 0.001 * row) for row in range(n)]
        busy = [dict.fromkeys(BEHAVIOUR_FEATURES, 0.9 + 0.01 * row) for row in range(n)]
        for profiles in (alike, busy):
            assert len(set(name_segments(profiles))) == n
    assert not {rule.name for rule in NAMING_RULES} & set(PLAIN_NAMES)


def test_a_skimmer_is_called_mobile_only_where_the_segment_is() -> None:
    profiles = [dict.fromkeys(COLUMNS, 0.2), dict.fromkeys(COLUMNS, 0.5), dict.fromkeys(COLUMNS, 0.6)]
    assert name_segments(profiles, [0.2, 0.0, -0.1])[0] == MOBILE_SKIMMERS
    assert name_segments(profiles, [-0.2, 0.0, 0.1])[0] == SKIMMERS


def test_matching_keeps_what_is_near_and_not_what_is_far() -> None:
    previous = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    moved = np.array([[0.0, 4.5], [0.5, 0.5], [9.0, 9.0]])
    assert match_segments(previous, moved, np.ones(2)) == {0: 2, 1: 0}
    # in units of another scale the same centroids lie farther apart than half the smallest gap
    assert match_segments(previous, moved, np.array([1.0, 0.01])) == {}


def test_a_segment_that_is_new_gets_a_new_id_and_a_new_name(clear: TrainedSegments) -> None:
    data, _ = clear_data(7)
    again = train(data, previous=clear.found)
    assert [(s.segment_id, s.name) for s in again.segments] == [(s.segment_id, s.name) for s in clear.segments]
    assert all(segment.is_kept for segment in again.segments)
    # the readers now stay on one page and search: nobody was like that before
    readers = data.features["engagement_seconds"] > 500
    changed = data.features.assign(
        searches=data.features["searches"].where(~readers, 40.0 + data.features["engagement_seconds"] % 7),
        engagement_seconds=data.features["engagement_seconds"].where(~readers, 9.0),
    )
    third = train(SegmentationData(changed, data.labels, data.is_mobile), previous=again.found)
    known = {segment.segment_id: segment.name for segment in clear.segments}
    new = [segment for segment in third.segments if not segment.is_kept]
    assert len(new) == 1 and new[0].segment_id == max(known) + 1 and new[0].name not in known.values()
    assert all(known[segment.segment_id] == segment.name for segment in third.segments if segment.is_kept)


def test_made_up_shop_has_several_segments() -> None:
    shop = make_shop(2_000)
    features = shop.sessions[["page_views", "product_views", "searches", "wishlist_adds", "engagement_seconds"]]
    trained = train(SegmentationData(features.astype(float), shop.sessions["label_purchased"].to_numpy(), None))
    assert 3 <= trained.k <= 8 and len({segment.name for segment in trained.segments}) == trained.k


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[SegmentationData, np.ndarray]:
    """Behaviour of the sample shop's sessions before their purchase, straight from its simulator, and their days."""
    folder = tmp_path_factory.mktemp("shop")
    options = SampleOptions(sessions=14_000).without("quirks", "incidents")
    simulate_chunk(Calendar(options, ZoneInfo("UTC"), LAST_DAY), 0, options.sessions, folder)
    events = np.fromfile(folder / "events_0.bin", EVENT_DTYPE)
    sessions = np.fromfile(folder / "sessions_0.bin", SESSION_DTYPE)
    names = np.array(EVENT_NAMES, dtype=object)[events["name"]]
    rows = pd.DataFrame(
        {"session": events["session"], "at": events["timestamp"], "name": names, "engagement": events["engagement"]}
    )
    connection = duckdb.connect()
    connection.register("rows", rows)
    frame = connection.execute(
        """
        with bought as (select session, min("at") as ended from rows where name = 'purchase' group by session)
        select
            rows.session, min("at") as started, any_value(ended) is not null as label,
            count(*) filter (where name = 'page_view') as page_views,
            count(*) filter (where name = 'view_item') as product_views,
            count(*) filter (where name = 'view_search_results') as searches,
            coalesce(sum(engagement) filter (where engagement > 0), 0) / 1000.0 as engagement_seconds,
            coalesce(max(90) filter (where name = 'scroll'), 0) as max_scroll_percent,
            count(*) filter (where name = 'add_to_cart') > 0 as has_cart,
            (max("at") - min("at")) / 1e6 as elapsed_seconds
        from rows left join bought on rows.session = bought.session
        where name not in ('session_start', 'first_visit') and (ended is null or "at" < ended)
        group by rows.session order by rows.session
        """
    ).df()
    columns = [*CLUSTER_FEATURES, "elapsed_seconds"]
    is_mobile = sessions["device"][frame["session"]] % 3 == 0
    data = SegmentationData(
        frame[columns].astype(float), frame["label"].to_numpy(), is_mobile, frame["has_cart"].to_numpy()
    )
    return data, frame["started"].to_numpy().astype("datetime64[us]").astype("datetime64[D]")


def until(data: SegmentationData, rows: np.ndarray) -> SegmentationData:
    assert data.is_mobile is not None and data.has_cart is not None
    return SegmentationData(data.features[rows], data.labels[rows], data.is_mobile[rows], data.has_cart[rows])


def test_names_stay_with_the_sessions_over_five_weekly_trainings(
    sample: tuple[SegmentationData, np.ndarray],
) -> None:
    data, days = sample
    previous: SegmentSet | None = None
    before: np.ndarray | None = None
    for week in range(6):
        known = days <= np.datetime64(LAST_DAY - dt.timedelta(days=7 * (5 - week)))
        trained = train(until(data, known), seed=week, previous=previous)
        chosen = next(row for row in trained.choice if row["k"] == trained.k)
        assert chosen["median_ari"] >= 0.85 and chosen["low_ari"] >= 0.7
        assert "no k meets" not in trained.chosen_by
        assert min(segment.share for segment in trained.segments) >= 0.05
        assert trained.ward_ari > 0.5
        names = {segment.segment_id: segment.name for segment in trained.segments}
        assert BOUNCED in names.values() and len(set(names.values())) == len(names)
        now = np.array([names[segment_id] for segment_id in predict_segments(trained.pipeline, data.features)])
        assert ((now == BOUNCED) == (data.features["elapsed_seconds"] == 0)).all()
        if before is not None:
            assert (now == before).mean() >= 0.95
            assert all(segment.is_kept for segment in trained.segments)
        else:
            first = now
        before = now
        # as the manifest keeps it
        previous = SegmentSet.from_dict(json.loads(json.dumps(trained.found.to_dict(), sort_keys=True)))
    assert (before == first).mean() >= 0.95
