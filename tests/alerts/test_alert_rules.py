"""The rules file: what is shipped is valid, and every mistake is named with its file and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from alert_warehouse import ShopDay, publish

from alerts.__main__ import main
from alerts.job import check_and_send
from alerts.rules import RulesError, load_rules
from warehouse.settings import PROJECT_DIR, Settings

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
    assert [rule.name for rule in book.rules] == ["cart_abandonment_rate", "avg_session_duration_seconds"]
    cart, duration = book.rules
    assert (cart.direction, cart.absolute.above, cart.relative.above, cart.trailing_days) == ("above", 0.85, 0.25, 28)
    assert (duration.direction, duration.relative.below, duration.relative.above) == ("both", -0.35, 0.60)
    assert duration.absolute.below == 10
    for rule in book.rules:
        assert (PROJECT_DIR / rule.runbook).is_file()


def test_a_rule_of_ones_own_needs_yaml_only(tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(VALID)
    rule = load_rules(path).rules[0]
    assert (rule.title, rule.trailing_days, rule.minimum_history_days) == ("Conversion", 28, 14)


@pytest.mark.parametrize(
    ("old", "new", "line", "problem"),
    [
        ("direction: below", "direction: sideways", 8, "'above', 'below' or 'both'"),
        ("below: -0.3", "below: 0.3", 3, "must lie between -1 and 0"),
        ("below: -0.3", "below: lots", 11, "valid number"),
        ("below: -0.3", "below: .nan", 11, "finite number"),
        ("below: 0.01", "below: 85", 3, "runs from 0 to 1"),
        ("below: 0.01", "above: 0.9", 3, "direction is 'below'"),
        ("    owner: shop team\n", "", 3, "owner: Field required"),
        ("    severity: warning", "    severty: warning", 13, "unknown key"),
        ("    severity: warning", "    severity: warning\n    severity: info", 14, "given twice"),
        ("kpi: cart", "kpi: marts.cart", 5, "should match pattern"),
        ("    minimum_volume: 100", "    minimum_volume: -1", 12, "greater than or equal to 0"),
        ("    minimum_volume: 100", "    minimum_volume: 100\n    minimum_history_days: 40", 3, "never be tested"),
        ("    denominator: sessions_with_add_to_cart\n", "", 3, "needs a denominator"),
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
    with pytest.raises(RulesError, match=rf"rules\.yml:7: .*'{column}' is not a number column.*sessions_with_purchase"):
        check_and_send(settings, run_id="r")


def test_the_command_prints_the_rules_or_the_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(VALID)
    assert main(["rules", str(path)]) == 0
    said = capsys.readouterr().out
    assert "1 rules, valid" in said and "-30 % against the 28 days before" in said
    path.write_text(VALID.replace("severity: warning", "severity: hot"))
    assert main(["rules", str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"{path}:13: rules.0.severity")
