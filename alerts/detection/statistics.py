"""The statistics of the alerts: what a series' day was expected to be, and how surprising the day is. Arrays only.

Every function works on parallel series: arrays of shape (series, days). The methods, with sources, are described in
`docs/alerts.md`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from alerts.detection.scales import TINY, Bools, Floats, Scale

HALF_LIFE_DAYS = 21.0
SCALE_HALF_LIFE = 42.0
HUBER = 1.345  # 95 % efficient where the noise is normal
WINSOR = 3.0
ITERATIONS = 4
FEWEST_DAYS = 10  # for a variance between days that means something
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

    def take(self, rows: NDArray[np.int64]) -> Baseline:
        """The baselines of some series."""
        return Baseline(**{each.name: getattr(self, each.name)[rows] for each in fields(self)})

    @classmethod
    def join(cls, parts: list[Baseline]) -> Baseline:
        """Several baselines one after the other."""
        return cls(**{each.name: np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)})


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
    level = _median(scale.start(y, n), usable)[:, None]
    effects = np.zeros((len(y), 7))
    floor = scale.smallest_daily_variance
    daily = np.zeros((len(y), 1))
    share = inside * np.exp2(-age / SCALE_HALF_LIFE)
    effective = np.square(share.sum(axis=1)) / np.maximum(np.square(share).sum(axis=1), TINY)
    relative = scale.relative_variance(n, typical_n[:, None])
    for iteration in range(ITERATIONS):
        weekly = effects @ is_weekday.T
        x, known = scale.working_values(y, n, level + weekly)
        if iteration == 0:
            spread = _MAD_TO_SD * _median(np.abs(x - level), usable)
            daily = np.maximum(floor, np.square(spread) - _median(known, usable))[:, None]
        variance = np.maximum(known + relative * daily, TINY)
        distance = np.abs(x - level - weekly) / np.sqrt(variance)
        weight = inside / variance * np.minimum(1.0, HUBER / np.maximum(distance, HUBER))
        level = (((x - weekly) * weight) @ decay / np.maximum(weight @ decay, TINY))[:, None]

        weekdays = _fit_weekdays(x - level, weight, is_weekday)
        effects = weekdays.effects
        standard = (x - level - effects @ is_weekday.T) / np.sqrt(variance)
        cap = WINSOR * _MAD_TO_SD * _median(np.abs(standard), usable)[:, None]
        squared = np.square(np.clip(standard, -cap, cap)) * variance
        degrees = np.maximum(effective - 1.0 - weekdays.shrinkage.sum(axis=1) * 6 / 7, 1.0)
        correction = (np.maximum(effective, 1.0) / degrees)[:, None]
        pull = share / variance
        moment = (pull * (squared * correction - known)).sum(axis=1) / np.maximum((pull * relative).sum(axis=1), TINY)
        daily = np.maximum(floor, moment)[:, None]
    precise = inside / np.maximum(known + relative * daily, TINY)
    level_variance = (precise * np.square(decay)).sum(axis=1) / np.maximum(np.square(precise @ decay), TINY)
    return Baseline(
        mean=level[:, 0] + effects[:, target_weekday],
        daily_variance=daily[:, 0],
        mean_variance=level_variance + weekdays.variance[:, target_weekday],
        degrees=degrees,
        days=days,
        typical_n=typical_n,
    )


@dataclass(frozen=True)
class _Weekdays:
    """Effects of the weekdays (series, 7), how far each was believed (1: wholly), and their variance."""

    effects: Floats
    shrinkage: Floats
    variance: Floats


def _fit_weekdays(x: Floats, weight: Floats, is_weekday: Floats) -> _Weekdays:
    precision = weight @ is_weekday
    seen = precision > 0
    noise = 1.0 / np.maximum(precision, TINY)
    raw = (x * weight) @ is_weekday * noise
    raw -= ((raw * precision).sum(axis=1) / np.maximum(precision.sum(axis=1), TINY))[:, None]
    free = np.maximum(seen.sum(axis=1) - 1, 1)
    between = np.maximum(0.0, (np.where(seen, np.square(raw) - noise, 0.0)).sum(axis=1) / free)[:, None]
    shrinkage = np.where(seen, between / np.maximum(between + noise, TINY), 0.0)
    return _Weekdays(
        effects=np.where(seen, raw * shrinkage, 0.0),
        shrinkage=shrinkage,
        variance=np.where(seen, shrinkage * noise, between),
    )


def score_day(scale: Scale, y: Floats, n: Floats, baseline: Baseline) -> Floats:
    """How surprising a day is: a z-score per series, positive when the day lies above its expectation.

    The signed root of the deviance (for log means the plain distance) in units of its standard deviation, which
    holds sampling, the variance between days and the uncertainty of the expectation; then from Student's t to the
    normal score of the same probability, because that standard deviation is itself an estimate. NaN without a value.
    """
    spread = _spread(scale, n, baseline)
    return to_normal(scale.distance(y, n, baseline.mean) / spread, baseline.degrees)


def find_band(scale: Scale, n: Floats, baseline: Baseline, limit: Floats) -> tuple[Floats, Floats]:
    """The values, on the KPI's own scale, at which `score_day` reaches -limit and +limit; (series,) each."""
    reach = to_student(limit, baseline.degrees) * _spread(scale, n, baseline)
    return scale.find_band(n, baseline.mean, reach)


def score_against(scale: Scale, y: Floats, n: Floats, bound: float, baseline: Baseline) -> Floats:
    """How far a day lies beyond a fixed bound (KPI's own scale), by sampling and day-to-day noise alone; a z-score.

    Where the past is too short to know the latter, by sampling alone.
    """
    fixed = Baseline(
        mean=scale.to_mean(np.full(len(y), bound, dtype=float)),
        daily_variance=np.where(baseline.days >= FEWEST_DAYS, baseline.daily_variance, 0.0),
        mean_variance=np.zeros(len(y)),
        degrees=np.where(baseline.days >= FEWEST_DAYS, baseline.degrees, 1e9),
        days=baseline.days,
        typical_n=baseline.typical_n,
    )
    return score_day(scale, y, n, fixed)


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


def _spread(scale: Scale, n: Floats, baseline: Baseline) -> Floats:
    extra = baseline.daily_variance * scale.relative_variance(n, baseline.typical_n) + baseline.mean_variance
    return scale.spread(n, baseline.mean, extra)


def _median(values: Floats, usable: Bools) -> Floats:
    """The median of the usable values of each series; 0 where there is none."""
    ordered = np.sort(np.where(usable, values, np.inf), axis=1)
    count = usable.sum(axis=1)
    rows = np.arange(len(values))
    low, high = np.maximum((count - 1) // 2, 0), np.minimum(count // 2, values.shape[1] - 1)
    middle = (ordered[rows, low] + ordered[rows, high]) / 2
    return np.where(count > 0, middle, 0.0)
