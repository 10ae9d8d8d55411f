"""Items of events, on rows small enough to check by hand: which count, what led to their cart, what became of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import duckdb
import pytest

from foundation.settings import Settings
from tests.dbt_runner import build_and_publish, query
from tests.lake_writer import make_event, write_day
from warehouse.ga4_schema import EVENT_COLUMNS

Event = dict[str, Any]
Query = Callable[[str], list[tuple[Any, ...]]]

DAY = "2026-08-01"


def item(name: str | None, **fields: Any) -> Event:
    """One item; six dollars a piece."""
    return {"item_id": name, "price_in_usd": 6.0, "quantity": 1, **fields}


def do(name: str, minute: int, *items: Event, user: str | None, **options: Any) -> Event:
    """An event of a visitor who has one session, on one page."""
    params = {"page_location": "https://shop.example/"}
    at = f"{DAY}T10:{minute:02}:00"
    return make_event(name, at, user=user, params=params, items=list(items), **options)


def buy(minute: int, *items: Event, user: str, order: str, revenue: float, **options: Any) -> Event:
    """A purchase."""
    ecommerce = {"transaction_id": order, "purchase_revenue_in_usd": revenue}
    return do("purchase", minute, *items, user=user, ecommerce=ecommerce, **options)


def give_back(minute: int, *items: Event, order: str, amount: float | None = None) -> Event:
    """A refund that the shop's server sends."""
    ecommerce = {"transaction_id": order, "refund_value_in_usd": amount}
    return do("refund", minute, *items, user="server", ecommerce=ecommerce, session=None)


EVENTS = [
    # sees three lists and buys from one of them; the page of the order is loaded again
    do("view_item_list", 0, item("lamp", item_list_id="home"), item("rug", item_list_id="home"), user="ann"),
    do("view_item_list", 1, item("lamp", item_list_id="lamps"), user="ann"),
    do("view_item_list", 2, item("rug", item_list_id="rugs"), user="ann"),
    do("select_item", 3, item("lamp", item_list_id="lamps", promotion_id="light"), user="ann"),
    do("view_item", 4, item("lamp", item_brand="Lux", item_category="Light"), user="ann"),
    do("add_to_cart", 5, item("lamp", item_variant="red", quantity=2), user="ann"),
    do("view_item_list", 6, item("lamp", item_list_id="too late"), user="ann"),
    buy(7, item("lamp", item_variant="red", quantity=2), item("bulb"), user="ann", order="T1", revenue=18.0),
    buy(8, item("lamp", item_variant="red", quantity=2), item("bulb"), user="ann", order="T1", revenue=18.0),
    give_back(9, item("bulb"), order="T1"),
    # clicks a banner that names no product, fills a cart, takes some of it out and leaves
    do("select_promotion", 0, {"promotion_id": "banner"}, user="ben"),
    do("add_to_cart", 1, item("lamp", quantity=3), user="ben"),
    do("add_to_cart", 1, item("rug", price_in_usd=40.0), user="ben"),
    do("remove_from_cart", 2, item("lamp"), user="ben"),
    do("remove_from_cart", 2, item("rug", price_in_usd=40.0), user="ben"),
    # events that count as nothing: no consent, staff, and a copy of the same event
    do("view_item", 0, item("lamp"), user=None, session=None),
    make_event("view_item", f"{DAY}T10:00:00", user="staff", params={"traffic_type": "internal"}, items=[item("lamp")]),
    do("view_item", 0, item("lamp"), user="cat"),
    do("view_item", 0, item("lamp"), user="cat"),
    # an order that a server sent while nobody was there
    do("view_item", 0, item("rug", price_in_usd=40.0), user="dan"),
    {
        **buy(0, item("rug", price_in_usd=40.0), user="dan", order="T2", revenue=40.0, session=None),
        "event_params": [],
        "event_timestamp": do("view_item", 0, user="dan")["event_timestamp"] + 7 * 3_600_000_000,
    },
    # an item with parameters of its own, in each type, and without an id
    do(
        "view_item",
        0,
        item(
            None,
            item_name="Vase",
            item_params=[
                {"key": "size", "value": {"string_value": "XL"}},
                {"key": "stock", "value": {"int_value": 7}},
                {"key": "rating", "value": {"double_value": 4.5}},
            ],
        ),
        user="eve",
    ),
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Query:
    settings = Settings(home=tmp_path_factory.mktemp("items"), source=None, property_timezone="UTC")
    write_day(settings, DAY, EVENTS)
    build_and_publish(settings)
    return lambda sql: query(settings, sql)


def test_items_count_where_their_events_and_orders_count(shop: Query) -> None:
    assert shop(
        "select product_id, item_variant, list_views, list_clicks, views, carts, cart_quantity, removals, orders, "
        "quantity from marts.agg_items_daily order by 1, 2"
    ) == [
        ("Vase", "(not set)", 0, 0, 1, 0, 0, 0, 0, 0),
        ("bulb", "(not set)", 0, 0, 0, 0, 0, 0, 1, 1),
        ("lamp", "(not set)", 3, 1, 2, 1, 3, 1, 0, 0),
        ("lamp", "red", 0, 0, 0, 1, 2, 0, 1, 2),
        ("rug", "(not set)", 2, 0, 1, 1, 1, 1, 1, 1),
    ]


def test_orders_and_money_of_items_are_those_of_the_purchases(shop: Query) -> None:
    of_purchases = shop(
        "select count(*), sum(item_quantity), sum(revenue_usd), sum(refund_usd) from marts.fct_purchases"
    )
    assert of_purchases == [(2, 4, 58.0, 6.0)]
    assert of_purchases == shop(
        "select count(distinct purchase_id), sum(quantity), sum(revenue_usd), sum(refund_usd) "
        "from intermediate.int_order_items"
    )
    assert of_purchases == shop(
        "select count(distinct purchase_id), sum(quantity), sum(quantity * price_usd), 6.0 "
        "from marts.fct_item_events where purchase_id is not null"
    )
    assert shop("select sum(revenue_usd), sum(refund_usd), sum(net_revenue_usd) from marts.agg_items_daily") == [
        (58.0, 6.0, 52.0)
    ]
    assert shop("select product_id from marts.agg_items_daily where refund_usd > 0") == [("bulb",)]


def test_events_with_items_are_those_of_fct_events_and_orders_without_a_session(shop: Query) -> None:
    assert shop(
        "select event_name, transaction_id from marts.fct_item_events where session_id is null order by all"
    ) == [("purchase", "T2"), ("refund", "T1")]
    assert shop(
        "select count(*) from marts.fct_item_events where session_id is not null "
        "and event_id not in (select event_id from marts.fct_events)"
    ) == [(0,)]
    assert shop("select count(*), count(distinct (event_id, item_number)) from marts.fct_item_events") == [(22, 22)]
    # the page that was loaded again is an event, and no order
    assert shop(
        "select count(*), count(purchase_id) from marts.fct_item_events "
        "where transaction_id = 'T1' and event_name = 'purchase'"
    ) == [(4, 2)]


def test_item_params_are_texts_by_key(shop: Query) -> None:
    assert shop("select item_params, product_id from marts.fct_item_events where item_name = 'Vase'") == [
        (
            [
                {"key": "size", "value": "XL"},
                {"key": "stock", "value": "7"},
                {"key": "rating", "value": "4.5"},
            ],
            "Vase",
        )
    ]


def test_the_last_list_before_the_cart_takes_the_order(shop: Query) -> None:
    assert shop(
        "select session_id, product_id, item_list_id, promotion_id, is_banner, orders, revenue_usd "
        "from marts.fct_item_attribution order by all"
    ) == [
        ("1|ann|1", "bulb", None, None, False, 1, 6.0),
        ("1|ann|1", "lamp", "lamps", "light", False, 1, 12.0),
        ("1|ben|1", "lamp", None, "banner", True, 0, 0.0),
        ("1|ben|1", "rug", None, "banner", True, 0, 0.0),
    ]
    assert shop(
        "select kind, list_id, views, clicks, carts, orders, revenue_usd from marts.agg_item_lists_daily order by all"
    ) == [
        ("list", "(not set)", 0, 0, 2, 1, 6.0),
        ("list", "home", 2, 0, 0, 0, 0.0),
        ("list", "lamps", 1, 1, 1, 1, 12.0),
        ("list", "rugs", 1, 0, 0, 0, 0.0),
        ("list", "too late", 1, 0, 0, 0, 0.0),
        ("promotion", "(not set)", 0, 0, 0, 1, 6.0),
        ("promotion", "banner", 0, 1, 2, 0, 0.0),
        ("promotion", "light", 0, 0, 1, 1, 12.0),
    ]


def test_what_was_taken_out_of_the_cart_is_not_left_behind(shop: Query) -> None:
    assert shop("select product_id, sessions, quantity, value_usd from marts.agg_abandoned_items_daily") == [
        ("lamp", 1, 2, 12.0)
    ]


def test_a_product_has_its_fields_from_whichever_event_told_them(shop: Query) -> None:
    assert shop("select item_brand, item_category, price_usd from marts.dim_products where product_id = 'lamp'") == [
        ("Lux", "Light", 6.0)
    ]


def test_the_columns_of_fct_item_events_are_those_of_the_export(shop: Query) -> None:
    """Each field of `items` is there, under the name that the warehouse gives to amounts."""
    renamed = {
        "price_in_usd": "price_usd",
        "price": "price_local",
        "item_revenue_in_usd": "item_revenue_usd",
        "item_revenue": "item_revenue_local",
        "item_refund_in_usd": "item_refund_usd",
        "item_refund": "item_refund_local",
    }
    with duckdb.connect() as connection:
        items = connection.sql(f"select cast(null as {EVENT_COLUMNS['items']}) as items").types[0]
    fields = {renamed.get(name, name) for name, _ in items.children[0][1].children}
    assert len(fields) == 27
    columns = shop("select column_name from information_schema.columns where table_name = 'fct_item_events'")
    assert fields <= {name for (name,) in columns}
