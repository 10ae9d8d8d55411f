"""A day is judged by its first figures, within a band that is as much wider as such figures have moved since."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence

import numpy as np
import pytest
from kpi_tables import Counts, KpiDay, date_of, make_rule, write_kpis

from alerts.detection.evaluation import evaluate_rules
from alerts.detection.revisions import PRIOR_DAYS, PRIOR_DEVIATION, Measures, Revision, learn_revision
from alerts.detection.verdicts import Check
from alerts.rules.book import RuleBook

Moves = list[tuple[Measures, Measures]]
TRAFFIC = make_rule(name="traffic", kpi="sessions", unit="count", denominator=None, direction="below", minimum_change=0)


def moves_of_sessions(*moves: tuple[float, float]) -> Moves:
    return [({"sessions": first}, {"sessions": final}) for first, final in moves]


def test_without_a_past_figures_move_as_google_says() -> None:
    assert learn_revision(TRAFFIC, []) == Revision(0.0, PRIOR_DEVIATION**2, None, 0)
    # a column that was not kept then
    assert learn_revision(TRAFFIC, [({"carts": 1.0}, {"carts": 1.0})]) == Revision()


def test_what_days_have_moved_by_is_learnt() -> None:
    found = learn_revision(TRAFFIC, moves_of_sessions((980, 1000), (960, 1000)))
    moves = [math.log(1000 / 980), math.log(1000 / 960)]
    shift = sum(moves) / (PRIOR_DAYS + 2)
    assert found.shift == pytest.approx(shift)
    squares = sum((move - shift) ** 2 for move in moves)
    assert found.variance == pytest.approx((PRIOR_DAYS * PRIOR_DEVIATION**2 + squares) / (PRIOR_DAYS + 2))
    assert (found.usual_move, found.days) == (40.0, 2)


def test_a_rate_moves_on_its_own_scale() -> None:
    def carts(abandoned: float, of: float) -> Measures:
        return {"cart_abandonment_rate": abandoned / of, "sessions_with_add_to_cart": of}

    found = learn_revision(make_rule(), [(carts(70, 100), carts(140, 210))])
    assert found.usual_move == pytest.approx(70 / 100 - 140 / 210)
    assert found.shift == pytest.approx((math.log(140.5 / 70.5) - math.log(70.5 / 30.5)) / (PRIOR_DAYS + 1))


def judge(day: KpiDay, *, moved: Sequence[tuple[Measures, Measures]] = ()) -> Check:
    """The newest day's check, after sixty days of 350 carts abandoned out of 500, give or take."""
    past = [KpiDay(Counts(carts=500, abandoned=350 + 9 * (index % 3 - 1))) for index in range(60)]
    warehouse = write_kpis([*past, day])
    rule = make_rule()
    book = RuleBook(rules=[rule])
    checks = evaluate_rules(
        warehouse, book, as_of=dt.datetime.combine(date_of(62), dt.time(9), dt.UTC), excluded={}, moved=moved
    )
    return max(checks, key=lambda check: check.date)


def carts_day(abandoned: int, kind: str) -> KpiDay:
    return KpiDay(Counts(carts=500, abandoned=abandoned), is_provisional=True, kind=kind)


def test_first_figures_are_tested_and_say_so() -> None:
    for kind in ("daily", "fresh"):
        check = judge(carts_day(430, kind))
        assert (check.date, check.verdict, check.is_provisional) == (date_of(60), "breach", False)
        assert check.figures.reason.endswith("; first figures, which may still move a little")
    assert judge(carts_day(430, "intraday")).verdict == "untested"
    assert judge(carts_day(352, "daily")).verdict == "normal"


def test_figures_that_move_much_have_a_wider_band() -> None:
    def carts(abandoned: float) -> Measures:
        return {"cart_abandonment_rate": abandoned / 500, "sessions_with_add_to_cart": 500.0}

    restless = [(carts(350 + step), carts(350)) for step in (60, -60) * 20]
    steady = [(carts(350), carts(350))] * 40
    bands = {
        name: judge(carts_day(410, "daily"), moved=moved).figures.band_high
        for name, moved in {"restless": restless, "unknown": [], "steady": steady}.items()
    }
    final = judge(KpiDay(Counts(carts=500, abandoned=410))).figures.band_high
    assert final is not None and bands["restless"] is not None and bands["unknown"] is not None
    assert final < bands["steady"] < bands["unknown"] < bands["restless"] - 0.02  # type: ignore[operator]
    said = judge(carts_day(480, "daily"), moved=restless).figures.reason
    assert said.endswith("; first figures: such days have moved by up to 12.0 points since")


def test_what_is_usually_missing_at_first_is_expected_to_be() -> None:
    late = moves_of_sessions(*[(900, 1000)] * 60)
    past = [KpiDay(Counts(sessions=1000 + 20 * (index % 3 - 1))) for index in range(60)]
    warehouse = write_kpis([*past, KpiDay(Counts(sessions=900), is_provisional=True, kind="daily")])
    as_of = dt.datetime.combine(date_of(62), dt.time(9), dt.UTC)

    def newest(moved: Moves) -> Check:
        checks = evaluate_rules(warehouse, RuleBook(rules=[TRAFFIC]), as_of=as_of, excluded={}, moved=moved)
        return max(checks, key=lambda check: check.date)

    assert newest(late).figures.expected == pytest.approx(1000 * math.exp(-math.log(1000 / 900) * 60 / 65), rel=0.01)
    assert newest(late).verdict == "normal"


def test_a_shop_whose_first_figures_lack_a_share_is_as_quiet_as_with_final_ones() -> None:
    """Two years of days of which up to four per cent of the sessions come late, judged at first sight."""
    random = np.random.default_rng(7)
    rule, alarms = make_rule(direction="both"), 0
    final = [(int(n), int(random.binomial(n, 0.7))) for n in random.poisson(800, 790)]
    first = []
    for n, abandoned in final:
        share = 1 - random.uniform(0, 0.04)
        first.append((int(random.binomial(n - abandoned, share)), int(random.binomial(abandoned, share))))
    names = ("cart_abandonment_rate", "sessions_with_add_to_cart")
    moved: Moves = [
        (dict(zip(names, (b / (a + b), float(a + b)), strict=True)), dict(zip(names, (d / n, float(n)), strict=True)))
        for (a, b), (n, d) in zip(first[:60], final[:60], strict=True)
    ]
    days: list[KpiDay | None] = [KpiDay(Counts(carts=n, abandoned=abandoned)) for n, abandoned in final]
    for today in range(60, 790, 10):  # ten days at a time, each one the first figures of the newest
        a, b = first[today]
        newest = KpiDay(Counts(carts=a + b, abandoned=b), is_provisional=True, kind="daily")
        warehouse = write_kpis([*days[today - 60 : today], newest])
        as_of = dt.datetime.combine(date_of(62), dt.time(9), dt.UTC)
        checks = evaluate_rules(warehouse, RuleBook(rules=[rule]), as_of=as_of, excluded={}, moved=moved)
        alarms += any(check.verdict == "breach" and check.date == date_of(60) for check in checks)
    assert alarms == 0
