"""Who comes to the shop, when, how and with what: visits planned before anything happens in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sample_shop import world
from sample_shop.behaviour import AFFINITY_SHARE
from sample_shop.options import LAST_INTRADAY_HOUR, Calendar

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

DAYS_BEFORE = 45  # visitors who first came before the export begins
SECONDS_A_DAY = 86_400
MIN_START_GAP_SECONDS = 6 * 3600  # far more than any session lasts, so that a client's sessions never overlap
_RETURNS_SHARE = 0.42
_MORE_RETURNS = 0.45  # each return is followed by another with 1 - this
_MEAN_GAP_DAYS = 6.5
_ACCOUNT_SHARE = 0.2
_SECOND_DEVICE_SHARE = 0.06
_NEVER = 1 << 20


@dataclass(frozen=True)
class Clients:
    """Browsers, each with its own user_pseudo_id; one entry each."""

    device: Ints  # row of world.DEVICES
    place: Ints  # row of world.PLACES
    affinity: Ints  # casual or keen
    person: Ints  # clients of one person share it
    login_visit: Ints  # the visit (0, 1, …) in which the person logs in
    login_event: Ints  # the event of that visit from which user_id is known


@dataclass(frozen=True)
class Visits:
    """Visits of all clients in order of client and start; those before the export are here too, not exported."""

    client: Ints
    rank: Ints  # 0 for the client's very first visit
    day: Ints
    second: Ints  # local second of the day
    source: Ints  # row of world.SOURCES
    is_exported: Bools


def plan_visits(rng: np.random.Generator, calendar: Calendar, sessions: int) -> tuple[Clients, Visits]:
    """Visits of as many clients as it takes for exactly `sessions` visits on the export's daily tables."""
    parts: list[Visits] = []
    clients_so_far = counted = 0
    while counted < sessions:
        batch = max(256, sessions // 2)
        part = _draw_visits(rng, calendar, batch, clients_so_far)
        parts.append(part)
        clients_so_far += batch
        counted += int(np.count_nonzero(part.is_exported & (part.day < calendar.days)))
    visits = _concatenate(parts)
    # The last visitor may be cut short, so that the number is exact.
    on_daily = visits.is_exported & (visits.day < calendar.days)
    last = int(np.searchsorted(np.cumsum(on_daily), sessions))
    visits = _select(visits, np.arange(len(visits.client)) <= last)
    exported_clients = np.unique(visits.client[visits.is_exported])
    visits = _select(visits, np.isin(visits.client, exported_clients))
    visits = _select(visits, slice(None), client=np.searchsorted(exported_clients, visits.client))
    clients = _draw_clients(rng, len(exported_clients))
    return clients, _select(visits, slice(None), source=_draw_sources(rng, visits, clients))


def _draw_visits(rng: np.random.Generator, calendar: Calendar, clients: int, first_client: int) -> Visits:
    days = np.arange(-DAYS_BEFORE, calendar.days + 1)
    weekday = np.array([calendar.date(day).weekday() for day in days])
    weight = world.WEEKDAY_WEIGHT[weekday]
    first_day = rng.choice(days, size=clients, p=weight / weight.sum())
    returns = np.where(rng.random(clients) < _RETURNS_SHARE, rng.geometric(_MORE_RETURNS, clients), 0)
    client = np.repeat(np.arange(clients), returns + 1)
    is_first = np.diff(client, prepend=-1) > 0
    gaps = np.where(
        is_first, first_day[client], np.floor(rng.exponential(_MEAN_GAP_DAYS, len(client))).astype(np.int64)
    )
    running = np.cumsum(gaps)
    before = (running - gaps)[is_first]
    day = running - before[client]
    hour_uniform, second, thinning = (
        rng.random(len(client)),
        rng.integers(0, 3600, len(client)),
        rng.random(len(client)),
    )
    inside = day <= calendar.days
    day_weekday = weekday[np.where(inside, day, 0) + DAYS_BEFORE]
    inside &= is_first | (thinning < world.WEEKDAY_WEIGHT[day_weekday] / world.WEEKDAY_WEIGHT.max())
    client, day, day_weekday = client[inside], day[inside], day_weekday[inside]
    hours = np.cumsum(world.HOUR_WEIGHT, axis=1)[(day_weekday >= 5).astype(int)]
    hour = np.minimum((hour_uniform[inside][:, None] > hours).sum(axis=1), 23)
    second = hour * 3600 + second[inside]

    order = np.lexsort((second, day, client))
    client, day, second = client[order], day[order], second[order]
    start = day * SECONDS_A_DAY + second
    too_soon = (np.diff(start, prepend=start[0]) < MIN_START_GAP_SECONDS) & (np.diff(client, prepend=-1) == 0)
    client, day, second = client[~too_soon], day[~too_soon], second[~too_soon]
    is_first = np.diff(client, prepend=-1) > 0
    position = np.arange(len(client))
    rank = position - np.maximum.accumulate(np.where(is_first, position, 0))
    is_exported = (day >= 0) & (day < calendar.days)
    if calendar.options.quirks.intraday_only_day:
        is_exported |= (day == calendar.days) & (second < LAST_INTRADAY_HOUR * 3600)
    return Visits(client + first_client, rank, day, second, np.zeros_like(client), is_exported)


def _draw_clients(rng: np.random.Generator, count: int) -> Clients:
    category = rng.choice(3, size=count, p=[0.6, 0.35, 0.05])
    place = rng.choice(len(world.PLACES), size=count, p=_normal([row[6] for row in world.PLACES]))
    has_account = rng.random(count) < _ACCOUNT_SHARE
    # Some people come with two devices: every other client chosen takes the one before it as the same person.
    is_second = (rng.random(count) < _SECOND_DEVICE_SHARE) & (np.arange(count) % 2 == 1)
    person = np.where(is_second, np.arange(count) - 1, np.arange(count))
    is_pair = is_second | np.append(is_second[1:], False)
    category = np.where(is_second, (category[person] + 1 + (rng.random(count) < 0.1)) % 3, category)
    place = place[person]
    device = np.zeros(count, dtype=np.int64)
    for number, name in enumerate(world.DEVICE_CATEGORIES):
        rows = np.flatnonzero([each.category == name for each in world.DEVICES])
        chosen = rng.choice(rows, size=count, p=_normal([world.DEVICES[row].share for row in rows]))
        device = np.where(category == number, chosen, device)
    login_visit = np.where(has_account, rng.geometric(0.6, count) - 1, _NEVER)
    login_visit = np.where(is_pair, 0, login_visit)
    return Clients(
        device=device,
        place=place,
        affinity=(rng.random(count) < AFFINITY_SHARE[1]).astype(np.int64),
        person=person,
        login_visit=login_visit,
        login_event=np.where(is_pair, rng.integers(0, 3, count), rng.integers(1, 8, count)),
    )


def _draw_sources(rng: np.random.Generator, visits: Visits, clients: Clients) -> Ints:
    shares = np.array([[source.new, source.back] for source in world.SOURCES])
    on_mobile = np.array([source.mobile for source in world.SOURCES])
    is_mobile = world.DEVICE_CATEGORY[clients.device][visits.client] == world.MOBILE
    is_back = visits.rank > 0
    uniform = rng.random(len(visits.client))
    source = np.zeros(len(visits.client), dtype=np.int64)
    for back in (0, 1):
        for mobile in (0, 1):
            rows = (is_back == back) & (is_mobile == mobile)
            share = shares[:, back] * (on_mobile if mobile else 1.0)
            source[rows] = np.searchsorted(np.cumsum(share / share.sum())[:-1], uniform[rows], side="right")
    return source


def _normal(weights: list[float]) -> NDArray[np.float64]:
    return np.array(weights) / np.sum(weights)


def _concatenate(parts: list[Visits]) -> Visits:
    return Visits(*(np.concatenate([getattr(part, name) for part in parts]) for name in Visits.__dataclass_fields__))


def _select(visits: Visits, rows: Bools | slice, **replaced: Ints) -> Visits:
    return Visits(*(replaced.get(name, getattr(visits, name)[rows]) for name in Visits.__dataclass_fields__))
