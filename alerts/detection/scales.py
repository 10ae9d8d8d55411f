"""The four kinds of KPI: how each is linked, what noise it has, and what a value of it is. Arrays only.

A rate is y of n; a count a total with Poisson noise (sessions); an amount a total without a known noise (revenue); a
log mean a mean of logarithms over n sessions. Series are arrays (series, days) or one day's values (series,). The
methods are described in `docs/alerts.md`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, xlogy

from alerts.rules.book import Direction, Rule

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# No KPI is steadier than this from day to day (on the log scale, 1 %): keeps a constant past from making z infinite.
SMALLEST_DAILY_VARIANCE = 0.01**2
# Total loss: none where at least so many were expected.
TOTAL_LOSS_EXPECTED = 20.0
TINY = 1e-12
_WEEK = 7


class Scale(ABC):
    """One kind of KPI; `mean` is always on its link scale, `value` on the KPI's own (mean logs stay mean logs)."""

    is_total = False
    # a variance between days is not estimated below it
    smallest_daily_variance = SMALLEST_DAILY_VARIANCE

    @abstractmethod
    def start(self, y: Floats, n: Floats) -> Floats:
        """Each day's own value on the link scale, finite."""

    @abstractmethod
    def working_values(self, y: Floats, n: Floats, eta: Floats) -> tuple[Floats, Floats]:
        """The values of a generalised linear model's least-squares step at `eta`, and their sampling variance."""

    @abstractmethod
    def to_value(self, mean: Floats) -> Floats:
        """From the link scale to the KPI's own."""

    @abstractmethod
    def to_mean(self, value: Floats) -> Floats:
        """From the KPI's own scale to the link scale, finite."""

    @abstractmethod
    def distance(self, y: Floats, n: Floats, mean: Floats) -> Floats:
        """The signed root of the deviance of `y` (of `n`) from `mean`; for log means the difference."""

    @abstractmethod
    def spread(self, n: Floats, mean: Floats, extra: Floats) -> Floats:
        """The standard deviation of `distance` when nothing happened; `extra`: the variance beyond sampling."""

    @abstractmethod
    def find_band(self, n: Floats, mean: Floats, reach: Floats) -> tuple[Floats, Floats]:
        """The values at which `distance` is -reach and +reach."""

    def relative_variance(self, n: Floats, typical_n: Floats) -> Floats:
        """How much more a day varies than a typical one, beyond its known sampling variance."""
        return np.ones_like(n)

    def clip(self, y: Floats, n: Floats) -> Floats:
        """Values that a likelihood knows: net revenue can be negative, and a column that is no share can exceed 1."""
        return y

    def value(self, y: Floats, n: Floats) -> Floats:
        """What was observed, on the KPI's own scale."""
        return y

    def change(self, value: Floats, expected: Floats) -> Floats:
        """The relative change from what was expected."""
        return value / expected - 1

    def expected_events(self, mean: Floats, typical_n: Floats) -> Floats | None:
        """How many of the rarer outcome a day usually has; None where that says nothing."""
        return self.to_value(mean)

    @abstractmethod
    def add_up_weeks(self, y: Floats, n: Floats, used: Bools) -> tuple[Floats, Floats]:
        """`y` and `n` of whole weeks, (series, weeks), from days (series, weeks, 7); `used` are the days that count."""

    def is_total_loss(self, way: Direction, y: Floats, n: Floats, mean: Floats, usual_volume: Floats) -> Bools:
        """Whether nothing at all is left where enough was expected."""
        return np.zeros(len(y), dtype=bool)

    def add_up(self, value: float, n: float) -> float:
        """What a day's measure adds to a sum over several: successes, or a total, or a sum of logs."""
        return value

    @abstractmethod
    def dispersion(self, y: Floats, n: Floats) -> float:
        """Pearson's dispersion of daily sums (values, days) around each value's own mean; for means their variance."""

    def show(self, value: float) -> float:
        """From the KPI's own scale to the rule's unit."""
        return value

    def read_bound(self, bound: float) -> float:
        """From the rule's unit to the KPI's own scale."""
        return bound


class Rate(Scale):
    """y of n, on the logit scale, with binomial noise."""

    smallest_daily_variance = 0.0

    def start(self, y: Floats, n: Floats) -> Floats:
        return np.asarray(logit((y + 0.5) / (n + 1.0)), dtype=float)

    def working_values(self, y: Floats, n: Floats, eta: Floats) -> tuple[Floats, Floats]:
        p = expit(eta)
        slope = np.maximum(p * (1 - p), 1e-6)
        size = np.maximum(n, TINY)
        return eta + (y / size - p) / slope, 1.0 / (size * slope)

    def to_value(self, mean: Floats) -> Floats:
        return np.asarray(expit(mean), dtype=float)

    def to_mean(self, value: Floats) -> Floats:
        return np.clip(logit(value), -16.0, 16.0)

    def distance(self, y: Floats, n: Floats, mean: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            p = expit(mean)
            deviance = xlogy(y, y / (n * p)) + xlogy(n - y, (n - y) / (n * (1 - p)))
            sign = np.sign(y - n * p)
        return np.asarray(sign * np.sqrt(np.maximum(2.0 * deviance, 0.0)), dtype=float)

    def spread(self, n: Floats, mean: Floats, extra: Floats) -> Floats:
        p = expit(mean)
        return np.sqrt(1.0 + n * p * (1 - p) * extra)

    def find_band(self, n: Floats, mean: Floats, reach: Floats) -> tuple[Floats, Floats]:
        centre = self.to_value(mean)
        low, high = np.full_like(centre, 0.0), np.full_like(centre, 1.0)

        def distance(value: Floats) -> Floats:
            return self.distance(value * n, n, mean)

        return _bisect(distance, centre, low, reach, -1.0), _bisect(distance, centre, high, reach, 1.0)

    def clip(self, y: Floats, n: Floats) -> Floats:
        return np.clip(y, 0.0, n)

    def value(self, y: Floats, n: Floats) -> Floats:
        return y / np.maximum(n, 1.0)

    def expected_events(self, mean: Floats, typical_n: Floats) -> Floats:
        expected = self.to_value(mean)
        return np.minimum(expected, 1 - expected) * typical_n

    def add_up_weeks(self, y: Floats, n: Floats, used: Bools) -> tuple[Floats, Floats]:
        return np.where(used, y, 0.0).sum(axis=2), np.where(used, n, 0.0).sum(axis=2)

    def dispersion(self, y: Floats, n: Floats) -> float:
        squares, mean, free = _measure_squares(y, n)
        return max(1.0, float((squares / np.maximum(mean * (1 - mean), 1e-3)).sum()) / free)

    def is_total_loss(self, way: Direction, y: Floats, n: Floats, mean: Floats, usual_volume: Floats) -> Bools:
        p = self.to_value(mean)
        left = y if way == "below" else n - y
        expected = n * (p if way == "below" else 1 - p)
        return (left == 0) & (expected >= TOTAL_LOSS_EXPECTED)


class Total(Scale):
    """A day's total, on the log scale."""

    is_total = True

    def clip(self, y: Floats, n: Floats) -> Floats:
        return np.clip(y, 0.0, np.inf)

    def to_value(self, mean: Floats) -> Floats:
        return np.exp(mean)

    def to_mean(self, value: Floats) -> Floats:
        return np.log(np.maximum(value, TINY))

    def distance(self, y: Floats, n: Floats, mean: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            mu = np.exp(mean)
            deviance = xlogy(y, y / mu) - (y - mu)
            sign = np.sign(y - mu)
        return np.asarray(sign * np.sqrt(np.maximum(2.0 * deviance, 0.0)), dtype=float)

    def find_band(self, n: Floats, mean: Floats, reach: Floats) -> tuple[Floats, Floats]:
        centre = self.to_value(mean)
        # Far enough outside for any limit in use: the deviance grows without bound in y.
        low, high = np.full_like(centre, 0.0), centre * (2.0 + np.square(reach) / np.maximum(centre, TINY)) + 1.0

        def distance(value: Floats) -> Floats:
            return self.distance(value, n, mean)

        return _bisect(distance, centre, low, reach, -1.0), _bisect(distance, centre, high, reach, 1.0)

    def add_up_weeks(self, y: Floats, n: Floats, used: Bools) -> tuple[Floats, Floats]:
        # a day that is missing counts as an average one
        total = np.where(used, y, 0.0).sum(axis=2) / np.maximum(used.sum(axis=2), 1) * _WEEK
        return total, np.ones_like(total)

    def is_total_loss(self, way: Direction, y: Floats, n: Floats, mean: Floats, usual_volume: Floats) -> Bools:
        if way == "above":
            return np.zeros(len(y), dtype=bool)
        return (y == 0) & (usual_volume >= TOTAL_LOSS_EXPECTED)


class Count(Total):
    """A total of independent events, with Poisson noise."""

    smallest_daily_variance = 0.0

    def dispersion(self, y: Floats, n: Floats) -> float:
        return max(1.0, measure_total_dispersion(y))

    def start(self, y: Floats, n: Floats) -> Floats:
        return np.log(np.maximum(y, 0.5))

    def working_values(self, y: Floats, n: Floats, eta: Floats) -> tuple[Floats, Floats]:
        mu, x = _step_log(y, eta)
        return x, 1.0 / mu

    def spread(self, n: Floats, mean: Floats, extra: Floats) -> Floats:
        return np.sqrt(np.maximum(1.0 + np.exp(mean) * extra, TINY))


class Amount(Total):
    """A total whose sampling noise is not known: all of it is estimated from the days."""

    def dispersion(self, y: Floats, n: Floats) -> float:
        return max(TINY, measure_total_dispersion(y))

    def start(self, y: Floats, n: Floats) -> Floats:
        return np.log(np.maximum(y, 1e-2))

    def working_values(self, y: Floats, n: Floats, eta: Floats) -> tuple[Floats, Floats]:
        mu, x = _step_log(y, eta)
        return x, np.zeros_like(mu)

    def spread(self, n: Floats, mean: Floats, extra: Floats) -> Floats:
        return np.sqrt(np.maximum(np.exp(mean) * extra, TINY))


class LogMean(Scale):
    """A mean of logarithms over n sessions; `of_one_plus`: of ln(1 + value), else of ln(value)."""

    def __init__(self, *, of_one_plus: bool) -> None:
        self.of_one_plus = of_one_plus

    def start(self, y: Floats, n: Floats) -> Floats:
        return y

    def working_values(self, y: Floats, n: Floats, eta: Floats) -> tuple[Floats, Floats]:
        return y, np.zeros_like(y)

    def to_value(self, mean: Floats) -> Floats:
        return mean

    def to_mean(self, value: Floats) -> Floats:
        return value

    def distance(self, y: Floats, n: Floats, mean: Floats) -> Floats:
        return y - mean

    def spread(self, n: Floats, mean: Floats, extra: Floats) -> Floats:
        return np.sqrt(np.maximum(extra, TINY))

    def find_band(self, n: Floats, mean: Floats, reach: Floats) -> tuple[Floats, Floats]:
        return mean - reach, mean + reach

    def relative_variance(self, n: Floats, typical_n: Floats) -> Floats:
        # The sampling part of a mean's variance is not known apart, so a day of few sessions is taken as all sampling.
        return np.maximum(1.0, typical_n / np.maximum(n, 1.0))

    def change(self, value: Floats, expected: Floats) -> Floats:
        return np.expm1(value - expected)

    def expected_events(self, mean: Floats, typical_n: Floats) -> None:
        return None

    def add_up_weeks(self, y: Floats, n: Floats, used: Bools) -> tuple[Floats, Floats]:
        n_sum = np.where(used, n, 0.0).sum(axis=2)
        return np.where(used, y * n, 0.0).sum(axis=2) / np.maximum(n_sum, 1.0), n_sum

    def add_up(self, value: float, n: float) -> float:
        return value * n

    def dispersion(self, y: Floats, n: Floats) -> float:
        squares, _, free = _measure_squares(y, n)
        return max(float(squares.sum()) / free, TINY)

    def show(self, value: float) -> float:
        return max(0.0, math.expm1(value)) if self.of_one_plus else math.exp(value)

    def read_bound(self, bound: float) -> float:
        return float(np.log1p(bound)) if self.of_one_plus else float(np.log(max(bound, 1e-9)))


def scale_of(rule: Rule) -> Scale:
    """The kind of the KPI that a rule watches."""
    if rule.test == "rate":
        return Rate()
    if rule.test == "log_mean":
        return LogMean(of_one_plus=rule.statistic is not None)
    return Count() if rule.test == "count" else Amount()


def measure_total_dispersion(totals: Floats) -> float:
    """Pearson's dispersion of daily totals (values, days) around each value's usual share of the day."""
    share = totals.sum(axis=1, keepdims=True) / max(float(totals.sum()), TINY)
    expected = share * totals.sum(axis=0, keepdims=True)
    seen = expected > 0
    free = max((len(totals) - 1) * (totals.shape[1] - 1), 1)
    return float((np.square(totals - expected)[seen] / expected[seen]).sum()) / free


def _measure_squares(y: Floats, n: Floats) -> tuple[Floats, Floats, int]:
    """Squared distances of daily sums from each value's own mean, per session; the means; the degrees of freedom."""
    seen = n > 0
    free = max(int(seen.sum()) - int(seen.any(axis=1).sum()), 1)
    mean = y.sum(axis=1, keepdims=True) / np.maximum(n.sum(axis=1, keepdims=True), 1.0)
    return np.square(y - n * mean) / np.maximum(n, 1.0), mean, free


def _step_log(y: Floats, eta: Floats) -> tuple[Floats, Floats]:
    mu = np.exp(np.clip(eta, -20.0, 40.0))
    # A step of at most a factor of e^3: a series of zeros and one large day would overflow otherwise.
    return mu, eta + np.minimum((y - mu) / mu, 3.0)


def _bisect(distance: Callable[[Floats], Floats], inner: Floats, outer: Floats, reach: Floats, sign: float) -> Floats:
    """Where, between `inner` and `outer`, the distance in the direction of `sign` passes `reach`."""
    inner = inner.copy()
    for _ in range(60):
        middle = (inner + outer) / 2
        is_beyond = sign * distance(middle) > reach
        inner, outer = np.where(is_beyond, inner, middle), np.where(is_beyond, middle, outer)
    return (inner + outer) / 2
