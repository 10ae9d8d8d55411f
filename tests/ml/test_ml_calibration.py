"""Calibration: what was bent is straightened, the base rate follows its past, and never its future."""

from __future__ import annotations

import numpy as np
import pytest

from ml.core.calibration import (
    Calibration,
    TrailingWindow,
    correct_base_rate,
    fit_calibration,
    solve_trailing_shifts,
)
from ml.core.metrics import evaluate, from_logit


def test_too_extreme_scores_are_softened_and_too_soft_ones_sharpened_as_far_as_every_fold_confirms() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(-1, 1.5, 20_000)
    labels = rng.random(20_000) < from_logit(logits)
    folds = np.repeat([1, 2, 3, 4], 5_000)
    softened = fit_calibration(from_logit(2 * logits + 0.5), labels, folds)
    assert softened.slope == pytest.approx(0.5, abs=0.03) and softened.intercept == pytest.approx(-0.25, abs=0.06)
    assert Calibration.from_dict(softened.to_dict()) == softened
    timid = from_logit(np.array([0.5, 0.6, 0.7, 0.8])[folds - 1] * logits)
    sharpened = fit_calibration(timid, labels, folds)
    assert sharpened.slope == pytest.approx(1 / 0.8, abs=0.06)  # what the least timid fold asks for
    assert sharpened.apply(timid).mean() == pytest.approx(labels.mean(), abs=1e-4)
    one_extreme = from_logit(np.array([0.5, 0.6, 0.7, 1.1])[folds - 1] * logits)
    moved = fit_calibration(one_extreme, labels, folds)
    assert moved.slope == 1 and moved.apply(one_extreme).mean() == pytest.approx(labels.mean(), abs=1e-4)


def test_few_purchases_change_nothing() -> None:
    labels = np.arange(1_000) < 49
    assert fit_calibration(np.full(1_000, 0.5), labels, np.zeros(1_000, dtype=np.int64)) == Calibration()


def test_a_fold_with_few_purchases_confirms_no_sharpening() -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(-1, 1.5, 6_000)
    labels = rng.random(6_000) < from_logit(logits)
    folds = np.repeat([0, 1], [5_900, 100])
    assert 0 < labels[folds == 1].sum() < 50
    assert fit_calibration(from_logit(0.5 * logits), labels, folds).slope == 1


def test_a_shift_knows_only_the_window_before_its_block() -> None:
    rng = np.random.default_rng(2)
    blocks = np.repeat(np.arange(40), 200)
    scores = from_logit(rng.normal(-2, 1, len(blocks)))
    labels = rng.random(len(blocks)) < scores
    window, wanted = TrailingWindow(7, lag=3), np.arange(40)
    assert list(window.list_blocks(20)) == [11, 12, 13, 14, 15, 16, 17]
    before = solve_trailing_shifts(scores, labels, blocks, wanted, window)
    changed = labels.copy()
    changed[blocks >= 18] ^= True  # from block 18 on everything is the other way round
    after = solve_trailing_shifts(scores, changed, blocks, wanted, window)
    assert (before[:21] == after[:21]).all() and (before[21:] != after[21:]).all()
    shuffled = rng.permutation(len(blocks))
    again = solve_trailing_shifts(scores[shuffled], labels[shuffled], blocks[shuffled], wanted, window)
    assert again == pytest.approx(before)
    assert before[0] == 0 and np.abs(before).max() < 0.5


def test_a_base_rate_that_doubles_is_followed() -> None:
    rng = np.random.default_rng(3)
    blocks = np.repeat(np.arange(60), 300)
    logits = rng.normal(-2, 0.7, len(blocks))
    labels = rng.random(len(blocks)) < from_logit(logits + 0.9 * (blocks >= 30))
    corrected = correct_base_rate(from_logit(logits), labels, blocks, TrailingWindow(10))
    late = blocks >= 42
    errors = [
        evaluate(labels[late], scores[late], np.arange(late.sum()), baseline=0.2, n_resamples=5).values[7]
        for scores in (from_logit(logits), corrected)
    ]
    assert errors[0] > 0.08 and errors[1] < 0.02
