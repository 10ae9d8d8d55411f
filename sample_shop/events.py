"""The events that the steps of a session fire, with their pages, products and carts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sample_shop import world
from sample_shop.behaviour import CART_LEVEL, PAGE_STEPS, Step
from sample_shop.journeys import Paths
from sample_shop.options import Calendar
from sample_shop.records import (
    EVENT_DTYPE,
    EVENTS_IN_STEP,
    FIRST_EVENT,
    LINE_COLUMNS,
    NAME,
    SECOND_EVENT,
    Flag,
    Kind,
    pack_line,
)
from sample_shop.visits import Clients

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Records = NDArray[np.void]

_START_MISSING, _START_LATE, _START_REPEATED = 0.04, 0.02, 0.03


def fire_events(
    rng: np.random.Generator,
    calendar: Calendar,
    kind: Kind,
    steps: Paths,
    start: Ints,
    clients: Clients,
    client: Ints,
    rank: Ints,
) -> Records:
    """The events of all steps, as EVENT_DTYPE, in no order."""
    step, session, rows = steps.step, steps.session, len(steps.session)
    is_first = steps.order == 0
    first_row = np.flatnonzero(is_first)
    elapsed = np.cumsum(steps.gap)
    timestamp = start[session] + elapsed - elapsed[first_row][session]

    page, promotion, item = _choose_pages(rng, steps, first_row)
    page_row = latest(PAGE_STEPS[step])
    referrer = np.where(is_first[page_row], -1, page[page_row][np.maximum(page_row - 1, 0)])
    lines = _fill_carts(rng, steps, item)
    engagement, is_engaged = _engage(rng, steps, first_row)
    is_known = _know_users(steps, first_row, clients, client, rank)

    base = np.zeros(rows, EVENT_DTYPE)
    base["session"], base["timestamp"], base["name"] = session, timestamp, FIRST_EVENT[step]
    base["page"], base["referrer"], base["page_loaded"] = page[page_row], referrer, timestamp[page_row]
    base["batch"] = np.arange(rows) - page_row + 1
    base["index"] = np.where(is_first, 3, 1)  # first_visit and session_start come first
    base["engagement"], base["detail"] = engagement, promotion
    for number, column in enumerate(LINE_COLUMNS):
        base[column] = lines[number]
    base["flags"] = (
        np.where(is_first[page_row], Flag.LANDING_PAGE, 0)
        | np.where(is_first, Flag.ARRIVAL, 0)
        | np.where(is_engaged, Flag.ENGAGED, 0)
        | np.where(is_known, Flag.USER_KNOWN, 0)
    )
    second = base[EVENTS_IN_STEP[step] == 2]
    second["name"] = SECOND_EVENT[step][EVENTS_IN_STEP[step] == 2]
    second["index"] += 1
    second["engagement"] = -1
    entrance = is_first & (base["name"] == NAME["page_view"])
    base["flags"] |= np.where(entrance, Flag.ENTRANCE, 0).astype("u2")
    starts = _fire_starts(rng, calendar, kind, base, steps, first_row, rank)
    return np.concatenate([base, second, *starts])


def _engage(rng: np.random.Generator, steps: Paths, first_row: Ints) -> tuple[Ints, Bools]:
    """Each step's engagement (ms; -1 for a session's first), and whether the session is engaged by then."""
    step, session = steps.step, steps.session
    engagement = np.where(steps.order == 0, -1, (steps.gap * rng.uniform(0.55, 1.0, len(step)) / 1000).astype(np.int64))
    # Engaged: 10 seconds of engagement, two pages or an order.
    engaged_ms = np.cumsum(np.maximum(engagement, 0))
    pages = np.cumsum(PAGE_STEPS[step])
    orders = np.cumsum(step == Step.PURCHASE)
    engaged_ms, pages, orders = (total - total[first_row][session] for total in (engaged_ms, pages, orders))
    return engagement, (engaged_ms >= 10_000) | (pages >= 1) | (orders >= 1)  # the first page itself is taken away


def _know_users(steps: Paths, first_row: Ints, clients: Clients, client: Ints, rank: Ints) -> Bools:
    """Whether user_id is known at each step: from the login on."""
    session, events = steps.session, EVENTS_IN_STEP[steps.step]
    fired = np.cumsum(events) - events
    fired -= fired[first_row][session]
    login_visit, login_event = clients.login_visit[client], clients.login_event[client]
    known: Bools = (rank[session] > login_visit[session]) | (
        (rank[session] == login_visit[session]) & (fired >= login_event[session])
    )
    return known


def _fire_starts(
    rng: np.random.Generator,
    calendar: Calendar,
    kind: Kind,
    base: Records,
    steps: Paths,
    first_row: Ints,
    rank: Ints,
) -> list[Records]:
    """The events `first_visit` and `session_start`, of the sessions or, without a cookie, of every page."""
    is_first = steps.order == 0
    last_row = np.append(first_row[1:], len(base)) - 1

    def starts(at: Ints, name: str, index: int) -> Records:
        events = base[at].copy()
        events["name"], events["index"], events["engagement"] = NAME[name], index, -1
        events["flags"] &= ~np.uint16(Flag.ENTRANCE)
        for column in LINE_COLUMNS:
            events[column] = -1
        return events

    uniform = rng.random(len(first_row))
    if kind == Kind.COOKIELESS:  # without a cookie every page looks like a new visitor's first
        on_pages = np.flatnonzero(PAGE_STEPS[steps.step])
        return [starts(on_pages, "first_visit", 8), starts(on_pages, "session_start", 9)]
    start_row = first_row
    if calendar.options.quirks.unreliable_session_start:
        is_late = (uniform >= _START_MISSING) & (uniform < _START_MISSING + _START_LATE)
        start_row = np.where(is_late, last_row, first_row)[uniform >= _START_MISSING]
        repeats = (uniform > 1 - _START_REPEATED) & (last_row > first_row)
        start_row = np.concatenate([start_row, first_row[repeats] + 1])
    session_start = starts(start_row, "session_start", 2)
    session_start["index"] = np.where(is_first[start_row], 2, 9)
    return [starts(first_row[rank == 0], "first_visit", 1), session_start]


def _choose_pages(rng: np.random.Generator, steps: Paths, first_row: Ints) -> tuple[Ints, Ints, Ints]:
    """Page, promotion (or list place, or outbound link) and item of every step, each (M,). None depends on intent."""
    step, session = steps.step, steps.session
    rows = len(step)
    is_first = steps.order == 0
    promotion = rng.integers(0, len(world.PROMOTIONS), rows)
    promotion = promotion[latest((step == Step.HOME) | (step == Step.HOME_AFTER))]
    term = rng.integers(0, len(world.SEARCH_TERMS), rows)
    after_promotion = np.append(False, step[:-1] == Step.SELECT_PROMOTION)
    drawn = rng.choice(len(world.CATEGORIES), rows, p=world.CATEGORY_SHARE)
    drawn = np.where(after_promotion, world.PROMOTION_CATEGORY[promotion], drawn)
    drawn = np.where(step == Step.SEARCH, world.TERM_CATEGORY[term], drawn)
    turns = (step == Step.LIST) & (after_promotion | (rng.random(rows) < 0.6))
    category = drawn[latest(is_first | turns | (step == Step.SEARCH))]

    item = np.zeros(rows, dtype=np.int64)
    new = np.flatnonzero(step == Step.PRODUCT)
    item[new] = _choose_new_items(rng, session[new], category[new])
    # AGAIN shows one of the products seen before in the session.
    again = np.flatnonzero(step == Step.AGAIN)
    seen = np.cumsum(step == Step.PRODUCT)
    seen_before_session = (seen - (step == Step.PRODUCT))[first_row][session[again]]
    seen_in_session = seen[again] - seen_before_session
    item[again] = item[new[seen_before_session + (rng.random(len(again)) * seen_in_session).astype(np.int64)]]
    shown = item[latest((step == Step.PRODUCT) | (step == Step.AGAIN))]
    shown = np.where(step == Step.SELECT_ITEM, np.append(shown[1:], 0), shown)  # the product page follows

    page = np.select(
        [step == Step.LIST, step == Step.SEARCH, (step == Step.PRODUCT) | (step == Step.AGAIN), step == Step.CONTENT],
        [
            world.LIST_PAGE + category,
            world.SEARCH_PAGE + term,
            world.PRODUCT_PAGE + shown,
            world.CONTENT_PAGE + rng.integers(0, len(world.CONTENT_PAGES), rows),
        ],
        default=world.HOME_PAGE,
    )
    for other, number in (
        (Step.CART, world.CART_PAGE),
        (Step.CHECKOUT, world.CHECKOUT_PAGE),
        (Step.PURCHASE, world.CONFIRMATION_PAGE),
        (Step.ORDERS, world.ORDERS_PAGE),
    ):
        page[step == other] = number
    detail = np.where(step == Step.LIST, rng.integers(0, 3, rows), promotion)
    detail = np.where(step == Step.CLICK, rng.integers(0, len(world.OUTBOUND_LINKS), rows), detail)
    return page, detail, shown


def _choose_new_items(rng: np.random.Generator, session: Ints, category: Ints) -> Ints:
    """An item of the category for each row, popular ones more often, none twice in a session."""
    item = np.full(len(session), -1)
    missing = np.arange(len(session))
    tries = 0
    while len(missing):
        place = (world.ITEMS_PER_CATEGORY * rng.random(len(missing)) ** 1.7).astype(np.int64)
        # Whoever has seen nearly all of a category is shown another.
        tries += 1
        wanted = category[missing] if tries <= 8 else rng.integers(0, len(world.CATEGORIES), len(missing))
        item[missing] = wanted * world.ITEMS_PER_CATEGORY + place
        key = session * world.ITEM_COUNT + item
        order = np.argsort(key, kind="stable")
        missing = np.sort(order[1:][np.diff(key[order]) == 0])
    return item


def _fill_carts(rng: np.random.Generator, steps: Paths, item: Ints) -> list[Ints]:
    """Up to three lines of every step: the product it is about, or the whole cart; -1 where there is none.

    The cart is a stack: what is removed is what was added last.
    """
    step, level = steps.step, steps.level
    rows = len(step)
    quantity = np.where((step == Step.ADD) & (rng.random(rows) < 0.12), 2, 1)
    size = np.where(step == Step.ADD, rng.integers(0, len(world.SIZES), rows), 2)
    line = pack_line(item, size, quantity)
    # The place in the stack that a step's level says is on top.
    slots = [line[latest((step == Step.ADD) & (level == CART_LEVEL + place))] for place in range(3)]
    whole_cart = np.isin(step, [Step.CART, Step.CHECKOUT, Step.SHIPPING, Step.PAYMENT, Step.PURCHASE])
    about_item = np.isin(step, [Step.PRODUCT, Step.AGAIN, Step.SELECT_ITEM, Step.WISH, Step.ADD])
    lines = []
    for place in range(3):
        content = np.where(whole_cart & (level >= CART_LEVEL + place), slots[place], -1)
        if place == 0:
            removed = np.choose(np.clip(level - CART_LEVEL + 1, 0, 2), slots)
            content = np.where(about_item, line, content)
            content = np.where(step == Step.REMOVE, removed, content)
        lines.append(content)
    return lines


def latest(is_set: Bools) -> Ints:
    """For each row the latest row up to it where `is_set`; 0 before any."""
    return np.maximum.accumulate(np.where(is_set, np.arange(len(is_set)), 0))
