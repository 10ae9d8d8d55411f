"""Walks through the days of a rule's series in order and decides each: arrays only, the same code in a simulation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from alerts.detection.revisions import UNKNOWN, Revision
from alerts.detection.scales import TINY, Bools, Floats, Scale
from alerts.detection.statistics import Baseline, find_band, fit_baseline, raise_limit, score_against, score_day
from alerts.rules.book import Direction, Rule

Codes = NDArray[np.int8]
UNTESTED, NORMAL, NEAR, BREACH = 0, 1, 2, 3
# Why a verdict was given.
NO_VALUE, NO_VOLUME, NO_HISTORY, PROVISIONAL, EVENT = 1, 2, 3, 4, 5
WITHIN, TOO_SMALL, HALFWAY = 6, 7, 8
Z_LIMIT, REPEATED, OVER_A_WEEK, ABSOLUTE, RELATIVE, TOTAL_LOSS = 10, 11, 12, 13, 14, 15

WEEK = 7
SUNDAY = 6
DayState = Literal["open", "first", "final"]  # intraday alone; first figures of its own table; complete
# First figures of a small value vary at the most so many times as much as the shop's.
MOST_TIMES = 100.0
FEWEST_DAYS_OF_A_WEEK = 5
FEWEST_WEEKS = 4
# Below this expected count of successes, or of failures, a day says too little about a rate: Cochran's rule of thumb.
FEWEST_EXPECTED = 5.0
# A change that lasts this long is the new level: the baseline starts again with it.
NEW_LEVEL_DAYS = 14
NEW_LEVEL_WEEKS = 4
# A total loss must not be chance.
TOTAL_LOSS_Z = 2.5
# A relative bound counts only beyond this, where the rule has no limit for repeated days.
RELATIVE_Z = 2.5
# An absolute bound counts as crossed when the day lies beyond it by more than chance: one-sided 5 %.
BOUND_Z = 1.645
_SIGN: dict[Direction, float] = {"above": 1.0, "below": -1.0}
# The days that one alarm may rest on share one baseline: a change's first days would hide its next ones.
GAP_DAYS = 2
# A week that adds up to a breach must go on today: what is over must not be reported, nor kept open.
WEEK_Z_TODAY = 1.0
# One or two very bad days are not a bad week, and must not keep an incident open after they are over.
WEEK_Z_MOST = 2.0


@dataclass(frozen=True)
class Walk:
    """The verdicts and what they rest on, arrays (series, days); the KPI's own scale (mean logs stay mean logs).

    `period` is 1 or 7 where a day or week was decided and 0 where nothing was; `verdict` and `reason` per direction.
    """

    period: NDArray[np.int64]
    verdict: dict[Direction, Codes]
    reason: dict[Direction, Codes]
    z: Floats
    week_z: Floats
    week_limit: Floats
    limit: Floats
    repeated_limit: Floats
    observed: Floats
    expected: Floats
    band_low: Floats
    band_high: Floats
    volume: Floats
    baseline_days: Floats


@dataclass(frozen=True)
class Series:
    """Parallel daily series of one rule: `y`, `n`, `volume`, `usable` (series, days), as a `Panel` has them.

    `weekday` (days,), Monday = 0. `is_child` (series,) marks dimension values: those of one `shop` (series,) share the
    rule's false alarms among them.
    """

    scale: Scale
    y: Floats
    n: Floats
    volume: Floats
    usable: Bools
    weekday: NDArray[np.int64]
    is_child: Bools
    shop: NDArray[np.int64]


def walk_days(
    rule: Rule,
    series: Series,
    *,
    is_tested: Bools,
    excluded: Bools,
    is_event: dict[Direction, Bools] | None = None,
    is_provisional: Bools | None = None,
    is_first: Bools | None = None,
    revision: Revision = UNKNOWN,
    with_bands: bool = True,
) -> Walk:
    """Decide the tested days in order. Each day is held against the days before it, never against itself.

    `excluded` (series, days) are days of known incidents; `is_tested`, `is_event`, `is_provisional` and `is_first` are
    (days,). A provisional day is tested for total loss alone, but if it `is_first`, within a band that the `revision`
    widens.
    Days of a breach, and near days that follow one, stay out of the baselines of later days as `excluded` ones do,
    until the change has lasted `NEW_LEVEL_DAYS`; days of expected events always do.
    """
    nothing = np.zeros(len(series.weekday), dtype=bool)
    events = {way: is_event[way] if is_event else nothing for way in rule.directions}
    provisional = nothing if is_provisional is None else is_provisional
    first = nothing if is_first is None else is_first
    walker = _Walker(rule, series, excluded, np.logical_or.reduce(list(events.values())), revision)
    for day in range(len(nothing)):
        if is_tested[day]:
            state: DayState = "first" if first[day] else "open" if provisional[day] else "final"
            walker.decide(day, state, {way: bool(days[day]) for way, days in events.items()})
        walker.close(day)
    if with_bands:
        walker.draw_bands()
    return walker.result


class _Walker:
    def __init__(self, rule: Rule, series: Series, excluded: Bools, is_event: Bools, revision: Revision) -> None:
        self.rule, self.scale, self.revision = rule, series.scale, revision
        self.y, self.n, self.volume, self.weekday = series.y, series.n, series.volume, series.weekday
        self.is_child, self.shop = series.is_child, series.shop
        self.has_value = series.usable
        self.usable = series.usable & ~is_event
        self.excluded = excluded.copy()
        y = series.y
        self.begin = np.zeros(len(y), dtype=np.int64)  # the first day a baseline may use
        self.described: list[_Seen] = []
        self.run = np.zeros(len(y), dtype=np.int64)  # days the present incident has lasted
        self.ordinary_z = np.full(y.shape, np.nan)  # z of days that no event explains: what an alarm may add up
        self.result = Walk(
            period=np.zeros(y.shape, dtype=np.int64),
            verdict={way: np.zeros(y.shape, dtype=np.int8) for way in rule.directions},
            reason={way: np.zeros(y.shape, dtype=np.int8) for way in rule.directions},
            z=np.full(y.shape, np.nan),
            week_z=np.full(y.shape, np.nan),
            week_limit=np.full(y.shape, np.nan),
            limit=np.full(y.shape, np.nan),
            repeated_limit=np.full(y.shape, np.nan),
            observed=np.full(y.shape, np.nan),
            expected=np.full(y.shape, np.nan),
            band_low=np.full(y.shape, np.nan),
            band_high=np.full(y.shape, np.nan),
            volume=np.zeros(y.shape),
            baseline_days=np.zeros(y.shape),
        )

    def decide(self, day: int, state: DayState, events: dict[Direction, bool]) -> None:
        """Give the verdicts of one day, and on Sundays those of the week for the series that are too small for days."""
        past = slice(max(0, day - GAP_DAYS - self.rule.trailing_days), day)
        if day == 0:
            past = slice(0, 1)
        columns = np.arange(past.start, past.stop)
        usable = self.usable[:, past] & ~self.excluded[:, past] & (columns >= self.begin[:, None])
        usable &= columns < day - GAP_DAYS
        age = (day - columns).astype(float)
        baseline = fit_baseline(
            self.scale, self.y[:, past], self.n[:, past], usable, self.weekday[past], int(self.weekday[day]), age
        )
        volume = np.where(usable, self.volume[:, past], 0.0).sum(axis=1) / np.maximum(baseline.days, 1.0)
        daily = self._says_enough(baseline, volume, 1)
        weekly = ~daily & self._says_enough(baseline, volume, WEEK)
        tested = np.bincount(self.shop, weights=(daily | weekly) & self.is_child)
        tests = np.where(self.is_child, tested[self.shop], 1.0)
        has_history = baseline.days >= self.rule.minimum_history_days
        if state == "first":
            baseline = self._allow_for_revisions(baseline, volume)
        seen = _Seen(
            day=day,
            period=1,
            rows=np.arange(len(self.y)),
            y=self.y[:, day],
            n=self.n[:, day],
            volume=self.volume[:, day],
            usual_volume=volume,
            baseline=baseline,
            tests=tests,
            has_history=has_history,
            is_known=has_history & daily,
        )
        if state == "open":
            self._decide_provisional(seen)
            return
        self._decide(seen.take(np.flatnonzero(~weekly)), events)
        # weeks are judged when all of their days are final
        if self.weekday[day] == SUNDAY and weekly.any() and state == "final":
            self._decide_week(np.flatnonzero(weekly), day, tests, events)

    def _allow_for_revisions(self, baseline: Baseline, volume: Floats) -> Baseline:
        """What first figures should be, and how well that is known; those of a small value move more."""
        whole = np.zeros(int(self.shop.max()) + 1)
        np.maximum.at(whole, self.shop, volume)
        times = np.maximum(whole[self.shop] / np.maximum(volume, TINY), 1.0)
        return replace(
            baseline,
            mean=baseline.mean - self.revision.shift,
            mean_variance=baseline.mean_variance + self.revision.variance * np.minimum(times, MOST_TIMES),
        )

    def close(self, day: int) -> None:
        """Note which series are in an incident, and take a change that lasts as the new level.

        A day of an expected event neither lengthens an incident nor ends one.
        """
        bad = self.excluded[:, day].copy()
        for verdicts in self.result.verdict.values():
            before = self.excluded[:, max(0, day - WEEK)] if self.weekday[day] == SUNDAY else self.excluded[:, day]
            in_incident = np.where(self.result.period[:, day] == WEEK, before, self.run > 0)
            bad |= (verdicts[:, day] == BREACH) | ((verdicts[:, day] == NEAR) & in_incident)
        self.excluded[:, day] = bad
        is_ordinary = self.usable[:, day]
        self.run = np.where(is_ordinary, np.where(bad, self.run + 1, 0), self.run)
        for row in np.flatnonzero(self.run >= NEW_LEVEL_DAYS):
            dates = np.flatnonzero(self.excluded[row, : day + 1])[-NEW_LEVEL_DAYS:]
            self.begin[row] = dates[0]
            self.excluded[row, dates] = False
            self.run[row] = 0

    def _says_enough(self, baseline: Baseline, volume: Floats, days: int) -> Bools:
        enough = volume * days >= self.rule.minimum_volume
        expected = self.scale.expected_events(baseline.mean, baseline.typical_n)
        if expected is None:
            return enough
        return enough & ((expected * days >= FEWEST_EXPECTED) | (baseline.days == 0))

    def _decide_week(self, rows: NDArray[np.int64], day: int, tests: Floats, events: dict[Direction, bool]) -> None:
        weeks = min((day + 1) // WEEK, self.rule.trailing_days // WEEK + 1)
        if weeks < 2:
            return
        span = slice(day + 1 - weeks * WEEK, day + 1)
        shape = (len(rows), weeks, WEEK)
        excluded = self.excluded[rows, span].reshape(shape)
        used = self.usable[rows, span].reshape(shape) & ~excluded
        used[:, -1] = self.has_value[rows, span].reshape(shape)[:, -1]
        y, n = self.scale.add_up_weeks(self.y[rows, span].reshape(shape), self.n[rows, span].reshape(shape), used)
        volume = np.where(used, self.volume[rows, span].reshape(shape), 0.0).sum(axis=2)
        has_week = (used.sum(axis=2) >= FEWEST_DAYS_OF_A_WEEK) & (n > 0)
        bad = excluded[:, :, -1].copy()
        bad[:, -1] = False
        usable = (has_week & ~_forgive_new_level(bad))[:, :-1]
        weekday = np.zeros(weeks - 1, dtype=np.int64)
        age = WEEK * np.arange(weeks - 1, 0, -1, dtype=float)
        baseline = fit_baseline(self.scale, y[:, :-1], n[:, :-1], usable, weekday, 0, age)
        has_history = baseline.days >= max(FEWEST_WEEKS, self.rule.minimum_history_days // WEEK)
        seen = _Seen(
            day=day,
            period=WEEK,
            rows=rows,
            y=y[:, -1],
            n=np.where(has_week[:, -1], n[:, -1], 0.0),
            volume=volume[:, -1],
            usual_volume=np.where(usable, volume[:, :-1], 0.0).sum(axis=1) / np.maximum(baseline.days, 1.0),
            baseline=baseline,
            tests=tests[rows],
            has_history=has_history,
            is_known=has_history,
        )
        self._decide(seen, events)

    def _decide_provisional(self, seen: _Seen) -> None:
        for way in self.rule.directions:
            is_lost = self._is_total_loss(way, seen) & seen.has_history
            self.result.verdict[way][:, seen.day] = np.where(is_lost, BREACH, UNTESTED)
            self.result.reason[way][:, seen.day] = np.where(is_lost, TOTAL_LOSS, PROVISIONAL)
        limit = np.full(len(seen.rows), self.rule.z_limit or np.nan)
        self._describe(seen, limit, seen.has_history)

    def _decide(self, seen: _Seen, events: dict[Direction, bool]) -> None:
        scores = self._score(seen, is_ordinary=not any(events.values()))
        for way in self.rule.directions:
            verdict, reason = self._judge(way, seen, scores, is_event=events[way])
            self.result.verdict[way][seen.rows, seen.day] = verdict
            self.result.reason[way][seen.rows, seen.day] = reason
        self._describe(seen, scores.limit, seen.is_known)

    def _score(self, seen: _Seen, *, is_ordinary: bool) -> _Scores:
        """How surprising the period is, and from where on that counts; also noted for the days to come."""
        rule, result, place, never = self.rule, self.result, (seen.rows, seen.day), np.full(len(seen.rows), np.inf)
        limit = never if rule.z_limit is None else raise_limit(rule.z_limit, seen.tests)
        repeated = never if rule.z_limit_repeated is None else raise_limit(rule.z_limit_repeated, seen.tests, days=2)
        z = score_day(self.scale, seen.y, seen.n, seen.baseline)
        z = np.where(seen.is_known & seen.has_value, z, np.nan)
        result.z[place] = z
        self.ordinary_z[place] = z if is_ordinary else np.nan
        result.repeated_limit[place] = repeated
        week, week_limit = np.full(len(seen.rows), np.nan), never
        if seen.period == 1 and rule.z_limit_week is not None:
            week, week_limit = self._sum_week(seen.rows, seen.day), raise_limit(rule.z_limit_week, seen.tests)
            result.week_z[place], result.week_limit[place] = week, week_limit
        value = self.scale.value(seen.y, seen.n)
        with np.errstate(divide="ignore", invalid="ignore"):
            change = self.scale.change(value, self.scale.to_value(seen.baseline.mean))
        return _Scores(z, limit, repeated, week, week_limit, value, change)

    def _judge(self, way: Direction, seen: _Seen, scores: _Scores, *, is_event: bool) -> tuple[Codes, Codes]:
        """The verdict on each series in one direction, and why; of several alarms the last in line says why."""
        sign = _SIGN[way]
        verdict = np.where(np.isnan(scores.z), UNTESTED, np.where(sign * scores.z > scores.limit / 2, NEAR, NORMAL))
        reason = np.where(verdict == NEAR, HALFWAY, WITHIN)
        reason = np.where(np.isnan(scores.z), np.where(seen.has_history, NO_VOLUME, NO_HISTORY), reason)

        by_z = self._find_alarms_by_z(sign, seen, scores)
        is_large = np.abs(scores.change) >= self.rule.minimum_change
        is_too_small = np.logical_or.reduce([found for _, found in by_z]) & ~is_large
        verdict, reason = np.where(is_too_small, NORMAL, verdict), np.where(is_too_small, TOO_SMALL, reason)

        is_outside, is_absolute = self._compare_with_bound(way, seen, scores)
        verdict = np.where(is_outside & (verdict <= NORMAL), NEAR, verdict)
        reason = np.where(is_outside & (verdict == NEAR), HALFWAY, reason)
        is_lost = self._is_total_loss(way, seen) & seen.has_history
        alarms = [(code, found & is_large) for code, found in by_z]
        alarms += [(RELATIVE, self._is_beyond_change(way, scores)), (ABSOLUTE, is_absolute), (TOTAL_LOSS, is_lost)]
        for code, found in alarms:
            verdict, reason = np.where(found, BREACH, verdict), np.where(found, code, reason)
        if is_event:
            is_explained = ~is_lost & ~is_absolute
            verdict, reason = np.where(is_explained, UNTESTED, verdict), np.where(is_explained, EVENT, reason)
        return np.where(seen.has_value, verdict, UNTESTED), np.where(seen.has_value, reason, NO_VALUE)

    def _find_alarms_by_z(self, sign: float, seen: _Seen, scores: _Scores) -> list[tuple[int, Bools]]:
        again = (sign * scores.z > scores.repeated) & self._was_beyond(seen, sign, scores.repeated)
        slow = (sign * scores.z > WEEK_Z_TODAY) & (sign * scores.week > scores.week_limit)
        return [(OVER_A_WEEK, slow), (REPEATED, again), (Z_LIMIT, sign * scores.z > scores.limit)]

    def _is_beyond_change(self, way: Direction, scores: _Scores) -> Bools:
        bound, sign = self.rule.relative.of(way), _SIGN[way]
        if bound is None:
            return np.zeros(len(scores.z), dtype=bool)
        significant = sign * scores.z > np.where(np.isfinite(scores.repeated), scores.repeated, RELATIVE_Z)
        return (sign * scores.change > sign * bound) & significant

    def _compare_with_bound(self, way: Direction, seen: _Seen, scores: _Scores) -> tuple[Bools, Bools]:
        """Which series lie beyond the rule's absolute bound, and which of them by more than chance."""
        given, sign = self.rule.absolute.of(way), _SIGN[way]
        if given is None:
            nothing = np.zeros(len(seen.rows), dtype=bool)
            return nothing, nothing
        bound = self.scale.read_bound(given)
        is_outside = seen.has_value & (seen.volume >= self.rule.minimum_volume) & (sign * (scores.value - bound) > 0)
        z = score_against(self.scale, seen.y, seen.n, bound, seen.baseline)
        return is_outside, is_outside & (sign * z > BOUND_Z)

    def _describe(self, seen: _Seen, limit: Floats, is_known: Bools) -> None:
        result, place = self.result, (seen.rows, seen.day)
        result.period[place] = seen.period
        result.limit[place] = limit
        result.volume[place] = seen.volume
        result.baseline_days[place] = seen.baseline.days * (1 if seen.period == 1 else WEEK)
        result.observed[place] = np.where(seen.has_value, self.scale.value(seen.y, seen.n), np.nan)
        result.expected[place] = np.where(is_known, self.scale.to_value(seen.baseline.mean), np.nan)
        self.described.append(seen.take(np.flatnonzero(is_known)))

    def draw_bands(self) -> None:
        """Find where the limits lie, for all days at once."""
        if not self.described or self.rule.z_limit is None:
            return
        rows = np.concatenate([seen.rows for seen in self.described])
        days = np.concatenate([np.full(len(seen.rows), seen.day) for seen in self.described])
        baseline = Baseline.join([seen.baseline for seen in self.described])
        n = np.concatenate([seen.n for seen in self.described])
        low, high = find_band(
            self.scale, np.where(n > 0, n, baseline.typical_n), baseline, self.result.limit[rows, days]
        )
        self.result.band_low[rows, days], self.result.band_high[rows, days] = low, high

    def _was_beyond(self, seen: _Seen, sign: float, repeated: Floats) -> Bools:
        """Whether one of the two periods before was beyond the limit too."""
        found = np.zeros(len(seen.rows), dtype=bool)
        for before in (seen.day - seen.period, seen.day - 2 * seen.period):
            if before >= 0:
                found |= (self.result.period[seen.rows, before] == seen.period) & (
                    sign * self.ordinary_z[seen.rows, before] > repeated
                )
        return found

    def _sum_week(self, rows: NDArray[np.int64], day: int) -> Floats:
        """The z-score of the last seven days together (Stouffer's sum), where at least five were tested."""
        z = self.ordinary_z[rows, max(0, day - WEEK + 1) : day + 1]
        count = np.isfinite(z).sum(axis=1)
        total = np.nansum(np.clip(z, -WEEK_Z_MOST, WEEK_Z_MOST), axis=1) / np.sqrt(np.maximum(count, 1))
        return np.where(count >= FEWEST_DAYS_OF_A_WEEK, total, np.nan)

    def _is_total_loss(self, way: Direction, seen: _Seen) -> Bools:
        with np.errstate(invalid="ignore"):
            is_surprising = _SIGN[way] * score_day(self.scale, seen.y, seen.n, seen.baseline) > TOTAL_LOSS_Z
        nothing_left = self.scale.is_total_loss(way, seen.y, seen.n, seen.baseline.mean, seen.usual_volume)
        return seen.has_value & is_surprising & nothing_left


@dataclass(frozen=True)
class _Seen:
    """What one day or week of some series looks like, beside what their past says; arrays (rows,).

    `n` is 0 where nothing was observed. `tests` is the number of series that share the rule's false alarms,
    `is_known` where the past is long enough and the volume large enough for a test.
    """

    day: int
    period: int
    rows: NDArray[np.int64]
    y: Floats
    n: Floats
    volume: Floats
    usual_volume: Floats
    baseline: Baseline
    tests: Floats
    has_history: Bools
    is_known: Bools

    @property
    def has_value(self) -> Bools:
        return self.n > 0

    def take(self, positions: NDArray[np.int64]) -> _Seen:
        return _Seen(
            day=self.day,
            period=self.period,
            rows=self.rows[positions],
            y=self.y[positions],
            n=self.n[positions],
            volume=self.volume[positions],
            usual_volume=self.usual_volume[positions],
            baseline=self.baseline.take(positions),
            tests=self.tests[positions],
            has_history=self.has_history[positions],
            is_known=self.is_known[positions],
        )


@dataclass(frozen=True)
class _Scores:
    """How surprising a period is, arrays (rows,); limits are infinite where the rule has none."""

    z: Floats
    limit: Floats
    repeated: Floats
    week: Floats
    week_limit: Floats
    value: Floats
    change: Floats


def _forgive_new_level(bad: Bools) -> Bools:
    """Weeks to leave out: those of incidents, but once one has lasted `NEW_LEVEL_WEEKS`, those before it instead."""
    left_out = bad.copy()
    run = np.zeros(len(bad), dtype=np.int64)
    for week in range(bad.shape[1]):
        run = np.where(bad[:, week], run + 1, 0)
        for row in np.flatnonzero(run == NEW_LEVEL_WEEKS):
            left_out[row, : week - NEW_LEVEL_WEEKS + 1] = True
            left_out[row, week - NEW_LEVEL_WEEKS + 1 : week + 1] = False
    return left_out
