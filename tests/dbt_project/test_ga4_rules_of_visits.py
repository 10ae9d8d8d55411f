"""To which visit an event belongs and where that came from, rules 27 and on; see docs/ga4-rules.md."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from foundation.settings import Settings
from ingest.job import load_changed_days
from tests.dbt_project.recorded_builds import RecordedBuilds
from tests.dbt_runner import build_and_publish, query
from tests.ingest.export_writer import write_ndjson
from tests.lake_writer import make_event, write_day

Event = dict[str, Any]
Query = Callable[[str], list[tuple[Any, ...]]]

BEFORE, DAY, NEXT_DAY = "2026-07-30", "2026-08-01", "2026-08-02"
THE_DAY_BEFORE_ASSISTANTS = "2026-05-12"


def page(at: str, path: str = "/a", *, host: str = "shop.example", params: Any = None, **options: Any) -> Event:
    return make_event("page_view", at, params={"page_location": f"https://{host}{path}", **(params or {})}, **options)


def app(name: str, at: str, **options: Any) -> Event:
    return make_event(name, at, platform="ANDROID", params={"firebase_screen_class": "Main"}, **options)


def order(at: str, number: str, *, user: str, session: int | None = None, **columns: Any) -> Event:
    ecommerce = {"transaction_id": number, "purchase_revenue_in_usd": 20.0}
    return make_event("purchase", at, user=user, session=session, ecommerce=ecommerce, **columns)


def last_click(source: str, medium: str, campaign: str | None = None, group: str | None = None) -> Event:
    values = {"source": source, "medium": medium, "campaign_name": campaign, "default_channel_group": group}
    return {"session_traffic_source_last_click": {"cross_channel_campaign": values}}


def collected(source: str, medium: str, campaign: str | None = None) -> Event:
    values = {"manual_source": source, "manual_medium": medium, "manual_campaign_name": campaign}
    return {"collected_traffic_source": values}


def assistants() -> list[Event]:
    """What assistants send, in every form in which an export says so, on the day before GA4 knew them and after."""
    rows = []
    for when, day in (("then", THE_DAY_BEFORE_ASSISTANTS), ("now", DAY)):
        named = ("chatgpt.com", "ai-assistant", "(ai-assistant)")
        sent: dict[str, Event] = {
            "collected": collected(*named),
            "last click": last_click(*named),
            "params": {"params": dict(zip(("source", "medium", "campaign"), named, strict=True))},
            "referrer": {"params": {"page_referrer": "https://www.perplexity.ai/search/x"}},
            "source alone": {"params": {"page_location": "https://shop.example/", "source": "chatgpt.com"}},
            "said to be a referral": collected("perplexity.ai", "referral"),
            "unknown host": collected("assistant.example", "ai-assistant", "(ai-assistant)"),
        }
        for name, options in sent.items():
            rows.append(page(f"{day}T10:00:00", user=f"r27 {name} {when}", **options))
    return rows


def test_rule_27_assistants_are_a_channel_since_ga4_knows_them(shop: Query) -> None:
    found = shop(
        "select user_pseudo_id[5:], default_channel_group, source, medium, campaign from marts.fct_sessions "
        "where user_pseudo_id like 'r27%'"
    )
    named = ["chatgpt.com", "ai-assistant", "(ai-assistant)"]
    assert {name: values for name, *values in found} == {
        "collected now": ["AI Assistant", *named],
        "last click now": ["AI Assistant", *named],
        "params now": ["AI Assistant", *named],
        "referrer now": ["AI Assistant", "perplexity.ai", "ai-assistant", "(ai-assistant)"],
        "source alone now": ["AI Assistant", "chatgpt.com", None, None],
        # what the export says beats what the name looks like
        "said to be a referral now": ["Referral", "perplexity.ai", "referral", None],
        "unknown host now": ["AI Assistant", "assistant.example", "ai-assistant", "(ai-assistant)"],
        "collected then": ["Referral", *named],
        "last click then": ["Referral", *named],
        "params then": ["Referral", *named],
        "referrer then": ["Referral", "perplexity.ai", "referral", None],
        "source alone then": ["Referral", "chatgpt.com", None, None],
        "said to be a referral then": ["Referral", "perplexity.ai", "referral", None],
        "unknown host then": ["Referral", "assistant.example", "ai-assistant", "(ai-assistant)"],
    }
    # the models' features agree
    assert shop(
        "select default_channel_group, count(*) from ml.feat_sessions where session_id like '%r27% now|1' "
        "group by all order by all"
    ) == [("AI Assistant", 6), ("Referral", 1)]


def test_rule_27_a_shop_has_channel_groups_of_its_own(shop: Query) -> None:
    # the two examples of the seed: assistants whatever the day, and the brand's own campaigns
    assert shop(
        "select custom_channel_group, count(*) from marts.fct_sessions where user_pseudo_id like 'r27%then' "
        "group by all order by all"
    ) == [("AI Assistant", 6), ("Referral", 1)]
    assert shop(
        "select default_channel_group, custom_channel_group, session_custom_channel_group from marts.fct_sessions "
        "where user_pseudo_id = 'r29 shopper' order by session_number"
    ) == [("Paid Search", "Paid Search: brand", "Paid Search: brand"), ("Paid Search", "Paid Search: brand", "Direct")]
    for table, column in {
        "dim_users": "first_custom_channel_group",
        "fct_attribution": "custom_channel_group",
        "agg_funnel_daily": "custom_channel_group",
        "fct_purchase_journeys": "custom_channel_path",
        "agg_kpis_daily_by_dimension": "dimension_value",
    }.items():
        assert (True,) in shop(f"select {column} = 'Paid Search: brand' from marts.{table}"), table


def without_ids() -> list[Event]:
    """Apps whose id comes with session_start alone, and what lies near a session, between two, and apart."""
    return [
        app("screen_view", f"{DAY}T10:00:00", user="r28 app", session=None),
        app("session_start", f"{DAY}T10:00:01", user="r28 app", session=77),
        app("screen_view", f"{DAY}T10:05:00", user="r28 app", session=None),
        app("user_engagement", f"{DAY}T10:30:00", user="r28 app", session=None),
        app("screen_view", f"{DAY}T10:59:59", user="r28 app", session=None),
        # half an hour after that: a visit of its own
        app("screen_view", f"{DAY}T11:29:59", user="r28 app", session=None),
        app("screen_view", f"{DAY}T11:30:09", user="r28 app", session=None),
        # another stream of the same device
        page(f"{DAY}T10:00:02", user="r28 app", session=None, stream_id="2"),
        # two sessions within half an hour: each has what comes after its beginning
        page(f"{DAY}T12:00:00", "/one", user="r28 two", session=1),
        page(f"{DAY}T12:05:00", "/one", user="r28 two", session=None),
        page(f"{DAY}T12:10:00", "/two", user="r28 two", session=2),
        page(f"{DAY}T12:15:00", "/two", user="r28 two", session=None),
        # a property may wait longer than half an hour: the session ran on both sides
        page(f"{DAY}T14:00:00", user="r28 long", session=1),
        page(f"{DAY}T15:00:00", user="r28 long", session=None),
        page(f"{DAY}T16:00:00", user="r28 long", session=1),
        # over midnight
        app("screen_view", f"{DAY}T23:50:00", user="r28 night", session=5),
        app("screen_view", f"{NEXT_DAY}T00:10:00", user="r28 night", session=None),
    ]


def test_rule_28_an_event_without_an_id_belongs_to_the_session_that_runs(shop: Query) -> None:
    assert shop(
        "select user_pseudo_id[5:], stream_id, ga_session_id, event_count, session_duration_seconds "
        "from marts.fct_sessions where user_pseudo_id like 'r28%' order by user_pseudo_id, session_started_at"
    ) == [
        ("app", "1", 77, 5, 3599.0),
        ("app", "2", None, 1, 0.0),
        ("app", "1", None, 2, 10.0),
        ("long", "1", 1, 3, 7200.0),
        ("night", "1", 5, 2, 1200.0),
        ("two", "1", 1, 2, 300.0),
        ("two", "1", 2, 2, 300.0),
    ]
    assert shop("select distinct session_date from marts.fct_sessions where user_pseudo_id = 'r28 night'") == shop(
        f"select date '{DAY}'"
    )


def server_orders() -> list[Event]:
    """Orders that a server sends: during a visit, long after, of somebody known by a login, of nobody ever seen."""
    brand = collected("google", "cpc", "brand")
    return [
        page(f"{DAY}T10:00:00", user="r29 shopper", session=1, **brand),
        make_event("add_to_cart", f"{DAY}T10:01:00", user="r29 shopper", session=1),
        order(f"{DAY}T10:03:00", "S-1", user="r29 shopper"),
        # a direct visit two hours later, and an order when that is over
        page(f"{DAY}T12:00:00", user="r29 shopper", session=2),
        order(f"{DAY}T20:00:00", "S-2", user="r29 shopper"),
        # on another device of the person
        page(f"{DAY}T09:00:00", user="r29 phone", session=1, user_id="r29 ann", **collected("news", "email")),
        order(f"{DAY}T21:00:00", "S-3", user="r29 server", user_id="r29 ann"),
        order(f"{DAY}T22:00:00", "S-4", user="r29 nobody"),
        # the visit was six weeks ago
        page("2026-06-20T09:00:00", user="r29 long ago", session=1, **collected("news", "email")),
        order(f"{DAY}T22:00:00", "S-5", user="r29 long ago"),
    ]


def test_rule_29_an_order_sent_by_the_server_is_one_of_the_running_visit_or_of_none(shop: Query) -> None:
    assert shop(
        "select user_pseudo_id[5:], ga_session_id, purchases, revenue_usd, has_purchase, is_cart_abandoned "
        "from marts.fct_sessions where user_pseudo_id like 'r29%' order by user_pseudo_id, session_started_at"
    ) == [
        ("long ago", 1, 0, 0.0, False, False),
        ("phone", 1, 0, 0.0, False, False),
        ("shopper", 1, 1, 20.0, True, False),
        ("shopper", 2, 0, 0.0, False, False),
    ]
    assert shop(
        "select transaction_id, session_id, revenue_usd from marts.fct_purchases where transaction_id like 'S-%' "
        "order by 1"
    ) == [("S-1", "1|r29 shopper|1", 20.0), *[(f"S-{number}", None, 20.0) for number in (2, 3, 4, 5)]]
    assert shop(
        """
        select transaction_id, attribution.source, default_channel_group, linear_credit, touches
        from marts.fct_attribution as attribution inner join marts.fct_purchases as purchases using (purchase_id)
        where transaction_id like 'S-%' order by 1
        """
    ) == [
        ("S-1", "google", "Paid Search", 1.0, 1),
        ("S-2", "google", "Paid Search", 1.0, 1),
        ("S-3", "news", "Email", 1.0, 1),
        ("S-4", "(direct)", "Direct", 1.0, 1),
        ("S-5", "(direct)", "Direct", 1.0, 1),
    ]
    assert shop(
        """
        select transaction_id, sessions, devices, channel_path, purchase_device_category is null
        from marts.fct_purchase_journeys inner join marts.fct_purchases as purchases using (purchase_id)
        where transaction_id like 'S-%' order by 1
        """
    ) == [
        ("S-1", 1, 1, "Paid Search", False),
        ("S-2", 2, 1, "Paid Search > Direct", True),
        ("S-3", 1, 1, "Email", True),
        ("S-4", 0, 1, "Direct", True),
        ("S-5", 0, 1, "Direct", True),
    ]
    assert shop(
        "select user_key, purchases, revenue_usd from marts.dim_users where user_key like '%r29%' order by 1"
    ) == [
        ("device|r29 long ago", 1, 20.0),
        ("device|r29 shopper", 2, 40.0),
        ("user|r29 ann", 1, 20.0),
    ]


BACKGROUND = ("refund", "notification_receive", "notification_dismiss", "app_remove", "app_update", "os_update")


def background() -> list[Event]:
    """Events that nobody makes: without an id, on a device that has ids and on one that has none."""
    rows = [page(f"{BEFORE}T10:00:00", user="r30 known", session=1)]
    for hour, name in enumerate((*BACKGROUND, "became_a_regular")):  # the last is an audience trigger's
        rows.append(make_event(name, f"{DAY}T{hour:02}:00:00", user="r30 known", session=None))
    rows += [make_event(name, f"{DAY}T10:00:00", user="r30 unknown", session=None) for name in BACKGROUND]
    # nothing but background events under an id, too
    rows.append(make_event("app_remove", f"{DAY}T10:00:00", user="r30 gone", session=9))
    return rows


def test_rule_30_background_events_make_no_session_and_no_user(shop: Query) -> None:
    assert shop("select user_pseudo_id, event_count from marts.fct_sessions where user_pseudo_id like 'r30%'") == [
        ("r30 known", 1)
    ]
    assert shop("select count(*) from staging.stg_ga4__events where user_pseudo_id like 'r30%'") == [
        (len(BACKGROUND) * 2 + 3,)
    ]


def woken() -> list[Event]:
    """Events under the id of a session that was over: background ones, and a page after a long gap."""
    old: dict[str, Any] = {"user": "r31 woken", "session": 3}
    return [
        page(f"{BEFORE}T10:00:00", "/in", **old),
        order(f"{BEFORE}T10:01:00", "W-1", **old),
        page(f"{BEFORE}T10:02:00", "/out", **old),
        make_event("notification_receive", f"{DAY}T10:00:00", **old),
        make_event("refund", f"{DAY}T10:02:00", ecommerce={"transaction_id": "W-1"}, **old),
        # 7 h 55 min are a pause, a second more is an end
        page(f"{DAY}T00:00:00", "/a", user="r31 pause", session=1, params={"ga_session_number": 1}),
        page(f"{DAY}T07:55:00", "/b", user="r31 pause", session=1, params={"ga_session_number": 1}),
        page(f"{DAY}T15:50:01", "/c", user="r31 pause", session=1, params={"ga_session_number": 1}),
        page(f"{NEXT_DAY}T15:50:01", "/d", user="r31 pause", session=1, params={"ga_session_number": 1}),
        make_event("refund", f"{NEXT_DAY}T16:00:01", user="r31 pause", session=1),
    ]


def test_rule_31_an_old_session_is_not_woken(shop: Query) -> None:
    assert shop(
        "select session_date::varchar, session_duration_seconds, exit_page, event_count from marts.fct_sessions "
        "where user_pseudo_id = 'r31 woken'"
    ) == [(BEFORE, 120.0, "/out", 5)]
    assert shop("select revenue_usd, refund_usd, session_id from marts.fct_purchases where transaction_id = 'W-1'") == [
        (20.0, 20.0, "1|r31 woken|3")
    ]
    assert shop(
        "select session_number, session_duration_seconds, landing_page, exit_page, event_count, is_new_user "
        "from marts.fct_sessions where user_pseudo_id = 'r31 pause' order by 1"
    ) == [(1, 28500.0, "/a", "/b", 2, True), (2, 0.0, "/c", "/c", 1, False), (3, 0.0, "/d", "/d", 2, False)]


def test_rule_32_a_day_whose_daily_table_never_came_has_its_intraday_one(builds: RecordedBuilds) -> None:
    builds.clear()
    for number, kind in enumerate(("", "intraday_", "")):
        row = page(f"2026-08-0{number + 1}T12:00:00", user="r32")
        write_ndjson(builds.export / f"events_{kind}2026080{number + 1}.json", [row])
    load_changed_days(builds.settings, progress=False)
    builds.build(now=dt.datetime(2026, 9, 1, tzinfo=dt.UTC))
    assert query(builds.settings, "select kpi_date::varchar, is_provisional from marts.agg_kpis_daily order by 1") == [
        ("2026-08-01", False),
        ("2026-08-02", True),
        ("2026-08-03", False),
    ]


REFERRALS = {
    # (host of the page, referrer): whether it takes the order from the campaign
    ("shop.example", "https://checkout.shop.example/pay"): False,
    ("www.shop.example", "https://blog.shop.example/"): False,
    ("shop.co.uk", "https://help.shop.co.uk/"): False,
    ("a.myshopify.com", "https://b.myshopify.com/"): True,
    ("shop.co.uk", "https://other.co.uk/"): True,
    ("shop.example", "https://notshop.example/"): True,
    ("shop.example", "https://shop.example.partner.example/"): True,
    ("shop.example", "https://www.paypal.com/checkoutnow"): False,
    ("shop.example", "https://checkout.stripe.com/c/pay"): False,
    ("shop.example", "https://notpaypal.com/"): True,
}
SAID_TO_BE_REFERRALS = {
    "checkout.shop.example": False,
    "paypal.com": False,
    "partner.example": True,
}


def referrals() -> list[Event]:
    """A campaign, and within the half hour a second session that names where it came from."""
    rows = []
    for number, (host, referrer) in enumerate(REFERRALS):
        rows.append(page(f"{DAY}T10:00:00", user=f"r33 {number}", session=1, host=host, **collected("news", "email")))
        said = {"page_referrer": referrer}
        rows.append(page(f"{DAY}T10:10:00", user=f"r33 {number}", session=2, host=host, params=said))
    for number, source in enumerate(SAID_TO_BE_REFERRALS):
        forms: dict[str, Event] = {
            "params": {"params": {"source": source, "medium": "referral"}},
            "collected": collected(source, "referral"),
            "last click": last_click(source, "referral", group="Referral"),
        }
        for form, options in forms.items():
            user = f"r33 {form} {number}"
            rows.append(page(f"{DAY}T10:00:00", user=user, session=1, **collected("news", "email")))
            rows.append(page(f"{DAY}T10:10:00", user=user, session=2, **options))
    return rows


def test_rule_33_the_shop_itself_and_payment_providers_are_no_referrers(shop: Query) -> None:
    found = dict(
        shop(
            "select user_pseudo_id, source != 'news' from marts.fct_sessions "
            "where user_pseudo_id like 'r33%' and ga_session_id = 2"
        )
    )
    expected = {f"r33 {number}": counts for number, counts in enumerate(REFERRALS.values())}
    for number, counts in enumerate(SAID_TO_BE_REFERRALS.values()):
        expected |= {f"r33 {form} {number}": counts for form in ("params", "collected", "last click")}
    assert found == expected
    assert dict(
        shop(
            "select user_pseudo_id, external_referrer is not null from marts.fct_events "
            "where user_pseudo_id similar to 'r33 [0-9]+' and ga_session_id = 2"
        )
    ) == {f"r33 {number}": counts for number, counts in enumerate(REFERRALS.values())}
    # and so it is for the models
    assert (
        dict(
            shop(
                "select user_pseudo_id, default_channel_group != 'Direct' from ml.feat_sessions "
                "where user_pseudo_id like 'r33%' and session_id like '%|2'"
            )
        )
        == expected
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Query:
    """Query a warehouse with the rows of every rule, each with its own users."""
    settings = Settings(home=tmp_path_factory.mktemp("home"), property_timezone="UTC")
    days: dict[str, list[Event]] = {}
    for rows in (assistants(), without_ids(), server_orders(), background(), woken(), referrals()):
        for row in rows:
            text = row["event_date"]
            days.setdefault(f"{text[:4]}-{text[4:6]}-{text[6:]}", []).append(row)
    for day, rows in days.items():
        write_day(settings, day, rows)
    build_and_publish(settings)
    return lambda sql: query(settings, sql)
