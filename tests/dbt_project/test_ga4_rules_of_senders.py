"""What real senders send, rules 17 and on: what the export says beats what is derived; see docs/ga4-rules.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from foundation.settings import Settings
from tests.dbt_runner import build_and_publish, query
from tests.lake_writer import make_event, write_day

Event = dict[str, Any]
Query = Callable[[str], list[tuple[Any, ...]]]

DAY, NEXT_DAY = "2026-08-01", "2026-08-02"
T = f"{DAY}T18:00:00"


def page(at: str, path: str, *, params: dict[str, Any] | None = None, **options: Any) -> Event:
    return make_event(
        "page_view", at, params={"page_location": f"https://shop.example{path}", **(params or {})}, **options
    )


def item(name: str) -> dict[str, Any]:
    return {"item_id": name, "item_name": name, "price_in_usd": 5.0, "quantity": 1}


def campaign(group: str | None, source: str, medium: str, name: str | None = None) -> Event:
    values = {"source": source, "medium": medium, "campaign_name": name, "default_channel_group": group}
    return {"session_traffic_source_last_click": {"cross_channel_campaign": values}}


def identities() -> list[Event]:
    """Two products seen in one batch, and a true copy; without batch fields other items; one event of equal rows."""
    user: dict[str, Any] = {"user": "r17", "session": 1}
    batch = {"batch_page_id": 1, "batch_ordering_id": 2}
    return [
        make_event("view_item", T, items=[item("SKU-B")], batch_event_index=3, **batch, **user),
        make_event("view_item", T, items=[item("SKU-D")], batch_event_index=4, **batch, **user),
        *[make_event("scroll", T, batch_event_index=5, **batch, **user)] * 2,
        make_event("view_item_list", T, items=[item("SKU-E")], **user),
        make_event("view_item_list", T, items=[item("SKU-F")], **user),
        *[make_event("select_item", T, items=[item("SKU-F")], **user)] * 2,
    ]


def entrances() -> list[Event]:
    """Two pages of one microsecond, of which GA4 calls one the entrance; as a number and as text, in either order."""
    rows = []
    for user, value, first in (("r18 number", 1, "/promo"), ("r18 text", "1", "/a"), ("r18 late", 1, "/a")):
        pages = [
            page(T, "/promo", params={"entrances": value}, user=user),
            page(T, "/a", params={"entrances": 0} if user == "r18 late" else None, user=user),
        ]
        rows += pages if first == "/promo" else pages[::-1]
    return rows


GROUPS = [
    ("pmax", "Cross-network", "google", "cpc"),
    ("video", "Paid Video", "google", "cpc"),
    ("display", "Display", "google", "cpc"),
    ("none named", None, "google", "cpc"),
    ("unknown", None, "(not set)", "(not set)"),
    ("named unknown", "Unassigned", "(not set)", "(not set)"),
    ("direct", "Direct", "(direct)", "(none)"),
]


def channels() -> list[Event]:
    """Each after a visit from a newsletter, which a direct session takes on, and no other."""
    rows = []
    for name, group, source, medium in GROUPS:
        mail = {"collected_traffic_source": {"manual_source": "mail", "manual_medium": "email"}}
        rows.append(page(f"{DAY}T17:00:00", "/a", user=f"r19 {name}", session=1, **mail))
        rows.append(page(T, "/b", user=f"r19 {name}", session=2, **campaign(group, source, medium)))
    rows.append(page(f"{DAY}T18:40:00", "/c", user="r19 pmax", session=3))  # direct, after the campaign
    return rows


COOKIES = {
    "gs2": "s1747068300$o5$g1$t1747069985$j41$l0$h0",
    "gs2 whole": "GS2.1.s1747068300$o5$g1$t1747069985$j41$l0$h0",
    "gs2 short": "s1747068300",
    "gs1": "GS1.1.1747068300.5.1.1747069985.0.0.0",
    "number": 1747068300,
    "text": "1747068300",
}


def cookies() -> list[Event]:
    """A session whose id comes as a cookie on one event and as a plain number on the other."""
    rows = []
    for name, value in COOKIES.items():
        rows.append(page(T, "/a", user=f"r20 {name}", session=None, params={"ga_session_id": value}))
        rows.append(page(f"{DAY}T18:01:00", "/b", user=f"r20 {name}", session=1747068300))
    rows.append(page(T, "/a", user="r20 nonsense", session=None, params={"ga_session_id": "s$o5"}))
    return rows


PLACEHOLDERS = (
    *("undefined", "null", "NaN", "None", "{{Transaction ID}}", "[object Object]", "0", "0.0", "N/A", "${order.id}"),
    *("%%ORDER_ID%%", "(none)", " undefined ", "-1", "false"),
)


def placeholders() -> list[Event]:
    """Two orders of different people under each, and a refund of it; and ids that only look a little like them."""
    rows = []
    for number, text in enumerate(PLACEHOLDERS):
        for user in ("a", "b"):
            ecommerce = {"transaction_id": text, "purchase_revenue_in_usd": 10.0}
            rows.append(make_event("purchase", T, user=f"r21 {number} {user}", ecommerce=ecommerce))
        values = {"transaction_id": text}
        rows.append(make_event("refund", T, user=f"r21 {number} a", ecommerce=values))
    for text in ("10", "A-0", "nullable-7", "undefined-1"):
        ecommerce = {"transaction_id": text, "purchase_revenue_in_usd": 1.0}
        rows.append(make_event("purchase", T, user="r21 real", ecommerce=ecommerce))
    behind = {"transaction_id": "undefined", "purchase_revenue_in_usd": 1.0}
    rows.append(make_event("purchase", T, user="r21 real", ecommerce=behind, params={"transaction_id": "P-1"}))
    rows.append(make_event("purchase", T, user="r21 number", params={"transaction_id": 0}))
    return rows


def apps() -> list[Event]:
    """Screens by class only, by name and class, and what was bought in the app's store."""
    screens = [("/Cart", {"firebase_screen_class": "CartActivity"}), ("/Home", {"firebase_screen": "Home"})]
    rows = []
    for second, (_, params) in enumerate(screens):
        both = {**params, "firebase_screen_class": "CartActivity"}
        at = f"{DAY}T18:00:0{second}"
        rows.append(make_event("screen_view", at, user="r22 app", platform="ANDROID", params=both))
    price = {"price": 4_990_000, "value": 4_990_000, "currency": "EUR", "product_id": "coins"}
    app = {"user": "r22 app", "platform": "ANDROID"}
    rows.append(make_event("in_app_purchase", f"{DAY}T18:00:09", event_value_in_usd=4.99, params=price, **app))
    rows.append(make_event("in_app_purchase", f"{DAY}T18:00:10", params=price, **app))
    return rows


def refunds() -> list[Event]:
    """Orders of 100 dollars: two pieces of A at 30 and one B at 40; each with other refunds."""
    ordered = [{**item("A"), "price_in_usd": 30.0, "quantity": 2}, {**item("B"), "price_in_usd": 40.0}]
    one_a = {"item_id": "A", "quantity": 1}
    sent: dict[str, list[dict[str, Any]]] = {
        "value of the item": [{"items": [{**one_a, "item_refund_in_usd": 25.0}]}],
        "price and quantity": [{"items": [{**one_a, "price_in_usd": 30.0, "quantity": 2}]}],
        "neither": [{"items": [one_a]}],
        "two items": [{"items": [one_a, {"item_id": "B"}]}],
        "unknown item": [{"items": [{"item_id": "C", "quantity": 1}]}],
        "without items": [{}],
        "empty items": [{"items": []}],
        "several": [{"items": [one_a]}, {"items": [one_a]}, {"items": [one_a]}, {"items": [{"item_id": "B"}]}],
        "amount and items": [{"items": [one_a], "ecommerce": {"refund_value_in_usd": 12.5}}],
    }
    rows = []
    for name, events in sent.items():
        bought = {"transaction_id": f"R-{name}", "purchase_revenue_in_usd": 100.0}
        rows.append(make_event("purchase", T, user="r24", ecommerce=bought, items=ordered))
        for second, columns in enumerate(events):
            ecommerce = {"transaction_id": f"R-{name}", **columns.get("ecommerce", {})}
            at = f"{DAY}T19:00:{second:02}"
            rows.append(make_event("refund", at, user="r24", **{**columns, "ecommerce": ecommerce}))
    return rows


def streams() -> list[Event]:
    """One order number in two web streams, reloaded in one of them, and in the streams of two apps; a refund in one."""
    rows = []
    for stream, platform, user, amount in (
        ("1", "WEB", "r25 web", 50.0),
        ("2", "WEB", "r25 other web", 51.0),
        ("3", "ANDROID", "r25 android", 80.0),
        ("4", "IOS", "r25 ios", 90.0),
    ):
        values = {"transaction_id": "1001", "purchase_revenue_in_usd": amount}
        at = f"{DAY}T18:00:0{stream}"
        rows.append(
            make_event("purchase", at, user=user, ecommerce=values) | {"stream_id": stream, "platform": platform}
        )
    again = {"transaction_id": "1001", "purchase_revenue_in_usd": 50.0}
    rows.append(make_event("purchase", f"{DAY}T18:05:00", user="r25 web", ecommerce=again))
    rows.append(make_event("purchase", f"{DAY}T20:05:00", user="r25 web", session=2, ecommerce=again))
    back = make_event("refund", f"{DAY}T21:00:00", user="r25 ios", ecommerce={"transaction_id": "1001"})
    return [*rows, back | {"stream_id": "4", "platform": "IOS"}]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Query:
    settings = Settings(home=tmp_path_factory.mktemp("home"), property_timezone="UTC")
    rows = [*identities(), *entrances(), *channels(), *cookies(), *placeholders(), *apps(), *refunds(), *streams()]
    write_day(settings, DAY, rows)
    build_and_publish(settings)
    return lambda sql: query(settings, sql)


def test_rule_17_the_place_in_the_batch_and_the_items_are_part_of_an_event(shop: Query) -> None:
    assert shop(
        "select event_name, count(*), count(distinct event_id) from marts.fct_events where user_pseudo_id = 'r17' "
        "group by all order by all"
    ) == [("scroll", 1, 1), ("select_item", 1, 1), ("view_item", 2, 2), ("view_item_list", 2, 2)]
    assert shop("select duplicate_rows from ops.event_counts") == [(2,)]


def test_rule_18_of_a_tie_the_entrance_is_the_landing_page(shop: Query) -> None:
    assert shop(
        "select user_pseudo_id, landing_page, exit_page from marts.fct_sessions where user_pseudo_id like 'r18%' "
        "order by all"
    ) == [(f"r18 {name}", "/promo", "/a") for name in ("late", "number", "text")]


def test_rule_19_the_channel_that_the_export_names_counts(shop: Query) -> None:
    found = shop(
        "select user_pseudo_id[5:], default_channel_group, session_default_channel_group, source "
        "from marts.fct_sessions where user_pseudo_id like 'r19%' and ga_session_id = 2"
    )
    assert {name: values for name, *values in found} == {
        "pmax": ["Cross-network", "Cross-network", "google"],
        "video": ["Paid Video", "Paid Video", "google"],
        "display": ["Display", "Display", "google"],
        "none named": ["Paid Search", "Paid Search", "google"],
        "unknown": ["Unassigned", "Unassigned", "(not set)"],
        "named unknown": ["Unassigned", "Unassigned", "(not set)"],
        "direct": ["Email", "Direct", "mail"],
    }
    # a direct visit takes the named group along with the source
    assert shop(
        "select default_channel_group, session_default_channel_group from marts.fct_sessions "
        "where user_pseudo_id = 'r19 pmax' and ga_session_id = 3"
    ) == [("Cross-network", "Direct")]
    # a model at the first event knows what the export names, too
    assert shop("select default_channel_group from ml.feat_sessions where session_id = '1|r19 video|2'") == [
        ("Paid Video",)
    ]


def test_rule_20_a_session_id_may_come_as_the_cookie_holds_it(shop: Query) -> None:
    found = shop(
        "select user_pseudo_id[5:], count(*), min(ga_session_id), max(ga_session_number), bool_or(is_engaged) "
        "from marts.fct_sessions where user_pseudo_id like 'r20%' and user_pseudo_id != 'r20 nonsense' group by all"
    )
    numbers = {"gs2": 5, "gs2 whole": 5, "gs1": 5}
    assert {name: values for name, *values in found} == {
        name: [1, 1747068300, numbers.get(name), True] for name in COOKIES
    }
    assert shop(
        "select count(*), max(ga_session_id) from marts.fct_sessions where user_pseudo_id = 'r20 nonsense'"
    ) == [(1, None)]


def test_rule_21_a_placeholder_is_no_order_number(shop: Query) -> None:
    assert shop(
        "select count(*), count(transaction_id), sum(revenue_usd), sum(refund_usd) from marts.fct_purchases "
        "where user_pseudo_id similar to 'r21 [0-9]+ [ab]'"
    ) == [(2 * len(PLACEHOLDERS), 0, 20.0 * len(PLACEHOLDERS), 0.0)]
    assert shop("select transaction_id from marts.fct_purchases where user_pseudo_id = 'r21 real' order by 1") == [
        ("10",),
        ("A-0",),
        ("P-1",),
        ("nullable-7",),
        ("undefined-1",),
    ]
    assert shop("select transaction_id from marts.fct_purchases where user_pseudo_id = 'r21 number'") == [(None,)]


def test_rule_22_a_screen_without_a_name_has_its_class(shop: Query) -> None:
    assert shop(
        "select landing_page, exit_page, page_views from marts.fct_sessions where user_pseudo_id = 'r22 app'"
    ) == [("CartActivity", "Home", 2)]


def test_rule_23_what_is_bought_in_an_app_is_a_purchase_in_dollars(shop: Query) -> None:
    assert shop(
        "select revenue_usd, is_in_app from marts.fct_purchases where user_pseudo_id = 'r22 app' order by all"
    ) == [(0.0, True), (4.99, True)]
    assert shop("select purchases, has_purchase from marts.fct_sessions where user_pseudo_id = 'r22 app'") == [
        (2, True)
    ]
    assert shop("select count(*) from marts.fct_purchases where is_in_app is null") == [(0,)]


def test_rule_23_a_shop_may_leave_them_out(tmp_path: Any) -> None:
    settings = Settings(home=tmp_path / "home", property_timezone="UTC", count_in_app_purchases=False)
    write_day(settings, DAY, apps())
    build_and_publish(settings)
    assert query(settings, "select purchases, revenue_usd from marts.fct_sessions") == [(0, 0.0)]


def test_rule_24_a_refund_of_items_is_what_they_are_worth(shop: Query) -> None:
    found = shop(
        "select transaction_id[3:], refund_usd, net_revenue_usd from marts.fct_purchases where user_pseudo_id = 'r24'"
    )
    assert {name: values for name, *values in found} == {
        "value of the item": [25.0, 75.0],
        "price and quantity": [60.0, 40.0],
        "neither": [30.0, 70.0],
        "two items": [70.0, 30.0],
        "unknown item": [0.0, 100.0],
        "without items": [100.0, 0.0],
        "empty items": [100.0, 0.0],
        "several": [100.0, 0.0],
        "amount and items": [12.5, 87.5],
    }


def test_rule_25_an_apps_order_numbers_are_its_own(shop: Query) -> None:
    assert shop(
        "select user_pseudo_id, revenue_usd, refund_usd from marts.fct_purchases where transaction_id = '1001' "
        "order by all"
    ) == [("r25 android", 80.0, 0.0), ("r25 ios", 90.0, 90.0), ("r25 web", 50.0, 0.0)]
    assert shop("select folded_across, events, transactions, revenue_usd from ops.folded_purchases order by all") == [
        ("another session of the device", 1, 1, 50.0),
        ("another web stream", 1, 1, 51.0),
        ("the same session", 1, 1, 50.0),
    ]
