"""What a session says of its place, device, campaign and landing page belongs together: all of one event."""

from __future__ import annotations

from typing import Any

import pytest

from foundation.settings import Settings
from tests.dbt_runner import build_and_publish, query
from tests.lake_writer import make_event, write_day

DAY, NEXT_DAY = "2026-08-01", "2026-08-02"
Event = dict[str, Any]


def page(at: str, address: str = "https://shop.example/", *, params: Any = None, **options: Any) -> Event:
    return make_event("page_view", at, params={"page_location": address, **(params or {})}, **options)


def collected(**values: str) -> Event:
    return {"collected_traffic_source": {f"manual_{name}": value for name, value in values.items()}}


def last_click(**parts: Any) -> Event:
    return {"session_traffic_source_last_click": parts}


def places() -> list[Event]:
    return [
        make_event("session_start", f"{DAY}T10:00:00", user="place", geo={"country": "(not set)", "city": "Nowhere"}),
        page(
            f"{DAY}T10:00:01",
            user="place",
            geo={"country": "Germany", "region": "", "city": "Berlin"},
            device={"operating_system": "iOS", "operating_system_version": "26.1", "language": "DE-de"},
        ),
        # on the way the network changes, and with it what GA4 takes for the place
        page(
            f"{DAY}T10:05:00",
            user="place",
            geo={"country": "Austria", "region": "Tyrol", "city": "Innsbruck"},
            device={"web_info": {"browser": "Safari", "browser_version": "26.1"}},
        ),
        page(f"{DAY}T10:00:00", user="nowhere", geo={"region": "(not set)"}),
        make_event(
            "screen_view",
            f"{DAY}T10:00:00",
            user="app",
            platform="IOS",
            params={"firebase_screen": "Home"},
            app_info={"version": "4.2"},
        ),
    ]


def campaigns() -> list[Event]:
    spring = {"source": "news", "medium": "email", "campaign_name": "spring"}
    utms = {"source": "news", "medium": "email", "campaign": "spring", "term": "shoes", "campaign_id": 7}
    brand = {"campaign_name": "brand", "campaign_id": "99"}
    manual = {**spring, "content": "banner", "term": "shoes", "campaign_id": "7"}
    return [
        # the first event with a source tells all: what it leaves out, a later one does not fill in
        page(f"{DAY}T10:00:00", user="collected", **collected(source="news", medium="email", content="banner")),
        page(f"{DAY}T10:01:00", user="collected", **collected(source="x", medium="cpc", term="hats", campaign_id="8")),
        page(f"{DAY}T10:00:00", user="params", params=utms),
        # UTMs of the event beat its params, as a whole
        page(f"{DAY}T10:00:00", user="both", params=utms, **collected(source="x", medium="cpc", content="c")),
        page(f"{DAY}T10:00:00", user="click id", params={"gclid": "Ab", "source": "google", "medium": "organic"}),
        page(f"{DAY}T10:00:00", user="last click", params=utms, **last_click(manual_campaign=manual)),
        page(
            f"{DAY}T10:00:00",
            user="cross-channel",
            **last_click(cross_channel_campaign={**spring, "campaign_id": "7"}, manual_campaign=manual),
        ),
        # GA4 names another click in each part
        page(
            f"{DAY}T10:00:00",
            user="cross-channel of ads",
            **last_click(
                cross_channel_campaign={"source": "google", "medium": "cpc", **brand},
                google_ads_campaign=brand,
                manual_campaign=manual,
            ),
        ),
        page(
            f"{DAY}T10:00:00", user="ads", **last_click(google_ads_campaign=brand, manual_campaign={"content": "old"})
        ),
        page(f"{NEXT_DAY}T10:00:00", user="params", session=2),
        page(f"{DAY}T10:00:00", user="referred", params={"page_referrer": "https://blog.example/", "term": "shoes"}),
    ]


def landings() -> list[Event]:
    return [
        make_event(
            "session_start", f"{DAY}T10:00:00", user="query", params={"page_location": "https://other.example/?no"}
        ),
        page(f"{DAY}T10:00:01", "https://Shop.example/sale?utm_source=news&id=1#top?x", user="query"),
        page(f"{DAY}T10:00:02", "https://shop.example/hat?later=1", user="query"),
        page(f"{DAY}T10:00:00", "https://shop.example/sale#/a?x=1", user="no query"),
    ]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """All of it, in one build."""
    settings = Settings(home=tmp_path_factory.mktemp("visits"), property_timezone="UTC")
    days: dict[str, list[Event]] = {DAY: [], NEXT_DAY: []}
    for event in [*places(), *campaigns(), *landings()]:
        days[f"{event['event_date'][:4]}-{event['event_date'][4:6]}-{event['event_date'][6:]}"].append(event)
    for day, events in days.items():
        write_day(settings, day, events)
    build_and_publish(settings)
    return settings


def test_region_and_city_are_of_the_event_that_names_the_country(built: Settings) -> None:
    assert query(
        built,
        """
        select
            user_pseudo_id, country, region, city, language, operating_system, operating_system_version, browser,
            browser_version, release
        from marts.fct_sessions where user_pseudo_id in ('place', 'nowhere', 'app') order by 1
        """,
    ) == [
        ("app", *["(not set)"] * 5, None, "(not set)", None, "4.2"),
        ("nowhere", *["(not set)"] * 5, None, "(not set)", None, None),
        ("place", "Germany", "(not set)", "Berlin", "de-de", "iOS", "26.1", "Safari", None, None),
    ]
    assert query(
        built,
        "select city, region, browser_version from marts.fct_events where user_pseudo_id = 'place' "
        "order by event_number",
    ) == [("Nowhere", None, None), ("Berlin", None, None), ("Innsbruck", "Tyrol", "26.1")]


def test_rule_08_content_term_and_id_belong_to_the_tuple(built: Settings) -> None:
    found = query(
        built,
        """
        select
            user_pseudo_id, session_source, session_campaign, session_campaign_content, session_campaign_term,
            session_campaign_id
        from marts.fct_sessions
        where user_pseudo_id not in ('place', 'nowhere', 'app', 'query', 'no query') and session_number = 1
        """,
    )
    assert {user: tuple(values) for user, *values in found} == {
        "collected": ("news", None, "banner", None, None),
        "params": ("news", "spring", None, "shoes", "7"),
        "both": ("x", None, "c", None, None),
        "click id": ("google", None, None, None, None),
        "last click": ("news", "spring", "banner", "shoes", "7"),
        "cross-channel": ("news", "spring", "banner", "shoes", "7"),
        "cross-channel of ads": ("google", "brand", None, None, "99"),
        "ads": ("google", "brand", None, None, "99"),
        "referred": ("blog.example", None, None, None, None),
    }
    # a direct session takes them along with the campaign, and has none of its own
    assert query(
        built,
        "select campaign, campaign_content, campaign_term, campaign_id, session_campaign_term "
        "from marts.fct_sessions where user_pseudo_id = 'params' and session_number = 2",
    ) == [("spring", None, "shoes", "7", None)]


def test_the_landing_page_has_its_own_query(built: Settings) -> None:
    assert query(
        built,
        "select landing_page, landing_page_query, landing_hostname from marts.fct_sessions "
        "where user_pseudo_id in ('query', 'no query', 'app') order by user_pseudo_id",
    ) == [
        ("Home", None, None),
        ("/sale", None, "shop.example"),
        ("/sale", "utm_source=news&id=1", "shop.example"),
    ]
