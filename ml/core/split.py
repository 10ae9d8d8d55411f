"""The time split: whole days, oldest for training, then validation, the newest held out."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MIN_DAYS = 14
MIN_TEST_DAYS = 7
TEST_SHARE = 0.2
VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class TimeSplit:
    """First day of validation and of the held-out test; days are property dates, every bound is inclusive."""

    first_day: dt.date
    validation_from: dt.date
    test_from: dt.date
    last_day: dt.date

    def train_mask(self, days: npt.NDArray[np.datetime64]) -> npt.NDArray[np.bool_]:
        """Rows before validation."""
        return days < np.datetime64(self.validation_from)

    def validation_mask(self, days: npt.NDArray[np.datetime64]) -> npt.NDArray[np.bool_]:
        """Rows on which estimators are chosen."""
        return (days >= np.datetime64(self.validation_from)) & (days < np.datetime64(self.test_from))

    def test_mask(self, days: npt.NDArray[np.datetime64]) -> npt.NDArray[np.bool_]:
        """Rows held out: never used for fitting or for any choice."""
        return days >= np.datetime64(self.test_from)

    def to_dict(self) -> dict[str, str]:
        """ISO dates."""
        return {
            "train_from": self.first_day.isoformat(),
            "validation_from": self.validation_from.isoformat(),
            "test_from": self.test_from.isoformat(),
            "test_to": self.last_day.isoformat(),
        }


def split_by_day(days: npt.NDArray[np.datetime64]) -> TimeSplit:
    """Split the distinct days of `days` (n,) into train, validation (20 %) and test (the last 20 %, at least 7 days).

    A day lies in exactly one part. Raises `ValueError` with fewer than 14 distinct days.
    """
    distinct = np.unique(days.astype("datetime64[D]"))
    if len(distinct) < MIN_DAYS:
        raise ValueError(f"{len(distinct)} days with data; {MIN_DAYS} are needed")
    n_test = max(MIN_TEST_DAYS, round(TEST_SHARE * len(distinct)))
    n_validation = max(1, round(VALIDATION_SHARE * len(distinct)))
    return TimeSplit(
        first_day=distinct[0].item(),
        validation_from=distinct[-n_test - n_validation].item(),
        test_from=distinct[-n_test].item(),
        last_day=distinct[-1].item(),
    )
