"""Simulates shops hour by hour, without and with planted breaks, and counts false alarms and hours to detection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import lognorm

from alerts.detection.hourly import DAY, HourlySeries, Timeline, walk_hours
from alerts.detection.scales import Count, Floats, Rate
from alerts.detection.simulation import RESTLESS, SHARES, YEAR, World, find_rate, say_interval
from alerts.rules.book import Rule, RuleBook

SIZES = (300, 1_000, 5_000)
# Shops are simulated so many at a time.
_AT_A_TIME = 10
_LAGS = 8
_HISTORY_DAYS = 86
BREAK_HOUR = 10
SLOW_FROM, SLOW_TO = 18, 23
_TIMEOUT_MINUTES = 30.0
# What part of a day's visits comes in each hour: a shop that is busiest in the evening.
_PROFILE = np.array(
    [
        1.4,
        0.8,
        0.5,
        0.4,
        0.4,
        0.6,
        1.3,
        2.4,
        3.6,
        4.6,
        5.3,
        5.6,
        5.6,
        5.4,
        5.3,
        5.4,
        5.6,
        5.9,
        6.4,
        7.2,
        7.8,
        7.4,
        5.6,
        3.1,
    ]
)


@dataclass(frozen=True)
class Break:
    """What is planted on the last day: purchases or visits of some devices fall to a share of the usual from
    `BREAK_HOUR` on, or buyers take `slower` times as long in the evening."""

    name: str
    left: float = 1.0
    devices: tuple[int, ...] = (0, 1, 2)
    slower: float = 1.0


CALM = Break("nothing")
MOBILE_STOPS = Break("purchases on mobile stop", left=0.0, devices=(0,))
HALVED = Break("purchases halved", left=0.5)
TRACKING_STOPS = Break("tracking stops", left=0.0)
SLOW_BUYERS = Break("buyers take three times as long", slower=3.0)


@dataclass(frozen=True)
class HourlyWorld:
    """A shop as the daily simulation knows it, with how much an hour differs and how long buyers take."""

    daily: World
    hour: float  # from hour to hour, log or logit scale, beyond sampling
    cart_minutes: float = 12.0  # median from the cart to the purchase
    stay_minutes: float = 10.0  # median from the cart to the last event of those who do not buy
    spread: float = 1.0  # of the logs of both


WORLDS = (HourlyWorld(World(), 0.05), HourlyWorld(RESTLESS, 0.10))


@dataclass(frozen=True)
class FalseAlarms:
    """How often the rules were wrong in `years` shop-years, over the whole shop, its devices and its channels."""

    rule: str
    world: str
    size: int
    years: int
    alarms: int


@dataclass(frozen=True)
class Detection:
    """After how many hours each of some breaks was found, None where it was not on its day."""

    rule: str
    planted: str
    size: int
    hours: tuple[int | None, ...]

    def quantile(self, share: float) -> float:
        """The hours within which so many were found; infinite where they were not."""
        found = np.array([np.inf if hours is None else hours for hours in self.hours], dtype=float)
        return float(np.quantile(found, share, method="higher"))


def count_false_alarms(
    rule: Rule, world: HourlyWorld, size: int, *, years: int, seed: int, planted: Break = CALM
) -> FalseAlarms:
    """Walk `years` years of shops in which nothing happens."""
    alarms = 0
    for first in range(0, years, _AT_A_TIME):
        shops = min(_AT_A_TIME, years - first)
        generate = np.random.default_rng([seed, size, first])
        series = make_shops(generate, rule, world, size, shops, _HISTORY_DAYS + YEAR, planted)
        walk = walk_hours(rule, series, range(_HISTORY_DAYS * DAY, (_HISTORY_DAYS + YEAR) * DAY))
        alarms += len(walk.spells)
    return FalseAlarms(rule.name, world.daily.name, size, years, alarms)


def measure_detection(
    rule: Rule, world: HourlyWorld, size: int, planted: Break, *, trials: int, seed: int
) -> Detection:
    """Plant a break on the last day of `trials` shops and count the hours from its begin to the first alarm."""
    hours: list[int | None] = []
    begin = _HISTORY_DAYS * DAY + (SLOW_FROM if planted.slower > 1 else BREAK_HOUR)
    for first in range(0, trials, _AT_A_TIME):
        shops = min(_AT_A_TIME, trials - first)
        generate = np.random.default_rng([seed, size, first, 1])
        series = make_shops(generate, rule, world, size, shops, _HISTORY_DAYS + 2, planted)
        walk = walk_hours(rule, series, range(begin - DAY, (_HISTORY_DAYS + 1) * DAY + 6))
        for shop in range(shops):
            found = [each.found for each in walk.spells if series.shop[each.series] == shop and each.found >= begin]
            hours.append(min(found) + 1 - begin if found else None)
    return Detection(rule.name, planted.name, size, tuple(hours))


def make_shops(
    generate: np.random.Generator, rule: Rule, world: HourlyWorld, size: int, shops: int, days: int, planted: Break
) -> HourlySeries:
    """Shops with their devices and channels: series of the whole shops first, then of devices, then of channels."""
    is_rate = rule.test == "rate"
    hours = days * DAY
    timeline = Timeline(np.repeat(np.arange(days), DAY), np.tile(np.arange(DAY), days), np.arange(days) % 7)
    visits = _make_visits(generate, world, size, shops, days)
    if not is_rate:
        visits = visits * np.exp(_wander(generate, world, shops, days))
    chance = expit(logit(1 - world.daily.abandonment) + _wander(generate, world, shops, days)) if is_rate else None
    last_day = timeline.day == _HISTORY_DAYS
    is_broken = (last_day & (timeline.hour_of_day >= BREAK_HOUR)) | (timeline.day > _HISTORY_DAYS)
    is_slow = last_day & (timeline.hour_of_day >= SLOW_FROM) & (timeline.hour_of_day <= SLOW_TO)
    devices, channels = SHARES.shape
    lags = _LAGS if is_rate else 1
    came, left = (np.zeros((shops * (1 + devices + channels), hours, lags)) for _ in range(2))
    for device in range(devices):
        for channel in range(channels):
            factor = np.where(is_broken & (device in planted.devices), planted.left, 1.0)
            cell = visits * SHARES[device, channel]
            if chance is None:
                parts = [(came, generate.poisson(cell * factor)[:, :, None])]
            else:
                buying = chance * factor
                by_lag = _arrive(world, planted, is_slow)
                leaving = _leave(world)
                parts = [
                    (came, generate.poisson((cell * buying)[:, :, None] * by_lag)),
                    (left, generate.poisson((cell * (1 - buying))[:, :, None] * leaving)),
                ]
            for into, counts in parts:
                into[:shops] += counts
                into[shops + device * shops : shops + (device + 1) * shops] += counts
                begin = shops * (1 + devices) + channel * shops
                into[begin : begin + shops] += counts
    return HourlySeries(
        scale=Rate() if is_rate else Count(),
        timeline=timeline,
        came=came,
        usable=np.ones((len(came), days), dtype=bool),
        shop=np.tile(np.arange(shops), 1 + devices + channels),
        dimension=np.repeat([0] + [1] * devices + [2] * channels, shops),
        begun=came.sum(axis=2) + left.sum(axis=2) if is_rate else None,
        left=left if is_rate else None,
    )


def _make_visits(generate: np.random.Generator, world: HourlyWorld, size: int, shops: int, days: int) -> Floats:
    """Expected carts, or visits, of each hour, (shops, hours)."""
    weekday = generate.normal(0, 0.15, (shops, 7))[:, np.arange(days) % 7]
    profile = np.tile(_PROFILE / _PROFILE.sum(), days)
    restless = generate.normal(0, world.hour, (shops, days * DAY))
    return np.asarray(size * np.repeat(np.exp(weekday), DAY, axis=1) * profile * np.exp(restless))


def _wander(generate: np.random.Generator, world: HourlyWorld, shops: int, days: int) -> Floats:
    """What moves the KPI, on its link scale, (shops, hours): as in the daily simulation, and from hour to hour."""
    daily = world.daily
    weekday = generate.normal(0, daily.weekday, (shops, 7))[:, np.arange(days) % 7]
    drift = np.cumsum(generate.normal(0, daily.drift, (shops, days)), axis=1)
    phase = generate.uniform(0, 2 * np.pi, (shops, 1))
    season = daily.season * np.sin(2 * np.pi * np.arange(days) / YEAR + phase)
    by_day = weekday + drift + season + generate.normal(0, daily.day, (shops, days))
    by_hour = np.tile(generate.normal(0, 0.15, (shops, DAY)), days) + generate.normal(
        0, world.hour, (shops, days * DAY)
    )
    return np.asarray(np.repeat(by_day, DAY, axis=1) + by_hour)


def _arrive(world: HourlyWorld, planted: Break, is_slow: NDArray[np.bool_]) -> Floats:
    """The share of an hour's purchases that comes in each hour from then on, (hours, lags)."""
    usual = _by_lag(world.cart_minutes, world.spread)
    slow = _by_lag(world.cart_minutes * planted.slower, world.spread)
    return np.where(is_slow[:, None], slow, usual)


def _leave(world: HourlyWorld) -> Floats:
    """The same of those who leave: half an hour after their last event they are gone."""
    return _by_lag(world.stay_minutes, world.spread, delay=_TIMEOUT_MINUTES)


def _by_lag(median: float, spread: float, delay: float = 0.0) -> Floats:
    begun = np.arange(0.5, 60.0)  # minutes of the hour at which a cart is filled
    ends = 60.0 * np.arange(1, _LAGS + 1)
    by_then = lognorm.cdf(np.maximum(ends[:, None] - begun - delay, 0.0), spread, scale=median).mean(axis=1)
    by_then[-1] = 1.0
    return np.asarray(np.diff(by_then, prepend=0.0))


def simulate_hours(book: RuleBook, *, years: int = 100, seed: int = 1) -> Iterator[str]:
    """Run the hourly rules over `years` shop-years a row, without and with planted breaks; lines of Markdown.

    False alarms are spells of any series where nothing was planted: the whole shop, three devices and nine channels,
    none folded into another. Breaks are planted into as many shops of their own. Same seed, same table.
    """
    rules = {rule.name: rule for rule in book.rules if rule.hourly is not None}
    rates, totals = rules.get("cart_abandonment_rate"), rules.get("sessions")
    yield "| rule | shop | a day | years | false alarms | a year (95 % interval) |"
    yield "|---|---|--:|--:|--:|--:|"
    for world in WORLDS:
        for rule in (each for each in (rates, totals) if each is not None):
            for size in SIZES:
                alarms = count_false_alarms(rule, world, size, years=years, seed=seed)
                rate = say_interval(find_rate(alarms.alarms, years), ".2f")
                yield f"| `{rule.name}` | {world.daily.name} | {size:,} | {years} | {alarms.alarms} | {rate} |"
    yield ""
    yield "| planted | rule | a day | trials | found within, median | nine of ten | found at all |"
    yield "|---|---|--:|--:|--:|--:|--:|"
    planted_in = [(rates, MOBILE_STOPS), (rates, HALVED), (totals, TRACKING_STOPS), (rates, SLOW_BUYERS)]
    for watching, planted, size in [(*each, size) for each in planted_in for size in SIZES]:
        if watching is not None:
            found = measure_detection(watching, WORLDS[0], size, planted, trials=years, seed=seed)
            median, most = (_say_hours(found.quantile(share)) for share in (0.5, 0.9))
            count = sum(hours is not None for hours in found.hours)
            yield f"| {planted.name} | `{watching.name}` | {size:,} | {years} | {median} | {most} | {count} |"


def _say_hours(hours: float) -> str:
    return "-" if np.isinf(hours) else f"{hours:.0f} h"
