"""Verdicts: which days breach, why, and against what past. Numbers that can be checked by hand."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest
from kpi_tables import AS_OF, Counts, KpiDay, date_of, make_book, make_duration_rule, make_rule, write_kpis

from alerts.detection import walk
from alerts.detection.evaluation import evaluate_rules
from alerts.detection.scales import Rate
from alerts.detection.verdicts import Check
from alerts.detection.walk import Series, Walk, walk_days
from alerts.rules.book import Rule

USUAL = KpiDay(Counts(carts=500, abandoned=350))


def carts(abandoned: int, of: int = 500, **day: Any) -> KpiDay:
    return KpiDay(Counts(carts=of, abandoned=abandoned), **day)


def judge(
    days: list[KpiDay | None],
    *rules: Rule,
    excluded: dict[str, set[dt.date]] | None = None,
    as_of: dt.datetime = AS_OF,
    newest: int = 12,
    **book: Any,
) -> list[Check]:
    """The checks of the newest days against the rules (default: abandonment, whole shop)."""
    with write_kpis(days) as warehouse:
        return evaluate_rules(
            warehouse,
            make_book(*(rules or (make_rule(),)), **book),
            as_of=as_of,
            excluded=excluded or {},
            since=date_of(len(days) - newest),
        )


def last(checks: list[Check]) -> Check:
    return checks[-1]


def breaches(checks: list[Check]) -> list[dt.date]:
    return [check.date for check in checks if check.verdict == "breach"]


def walk_rate(y: np.ndarray, n: np.ndarray) -> Walk:
    one = np.zeros(len(y), dtype=np.int64)
    series = Series(Rate(), y, n, n, n > 0, np.arange(y.shape[1]) % 7, is_child=one > 0, shop=one)
    nothing = np.zeros(y.shape, dtype=bool)
    return walk_days(make_rule(), series, is_tested=~nothing[0], excluded=nothing)


def test_a_jump_breaches_on_its_day_and_the_check_says_what_was_expected() -> None:
    check = last(judge([USUAL] * 60 + [carts(430)]))
    assert (check.rule, check.kpi, check.dimension, check.direction) == (
        "carts",
        "cart_abandonment_rate",
        None,
        "above",
    )
    assert (check.verdict, check.date, check.period_days) == ("breach", date_of(60), 1)
    assert check.figures.observed == pytest.approx(0.86) and check.figures.expected == pytest.approx(0.70, abs=1e-3)
    assert check.figures.band_low is not None and check.figures.band_high is not None
    assert check.figures.band_low < 0.70 < check.figures.band_high < 0.86
    assert check.figures.z is not None
    assert check.figures.reason == f"{abs(check.figures.z):.1f} standard deviations off; the limit is 4"
    assert (check.figures.volume, check.baseline_days, check.fingerprint) == (500, 58, "carts|=|above")


def test_a_fall_is_no_breach_of_a_rule_that_looks_above() -> None:
    assert breaches(judge([USUAL] * 60 + [carts(200)])) == []
    assert breaches(judge([USUAL] * 60 + [carts(200)], make_rule(direction="below"))) == [date_of(60)]


def test_the_same_change_of_a_small_shop_is_no_breach() -> None:
    # 86 of 100 against 70 % is 3.5 standard deviations, 430 of 500 is 7.8.
    small = [carts(70, of=100)] * 60 + [carts(86, of=100)]
    assert last(judge(small)).verdict == "near"


def test_two_of_three_days_beyond_the_lower_limit_breach_on_the_second() -> None:
    # 387 of 500 against 70 %: 3.6 standard deviations, 3.3 after the uncertainty of what is expected.
    checks = judge([USUAL] * 60 + [carts(387), USUAL, carts(387), USUAL])
    assert [check.verdict for check in checks[-4:]] == ["near", "normal", "breach", "normal"]
    assert checks[-2].figures.reason.startswith("beyond 2.5 standard deviations on 2 of 3 days; now 3.")
    apart = judge([USUAL] * 60 + [carts(387), USUAL, USUAL, carts(387)])
    assert breaches(apart) == []


def test_a_small_change_that_lasts_breaches_within_the_week_and_ends_with_it() -> None:
    # +15 of 300 are 1.9 standard deviations a day, less the uncertainty of what is expected: no day alone shows it.
    noise = np.random.default_rng(4).integers(-2, 3, 60)
    days = [carts(210 + int(change), of=300) for change in noise]
    bad = [carts(225 + int(change), of=300) for change in noise[:7]]
    checks = judge(days + bad + [carts(210, of=300)] * 3)
    found = breaches(checks)
    assert found and date_of(60) < found[0] <= date_of(66) and found[-1] <= date_of(66)
    reason = next(check.figures.reason for check in checks if check.verdict == "breach")
    assert "over 7 days; the limit is 4; this day" in reason
    assert breaches(judge(days + bad, make_rule(z_limit_week=None))) == []


def test_a_significant_change_that_nobody_wants_to_hear_of_is_normal() -> None:
    big = [carts(70_000, of=100_000)] * 60 + [carts(72_500, of=100_000)]
    check = last(judge(big))
    assert check.verdict == "normal" and "by less than 5 %" in check.figures.reason
    assert last(judge(big, make_rule(minimum_change=0.02))).verdict == "breach"


def test_no_day_and_no_later_one_is_in_a_days_own_expectation() -> None:
    # Fifty shops, each changed from a day of its own on, by anything.
    generate = np.random.default_rng(12)
    n = np.full((50, 70), 400.0)
    y = generate.binomial(400, 0.7, n.shape).astype(float)
    first = generate.integers(20, 70, (50, 1))
    is_changed = np.arange(70) >= first
    other = np.where(is_changed, np.clip(y + generate.uniform(-400, 400, (50, 1)), 0, 400), y)
    before, after = walk_rate(y, n), walk_rate(other, n)
    unaffected = np.arange(70) <= first
    for field in ("expected", "band_low", "band_high", "baseline_days"):
        assert getattr(after, field)[unaffected] == pytest.approx(getattr(before, field)[unaffected], nan_ok=True)
    assert (after.verdict["above"][~is_changed] == before.verdict["above"][~is_changed]).all()
    assert (after.verdict["above"][is_changed] == walk.BREACH).sum() > 50


def test_the_window_ends_where_the_rule_says() -> None:
    # 30 days at 90 %, then 40 at 70 %: with 35 trailing days the old level is forgotten, and counted it is 33 days.
    checks = judge([carts(450)] * 30 + [USUAL] * 40, make_rule(direction="below", trailing_days=35, z_limit=10))
    assert last(checks).figures.expected == pytest.approx(0.70, abs=0.005)
    assert last(checks).baseline_days <= 35


def test_days_of_known_incidents_are_not_in_a_baseline_whatever_their_direction() -> None:
    days = [USUAL] * 30 + [carts(200)] * 10 + [USUAL] * 12
    known = {"carts|=|below": {date_of(index) for index in range(30, 40)}}
    rule = make_rule(direction="both")
    marked, blind = last(judge(days, rule, excluded=known)), last(judge(days, make_rule(), excluded={}))
    assert marked.baseline_days == 39 and marked.figures.expected == pytest.approx(0.70, abs=1e-3)
    assert blind.baseline_days == 49


def test_breaching_days_stay_out_of_later_baselines() -> None:
    checks = judge([USUAL] * 40 + [carts(450)] * 5 + [USUAL] * 5)
    assert breaches(checks) == [date_of(index) for index in range(40, 45)]
    assert all(check.figures.expected == pytest.approx(0.70, abs=1e-3) for check in checks[-5:])
    assert last(checks).baseline_days == 42  # 49 days before it, less five of the incident and the two under test


def test_a_change_that_stays_two_weeks_is_the_new_level() -> None:
    checks = judge([USUAL] * 60 + [carts(450)] * 30, newest=40)
    found = breaches(checks)
    assert found[0] == date_of(60) and found[-1] == date_of(73)
    assert last(checks).verdict == "normal" and last(checks).figures.expected == pytest.approx(0.90, abs=0.005)


def test_a_known_incident_of_two_weeks_is_the_new_level_in_a_later_run_too() -> None:
    days = [USUAL] * 60 + [carts(450)] * 30
    known = {"carts|=|above": {date_of(index) for index in range(60, 74)}}
    with write_kpis(days) as warehouse:
        checks = evaluate_rules(warehouse, make_book(make_rule()), as_of=AS_OF, excluded=known)
    assert len(checks) == 14 and {check.verdict for check in checks} <= {"normal", "near", "untested"}
    assert last(checks).verdict == "normal"


@pytest.mark.parametrize(("history", "verdict"), [(15, "untested"), (16, "breach")])
def test_a_short_history_is_not_tested(history: int, verdict: str) -> None:
    # Two of the days before are under test themselves, 14 are needed.
    check = last(judge([USUAL] * history + [carts(500)]))
    assert check.verdict == verdict
    if verdict == "untested":
        assert check.figures.reason == "13 usable days before it, 14 needed" and check.figures.z is None


def test_a_short_history_has_wider_bands() -> None:
    generate = np.random.default_rng(3)
    days = [carts(int(generate.binomial(500, 0.7))) for _ in range(90)]
    checks = judge(days, newest=75)
    width = {check.date: (check.figures.band_high or 0) - (check.figures.band_low or 0) for check in checks}
    early = np.mean([width[date_of(index)] for index in range(16, 20)])
    late = np.mean([width[date_of(index)] for index in range(80, 90)])
    assert early > 1.3 * late


def test_small_numbers_go_by_the_week_and_are_dated_by_its_sunday() -> None:
    # 12 carts a day of which 4 buy: five of each are expected only in a week.
    days: list[KpiDay | None] = [carts(8, of=12)] * 70 + [carts(12, of=12)] * 7
    checks = judge(days)
    weekly = [check for check in checks if check.period_days == 7]
    assert all(check.date.weekday() == 6 for check in weekly)
    assert (last(weekly).verdict, last(weekly).date, last(weekly).figures.volume) == ("breach", date_of(76), 84)
    assert last(weekly).figures.expected == pytest.approx(2 / 3, abs=0.01) and last(weekly).figures.observed == 1.0
    assert not any(check.period_days == 1 and check.verdict != "untested" for check in checks)


def test_what_is_too_small_even_for_weeks_is_untested() -> None:
    checks = judge([carts(1, of=2)] * 60 + [carts(2, of=2)])
    assert {check.verdict for check in checks} == {"untested"}
    assert last(checks).figures.reason == "too few for a test, even by the week"


def test_missing_days_and_days_without_a_value_do_no_harm() -> None:
    days: list[KpiDay | None] = [USUAL] * 30 + [None, carts(0, of=0)] + [USUAL] * 28 + [carts(450)]
    checks = judge(days, newest=40)
    assert breaches(checks) == [date_of(60)]
    assert next(check for check in checks if check.date == date_of(31)).figures.reason == "no value"
    assert not any(check.date == date_of(30) and check.verdict != "untested" for check in checks)


def test_values_that_no_likelihood_knows_do_no_harm() -> None:
    rule = make_rule(
        name="money", kpi="revenue_usd", unit="usd", denominator=None, direction="below", volume="purchases"
    )
    money: list[KpiDay | None] = [KpiDay(Counts(revenue=15_000.0 + 200 * (index % 5))) for index in range(60)]
    checks = judge([*money, KpiDay(Counts(revenue=-400.0)), KpiDay(Counts(revenue=float("nan")))], rule)
    assert [(check.verdict, check.figures.observed) for check in checks[-2:]] == [("breach", 0.0), ("untested", None)]
    own = make_rule(numerator="sessions")  # no share: 1,000 of 500
    assert {check.verdict for check in judge([USUAL] * 60, own)} == {"untested"}


def test_an_absolute_bound_needs_no_history_but_more_than_chance() -> None:
    rule = make_rule(absolute={"above": 0.85}, z_limit=None, z_limit_repeated=None, z_limit_week=None)
    assert last(judge([carts(450)], rule)).figures.reason == "absolute bound of 0.85"
    # 17.4 of 20 expected at the bound: 18 is beyond it by chance alone, and 860 of 1,000 is not far enough either.
    assert last(judge([carts(18, of=20)], rule)).verdict == "near"
    assert last(judge([carts(860, of=1_000)], rule)).verdict == "near"
    assert last(judge([carts(880, of=1_000)], rule)).verdict == "breach"
    assert last(judge([carts(849, of=1_000)], rule)).verdict == "untested"
    assert last(judge([carts(10, of=10)], rule)).verdict == "untested"


def test_a_relative_bound_needs_more_than_chance() -> None:
    rule = make_rule(relative={"above": 0.15}, z_limit=10)
    assert last(judge([carts(70, of=100)] * 60 + [carts(82, of=100)], rule)).verdict == "breach"
    # +17 % again, but of 30 carts: 1.5 standard deviations.
    assert last(judge([carts(21, of=30)] * 60 + [carts(25, of=30)], rule)).verdict == "normal"
    assert last(judge([carts(70, of=100)] * 60 + [carts(80, of=100)], rule)).verdict == "normal"


def test_days_of_an_expected_event_are_neither_tested_nor_learned_from() -> None:
    sale = [{"name": "Summer sale", "from": date_of(60), "to": date_of(62)}]
    checks = judge([USUAL] * 60 + [carts(430)] * 3 + [USUAL] * 4, expected_events=sale)
    assert breaches(checks) == []
    event = [check for check in checks if check.is_expected_event]
    assert [check.date for check in event] == [date_of(60), date_of(61), date_of(62)]
    assert {(check.verdict, check.figures.reason) for check in event} == {("untested", "expected event: Summer sale")}
    assert last(checks).baseline_days == 61
    assert breaches(judge([USUAL] * 60 + [carts(430)])) == [date_of(60)]


def test_a_day_of_an_event_does_not_count_towards_two_of_three() -> None:
    days = [USUAL] * 60 + [carts(387), carts(387), USUAL]
    assert breaches(judge(days)) == [date_of(61)]
    sale = [{"name": "Sale", "from": date_of(60), "to": date_of(60)}]
    assert breaches(judge(days, expected_events=sale)) == []


def test_a_long_sale_is_not_the_new_level() -> None:
    sale = [{"name": "Long sale", "from": date_of(40), "to": date_of(59)}]
    checks = judge([USUAL] * 40 + [carts(450)] * 20 + [USUAL] * 5, expected_events=sale, newest=30)
    assert breaches(checks) == [] and last(checks).verdict == "normal"
    assert last(checks).figures.expected == pytest.approx(0.70, abs=1e-3) and last(checks).baseline_days == 42


def test_an_event_explains_one_direction_only_when_it_says_so() -> None:
    sale = [{"name": "Sale", "from": "07-25", "to": "08-05", "direction": "below"}]
    rule = make_rule(direction="both")
    day = (dt.date(2026, 7, 31) - date_of(0)).days
    assert breaches(judge([USUAL] * day + [carts(200)], rule, expected_events=sale)) == []
    assert breaches(judge([USUAL] * day + [carts(450)], rule, expected_events=sale)) == [date_of(day)]


def test_total_loss_breaches_even_in_an_expected_event() -> None:
    sale = [{"name": "Sale", "from": date_of(60), "to": date_of(60)}]
    check = last(judge([USUAL] * 60 + [carts(500)], expected_events=sale))
    assert (check.verdict, check.figures.reason, check.is_expected_event) == ("breach", "total loss", True)


@pytest.mark.parametrize(
    ("day", "verdict"),
    [
        (carts(500, is_provisional=True), "breach"),  # nobody bought, 150 were expected
        (carts(499, is_provisional=True), "untested"),
        (carts(60, of=60, is_provisional=True), "untested"),  # 18 were expected
        (carts(70, of=70, is_provisional=True), "breach"),  # 21 were
    ],
)
def test_a_provisional_day_is_tested_for_total_loss_alone(day: KpiDay, verdict: str) -> None:
    check = last(judge([USUAL] * 60 + [day]))
    assert (check.date, check.verdict, check.is_provisional) == (date_of(60), verdict, True)
    assert check.figures.reason == ("total loss" if verdict == "breach" else "provisional: tested for total loss only")


def test_a_day_that_has_not_ended_is_not_tested() -> None:
    now = dt.datetime.combine(date_of(60), dt.time(6), dt.UTC)
    days: list[KpiDay | None] = [USUAL] * 60 + [carts(500, is_provisional=True)]
    assert last(judge(days, as_of=now)).date == date_of(59)
    assert last(judge(days, as_of=now + dt.timedelta(days=1))).verdict == "breach"


def test_no_sessions_at_all_is_a_total_loss_of_sessions() -> None:
    rule = make_rule(name="traffic", kpi="sessions", unit="count", denominator=None, direction="both")
    days: list[KpiDay | None] = [KpiDay(Counts(sessions=400 + 10 * (index % 7))) for index in range(60)]
    checks = judge([*days, KpiDay(Counts(sessions=0), is_provisional=True)], rule)
    lost = {check.direction: check for check in checks if check.date == date_of(60)}
    assert (lost["below"].verdict, lost["below"].figures.reason, lost["above"].verdict) == (
        "breach",
        "total loss",
        "untested",
    )


def test_values_share_the_false_alarms_of_one_and_the_smallest_stay_silent() -> None:
    generate = np.random.default_rng(8)
    names = [f"c{index}" for index in range(12)]

    def make_day(broken: int) -> KpiDay:
        values = {
            ("default_channel_group", name): Counts(carts=500, abandoned=int(generate.binomial(500, 0.7)))
            for name in names
        }
        values["default_channel_group", "c0"].abandoned = broken or values["default_channel_group", "c0"].abandoned
        values["default_channel_group", "tiny"] = Counts(carts=1, abandoned=1)
        total = sum(counts.carts for counts in values.values())
        return KpiDay(Counts(carts=total, abandoned=int(total * 0.7)), values)

    rule = make_rule(dimensions=["default_channel_group"])
    checks = judge([make_day(0) for _ in range(60)] + [make_day(440)], rule)
    assert "tiny" not in {check.dimension_value for check in checks}
    found = [check for check in checks if check.verdict == "breach"]
    assert [(check.dimension, check.dimension_value, check.date) for check in found] == [
        ("default_channel_group", "c0", date_of(60))
    ]
    # The limit of 12 series: a tail of 3.2e-5 / 12.
    assert (
        found[0].figures.reason.endswith("the limit is 4.55")
        and found[0].fingerprint == "carts|default_channel_group=c0|above"
    )


def test_a_value_that_vanishes_counts_zero() -> None:
    def make_day(phone: int) -> KpiDay:
        values = {("device_category", "desktop"): Counts(sessions=600)}
        if phone:
            values["device_category", "mobile"] = Counts(sessions=phone)
        return KpiDay(Counts(sessions=600 + phone), values)

    rule = make_rule(
        name="traffic",
        kpi="sessions",
        unit="count",
        denominator=None,
        direction="below",
        dimensions=["device_category"],
    )
    checks = judge([make_day(400 + index % 5) for index in range(60)] + [make_day(0)], rule)
    lost = [check for check in checks if check.verdict == "breach" and check.dimension_value == "mobile"]
    assert [(check.date, check.figures.observed, check.figures.reason) for check in lost] == [
        (date_of(60), 0.0, "total loss")
    ]


def test_a_mean_is_tested_by_its_logs_and_shown_in_seconds() -> None:
    rule = make_duration_rule("both")
    generate = np.random.default_rng(2)
    days = [KpiDay(Counts(mean_log=float(np.log1p(120) + generate.normal(0, 0.04)))) for _ in range(60)]
    check = next(
        check
        for check in judge([*days, KpiDay(Counts(mean_log=float(np.log1p(60))))], rule)
        if check.verdict == "breach"
    )
    assert (check.date, check.direction, check.kpi) == (date_of(60), "below", "avg_session_duration_seconds")
    assert check.figures.observed == pytest.approx(60) and check.figures.expected == pytest.approx(120, rel=0.03)
    assert check.figures.band_low is not None and 60 < check.figures.band_low < 120


def test_weeks_of_a_known_incident_are_left_out_and_four_of_them_are_a_new_level() -> None:
    bad = np.array([[False, False, True, False, False], [True, True, True, True, False]])
    left_out = walk._forgive_new_level(bad)
    assert left_out.tolist() == [[False, False, True, False, False], [False] * 5]
    later = walk._forgive_new_level(np.array([[False, False, True, True, True, True, False]]))
    assert later.tolist() == [[True, True, False, False, False, False, False]]
