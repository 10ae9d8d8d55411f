"""Segments: planted groups are found again whatever the seed, and every one has its own name."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import make_shop
from sklearn.metrics import adjusted_rand_score

from ml.core.contract import Feature, FeatureContract
from ml.core.propensity import NotTrained
from ml.core.segmentation import (
    BEHAVIOUR_FEATURES,
    MOBILE_SKIMMERS,
    NAMING_RULES,
    PLAIN_NAMES,
    SegmentationData,
    TrainedSegments,
    behaviour_contract,
    name_segments,
    predict_segments,
    train_segments,
)

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


def train(data: SegmentationData, seed: int = 0) -> TrainedSegments:
    trained = train_segments(data, seed=seed)
    assert isinstance(trained, TrainedSegments)
    return trained


def test_planted_groups_are_found_and_named_the_same_whatever_the_seed() -> None:
    data, group = clear_data(1)
    first = train(data)
    ids = predict_segments(first.pipeline, data.features)
    assert first.k == 4 and adjusted_rand_score(group, ids) > 0.98
    names = [segment.name for segment in first.segments]
    assert names[0] == MOBILE_SKIMMERS
    assert set(names[1:]) == {"Search-driven browsers", "Product explorers", "Attentive readers"}
    for seed in (1, 2):
        again = train(data, seed)
        assert [segment.name for segment in again.segments] == names
        assert (predict_segments(again.pipeline, data.features) == ids).mean() > 0.99
    other_week, _ = clear_data(2)
    assert [segment.name for segment in train(other_week).segments] == names


def test_sizes_and_conversion_are_of_the_sessions_themselves() -> None:
    data, _ = clear_data(3)
    trained = train(data)
    ids = predict_segments(trained.pipeline, data.features)
    assert sum(segment.size for segment in trained.segments) == len(ids)
    assert sum(segment.share for segment in trained.segments) == pytest.approx(1)
    for segment in trained.segments:
        members = ids == segment.segment_id
        assert segment.size == members.sum() and segment.share >= 0.05
        assert segment.conversion == pytest.approx(data.labels[members].mean())
        assert segment.conversion_low < segment.conversion < segment.conversion_high


def test_the_labels_and_the_device_never_move_a_session() -> None:
    data, _ = clear_data(4)
    other = SegmentationData(data.features, ~data.labels, None)
    ids = predict_segments(train(data).pipeline, data.features)
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
    for thin, why in ((few, "900 sessions"), (same, "only 2 of the behaviour columns vary"), (binary, "different")):
        result = train_segments(thin)
        assert isinstance(result, NotTrained) and why in result.why


def test_names_are_unique_even_where_segments_are_alike() -> None:
    for n in range(3, 9):
        alike = [dict.fromkeys(COLUMNS, 0.01 * row) for row in range(n)]
        busy = [dict.fromkeys(BEHAVIOUR_FEATURES, 2.0 + row) for row in range(n)]
        for profiles in (alike, busy):
            names = name_segments(profiles)
            assert len(set(names)) == n
    assert not {rule.name for rule in NAMING_RULES} & set(PLAIN_NAMES)


def test_a_skimmer_is_called_mobile_only_where_the_segment_is() -> None:
    profiles = [dict.fromkeys(COLUMNS, -1.0), dict.fromkeys(COLUMNS, 0.0), dict.fromkeys(COLUMNS, 1.0)]
    assert name_segments(profiles, [0.2, 0.0, -0.1])[0] == MOBILE_SKIMMERS
    assert name_segments(profiles, [-0.2, 0.0, 0.1])[0] == "Low-intent skimmers"


def test_made_up_shop_has_several_segments() -> None:
    shop = make_shop(2_000)
    features = shop.sessions[["page_views", "product_views", "searches", "wishlist_adds", "engagement_seconds"]]
    trained = train(SegmentationData(features.astype(float), shop.sessions["label_purchased"].to_numpy(), None))
    assert 3 <= trained.k <= 8 and len({segment.name for segment in trained.segments}) == trained.k
