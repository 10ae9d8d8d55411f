"""Rules 1 to 16 of a GA4 export, each on rows small enough to check by hand; docs/ga4-rules.md explains them."""

from __future__ import annotations

import datetime as dt
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from foundation.settings import Settings
from ingest.job import load_changed_days
from tests.dbt_project.invariance import compare, read_tables
from tests.dbt_project.recorded_builds import RecordedBuilds
from tests.dbt_runner import build_and_publish, query
from tests.ingest.export_writer import query_to_parquet, write_ndjson, write_parquet
from tests.lake_writer import make_event, write_day

Event = dict[str, Any]
Query = Callable[[str], list[tuple[Any, ...]]]

NOW = dt.datetime(2026, 11, 15, tzinfo=dt.UTC)
DAY, NEXT_DAY, AFTER = "2026-08-01", "2026-08-02", "2026-08-03"
LONG_AGO, NEARER = "2026-07-03", "2026-07-05"  # 31 and 29 days before the third of August
SHORT_DAY, LONG_DAY = "2026-03-29", "2026-10-25"  # in Berlin: 23 and 25 hours
COOKIELESS_DAY = "2026-08-10"


def page(at: str, path: str = "/a", *, params: dict[str, Any] | None = None, **options: Any) -> Event:
    """A page view of the shop."""
    return make_event(
        "page_view", at, params={"page_location": f"https://shop.example{path}", **(params or {})}, **options
    )


def buy(at: str, revenue: Any = 10.0, *, transaction: Any = None, **options: Any) -> Event:
    """A purchase; `transaction` goes into the e-commerce column."""
    ecommerce = {"purchase_revenue_in_usd": revenue, "transaction_id": transaction}
    return make_event("purchase", at, ecommerce=ecommerce, **options)


def refund(at: str, value: float | None, *, transaction: str, **options: Any) -> Event:
    """A refund in dollars; none means all of it."""
    ecommerce = {"refund_value_in_usd": value, "transaction_id": transaction}
    return make_event("refund", at, ecommerce=ecommerce, **options)


def collected(source: str | None, medium: str | None = None, campaign: str | None = None, **ids: str) -> Event:
    """The column `collected_traffic_source`."""
    names = {"manual_source": source, "manual_medium": medium, "manual_campaign_name": campaign}
    return {"collected_traffic_source": {**names, **ids}}


def last_click(source: str, medium: str, campaign: str | None = None) -> Event:
    """The column `session_traffic_source_last_click`."""
    campaigns = {"cross_channel_campaign": {"source": source, "medium": medium, "campaign_name": campaign}}
    return {"session_traffic_source_last_click": campaigns}


def rule_01() -> list[Event]:
    at = f"{DAY}T10:00:00"
    # (page, message, event) of each batch field, in the order in which the pages /1 to /4 were seen
    order = [(1, 2, 9), (2, 1, 5), (2, 2, 0), (2, 2, 1)]
    names = ("batch_page_id", "batch_ordering_id", "batch_event_index")
    events = []
    for number, places in reversed(list(enumerate(order, start=1))):
        fields = dict(zip(names, places, strict=True))
        as_text = {name: str(place) for name, place in fields.items()}
        # the column wins over a param that says something else
        misleading = {"batch_page_id": 9 - number}
        events += [
            page(at, f"/{number}", user="r01 column", params=misleading, **fields),
            page(at, f"/{number}", user="r01 int", params=fields),
            page(at, f"/{number}", user="r01 string", params=as_text),
            page(f"{DAY}T10:00:0{number}", f"/{number}", user="r01 absent"),
            page(at, f"/{number}", user="r01 same"),
        ]
    return events


def rule_02() -> list[Event]:
    def view(user: str, **options: Any) -> Event:
        return page(f"{DAY}T10:00:00", "/p", user=user, **options)

    reordered = view("r02 reordered")
    return [
        view("r02 copied"),
        view("r02 copied"),
        view("r02 reordered"),
        {**reordered, "event_params": reordered["event_params"][::-1]},
        view("r02 batch", params={"percent_scrolled": 50}),
        view("r02 batch", params={"percent_scrolled": 90}),
        # the same number as text is another param value: nothing says that it is the same event
        view("r02 typed", params={"percent_scrolled": 50}),
        view("r02 typed", params={"percent_scrolled": "50"}),
        view("r02 streams", stream_id="1"),
        view("r02 streams", stream_id="2"),
        view("r02 sessions", session=1),
        view("r02 sessions", session=2),
        view("r02 names"),
        {**view("r02 names"), "event_name": "view_item"},
        view("r02 times"),
        {**view("r02 times"), "event_timestamp": view("r02 times")["event_timestamp"] + 1},
        *(make_event("page_view", f"{DAY}T10:00:00", user=None, session=None, stream_id="r02") for _ in range(2)),
    ]


def rule_03() -> list[Event]:
    at = f"{DAY}T10:00:00"
    return [
        page(at, user="r03 one", session=77),
        page(at, user="r03 two", session=77),
        page(at, user="r03 both", session=77, stream_id="1"),
        page(at, user="r03 both", session=77, stream_id="2"),
        # without a delimiter these two would be one
        page(at, user="r03 x1", session=23),
        page(at, user="r03 x12", session=3),
        # one session in every form the id has
        page(at, "/1", user="r03 forms", session=5),
        page(at, "/2", user="r03 forms", session="5"),  # type: ignore[arg-type]
        page(at, "/3", user="r03 forms", session=5.0),  # type: ignore[arg-type]
    ]


def rule_04() -> list[Event]:
    def start(at: str, path: str, **options: Any) -> Event:
        return {**page(at, path, **options), "event_name": "session_start"}

    paid = collected("google", "cpc", "brand")
    return [
        page(f"{DAY}T10:00:00", "/land", user="r04 missing", **paid, device={"category": "mobile"}),
        page(f"{DAY}T10:01:00", "/exit", user="r04 missing"),
        start(f"{DAY}T10:00:00", "/start", user="r04 first", **collected("start", "email")),
        {**start(f"{DAY}T10:00:00", "/visit", user="r04 first"), "event_name": "first_visit"},
        page(f"{DAY}T10:00:01", "/land", user="r04 first", **paid),
        page(f"{DAY}T10:00:00", "/land", user="r04 last", **paid),
        start(f"{DAY}T10:05:00", "/start", user="r04 last", **collected("start", "email")),
        start(f"{DAY}T10:00:00", "/start", user="r04 repeated", session=4),
        page(f"{DAY}T10:00:01", "/land", user="r04 repeated", session=4),
        start(f"{DAY}T10:00:02", "/again", user="r04 repeated", session=4),
        start(f"{DAY}T10:00:00", "/only", user="r04 only", **paid),
        # no id: the second event comes 29:59 after the first, the third 30:00 after the second
        page(f"{DAY}T10:00:00", "/1", user="r04 app", session=None),
        page(f"{DAY}T10:29:59", "/2", user="r04 app", session=None),
        page(f"{DAY}T10:59:59", "/3", user="r04 app", session=None),
    ]


def rule_05() -> list[Event]:
    def visit(user: str, *engaged: Any, **options: Any) -> list[Event]:
        return [
            page(
                f"{DAY}T10:00:0{number}",
                "/a",
                user=user,
                params={} if value is None else {"session_engaged": value},
                **options,
            )
            for number, value in enumerate(engaged)
        ]

    spent = {"page_location": "https://shop.example/a", "engagement_time_msec": 10_000}
    return [
        *visit("r05 string 1", "1"),
        *visit("r05 int 1", 1),
        *visit("r05 double 1", 1.0),
        *visit("r05 string 0", "0"),
        *visit("r05 int 0", 0),
        *visit("r05 later", "0", 1),
        *visit("r05 earlier", 1, None),
        # exported, and the export's word is final
        *visit("r05 two pages but 0", 0, 0),
        *visit("r05 absent, one page", None),
        *visit("r05 absent, two pages", None, None),
        make_event("scroll", f"{DAY}T10:00:00", user="r05 absent, ten seconds", params=spent),
        make_event(
            "scroll", f"{DAY}T10:00:00", user="r05 absent, a bit less", params={**spent, "engagement_time_msec": 9_999}
        ),
        buy(f"{DAY}T10:00:00", user="r05 absent, key event", transaction="r05"),
    ]


def rule_08() -> list[Event]:
    def visit(user: str, at: str, session: int = 1, **options: Any) -> Event:
        return page(at, "/a", user=user, session=session, **options)

    utm = {"source": "news", "medium": "email", "campaign": "spring"}
    at = f"{DAY}T10:00:00"
    return [
        visit("r08 last click", at, **last_click("bing", "cpc", "b"), **collected("google", "cpc", "g")),
        # absent from intraday tables: what the events collected takes its place
        visit("r08 collected", at, **collected("google", "cpc", "g"), params=utm),
        visit("r08 params", at, params=utm),
        visit("r08 second event", at),
        visit("r08 second event", f"{DAY}T10:01:00", **collected("google", "cpc", "g")),
        visit("r08 second event", f"{DAY}T10:02:00", params=utm),
        # a tuple from one event: what it lacks stays empty
        visit("r08 unmixed", at, **collected("partner"), params=utm),
        visit("r08 unmixed", f"{DAY}T10:01:00", **collected("google", "cpc", "g")),
        visit("r08 29 days", f"{NEARER}T10:00:00", **collected("google", "cpc", "g")),
        visit("r08 29 days", f"{AFTER}T10:00:00", session=2),
        visit("r08 31 days", f"{LONG_AGO}T10:00:00", **collected("google", "cpc", "g")),
        visit("r08 31 days", f"{AFTER}T10:00:00", session=2),
        # the newest one before it counts, and nothing that comes after it
        visit("r08 newest", at, **collected("google", "cpc", "g")),
        visit("r08 newest", f"{NEXT_DAY}T10:00:00", session=2, params=utm),
        visit("r08 newest", f"{AFTER}T10:00:00", session=3),
        visit("r08 newest", f"{AFTER}T12:00:00", session=4, **collected("later", "cpc")),
        # the export's own "direct" is one to look back from
        visit("r08 said direct", at, params=utm),
        visit("r08 said direct", f"{AFTER}T10:00:00", session=2, **last_click("(direct)", "(none)")),
    ]


CLICK_IDS = {
    "gclid": ("google", "cpc", "Paid Search"),
    "wbraid": ("google", "cpc", "Paid Search"),
    "gbraid": ("google", "cpc", "Paid Search"),
    "dclid": ("google", "display", "Display"),
    "msclkid": ("bing", "cpc", "Paid Search"),
    "fbclid": ("facebook", "cpc", "Paid Social"),
    "ttclid": ("tiktok", "cpc", "Paid Social"),
}


def rule_09() -> list[Event]:
    at = f"{DAY}T10:00:00"
    blog = {"page_referrer": "https://blog.example/post"}
    return [
        *(page(at, f"/a?x=1&{name}=Ab-{name}#top", user=f"r09 {name}") for name in CLICK_IDS),
        page(at, "/a?gclid=", user="r09 empty"),
        page(at, "/a?GCLID=Ab", user="r09 another param"),
        page(at, user="r09 column", **collected(None, gclid="AbC")),
        page(at, user="r09 column dclid", **collected(None, dclid="AbC")),
        page(at, user="r09 param", params={"gclid": "AbC"}),
        page(at, user="r09 organic", **collected("google", "organic", "(organic)", gclid="AbC")),
        page(at, user="r09 utm", **collected("news", "email", "spring", gclid="AbC")),
        page(at, user="r09 referrer", params=blog),
        page(at, user="r09 ignored string", params={**blog, "ignore_referrer": "true"}),
        page(at, user="r09 ignored int", params={**blog, "ignore_referrer": 1}),
        page(at, user="r09 not ignored", params={**blog, "ignore_referrer": "false"}),
        page(at, user="r09 itself", params={"page_referrer": "https://shop.example/before"}),
    ]


def rule_10() -> list[Event]:
    def bought(user: str, at: str = f"{DAY}T10:00:00", **options: Any) -> Event:
        return buy(at, user=user, **options)

    local = {"purchase_revenue": 99.0}
    return [
        bought("r10 column", transaction="T-column"),
        bought("r10 string", params={"transaction_id": "T-string"}),
        bought("r10 int", params={"transaction_id": 4711}),
        bought("r10 not set", transaction="(not set)", params={"transaction_id": "T-behind"}),
        bought("r10 empty", transaction="", params={"transaction_id": "(not set)"}),
        # null ids never collapse, nor does the same page at another second
        bought("r10 null"),
        bought("r10 null", f"{DAY}T10:00:01"),
        # the order page once more: in its session, on the next day, by another device
        bought("r10 reload", transaction="T-reload"),
        bought("r10 reload", f"{DAY}T10:05:00", transaction="T-reload"),
        bought("r10 reload", f"{NEXT_DAY}T09:00:00", session=2, transaction="T-reload", revenue=11.0),
        bought("r10 reload elsewhere", f"{AFTER}T09:00:00", params={"transaction_id": "T-reload"}),
        bought("r10 NaN", revenue="NaN", transaction="T-nan"),
        # anybody can send such a hit: it must not stop the sums
        bought("r10 negative", revenue=-50.0, transaction="T-negative"),
        bought("r10 pieces", transaction="T-pieces", items=[{"quantity": 2**63 - 1}, {"quantity": 2}]),
        bought("r10 partial", revenue=50.0, transaction="T-partial"),
        refund(f"{NEXT_DAY}T10:00:00", 5.5, transaction="T-partial", user=None, session=None),
        refund(f"{AFTER}T10:00:00", 4.5, transaction="T-partial", user="r10 office"),
        bought("r10 full", revenue=50.0, transaction="T-full"),
        refund(f"{AFTER}T11:00:00", None, transaction="T-full", user=None, session=None),
        # euros are no dollars
        make_event(
            "purchase",
            f"{DAY}T10:00:00",
            user="r10 euro",
            params={"currency": "EUR", "value": 99.0},
            ecommerce={**local, "transaction_id": "T-euro"},
        ),
        make_event(
            "purchase",
            f"{DAY}T10:00:00",
            user="r10 dollar",
            params={"currency": "USD", "value": 12},
            ecommerce={"transaction_id": "T-dollar"},
        ),
        make_event(
            "purchase",
            f"{DAY}T10:00:00",
            user="r10 both",
            params={"currency": "EUR"},
            ecommerce={**local, "purchase_revenue_in_usd": 101.5, "transaction_id": "T-both"},
        ),
    ]


def rule_11() -> list[Event]:
    denied = {"user": None, "session": None, "privacy_info": {"analytics_storage": "No"}}
    events = []
    for minute in range(3):  # every page of somebody without a cookie starts a session and is a first visit
        at = f"{COOKIELESS_DAY}T10:0{minute}:00"
        events += [make_event(name, at, **denied) for name in ("session_start", "first_visit", "page_view")]
    return [
        *events,
        buy(f"{COOKIELESS_DAY}T10:09:00", transaction="T-cookieless", **denied),
        page(f"{COOKIELESS_DAY}T11:00:00", user="r11 robot", params={"synthetic_bundle": 1}),
        page(f"{COOKIELESS_DAY}T11:00:00", user="r11 robot", params={"synthetic_bundle": "1", "x": 1}),
    ]


def rule_12() -> list[Event]:
    user = {"user": "r12"}
    day = COOKIELESS_DAY

    def spent(msec: Any) -> dict[str, Any]:
        return {"engagement_time_msec": msec}

    def at(name: str) -> dict[str, Any]:
        return {"page_location": f"https://shop.example/r12/{name}"}

    return [
        page(f"{day}T12:00:00", "/r12/first", **user),
        make_event("scroll", f"{day}T12:00:04", params={**spent(4000), **at("first")}, **user),
        # one without a page, one of another: neither is the page before the next view
        make_event("click", f"{day}T12:00:05", **user),
        make_event("click", f"{day}T12:00:06", params={**spent("500"), **at("frame")}, **user),
        page(f"{day}T12:00:10", "/r12/second", params=spent(6000), **user),
        make_event("user_engagement", f"{day}T12:00:30", params={**spent(1500.0), **at("second")}, **user),
        page(f"{day}T12:01:40", "/r12/third", **user),
    ]


def rule_16() -> list[Event]:
    day = COOKIELESS_DAY
    return [
        page(f"{day}T13:00:00", user="r16 staff", params={"traffic_type": "internal"}),
        page(f"{day}T13:00:00", user="r16 staff", params={"traffic_type": "Internal", "x": 1}),
        make_event(
            "page_view",
            f"{day}T13:00:00",
            user="r16 staging",
            params={"page_location": "https://staging.shop.example/a"},
        ),
        make_event(
            "page_view",
            f"{day}T13:00:01",
            user="r16 staging",
            device={"web_info": {"hostname": "staging.shop.example"}},
        ),
        page(f"{day}T13:00:00", user="r16 visitor", params={"traffic_type": "external"}),
    ]


def rule_07() -> list[Event]:
    return [
        # Berlin: 00:30 on the second of August is 22:30 UTC on the first
        buy(f"{DAY}T22:30:00", user="r07 night", date="20260802", transaction="T-night"),
        # 01:30 and 03:30 of the day without a second hour
        page(f"{SHORT_DAY}T00:30:00", user="r07 short", session=1),
        page(f"{SHORT_DAY}T01:30:00", user="r07 short", session=2),
        page(f"{SHORT_DAY}T21:30:00", user="r07 short", session=3),
        # 02:30 twice
        page(f"{LONG_DAY}T00:30:00", user="r07 long", session=1),
        page(f"{LONG_DAY}T01:30:00", user="r07 long", session=2),
        page(f"{LONG_DAY}T22:30:00", user="r07 long", session=3),
    ]


def all_days() -> dict[str, list[Event]]:
    """The rows of every rule by the day they are exported with."""
    days: dict[str, list[Event]] = {}
    for rows in (
        rule_01,
        rule_02,
        rule_03,
        rule_04,
        rule_05,
        rule_07,
        rule_08,
        rule_09,
        rule_10,
        rule_11,
        rule_12,
        rule_16,
    ):
        for row in rows():
            date = dt.datetime.strptime(row["event_date"], "%Y%m%d").date().isoformat()
            days.setdefault(date, []).append(row)
    return days


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Query:
    """Query a warehouse with the rows of every rule, each with its own users, built at once; a shop in Berlin."""
    settings = Settings(
        # a path that is no plain text to SQL, a glob or a template
        home=tmp_path_factory.mktemp("rules") / "it's [a] {home}",
        property_timezone="Europe/Berlin",
        excluded_hostnames="staging.shop.example",
    )
    for date, events in all_days().items():
        write_day(settings, date, events)
    build_and_publish(settings)
    return lambda sql: query(settings, sql)


def test_rule_01_order_of_events_that_share_a_timestamp(shop: Query) -> None:
    for form in ("column", "int", "string", "absent"):
        assert shop(
            f"select page_path, event_number from marts.fct_events where user_pseudo_id = 'r01 {form}' order by 2"
        ) == [(f"/{number}", number) for number in (1, 2, 3, 4)], form
        assert shop(f"select landing_page, exit_page from marts.fct_sessions where user_pseudo_id = 'r01 {form}'") == [
            ("/1", "/4")
        ], form
    # with nothing to order by but the row itself: some order, one number each
    assert shop("select event_number from marts.fct_events where user_pseudo_id = 'r01 same' order by 1") == [
        (1,),
        (2,),
        (3,),
        (4,),
    ]


def test_rule_01_order_of_the_rows_in_a_file_changes_no_mart(builds: RecordedBuilds) -> None:
    found = []
    for seed in (1, 2):
        builds.clear()
        for date, events in all_days().items():
            write_day(builds.settings, date, random.Random(seed).sample(events, len(events)))
        builds.build(now=NOW)
        tables = read_tables(builds.settings)
        # staging says in which row of the lake an event lies
        found.append(
            {name: rows for name, rows in tables.items() if name.startswith(("marts.", "ml.", "ops.event_counts"))}
        )
    compare(*found, "after shuffling rows within their days")


def test_rule_02_event_identity(shop: Query) -> None:
    assert shop(
        "select user_pseudo_id, count(*) from marts.fct_events where user_pseudo_id like 'r02%' group by 1 order by 1"
    ) == [
        ("r02 batch", 2),
        ("r02 copied", 1),
        ("r02 names", 2),
        ("r02 reordered", 1),
        ("r02 sessions", 2),
        ("r02 streams", 2),
        ("r02 times", 2),
        ("r02 typed", 2),
    ]
    # the third copy is of an event without consent
    assert shop(f"select duplicate_rows from ops.event_counts where event_date = '{DAY}'") == [(3,)]


def test_rule_03_session_key(shop: Query) -> None:
    assert shop(
        """
        select session_id, ga_session_id, event_count
        from marts.fct_sessions where user_pseudo_id like 'r03%' order by 1
        """
    ) == [
        ("1|r03 both|77", 77, 1),
        ("1|r03 forms|5", 5, 3),
        ("1|r03 one|77", 77, 1),
        ("1|r03 two|77", 77, 1),
        ("1|r03 x12|3", 3, 1),
        ("1|r03 x1|23", 23, 1),
        ("2|r03 both|77", 77, 1),
    ]


def test_rule_04_session_start_is_not_needed(shop: Query) -> None:
    assert shop(
        """
        select user_pseudo_id, landing_page, exit_page, source, medium, campaign, event_count, device_category
        from marts.fct_sessions where user_pseudo_id like 'r04%' and user_pseudo_id != 'r04 app' order by 1
        """
    ) == [
        ("r04 first", "/land", "/land", "google", "cpc", "brand", 3, "(not set)"),
        ("r04 last", "/land", "/start", "google", "cpc", "brand", 2, "(not set)"),
        ("r04 missing", "/land", "/exit", "google", "cpc", "brand", 2, "mobile"),
        # where only session_start and first_visit exist, from them
        ("r04 only", "/only", "/only", "google", "cpc", "brand", 1, "(not set)"),
        ("r04 repeated", "/land", "/again", "(direct)", "(none)", None, 3, "(not set)"),
    ]


def test_rule_04_events_without_a_session_id_run_until_a_gap_of_30_minutes(
    shop: Query,
) -> None:
    assert shop(
        """
        select landing_page, event_count, session_duration_seconds, ga_session_id
        from marts.fct_sessions where user_pseudo_id = 'r04 app' order by session_started_at
        """
    ) == [("/1", 2, 1799.0, None), ("/3", 1, 0.0, None)]


def test_rule_05_engaged_in_every_form(shop: Query) -> None:
    found = shop(
        "select user_pseudo_id, is_engaged, is_bounce from marts.fct_sessions where user_pseudo_id like 'r05%'"
    )
    assert {user for user, engaged, bounce in found if engaged and not bounce} == {
        "r05 string 1",
        "r05 int 1",
        "r05 double 1",
        "r05 later",
        "r05 earlier",
        "r05 absent, two pages",
        "r05 absent, ten seconds",
        "r05 absent, key event",
    }
    assert {user for user, engaged, bounce in found if bounce and not engaged} == {
        "r05 string 0",
        "r05 int 0",
        "r05 two pages but 0",
        "r05 absent, one page",
        "r05 absent, a bit less",
    }


def test_rule_06_midnight_day_by_day_equals_at_once(builds: RecordedBuilds) -> None:
    night = {"user": "night", "session": 7}
    # 23:50 to 00:20 in Los Angeles
    before = [page(f"{NEXT_DAY}T06:50:00", "/b", date="20260801", **night)]
    after = [page(f"{NEXT_DAY}T07:10:00", "/c", **night), make_event("scroll", f"{NEXT_DAY}T07:20:00", **night)]
    for order in ((DAY, NEXT_DAY), (NEXT_DAY, DAY)):
        builds.clear()
        for date in order:
            write_day(builds.settings, date, before if date == DAY else after)
            builds.build(now=NOW)
        assert query(
            builds.settings,
            """
            select session_id, cast(session_date as varchar), session_duration_seconds, event_count, hour_of_day,
                landing_page, exit_page
            from marts.fct_sessions
            """,
        ) == [("1|night|7", DAY, 1800.0, 3, 23, "/b", "/c")]
        assert query(builds.settings, "select sessions from marts.agg_kpis_daily order by kpi_date") == [(1,), (0,)]
        day_by_day = read_tables(builds.settings)
        builds.build(now=NOW, full_rebuild=True)
        compare(day_by_day, read_tables(builds.settings), f"in the order {order}")


def test_rule_07_property_time_zone(shop: Query) -> None:
    assert shop(
        "select cast(purchase_date as varchar), cast(purchased_at as varchar) from marts.fct_purchases "
        "where transaction_id = 'T-night'"
    ) == [(NEXT_DAY, f"{DAY} 22:30:00")]
    assert shop(
        "select cast(session_date as varchar), hour_of_day, day_of_week from marts.fct_sessions "
        "where user_pseudo_id = 'r07 night'"
    ) == [(NEXT_DAY, 0, 7)]


def test_rule_07_days_of_23_and_25_hours(shop: Query) -> None:
    for user, day, hours in (("short", SHORT_DAY, [1, 3, 23]), ("long", LONG_DAY, [2, 2, 23])):
        assert shop(
            f"select cast(session_date as varchar), hour_of_day from marts.fct_sessions "
            f"where user_pseudo_id = 'r07 {user}' order by session_started_at"
        ) == [(day, hour) for hour in hours]
    assert _hours(shop, SHORT_DAY) == [hour for hour in range(24) if hour != 2]
    assert _hours(shop, LONG_DAY) == sorted([*range(24), 2])
    assert shop(_BUSY_HOURS.format(day=SHORT_DAY)) == [
        (1, "2026-03-29 00:00:00", 1),
        (3, "2026-03-29 01:00:00", 1),
        (23, "2026-03-29 21:00:00", 1),
    ]
    assert shop(_BUSY_HOURS.format(day=LONG_DAY)) == [
        (2, "2026-10-25 00:00:00", 1),
        (2, "2026-10-25 01:00:00", 1),
        (23, "2026-10-25 22:00:00", 1),
    ]


_BUSY_HOURS = """
    select hour_of_day, cast(hour_started_at as varchar), sessions
    from marts.agg_sessions_hourly where kpi_date = '{day}' and sessions > 0 order by hour_started_at
"""


def _hours(run: Query, day: str) -> list[int]:
    rows = run(f"select hour_of_day from marts.agg_sessions_hourly where kpi_date = '{day}' order by hour_started_at")
    return [hour for (hour,) in rows]


def test_rule_07_an_evening_in_los_angeles_stays_on_its_day(builds: RecordedBuilds) -> None:
    builds.clear()
    short, long = "2026-03-08", "2026-11-01"
    # 21:30 on the first; in UTC it is the second
    write_day(builds.settings, DAY, [buy(f"{NEXT_DAY}T04:30:00", 10.0, transaction="T1", date="20260801")])
    # 01:30 and 03:30 of the day without a second hour; 01:30 twice
    write_day(builds.settings, short, [page(f"{short}T{at}:30:00", session=int(at)) for at in ("09", "10")])
    write_day(builds.settings, long, [page(f"{long}T{at}:30:00", user="long", session=int(at)) for at in ("08", "09")])
    builds.build(now=NOW)

    def run(sql: str) -> list[tuple[Any, ...]]:
        return query(builds.settings, sql)

    assert run(f"select hour_of_day, day_of_week from marts.fct_sessions where session_date = '{DAY}'") == [(21, 6)]
    assert run(
        "select cast(kpi_date as varchar), sessions, purchases, revenue_usd from marts.agg_kpis_daily order by 1"
    ) == [(short, 2, 0, 0.0), (DAY, 1, 1, 10.0), (long, 2, 0, 0.0)]
    assert _hours(run, DAY) == list(range(24))
    assert _hours(run, short) == [hour for hour in range(24) if hour != 2]
    assert _hours(run, long) == sorted([*range(24), 1])
    assert run(_BUSY_HOURS.format(day=short)) == [(1, f"{short} 09:00:00", 1), (3, f"{short} 10:00:00", 1)]
    assert run(_BUSY_HOURS.format(day=long)) == [(1, f"{long} 08:00:00", 1), (1, f"{long} 09:00:00", 1)]


def _sources(shop: Query, rule: str, columns: str) -> dict[str, tuple[Any, ...]]:
    rows = shop(
        f"""
        select user_pseudo_id, {columns} from marts.fct_sessions where user_pseudo_id like '{rule} %'
        qualify row_number() over (partition by user_pseudo_id order by session_date desc, session_number desc) = 1
        """
    )
    return {user.removeprefix(f"{rule} "): tuple(values) for user, *values in rows}


def test_rule_08_session_source_is_one_tuple_of_one_event(shop: Query) -> None:
    found = _sources(shop, "r08", "source, medium, campaign")
    expected = {
        "last click": ("bing", "cpc", "b"),
        "collected": ("google", "cpc", "g"),
        "params": ("news", "email", "spring"),
        "second event": ("google", "cpc", "g"),
        "unmixed": ("partner", None, None),
    }
    assert {case: found[case] for case in expected} == expected


def test_rule_08_last_non_direct_click_looks_back_30_days(shop: Query) -> None:
    found = _sources(shop, "r08", "source, medium, campaign, is_direct_entry")
    assert found["29 days"] == ("google", "cpc", "g", True)
    assert found["31 days"] == ("(direct)", "(none)", None, True)
    assert found["said direct"] == ("news", "email", "spring", True)
    assert shop(
        "select source, medium, is_direct_entry from marts.fct_sessions where user_pseudo_id = 'r08 newest' "
        "order by session_number"
    ) == [("google", "cpc", False), ("news", "email", False), ("news", "email", True), ("later", "cpc", False)]


def test_rule_09_a_click_id_without_utms_is_paid_traffic_of_its_network(
    shop: Query,
) -> None:
    found = _sources(shop, "r09", "source, medium, default_channel_group")
    assert {name: found[name] for name in CLICK_IDS} == CLICK_IDS
    assert found["column"] == found["param"] == found["organic"] == ("google", "cpc", "Paid Search")
    assert found["column dclid"] == ("google", "display", "Display")
    assert found["utm"] == ("news", "email", "Email")
    assert found["empty"] == found["another param"] == ("(direct)", "(none)", "Direct")
    # click ids are case-sensitive: what was exported stays as it was
    assert shop("select page_location from marts.fct_events where user_pseudo_id = 'r09 gclid'") == [
        ("https://shop.example/a?x=1&gclid=Ab-gclid#top",)
    ]


def test_rule_09_a_referrer_counts_unless_it_is_to_be_ignored(shop: Query) -> None:
    found = _sources(shop, "r09", "source, medium, default_channel_group")
    assert found["referrer"] == found["not ignored"] == ("blog.example", "referral", "Referral")
    assert found["ignored string"] == found["ignored int"] == found["itself"] == ("(direct)", "(none)", "Direct")


def test_rule_10_one_purchase_per_transaction(shop: Query) -> None:
    assert shop(
        """
        select user_pseudo_id, transaction_id, cast(purchased_at as varchar)
        from marts.fct_purchases where user_pseudo_id like 'r10%' and user_pseudo_id[:8] not in ('r10 euro', 'r10 doll')
        order by all
        """
    ) == [
        ("r10 NaN", "T-nan", f"{DAY} 10:00:00"),
        ("r10 both", "T-both", f"{DAY} 10:00:00"),
        ("r10 column", "T-column", f"{DAY} 10:00:00"),
        ("r10 empty", None, f"{DAY} 10:00:00"),
        ("r10 full", "T-full", f"{DAY} 10:00:00"),
        ("r10 int", "4711", f"{DAY} 10:00:00"),
        ("r10 negative", "T-negative", f"{DAY} 10:00:00"),
        ("r10 not set", "T-behind", f"{DAY} 10:00:00"),
        ("r10 null", None, f"{DAY} 10:00:00"),
        ("r10 null", None, f"{DAY} 10:00:01"),
        ("r10 partial", "T-partial", f"{DAY} 10:00:00"),
        ("r10 pieces", "T-pieces", f"{DAY} 10:00:00"),
        ("r10 reload", "T-reload", f"{DAY} 10:00:00"),
        ("r10 string", "T-string", f"{DAY} 10:00:00"),
    ]
    assert shop(
        "select session_id, purchases, has_purchase from marts.fct_sessions where user_pseudo_id like 'r10 reload%' "
        "order by 1"
    ) == [("1|r10 reload elsewhere|1", 0, False), ("1|r10 reload|1", 1, True), ("1|r10 reload|2", 0, False)]


def test_rule_10_revenue_in_dollars_and_its_refunds(shop: Query) -> None:
    found = shop(
        """
        select transaction_id, revenue_usd, refund_usd, net_revenue_usd
        from marts.fct_purchases where transaction_id like 'T-%'
        """
    )
    assert {transaction: amounts for transaction, *amounts in found if transaction in _REVENUES} == _REVENUES
    assert shop("select item_quantity from marts.fct_purchases where transaction_id = 'T-pieces'") == [(3,)]


_REVENUES = {
    "T-column": [10.0, 0.0, 10.0],
    "T-reload": [10.0, 0.0, 10.0],
    "T-nan": [0.0, 0.0, 0.0],
    "T-negative": [0.0, 0.0, 0.0],
    "T-partial": [50.0, 10.0, 40.0],
    "T-full": [50.0, 50.0, 0.0],
    "T-euro": [0.0, 0.0, 0.0],
    "T-dollar": [12.0, 0.0, 12.0],
    "T-both": [101.5, 0.0, 101.5],
}


def test_rule_11_events_without_consent_count_as_events_only(shop: Query) -> None:
    [counts] = shop(
        f"""
        select raw_rows, synthetic_rows, internal_rows, staged_rows, cookieless_rows
        from ops.event_counts where event_date = '{COOKIELESS_DAY}'
        """
    )
    # 10 without consent, 2 synthetic, 7 of rule 12, 4 of staff and 1 visitor of rule 16
    assert counts == (24, 2, 4, 18, 10)
    assert shop(
        f"select events, cookieless_events, sessions, users, purchases, revenue_usd from marts.agg_kpis_daily "
        f"where kpi_date = '{COOKIELESS_DAY}'"
    ) == [(18, 10, 2, 2, 0, 0.0)]
    assert shop("select count(*) from marts.fct_purchases where transaction_id = 'T-cookieless'") == [(0,)]
    assert shop(
        "select count(*) from marts.fct_events where user_pseudo_id is null or user_pseudo_id = 'r11 robot'"
    ) == [(0,)]


def test_rule_12_time_sent_with_a_page_view_belongs_to_the_page_before(
    shop: Query,
) -> None:
    assert shop(
        "select page_path, engagement_seconds from marts.agg_pages_daily where page_path like '/r12%' order by 1"
    ) == [("/r12/first", 10.0), ("/r12/frame", 0.5), ("/r12/second", 1.5), ("/r12/third", None)]
    # engagement is what was measured; duration is the clock between the first and the last event
    assert shop(
        "select engagement_seconds, session_duration_seconds from marts.fct_sessions where user_pseudo_id = 'r12'"
    ) == [(12.0, 100.0)]
    # where nothing was measured there is no zero to pull an average down
    [(measured, unmeasured, wrong)] = shop(
        """
        select
            count(*) filter (where sessions.engagement_seconds is not null),
            count(*) filter (where sessions.engagement_seconds is null),
            count(*) filter (where (sessions.engagement_seconds is null) = (events.measurements > 0))
        from marts.fct_sessions as sessions
        inner join (
            select session_id, count(engagement_msec) as measurements from marts.fct_events group by session_id
        ) as events using (session_id)
        """
    )
    assert (measured > 0, unmeasured > 0, wrong) == (True, True, 0)


def test_rule_13_the_best_table_of_a_day_counts_once(builds: RecordedBuilds) -> None:
    builds.clear()
    tables = {
        "events_20260801": [page(f"{DAY}T17:00:00", user="a"), page(f"{DAY}T17:00:00", user="b")],
        "events_intraday_20260801": [page(f"{DAY}T17:00:00", user="a"), page(f"{DAY}T18:00:00", user="only intraday")],
        "events_intraday_20260802": [page(f"{NEXT_DAY}T17:00:00", user="a", session=2)],
    }
    for table, rows in tables.items():
        write_ndjson(builds.export / f"{table}.json", rows)
    load_changed_days(builds.settings, progress=False)
    builds.build(now=NOW)
    kpis = "select cast(kpi_date as varchar), events, sessions, is_provisional from marts.agg_kpis_daily order by 1"
    assert query(builds.settings, kpis) == [(DAY, 2, 2, False), (NEXT_DAY, 1, 1, True)]
    # the daily table of the second day comes, fresher than fresh
    write_ndjson(builds.export / "events_fresh_20260802.json", tables["events_20260801"])
    write_ndjson(builds.export / "events_20260802.json", [page(f"{NEXT_DAY}T17:00:00", user="a", session=2)] * 3)
    load_changed_days(builds.settings, progress=False)
    builds.build(now=NOW)
    assert query(builds.settings, kpis) == [(DAY, 2, 2, False), (NEXT_DAY, 1, 1, False)]


def test_rule_14_a_day_delivered_again_replaces_its_first_version(builds: RecordedBuilds) -> None:
    builds.clear()
    utm = {"source": "news", "medium": "email"}
    first = [
        page(f"{DAY}T17:00:00", "/gone", user="gone"),
        buy(f"{DAY}T18:00:00", transaction="T1", user="early"),
        page(f"{DAY}T19:00:00", user="back", params=utm),
    ]
    second = [
        page(f"{NEXT_DAY}T17:00:00", user="back", session=2),
        buy(f"{NEXT_DAY}T18:00:00", transaction="T1", user="late"),
    ]
    again = [page(f"{DAY}T19:00:00", user="back"), page(f"{DAY}T20:00:00", "/new", user="new")]
    facts = """
        select session_id, source, has_purchase from marts.fct_sessions order by session_id
    """
    found = []
    for table, rows in (("20260801", first), ("20260802", second), ("20260801", again)):
        write_ndjson(builds.export / f"events_{table}.json", rows)
        load_changed_days(builds.settings, progress=False)
        builds.build(now=NOW)
        found.append(query(builds.settings, facts))
    assert found[1] == [
        ("1|back|1", "news", False),
        ("1|back|2", "news", False),
        ("1|early|1", "(direct)", True),
        ("1|gone|1", "(direct)", False),
        ("1|late|1", "(direct)", False),
    ]
    assert found[2] == [
        ("1|back|1", "(direct)", False),
        ("1|back|2", "(direct)", False),
        ("1|late|1", "(direct)", True),
        ("1|new|1", "(direct)", False),
    ]
    incremental = read_tables(builds.settings)
    builds.build(now=NOW, full_rebuild=True)
    compare(incremental, read_tables(builds.settings), "after a rewritten day")


def test_rule_15_old_new_and_json_days_in_one_run(builds: RecordedBuilds) -> None:
    builds.clear()
    rows = {
        day: [
            page(
                f"{day}T17:00:0{number}",
                f"/{number}",
                user=f"{day}",
                session=number,
                params={"value": value, "currency": "USD"},
            )
            for number, value in enumerate((3, 4.5))
        ]
        for day in (DAY, NEXT_DAY, AFTER)
    }
    # as the public sample of 2020 has them: fewer columns, and stream_id a number
    written = builds.settings.home / "new.parquet"
    write_parquet(written, rows[DAY])
    old = "event_date, event_timestamp, event_name, event_params, user_pseudo_id, stream_id::bigint as stream_id"
    query_to_parquet(f"select {old} from read_parquet('{written}')", builds.export / "events_20260801.parquet")
    # as an export of next year may have them
    write_parquet(builds.export / "events_20260802.parquet", rows[NEXT_DAY], extra="'x' as event_of_tomorrow")
    # as JSON: INT64 as strings
    for row in rows[AFTER]:
        row["event_timestamp"] = str(row["event_timestamp"])
        for param in row["event_params"]:
            param["value"] = {
                kind: str(value) if kind == "int_value" else value for kind, value in param["value"].items()
            }
    write_ndjson(builds.export / "events_20260803.json", rows[AFTER])
    # and one that nothing can be made of
    query_to_parquet("select '20260804' as event_date, 'x' as event_name", builds.export / "events_20260804.parquet")
    report = load_changed_days(builds.settings, progress=False)
    [broken] = report.quarantined
    assert (broken["file"], broken["event_date"]) == ("events_20260804.parquet", "2026-08-04")
    assert "event_timestamp" in json.dumps(broken)
    assert any("event_of_tomorrow" in drift["unknown"] for drift in report.schema_drift)
    builds.build(now=NOW)
    assert query(
        builds.settings,
        """
        select cast(session_date as varchar), count(*), min(stream_id), min(landing_page), max(landing_page)
        from marts.fct_sessions group by 1 order by 1
        """,
    ) == [(day, 2, "1", "/0", "/1") for day in (DAY, NEXT_DAY, AFTER)]
    assert query(
        builds.settings,
        """
        select cast(event_date as varchar), list(value_usd order by value_usd)
        from marts.fct_events group by 1 order by 1
        """,
    ) == [(day, [3.0, 4.5]) for day in (DAY, NEXT_DAY, AFTER)]


def test_rule_16_internal_traffic_is_left_out_and_counted(shop: Query) -> None:
    assert shop("select distinct user_pseudo_id from marts.fct_events where user_pseudo_id like 'r16%'") == [
        ("r16 visitor",)
    ]
    assert shop(f"select internal_rows from ops.event_counts where event_date = '{COOKIELESS_DAY}'") == [(4,)]
