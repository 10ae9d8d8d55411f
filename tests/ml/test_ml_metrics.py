"""Metrics against values worked out by hand, and intervals against known truths."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ml.core.metrics import METRIC_NAMES, Evaluation, compare, evaluate, from_logit, to_logit, wilson_interval


def run(labels: list[int], scores: list[float], **options: float) -> Evaluation:
    return evaluate(
        np.array(labels, dtype=bool),
        np.array(scores),
        np.arange(len(labels)),
        baseline=options.get("baseline", 0.5),
        n_resamples=20,
    )


def value(evaluation: Evaluation, name: str) -> float:
    estimate = evaluation.metrics[name].value
    assert estimate is not None
    return estimate


def test_auc_average_precision_and_brier_by_hand() -> None:
    result = run([1, 0, 1, 0, 0], [0.9, 0.8, 0.7, 0.6, 0.5], baseline=0.4)
    assert value(result, "roc_auc") == pytest.approx(5 / 6)  # .9 beats three negatives, .7 beats two
    assert value(result, "average_precision") == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)
    assert value(result, "brier") == pytest.approx((0.01 + 0.64 + 0.09 + 0.36 + 0.25) / 5)
    assert value(result, "brier_baseline") == pytest.approx((2 * 0.36 + 3 * 0.16) / 5)
    assert value(result, "base_rate") == pytest.approx(0.4)
    assert (result.n, result.positives, result.users) == (5, 2, 5)


def test_ties_count_half_whatever_the_order_of_rows() -> None:
    for order in ([0, 1, 2, 3], [1, 0, 3, 2], [3, 2, 1, 0]):
        labels, scores = np.array([1, 0, 1, 0])[order], np.array([0.5, 0.5, 0.8, 0.2])[order]
        result = run(labels.tolist(), scores.tolist())
        assert value(result, "roc_auc") == pytest.approx(3.5 / 4)
        assert value(result, "average_precision") == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)


def test_lift_of_the_top_tenth_by_hand() -> None:
    labels = [1, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    scores = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05]
    assert value(run(labels, scores), "lift_at_10_percent") == pytest.approx(1 / 0.2)
    scores[1] = 0.9  # two share the first place, one of them buys: half a purchase in the top tenth
    assert value(run(labels, scores), "lift_at_10_percent") == pytest.approx(0.5 / 0.2)
    assert value(run(labels, [0.3] * 10), "lift_at_10_percent") == pytest.approx(1.0)


def test_calibration_error_by_hand() -> None:
    labels = [1, 1, 0, 0, 0, 1, 1, 1, 0, 0]  # predicted .2, observed .4; predicted .6, observed .6
    scores = [0.2] * 5 + [0.6] * 5
    assert value(run(labels, scores), "calibration_error") == pytest.approx(0.5 * 0.2)


def test_wilson_interval_by_hand() -> None:
    assert wilson_interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_one_class_has_no_auc_and_says_so_with_none() -> None:
    result = run([0, 0, 0], [0.1, 0.2, 0.3])
    assert result.metrics["roc_auc"].value is None
    assert result.metrics["average_precision"].value is None
    assert result.to_dict()["roc_auc"] == {"value": None, "low": None, "high": None}


@pytest.mark.parametrize("scores", [[0.1, 1.2], [0.1, float("nan")], [0.1]])
def test_scores_that_are_no_probabilities_are_refused(scores: list[float]) -> None:
    with pytest.raises(ValueError):
        run([0, 1], scores)


def test_intervals_by_user_cover_a_known_rate_where_rows_of_a_user_agree() -> None:
    truth, trials, covered, row_covered = 0.3, 60, 0, 0
    rng = np.random.default_rng(7)
    for trial in range(trials):
        labels = np.repeat(rng.random(150) < truth, 4)
        scores = np.full(600, 0.5)
        for by_user, users in ((True, np.repeat(np.arange(150), 4)), (False, np.arange(600))):
            estimate = evaluate(labels, scores, users, baseline=0.5, n_resamples=100, seed=trial).metrics["base_rate"]
            assert estimate.low is not None and estimate.high is not None
            inside = estimate.low <= truth <= estimate.high
            covered += inside and by_user
            row_covered += inside and not by_user
    assert covered >= 52  # of 60 expected 57, SE 1.7
    assert row_covered <= 48  # resampling rows would pretend to four times the evidence


def test_auc_interval_covers_the_true_auc() -> None:
    covered = 0
    rng = np.random.default_rng(11)
    for trial in range(40):
        labels = rng.random(500) < 0.3
        latent = rng.normal(size=500) + labels  # AUC of two normals one SD apart: Phi(1 / sqrt 2) = .7602
        scores = 1 / (1 + np.exp(-latent))
        result = evaluate(labels, scores, np.arange(500), baseline=0.3, n_resamples=100, seed=trial)
        estimate = result.metrics["roc_auc"]
        assert estimate.low is not None and estimate.high is not None
        covered += estimate.low <= 0.7602 <= estimate.high
    assert covered >= 34  # of 40 expected 38, SE 1.4


def test_calibration_line_finds_the_slope_and_intercept_that_made_the_labels() -> None:
    rng = np.random.default_rng(3)
    scores = from_logit(rng.normal(-2, 1.5, 60_000))
    for slope, intercept in ((1.0, 0.0), (0.6, 0.0), (1.0, -0.8)):
        labels = rng.random(60_000) < from_logit(intercept + slope * to_logit(scores))
        result = evaluate(labels, scores, np.arange(60_000), baseline=0.2, n_resamples=20)
        low, high = result.metrics["calibration_slope"].low, result.metrics["calibration_slope"].high
        assert low is not None and high is not None and low - 0.01 < slope < high + 0.01
        if slope == 1.0:
            assert value(result, "calibration_intercept") == pytest.approx(intercept, abs=0.05)


def test_saturated_scores_have_a_slope_and_separated_ones_have_none() -> None:
    rng = np.random.default_rng(4)
    logits = np.where(rng.random(4_000) < 0.06, rng.normal(3, 1, 4_000), rng.normal(-8, 1, 4_000))
    labels = rng.random(4_000) < from_logit(0.5 * logits - 1)
    estimate = evaluate(labels, from_logit(logits), np.arange(4_000), baseline=0.1, n_resamples=20)
    assert 0.3 < value(estimate, "calibration_slope") < 0.7
    separated = run([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])
    assert separated.metrics["calibration_slope"].value is None


def test_slopes_of_resamples_are_those_of_their_rows_where_scores_are_saturated() -> None:
    """Two of a hundred rows hold the whole range of scores: groups of equally many rows would mix unlike ones."""
    rng = np.random.default_rng(8)
    n = 20_000
    logits = np.where(rng.random(n) < 0.02, rng.uniform(-9, 9, n), rng.normal(-8.5, 0.3, n).clip(-9.2))
    labels = rng.random(n) < from_logit(logits)
    result = evaluate(labels, from_logit(logits), np.arange(n), baseline=0.1, n_resamples=40, seed=1)
    slope = result.metrics["calibration_slope"]
    assert slope.value is not None and slope.low is not None and slope.high is not None
    assert slope.low < slope.value < slope.high
    draws = np.random.default_rng(1)
    for grouped in result.resamples[:5, METRIC_NAMES.index("calibration_slope")]:
        rows = draws.integers(0, n, n)
        exact = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1_000).fit(logits[rows, None], labels[rows])
        assert grouped == pytest.approx(exact.coef_[0, 0], rel=2e-3)


def test_a_paired_difference_is_narrower_than_two_intervals() -> None:
    rng = np.random.default_rng(5)
    latent = rng.normal(size=4_000)
    labels = rng.random(4_000) < from_logit(latent - 2)
    users = rng.integers(0, 2_000, 4_000)
    good = evaluate(labels, from_logit(latent - 2), users, baseline=0.1)
    noisy = evaluate(labels, from_logit(latent + 0.3 * rng.normal(size=4_000) - 2), users, baseline=0.1)
    gain = compare(good, noisy)["roc_auc"]
    assert gain.low is not None and gain.high is not None and gain.value is not None
    assert gain.low < gain.value < gain.high and gain.value == pytest.approx(good.values[0] - noisy.values[0])
    auc = good.metrics["roc_auc"]
    assert auc.high is not None and auc.low is not None
    assert gain.high - gain.low < (auc.high - auc.low) / 2
    assert all(estimate.value == 0 == estimate.low == estimate.high for estimate in compare(good, good).values())
    with pytest.raises(ValueError, match="same rows"):
        compare(good, run([0, 1], [0.1, 0.2]))


def test_intervals_of_many_scores_do_not_depend_on_the_groups_they_are_put_in() -> None:
    rng = np.random.default_rng(6)
    latent = rng.normal(size=12_000)
    labels = rng.random(12_000) < from_logit(latent - 2)
    fine = evaluate(labels, from_logit(latent - 2), np.arange(12_000), baseline=0.1, n_resamples=60)
    rounded = np.round(from_logit(latent - 2), 3)
    coarse = evaluate(labels, rounded, np.arange(12_000), baseline=0.1, n_resamples=60)  # few distinct: exact groups
    for name in ("roc_auc", "average_precision", "lift_at_10_percent", "calibration_slope"):
        one, other = fine.metrics[name], coarse.metrics[name]
        assert one.low == pytest.approx(other.low, rel=0.02) and one.high == pytest.approx(other.high, rel=0.02)
