"""A shop that lives: what is exported is what has happened by its clock, and in the end what happened."""

from __future__ import annotations

import datetime as dt
import signal
import subprocess
import sys
import time
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pytest

from foundation.errors import UsageError
from foundation.settings import PROJECT_DIR, Settings
from sample_shop.job import ForeignFolderError, LiveShopError, write_sample_shop
from sample_shop.live import LiveOptions, LiveShop, OtherLiveShopError, live, open_live_shop

ZONE = ZoneInfo("America/Los_Angeles")
NOW = dt.datetime(2026, 11, 28, 12, tzinfo=ZONE)
SMALL = LiveOptions(sessions_a_day=60, history_days=3, live_days=2)
HOUR = dt.timedelta(hours=1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", property_timezone=ZONE.key)


def read(shop: LiveShop, table: str, what: str = "count(*)", where: str = "true") -> list[tuple[object, ...]]:
    path = shop.root / "export" / f"{table}.parquet"
    return duckdb.sql(f"select {what} from read_parquet('{path}') where {where}").fetchall()


def names(shop: LiveShop) -> list[str]:
    return sorted(path.stem for path in (shop.root / "export").iterdir())


def test_the_intraday_table_grows_and_is_followed_by_the_daily_one(settings: Settings) -> None:
    shop = open_live_shop(settings, SMALL, now=NOW)
    past = ["events_20261124", "events_20261125", "events_20261126"]
    assert names(shop) == [*past, "events_intraday_20261127"]
    assert shop.clock == dt.datetime(2026, 11, 27, 8, tzinfo=ZONE)

    sizes = [shop.advance(shop.clock + 3 * HOUR) for _ in range(4)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]
    # by the clock: all that has happened, and nothing that has not
    ((rows, last),) = read(shop, "events_intraday_20261127", "count(*), max(event_timestamp)")
    assert rows == sizes[-1] and last <= shop.clock.timestamp() * 1e6
    assert shop.clock.timestamp() * 1e6 - last < 2 * 3600 * 1e6

    shop.advance(dt.datetime(2026, 11, 28, 3, 59, tzinfo=ZONE))
    assert names(shop) == [*past, "events_intraday_20261127", "events_intraday_20261128"]
    shop.advance(dt.datetime(2026, 11, 28, 4, tzinfo=ZONE))
    assert names(shop) == [*past, "events_20261127", "events_intraday_20261128"]
    # a streaming table lacks what GA4 works out at the day's end
    assert read(shop, "events_intraday_20261128", "count(traffic_source)") == [(0,)]
    assert read(shop, "events_20261127", "count(traffic_source) > 0") == [(True,)]


def test_it_goes_on_where_it_was_and_never_back(settings: Settings) -> None:
    shop = open_live_shop(settings, SMALL, now=NOW)
    rows = shop.advance(shop.clock + 6 * HOUR)
    again = open_live_shop(settings, now=NOW + 100 * HOUR)
    assert again.clock == shop.clock and again.options == SMALL
    assert again.advance(again.clock - 3 * HOUR) == rows
    with pytest.raises(OtherLiveShopError, match="other options"):
        open_live_shop(settings, LiveOptions(sessions_a_day=61), now=NOW)


def test_whenever_it_is_looked_at_the_days_come_out_the_same(settings: Settings, tmp_path: Path) -> None:
    often = open_live_shop(settings, SMALL, now=NOW)
    while often.clock < often.ends_at:
        often.advance(often.clock + 5 * HOUR)
    once = open_live_shop(settings, SMALL, out=tmp_path / "once", now=NOW)
    once.advance(once.ends_at + HOUR)
    assert names(often) == names(once) == [f"events_202611{day}" for day in range(24, 29)]
    for name in names(once):
        rows = (
            "list((event_timestamp, event_name, user_pseudo_id) order by event_timestamp, event_name, user_pseudo_id)"
        )
        assert read(often, name, rows) == read(once, name, rows)


def test_at_the_given_time_nobody_on_mobile_can_pay(settings: Settings, tmp_path: Path) -> None:
    options = LiveOptions(sessions_a_day=600, history_days=2, live_days=1, break_at=dt.time(10), break_hours=6)
    broken = open_live_shop(settings, options, now=NOW)
    whole = open_live_shop(
        settings, LiveOptions(sessions_a_day=600, history_days=2, live_days=1), out=tmp_path / "whole", now=NOW
    )
    for shop in (broken, whole):
        shop.advance(shop.ends_at)

    def bought(shop: LiveShop, table: str, device: str) -> list[tuple[object, ...]]:
        hour = "hour(timezone('America/Los_Angeles', make_timestamptz(event_timestamp)))"
        return read(
            shop,
            table,
            f"count(*) filter ({hour} < 10), count(*) filter ({hour} between 12 and 15), count(*) filter ({hour} > 17)",
            f"event_name = 'purchase' and device.category = '{device}'",
        )

    ((before, during, after),) = bought(broken, "events_20261127", "mobile")
    assert during == 0 and before > 0 and after > 0
    assert bought(whole, "events_20261127", "mobile")[0][1] > 0
    assert bought(broken, "events_20261127", "desktop")[0][1] > 0
    assert bought(broken, "events_20261126", "mobile")[0][1] > 0


def test_time_passes_as_fast_as_one_likes_but_not_beyond_the_present(settings: Settings) -> None:
    shop = open_live_shop(settings, SMALL, now=dt.datetime.now(ZONE))
    with pytest.raises(UsageError, match="speed"):
        next(live(shop, speed=0.5))
    opened, began = shop.clock, time.monotonic()
    clocks = []
    for clock, _rows in live(shop, speed=3_600):
        clocks.append(clock)
        if len(clocks) == 3:
            break
    passed = time.monotonic() - began
    assert clocks == sorted(clocks) and 0 < (clocks[-1] - opened).total_seconds() / 3_600 <= passed
    # four days of the shop's time in a second are more than there are
    for clock, _rows in live(shop, speed=4 * 86_400):
        clocks.append(clock)
        if len(clocks) == 6:
            break
    assert abs((clocks[-1] - dt.datetime.now(dt.UTC)).total_seconds()) < 60


def test_a_killed_shop_goes_on(settings: Settings, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sample_shop", "live", "--out", str(tmp_path / "shop"), "--speed", "3600"]
    with subprocess.Popen(
        [*command, "--sessions-a-day", "60"], cwd=PROJECT_DIR, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGKILL)
    assert "events today" in lines[-1]
    shop = open_live_shop(settings, out=tmp_path / "shop")
    assert shop.advance(shop.clock + HOUR) > 0


def test_neither_replaces_what_the_other_or_somebody_else_has_written(settings: Settings) -> None:
    shop = open_live_shop(settings, SMALL, now=NOW)
    with pytest.raises(LiveShopError, match="lives in"):
        write_sample_shop(settings)
    (shop.root / "_live.json").unlink()
    (shop.root / "export" / "mine.parquet").write_bytes(b"")
    with pytest.raises(ForeignFolderError, match=r"mine\.parquet"):
        open_live_shop(settings, SMALL, now=NOW)
