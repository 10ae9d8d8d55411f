"""Watches the hours of a rule's series: whether less comes than should have come so far. Arrays only.

Evidence adds up over hours as an e-detector does (Shin, Ramdas and Rinaldo 2023): for every hour at which something
may have begun, the likelihood of what came since is compared between a fall (a mixture over its sizes) and the least
that is still usual; the ratios, each with the share of the year's false alarms that its hour may have, are added up,
and a sum of one is an alarm. The method, with its assumptions, is described in `docs/alerts.md`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from alerts.detection.scales import TINY, Amount, Bools, Floats, Rate, Scale
from alerts.detection.statistics import Baseline, fit_baseline
from alerts.detection.walk import GAP_DAYS
from alerts.rules.book import Rule

Ints = NDArray[np.int64]

DAY = 24
DAYS_A_YEAR = 365
# What began longer ago is for the daily rules, which know whole days.
WINDOW_HOURS = 36
# Sizes of a fall that are looked for: what is left of the usual.
LEVELS = (0.02, 0.2, 0.4, 0.6)
# Smaller falls than this are for the daily rules.
TOLERATED_FALL = 0.1
# False alarms a year that all series of a rule may cause together.
ALARMS_A_YEAR = 1.0
# The whole shop, and each dimension, have an equal part of them; a dimension's values by their size.
# It is over when what came lately is so many times as likely under the usual as halfway to it.
RECOVERY_ODDS = 20.0
# A spell of which more was left counts as if so much was.
MOST_LEFT = 0.7
# Days whose hours are walked through together; what begins on one of them may end on a later one.
WALK_DAYS = 20
# Open visits beyond the usual number may still buy, as far as there are more of them than chance explains.
OPEN_SIGMAS = 1.0
# The starts of a window may have no more than a 200th of a year's false alarms, and a sum of one needs this of the log.
LEAST_EVIDENCE = 5.0
PROFILE_DAYS = 56
# Profiles of an hour of the day, and of an hour of the week, are believed like so many expected events of their own.
PROFILE_PRIOR = 30.0
FEWEST_OPEN = 1.0


@dataclass(frozen=True)
class Timeline:
    """The hours that the arrays of some series run over, oldest first; days are property days, so of 23 to 25 hours.

    `day`, `hour_of_day` (hours,); `weekday` (days,), Monday = 0.
    """

    day: Ints
    hour_of_day: Ints
    weekday: Ints


@dataclass(frozen=True)
class HourlySeries:
    """Parallel hourly series of one rule.

    `came` (series, hours, lags): what belongs to each hour, by how many hours later it came; totals have one lag.
    For purchases of carts, `begun` (series, hours) are the carts first filled in the hour, and `left` (series, hours,
    lags) those of them whose visit ended without a purchase. `usable` (series, days) are days to learn from. `shop` and
    `dimension` (series,) say what a series belongs to; dimension 0 is the whole shop. `delivered` (hours,) is the share
    of an hour's events that has usually come by now; None where all have.
    """

    scale: Scale
    timeline: Timeline
    came: Floats
    usable: Bools
    shop: Ints
    dimension: Ints
    begun: Floats | None = None
    left: Floats | None = None
    delivered: Floats | None = None


@dataclass(frozen=True)
class Outlook:
    """What the past says about the hours of one day, per series.

    `per_hour` (series, hours of a day): expected totals, or for purchases of carts the share of the hour's carts that
    will be bought. `noise` (series,) is the variance of an hour over its mean; `shape` (series,) that of the gamma
    distribution of what a whole day differs by; `arrived` and `still_open` (series, lags) the share of an hour's
    purchases that has come, and of its carts whose visits are open, so many hours later. `alarms` (series, hours of a
    day): false alarms that may begin in such an hour. `is_known` (series,): the past is long enough.
    """

    per_hour: Floats
    noise: Floats
    shape: Floats
    arrived: Floats
    still_open: Floats
    alarms: Floats
    is_known: Bools


@dataclass
class Spell:
    """A spell in which one series was too low.

    It was found at the end of hour `found` of the timeline, and lasts from `since` to before `until`, the first hour
    that is usual again; None while that is not known. `level` is what was left of the usual when it was found.
    """

    series: int
    found: int
    since: int
    level: float
    until: int | None = None


@dataclass(frozen=True)
class Measured:
    """What came of some hours by a moment, of how many carts or checkouts (0 for totals).

    `deviation` is the standard deviation of what should have come.
    """

    came: float
    begun: float
    expected: float
    deviation: float

    @property
    def z(self) -> float:
        """How far it lies off, in standard deviations."""
        return (self.came - self.expected) / max(self.deviation, TINY)


def walk_hours(
    rule: Rule, series: HourlySeries, hours: range, *, skipped: Bools | None = None, limits: Floats | None = None
) -> HourlyWalk:
    """Decide at the end of each of `hours`, from what had come by then, and note the spells that are found.

    `skipped` (days,) are days of expected events: nothing begins on them. `limits` (series,) are the logs of the
    evidence that an alarm takes, 0 by default: less where the alarm was given before and is looked at again.
    """
    walk = HourlyWalk(rule, series, skipped, np.zeros(len(series.came)) if limits is None else limits)
    for hour in hours:
        walk.decide(hour)
    return walk


def learn_outlook(rule: Rule, series: HourlySeries, day: int) -> Outlook:
    """What the days before `day` say about it: the daily rules' level, weekday and variance, split over the hours."""
    usable = _select_past(series, day, rule.trailing_days)
    past = np.flatnonzero(usable.any(axis=0))
    first = int(past[0]) if len(past) else day
    window = slice(first, day)
    usable = usable[:, window]
    by_hour, begun_by_hour = _fold_days(series, first, day)
    weekday = series.timeline.weekday
    age = (day - np.arange(first, day)).astype(float)
    if not len(age):
        usable, age = np.zeros((len(usable), 1), dtype=bool), np.ones(1)
        by_hour = begun_by_hour = np.zeros((len(usable), 1, DAY))
        window = slice(day, day + 1)
    y = by_hour.sum(axis=2)
    n = np.ones_like(y) if series.begun is None else begun_by_hour.sum(axis=2)
    usable = usable & (n > 0)
    y = series.scale.clip(y, n)
    base = fit_baseline(series.scale, y, n, usable, weekday[window], int(weekday[day]), age)
    recent = usable & (age <= PROFILE_DAYS)
    if series.begun is None:
        share = _learn_shares(by_hour, recent, weekday[window] == weekday[day])
        per_hour = series.scale.to_value(base.mean)[:, None] * share
        usual = per_hour
    else:
        rate = _learn_rates(by_hour, begun_by_hour, recent)
        per_hour = np.minimum(series.scale.to_value(base.mean)[:, None] * rate, 1.0)
        carts = _average(begun_by_hour, recent)
        usual = per_hour * carts
    noise = _learn_noise(series.scale, by_hour, begun_by_hour if series.begun is not None else None, recent)
    arrived, still_open = _learn_curve(series, usable[:, -PROFILE_DAYS:], day)
    return Outlook(
        per_hour=per_hour,
        noise=noise,
        shape=1.0 / np.maximum(_day_variance(series.scale, base, noise, usual.sum(axis=1)), 1e-6),
        arrived=arrived,
        still_open=still_open,
        alarms=_share_alarms(series, usual),
        is_known=base.days >= rule.minimum_history_days,
    )


def _select_past(series: HourlySeries, day: int, trailing_days: int) -> Bools:
    usable = series.usable.copy()
    usable[:, max(0, day - GAP_DAYS) :] = False
    usable[:, : max(0, day - trailing_days)] = False
    return usable


def _fold_days(series: HourlySeries, first: int, day: int) -> tuple[Floats, Floats]:
    """What came in the end, and what had begun, by day and hour of the day: (series, days, 24) each."""
    inside = (series.timeline.day >= first) & (series.timeline.day < day)
    place = (series.timeline.day[inside] - first) * DAY + series.timeline.hour_of_day[inside]
    cells = (day - first) * DAY
    shape = (len(series.came), day - first, DAY)
    came = series.came[:, inside].sum(axis=2)
    begun = came if series.begun is None else series.begun[:, inside]
    if len(place) == cells and (place == np.arange(cells)).all():
        return came.reshape(shape), begun.reshape(shape)
    # where clocks change, a day has an hour twice, or not at all
    folded = [np.zeros((cells, len(came))) for _ in range(2)]
    for result, values in zip(folded, (came, begun), strict=True):
        np.add.at(result, place, values.T)
    return folded[0].T.reshape(shape), folded[1].T.reshape(shape)


def _average(values: Floats, used: Bools) -> Floats:
    total: Floats = np.where(used[:, :, None], values, 0.0).sum(axis=1)
    return total / np.maximum(used.sum(axis=1), 1)[:, None]


def _learn_shares(by_hour: Floats, used: Bools, is_weekday: Bools) -> Floats:
    """The share of a day's total in each hour: of the hours of this weekday as far as they have seen enough."""
    everyday = _average(by_hour, used)
    everyday = (everyday + TINY) / (everyday.sum(axis=1, keepdims=True) + DAY * TINY)
    own = np.where((used & is_weekday)[:, :, None], by_hour, 0.0).sum(axis=1)
    total = own.sum(axis=1, keepdims=True)
    # in units of the noise, a total of any size is worth as much as its counts
    unit = np.maximum(_average(by_hour, used).sum(axis=1, keepdims=True) / 1000.0, 1.0)
    prior = PROFILE_PRIOR * DAY * unit
    return (own + prior * everyday) / (total + prior)


def _learn_rates(by_hour: Floats, begun: Floats, used: Bools) -> Floats:
    """How many times as often as on the whole day the carts of each hour are bought."""
    bought = np.where(used[:, :, None], by_hour, 0.0).sum(axis=1)
    carts = np.where(used[:, :, None], begun, 0.0).sum(axis=1)
    overall = bought.sum(axis=1, keepdims=True) / np.maximum(carts.sum(axis=1, keepdims=True), 1.0)
    return (bought + PROFILE_PRIOR) / (carts * overall + PROFILE_PRIOR)


def _learn_noise(scale: Scale, by_hour: Floats, begun: Floats | None, used: Bools) -> Floats:
    """Variance over mean of an hour, its day's own level taken off; at least that of independent events."""
    usual = _average(by_hour, used)
    total = by_hour.sum(axis=2, keepdims=True)
    if begun is None:
        share = usual / np.maximum(usual.sum(axis=1, keepdims=True), TINY)
        expected = total * share[:, None, :]
    else:
        rate = _learn_rates(by_hour, begun, used)[:, None, :] * begun
        expected = total * rate / np.maximum(rate.sum(axis=2, keepdims=True), TINY)
    inside = used[:, :, None]
    squares = np.where(inside, np.square(by_hour - expected), 0.0).sum(axis=(1, 2))
    means = np.where(inside, expected, 0.0).sum(axis=(1, 2))
    # one of a day's hours follows from the others
    noise: Floats = squares / np.maximum(means, TINY) * (DAY / (DAY - 1.0))
    return np.maximum(noise, TINY if isinstance(scale, Amount) else 1.0)


def _learn_curve(series: HourlySeries, used: Bools, day: int) -> tuple[Floats, Floats]:
    """The share of purchases that has come, and of carts whose visits are open, by hours later; of the whole shop."""
    if series.begun is None or series.left is None:
        return np.ones(series.came[:, 0].shape), np.zeros(series.came[:, 0].shape)
    whole = np.zeros(int(series.shop.max()) + 1, dtype=np.int64)
    whole[series.shop[series.dimension == 0]] = np.flatnonzero(series.dimension == 0)
    first = day - used.shape[1]
    hours = np.flatnonzero((series.timeline.day >= first) & (series.timeline.day < day))
    inside = used[whole][:, series.timeline.day[hours] - first][:, :, None]
    at = np.ix_(whole, hours)
    came = np.where(inside, series.came[at], 0.0).sum(axis=1)
    left = np.where(inside, series.left[at], 0.0).sum(axis=1)
    begun = np.where(inside[:, :, 0], series.begun[at], 0.0).sum(axis=1, keepdims=True)
    arrived = np.cumsum(came, axis=1) / np.maximum(came.sum(axis=1, keepdims=True), TINY)
    still_open = np.maximum(1.0 - np.cumsum(came + left, axis=1) / np.maximum(begun, TINY), 0.0)
    return arrived[series.shop], still_open[series.shop]


def _day_variance(scale: Scale, base: Baseline, noise: Floats, usual: Floats) -> Floats:
    """How much a whole day differs from its expectation beyond the noise of its hours, relative to it."""
    relative = (1.0 - scale.to_value(base.mean)) if isinstance(scale, Rate) else np.ones_like(base.mean)
    between = base.daily_variance
    if isinstance(scale, Amount):
        between = np.maximum(between - noise / np.maximum(usual, TINY), 0.0)
    variance: Floats = np.square(relative) * (between + base.mean_variance)
    # an estimate from few days may be too small
    return variance * (base.degrees + 2.0) / base.degrees


def _share_alarms(series: HourlySeries, usual: Floats) -> Floats:
    """The false alarms a year, split over a rule's dimensions, their values by size, and hours by what they hold."""
    size = usual.sum(axis=1)
    group = series.shop * (int(series.dimension.max()) + 1) + series.dimension
    of_group = np.bincount(group, weights=size)
    filled = np.bincount(group, minlength=len(of_group)) > 0
    groups_of_shop = np.bincount(np.flatnonzero(filled) // (int(series.dimension.max()) + 1))
    share = size / np.maximum(of_group[group], TINY) / groups_of_shop[series.shop]
    hourly = usual / np.maximum(size, TINY)[:, None] / DAYS_A_YEAR
    return ALARMS_A_YEAR * share[:, None] * hourly


@dataclass
class HourlyWalk:
    """A walk through hours: the spells it has found, oldest first, and the series that are in one."""

    rule: Rule
    series: HourlySeries
    skipped: Bools | None
    limits: Floats
    spells: list[Spell] = field(default_factory=list)
    _running: dict[int, Spell] = field(default_factory=dict)
    _outlooks: dict[int, Outlook] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # the first hour that may begin something new
        self._floor = np.zeros(len(self.series.came), dtype=np.int64)
        self._came_by = np.cumsum(self.series.came, axis=2)
        self._delivered = np.ones(self.series.came.shape[1])
        if self.series.delivered is not None:
            self._delivered = self.series.delivered
        self._left_by = None if self.series.left is None else np.cumsum(self.series.left, axis=2)

    def decide(self, hour: int) -> None:
        """Find what is new, and what is over, at the end of an hour."""
        sums = self._add_up(hour)
        for spell in list(self._running.values()):
            row = spell.series
            spell.until = self._find_recovery(spell, hour, sums)
            if spell.until is not None:
                self._floor[row] = spell.until
                del self._running[row]
        is_calm = np.ones(len(self.limits), dtype=bool)
        is_calm[list(self._running)] = False
        evidence, start = self._find_evidence(sums, is_calm)
        for row in np.flatnonzero(is_calm & (evidence >= self.limits)).tolist():
            came, expected = (float(each[row, start[row] :].sum()) for each in (sums.came, sums.expected))
            spell = Spell(row, hour, sums.first + int(start[row]), came / max(expected, TINY))
            self._running[row] = spell
            self.spells.append(spell)

    def measure(self, row: int, since: int, end: int, hour: int) -> Measured:
        """What came of a series' hours from `since` to before `end`, by the end of `hour`."""
        came = begun = expected = variance = 0.0
        for day in np.unique(self.series.timeline.day[since:end]).tolist():
            outlook = self._outlook(day)
            hours = since + np.flatnonzero(self.series.timeline.day[since:end] == day)
            age = np.minimum(hour - hours, self._came_by.shape[2] - 1)
            usual = outlook.per_hour[row, self.series.timeline.hour_of_day[hours]] * outlook.arrived[row, age]
            usual = usual * self._delivered[hours]
            if self.series.begun is not None:
                usual = usual * self.series.begun[row, hours]
                begun += float(self.series.begun[row, hours].sum())
            came += float(self._came_by[row, hours, age].sum())
            expected += float(usual.sum())
            variance += float(usual.sum() * outlook.noise[row] + np.square(usual.sum()) / outlook.shape[row])
        return Measured(came, begun, expected, float(np.sqrt(variance)))

    def _outlook(self, day: int) -> Outlook:
        if day not in self._outlooks:
            for old in [each for each in self._outlooks if each < day - WALK_DAYS]:
                del self._outlooks[old]
            self._outlooks[day] = learn_outlook(self.rule, self.series, day)
        return self._outlooks[day]

    def _add_up(self, hour: int) -> _Sums:
        """For each start in the window, what came since and should have come so far, day by day."""
        first = max(0, hour - WINDOW_HOURS + 1)
        columns = np.arange(first, hour + 1)
        days = self.series.timeline.day[columns]
        rows, width = len(self.series.came), len(columns)
        came, expected, alarms = np.zeros((rows, width)), np.zeros((rows, width)), np.zeros((rows, width))
        waiting = usual = None
        if self.series.begun is not None:
            waiting, usual = np.zeros((rows, width)), np.zeros((rows, width))
        for day in np.unique(days):
            at = np.flatnonzero(days == day)
            self._add_day(hour, columns[at], at, self._outlook(int(day)), (came, expected, alarms, waiting, usual))
            if self.skipped is not None and self.skipped[day]:
                came[:, at] = expected[:, at] = 0.0
        today = self._outlook(int(days[-1]))
        return _Sums(first, days, came, expected, alarms, waiting, usual, today)

    def _add_day(self, hour: int, columns: Ints, at: Ints, outlook: Outlook, into: tuple[Any, ...]) -> None:
        came, expected, alarms, waiting, usual = into
        age = np.minimum(hour - columns, self._came_by.shape[2] - 1)
        in_day = self.series.timeline.hour_of_day[columns]
        came[:, at] = self._came_by[:, columns, age]
        expected[:, at] = outlook.per_hour[:, in_day] * outlook.arrived[:, age] * self._delivered[columns]
        alarms[:, at] = outlook.alarms[:, in_day]
        if self.series.begun is not None and self._left_by is not None:
            begun = self.series.begun[:, columns]
            expected[:, at] *= begun
            waiting[:, at] = begun - came[:, at] - self._left_by[:, columns, age]
            usual[:, at] = begun * outlook.still_open[:, age]

    def _find_evidence(self, sums: _Sums, asked: Bools) -> tuple[Floats, Ints]:
        """The log of the weighted evidence against each series, 0 or more being an alarm, and the likeliest start."""
        outlook = sums.outlook
        evidence, start = np.full(len(asked), -np.inf), np.zeros(len(asked), dtype=np.int64)
        least_share = 1.0 - TOLERATED_FALL
        possible = (least_share * sums.expected.sum(axis=1) / outlook.noise > LEAST_EVIDENCE) & asked & outlook.is_known
        rows = np.flatnonzero(possible & (sums.alarms.max(axis=1) > 0))
        if not len(rows):
            return evidence, start
        noise = outlook.noise[rows, None]
        days = sums.by_day(rows)
        # no evidence is larger than a Poisson count's of its best level, and most series are far from any
        most = np.add.reduce([_measure_deviance(came / noise, least_share * usual / noise) for came, usual in days])
        near = most.max(axis=1) >= LEAST_EVIDENCE + np.minimum(self.limits[rows], 0.0)
        rows, noise, days = rows[near], noise[near], [(came[near], usual[near]) for came, usual in days]
        if not len(rows):
            return evidence, start
        by_level = np.zeros((len(LEVELS), len(rows), sums.came.shape[1]))
        shape = outlook.shape[rows, None]
        for came, expected in days:
            for place, level in enumerate(LEVELS):
                by_level[place] += _compare(
                    came / noise, level * expected / noise, least_share * expected / noise, shape
                )
        with np.errstate(divide="ignore"):
            weighted = np.logaddexp.reduce(by_level, axis=0) - np.log(len(LEVELS)) + np.log(sums.alarms[rows])
        weighted[sums.first + np.arange(weighted.shape[1])[None, :] < self._floor[rows, None]] = -np.inf
        evidence[rows] = np.logaddexp.reduce(weighted, axis=1)
        start[rows] = weighted.argmax(axis=1)
        return evidence, start

    def _find_recovery(self, spell: Spell, hour: int, sums: _Sums) -> int | None:
        """The first hour that is usual again, once that is likely enough."""
        row, since = spell.series, max(spell.since + 1, sums.first)
        usual, halfway = 1.0 - TOLERATED_FALL, (1.0 - TOLERATED_FALL + min(spell.level, MOST_LEFT)) / 2
        came = np.cumsum(sums.came[row, ::-1])[::-1]
        expected = np.cumsum(sums.expected[row, ::-1])[::-1]
        noise, shape = sums.outlook.noise[row], sums.outlook.shape[row]
        odds = _compare(came / noise, usual * expected / noise, halfway * expected / noise, shape)
        odds[: since - sums.first] = -np.inf
        best = int(odds.argmax())
        return sums.first + best if odds[best] >= np.log(RECOVERY_ODDS) else None


@dataclass(frozen=True)
class _Sums:
    """What came of each hour of a window and should have come so far, (series, hours); `waiting` are open visits."""

    first: int
    days: Ints
    came: Floats
    expected: Floats
    alarms: Floats
    waiting: Floats | None
    usual: Floats | None
    outlook: Outlook

    def by_day(self, rows: Ints) -> list[tuple[Floats, Floats]]:
        """For each day, what came and should have come from each start on, (rows, starts)."""
        parts = []
        for day in np.unique(self.days):
            is_day = self.days == day
            came = _add_from_the_end(self.came[rows] * is_day)
            if self.waiting is not None and self.usual is not None:
                usual = _add_from_the_end(self.usual[rows] * is_day)
                more = _add_from_the_end(self.waiting[rows] * is_day) - usual
                came = came + np.maximum(more - OPEN_SIGMAS * np.sqrt(np.maximum(usual, FEWEST_OPEN)), 0.0)
            parts.append((came, _add_from_the_end(self.expected[rows] * is_day)))
        return parts


def _add_from_the_end(values: Floats) -> Floats:
    return np.cumsum(values[:, ::-1], axis=1)[:, ::-1]


def _measure_deviance(came: Floats, usual: Floats) -> Floats:
    """Half the deviance of Poisson counts that are below their mean; 0 for others."""
    with np.errstate(divide="ignore", invalid="ignore"):
        lost = xlogy(came, came / usual) - (came - usual)
    return np.where(came < usual, lost, 0.0)


def _compare(came: Floats, mean: Floats, other: Floats, shape: Floats | float) -> Floats:
    """The log likelihood ratio of two means for a count whose own mean varies by a gamma distribution: a negative
    binomial's (Greenwood and Yule 1920)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = came * np.log(np.where(other > 0, mean / other, 1.0))
        return ratio - (came + shape) * np.log((shape + mean) / (shape + other))
