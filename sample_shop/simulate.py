"""Simulate one chunk of the shop: its visitors' sessions as compact events, and their truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sample_shop import world
from sample_shop.behaviour import (
    AFFINITY_SCORE,
    BROKEN_CHECKOUT_DAY,
    CART_LEVEL,
    DEVICE_SCORE,
    HOUR_SCORE,
    INTENTS,
    NORMAL_DAY,
    PAGE_STEPS,
    RETURNING_SCORE,
    SLOW_DAY,
    Step,
    load_behaviour,
    log_intent_prior,
    variant_of,
)
from sample_shop.identifiers import make_session_ids
from sample_shop.journeys import LANDING_NUMBER, Paths, walk
from sample_shop.options import MICROSECONDS, Calendar
from sample_shop.records import (
    EVENT_DTYPE,
    EVENTS_IN_STEP,
    FIRST_EVENT,
    LINE_COLUMNS,
    NAME,
    SECOND_EVENT,
    SESSION_DTYPE,
    Flag,
    Kind,
    OrderForm,
    line_amount,
    pack_line,
)
from sample_shop.truth import Truth, compute_truth, weigh_intents
from sample_shop.visits import MIN_START_GAP_SECONDS, Clients, Visits, plan_visits

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Records = NDArray[np.void]

CHUNK_SESSIONS = 5_000  # fixed: the sample must not depend on how many processes share the work
_CHUNK_STRIDE = 1 << 15  # numbers of clients and orders that a chunk may use
_KIND_OFFSET = {Kind.CLEAN: 0, Kind.COOKIELESS: 1 << 14, Kind.INTERNAL: (1 << 14) + (1 << 13)}
_SECONDS_A_DAY = 86_400
_SESSION_GAP = 1_800 * MICROSECONDS

_COOKIELESS_SHARE = 0.03
_INTERNAL_SHARE = 0.003
_RELOAD_SHARE = 0.02  # of the orders, in the session; as many the next day
_REFUND_SHARE = 0.08
_PARTIAL_SHARE = 0.45  # of the refunds of orders with several lines
_SECOND_PART_SHARE = 0.4  # of the partial refunds, the rest comes back too
_LATE_SHARE = 0.08  # of the rewritten day's sessions

_START_MISSING, _START_LATE, _START_REPEATED = 0.04, 0.02, 0.03

TRUTH_SCHEMA = pa.schema(
    [
        ("session_id", pa.string()),
        ("session_date", pa.date32()),
        ("decision_point", pa.string()),
        ("true_probability", pa.float64()),
        ("latent_intent", pa.int8()),
        ("intent_name", pa.string()),
        ("purchased", pa.bool_()),
        ("is_at_risk", pa.bool_()),
        ("arrives_late", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Population:
    """Sessions of one kind, in order of client and start, and their events."""

    sessions: Records
    events: Records


def simulate_chunk(calendar: Calendar, chunk: int, sessions: int, folder: Path) -> int:
    """Write chunk number `chunk` with `sessions` clean sessions into `folder`; return the number of events.

    Files: `sessions_<chunk>.bin` (SESSION_DTYPE); `events_<chunk>.bin` (EVENT_DTYPE) in order of day, with the first
    row of each day in `offsets_<chunk>.bin` (days + 2 entries, int64); `truth_<chunk>.parquet`.
    """
    quirks = calendar.options.quirks
    kinds = {Kind.CLEAN: sessions}
    if quirks.cookieless:
        kinds[Kind.COOKIELESS] = max(1, round(sessions * _COOKIELESS_SHARE))
    if quirks.internal_traffic:
        kinds[Kind.INTERNAL] = max(1, round(sessions * _INTERNAL_SHARE))
    populations: list[Population] = []
    for kind, count in kinds.items():
        # A generator of its own for each kind, so that switching one off leaves the others as they are.
        rng = np.random.default_rng(np.random.SeedSequence(calendar.options.seed, spawn_key=(chunk, int(kind))))
        first_number = chunk * _CHUNK_STRIDE + _KIND_OFFSET[kind]
        population, truth = _simulate_population(rng, calendar, kind, count, first_number)
        populations.append(population)
        if truth is not None:
            pq.write_table(truth, folder / f"truth_{chunk}.parquet", compression="zstd")
    sizes = [len(population.sessions) for population in populations]
    for population, before in zip(populations, np.cumsum(sizes) - sizes, strict=True):
        population.events["session"] += before
    events = np.concatenate([population.events for population in populations])
    day = calendar.day_of(events["timestamp"])
    events = events[np.argsort(day, kind="stable")]
    # Plain bytes: a day's writer reads a slice of each of many chunks, and parsing headers would take most of its time.
    events.tofile(folder / f"events_{chunk}.bin")
    np.searchsorted(np.sort(day), np.arange(calendar.days + 2)).astype("i8").tofile(folder / f"offsets_{chunk}.bin")
    np.concatenate([population.sessions for population in populations]).tofile(folder / f"sessions_{chunk}.bin")
    return len(events)


def _simulate_population(
    rng: np.random.Generator, calendar: Calendar, kind: Kind, count: int, first_number: int
) -> tuple[Population, pa.Table | None]:
    behaviour = load_behaviour()
    clients, visits = plan_visits(rng, calendar, count)
    visit_row = np.flatnonzero(visits.is_exported)
    client, day, second = visits.client[visit_row], visits.day[visit_row], visits.second[visit_row]
    source, rank = visits.source[visit_row], visits.rank[visit_row]
    sessions = len(visit_row)

    # Intent, path, truth.
    device = world.DEVICE_CATEGORY[clients.device[client]]
    variant = variant_of(device, _day_kind(calendar, day))
    score = (
        np.array([each.intent for each in world.SOURCES])[source]
        + DEVICE_SCORE[device]
        + RETURNING_SCORE * (rank > 0)
        + HOUR_SCORE[second // 3600 // 6]
    )
    prior = np.exp(log_intent_prior(score + AFFINITY_SCORE[clients.affinity[client]]))
    intent = (rng.random(sessions)[:, None] >= np.cumsum(prior, axis=1)[:, :-1]).sum(axis=1)
    landing = np.array([LANDING_NUMBER[each.landing] for each in world.SOURCES])[source]
    paths = walk(rng, behaviour, variant, landing, intent)
    order_form = _draw_order_forms(rng, calendar, sessions)
    has_order = np.bincount(paths.session, paths.step == Step.PURCHASE, sessions) > 0
    may_reload = has_order & (order_form != OrderForm.NOWHERE) & calendar.options.quirks.reloaded_orders
    reloads = may_reload & (rng.random(sessions) < _RELOAD_SHARE)
    reload_gap = np.clip(np.exp(rng.normal(np.log(90), 0.7, sessions)), 5, 1_200) * MICROSECONDS
    steps = _append_reloads(paths, reloads, reload_gap.astype(np.int64))

    start = calendar.to_utc(day, second) + rng.integers(0, MICROSECONDS, sessions)
    duration = np.bincount(steps.session, steps.gap, sessions).astype(np.int64)
    start = _move_before_limits(calendar, start, duration, day)
    end = start + duration

    # Session records.
    records = np.zeros(sessions, SESSION_DTYPE)
    records["client"] = client + first_number
    records["person"] = clients.person[client] + first_number
    records["start"] = start
    records["kind"] = kind
    records["device"], records["place"] = clients.device[client], clients.place[client]
    records["source"] = source
    records["order"] = np.arange(sessions) + first_number
    records["order_form"] = order_form
    records["coupon"] = rng.random(sessions) < 0.15
    records["shipping"] = rng.random(sessions) < 0.18
    records["payment"] = rng.choice(len(world.PAYMENT_TYPES), sessions, p=[0.5, 0.2, 0.2, 0.1])
    int_engaged = rng.random(len(clients.device)) < 0.25
    records["has_int_engaged"] = int_engaged[client] & calendar.options.quirks.mixed_session_engaged
    records["has_user_not_set"] = (rng.random(sessions) < 0.01) & calendar.options.quirks.not_set_ids
    within_a_day = calendar.day_of(end) == calendar.day_of(start)
    is_late = (rng.random(sessions) < _LATE_SHARE) & within_a_day
    records["arrives_late"] = is_late & (day == calendar.rewritten_day) if calendar.rewritten_day is not None else False

    events = _fire_events(rng, calendar, kind, steps, start, clients, client, rank)
    lines = _order_lines(events, sessions)
    if kind == Kind.CLEAN:
        after, after_events = _simulate_after_sales(rng, calendar, records, lines, has_order, end)
    else:
        after, after_events = records[:0], events[:0]
    records, events = _merge_after_sales(records, events, after, after_events)
    _number_sessions(records, visits, visit_row, calendar, first_number)
    _sum_lifetimes(records, lines, has_order)
    _check_gaps(records, np.concatenate([end, records["start"][sessions:]]))

    truth = None
    if kind == Kind.CLEAN:
        log_prior = weigh_intents(score, client, paths.end_log_likelihood)
        extra = np.where(reloads, EVENTS_IN_STEP[Step.PURCHASE], 0)
        found = compute_truth(behaviour, paths, EVENTS_IN_STEP[paths.step], variant, log_prior, extra)
        truth = _make_truth_table(calendar, found, records[:sessions], intent)
    return Population(records, events), truth


def _day_kind(calendar: Calendar, day: Ints) -> Ints:
    kind = np.full(len(day), NORMAL_DAY)
    kind[np.isin(day, calendar.broken_checkout_days)] = BROKEN_CHECKOUT_DAY
    kind[np.isin(day, calendar.short_sessions_days)] = SLOW_DAY
    return kind


def _draw_order_forms(rng: np.random.Generator, calendar: Calendar, sessions: int) -> Ints:
    quirks = calendar.options.quirks
    uniform = rng.random(sessions)
    form = np.full(sessions, int(OrderForm.PLAIN))
    if quirks.int_transaction_ids:
        form[uniform < 0.12] = OrderForm.INT_PARAMETER
    if quirks.not_set_ids:
        form[uniform > 0.97] = OrderForm.ONLY_PARAMETER
        form[uniform > 0.992] = OrderForm.NOWHERE
    return form


def _append_reloads(paths: Paths, reloads: Bools, gap: Ints) -> Paths:
    """The paths with one more purchase step at the end of the sessions in `reloads`."""
    who = np.flatnonzero(reloads)
    end = np.searchsorted(paths.session, who, side="right")
    return Paths(
        session=np.insert(paths.session, end, who),
        order=np.insert(paths.order, end, paths.order[end - 1] + 1),
        step=np.insert(paths.step, end, int(Step.PURCHASE)),
        level=np.insert(paths.level, end, paths.level[end - 1]),
        gap=np.insert(paths.gap, end, gap[who]),
        log_likelihood=paths.log_likelihood[:0],  # the truth is computed from the paths themselves
        end_log_likelihood=paths.end_log_likelihood[:0],
    )


def _move_before_limits(calendar: Calendar, start: Ints, duration: Ints, day: Ints) -> Ints:
    """Start earlier what would outlast the export, or the day where sessions must not cross midnight."""
    limit = np.full(len(start), calendar.export_end)
    if not calendar.options.quirks.midnight_sessions:
        limit = np.minimum(limit, calendar.hours[day + 1, 0])
    return np.minimum(start, limit - duration - MICROSECONDS)


def _latest(is_set: Bools) -> Ints:
    """For each row the latest row up to it where `is_set`; 0 before any."""
    return np.maximum.accumulate(np.where(is_set, np.arange(len(is_set)), 0))


def _fire_events(
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
    quirks = calendar.options.quirks
    sessions, rows = len(start), len(steps.session)
    step, session = steps.step, steps.session
    is_first = steps.order == 0
    first_row = np.flatnonzero(is_first)
    last_row = np.append(first_row[1:], rows) - 1
    elapsed = np.cumsum(steps.gap)
    timestamp = start[session] + elapsed - elapsed[first_row][session]

    page, promotion, item = _choose_pages(rng, steps, first_row)
    is_page = PAGE_STEPS[step]
    page_row = _latest(is_page)
    referrer = np.where(is_first[page_row], -1, page[page_row][np.maximum(page_row - 1, 0)])
    lines = _fill_carts(rng, steps, item)

    # Engaged so far: 10 seconds of engagement, two pages or an order.
    engagement = np.where(is_first, -1, (steps.gap * rng.uniform(0.55, 1.0, rows) / 1000).astype(np.int64))
    engaged_ms = np.cumsum(np.maximum(engagement, 0))
    pages = np.cumsum(is_page)
    orders = np.cumsum(step == Step.PURCHASE)
    engaged_ms, pages, orders = (total - total[first_row][session] for total in (engaged_ms, pages, orders))
    is_engaged = (engaged_ms >= 10_000) | (pages >= 1) | (orders >= 1)  # the first page itself is taken away
    # user_id is known from the login on.
    fired = np.cumsum(EVENTS_IN_STEP[step]) - EVENTS_IN_STEP[step]
    fired -= fired[first_row][session]
    login_visit, login_event = clients.login_visit[client], clients.login_event[client]
    is_known = (rank[session] > login_visit[session]) | (
        (rank[session] == login_visit[session]) & (fired >= login_event[session])
    )

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
    page_view = NAME["page_view"]
    entrance = is_first & (base["name"] == page_view)
    base["flags"] |= np.where(entrance, Flag.ENTRANCE, 0).astype("u2")

    def starts(at: Ints, name: str, index: int) -> Records:
        events = base[at].copy()
        events["name"], events["index"], events["engagement"] = NAME[name], index, -1
        events["flags"] &= ~np.uint16(Flag.ENTRANCE)
        for column in LINE_COLUMNS:
            events[column] = -1
        return events

    uniform = rng.random(sessions)
    if kind == Kind.COOKIELESS:  # without a cookie every page looks like a new visitor's first
        on_pages = np.flatnonzero(is_page)
        return np.concatenate([base, second, starts(on_pages, "first_visit", 8), starts(on_pages, "session_start", 9)])
    start_row = first_row
    if quirks.unreliable_session_start:
        is_late = (uniform >= _START_MISSING) & (uniform < _START_MISSING + _START_LATE)
        start_row = np.where(is_late, last_row, first_row)[uniform >= _START_MISSING]
        repeats = (uniform > 1 - _START_REPEATED) & (last_row > first_row)
        start_row = np.concatenate([start_row, first_row[repeats] + 1])
    session_start = starts(start_row, "session_start", 2)
    session_start["index"] = np.where(is_first[start_row], 2, 9)
    return np.concatenate([base, second, starts(first_row[rank == 0], "first_visit", 1), session_start])


def _choose_pages(rng: np.random.Generator, steps: Paths, first_row: Ints) -> tuple[Ints, Ints, Ints]:
    """Page, promotion (or list place, or outbound link) and item of every step, each (M,). None depends on intent."""
    step, session = steps.step, steps.session
    rows = len(step)
    is_first = steps.order == 0
    promotion = rng.integers(0, len(world.PROMOTIONS), rows)
    promotion = promotion[_latest((step == Step.HOME) | (step == Step.HOME_AFTER))]
    term = rng.integers(0, len(world.SEARCH_TERMS), rows)
    after_promotion = np.append(False, step[:-1] == Step.SELECT_PROMOTION)
    drawn = rng.choice(len(world.CATEGORIES), rows, p=world.CATEGORY_SHARE)
    drawn = np.where(after_promotion, world.PROMOTION_CATEGORY[promotion], drawn)
    drawn = np.where(step == Step.SEARCH, world.TERM_CATEGORY[term], drawn)
    turns = (step == Step.LIST) & (after_promotion | (rng.random(rows) < 0.6))
    category = drawn[_latest(is_first | turns | (step == Step.SEARCH))]

    item = np.zeros(rows, dtype=np.int64)
    new = np.flatnonzero(step == Step.PRODUCT)
    item[new] = _choose_new_items(rng, session[new], category[new])
    # AGAIN shows one of the products seen before in the session.
    again = np.flatnonzero(step == Step.AGAIN)
    seen = np.cumsum(step == Step.PRODUCT)
    seen_before_session = (seen - (step == Step.PRODUCT))[first_row][session[again]]
    seen_in_session = seen[again] - seen_before_session
    item[again] = item[new[seen_before_session + (rng.random(len(again)) * seen_in_session).astype(np.int64)]]
    shown = item[_latest((step == Step.PRODUCT) | (step == Step.AGAIN))]
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
    slots = [line[_latest((step == Step.ADD) & (level == CART_LEVEL + place))] for place in range(3)]
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


def _order_lines(events: Records, sessions: int) -> Ints:
    """The lines (sessions, 3) of each session's order; -1 without one."""
    lines = np.full((sessions, 3), -1)
    purchases = events[events["name"] == NAME["purchase"]]
    for number, column in enumerate(LINE_COLUMNS):
        lines[purchases["session"], number] = purchases[column]
    return lines


def _simulate_after_sales(
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
    reloads = (uniform > 1 - _RELOAD_SHARE) & calendar.options.quirks.reloaded_orders
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


def _merge_after_sales(
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


def _number_sessions(records: Records, visits: Visits, visit_row: Ints, calendar: Calendar, first_number: int) -> None:
    """Set session number, first touch and last non-direct click, which visits before the export count for, too."""
    visit_start = calendar.to_utc(visits.day, visits.second)
    exported = len(visit_row)
    visit_start[visit_row] = records["start"][:exported]
    start = np.concatenate([visit_start, records["start"][exported:]])
    client = np.concatenate([visits.client, records["client"][exported:] - first_number])
    source = np.concatenate([visits.source, records["source"][exported:]])
    order = np.lexsort((start, client))
    start, client, source = start[order], client[order], source[order]
    position = np.arange(len(order))
    first = _latest(np.diff(client, prepend=-1) != 0)
    click = np.maximum.accumulate(np.where(source != world.DIRECT, position, -1))
    is_recent = (click >= first) & (start - start[click] <= 30 * _SECONDS_A_DAY * MICROSECONDS)
    click_source = np.where(is_recent, source[click], world.DIRECT)
    target = np.full(len(order), -1)
    target[visit_row] = np.arange(exported)
    target[len(visits.client) :] = np.arange(exported, len(records))
    target = target[order]
    rows = target >= 0
    records["number"][target[rows]] = (position - first + 1)[rows]
    records["first_touch"][target[rows]] = start[first][rows]
    records["first_source"][target[rows]] = source[first][rows]
    records["click_source"][target[rows]] = click_source[rows]


def _sum_lifetimes(records: Records, lines: Ints, has_order: Bools) -> None:
    """Set what each client had spent, in USD, before each session."""
    sessions = len(has_order)
    spent = np.zeros(len(records))
    amount = sum(line_amount(lines[:, number], records["coupon"][:sessions]) for number in range(3))
    rate = np.where(world.PLACE_PAYS_EUR[records["place"][:sessions]], world.EUR_TO_USD, 1.0)
    spent[:sessions] = np.where(has_order, amount * rate, 0.0)
    order = np.lexsort((records["start"], records["client"]))
    running = np.cumsum(spent[order]) - spent[order]
    first = _latest(np.diff(records["client"][order], prepend=-1) != 0)
    records["lifetime_usd"][order] = np.round(running - running[first], 2)


def _check_gaps(records: Records, end: Ints) -> None:
    """A client's sessions must lie 30 minutes apart, or the export would be one that GA4 cannot write."""
    order = np.lexsort((records["start"], records["client"]))
    pause = records["start"][order][1:] - end[order][:-1]
    too_near = (np.diff(records["client"][order]) == 0) & (pause < _SESSION_GAP)
    if too_near.any():
        client = int(records["client"][order][1:][too_near][0])
        raise RuntimeError(f"two sessions of client {client} are less than 30 minutes apart; choose another --seed")


def _make_truth_table(calendar: Calendar, truth: Truth, records: Records, intent: Ints) -> pa.Table:
    day = calendar.day_of(records["start"])
    first_day = np.datetime64(calendar.date(0))
    session = pa.array(truth.session)
    by_session = np.argsort(truth.session, kind="stable")
    return pa.table(
        [
            make_session_ids(records, calendar.options.seed).take(session),
            pa.array(first_day + day[truth.session], pa.date32()),
            pa.array(truth.decision_point, pa.string()),
            pa.array(truth.probability),
            pa.array(intent[truth.session], pa.int8()),
            pa.array(INTENTS, pa.string()).take(pa.array(intent[truth.session])),
            pa.array(truth.purchased),
            pa.array(truth.is_at_risk),
            pa.array(records["arrives_late"][truth.session]),
        ],
        schema=TRUTH_SCHEMA,
    ).take(pa.array(by_session))
