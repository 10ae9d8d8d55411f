"""Causes: planted drivers are named, mix is told from rate, and the cost is what a calculator says."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from kpi_tables import Counts, KpiDay, date_of, make_duration_rule, make_rule, write_kpis

from alerts.detection.causes import Causes, explain
from alerts.rules.book import Direction, Rule

BASELINE = [date_of(index) for index in range(56)]
INCIDENT = [date_of(index) for index in range(56, 59)]
DEVICES = {"mobile": 300, "desktop": 180, "tablet": 20}
COUNTRIES = {"US": 0.5, "DE": 0.3, "FR": 0.2}
RULE = make_rule(impact="orders")


def make_days(
    generate: np.random.Generator,
    rates: dict[str, float],
    *,
    carts: dict[str, int] | None = None,
    days: int = 56,
    base: float = 0.7,
) -> list[KpiDay]:
    """Days on which each device abandons at its rate (`base` where none is given), countries alike in all devices."""
    made = []
    for _ in range(days):
        values: dict[tuple[str, str], Counts] = {}
        for device, size in (carts or DEVICES).items():
            n = int(generate.poisson(size))
            parts = generate.multinomial(n, list(COUNTRIES.values()))
            for country, part in zip(COUNTRIES, parts, strict=True):
                lost = int(generate.binomial(part, rates.get(device, base)))
                for label in (("device_category", device), ("country", country)):
                    counts = values.setdefault(label, Counts(0, 0, 0, 0, 4.0, 0.0))
                    counts.carts += int(part)
                    counts.abandoned += lost
                    counts.sessions += 3 * int(part)
                    counts.engaged += 2 * int(part)
                    counts.revenue += 60.0 * (int(part) - lost)
        shop = Counts(0, 0, 0, 0, 4.0, 0.0)
        for (dimension, _value), counts in values.items():
            if dimension == "device_category":
                for field in ("sessions", "engaged", "carts", "abandoned", "revenue"):
                    setattr(shop, field, getattr(shop, field) + getattr(counts, field))
        made.append(KpiDay(shop, values))
    return made


def find(
    days: list[KpiDay],
    rule: Rule = RULE,
    direction: Direction = "above",
    dimension_value: tuple[str, str] | None = None,
) -> Causes:
    with write_kpis(list(days)) as warehouse:
        return explain(warehouse, rule, direction, INCIDENT, BASELINE, dimension_value=dimension_value)


def test_the_device_that_broke_is_named_and_its_rate_not_its_weight() -> None:
    generate = np.random.default_rng(1)
    causes = find(make_days(generate, {}) + make_days(generate, {"mobile": 0.9}, days=3))
    first = causes.drivers[0]
    assert (first.dimension, first.value, first.kind, first.is_significant) == (
        "device_category",
        "mobile",
        "rate",
        True,
    )
    assert first.observed == pytest.approx(0.9, abs=0.03) and first.expected == pytest.approx(0.7, abs=0.01)
    assert first.excess == pytest.approx(0.2 * 900, rel=0.2) and first.share_of_excess == pytest.approx(1, abs=0.2)
    assert first.p_adjusted < 1e-6
    # Nothing else stands out: the other devices did not move, the countries all moved alike.
    assert [driver.is_significant for driver in causes.drivers[1:]] == [False, False]
    assert causes.rate_effect == pytest.approx(0.12, abs=0.03) and abs(causes.mix_effect or 0) < 0.01


def test_a_change_that_is_alike_everywhere_has_no_driver() -> None:
    generate = np.random.default_rng(2)
    causes = find(make_days(generate, {}) + make_days(generate, {}, base=0.85, days=3))
    assert causes.drivers and not any(driver.is_significant for driver in causes.drivers)
    assert causes.rate_effect == pytest.approx(0.15, abs=0.03)


def test_more_visitors_of_the_worse_kind_are_mix() -> None:
    generate = np.random.default_rng(3)
    rates = {"mobile": 0.8, "desktop": 0.5}
    days = make_days(generate, rates) + make_days(generate, rates, carts={**DEVICES, "mobile": 900}, days=3)
    causes = find(days)
    found = {driver.value: driver for driver in causes.drivers if driver.kind == "mix" and driver.is_significant}
    assert set(found) == {"mobile", "desktop"}  # what one gained the other lost
    mobile = found["mobile"]
    assert mobile.expected == pytest.approx(0.6, abs=0.02) and mobile.observed == pytest.approx(0.82, abs=0.02)
    assert (causes.mix_effect or 0) > 0.05 > abs(causes.rate_effect or 0)


def test_mix_and_rate_add_up_to_the_change_by_hand() -> None:
    # Before: 60 carts at 1/2 and 40 at 1/4. Now: 20 at 1/2 and 80 at 1/2.
    before = {
        ("device_category", "a"): Counts(carts=60, abandoned=30),
        ("device_category", "b"): Counts(carts=40, abandoned=10),
    }
    now = {
        ("device_category", "a"): Counts(carts=20, abandoned=10),
        ("device_category", "b"): Counts(carts=80, abandoned=40),
    }
    days = [KpiDay(Counts(carts=100, abandoned=40), before)] * 56 + [KpiDay(Counts(carts=100, abandoned=50), now)] * 3
    causes = find(days)
    # Rate: 0.8 x (1/2 - 1/4) = 0.2. Mix: -0.4 x 1/2 + 0.4 x 1/4 = -0.1. Together 50 % - 40 %.
    assert causes.rate_effect == pytest.approx(0.2) and causes.mix_effect == pytest.approx(-0.1)
    b = next(driver for driver in causes.drivers if driver.value == "b" and driver.kind == "rate")
    assert (b.excess, b.total_excess, b.share_of_excess) == (pytest.approx(60), pytest.approx(30), pytest.approx(2))


def test_quiet_days_name_no_driver_more_often_than_holm_allows() -> None:
    runs = 60
    with write_kpis(list(make_days(np.random.default_rng(4), {}, days=56 + runs))) as warehouse:
        found = [explain(warehouse, RULE, "above", [date_of(56 + run)], BASELINE) for run in range(runs)]
    falsely = sum(any(driver.is_significant for driver in causes.drivers) for causes in found)
    assert falsely <= 8  # at most 3 are expected; 8 is three standard deviations more


def test_lost_orders_and_revenue_by_hand() -> None:
    calm = KpiDay(Counts(carts=500, abandoned=350, sessions=1_000, revenue=15_000.0))
    bad = KpiDay(Counts(carts=500, abandoned=450, sessions=1_000, revenue=5_000.0))
    impact = find([calm] * 56 + [bad] * 3).impact
    assert impact is not None
    # 3 days x (450 - 350) orders of 100 USD. Variance: 1500 x .7 x .3 x (1 + 1500 / 28000) = 331.9.
    assert impact.lost_orders == pytest.approx(300) and impact.lost_revenue_usd == pytest.approx(30_000)
    assert impact.lost_orders - impact.lost_orders_low == pytest.approx(1.96 * 331.875**0.5, rel=1e-3)
    assert impact.lost_orders_high - impact.lost_orders == pytest.approx(1.96 * 331.875**0.5, rel=1e-3)
    assert impact.lost_revenue_usd_high == pytest.approx(100 * impact.lost_orders_high, rel=1e-6)


def test_lost_visits_cost_the_orders_they_usually_make() -> None:
    rule = make_rule(name="traffic", kpi="sessions", unit="count", denominator=None, direction="below", impact="visits")
    calm = KpiDay(Counts(sessions=1_000, carts=500, abandoned=350, revenue=15_000.0))
    causes = find([calm] * 56 + [KpiDay(replace(calm.shop, sessions=600))] * 3, rule, "below")
    assert causes.impact is not None and causes.mix_effect is None
    assert causes.impact.lost_orders == pytest.approx(3 * 400 * 0.15)
    assert causes.impact.lost_revenue_usd == pytest.approx(3 * 400 * 0.15 * 100)


def test_a_total_that_one_channel_lost_names_the_channel() -> None:
    rule = make_rule(name="traffic", kpi="sessions", unit="count", denominator=None, direction="below", impact="visits")
    generate = np.random.default_rng(6)

    def make_day(paid: int) -> KpiDay:
        values = {
            ("default_channel_group", name): Counts(sessions=int(generate.poisson(size)))
            for name, size in (("Organic", 500), ("Paid", paid), ("Email", 100))
        }
        return KpiDay(Counts(sessions=sum(counts.sessions for counts in values.values())), values)

    causes = find([make_day(400) for _ in range(56)] + [make_day(100) for _ in range(3)], rule, "below")
    first = causes.drivers[0]
    assert (first.value, first.is_significant) == ("Paid", True)
    assert first.excess == pytest.approx(-900, rel=0.1) and first.expected == pytest.approx(1_200, rel=0.05)


def test_a_mean_is_split_and_shown_in_its_unit() -> None:
    rule = make_duration_rule("below")
    generate = np.random.default_rng(7)

    def make_day(mobile: float) -> KpiDay:
        values = {
            ("device_category", "mobile"): Counts(engaged=500, mean_log=mobile + generate.normal(0, 0.05)),
            ("device_category", "desktop"): Counts(engaged=500, mean_log=float(np.log(121)) + generate.normal(0, 0.05)),
        }
        return KpiDay(Counts(engaged=1_000), values)

    usual = float(np.log(121))
    causes = find([make_day(usual) for _ in range(56)] + [make_day(float(np.log(31))) for _ in range(3)], rule, "below")
    first = causes.drivers[0]
    assert (first.value, first.kind, first.is_significant) == ("mobile", "rate", True)
    assert first.expected == pytest.approx(120, rel=0.03) and first.observed == pytest.approx(30, rel=0.1)
    # The whole falls from 120 to the geometric middle, sqrt(121 x 31) - 1 = 60.2; all of it is mobile's doing.
    assert first.total_excess == pytest.approx(-59.8, rel=0.1) and first.share_of_excess == pytest.approx(1, abs=0.1)
    assert causes.impact is None


def test_one_value_has_an_impact_and_no_drivers_of_its_own() -> None:
    generate = np.random.default_rng(8)
    days = make_days(generate, {}) + make_days(generate, {"mobile": 0.9}, days=3)
    causes = find(days, dimension_value=("device_category", "mobile"))
    assert causes.drivers == [] and causes.impact is not None
    assert causes.impact.lost_orders == pytest.approx(0.2 * 900, rel=0.2)


def test_causes_survive_the_outbox() -> None:
    generate = np.random.default_rng(9)
    causes = find(make_days(generate, {}) + make_days(generate, {"mobile": 0.9}, days=3))
    assert Causes.from_dict(asdict(causes)) == causes


def test_without_a_past_nothing_is_explained() -> None:
    with write_kpis([KpiDay()]) as warehouse:
        assert explain(warehouse, RULE, "above", [date_of(0)], []) == Causes([], None, None, None)
