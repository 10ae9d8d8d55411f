"""Walks through the days of a rule's series in order and decides each: arrays only, the same code in a simulation."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from alerts.detection.statistics import (
    Baseline,
    Bools,
    Floats,
    Scale,
    find_band,
    fit_baseline,
    raise_limit,
    score_against,
    score_day,
    to_value,
)
from alerts.rules.book import Direction, Rule

Codes = NDArray[np.int8]
UNTESTED, NORMAL, NEAR, BREACH = 0, 1, 2, 3
# Why a verdict was given.
NO_VALUE, NO_VOLUME, NO_HISTORY, PROVISIONAL, EVENT = 1, 2, 3, 4, 5
WITHIN, TOO_SMALL, HALFWAY = 6, 7, 8
Z_LIMIT, REPEATED, OVER_A_WEEK, ABSOLUTE, RELATIVE, TOTAL_LOSS = 10, 11, 12, 13, 14, 15

WEEK = 7
SUNDAY = 6
FEWEST_DAYS_OF_A_WEEK = 5
FEWEST_WEEKS = 4
# Below this expected count of successes, or of failures, a day says too little about a rate: Cochran's rule of thumb.
FEWEST_EXPECTED = 5.0
# A change that lasts this long is the new level: the baseline starts again with it.
NEW_LEVEL_DAYS = 14
NEW_LEVEL_WEEKS = 4
# Total loss: none where at least so many were expected, and not by chance.
TOTAL_LOSS_EXPECTED = 20.0
TOTAL_LOSS_Z = 2.5
# An absolute bound counts as crossed when the day lies beyond it by more than chance: one-sided 5 %.
BOUND_Z = 1.645
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
    with_bands: bool = True,
) -> Walk:
    """Decide the tested days in order. Each day is held against the days before it, never against itself.

    `excluded` (series, days) are days of known incidents; `is_tested`, `is_event` and `is_provisional` are (days,).
    Days of a breach, and near days that follow one, stay out of the baselines of later days as `excluded` ones do,
    until the change has lasted `NEW_LEVEL_DAYS`; days of expected events always do.
    """
    nothing = np.zeros(len(series.weekday), dtype=bool)
    events = {way: is_event[way] if is_event else nothing for way in rule.directions}
    provisional = nothing if is_provisional is None else is_provisional
    walker = _Walker(rule, series, excluded, np.logical_or.reduce(list(events.values())))
    for day in range(len(nothing)):
        if is_tested[day]:
            walker.decide(day, bool(provisional[day]), {way: bool(days[day]) for way, days in events.items()})
        walker.close(day)
    if with_bands:
        walker.draw_bands()
    return walker.result


class _Walker:
    def __init__(self, rule: Rule, series: Series, excluded: Bools, is_event: Bools) -> None:
        self.rule, self.scale = rule, series.scale
        self.y, self.n, self.volume, self.weekday = series.y, series.n, series.volume, series.weekday
        self.is_child, self.shop = series.is_child, series.shop
        self.has_value = series.usable
        self.usable = series.usable & ~is_event
        self.excluded = excluded.copy()
        y = series.y
        self.begin = np.zeros(len(y), dtype=np.int64)  # the first day a baseline may use
        self.described: list[tuple[NDArray[np.int64], int, Baseline, Floats]] = []
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

    def decide(self, day: int, is_provisional: bool, events: dict[Direction, bool]) -> None:
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
        every = np.arange(len(self.y))
        observed = _Observed(1, self.y[:, day], self.n[:, day], self.volume[:, day], volume)
        if is_provisional:
            self._decide_provisional(day, every, observed, baseline)
            return
        rows = np.flatnonzero(~weekly)
        has_history = baseline.days >= self.rule.minimum_history_days
        self._decide(rows, day, observed.of(rows), _rows_of(baseline, rows), tests, daily, has_history, events)
        if self.weekday[day] == SUNDAY and weekly.any():
            self._decide_week(np.flatnonzero(weekly), day, tests, events)

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
        if self.scale == "log_mean":
            return enough
        expected = to_value(self.scale, baseline.mean)
        if self.scale == "rate":
            expected = np.minimum(expected, 1 - expected) * baseline.typical_n
        return enough & ((expected * days >= FEWEST_EXPECTED) | (baseline.days == 0))

    def _decide_week(self, rows: NDArray[np.int64], day: int, tests: Floats, events: dict[Direction, bool]) -> None:
        weeks = min((day + 1) // WEEK, self.rule.trailing_days // WEEK + 1)
        if weeks < 2:
            return
        span = slice(day + 1 - weeks * WEEK, day + 1)
        shape = (len(rows), weeks, WEEK)
        usable = self.usable[rows, span].reshape(shape)
        excluded = self.excluded[rows, span].reshape(shape)
        used = usable & ~excluded
        used[:, -1] = self.has_value[rows, span].reshape(shape)[:, -1]
        y, n = self.y[rows, span].reshape(shape), self.n[rows, span].reshape(shape)
        days = used.sum(axis=2)
        n_sum = np.where(used, n, 0.0).sum(axis=2)
        if self.scale == "rate":
            y_sum = np.where(used, y, 0.0).sum(axis=2)
        elif self.scale == "log_mean":
            y_sum = np.where(used, y * n, 0.0).sum(axis=2) / np.maximum(n_sum, 1.0)
        else:
            y_sum = np.where(used, y, 0.0).sum(axis=2) / np.maximum(days, 1) * WEEK
            n_sum = np.ones_like(n_sum)
        volume = np.where(used, self.volume[rows, span].reshape(shape), 0.0).sum(axis=2)
        has_week = (days >= FEWEST_DAYS_OF_A_WEEK) & (n_sum > 0)
        bad = excluded[:, :, -1].copy()
        bad[:, -1] = False
        usable_weeks = has_week & ~_forgive_new_level(bad)
        weekday = np.zeros(weeks - 1, dtype=np.int64)
        age = WEEK * np.arange(weeks - 1, 0, -1, dtype=float)
        baseline = fit_baseline(self.scale, y_sum[:, :-1], n_sum[:, :-1], usable_weeks[:, :-1], weekday, 0, age)
        typical = np.where(usable_weeks[:, :-1], volume[:, :-1], 0.0).sum(axis=1) / np.maximum(baseline.days, 1.0)
        n_now = np.where(has_week[:, -1], n_sum[:, -1], 0.0)
        observed = _Observed(WEEK, y_sum[:, -1], n_now, volume[:, -1], typical)
        fewest = max(FEWEST_WEEKS, self.rule.minimum_history_days // WEEK)
        is_enough = np.zeros(len(self.y), dtype=bool)
        is_enough[rows] = True
        has_history = np.zeros(len(self.y), dtype=bool)
        has_history[rows] = baseline.days >= fewest
        self._decide(rows, day, observed, baseline, tests, is_enough, has_history, events)

    def _decide_provisional(self, day: int, rows: NDArray[np.int64], observed: _Observed, baseline: Baseline) -> None:
        has_history = baseline.days >= self.rule.minimum_history_days
        for way in self.rule.directions:
            is_lost = self._is_total_loss(way, observed, baseline) & has_history
            self.result.verdict[way][:, day] = np.where(is_lost, BREACH, UNTESTED)
            self.result.reason[way][:, day] = np.where(is_lost, TOTAL_LOSS, PROVISIONAL)
        limit = np.full(len(rows), self.rule.z_limit or np.nan)
        self._describe(rows, day, observed, baseline, limit, has_history)

    def _decide(
        self,
        rows: NDArray[np.int64],
        day: int,
        observed: _Observed,
        baseline: Baseline,
        tests: Floats,
        says_enough: Bools,
        has_history: Bools,
        events: dict[Direction, bool],
    ) -> None:
        """Give the verdicts of `rows` (indices of series); `observed` and `baseline` hold these rows only."""
        rule, tests, known = self.rule, tests[rows], has_history[rows] & says_enough[rows]
        has_value = observed.n > 0
        limit = raise_limit(rule.z_limit, tests) if rule.z_limit is not None else np.full(len(rows), np.inf)
        repeated = (
            raise_limit(rule.z_limit_repeated, tests, days=2)
            if rule.z_limit_repeated is not None
            else np.full(len(rows), np.inf)
        )
        z = np.where(known & has_value, score_day(self.scale, observed.y, observed.n, baseline), np.nan)
        self.result.z[rows, day] = z
        self.ordinary_z[rows, day] = np.nan if any(events.values()) else z
        self.result.repeated_limit[rows, day] = repeated
        week, week_limit = np.full(len(rows), np.nan), np.full(len(rows), np.inf)
        if observed.period == 1 and rule.z_limit_week is not None:
            week, week_limit = self._sum_week(rows, day), raise_limit(rule.z_limit_week, tests)
            self.result.week_z[rows, day], self.result.week_limit[rows, day] = week, week_limit
        value = observed.value(self.scale)
        expected = to_value(self.scale, baseline.mean)
        with np.errstate(divide="ignore", invalid="ignore"):
            change = np.expm1(value - expected) if self.scale == "log_mean" else value / expected - 1
        for way in rule.directions:
            sign = 1.0 if way == "above" else -1.0
            beyond = sign * z > limit
            again = (sign * z > repeated) & self._was_beyond(rows, day, observed.period, sign, repeated)
            slow = (sign * z > WEEK_Z_TODAY) & (sign * week > week_limit)
            is_large = np.abs(change) >= rule.minimum_change
            verdict = np.where(np.isnan(z), UNTESTED, np.where(sign * z > limit / 2, NEAR, NORMAL))
            reason = np.where(verdict == NEAR, HALFWAY, WITHIN)
            reason = np.where(np.isnan(z), np.where(has_history[rows], NO_VOLUME, NO_HISTORY), reason)
            verdict = np.where((beyond | again | slow) & ~is_large, NORMAL, verdict)
            reason = np.where((beyond | again | slow) & ~is_large, TOO_SMALL, reason)
            found = [(OVER_A_WEEK, slow & is_large), (REPEATED, again & is_large), (Z_LIMIT, beyond & is_large)]
            relative = rule.relative.of(way)
            if relative is not None:
                significant = sign * z > np.where(np.isfinite(repeated), repeated, 2.5)
                found.append((RELATIVE, (sign * change > sign * relative) & significant))
            absolute = rule.absolute.of(way)
            is_absolute = np.zeros(len(rows), dtype=bool)
            if absolute is not None:
                bound = _to_own_scale(rule, absolute)
                is_outside = has_value & (observed.volume >= rule.minimum_volume) & (sign * (value - bound) > 0)
                is_clear = sign * score_against(self.scale, observed.y, observed.n, bound, baseline) > BOUND_Z
                verdict = np.where(is_outside & (verdict <= NORMAL), NEAR, verdict)
                reason = np.where(is_outside & (verdict == NEAR), HALFWAY, reason)
                is_absolute = is_outside & is_clear
                found.append((ABSOLUTE, is_absolute))
            is_lost = self._is_total_loss(way, observed, baseline) & has_history[rows]
            found.append((TOTAL_LOSS, is_lost))
            for code, condition in found:
                verdict = np.where(condition, BREACH, verdict)
                reason = np.where(condition, code, reason)
            if events[way]:
                explained = ~is_lost & ~is_absolute
                verdict, reason = np.where(explained, UNTESTED, verdict), np.where(explained, EVENT, reason)
            verdict, reason = np.where(has_value, verdict, UNTESTED), np.where(has_value, reason, NO_VALUE)
            self.result.verdict[way][rows, day] = verdict
            self.result.reason[way][rows, day] = reason
        self._describe(rows, day, observed, baseline, limit, known)

    def _describe(
        self,
        rows: NDArray[np.int64],
        day: int,
        observed: _Observed,
        baseline: Baseline,
        limit: Floats,
        known: Bools,
    ) -> None:
        result, has_value = self.result, observed.n > 0
        result.period[rows, day] = observed.period
        result.limit[rows, day] = limit
        result.volume[rows, day] = observed.volume
        result.baseline_days[rows, day] = baseline.days * (1 if observed.period == 1 else WEEK)
        result.observed[rows, day] = np.where(has_value, observed.value(self.scale), np.nan)
        result.expected[rows, day] = np.where(known, to_value(self.scale, baseline.mean), np.nan)
        self.described.append((rows[known], day, _rows_of(baseline, np.flatnonzero(known)), observed.n[known]))

    def draw_bands(self) -> None:
        """Find where the limits lie, for all days at once."""
        if not self.described or self.rule.z_limit is None:
            return
        rows = np.concatenate([each[0] for each in self.described])
        days = np.concatenate([np.full(len(each[0]), each[1]) for each in self.described])
        baseline = Baseline(
            **{
                field.name: np.concatenate([getattr(each[2], field.name) for each in self.described])
                for field in fields(Baseline)
            }
        )
        n = np.concatenate([each[3] for each in self.described])
        low, high = find_band(
            self.scale, np.where(n > 0, n, baseline.typical_n), baseline, self.result.limit[rows, days]
        )
        self.result.band_low[rows, days], self.result.band_high[rows, days] = low, high

    def _was_beyond(self, rows: NDArray[np.int64], day: int, period: int, sign: float, repeated: Floats) -> Bools:
        """Whether one of the two periods before was beyond the limit too."""
        found = np.zeros(len(rows), dtype=bool)
        for before in (day - period, day - 2 * period):
            if before >= 0:
                found |= (self.result.period[rows, before] == period) & (
                    sign * self.ordinary_z[rows, before] > repeated
                )
        return found

    def _sum_week(self, rows: NDArray[np.int64], day: int) -> Floats:
        """The z-score of the last seven days together (Stouffer's sum), where at least five were tested."""
        z = self.ordinary_z[rows, max(0, day - WEEK + 1) : day + 1]
        count = np.isfinite(z).sum(axis=1)
        total = np.nansum(np.clip(z, -WEEK_Z_MOST, WEEK_Z_MOST), axis=1) / np.sqrt(np.maximum(count, 1))
        return np.where(count >= FEWEST_DAYS_OF_A_WEEK, total, np.nan)

    def _is_total_loss(self, way: Direction, observed: _Observed, baseline: Baseline) -> Bools:
        sign = 1.0 if way == "above" else -1.0
        has_value = observed.n > 0
        with np.errstate(invalid="ignore"):
            has_value &= sign * score_day(self.scale, observed.y, observed.n, baseline) > TOTAL_LOSS_Z
        if self.scale == "rate":
            p = to_value(self.scale, baseline.mean)
            left = observed.y if way == "below" else observed.n - observed.y
            expected = observed.n * (p if way == "below" else 1 - p)
            return has_value & (left == 0) & (expected >= TOTAL_LOSS_EXPECTED)
        if self.scale == "log_mean" or way == "above":
            return np.zeros(len(has_value), dtype=bool)
        return has_value & (observed.y == 0) & (observed.usual_volume >= TOTAL_LOSS_EXPECTED)


@dataclass(frozen=True)
class _Observed:
    """What was seen on one day or in one week, per series; `n` is 0 where nothing was."""

    period: int
    y: Floats
    n: Floats
    volume: Floats
    usual_volume: Floats

    def of(self, rows: NDArray[np.int64]) -> _Observed:
        return _Observed(self.period, self.y[rows], self.n[rows], self.volume[rows], self.usual_volume[rows])

    def value(self, scale: Scale) -> Floats:
        return self.y / np.maximum(self.n, 1.0) if scale == "rate" else self.y


def _rows_of(baseline: Baseline, rows: NDArray[np.int64]) -> Baseline:
    return Baseline(**{field.name: getattr(baseline, field.name)[rows] for field in fields(Baseline)})


def _to_own_scale(rule: Rule, value: float) -> float:
    if rule.test != "log_mean":
        return value
    return float(np.log1p(value)) if rule.statistic else float(np.log(max(value, 1e-9)))


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
