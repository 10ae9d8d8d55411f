"""Metrics of probabilities against outcomes, with bootstrap intervals by user."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

METRIC_NAMES = (
    "roc_auc",
    "average_precision",
    "brier",
    "brier_baseline",
    "log_loss",
    "lift_at_10_percent",
    "lift_at_20_percent",
    "calibration_error",
    "calibration_slope",
    "calibration_intercept",
    "base_rate",
)
N_RESAMPLES = 200
CALIBRATION_BINS = 10
TOP_SHARES = (0.1, 0.2)
RESAMPLES_AT_ONCE = 50  # bounds memory: users × this many weights
TOP_GROUPS = 1_024  # with more distinct scores than the two together, resamples see this many of the highest exactly …
LOWER_GROUPS = 3_072  # … and the others in this many equally filled groups
LINE_GROUPS = 256  # equally filled groups of scores for the calibration lines of resamples
GROUP_WIDTH = 0.1  # log-odds; no group is wider: near 0 and 1 equally filled ones would hold unlike scores
NEWTON_STEPS = 25
NEWTON_PRECISION = 1e-6  # log-odds; what a step this small leaves is about its square
SMALLEST_PROBABILITY = 1e-4  # beyond it logits would hang on single rows


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
    """The metrics of one set of rows; `values` and `resamples` (n_resamples, metrics) are what they were made from."""

    n: int
    positives: int
    users: int
    metrics: dict[str, Estimate]
    values: Floats = field(repr=False, compare=False)
    resamples: Floats = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "n": self.n,
            "positives": self.positives,
            "users": self.users,
            **{name: estimate.to_dict() for name, estimate in self.metrics.items()},
        }


def evaluate(
    labels: Flags,
    scores: Floats,
    users: npt.NDArray[np.int64],
    *,
    baseline: float,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Evaluation:
    """Evaluate probabilities `scores` (n,) in 0–1 against `labels` (n,), intervals resampling whole `users` (n,).

    ROC-AUC counts ties half; average precision is the step-wise sum over distinct scores; lifts are the share of
    positives among the top 10 and 20 % over the share overall, a tie across the cut counting pro rata;
    `calibration_error` is the mean absolute gap between predicted and observed over ten equally filled bins of the
    score (expected calibration error, Guo et al. 2017, with quantile bins); `calibration_slope` is the slope of a
    logistic regression of the label on the score's logit (1 is right, below 1 the scores are too extreme, Cox 1958),
    and `calibration_intercept` its intercept with the slope held at 1 (above 0 the scores are too low);
    `brier_baseline` is the Brier score of always predicting `baseline`, the base rate of the training days.
    Intervals are 95 % percentile intervals of `n_resamples` resamples of users with replacement (a user's rows always
    come together); for `calibration_error`, an absolute value that noise can only raise, they are moved down by the
    bootstrap's estimate of that bias. Raises `ValueError` for no rows, unequal lengths or scores outside 0–1.
    """
    if len(labels) == 0 or not len(labels) == len(scores) == len(users):
        raise ValueError(
            f"labels {len(labels)}, scores {len(scores)} and users {len(users)} must have the same length, > 0"
        )
    if not (np.isfinite(scores).all() and scores.min() >= 0 and scores.max() <= 1):
        raise ValueError("scores must be probabilities: finite and within 0–1")
    labels, scores = labels.astype(bool), scores.astype(np.float64)
    distinct, codes = np.unique(users, return_inverse=True)
    row_losses = _row_losses(labels, scores, baseline)
    everyone = np.zeros(len(labels), dtype=np.int64)
    exact = _Rows(labels, scores, everyone, 1, row_losses, compress=False)
    values = exact.compute(np.ones((1, 1)))[0]
    by_user = _Rows(labels, scores, codes, len(distinct), row_losses, compress=True)
    rng = np.random.default_rng(seed)
    parts = []
    for first in range(0, n_resamples, RESAMPLES_AT_ONCE):
        n_now = min(RESAMPLES_AT_ONCE, n_resamples - first)
        weights = np.empty((len(distinct), n_now))
        for column in range(n_now):
            drawn = rng.integers(0, len(distinct), len(distinct))
            weights[:, column] = np.bincount(drawn, minlength=len(distinct))
        parts.append(by_user.compute(weights))
    resamples = np.concatenate(parts)
    return Evaluation(
        n=len(labels),
        positives=int(labels.sum()),
        users=len(distinct),
        metrics={
            name: _interval(float(values[column]), resamples[:, column], unbias=name == "calibration_error")
            for column, name in enumerate(METRIC_NAMES)
        },
        values=values,
        resamples=resamples,
    )


def compare(one: Evaluation, other: Evaluation, names: Iterable[str] = METRIC_NAMES) -> dict[str, Estimate]:
    """`one` minus `other` with paired intervals: both must be of the same rows, with the same seed and resamples.

    Raises `ValueError` where they can't be of the same rows.
    """
    same = (one.n, one.positives, one.users, one.resamples.shape) == (
        other.n,
        other.positives,
        other.users,
        other.resamples.shape,
    )
    if not same:
        raise ValueError("only evaluations of the same rows with the same resamples can be compared")
    difference, resampled = one.values - other.values, one.resamples - other.resamples
    return {
        name: _interval(float(difference[column]), resampled[:, column], unbias=False)
        for column, name in enumerate(METRIC_NAMES)
        if name in set(names)
    }


def to_logit(probabilities: Floats) -> Floats:
    """Log-odds of probabilities, which are first kept 1e-4 away from 0 and 1."""
    kept = np.clip(probabilities, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    logits: Floats = np.log(kept / (1 - kept))
    return logits


def from_logit(logits: Floats) -> Floats:
    """Probabilities of log-odds."""
    probabilities: Floats = 0.5 * (1 + np.tanh(logits / 2))
    return probabilities


def row_log_losses(labels: Flags, probabilities: Floats) -> Floats:
    """Log-loss of each row (n,)."""
    clipped = np.clip(probabilities, 1e-15, 1 - 1e-15)
    losses: Floats = -np.where(labels, np.log(clipped), np.log1p(-clipped))
    return losses


def wilson_interval(successes: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927); (0, 1) where n is 0."""
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def fit_logistic_line(
    logits: Floats, positives: Floats, totals: Floats, *, steps: int = NEWTON_STEPS
) -> tuple[Floats, Floats]:
    """Intercepts and slopes (R,) of logistic regressions of the label on a logit, by Newton's method.

    `logits` (G,) are the groups' log-odds, `positives` and `totals` (G, R) their weights in each of R data sets. NaN
    where it is not defined: one class only, one logit only, or classes that the logit separates.
    """
    x = logits[:, None]
    n = totals.sum(axis=0)
    with np.errstate(all="ignore"):
        centre = (totals * x).sum(axis=0) / n
        x = x - centre
        rate = positives.sum(axis=0) / n
        intercept, slope = np.log(rate / (1 - rate)), np.zeros_like(n)
        eta = np.broadcast_to(intercept, totals.shape)
        fit = (positives * eta - totals * np.logaddexp(0, eta)).sum(axis=0)
        damping = np.ones_like(n)  # Newton's full step can overshoot in saturated scores: then half of it is tried
        for _ in range(steps):
            mu = from_logit(eta)
            residual, weight = positives - totals * mu, totals * mu * (1 - mu)
            g0, g1 = residual.sum(axis=0), (residual * x).sum(axis=0)
            h00, h01, h11 = weight.sum(axis=0), (weight * x).sum(axis=0), (weight * x * x).sum(axis=0)
            determinant = h00 * h11 - h01 * h01
            next_intercept = intercept + damping * (h11 * g0 - h01 * g1) / determinant
            next_slope = slope + damping * (h00 * g1 - h01 * g0) / determinant
            next_eta = next_intercept + next_slope * x
            next_fit = (positives * next_eta - totals * np.logaddexp(0, next_eta)).sum(axis=0)
            better = next_fit >= fit - 1e-12 * np.abs(fit)
            intercept, slope = np.where(better, next_intercept, intercept), np.where(better, next_slope, slope)
            moved = np.abs(np.where(better, next_eta - eta, 0)).max(axis=0)
            fit, eta = np.where(better, next_fit, fit), np.where(better, next_eta, eta)
            is_done = better & (damping == 1) & (moved < NEWTON_PRECISION)
            damping = np.where(better, np.minimum(1, 2 * damping), damping / 4)
            if (is_done | ~np.isfinite(next_fit)).all():
                break
        converged = (np.abs(g0) + np.abs(g1) < 1e-3 * n) & np.isfinite(slope) & (determinant > 1e-12 * n)
    return np.where(converged, intercept - slope * centre, np.nan), np.where(converged, slope, np.nan)


def solve_shift(logits: Floats, positives: Floats, totals: Floats, *, steps: int = NEWTON_STEPS) -> Floats:
    """The shift (R,) of all logits with which their mean prediction equals the observed rate, by Newton's method.

    Shapes as in `fit_logistic_line`; NaN with one class only. This is logistic regression with an offset and no slope
    (King & Zeng 2001, prior correction; Steyerberg et al. 2004, updating the intercept).
    """
    x, n, wanted = logits[:, None], totals.sum(axis=0), positives.sum(axis=0)
    shift = np.zeros_like(n, dtype=np.float64)
    with np.errstate(all="ignore"):
        for _ in range(steps):
            mu = from_logit(x + shift)
            step = (wanted - (totals * mu).sum(axis=0)) / (totals * mu * (1 - mu)).sum(axis=0)
            shift = shift + np.clip(step, -2, 2)
            if not (np.abs(step) >= NEWTON_PRECISION).any():
                break
    return np.where((wanted > 0) & (wanted < n), shift, np.nan)


def _row_losses(labels: Flags, scores: Floats, baseline: float) -> Floats:
    """Squared error, squared error of the baseline, log-loss of each row: (n, 3)."""
    return np.column_stack([(scores - labels) ** 2, (baseline - labels) ** 2, row_log_losses(labels, scores)])


class _Rows:
    """Rows summed by score group and user, so that metrics of any user weights are a few matrix products."""

    def __init__(
        self,
        labels: Flags,
        scores: Floats,
        users: npt.NDArray[np.int64],
        n_users: int,
        row_losses: Floats,
        *,
        compress: bool,
    ) -> None:
        groups, n_groups = _group_scores(scores, compress=compress)
        n = len(labels)
        sizes = np.bincount(groups, minlength=n_groups)
        self.scores = np.bincount(groups, weights=scores, minlength=n_groups) / sizes
        logits = np.bincount(groups, weights=to_logit(scores), minlength=n_groups) / sizes
        self.totals = csr_matrix((np.ones(n), (groups, users)), shape=(n_groups, n_users))
        at = labels.nonzero()[0]
        self.positives = csr_matrix((np.ones(len(at)), (groups[at], users[at])), shape=(n_groups, n_users))
        self.losses = np.stack([np.bincount(users, weights=column, minlength=n_users) for column in row_losses.T])
        edges = np.quantile(scores, np.arange(1, CALIBRATION_BINS) / CALIBRATION_BINS)
        bins = np.searchsorted(edges, self.scores, side="right")
        merged, n_merged = np.arange(n_groups), n_groups
        if compress:
            merged, n_merged = _merge_groups(sizes, logits, LINE_GROUPS)
        self.line_logits = np.bincount(merged, weights=sizes * logits) / np.bincount(merged, weights=sizes)
        self.in_line = csr_matrix((np.ones(n_groups), (merged, np.arange(n_groups))), shape=(n_merged, n_groups))
        self.in_bin = csr_matrix((np.ones(n_groups), (bins, np.arange(n_groups))), shape=(CALIBRATION_BINS, n_groups))

    def compute(self, weights: Floats) -> Floats:
        """Metrics (R, metrics) in the order of `METRIC_NAMES` for user weights (users, R); NaN where undefined."""
        positives, totals = self.positives @ weights, self.totals @ weights  # (groups, R), best score first
        above_positives, above_totals = np.cumsum(positives, axis=0), np.cumsum(totals, axis=0)
        all_positives, n = above_positives[-1], above_totals[-1]
        negatives = n - all_positives
        losses = self.losses @ weights
        residuals = self.in_bin @ (positives - self.scores[:, None] * totals)
        with np.errstate(all="ignore"):
            wins = ((totals - positives) * (above_positives - positives / 2)).sum(axis=0)
            auc = np.where(negatives > 0, wins / (all_positives * negatives), np.nan)
            precision = np.divide(above_positives, above_totals, out=np.zeros_like(totals), where=above_totals > 0)
            average_precision = (positives * precision).sum(axis=0) / all_positives
            lifts = [_lift(share, positives, totals, above_positives, above_totals) for share in TOP_SHARES]
            line = self.line_logits, self.in_line @ positives, self.in_line @ totals
            _, slope = fit_logistic_line(*line)
            shift = solve_shift(*line)
            values = np.stack(
                [
                    auc,
                    average_precision,
                    *(losses / n),
                    *lifts,
                    np.abs(residuals).sum(axis=0) / n,
                    slope,
                    shift,
                    all_positives / n,
                ],
                axis=1,
            )
        return np.where(np.isfinite(values), values, np.nan)


def _group_scores(scores: Floats, *, compress: bool) -> tuple[npt.NDArray[np.int64], int]:
    """The group (n,) of each row, 0 for the highest score, and how many there are; equal scores share a group."""
    distinct, groups, sizes = np.unique(-scores, return_inverse=True, return_counts=True)
    n_groups = len(distinct)
    if compress and n_groups > TOP_GROUPS + LOWER_GROUPS:
        lower, n_lower = _merge_groups(sizes[TOP_GROUPS:], to_logit(-distinct[TOP_GROUPS:]), LOWER_GROUPS)
        groups = np.r_[np.arange(TOP_GROUPS), TOP_GROUPS + lower][groups]
        n_groups = TOP_GROUPS + n_lower
    return groups, n_groups


def _merge_groups(sizes: npt.NDArray[np.int64], logits: Floats, n_wanted: int) -> tuple[npt.NDArray[np.int64], int]:
    """Neighbouring groups, in order of their `logits`, put together into `n_wanted` of about equally many rows.

    They become more where one would be wider than `GROUP_WIDTH`.
    """
    middle = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    by_size, by_width = np.floor(middle * n_wanted), np.floor(logits / GROUP_WIDTH)
    merged = np.r_[0, np.cumsum((np.diff(by_size) != 0) | (np.diff(by_width) != 0))]
    return merged, int(merged[-1]) + 1


def _lift(share: float, positives: Floats, totals: Floats, above_positives: Floats, above_totals: Floats) -> Floats:
    target = share * above_totals[-1]
    group = (above_totals >= target).argmax(axis=0)[None, :]
    in_group = np.take_along_axis(totals, group, axis=0)[0]
    before = np.take_along_axis(above_totals, group, axis=0)[0] - in_group
    part = (target - before) / in_group
    captured = np.take_along_axis(above_positives, group, axis=0)[0] - np.take_along_axis(positives, group, axis=0)[
        0
    ] * (1 - part)
    lift: Floats = (captured / target) / (above_positives[-1] / above_totals[-1])
    return lift


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


def show_estimate(estimate: dict[str, Any], sign: str = "") -> str:
    """A value with its interval, as far as there are both."""
    if estimate["value"] is None:
        return "–"
    interval = "" if estimate["low"] is None else f" [{estimate['low']:{sign}.3f}, {estimate['high']:{sign}.3f}]"
    return f"{estimate['value']:{sign}.3f}{interval}"
