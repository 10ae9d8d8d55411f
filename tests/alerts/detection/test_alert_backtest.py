"""The simulation keeps its promises on a smaller run, and the replay shows what the rules would have said."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pytest
from kpi_tables import AS_OF, Counts, KpiDay, date_of, make_book, make_rule, write_kpis

from alerts.__main__ import main
from alerts.detection.backtest import find_causes, find_fired, replay, say_backtest
from alerts.detection.panel import KpiTablesError
from alerts.detection.simulation import RESTLESS, World, count_incidents, simulate
from alerts.detection.walk import BREACH, NEAR, NORMAL, UNTESTED
from alerts.rules.loading import load_rules
from foundation.settings import PROJECT_DIR, Settings


def test_the_shipped_rules_cry_wolf_seldom_and_find_a_jump_of_a_tenth() -> None:
    book = load_rules(PROJECT_DIR / "alerts" / "rules.yml")
    cart = book.model_copy(update={"rules": [rule for rule in book.rules if rule.name == "cart_abandonment_rate"]})
    outcomes = simulate(cart, years=20, sizes=(300, 1_000, 5_000), worlds=(World(),))
    assert [outcome.sessions for outcome in outcomes] == [300, 1_000, 5_000]
    for outcome in outcomes:
        assert outcome.alarms_a_year[2] <= 3 and outcome.family_alarms_a_year[2] <= 3
    for outcome in outcomes[1:]:
        assert outcome.power(3)[2] >= 0.85 and outcome.power(3)[0] >= 0.80
    assert outcomes[2].power(3)[1] >= 0.85
    # What is smaller is harder to see; a week shows it.
    assert outcomes[0].power(3)[0] < outcomes[1].power(3)[0] <= outcomes[2].power(3)[0]
    assert outcomes[0].power(7)[0] > 0.7


def test_the_same_seed_gives_the_same_table() -> None:
    book = make_book(make_rule(name="cart_abandonment_rate", trailing_days=14, minimum_history_days=7))
    first, second = (simulate(book, years=1, seed=5, sizes=(300,), worlds=(RESTLESS,)) for _ in range(2))
    assert first == second and first[0].trials == 10


def test_incidents_are_counted_once_until_a_normal_day() -> None:
    verdicts = np.array(
        [
            [NORMAL, BREACH, BREACH, NEAR, BREACH, UNTESTED, NORMAL],
            [BREACH, NORMAL, BREACH, NORMAL, NEAR, NORMAL, BREACH],
            [NEAR, UNTESTED, NORMAL, NEAR, NORMAL, NORMAL, NORMAL],
        ],
        dtype=np.int8,
    )
    assert count_incidents(verdicts).tolist() == [1, 3, 0]


@pytest.fixture
def past() -> duckdb.DuckDBPyConnection:
    """Seventy days: mobile breaks on days 50 to 52, and the newest day is provisional."""
    generate = np.random.default_rng(3)

    def make_day(index: int) -> KpiDay:
        values = {}
        for device, size in (("mobile", 400), ("desktop", 300)):
            p = 0.95 if device == "mobile" and 50 <= index < 53 else 0.7
            values["device_category", device] = Counts(carts=size, abandoned=int(generate.binomial(size, p)))
        abandoned = sum(counts.abandoned for counts in values.values())
        return KpiDay(Counts(carts=700, abandoned=abandoned), values, is_provisional=index == 69)

    return write_kpis([make_day(index) for index in range(70)])


def test_the_replay_finds_what_was_there_and_nothing_else(past: duckdb.DuckDBPyConnection) -> None:
    rule = make_rule(dimensions=["device_category"])
    result = replay(past, make_book(rule), as_of=AS_OF, days=None)
    assert (result.first, result.last) == (date_of(0), date_of(68))
    assert {(each.checks[0].fingerprint, each.first, each.last, len(each.checks)) for each in result.fired} == {
        ("carts|=|above", date_of(50), date_of(52), 3),
        ("carts|device_category=mobile|above", date_of(50), date_of(52), 3),
    }
    assert len(find_causes(result.fired)) == 1
    said = say_backtest(result)
    assert "2 incidents at 1 different times" in said and f"{date_of(50)} to {date_of(52)}" in said
    assert "carts device_category=mobile: 9" in said


def test_a_replay_of_fewer_days_gives_the_same_verdicts_on_them(past: duckdb.DuckDBPyConnection) -> None:
    book = make_book(make_rule(dimensions=["device_category"]))
    whole, part = (replay(past, book, as_of=AS_OF, days=days) for days in (None, 20))
    assert part.first == date_of(49)
    assert part.checks == [check for check in whole.checks if check.date >= part.first]


def test_a_week_that_breached_begins_on_its_monday() -> None:
    days = [KpiDay(Counts(carts=12, abandoned=8))] * 70 + [KpiDay(Counts(carts=12, abandoned=12))] * 7
    result = replay(write_kpis(list(days)), make_book(make_rule()), as_of=AS_OF, days=None)
    assert [(each.first, each.last) for each in result.fired] == [(date_of(70), date_of(76))]


def test_incidents_that_overlap_are_one_time() -> None:
    with write_kpis([KpiDay()] * 30) as warehouse:
        checks = replay(warehouse, make_book(make_rule()), as_of=AS_OF, days=None).checks
    assert find_fired(checks) == [] and find_causes([]) == []


def test_the_command_prints_a_table_and_draws_a_chart(
    make_settings: Callable[..., Settings],
    past: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = make_settings()
    settings.home.mkdir(parents=True)
    past.execute(f"attach '{settings.published_path}' as published; copy from database memory to published")
    past.execute("detach published")
    rules = tmp_path / "rules.yml"
    rules.write_text(
        """
rules:
  - name: carts
    description: d
    kpi: cart_abandonment_rate
    unit: share
    denominator: sessions_with_add_to_cart
    direction: above
    severity: info
    owner: o
    runbook: r
"""
    )
    monkeypatch.setenv("FUNNELHOUSE_HOME", str(settings.home))
    monkeypatch.setenv("FUNNELHOUSE_ALERT_RULES", str(rules))
    assert main(["backtest", "--days", "30"]) == 0
    said = capsys.readouterr().out
    assert f"{date_of(39)} to {date_of(68)}, 30 days" in said and "carts" in said
    [chart] = (settings.alerts_dir / "backtest").glob("*.png")
    assert str(chart) in said and chart.read_bytes().startswith(b"\x89PNG")


def test_an_empty_warehouse_is_named() -> None:
    with (
        write_kpis([KpiDay(is_provisional=True)]) as warehouse,
        pytest.raises(KpiTablesError, match="no complete day to replay"),
    ):
        replay(warehouse, make_book(make_rule()), as_of=dt.datetime(2027, 1, 1, tzinfo=dt.UTC), days=None)
