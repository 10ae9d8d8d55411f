"""Metrics of probabilities against outcomes, with bootstrap intervals by user."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

METRIC_NAMES = (
    "roc_auc",
    "average_precision",
    "brier",
    "brier_baseline",
    "log_loss",
    "lift_at_10_percent",
    "calibration_error",
    "base_rate",
)
N_RESAMPLES = 200
CALIBRATION_BINS = 10
TOP_SHARE = 0.1


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; None where it is not defined (no positives, too few valid resamples)."""

    value: float | None
    low: float | None
    high: float | None

    def to_dict(self) -> dict[str, float | None]:
        """JSON-able form, six decimals."""
        return {
            key: None if value is None else round(value, 6)
            for key, value in (("value", self.value), ("low", self.low), ("high", self.high))
        }


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one set of rows."""

    n: int
    positives: int
    users: int
    metrics: dict[str, Estimate]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "n": self.n,
            "positives": self.positives,
            "users": self.users,
            **{name: estimate.to_dict() for name, estimate in self.metrics.items()},
        }


class _WeightedMetrics:
    """Everything that does not change between resamples: one sort, tie groups, per-row losses."""

    def __init__(self, labels: npt.NDArray[np.bool_], scores: Floats, baseline: float) -> None:
        order = np.argsort(-scores, kind="stable")
        self.order = order
        self.labels = labels[order].astype(np.float64)
        self.scores = scores[order]
        self.starts = np.flatnonzero(np.r_[True, np.diff(self.scores) != 0])
        clipped = np.clip(self.scores, 1e-15, 1 - 1e-15)
        self.square_errors = (self.scores - self.labels) ** 2
        self.baseline_errors = (baseline - self.labels) ** 2
        self.log_losses = -np.where(self.labels > 0, np.log(clipped), np.log1p(-clipped))
        edges = np.quantile(self.scores, np.arange(1, CALIBRATION_BINS) / CALIBRATION_BINS)
        self.bins = np.searchsorted(edges, self.scores, side="right")

    def compute(self, weights: Floats) -> Floats:
        """Metrics in the order of `METRIC_NAMES` for row weights (n,) in sorted order; NaN where undefined."""
        total = weights.sum()
        positive_weights = weights * self.labels
        positives = positive_weights.sum()
        if total == 0:
            return np.full(len(METRIC_NAMES), np.nan)
        group_positives = np.add.reduceat(positive_weights, self.starts)
        group_totals = np.add.reduceat(weights, self.starts)
        above_positives = np.cumsum(group_positives)  # up to and including the group, from the highest score down
        above_totals = np.cumsum(group_totals)
        residuals = np.bincount(self.bins, weights=weights * (self.labels - self.scores), minlength=CALIBRATION_BINS)
        auc = average_precision = lift = math.nan
        if positives > 0:
            precision = np.divide(
                above_positives, above_totals, out=np.zeros_like(above_totals), where=above_totals > 0
            )
            average_precision = float((group_positives * precision).sum() / positives)
            lift = self._lift(group_positives, group_totals, above_positives, above_totals)
            if positives < total:
                wins = ((group_totals - group_positives) * (above_positives - group_positives / 2)).sum()
                auc = float(wins / (positives * (total - positives)))
        return np.array(
            [
                auc,
                average_precision,
                (weights * self.square_errors).sum() / total,
                (weights * self.baseline_errors).sum() / total,
                (weights * self.log_losses).sum() / total,
                lift,
                np.abs(residuals).sum() / total,
                positives / total,
            ]
        )

    @staticmethod
    def _lift(group_positives: Floats, group_totals: Floats, above_positives: Floats, above_totals: Floats) -> float:
        """Share of positives among the top 10 % over the share overall; a tie across the cut counts pro rata."""
        target = TOP_SHARE * above_totals[-1]
        group = int(np.searchsorted(above_totals, target, side="left"))
        before = above_totals[group] - group_totals[group]
        part = (target - before) / group_totals[group]
        captured = above_positives[group] - group_positives[group] * (1 - part)
        return float((captured / target) / (above_positives[-1] / above_totals[-1]))


def evaluate(
    labels: npt.NDArray[np.bool_],
    scores: Floats,
    users: npt.NDArray[np.int64],
    *,
    baseline: float,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Evaluation:
    """Evaluate probabilities `scores` (n,) in 0–1 against `labels` (n,), intervals resampling whole `users` (n,).

    ROC-AUC counts ties half; average precision is the step-wise sum over distinct scores; lift is at the top 10 %;
    `calibration_error` is the mean absolute gap between predicted and observed over ten equally filled bins of the
    score (expected calibration error, Guo et al. 2017, with quantile bins); `brier_baseline` is the Brier score of
    always predicting `baseline`, the base rate of the training days. Intervals are 95 % percentile intervals of
    `n_resamples` resamples of users with replacement (a user's rows always come together); for `calibration_error`,
    an absolute value that noise can only raise, they are moved down by the bootstrap's estimate of that bias.
    Raises `ValueError` for no rows, unequal lengths or scores outside 0–1.
    """
    if len(labels) == 0 or not len(labels) == len(scores) == len(users):
        raise ValueError(f"labels {len(labels)}, scores {len(scores)} and users {len(users)} must be equally many, > 0")
    if not (np.isfinite(scores).all() and scores.min() >= 0 and scores.max() <= 1):
        raise ValueError("scores must be probabilities: finite and within 0–1")
    prepared = _WeightedMetrics(labels.astype(bool), scores.astype(np.float64), baseline)
    values = prepared.compute(np.ones(len(labels)))
    distinct, codes = np.unique(users, return_inverse=True)
    codes = codes[prepared.order]
    rng = np.random.default_rng(seed)
    resamples = np.empty((n_resamples, len(METRIC_NAMES)))
    for row in range(n_resamples):
        drawn = np.bincount(rng.integers(0, len(distinct), len(distinct)), minlength=len(distinct))
        resamples[row] = prepared.compute(drawn[codes].astype(np.float64))
    return Evaluation(
        n=len(labels),
        positives=int(labels.sum()),
        users=len(distinct),
        metrics={
            name: _interval(float(values[column]), resamples[:, column], unbias=name == "calibration_error")
            for column, name in enumerate(METRIC_NAMES)
        },
    )


def _interval(value: float, resampled: Floats, *, unbias: bool) -> Estimate:
    valid = resampled[np.isfinite(resampled)]
    point = None if math.isnan(value) else value
    # With half of the resamples undefined, an interval over the rest would pretend to know something.
    if point is None or len(valid) <= len(resampled) / 2:
        return Estimate(point, None, None)
    low, high = np.quantile(valid, [0.025, 0.975])
    if unbias:
        bias = valid.mean() - value
        low, high = max(0.0, low - bias), max(0.0, high - bias)
    return Estimate(point, float(low), float(high))


def wilson_interval(successes: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927); (0, 1) where n is 0."""
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)
