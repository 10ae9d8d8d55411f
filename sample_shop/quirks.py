"""What makes a day's rows hard to read: copies, bad and synthetic rows, no order. Works on compact events."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sample_shop.options import Calendar
from sample_shop.records import Flag

Records = NDArray[np.void]

_DUPLICATE_SHARE = 0.004
_REORDERED_SHARE = 0.003
_SYNTHETIC_SHARE = 0.0003
_BAD_ROWS = (Flag.NULL_NAME, Flag.NULL_TIMESTAMP, Flag.IMPOSSIBLE_DATE)
_BAD_DAYS = 4  # each with one row of each kind


def spoil_day(calendar: Calendar, day: int, events: Records, *, table: int = 0) -> Records:
    """The rows of one table as it is exported: `events` of day `day`, the planted ones, and their order.

    `table` tells apart the tables of one day, whose planted rows differ. A planted row is a copy with a flag.
    """
    quirks = calendar.options.quirks
    rng = np.random.default_rng(np.random.SeedSequence(calendar.options.seed, spawn_key=(1 << 20, day, table)))
    draw, shuffle = rng.random((3, len(events))), rng.random(2 * len(events) + 64)
    parts = [events]
    if quirks.duplicates:
        parts.append(events[draw[0] < _DUPLICATE_SHARE])
    if quirks.reordered_duplicates:
        parts.append(_flagged(events[draw[1] < _REORDERED_SHARE], Flag.REORDERED))
    if quirks.synthetic_rows:
        parts.append(_flagged(events[draw[2] < _SYNTHETIC_SHARE], Flag.SYNTHETIC))
    if quirks.bad_rows and len(events) and day in bad_row_days(calendar):
        parts += [_flagged(events[[row % len(events)]], flag) for row, flag in enumerate(_BAD_ROWS)]
    spoilt = np.concatenate(parts)
    if quirks.unordered_rows:
        return spoilt[np.argsort(shuffle[: len(spoilt)], kind="stable")]
    keys = ("flags", "index", "batch", "page_loaded", "session", "timestamp")
    return spoilt[np.lexsort([spoilt[key] for key in keys])]


def bad_row_days(calendar: Calendar) -> set[int]:
    """The days that hold rows nobody can use, a dozen rows in all."""
    return {calendar.days * part // _BAD_DAYS for part in range(_BAD_DAYS)}


def _flagged(events: Records, flag: Flag) -> Records:
    copies = events.copy()
    copies["flags"] |= np.uint16(flag)
    return copies
