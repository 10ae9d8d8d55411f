"""Which table of a day counts: daily beats fresh beats intraday, and intraday only after the newest daily."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping

from ingest.names import KINDS, is_in_the_future


def is_worse(kind: str, than: str) -> bool:
    """True when a table of `kind` must not replace one of kind `than`."""
    return KINDS.index(kind) > KINDS.index(than)


def counts(kind: str, event_date: dt.date, newest_daily: dt.date | None) -> bool:
    """False for an intraday table of a date that is not later than the newest daily table."""
    return kind != "intraday" or newest_daily is None or event_date > newest_daily


def find_newest_daily(kinds: Iterable[tuple[dt.date, str]]) -> dt.date | None:
    """The latest date that has a daily table; a misnamed one of the future, left in the lake, does not count."""
    daily = (event_date for event_date, kind in kinds if kind == "daily" and not is_in_the_future(event_date))
    return max(daily, default=None)


def find_retired(
    lake_kinds: Mapping[dt.date, str],
    better_in_source: Iterable[dt.date],
    newest_daily: dt.date | None,
) -> list[dt.date]:
    """Dates whose lake partition is an intraday table that no longer counts.

    `better_in_source` are the dates with a daily or fresh table of their own: that one replaces the partition, or,
    where it cannot be read, the partition stays until it can.
    """
    better = set(better_in_source)
    return sorted(
        event_date
        for event_date, kind in lake_kinds.items()
        if not counts(kind, event_date, newest_daily) and event_date not in better
    )
