"""The time split never lets a day straddle, and keeps the newest days for the test."""

from __future__ import annotations

import numpy as np
import pytest

from ml.core.split import split_by_day


@pytest.mark.parametrize("n_days", [14, 15, 20, 28, 35, 60, 92, 365])
def test_whole_days_in_order_and_every_row_once(n_days: int) -> None:
    rng = np.random.default_rng(n_days)
    days = np.datetime64("2026-01-01") + np.r_[np.arange(n_days), rng.integers(0, n_days, 900)]
    split = split_by_day(days)
    masks = split.train_mask(days), split.validation_mask(days), split.test_mask(days)
    assert (np.sum(masks, axis=0) == 1).all()
    train, validation, test = (set(days[mask]) for mask in masks)
    assert train and validation and test
    assert max(train) < min(validation) and max(validation) < min(test)
    assert len(test) == max(7, round(0.2 * n_days))
    assert split.last_day == max(days).item() and split.first_day == min(days).item()


def test_days_without_rows_are_not_counted() -> None:
    days = np.datetime64("2026-01-01") + np.r_[np.arange(10), np.arange(200, 210)]
    split = split_by_day(days)
    assert len(set(days[split.test_mask(days)])) == 7
    assert len(set(days[split.validation_mask(days)])) == 4


def test_too_few_days_are_refused() -> None:
    with pytest.raises(ValueError, match="13 days with data; 14 are needed"):
        split_by_day(np.datetime64("2026-01-01") + np.repeat(np.arange(13), 5))
