"""What follows an order: it comes back, wholly or in part, or its confirmation is loaded again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sample_shop import world
from sample_shop.options import MICROSECONDS, Calendar
from sample_shop.records import EVENT_DTYPE, LINE_COLUMNS, NAME, Flag, Kind, OrderForm
from sample_shop.visits import MIN_START_GAP_SECONDS

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Records = NDArray[np.void]

RELOAD_SHARE = 0.02  # of the orders, in the session; as many the next day
_REFUND_SHARE = 0.08
_PARTIAL_SHARE = 0.45  # of the refunds of orders with several lines
_SECOND_PART_SHARE = 0.4  # of the partial refunds, the rest comes back too


def simulate_after_sales(
    rng: np.random.Generator, calendar: Calendar, records: Records, lines: Ints, has_order: Bools, end: Ints
) -> tuple[Records, Records]:
    """Sessions in which an order is returned, wholly or in part, or its confirmation is loaded again the next day."""
    buyers = np.flatnonzero(has_order & (records["order_form"] != OrderForm.NOWHERE))
    uniform, part_uniform, second_uniform = rng.random((3, len(buyers)))
    delay = rng.integers(3, 15, len(buyers))
    several = lines[buyers, 1] >= 0
    refunds = uniform < _REFUND_SHARE
    partial = refunds & several & (part_uniform < _PARTIAL_SHARE)
    second_part = partial & (second_uniform < _SECOND_PART_SHARE)
    reloads = (uniform > 1 - RELOAD_SHARE) & calendar.options.quirks.reloaded_orders
    first_line, rest = np.array([True, False, False]), np.array([False, True, True])
    plans = [
        (buyers[refunds & ~partial], delay[refunds & ~partial], "refund", np.ones(3, dtype=bool)),
        (buyers[partial], delay[partial], "refund", first_line),
        (buyers[second_part], delay[second_part] + 2, "refund", rest),
        (buyers[reloads], np.ones(np.count_nonzero(reloads), dtype=np.int64), "purchase", np.ones(3, dtype=bool)),
    ]
    sessions: list[Records] = []
    events: list[Records] = []
    count = 0
    for who, days_later, name, which_lines in plans:
        session = records[who].copy()
        session["kind"], session["source"], session["arrives_late"] = Kind.AFTER_SALES, world.DIRECT, False
        day = calendar.day_of(end[who]) + days_later
        second = rng.integers(9 * 3600, 21 * 3600, len(who))
        inside = day < calendar.days
        day, second, session = day[inside], second[inside], session[inside]
        session["start"] = calendar.to_utc(day, second) + rng.integers(0, MICROSECONDS, len(day))
        view = np.zeros(len(session), EVENT_DTYPE)
        view["session"] = np.arange(len(session)) + count
        view["timestamp"] = view["page_loaded"] = session["start"]
        view["name"], view["index"], view["batch"] = NAME["page_view"], 3, 1
        view["page"] = world.RETURNS_PAGE if name == "refund" else world.CONFIRMATION_PAGE
        view["referrer"], view["engagement"] = -1, -1
        for column in LINE_COLUMNS:
            view[column] = -1
        view["flags"] = Flag.LANDING_PAGE | Flag.ARRIVAL
        started = view.copy()
        started["name"], started["index"] = NAME["session_start"], 2
        deed = view.copy()
        deed["name"] = NAME[name]
        wait = rng.integers(20 * MICROSECONDS, 90 * MICROSECONDS, len(session))
        if name == "refund":  # the form takes a while; a reload fires at once
            deed["timestamp"] += wait
            deed["batch"], deed["index"], deed["engagement"] = 2, 1, wait // 2_000
            deed["flags"] = Flag.LANDING_PAGE | Flag.ENGAGED
        else:
            deed["index"] = 4
            deed["flags"] |= np.uint16(Flag.ENGAGED)
        for number, column in enumerate(LINE_COLUMNS):
            deed[column] = np.where(which_lines[number], lines[who[inside], number], -1)
        view["flags"] |= np.uint16(Flag.ENTRANCE)
        sessions.append(session)
        events += [view, started, deed]
        count += len(session)
    return np.concatenate(sessions), np.concatenate(events)


def merge_after_sales(
    records: Records, events: Records, after: Records, after_events: Records
) -> tuple[Records, Records]:
    """Both together; without the after-sales sessions that come too near to another session of the client."""
    start = np.concatenate([records["start"], after["start"]])
    client = np.concatenate([records["client"], after["client"]])
    order = np.lexsort((start, client))
    same = np.diff(client[order]) == 0
    near = same & (np.diff(start[order]) < MIN_START_GAP_SECONDS * MICROSECONDS)
    is_near = np.zeros(len(start), dtype=bool)
    is_near[order] = np.append(near, False) | np.append(False, near)
    kept = ~is_near[len(records) :]
    new_row = np.cumsum(kept) - 1 + len(records)
    after_events = after_events[kept[after_events["session"]]]
    after_events["session"] = new_row[after_events["session"]]
    return np.concatenate([records, after[kept]]), np.concatenate([events, after_events])
