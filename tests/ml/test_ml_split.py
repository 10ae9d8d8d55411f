"""The time split: whole periods in order, every choice on rolling origins, the newest kept for the test."""

from __future__ import annotations

import numpy as np
import pytest

from ml.core.errors import TrainingDataError
from ml.core.split import name_day, split_by_day, split_periods, to_day_numbers


@pytest.mark.parametrize("n_days", [14, 15, 20, 28, 35, 60, 92, 365])
def test_whole_days_in_order_and_never_a_later_day_in_training(n_days: int) -> None:
    rng = np.random.default_rng(n_days)
    days = np.datetime64("2026-01-01") + np.r_[np.arange(n_days), rng.integers(0, n_days, 900)]
    split, periods = split_by_day(days), to_day_numbers(days)
    known, test = split.known_mask(periods), split.test_mask(periods)
    assert (known ^ test).all() and max(periods[known]) < min(periods[test])
    assert len(set(periods[test])) == max(7, round(0.2 * n_days))
    seen: set[int] = set()
    for fold in split.folds:
        train, valid = set(periods[split.train_mask(fold, periods)]), set(periods[split.valid_mask(fold, periods)])
        assert train and valid and max(train) < min(valid) and max(valid) < split.test_from
        assert not valid & seen  # each day is predicted once
        seen |= valid
    assert len(split.folds) == 3 and max(seen) == split.test_from - 1
    assert name_day(split.last) == str(max(days))


def test_days_without_rows_are_not_counted() -> None:
    days = np.datetime64("2026-01-01") + np.r_[np.arange(10), np.arange(200, 210)]
    split, periods = split_by_day(days), to_day_numbers(days)
    assert len(set(periods[split.test_mask(periods)])) == 7


def test_a_test_that_starts_where_it_is_told() -> None:
    periods = np.repeat(np.arange(10), 3)
    split = split_periods(periods, test_from=8)
    assert (split.first, split.test_from, split.last) == (0, 8, 9)
    assert [(fold.valid_from, fold.valid_to) for fold in split.folds] == [(3, 4), (5, 6), (7, 7)]
    assert [(fold.valid_from, fold.valid_to) for fold in split_periods(np.arange(3)).folds] == [(1, 1)]


@pytest.mark.parametrize(
    ("periods", "test_from", "message"),
    [(np.arange(2), None, "2 periods"), (np.arange(5), 1, "1 periods before the test"), (np.arange(5), 9, "0 in it")],
)
def test_too_few_periods_are_refused(periods: np.ndarray, test_from: int | None, message: str) -> None:
    with pytest.raises(TrainingDataError, match=message):
        split_periods(periods, test_from=test_from)
    with pytest.raises(TrainingDataError, match="13 days with data; 14 are needed"):
        split_by_day(np.datetime64("2026-01-01") + np.repeat(np.arange(13), 5))
