"""A breach is told in the run that first sees a day's own table; later figures confirm, correct or withdraw it."""

from __future__ import annotations

import datetime as dt
import json

import duckdb
from alert_warehouse import ShopDay, date_of, day, publish

from alerts.incidents.check import check_rules
from alerts.incidents.revisions import read_moves
from alerts.incidents.sending import deliver_outbox
from alerts.state import open_alerts
from foundation.settings import Settings

BAD = day(abandoned=180).segments
GOOD = ShopDay()


def check(settings: Settings, shop: list[ShopDay | None], *, version: str, hours_later: int = 8) -> None:
    """Publish the days, whose newest has this version, and check some hours after its end."""
    publish(settings, shop)
    with duckdb.connect(str(settings.published_path)) as warehouse:
        warehouse.execute("create schema ops; create table ops.build_info as select 'sql' as project_fingerprint")
        warehouse.execute("create table ops.ingest_ledger (event_date date, kind varchar, content_hash varchar)")
        for index, each in enumerate(shop):
            if each is not None:
                content = version if index == len(shop) - 1 else "old"
                warehouse.execute(
                    "insert into ops.ingest_ledger values (?, ?, ?)", [date_of(index), each.table_kind, content]
                )
    as_of = dt.datetime.combine(date_of(len(shop)), dt.time(0), tzinfo=dt.UTC) + dt.timedelta(hours=hours_later)
    check_rules(settings, run_id=f"run-{version}", as_of=as_of)


def lives(settings: Settings) -> list[tuple[str, str, int]]:
    with open_alerts(settings) as state:
        return [
            (row["incident_id"], row["status"], row["incident_days"])
            for row in state.execute("select * from alert_incidents order by incident_id")
        ]


def test_the_run_that_first_sees_a_days_table_tells_its_breach(settings: Settings) -> None:
    check(settings, [*[GOOD] * 40, ShopDay(BAD, is_provisional=True)], version="intraday", hours_later=1)
    assert lives(settings) == []
    check(settings, [*[GOOD] * 40, ShopDay(BAD, is_provisional=True, kind="daily")], version="first")
    assert lives(settings) == [("20260810-cart_abandonment_rate-above", "open", 1)]
    deliver_outbox(settings)
    [page] = settings.alerts_dir.rglob("message.txt")
    assert "first figures, which may still move a little" in page.read_text(encoding="utf-8")
    # the final figures confirm it
    check(settings, [*[GOOD] * 40, ShopDay(BAD)], version="final", hours_later=80)
    assert lives(settings) == [("20260810-cart_abandonment_rate-above", "open", 1)]


def test_final_figures_withdraw_what_first_ones_said(settings: Settings) -> None:
    check(settings, [*[GOOD] * 40, ShopDay(BAD, is_provisional=True, kind="daily")], version="first")
    deliver_outbox(settings)
    check(settings, [*[GOOD] * 40, GOOD], version="final", hours_later=80)
    assert lives(settings) == [("20260810-cart_abandonment_rate-above", "resolved", 0)]
    deliver_outbox(settings)
    [reply] = settings.alerts_dir.rglob("reply-*.txt")
    assert "withdrawn" in reply.read_text(encoding="utf-8").lower()


def test_each_version_of_a_day_is_kept_and_the_first_is_compared_with_the_last(settings: Settings) -> None:
    young = {"is_provisional": True, "kind": "daily"}
    check(settings, [GOOD, ShopDay(day(sessions=900).segments, is_provisional=True)], version="a", hours_later=1)
    check(settings, [GOOD, ShopDay(day(sessions=950).segments, **young)], version="b")  # type: ignore[arg-type]
    check(settings, [GOOD, ShopDay(day(sessions=990).segments, **young)], version="c")  # type: ignore[arg-type]
    # seen again, it is no other version
    check(settings, [GOOD, ShopDay(day(sessions=990).segments, **young)], version="c")  # type: ignore[arg-type]
    with open_alerts(settings) as state:
        assert read_moves(state) == []
    check(settings, [GOOD, ShopDay(day(sessions=1000).segments)], version="c", hours_later=80)
    with open_alerts(settings) as state:
        rows = state.execute("select content_hash, table_kind, figures, final from kpi_revisions order by 1").fetchall()
        assert [(row[0], row[1], json.loads(row[2])["sessions"], json.loads(row[3])["sessions"]) for row in rows] == [
            ("a", "intraday", 900, 1000),
            ("b", "daily", 950, 1000),
            ("c", "daily", 990, 1000),
        ]
        [(first, final)] = read_moves(state)
    assert (first["sessions"], final["sessions"]) == (950, 1000)
    # years later nobody needs it
    check(settings, [GOOD, ShopDay(day(sessions=1000).segments)], version="c", hours_later=24 * 500)
    with open_alerts(settings) as state:
        assert read_moves(state) == []
