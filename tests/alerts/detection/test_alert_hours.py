"""What the hours say: the arithmetic by hand, few false alarms, breaks found in hours, slow buyers let be."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import nbinom

from alerts.detection import hourly, hourly_simulation
from alerts.detection.hourly import HourlySeries, Timeline, learn_outlook, walk_hours
from alerts.detection.hourly_simulation import (
    HALVED,
    MOBILE_STOPS,
    SLOW_BUYERS,
    TRACKING_STOPS,
    WORLDS,
    count_false_alarms,
    measure_detection,
)
from alerts.detection.scales import Amount, Count, Rate
from alerts.rules.book import Rule
from alerts.rules.loading import load_rules
from foundation.settings import PROJECT_DIR

DAY = 24


def rule_of(name: str) -> Rule:
    book = load_rules(Path(PROJECT_DIR) / "alerts" / "rules.yml")
    return next(rule for rule in book.rules if rule.name == name)


CARTS, SESSIONS, REVENUE = (rule_of(name) for name in ("cart_abandonment_rate", "sessions", "revenue_usd"))


def timeline(days: int) -> Timeline:
    return Timeline(np.repeat(np.arange(days), DAY), np.tile(np.arange(DAY), days), np.arange(days) % 7)


def totals(y: np.ndarray, scale: Count | Amount | None = None) -> HourlySeries:
    """One series of totals, (days, 24)."""
    return HourlySeries(
        scale=scale or Count(),
        timeline=timeline(len(y)),
        came=y.reshape(1, -1, 1).astype(float),
        usable=np.ones((1, len(y)), dtype=bool),
        shop=np.zeros(1, dtype=np.int64),
        dimension=np.zeros(1, dtype=np.int64),
    )


def carts(days: int, bought: np.ndarray, left: np.ndarray) -> HourlySeries:
    """One series of carts, the same every hour: `bought` and `left` by lag."""
    came = np.tile(bought.astype(float), (1, days * DAY, 1))
    gone = np.tile(left.astype(float), (1, days * DAY, 1))
    return HourlySeries(
        scale=Rate(),
        timeline=timeline(days),
        came=came,
        usable=np.ones((1, days), dtype=bool),
        shop=np.zeros(1, dtype=np.int64),
        dimension=np.zeros(1, dtype=np.int64),
        begun=came.sum(axis=2) + gone.sum(axis=2),
        left=gone,
    )


def test_evidence_is_the_ratio_of_two_negative_binomials() -> None:
    came, low, usual, shape = 3.0, 2.0, 10.0, 50.0
    found = hourly._compare(np.array([came]), np.array([low]), np.array([usual]), shape)[0]
    by_hand = [nbinom.logpmf(came, shape, shape / (shape + mean)) for mean in (low, usual)]
    assert found == pytest.approx(by_hand[0] - by_hand[1])
    # where days do not differ it is Poisson's: 3 ln(2/10) + 8
    assert hourly._compare(np.array([came]), np.array([low]), np.array([usual]), 1e12)[0] == pytest.approx(
        3 * math.log(0.2) + 8, abs=1e-3
    )


def test_evidence_is_expected_to_be_at_most_one_when_nothing_has_happened() -> None:
    # the mean of a likelihood ratio under what is usual, or more than usual: the promise of false alarms rests on it
    came, shape, usual = np.arange(400.0), 100.0, 12.0
    for level in hourly.LEVELS:
        ratio = np.exp(hourly._compare(came, np.array(level * usual), np.array(usual), shape))
        expected = [
            float((nbinom.pmf(came, shape, shape / (shape + more * usual)) * ratio).sum()) for more in (1.0, 1.3)
        ]
        assert expected[0] == pytest.approx(1.0) and expected[1] < 1.0


def test_what_an_hour_should_bring_is_its_day_by_the_share_of_the_hour() -> None:
    day = np.zeros(DAY)
    day[10], day[20] = 30, 70
    found = learn_outlook(SESSIONS, totals(np.tile(day, (60, 1))), 50)
    assert found.per_hour[0, 10] == pytest.approx(30, rel=0.02) and found.per_hour[0, 20] == pytest.approx(70, rel=0.02)
    assert found.per_hour[0, 3] == pytest.approx(0, abs=0.01)
    # half of the year's false alarms would begin in hours that hold half of the visits; none at night
    assert found.alarms[0, 20] * 365 == pytest.approx(0.7 * hourly.ALARMS_A_YEAR, rel=0.02)
    assert found.alarms.sum() * 365 == pytest.approx(hourly.ALARMS_A_YEAR)
    assert found.noise[0] == 1.0 and bool(found.is_known[0])


def test_a_days_hours_are_learnt_from_days_before_it_that_are_usable() -> None:
    day = np.full(DAY, 10.0)
    y = np.tile(day, (60, 1))
    y[50:] = 1_000.0
    series = totals(y)
    series.usable[0, :30] = False
    assert learn_outlook(SESSIONS, series, 50).per_hour[0].sum() == pytest.approx(240, rel=0.01)
    # 48 and 49 are too near: what begins there must not hide itself
    y[48:50] = 1_000.0
    assert learn_outlook(SESSIONS, totals(y), 50).per_hour[0].sum() == pytest.approx(240, rel=0.01)
    assert not learn_outlook(SESSIONS, series, 40).is_known[0]


def test_the_curve_is_the_share_of_purchases_and_of_open_visits_by_hours_later() -> None:
    found = learn_outlook(CARTS, carts(41, np.array([6, 3, 1]), np.array([10, 15, 5])), 40)
    assert found.arrived[0].tolist() == pytest.approx([0.6, 0.9, 1.0])
    assert found.still_open[0].tolist() == pytest.approx([24 / 40, 6 / 40, 0.0])
    assert found.per_hour[0, 0] == pytest.approx(0.25, rel=0.01)  # 10 of 40


def test_carts_of_an_hour_ago_are_held_against_what_has_come_so_far() -> None:
    series = carts(41, np.array([6, 3, 1]), np.array([10, 15, 5]))
    walk = walk_hours(CARTS, series, range(40 * DAY, 41 * DAY))
    last = 41 * DAY - 1
    assert walk.spells == []
    measured = walk.measure(0, last - 1, last + 1, last)
    assert (measured.came, measured.begun) == (9 + 6, 80)
    assert measured.expected == pytest.approx(9 + 6, rel=0.01)


def test_a_stop_is_found_dated_and_over() -> None:
    y = np.full((42, DAY), 12.0)
    y[40, 10:16] = 0.0
    walk = walk_hours(SESSIONS, totals(y), range(40 * DAY, 42 * DAY))
    (spell,) = walk.spells
    assert spell.since == 40 * DAY + 10 and spell.until == 40 * DAY + 16
    assert spell.found - spell.since <= 1
    measured = walk.measure(0, spell.since, spell.until, spell.until - 1)
    assert measured.came == 0 and measured.expected == pytest.approx(72, rel=0.01) and measured.z < -5


def test_nothing_begins_on_a_day_of_an_expected_event_nor_without_a_past() -> None:
    y = np.full((42, DAY), 12.0)
    y[40] = 0.0
    skipped = np.arange(42) == 40
    assert walk_hours(SESSIONS, totals(y), range(40 * DAY, 41 * DAY), skipped=skipped).spells == []
    short = np.full((12, DAY), 12.0)
    short[11] = 0.0
    assert walk_hours(SESSIONS, totals(short), range(11 * DAY, 12 * DAY)).spells == []


def test_revenue_varies_with_the_values_of_orders() -> None:
    # orders of 10 and 190: a variance over mean of about 180 makes two missing large orders no alarm
    generate = np.random.default_rng(1)
    orders = generate.poisson(2.0, (60, DAY))
    large = generate.binomial(orders, 0.5)
    y = 190.0 * large + 10.0 * (orders - large)
    found = learn_outlook(REVENUE, totals(y, Amount()), 55)
    assert 140 < found.noise[0] < 220
    assert walk_hours(REVENUE, totals(y, Amount()), range(57 * DAY, 60 * DAY)).spells == []


def test_a_day_on_which_an_hour_comes_twice_keeps_its_visits() -> None:
    y = np.full((42, DAY), 12.0)
    series = totals(y)
    doubled = Timeline(
        np.insert(series.timeline.day, 30 * DAY + 3, 30),
        np.insert(series.timeline.hour_of_day, 30 * DAY + 3, 2),
        series.timeline.weekday,
    )
    longer = HourlySeries(
        scale=Count(),
        timeline=doubled,
        came=np.full((1, 42 * DAY + 1, 1), 12.0),
        usable=series.usable,
        shop=series.shop,
        dimension=series.dimension,
    )
    found = learn_outlook(SESSIONS, longer, 40)
    assert found.per_hour[0].sum() == pytest.approx(288, rel=0.02)


def test_the_promise_in_simulated_shops(monkeypatch: pytest.MonkeyPatch) -> None:
    # the short form of `python -m alerts backtest --simulate --hourly`
    monkeypatch.setattr(hourly_simulation, "YEAR", 30)
    for world in WORLDS:
        assert count_false_alarms(CARTS, world, 1_000, years=4, seed=1).alarms == 0
        assert count_false_alarms(SESSIONS, world, 5_000, years=4, seed=1).alarms == 0
    usual = WORLDS[0]
    for size, median, most in ((300, 6, 12), (1_000, 3, 6), (5_000, 2, 4)):
        found = measure_detection(CARTS, usual, size, MOBILE_STOPS, trials=20, seed=2)
        assert found.quantile(0.5) <= median and found.quantile(0.9) <= most, found
    assert measure_detection(CARTS, usual, 5_000, HALVED, trials=20, seed=2).quantile(0.5) <= 4
    assert measure_detection(SESSIONS, usual, 5_000, TRACKING_STOPS, trials=20, seed=2).quantile(0.9) <= 2
    for size in (1_000, 5_000):
        found = measure_detection(CARTS, usual, size, SLOW_BUYERS, trials=20, seed=2)
        assert set(found.hours) == {None}
