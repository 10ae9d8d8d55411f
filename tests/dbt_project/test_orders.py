"""What an order says of itself, of its checkout and of its buyer, and the funnel that leads to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from foundation.settings import Settings
from tests.dbt_runner import build_and_publish, query
from tests.lake_writer import make_event, write_day

Event = dict[str, Any]
Query = Callable[[str], list[tuple[Any, ...]]]

DAY, NEXT_DAY, LATER_DAY = "2026-08-01", "2026-08-02", "2026-08-05"


def order(
    name: str, at: str = f"{DAY}T18:00:30", *, user: str | None = None, session: int = 1, **options: Any
) -> Event:
    """A purchase with the order number `name`, of a user of that name unless another is given."""
    params = {"transaction_id": name, **options.pop("params", {})}
    return make_event("purchase", at, user=user or name, session=session, params=params, **options)


def costs() -> list[Event]:
    """Shipping and tax in the record, in the params, in euros and in nonsense."""
    record = {"shipping_value_in_usd": 5.5, "tax_value_in_usd": 1.1, "shipping_value": 5.0, "tax_value": 1.0}
    euros = {"currency": "EUR", "value": 100.0, "shipping": 5, "tax": "1.5"}
    negative = {"shipping_value_in_usd": -5.5, "tax_value_in_usd": float("nan")}
    return [
        order("record", params=euros, ecommerce={**record, "purchase_revenue": 99.0, "purchase_revenue_in_usd": 110.0}),
        order("dollars", params={**euros, "currency": "usd"}),
        order("euros", params=euros),
        order("nothing"),
        order("negative", params={"currency": "EUR", "value": -3.0}, ecommerce=negative),
    ]


def checkouts() -> list[Event]:
    """Payment and delivery are chosen twice; one order says so itself, one is of another session, two share theirs."""
    rows: list[Event] = []
    for name, session in (("chosen", 1), ("said", 1), ("elsewhere", 2), ("two", 1)):
        for second, (payment, tier) in enumerate((("card", "ground"), ("(not set)", "air"), ("paypal", "ground"))):
            at = f"{DAY}T18:00:0{second}"
            rows.append(make_event("add_shipping_info", at, user=name, params={"shipping_tier": tier}))
            rows.append(make_event("add_payment_info", at, user=name, params={"payment_type": payment}))
        own = {"payment_type": "invoice", "coupon": "SPRING"} if name == "said" else {}
        rows.append(order(name, session=session, params=own))
        # what is chosen after the order is of the next one
        rows.append(make_event("add_payment_info", f"{DAY}T18:01:00", user=name, params={"payment_type": "voucher"}))
    rows.append(order("two again", f"{DAY}T18:02:00", user="two"))
    return rows


def item(name: str, quantity: int) -> dict[str, Any]:
    return {"item_id": name, "item_name": name, "price_in_usd": 5.0, "quantity": quantity}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Query:
    settings = Settings(home=tmp_path_factory.mktemp("home"), property_timezone="UTC")
    items = [item("A", 2), item("B", 1), item("A", 1)]
    price = {"price": 4_990_000, "value": 4_990_000, "currency": "EUR", "product_id": "coins"}
    app = make_event("in_app_purchase", f"{DAY}T18:00:09", user="app", platform="ANDROID", params=price)
    write_day(settings, DAY, [*costs(), *checkouts(), order("pieces", items=items), app])
    build_and_publish(settings)
    return lambda sql: query(settings, sql)


def test_the_record_of_an_order_beats_its_params_and_only_dollars_are_dollars(shop: Query) -> None:
    columns = "currency, revenue_local, shipping_usd, shipping_local, tax_usd, tax_local"
    found = shop(f"select transaction_id, {columns} from marts.fct_purchases")
    expected = {
        "record": ["EUR", 99.0, 5.5, 5.0, 1.1, 1.0],
        "dollars": ["USD", 100.0, 5.0, 5.0, 1.5, 1.5],
        "euros": ["EUR", 100.0, None, 5.0, None, 1.5],
        "nothing": [None, None, None, None, None, None],
        "negative": ["EUR", 0.0, None, None, None, None],
    }
    assert {name: values for name, *values in found if name in expected} == expected
    # an app's store sends millionths
    assert shop("select currency, revenue_local, shipping_usd from marts.fct_purchases where is_in_app") == [
        ("EUR", 4.99, None)
    ]


def test_an_order_counts_its_pieces_and_its_different_items(shop: Query) -> None:
    assert shop("select item_quantity, unique_items from marts.fct_purchases where transaction_id = 'pieces'") == [
        (4, 2)
    ]
    assert shop("select unique_items from marts.fct_purchases where transaction_id = 'nothing'") == [(None,)]


def test_payment_and_delivery_are_the_last_chosen_before_the_order_unless_it_says_so_itself(shop: Query) -> None:
    found = shop("select transaction_id, payment_type, shipping_tier, coupon from marts.fct_purchases")
    expected = {
        "chosen": ["paypal", "ground", None],
        "said": ["invoice", "ground", "SPRING"],
        "elsewhere": [None, None, None],
        "two": ["paypal", "ground", None],
        "two again": ["voucher", "ground", None],
    }
    assert {name: values for name, *values in found if name in expected} == expected
    # what a session chose is told by its checkout alone, as before
    assert shop("select payment_type from marts.fct_session_steps where session_id = '1|said|1'") == [("voucher",)]


def test_the_funnel_has_the_steps_of_the_checkout(shop: Query) -> None:
    assert shop(
        "select step_number, step, cast(sum(sessions) as bigint) from marts.agg_funnel_daily group by all order by 1"
    ) == [
        (1, "session", 12),
        (2, "view_item", 0),
        (3, "add_to_cart", 0),
        (4, "begin_checkout", 0),
        (5, "add_shipping_info", 4),
        (6, "add_payment_info", 4),
        (7, "purchase", 11),
    ]


def test_an_earlier_order_that_comes_late_makes_the_first_one_a_repeated_one(tmp_path: Any) -> None:
    settings = Settings(home=tmp_path / "home", property_timezone="UTC")
    orders = "select transaction_id, order_number, is_first_order, days_since_previous_order from marts.fct_purchases"
    buyers = "select session_date, new_buyer_purchases, new_buyer_revenue_usd from marts.fct_sessions order by 1"
    dollars = {"ecommerce": {"purchase_revenue_in_usd": 10.0}}
    write_day(settings, LATER_DAY, [order("T2", f"{LATER_DAY}T12:00:00", user="laptop", user_id="7", **dollars)])
    build_and_publish(settings)
    assert query(settings, orders) == [("T2", 1, True, None)]
    assert [row[1:] for row in query(settings, buyers)] == [(1, 10.0)]
    # the same person on another device, three days before
    write_day(settings, NEXT_DAY, [order("T1", f"{NEXT_DAY}T12:00:00", user="phone", user_id="7", **dollars)])
    assert not build_and_publish(settings).plan.is_full_rebuild
    assert query(settings, f"{orders} order by 1") == [("T1", 1, True, None), ("T2", 2, False, 3.0)]
    assert [row[1:] for row in query(settings, buyers)] == [(1, 10.0), (0, 0.0)]
    # on a day that nobody has delivered again
    kpis = "new_buyer_purchases, returning_buyer_purchases from marts.agg_kpis_daily"
    assert query(settings, f"select {kpis} where kpi_date = '{LATER_DAY}'") == [(0, 1)]


def test_first_and_last_touch_are_those_of_the_attribution(tmp_path: Any) -> None:
    settings = Settings(home=tmp_path / "home", property_timezone="UTC")
    ads = {"collected_traffic_source": {"manual_source": "google", "manual_medium": "cpc"}}
    mail = {"collected_traffic_source": {"manual_source": "news", "manual_medium": "email"}}
    write_day(
        settings,
        DAY,
        [
            make_event("page_view", f"{DAY}T10:00:00", session=1, **ads),
            make_event("page_view", f"{DAY}T11:00:00", session=2, **mail),
            order("direct", f"{DAY}T12:00:00", user="user", session=3),
        ],
    )
    build_and_publish(settings)
    assert query(
        settings,
        "select first_touch_source, first_touch_default_channel_group, last_touch_source, last_touch_medium, "
        "cast(first_touched_at as varchar), cast(last_touched_at as varchar) from marts.fct_purchases",
    ) == [("google", "Paid Search", "news", "email", f"{DAY} 10:00:00", f"{DAY} 11:00:00")]
