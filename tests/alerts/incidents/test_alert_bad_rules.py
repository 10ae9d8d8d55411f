"""A rule that cannot be used is told, and stops no other."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest
from alert_warehouse import ShopDay, date_of, day, publish
from conftest import BOUND_RULES

from alerts.incidents.check import check_rules
from alerts.incidents.sending import deliver_outbox
from alerts.incidents.store import read_incidents
from alerts.rules.book import RulesError
from alerts.state import open_alerts
from foundation.settings import Settings

GOOD = BOUND_RULES.read_text(encoding="utf-8")
SHOP = [ShopDay()] * 40


def check(settings: Settings, rules: str, shop: list[ShopDay | None]) -> list[tuple[str, str]]:
    """Check with these rules; the incidents, kind and rule or status."""
    settings.alert_rules.write_text(rules, encoding="utf-8")
    publish(settings, shop)
    moment = dt.datetime.combine(date_of(len(shop)), dt.time(12), tzinfo=dt.UTC)
    check_rules(settings, run_id=f"run-{len(shop)}", as_of=moment)
    with open_alerts(settings) as state:
        return sorted((each.incident_id.split("-", 1)[1], each.status) for each in read_incidents(state))


@pytest.fixture
def settings(make_settings: Callable[..., Settings], tmp_path: Path) -> Settings:
    return make_settings(alert_rules=tmp_path / "rules.yml")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("denominator: sessions_with_add_to_cart", "denominator: sessions_with_cart", "is not a numeric column"),
        ("direction: above", "direction: sideways", "Input should be 'above', 'below' or 'both'"),
    ],
    ids=["column", "value"],
)
def test_a_bad_rule_is_one_incident_and_the_other_rule_goes_on(
    settings: Settings, old: str, new: str, said: str
) -> None:
    bad = GOOD.replace(old, new, 1)
    slow = [*SHOP, day(duration=40.0)]
    rule = "20260811-cart_abandonment_rate"
    assert check(settings, bad, slow) == [
        ("20260811-cart_abandonment_rate", "open"),
        ("avg_session_duration_seconds-below", "open"),
    ]
    deliver_outbox(settings)
    message = (settings.alerts_dir / f"rule-{rule}" / "message.txt").read_text(encoding="utf-8")
    assert message.startswith("🔴 The alert rule cart_abandonment_rate is not checked\n") and said in message
    assert "rules.yml:" in message
    # the same again says nothing; mended, it is over, and what it watches is checked
    assert len(check(settings, bad, [*slow, ShopDay()])) == 2
    found = check(settings, GOOD, [*slow, day(abandoned=190), day(abandoned=190)])
    assert ("cart_abandonment_rate-above", "open") in found and ("20260811-cart_abandonment_rate", "resolved") in found


def test_incidents_of_a_bad_rule_wait_until_it_is_mended(settings: Settings) -> None:
    assert ("cart_abandonment_rate-above", "open") in check(settings, GOOD, [*SHOP, day(abandoned=190)])
    bad = GOOD.replace("direction: above", "direction: sideways", 1)
    assert ("cart_abandonment_rate-above", "open") in check(settings, bad, [*SHOP, day(abandoned=190), ShopDay()])


def test_where_no_rule_is_left_the_check_says_why(settings: Settings) -> None:
    with pytest.raises(RulesError, match="direction"):
        check(
            settings, GOOD.replace("direction: above", "direction: x").replace("direction: both", "direction: y"), SHOP
        )
