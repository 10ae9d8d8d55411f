"""Evaluates every rule on the published tables: one list of checks, days in order."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from zoneinfo import ZoneInfo

import duckdb
import numpy as np

from alerts.detection import walk
from alerts.detection.data_rules import check_data
from alerts.detection.hourly_checks import add_hours
from alerts.detection.hourly_panel import UNKNOWN_ARRIVALS, Arrivals, has_hours
from alerts.detection.panel import Panel, read_panel
from alerts.detection.revisions import UNKNOWN, Measures, Revision, learn_revision
from alerts.detection.scales import Bools, Scale
from alerts.detection.verdicts import Check, Figures, Verdict, make_fingerprint
from alerts.detection.walk import Series, Walk, walk_days
from alerts.rules.book import Direction, Rule, RuleBook
from alerts.text import say_value

_VERDICTS: dict[int, Verdict] = {
    walk.UNTESTED: "untested",
    walk.NORMAL: "normal",
    walk.NEAR: "near",
    walk.BREACH: "breach",
}


def evaluate_rules(
    warehouse: duckdb.DuckDBPyConnection,
    book: RuleBook,
    *,
    as_of: dt.datetime,
    excluded: Mapping[str, set[dt.date]],
    since: dt.date | None = None,
    moved: Sequence[tuple[Measures, Measures]] = (),
    with_hours: bool = False,
    arrivals: Arrivals = UNKNOWN_ARRIVALS,
) -> list[Check]:
    """Test the days from `since` on (default: the last `check_last_days` complete ones) against every rule.

    `as_of` is the present moment in the property's time zone. `excluded` gives, per fingerprint, the dates that are
    known to belong to incidents; they never enter a baseline of the same series, whatever the incident's direction.
    `moved` are the first and the final figures of earlier days. `with_hours`: also what rules that are watched by the
    hour find in the newest days; `arrivals` is how the export's events come in. A pure function of the tables, the book
    and these.
    """
    checks: list[Check] = []
    zone = as_of.tzinfo
    knows_hours = with_hours and isinstance(zone, ZoneInfo) and has_hours(warehouse)
    for rule in book.rules:
        if rule.kind == "kpi":
            revision = learn_revision(rule, moved)
            found = _check_kpi(warehouse, book, rule, as_of, excluded, since, revision)
            if knows_hours and isinstance(zone, ZoneInfo) and rule.hourly is not None:
                found = add_hours(
                    warehouse, book, rule, found, zone=zone, excluded=excluded, arrivals=arrivals, since=since
                )
            checks += found
        else:
            checks += check_data(warehouse, book, rule, as_of=as_of, excluded=excluded, since=since)
    return sorted(checks, key=lambda check: check.date)


def select_baseline_dates(
    warehouse: duckdb.DuckDBPyConnection,
    rule: Rule,
    dates: list[dt.date],
    excluded_dates: set[dt.date],
    *,
    book: RuleBook | None = None,
) -> list[dt.date]:
    """The dates that an incident on `dates` is compared with: the complete days of the trailing window before it.

    Leaves out `excluded_dates` (days of known incidents) and the days of expected events, the rule's own and, with
    `book`, those of all rules.
    """
    panel = read_panel(warehouse, rule, with_dimensions=False)
    events = (*rule.expected_events, *(book.expected_events if book else ()))
    first = min(dates)
    oldest = first - dt.timedelta(days=rule.trailing_days)
    return [
        date
        for date, is_usable in zip(panel.dates, panel.usable[0], strict=True)
        if oldest <= date < first
        and is_usable
        and date not in excluded_dates
        and not any(event.covers(date, way) for event in events for way in rule.directions)
    ]


def walk_panel(
    book: RuleBook,
    rule: Rule,
    panel: Panel,
    *,
    is_tested: Bools,
    excluded: Mapping[str, set[dt.date]],
    revision: Revision = UNKNOWN,
) -> Walk:
    """Decide the tested days of a rule's panel."""
    is_event: dict[Direction, Bools] = {
        way: np.array([book.find_event(rule, date, way) is not None for date in panel.dates], dtype=bool)
        for way in rule.directions
    }
    return walk_days(
        rule,
        Series(
            scale=panel.scale,
            y=panel.y,
            n=panel.n,
            volume=panel.volume,
            usable=panel.usable,
            weekday=panel.weekday,
            is_child=np.array([label is not None for label in panel.labels], dtype=bool),
            shop=np.zeros(len(panel.labels), dtype=np.int64),
        ),
        is_tested=is_tested,
        excluded=_mark_excluded(rule, panel, excluded),
        is_event=is_event,
        is_provisional=panel.is_provisional,
        is_first=panel.is_first,
        revision=revision,
    )


def select_tested_days(
    book: RuleBook, panel: Panel, *, as_of: dt.datetime, since: dt.date | None
) -> tuple[Bools, dt.date | None]:
    """Which days are walked through, and from which date on their checks count.

    Provisional days are tested once they have ended: for total loss, and in full when their own table has come. The two
    weeks before the first day are walked too: a limit that must be passed on two of three days, or weeks, needs the
    ones before.
    """
    complete = [date for date, usable in zip(panel.dates, ~panel.is_provisional, strict=True) if usable]
    if since is None:
        since = complete[-book.check_last_days :][0] if complete else None
    if not panel.dates:
        return np.zeros(0, dtype=bool), since
    start = (since or panel.dates[0]) - dt.timedelta(days=14)
    return np.array([start <= date < as_of.date() for date in panel.dates], dtype=bool), since


def _check_kpi(
    warehouse: duckdb.DuckDBPyConnection,
    book: RuleBook,
    rule: Rule,
    as_of: dt.datetime,
    excluded: Mapping[str, set[dt.date]],
    since: dt.date | None,
    revision: Revision,
) -> list[Check]:
    panel = read_panel(warehouse, rule)
    is_tested, since = select_tested_days(book, panel, as_of=as_of, since=since)
    result = walk_panel(book, rule, panel, is_tested=is_tested, excluded=excluded, revision=revision)
    return make_checks(book, rule, panel, result, since, revision)


def make_checks(
    book: RuleBook,
    rule: Rule,
    panel: Panel,
    result: Walk,
    since: dt.date | None,
    revision: Revision = UNKNOWN,
) -> list[Check]:
    """The checks of a walk from `since` on. Dimension values that are too small to test make none."""
    checks = []
    for day, series in np.argwhere(result.period.T > 0):
        date, label = panel.dates[day], panel.labels[series]
        if since is not None and date < since:
            continue
        for way in rule.directions:
            reason = int(result.reason[way][series, day])
            if label is not None and reason in (walk.NO_VOLUME, walk.NO_HISTORY, walk.PROVISIONAL):
                continue
            event = book.find_event(rule, date, way)
            said = _say_reason(rule, result, way, int(series), int(day), event.name if event else "")
            if panel.is_first[day]:
                said += f"; {_say_first(rule, revision)}"
            checks.append(
                Check(
                    rule=rule.name,
                    kpi=rule.kpi,
                    dimension=label[0] if label else None,
                    dimension_value=label[1] if label else None,
                    direction=way,
                    date=date,
                    period_days=int(result.period[series, day]),
                    verdict=_VERDICTS[int(result.verdict[way][series, day])],
                    severity=rule.severity,
                    figures=Figures(
                        observed=_show(panel.scale, result.observed[series, day]),
                        expected=_show(panel.scale, result.expected[series, day]),
                        band_low=_show(panel.scale, result.band_low[series, day]),
                        band_high=_show(panel.scale, result.band_high[series, day]),
                        z=_number(result.z[series, day]),
                        volume=float(result.volume[series, day]),
                        reason=said,
                    ),
                    baseline_days=int(result.baseline_days[series, day]),
                    is_provisional=bool(panel.is_provisional[day] and not panel.is_first[day]),
                    is_expected_event=event is not None,
                )
            )
    return checks


def _say_first(rule: Rule, revision: Revision) -> str:
    if revision.usual_move is None:
        return "first figures, which may still move a little"
    moved = (
        f"{revision.usual_move * 100:.1f} points" if rule.unit == "share" else say_value(revision.usual_move, rule.unit)
    )
    return f"first figures: such days have moved by up to {moved} since"


def _mark_excluded(rule: Rule, panel: Panel, excluded: Mapping[str, set[dt.date]]) -> Bools:
    marks = np.zeros(panel.y.shape, dtype=bool)
    position = {date: day for day, date in enumerate(panel.dates)}
    ways: tuple[Direction, ...] = ("above", "below")
    for series, label in enumerate(panel.labels):
        dimension, value = label or (None, None)
        for way in ways:
            for date in excluded.get(make_fingerprint(rule.name, dimension, value, way), ()):
                if date in position:
                    marks[series, position[date]] = True
    return marks


def _show(scale: Scale, value: float) -> float | None:
    return float(scale.show(value)) if math.isfinite(value) else None


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _say_reason(rule: Rule, result: Walk, way: Direction, series: int, day: int, event: str) -> str:
    code, z = int(result.reason[way][series, day]), result.z[series, day]
    limit, repeated = result.limit[series, day], result.repeated_limit[series, day]
    week_limit = result.week_limit[series, day]
    period = "weeks" if result.period[series, day] == walk.WEEK else "days"
    if code == walk.Z_LIMIT:
        return f"{abs(z):.1f} standard deviations off; the limit is {limit:.3g}"
    if code == walk.REPEATED:
        return f"beyond {repeated:.2g} standard deviations on 2 of 3 {period}; now {abs(z):.1f}"
    if code == walk.OVER_A_WEEK:
        week_z = abs(result.week_z[series, day])
        return f"{week_z:.1f} standard deviations off over 7 days; the limit is {week_limit:.3g}; this day {abs(z):.1f}"
    if code == walk.ABSOLUTE:
        return f"absolute bound of {rule.absolute.of(way):g}"
    if code == walk.RELATIVE:
        change = abs(rule.relative.of(way) or 0) * 100
        return f"changed by more than {change:g} %, {abs(z):.1f} standard deviations"
    if code == walk.NO_VOLUME:
        return "too few for a test, even by the week"
    if code == walk.NO_HISTORY:
        return f"{result.baseline_days[series, day]:.0f} usable days before it, {rule.minimum_history_days} needed"
    if code == walk.TOO_SMALL:
        return f"{abs(z):.1f} standard deviations off, but by less than {rule.minimum_change * 100:g} %"
    return {
        walk.NO_VALUE: "no value",
        walk.PROVISIONAL: "provisional: tested for total loss only",
        walk.EVENT: f"expected event: {event}",
        walk.WITHIN: "within the expected band",
        walk.HALFWAY: "more than halfway to the limit",
        walk.TOTAL_LOSS: "total loss",
    }[code]
