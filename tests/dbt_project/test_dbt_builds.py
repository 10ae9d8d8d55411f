"""A build with all its data tests on rows small enough to check by hand, and late days that reach far."""

from __future__ import annotations

import datetime as dt

from foundation.settings import Settings
from tests.dbt_project.invariance import compare, read_tables
from tests.dbt_project.recorded_builds import RecordedBuilds
from tests.dbt_runner import build_and_publish, query
from tests.lake_writer import make_event, remove_day, write_day

NOW = dt.datetime(2026, 8, 20, tzinfo=dt.UTC)
FIRST, SECOND, THIRD = "2026-08-01", "2026-08-02", "2026-08-03"


def page(at: str, path: str, **options: object) -> dict[str, object]:
    params = {"page_location": f"https://shop.example{path}", **(options.pop("params", {}) or {})}  # type: ignore[dict-item]
    return make_event("page_view", at, params=params, **options)  # type: ignore[arg-type]


def first_day() -> list[dict[str, object]]:
    return [
        page("2026-08-01T10:00:00", "/a?utm=1"),
        make_event("add_to_cart", "2026-08-01T10:01:00"),
        make_event("begin_checkout", "2026-08-01T10:02:00"),
        make_event(
            "purchase",
            "2026-08-01T10:03:00",
            ecommerce={"transaction_id": "T1", "purchase_revenue_in_usd": 40.0},
        ),
        # another user: a cart left behind, over midnight
        page("2026-08-01T23:50:00", "/b", user="night", session=7),
        # with numbers that nothing measured: they count for nothing, and stop nothing
        make_event(
            "add_to_cart",
            "2026-08-01T23:55:00",
            user="night",
            session=7,
            params={"value": 1e15, "currency": "USD", "engagement_time_msec": 10**16},
        ),
        # no consent: an event, and nobody's session
        make_event("page_view", "2026-08-01T12:00:00", user=None, session=None),
        # no event at all
        make_event("", "2026-08-01T12:00:00"),
        # staff
        make_event("page_view", "2026-08-01T12:00:00", user="staff", params={"traffic_type": "internal"}),
    ]


def second_day() -> list[dict[str, object]]:
    return [
        page("2026-08-02T00:10:00", "/c", user="night", session=7),
        # the order page again, next day: not a second purchase
        make_event(
            "purchase",
            "2026-08-02T09:00:00",
            session=2,
            ecommerce={"transaction_id": "T1", "purchase_revenue_in_usd": 40.0},
        ),
    ]


def test_numbers_can_be_checked_by_hand(settings: Settings) -> None:
    write_day(settings, FIRST, [*first_day(), first_day()[0]])
    write_day(settings, SECOND, second_day())
    build_and_publish(settings)
    assert query(settings, "select * from ops.event_counts order by 1") == [
        # raw, quarantined, duplicate, synthetic, internal, staged, cookieless
        (query(settings, "select date '2026-08-01'")[0][0], 10, 1, 1, 0, 1, 7, 1),
        (query(settings, "select date '2026-08-02'")[0][0], 2, 0, 0, 0, 0, 2, 0),
    ]
    assert query(settings, "select reason from ops.quarantined_events") == [("missing_event_name",)]
    assert query(
        settings,
        """
        select session_id, cast(session_date as varchar), session_duration_seconds, landing_page, exit_page,
            purchases, revenue_usd, is_cart_abandoned
        from marts.fct_sessions order by session_id
        """,
    ) == [
        ("1|night|7", "2026-08-01", 1200.0, "/b", "/c", 0, 0.0, True),
        ("1|user|1", "2026-08-01", 180.0, "/a", "/a", 1, 40.0, False),
        ("1|user|2", "2026-08-02", 0.0, None, None, 0, 0.0, False),
    ]
    assert query(
        settings,
        """
        select cast(kpi_date as varchar), events, sessions, users, conversion_rate, cart_abandonment_rate,
            checkout_abandonment_rate, avg_session_duration_seconds, purchases, revenue_usd, is_provisional
        from marts.agg_kpis_daily order by 1
        """,
    ) == [
        ("2026-08-01", 7, 2, 2, 0.5, 0.5, 0.0, 690.0, 1, 40.0, False),
        ("2026-08-02", 2, 1, 1, 0.0, None, None, 0.0, 0, 0.0, False),
    ]
    # the features of the buyer see nothing from the purchase on
    assert query(
        settings,
        """
        select event_count, page_views, add_to_carts, begin_checkouts, elapsed_seconds, label_purchased
        from ml.feat_sessions where session_id = '1|user|1'
        """,
    ) == [(3, 1, 1, 1, 120.0, True)]
    assert query(
        settings,
        """
        select decision_point, is_at_risk, label_purchased, page_views
        from ml.feat_session_prefixes where session_id = '1|user|1' order by decision_point
        """,
    ) == [
        # the cart lies at 60 s, the checkout at 120 s, the purchase itself is the fourth event
        ("events_1", True, True, 1),
        ("events_2", False, True, 1),
        ("events_3", False, True, 1),
        ("seconds_120", False, True, 1),
        ("seconds_30", True, True, 1),
        ("seconds_60", False, True, 1),
    ]


def _clear(builds: RecordedBuilds) -> Settings:
    builds.clear()
    return builds.settings


def test_a_late_day_reaches_sessions_dated_before_it(builds: RecordedBuilds) -> None:
    """Late events with early timestamps, and a purchase that takes a transaction from a session dated earlier."""
    bought = {"transaction_id": "T9", "purchase_revenue_in_usd": 9.0}
    settings = _clear(builds)
    write_day(
        settings,
        FIRST,
        [
            page("2026-08-01T10:00:00", "/a", user="late", session=2),
            page("2026-08-01T10:00:00", "/a", user="loader", session=5),
        ],
    )
    # what came late: the session has events in the tables of the first and the third day, none in that of the second
    late = make_event("purchase", "2026-08-01T15:00:00", user="loader", session=5, date="20260803", ecommerce=bought)
    write_day(settings, THIRD, [late])
    builds.build(now=NOW)
    assert query(settings, "select session_id from marts.fct_sessions where has_purchase") == [("1|loader|5",)]
    write_day(
        settings,
        SECOND,
        [
            page("2026-07-31T10:00:00", "/b", user="late", session=1, date="20260802"),
            make_event("purchase", "2026-08-01T12:00:00", user="first", session=1, date="20260802", ecommerce=bought),
        ],
    )
    builds.build(now=NOW)
    assert query(settings, "select session_id from marts.fct_sessions where has_purchase") == [("1|first|1",)]
    assert query(
        settings, "select session_id, session_number from marts.fct_sessions where user_pseudo_id = 'late' order by 1"
    ) == [("1|late|1", 1), ("1|late|2", 2)]
    incremental = read_tables(settings)
    builds.build(now=NOW, full_rebuild=True)
    compare(incremental, read_tables(settings), "after a late day")


def test_rows_of_many_files_stay_apart(builds: RecordedBuilds) -> None:
    """The first row of a day's 257th file is not the first row of the next day."""
    settings = _clear(builds)
    write_day(settings, FIRST, [page("2026-08-01T10:00:00", "/a", user="first")], name="part-00256.parquet")
    write_day(settings, SECOND, [page("2026-08-02T10:00:00", "/b", user="second")], name="part-00000.parquet")
    builds.build(now=NOW)
    assert query(settings, "select user_pseudo_id, page_path, event_number from marts.fct_events order by 1") == [
        ("first", "/a", 1),
        ("second", "/b", 1),
    ]


def test_a_row_in_two_days_counts_the_same_whichever_came_first(builds: RecordedBuilds) -> None:
    settings = _clear(builds)
    bought = {"transaction_id": "T1", "purchase_revenue_in_usd": 9.0}
    at = "2026-08-02T07:00:05"
    for day in (SECOND, FIRST):
        row = make_event("purchase", at, date=day.replace("-", ""), ecommerce=bought)
        write_day(settings, day, [row, page(at, "/a", date=day.replace("-", ""))])
        builds.build(now=NOW)
    incremental = read_tables(settings)
    assert query(settings, "select count(*) from marts.fct_purchases") == [(1,)]
    builds.build(now=NOW, full_rebuild=True)
    compare(incremental, read_tables(settings), "after a row in two days")


def test_a_clock_that_is_years_off_makes_no_session_of_years(builds: RecordedBuilds) -> None:
    settings = _clear(builds)
    write_day(
        settings,
        FIRST,
        [
            page("2026-08-01T10:00:00", "/a"),
            page("2026-08-01T10:01:30", "/b"),
            page("2011-03-01T10:00:00", "/c", date="20260801"),
            # GA4 takes a hit that is up to 72 hours late
            page("2026-07-29T10:00:00", "/late", user="late", date="20260801"),
        ],
    )
    builds.build(now=NOW)
    assert query(settings, "select reason from ops.quarantined_events") == [("event_timestamp_far_from_event_date",)]
    assert query(settings, "select user_pseudo_id, session_duration_seconds from marts.fct_sessions order by 1") == [
        ("late", 0.0),
        ("user", 90.0),
    ]


def test_runs_of_events_without_ids_move_together(builds: RecordedBuilds) -> None:
    """A late event before midnight moves the start, and so the key, of the run that goes on after it."""
    settings = _clear(builds)
    after = [page("2026-08-02T00:05:00", "/x", user="app", session=None)]
    write_day(settings, SECOND, after)
    builds.build(now=NOW)
    write_day(settings, FIRST, [page("2026-08-01T23:45:00", "/w", user="app", session=None)])
    builds.build(now=NOW)
    assert query(
        settings, "select cast(session_date as varchar), event_count, landing_page from marts.fct_sessions"
    ) == [("2026-08-01", 2, "/w")]
    incremental = read_tables(settings)
    builds.build(now=NOW, full_rebuild=True)
    compare(incremental, read_tables(settings), "after a late day")
    remove_day(settings, FIRST)
    builds.build(now=NOW)
    assert query(
        settings, "select cast(session_date as varchar), event_count, landing_page from marts.fct_sessions"
    ) == [("2026-08-02", 1, "/x")]
