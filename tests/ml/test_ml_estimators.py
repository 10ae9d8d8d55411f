"""Candidates: what is fitted together in a search is what each would be alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import FEATURES, make_shop

from ml.core.contract import Feature, FeatureContract
from ml.core.estimators import LOGISTIC_STRENGTHS, Candidate, list_candidates

CONTRACT = FeatureContract(
    "feat_sessions",
    "1",
    tuple(Feature(name, data_type, kind, unit, False) for name, (data_type, kind, unit) in FEATURES.items()),
)


@pytest.fixture(scope="module")
def rows() -> tuple[pd.DataFrame, np.ndarray]:
    """Features as `read_frame` gives them, and labels."""
    sessions = make_shop(1_200, base=-0.8).sessions
    features = sessions[CONTRACT.feature_names].copy()
    for feature in CONTRACT.features:
        kind = "category" if feature.kind == "categorical" else "float64"
        features[feature.name] = features[feature.name].astype(kind)
    return features, sessions["label_purchased"].to_numpy(dtype=bool)


@pytest.mark.parametrize("candidate", list_candidates(), ids=lambda candidate: candidate.family)
def test_each_stage_predicts_what_it_would_alone(candidate: Candidate, rows: tuple[pd.DataFrame, np.ndarray]) -> None:
    features, labels = rows
    known, unseen = features.iloc[:900], features.iloc[900:]
    stages = candidate.list_stages()
    scores = candidate.predict_stages(CONTRACT, known, labels[:900], unseen, seed=1)
    assert scores.shape == (len(stages), 300) and stages[-1] == candidate
    for stage, of_stage in list(zip(stages, scores, strict=True))[:: max(1, len(stages) // 2)]:
        alone = stage.build(CONTRACT, known, seed=1).fit(known, labels[:900])
        assert alone.predict_proba(unseen)[:, 1] == pytest.approx(of_stage, abs=1e-12)
    assert len({tuple(row) for row in scores.round(6)}) == len(stages)  # and they do differ


def test_all_strengths_of_the_regression_are_tried() -> None:
    regression = list_candidates()[0]
    assert [stage.params["C"] for stage in regression.list_stages()] == list(LOGISTIC_STRENGTHS)
