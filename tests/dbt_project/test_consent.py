"""What people have agreed to: per event, session, person and day, and also after days that come late or go."""

from __future__ import annotations

from typing import Any

from foundation.settings import Settings
from tests.dbt_runner import build_and_publish, query
from tests.lake_writer import make_event, remove_day, write_day

FIRST, SECOND, THIRD = "2026-08-01", "2026-08-02", "2026-08-03"
Event = dict[str, Any]


def said(ads: str | None, at: str, *, name: str = "page_view", analytics: str | None = "Yes", **options: Any) -> Event:
    info = {"analytics_storage": analytics, "ads_storage": ads}
    params = {"page_location": "https://shop.example/"} if name == "page_view" else {}
    return make_event(name, at, privacy_info=info, params=params, **options)


def consents(settings: Settings) -> dict[str, tuple[bool | None, str | None]]:
    rows = query(settings, "select user_key, has_ads_consent, cast(ads_consent_at as varchar) from marts.dim_users")
    return {user_key: (consent, at) for user_key, consent, at in rows}


def test_the_last_word_of_a_session_counts_and_no_word_is_no_yes(settings: Settings) -> None:
    write_day(
        settings,
        FIRST,
        [
            said("Yes", f"{FIRST}T10:00:00", user="withdraws"),
            said("No", f"{FIRST}T10:05:00", user="withdraws", name="scroll"),
            said(None, f"{FIRST}T10:09:00", user="withdraws", name="scroll", analytics=None),
            said("No", f"{FIRST}T10:00:00", user="agrees"),
            said("yes", f"{FIRST}T10:05:00", user="agrees", name="scroll"),
            said("Unset", f"{FIRST}T10:00:00", user="silent", analytics=""),
            # in one batch, whose order nothing tells
            said("No", f"{FIRST}T10:00:00", user="both", name="scroll"),
            said("Yes", f"{FIRST}T10:00:00", user="both"),
            # a server's Yes is nobody's, and its No counts
            said("No", f"{FIRST}T10:00:00", user="refunded"),
            said("Yes", f"{FIRST}T12:00:00", user="refunded", name="refund"),
            said("Yes", f"{FIRST}T10:00:00", user="refused by a server"),
            said("No", f"{FIRST}T12:00:00", user="refused by a server", name="refund"),
            # a copy of one event: the same params, and another word
            said("Yes", f"{FIRST}T10:00:00", user="copied"),
            said("No", f"{FIRST}T10:00:00", user="copied"),
            said("No", f"{FIRST}T10:00:00", user=None, session=None, analytics="No"),
        ],
    )
    build_and_publish(settings)
    sessions = query(
        settings,
        "select user_pseudo_id, has_analytics_consent, has_ads_consent, cast(ads_consent_at as varchar)[12:16] "
        "from marts.fct_sessions order by 1",
    )
    assert sessions == [
        ("agrees", True, True, "10:05"),
        ("both", True, False, "10:00"),
        ("copied", True, False, "10:00"),
        ("refunded", True, False, "10:00"),
        ("refused by a server", True, False, "12:00"),
        ("silent", None, None, None),
        ("withdraws", True, False, "10:05"),
    ]
    assert query(
        settings,
        "select has_ads_consent, has_analytics_consent from marts.fct_events where user_pseudo_id = 'withdraws' "
        "order by event_number",
    ) == [(True, True), (False, True), (None, None)]
    assert query(
        settings,
        """
        select
            events, cookieless_events, ads_granted_events, ads_denied_events, ads_unknown_events,
            analytics_denied_events, sessions, ads_granted_sessions, ads_denied_sessions, ads_unknown_sessions,
            round(ads_session_consent_rate, 4), analytics_event_consent_rate
        from marts.agg_consent_daily
        """,
    ) == [(14, 1, 5, 7, 2, 1, 7, 1, 5, 1, 0.1667, 11 / 12)]


def test_a_no_counts_on_every_device_of_a_person_and_logged_in_without_one(settings: Settings) -> None:
    """However late it comes, and no longer where its day is rewritten without it."""
    agreed = {"ann": "phone", "ben": "tablet", "cem": "watch"}
    write_day(
        settings,
        SECOND,
        [said("Yes", f"{SECOND}T10:00:00", user=device, user_id=user_id) for user_id, device in agreed.items()],
    )
    build_and_publish(settings)
    all_agreed = {f"user|{user_id}": (True, f"{SECOND} 10:00:00") for user_id in agreed}
    assert consents(settings) == all_agreed
    write_day(
        settings,
        THIRD,
        [
            said("No", f"{THIRD}T10:00:00", user="laptop", user_id="ann"),
            # who refuses analytics, too, has neither device nor session, but the login
            said("No", f"{THIRD}T11:00:00", user=None, session=None, user_id="cem", analytics="No"),
        ],
    )
    # a day that comes late, but is older than the Yes
    write_day(settings, FIRST, [said("No", f"{FIRST}T10:00:00", user="kiosk", user_id="ben")])
    build_and_publish(settings)
    assert consents(settings) == {
        "user|ann": (False, f"{THIRD} 10:00:00"),
        "user|ben": (True, f"{SECOND} 10:00:00"),
        "user|cem": (False, f"{THIRD} 11:00:00"),
    }
    assert query(settings, "select has_analytics_consent, sessions from marts.dim_users where user_id = 'cem'") == [
        (False, 1)
    ]
    remove_day(settings, THIRD)
    build_and_publish(settings)
    assert consents(settings) == all_agreed
