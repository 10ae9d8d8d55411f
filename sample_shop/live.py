"""A shop that lives: events come into its intraday table as time passes, and its days are closed with a daily table.

All days are simulated beforehand; what is exported of them is what has happened by the shop's clock. The clock
begins yesterday morning and runs as many times faster as one likes until it has caught up with the real one, and then
goes on with it: nothing that is exported lies in the future.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from foundation.durable import write_durably
from foundation.errors import FunnelhouseError, UsageError
from foundation.settings import Settings
from sample_shop.days import Records, list_chunks, load_day, simulate_task, workers, write_table
from sample_shop.job import LIVE_NAME, lock_folder, refuse_foreign_files
from sample_shop.options import GENERATOR_VERSION, MICROSECONDS, Calendar, Incidents, Quirks, SampleOptions
from sample_shop.quirks import spoil_day

OPENS_AT = dt.time(8)  # the clock, on the first day that is lived through
CLOSES_AFTER = dt.timedelta(hours=4)  # a day's end: its daily table comes, and the intraday one goes
_FOLDER = "live"
_PART = _FOLDER + ".writing"
_TICK_MINUTES = 10  # of the shop's time, between two looks at the clock


class OtherLiveShopError(FunnelhouseError):
    """The folder holds a shop that lives with other options."""


@dataclass(frozen=True)
class LiveOptions:
    """What decides what happens in the shop; `break_at` and `break_hours`: when on its first day nobody on mobile can
    pay, and for how long."""

    sessions_a_day: int = 2_000
    history_days: int = 42
    live_days: int = 14
    seed: int = SampleOptions.seed
    break_at: dt.time | None = None
    break_hours: float = 6.0

    def __post_init__(self) -> None:
        if self.history_days < 1 or self.live_days < 1 or self.sessions_a_day < 1:
            raise UsageError("a shop that lives needs at least one session a day, a day of history and one to live")
        if self.break_at is not None and not 0 < self.break_hours <= 24:
            raise UsageError(f"break_hours is {self.break_hours:g}: give more than 0, and 24 at most")

    def make_calendar(self, zone: ZoneInfo, first_day: dt.date) -> Calendar:
        """The days of the shop, of which `first_day` is the first that is lived through."""
        days = self.history_days + self.live_days
        broken = None
        if self.break_at is not None:
            begins = self.break_at.hour * 3600 + self.break_at.minute * 60
            broken = (self.history_days, begins, min(begins + round(self.break_hours * 3600), 86_400))
        options = SampleOptions(
            sessions=self.sessions_a_day * days,
            days=days,
            seed=self.seed,
            quirks=Quirks(intraday_beside_daily=False, intraday_only_day=False, rewritten_day=False, bad_rows=False),
            incidents=Incidents(broken_mobile_checkout=False, short_sessions=False),
        )
        return Calendar(options, zone, first_day + dt.timedelta(days=self.live_days - 1), broken)


@dataclass
class LiveShop:
    """A shop in a folder, which has what had happened by `clock` (UTC)."""

    root: Path
    calendar: Calendar
    options: LiveOptions
    clock: dt.datetime
    _day: int = -1  # whose events are in memory
    _rows: Records | None = field(default=None, repr=False)
    _sessions: Records | None = field(default=None, repr=False)

    @property
    def first_day(self) -> int:
        """Number of the first day that is lived through."""
        return self.options.history_days

    @property
    def ends_at(self) -> dt.datetime:
        """When the last day is closed."""
        return self._begin_of(self.calendar.days) + CLOSES_AFTER

    def advance(self, clock: dt.datetime) -> int:
        """Let happen what happens by `clock`, and write it; the number of rows of the day that is running.

        The clock never goes back: neither do the files, also where the process is killed between them.
        """
        self.clock = min(max(self.clock, clock), self.ends_at)
        _write_state(self)
        rows = 0
        for day in range(self.first_day, self.calendar.days):
            if self._begin_of(day) >= self.clock:
                break
            if self._begin_of(day + 1) + CLOSES_AFTER <= self.clock:
                self.close(day)
            else:
                rows = self._write_intraday(day)
        return rows

    def _begin_of(self, day: int) -> dt.datetime:
        return dt.datetime.fromtimestamp(int(self.calendar.hours[day, 0]) / MICROSECONDS, dt.UTC)

    def _path(self, day: int, kind: str = "") -> Path:
        return self.root / "export" / f"events_{kind}{self.calendar.date(day):%Y%m%d}.parquet"

    def _load(self, day: int) -> tuple[Records, Records]:
        if self._day != day or self._rows is None or self._sessions is None:
            events, self._sessions = load_day(self.root / _FOLDER, len(list_chunks(self.calendar)), day)
            self._rows, self._day = spoil_day(self.calendar, day, events, table=1), day
        return self._rows, self._sessions

    def _write_intraday(self, day: int) -> int:
        rows, sessions = self._load(day)
        come = rows[rows["timestamp"] <= int(self.clock.timestamp() * MICROSECONDS)]
        if len(come):
            _put(self.calendar, self._path(day, "intraday_"), come, sessions, is_intraday=True)
        return len(come)

    def close(self, day: int) -> None:
        """Write a day's own table, and take its intraday table away."""
        if not self._path(day).exists():
            events, sessions = load_day(self.root / _FOLDER, len(list_chunks(self.calendar)), day)
            _put(self.calendar, self._path(day), spoil_day(self.calendar, day, events), sessions, is_intraday=False)
        self._path(day, "intraday_").unlink(missing_ok=True)


def open_live_shop(
    settings: Settings, options: LiveOptions | None = None, *, out: Path | None = None, now: dt.datetime | None = None
) -> LiveShop:
    """The shop that lives in a folder; written with its past where there is none yet.

    `options` None takes the shop as it is. Raises OtherLiveShopError where it was made with others, and
    ForeignFolderError rather than replace what no sample shop wrote.
    """
    root = out.expanduser().resolve() if out else settings.sample_export_dir.parent
    root.mkdir(parents=True, exist_ok=True)
    found = _read_state(root)
    if found is None:
        return _begin(settings, options or LiveOptions(), root, now or dt.datetime.now(dt.UTC))
    own = LiveOptions(**found["options"] | {"break_at": _read_time(found["options"]["break_at"])})
    if options is not None and options != own:
        raise OtherLiveShopError(f"a shop with other options lives in {root}: delete the folder, or choose another")
    calendar = own.make_calendar(ZoneInfo(found["zone"]), dt.date.fromisoformat(found["first_day"]))
    return LiveShop(root, calendar, own, dt.datetime.fromisoformat(found["clock"]))


def live(shop: LiveShop, *, speed: float, stop: threading.Event | None = None) -> Iterator[tuple[dt.datetime, int]]:
    """Let time pass, `speed` times as fast as it does until the shop has caught up with the clock.

    Yields the shop's time and the rows of its running day whenever something was written; ends with the shop's last
    day, or when `stop` is set.
    """
    if speed < 1:
        raise UsageError(f"speed is {speed:g}: give at least 1")
    stop = stop or threading.Event()
    began, opened = time.monotonic(), shop.clock
    with lock_folder(shop.root):
        while not stop.is_set() and shop.clock < shop.ends_at:
            passed = dt.timedelta(seconds=(time.monotonic() - began) * speed)
            rows = shop.advance(min(opened + passed, dt.datetime.now(dt.UTC)))
            yield shop.clock, rows
            stop.wait(max(1.0, _TICK_MINUTES * 60 / speed))


def _begin(settings: Settings, options: LiveOptions, root: Path, now: dt.datetime) -> LiveShop:
    refuse_foreign_files(root)
    first_day = now.astimezone(settings.zone).date() - dt.timedelta(days=1)
    calendar = options.make_calendar(settings.zone, first_day)
    opens = dt.datetime.combine(first_day, OPENS_AT, settings.zone).astimezone(dt.UTC)
    with lock_folder(root):
        for name in (_PART, _FOLDER, "export", "truth", "later"):
            shutil.rmtree(root / name, ignore_errors=True)
        (root / "_sample.json").unlink(missing_ok=True)
        (root / _PART).mkdir()
        (root / "export").mkdir()
        chunks = list_chunks(calendar)
        with workers(os.cpu_count() or 1) as run:
            for _ in run(simulate_task, [(calendar, place, size, root / _PART) for place, size in enumerate(chunks)]):
                pass
        (root / _PART).rename(root / _FOLDER)
        shop = LiveShop(root, calendar, options, opens)
        for day in range(options.history_days):
            shop.close(day)
        shop.advance(opens)
    return shop


def _put(calendar: Calendar, path: Path, rows: Records, sessions: Records, *, is_intraday: bool) -> None:
    arriving = path.parent.parent / f".{path.name}"
    write_table(calendar, arriving, rows, sessions, is_intraday)
    arriving.replace(path)


def _write_state(shop: LiveShop) -> None:
    options = asdict(shop.options)
    options["break_at"] = None if shop.options.break_at is None else shop.options.break_at.isoformat()
    state = {
        "generator_version": GENERATOR_VERSION,
        "zone": shop.calendar.zone.key,
        "first_day": shop.calendar.date(shop.first_day).isoformat(),
        "clock": shop.clock.isoformat(),
        "options": options,
    }
    arriving = shop.root / f".{LIVE_NAME}"
    write_durably(arriving, json.dumps(state, indent=1).encode())
    arriving.replace(shop.root / LIVE_NAME)


def _read_state(root: Path) -> dict[str, Any] | None:
    try:
        state: dict[str, Any] = json.loads((root / LIVE_NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return state


def _read_time(text: str | None) -> dt.time | None:
    return None if text is None else dt.time.fromisoformat(text)
