"""What a sample shop is made with: size, dates, seed, quirks, incidents, and the calendar that follows from them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from foundation.errors import UsageError

GENERATOR_VERSION = 1  # raise it when the same options make another shop
MAX_SESSIONS = 20_000_000  # order numbers have eight digits
LAST_INTRADAY_HOUR = 15  # the streaming table of the day after ends here, local time
SHOP_TIME_END = dt.date(2026, 9, 30)  # the last day of the calendar on which every shop is simulated

MICROSECONDS = 1_000_000
_HOUR = 3_600 * MICROSECONDS


@dataclass(frozen=True)
class Quirks:
    """What makes a real GA4 export hard to read, each to be switched off by itself."""

    duplicates: bool = True  # exact copies of rows
    reordered_duplicates: bool = True  # copies whose event_params stand in another order
    unordered_rows: bool = True  # rows of a file in no order at all
    unreliable_session_start: bool = True  # missing, repeated and late session_start
    mixed_session_engaged: bool = True  # the int 1 beside the string "1"
    cookieless: bool = True  # visitors without consent: no ids, every page a session_start and a first_visit
    not_set_ids: bool = True  # "(not set)" as transaction_id and user_id
    int_transaction_ids: bool = True  # the transaction_id parameter as an integer
    reloaded_orders: bool = True  # the order confirmation loaded again, in the session or the next day
    midnight_sessions: bool = True  # sessions that go on after midnight
    intraday_beside_daily: bool = True  # the last day's streaming table is still there
    intraday_only_day: bool = True  # the day after the last daily table has only a streaming table
    rewritten_day: bool = True  # one day's first, smaller version; the later one is delivered on demand
    bad_rows: bool = True  # no event name, no timestamp, impossible date
    internal_traffic: bool = True  # traffic_type = internal
    synthetic_rows: bool = True  # synthetic_bundle = 1


@dataclass(frozen=True)
class Incidents:
    """What goes wrong near the end of the sample."""

    broken_mobile_checkout: bool = True  # on mobile nobody can pay, three days
    short_sessions: bool = True  # a slow site: one day of short sessions


SWITCHES = tuple(field.name for kind in (Quirks, Incidents) for field in fields(kind))


@dataclass(frozen=True)
class SampleOptions:
    """Everything that decides what the sample shop contains, but for the property's time zone.

    `sessions` counts the consenting visitors' sessions of the daily tables, those of the returns page aside.
    """

    sessions: int = 25_000
    days: int = 60
    end_date: dt.date | None = None  # the last daily table; None: yesterday, or that of the shop which is there
    seed: int = 20_260_930
    quirks: Quirks = field(default_factory=Quirks)
    incidents: Incidents = field(default_factory=Incidents)

    def __post_init__(self) -> None:
        if not 1 <= self.sessions <= MAX_SESSIONS:
            raise UsageError(f"sessions is {self.sessions}: give a number from 1 to {MAX_SESSIONS:,}")
        if not 1 <= self.days <= 3_660:
            raise UsageError(f"days is {self.days}: give a number from 1 to 3660")
        if self.seed < 0:
            raise UsageError(f"seed is {self.seed}: give a number of at least 0")

    def without(self, *names: str) -> SampleOptions:
        """The same options with the named quirks and incidents off; `quirks` and `incidents` name all of a kind."""
        quirks, incidents = self.quirks, self.incidents
        for name in (name.replace("-", "_") for name in names):
            if name == "quirks":
                quirks = Quirks(**{each.name: False for each in fields(Quirks)})
            elif name == "incidents":
                incidents = Incidents(**{each.name: False for each in fields(Incidents)})
            elif name in {each.name for each in fields(Quirks)}:
                quirks = replace(quirks, **{name: False})
            elif name in {each.name for each in fields(Incidents)}:
                incidents = replace(incidents, **{name: False})
            else:
                raise UsageError(
                    f"{name!r} is not a quirk or incident; there are: quirks, incidents, {', '.join(SWITCHES)}"
                )
        return replace(self, quirks=quirks, incidents=incidents)


@lru_cache(maxsize=4)
def _begin_hours(first: dt.date, days: int, zone: ZoneInfo) -> NDArray[np.int64]:
    """An hour that spring skips begins with the one after it; the second of two in autumn belongs to the first."""
    dates = [first + dt.timedelta(days=day) for day in range(days)]
    local = [[dt.datetime.combine(date, dt.time(hour), zone) for hour in range(24)] for date in dates]
    return np.array([[int(moment.timestamp()) for moment in row] for row in local], dtype=np.int64) * MICROSECONDS


@dataclass(frozen=True)
class Calendar:
    """The days of the sample in the property's time zone. Day 0 is the first daily table, day `days` the day after.

    The same options make the same shop, whatever `end_date` is. So it is simulated on a calendar that always ends on
    the same day, *shop time*, and then moved by whole days to the dates of the export: day by day the same sessions,
    events and purchases. With the dates move the ids that are made of a timestamp, as GA4 makes them. The shop's week
    moves too, so its Sundays are Sundays only where `end_date` is a Wednesday, as in shop time. A session begins at
    the same local time and takes as long; only one that would begin in the hour that spring skips begins an hour later.
    """

    options: SampleOptions
    zone: ZoneInfo
    end_date: dt.date  # the last daily table
    # A shop that lives breaks by the clock: the day, and from which second of it to which nobody can pay on mobile.
    broken_checkout: tuple[int, int, int] | None = None

    @property
    def days(self) -> int:
        """Number of daily tables."""
        return self.options.days

    def date(self, day: int | np.integer) -> dt.date:
        """The date of a day; days before the export are negative."""
        return self.end_date - dt.timedelta(days=self.days - 1 - int(day))

    @property
    def shop_time(self) -> Calendar:
        """The calendar on which the shop is simulated."""
        return replace(self, end_date=SHOP_TIME_END)

    @property
    def hours(self) -> NDArray[np.int64]:
        """UTC microseconds at which each local hour begins, shape (days + 2, 24)."""
        return _begin_hours(self.date(0), self.days + 2, self.zone)

    def to_utc(self, day: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
        """UTC microseconds of a local second of a day; before the export a day simply has 24 hours."""
        inside = self.hours[np.clip(day, 0, None), second // 3600] + (second % 3600) * MICROSECONDS
        before = self.hours[0, 0] + (day * 86_400 + second) * MICROSECONDS
        return np.where(day >= 0, inside, before)

    def day_of(self, timestamp: NDArray[np.int64]) -> NDArray[np.int64]:
        """The day a UTC timestamp (microseconds) falls on."""
        return np.searchsorted(self.hours[:, 0], timestamp, side="right") - 1

    def from_shop_time(self, timestamp: NDArray[np.int64]) -> NDArray[np.int64]:
        """UTC microseconds (n,) of the same day of the sample and the same local time, given those of shop time."""
        shop = self.shop_time
        if shop == self:
            return timestamp
        day = shop.day_of(timestamp)
        inside = np.clip(day, 0, None)
        hour = np.count_nonzero(timestamp[:, None] >= shop.hours[inside], axis=1) - 1
        # of the two hours in autumn the second becomes the first
        moved = self.hours[inside, hour] + (timestamp - shop.hours[inside, hour]) % _HOUR
        return np.where(day >= 0, moved, timestamp + self.hours[0, 0] - shop.hours[0, 0])

    @property
    def export_end(self) -> int:
        """UTC microseconds before which every event of the export lies."""
        if self.options.quirks.intraday_only_day:
            return int(self.hours[self.days, LAST_INTRADAY_HOUR])
        return int(self.hours[self.days, 0])

    @property
    def broken_checkout_days(self) -> tuple[int, ...]:
        """The days nobody can pay on mobile: nine to seven days before the last."""
        wanted = range(self.days - 10, self.days - 7) if self.options.incidents.broken_mobile_checkout else range(0)
        return tuple(day for day in wanted if day >= 0)

    @property
    def short_sessions_days(self) -> tuple[int, ...]:
        """The slow day: four days before the last."""
        wanted = [self.days - 5] if self.options.incidents.short_sessions else []
        return tuple(day for day in wanted if day >= 0)

    @property
    def planted(self) -> dict[str, list[dt.date]]:
        """The dates of what is planted on certain days."""
        rewritten = () if self.rewritten_day is None else (self.rewritten_day,)
        return {
            "broken_mobile_checkout": [self.date(day) for day in self.broken_checkout_days],
            "short_sessions": [self.date(day) for day in self.short_sessions_days],
            "rewritten_day": [self.date(day) for day in rewritten],
        }

    @property
    def rewritten_day(self) -> int | None:
        """The day whose table is delivered twice: two days before the last."""
        return self.days - 3 if self.options.quirks.rewritten_day and self.days >= 3 else None
