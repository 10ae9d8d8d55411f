"""Simulate one chunk of the shop: its visitors' sessions as compact events, and their truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sample_shop import world
from sample_shop.after_sales import RELOAD_SHARE, merge_after_sales, simulate_after_sales
from sample_shop.behaviour import (
    AFFINITY_SCORE,
    BROKEN_CHECKOUT_DAY,
    DEVICE_SCORE,
    HOUR_SCORE,
    INTENTS,
    NORMAL_DAY,
    RETURNING_SCORE,
    SLOW_DAY,
    Step,
    load_behaviour,
    log_intent_prior,
    variant_of,
)
from sample_shop.events import fire_events, latest
from sample_shop.identifiers import make_session_ids
from sample_shop.journeys import LANDING_NUMBER, Paths, walk
from sample_shop.options import MICROSECONDS, Calendar
from sample_shop.records import (
    EVENTS_IN_STEP,
    LINE_COLUMNS,
    NAME,
    SESSION_DTYPE,
    Kind,
    OrderForm,
    line_amount,
)
from sample_shop.truth import Truth, compute_truth, weigh_intents
from sample_shop.visits import Clients, Visits, plan_visits

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
_LATE_SHARE = 0.08  # of the rewritten day's sessions

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
    shop_time = calendar.shop_time
    clients, visits = plan_visits(rng, shop_time, count)
    visit_row = np.flatnonzero(visits.is_exported)
    client, day, second = visits.client[visit_row], visits.day[visit_row], visits.second[visit_row]
    source, rank = visits.source[visit_row], visits.rank[visit_row]
    sessions = len(visit_row)

    # Intent, path, truth.
    device = world.DEVICE_CATEGORY[clients.device[client]]
    variant = variant_of(device, _day_kind(shop_time, day, second))
    score = _score_intents(source, device, rank, second)
    prior = np.exp(log_intent_prior(score + AFFINITY_SCORE[clients.affinity[client]]))
    intent = (rng.random(sessions)[:, None] >= np.cumsum(prior, axis=1)[:, :-1]).sum(axis=1)
    landing = np.array([LANDING_NUMBER[each.landing] for each in world.SOURCES])[source]
    paths = walk(rng, behaviour, variant, landing, intent)
    order_form = _draw_order_forms(rng, shop_time, sessions)
    has_order = np.bincount(paths.session, paths.step == Step.PURCHASE, sessions) > 0
    may_reload = has_order & (order_form != OrderForm.NOWHERE) & shop_time.options.quirks.reloaded_orders
    reloads = may_reload & (rng.random(sessions) < RELOAD_SHARE)
    reload_gap = np.clip(np.exp(rng.normal(np.log(90), 0.7, sessions)), 5, 1_200) * MICROSECONDS
    steps = _append_reloads(paths, reloads, reload_gap.astype(np.int64))

    start = shop_time.to_utc(day, second) + rng.integers(0, MICROSECONDS, sessions)
    duration = np.bincount(steps.session, steps.gap, sessions).astype(np.int64)
    start = _move_before_limits(shop_time, start, duration, day)
    end = start + duration
    records = _draw_records(rng, shop_time, clients, client, start, end, day)
    records["client"] += first_number
    records["person"] += first_number
    records["kind"], records["source"], records["order_form"] = kind, source, order_form
    records["order"] = np.arange(sessions) + first_number

    events = fire_events(rng, shop_time, kind, steps, start, clients, client, rank)
    lines = _order_lines(events, sessions)
    if kind == Kind.CLEAN:
        after, after_events = simulate_after_sales(rng, shop_time, records, lines, has_order, end)
    else:
        after, after_events = records[:0], events[:0]
    records, events = merge_after_sales(records, events, after, after_events)
    _number_sessions(records, visits, visit_row, shop_time, first_number)
    _sum_lifetimes(records, lines, has_order)
    end = np.concatenate([end, records["start"][sessions:]])
    _check_gaps(records, end + _leave_shop_time(records, events, calendar))
    if kind != Kind.CLEAN:
        return Population(records, events), None
    log_prior = weigh_intents(score, client, paths.end_log_likelihood)
    extra = np.where(reloads, EVENTS_IN_STEP[Step.PURCHASE], 0)
    found = compute_truth(behaviour, paths, EVENTS_IN_STEP[paths.step], variant, log_prior, extra)
    return Population(records, events), _make_truth_table(calendar, found, records[:sessions], intent)


def _leave_shop_time(records: Records, events: Records, calendar: Calendar) -> Ints:
    """Move sessions and events to the dates of the export; by how much (microseconds), one entry a session.

    A session is moved as a whole: what happens in it keeps its distances, also where the clocks change.
    """
    start = records["start"].copy()
    records["start"] = calendar.from_shop_time(start)
    records["first_touch"] = calendar.from_shop_time(records["first_touch"])
    moved_by = records["start"] - start
    for column in ("timestamp", "page_loaded"):
        events[column] += moved_by[events["session"]]
    return moved_by


def _score_intents(source: Ints, device: Ints, rank: Ints, second: Ints) -> Floats:
    """What is known of each session's intent when it begins."""
    score: Floats = (
        np.array([each.intent for each in world.SOURCES])[source]
        + DEVICE_SCORE[device]
        + RETURNING_SCORE * (rank > 0)
        + HOUR_SCORE[second // 3600 // 6]
    )
    return score


def _draw_records(
    rng: np.random.Generator, calendar: Calendar, clients: Clients, client: Ints, start: Ints, end: Ints, day: Ints
) -> Records:
    """Session records with what does not hang on the steps; clients and persons by their number in `clients`."""
    sessions, quirks = len(client), calendar.options.quirks
    records = np.zeros(sessions, SESSION_DTYPE)
    records["client"], records["person"], records["start"] = client, clients.person[client], start
    records["device"], records["place"] = clients.device[client], clients.place[client]
    records["coupon"] = rng.random(sessions) < 0.15
    records["shipping"] = rng.random(sessions) < 0.18
    records["payment"] = rng.choice(len(world.PAYMENT_TYPES), sessions, p=[0.5, 0.2, 0.2, 0.1])
    int_engaged = rng.random(len(clients.device)) < 0.25
    records["has_int_engaged"] = int_engaged[client] & quirks.mixed_session_engaged
    records["has_user_not_set"] = (rng.random(sessions) < 0.01) & quirks.not_set_ids
    within_a_day = calendar.day_of(end) == calendar.day_of(start)
    is_late = (rng.random(sessions) < _LATE_SHARE) & within_a_day
    records["arrives_late"] = is_late & (day == calendar.rewritten_day) if calendar.rewritten_day is not None else False
    return records


def _day_kind(calendar: Calendar, day: Ints, second: Ints) -> Ints:
    """How the shop does when each session begins, at a local second of a day."""
    kind = np.full(len(day), NORMAL_DAY)
    kind[np.isin(day, calendar.broken_checkout_days)] = BROKEN_CHECKOUT_DAY
    if calendar.broken_checkout is not None:
        broken, begins, ends = calendar.broken_checkout
        kind[(day == broken) & (second >= begins) & (second < ends)] = BROKEN_CHECKOUT_DAY
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


def _order_lines(events: Records, sessions: int) -> Ints:
    """The lines (sessions, 3) of each session's order; -1 without one."""
    lines = np.full((sessions, 3), -1)
    purchases = events[events["name"] == NAME["purchase"]]
    for number, column in enumerate(LINE_COLUMNS):
        lines[purchases["session"], number] = purchases[column]
    return lines


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
    first = latest(np.diff(client, prepend=-1) != 0)
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
    first = latest(np.diff(records["client"][order], prepend=-1) != 0)
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
