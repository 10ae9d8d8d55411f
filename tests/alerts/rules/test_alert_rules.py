"""The rules file: what is shipped is valid, and every mistake is named with its file and line."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest
from alert_warehouse import ShopDay, publish

from alerts.__main__ import main
from alerts.job import check_and_send
from alerts.rules.book import Direction, RulesError
from alerts.rules.loading import load_rules
from foundation.settings import PROJECT_DIR, Settings

VALID = """\
check_last_days: 7
rules:
  - name: conversion
    description: Sessions that buy.
    kpi: cart_abandonment_rate
    unit: share
    denominator: sessions_with_add_to_cart
    direction: below
    absolute: {below: 0.01}
    relative:
      below: -0.3
    minimum_volume: 100
    severity: warning
    owner: shop team
    runbook: docs/runbooks/cart_abandonment.md
"""


def test_the_shipped_rules_are_valid_and_their_runbooks_exist() -> None:
    book = load_rules(PROJECT_DIR / "alerts" / "rules.yml")
    tests = {rule.name: (rule.test, rule.direction) for rule in book.rules if rule.kind == "kpi"}
    assert tests == {
        "cart_abandonment_rate": ("rate", "above"),
        "checkout_abandonment_rate": ("rate", "above"),
        "conversion_rate": ("rate", "below"),
        "avg_session_duration_seconds": ("log_mean", "both"),
        "sessions": ("count", "both"),
        "events": ("count", "below"),
        "revenue_usd": ("amount", "below"),
    }
    kinds = {rule.kind for rule in book.rules} - {"kpi"}
    assert kinds == {"data_late", "data_missing", "validation_failed", "model_drift"}
    for rule in book.rules:
        assert (PROJECT_DIR / rule.runbook).is_file()
        if rule.kind == "kpi":
            # an event without consent has no session, and so neither device nor channel
            assert set(rule.dimensions) == (
                {"device_category", "default_channel_group"} if rule.name != "events" else set()
            )
            assert (rule.z_limit, rule.z_limit_repeated, rule.trailing_days) == (4, 2.5, 84)


def test_a_rule_of_ones_own_needs_yaml_only(tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(VALID)
    rule = load_rules(path).rules[0]
    assert (rule.title, rule.test, rule.trailing_days, rule.minimum_history_days) == ("Conversion", "rate", 84, 14)


@pytest.mark.parametrize(
    ("lines", "test"),
    [
        ("unit: usd, kpi: net_revenue_usd", "amount"),
        ("kpi: new_users", "count"),
        ("unit: usd, kpi: avg_order_value_usd, denominator: purchases", "log_mean"),
        ("unit: share, kpi: bounce_rate, denominator: sessions", "rate"),
    ],
)
def test_the_test_follows_from_the_unit(tmp_path: Path, lines: str, test: str) -> None:
    path = tmp_path / "rules.yml"
    own = f"{{name: own, description: d, {lines}, direction: both, severity: info, owner: o, runbook: r}}"
    path.write_text(f"rules:\n  - {own}\n")
    assert load_rules(path).rules[0].test == test


def test_events_are_dates_or_come_every_year(tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    events = """expected_events:
  - {name: Sale, from: 2026-11-23, to: 2026-11-30}
  - {name: Turn of the year, from: 12-30, to: 01-02, direction: below}
"""
    path.write_text(events + VALID)
    book = load_rules(path)
    rule = book.rules[0]

    def event_of(year: int, month: int, day: int, direction: Direction) -> str | None:
        event = book.find_event(rule, dt.date(year, month, day), direction)
        return event.name if event else None

    assert event_of(2026, 11, 23, "above") == event_of(2026, 11, 30, "below") == "Sale"
    assert event_of(2027, 11, 25, "above") is None and event_of(2026, 12, 1, "above") is None
    assert event_of(2030, 12, 31, "below") == event_of(2031, 1, 2, "below") == "Turn of the year"
    assert event_of(2030, 12, 31, "above") is None and event_of(2031, 1, 3, "below") is None


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        ("{name: Sale, from: 2026-11-23, to: 2026-11-20}", "ends before it begins"),
        ("{name: Sale, from: 2026-11-23, to: 12-24}", "needs two dates"),
        ("{name: Sale, from: 13-40, to: 12-24}", "not a month and day"),
    ],
)
def test_an_event_that_is_no_span_is_named(tmp_path: Path, event: str, problem: str) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(f"expected_events:\n  - {event}\n{VALID}")
    with pytest.raises(RulesError, match=rf"rules\.yml:2: expected_events\.0: .*{problem}"):
        load_rules(path)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("dimensions: [country]", "'data_late' takes no dimensions"),
        ("absolute: {above: 3}", "'data_late' takes no absolute"),
        ("direction: below", "'data_late' takes no direction"),
    ],
)
def test_a_data_rule_takes_nothing_of_a_kpi(tmp_path: Path, given: str, problem: str) -> None:
    path = tmp_path / "rules.yml"
    rule = f"name: late, kind: data_late, description: d, severity: info, owner: o, runbook: r, {given}"
    path.write_text(f"rules:\n  - {{{rule}}}\n")
    with pytest.raises(RulesError, match=problem):
        load_rules(path)


@pytest.mark.parametrize(
    ("old", "new", "line", "problem"),
    [
        ("direction: below", "direction: sideways", 8, "'above', 'below' or 'both'"),
        ("below: -0.3", "below: 0.3", 11, "must lie between -1 and 0"),
        ("below: -0.3", "below: lots", 11, "valid number"),
        ("below: -0.3", "below: .nan", 11, "finite number"),
        ("below: 0.01", "below: 85", 9, "runs from 0 to 1"),
        ("below: 0.01", "above: 0.9", 9, "direction is 'below'"),
        ("    owner: shop team\n", "", 3, "owner: Field required"),
        ("    severity: warning", "    severty: warning", 13, "unknown key"),
        ("    severity: warning", "    severity: warning\n    severity: info", 14, "given twice"),
        ("kpi: cart", "kpi: marts.cart", 5, "should match pattern"),
        ("    minimum_volume: 100", "    minimum_volume: -1", 12, "greater than or equal to 0"),
        ("    minimum_volume: 100", "    minimum_volume: 100\n    minimum_history_days: 90", 13, "never be tested"),
        ("    denominator: sessions_with_add_to_cart\n", "", 3, "needs a denominator"),
        ("    unit: share", "    unit: share\n    test: count", 7, "does not fit unit"),
        ("    unit: share", "    unit: share\n    impact: orders\n    statistic: x", 8, "needs test 'log_mean'"),
        ("direction: below", "direction: above", 9, "direction is 'above'"),
        ("    minimum_volume: 100", "    minimum_volume: 100\n    z_limit: 1", 13, "greater than or equal to 2"),
        ("    minimum_volume: 100", "    minimum_volume: 100\n    quiet_hours: {from: 22}", 13, "quiet_hours"),
        (
            "    minimum_volume: 100",
            "    minimum_volume: 100\n    quiet_hours: {from: 22:00, to: 07:00}",
            13,
            '1320 is not a time of day: write it in quotes, such as "22:00"',
        ),
        ("check_last_days: 7", "check_last_days: 0", 1, "greater than or equal to 1"),
        ("    relative:\n", "    relative: [\n", 12, "not valid YAML"),
        ("rules:", "rules: []\nrulez:", 2, "at least 1 item"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(tmp_path: Path, old: str, new: str, line: int, problem: str) -> None:
    path = tmp_path / "rules.yml"
    assert old in VALID
    path.write_text(VALID.replace(old, new, 1))
    with pytest.raises(RulesError) as caught:
        load_rules(path)
    assert any(text.startswith(f"{path}:{line}:") and problem in text for text in str(caught.value).splitlines())


def test_two_rules_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(VALID + VALID.split("rules:\n")[1])
    with pytest.raises(RulesError, match="two rules are named 'conversion'"):
        load_rules(path)


@pytest.mark.parametrize("content", ["", "- a\n", "just text\n"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(content)
    with pytest.raises(RulesError, match=r"rules\.yml:1: expected a mapping"):
        load_rules(path)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match="FUNNELHOUSE_ALERT_RULES"):
        load_rules(tmp_path / "none.yml")


@pytest.mark.parametrize("column", ["no_such_kpi", "landing"])
def test_a_column_that_is_missing_or_no_number_is_named(
    make_settings: Callable[..., Settings], tmp_path: Path, column: str
) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(VALID.replace("denominator: sessions_with_add_to_cart", f"denominator: {column}"))
    settings = make_settings(alert_rules=path)
    publish(settings, [ShopDay()] * 20)
    with pytest.raises(
        RulesError, match=rf"rules\.yml:7: .*'{column}' is not a numeric column.*sessions_with_purchase"
    ):
        check_and_send(settings, run_id="r")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("dimensions: [device_category, colour]", "'colour' is not a dimension of .*; it has default_channel_group"),
        ("dimensions: [device_category]\n    volume: sessions", None),
    ],
)
def test_a_dimension_that_is_not_broken_down_is_named(
    make_settings: Callable[..., Settings], tmp_path: Path, given: str, problem: str | None
) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(VALID.replace("minimum_volume: 100", given))
    settings = make_settings(alert_rules=path)
    publish(settings, [ShopDay()] * 20)
    if problem is None:
        assert check_and_send(settings, run_id="r").incidents == []
    else:
        with pytest.raises(RulesError, match=rf"rules\.yml:12: rule 'conversion': {problem}"):
            check_and_send(settings, run_id="r")


def test_the_command_prints_the_rules_or_the_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(VALID)
    assert main(["rules", str(path)]) == 0
    said = capsys.readouterr().out
    assert "1 rules, valid" in said and "below 1 %; -30 %" in said and "z beyond 2.5 on 2 of 3 days" in said
    path.write_text(VALID.replace("severity: warning", "severity: hot"))
    assert main(["rules", str(path)]) == 1
    assert capsys.readouterr().err.startswith(f"{path}:13: rules.0.severity")


def test_the_command_checks_the_published_columns_too(
    make_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(VALID.replace("denominator: sessions_with_add_to_cart", "denominator: sessions_with_cart"))
    monkeypatch.setenv("FUNNELHOUSE_HOME", str(tmp_path / "home"))
    assert main(["rules", str(path)]) == 0
    publish(make_settings(), [ShopDay()] * 20)
    assert main(["rules", str(path)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"{path}:7: rule 'conversion': denominator 'sessions_with_cart' is not a numeric column")
