"""The statistics: numbers that can be checked by hand, laws that hold for any numbers, and calibration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, t

from alerts.detection.scales import Amount, Count, LogMean, Rate, Scale
from alerts.detection.statistics import (
    Baseline,
    correct_for_many,
    find_band,
    fit_baseline,
    raise_limit,
    score_against,
    score_day,
    to_normal,
    to_student,
)

WINDOW = 84
RATE, COUNT, AMOUNT, LOG_MEAN = Rate(), Count(), Amount(), LogMean(of_one_plus=True)
AGE = np.arange(WINDOW, 0, -1, dtype=float)
WEEKDAY = np.arange(WINDOW) % 7


def fit(scale: Scale, y: np.ndarray, n: np.ndarray, *, usable: np.ndarray | None = None, target: int = 0) -> Baseline:
    y, n = np.atleast_2d(y).astype(float), np.atleast_2d(n).astype(float)
    mask = np.ones(y.shape, dtype=bool) if usable is None else np.atleast_2d(usable)
    return fit_baseline(scale, y, n, mask, WEEKDAY, target, AGE)


def constant(scale: Scale, mean: float, *, daily: float = 0.0, degrees: float = 1e9) -> Baseline:
    one = np.ones(1)
    return Baseline(one * mean, one * daily, one * 0.0, one * degrees, one * 84, one * 100)


def test_the_distance_of_a_rate_is_the_signed_root_of_its_deviance() -> None:
    # 2 (60 ln(60 / 50) + 40 ln(40 / 50)) = 4.0271
    assert RATE.distance(np.array([60.0]), np.array([100.0]), np.zeros(1))[0] == pytest.approx(2.0068, abs=1e-4)
    assert RATE.distance(np.array([40.0]), np.array([100.0]), np.zeros(1))[0] == pytest.approx(-2.0068, abs=1e-4)
    # Nothing of 10 where half was expected: 2 x 10 ln 2 = 13.86
    assert RATE.distance(np.zeros(1), np.array([10.0]), np.zeros(1))[0] == pytest.approx(-3.7233, abs=1e-4)


def test_the_distance_of_a_count_gives_small_counts_their_true_tails() -> None:
    # Poisson(5): P(Y >= 14) = 0.0007, a normal score of 3.2; the plain (14 - 5) / sqrt(5) would say 4.0.
    distance = COUNT.distance(np.array([14.0]), np.ones(1), np.log([5.0]))[0]
    assert distance == pytest.approx(3.29, abs=0.01)
    # P(Y = 0) = 0.0067, a score of -2.47, where logarithms would say minus infinity.
    assert COUNT.distance(np.zeros(1), np.ones(1), np.log([5.0]))[0] == pytest.approx(-math.sqrt(10))


def test_overdispersion_widens_the_spread() -> None:
    y, n = np.array([770.0]), np.array([1_000.0])
    mean = math.log(0.7 / 0.3)
    alone = score_day(RATE, y, n, constant(RATE, mean))[0]
    # n p q = 210, so a standard deviation of 0.05 between days adds 210 x 0.0025 = 0.525 to the variance of 1.
    wide = score_day(RATE, y, n, constant(RATE, mean, daily=0.05**2))[0]
    assert wide == pytest.approx(alone / math.sqrt(1.525))


@pytest.mark.parametrize("degrees", [3.0, 10.0, 40.0, 1000.0])
@pytest.mark.parametrize("value", [-6.0, -1.0, 0.0, 0.5, 2.5, 4.0])
def test_students_t_becomes_the_normal_score_of_the_same_tail(value: float, degrees: float) -> None:
    exact = norm.isf(t.sf(value, degrees))
    assert to_normal(np.array([value]), np.array([degrees]))[0] == pytest.approx(exact, abs=0.04)
    back = to_student(to_normal(np.array([value]), np.array([degrees])), np.array([degrees]))
    assert back[0] == pytest.approx(value)


def test_holms_correction_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.04 times 3, 2, 1 gives 0.03, 0.04, 0.04.
    assert correct_for_many(np.array([0.04, 0.01, 0.02])) == pytest.approx([0.04, 0.03, 0.04])
    assert correct_for_many(np.array([0.5, 0.9])) == pytest.approx([1.0, 1.0])
    # A later one is never below an earlier one: 0.01 x 2 = 0.02, then max(0.02, 0.015).
    assert correct_for_many(np.array([0.01, 0.015])) == pytest.approx([0.02, 0.02])


def test_the_limit_of_many_keeps_them_as_quiet_as_one() -> None:
    assert norm.sf(raise_limit(4.0, np.array([12.0]))[0]) == pytest.approx(norm.sf(4.0) / 12)
    assert norm.sf(raise_limit(2.5, np.array([16.0]), days=2)[0]) == pytest.approx(norm.sf(2.5) / 4)
    assert raise_limit(4.0, np.array([1.0, 0.0])) == pytest.approx([4.0, 4.0])


def test_a_steady_rate_is_expected_to_stay() -> None:
    baseline = fit(RATE, np.full(WINDOW, 140.0), np.full(WINDOW, 200.0))
    assert RATE.to_value(baseline.mean)[0] == pytest.approx(0.7, abs=1e-6)
    assert baseline.days[0] == WINDOW and baseline.daily_variance[0] == 0.0


@pytest.mark.parametrize("scale", [RATE, COUNT, AMOUNT, LOG_MEAN], ids=lambda scale: type(scale).__name__)
def test_the_weekday_is_expected_as_it_was(scale: Scale) -> None:
    weekend = WEEKDAY >= 5
    n = np.full(WINDOW, 10_000.0)
    y = np.where(weekend, 8_000.0, 6_000.0)
    if scale is LOG_MEAN:
        y = y / n
    found = [scale.to_value(fit(scale, y, n, target=day).mean)[0] for day in (2, 6)]
    if scale in (RATE, LOG_MEAN):
        found = [value * 10_000 for value in found]
    assert found == pytest.approx([6_000, 8_000], rel=0.01)


def test_weekdays_that_do_not_differ_are_not_told_apart() -> None:
    generate = np.random.default_rng(5)
    y = generate.binomial(400, 0.7, (200, WINDOW)).astype(float)
    n = np.full_like(y, 400.0)
    means = [fit_baseline(RATE, y, n, y > 0, WEEKDAY, day, AGE).mean for day in (0, 3)]
    # Twelve days each give raw differences of 0.045 on the logit; shrunk, most of it is gone.
    assert np.std(means[0] - means[1]) < 0.025


def test_days_of_an_unflagged_incident_hardly_move_the_expectation() -> None:
    generate = np.random.default_rng(1)
    n = np.full((100, WINDOW), 500.0)
    y = generate.binomial(500, 0.7, n.shape).astype(float)
    spoiled = y.copy()
    spoiled[:, 40:45] = 490.0
    spoiled[:, 70] = 0.0
    whole = np.ones(y.shape, dtype=bool)
    clean, dirty = (fit_baseline(RATE, each, n, whole, WEEKDAY, 0, AGE) for each in (y, spoiled))
    moved = RATE.to_value(dirty.mean) - RATE.to_value(clean.mean)
    assert np.abs(moved).max() < 0.02  # the plain mean moves by 0.024, and one day of nothing alone by 0.008
    assert np.sqrt(dirty.daily_variance).mean() < 0.15  # those six days alone would make it 0.8


def test_the_level_follows_a_slow_drift() -> None:
    # Growth of 1 % a day: the mean of the window lies 34 % below the newest day, the local level far nearer.
    y = 1_000 * np.exp(0.01 * (np.arange(WINDOW) - WINDOW))
    expected = np.exp(fit(COUNT, y, np.ones(WINDOW)).mean[0])
    assert y.mean() < 0.70 * y[-1] < 0.78 * y[-1] < expected < y[-1]


def test_a_masked_day_counts_for_nothing() -> None:
    y, n = np.full(WINDOW, 140.0), np.full(WINDOW, 200.0)
    usable = np.arange(WINDOW) != 50
    expected = fit(RATE, y, n, usable=usable)
    y[50], n[50] = 1e6, 1e7
    again = fit(RATE, y, n, usable=usable)
    assert again.mean == pytest.approx(expected.mean) and again.days[0] == WINDOW - 1


@pytest.mark.parametrize("y", [np.zeros(WINDOW), np.r_[np.zeros(WINDOW - 1), 1e6], np.r_[1e6, np.zeros(WINDOW - 1)]])
@pytest.mark.parametrize("scale", [COUNT, AMOUNT], ids=lambda scale: type(scale).__name__)
def test_empty_and_bursting_series_do_not_overflow(scale: Scale, y: np.ndarray) -> None:
    with np.errstate(all="raise", under="ignore"):
        baseline = fit(scale, y, np.ones(WINDOW))
        z = score_day(scale, np.array([3.0]), np.ones(1), baseline)
    assert np.isfinite(z).all() and np.isfinite(baseline.mean).all()


@settings(max_examples=60, deadline=None)
@given(
    scale=st.sampled_from([RATE, COUNT, AMOUNT, LOG_MEAN]),
    level=st.floats(0.02, 0.98),
    daily=st.floats(1e-4, 0.05),
    degrees=st.floats(3, 200),
    n=st.integers(20, 100_000),
    limit=st.floats(2, 6),
)
def test_a_day_at_the_edge_of_the_band_scores_the_limit(
    scale: Scale, level: float, daily: float, degrees: float, n: int, limit: float
) -> None:
    mean = math.log(level / (1 - level)) if scale is RATE else math.log(level * 1_000)
    baseline, size = constant(scale, mean, daily=daily, degrees=degrees), np.array([float(n)])
    low, high = find_band(scale, size, baseline, np.array([limit]))
    assert low[0] < scale.to_value(baseline.mean)[0] < high[0]
    for edge, z in ((low, -limit), (high, limit)):
        y = edge * size if scale is RATE else edge
        scored = score_day(scale, y, size, baseline)[0]
        # No rate lies beyond 0 or 1: there the band ends early.
        at_the_end = edge[0] < 1e-9 or (scale is RATE and edge[0] > 1 - 1e-9)
        assert scored == pytest.approx(z, rel=1e-3) or (at_the_end and abs(scored) < limit)


@settings(max_examples=40, deadline=None)
@given(
    y=st.lists(st.integers(0, 300), min_size=WINDOW, max_size=WINDOW),
    scale=st.sampled_from([RATE, COUNT, AMOUNT]),
    gaps=st.lists(st.booleans(), min_size=WINDOW, max_size=WINDOW),
)
def test_any_history_gives_finite_numbers(y: list[int], scale: Scale, gaps: list[bool]) -> None:
    baseline = fit(scale, np.array(y), np.full(WINDOW, 300.0), usable=np.array(gaps))
    z = score_day(scale, np.array([150.0]), np.array([300.0]), baseline)
    assert np.isfinite(z[0]) and baseline.daily_variance[0] >= 0 and baseline.degrees[0] >= 1


def test_a_bound_is_crossed_when_chance_does_not_explain_it() -> None:
    known = constant(RATE, 0.0)
    # Of 100, 55 lie beyond a bound of one half by one standard deviation, 65 by three.
    assert score_against(RATE, np.array([55.0]), np.array([100.0]), 0.5, known)[0] == pytest.approx(1.0, abs=0.01)
    assert score_against(RATE, np.array([65.0]), np.array([100.0]), 0.5, known)[0] == pytest.approx(3.02, abs=0.02)


@pytest.mark.parametrize("size", [60, 300, 5_000])
def test_scores_of_quiet_days_are_standard_normal(size: int) -> None:
    generate = np.random.default_rng(size)
    shape = (4_000, WINDOW + 1)
    n = generate.poisson(size, shape).astype(float)
    y = generate.binomial(n.astype(int), 1 / (1 + np.exp(-0.85 - generate.normal(0, 0.05, shape)))).astype(float)
    past = slice(0, WINDOW)
    baseline = fit_baseline(RATE, y[:, past], n[:, past], n[:, past] > 0, WEEKDAY, 0, AGE)
    z = score_day(RATE, y[:, -1], n[:, -1], baseline)
    assert abs(z.mean()) < 0.06 and abs(z.std() - 1) < 0.06
    # 25 of 4,000 are expected beyond 2.5 on each side; 45 would be four standard deviations more.
    assert (z > 2.5).sum() < 45 and (z < -2.5).sum() < 45
