"""Simulates shops without and with planted changes, and counts the rules' false alarms and detections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import beta, chi2

from alerts.detection.scales import Floats, scale_of
from alerts.detection.walk import BREACH, NORMAL, Series, Walk, walk_days
from alerts.rules.book import Rule, RuleBook

SIZES = (300, 1_000, 5_000)
YEAR = 365
CHANGE_DAYS = 7
TRIALS_A_YEAR = 10
FAMILY_SHARE = 10  # a tenth of the shops is simulated with its devices and channels
SHARES = np.outer((0.58, 0.37, 0.05), (0.34, 0.22, 0.15, 0.10, 0.07, 0.05, 0.04, 0.02, 0.01))  # devices x channels


@dataclass(frozen=True)
class World:
    """How restless a shop is: standard deviations on the logit scale for rates, on the log scale for the others."""

    name: str = "usual"
    abandonment: float = 0.70
    weekday: float = 0.10  # spread of the weekday effects
    day: float = 0.05  # from day to day, beyond sampling
    drift: float = 0.004  # random walk, a day
    season: float = 0.10  # amplitude of a yearly wave
    one_session: float = 1.3  # of one engaged session's log duration


RESTLESS = World(name="restless", day=0.08, drift=0.008, season=0.20)


@dataclass(frozen=True)
class Outcome:
    """One line of the table. `years`, `false_alarms`: whole shop alone; `family_…`: with its devices and channels."""

    world: str
    rule: str
    sessions: int
    years: int
    false_alarms: int
    family_years: int
    family_alarms: int
    jump: float
    trials: int
    found_on: tuple[int, ...]  # how many were found by the first, second, … day of the change

    @property
    def alarms_a_year(self) -> tuple[float, float, float]:
        """Incidents a year that nothing caused: estimate and exact 95 % interval (Garwood 1936)."""
        return find_rate(self.false_alarms, self.years)

    @property
    def family_alarms_a_year(self) -> tuple[float, float, float]:
        """The same, devices and channels included, none folded into another."""
        return find_rate(self.family_alarms, self.family_years)

    def power(self, days: int) -> tuple[float, float, float]:
        """Share of the planted changes found within so many days: estimate and exact 95 % interval (Clopper 1934)."""
        found, missed = self.found_on[days - 1], self.trials - self.found_on[days - 1]
        low = beta.ppf(0.025, found, missed + 1) if found else 0.0
        high = beta.ppf(0.975, found + 1, missed) if missed else 1.0
        return found / self.trials, float(low), float(high)


@dataclass(frozen=True)
class _Shops:
    """Series of some shops, (series, days); the first `len(shop)` / 13 are the whole shops where there are children."""

    y: Floats
    n: Floats
    is_child: NDArray[np.bool_]
    shop: NDArray[np.int64]


def simulate(
    book: RuleBook, *, years: int = 100, seed: int = 1, sizes: tuple[int, ...] = SIZES, worlds: tuple[World, ...] = ()
) -> list[Outcome]:
    """Run the rules over `years` shop-years of each size, as they are and with planted changes.

    The sizes are cart sessions, engaged sessions and sessions a day. False alarms are incidents where nothing was
    planted. A change that lasts a week is planted at the end of each of ten times as many quarters. Rules that `book`
    does not have are left out. Same seed, same table.
    """
    rules = {rule.name: rule for rule in book.rules}
    outcomes = []
    for world in worlds or (World(), RESTLESS):
        for index, (name, jump, make) in enumerate(_PLANTED):
            if name in rules and (index == 0 or world.name == "usual"):
                generate = np.random.default_rng([seed, index])
                outcomes += _measure(rules[name], world, make, sizes, jump, years, generate)
    return outcomes


def say_table(outcomes: list[Outcome]) -> str:
    """The outcomes as a Markdown table; in brackets 95 % intervals."""
    lines = [
        "| rule | shop | sessions a day | false alarms a year | with devices and channels | change | found on day 1 | "
        "within 3 days | within 7 days |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for each in outcomes:
        lines.append(
            f"| `{each.rule}` | {each.world} | {each.sessions:,} | {say_interval(each.alarms_a_year, '.2f')} | "
            f"{say_interval(each.family_alarms_a_year, '.1f')} | {each.jump:+.0%} | {each.power(1)[0]:.0%} | "
            f"{say_interval(each.power(3), '.1%')} | {each.power(7)[0]:.0%} |"
        )
    return "\n".join(lines)


def count_incidents(verdicts: NDArray[np.int8]) -> NDArray[np.int64]:
    """Incidents per series, (series, days): a breach opens one, normal ends it, near and untested do neither."""
    is_open = np.zeros(len(verdicts), dtype=bool)
    count = np.zeros(len(verdicts), dtype=np.int64)
    for day in range(verdicts.shape[1]):
        breach = verdicts[:, day] == BREACH
        count += breach & ~is_open
        is_open = (is_open | breach) & (verdicts[:, day] != NORMAL)
    return count


def _measure(
    rule: Rule,
    world: World,
    make: Callable[..., _Shops],
    sizes: tuple[int, ...],
    jump: float,
    years: int,
    generate: np.random.Generator,
) -> list[Outcome]:
    families, trials = max(1, years // FAMILY_SHARE), years * TRIALS_A_YEAR
    days = np.arange(rule.trailing_days + YEAR)
    calm = np.ones(len(days))
    parts = []
    for size in sizes:
        parts.append(make(generate, world, size, years, calm, with_children=False))
        parts.append(make(generate, world, size, families, calm, with_children=True))
    verdicts = _walk(rule, parts, days >= rule.trailing_days).verdict
    incidents = np.sum([count_incidents(each) for each in verdicts.values()], axis=0)
    counts = np.split(incidents, np.cumsum([len(part.y) for part in parts])[:-1])

    # The two days before the change are walked too: a limit that must be passed twice may have been passed then.
    days = np.arange(rule.trailing_days + YEAR // 4)
    begin = len(days) - CHANGE_DAYS
    factor = np.where(days >= begin, 1.0 + jump, 1.0)
    planted = [make(generate, world, size, trials, factor, with_children=False) for size in sizes]
    walked = _walk(rule, planted, days >= begin - CHANGE_DAYS)
    breaches = (walked.verdict["above" if jump > 0 else "below"] == BREACH)[:, begin:].reshape(len(sizes), trials, -1)
    return [
        Outcome(
            world=world.name,
            rule=rule.name,
            sessions=size,
            years=years,
            false_alarms=int(counts[2 * index].sum()),
            family_years=families,
            family_alarms=int(counts[2 * index + 1].sum()),
            jump=jump,
            trials=trials,
            found_on=tuple(int(breaches[index, :, : day + 1].any(axis=1).sum()) for day in range(CHANGE_DAYS)),
        )
        for index, size in enumerate(sizes)
    ]


def _walk(rule: Rule, parts: list[_Shops], is_tested: NDArray[np.bool_]) -> Walk:
    y, n = np.concatenate([part.y for part in parts]), np.concatenate([part.n for part in parts])
    first = np.cumsum([0, *(int(part.shop.max()) + 1 for part in parts)])
    series = Series(
        scale=scale_of(rule),
        y=y,
        n=n,
        volume=y if rule.test == "count" else n,
        usable=n > 0,
        weekday=np.arange(y.shape[1]) % 7,
        is_child=np.concatenate([part.is_child for part in parts]),
        shop=np.concatenate([part.shop + offset for part, offset in zip(parts, first, strict=False)]),
    )
    nothing = np.zeros(y.shape, dtype=bool)
    return walk_days(rule, series, is_tested=is_tested, excluded=nothing, with_bands=False)


def _wander(generate: np.random.Generator, world: World, shops: int, days: int) -> Floats:
    """What moves the KPI of a shop from day to day, on its link scale, (shops, 1, 1, days)."""
    weekday = generate.normal(0, world.weekday, (shops, 7))[:, np.arange(days) % 7]
    drift = np.cumsum(generate.normal(0, world.drift, (shops, days)), axis=1)
    phase = generate.uniform(0, 2 * np.pi, (shops, 1))
    season = world.season * np.sin(2 * np.pi * np.arange(days) / YEAR + phase)
    moved = weekday + drift + season + generate.normal(0, world.day, (shops, days))
    return moved[:, None, None, :]


def _spread(size: float, with_children: bool) -> Floats:
    return (size * (SHARES if with_children else np.ones((1, 1))))[None, :, :, None]


def _add_up(cells: Floats, with_children: bool) -> Floats:
    """From (shops, devices, channels, days) to series: the whole shops, then their devices, then their channels."""
    days = cells.shape[-1]
    parts = [cells.sum(axis=(1, 2))]
    if with_children:
        parts += [cells.sum(axis=2).reshape(-1, days), cells.sum(axis=1).reshape(-1, days)]
    return np.concatenate(parts)


def _assemble(y: Floats, n: Floats, shops: int, with_children: bool) -> _Shops:
    each = np.arange(shops)
    devices, channels = SHARES.shape
    shop = np.concatenate([each, np.repeat(each, devices), np.repeat(each, channels)]) if with_children else each
    return _Shops(y, n, np.arange(len(shop)) >= shops, shop)


def _make_traffic(
    generate: np.random.Generator, size: float, shops: int, days: int, with_children: bool
) -> NDArray[np.int64]:
    weekday = generate.normal(0, 0.15, (shops, 1, 1, 7))[..., np.arange(days) % 7]
    return generate.poisson(_spread(size, with_children) * np.exp(weekday))


def _make_rates(
    generate: np.random.Generator, world: World, size: int, shops: int, factor: Floats, *, with_children: bool
) -> _Shops:
    n = _make_traffic(generate, size, shops, len(factor), with_children)
    p = expit(logit(world.abandonment) + _wander(generate, world, shops, len(factor)))
    y = generate.binomial(n, np.minimum(p * factor, 0.999))
    return _assemble(
        _add_up(y.astype(float), with_children), _add_up(n.astype(float), with_children), shops, with_children
    )


def _make_durations(
    generate: np.random.Generator, world: World, size: int, shops: int, factor: Floats, *, with_children: bool
) -> _Shops:
    n = _make_traffic(generate, size, shops, len(factor), with_children).astype(float)
    # A mean log duration wanders about half as much as the logit of a rate.
    mean = np.log(140.0) + _wander(generate, world, shops, len(factor)) / 2 + np.log(factor)
    total = n * mean + generate.normal(0, world.one_session, n.shape) * np.sqrt(n)
    y, sessions = _add_up(total, with_children), _add_up(n, with_children)
    return _assemble(y / np.maximum(sessions, 1.0), sessions, shops, with_children)


def _make_counts(
    generate: np.random.Generator, world: World, size: int, shops: int, factor: Floats, *, with_children: bool
) -> _Shops:
    expected = _spread(size, with_children) * np.exp(_wander(generate, world, shops, len(factor))) * factor
    y = _add_up(generate.poisson(expected).astype(float), with_children)
    return _assemble(y, np.ones_like(y), shops, with_children)


def find_rate(count: int, years: int) -> tuple[float, float, float]:
    low = chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    return count / years, float(low) / years, float(chi2.ppf(0.975, 2 * count + 2)) / 2 / years


def say_interval(interval: tuple[float, float, float], style: str) -> str:
    return f"{interval[0]:{style}} ({interval[1]:{style}} to {interval[2]:{style}})"


_PLANTED: tuple[tuple[str, float, Callable[..., _Shops]], ...] = (
    ("cart_abandonment_rate", 0.10, _make_rates),
    ("avg_session_duration_seconds", -0.15, _make_durations),
    ("sessions", -0.30, _make_counts),
)
