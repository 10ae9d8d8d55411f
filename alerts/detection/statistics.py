"""The statistics of the alerts: what a series' day was expected to be, and how surprising the day is. Arrays only.

Every function works on parallel series: arrays of shape (series, days). The methods, with sources, are described in
`docs/alerts.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, xlogy
from scipy.stats import norm

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
# rate: y of n; count: totals with Poisson noise (sessions); amount: totals without a known noise (revenue);
# log_mean: means of logarithms over n sessions.
Scale = Literal["rate", "count", "amount", "log_mean"]

HALF_LIFE_DAYS = 21.0
SCALE_HALF_LIFE = 42.0
HUBER = 1.345  # 95 % efficient where the noise is normal
WINSOR = 3.0
ITERATIONS = 4
FEWEST_DAYS = 10  # for a variance between days that means something
# No KPI is steadier than this from day to day (on the log scale, 1 %): keeps a constant past from making z infinite.
SMALLEST_DAILY_VARIANCE = 0.01**2
_TINY = 1e-12
_MAD_TO_SD = 1.4826


@dataclass(frozen=True)
class Baseline:
    """What the past says about one day, per series; `mean` on the link scale (logit, log, or the mean log itself).

    `daily_variance` is the variance between days beyond sampling, `mean_variance` that of the expectation itself.
    """

    mean: Floats
    daily_variance: Floats
    mean_variance: Floats
    degrees: Floats
    days: Floats
    typical_n: Floats


def fit_baseline(
    scale: Scale, y: Floats, n: Floats, usable: Bools, weekday: NDArray[np.int64], target_weekday: int, age: Floats
) -> Baseline:
    """Fit level + weekday to the usable days of a window and say what the target weekday is expected to be.

    `y` and `n` are (series, days), `weekday` (0-6) and `age` (days before the target) are (days,). A robust,
    overdispersed regression: iteratively reweighted least squares on the link scale with Huber weights; the level is
    local (weights halve every 21 days); the weekday effects are shrunk by how much they differ beyond chance
    (empirical Bayes); the variance between days is a winsorised moment estimate beside the known sampling variance.
    """
    decay = np.exp2(-age / HALF_LIFE_DAYS)
    is_weekday = (weekday[:, None] == np.arange(7)).astype(float)
    inside = usable.astype(float)
    days = inside.sum(axis=1)
    y, n = np.where(usable, y, 0.0), np.where(usable, n, 0.0)
    typical_n = _median(n, usable)
    level = _median(_start(scale, y, n), usable)[:, None]
    effects = np.zeros((len(y), 7))
    floor = 0.0 if scale in ("rate", "count") else SMALLEST_DAILY_VARIANCE
    daily = np.zeros((len(y), 1))
    share = inside * np.exp2(-age / SCALE_HALF_LIFE)
    effective = np.square(share.sum(axis=1)) / np.maximum(np.square(share).sum(axis=1), _TINY)
    relative = _relative_variance(scale, n, typical_n[:, None])
    for iteration in range(ITERATIONS):
        weekly = effects @ is_weekday.T
        x, known = _working_values(scale, y, n, level + weekly)
        if iteration == 0:
            spread = _MAD_TO_SD * _median(np.abs(x - level), usable)
            daily = np.maximum(floor, np.square(spread) - _median(known, usable))[:, None]
        variance = np.maximum(known + relative * daily, _TINY)
        distance = np.abs(x - level - weekly) / np.sqrt(variance)
        weight = inside / variance * np.minimum(1.0, HUBER / np.maximum(distance, HUBER))
        level = (((x - weekly) * weight) @ decay / np.maximum(weight @ decay, _TINY))[:, None]

        precision = weight @ is_weekday
        seen = precision > 0
        noise = 1.0 / np.maximum(precision, _TINY)
        raw = ((x - level) * weight) @ is_weekday * noise
        raw -= ((raw * precision).sum(axis=1) / np.maximum(precision.sum(axis=1), _TINY))[:, None]
        free = np.maximum(seen.sum(axis=1) - 1, 1)
        between = np.maximum(0.0, (np.where(seen, np.square(raw) - noise, 0.0)).sum(axis=1) / free)[:, None]
        shrinkage = np.where(seen, between / np.maximum(between + noise, _TINY), 0.0)
        effects = np.where(seen, raw * shrinkage, 0.0)

        residual = x - level - effects @ is_weekday.T
        standard = residual / np.sqrt(variance)
        cap = WINSOR * _MAD_TO_SD * _median(np.abs(standard), usable)[:, None]
        squared = np.square(np.clip(standard, -cap, cap)) * variance
        degrees = np.maximum(effective - 1.0 - shrinkage.sum(axis=1) * 6 / 7, 1.0)
        correction = (np.maximum(effective, 1.0) / degrees)[:, None]
        pull = share / variance
        moment = (pull * (squared * correction - known)).sum(axis=1) / np.maximum((pull * relative).sum(axis=1), _TINY)
        daily = np.maximum(floor, moment)[:, None]
    precise = inside / np.maximum(known + relative * daily, _TINY)
    level_variance = (precise * np.square(decay)).sum(axis=1) / np.maximum(np.square(precise @ decay), _TINY)
    own = (slice(None), target_weekday)
    effect_variance = np.where(seen[own], shrinkage[own] * noise[own], between[:, 0])
    return Baseline(
        mean=level[:, 0] + effects[own],
        daily_variance=daily[:, 0],
        mean_variance=level_variance + effect_variance,
        degrees=degrees,
        days=days,
        typical_n=typical_n,
    )


def score_day(scale: Scale, y: Floats, n: Floats, baseline: Baseline) -> Floats:
    """How surprising a day is: a z-score per series, positive when the day lies above its expectation.

    The signed root of the deviance (for log means the plain distance) in units of its standard deviation, which
    holds sampling, the variance between days and the uncertainty of the expectation; then from Student's t to the
    normal score of the same probability, because that standard deviation is itself an estimate. NaN without a value.
    """
    spread = _spread(scale, n, baseline)
    return to_normal(find_distance(scale, y, n, baseline.mean) / spread, baseline.degrees)


def find_band(scale: Scale, n: Floats, baseline: Baseline, limit: Floats) -> tuple[Floats, Floats]:
    """The values, on the KPI's own scale, at which `score_day` reaches -limit and +limit; (series,) each."""
    reach = to_student(limit, baseline.degrees) * _spread(scale, n, baseline)
    if scale == "log_mean":
        return baseline.mean - reach, baseline.mean + reach
    centre = to_value(scale, baseline.mean)
    edges = []
    for sign in (-1.0, 1.0):
        inner = centre.copy()
        # Far enough outside for any limit in use: the deviance grows without bound in y.
        outer = np.full_like(centre, 0.0 if sign < 0 else 1.0)
        if scale != "rate" and sign > 0:
            outer = centre * (2.0 + np.square(reach) / np.maximum(centre, _TINY)) + 1.0
        for _ in range(60):
            middle = (inner + outer) / 2
            beyond = sign * find_distance(scale, middle * (n if scale == "rate" else 1.0), n, baseline.mean) > reach
            inner, outer = np.where(beyond, inner, middle), np.where(beyond, middle, outer)
        edges.append((inner + outer) / 2)
    return edges[0], edges[1]


def score_against(scale: Scale, y: Floats, n: Floats, bound: float, baseline: Baseline) -> Floats:
    """How far a day lies beyond a fixed bound (KPI's own scale), by sampling and day-to-day noise alone; a z-score.

    Where the past is too short to know the latter, by sampling alone.
    """
    value = np.full(len(y), bound, dtype=float)
    mean = logit(value) if scale == "rate" else value if scale == "log_mean" else np.log(np.maximum(value, _TINY))
    if scale == "rate":
        mean = np.clip(mean, -16.0, 16.0)
    fixed = Baseline(
        mean=mean,
        daily_variance=np.where(baseline.days >= FEWEST_DAYS, baseline.daily_variance, 0.0),
        mean_variance=np.zeros(len(y)),
        degrees=np.where(baseline.days >= FEWEST_DAYS, baseline.degrees, 1e9),
        days=baseline.days,
        typical_n=baseline.typical_n,
    )
    return score_day(scale, y, n, fixed)


def to_value(scale: Scale, mean: Floats) -> Floats:
    """From the link scale to the KPI's own (mean logs stay mean logs)."""
    if scale == "rate":
        return np.asarray(expit(mean), dtype=float)
    return mean if scale == "log_mean" else np.exp(mean)


def to_normal(t: Floats, degrees: Floats) -> Floats:
    """The normal score with the tail probability of Student's t, by Wallace (1959); exact to 0.04."""
    factor = (8 * degrees + 1) / (8 * degrees + 3)
    return np.sign(t) * factor * np.sqrt(degrees * np.log1p(np.square(t) / degrees))


def to_student(z: Floats, degrees: Floats) -> Floats:
    """The inverse of `to_normal`."""
    factor = (8 * degrees + 1) / (8 * degrees + 3)
    return np.sign(z) * np.sqrt(degrees * np.expm1(np.minimum(np.square(z / factor) / degrees, 500.0)))


def correct_for_many(p_values: Floats) -> Floats:
    """Adjusted p-values after Holm (1979): below alpha, the family-wise error is at most alpha. Shape as given."""
    order = np.argsort(p_values)
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(steps)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def raise_limit(limit: float, tests: Floats, *, days: int = 1) -> Floats:
    """The limit that keeps `tests` series together as quiet as one of them alone.

    Bonferroni's bound, for a rule that needs `days` days beyond the limit: their probabilities multiply, so each may
    take the `days`-th root of the family's share.
    """
    return np.asarray(norm.isf(norm.sf(limit) / np.power(np.maximum(tests, 1.0), 1.0 / days)), dtype=float)


def _start(scale: Scale, y: Floats, n: Floats) -> Floats:
    if scale == "rate":
        return np.asarray(logit((y + 0.5) / (n + 1.0)), dtype=float)
    return y if scale == "log_mean" else np.log(np.maximum(y, 0.5 if scale == "count" else 1e-2))


def _working_values(scale: Scale, y: Floats, n: Floats, eta: Floats) -> tuple[Floats, Floats]:
    """The values of a generalised linear model's least-squares step, and their known sampling variance."""
    if scale == "log_mean":
        return y, np.zeros_like(y)
    if scale == "rate":
        p = expit(eta)
        slope = np.maximum(p * (1 - p), 1e-6)
        size = np.maximum(n, _TINY)
        return eta + (y / size - p) / slope, 1.0 / (size * slope)
    mu = np.exp(np.clip(eta, -20.0, 40.0))
    known = 1.0 / mu if scale == "count" else np.zeros_like(mu)
    # A step of at most a factor of e^3: a series of zeros and one large day would overflow otherwise.
    return eta + np.minimum((y - mu) / mu, 3.0), known


def _relative_variance(scale: Scale, n: Floats, typical_n: Floats) -> Floats:
    # The sampling part of a mean's variance is not known apart, so a day of few sessions is taken as all sampling.
    if scale != "log_mean":
        return np.ones_like(n)
    return np.maximum(1.0, typical_n / np.maximum(n, 1.0))


def _spread(scale: Scale, n: Floats, baseline: Baseline) -> Floats:
    """The standard deviation of `find_distance` when nothing happened."""
    extra = baseline.daily_variance * _relative_variance(scale, n, baseline.typical_n) + baseline.mean_variance
    if scale == "log_mean":
        return np.sqrt(np.maximum(extra, _TINY))
    if scale == "rate":
        p = expit(baseline.mean)
        return np.sqrt(1.0 + n * p * (1 - p) * extra)
    mu = np.exp(baseline.mean)
    return np.sqrt(np.maximum((1.0 if scale == "count" else 0.0) + mu * extra, _TINY))


def find_distance(scale: Scale, y: Floats, n: Floats, mean: Floats) -> Floats:
    """The signed root of the deviance of `y` (of `n`) from `mean` on the link scale; the difference for log means."""
    if scale == "log_mean":
        return y - mean
    with np.errstate(divide="ignore", invalid="ignore"):
        if scale == "rate":
            p = expit(mean)
            deviance = xlogy(y, y / (n * p)) + xlogy(n - y, (n - y) / (n * (1 - p)))
            sign = np.sign(y - n * p)
        else:
            mu = np.exp(mean)
            deviance = xlogy(y, y / mu) - (y - mu)
            sign = np.sign(y - mu)
    return np.asarray(sign * np.sqrt(np.maximum(2.0 * deviance, 0.0)), dtype=float)


def _median(values: Floats, usable: Bools) -> Floats:
    """The median of the usable values of each series; 0 where there is none."""
    ordered = np.sort(np.where(usable, values, np.inf), axis=1)
    count = usable.sum(axis=1)
    rows = np.arange(len(values))
    low, high = np.maximum((count - 1) // 2, 0), np.minimum(count // 2, values.shape[1] - 1)
    middle = (ordered[rows, low] + ordered[rows, high]) / 2
    return np.where(count > 0, middle, 0.0)
