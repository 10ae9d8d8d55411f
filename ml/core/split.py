"""The time split: rolling origins for every choice, the newest periods held out for judging alone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ml.core.errors import TrainingDataError

Periods = npt.NDArray[np.int64]

MIN_DAYS = 14
MIN_TEST_DAYS = 7
MIN_PERIODS = 3
TEST_SHARE = 0.2
ROLLING_SHARE = 0.6  # of the periods before the test: these are predicted in turn, from what came before each
N_FOLDS = 3


@dataclass(frozen=True)
class Fold:
    """One rolling origin: trained on every period before `valid_from`, judged on `valid_from` to `valid_to`."""

    valid_from: int
    valid_to: int


@dataclass(frozen=True)
class TimeSplit:
    """Periods as ordinal numbers (days since 1970, or positions in an order); every bound is inclusive."""

    first: int
    folds: tuple[Fold, ...]
    test_from: int
    last: int

    def train_mask(self, fold: Fold, periods: Periods) -> npt.NDArray[np.bool_]:
        """Rows before the fold's origin. Features look back strictly, so no gap is needed between the two."""
        return periods < fold.valid_from

    def valid_mask(self, fold: Fold, periods: Periods) -> npt.NDArray[np.bool_]:
        """Rows that the fold predicts."""
        return (periods >= fold.valid_from) & (periods <= fold.valid_to)

    def known_mask(self, periods: Periods) -> npt.NDArray[np.bool_]:
        """Rows before the test: all that fits, choices and calibration may use."""
        return periods < self.test_from

    def test_mask(self, periods: Periods) -> npt.NDArray[np.bool_]:
        """Rows held out: never used for fitting, calibration or any choice."""
        return periods >= self.test_from

    def with_names(self, name: Callable[[int], str], *, fitted_on: str) -> NamedSplit:
        """The split for people; `name` writes a period, `fitted_on` says what the final fit has seen."""
        return NamedSplit(
            train_from=name(self.first),
            rolling_origins=tuple(NamedFold(name(fold.valid_from), name(fold.valid_to)) for fold in self.folds),
            test_from=name(self.test_from),
            test_to=name(self.last),
            fitted_on=fitted_on,
        )


@dataclass(frozen=True)
class NamedFold:
    """A rolling origin in words: the first and the last period that it predicts."""

    valid_from: str
    valid_to: str


@dataclass(frozen=True)
class NamedSplit:
    """A time split in words; every bound is inclusive."""

    train_from: str
    rolling_origins: tuple[NamedFold, ...]
    test_from: str
    test_to: str
    fitted_on: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {**asdict(self), "rolling_origins": [asdict(fold) for fold in self.rolling_origins]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NamedSplit:
        """Read what `to_dict` wrote."""
        folds = tuple(NamedFold(**fold) for fold in values["rolling_origins"])
        return cls(**{**values, "rolling_origins": folds})


def split_periods(periods: Periods, *, test_from: int | None = None, min_test: int = 1) -> TimeSplit:
    """Split the distinct periods of `periods` (n,): the last fifth, at least `min_test`, is the test.

    With `test_from` the test starts there instead. The last three fifths of the rest are cut into three folds, each
    predicted from everything before it (rolling origin with an expanding window, Tashman 2000). A period lies in one
    part only. Raises `TrainingDataError` with fewer than three periods, or fewer than two before the test.
    """
    distinct = np.unique(periods)
    if len(distinct) < MIN_PERIODS:
        raise TrainingDataError(f"{len(distinct)} periods with data; {MIN_PERIODS} are needed")
    if test_from is None:
        test_from = int(distinct[-max(min_test, round(TEST_SHARE * len(distinct)))])
    known = distinct[distinct < test_from]
    if len(known) < 2 or len(known) == len(distinct):
        raise TrainingDataError(
            f"{len(known)} periods before the test and {len(distinct) - len(known)} in it; 2 and 1 are needed"
        )
    rolling = known[-min(len(known) - 1, max(N_FOLDS, round(ROLLING_SHARE * len(known)))) :]
    parts = np.array_split(rolling, min(N_FOLDS, len(rolling)))
    return TimeSplit(
        first=int(distinct[0]),
        folds=tuple(Fold(int(part[0]), int(part[-1])) for part in parts),
        test_from=test_from,
        last=int(distinct[-1]),
    )


def split_by_day(days: npt.NDArray[np.datetime64]) -> TimeSplit:
    """`split_periods` over calendar days, at least seven of them held out.

    Raises `TrainingDataError` with fewer than 14 days.
    """
    ordinals = to_day_numbers(days)
    n_days = len(np.unique(ordinals))
    if n_days < MIN_DAYS:
        raise TrainingDataError(f"{n_days} days with data; {MIN_DAYS} are needed")
    return split_periods(ordinals, min_test=MIN_TEST_DAYS)


def to_day_numbers(days: npt.NDArray[np.datetime64]) -> Periods:
    """Days since 1970 (n,)."""
    return days.astype("datetime64[D]").astype(np.int64)


def name_day(number: int) -> str:
    """The ISO date of a day number."""
    return (dt.date(1970, 1, 1) + dt.timedelta(days=number)).isoformat()
