"""Joins what the hours say to what the days say: one list of checks, one incident for both."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

import duckdb
import numpy as np

from alerts.detection.hourly import TOLERATED_FALL, WALK_DAYS, HourlyWalk, Spell, walk_hours
from alerts.detection.hourly_panel import Arrivals, HourlyPanel, read_hourly_panel
from alerts.detection.scales import Bools, Floats
from alerts.detection.verdicts import Check, Figures, Hours, Verdict, make_fingerprint
from alerts.rules.book import Direction, Rule, RuleBook

# The hours of so many newest days are walked through: a day's own table, three days old at most, may correct them.
NEWEST_DAYS = 4
# Evidence that was enough once stays so down to a twentieth of it: one late purchase takes no alarm back.
HELD_LIMIT = -3.0
# What a message's chart shows around a spell.
HOURS_BEFORE, HOURS_AFTER = 12, 3

Excluded = Mapping[str, set[dt.date]]


def add_hours(
    warehouse: duckdb.DuckDBPyConnection,
    book: RuleBook,
    rule: Rule,
    checks: list[Check],
    *,
    zone: ZoneInfo,
    excluded: Excluded,
    arrivals: Arrivals,
    since: dt.date | None,
) -> list[Check]:
    """The checks of a rule's days, and of days that its hours find wrong before the whole day is, or without it.

    Days of which a check says a breach are told their hours. A day that had been told by its hours and of which neither
    says anything now is taken back.
    """
    panel = read_hourly_panel(warehouse, rule, zone=zone, days=rule.trailing_days + WALK_DAYS, arrivals=arrivals)
    if panel is None or not panel.over:
        return checks
    daily = _Daily.of(rule, panel, checks)
    newest = panel.dates[max(0, len(panel.dates) - NEWEST_DAYS)]
    first = min([newest, *(date - dt.timedelta(days=1) for _, date in daily.breaches)])
    first = max(first, panel.dates[max(0, len(panel.dates) - WALK_DAYS)])
    told = _list_told(rule, panel, excluded, first)
    learns = _mark_days(rule, panel, daily, excluded)
    walk = walk_panel_hours(book, rule, panel, first=first, learns=learns)
    found = _find_days(panel, walk, zone, daily)
    if lost := told - found.keys() - daily.breaches.keys():
        limits = np.zeros(len(panel.labels))
        limits[[row for row, _ in lost]] = HELD_LIMIT
        again = walk_panel_hours(book, rule, panel, first=first, learns=learns, limits=limits)
        found |= {key: check for key, check in _find_days(panel, again, zone, daily).items() if limits[key[0]]}
    return _join(rule, panel, checks, daily, found, told, first if since is None else max(first, since))


def find_learnt_days(rule: Rule, panel: HourlyPanel, checks: list[Check], excluded: Excluded) -> Bools:
    """The days that the hours of a rule may learn from, (series, days): none that breaches, none of an incident."""
    return _mark_days(rule, panel, _Daily.of(rule, panel, checks), excluded)


def walk_panel_hours(
    book: RuleBook, rule: Rule, panel: HourlyPanel, *, first: dt.date, learns: Bools, limits: Floats | None = None
) -> HourlyWalk:
    """Walk from a date's first hour to the last that is over; `learns` (series, days) are the days to learn from."""
    way = rule.hourly_direction
    is_event = np.array([book.find_event(rule, date, way) is not None for date in panel.dates], dtype=bool)
    series = replace(panel.series, usable=panel.series.usable & learns & ~is_event)
    begin = int(np.searchsorted(panel.series.timeline.day, panel.dates.index(first)))
    return walk_hours(rule, series, range(begin, panel.over), skipped=is_event, limits=limits)


@dataclass(frozen=True)
class _Daily:
    """What the days say in the direction that hours look in, by series and date."""

    checks: dict[tuple[int, dt.date], Check]

    @classmethod
    def of(cls, rule: Rule, panel: HourlyPanel, checks: list[Check]) -> _Daily:
        row_of = {label: row for row, label in enumerate(panel.labels)}
        found = {}
        for check in checks:
            row = row_of.get(None if check.dimension is None else (check.dimension, str(check.dimension_value)))
            if row is not None and check.direction == rule.hourly_direction and check.period_days == 1:
                found[row, check.date] = check
        return cls(found)

    @property
    def breaches(self) -> dict[tuple[int, dt.date], Check]:
        return {key: check for key, check in self.checks.items() if check.verdict == "breach"}

    def is_normal(self, row: int, date: dt.date) -> bool:
        """Whether a whole day is known and usual."""
        check = self.checks.get((row, date))
        return check is not None and check.verdict == "normal" and not check.is_provisional


def _mark_days(rule: Rule, panel: HourlyPanel, daily: _Daily, excluded: Excluded) -> Bools:
    """The days to learn from: not those that breach, and of those before that are checked no more none of an incident.

    What the hours alone have found does not count: a second look at the same tables has to see the same.
    """
    oldest = min((date for _, date in daily.checks), default=dt.date.max)
    learns = np.ones((len(panel.labels), len(panel.dates)), dtype=bool)
    ways: tuple[Direction, ...] = ("above", "below")
    position = {date: day for day, date in enumerate(panel.dates)}
    for row, label in enumerate(panel.labels):
        known = set().union(*(excluded.get(_fingerprint(rule, label, way), set()) for way in ways))
        for date in known & position.keys():
            if date < oldest:
                learns[row, position[date]] = False
    for row, date in daily.breaches:
        if date in position:
            learns[row, position[date]] = False
    return learns


def _list_told(rule: Rule, panel: HourlyPanel, excluded: Excluded, first: dt.date) -> set[tuple[int, dt.date]]:
    """The days of known incidents among those that are looked at."""
    return {
        (row, date)
        for row, label in enumerate(panel.labels)
        for date in excluded.get(_fingerprint(rule, label, rule.hourly_direction), set())
        if date >= first and date in panel.dates
    }


def _find_days(panel: HourlyPanel, walk: HourlyWalk, zone: ZoneInfo, daily: _Daily) -> dict[tuple[int, dt.date], Check]:
    """The checks of the days that spells lie on, by series. A spell is over before a whole day that is usual."""
    day_of = panel.series.timeline.day
    by_day: dict[tuple[int, dt.date], list[Spell]] = {}
    for spell in walk.spells:
        end = panel.over if spell.until is None else spell.until
        for day in np.unique(day_of[spell.since : end]).tolist():
            begin = int(np.searchsorted(day_of, day))
            if begin > spell.since and (
                daily.is_normal(spell.series, panel.dates[day]) or _is_usual(panel, walk, spell.series, day)
            ):
                spell.until = begin
                break
            by_day.setdefault((spell.series, panel.dates[day]), []).append(spell)
    return {(row, date): _make_check(panel, walk, zone, row, date, spells) for (row, date), spells in by_day.items()}


def _is_usual(panel: HourlyPanel, walk: HourlyWalk, row: int, day: int) -> bool:
    """Whether a day that has its own table brought about what it should; a small series cannot say by the hour."""
    hours = np.flatnonzero(panel.series.timeline.day == day)
    if panel.is_intraday.get(panel.dates[day], True) or hours[-1] >= panel.over:
        return False
    measured = walk.measure(row, int(hours[0]), int(hours[-1]) + 1, panel.over - 1)
    return measured.came >= (1.0 - TOLERATED_FALL) * measured.expected


def _make_check(
    panel: HourlyPanel, walk: HourlyWalk, zone: ZoneInfo, row: int, date: dt.date, spells: list[Spell]
) -> Check:
    rule, day = walk.rule, panel.series.timeline.day
    inside = np.flatnonzero(day == panel.dates.index(date))
    inside = inside[inside < panel.over]
    ends = [panel.over if spell.until is None else spell.until for spell in spells]
    since, end = max(spells[0].since, int(inside[0])), min(ends[-1], int(inside[-1]) + 1)
    measured = walk.measure(row, since, end, panel.over - 1)
    is_rate = panel.series.begun is not None
    until = spells[-1].until
    hours = Hours(
        since=_say_hour(panel.starts[spells[0].since], zone),
        until=None if until is None else _say_hour(panel.starts[until], zone),
        seen_until=_say_hour(panel.starts[end - 1] + dt.timedelta(hours=1), zone),
        came=measured.came,
        begun=measured.begun if is_rate else None,
        expected=measured.expected,
        deviation=measured.deviation,
        so_far=_add_up_hours(panel, walk, zone, row, spells[0].since, until),
    )
    whole = max(measured.begun, 1.0)
    figures = Figures(
        observed=1.0 - measured.came / whole if is_rate else measured.came,
        expected=1.0 - measured.expected / whole if is_rate else measured.expected,
        z=-measured.z if is_rate else measured.z,
        volume=measured.begun if is_rate else measured.expected,
        reason=f"too few by the hour: {abs(measured.z):.1f} standard deviations below",
    )
    check = _new_check(rule, panel.labels[row], date, panel, "breach", figures)
    return replace(check, baseline_days=int(walk.series.usable[row].sum()), hours=hours)


def _add_up_hours(
    panel: HourlyPanel, walk: HourlyWalk, zone: ZoneInfo, row: int, since: int, until: int | None
) -> tuple[tuple[str, float, float, float], ...]:
    """What came and should have come, hour by hour, from before a spell to after it."""
    begin = max(0, since - HOURS_BEFORE)
    end = panel.over if until is None else min(panel.over, until + HOURS_AFTER)
    return tuple(
        (
            _say_hour(panel.starts[hour] + dt.timedelta(hours=1), zone),
            round(measured.came, 2),
            round(measured.expected, 2),
            round(measured.deviation, 2),
        )
        for hour in range(begin, end)
        for measured in (walk.measure(row, begin, hour + 1, panel.over - 1),)
    )


def _join(
    rule: Rule,
    panel: HourlyPanel,
    checks: list[Check],
    daily: _Daily,
    found: dict[tuple[int, dt.date], Check],
    told: set[tuple[int, dt.date]],
    first: dt.date,
) -> list[Check]:
    in_place: dict[int, Check] = {}
    joined = []
    for (row, date), check in daily.checks.items():
        by_hours = found.get((row, date))
        if by_hours is not None and by_hours.hours is not None and check.verdict == "breach":
            in_place[id(check)] = replace(check, hours=replace(by_hours.hours, decides=False))
        elif by_hours is not None and not check.is_expected_event and date >= first:
            in_place[id(check)] = by_hours
        elif by_hours is None and check.verdict == "untested" and (row, date) in told and date >= first:
            in_place[id(check)] = _take_back(rule, panel.labels[row], date, panel)
    joined = [in_place.get(id(check), check) for check in checks]
    for row, date in sorted((found.keys() | told) - daily.checks.keys()):
        if date >= first:
            joined.append(found.get((row, date)) or _take_back(rule, panel.labels[row], date, panel))
    return joined


def _take_back(rule: Rule, label: tuple[str, str] | None, date: dt.date, panel: HourlyPanel) -> Check:
    usual = Figures(reason="what has come since is within what is usual")
    return _new_check(rule, label, date, panel, "normal", usual)


def _new_check(
    rule: Rule, label: tuple[str, str] | None, date: dt.date, panel: HourlyPanel, verdict: Verdict, figures: Figures
) -> Check:
    return Check(
        rule=rule.name,
        kpi=rule.kpi,
        dimension=label[0] if label else None,
        dimension_value=label[1] if label else None,
        direction=rule.hourly_direction,
        date=date,
        period_days=1,
        verdict=verdict,
        severity=rule.severity,
        figures=figures,
        baseline_days=0,
        is_provisional=panel.is_intraday.get(date, True),
    )


def _fingerprint(rule: Rule, label: tuple[str, str] | None, way: Direction) -> str:
    dimension, value = label or (None, None)
    return make_fingerprint(rule.name, dimension, value, way)


def _say_hour(start: dt.datetime, zone: ZoneInfo) -> str:
    return start.astimezone(zone).isoformat(timespec="minutes")
