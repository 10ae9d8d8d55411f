"""Verdicts on single days, checked by hand."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from alert_warehouse import date_of

from alerts.kpis import Day
from alerts.rules import Rule
from alerts.verdicts import BoundCheck, check_day, select_baseline


def make_rule(**overrides: Any) -> Rule:
    values: dict[str, Any] = {
        "name": "carts",
        "description": "d",
        "kpi": "cart_abandonment_rate",
        "unit": "share",
        "denominator": "sessions_with_add_to_cart",
        "direction": "above",
        "relative": {"above": 0.25},
        "minimum_volume": 100,
        "severity": "info",
        "owner": "o",
        "runbook": "r",
    }
    return Rule.model_validate({**values, **overrides})


def rate_day(index: int, numerator: float, denominator: float = 200, *, is_provisional: bool = False) -> Day:
    value = numerator / denominator if denominator else None
    return Day(date_of(index), is_provisional, value, numerator, denominator)


def judge(rule: Rule, days: list[Day], incident_dates: set[dt.date] | None = None) -> BoundCheck:
    """The verdict on the last of the days."""
    baseline = select_baseline(rule, days, days[-1].date, incident_dates or set())
    return check_day(rule, rule.directions[0], days[-1], baseline)


@pytest.mark.parametrize(("abandoned", "verdict"), [(170, "normal"), (171, "breach"), (169, "normal")])
def test_exactly_at_the_absolute_bound_is_no_breach(abandoned: int, verdict: str) -> None:
    rule = make_rule(relative={}, absolute={"above": 0.85})
    check = judge(rule, [rate_day(0, abandoned)])
    assert (check.verdict, check.bound) == (verdict, 0.85)


@pytest.mark.parametrize(("abandoned", "verdict"), [(160, "near"), (161, "breach"), (144, "normal"), (145, "near")])
def test_exactly_at_the_relative_bound_is_no_breach(abandoned: int, verdict: str) -> None:
    # 128 / 200 = 0.64 on 28 days; x 1.25 = 0.80 = 160 / 200; halfway 0.72 = 144 / 200.
    check = judge(make_rule(), [*(rate_day(index, 128) for index in range(28)), rate_day(28, abandoned)])
    assert check.verdict == verdict
    assert check.expected == pytest.approx(0.64) and check.bound == pytest.approx(0.80)


def test_the_trailing_value_is_pooled_and_not_a_mean_of_rates() -> None:
    # 14 days of 10 / 100 and 14 of 900 / 1000: pooled 12740 / 15400 = 0.82727..., the mean of rates would be 0.5.
    days = [rate_day(index, *((10, 100) if index % 2 else (900, 1000))) for index in range(28)]
    check = judge(make_rule(), [*days, rate_day(28, 100)])
    assert check.expected == pytest.approx(12740 / 15400)


def test_the_tested_day_and_days_before_the_window_are_not_in_the_baseline() -> None:
    rule = make_rule(trailing_days=14)
    days = [*(rate_day(index, 200) for index in range(10)), *(rate_day(index, 100) for index in range(10, 24))]
    check = judge(rule, [*days, rate_day(24, 200)])
    assert check.expected == 0.5
    assert (check.baseline_days, check.verdict) == (14, "breach")


def test_days_of_an_incident_and_provisional_days_are_not_in_the_baseline() -> None:
    days = [rate_day(index, 100) for index in range(20)]
    days += [rate_day(20, 200), rate_day(21, 200, is_provisional=True), rate_day(22, 100)]
    check = judge(make_rule(), [*days, rate_day(23, 100)], {date_of(20)})
    assert (check.expected, check.baseline_days) == (0.5, 21)
    contaminated = judge(make_rule(), [*days, rate_day(23, 100)])
    assert contaminated.expected is not None and contaminated.expected > 0.5


@pytest.mark.parametrize(("carts", "verdict"), [(99, "untested"), (100, "breach")])
def test_the_minimum_volume(carts: int, verdict: str) -> None:
    days = [rate_day(index, 100) for index in range(28)]
    check = judge(make_rule(), [*days, rate_day(28, carts, carts)])
    assert check.verdict == verdict


@pytest.mark.parametrize(("history", "verdict"), [(13, "untested"), (14, "breach")])
def test_a_short_history_tests_no_relative_bound(history: int, verdict: str) -> None:
    days = [rate_day(index, 100) for index in range(history)]
    check = judge(make_rule(), [*days, rate_day(history, 190)])
    assert check.verdict == verdict


def test_a_short_history_still_tests_the_absolute_bound() -> None:
    rule = make_rule(absolute={"above": 0.85})
    assert judge(rule, [rate_day(0, 171)]).verdict == "breach"
    assert judge(rule, [rate_day(0, 100)]).verdict == "untested"


def test_a_day_without_a_value_is_untested() -> None:
    days = [rate_day(index, 100) for index in range(28)]
    assert judge(make_rule(minimum_volume=0), [*days, rate_day(28, 0, 0)]).verdict == "untested"


def test_the_nearer_of_two_bounds_decides() -> None:
    days = [rate_day(index, 100) for index in range(28)]
    above = make_rule(absolute={"above": 0.55})
    assert judge(above, [*days, rate_day(28, 111)]).reason == "absolute bound"
    assert judge(above, [*days, rate_day(28, 111)]).bound == 0.55
    below = make_rule(direction="below", absolute={"below": 0.1}, relative={"below": -0.5})
    assert judge(below, [*days, rate_day(28, 49)]).reason == "relative bound"
    assert judge(below, [*days, rate_day(28, 19)]).reason == "absolute and relative bound"


def test_a_total_is_held_against_the_mean_of_the_days() -> None:
    rule = make_rule(kpi="revenue_usd", unit="usd", denominator=None, direction="below", relative={"below": -0.5})
    days = [
        Day(date_of(index), False, 100.0 + 100 * (index % 2), 100.0 + 100 * (index % 2), 1.0) for index in range(28)
    ]
    check = judge(rule, [*days, Day(date_of(28), False, 0.0, 0.0, 1.0)])
    assert (check.verdict, check.expected, check.bound) == ("breach", 150.0, 75.0)
    # The volume of a total is its usual level: a total that falls to nothing must not excuse itself.
    assert check.volume == 150.0
